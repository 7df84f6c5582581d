//! Posts in batches, and posts that wait for long: whatever the endpoint answers and however the process ends, each event
//! arrives in order or is given up with a reason.

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fault_kit::{Answer, Folder, Hook, PATIENCE, Poster, Seen, Web, wait_for, wait_until};
use realtime::facade::webhook::schedule::WEBHOOK_JOBS_MAX;
use serde_json::{Value, json};

fn numbers(seen: &Seen) -> Vec<u64> {
    seen.json().as_array().unwrap().iter().map(|event| event["n"].as_u64().unwrap()).collect()
}

// ---- batches ------------------------------------------------------------------------------------------------------

/// Half of the requests fail, some of them after they were received.
#[test]
fn ten_thousand_events_pass_an_endpoint_that_fails_half_of_the_time() {
    let asked = AtomicUsize::new(0);
    let web = Web::start(move |_| match asked.fetch_add(1, Ordering::SeqCst) % 6 {
        0 => Answer::Status(503),
        2 => Answer::Close,
        4 => Answer::Full(429, "Retry-After: 0.2".to_owned(), String::new()),
        _ => Answer::Status(200),
    });
    let poster = Poster::default();
    let hook = Hook::new("h", json!({ "type": "http", "url": web.url("/"), "batch": { "max": 1000, "seconds": 1 } }));
    for n in 0..10_000 {
        // As many as find room.
        if n % 100 == 0 {
            wait_until("there is room", || poster.shared.webhooks.waiting() < 800);
        }
        poster.post(&hook, json!({ "n": n }));
    }
    poster.wait_delivered(10_000);
    let seen = web.seen();
    let mut first = HashSet::new();
    let each: Vec<u64> = seen.iter().flat_map(numbers).filter(|n| first.insert(*n)).collect();
    assert!(each == (0..10_000).collect::<Vec<_>>(), "{} from {:?} on", each.len(), each.first());
    assert!(seen.len() < 100, "{} requests", seen.len());
    assert!(seen.iter().all(|seen| numbers(seen).is_sorted() && seen.header("content-type") == "application/json"));
    // A request that is repeated has the same content under the same id.
    for (at, one) in seen.iter().enumerate() {
        for other in &seen[at + 1..] {
            assert_eq!(one.header("webhook-id") == other.header("webhook-id"), one.body == other.body);
        }
    }
    poster.assert_balanced();
    poster.stop();
}

#[test]
fn only_the_refused_events_of_a_batch_are_lost() {
    for status in [400, 413, 422] {
        // Elasticsearch and the like: two lines for each event.
        let web = Web::start(move |seen| {
            let text = String::from_utf8_lossy(&seen.body).into_owned();
            let is_bad = text.contains("bad") || status == 413 && text.lines().count() > 20;
            if is_bad { Answer::Full(status, String::new(), format!("no: {text}")) } else { Answer::Status(200) }
        });
        let poster = Poster::default();
        let spec = json!({
            "type": "http", "url": web.url("/_bulk"), "batch": { "max": 16, "seconds": 300 },
            "format": "{\"index\":{\"key\":\"hunter2\"}}\n{\"n\":{n},\"text\":\"{text}\"}",
        });
        let hook = Hook::new("h", spec);
        for n in 0..16 {
            poster.post(&hook, json!({ "n": n, "text": if n == 3 || n == 12 { "bad" } else { "good" } }));
        }
        poster.wait_drained();
        assert_eq!((poster.delivered(), poster.dropped("refused")), (14, 2), "{status}");
        let lines = |seen: &Seen| {
            let text = String::from_utf8(seen.body.clone()).unwrap();
            assert!(text.ends_with('\n') && seen.header("content-type") == "application/x-ndjson");
            let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>();
            lines.chunks(2).map(|pair| pair[1]["n"].as_u64().unwrap()).collect::<Vec<_>>()
        };
        let seen = web.seen();
        assert_eq!(lines(&seen[0]), (0..16).collect::<Vec<_>>());
        let good = seen.iter().filter(|seen| {
            !String::from_utf8_lossy(&seen.body).contains("bad") && (status != 413 || lines(seen).len() <= 10)
        });
        let expected: Vec<u64> = (0..16).filter(|n| *n != 3 && *n != 12).collect();
        assert_eq!(good.flat_map(lines).collect::<Vec<_>>(), expected);
        wait_for("dead letters", 2, || poster.dead_letters().len());
        let dead = poster.dead_letters();
        let found: Vec<(&Value, &Value)> = dead.iter().map(|line| (&line["payload"]["n"], &line["cause"])).collect();
        assert_eq!(found, [(&json!(3), &json!("refused")), (&json!(12), &json!("refused"))]);
        assert!(!format!("{dead:?} {:?}", poster.wait_told(1)).contains("hunter2"));
        poster.stop();
    }
}

