//! Posts on the disk come back in their order, in this process or in the next, whatever happens to their files.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::hooks::delivery::{Batch, BatchForm, Retries};
use crate::io::plain_file::held;
use crate::webhook::post::{Content, Gathering};
use crate::webhook::spool::tests::{Directory, clock, ids_and_queries, numbers, request};

const DAY: Duration = Duration::from_secs(86_400);

/// A post to `http://<host>/` with a body of so many bytes, which may be repeated for three days.
fn post_of(number: u64, host: &str, bytes: usize, now: Now) -> Post {
    let url = format!("http://{host}/");
    Post {
        id: PostId { boot: 7, number },
        address: PostAddress::http(&url, &url, false),
        hook: b"h".as_slice().into(),
        content: Content::Request(request(&url, bytes)),
        event: None,
        expires: now.instant + 3 * DAY,
        retries: Retries { retry_for: 3 * DAY, attempts: u32::MAX },
        gathering: None,
        attempts: 0,
        refusals: 0,
        merged: Vec::new(),
    }
}

fn address(host: &str) -> PostAddress {
    post_of(0, host, 0, clock()).address
}

/// Bounds with files of about two small posts.
const SMALL: Bounds = Bounds { posts: 20, bytes: 1024 * 1024, file_bytes: 400 };

fn overflow(directory: &Directory) -> Overflow {
    Overflow::new(&directory.0, SMALL)
}

/// The next process after the death of all others.
fn heir(directory: &Directory, now: Now) -> (Overflow, Adopted) {
    let mut heir = overflow(directory);
    let (adopted, marked) = heir.adopt(&HashSet::new(), now);
    marked.unwrap();
    (heir, adopted)
}

/// The numbers of all posts of this destination, in their order.
fn drain(overflow: &mut Overflow, host: &str, now: Now) -> (Vec<u64>, u64) {
    let (mut all, mut lost) = (Vec::new(), 0);
    // A step may end at the end of a file, or at a line that is no post.
    for _ in 0..1000 {
        let back = overflow.take(&address(host), 3, now).unwrap();
        lost += back.lost;
        all.extend(numbers(&back.posts));
        if count(overflow, host) == 0 {
            return (all, lost);
        }
    }
    panic!("it does not end: {all:?}");
}

fn count(overflow: &Overflow, host: &str) -> u64 {
    overflow.counts().filter(|(of, _)| **of == address(host)).map(|(_, count)| count).sum()
}

fn ids(numbers: &[u64]) -> Vec<PostId> {
    numbers.iter().map(|number| PostId { boot: 7, number: *number }).collect()
}

#[test]
fn posts_come_back_in_order_and_their_files_are_removed() {
    let (directory, now) = (Directory::new("over-order"), clock());
    let mut overflow = overflow(&directory);
    assert!(directory.names().is_empty() && !directory.path("overflow.1.lock").exists(), "nothing is made in advance");
    for number in 1..=10 {
        overflow.append(&post_of(number, if number % 5 == 0 { "b" } else { "a" }, 10, now), now).unwrap();
    }
    assert_eq!((count(&overflow, "a"), count(&overflow, "b")), (8, 2));
    assert!(directory.names().len() > 4, "{:?}", directory.names());
    assert_eq!(drain(&mut overflow, "a", now), (vec![1, 2, 3, 4, 6, 7, 8, 9], 0));
    let before = directory.names().len();
    overflow.settled(&ids(&[1, 2, 99])).unwrap();
    assert!(directory.names().len() <= before);
    overflow.settled(&ids(&[3, 4, 6, 7, 8, 9])).unwrap();
    assert_eq!(directory.names().len(), 1, "{:?}", directory.names());
    assert_eq!(drain(&mut overflow, "b", now), (vec![5, 10], 0));
    overflow.settled(&ids(&[10, 5])).unwrap();
    assert!(directory.names().is_empty() && !overflow.wants_retry());
    // It can be filled again.
    overflow.append(&post_of(11, "a", 10, now), now).unwrap();
    assert_eq!(drain(&mut overflow, "a", now), (vec![11], 0));
}

