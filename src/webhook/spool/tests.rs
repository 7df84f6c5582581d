//! Posts in a spool come back in exactly one process, with the time that has passed, and without the settled ones.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::config::Secret;
use crate::event::EventText;
use crate::hooks::delivery::{Batch, BatchForm, Retries};
use crate::hooks::signature::Signing;
use crate::hooks::url::Url;
use crate::io::plain_file::held;
use crate::webhook::discord::Message;
use crate::webhook::http::Request;
use crate::webhook::post::{Content, Gathering, PostAddress};
use crate::webhook::saved;

/// A secret for signing.
const SECRET: &str = "whsec_hunter2hunter2hunter2hunter2AAAA";

pub(in crate::webhook) fn request(url: &str, bytes: usize) -> Request {
    let headers = vec![("Authorization".into(), Secret::new("Bearer hunter2".to_owned()))];
    let (method, timeout) = ("PUT".into(), Duration::from_millis(2500));
    let (url, body) = (Url::parse(url).unwrap(), "é".repeat(bytes / 2).into_bytes());
    let signing = Signing::new(vec![Secret::new(SECRET.to_owned())]);
    Request { url, method, headers, body, signing, timeout }
}

fn message(text: &str) -> Message {
    let mentions = json!({ "parse": ["everyone"], "users": ["1"], "roles": [] });
    let embed = json!({ "title": "t", "fields": [{ "name": "ab", "value": "c", "inline": false }] });
    let body = json!({ "content": text, "username": "u", "embeds": [embed], "allowed_mentions": mentions });
    Message::from_body(&body).unwrap()
}

fn posts(now: Now) -> Vec<Post> {
    let make = |number, address, content| Post {
        id: PostId { boot: u64::MAX - 1, number },
        address,
        hook: Arc::from(b"one".as_slice()),
        content,
        event: None,
        expires: now.instant + Duration::from_secs(1000 + number),
        retries: Retries::default(),
        gathering: None,
        attempts: 2,
        refusals: 1,
        merged: Vec::new(),
    };
    let discord = Url::parse("http://h/api/webhooks/1/hunter2?thread_id=2").unwrap();
    let said = Content::Message { url: discord.with_query("wait=true"), message: message("m") };
    let sent = Content::Request(request("http://h/x", 40));
    let mut posts = vec![
        make(1, PostAddress::discord(&discord), said),
        make(2, PostAddress::http("http://h/{k}", "http://h/{k}", true), sent),
    ];
    posts[1].event = Some(Arc::new(EventText::new(b"kill", &[b"{\"k\":\"x\"}"], 7)));
    posts
}

/// A directory for one test, removed at its end.
pub(in crate::webhook) struct Directory(pub(in crate::webhook) PathBuf);

