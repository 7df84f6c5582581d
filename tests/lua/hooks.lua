-- Hooks and aggregators with a wrong spec, with functions that raise errors, and with a removal.
local checks = include("checks.lua")
require("realtime")
-- A busy machine must not make readers fail.
assert(realtime.Configure({ sync_timeout_ms = 1000 }))
local web = host.arg.web

local fails_with = checks.fails_with

-- A wrong argument type is a Lua error. A wrong spec is answered with `nil, reason`, and the reason names the member.
for _, name in ipairs({ "AddHook", "AddAggregator" }) do
	fails_with("bad argument #1 to '" .. name .. "' (string expected, got nil)", realtime[name], nil, {})
	fails_with("bad argument #2 to '" .. name .. "' (table expected, got nil)", realtime[name], "kill", nil)
	fails_with("bad argument #3 to '" .. name .. "' (table expected, got no value)", realtime[name], "kill", "id")
end
fails_with("bad argument #1 to 'RemoveHook' (string expected, got table)", realtime.RemoveHook, {})
fails_with("bad argument #1 to 'RemoveAggregator' (string expected, got nil)", realtime.RemoveAggregator, nil)
fails_with("bad argument #2 to 'RemoveHook' (string expected, got table)", realtime.RemoveHook, "kill", {})
fails_with("bad argument #2 to 'RemoveAggregator' (string expected, got number)", realtime.RemoveAggregator, "kill", 5)
local function refused(expected, id, reason)
	assert(id == nil and reason:find(expected, 1, true) == 1, expected .. ": " .. tostring(reason))
end
local sum = function() end
local counter = { type = "counter", key = "k" }
for _, row in ipairs({
	{ "config: type", {} },
	{ "config: type", { type = "discrod" } },
	{ "config: key", { type = "counter" } },
	{ "config: by: expected a number, or one placeholder", { type = "counter", key = "k", by = "much" } },
	{ "config: path: takes no placeholders but", { type = "file", path = "{player}.log" } },
	{ "config: where.any_of: expected a list of tables", { type = "counter", key = "k", where = { any_of = { a = 1 } } } },
	{ "config: where.not: expected a table", { type = "counter", key = "k", where = { ["not"] = 5 } } },
	{ "config: tll", { type = "counter", key = "k", tll = 5 } },
	{ "config: webhook_url", { type = "discord", webhook_url = "ftp://h/x", format = "x" } },
	{ "config: format: needs a body", { type = "http", url = "http://h/", method = "GET", format = "{n}" } },
	{ "config: condition", { type = "conditional", condition = 5, actions = { counter } } },
	{ "config: actions[2].key", { type = "conditional", condition = sum, actions = { counter, { type = "counter" } } } },
	{ "encode: data.key is a thread", { type = "counter", key = coroutine.create(sum) } },
}) do refused(row[1], realtime.AddHook("kill", row[2])) end
for _, row in ipairs({
	{ "config: interval", { aggregate = sum, actions = { counter } } },
	{ "config: aggregate", { interval = 1, actions = { counter } } },
	{ "config: interval: unknown word", { interval = "hour", aggregate = sum, actions = { counter } } },
	{ "config: at: expected a time of day", { interval = "day", at = "noon", aggregate = sum, actions = { counter } } },
	{ "config: actions", { interval = 1, aggregate = sum } },
	{ "config: max_event", { interval = 1, aggregate = sum, actions = { counter }, max_event = 5 } },
}) do refused(row[1], realtime.AddAggregator("kill", row[2])) end
assert(realtime.Stats().hooks == 0 and realtime.Stats().aggregators == 0)

