//! What an answer means: delivered, again later, never, or nothing more to this destination. Pure.
//!
//! | answer | verdict |
//! |---|---|
//! | 2xx | delivered |
//! | 429 | again when it says; a global one holds all Discord destinations of that origin |
//! | 408, 5xx but 501, 429 without a time, no answer | again, later each time |
//! | Discord: 401, 403, 404, 410; its codes 10015 (unknown webhook), 50027 (invalid token) | the destination is closed |
//! | others: 401, 403, 404, 410 | denied: this post never; several in a row and the destination rests |
//! | 404, 410 where the URL has placeholders | never: another event may have another URL |
//! | 3xx (never followed), all else | never |
//!
//! Rate limits: <https://docs.discord.com/developers/topics/rate-limits>.

use std::time::Duration;

use serde_json::Value;

use crate::webhook::date;
use crate::webhook::http::Response;

/// Shortest pause after a rate limit. Some servers say 0.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest pause that a destination may ask for.
pub(crate) const PAUSE_MAX: Duration = Duration::from_secs(86_400);
/// Pause after a global rate limit that names no duration.
const PAUSE_UNSAID: Duration = Duration::from_secs(10);

/// Who answered, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Discord,
    Http {
        /// The URL is another for each event.
        varies: bool,
    },
}

/// What is to become of the post.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    Delivered,
    /// Too many: not before this time.
    Limited {
        after: Duration,
        global: bool,
    },
    /// Another attempt may succeed.
    Again {
        after: Option<Duration>,
        answered: bool,
    },
    /// No attempt of this post will.
    Never,
    /// Nor will this one, and perhaps the destination takes nothing at all: several in a row tell.
    Denied,
    /// Nor of any other.
    Closed,
}

/// The verdict, why, and how long the destination asks for a pause although all is well.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) verdict: Verdict,
    /// Empty when delivered. Holds words of the other end: to be redacted, and escaped where it is shown.
    pub(crate) reason: String,
    pub(crate) pause: Option<Duration>,
}

/// Characters of a body that are shown.
const EXCERPT_CHARS_MAX: usize = 200;
/// Stands for what an excerpt leaves out.
const CUT: char = '…';

/// Reads an answer that came at `unix_s`.
pub(crate) fn read(asked: Asked, response: &Response, unix_s: u64) -> Answer {
    let discord = if asked == Asked::Discord { serde_json::from_slice(&response.body).ok() } else { None };
    let number = |name: &str| discord.as_ref().and_then(|body: &Value| body.get(name)).and_then(Value::as_f64);
    let code = number("code").unwrap_or(0.0) as u64;
    let status = response.status;
    let verdict = match status {
        200..300 => Verdict::Delivered,
        _ if code == 10015 || code == 50027 => Verdict::Closed,
        429 => limited(asked, response, discord.as_ref(), unix_s),
        408 => Verdict::Again { after: retry_after(response, unix_s), answered: true },
        404 | 410 if asked == (Asked::Http { varies: true }) => Verdict::Never,
        401 | 403 | 404 | 410 if asked == Asked::Discord => Verdict::Closed,
        401 | 403 | 404 | 410 => Verdict::Denied,
        501 => Verdict::Never,
        500.. => Verdict::Again { after: retry_after(response, unix_s), answered: true },
        _ => Verdict::Never,
    };
    let reason = if verdict == Verdict::Delivered { String::new() } else { reason(response, code, discord.as_ref()) };
    Answer { verdict, reason, pause: if asked == Asked::Discord { bucket_pause(response) } else { None } }
}

/// No answer came.
pub(crate) fn trouble(reason: String) -> Answer {
    Answer { verdict: Verdict::Again { after: None, answered: false }, reason, pause: None }
}

/// Discord's next request would be one too many: the seconds until its bucket is full again.
fn bucket_pause(response: &Response) -> Option<Duration> {
    let remaining: u64 = response.header("x-ratelimit-remaining")?.parse().ok()?;
    if remaining == 0 { seconds(response.header("x-ratelimit-reset-after")?) } else { None }
}

