//! The file on the disk: when it is written, whose files are left alone, and what becomes of failures. The clock is passed
//! in; no thread runs.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::config::Config;
use crate::eventlog::writer::tests::double::Folder;
use crate::hooks::status::GameValues;
use crate::io::plain_file::held;
use crate::stats::{Histogram, Stats};

const FILE: &str = "m/x.prom";
const SECOND: Duration = Duration::from_secs(1);

fn config(file: &str) -> Config {
    let mut config = Config::defaults("box", 27015);
    assert_eq!(config.apply_json("test", &serde_json::json!({ "metrics_file": file }).to_string()), []);
    config
}

fn shared(folder: &Folder) -> Shared {
    Shared::new(config(FILE), folder.0.clone(), Arc::new(Stats::default()), Arc::new(AtomicBool::new(false)))
}

fn text(folder: &Folder, file: &str) -> Option<String> {
    fs::read_to_string(folder.0.join(file)).ok()
}

/// Lets the next write happen, and returns the reasons that scripts were told meanwhile.
fn write(metrics: &mut Metrics<'_>, now: &mut Instant) -> Vec<String> {
    let mut steps = 0;
    while steps < 2 {
        let was_asked = metrics.is_asked;
        *now += metrics.tend(*now);
        steps = if was_asked && !metrics.is_asked { 2 } else { 0 };
    }
    let mut told = Vec::new();
    while let Some(notice) = metrics.shared.notices.pop() {
        if let Notice::Error { operation: "file", target, reason } = notice {
            assert_eq!(&*target, FILE.as_bytes());
            told.push(reason);
        }
    }
    told
}

#[test]
fn the_game_is_asked_a_second_before_each_write() {
    let (folder, mut times) = (Folder::new(), Histogram::default());
    let shared = shared(&folder);
    let (mut now, desk) = (Instant::now(), &shared.webhooks.desk);
    let mut metrics = Metrics::new(&shared, now);
    for (players, step) in [(1, "first"), (2, "second")] {
        assert!(!desk.take_question());
        assert_eq!(metrics.tend(now), SECOND, "{step}");
        assert!(desk.take_question(), "{step}");
        times.record(Duration::from_micros(10));
        shared.metrics.answer(&times);
        let game = GameValues { players: Some(players), max_players: Some(20), ..GameValues::default() };
        desk.tell_game(game, now);
        now += SECOND / 2;
        assert_eq!(metrics.tend(now), SECOND / 2, "not early");
        now += SECOND / 2;
        assert_eq!(metrics.tend(now), EVERY - SECOND, "{step}");
        let text = text(&folder, FILE).unwrap();
        assert!(text.starts_with(MARK), "{text}");
        assert!(text.contains(&format!("gmod_players{{server=\"box-27015\"}} {players}\n")), "{text}");
        assert!(text.contains(&format!("realtime_pump_seconds_count{{server=\"box-27015\"}} {players}\n")), "{text}");
        now += EVERY - SECOND;
    }
    // Without an answer the file goes on, for a while with the last values.
    for (writes, shows) in [(3, true), (2, false)] {
        (0..writes).for_each(|_| assert!(write(&mut metrics, &mut now).is_empty()));
        let text = text(&folder, FILE).unwrap();
        assert_eq!(text.contains("gmod_players"), shows, "{text}");
        assert!(text.contains("realtime_pump_seconds_count{server=\"box-27015\"} 2\n"), "counters never go back");
    }
    assert_eq!(shared.stats.metrics_unwritten.get(), 0);
    assert_eq!(fs::read_dir(folder.0.join("m")).unwrap().count(), 1, "no temporary file is left");
}

/// Rows: a file in its place, at its own or at its temporary path, and whether it belongs to somebody else.
#[test]
fn files_of_others_stay_as_they_are() {
    let old = format!("{MARK}box-27015, process 0000000000000001, at 1\nrealtime_redis_up 1\n");
    for (content, is_others) in [
        ("", false),
        (&old, false),
        (&MARK[..10], false),
        ("# HELP node_cpu x\n", true),
        ("# Written by hand\n", true),
        ("\n", true),
        ("{\"a\":1}", true),
        ("\u{0}\u{0}", true),
    ] {
        for file in [FILE, "m/x.prom.tmp"] {
            let folder = Folder::new();
            let (shared, mut now) = (shared(&folder), Instant::now());
            fs::create_dir_all(folder.0.join("m")).unwrap();
            fs::write(folder.0.join(file), content).unwrap();
            let mut metrics = Metrics::new(&shared, now);
            let told = write(&mut metrics, &mut now);
            assert_eq!(told.len(), usize::from(is_others), "{content:?} {told:?}");
            assert_eq!(shared.stats.metrics_unwritten.get(), u64::from(is_others));
            if !is_others {
                assert!(
                    text(&folder, FILE).unwrap().contains("realtime_build_info{")
                        && text(&folder, "m/x.prom.tmp").is_none()
                );
                continue;
            }
            assert!(told[0].ends_with(&format!("/{file}` is in the way: this module did not write it")), "{told:?}");
            assert_eq!(write(&mut metrics, &mut now), Vec::<String>::new(), "told once");
            assert_eq!(text(&folder, file).as_deref(), Some(content));
            assert_eq!(shared.stats.metrics_unwritten.get(), 2);
            // Its owner moves it away.
            fs::remove_file(folder.0.join(file)).unwrap();
            assert!(write(&mut metrics, &mut now).is_empty());
            assert!(text(&folder, FILE).unwrap().starts_with(MARK));
        }
    }
}

