//! The password and the values through restarts, and files of others.

use super::*;
use crate::embedded::store::Value;
use crate::io::plain_file::held;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("realtime-embedded-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn files(&self) -> Files {
        match Files::claim(&self.0).unwrap() {
            Claim::Ours(files) => files,
            Claim::Others(_) => panic!("another process"),
        }
    }

    /// The files of the next process.
    fn files_again(&self, files: Files) -> Files {
        drop(files);
        self.files()
    }

    fn names(&self) -> Vec<String> {
        let all = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut all: Vec<String> = all.collect();
        all.sort();
        all
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // A leftover in the temp folder is harmless.
    }
}

fn save(files: &Files, text: &str) {
    let mut store = Store::new(STORE_BYTES_MAX);
    store.put(b"k", Value::Text(text.as_bytes().into()), None);
    files.writer(Files::encode(&store, 0)).unwrap()().unwrap();
}

fn loaded(files: &mut Files) -> (Option<String>, Vec<String>) {
    let (mut store, notes) = files.read_values(0);
    let text = store.text(b"k", 0).unwrap().map(|text| String::from_utf8(text.to_vec()).unwrap());
    (text, notes)
}

#[test]
fn password_port_and_values_survive_a_restart() {
    let folder = Folder::new("restart");
    let mut files = folder.files();
    let first = files.login().unwrap();
    assert_eq!((first.password().len(), first.port), (2 * PASSWORD_BYTES, 0));
    assert_ne!(files.login().unwrap().password(), first.password(), "random");
    let login = Login { port: 4000, ..first };
    assert_eq!(files.keep_login(&login), Vec::<String>::new());
    assert_eq!(loaded(&mut files), (None, vec![]));
    save(&files, "old");
    save(&files, "new");
    drop(files);
    let mut files = folder.files();
    assert_eq!(files.login().unwrap(), login);
    assert_eq!(loaded(&mut files), (Some("new".to_owned()), vec![]));
    assert_eq!(folder.names(), ["embedded.lock", "embedded.login", "embedded.values"]);
    #[cfg(unix)]
    for name in folder.names() {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(folder.0.join(&name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
}

/// An owner may choose the password.
#[test]
fn a_login_is_read_as_people_write_it() {
    let folder = Folder::new("login");
    for (text, expected) in [
        ("0123456789abcdef\n4000\n", Some(4000)),
        ("  0123456789abcdef\r\n 4000 \r\n", Some(4000)),
        ("0123456789abcdef\n4000", Some(4000)),
        ("0123456789abcde\n4000\n", None),
        ("0123456789 abcdef\n4000\n", None),
        ("0123456789abcdef\n70000\n", None),
        ("0123456789abcdef\n", None),
        ("", None),
        ("\u{feff}", None),
    ] {
        fs::write(folder.0.join(LOGIN), text).unwrap();
        assert_eq!(folder.files().read_login().map(|login| login.port), expected, "{text:?}");
    }
}

#[test]
fn files_of_others_and_damaged_ones_are_set_aside_and_reported() {
    let folder = Folder::new("aside");
    let mut files = folder.files();
    save(&files, "good");
    let good = fs::read(folder.0.join(VALUES)).unwrap();
    type Make = fn(&Path, &[u8]);
    let rows: [(Make, &str); 6] = [
        (|path, good| fs::write(path, &good[..good.len() - 1]).unwrap(), "it is damaged"),
        (|path, _| fs::write(path, b"").unwrap(), "it is no file of the embedded server"),
        (|path, _| fs::write(path, b"REDIS0009").unwrap(), "it is no file of the embedded server"),
        (|path, _| fs::write(path, b"realtime embedded 3\nnew").unwrap(), "a newer version of realtime wrote it"),
        (|path, _| fs::create_dir(path).unwrap(), "it is a folder"),
        (|path, good| fs::write(path, [good, &vec![0; VALUES_BYTES_MAX]].concat()).unwrap(), "bytes"),
    ];
    for (number, (make, found)) in rows.iter().enumerate() {
        let path = folder.0.join(VALUES);
        let _ = fs::remove_file(&path);
        make(&path, &good);
        let (text, notes) = loaded(&mut files);
        assert_eq!(text, None);
        assert!(notes.len() == 1 && notes[0].contains(found) && notes[0].contains("it is now"), "{notes:?}");
        assert!(folder.0.join(format!("{VALUES}.aside.{}", number + 1)).exists() && !path.exists());
        assert_eq!(files.unkept, None);
        save(&files, "next");
    }
    fs::write(folder.0.join(LOGIN), b"something else").unwrap();
    let login = Login { port: 4000, ..files.login().unwrap() };
    assert_eq!(files.keep_login(&login).len(), 1);
    assert_eq!(fs::read(folder.0.join(format!("{LOGIN}.aside.1"))).unwrap(), b"something else");
    assert_eq!(files.login().unwrap(), login);
}

#[cfg(unix)]
#[test]
fn a_link_is_not_followed() {
    let folder = Folder::new("link");
    let other = folder.0.join("other");
    fs::write(&other, b"x").unwrap();
    std::os::unix::fs::symlink(&other, folder.0.join(VALUES)).unwrap();
    let mut files = folder.files();
    assert!(loaded(&mut files).1[0].contains("it is a link"));
    save(&files, "mine");
    assert_eq!(fs::read(&other).unwrap(), b"x");
}

#[test]
fn the_second_of_one_folder_uses_the_first() {
    let folder = Folder::new("two");
    let mut files = folder.files();
    // The first has not written its login yet.
    assert!(Files::claim(&folder.0).is_err());
    let login = Login { port: 4000, ..files.login().unwrap() };
    files.keep_login(&login);
    assert!(matches!(Files::claim(&folder.0).unwrap(), Claim::Others(found) if found == login));
    drop(files);
    assert!(matches!(Files::claim(&folder.0).unwrap(), Claim::Ours(_)));
}

#[test]
fn without_a_folder_it_serves_and_keeps_nothing() {
    let folder = Folder::new("nowhere");
    let Claim::Ours(mut files) = Files::claim(&folder.0.join("a/b")).unwrap() else { panic!("another process") };
    assert!(files.unkept.is_some());
    let login = files.login().unwrap();
    assert_eq!(files.keep_login(&login), Vec::<String>::new());
    assert_eq!(loaded(&mut files), (None, vec![]));
    assert!(files.writer(Vec::new()).is_none());
    assert_eq!(folder.names(), Vec::<String>::new());
}

#[test]
fn values_that_another_program_holds_are_neither_taken_for_damaged_nor_lost() {
    let folder = Folder::new("held");
    let mut files = folder.files();
    save(&files, "kept");
    let path = folder.0.join(VALUES);
    let names = folder.names();
    held::hold(&path, 3);
    assert_eq!(loaded(&mut files), (Some("kept".to_owned()), vec![]), "held for a moment");
    held::hold(&path, u32::MAX);
    assert_eq!(loaded(&mut files), (None, vec![]));
    assert!(files.unkept.as_deref().unwrap().contains("another program holds it"));
    assert!(files.writer(Vec::new()).is_none(), "nothing is written over it");
    held::release(&path);
    assert_eq!((folder.names(), loaded(&mut folder.files_again(files)).0.as_deref()), (names, Some("kept")));
}
