// The page of `realtime-cli serve`. Text of others gets into the page as text nodes only: nothing here makes elements,
// attributes or styles out of it. All lists are bounded.
"use strict";

// Events that are kept, and those of them that are shown.
const KEPT_MAX = 1000;
const ROWS_MAX = 250;
// Longest record of the stream, in characters. The program sends far less.
const RECORD_MAX = 4 * 1024 * 1024;
// Silence after which the stream counts as dead: the program sends something every second.
const SILENCE_MS = 10000;
const BOARD_MS = 5000;
const BOARDS_MAX = 12;
// A server that was heard within this time is shown as living.
const LIVES_MS = 60000;
// Colours for channels; the next one is for all others.
const COLOURS = 7;
// Minutes that the chart shows at least.
const MINUTES_MIN = 15;
// The widest bar, in pixels.
const BAR_MAX = 32;

const $ = (id) => document.getElementById(id);

// Control characters, those that turn text around, and invisible ones, as the program finds them in payloads.
const UNRULY =
  /[\u0000-\u001f\u007f-\u009f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]/gu;
const tame = (text) => String(text).replace(UNRULY, (c) => "\\u{" + c.codePointAt(0).toString(16) + "}");

// An element with a class and a text.
function make(name, kind, text) {
  const element = document.createElement(name);
  if (kind) element.className = kind;
  if (text !== undefined) element.textContent = text;
  return element;
}

const pad = (number) => String(number).padStart(2, "0");
function clock(ms, withSeconds) {
  const time = new Date(ms);
  const minutes = pad(time.getHours()) + ":" + pad(time.getMinutes());
  return withSeconds ? minutes + ":" + pad(time.getSeconds()) : minutes;
}
const grouped = (number) => (Number.isFinite(Number(number)) ? Number(number).toLocaleString("en-US") : tame(number));
function ago(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return seconds + " s";
  if (seconds < 3600) return Math.floor(seconds / 60) + " min";
  return Math.floor(seconds / 3600) + " h";
}

// ---- the token: behind the # of the address, which no browser sends; then for this tab only -------------------------

function takeToken() {
  const given = location.hash.slice(1);
  if (/^[0-9a-f]{64}$/.test(given)) {
    sessionStorage.setItem("token", given);
    history.replaceState(null, "", location.pathname);
  }
  return sessionStorage.getItem("token") || "";
}
let token = takeToken();
window.addEventListener("hashchange", () => { token = takeToken(); connect(); });
const ask = (path, signal) =>
  fetch(path, { headers: { Authorization: "Bearer " + token }, cache: "no-store", credentials: "omit", signal });

// ---- live events ----------------------------------------------------------------------------------------------------

let events = []; // the newest first
let fresh = []; // not yet shown
let isPaused = false;
let isDrawing = false;
const colours = new Map(); // the number of each shown channel's colour

// The parts of JSON text, for colours: a string, perhaps with its colon; a number or word; anything else. The text may be
// cut off anywhere.
const PARTS = /("(?:[^"\\]|\\.)*"?)(\s*:)?|(-?\d[\d.eE+-]*|true|false|null)|[^"\dtfn-]+|[^]/g;
function dataOf(event) {
  const data = make("span", "text");
  for (const [whole, string, colon, word] of event.text.matchAll(PARTS)) {
    if (word !== undefined) data.append(make("span", "number", word));
    else if (string === undefined) data.append(whole);
    else if (colon) data.append(make("span", "key", string), colon);
    else data.append(make("span", "string", string));
  }
  if (event.bytes) data.append(make("span", "cut", " … of " + grouped(event.bytes) + " bytes"));
  return data;
}

function rowOf(event) {
  const row = make("li");
  const colour = colours.get(event.channel);
  row.append(
    make("time", "", clock(event.time, true)),
    make("span", "server", event.server ? tame(event.server) : "–"),
    make("span", "channel" + (colour === undefined ? "" : " d" + colour), tame(event.channel)),
    dataOf(event),
  );
  return row;
}

function matcher() {
  const words = $("filter").value.toLowerCase().split(/\s+/).filter((word) => word && word !== "-");
  return (event) => words.every((word) => {
    const wanted = !word.startsWith("-");
    return event.search.includes(wanted ? word : word.slice(1)) === wanted;
  });
}

function drawNew() {
  isDrawing = false;
  if (isPaused) return showNote();
  const added = fresh.reverse();
  fresh = [];
  events = added.concat(events).slice(0, KEPT_MAX);
  const list = $("events");
  // A reader who has scrolled down keeps the place.
  const before = list.scrollTop > 4 ? list.scrollHeight - list.scrollTop : null;
  list.prepend(...added.filter(matcher()).slice(0, ROWS_MAX).map(rowOf));
  while (list.childElementCount > ROWS_MAX) list.lastElementChild.remove();
  if (before !== null) list.scrollTop = list.scrollHeight - before;
  showNote();
}

