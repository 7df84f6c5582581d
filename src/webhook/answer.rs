//! Interprets the response to a post: delivered, retry, refused, or the whole destination closed.
//! Runs on `rt-webhooks`; pure.
//!
//! | response | verdict |
//! |---|---|
//! | 2xx | [`Verdict::Delivered`] |
//! | 429 with a time | [`Verdict::Limited`]; a global one holds all Discord destinations of that origin |
//! | Discord: 429 without a time or a bucket, its code 40333 | the same, global: something in front of Discord blocks this machine |
//! | none, as a proxy asks for another login (407) | [`Verdict::Unsent`] |
//! | 408, 5xx but 501, other servers' 429 without a time, no response | [`Verdict::Again`], with a longer delay each time |
//! | Discord: its code 10008 (unknown message) | [`Verdict::Gone`] |
//! | Discord: its codes 10015 (unknown webhook), 50027 (invalid token); 401, 403, 404, 410 with no code or one of [`CLOSING`] | [`Verdict::Closed`] |
//! | other servers: 410 | [`Verdict::Closed`]: the receiver wants no further posts |
//! | Discord: 401, 403, 404, 410 with one of [`OF_MESSAGE`] | [`Verdict::Never`] |
//! | other servers: 401, 403, 404; Discord: a page instead of JSON, other codes | [`Verdict::Denied`]; several in a row pause the destination |
//! | other servers: 404, 410 if the URL has placeholders | [`Verdict::NeverHere`]; another event may have another URL |
//! | Discord: 400 for the name or the picture of the sender | [`Verdict::Unnamed`] |
//! | Discord: 400 for an embed | [`Verdict::BadEmbed`] |
//! | 3xx (never followed), 405, 501 | [`Verdict::NeverHere`]; several in a row pause the destination |
//! | all others | [`Verdict::Never`] |
//!
//! A reason for a log may repeat words of the server, which may repeat secrets of the request: `redaction` removes them.
//!
//! Rate limits: <https://docs.discord.com/developers/topics/rate-limits>.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::Value;

use crate::hooks::url::is_id;
use crate::webhook::date;
use crate::webhook::http::Response;
use crate::webhook::post::DestinationKind;

/// Shortest pause after a rate limit. Some servers send 0, which would make the retries a busy loop.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest pause that a destination may ask for. Posts expire much earlier.
pub(crate) const PAUSE_MAX: Duration = Duration::from_secs(86_400);
/// Pause after a global rate limit that names no duration.
const PAUSE_UNSAID: Duration = Duration::from_secs(10);

/// Pause while something in front of Discord blocks this machine. More requests can prolong such a block.
const PAUSE_BLOCKED: Duration = Duration::from_secs(60);
/// "internal network error": the block by Cloudflare, as Discord words it
/// (<https://github.com/discord/discord-api-docs/issues/6473>).
const BLOCKED: u64 = 40333;
/// Discord's codes that speak about the webhook, its channel or its rights. <https://docs.discord.com/developers/topics/opcodes-and-status-codes#json>.
const CLOSING: [u64; 6] = [
    10003, // unknown channel
    10015, // unknown webhook
    40001, // unauthorized
    50001, // missing access
    50013, // missing permissions
    50027, // invalid webhook token
];

/// Discord's codes that speak about the words of one message: a player can cause any number of them in a row. All other
/// codes may speak about each message, such as those of a locked thread.
const OF_MESSAGE: [u64; 6] = [
    10011,  // unknown role
    10013,  // unknown user
    10014,  // unknown emoji
    200000, // blocked by automatic moderation
    200001, // the title was blocked by automatic moderation
    240000, // harmful link
];

/// The consequence of a response for the post and its destination.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    Delivered,
    /// A rate limit: the post was not accepted and may be sent again after this time.
    Limited {
        after: Duration,
        /// The limit holds for all Discord destinations of the origin.
        global: bool,
    },
    /// A proxy asks for another login, so the post did not reach its destination.
    Unsent,
    /// Another attempt may succeed.
    Again {
        /// The time that the server asks for. `None`: only the delay between attempts applies.
        after: Option<Duration>,
        /// False if no response came: then the request may have arrived all the same.
        answered: bool,
    },
    /// Discord refuses the name or the picture of the sender; without them it may accept the post.
    Unnamed,
    /// Discord refuses an embed; without its pictures and links it may accept the post.
    BadEmbed,
    /// No attempt of this post can succeed.
    Never,
    /// No request to this URL can succeed with this method, whatever its body: dividing a merged post would not help. A
    /// server that is being repaired may answer all posts with a redirection: several in a row are the sign.
    NeverHere,
    /// No attempt of this post can succeed. Perhaps the destination accepts no post at all: several of these in a row are
    /// the sign.
    Denied,
    /// The message that was to be edited does not exist any more: somebody deleted it.
    Gone,
    /// No post to this destination can succeed.
    Closed,
}

