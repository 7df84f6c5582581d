//! Which Redis the tool reads: `--redis` and `--prefix`, then the environment, then `realtime.json`, as the module itself
//! decides. Opens connections; the caller owns them. No text that leaves this file holds a password.
//!
//! The module chooses once for the life of its process where `redis` is `auto`; the tool cannot ask it. So it tries the
//! embedded server of the folder first, which answers only while a game server uses it, and then the default address.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use realtime::facade::config::{Config, Place, Sources};
use realtime::facade::embedded::Files;
use realtime::facade::io::shown::shown;
use realtime::facade::redis::cluster::NodePlace;
use realtime::facade::redis::connection::{ConnectError, Connection};
use realtime::facade::threads::settings::read_operator;

use crate::options::Options;
use crate::{Failure, report};

/// Longest attempt to connect to a node of a cluster.
const NODE_PATIENCE: Duration = Duration::from_secs(5);

/// The settings of one run.
pub(crate) struct Settings {
    config: Config,
    /// `garrysmod/data/realtime`, where the embedded server keeps its login.
    folder: PathBuf,
    /// Which source sets which option, for people.
    pub(crate) sources: String,
}

impl Settings {
    /// Reads all sources, and reports what is wrong in them. An option that locates the data and cannot be read is a
    /// failure, as for the module.
    pub(crate) fn read(options: &Options) -> Result<Settings, Failure> {
        let game = match &options.game {
            Some(folder) if Path::new(folder).is_dir() => PathBuf::from(folder),
            Some(_) => return Err(Failure::Other("`--game` names no folder that can be read".to_owned())),
            None if Path::new("garrysmod").is_dir() => PathBuf::from("garrysmod"),
            None => PathBuf::from("."),
        };
        // The variables of proxies are for webhooks, which this tool does not send: they are nothing to report.
        let is_ours = |name: &OsString| name.to_string_lossy().to_ascii_uppercase().starts_with("REALTIME_");
        let operator = read_operator(&game.join("cfg"), std::env::vars_os().filter(|(name, _)| is_ours(name)));
        let (mut config, _) = Sources::of(Config::defaults("cli", 0), operator).resolve();
        let mut sources = config.sources();
        for (name, value) in [("redis", &options.redis), ("prefix", &options.prefix)] {
            let Some(value) = value else { continue };
            let source = format!("--{name}");
            let members = serde_json::json!({ name: value }).to_string();
            if let Some(err) = config.apply_json(&source, &members).first() {
                return Err(Failure::Other(err.to_string()));
            }
            sources += &format!("; {source}");
        }
        let failure = config.not_understood();
        config.complaints.iter().filter(|text| failure != Some(text)).for_each(|text| report(text));
        if let Some(found) = failure {
            return Err(Failure::Other(found.to_owned()));
        }
        // The name in CLIENT LIST is that of this tool, not of a server. A plain word is never refused.
        config.apply_json("realtime-cli", r#"{"server":"cli"}"#);
        Ok(Settings { config, folder: game.join("data").join("realtime"), sources })
    }

    /// Stands before every channel and key in Redis.
    pub(crate) fn prefix(&self) -> &str {
        &self.config.prefix
    }

    /// Connects to another node of the cluster that this Redis belongs to.
    pub(crate) fn open_node(&self, (host, port): NodePlace) -> Result<Connection, ConnectError> {
        Connection::open_node(&self.config, host, port, NODE_PATIENCE)
    }

    /// Connects. `purpose` is the end of the name in CLIENT LIST. Also returns the Redis in words.
    pub(crate) fn open(&self, purpose: &str) -> Result<(Connection, String), ConnectError> {
        if self.config.place == Place::Named {
            return open(&self.config, purpose);
        }
        let embedded = match Files::peek(&self.folder) {
            Some(login) => open(&self.config.embedded_at(login.address()), purpose),
            None => {
                let found = format!("there is no login of it in `{}`; --game names the folder", shown(&self.folder));
                Err(ConnectError::Embedded { found })
            }
        };
        match embedded {
            Err(_) if self.config.place == Place::Auto => open(&self.config, purpose),
            outcome => outcome,
        }
    }
}

fn open(config: &Config, purpose: &str) -> Result<(Connection, String), ConnectError> {
    Connection::open(config, purpose).map(|connection| (connection, config.redis_name()))
}

/// The error with advice, in one line.
pub(crate) fn words(err: &ConnectError) -> String {
    format!("{err} ({})", err.advice())
}