/// Whatever was not settled comes back, also posts that were in memory when the process was killed.
#[test]
fn a_killed_process_leaves_its_posts_to_the_next() {
    let (directory, now) = (Directory::new("over-killed"), clock());
    let mut killed = overflow(&directory);
    (1..=6).for_each(|number| killed.append(&post_of(number, "a", 10, now), now).unwrap());
    assert_eq!(numbers(&killed.take(&address("a"), 3, now).unwrap().posts), [1, 2]);
    killed.settled(&ids(&[2])).unwrap();
    // A living process keeps its posts.
    let (mut other, adopted) = heir(&directory, now);
    assert!(adopted.files.is_empty() && adopted.left.is_empty());
    other.append(&post_of(20, "a", 10, now), now).unwrap();
    assert!(directory.names().iter().any(|name| name == "overflow.2.1.jsonl"), "{:?}", directory.names());
    drop(killed);
    let (mut next, adopted) = heir(&directory, now);
    assert_eq!(
        adopted.files.iter().map(|(first, count)| (first.id.number, *count)).collect::<Vec<_>>(),
        [(1, 1), (3, 2), (5, 2)]
    );
    assert_eq!(drain(&mut next, "a", now), (vec![1, 3, 4, 5, 6], 0));
    drop((next, other));
    // The next one adopts the files of both, and its own posts follow.
    let (mut last, _) = heir(&directory, now);
    last.append(&post_of(30, "a", 10, now), now).unwrap();
    assert!(directory.names().iter().all(|name| name.starts_with("overflow.1.")), "{:?}", directory.names());
    assert_eq!(drain(&mut last, "a", now), (vec![1, 3, 4, 5, 6, 20, 30], 0));
    last.settled(&ids(&[1, 3, 4, 5, 6, 20, 30])).unwrap();
    assert!(directory.names().is_empty());
}

/// The process is killed while it writes, at any byte.
#[test]
fn a_file_can_be_read_after_a_kill_at_any_byte() {
    let (directory, now) = (Directory::new("over-cut"), clock());
    let lines: Vec<String> = (1..=2).map(|number| line(&post_of(number, "a", 10, now), now)).collect();
    let whole = format!("{}{}{}", lines[0], lines[1], marks(&ids(&[1])));
    for end in 0..=whole.len() {
        fs::write(directory.path("overflow.1.5.jsonl"), &whole.as_bytes()[..end]).unwrap();
        let (mut next, adopted) = heir(&directory, now);
        assert_eq!((adopted.unreadable, adopted.left.len()), (0, 0), "{end}");
        // A line counts without its line end, a mark from its last bracket on.
        let posts = lines
            .iter()
            .scan(0, |at, line| {
                *at += line.len();
                Some(*at)
            })
            .filter(|at| end + 1 >= *at)
            .count();
        let expected: Vec<u64> = if end >= whole.len() - 1 { vec![2] } else { (1..=posts as u64).collect() };
        next.append(&post_of(3, "a", 10, now), now).unwrap();
        let all = [&expected[..], &[3]].concat();
        assert_eq!(drain(&mut next, "a", now), (all.clone(), 0), "{end}");
        // A mark is readable behind whatever was left.
        next.settled(&ids(&all[..1])).unwrap();
        drop(next);
        let (mut last, adopted) = heir(&directory, now);
        assert!(adopted.unreadable <= 1 && adopted.left.is_empty(), "{end}");
        assert_eq!(drain(&mut last, "a", now), (all[1..].to_vec(), 0), "{end}");
        last.settled(&ids(&all)).unwrap();
        assert!(directory.names().is_empty(), "{end}: {:?}", directory.names());
    }
}

/// An editor saves a file without its last line end, or puts another file in its place.
#[test]
fn marks_stand_on_their_own_lines_in_the_file_at_the_path() {
    let rows = [(false, false), (false, true), (true, false), (true, true)];
    // Windows lets nobody replace a file that is open.
    for (is_new, is_marked) in rows.into_iter().filter(|(is_new, _)| cfg!(unix) || !is_new) {
        let (directory, now) = (Directory::new("over-edited"), clock());
        let mut overflow = Overflow::new(&directory.0, Bounds::default());
        (1..=3).for_each(|number| overflow.append(&post_of(number, "a", 10, now), now).unwrap());
        assert_eq!(drain(&mut overflow, "a", now), (vec![1, 2, 3], 0));
        if is_marked {
            overflow.settled(&ids(&[1])).unwrap();
        }
        let text = directory.text("overflow.1.1.jsonl");
        let name = if is_new { "overflow.1.1.jsonl~" } else { "overflow.1.1.jsonl" };
        fs::write(directory.path(name), text.trim_end()).unwrap();
        fs::rename(directory.path(name), directory.path("overflow.1.1.jsonl")).unwrap();
        overflow.settled(&ids(&[1, 2])).unwrap();
        let own = directory.text("overflow.1.1.jsonl");
        assert!(own.starts_with(&text) && own.ends_with("]}\n"), "{own}");
        drop(overflow);
        let (mut next, adopted) = heir(&directory, now);
        assert_eq!((drain(&mut next, "a", now), adopted.unreadable), ((vec![3], 0), 0), "{is_new} {is_marked}");
    }
}

