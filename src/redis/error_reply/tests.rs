//! Error replies: each known wording with its class and advice. No secret is ever shown.

use super::*;

fn rows(text: &'static str) -> impl Iterator<Item = [&'static str; 3]> {
    text.lines().filter(|line| !line.starts_with('#')).map(|row| {
        let [text, class, advice] = row.split(" | ").collect::<Vec<_>>()[..] else { panic!("{row}") };
        [text, class.trim(), advice.trim()]
    })
}

/// Compares each row, in any letter case, with what `read` makes of its error.
fn check(table: &'static str, read: impl Fn(&[u8]) -> ErrorReply) {
    for [text, class, advice] in rows(table) {
        for text in [text.to_owned(), text.to_lowercase(), text.to_uppercase()] {
            let refusal = read(text.as_bytes());
            assert_eq!(format!("{:?}", refusal.class).to_lowercase(), class, "{text}");
            assert!(refusal.to_string().contains(advice), "{text}: {refusal}");
            assert_eq!(advice.is_empty(), refusal.advice.is_empty(), "{text}: {refusal}");
        }
    }
}

#[test]
fn each_wording_in_any_letter_case() {
    let table = include_str!("../../../testdata/redis/refusals.txt");
    check(table, ErrorReply::new);
    check(table, ErrorReply::of_handshake);
}

/// A sentence under `ERR` counts before the connection is ready. Later it may be a name that a player chose.
#[test]
fn sentences_count_in_a_handshake_only() {
    let table = include_str!("../../../testdata/redis/handshake.txt");
    check(table, ErrorReply::of_handshake);
    for [text, ..] in rows(table) {
        let later = ErrorReply::new(text.as_bytes());
        assert_eq!((later.class, later.advice), (Class::Never, ""), "{text}");
    }
}

#[test]
fn answers_to_a_login_show_a_known_code_word_and_no_more() {
    for [text, class, shown] in rows(include_str!("../../../testdata/redis/logins.txt")) {
        let refusal = ErrorReply::of_login(text.as_bytes());
        assert_eq!(format!("{:?}", refusal.class).to_lowercase(), class, "{text}");
        assert_eq!(refusal.to_string(), shown, "{text}");
        let debug = format!("{refusal:?} {}", ErrorReply::of_secret(text.as_bytes()));
        assert!(!debug.contains("hunter") && !debug.contains("HUNTER"), "{debug}");
    }
}

#[test]
fn arguments_that_a_server_repeats_are_cut_off() {
    for (text, shown) in [
        ("ERR unknown command 'AUHT', with args beginning with: 'hunter2' ", "ERR unknown command 'AUHT'"),
        ("ERR unknown command `AUHT`, with args beginning with: `hunter2`, ", "ERR unknown command `AUHT`"),
        ("ERR UNKNOWN COMMAND 'É', WITH ARGS BEGINNING WITH: 'hunter2'", "ERR UNKNOWN COMMAND 'É'"),
        ("ERR unknown command `FOO`", "ERR unknown command `FOO`"),
    ] {
        assert_eq!(ErrorReply::new(text.as_bytes()).to_string(), shown);
        assert_eq!(ErrorReply::with_arguments(text.as_bytes()).to_string(), text);
    }
}

#[test]
fn the_shown_text_is_one_line_of_bounded_length() {
    let refusal = ErrorReply::new(b"ERR \x1b[31mred\x07\xff\r\n");
    assert_eq!(refusal.to_string(), "ERR \\u{1b}[31mred\\u{7}\u{fffd}\\r\\n");
    let long = ErrorReply::new(&[b'x'; 60_000]).to_string();
    assert!(long.len() < TEXT_BYTES_MAX + 10 && long.ends_with("..."), "{}", long.len());
    proptest::proptest!(|(bytes: Vec<u8>)| {
        let shown = ErrorReply::new(&bytes).to_string() + &ErrorReply::of_login(&bytes).to_string();
        assert!(!shown.contains(char::is_control), "{shown:?}");
    });
}