function drawAll() {
  $("events").replaceChildren(...events.filter(matcher()).slice(0, ROWS_MAX).map(rowOf));
  showNote();
}

let skipped = 0;
function showNote() {
  const notes = [];
  if (isPaused && fresh.length) notes.push(grouped(fresh.length) + " new events wait");
  if (skipped) notes.push(grouped(skipped) + " events came too fast to be listed here; they are counted");
  $("note").textContent = notes.join(" · ");
  $("note").hidden = !notes.length;
  const isEmpty = !$("events").childElementCount;
  $("empty").hidden = !isEmpty;
  $("empty").textContent = events.length ? "No event passes the filter." : "No event yet.";
}

function addEvent(event) {
  event.search = (event.channel + " " + (event.server || "") + " " + event.text).toLowerCase();
  fresh.push(event);
  if (fresh.length > KEPT_MAX) fresh.shift();
  if (!isDrawing) {
    isDrawing = true;
    requestAnimationFrame(drawNew);
  }
}

$("filter").addEventListener("input", drawAll);
$("pause").addEventListener("click", () => {
  isPaused = !isPaused;
  $("pause").setAttribute("aria-pressed", isPaused);
  $("pause").textContent = isPaused ? "Go on" : "Pause";
  drawNew();
});
$("clear").addEventListener("click", () => {
  events = [];
  fresh = [];
  drawAll();
});
$("events").addEventListener("click", (click) => {
  const row = click.target.closest("li");
  if (row && !String(getSelection())) row.classList.toggle("open");
});

// ---- the chart ------------------------------------------------------------------------------------------------------

function draw(name, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const key in attributes) element.setAttribute(key, attributes[key]);
  if (text !== undefined) element.textContent = text;
  return element;
}

// The smallest of 2, 4, 6, 8, 10, 20, 40 ... that is not below the number.
function round(number) {
  const power = 10 ** Math.floor(Math.log10(Math.max(number, 1)));
  return [2, 4, 6, 8, 10].map((step) => step * power).find((step) => step >= number);
}

// From the first minute on: a row for each channel, with its name, its colour and its counts.
let chart = { first: 0, rows: [] };

function drawChart() {
  const box = $("chart");
  const [width, height, left, bottom, top] = [Math.max(box.clientWidth, 200), box.clientHeight, 40, 18, 6];
  const sums = sumsOf(chart.rows);
  const most = Math.max(4, round(Math.max(0, ...sums)));
  const [across, down] = [(width - left) / Math.max(sums.length, 1), (height - bottom - top) / most];
  const svg = draw("svg", { role: "img", "aria-label": "events per minute by channel, of the last hour" });
  for (const part of [0, 0.5, 1]) {
    const y = height - bottom - most * part * down;
    svg.append(draw("line", { x1: left, x2: width, y1: y, y2: y }));
    svg.append(draw("text", { x: left - 6, y: y + 4, "text-anchor": "end" }, grouped(most * part)));
  }
  sums.forEach((sum, at) => {
    const minute = chart.first + at;
    if (minute % (sums.length > 30 ? 10 : 5) === 0) {
      const x = left + (at + 0.5) * across;
      const anchor = x > width - 20 ? "end" : "middle";
      svg.append(draw("text", { x, y: height - 4, "text-anchor": anchor }, clock(minute * 60000)));
    }
    if (!sum) return;
    const bar = draw("g", at === sums.length - 1 ? { class: "now" } : {});
    let base = height - bottom;
    for (const row of chart.rows) {
      const tall = row.counts[at] * down;
      base -= tall;
      const wide = Math.min(Math.max(across - 2, 1), BAR_MAX);
      const size = { x: left + (at + 0.5) * across - wide / 2, y: base, width: wide, height: tall };
      if (tall) bar.append(draw("rect", { ...size, class: "c" + row.colour }));
    }
    const lines = chart.rows.filter((row) => row.counts[at]).map((row) => tame(row.name) + ": " + grouped(row.counts[at]));
    bar.append(draw("title", {}, [clock(minute * 60000), ...lines].join("\n")));
    svg.append(bar);
  });
  box.replaceChildren(svg);
}
const sumsOf = (rows) =>
  Array.from(rows.length ? rows[0].counts : [], (_, at) => rows.reduce((sum, row) => sum + row.counts[at], 0));
new ResizeObserver(drawChart).observe($("chart"));

// A channel keeps its colour as long as it is shown, although channels change their order.
function colour(channels) {
  const before = [...colours].join();
  for (const name of colours.keys()) if (!channels.includes(name)) colours.delete(name);
  for (const name of channels) {
    const taken = new Set(colours.values());
    if (!colours.has(name)) colours.set(name, [...Array(COLOURS).keys()].find((number) => !taken.has(number)) ?? COLOURS);
  }
  return [...colours].join() !== before;
}