/// The spool holds posts of the process that ended, also some that came from the disk.
#[test]
fn posts_of_the_spool_are_not_taken_twice() {
    let (directory, now) = (Directory::new("over-spool"), clock());
    let mut ended = overflow(&directory);
    (1..=5).for_each(|number| ended.append(&post_of(number, "a", 10, now), now).unwrap());
    drop(ended);
    let mut next = overflow(&directory);
    let (adopted, marked) = next.adopt(&ids(&[1, 2, 3]).into_iter().collect(), now);
    marked.unwrap();
    assert_eq!(adopted.files.iter().map(|(_, count)| count).sum::<u64>(), 2);
    assert_eq!(drain(&mut next, "a", now), (vec![4, 5], 0));
    drop(next);
    let (mut last, _) = heir(&directory, now);
    assert_eq!(drain(&mut last, "a", now), (vec![4, 5], 0), "the marks are on the disk");
}

#[test]
fn the_oldest_posts_are_named_when_too_many_wait() {
    let (directory, now) = (Directory::new("over-bounds"), clock());
    let mut overflow = overflow(&directory);
    for number in 0..SMALL.posts {
        overflow.append(&post_of(number, if number < 3 { "b" } else { "a" }, 10, now), now).unwrap();
        assert_eq!(overflow.over(), None);
    }
    overflow.append(&post_of(100, "a", 10, now), now).unwrap();
    assert_eq!(overflow.over(), Some(address("b")));
    assert_eq!(numbers(&overflow.take(&address("b"), 1, now).unwrap().posts), [0]);
    assert_eq!(overflow.over(), None, "what came back is in memory");
    // By bytes: a post that is larger than a file has one of its own.
    overflow.append(&post_of(101, "c", SMALL.bytes as usize, now), now).unwrap();
    for oldest in ["b", "b", "a"] {
        assert_eq!(overflow.over(), Some(address(oldest)));
        overflow.take(&address(oldest), 1, now).unwrap();
    }
    assert_eq!(drain(&mut overflow, "c", now), (vec![101], 0));
    assert_eq!(overflow.over(), None);
}

#[test]
fn a_failed_write_closes_the_file_and_loses_that_post_only() {
    let (directory, now) = (Directory::new("over-full"), clock());
    let mut overflow = overflow(&directory);
    overflow.append(&post_of(1, "a", 10, now), now).unwrap();
    // The disk is full when a part of the line is in the file.
    let path = directory.path("overflow.1.1.jsonl");
    overflow.tail = Some((1, File::open(&path).unwrap()));
    assert!(overflow.append(&post_of(2, "a", 10, now), now).is_err());
    let begun = line(&post_of(2, "a", 10, now), now);
    fs::write(&path, format!("{}{}", directory.text("overflow.1.1.jsonl"), &begun[..50])).unwrap();
    overflow.tail = None;
    overflow.append(&post_of(3, "a", 10, now), now).unwrap();
    assert_eq!(numbers(&overflow.take(&address("a"), 9, now).unwrap().posts), [1]);
    overflow.settled(&ids(&[1])).unwrap();
    assert_eq!(drain(&mut overflow, "a", now), (vec![3], 0));
    overflow.settled(&ids(&[3])).unwrap();
    assert!(directory.names().is_empty());
    // The first post of a file fails: nothing is left of it.
    overflow.append(&post_of(4, "a", 10, now), now).unwrap();
    overflow.tail = Some((3, File::open(directory.path("overflow.1.3.jsonl")).unwrap()));
    assert!(overflow.append(&post_of(5, "a", 10, now), now).is_err());
    assert_eq!(drain(&mut overflow, "a", now), (vec![4], 0));
}