/// Events that wait for others when the process ends go into the spool, and the next process posts them at once.
#[test]
fn a_batch_that_gathers_outlives_its_process() {
    let web = Web::start(|_| Answer::Status(200));
    let folder = Folder::default();
    let hook = |max: u32| {
        let spec = json!({ "type": "http", "url": web.url("/"), "batch": { "max": max, "seconds": 300 } });
        Hook::new("h", spec)
    };
    let poster = Poster::with(json!({}), folder.clone());
    (0..5).for_each(|n| poster.post(&hook(100), json!({ "n": n })));
    let began = Instant::now();
    poster.stop();
    assert!(began.elapsed() < Duration::from_secs(60) && web.seen().is_empty());
    let text = std::fs::read_to_string(folder.path().join("spool.jsonl")).unwrap();
    assert_eq!(text.lines().count(), 5);
    let next = Poster::with(json!({}), folder);
    next.wait_delivered(5);
    assert_eq!(web.seen().iter().map(numbers).collect::<Vec<_>>(), [[0, 1, 2, 3, 4]]);
    wait_until("the spool is removed", || !next.spool().exists());
    next.stop();
}

// ---- the disk -----------------------------------------------------------------------------------------------------

/// A web server that is away until it is told to come back, and the numbers that it has accepted since.
struct Away {
    web: Web,
    is_back: Arc<AtomicBool>,
    accepted: Arc<Mutex<Vec<u64>>>,
}

impl Away {
    /// While it is away it answers like this; its number counts the requests.
    fn start(answer: impl Fn(usize) -> Answer + Send + Sync + 'static) -> Away {
        let count = AtomicUsize::new(0);
        let (is_back, accepted) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Vec<u64>>>::default());
        let (asked, accepts) = (Arc::clone(&is_back), Arc::clone(&accepted));
        let web = Web::start(move |seen| {
            if !asked.load(Ordering::SeqCst) {
                return answer(count.fetch_add(1, Ordering::SeqCst));
            }
            accepts.lock().unwrap().extend(numbers(seen));
            Answer::Status(200)
        });
        Away { web, is_back, accepted }
    }

    fn come_back(&self) {
        self.is_back.store(true, Ordering::SeqCst);
    }

    fn accepted(&self) -> Vec<u64> {
        self.accepted.lock().unwrap().clone()
    }
}

/// Posts numbers for this hook, each as soon as there is room for it.
fn post_numbers(poster: &Poster, hook: &Hook, numbers: std::ops::Range<u64>) {
    for n in numbers {
        while poster.try_post(hook, &json!({ "n": n }).to_string()).is_err() {
            std::thread::yield_now();
        }
    }
}

/// The names of the files with posts on the disk.
fn files_on_disk(folder: &Folder) -> Vec<String> {
    let names =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("overflow.") && name.ends_with(".jsonl")).collect()
}

