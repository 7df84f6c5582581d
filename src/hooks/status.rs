//! The type `discord_status`: one message on Discord that is kept up to date by edits. Its members, parsed and checked,
//! the last lines of its events, and the values of the game that its texts show.
//! Parsed on the game thread; `webhook/status.rs` renders it and decides when it is edited. Pure.

use std::collections::VecDeque;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Mutex;
use std::time::Duration;

use crate::config::nearest::unknown;
use crate::hooks::color::Color;
use crate::hooks::error::SpecError;
use crate::hooks::members::{COMMON, Members};
use crate::hooks::request::{self, Discord};
use crate::hooks::template::{Context, Template};
use crate::hooks::url::ShownUrl;

/// Seconds between two edits unless the hook has `interval`.
const INTERVAL_S_DEFAULT: u64 = 60;
/// The values of `interval`. Edits share the webhook's rate limit with its other messages, and people read no faster.
const INTERVAL_S: RangeInclusive<u64> = 10..=86_400;
/// Lines of events that a message shows unless the hook has `events`.
const LINES_DEFAULT: u64 = 5;
/// The values of `events`: this many lines of usual length fit into a message.
const LINES: RangeInclusive<u64> = 1..=25;
/// Status messages of one server. Each is a destination of its own, and they must leave room for those of other posts.
pub(crate) const STATUSES_MAX: usize = 32;

/// The placeholders of a status message.
pub(crate) const PLACEHOLDERS: [&str; 12] = [
    "server",
    "hostname",
    "map",
    "gamemode",
    "players",
    "max_players",
    "uptime",
    "started",
    "time",
    "date",
    "week",
    "events",
];
/// The placeholder of the last lines.
pub(crate) const EVENTS: &str = "events";
/// The field with the lines as markdown. The blank keeps it apart from every placeholder that a script can write.
pub(crate) const EVENTS_MADE: &str = "events as markdown";

/// A checked spec of the type `discord_status`.
#[derive(Debug)]
pub struct Status {
    /// The webhook and the texts. Mentions in them never ping.
    pub(crate) discord: Box<Discord>,
    /// The time from one edit to the next.
    pub(crate) interval: Duration,
    /// One message for all servers, which the holder of the hook's lease edits. False: each server has its own.
    pub(crate) is_fleet: bool,
    /// `None`: the message shows no events.
    pub(crate) lines: Option<Lines>,
}

/// The members of a hook of type `discord_status`, without its scope.
pub(crate) fn status(members: &Members<'_>, is_fleet: bool) -> Result<Status, SpecError> {
    let own = ["webhook_url", "webhook", "format", "message", "embed", "username", "avatar_url"];
    members.only(&COMMON, &[&own[..], &["interval", "events", "event_format"]].concat())?;
    let interval_s = members.whole("interval", INTERVAL_S)?.unwrap_or(INTERVAL_S_DEFAULT);
    let kept = members.whole("events", LINES)?;
    let mut discord = request::message(members)?;
    let shows_events = check_placeholders(members, &mut discord)?;
    let lines = match members.text("event_format")? {
        None if shows_events => return Err(members.missing("event_format")),
        None if kept.is_some() => {
            return Err(members.error(EVENTS, format_args!("has no `event_format` that makes a line of an event")));
        }
        None => None,
        Some(_) if !shows_events => {
            return Err(members.error("event_format", format_args!("is never shown: no text has {{events}}")));
        }
        Some(text) => {
            let mut markdown = members.template("event_format", text, Context::Markdown)?;
            markdown.stands_beside_marks();
            let plain = members.template("event_format", text, Context::Plain)?;
            let max = usize::try_from(kept.unwrap_or(LINES_DEFAULT)).unwrap_or(usize::MAX);
            Some(Lines { markdown, plain, kept: Mutex::new(Kept::new(max)) })
        }
    };
    Ok(Status { discord, interval: Duration::from_secs(interval_s), is_fleet, lines })
}

/// Refuses a placeholder that has no value in a status message, and prepares the texts for the lines of events. True if
/// a text shows them.
fn check_placeholders(members: &Members<'_>, discord: &mut Discord) -> Result<bool, SpecError> {
    let mut shows_events = false;
    let mut check = |name: &str, placeholder: &str| {
        shows_events |= placeholder == EVENTS;
        if PLACEHOLDERS.contains(&placeholder) || placeholder.starts_with("time:") {
            return Ok(());
        }
        let found = unknown("placeholder", placeholder, &mut PLACEHOLDERS.into_iter());
        let known = PLACEHOLDERS.join(", ");
        let found =
            format_args!("`{{{placeholder}}}`: {found} (known are {known}; `event_format` takes fields of events)");
        Err(members.error(name, found))
    };
    let color = discord.embed.as_ref().and_then(|embed| embed.color.as_ref()).and_then(Color::placeholder);
    color.map_or(Ok(()), |path| check("embed.color", path))?;
    let (texts, urls) = templates(discord);
    for (name, text) in texts {
        text.placeholders().try_for_each(|placeholder| check(name, &placeholder))?;
        text.write_as_made(EVENTS, EVENTS_MADE);
    }
    for (name, url) in urls {
        url.placeholders().iter().try_for_each(|placeholder| check(name, placeholder))?;
    }
    Ok(shows_events)
}

