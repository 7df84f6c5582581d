//! The arguments of `tail`, `servers` and `serve`: patterns, and options of which most have a value. Pure.
//! Users of `redis-cli` write `-u ADDRESS`. That is refused: as a pattern, the address would go with its password to the
//! Redis of the settings and to the page. No error shows a text that may be a secret.

use std::ffi::OsString;

use realtime::facade::config::limits::NAME_BYTES_MAX;

use crate::Failure;

/// Most patterns or boards of one run. Redis asks each pattern about each event.
const NAMES_MAX: usize = 64;
/// The refusal of an address where none belongs. It does not show the address, which may hold a password.
const MISPLACED: &str = "an argument looks like an address: write --redis before it";

/// The options that all of them know, for their usage.
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
        // True behind `--`.
        let mut names_only = false;
        while let Some(argument) = arguments.next() {
            let Ok(argument) = argument.into_string() else { return Err("an argument is not UTF-8 text".to_owned()) };
            if names_only || !argument.starts_with('-') {
                push_name(&mut options.patterns, "pattern", argument)?;
                continue;
            }
            if argument == "--" {
                names_only = true;
                continue;
            }
            let (name, given) = split(&argument);
            if !(matches!(name, "--redis" | "--prefix" | "--game") || known.contains(&name)) {
                return Err(unknown("option", name));
            }
            if name == "--json" && given.is_none() {
                options.is_json = true;
                continue;
            }
            // A value may be a secret in the wrong place, so no error shows it. A word with a dash is the next option.
            let next = || arguments.next()?.into_string().ok().filter(|value| !value.starts_with('-'));
            let Some(value) = given.map(str::to_owned).or_else(next) else {
                return Err(format!("`{name}` has no value"));
            };
            match name {
                "--redis" => options.redis = Some(value),
                "--prefix" if is_address(&value) => return Err(MISPLACED.to_owned()),
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

/// The name of an option, and the value behind its `=`.
pub(crate) fn split(option: &str) -> (&str, Option<&str>) {
    option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value)))
}

/// Whether the text may be an address such as `redis://:password@host`. One letter before `://` is a drive of Windows.
pub(crate) fn is_address(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| scheme.len() != 1)
}

/// The refusal of a name that does not exist. It shows plain words only: `-ahunter2` or an address may hold a password.
pub(crate) fn unknown(kind: &str, name: &str) -> String {
    let short = name.strip_prefix('-').filter(|letter| letter.len() == 1);
    let word = name.strip_prefix("--").or(short).unwrap_or(name);
    let is_word = !word.starts_with('-') && word.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-');
    if is_word { format!("there is no {kind} `{name}`") } else { format!("there is no such {kind}") }
}

/// Adds a name that may become a part of a command to Redis.
fn push_name(names: &mut Vec<String>, kind: &str, name: String) -> Result<(), String> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(format!("a {kind} has {} bytes, 1 to {NAME_BYTES_MAX} are allowed", name.len()));
    }
    if is_address(&name) {
        return Err(MISPLACED.to_owned());
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
            ("--prefix=-x -- -a --json --", {
                let patterns = names(&["-a", "--json", "--"]);
                Options { prefix: Some("-x".to_owned()), patterns, ..Options::default() }
            }),
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
            ("--redis --json a", "`--redis` has no value"),
            ("-u redis://:hunter2@host player:*", "there is no option `-u`"),
            ("-u=redis://:hunter2@host", "there is no option `-u`"),
            ("-a hunter2 player:*", "there is no option `-a`"),
            ("-ahunter player:*", "there is no such option"),
            ("--redis://:hunter2@host", "there is no such option"),
            ("-", "there is no such option"),
            ("redis://:hunter2@host player:*", MISPLACED),
            ("-- redis://:hunter2@host", MISPLACED),
            ("--prefix redis://:hunter2@host", MISPLACED),
            ("--port 65536", "`--port` is not 0 to 65535"),
            ("--port redis://:secret@host", "`--port` is not 0 to 65535"),
            (&long, "a pattern has 1025 bytes, 1 to 1024 are allowed"),
            (&many, "more than 64 patterns are given"),
        ] {
            assert_eq!(read(line), Err(reason.to_owned()), "{line}");
        }
    }
}