/// The endpoint is away for longer than the memory lasts.
#[test]
fn posts_of_a_long_outage_wait_on_the_disk() {
    const COUNT: u64 = 10_000;
    let away = Away::start(|_| Answer::Close);
    let folder = Folder::default();
    let poster = Poster::with(json!({}), folder.clone());
    let batch = json!({ "max": 500, "seconds": 0.2 });
    let spec = json!({ "type": "http", "url": away.web.url("/"), "batch": batch, "retry_for": 7200 });
    post_numbers(&poster, &Hook::new("h", spec), 0..COUNT);
    // The queue of posts has room for others then.
    wait_until("all posts were taken", || poster.standing("h").tally.offered == COUNT);
    // Another destination is served meanwhile, and its posts never touch the disk.
    let other = Web::start(|_| Answer::Status(200));
    (0..10).for_each(|_| poster.post(&Hook::http_named("other", &other.url("/")), json!({})));
    wait_for("posts to the other one", 10, || other.seen().len());
    let standing = poster.standing("h");
    assert_eq!((standing.waiting, standing.tally.dead), (COUNT, 0));
    // In memory are those in the queue, and those that were in flight when it became full.
    assert!(standing.on_disk >= COUNT - 2 * WEBHOOK_JOBS_MAX as u64, "{standing:?}");
    assert_eq!(poster.shared.webhooks.on_disk(), standing.on_disk);
    assert!(!files_on_disk(&folder).is_empty());
    poster.assert_balanced();
    away.come_back();
    poster.wait_delivered(COUNT + 10);
    let accepted = away.accepted();
    assert!(accepted == (0..COUNT).collect::<Vec<_>>(), "{} from {:?} on", accepted.len(), accepted.first());
    poster.wait_drained();
    wait_until("the files are removed", || files_on_disk(&folder).is_empty());
    assert_eq!(poster.shared.webhooks.on_disk(), 0);
    poster.stop();
}

/// The process is killed during the outage: what was on the disk, or was spooled at a map change, is posted by the next.
#[test]
fn a_killed_process_leaves_its_posts_on_the_disk() {
    const COUNT: u64 = 3000;
    let inner = "REALTIME_TEST_OVERFLOW";
    let hook = |url: &str| Hook::new("h", json!({ "type": "http", "url": url, "retry_for": 259_200, "batch": {} }));
    if let Ok(told) = std::env::var(inner) {
        let (url, rest) = told.split_once(' ').unwrap();
        let (spools, folder) = rest.split_once(' ').unwrap();
        let folder = PathBuf::from(folder);
        let poster = Poster::with(json!({}), Folder::at(folder.clone()));
        post_numbers(&poster, &hook(url), 0..COUNT);
        wait_until("all posts were taken", || poster.standing("h").tally.offered == COUNT);
        if spools == "spools" {
            assert!(poster.shared.webhooks.spool(Instant::now() + PATIENCE));
        }
        std::fs::write(folder.join("ready"), "").unwrap();
        // Waits for its end.
        std::thread::sleep(PATIENCE);
        return;
    }
    for spools in ["spools", "dies"] {
        let away = Away::start(|_| Answer::Close);
        let folder = Folder::default();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_killed_process_leaves_its_posts_on_the_disk", "--nocapture"])
            .env(inner, format!("{} {spools} {}", away.web.url("/"), folder.path().display()))
            .spawn()
            .unwrap();
        wait_until("its posts wait", || folder.path().join("ready").exists());
        child.kill().unwrap();
        child.wait().unwrap();
        let next = Poster::with(json!({}), folder.clone());
        wait_until("the next process has the posts", || next.shared.webhooks.waiting() > 0);
        // New posts come after them.
        post_numbers(&next, &hook(&away.web.url("/")), COUNT..COUNT + 500);
        away.come_back();
        next.wait_drained();
        // Without a spool, those in memory are lost: the oldest.
        let lost = COUNT + 500 - next.delivered();
        assert!(if spools == "spools" { lost == 0 } else { lost <= 2 * WEBHOOK_JOBS_MAX as u64 }, "{spools}: {lost}");
        let accepted = away.accepted();
        assert!(accepted == (lost..COUNT + 500).collect::<Vec<_>>(), "{spools}: {} of {lost}", accepted.len());
        wait_until("the files are removed", || files_on_disk(&folder).is_empty() && !next.spool().exists());
        next.stop();
    }
}