/// Names of files come from outside: the largest numbers do not end the numbers of new files, and a name that is taken is
/// passed over.
#[test]
fn foreign_names_do_not_stop_new_files() {
    for foreign in [u64::MAX, u64::MAX - 1, 1 << 48, (1 << 48) - 1, 3] {
        let (directory, now) = (Directory::new(&format!("over-foreign-{foreign}")), clock());
        let mut dead = overflow(&directory);
        (1..=2).for_each(|number| dead.append(&post_of(number, "a", 10, now), now).unwrap());
        drop(dead);
        fs::rename(directory.path("overflow.1.1.jsonl"), directory.path(&format!("overflow.1.{foreign}.jsonl")))
            .unwrap();
        let (mut heir, _) = heir(&directory, now);
        for number in 3..=8 {
            // Each takes the name of the file that would be next.
            fs::write(directory.path(&format!("overflow.1.{}.jsonl", heir.next)), "mine").unwrap();
            heir.append(&post_of(number, "b", 300, now), now).unwrap();
        }
        assert_eq!(drain(&mut heir, "b", now), ((3..=8).collect(), 0), "{foreign}");
    }
}

/// Another program may write any marks into a file: only those of its posts are kept.
#[test]
fn marks_of_other_posts_take_no_memory() {
    let (directory, now) = (Directory::new("over-marks"), clock());
    let mut dead = overflow(&directory);
    (1..=2).for_each(|number| dead.append(&post_of(number, "a", 10, now), now).unwrap());
    drop(dead);
    let others: String = (100..9000).map(|number| format!("\"7-{number}\",")).collect();
    let text = directory.text("overflow.1.1.jsonl");
    let text = format!("{text}{{\"done\":[{others}7,\"x\",\"7-\",\"7-2\"]}}\n{{\"done\":[\"7-1");
    fs::write(directory.path("overflow.1.1.jsonl"), text).unwrap();
    let (mut heir, adopted) = heir(&directory, now);
    assert_eq!((adopted.files.len(), adopted.unreadable), (1, 0));
    assert_eq!(heir.queues[0].files[0].done, ids(&[2]).into_iter().collect());
    assert_eq!(drain(&mut heir, "a", now), (vec![1], 0));
}

/// The posts that were adopted count, also if the marks of those in the spool cannot be written yet.
#[test]
fn adopted_posts_count_although_marks_fail() {
    let (directory, now) = (Directory::new("over-unmarked"), clock());
    let mut killed = overflow(&directory);
    (1..=4).for_each(|number| killed.append(&post_of(number, "a", 10, now), now).unwrap());
    drop(killed);
    let mut heir = overflow(&directory);
    held::hold_after(&directory.path("overflow.1.1.jsonl"), 1, 1);
    let known: HashSet<PostId> = ids(&[1]).into_iter().collect();
    let (adopted, marked) = heir.adopt(&known, now);
    assert!(marked.is_err() && heir.wants_retry());
    let counts: Vec<u64> = adopted.files.iter().map(|(_, count)| *count).collect();
    assert_eq!((counts, count(&heir, "a")), (vec![1, 2], 3));
    assert!(heir.retry(&known, now).1.is_ok() && !heir.wants_retry());
    assert_eq!(drain(&mut heir, "a", now), (vec![2, 3, 4], 0));
}

