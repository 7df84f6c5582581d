//! What goes into the spool comes out of it, as much later as it is.

use super::*;

fn request(url: &str, bytes: usize) -> Request {
    let headers = vec![("Authorization".into(), Secret::new("Bearer hunter2".to_owned()))];
    let (method, timeout) = ("PUT".into(), Duration::from_millis(2500));
    Request { url: Url::parse(url).unwrap(), method, headers, body: "é".repeat(bytes / 2).into_bytes(), timeout }
}

fn posts(now: Now) -> Vec<Post> {
    let make = |number, address, url: &str| Post {
        id: PostId { boot: u64::MAX - 1, number },
        address,
        hooks: vec![Arc::from(b"one".as_slice()), Arc::from(b"two".as_slice())],
        content: Content::Request(request(url, 40)),
        expires: now.instant + Duration::from_secs(1000 + number),
        attempts: 2,
        refusals: 1,
    };
    let discord = "http://h/api/webhooks/1/hunter2?thread_id=2";
    vec![
        make(
            1,
            Address::discord(&Url::parse(discord).unwrap()),
            "http://h/api/webhooks/1/hunter2?thread_id=2&wait=true",
        ),
        make(2, Address::http("http://h/{k}".to_owned(), "http://h/{k}".to_owned(), true), "http://h/x"),
    ]
}

fn folder(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("realtime-spool-{name}-{}", std::process::id()))
}

fn clock() -> Now {
    Now { instant: Instant::now(), unix_ms: 1_700_000_000_000 }
}

#[test]
fn what_is_written_is_taken_once() {
    let (directory, now) = (folder("once"), clock());
    let before = posts(now);
    let lines = lines(before.iter(), now);
    assert_eq!((lines.posts, lines.left_out), (2, 0));
    write(&directory, &lines).unwrap();
    write(&directory, &lines).unwrap();
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1);
    let later = Now { instant: now.instant, unix_ms: now.unix_ms + 100_000 };
    let (after, unreadable) = take(&directory, later).unwrap();
    assert_eq!((after.len(), unreadable), (2, 0));
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((after.id, &after.address, &after.hooks), (before.id, &before.address, &before.hooks));
        assert_eq!((after.attempts, after.refusals), (2, 1));
        assert!(after.request() == before.request());
        assert_eq!(after.expires, before.expires - Duration::from_secs(100));
    }
    assert!(take(&directory, later).unwrap().0.is_empty());
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
    std::fs::remove_dir_all(&directory).unwrap();
}

#[cfg(unix)]
#[test]
fn only_its_owner_may_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let (directory, now) = (folder("rights"), clock());
    // What a killed process left does not lend its rights.
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("spool.jsonl.new"), "old").unwrap();
    write(&directory, &lines(posts(now).iter(), now)).unwrap();
    let rights = std::fs::metadata(path(&directory)).unwrap().permissions().mode();
    assert_eq!(rights & 0o777, 0o600);
    remove(&directory).unwrap();
    remove(&directory).unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_bad_line_costs_that_post_alone() {
    let (directory, now) = (folder("bad"), clock());
    std::fs::create_dir_all(&directory).unwrap();
    let good = line(&posts(now)[1], now);
    let change = |from: &str, to: &str| {
        let changed = good.replacen(from, to, 1);
        assert_ne!(changed, good, "{from}");
        changed
    };
    let bad = [
        "not json\n".to_owned(),
        "{}\n".to_owned(),
        change("http://h/x", "ftp://h/x"),
        change("Bearer hunter2", "Bearer\\r\\nX: y"),
        change("\"PUT\"", "\"PUT / HTTP/1.1\\r\\n\""),
        change("[\"one\",\"two\"]", "[]"),
        change("\"attempts\":2", "\"attempts\":99999999999"),
        change("\"type\":\"http\"", "\"type\":\"file\""),
        good.trim_end().split_at(good.len() / 2).0.to_owned(),
    ];
    std::fs::write(path(&directory), [&good, bad.concat().as_str()].concat()).unwrap();
    let (posts, unreadable) = take(&directory, now).unwrap();
    assert_eq!((posts.len(), unreadable), (1, bad.len()));
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn it_is_bounded() {
    let now = clock();
    let big = Post { content: Content::Request(request("http://h/", 12 * 1024 * 1024)), ..posts(now).remove(1) };
    let lines = lines([&big, &big, &big].into_iter(), now);
    assert_eq!((lines.posts, lines.left_out), (2, 1));
    assert!(lines.text.len() <= SPOOL_BYTES_MAX);
}

#[test]
fn what_cannot_be_read_is_said() {
    let directory = folder("denied");
    assert!(take(&directory, clock()).unwrap().0.is_empty());
    // A directory in the file's place.
    std::fs::create_dir_all(path(&directory)).unwrap();
    assert!(take(&directory, clock()).is_err());
    std::fs::remove_dir_all(&directory).unwrap();
}
