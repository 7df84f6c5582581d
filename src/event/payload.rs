//! From the payload of an event to the tape that Lua values, filters and templates are made from.
//! Pure; any thread. The identity (`_rt`) never gets into the tape, whether the payload is within the limits or not.

use crate::event::identity;
use crate::json::find;
use crate::json::tape::{self, Undecoded};

/// Replaces `out` by the tape of an event's payload. True if the payload could not be decoded and the tape is its text.
pub(crate) fn decode(payload: &[u8], out: &mut Vec<u8>) -> bool {
    out.clear();
    decode_with(payload, out, &mut Vec::new()).is_err()
}

/// Appends the tape of an event's payload without the member `_rt`, whose text goes into `member`. If the payload cannot
/// be decoded, the tape is its text as one string, and the error says why.
pub fn decode_with(payload: &[u8], out: &mut Vec<u8>, member: &mut Vec<u8>) -> Result<(), Undecoded> {
    let parsed = tape::parse_without(payload, Some(identity::MEMBER), out, member);
    match parsed {
        Ok(()) => {}
        Err(Undecoded::NotJson { .. }) => tape::push_text(out, payload),
        // JSON past the limits may still be an event of this module. Lua must not see the identity, so it is cut out of
        // the text.
        Err(Undecoded::Limits) => {
            let mut text = Vec::with_capacity(payload.len());
            find::push_without(&mut text, payload, identity::MEMBER);
            tape::push_text(out, &text);
        }
    }
    parsed
}
