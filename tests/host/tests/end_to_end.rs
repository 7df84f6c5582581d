//! The module in the stand-in server, with a real Redis: each test runs Lua scripts of `tests/lua` in one or more servers.
//! Needs `REALTIME_TEST_REDIS`, which `scripts/redis-in-docker` sets. Each test has its own prefix. A script prints
//! `N passed, 0 failed` and ends by itself; otherwise the watchdog of the host ends it.

// Latencies and resources are printed for people, with `cargo test -- --nocapture`.
#![allow(clippy::print_stderr)]

mod running;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fault_kit::certificates::{Authority, Validity};
use fault_kit::{Answer, ConnectProxy, Folder, Redis, Scripted, Way, Web};
use realtime::facade::redis::reply::Reply;
use running::client::Client;
use running::{Host, prefix, project, redis, seen_by_host, unwinding, variables, without_redis};

/// The rows of a file, `left | right`; the right side may be empty.
fn rows(file: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(project(file)).unwrap();
    let rows = text.lines().filter(|line| !line.starts_with('#'));
    rows.map(|row| row.split_once(" | ").map(|(left, right)| (left.to_owned(), right.to_owned())).expect(row)).collect()
}

#[test]
fn lua_values_are_encoded_as_in_encode_txt() {
    let file = "testdata/json/encode.txt";
    let rows = rows(file);
    let set = format!("rows={}", seen_by_host(project(file)));
    for unwinding in unwinding() {
        let prefix = prefix(&format!("encode-{unwinding}"));
        let mut client = Client::connect();
        client.subscribe(&format!("{prefix}row"));
        let options = ["--set", &set, "--unwind", unwinding];
        let said = Host::start_with("encode", &prefix, &options, &[("REALTIME_IDENTITY", "false")]).finish();
        for (number, (expression, expected)) in rows.iter().enumerate() {
            let refused = format!("refused {} ", number + 1);
            match said.lines().find_map(|line| line.strip_prefix(&refused)) {
                Some(reason) => assert!(reason.starts_with(expected), "{expression}: {reason}"),
                None => assert_eq!(String::from_utf8(client.message()).unwrap(), *expected, "{expression}"),
            }
        }
        assert_eq!(client.message(), b"\"end\"", "a row was sent twice, or a refused row was sent");
        assert!(said.contains(&format!("emitted {}", rows.len())), "{said}");
    }
}

#[test]
fn payloads_are_delivered_as_in_deliver_txt() {
    let file = "testdata/json/deliver.txt";
    let set = format!("rows={}", seen_by_host(project(file)));
    for unwinding in unwinding() {
        let prefix = prefix(&format!("deliver-{unwinding}"));
        let mut host = Host::start("deliver", &prefix, &["--set", &set, "--unwind", unwinding]);
        host.line("ready");
        let mut client = Client::connect();
        for (payload, _) in rows(file) {
            client.send(&[b"PUBLISH", format!("{prefix}row").as_bytes(), payload.as_bytes()]);
        }
        host.pass();
    }
}

#[test]
fn the_api_keeps_its_rules() {
    for unwinding in unwinding() {
        let said =
            Host::start("api", &prefix(&format!("api-{unwinding}")), &["--unwind", unwinding, "--allow-errors"]).pass();
        assert!(said.contains("listener `raises` of `errors`, event on `errors`"), "{said}");
    }
}

/// The machine's zone comes from Lua's `os.date` as it is at `require`, and again and again.
#[test]
fn dates_follow_the_machine_and_the_owner() {
    // Of a zone that is 5:30 east, POSIX says -5:30. Windows has other names, so it skips this test.
    for unwinding in unwinding() {
        let (prefix, options) = (prefix(&format!("calendar-{unwinding}")), ["--unwind", unwinding]);
        let said = Host::start_with("calendar", &prefix, &options, &[("TZ", "XXX-5:30")]).pass();
        for offset in ["+05:30", "+06:30"] {
            assert!(said.contains(&format!("dates and days follow the clock of this machine, UTC{offset}")), "{said}");
        }
    }
}