/// The folder is no folder for a while, so that nothing can be written or read there: each post is delivered or counted,
/// and the order is kept.
#[test]
fn a_disk_that_fails_for_a_while_costs_counted_posts() {
    let away = Away::start(|_| Answer::Close);
    let folder = Folder::default();
    let poster = Poster::with(json!({}), folder.clone());
    let spec = json!({ "type": "http", "url": away.web.url("/"), "batch": { "max": 500 }, "retry_for": 7200 });
    let hook = Hook::new("h", spec);
    let taken = |count: u64| wait_for("posts taken", count, || poster.standing("h").tally.offered);
    post_numbers(&poster, &hook, 0..4000);
    taken(4000);
    let aside = folder.path().with_extension("aside");
    std::fs::rename(folder.path(), &aside).unwrap();
    std::fs::write(folder.path(), "").unwrap();
    // A file that is open is not at its place any more, and there is no place for another one.
    post_numbers(&poster, &hook, 4000..5000);
    taken(5000);
    // A post is counted as offered before it is given up.
    poster.assert_balanced();
    let failed = Instant::now();
    let lost = poster.dropped("overflow");
    assert!((1..=1000).contains(&lost), "{lost}");
    std::fs::remove_file(folder.path()).unwrap();
    std::fs::rename(&aside, folder.path()).unwrap();
    away.come_back();
    poster.wait_drained();
    let accepted = away.accepted();
    assert_eq!(accepted.len() as u64, 5000 - lost);
    assert!(accepted.is_sorted_by(|one, next| one < next) && accepted.starts_with(&(0..4000).collect::<Vec<_>>()));
    assert_eq!(poster.dropped("overflow") + poster.dropped("disk"), lost);
    // The disk takes posts again. After a failure it is left alone for a second.
    wait_until("the disk is tried again", || failed.elapsed() > Duration::from_secs(1));
    away.is_back.store(false, Ordering::SeqCst);
    let before = poster.standing("h").tally.offered;
    post_numbers(&poster, &hook, 5000..9000);
    taken(before + 4000);
    away.come_back();
    poster.wait_drained();
    let later = away.accepted().split_off(accepted.len());
    assert!(later == (5000..9000).collect::<Vec<_>>(), "{} from {:?} on", later.len(), later.first());
    wait_until("the files are removed", || files_on_disk(&folder).is_empty());
    poster.stop();
}

/// A full queue, a batch in flight that is as large, and the disk: all of it outlives the process, in order.
#[test]
fn a_restart_keeps_the_order_of_memory_and_disk() {
    let full = WEBHOOK_JOBS_MAX as u64;
    for (retry_for, count) in [(3600, 2 * full), (7200, 5 * full)] {
        // The limit gathers a batch, which then hangs.
        let away = Away::start(|asked| match asked {
            0 => Answer::Full(429, "Retry-After: 1".to_owned(), String::new()),
            _ => Answer::Hang,
        });
        let folder = Folder::default();
        let batch = json!({ "max": full, "seconds": 0 });
        let url = away.web.url("/");
        let spec = json!({ "type": "http", "url": url, "batch": batch, "retry_for": retry_for, "timeout": 60 });
        let hook = Hook::new("h", spec);
        let poster = Poster::with(json!({}), folder.clone());
        post_numbers(&poster, &hook, 0..full);
        wait_for("requests", 2, || away.web.seen().len());
        assert!(numbers(&away.web.seen()[1]).len() as u64 == full);
        post_numbers(&poster, &hook, full..count);
        wait_for("posts taken", count, || poster.standing("h").tally.offered);
        let standing = poster.standing("h");
        assert_eq!((standing.tally.dead, standing.on_disk), (0, count - 2 * full));
        poster.stop();
        away.come_back();
        let next = Poster::with(json!({}), folder.clone());
        next.wait_delivered(count);
        let accepted = away.accepted();
        assert!(accepted == (0..count).collect::<Vec<_>>(), "{} from {:?} on", accepted.len(), accepted.first());
        next.wait_drained();
        wait_until("the files are removed", || files_on_disk(&folder).is_empty() && !next.spool().exists());
        next.stop();
    }
}