-- Ids, given ones and those that the module makes from the spec.
assert(realtime.AddHook("ids", "mine", counter) == "mine")
-- The same id on two channels means two hooks.
assert(realtime.AddHook("other", "mine", counter) == "mine" and realtime.Stats().hooks == 2)
assert(realtime.RemoveHook("other", "mine") and not realtime.RemoveHook("other", "mine") and realtime.Stats().hooks == 1)
local id = realtime.AddHook("ids", counter)
assert(#id == 16 and realtime.AddHook("ids", counter) == id and realtime.Stats().hooks == 2)
assert(realtime.RemoveHook("mine") and not realtime.RemoveHook("mine") and realtime.RemoveHook(id))
local function aggregator() return realtime.AddAggregator("ids", { interval = 1, aggregate = sum, actions = { counter } }) end
local id = aggregator()
assert(#id == 16 and aggregator() == id and realtime.Stats().aggregators == 1)
assert(not realtime.RemoveAggregator("other", id) and realtime.RemoveAggregator("ids", id) and aggregator() == id)
assert(realtime.RemoveAggregator(id) and not realtime.RemoveAggregator(id))
assert(realtime.Stats().hooks == 0 and realtime.Stats().aggregators == 0)

-- A request to Discord with the text of players is accepted, with a warning in the log.
for _ = 1, 2 do
	assert(realtime.AddHook("chat", "pings", { type = "http", url = web .. "/api/webhooks/1/token",
		format = '{"content":"{text}"}' }) == "pings")
end
assert(realtime.RemoveHook("pings"))

-- Groups of conditions, amounts of events, logs of channels and days, and windows of the calendar.
assert(realtime.AddHook("groups", "groups", { type = "counter", key = "k:{date}", by = "-{n}", where = {
	map = { none_of = { "gm_flatgrass", { contains = "test" } } }, any_of = { { team = 1 }, { name = { starts_with = "[VIP]" } } },
	["not"] = { bot = { exists = true } }, [".not"] = 5 } }) == "groups")
assert(realtime.AddHook("groups", "log", { type = "file", path = "logs/{date}/{channel}.log" }) == "log")
assert(realtime.AddAggregator("groups", "week", { interval = "week", at = "06:00", aggregate = sum, actions = { counter } }) == "week")
assert(realtime.RemoveHook("groups") and realtime.RemoveHook("log") and realtime.RemoveAggregator("week"))

-- A condition that raises an error counts as false and does not stop other hooks.
realtime.AddHook("kill", "raises", { type = "conditional", condition = function() error("from a condition") end,
	actions = { { type = "counter", key = "never" } } })
realtime.AddHook("kill", "plain", { type = "counter", key = "kills" })
-- The module reports an action whose event lacks a field of its key.
local failed
realtime.AddHook("kill", "keyless", { type = "counter", key = "by:{nobody}" })
hook.Add("RealtimeActionFailed", "x", function(hook_id, kind, reason) failed = { hook_id, kind, reason } end)

-- A window is lost if its function raises an error or returns something that is no event; the next window is summed up.
-- NaN becomes null.
local windows, counted = 0, 0
realtime.AddAggregator("kill", "sums", { interval = 1, max_events = 100000, aggregate = function(events)
	windows, counted = windows + 1, counted + #events
	for _, event in ipairs(events) do assert(event.n and event._rt == nil) end
	if windows == 1 then error("from an aggregator") end
	if windows == 2 then return nil end
	if windows == 3 then return "a text" end
	if windows == 4 then return { f = print } end
	if windows == 5 then return { nan = 0 / 0, events = #events > 0 } end
	-- The function may remove its own aggregator.
	assert(realtime.RemoveAggregator("sums"))
	return { last = true }
end, actions = { { type = "http", url = web .. "/sum", format = '{"on":"{channel}","sum":{event}}' }, { type = "counter", key = "sums:{nan.x}" } } })

local emitted, next_emit, deadline = 0, 0, host.mono() + 60
timer.Create("check", 0, 0, function()
	if realtime.Status() ~= "connected" then return end
	if windows < 6 and host.mono() >= next_emit then
		next_emit = host.mono() + 0.2
		-- The array of such a window has some hundreds of events: it is built over several ticks.
		for _ = 1, 100 do
			assert(realtime.Emit("kill", { n = emitted, text = string.rep("x", 200) }))
			emitted = emitted + 1
		end
	end
	local stats = realtime.Stats()
	local done = windows == 6 and stats.webhooks.delivered == 2 and stats.aggregates.waiting == 0
		and stats.conditions == emitted and tonumber(realtime.Get("kills")) == emitted
	if not done and host.mono() < deadline then return end
	local lost = stats.aggregates.dropped
	local fine = done and stats.aggregate_errors == 3 and stats.windows == 6 and stats.aggregates.delivered == counted
		and counted + lost.removed == emitted and stats.condition_errors == emitted and select("#", realtime.Get("never")) == 1
		and failed and (failed[1] == "keyless" or failed[1] == "sums") and failed[2] == "counter"
		and failed[3]:find("the event has no", 1, true) and stats.non_finite == 1 and stats.panics == 0
	print(fine and "1 passed, 0 failed" or "0 passed, 1 failed", windows, emitted, counted, util.TableToJSON(stats))
	host.quit(fine and 0 or 1)
end)
