//! The arguments of `tail` and `serve`: patterns, and options of which most have a value. Pure.

use std::ffi::OsString;

use realtime::facade::config::limits::NAME_BYTES_MAX;

use crate::Failure;

/// Most patterns or boards of one run. Redis asks each pattern about each event.
const NAMES_MAX: usize = 64;

/// The options that both commands know, for their usage.
macro_rules! redis_options {
    () => {
        "\
--redis URL    redis://[[user:]password@]host[:port][/db], rediss://..., auto or embedded; else as the module decides:
               the environment (REALTIME_REDIS, REALTIME_PREFIX, ...), then realtime.json, then auto. Other users of this
               machine can read a password in an argument: prefer the environment or the file
--prefix TEXT  the prefix of channels and keys, if the module's settings do not say it
--game FOLDER  the server's folder garrysmod, which holds cfg/realtime.json; by default ./garrysmod, else this folder
"
    };
}
pub(crate) use redis_options;

/// The arguments of one run.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Options {
    /// Channels and patterns, without the prefix.
    pub(crate) patterns: Vec<String>,
    pub(crate) redis: Option<String>,
    pub(crate) prefix: Option<String>,
    pub(crate) game: Option<String>,
    pub(crate) is_json: bool,
    pub(crate) limit: Option<u64>,
    pub(crate) port: Option<u16>,
    pub(crate) boards: Vec<String>,
}

impl Options {
    /// Reads the arguments behind the command. `known` are the options that this command takes beside those about Redis.
    pub(crate) fn parse(arguments: Vec<OsString>, known: &[&str], usage: &'static str) -> Result<Options, Failure> {
        Options::read(arguments, known).map_err(|reason| Failure::Usage(reason, usage))
    }

    fn read(arguments: Vec<OsString>, known: &[&str]) -> Result<Options, String> {
        let mut options = Options::default();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let Ok(argument) = argument.into_string() else { return Err("an argument is not UTF-8 text".to_owned()) };
            if !argument.starts_with("--") {
                push_name(&mut options.patterns, "pattern", argument)?;
                continue;
            }
            let (name, given) = match argument.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (argument.as_str(), None),
            };
            if !(matches!(name, "--redis" | "--prefix" | "--game") || known.contains(&name)) {
                return Err(format!("there is no option `{name}`"));
            }
            if name == "--json" && given.is_none() {
                options.is_json = true;
                continue;
            }
            // A value may be a secret in the wrong place, so no error shows it.
            let value = given.or_else(|| arguments.next().and_then(|value| value.into_string().ok()));
            let Some(value) = value else { return Err(format!("`{name}` has no value")) };
            match name {
                "--redis" => options.redis = Some(value),
                "--prefix" => options.prefix = Some(value),
                "--game" => options.game = Some(value),
                "--board" => push_name(&mut options.boards, "board", value)?,
                "--limit" => options.limit = Some(value.parse().map_err(|_| "`--limit` is not a number".to_owned())?),
                "--port" => options.port = Some(value.parse().map_err(|_| "`--port` is not 0 to 65535".to_owned())?),
                _ => return Err(format!("`{name}` has no value")),
            }
        }
        Ok(options)
    }
}

/// Adds a name that may become a part of a command to Redis.
fn push_name(names: &mut Vec<String>, kind: &str, name: String) -> Result<(), String> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(format!("a {kind} has {} bytes, 1 to {NAME_BYTES_MAX} are allowed", name.len()));
    }
    if names.len() >= NAMES_MAX {
        return Err(format!("more than {NAMES_MAX} {kind}s are given"));
    }
    if !names.contains(&name) {
        names.push(name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_or_refused_with_a_reason() {
        let read =
            |line: &str| Options::read(line.split_whitespace().map(OsString::from).collect(), &["--json", "--port"]);
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let rows = [
            ("a b a", Options { patterns: names(&["a", "b"]), ..Options::default() }),
            ("--json a", Options { patterns: names(&["a"]), is_json: true, ..Options::default() }),
            ("--port=7 --redis x", Options { port: Some(7), redis: Some("x".to_owned()), ..Options::default() }),
            ("--prefix gm: --game=/srv", {
                Options { prefix: Some("gm:".to_owned()), game: Some("/srv".to_owned()), ..Options::default() }
            }),
        ];
        for (line, expected) in rows {
            assert_eq!(read(line), Ok(expected), "{line}");
        }
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        let many = (0..=NAMES_MAX).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        for (line, reason) in [
            ("--board x", "there is no option `--board`"),
            ("--redis", "`--redis` has no value"),
            ("--port 65536", "`--port` is not 0 to 65535"),
            ("--port redis://:secret@host", "`--port` is not 0 to 65535"),
            (&long, "a pattern has 1025 bytes, 1 to 1024 are allowed"),
            (&many, "more than 64 patterns are given"),
        ] {
            assert_eq!(read(line), Err(reason.to_owned()), "{line}");
        }
    }
}
