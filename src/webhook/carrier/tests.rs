//! The request as the carrier passes it on. Whole requests: `webhook/client/tests.rs`.

use super::*;

#[test]
fn a_request_gets_the_address_of_its_destination() {
    let mut request = b"PUT /token HTTP/1.1\r\nHost: 127.0.0.1:9\r\nA: b\r\n\r\nbody\nHost: x".to_vec();
    readdress(&mut request, "/api?x=1", "h:81").unwrap();
    assert_eq!(request, b"PUT /api?x=1 HTTP/1.1\r\nHost: h:81\r\nA: b\r\n\r\nbody\nHost: x");
    assert_eq!(readdress(&mut b"GET /token HTTP/1.1\r\nA: b\r\n\r\n".to_vec(), "/", "h"), None);
}