#[test]
fn held_files_are_tried_again() {
    let (directory, now) = (Directory::new("over-held"), clock());
    let mut own = overflow(&directory);
    (1..=4).for_each(|number| own.append(&post_of(number, "a", 10, now), now).unwrap());
    let first = directory.path("overflow.1.1.jsonl");
    held::hold(&first, 1);
    assert!(sharing::is_held(&own.take(&address("a"), 9, now).map(|_| ()).unwrap_err()));
    assert_eq!(numbers(&own.take(&address("a"), 9, now).unwrap().posts), [1, 2]);
    // Marks wait for a held file, and so do removals.
    held::hold(&first, 1);
    assert!(own.settled(&ids(&[1])).is_err() && own.wants_retry());
    assert!(own.retry(&HashSet::new(), now).1.is_ok() && !own.wants_retry());
    assert!(directory.text("overflow.1.1.jsonl").ends_with("{\"done\":[\"7-1\"]}\n"));
    held::hold(&first, 1);
    assert!(own.settled(&ids(&[2])).is_err() && own.wants_retry());
    assert!(own.retry(&HashSet::new(), now).1.is_ok() && !own.wants_retry());
    assert!(!first.exists());
    (5..=6).for_each(|number| own.append(&post_of(number, "a", 10, now), now).unwrap());
    drop(own);
    // The next process cannot read one of the files at first, or not take the lock.
    for name in ["overflow.1.2.jsonl", "overflow.1.lock"] {
        held::hold(&directory.path(name), 2);
        let (mut next, adopted) = heir(&directory, now);
        assert!(adopted.left.is_empty() && next.wants_retry(), "{name}");
        assert!(next.retry(&HashSet::new(), now).0.files.is_empty() && next.wants_retry(), "{name}: still held");
        let (adopted, result) = next.retry(&HashSet::new(), now);
        assert!(result.is_ok() && !adopted.files.is_empty() && !next.wants_retry(), "{name}");
        assert_eq!(drain(&mut next, "a", now), (vec![3, 4, 5, 6], 0), "{name}");
    }
}

#[test]
fn posts_of_changed_files_are_counted() {
    type Change = fn(&Path);
    let changes: [(Change, u64); 4] = [
        (|path| fs::remove_file(path).unwrap(), 2),
        (|path| fs::write(path, "").unwrap(), 2),
        (
            |path| {
                fs::remove_file(path).unwrap();
                fs::create_dir(path).unwrap();
            },
            2,
        ),
        (
            |path| {
                let text = fs::read_to_string(path).unwrap();
                fs::write(path, text.replacen("http://a/", "http://c/", 1)).unwrap();
            },
            1,
        ),
    ];
    for (change, lost) in changes {
        let (directory, now) = (Directory::new("over-changed"), clock());
        let mut overflow = overflow(&directory);
        (1..=4).for_each(|number| overflow.append(&post_of(number, "a", 10, now), now).unwrap());
        change(&directory.path("overflow.1.1.jsonl"));
        let (found, missing) = drain(&mut overflow, "a", now);
        assert_eq!((found.len() as u64, missing), (4 - lost, lost));
        // A mark for a file that is gone is no error.
        fs::remove_file(directory.path("overflow.1.2.jsonl")).unwrap();
        (overflow.tail, overflow.removals) = (None, Vec::new());
        assert!(overflow.settled(&ids(&[3])).is_ok() && !overflow.wants_retry());
        assert!(found.ends_with(&[3, 4]));
    }
}

#[test]
fn foreign_files_are_left_untouched() {
    type Make = fn(&Path);
    let files: [(Make, &str); 4] = [
        (|path| fs::write(path, "my notes").unwrap(), "it holds no posts"),
        (|path| fs::write(path, "{}\n[1]\n\0\0\0").unwrap(), "it holds no posts"),
        (|path| fs::create_dir(path).unwrap(), "it is a folder"),
        (|path| File::create(path).unwrap().set_len(LINE_BYTES_MAX as u64 * 2 + 1).unwrap(), "bytes"),
    ];
    for (make, words) in files {
        let (directory, now) = (Directory::new("over-foreign"), clock());
        make(&directory.path("overflow.1.1.jsonl"));
        let (mut next, adopted) = heir(&directory, now);
        assert!(
            adopted.files.is_empty() && adopted.left.len() == 1 && adopted.left[0].contains(words),
            "{:?}",
            adopted.left
        );
        assert!(adopted.left[0].contains("overflow.1.1.jsonl"), "{:?}", adopted.left);
        next.append(&post_of(1, "a", 10, now), now).unwrap();
        assert_eq!(drain(&mut next, "a", now), (vec![1], 0));
        next.settled(&ids(&[1])).unwrap();
        assert_eq!(directory.names(), ["overflow.1.1.jsonl"], "{words}");
    }
    // Other names are not looked at.
    let (directory, now) = (Directory::new("over-names"), clock());
    let names = "overflow.jsonl overflow.0.1.jsonl overflow.17.1.jsonl overflow.1.x.jsonl overflow.1.1.txt \
        overflow.1.01.jsonl overflow.1.+1.jsonl overflow.01.1.jsonl";
    names.split(' ').for_each(|name| fs::write(directory.path(name), "x").unwrap());
    let (_, adopted) = heir(&directory, now);
    assert!(adopted.left.is_empty() && directory.names().len() == 8, "{:?}", adopted.left);
    // A folder that is not there, or is none.
    let mut nowhere = Overflow::new(&directory.path("nowhere"), SMALL);
    let (adopted, marked) = nowhere.adopt(&HashSet::new(), now);
    assert!(adopted.left.is_empty() && marked.is_ok());
    let mut none = Overflow::new(&directory.path("overflow.jsonl"), SMALL);
    assert!(none.append(&post_of(1, "a", 10, now), now).is_err());
}