/// The result of one request of a post.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PostResult {
    pub(crate) verdict: Verdict,
    /// Empty when delivered. Holds words of the server: redact it before use, and escape it where it is shown.
    pub(crate) reason: String,
    /// The destination's next request would exceed a rate limit before this time, whatever the verdict on this one is.
    pub(crate) pause: Option<Duration>,
}

/// Most characters of a body that a reason shows.
const EXCERPT_CHARS_MAX: usize = 200;
/// Marks the place where an excerpt was cut.
pub(super) const CUT: char = '…';

/// Interprets a response that came at the Unix time `unix_s`.
pub(crate) fn read(kind: DestinationKind, response: &Response, unix_s: u64) -> PostResult {
    let discord = if kind == DestinationKind::Discord { serde_json::from_slice(&response.body).ok() } else { None };
    let number = |name: &str| discord.as_ref().and_then(|body: &Value| body.get(name)).and_then(Value::as_f64);
    let code = number("code").unwrap_or(0.0) as u64;
    let status = response.status;
    // Discord speaks JSON. A page comes from something in front of it that blocks this machine, and closes no webhook.
    let is_page = kind == DestinationKind::Discord && discord.is_none() && !response.body.is_empty();
    let verdict = match status {
        200..300 => Verdict::Delivered,
        // Discord's codes are more precise than the status.
        _ if code == 10015 || code == 50027 => Verdict::Closed,
        404 if code == 10008 => Verdict::Gone,
        _ if code == BLOCKED => Verdict::Limited {
            after: retry_after(response, unix_s).unwrap_or(PAUSE_BLOCKED).max(PAUSE_MIN),
            global: true,
        },
        429 => limited(kind, response, discord.as_ref(), unix_s),
        408 => Verdict::Again { after: retry_after(response, unix_s), answered: true },
        404 | 410 if kind == (DestinationKind::Http { varies: true }) => Verdict::NeverHere,
        401 | 403 | 404 | 410 if OF_MESSAGE.contains(&code) => Verdict::Never,
        401 | 403 | 404 | 410 if is_page || code > 0 && !CLOSING.contains(&code) => Verdict::Denied,
        401 | 403 | 404 if kind != DestinationKind::Discord => Verdict::Denied,
        // "Gone" is said on purpose, and Standard Webhooks asks to disable such an endpoint.
        401 | 403 | 404 | 410 => Verdict::Closed,
        400 if discord.as_ref().is_some_and(|body| refuses(body, &["username", "avatar_url"])) => Verdict::Unnamed,
        400 if discord.as_ref().is_some_and(|body| refuses(body, &["embeds"])) => Verdict::BadEmbed,
        // Not implemented: the server will not learn it.
        300..=399 | 405 | 501 => Verdict::NeverHere,
        500.. => Verdict::Again { after: retry_after(response, unix_s), answered: true },
        _ => Verdict::Never,
    };
    let reason = if verdict == Verdict::Delivered { String::new() } else { reason(response, code, discord.as_ref()) };
    PostResult { verdict, reason, pause: if kind == DestinationKind::Discord { bucket_pause(response) } else { None } }
}

/// True for an error of Discord about one of these members. Its rules for names and URLs are not all documented, and
/// change. A webhook's URL as Discord shows it names no version of the API, and old versions answer without `errors`:
/// `{"username":["Username cannot contain \"discord\""]}`.
fn refuses(body: &Value, names: &[&str]) -> bool {
    let errors = body.get("errors");
    let is_refused = |name: &&str| match errors {
        Some(errors) => errors.get(name).is_some(),
        None => body.get(name).is_some_and(Value::is_array),
    };
    names.iter().any(is_refused)
}

/// Why a request has no response.
pub(crate) struct Trouble {
    pub(crate) reason: String,
    /// A proxy asks for another login, so the request did not reach its destination.
    pub(crate) asks_login: bool,
}

impl From<String> for Trouble {
    fn from(reason: String) -> Trouble {
        Trouble { reason, asks_login: false }
    }
}

/// The result of a request without a response. With a wrong login for a proxy no post can be sent, and none has reached its
/// destination: all of them wait for the operator, until they are too old.
pub(crate) fn trouble(trouble: Trouble) -> PostResult {
    let verdict = if trouble.asks_login { Verdict::Unsent } else { Verdict::Again { after: None, answered: false } };
    PostResult { verdict, reason: trouble.reason, pause: None }
}

/// The id of the message that a response to "Execute Webhook" shows. `None`: it shows none, or a text that must not get
/// into a URL.
pub(crate) fn message_id(response: &Response) -> Option<String> {
    let body: Value = serde_json::from_slice(&response.body).ok()?;
    body.get("id")?.as_str().filter(|id| is_id(id)).map(str::to_owned)
}