/// The payloads that other programs get, and the data and `meta` that Lua gets.
#[test]
fn identity_is_sent_to_redis_and_shown_in_meta() {
    for unwinding in unwinding() {
        let prefix = prefix(&format!("identity-{unwinding}"));
        let mut client = Client::connect();
        client.subscribe(&format!("{prefix}out"));
        let mut host = Host::start_with(
            "identity",
            &prefix,
            &["--unwind", unwinding, "--allow-errors"],
            &[("REALTIME_SERVER", "eu-1")],
        );
        host.line("ready");
        let plain = [r#"[1]"#, r#""text""#, "5", "true", "[]"];
        plain.iter().for_each(|text| assert_eq!(client.message(), text.as_bytes()));
        let mut boot = String::new();
        for (seq, text) in [(1, r#"{"a":1"#), (2, r#"{ "text":true "#), (3, "{")] {
            let message = String::from_utf8(client.message()).unwrap();
            let comma = if text == "{" { "" } else { "," };
            let rest = message.strip_prefix(&format!("{text}{comma}\"_rt\":\"eu-1/")).expect(&message);
            let [b, s, sent, crc] = rest.strip_suffix("\"}").unwrap().split(':').collect::<Vec<_>>()[..] else {
                panic!("{message}")
            };
            assert!(b.len() == 16 && (boot.is_empty() || b == boot) && s == seq.to_string(), "{message}");
            assert!(sent.len() == 13 && crc.len() == 8, "{message}");
            boot = b.to_owned();
        }
        // A peer sends the numbers 1, 2, 2 again and 5. Then an event of it on another channel, and a `_rt` that is no identity.
        let crc = crc32fast::hash(format!("{prefix}in").as_bytes());
        let event = |n: u32, seq: u32| format!(r#"{{"n":{n},"_rt":"us-9/00000000000000ab:{seq}:1500:{crc:08x}"}}"#);
        let mut peer = Client::connect();
        let mut publish = |channel: &str, text: &str| {
            peer.send(&[b"PUBLISH", format!("{prefix}{channel}").as_bytes(), text.as_bytes()]);
        };
        for (n, seq) in [(1, 1), (2, 2), (3, 2), (4, 5)] {
            publish("in", &event(n, seq));
        }
        publish("relay", &event(5, 9));
        publish("relay", r#"{"_rt":{"a":1},"n":6}"#);
        publish("in", r#"{"n":7}"#);
        host.pass();
    }
}

#[test]
fn a_panic_is_answered_and_the_server_goes_on() {
    for unwinding in unwinding() {
        for place in [
            "open",
            "pump",
            "emit",
            "on",
            "off",
            "set",
            "set_ex",
            "get",
            "get_table",
            "incr",
            "del",
            "expire",
            "command",
        ]
        .into_iter()
        .chain([
            "get_leaderboard",
            "read_event_log",
            "configure",
            "status",
            "stats",
            "report",
            "begin_selftest",
            "reload",
        ])
        .chain(["add_hook", "remove_hook", "add_aggregator", "remove_aggregator"])
        .chain(["pumped", "context", "publisher", "subscriber", "actions", "webhooks"])
        {
            let set = format!("place={place}");
            let prefix = prefix(&format!("panic-{place}-{unwinding}"));
            let options = ["--set", &set, "--unwind", unwinding, "--allow-errors"];
            // A worker panics three times and starts again; an entry panics whenever it is called.
            let panic = match place {
                "publisher" | "subscriber" | "actions" | "webhooks" => format!("{place}*3"),
                _ => place.to_owned(),
            };
            Host::start_with("panic", &prefix, &options, &[("REALTIME_TEST_PANIC", &panic)]).pass();
        }
    }
}

/// `realtime.json` as an editor saved it, with a mistake at first: the module connects to no Redis, not even to the one on
/// this machine, and reports it. After a correction and a reload it works. The password in the file is never shown.
#[test]
fn a_file_of_settings_is_corrected_while_the_server_runs() {
    for unwinding in unwinding() {
        let folder = Folder::default();
        let cfg = folder.path().join("garrysmod/cfg");
        std::fs::create_dir_all(&cfg).unwrap();
        let wrong = "\u{feff}{\r\n  \"redis\": \u{201c}redis://hunter2@127.0.0.1:6379\u{201d}\r\n}";
        let wrong: Vec<u8> = wrong.encode_utf16().flat_map(u16::to_le_bytes).collect();
        std::fs::write(cfg.join("realtime.json"), wrong).unwrap();
        let root = seen_by_host(folder.path());
        let options = ["--root", &root, "--unwind", unwinding];
        // A panel leaves empty fields as empty variables; and one name is in lower case.
        let environment = [("REALTIME_REDIS", ""), ("REALTIME_SERVER", " "), ("realtime_tick_budget_us", "'800'")];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut host = Host::launch("settings", 100, &options, environment.to_vec());
        host.line("waiting for the file");
        let prefix = prefix(&format!("settings-{unwinding}"));
        let right = format!(
            "\u{feff}{{\r\n  // ours\r\n  \"Redis\": \"{}\",\r\n  \"prefix\": \"{prefix}\",\r\n}}\r\n",
            redis()
        );
        std::fs::write(cfg.join("realtime.json"), right).unwrap();
        let said = host.pass();
        let log = std::fs::read_to_string(folder.path().join("garrysmod/data/realtime/realtime.log")).unwrap();
        for text in [&said, &log] {
            assert!(!text.contains("hunter2"), "{text}");
            assert!(text.contains("at line 2 column 12; curly quotes"), "{text}");
            assert!(text.contains("nothing connects to redis"), "{text}");
        }
        let mut client = Client::connect();
        client.send(&[b"GET", format!("{prefix}early").as_bytes()]);
        client.read(|reply| matches!(reply, Reply::Bulk(b"1")).then_some(()));
    }
}

/// Many short ticks with a small budget, which large events and answers share.
#[test]
fn large_events_are_delivered_in_slices_and_huge_ones_refused() {
    for unwinding in unwinding() {
        let prefix = prefix(&format!("bounds-{unwinding}"));
        let options = ["--unwind", unwinding, "--tickrate", "1000"];
        let said = Host::start_with("bounds", &prefix, &options, &[("REALTIME_TICK_BUDGET_US", "100")]).pass();
        eprintln!("{}", said.lines().find(|line| line.starts_with("pump ")).expect("a line of the pump"));
    }
}

/// Objects of hundreds of shapes, first made member by member, then by constructors.
#[test]
fn tables_made_by_constructors_are_those_made_member_by_member() {
    for unwinding in unwinding() {
        let prefix = prefix(&format!("constructors-{unwinding}"));
        Host::start("constructors", &prefix, &["--unwind", unwinding]).pass();
    }
}

/// An error at each allocation of Lua memory, as a script's `__gc` or a full memory causes it.
#[test]
fn an_error_at_every_allocation_is_survived() {
    for unwinding in unwinding() {
        let prefix = prefix(&format!("raising-{unwinding}"));
        let options = ["--unwind", &format!("{unwinding}-raising"), "--allow-errors"];
        let said = Host::start("raising", &prefix, &options).pass();
        let tries = said.lines().find_map(|line| line.strip_suffix(" tries")).expect("a count of tries");
        assert!(tries.parse::<u32>().unwrap() > 300, "{tries}");
    }
}

#[test]
fn scripts_that_tamper_with_the_module_do_not_end_the_server() {
    for unwinding in unwinding() {
        let prefix = prefix(&format!("hostile-{unwinding}"));
        Host::start("hostile", &prefix, &["--unwind", unwinding, "--allow-errors"]).pass();
    }
}

#[test]
fn a_replaced_lua_state_can_no_longer_use_the_module() {
    for unload in ["late", "skipped", "closed"] {
        for unwinding in unwinding() {
            let prefix = prefix(&format!("states-{unload}-{unwinding}"));
            let set = format!("unload={unload}");
            let options = ["--unwind", unwinding, "--unload", unload, "--set", &set];
            let said = Host::start("states", &prefix, &options).pass();
            assert!(said.contains("functions are forgotten"), "{said}");
        }
    }
}

/// A state that begins inside a function that the module calls in the last one.
#[test]
fn a_state_that_is_replaced_in_the_middle_of_a_call_adds_and_hears_nothing() {
    for place in ["listener", "on", "hook"] {
        for unwinding in unwinding() {
            let prefix = prefix(&format!("replaced-{place}-{unwinding}"));
            let options = ["--unwind", unwinding, "--set", &format!("place={place}")];
            Host::start_with("replaced", &prefix, &options, &[("REALTIME_TICK_BUDGET_US", "20000")]).pass();
        }
    }
}

#[test]
fn the_examples_of_the_wish_list_work_as_written() {
    Host::start("wish", &prefix("wish"), &[]).pass();
    // A busy machine must not make readers fail.
    let patient = [("REALTIME_SYNC_TIMEOUT_MS", "1000")];
    Host::start_with("wish_values", &prefix("wish-values"), &[], &patient).pass();
    Host::start_with("wish_log", &prefix("wish-log"), &[], &patient).pass();
}

/// The examples of hooks, with web servers of this test: checks the posts that they got, and the event log on disk.
#[test]
fn the_hooks_of_the_wish_list_work_as_written() {
    let (discord, web) = (Web::start(|_| Answer::Status(204)), Web::start(|_| Answer::Status(200)));
    let folder = Folder::default();
    let root = seen_by_host(folder.path());
    let set = [format!("discord={}", discord.url("")), format!("web={}", web.url(""))];
    Host::start("wish_hooks", &prefix("wish-hooks"), &["--root", &root, "--set", &set[0], "--set", &set[1]]).pass();
    let said: Vec<String> = discord.seen().iter().flat_map(|seen| lines_of(&seen.content())).collect();
    let times = |text: &str| said.iter().filter(|line| *line == text).count();
    assert_eq!(times("**John** tué **Alice** avec weapon\\_crossbow"), 5, "{said:?}");
    assert_eq!((times("AWESOME SHOT: John killed Alice"), said.len()), (3, 8), "{said:?}");
    let posted = web.seen();
    assert!(posted.iter().all(|seen| seen.header("authorization") == "Bearer TOKEN" && seen.method == "POST"));
    let mut hp: Vec<u64> = posted.iter().map(|seen| seen.json()["victim_hp"].as_u64().unwrap()).collect();
    hp.sort_unstable();
    assert_eq!(hp, [6, 12, 18, 24, 30]);
    assert!(posted.iter().all(|seen| seen.json().get("_rt").is_none()));
    let log = std::fs::read_to_string(folder.path().join("garrysmod/data/logs/hourly_stats.log")).unwrap();
    let kills = log.lines().map(|line| {
        let number = line.split("\"total_kills\":").nth(1).expect(line);
        number.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u32>().unwrap()
    });
    assert_eq!(kills.sum::<u32>(), 5, "{log}");
}

/// Names, pictures, titles and colors of Discord messages come from Lua and its events.
#[test]
fn messages_have_the_names_and_colors_of_lua() {
    let discord = Web::start(|_| Answer::Status(204));
    let url = format!("discord={}", discord.url(""));
    Host::start("relay", &prefix("relay"), &["--set", &url]).pass();
    let seen: Vec<serde_json::Value> = discord.seen().iter().map(fault_kit::Seen::json).collect();
    let shown = |text: &str| {
        let body = seen.iter().find(|body| body["thread_name"] == text).unwrap();
        assert_eq!(body["applied_tags"], serde_json::json!(["12"]));
        format!("{} {} {}", body["username"], body["avatar_url"], body["embeds"][0]["color"])
    };
    assert_eq!(shown("a"), r#""Bob" "https://a/b.png" 16746496"#);
    assert_eq!(shown("b"), "\"C\u{200a}lyde\" null 66051");
    assert_eq!(shown("c"), r#""Bob" null null"#);
}

/// A host on which Discord is blocked: the proxy of the environment gets the posts. No name server knows the host.
#[test]
fn posts_go_through_the_proxy_of_the_environment() {
    let discord = Web::start(|_| Answer::Status(204));
    let proxy = ConnectProxy::start(|_| Way::Open);
    let url = format!("discord={}", discord.url("").replace("127.0.0.1", "discord.example"));
    let environment = [("http_proxy", proxy.url("gmod:hunter22@")), ("no_proxy", "other.example".to_owned())];
    let environment = environment.each_ref().map(|(name, text)| (*name, text.as_str()));
    let said = Host::start_with("relay", &prefix("proxied"), &["--set", &url], &environment).pass();
    assert_eq!(discord.seen().len(), 3);
    assert_eq!(proxy.asked().len(), 3);
    assert!(!said.contains("hunter22"), "{said}");
}

/// Loads that are hard to see: from deep down, in a coroutine, by a loop; and those that nobody can see.
#[test]
fn loads_are_seen_and_a_hook_that_follows_no_file_is_reported() {
    for unwinding in unwinding() {
        let said = Host::start("loads", &prefix(&format!("loads-{unwinding}")), &["--unwind", unwinding]).pass();
        for (file, count) in [
            ("lua/autorun/returns.lua", 1),
            ("lua/autorun/timer.lua", 1),
            ("lua/autorun/named.lua", 0),
            ("lua_run", 1),
            // The host's own code, which a `return` leaves alone on the stack.
            ("[host] loading", 1),
        ] {
            let line = format!(" in `{file}`: it cannot follow its file");
            assert_eq!(said.matches(&line).count(), count, "{line}: {said}");
        }
        assert_eq!(said.matches("it cannot follow its file").count(), 4, "{said}");
        assert_eq!(said.matches("replaces the function it added before").count(), 1, "{said}");
    }
}

/// Three server processes with the same hooks; one of them is killed half-way. No post and no count is made twice, and only
/// those of the killed server may be missing.
#[test]
fn killing_a_server_of_a_fleet_repeats_no_action() {
    const COUNT: usize = 300;
    let discord = Web::start(|_| Answer::Status(204));
    let prefix = prefix("fleet");
    let url = format!("discord={}", discord.url(""));
    let start = |(name, folder): (&str, &str)| {
        let set =
            [format!("fleet={name}"), format!("count={COUNT}"), "rate=200".to_owned(), format!("folder={folder}")];
        let options: Vec<&str> = set.iter().chain([&url]).flat_map(|pair| ["--set", pair]).collect();
        Host::start("fleet", &prefix, &options)
    };
    // The folder of a clone, of an archive, and of the Workshop.
    let servers = [("a", "addons/kills/lua/"), ("b", "addons/kills-main/lua/"), ("c", "lua/")];
    let [mut killed, second, third] = servers.map(start);
    killed.line("half");
    killed.kill();
    second.pass();
    third.pass();
    let mut posted: Vec<String> = discord.seen().iter().flat_map(|seen| lines_of(&seen.content())).collect();
    posted.sort();
    let all = posted.len();
    posted.dedup();
    assert_eq!(posted.len(), all, "posted twice");
    let of = |name: &str| posted.iter().filter(|line| line.starts_with(name)).count();
    assert_eq!((of("b "), of("c ")), (COUNT, COUNT));
    assert!(of("a ") <= COUNT, "{}", of("a "));
    let mut client = Client::connect();
    let mut counted = |name: &str| {
        client.send(&[b"GET", format!("{prefix}{name}").as_bytes()]);
        client.read(|reply| Some(reply.text().map_or(0, |text| String::from_utf8_lossy(text).parse().unwrap())))
    };
    for hook in ["kills", "conditional"] {
        assert_eq!(["b", "c"].map(|name| counted(&format!("{hook}:{name}"))), [COUNT, COUNT], "{hook}");
        let of_a = counted(&format!("{hook}:a"));
        assert!(of_a <= COUNT, "{hook}: {of_a}");
    }
    let (of_a, posted_of_a) = (counted("kills:a"), of("a "));
    eprintln!("killed after {} of its {COUNT}: {of_a} counted, {posted_of_a} posted", COUNT / 2);
}

fn lines_of(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// The first is in the index before the second begins, so it hears of the second, and the second does not hear of it.
#[test]
fn servers_see_each_other_and_their_players() {
    let prefix = prefix("presence");
    let players = ("REALTIME_PRESENCE_PLAYERS", "true");
    let mut client = Client::connect();
    let first =
        Host::start_with("presence", &prefix, &["--set", "how=first"], &[("REALTIME_SERVER", "first"), players]);
    let index = format!("{prefix}rt:{{servers}}:index");
    let is_there = fault_kit::comes_true(fault_kit::PATIENCE, || {
        client.send(&[b"ZCARD", index.as_bytes()]);
        client.read(|reply| match reply {
            Reply::Integer(count) => Some(count),
            _ => None,
        }) == 1
    });
    assert!(is_there, "the first server is not in the index");
    Host::start_with("presence", &prefix, &["--set", "how=second"], &[("REALTIME_SERVER", "second")]).pass();
    first.pass();
}

/// The values come from the game, and a map change is shown by the same message.
#[test]
fn a_status_message_shows_the_game() {
    let discord = Web::start(|_| Answer::Full(200, String::new(), r#"{"id":"120","type":0}"#.to_owned()));
    let (set, prefix) = (format!("discord={}", discord.url("")), prefix("status"));
    let run = |how: &str| {
        let options = ["--set", &set, "--set", how, "--allow-errors"];
        Host::start_with("status", &prefix, &options, &[("REALTIME_SERVER", "eu-1")])
    };
    run("how=long").pass();
    let seen = discord.seen();
    let (first, edits) = seen.split_first().unwrap();
    assert_eq!((first.method.as_str(), first.target.as_str()), ("POST", "/api/webhooks/1/hunter2?wait=true"));
    assert!(edits.iter().all(|edit| edit.method == "PATCH"), "{seen:?}");
    assert!(edits.iter().all(|edit| edit.target == "/api/webhooks/1/hunter2/messages/120"), "{seen:?}");
    let texts: Vec<String> = seen.iter().map(fault_kit::Seen::content).collect();
    assert!(texts.iter().all(|text| text.contains(" eu-1 ") && text.contains("<t:1")), "{texts:?}");
    assert!(texts[0].contains("sandbox 0/"), "{texts:?}");
    let last = texts.last().unwrap();
    assert!(last.starts_with("? eu-1 gm\\_next ? 0/? <t:"), "{last}");
    assert!(last.ends_with("**Al\\_1** joined\n**Al\\_0** joined"), "{last}");
    // Three more processes go on with the message; one of them is killed.
    let mut killed = run("how=killed");
    killed.line("shown");
    killed.kill();
    run("how=short").pass();
    run("how=short").pass();
    let created = discord.seen().iter().filter(|seen| seen.method == "POST").count();
    assert_eq!((created, discord.seen().len() >= seen.len() + 3), (1, true));
}

#[test]
fn the_metrics_file_shows_the_game() {
    for unwinding in unwinding() {
        let (prefix, options) = (prefix(&format!("metrics-{unwinding}")), ["--unwind", unwinding, "--allow-errors"]);
        Host::start_with("metrics", &prefix, &options, &[("REALTIME_SERVER", "a\"b\\}")]).pass();
    }
}

#[test]
fn hooks_may_be_wrong_raise_errors_and_be_removed() {
    for unwinding in unwinding() {
        let web = Web::start(|_| Answer::Status(200));
        let set = format!("web={}", web.url(""));
        let options = ["--set", &set, "--unwind", unwinding, "--allow-errors"];
        let said = Host::start("hooks", &prefix(&format!("hooks-{unwinding}")), &options).pass();
        for expected in [
            "condition of hook `raises`, event on `kill`: ",
            "from a condition",
            "aggregator `sums` of `kill`: ",
            "from an aggregator",
            "it returned a string, expected a table or nil",
            "encode: data.f is a function",
            "AddHook on `kill` at ",
            "hooks.lua:39 was refused: config: tll",
        ] {
            assert!(said.contains(expected), "{expected}: {said}");
        }
        // Once, although the script adds the hook twice.
        assert_eq!(said.matches("a value such as @everyone pings in this message").count(), 1, "{said}");
        let bodies: Vec<String> =
            web.seen().iter().map(|seen| String::from_utf8_lossy(&seen.body).into_owned()).collect();
        assert_eq!(bodies.len(), 2, "{bodies:?}");
        assert!(
            bodies[0].contains("\"nan\":null") && bodies[1] == r#"{"on":"kill","sum":{"last":true}}"#,
            "{bodies:?}"
        );
    }
}

#[test]
fn a_receiver_that_is_gone_gets_one_request_until_its_hook_is_added_again() {
    for unwinding in unwinding() {
        let is_asked = AtomicBool::new(false);
        let web = Web::start(move |_| {
            let is_back = is_asked.swap(true, Ordering::SeqCst);
            if is_back { Answer::Status(200) } else { Answer::Full(410, String::new(), "moved away".to_owned()) }
        });
        let set = format!("web={}", web.url("/hook"));
        let options = ["--set", &set, "--unwind", unwinding];
        let said = Host::start("gone", &prefix(&format!("gone-{unwinding}")), &options).pass();
        let expected =
            "is closed (HTTP 410: moved away): correct its URL or remove the hook; added again, a hook opens it";
        assert!(said.contains(expected) && !said.contains("/hook is"), "{said}");
        assert_eq!(web.seen().len(), 2);
    }
}

#[test]
fn events_are_posted_in_batches() {
    for unwinding in unwinding() {
        let web = Web::start(|_| Answer::Status(200));
        let set = format!("web={}", web.url(""));
        Host::start("batches", &prefix(&format!("batches-{unwinding}")), &["--set", &set, "--unwind", unwinding])
            .pass();
        let (mut array, mut lines) = (Vec::new(), Vec::new());
        for seen in web.seen() {
            let text = String::from_utf8_lossy(&seen.body).into_owned();
            if seen.target == "/array" {
                let batch: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
                assert!((1..=100).contains(&batch.len()), "{}", batch.len());
                array.extend(batch);
            } else {
                let parsed: Vec<serde_json::Value> =
                    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
                assert_eq!((parsed.len(), seen.header("content-type")), (250, "application/x-ndjson"));
                lines.extend(parsed.into_iter().skip(1).step_by(2));
            }
        }
        for posted in [array, lines] {
            let numbers: Vec<u64> = posted.iter().map(|event| event["n"].as_u64().unwrap()).collect();
            assert!(numbers == (1..=250).collect::<Vec<_>>(), "{} from {:?} on", numbers.len(), numbers.first());
            assert_eq!(posted[0]["name"], "a \"name\"\n");
        }
    }
}

/// Discord answers in the words of the oldest version of its API, as a webhook's URL names none.
#[test]
fn hooks_with_many_members_do_all_that_they_say() {
    for unwinding in unwinding() {
        let web = Web::start(|seen| {
            let body = String::from_utf8_lossy(&seen.body).into_owned();
            let answer = |status, text: &str| Answer::Full(status, String::new(), text.to_owned());
            if body.contains(r#""username":"Zoe"#) {
                answer(400, r#"{"username":["Username cannot contain \"zoe\""]}"#)
            } else {
                answer(200, r#"{"id":"77"}"#)
            }
        });
        let set = format!("web={}", web.url(""));
        let options = ["--set", &set, "--unwind", unwinding];
        let said = Host::start("combined", &prefix(&format!("combined-{unwinding}")), &options).pass();
        assert!(!said.contains("hunter2"), "{said}");
        let seen = web.seen();
        let bodies = |part: &str| -> Vec<String> {
            let asked = seen.iter().filter(|seen| seen.target.contains(part));
            asked.map(|seen| String::from_utf8_lossy(&seen.body).into_owned()).collect()
        };
        let batch = bodies("/batch");
        let lines: Vec<serde_json::Value> = batch[0].lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let day = lines[0]["on"].as_str().unwrap();
        let numbers: Vec<_> = lines.iter().map(|line| line["n"].as_u64().unwrap()).collect();
        assert_eq!((batch.len(), numbers, day.len()), (1, vec![2, 4, 6], "2026-11-27".len()));
        // With the refused name, and again without it.
        for (part, shown) in [("/webhooks/1/", format!("Zoe on {day}")), ("/webhooks/2/", format!("1 {day}"))] {
            let made: Vec<_> = bodies(part).into_iter().filter(|body| body.contains(&shown)).collect();
            let named = |body: &String| body.contains("\"username\"");
            assert!(made.iter().any(named), "{made:?}");
            assert!(made.iter().any(|body| !named(body)), "{made:?}");
        }
        let threads = bodies("/webhooks/1/");
        let shown = |text: &str| threads.iter().any(|body| body.contains(text));
        assert!(shown(&format!("Al on {day}")) && shown(&0x00ff03.to_string()) && !shown("Bo on"), "{threads:?}");
    }
}

#[test]
fn scripts_that_are_loaded_again_replace_their_hooks() {
    for unwinding in unwinding() {
        let said = Host::start("reload", &prefix(&format!("reload-{unwinding}")), &["--unwind", unwinding]).pass();
        // Logged once for all files of one tick, in each map.
        for expected in [
            "`lua/autorun/loop.lua` and 5 other files loaded again; 12 earlier hooks and aggregators were replaced, 69 are",
            "`lua/autorun/text.lua` and 1 other files loaded again; 4 earlier hooks and aggregators were replaced, 1 are",
        ] {
            assert_eq!(said.matches(expected).count(), 1, "{expected}: {said}");
        }
    }
}

/// A post in flight, the posts behind it and the events of `ShutDown` survive map changes and the end of the process.
#[test]
fn events_of_shutdown_are_posted_or_kept_in_the_spool() {
    for map in ["", "yes"] {
        let folder = Folder::default();
        let root = seen_by_host(folder.path());
        let answers = Arc::new(AtomicBool::new(false));
        let is_up = Arc::clone(&answers);
        let web = Web::start(move |_| if is_up.load(Ordering::SeqCst) { Answer::Status(204) } else { Answer::Hang });
        let (prefix, map) = (prefix(&format!("last-{map}")), format!("map={map}"));
        let discord = format!("discord={}", web.url(""));
        let options = ["--root", &root, "--set", "how=says", "--set", &map, "--set", &discord];
        Host::start("last_words", &prefix, &options).pass();
        web.catch_up();
        let hung = web.seen().len();
        answers.store(true, Ordering::SeqCst);
        Host::start("last_words", &prefix, &["--root", &root, "--set", "how=waits"]).pass();
        let said: Vec<String> = web.seen().iter().skip(hung).flat_map(|seen| lines_of(&seen.content())).collect();
        let expected = ["a map ends", "the server ends"];
        assert_eq!(said, expected[usize::from(map == "map=")..]);
    }
}

/// `rediss://` and `https://` with an authority of this test.
#[test]
fn redis_and_webhooks_may_use_tls() {
    let authority = Authority::default();
    let certificates = authority.server("localhost", Validity::Now);
    let redis = Redis::start_tls(&certificates, &[]);
    let ca_file = seen_by_host(authority.file());
    for unwinding in unwinding() {
        let (web, secure) =
            (Web::start(|_| Answer::Status(200)), Web::start_tls(&certificates, |_| Answer::Status(200)));
        let set = [format!("web={}", web.url("/plain")), format!("secure={}", secure.url("/secure"))];
        let options = ["--set", &set[0], "--set", &set[1], "--unwind", unwinding];
        let redis = redis.url();
        let environment =
            [("REALTIME_REDIS", &*redis), ("REALTIME_TLS_CA_FILE", &ca_file), ("REALTIME_WEBHOOK_CA_FILE", &ca_file)];
        Host::start_with("secure", &prefix(&format!("secure-{unwinding}")), &options, &environment).pass();
        for (web, target) in [(&web, "/plain"), (&secure, "/secure")] {
            let seen: Vec<_> = web.seen().iter().map(|seen| (seen.target.clone(), seen.json()["n"].as_u64())).collect();
            assert_eq!(seen, [(target.to_owned(), Some(7))]);
        }
        let signed = &secure.seen()[0];
        let signatures: Vec<&str> = signed.header("webhook-signature").split(' ').collect();
        assert!(signatures.len() == 2 && signatures.iter().all(|one| one.starts_with("v1,") && one.len() == 47));
        assert!(signed.header("webhook-timestamp").parse::<u64>().unwrap() > 1_700_000_000);
    }
}

/// The log of a killed server is whole up to the last record that a reader saw, and the next server continues it.
#[test]
fn event_logs_survive_the_kill_of_a_server() {
    let folder = Folder::default();
    let root = seen_by_host(folder.path());
    let mut seen = 0;
    for round in 0..4 {
        let seen_before = format!("seen={seen}");
        let options = ["--root", &root, "--set", &seen_before, "--set", "how=writes"];
        let mut host = Host::start("killed_log", &prefix(&format!("killed-{round}")), &options);
        seen = host.line("on disk ").rsplit(' ').next().unwrap().parse::<u32>().unwrap();
        host.kill();
    }
    let seen = format!("seen={seen}");
    Host::start("killed_log", &prefix("killed"), &["--root", &root, "--set", &seen, "--set", "how=reads"]).pass();
}

#[test]
#[ignore = "needs a library without the feature `tls`, which scripts/test builds"]
fn a_library_without_tls_refuses_urls_that_need_it() {
    let web = Web::start(|_| Answer::Status(200));
    Host::start("without_tls", &prefix("without-tls"), &["--set", &format!("web={}", web.url(""))]).pass();
    assert_eq!(web.seen().len(), 1);
}

#[test]
fn values_settings_and_console_commands_keep_their_rules() {
    for unwinding in unwinding() {
        let prefix = prefix(&format!("values-{unwinding}"));
        let set = format!("prefix={prefix}");
        let said = Host::start("values", &prefix, &["--set", &set, "--unwind", unwinding, "--allow-errors"]).pass();
        assert!(said.contains("callback of get `n`: ") && !said.contains("hunter2"), "{said}");
    }
}

#[test]
fn kept_events_are_read_again() {
    for unwinding in unwinding() {
        let prefix = prefix(&format!("durable-{unwinding}"));
        let set = format!("prefix={prefix}");
        Host::start("durable", &prefix, &["--set", &set, "--unwind", unwinding]).pass();
    }
}

/// Two processes of one name: the second gets what the first one missed.
#[test]
fn missed_events_come_to_the_next_process() {
    for unwinding in unwinding() {
        let prefix = prefix(&format!("missed-{unwinding}"));
        for run in ["run=1", "run=2"] {
            let options = ["--set", run, "--set", "server=shop", "--unwind", unwinding, "--tickrate", "1000"];
            let environment = [("REALTIME_SERVER", "shop"), ("REALTIME_TICK_BUDGET_US", "100")];
            let environment = variables(&prefix, &environment);
            Host::launch("missed", 60, &options, environment).pass();
        }
    }
}

#[test]
fn event_logs_are_written_and_read() {
    for unwinding in unwinding() {
        let prefix = prefix(&format!("event-log-{unwinding}"));
        let options = ["--unwind", unwinding, "--allow-errors"];
        let said = Host::start("event_log", &prefix, &options).pass();
        assert!(said.contains("callback of readeventlog `logs/json.log`: "), "{said}");
    }
}

#[test]
fn ten_thousand_events_arrive_once_and_in_order() {
    let prefix = prefix("seq");
    let listener = Host::start("listener", &prefix, &["--name", "two", "--set", "count=10000"]);
    // Another tick rate, so that the frames of the two servers drift past each other and every phase occurs.
    let options = ["--name", "one", "--tickrate", "65", "--set", "count=10000", "--set", "rate=1000"];
    let emitter = Host::start("emitter", &prefix, &options);
    let said = listener.pass();
    emitter.finish();
    for line in said.lines().filter(|line| line.contains(" p50 ")) {
        eprintln!("{line}");
    }
}

/// No Redis; a Redis that accepts and never answers; a host name that does not exist; a Redis that stops answering.
#[test]
fn an_absent_or_silent_redis_delays_nothing() {
    let hole = Scripted::start(|client| while client.command().is_some() {});
    let nobody = "redis://127.0.0.1:1".to_owned();
    for redis in [nobody, hole.url(), "redis://no-such-host.invalid".to_owned()] {
        for unwinding in unwinding() {
            // Waiting for any of these would take seconds every time; a busy machine takes some milliseconds now and then,
            // and the loading of a library with debug assertions under wine a tenth of a second.
            let mut seen = Vec::new();
            let is_quick = |said: &String| {
                let line = said.lines().find_map(|line| line.strip_prefix("seconds: ")).expect("its times");
                let times = line.split(' ').map(|time| time.parse::<f64>().expect(line));
                times.zip([0.5, 0.05, 0.5]).all(|(time, bound)| time < bound)
            };
            while !seen.last().is_some_and(is_quick) {
                assert!(seen.len() < 10, "{redis}, {unwinding}: {seen:?}");
                let options = ["--unwind", unwinding];
                seen.push(Host::start_with("absent", "absent:", &options, &[("REALTIME_REDIS", &redis)]).pass());
            }
        }
    }
}

/// A thread that waits for a silent Redis is woken when the settings name another one. On Windows a shutdown alone does not
/// promise that.
#[test]
fn a_server_leaves_a_silent_redis_at_once() {
    let second = Redis::start(&[]);
    // A heartbeat that is on its way to the silent one takes its time, and so does a busy machine.
    let mut seen = Vec::new();
    while seen.last().is_none_or(|seconds| *seconds > 0.5) {
        assert!(seen.len() < 10, "{seen:?}");
        let (first, folder) = (Redis::start(&[]), Folder::default());
        let set = [format!("first={}", first.url()), format!("second={}", second.url())];
        let root = seen_by_host(folder.path());
        let options = ["--root", &root, "--set", &set[0], "--set", &set[1]];
        let prefix = prefix(&format!("moves-{}", seen.len()));
        let mut host = Host::launch("moves", 100, &options, vec![("REALTIME_PREFIX".to_owned(), prefix)]);
        host.line("heard");
        first.wait_clients("pubsub", 1);
        first.stop();
        std::fs::write(folder.path().join("garrysmod/data/stopped.txt"), "").unwrap();
        let said = host.pass();
        let seconds = said.lines().find_map(|line| line.strip_prefix("seconds: ")).expect("its time");
        seen.push(seconds.parse::<f64>().expect(seconds));
    }
    eprintln!("the next event came after {seen:?} s");
}

/// The server quits or exits under load, with and without `gmod13_close`, and with a state that never loaded the module.
#[test]
fn a_server_may_end_in_any_way() {
    for unwinding in unwinding() {
        for (how, expected) in [("quit", 500), ("shutdown", 501), ("skipped", 1000)] {
            let prefix = prefix(&format!("ends-{how}-{unwinding}"));
            let mut client = Client::connect();
            client.subscribe(&format!("{prefix}ends"));
            let set = format!("how={how}");
            Host::start("ends", &prefix, &["--set", &set, "--unwind", unwinding]).pass();
            // Events that were emitted before the end arrive.
            let messages: Vec<Vec<u8>> = (0..expected).map(|_| client.message()).collect();
            let last = String::from_utf8_lossy(&messages[expected - 1]).into_owned();
            assert_eq!(last.contains("\"last\":true"), how == "shutdown", "{last}");
        }
        let set = ["--set", "how=exit_now", "--unwind", unwinding];
        assert_eq!(Host::start("ends", &prefix(&format!("exit-{unwinding}")), &set).end().code(), Some(7));
    }
}

/// A name from outside cannot add lines or colours to the log.
#[test]
fn names_are_escaped_in_the_log() {
    let prefix = prefix("escapes");
    let mut host = Host::start("escapes", &prefix, &["--allow-errors"]);
    host.line("ready");
    let huge = "x".repeat(600_000);
    Client::connect().send(&[b"PUBLISH", format!("{prefix}evil\n\x1b[31mFAKE\r").as_bytes(), huge.as_bytes()]);
    let said = host.pass();
    assert!(said.contains("`evil\\n\\x1b[31mFAKE\\r`: too_large"), "{said}");
    assert!(said.contains("listener `y` of `evil\\n\\x1bx`"), "{said}");
    assert!(!said.contains('\x1b') && !said.lines().any(|line| line.starts_with("FAKE")), "{said}");
}

/// `REALTIME_MAP_CHANGES=1000` makes a thousand.
#[test]
fn map_changes_under_traffic_leak_nothing() {
    let changes: u64 = std::env::var("REALTIME_MAP_CHANGES").map_or(20, |text| text.parse().expect("a number"));
    for unload in ["dlclose-first", "dlclose-last"] {
        for unwinding in unwinding() {
            let prefix = prefix(&format!("maps-{unload}-{unwinding}"));
            let set = format!("changes={changes}");
            let options = ["--set", &set, "--unload", unload, "--unwind", unwinding];
            let said = Host::launch("maps", 100 + changes, &options, variables(&prefix, &[])).pass();
            said.lines()
                .filter(|line| line.starts_with("after "))
                .for_each(|line| eprintln!("{unload}, {unwinding}: {line}"));
        }
    }
}

#[test]
fn the_pump_restarts_after_an_addon_removes_its_timer() {
    Host::start("pump_again", &prefix("again"), &[]).pass();
}

#[test]
fn a_hibernating_server_still_hears_events() {
    Host::start("api", &prefix("asleep"), &["--hibernate", "--allow-errors"]).pass();
}

#[test]
fn a_server_without_a_redis_serves_itself_and_keeps_its_values() {
    // The text log has local time, here that of a zone of five and a half hours.
    let zone = ("TZ".to_owned(), "XYZ-5:30".to_owned());
    let environment = || without_redis().into_iter().chain([zone.clone()]).collect();
    for unwinding in unwinding() {
        let folder = Folder::default();
        let root = folder.path().display().to_string();
        let start = |how: &str| {
            let how = format!("how={how}");
            let options = ["--root", &root, "--unwind", unwinding, "--set", &how];
            Host::launch("embedded", 100, &options, environment()).pass()
        };
        let said = start("first") + &start("again");
        let files = folder.path().join("garrysmod/data/realtime");
        let login = std::fs::read_to_string(files.join("embedded.login")).unwrap();
        let password = login.lines().next().unwrap();
        let log = std::fs::read_to_string(files.join("realtime.log")).unwrap();
        assert!(!said.contains(password) && !log.contains(password), "the password is told");
        assert_eq!(log.matches("other servers are not reached").count(), 2, "one line for each process:\n{log}");
        let (time, rest) = log.split_at(26);
        let signs: String = time.chars().filter(|c| !c.is_ascii_digit()).collect();
        // Windows takes no such zone from the environment.
        let is_zone = time.ends_with("+05:30") || std::env::var_os("REALTIME_HOST_RUNNER").is_some();
        assert!(signs.starts_with("-- :: ") && is_zone && rest.starts_with(" ["), "{log}");
        assert!(!files.join("auto.found").exists());
    }
}

/// Two servers under a steady load. `REALTIME_SOAK_SECONDS` sets the duration (`scripts/soak`).
#[test]
fn a_steady_load_leaks_and_loses_nothing() {
    let seconds: u64 = std::env::var("REALTIME_SOAK_SECONDS").map_or(30, |text| text.parse().expect("a number"));
    let discord = Web::start(|_| Answer::Status(204));
    let folder = Folder::default();
    let prefix = prefix("soak");
    let set = [format!("seconds={seconds}"), format!("discord={}", discord.url(""))];
    let start = |role: &str, root: &str| {
        let options = ["--set", role, "--set", &set[0], "--set", &set[1], "--root", root];
        Host::launch("soak", seconds + 100, &options, variables(&prefix, &[]))
    };
    let (root, other) = (seen_by_host(folder.path()), Folder::default());
    let load = start("role=load", &seen_by_host(other.path()));
    let said = start("role=server", &root).pass();
    load.pass();
    said.lines().filter(|line| line.starts_with("soak: ")).for_each(|line| eprintln!("{line}"));
    // `soak: N events in, N out, N posts in ...`
    let figures = said.lines().find(|line| line.contains(" events in, ")).expect("a line with the counts");
    let numbers: Vec<usize> = figures.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [_, sent, posts, ..] = numbers[..] else { panic!("{figures}") };
    let posted: Vec<String> = discord.seen().iter().flat_map(|seen| lines_of(&seen.content())).collect();
    assert_eq!(posted.len(), posts, "{posted:?}");
    let data = folder.path().join("garrysmod/data");
    let is_log = |name: &std::ffi::OsStr| {
        let name = name.to_string_lossy();
        name.starts_with("soak.log") && ![".lock", ".idx"].iter().any(|end| name.ends_with(end))
    };
    let files = std::fs::read_dir(data).unwrap().map(|file| file.unwrap()).filter(|file| is_log(&file.file_name()));
    assert_eq!(files.map(|file| lines_of(&std::fs::read_to_string(file.path()).unwrap()).len()).sum::<usize>(), sent);
}

/// What CI runs on a real Windows, where there is neither Redis nor this test program.
#[test]
fn the_smoke_test_needs_nothing_but_the_server() {
    for unwinding in unwinding() {
        let environment = vec![("REALTIME_REDIS".to_owned(), "embedded".to_owned())];
        Host::launch("smoke", 100, &["--unwind", unwinding, "--allow-errors"], environment).pass();
    }
}
