//! Signed requests (Standard Webhooks): each attempt has its own time and signature, also after a restart, and no file but
//! the spool and no report shows a secret.

use std::collections::HashSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::prelude::{BASE64_STANDARD, Engine};
use fault_kit::{Answer, Folder, Hook, Poster, Seen, Web, wait_until};
use ring::hmac;
use serde_json::{Value, json};

/// Two keys of 24 bytes. In base64 the second one has signs that JSON and URLs write in other ways.
const KEYS: [&[u8; 24]; 2] = [b"0123456789abcdefghijklmn", b"abc>>>abc~~?abd>>>abd~~?"];

fn secret(key: &[u8]) -> String {
    format!("whsec_{}", BASE64_STANDARD.encode(key))
}

/// The signature that the request must have for this key.
fn signature(seen: &Seen, key: &[u8]) -> String {
    let head = format!("{}.{}.", seen.header("webhook-id"), seen.header("webhook-timestamp"));
    let signed = [head.as_bytes(), &seen.body].concat();
    format!("v1,{}", BASE64_STANDARD.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), &signed)))
}

fn texts(seen: &[Seen], header: &str) -> HashSet<String> {
    seen.iter().map(|seen| seen.header(header).to_owned()).collect()
}

/// The bodies of a batch are joined before they are signed, in this process and from the spool of the one before.
#[test]
fn a_batch_is_signed_as_a_whole_even_after_a_restart() {
    let is_up = Arc::new(AtomicBool::new(false));
    let up = Arc::clone(&is_up);
    let web = Web::start(move |_| Answer::Status(if up.load(Ordering::SeqCst) { 204 } else { 503 }));
    let folder = Folder::default();
    let poster = Poster::with(json!({ "timezone_offset": "+14:00" }), folder.clone());
    let spec = json!({ "type": "http", "url": web.url("/{date}"), "secret": secret(KEYS[0]), "batch": { "max": 3, "seconds": 300 },
        "format": r#"{"n":{n},"on":"{date}"}"# });
    let hook = Hook::new("h", spec);
    (0..6).for_each(|n| poster.post(&hook, json!({ "n": n })));
    wait_until("an attempt failed", || poster.standing("h").tally.status_5xx >= 1);
    poster.stop();
    let failed = web.seen().len();
    is_up.store(true, Ordering::SeqCst);
    let poster = Poster::with(json!({}), folder);
    poster.wait_delivered(6);
    let seen = web.seen();
    assert!(seen.iter().all(|seen| seen.header("webhook-signature") == signature(seen, KEYS[0])));
    let text: String = seen.iter().skip(failed).map(|seen| String::from_utf8_lossy(&seen.body).into_owned()).collect();
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.iter().map(|event| event["n"].as_u64().unwrap()).eq(0..6), "{text}");
    // Both have the date of the event: not one of the next process, whose clock is another.
    for seen in &seen {
        let body = String::from_utf8_lossy(&seen.body).into_owned();
        let date = seen.target.trim_start_matches('/');
        assert!(body.lines().all(|line| line.contains(&format!(r#""on":"{date}""#))), "{date}: {body}");
    }
    assert!(seen.len() - failed < 6, "nothing was joined: {text}");
    poster.wait_drained();
    poster.stop();
}

#[test]
fn each_attempt_has_its_own_time_and_signature_even_after_a_restart() {
    let is_up = Arc::new(AtomicBool::new(false));
    let up = Arc::clone(&is_up);
    let web = Web::start(move |_| Answer::Status(if up.load(Ordering::SeqCst) { 204 } else { 503 }));
    let folder = Folder::default();
    let poster = Poster::with(json!({}), folder.clone());
    let secrets = KEYS.map(|key| secret(key));
    let spec = json!({ "type": "http", "url": web.url("/"), "secret": secrets, "format": r#"{"data":{event}}"# });
    poster.post(&Hook::new("h", spec), json!({ "name": "Zoé" }));
    // The delays between the first three are half a second and a second at least.
    wait_until("three attempts failed", || poster.standing("h").tally.status_5xx == 3);
    poster.stop();
    let spool = std::fs::read_to_string(folder.path().join("spool.jsonl")).unwrap();
    assert!(secrets.iter().all(|secret| spool.contains(secret)), "{spool}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let rights = std::fs::metadata(folder.path().join("spool.jsonl")).unwrap().permissions().mode();
        assert_eq!(rights & 0o777, 0o600);
    }
    // The next process knows no hook.
    is_up.store(true, Ordering::SeqCst);
    let poster = Poster::with(json!({}), folder);
    poster.wait_delivered(1);
    let seen = web.seen();
    assert_eq!(seen.len(), 4);
    for seen in &seen {
        assert_eq!(seen.json(), json!({ "data": { "name": "Zoé" } }));
        let expected = KEYS.map(|key| signature(seen, key)).join(" ");
        assert_eq!(seen.header("webhook-signature"), expected);
    }
    assert_eq!(texts(&seen, "webhook-id").len(), 1);
    let (times, signatures) = (texts(&seen, "webhook-timestamp"), texts(&seen, "webhook-signature"));
    assert!(times.len() >= 2, "{times:?}");
    assert_eq!(signatures.len(), times.len());
    poster.wait_drained();
    poster.stop();
}

/// The receiver knows the secret and may repeat it, as it is or as JSON and URLs write it.
#[test]
fn a_signing_secret_is_never_shown() {
    let secret = secret(KEYS[1]);
    let base64 = secret["whsec_".len()..].to_owned();
    assert!(base64.contains('/') && base64.contains('+'), "{base64}");
    let echoes =
        [secret.clone(), base64.clone(), base64.replace('/', "\\/"), base64.replace('/', "%2F").replace('+', "%2B")];
    for echo in echoes {
        let answer = format!("{{\"error\":\"bad secret {echo}\"}}");
        let web = Web::start(move |_| Answer::Full(400, String::new(), answer.clone()));
        let poster = Poster::default();
        let spec = json!({ "type": "http", "url": web.url("/"), "secret": secret, "format": r#"{"a":"{a}"}"# });
        poster.post(&Hook::new("h", spec), json!({ "a": "b" }));
        wait_until("the dead letter is written", || poster.dead_letters().len() == 1);
        let letters = poster.dead_letters();
        assert!(letters[0]["reason"].as_str().unwrap().starts_with("HTTP 400: "), "{letters:?}");
        let shown = format!("{letters:?} {:?} {:?}", poster.wait_told(1), poster.shared.webhooks.standings());
        for part in base64.split(['/', '+', '=']).filter(|part| part.len() > 3) {
            assert!(!shown.contains(part), "{part} in {shown}");
        }
        poster.stop();
    }
}

/// Reads a list of requests and verifies each with the reference package, then with a changed body, another id and
/// another secret.
const VERIFY: &str = r#"
import json, sys
from standardwebhooks import Webhook, WebhookVerificationError

def accepts(secret, headers, body):
    try:
        Webhook(secret).verify(body, headers, json_parse=False)
        return True
    except WebhookVerificationError:
        return False

for request in json.load(sys.stdin):
    secret, headers, body = request["secret"], request["headers"], request["body"]
    print(accepts(secret, headers, body),
          accepts(secret, headers, body + " "),
          accepts(secret, dict(headers, **{"webhook-id": "x"}), body),
          accepts("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", headers, body))
"#;

#[test]
#[ignore = "needs the Python package standardwebhooks, which scripts/test installs"]
fn the_reference_package_accepts_signed_requests() {
    let python = std::env::var("REALTIME_TEST_STANDARD_WEBHOOKS").expect("the path of a Python with the package");
    let web = Web::start(|_| Answer::Status(204));
    let poster = Poster::default();
    let [one, other] = KEYS.map(|key| secret(key));
    let form = json!({ "Content-Type": "application/x-www-form-urlencoded" });
    let specs = [
        (&one, json!({ "secret": one })),
        (&one, json!({ "secret": one.trim_end_matches('='), "format": r#"{"type":"{channel}","data":{event}}"# })),
        (&one, json!({ "secret": [one, other] })),
        (&other, json!({ "secret": [one, other], "method": "PUT", "headers": form, "format": "payload={event}" })),
        (&other, json!({ "secret": other, "method": "DELETE", "format": "{text} said" })),
        (&one, json!({ "secret": one, "method": "GET" })),
    ];
    for (n, (_, spec)) in specs.iter().enumerate() {
        let mut spec = spec.clone();
        (spec["type"], spec["url"]) = (json!("http"), json!(web.url(&format!("/{n}"))));
        poster.post(&Hook::new("h", spec), json!({ "text": "Zoé \"&\" \u{1F600}\n" }));
    }
    poster.wait_delivered(specs.len() as u64);
    poster.stop();
    let requests: Vec<Value> = web
        .seen()
        .iter()
        .map(|seen| {
            let headers: serde_json::Map<_, _> =
                seen.headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
            let n: usize = seen.target[1..].parse().unwrap();
            json!({ "secret": specs[n].0, "headers": headers, "body": String::from_utf8(seen.body.clone()).unwrap() })
        })
        .collect();
    let mut child =
        Command::new(python).args(["-c", VERIFY]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(json!(requests).to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let expected = "True False False False\n".repeat(specs.len());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}