/// The time until Discord accepts another request to this webhook. `None`: it accepts one now. Discord counts requests in
/// buckets, and `remaining` is 0 when this bucket is used up.
fn bucket_pause(response: &Response) -> Option<Duration> {
    let remaining: u64 = response.header("x-ratelimit-remaining")?.parse().ok()?;
    if remaining == 0 { seconds(response.header("x-ratelimit-reset-after")?) } else { None }
}

/// The verdict on a 429. The time comes from the first of these that is there: the body's `retry_after`, the header
/// `Retry-After`, the header `X-RateLimit-Reset-After`.
fn limited(kind: DestinationKind, response: &Response, body: Option<&Value>, unix_s: u64) -> Verdict {
    let reset = response.header("x-ratelimit-reset-after").and_then(seconds);
    let said = body.and_then(|body| body.get("retry_after")).and_then(Value::as_f64).and_then(duration);
    let is_used_up = response.header("x-ratelimit-remaining").is_none_or(|remaining| remaining == "0");
    // Old versions of Discord's API write whole milliseconds in the body, and seconds in the header. The header speaks
    // about the same limit only if its bucket is used up.
    let said = match (said, reset) {
        (Some(said), Some(reset))
            if is_used_up && said.subsec_nanos() == 0 && !reset.is_zero() && said >= reset * 500 =>
        {
            Some(said / 1000)
        }
        (said, _) => said,
    };
    let after = said.or_else(|| retry_after(response, unix_s)).or(reset);
    let flag = body.and_then(|body| body.get("global")) == Some(&Value::Bool(true));
    let says = |name: &str, word: &str| response.header(name).is_some_and(|said| said.eq_ignore_ascii_case(word));
    let scope = says("x-ratelimit-scope", "global") || says("x-ratelimit-global", "true");
    // Cloudflare blocks this machine's IP address in front of Discord. Its answer is a page of HTML, not JSON. Discord's own
    // answers come through Cloudflare too: they name a scope or a bucket, even if their body was cut.
    let server = response.header("server").unwrap_or_default().to_ascii_lowercase();
    let is_of_bucket = ["x-ratelimit-scope", "x-ratelimit-bucket"].iter().any(|name| response.header(name).is_some());
    let shut_out = body.is_none() && !is_of_bucket && server.contains("cloudflare");
    let global = kind == DestinationKind::Discord && (flag || scope || shut_out);
    match after.or(global.then_some(PAUSE_UNSAID)) {
        Some(after) => Verdict::Limited { after: after.max(PAUSE_MIN), global },
        // Discord always says a time. Its words without one come from Cloudflare, which blocks this machine
        // (<https://github.com/discord/discord-api-docs/issues/5810>).
        None if kind == DestinationKind::Discord => Verdict::Limited { after: PAUSE_BLOCKED, global: !is_of_bucket },
        // Without a time it is a failure like others, with a longer delay each time.
        None => Verdict::Again { after: None, answered: true },
    }
}

/// The header `Retry-After`: seconds, with or without a fraction, or a date (RFC 9110, 10.2.3; Discord adds fractions).
fn retry_after(response: &Response, unix_s: u64) -> Option<Duration> {
    let text = response.header("retry-after")?;
    let date = || date::parse_http(text).map(|at| Duration::from_secs(at.saturating_sub(unix_s)).min(PAUSE_MAX));
    seconds(text).or_else(date)
}

/// Parses seconds in digits with at most one point: Rust's own parser would accept `inf`, `1e9` and `-1` too.
fn seconds(text: &str) -> Option<Duration> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if digits { duration(text.parse().ok()?) } else { None }
}

/// The duration, at most [`PAUSE_MAX`]. `None` if the number is negative or not a number.
fn duration(seconds: f64) -> Option<Duration> {
    (seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(PAUSE_MAX.as_secs_f64())))
}

/// The reason for logs and dead letters: `HTTP 400, code 50035: Invalid Form Body`. Shows Discord's message and errors if
/// the body is Discord's, else the beginning of the body.
fn reason(response: &Response, code: u64, body: Option<&Value>) -> String {
    let mut reason = format!("HTTP {}", response.status);
    if (300..400).contains(&response.status) {
        return reason + ": redirections are not followed";
    }
    if code > 0 {
        reason.push_str(&format!(", code {code}"));
    }
    let member = |name: &str| body.and_then(|body| body.get(name));
    let text = match (member("message").and_then(Value::as_str), member("errors")) {
        (Some(message), Some(errors)) => Cow::Owned(format!("{message} {errors}")),
        (Some(message), None) => Cow::Borrowed(message),
        (None, _) => String::from_utf8_lossy(&response.body),
    };
    let mut words = String::new();
    for word in text.split_whitespace() {
        words.push_str(if words.is_empty() { ": " } else { " " });
        words.push_str(word);
    }
    if let Some((at, _)) = words.char_indices().nth(": ".len() + EXCERPT_CHARS_MAX) {
        words.truncate(at);
        words.push(CUT);
    }
    reason + &words
}

#[cfg(test)]
mod tests;
