//! Whole servers without Lua in one process, until it is told to end or killed. For the tests of presence.
//! Arguments: settings as JSON, then the names of the servers. Prints `NAME up OTHER`, `NAME down OTHER` and `NAME error
//! TEXT`, and understands one word a line: `list`, for its first server; `sleep`, `wake`, `map` and `stop`, for all.

use std::io::{self, BufRead};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use fault_kit::{Folder, Server, defaults};
use realtime::facade::config::Sources;
use realtime::facade::event::notice::Notice;
use realtime::facade::hooks::status::{GameValues, Player};
use serde_json::{Value, json};

/// The time between two ticks.
const TICK: Duration = Duration::from_millis(20);

/// Prints a line at once.
fn say(line: &str) {
    use io::Write;
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("the test reads stdout");
}

fn start(settings: &Value, name: &str) -> Server {
    let mut settings = settings.clone();
    settings["server"] = json!(name);
    let mut sources = Sources::new(defaults(), None, |_| None);
    sources.configure(&settings.to_string()).expect("settings");
    let mut server = Server::in_folder(sources, Folder::default());
    let list = vec![Player { steamid64: "76561198000000001".into(), name: "Jo".into() }];
    server.game = GameValues {
        map: Some(format!("gm_{name}")),
        gamemode: Some("sandbox".to_owned()),
        hostname: Some(format!("Server {name}, everybody is welcome")),
        players: Some(1),
        max_players: Some(64),
        list,
    };
    server
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [settings, names @ ..] = &arguments[..] else { panic!("settings and names, found {arguments:?}") };
    let settings: Value = serde_json::from_str(settings).expect("settings");
    let mut servers: Vec<(&String, Server)> = names.iter().map(|name| (name, start(&settings, name))).collect();
    let (words, heard) = mpsc::channel();
    // The end of the test closes stdin, and so ends this process.
    std::thread::spawn(move || io::stdin().lock().lines().map_while(Result::ok).try_for_each(|line| words.send(line)));
    let mut sleeps = false;
    loop {
        match heard.recv_timeout(TICK) {
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
            Ok(word) => match word.as_str() {
                "list" => {
                    let Some((name, server)) = servers.first_mut() else { return };
                    say(&format!("{name} list {}", server.read(|requests| requests.servers())));
                }
                "sleep" => sleeps = true,
                "wake" => sleeps = false,
                "map" => {
                    for (_, server) in &mut servers {
                        server.engine.detach();
                        server.engine.attach();
                    }
                }
                "stop" => {
                    servers.into_iter().for_each(|(_, server)| server.stop());
                    return say("stopped");
                }
                word => panic!("no such word: {word}"),
            },
        }
        for (name, server) in servers.iter_mut().filter(|_| !sleeps) {
            server.tick();
            for notice in server.told.drain(..) {
                match notice {
                    Notice::ServerUp { name: other } => say(&format!("{name} up {other}")),
                    Notice::ServerDown { name: other } => say(&format!("{name} down {other}")),
                    Notice::Error { reason, .. } => say(&format!("{name} error {reason}")),
                    _ => {}
                }
            }
        }
    }
}