#[test]
fn failures_are_counted_and_told_once_and_tried_again() {
    let folder = Folder::new();
    let (shared, mut now) = (shared(&folder), Instant::now());
    let mut metrics = Metrics::new(&shared, now);
    // A file in the place of the folder.
    fs::write(folder.0.join("m"), "mine").unwrap();
    assert_eq!(write(&mut metrics, &mut now).len(), 1);
    assert_eq!(write(&mut metrics, &mut now).len(), 0);
    fs::remove_file(folder.0.join("m")).unwrap();
    // A folder in the place of the file.
    fs::create_dir_all(folder.0.join(FILE)).unwrap();
    assert_eq!(write(&mut metrics, &mut now), ["file: it is a folder"]);
    fs::remove_dir(folder.0.join(FILE)).unwrap();
    assert_eq!(write(&mut metrics, &mut now).len(), 0);
    // Another program holds it, for longer than one attempt lasts.
    held::hold(&folder.0.join(FILE), 1000);
    let told = write(&mut metrics, &mut now);
    held::release(&folder.0.join(FILE));
    assert!(told.len() == 1 && told[0].starts_with("file: another program holds it: "), "{told:?}");
    assert!(write(&mut metrics, &mut now).is_empty());
    assert_eq!(shared.stats.metrics_unwritten.get(), 4);
    assert_eq!(metrics.target.as_ref().map(|target| target.trouble.as_str()), Some(""));
}

#[cfg(unix)]
#[test]
fn links_are_refused_and_everybody_may_read_the_file() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let (folder, others) = (Folder::new(), Folder::new());
    let (shared, mut now) = (shared(&folder), Instant::now());
    let mut metrics = Metrics::new(&shared, now);
    symlink(&others.0, folder.0.join("m")).unwrap();
    let told = write(&mut metrics, &mut now);
    assert!(told.len() == 1 && told[0].contains("out of the data folder"), "{told:?}");
    fs::remove_file(folder.0.join("m")).unwrap();
    fs::create_dir(folder.0.join("m")).unwrap();
    let own = folder.0.join("own.prom");
    fs::write(&own, MARK).unwrap();
    symlink(&own, folder.0.join(FILE)).unwrap();
    assert_eq!(write(&mut metrics, &mut now), ["file: it is a link"]);
    fs::remove_file(folder.0.join(FILE)).unwrap();
    assert!(write(&mut metrics, &mut now).is_empty());
    assert_eq!(fs::read_to_string(&own).unwrap(), MARK);
    assert_eq!(fs::read_dir(&others.0).unwrap().count(), 0);
    // Files of the test are made with the same rights.
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&folder.0.join(FILE)), mode(&own));
}

#[test]
fn another_path_or_none_takes_the_own_file_away() {
    let folder = Folder::new();
    let (shared, mut now) = (shared(&folder), Instant::now());
    let mut metrics = Metrics::new(&shared, now);
    assert!(write(&mut metrics, &mut now).is_empty());
    shared.reconfigure(config("y.prom"));
    assert_eq!(metrics.tend(now), SECOND, "at once");
    assert_eq!(text(&folder, FILE), None);
    now += SECOND;
    metrics.tend(now);
    // Another server has taken the path over: its file stays.
    let other = text(&folder, "y.prom").unwrap().replace(&process(shared.boot), &process(1));
    fs::write(folder.0.join("y.prom"), &other).unwrap();
    shared.reconfigure(config(""));
    assert_eq!(metrics.tend(now), Duration::MAX);
    assert_eq!(text(&folder, "y.prom"), Some(other));
}

/// The older process leaves the file to the newer one, and takes it back a minute after the last write of that.
#[test]
fn two_servers_with_one_path_do_not_take_turns() {
    let folder = Folder::new();
    let (one, two, mut now) = (shared(&folder), shared(&folder), Instant::now());
    let (mut older, mut newer) = (Metrics::new(&one, now), Metrics::new(&two, now));
    let is_of = |shared: &Shared| text(&folder, FILE).unwrap().contains(&process(shared.boot));
    assert!(write(&mut older, &mut now).is_empty() && is_of(&one));
    for round in 0..10 {
        assert!(write(&mut newer, &mut now.clone()).is_empty() && is_of(&two));
        // The tests are faster than the clock that the file shows.
        let text = text(&folder, FILE).unwrap().replacen(", at ", &format!(", at {round}"), 1);
        fs::write(folder.0.join(FILE), text).unwrap();
        let told = write(&mut older, &mut now);
        assert_eq!(told.len(), usize::from(round == 0), "{told:?}");
        assert!(is_of(&two), "{round}");
    }
    let mut writes = 0;
    while !is_of(&one) {
        assert!(write(&mut older, &mut now).is_empty());
        writes += 1;
    }
    assert_eq!(writes, 4);
}