function showChart({ first, channels, rows }) {
  const changed = colour(channels);
  const named = rows.map((counts, index) => {
    const name = channels[index];
    return name === undefined ? { name: "all others", colour: COLOURS, counts } : { name, colour: colours.get(name), counts };
  });
  // Before the first event there is nothing to show.
  const begin = Math.max(0, Math.min(sumsOf(named).findIndex((sum) => sum), rows[0].length - MINUTES_MIN));
  named.forEach((row) => { row.counts = row.counts.slice(begin); });
  chart = { first: first + begin, rows: [...named].sort((one, other) => one.colour - other.colour) };
  drawChart();
  if (changed) drawAll();
  const items = named.map((row, index) => {
    const sum = row.counts.reduce((sum, count) => sum + count, 0);
    if (!sum) return [];
    const button = make("button");
    button.type = "button";
    button.append(make("i", "c" + row.colour), make("span", "", tame(row.name)), make("b", "", grouped(sum)));
    if (index < channels.length) {
      button.title = "filter by this channel";
      button.channel = row.name;
    }
    const item = make("li");
    item.append(button);
    return [item];
  });
  replaceIfChanged($("legend"), items.flat());
}
$("legend").addEventListener("click", (click) => {
  const button = click.target.closest("button");
  const channel = button && button.channel;
  if (!channel) return;
  $("filter").value = $("filter").value === channel ? "" : channel;
  drawAll();
});

// ---- servers, losses, the head --------------------------------------------------------------------------------------

// Replaces the children unless they show the same already, so that a click or a selection survives.
function replaceIfChanged(parent, children) {
  const next = make("div");
  next.append(...children);
  if (parent.isSameAs !== next.textContent) {
    parent.isSameAs = next.textContent;
    parent.replaceChildren(...next.childNodes);
  }
}

function showServers(servers, now) {
  replaceIfChanged($("servers"), servers.map((server) => {
    const row = make("li", now - server.last < LIVES_MS ? "lives" : "");
    const name = make("b", "", tame(server.name));
    name.title = "process " + server.boot + ", first heard at " + clock(server.first, true);
    row.append(make("i"), name);
    if (server.missed) row.append(make("span", "lost", grouped(server.missed) + " missed"));
    row.append(make("span", "", grouped(server.events) + " events"), make("span", "", ago(now - server.last) + " ago"));
    return row;
  }));
  $("silent").hidden = servers.length > 0;
}

function showLosses(counts, pages) {
  const rows = [
    ["missed", counts.missed, "events that were sent and did not arrive here"],
    ["connection lost", counts.lost, "times that Redis went away; events without numbers may be lost then"],
    ["sent again", counts.repeats, "repeats after a lost connection, left out here"],
    ["too large", counts.too_large, "events over the limit of the module"],
    ["copied or forged", counts.relayed, "events whose identity belongs to another channel or is malformed"],
    ["odd numbers", counts.implausible + counts.renewed, "events whose number no server can have reached"],
    ["not listed", pages.skipped, "events that came too fast for the list of a page"],
    ["slow pages", pages.slow, "pages that took too long to read, and were dropped"],
  ];
  replaceIfChanged($("losses"), rows.map(([name, count, title], index) => {
    const row = make("div", count && index < 2 ? "bad" : "");
    row.title = title;
    row.append(make("dt", "", name), make("dd", "", grouped(count)));
    return row;
  }));
}

function wordsOf(gap) {
  const channel = tame(gap.channel || "");
  switch (gap.kind) {
    case "missed": return grouped(gap.count) + " events of " + tame(gap.server) + " on " + channel + " missed";
    case "too large": return "an event of " + grouped(gap.bytes) + " bytes on " + channel + " was skipped";
    case "refused": return "Redis refused " + channel + ": " + tame(gap.text);
    default: return tame(gap.text || gap.kind);
  }
}

let known = null; // the facts of the first state
function showState(state) {
  const { link, counts, pages, facts, servers } = state;
  $("link").className = "link " + (link.connected ? "good" : "bad");
  const since = link.since ? " since " + clock(link.since, true) : "";
  const words = link.words || "connecting to Redis";
  $("link").lastElementChild.textContent = link.connected ? "listening to " + tame(words) + since : tame(words) + since;
  const rows = state.chart.rows;
  const last = rows[0].length - 2;
  $("rate").textContent = grouped(rows.reduce((sum, row) => sum + (row[last] || 0), 0));
  $("total").textContent = grouped(counts.events);
  $("fleet").textContent = grouped(servers.filter((server) => state.now - server.last < LIVES_MS).length);
  $("missed").textContent = grouped(counts.missed);
  $("missed").className = counts.missed ? "bad" : "";
  showChart(state.chart);
  showServers(servers, state.now);
  showLosses(counts, pages);
  replaceIfChanged($("gaps"), state.gaps.map((gap) => {
    const row = make("li");
    row.append(make("time", "", clock(gap.time, true)), wordsOf(gap));
    return row;
  }));
  if (!known) facts.boards.forEach(addBoard);
  known = facts;
  const prefix = facts.prefix ? "; prefix " + tame(facts.prefix) : "";
  $("facts").textContent = "channels " + facts.patterns.map(tame).join(" ") + prefix + "; " + tame(facts.sources) +
    ". Members named ip or address are hidden. This page changes nothing.";
}