#[test]
fn the_number_of_processes_is_bounded() {
    let (directory, now) = (Directory::new("over-many"), clock());
    let mut all: Vec<Overflow> = (0..PROCESSES_MAX).map(|_| overflow(&directory)).collect();
    all.iter_mut().for_each(|one| one.append(&post_of(1, "a", 10, now), now).unwrap());
    let refused = overflow(&directory).append(&post_of(1, "a", 10, now), now).unwrap_err();
    assert_eq!(refused.to_string(), "16 other servers keep posts in this folder");
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_read_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let (directory, now) = (Directory::new("over-rights"), clock());
    let mut overflow = overflow(&directory);
    (1..=3).for_each(|number| overflow.append(&post_of(number, "a", 10, now), now).unwrap());
    for entry in fs::read_dir(&directory.0).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
    }
}

/// Rows: hours that pass by the clock of the world, and the hours left of three days.
#[test]
fn the_deadline_follows_the_clock_of_the_world() {
    for (hours, left) in [(0, 72), (1, 71), (71, 1), (72, 0), (73, 0), (1000, 0), (-1, 72)] {
        let (directory, now) = (Directory::new("over-deadline"), clock());
        let mut ended = overflow(&directory);
        ended.append(&post_of(1, "a", 10, now), now).unwrap();
        drop(ended);
        // The next process has a monotonic clock of its own.
        let unix_ms = now.unix_ms.saturating_add_signed(hours * 3_600_000);
        let later = Now { instant: now.instant + DAY * 30, unix_ms };
        let (mut next, _) = heir(&directory, later);
        let back = next.take(&address("a"), 1, later).unwrap().posts;
        assert_eq!(back[0].expires, later.instant + Duration::from_secs(left * 3600), "{hours}");
        assert!(back[0].retries.is_long());
    }
}

#[derive(Debug, Clone)]
enum Use {
    Append { host: usize, bytes: usize },
    Take { host: usize, posts: usize },
    Settle { which: usize },
    Restart,
}