fn limited(asked: Asked, response: &Response, body: Option<&Value>, unix_s: u64) -> Verdict {
    let reset = response.header("x-ratelimit-reset-after").and_then(seconds);
    let said = body.and_then(|body| body.get("retry_after")).and_then(Value::as_f64).and_then(duration);
    // Old versions of the API say milliseconds here, and seconds in the header.
    let said = match (said, reset) {
        (Some(said), Some(reset)) if !reset.is_zero() && said >= reset * 500 => Some(said / 1000),
        (said, _) => said,
    };
    let after = said.or_else(|| retry_after(response, unix_s)).or(reset);
    let flag = body.and_then(|body| body.get("global")) == Some(&Value::Bool(true));
    let says = |name: &str, word: &str| response.header(name).is_some_and(|said| said.eq_ignore_ascii_case(word));
    let scope = says("x-ratelimit-scope", "global") || says("x-ratelimit-global", "true");
    // Whoever stands before Discord and shuts this address out speaks no JSON.
    let server = response.header("server").unwrap_or_default().to_ascii_lowercase();
    let shut_out = body.is_none() && server.contains("cloudflare");
    let global = asked == Asked::Discord && (flag || scope || shut_out);
    match after.or(global.then_some(PAUSE_UNSAID)) {
        Some(after) => Verdict::Limited { after: after.max(PAUSE_MIN), global },
        // Without a time it is a failure like others: later each time.
        None => Verdict::Again { after: None, answered: true },
    }
}

/// Seconds, with or without a fraction, or a date.
fn retry_after(response: &Response, unix_s: u64) -> Option<Duration> {
    let text = response.header("retry-after")?;
    let date = || date::parse_http(text).map(|at| Duration::from_secs(at.saturating_sub(unix_s)).min(PAUSE_MAX));
    seconds(text).or_else(date)
}

fn seconds(text: &str) -> Option<Duration> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if digits { duration(text.parse().ok()?) } else { None }
}

fn duration(seconds: f64) -> Option<Duration> {
    (seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(PAUSE_MAX.as_secs_f64())))
}

/// `HTTP 400, code 50035: Invalid Form Body`
fn reason(response: &Response, code: u64, body: Option<&Value>) -> String {
    let mut reason = format!("HTTP {}", response.status);
    if (300..400).contains(&response.status) {
        return reason + ": it points elsewhere, which is not followed";
    }
    if code > 0 {
        reason.push_str(&format!(", code {code}"));
    }
    let message = body.and_then(|body| body.get("message")).and_then(Value::as_str).map(str::to_owned);
    let errors = body.and_then(|body| body.get("errors")).map(|errors| format!(" {errors}")).unwrap_or_default();
    let text = match message {
        Some(message) => message + &errors,
        None => String::from_utf8_lossy(&response.body).into_owned(),
    };
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if !words.is_empty() {
        let mut characters = words.chars();
        reason.push_str(": ");
        reason.extend(characters.by_ref().take(EXCERPT_CHARS_MAX));
        reason.extend(characters.next().map(|_| CUT));
    }
    reason
}

/// The text without these secrets, and without the beginning of one where an excerpt was cut.
pub(crate) fn redacted<'a>(text: &str, secrets: impl Iterator<Item = &'a str>) -> String {
    // Longest first: one may be part of another.
    let mut secrets: Vec<&str> = secrets.filter(|secret| !secret.is_empty()).collect();
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    let mut text = secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "***"));
    // As much of one as stands before the place where the excerpt was cut.
    let begun = |text: &str, secret: &str| {
        let ends = secret.char_indices().map(|(at, _)| at).skip(1);
        ends.filter(|end| secret.get(..*end).is_some_and(|begin| text.ends_with(begin))).max()
    };
    let cut = text.strip_suffix(CUT).and_then(|text| {
        let bytes = secrets.iter().filter_map(|secret| begun(text, secret)).max()?;
        text.get(..text.len() - bytes)
    });
    if let Some(kept) = cut {
        text = format!("{kept}***{CUT}");
    }
    text
}

/// The text without words that the request has and the event has not: the hook's own, which may be secret. Names of
/// members that are plain words stay, and short words.
pub(crate) fn without_own_words(text: &str, body: &[u8], event: &[u8]) -> String {
    let (body, event) = (String::from_utf8_lossy(body), String::from_utf8_lossy(event));
    // `"text": ...` in JSON, `text=...` in a form.
    let names = |word: &str| {
        body.match_indices(word).any(|(at, _)| {
            let rest = body.get(at + word.len()..).unwrap_or_default();
            rest.starts_with('=') || rest.strip_prefix('"').is_some_and(|rest| rest.trim_start().starts_with(':'))
        })
    };
    let is_plain = |word: &str| {
        word.len() < 16 && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') && names(word)
    };
    let is_own = |word: &str| word.len() > 3 && word != "HTTP" && body.contains(word) && !event.contains(word);
    let ends = |character: char| !character.is_alphanumeric() && !"-_.+/=".contains(character);
    let mut shown = String::with_capacity(text.len());
    for part in text.split_inclusive(ends) {
        let word = part.trim_end_matches(ends);
        let end = part.get(word.len()..).unwrap_or_default();
        shown.push_str(if is_own(word.trim_end_matches('.')) && !is_plain(word) { "***" } else { word });
        shown.push_str(end);
    }
    shown
}

#[cfg(test)]
mod tests;