// ---- leaderboards ---------------------------------------------------------------------------------------------------

const boards = new Map(); // by name: the element of each

function addBoard(name) {
  if (!name || boards.has(name) || boards.size >= BOARDS_MAX) return;
  const board = make("div", "board");
  const title = make("h3");
  const close = make("button", "", "×");
  close.type = "button";
  close.title = "hide this board";
  close.addEventListener("click", () => {
    boards.delete(name);
    board.remove();
  });
  title.append(make("span", "", tame(name)), close);
  board.append(title, make("ol"), make("p", "", "reading"));
  boards.set(name, board);
  $("boards").append(board);
  readBoard(name);
}

async function readBoard(name) {
  const board = boards.get(name);
  if (!board) return;
  const [list, note] = [board.querySelector("ol"), board.querySelector("p")];
  try {
    const response = await ask("/board?rows=10&name=" + encodeURIComponent(name), AbortSignal.timeout(SILENCE_MS));
    const answer = response.ok ? await response.json() : { error: await response.text() };
    const rows = answer.rows || [];
    const most = Math.max(...rows.map((row) => Math.abs(Number(row.score)) || 0));
    replaceIfChanged(list, rows.map((row, index) => {
      const item = make("li");
      const bar = make("i");
      // A width, computed from a number.
      bar.style.width = (most > 0 ? Math.abs(Number(row.score) || 0) / most * 100 : 0) + "%";
      item.append(bar, make("em", "", index + 1), make("span", "", tame(row.name)), make("b", "", grouped(row.score)));
      return item;
    }));
    note.textContent = answer.error ? tame(answer.error) : rows.length ? "" : "no entries";
  } catch {
    note.textContent = "no answer";
  }
}
setInterval(() => {
  if (!document.hidden) boards.forEach((_, name) => readBoard(name));
}, BOARD_MS);
$("add").addEventListener("submit", (submit) => {
  submit.preventDefault();
  addBoard($("board").value.trim());
  $("board").value = "";
});

// ---- the stream: server-sent events, read by hand because EventSource cannot send a header ---------------------------

function take(record) {
  let [kind, data] = ["", ""];
  for (const line of record.split("\n")) {
    if (line.startsWith("event: ")) kind = line.slice(7);
    if (line.startsWith("data: ")) data = line.slice(6);
  }
  const value = JSON.parse(data);
  if (kind === "event") addEvent(value);
  else if (kind === "state") showState(value);
  else if (kind === "skipped") skipped = value;
}

function say(words) {
  $("link").className = "link bad";
  $("link").lastElementChild.textContent = words;
}

let current = null; // aborts the stream of now
async function connect() {
  if (current) current.abort();
  const mine = (current = new AbortController());
  for (let wait = 1000; !mine.signal.aborted; wait = Math.min(wait * 2, 5000)) {
    if (!token) return say("no token: open the address that realtime-cli printed, with all that stands behind its #");
    let silence;
    try {
      const attempt = new AbortController();
      mine.signal.addEventListener("abort", () => attempt.abort());
      const heard = () => {
        clearTimeout(silence);
        silence = setTimeout(() => attempt.abort(), SILENCE_MS);
      };
      heard();
      const response = await ask("/events", attempt.signal);
      if (response.status === 401) return say("the token is of an earlier run: open the address that realtime-cli printed");
      if (!response.ok) throw new Error(await response.text());
      // The stream begins with the last events again.
      [events, fresh, skipped] = [[], [], 0];
      drawAll();
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) throw new Error("the program ended the stream");
        heard();
        wait = 1000;
        const records = (text + value).split("\n\n");
        text = records.pop();
        if (text.length > RECORD_MAX) throw new Error("the stream is not that of this program");
        records.forEach(take);
      }
    } catch (error) {
      if (mine.signal.aborted) return;
      const isNetwork = error instanceof TypeError || error.name === "AbortError";
      say(isNetwork ? "realtime-cli does not answer: it has ended, or is busy" : tame(error.message));
    } finally {
      clearTimeout(silence);
    }
    await new Promise((done) => setTimeout(done, wait));
  }
}
connect();
