//! Secrets in the words of servers, in the forms in which servers repeat them.

use super::*;

/// A token as base64 writes it, with characters that JSON, URLs and pages escape.
const TOKEN: &str = "abc/def+ghi==";
const HIDDEN: &str = "HTTP 403: the answer repeats a secret of the request in another form, so it is not shown";

#[test]
fn plain_forms_have_no_escapes() {
    for (text, expected) in [
        (r#"a\/b\u002fc\"d"#, r#"a/b/c"d"#),
        (r"\\\/ \\\\u0041", "/ A"),
        ("a%2Fb%2fc%252Fd", "a/b/c/d"),
        ("a+b%20c", "a b c"),
        ("&amp;&lt;&#47;&#x2F;&amp;quot;", "&<//\""),
        ("%C3%A4 %ff", "ä \u{fffd}"),
        ("a&sol;b&equals;&equals;&commat;&rcub;&amp;colon;&plusmn;", "a/b==@}:&plusmn;"),
        (r"\ud83d\ude00\uD83D\uDE00 \u00e4\u00e4", "😀😀 ää"),
        (r"\ud83d \ude00 \ud83d\u0041 \ud83d\u12", r"\ud83d \ude00 \ud83dA \ud83d\u12"),
        // No escapes, or cut ones.
        (r"% %2 %zz \x \u12 &amp &#; &#x; &#99999999; ä", r"% %2 %zz \x \u12 &amp &#; &#x; &#99999999; ä"),
        ("", ""),
    ] {
        assert_eq!(plain(text), expected, "{text}");
    }
}

#[test]
fn a_secret_in_another_form_hides_the_words() {
    let whole = format!("Bearer {TOKEN}");
    for body in [
        r#"{"got":"Bearer abc\/def+ghi=="}"#,
        r#"{"got":"abc\u002Fdef\u002bghi=="}"#,
        r#"{"json":"{\"got\":\"abc\\\/def+ghi==\"}"}"#,
        "token abc%2Fdef%2Bghi%3D%3D is unknown",
        "token abc%252Fdef%252Bghi%253D%253D is unknown",
        "token abc/def ghi== is unknown",
        "<p>abc&#x2F;def&#43;ghi&#61;=</p>",
        "<p>abc&sol;def&plus;ghi&equals;&equals;</p>",
        // Cut, also within an escape.
        r"no abc\/de…",
        r"no abc\…",
        "no abc%…",
        "no abc%2…",
        "no abc&#x2…",
        r"no abc\ud83d\ude0…",
    ] {
        let reason = format!("HTTP 403: {body}");
        assert_eq!(redacted(&reason, vec![TOKEN, &whole], []), HIDDEN, "{body}");
        assert_eq!(redacted(body, vec![TOKEN], []), HIDDEN.replace("HTTP 403", "failed"), "{body}");
    }
    // The secret may be the escaped one.
    assert_eq!(redacted(r"HTTP 403: no a\/b c/é", vec!["a%2Fb+c%2F%C3%A9"], []), HIDDEN);
    for text in [r"HTTP 403: 100% \/ &amp; a+b", "HTTP 403: abc/…", "HTTP 403", ""] {
        assert_eq!(redacted(text, vec!["hunter2", "%25", ""], []), text, "{text}");
    }
}

#[test]
fn an_own_word_in_another_form_hides_the_words() {
    let rows: [(&str, &[u8], &[u8]); 6] = [
        ("bad key S3cr/et+key", b"key=S3cr%2Fet%2Bkey&m=Bob", b"{}"),
        (r"bad key S3cr\/et", br#"{"key":"S3cr/et"}"#, b"{}"),
        ("bad key S3cr/et", br#"{"key":"S3cr\/et"}"#, b"{}"),
        ("bad key S3cr/et", br#"{"key":"S3cr\u002fet"}"#, b"{}"),
        ("no tok%2Fen%2Bpart", br#"{"key":"tok/en+part"}"#, b"{}"),
        (r"no S3cr\/et", br#"{"key":"S3cr/et"}"#, br#"{"name":"S3cr"}"#),
    ];
    for (text, body, event) in rows {
        assert_eq!(redacted(&format!("HTTP 403: {text}"), vec![], [(body, event)]), HIDDEN, "{text}");
    }
    for (text, body) in [
        (r"no xK9!m\/2@vL7#", r#"{"pass":"xK9!m/2@vL7#"}"#),
        ("no xK9%21mQ2%40vL7%23", r#"{"pass":"xK9!mQ2@vL7#"}"#),
        ("no xK9&excl;mQ2&#64;vL7#", "pass=xK9%21mQ2%40vL7%23"),
        ("no xK9%21mQ…", r#"{"pass":"xK9!mQ2@vL7#"}"#),
    ] {
        assert_eq!(redacted(&format!("HTTP 403: {text}"), vec![], [(body.as_bytes(), &b"{}"[..])]), HIDDEN, "{text}");
    }
    // Values of the event are no secrets in any form, nor are names of members.
    for (text, body, event) in [
        (r"HTTP 400: no Tom\/Ann", &b"name=Tom%2FAnn"[..], &br#"{"name":"Tom\u002fAnn"}"#[..]),
        ("HTTP 400: text%20is required", br#"{"text":"x"}"#, b"{}"),
    ] {
        assert_eq!(redacted(text, vec![], [(body, event)]), text);
    }
}

#[test]
fn words_of_the_hooks_own_text_are_redacted() {
    let body = br#"{"token":"tok-En7","key":"Ab12/x=","text":"Bob","kind" : "message","n":12,"pass":"letmein"}"#;
    let event = br#"{"name":"Bob"}"#;
    for (text, expected) in [
        ("HTTP 400: bad tok-En7", "HTTP 400: bad ***"),
        ("HTTP 400: bad tok-En7.", "HTTP 400: bad ***"),
        (r#"HTTP 400: {"token":"Ab12/x="} Bob-9"#, r#"HTTP 400: {"token":"***"} Bob-9"#),
        ("HTTP 400: kind and text of Bob are wrong, 12 é", "HTTP 400: kind and text of Bob are wrong, 12 é"),
        ("HTTP 400: not a message: letmein", "HTTP 400: not a ***: ***"),
    ] {
        assert_eq!(redacted(text, vec![], [(&body[..], &event[..])]), expected);
    }
    let form = [(&b"user=x&pass=letmein"[..], &b"{}"[..])];
    assert_eq!(redacted("no user, no letmein", vec![], form), "no user, no ***");
    // Passwords with symbols, beside values of the event with symbols around them.
    let event = &br#"{"name":"Bob","with":"Ann-Lee (x)"}"#[..];
    for (text, body, expected) in [
        ("wrong pass xK9!mQ2@vL7#", r#"{"pass":"xK9!mQ2@vL7#","name":"Bob"}"#, "wrong pass ***"),
        ("wrong pass xK9!mQ2@vL7#, Bob!", r#"{"pass":"xK9!mQ2@vL7#","name":"Bob"}"#, "wrong pass ***, Bob!"),
        ("pass=xK9!mQ2@vL7#&x", r#"[{"a":{"pass":"xK9!mQ2@vL7#"}}]"#, "pass=***&x"),
        ("no Tr0ub4dor&3", r#"{"pass":"Tr0ub4dor&3"}"#, "no ***"),
        ("no Tr0ub4dor&3", "user=x&pass=Tr0ub4dor%263", "no ***"),
        ("no a,b:c=d&e+f", r#"{"pass":"a,b:c=d&e+f"}"#, "no ***"),
        (r#"no x"y'z<w>"#, r#"{"pass":"x\"y'z<w>"}"#, "no ***"),
        ("no xK9!mQ2#", r#"{"text":"Bob has the pass:\nxK9!mQ2#"}"#, "no ***"),
        ("no xK9!mQ2#", r#"{"json":"{\"pass\":\"xK9!mQ2#\"}"}"#, "no ***"),
        ("no xK9!mQ2#", "<pass>xK9!mQ2#</pass>", "no ***"),
        ("no xK9!mQ2#", "key: xK9!mQ2#\n", "no ***"),
        ("no xK9!m…", r#"{"pass":"xK9!mQ2@vL7#"}"#, "no ***…"),
        ("no Bob:Ann-Lee, no **Bob**", r#"{"a":"Bob:Ann-Lee,","b":"**Bob** (x)"}"#, "no Bob:Ann-Lee, no **Bob**"),
        ("no a!b", r#"{"a":"a!b"}"#, "no a!b"),
    ] {
        assert_eq!(redacted(text, vec![], [(body.as_bytes(), event)]), expected, "{body}");
    }
}

#[test]
fn secrets_and_their_cut_beginnings_are_redacted() {
    for (text, secrets, expected) in [
        ("POST /hunter2 failed: hunter2x", vec!["hunter2"], "POST /*** failed: ***x"),
        ("Bearer hunter2", vec!["hunter2", "Bearer hunter2"], "***"),
        ("nothing", vec!["", "hunter2"], "nothing"),
        // A server may show the path as its program sees it, or the login that it read.
        ("no route /a+hunter/2", vec!["a%2Bhunter%2f2"], "no route /***"),
        ("no route /a%2Bhunter", vec!["a%2Bhunter", "%zz", "%"], "no route /***"),
        // It may also show a part alone.
        ("token 123:ABC-def is revoked", vec!["bot123:ABC-def", "sendMessage"], "token *** is revoked"),
        ("no bot 1234", vec!["bot1234:ABC-def"], "no bot ***"),
        ("bottle, no hunter2", vec!["bottle=hunter2"], "***, no ***"),
        ("hunter2 is wrong", vec!["user:hunter2"], "*** is wrong"),
        ("hunter2 is wrong", vec!["user%3Ahunter2"], "*** is wrong"),
        ("no token hunter2", vec!["session=hunter2; user=x"], "no token ***"),
        ("no token hunter2", vec!["Bearer hunter2"], "no token ***"),
        ("no token hunter2", vec!["a,hunter2"], "no token ***"),
        ("hunter2", vec!["key=\"hunter2\""], "***"),
        ("a: b, c=d", vec!["a:b=c;d"], "a: b, c=d"),
        ("bob may not", vec!["Basic Ym9iOmh1bnRlcjI="], "*** may not"),
        ("bob:hunter2 or hunter2", vec!["Basic Ym9iOmh1bnRlcjI="], "*** or ***"),
        ("hunter2 of bob", vec!["basic Ym9iOmh1bnRlcjI="], "*** of ***"),
        ("hunter2 of bob", vec!["BASIC  Ym9iOmh1bnRlcjI= "], "*** of ***"),
        ("hunter2 of bob", vec!["Basic\tYm9iOmh1bnRlcjI="], "*** of ***"),
        ("at Ym9i: bob", vec!["Ym9iOmh1bnRlcjI=", "Basic !", "Basic YQ", "Basics Ym9iOmh1bnRlcjI="], "at Ym9i: bob"),
        // The beginning of a secret counts only at the cut of the excerpt.
        ("bad hunter…", vec!["hun", "hunter2"], "bad ***ter…"),
        ("bad hunter…", vec!["hunter2", "/hunter2"], "bad ***…"),
        ("at /é/hu…", vec!["hunter2", "/é/hunter2"], "at ***…"),
        ("bad h…", vec!["hunter2"], "bad ***…"),
        ("bad hunter", vec!["hunter2"], "bad hunter"),
    ] {
        assert_eq!(redacted(text, secrets, []), expected);
    }
}
