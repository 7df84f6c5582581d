//! The rows of `testdata/hooks/where.txt`, and comparisons of generated values.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::json::tape;
use crate::rows::rows;

fn holds(event: &[u8], wanted: &Value) -> Result<bool, SpecError> {
    let mut found = Vec::new();
    tape::parse(event, &mut found).unwrap();
    Ok(EventFilter::parse(wanted, "where")?.holds(&found))
}

#[test]
fn each_row_of_the_table_holds() {
    for row in rows(include_str!("../../../testdata/hooks/where.txt")) {
        let wanted = serde_json::from_str(&row.text(1)).unwrap();
        let found = match holds(row.bytes(0), &wanted) {
            Ok(true) => "yes".to_owned(),
            Ok(false) => "no".to_owned(),
            Err(err) => err.to_string(),
        };
        assert_eq!(found, row.text(2), "line {}", row.line);
    }
}

#[test]
fn comparisons_are_bounded() {
    let many: serde_json::Map<_, _> = (0..=CONDITIONS_MAX).map(|n| (format!("f{n}"), json!(1))).collect();
    let err = EventFilter::parse(&Value::Object(many), "where").unwrap_err();
    assert_eq!(err.to_string(), "where: has 33 conditions, 32 are allowed");
}

proptest! {
    #[test]
    fn numbers_compare_as_numbers(n in -3..3_i32, bound in -3..3_i32) {
        let event = json!({ "n": n }).to_string();
        for (operator, expected) in [
            ("eq", n == bound), ("ne", n != bound), ("lt", n < bound), ("le", n <= bound), ("gt", n > bound), ("ge", n >= bound),
        ] {
            let wanted = json!({ "n": { operator: bound } });
            prop_assert_eq!(holds(event.as_bytes(), &wanted).unwrap(), expected, "{} {} {}", n, operator, bound);
        }
    }

    #[test]
    fn eq_and_ne_are_opposites(event in "[abc]{0,2}", wanted in "[abc]{0,2}", absent: bool) {
        let event = if absent { json!({}) } else { json!({ "t": event }) }.to_string();
        let ask = |operator: &str| holds(event.as_bytes(), &json!({ "t": { operator: wanted } })).unwrap();
        prop_assert_ne!(ask("eq"), ask("ne"));
        let one_of = json!({ "t": { "one_of": [wanted, 1] } });
        prop_assert_eq!(holds(event.as_bytes(), &one_of).unwrap(), ask("eq"));
    }
}