fn uses() -> impl Strategy<Value = Use> {
    prop_oneof![
        4 => (0..3_usize, 0..400_usize).prop_map(|(host, bytes)| Use::Append { host, bytes }),
        3 => (0..3_usize, 1..6_usize).prop_map(|(host, posts)| Use::Take { host, posts }),
        3 => any::<usize>().prop_map(|which| Use::Settle { which }),
        1 => Just(Use::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever bytes name the hook, and however long the values of an event make the URL.
    #[test]
    fn posts_with_any_id_and_url_come_back((hook, query) in ids_and_queries(), in_batches: bool) {
        let (directory, now) = (Directory::new("over-ids"), clock());
        let mut post = post_of(1, "a", 10, now);
        if let Content::Request(request) = &mut post.content {
            request.url = request.url.with_query(&query);
        }
        post.hook = hook.into();
        if in_batches {
            let batch = Batch { max: 7, wait: Duration::ZERO, form: BatchForm::Lines };
            post.gathering = Some(Gathering { batch, until: now.instant });
            post.address = post.address.for_batches_of(&post.hook);
        }
        let mut overflow = overflow(&directory);
        overflow.append(&post, now).unwrap();
        let back = overflow.take(&post.address, 1, now).unwrap();
        prop_assert_eq!((numbers(&back.posts), back.lost), (vec![1], 0));
        prop_assert!(back.posts[0].hook == post.hook && back.posts[0].request() == post.request());
        drop(overflow);
        let (mut next, adopted) = heir(&directory, now);
        prop_assert_eq!((adopted.files.len(), adopted.unreadable), (1, 0));
        prop_assert_eq!(next.take(&post.address, 1, now).unwrap().posts.len(), 1);
    }

    /// A list for each destination does the same: what is not settled comes back in order, after a restart once more.
    #[test]
    fn a_disk_queue_is_a_list(uses in prop::collection::vec(uses(), 1..60)) {
        let (directory, now) = (Directory::new("over-model"), clock());
        let hosts = ["a", "b", "c"];
        let mut overflow = overflow(&directory);
        // The unread and the read posts of each host.
        let mut model: [(VecDeque<u64>, Vec<u64>); 3] = Default::default();
        let mut number = 0;
        for step in uses {
            match step {
                Use::Append { host, bytes } => {
                    number += 1;
                    overflow.append(&post_of(number, hosts[host], bytes, now), now).unwrap();
                    model[host].0.push_back(number);
                }
                Use::Take { host, posts } => {
                    let back = overflow.take(&address(hosts[host]), posts, now).unwrap();
                    prop_assert!(back.lost == 0 && back.posts.len() <= posts);
                    prop_assert!(!back.posts.is_empty() || model[host].0.is_empty());
                    for found in numbers(&back.posts) {
                        prop_assert_eq!(Some(found), model[host].0.pop_front());
                        model[host].1.push(found);
                    }
                }
                Use::Settle { which } => {
                    let read: Vec<u64> = model.iter().flat_map(|(_, read)| read.clone()).collect();
                    if let Some(number) = read.get(which % read.len().max(1)) {
                        overflow.settled(&ids(&[*number])).unwrap();
                        model.iter_mut().for_each(|(_, read)| read.retain(|other| other != number));
                    }
                }
                Use::Restart => {
                    drop(overflow);
                    let found;
                    (overflow, found) = heir(&directory, now);
                    prop_assert!(found.unreadable == 0 && found.left.is_empty());
                    for (unread, read) in &mut model {
                        read.sort_unstable();
                        read.drain(..).rev().for_each(|number| unread.push_front(number));
                    }
                }
            }
            for (at, (unread, _)) in model.iter().enumerate() {
                prop_assert_eq!(count(&overflow, hosts[at]), unread.len() as u64);
            }
            let waits = model.iter().any(|(unread, read)| !unread.is_empty() || !read.is_empty());
            prop_assert_eq!(directory.names().is_empty(), !waits);
        }
    }
}

/// Only the posts in the file are lost, whatever another program does with it. Rows: the change, the posts that were read
/// back before it, and those that come after it.
#[test]
fn posts_that_follow_a_change_of_their_file_are_kept() {
    type Change = fn(&Directory);
    let empty: Change = |directory| fs::write(directory.path("overflow.1.1.jsonl"), b"").unwrap();
    let other: Change = |directory| {
        let now = clock();
        overflow(directory).append(&post_of(9, "b", 10, now), now).unwrap();
    };
    let rows: Vec<(Change, usize, (Vec<u64>, u64))> = vec![
        // Windows removes no open file.
        #[cfg(unix)]
        (|directory| fs::remove_file(directory.path("overflow.1.1.jsonl")).unwrap(), 0, (vec![2], 1)),
        #[cfg(unix)]
        (|directory| fs::remove_dir_all(&directory.0).unwrap(), 0, (vec![2], 1)),
        (empty, 0, (vec![2], 1)),
        (empty, 1, (vec![2], 0)),
        (other, 0, (vec![1, 2], 0)),
    ];
    for (change, taken, expected) in rows {
        let (directory, now) = (Directory::new("over-changed"), clock());
        let bounds = Bounds { file_bytes: 100_000, ..SMALL };
        let mut overflow = Overflow::new(&directory.0, bounds);
        overflow.append(&post_of(1, "a", 10, now), now).unwrap();
        assert_eq!(overflow.take(&address("a"), taken, now).unwrap().posts.len(), taken);
        // Another destination's file is the tail.
        if taken > 0 {
            overflow.append(&post_of(8, "c", 10, now), now).unwrap();
        }
        change(&directory);
        overflow.append(&post_of(2, "a", 10, now), now).unwrap();
        assert_eq!(drain(&mut overflow, "a", now), expected);
    }
}