impl Directory {
    pub(in crate::webhook) fn new(name: &str) -> Directory {
        // Two tests may choose one name.
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("realtime-spool-{name}-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&path); // A killed run may have left it.
        fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    fn open(&self, now: Now) -> Opened {
        Spool::open(&self.0, now).unwrap()
    }

    /// Leaves the spool of a process that dies with these posts.
    fn leave(&self, posts: &[Post], now: Now) {
        let mut opened = self.open(now);
        opened.spool.write(Spool::lines(posts.iter(), now)).unwrap();
    }

    pub(in crate::webhook) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(in crate::webhook) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// The names of all files except the locks, which stay.
    pub(in crate::webhook) fn names(&self) -> Vec<String> {
        let names = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| !name.ends_with(".lock")).collect();
        names.sort();
        names
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

pub(in crate::webhook) fn clock() -> Now {
    Now { instant: Instant::now(), unix_ms: 1_700_000_000_000 }
}

pub(in crate::webhook) fn numbers(posts: &[Post]) -> Vec<u64> {
    posts.iter().map(|post| post.id.number).collect()
}

#[test]
fn written_posts_come_back_in_the_next_process() {
    let (directory, now) = (Directory::new("once"), clock());
    let before = posts(now);
    directory.leave(&before, now);
    directory.leave(&before, now);
    assert_eq!(directory.names(), ["spool.jsonl"]);
    let later = Now { instant: now.instant, unix_ms: now.unix_ms + 100_000 };
    let Opened { mut spool, found: Found { posts: after, unreadable, left } } = directory.open(later);
    assert_eq!((after.len(), unreadable, left.len()), (2, 0, 0));
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((after.id, &after.address, &after.hook), (before.id, &before.address, &before.hook));
        assert_eq!((after.attempts, after.refusals), (2, 1));
        assert!(after.request() == before.request());
        assert_eq!(after.expires, before.expires - Duration::from_secs(100));
    }
    // A message can be merged and split again; an event can be shown instead of the body.
    let Content::Message { message: back, .. } = &after[0].content else { panic!("{:?}", after[0]) };
    assert_eq!(*back, message("m"));
    assert_eq!(after[1].event.as_ref().unwrap().payload(), b"{\"k\":\"x\"}");
    // The file stays until the process that adopted it has settled its posts.
    assert_eq!(directory.names(), ["spool.jsonl"]);
    spool.write(Spool::lines([].into_iter(), later)).unwrap();
    assert!(directory.names().is_empty());
}

/// The settings of a hook that the next process has not added yet.
#[test]
fn a_line_holds_the_retries_and_the_batch_of_its_hook() {
    let now = clock();
    let hook: Arc<[u8]> = b"one".as_slice().into();
    let batch = Batch { max: 7, wait: Duration::from_millis(1500), form: BatchForm::Lines };
    let retries = Retries { retry_for: Duration::from_secs(3 * 86_400), attempts: u32::MAX };
    let plain = posts(now).remove(1);
    let address = plain.address.clone().for_batches_of(&hook);
    let gathering = Some(Gathering { batch, until: now.instant + batch.wait });
    let expires = now.instant + retries.retry_for;
    let post = Post { address, retries, gathering, expires, ..posts(now).remove(1) };
    // Half of its time passes, by the clock of the world alone.
    let later = Now { instant: now.instant, unix_ms: now.unix_ms + 36 * 3_600_000 };
    let text = line(&post, now);
    let read = |text: &str, now| saved::post(&serde_json::from_str(text).unwrap(), now);
    let back = read(&text, later).unwrap();
    assert_eq!((back.retries, &back.address, &back.hook), (retries, &post.address, &hook));
    assert_eq!(back.expires, now.instant + retries.retry_for / 2);
    // It has waited: it goes out with those that wait.
    assert_eq!(back.gathering, Some(Gathering { batch, until: now.instant }));
    // The time is over; a clock that was set back makes it no longer than the hook asked for.
    for (hours, left_hours) in [(72, 0), (100, 0), (-5, 72)] {
        let at = Now { instant: now.instant, unix_ms: now.unix_ms.saturating_add_signed(hours * 3_600_000) };
        assert_eq!(read(&text, at).unwrap().expires, now.instant + Duration::from_secs(left_hours * 3600), "{hours}");
    }
    // Longer than any hook may ask for.
    let forged = text.replace("\"left_ms\":259200000", "\"left_ms\":99999999999999");
    assert!(forged != text && read(&forged, now).unwrap().expires == expires);
    let shorter = line(&plain, now);
    assert!(!shorter.contains("retry") && !shorter.contains("batch"), "{shorter}");
    assert_eq!(read(&shorter, now).unwrap().address, plain.address);
}

/// The bytes of an id, and a query of almost as many bytes as a target may have.
pub(in crate::webhook) fn ids_and_queries() -> impl Strategy<Value = (Vec<u8>, String)> {
    let pieces = prop::sample::select(vec!["%D1%8F", "a", "~", "/b", "?", "=", "&"]);
    let query = prop::collection::vec(pieces, 0..1350).prop_map(|pieces| pieces.concat());
    (prop::collection::vec(any::<u8>(), 0..32), query)
}

proptest! {
    /// Ids are any bytes, and the values of an event make URLs longer than a spec allows.
    #[test]
    fn a_line_reads_back_to_its_post((hook, query) in ids_and_queries(), in_batches: bool) {
        let now = clock();
        let hook: Arc<[u8]> = hook.into();
        for mut post in posts(now) {
            match &mut post.content {
                Content::Request(request) => {
                    request.url = request.url.with_query(&query);
                    let batch = Batch { max: 7, wait: Duration::from_millis(1500), form: BatchForm::Array };
                    post.gathering = in_batches.then_some(Gathering { batch, until: now.instant });
                }
                Content::Message { url, .. } => *url = url.with_query(&query),
                Content::Status { .. } => {}
            }
            post.hook = Arc::clone(&hook);
            if post.gathering.is_some() {
                post.address = post.address.for_batches_of(&hook);
            }
            let text = line(&post, now);
            let back = saved::post(&serde_json::from_str(&text).unwrap(), now);
            let back = back.unwrap_or_else(|| panic!("{text}"));
            prop_assert_eq!((back.id, &back.hook, &back.address), (post.id, &post.hook, &post.address));
            prop_assert_eq!((back.gathering, back.retries, back.expires), (post.gathering, post.retries, post.expires));
            prop_assert!(back.request() == post.request(), "{}", text);
        }
    }
}

#[test]
fn merged_messages_have_a_line_each() {
    let now = clock();
    let [mut first, second] = [1, 2].map(|number| Post {
        id: PostId { boot: 1, number },
        content: Content::Message { url: Url::parse("http://h/").unwrap(), message: message(&number.to_string()) },
        ..posts(now).remove(0)
    });
    first.merged.push(second);
    let lines = Spool::lines(first.parts(), now);
    let mut contents = SpoolContents::default();
    assert!(contents.add(&lines.text, now));
    let back = contents.posts;
    let bodies: Vec<Value> = back.iter().map(|post| serde_json::from_slice(&post.request().body).unwrap()).collect();
    assert_eq!((&bodies[0]["content"], &bodies[1]["content"]), (&json!("1"), &json!("2")));
}

#[test]
fn a_settled_post_is_marked_at_once() {
    let (directory, now) = (Directory::new("settled"), clock());
    let posts = posts(now);
    let mut opened = directory.open(now);
    opened.spool.write(Spool::lines(posts.iter(), now)).unwrap();
    let before = directory.text("spool.jsonl");
    let unknown = PostId { boot: 1, number: 1 };
    opened.spool.settled(&[unknown]).unwrap();
    assert_eq!(directory.text("spool.jsonl"), before);
    opened.spool.settled(&[posts[0].id, unknown]).unwrap();
    assert_eq!(directory.text("spool.jsonl"), before + "{\"done\":[\"18446744073709551614-1\"]}\n");
    // The process is killed now.
    drop(opened);
    let mut opened = directory.open(now);
    assert_eq!(numbers(&opened.found.posts), [2]);
    // The last mark removes the file.
    opened.spool.write(Spool::lines(opened.found.posts.iter(), now)).unwrap();
    opened.spool.settled(&[posts[1].id]).unwrap();
    assert!(directory.names().is_empty());
    opened.spool.settled(&[posts[1].id]).unwrap();
}

/// An editor saves the file without its last line end, or puts another file in its place.
#[test]
fn marks_stand_on_their_own_lines_in_the_file_at_the_path() {
    let rows = [(false, false), (false, true), (true, false), (true, true)];
    // Windows lets nobody replace a file that is open.
    for (is_new, is_marked) in rows.into_iter().filter(|(is_new, _)| cfg!(unix) || !is_new) {
        let (directory, now) = (Directory::new("edited"), clock());
        let third = Post { id: PostId { boot: 1, number: 3 }, ..posts(now).remove(1) };
        let posts: Vec<Post> = posts(now).into_iter().chain([third]).collect();
        let mut opened = directory.open(now);
        opened.spool.write(Spool::lines(posts.iter(), now)).unwrap();
        if is_marked {
            opened.spool.settled(&[posts[0].id]).unwrap();
        }
        let text = directory.text("spool.jsonl");
        let name = if is_new { "spool.jsonl~" } else { "spool.jsonl" };
        fs::write(directory.path(name), text.trim_end()).unwrap();
        fs::rename(directory.path(name), directory.path("spool.jsonl")).unwrap();
        opened.spool.settled(&[posts[0].id, posts[1].id]).unwrap();
        let own = directory.text("spool.jsonl");
        assert!(own.starts_with(&text) && own.ends_with("]}\n"), "{own}");
        // The process is killed now.
        drop(opened);
        let found = directory.open(now).found;
        assert_eq!((numbers(&found.posts), found.unreadable), (vec![3], 0), "{is_new} {is_marked}");
    }
}

/// The disk is full when the next process starts: it marks the posts where they are, and the write is to be repeated.
#[cfg(unix)]
#[test]
fn posts_of_a_dead_process_are_marked_although_a_write_failed() {
    let (directory, now) = (Directory::new("full"), clock());
    let posts = posts(now);
    directory.leave(&posts, now);
    let mut opened = directory.open(now);
    // No file can be made in its place.
    fs::create_dir(directory.path("spool.jsonl.new")).unwrap();
    assert!(opened.spool.write(Spool::lines(posts.iter(), now)).is_err());
    assert!(opened.spool.wants_write() && opened.spool.wants_retry());
    opened.spool.settled(&[posts[0].id]).unwrap();
    // The process is killed now.
    drop(opened);
    let mut opened = directory.open(now);
    assert_eq!(numbers(&opened.found.posts), [2]);
    assert!(opened.spool.write(Spool::lines(opened.found.posts.iter(), now)).is_err());
    opened.spool.settled(&[posts[1].id]).unwrap();
    fs::remove_dir(directory.path("spool.jsonl.new")).unwrap();
    assert!(directory.names().is_empty(), "the last mark removes the file");
    opened.spool.write(Spool::lines(posts.iter(), now)).unwrap();
    assert!(!opened.spool.wants_write() && !opened.spool.wants_retry());
}

#[test]
fn a_removed_spool_causes_no_error() {
    let (directory, now) = (Directory::new("removed"), clock());
    let posts = posts(now);
    let mut opened = directory.open(now);
    opened.spool.write(Spool::lines(posts.iter(), now)).unwrap();
    fs::remove_file(directory.path("spool.jsonl")).unwrap();
    opened.spool.settled(&[posts[0].id]).unwrap();
    opened.spool.settled(&[posts[1].id]).unwrap();
    opened.spool.write(Spool::lines(posts.iter(), now)).unwrap();
    assert_eq!(directory.names(), ["spool.jsonl"]);
    // Windows does not allow to remove the folder of a locked file.
    if cfg!(unix) {
        fs::remove_dir_all(&directory.0).unwrap();
        opened.spool.write(Spool::lines(posts.iter(), now)).unwrap();
        assert_eq!(directory.names(), ["spool.jsonl"]);
    }
}

/// The process is killed while it writes a mark, or while it writes the file anew.
#[test]
fn a_spool_can_be_read_after_a_kill_at_any_moment() {
    let (directory, now) = (Directory::new("killed"), clock());
    let posts = posts(now);
    directory.leave(&posts, now);
    let whole = directory.text("spool.jsonl");
    let marked = format!("{whole}{}", saved::marks(&[posts[0].id]));
    for end in whole.len()..=marked.len() {
        fs::write(directory.path("spool.jsonl"), &marked[..end]).unwrap();
        fs::write(directory.path("spool.jsonl.new"), &whole[..whole.len() / 2]).unwrap();
        let mut opened = directory.open(now);
        // A mark counts from its last bracket on.
        let is_marked = end >= marked.len() - 1;
        assert_eq!(opened.found.posts.len(), if is_marked { 1 } else { 2 }, "{end}");
        assert_eq!(opened.found.unreadable, usize::from(end > whole.len() && end < whole.len() + 8), "{end}");
        opened.spool.write(Spool::lines(posts.iter(), now)).unwrap();
        assert_eq!(directory.names(), ["spool.jsonl"]);
        assert_eq!(directory.text("spool.jsonl").lines().count(), 2);
    }
}

#[test]
fn each_process_has_its_own_spool_and_one_process_adopts_that_of_a_dead_one() {
    let (directory, now) = (Directory::new("heirs"), clock());
    let [one, two] = posts(now).try_into().unwrap();
    let mut first = directory.open(now);
    first.spool.write(Spool::lines([&one].into_iter(), now)).unwrap();
    let mut second = directory.open(now);
    assert!(second.found.posts.is_empty(), "the first one lives");
    second.spool.write(Spool::lines([&two].into_iter(), now)).unwrap();
    assert_eq!(directory.names(), ["spool.2.jsonl", "spool.jsonl"]);
    let third = directory.open(now);
    assert!(third.found.posts.is_empty(), "both live");
    // Both die. The next process adopts both spools, and the one after it gets nothing.
    drop((first, second, third));
    let mut heir = directory.open(now);
    assert_eq!(numbers(&heir.found.posts), [1, 2]);
    let other = directory.open(now);
    assert!(other.found.posts.is_empty());
    drop(other);
    // No file is removed before the own file holds all posts.
    assert_eq!(directory.names(), ["spool.2.jsonl", "spool.jsonl"]);
    heir.spool.write(Spool::lines(heir.found.posts.iter(), now)).unwrap();
    assert_eq!(directory.names(), ["spool.jsonl"]);
    assert_eq!(directory.text("spool.jsonl").lines().count(), 2);
    // The second spool is free again.
    let mut other = directory.open(now);
    assert!(other.found.posts.is_empty());
    other.spool.write(Spool::lines([&one].into_iter(), now)).unwrap();
    assert_eq!(directory.names(), ["spool.2.jsonl", "spool.jsonl"]);
}

/// A process died after it wrote its own file, and before it removed the adopted one.
#[test]
fn a_post_in_two_spools_is_one_post() {
    let (directory, now) = (Directory::new("twice"), clock());
    directory.leave(&posts(now), now);
    fs::copy(directory.path("spool.jsonl"), directory.path("spool.2.jsonl")).unwrap();
    assert_eq!(numbers(&directory.open(now).found.posts), [1, 2]);
}

#[test]
fn the_number_of_spools_is_bounded() {
    let (directory, now) = (Directory::new("many"), clock());
    let open: Vec<Opened> = (0..SPOOLS_MAX).map(|_| directory.open(now)).collect();
    let Err(err) = Spool::open(&directory.0, now) else { panic!("one too many") };
    assert_eq!(err.to_string(), "no spool of 16 is free");
    drop(open);
    assert!(Spool::open(&directory.0, now).is_ok());
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_read_a_spool() {
    use std::os::unix::fs::PermissionsExt;
    let (directory, now) = (Directory::new("rights"), clock());
    // Files of a killed process or of an older version have other rights, which the new file does not take over.
    directory.leave(&posts(now), now);
    for name in ["spool.jsonl.new", "spool.jsonl"] {
        let text = directory.text("spool.jsonl");
        fs::write(directory.path(name), text).unwrap();
        fs::set_permissions(directory.path(name), fs::Permissions::from_mode(0o644)).unwrap();
    }
    directory.leave(&posts(now), now);
    for entry in fs::read_dir(&directory.0).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
    }
}

#[test]
fn a_bad_line_loses_that_post_only() {
    let (directory, now) = (Directory::new("bad"), clock());
    let good = line(&posts(now)[1], now);
    let change = |from: &str, to: &str| {
        let changed = good.replacen(from, to, 1);
        assert_ne!(changed, good, "{from}");
        changed
    };
    let older = change("\"hook\":\"one\"", "\"hooks\":[\"one\",\"two\"]");
    let message = line(&posts(now)[0], now);
    let bad = [
        "not json\n".to_owned(),
        "{}\n".to_owned(),
        change("http://h/x", "ftp://h/x"),
        change("Bearer hunter2", "Bearer\\r\\nX: y"),
        change("\"PUT\"", "\"PUT / HTTP/1.1\\r\\n\""),
        change("\"hook\":\"one\"", "\"hook\":1"),
        change("\"hook\":\"one\"", "\"hook\":\"one\",\"hook_base64\":\"!\""),
        change(SECRET, "whsec_short"),
        change("\"attempts\":2", "\"attempts\":99999999999"),
        change("\"type\":\"http\"", "\"type\":\"file\""),
        change("\"channel\":\"kill\"", "\"channel\":1"),
        message.replacen("allowed_mentions", "x", 1),
        good.trim_end().split_at(good.len() / 2).0.to_owned(),
    ];
    for good in [&good, &older] {
        fs::write(directory.path("spool.jsonl"), [good, bad.concat().as_str()].concat()).unwrap();
        let opened = directory.open(now);
        assert_eq!((opened.found.posts.len(), opened.found.unreadable, opened.found.left.len()), (1, bad.len(), 0));
        assert_eq!(&*opened.found.posts[0].hook, b"one");
    }
    let shows =
        older.replace("\"http://h/{k}\"", "\"http://h/hooks/hunter2\"").replace("http://h/x", "http://h/hooks/hunter2");
    fs::write(directory.path("spool.jsonl"), shows).unwrap();
    assert_eq!(
        directory.open(now).found.posts[0].address.name(),
        Url::parse("http://h/hooks/hunter2").unwrap().to_string()
    );
}

/// The spool then uses the next number.
#[test]
fn a_file_that_is_not_a_spool_is_left_untouched() {
    type Make = fn(&Path);
    let files: [(Make, &str); 4] = [
        (|path| fs::write(path, "my notes\n").unwrap(), "is not a spool"),
        (|path| fs::write(path, "{}\n[1]\n\0\0\0").unwrap(), "is not a spool"),
        (|path| fs::create_dir(path).unwrap(), "it is a folder"),
        (|path| File::create(path).unwrap().set_len(SPOOL_BYTES_MAX as u64 * 2 + 1).unwrap(), "bytes"),
    ];
    for (make, words) in files {
        let (directory, now) = (Directory::new("foreign"), clock());
        make(&directory.path("spool.jsonl"));
        let found = fs::metadata(directory.path("spool.jsonl")).unwrap();
        for round in 0..2 {
            let mut opened = directory.open(now);
            assert_eq!((opened.found.left.len(), opened.found.posts.len()), (1, round * 2), "{words}");
            assert!(
                opened.found.left[0].contains(words) && opened.found.left[0].contains("spool.jsonl"),
                "{:?}",
                opened.found.left
            );
            opened.spool.write(Spool::lines(posts(now).iter(), now)).unwrap();
            assert_eq!(directory.names(), ["spool.2.jsonl", "spool.jsonl"]);
        }
        assert_eq!(fs::metadata(directory.path("spool.jsonl")).unwrap().modified().unwrap(), found.modified().unwrap());
    }
}

#[test]
fn a_number_with_an_unusable_lock_is_skipped() {
    let (directory, now) = (Directory::new("lock"), clock());
    fs::create_dir(directory.path("spool.lock")).unwrap();
    let mut opened = directory.open(now);
    assert_eq!(opened.found.left.len(), 1);
    opened.spool.write(Spool::lines(posts(now).iter(), now)).unwrap();
    assert_eq!(directory.names(), ["spool.2.jsonl"]);
    fs::remove_dir(directory.path("spool.lock")).unwrap();
}

#[cfg(unix)]
#[test]
fn a_pipe_in_the_place_of_a_file_blocks_nothing() {
    let (directory, now) = (Directory::new("pipe"), clock());
    let make_pipe = |name: &str| {
        assert!(std::process::Command::new("mkfifo").arg(directory.path(name)).status().unwrap().success())
    };
    make_pipe("spool.lock");
    let mut opened = directory.open(now);
    assert!(
        opened.found.left.len() == 1 && opened.found.left[0].ends_with("it is not a plain file"),
        "{:?}",
        opened.found.left
    );
    opened.spool.write(Spool::lines(posts(now).iter(), now)).unwrap();
    fs::remove_file(directory.path("spool.2.jsonl")).unwrap();
    make_pipe("spool.2.jsonl");
    let settled = opened.spool.settled(&[posts(now)[0].id]);
    assert_eq!(settled.unwrap_err().to_string(), "it is not a plain file");
}

/// Another program holds the spool of a dead process, or its lock, when the next process starts.
#[test]
fn a_held_spool_is_adopted_later() {
    for name in ["spool.jsonl", "spool.lock"] {
        let (directory, now) = (Directory::new("held"), clock());
        directory.leave(&posts(now), now);
        held::hold(&directory.path(name), 2);
        let Opened { mut spool, found } = directory.open(now);
        assert_eq!((found.posts.len(), found.left.len(), spool.wants_retry()), (0, 0, true), "{name}");
        // Its own posts go into a spool of their own meanwhile.
        let own = Post { id: PostId { boot: 7, number: 1 }, ..posts(now).remove(0) };
        spool.write(Spool::lines([&own].into_iter(), now)).unwrap();
        assert_eq!(directory.names(), ["spool.2.jsonl", "spool.jsonl"]);
        let (found, result) = spool.retry(now);
        assert!(found.posts.is_empty() && result.is_ok() && spool.wants_retry(), "{name}: still held");
        let (found, result) = spool.retry(now);
        assert!(result.is_ok() && !spool.wants_retry(), "{name}");
        assert_eq!(numbers(&found.posts), [1, 2]);
        // The file stays until the own file holds the posts.
        spool.settled(&[own.id]).unwrap();
        assert_eq!(directory.names(), ["spool.jsonl"]);
        spool.write(Spool::lines(found.posts.iter(), now)).unwrap();
        assert_eq!(directory.names(), ["spool.2.jsonl"]);
    }
}

/// Another program holds the own file for longer than a virus scanner does: it can be neither replaced nor removed.
#[test]
fn posts_go_into_another_spool_while_the_own_file_is_held() {
    let (directory, now) = (Directory::new("moved"), clock());
    let posts = posts(now);
    let mut opened = directory.open(now);
    opened.spool.write(Spool::lines([&posts[0]].into_iter(), now)).unwrap();
    held::hold(&directory.path("spool.jsonl"), u32::MAX);
    opened.spool.write(Spool::lines(posts.iter(), now)).unwrap();
    assert_eq!(directory.text("spool.2.jsonl").lines().count(), 2);
    assert!(opened.spool.wants_retry());
    assert!(opened.spool.retry(now).1.is_err());
    held::release(&directory.path("spool.jsonl"));
    assert!(opened.spool.retry(now).1.is_ok() && !opened.spool.wants_retry());
    let names = directory.names();
    assert!(!names.contains(&"spool.jsonl".to_owned()) && names.contains(&"spool.2.jsonl".to_owned()), "{names:?}");
    drop(opened);
    assert_eq!(numbers(&directory.open(now).found.posts), [1, 2]);
}

/// A scanner holds the file for a moment: the same attempt succeeds.
#[test]
fn a_file_held_for_a_moment_delays_the_write_only() {
    let (directory, now) = (Directory::new("moment"), clock());
    let mut opened = directory.open(now);
    for name in ["spool.jsonl.new", "spool.jsonl"] {
        held::hold(&directory.path(name), 2);
        opened.spool.write(Spool::lines(posts(now).iter(), now)).unwrap();
        assert_eq!(directory.names(), ["spool.jsonl"]);
    }
}

#[test]
fn marks_wait_while_the_file_is_held() {
    let (directory, now) = (Directory::new("marks"), clock());
    let posts = posts(now);
    let mut opened = directory.open(now);
    opened.spool.write(Spool::lines(posts.iter(), now)).unwrap();
    held::hold(&directory.path("spool.jsonl"), 1);
    assert!(sharing::is_held(&opened.spool.settled(&[posts[0].id]).unwrap_err()));
    assert!(opened.spool.wants_retry());
    assert!(opened.spool.retry(now).1.is_ok() && !opened.spool.wants_retry());
    assert!(directory.text("spool.jsonl").ends_with("{\"done\":[\"18446744073709551614-1\"]}\n"));
    // The last post is settled: the file is removed as soon as it is free.
    held::hold(&directory.path("spool.jsonl"), 1);
    assert!(opened.spool.settled(&[posts[1].id]).is_err() && opened.spool.wants_retry());
    assert!(opened.spool.retry(now).1.is_ok() && !opened.spool.wants_retry());
    assert!(directory.names().is_empty());
}

#[test]
fn the_size_of_a_spool_is_bounded() {
    let now = clock();
    let big = |number| Post {
        content: Content::Request(request("http://h/", 12 * 1024 * 1024)),
        id: PostId { boot: 1, number },
        ..posts(now).remove(1)
    };
    let lines = Spool::lines([&big(1), &big(2), &big(3)].into_iter(), now);
    assert_eq!((lines.posts.len(), lines.left_out), (2, 1));
    assert!(lines.text.len() <= SPOOL_BYTES_MAX);
}

#[test]
fn an_unusable_folder_is_an_error() {
    let (directory, now) = (Directory::new("denied"), clock());
    fs::write(directory.path("file"), "").unwrap();
    assert!(Spool::open(&directory.path("file"), now).is_err());
    // A directory in the place of the temporary file. Windows denies access to it, as to a file that is being deleted: the
    // posts go into the next spool.
    let mut opened = directory.open(now);
    fs::create_dir(directory.path("spool.jsonl.new")).unwrap();
    assert_eq!(opened.spool.write(Spool::lines(posts(now).iter(), now)).is_err(), cfg!(unix));
}