type Named<'a, T> = Vec<(&'static str, &'a mut T)>;

/// All templates of a message, each with the member that it stands in.
fn templates(discord: &mut Discord) -> (Named<'_, Template>, Named<'_, ShownUrl>) {
    let (mut texts, mut urls): (Named<'_, Template>, Named<'_, ShownUrl>) = (Vec::new(), Vec::new());
    texts.extend(discord.content.as_mut().map(|text| ("format", text)));
    texts.extend(discord.username.as_mut().map(|text| ("username", text)));
    urls.extend(discord.avatar_url.as_deref_mut().map(|url| ("avatar_url", url)));
    let Some(embed) = discord.embed.as_deref_mut() else { return (texts, urls) };
    texts.extend(embed.title.as_mut().map(|text| ("embed.title", text)));
    texts.extend(embed.description.as_mut().map(|text| ("embed.description", text)));
    for field in &mut embed.fields {
        texts.extend([("embed.fields", &mut field.name), ("embed.fields", &mut field.value)]);
    }
    for (name, label) in [("embed.footer", &mut embed.footer), ("embed.author", &mut embed.author)] {
        let Some(label) = label.as_deref_mut() else { continue };
        texts.push((name, &mut label.text));
        urls.extend([&mut label.icon_url, &mut label.url].into_iter().flatten().map(|url| (name, &mut **url)));
    }
    for (name, url) in
        [("embed.url", &mut embed.url), ("embed.image", &mut embed.image), ("embed.thumbnail", &mut embed.thumbnail)]
    {
        urls.extend(url.as_deref_mut().map(|url| (name, url)));
    }
    (texts, urls)
}

/// The last events of a hook, a line of text for each.
pub(crate) struct Lines {
    /// `event_format`, for texts that Discord reads as markdown and for all others.
    pub(crate) markdown: Template,
    pub(crate) plain: Template,
    /// The thread that has an event adds its line, `rt-webhooks` reads them. Nobody holds the lock for long.
    pub(crate) kept: Mutex<Kept>,
}

/// The newest lines, up to a number.
#[derive(Debug)]
pub(crate) struct Kept {
    max: usize,
    /// Newest first: a text that is too long for Discord is cut at its end.
    lines: VecDeque<Line>,
}

/// An event as text without line ends, in both forms.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Line {
    pub(crate) markdown: String,
    pub(crate) plain: String,
}

impl Kept {
    fn new(max: usize) -> Kept {
        Kept { max, lines: VecDeque::new() }
    }

    /// Adds the line of one more event. The oldest makes room.
    pub(crate) fn add(&mut self, line: Line) {
        self.lines.push_front(line);
        self.lines.truncate(self.max);
    }

    /// Takes over the lines of the hook that this one replaces. They are older than its own.
    pub(crate) fn continue_from(&mut self, older: Vec<Line>) {
        self.lines.extend(older);
        self.lines.truncate(self.max);
    }

    /// The lines, newest first.
    pub(crate) fn all(&self) -> Vec<Line> {
        self.lines.iter().cloned().collect()
    }
}

/// Shows no text of an event.
impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("lines of events")
    }
}

/// The values of the game. The game thread asks Lua for them when a status message needs them. `None`: the game, or a
/// script that replaced one of its functions, did not tell.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GameValues {
    /// The name in the server browser.
    pub hostname: Option<String>,
    pub map: Option<String>,
    pub gamemode: Option<String>,
    pub players: Option<u32>,
    pub max_players: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line { markdown: text.to_owned(), plain: text.to_owned() }
    }

    fn shown(kept: &Kept) -> String {
        kept.all().iter().map(|line| line.plain.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_newest_lines_stay_and_a_new_hook_goes_on_with_them() {
        let mut old = Kept::new(3);
        ["a", "b", "c", "d"].into_iter().for_each(|text| old.add(line(text)));
        assert_eq!(shown(&old), "d c b");
        let mut new = Kept::new(2);
        new.add(line("e"));
        new.continue_from(old.all());
        assert_eq!(shown(&new), "e d");
        new.add(line("f"));
        assert_eq!((shown(&new), shown(&old)), ("f e".to_owned(), "d c b".to_owned()));
    }
}
