//! Every color is the same in all its shapes, in a spec and in an event. More rows: `testdata/hooks/{specs,discord}.txt`.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::json::tape;

/// The color that a spec has for an event.
fn color(spec: &Value, event: &Value) -> Option<u32> {
    let spec = json!({ "color": spec });
    let color = Color::read(&Members::of(&spec, "", "a table").unwrap(), "color").unwrap().unwrap();
    let mut found = Vec::new();
    tape::parse(event.to_string().as_bytes(), &mut found).unwrap();
    color.of(&Fields { tape: &found, json: b"null", channel: b"c", unix_ms: 0, offset_s: 0 }).unwrap()
}

proptest! {
    #[test]
    fn all_shapes_of_a_color_are_equal(r: u8, g: u8, b: u8, a: u8) {
        let number = u32::from(r) * 65_536 + u32::from(g) * 256 + u32::from(b);
        let digits = format!("{r:02x}{g:02X}{b:02x}");
        for shape in [
            json!(number), json!(digits), json!(format!("#{digits}")), json!(format!("0x{digits}")),
            json!({ "r": r, "g": g, "b": b, "a": a }), json!({ "r": r, "g": g, "b": b }),
        ] {
            prop_assert_eq!(color(&shape, &json!({})), Some(number), "{}", shape);
            prop_assert_eq!(color(&json!("{a.color}"), &json!({ "a": { "color": shape } })), Some(number), "{}", shape);
        }
    }
}
