//! `tail`: prints events as they pass through Redis, one line each. One thread. Gaps, lost connections and refusals are
//! messages on stderr, so that stdout holds events alone.

use std::ffi::OsString;
use std::io::{self, Write};
use std::ops::ControlFlow;

use realtime::facade::calendar::iso8601;
use realtime::facade::event::topic::Topic;

use crate::feed::{self, Event, News};
use crate::options::{Options, redis_options};
use crate::settings::Settings;
use crate::text::{plain, quoted};
use crate::{Failure, report};

/// Text for `--help`, and for wrong arguments.
pub(crate) const USAGE: &str = concat!(
    "\
usage: realtime-cli tail PATTERN... [--json] [--limit N] [OPTION...]
PATTERN        a channel, or a pattern with * ? [ ] as in realtime.On; without the prefix
               (behind -- also one that begins with a dash)
--json         lines of JSON, as those of `log cat`, with the server
--limit N      ends after so many events
",
    redis_options!()
);

/// Runs until the limit, or until the reader of stdout ends.
pub(crate) fn run(arguments: Vec<OsString>, out: &mut impl Write) -> Result<(), Failure> {
    let options = Options::parse(arguments, &["--json", "--limit"], USAGE)?;
    if options.patterns.is_empty() {
        return Err(Failure::Usage("no pattern is given".to_owned(), USAGE));
    }
    let settings = Settings::read(&options)?;
    let topics: Vec<Topic> = options.patterns.iter().map(|pattern| Topic::new(pattern.as_bytes())).collect();
    let (mut left, mut failed, mut said) = (options.limit.unwrap_or(u64::MAX), None, String::new());
    let mut line = String::new();
    let mut tell = |news: News<'_>| {
        let written = match news {
            News::Event(event) if event.is_repeat() => Ok(()),
            News::Event(event) => {
                if let (missed @ 1.., Some(identity)) = (event.missed(), &event.identity) {
                    let channel = plain(&String::from_utf8_lossy(event.channel));
                    report(&format!("{missed} events of {} on `{channel}` were missed", identity.server));
                }
                line.clear();
                if options.is_json {
                    push_json(&mut line, &event)
                } else {
                    push_human(&mut line, &event)
                }
                left = left.saturating_sub(1);
                out.write_all(line.as_bytes())
            }
            News::TooLarge { channel, bytes } => {
                let channel = plain(&String::from_utf8_lossy(channel));
                report(&format!("an event of {bytes} bytes on `{channel}` was skipped: it is too large"));
                Ok(())
            }
            News::Refused { topic, reason } => {
                let name = plain(&String::from_utf8_lossy(topic.name()));
                report(&format!("redis refused the subscription to `{name}`: {reason}"));
                Ok(())
            }
            News::Connected { redis } => {
                said.clear();
                report(&format!("listening to {redis}; {}", settings.sources));
                Ok(())
            }
            News::Lost { reason, pause } => {
                // The same reason again and again is one line.
                if said != reason {
                    report(&format!("{reason}; trying again in {:.1} s and on", pause.as_secs_f64()));
                    reason.clone_into(&mut said);
                }
                Ok(())
            }
            News::Idle => out.flush(),
        };
        let written = if left == 0 { written.and_then(|()| out.flush()) } else { written };
        match written {
            Err(err) => {
                failed = Some(err);
                ControlFlow::Break(())
            }
            Ok(()) if left == 0 => ControlFlow::Break(()),
            Ok(()) => ControlFlow::Continue(()),
        }
    };
    feed::run(&settings, "tail", &topics, &mut tell);
    failed.map_or(Ok(()), |err: io::Error| Err(Failure::Output(err)))
}

/// `2026-11-24T12:30:00.250Z eu-1 player:kill {"killer":"Al"}`
fn push_human(line: &mut String, event: &Event<'_>) {
    let server = event.identity.map_or("-", |identity| identity.server);
    let channel = plain(&String::from_utf8_lossy(event.channel));
    *line += &format!("{} {server} {channel} {}\n", iso8601(event.unix_ms), event.data());
}

/// `{"time":1763942400.250,"seq":42,"channel":"player:kill","server":"eu-1","data":{"killer":"Al"}}`
fn push_json(line: &mut String, event: &Event<'_>) {
    *line += &format!("{{\"time\":{}.{:03}", event.unix_ms / 1000, event.unix_ms % 1000);
    if let Some(identity) = event.identity.filter(|identity| identity.seq > 0) {
        *line += &format!(",\"seq\":{}", identity.seq);
    }
    *line += &format!(",\"channel\":{}", quoted(&String::from_utf8_lossy(event.channel)));
    if let Some(identity) = event.identity {
        *line += &format!(",\"server\":{}", quoted(identity.server));
    }
    if !event.is_json {
        *line += ",\"raw\":true";
    }
    *line += &format!(",\"data\":{}}}\n", event.data());
}
