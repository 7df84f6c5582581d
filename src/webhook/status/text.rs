//! The texts of a status message: the lines of its events, and the whole message from the values of the game.
//! Pure. Lines are made on the thread that has the event, messages on `rt-webhooks`.

use std::time::Duration;

use crate::hooks::status::{EVENTS, EVENTS_MADE, GameValues, Line, Lines, Status};
use crate::hooks::template::{Fields, RenderError, Template};
use crate::json::tape;
use crate::json::writer::Writer;
use crate::stats::people;
use crate::webhook::discord::Message;
use crate::webhook::embed::{self, NoMessage};

/// Longest line of an event, in characters: ten of them fit into one message.
const LINE_CHARS_MAX: usize = 200;

/// The line of one event.
pub(crate) fn line_of(lines: &Lines, event: &Fields<'_>) -> Result<Line, RenderError> {
    let one_line = |template: &Template| {
        let text = template.render_text(event)?.replace(['\n', '\r'], " ");
        Ok(embed::cut(text, LINE_CHARS_MAX))
    };
    Ok(Line { markdown: one_line(&lines.markdown)?, plain: one_line(&lines.plain)? })
}

/// The values that a status message shows.
pub(crate) struct Values<'a> {
    pub(crate) server: &'a str,
    pub(crate) game: &'a GameValues,
    /// When the game told them, in milliseconds of Unix time.
    pub(crate) unix_ms: u64,
    /// When this process began, likewise.
    pub(crate) started_ms: u64,
    /// The owner's clock, in seconds to the east of UTC.
    pub(crate) offset_s: i32,
    /// The lines of the last events, newest first.
    pub(crate) lines: &'a [Line],
    /// The channel or pattern of the hook.
    pub(crate) channel: &'a [u8],
}

/// The message with these values. A value that the game did not tell prints `?`. `left_out` gets a sentence for each part
/// that the values do not give, as for [`Message::of`].
pub(crate) fn message_of(
    status: &Status,
    values: &Values<'_>,
    left_out: &mut Vec<String>,
) -> Result<Message, NoMessage> {
    let (json, mut found) = (values.json(), Vec::new());
    // Never fails: the JSON was written here, and is small.
    tape::parse(json.as_bytes(), &mut found).map_err(|_| NoMessage::Empty)?;
    let Values { channel, unix_ms, offset_s, .. } = *values;
    let fields = Fields { tape: &found, json: json.as_bytes(), channel, unix_ms, offset_s };
    Message::of(&status.discord, &fields, left_out)
}

impl Values<'_> {
    /// A member for each placeholder, except for `{time}`, which every event has.
    fn json(&self) -> String {
        let GameValues { hostname, map, gamemode, players, max_players } = self.game;
        let mut json = Writer::default();
        json.open(b'{');
        json.name("server").text(self.server.as_bytes());
        for (name, text) in [("hostname", hostname), ("map", map), ("gamemode", gamemode)] {
            text.iter().for_each(|text| json.name(name).text(text.as_bytes()));
        }
        for (name, number) in [("players", players), ("max_players", max_players)] {
            number.iter().for_each(|number| json.name(name).shown(number));
        }
        let uptime = Duration::from_millis(self.unix_ms.saturating_sub(self.started_ms));
        json.name("uptime").text(people(uptime).as_bytes());
        json.name("started").shown(&(self.started_ms / 1000));
        let joined = |text: fn(&Line) -> &str| self.lines.iter().map(text).collect::<Vec<_>>().join("\n");
        json.name(EVENTS).text(joined(|line| &line.plain).as_bytes());
        json.name(EVENTS_MADE).text(joined(|line| &line.markdown).as_bytes());
        json.close(b'}');
        json.end()
    }
}
