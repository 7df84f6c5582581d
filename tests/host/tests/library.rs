//! The server as a library, for benches: frames without waiting, values from Lua, one server at a time.
//! This is one test, because a process can have only one server.

use gmod_host::{Options, Server};

#[test]
fn a_server_runs_inside_the_process() {
    let before = std::env::current_dir().expect("a directory");
    let mut server = Server::new(Options { map: "gm_lib".to_owned(), ..Options::default() }).expect("starts");
    assert!(Server::new(Options::default()).is_err(), "a second server at the same time");
    assert!(!server.lua_state().is_null());
    assert_eq!(server.eval("return game.GetMap(), 1 + 1, nil, true"), Ok("gm_lib\t2\tnil\ttrue".to_owned()));
    assert!(server.eval("error('x', 0)").is_err_and(|err| err == "x"));
    assert!(server.eval("syntax error").is_err());

    server.eval("frames = 0 hook.Add('Think', 'x', function() frames = frames + 1 end)").expect("runs");
    (0..100).for_each(|_| server.run_frame().expect("a frame"));
    assert_eq!(server.eval("return frames, math.Round(CurTime(), 3)"), Ok("100\t1.5".to_owned()));
    assert_eq!(server.frame_stats().count, 100);

    server.change_level("gm_next").expect("changes");
    assert_eq!(server.eval("return game.GetMap(), frames, host.map_changes()"), Ok("gm_next\tnil\t1".to_owned()));
    server.eval("host.quit(3)").expect("runs");
    assert!(server.wants_quit());
    let root = server.root().to_owned();
    assert_eq!(server.shutdown(), 3);
    assert!(!root.exists(), "the temporary directory is gone");
    assert_eq!(std::env::current_dir().expect("a directory"), before);

    let again = Server::new(Options::default()).expect("another one after it");
    assert_eq!(again.shutdown(), 0);
}
