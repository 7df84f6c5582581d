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
    let group: Vec<_> = (0..11).map(|n| json!({ "a": { "gt": n, "lt": n, "ne": n } })).collect();
    let err = EventFilter::parse(&json!({ "any_of": group }), "where").unwrap_err();
    assert_eq!(err.to_string(), "where: has 33 conditions, 32 are allowed");
    let err = EventFilter::parse(&json!({ "a": { "none_of": vec![1; 257] } }), "where").unwrap_err();
    assert_eq!(err.to_string(), "where.a.none_of: has 257 entries, 256 are allowed");
    assert!(EventFilter::parse(&json!({ "a": { "none_of": vec![1; 256] } }), "where").is_ok());
}

/// A tree of groups over the members `a`, `b` and `c`, with the value of each leaf by plain Rust.
#[derive(Debug, Clone)]
enum Tree {
    Leaf(usize, i32),
    Group(&'static str, Vec<Tree>),
}

impl Tree {
    fn spec(&self) -> Value {
        match self {
            Tree::Leaf(member, number) => json!({ ["a", "b", "c"][*member]: number }),
            Tree::Group("not", trees) => json!({ "not": trees[0].spec() }),
            Tree::Group(group, trees) => json!({ *group: trees.iter().map(Tree::spec).collect::<Vec<_>>() }),
        }
    }

    /// The same tree inside one field.
    fn spec_of_field(&self) -> Value {
        match self {
            Tree::Leaf(_, number) => json!({ "eq": number }),
            Tree::Group("not", trees) => json!({ "not": trees[0].spec_of_field() }),
            Tree::Group(group, trees) => json!({ *group: trees.iter().map(Tree::spec_of_field).collect::<Vec<_>>() }),
        }
    }

    fn holds(&self, members: [i32; 3]) -> bool {
        match self {
            Tree::Leaf(member, number) => members[*member] == *number,
            Tree::Group("not", trees) => !trees[0].holds(members),
            Tree::Group("none_of", trees) => trees.iter().all(|tree| !tree.holds(members)),
            Tree::Group("any_of", trees) => trees.iter().any(|tree| tree.holds(members)),
            Tree::Group(_, trees) => trees.iter().all(|tree| tree.holds(members)),
        }
    }
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = (0..3_usize, 0..3_i32).prop_map(|(member, number)| Tree::Leaf(member, number));
    leaf.prop_recursive(4, 24, 4, |inner| {
        let group = prop_oneof![Just("not"), Just("none_of"), Just("any_of"), Just("all_of")];
        (group, proptest::collection::vec(inner, 1..4)).prop_map(|(group, trees)| Tree::Group(group, trees))
    })
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
    fn groups_join_as_plain_logic_does(tree in tree(), members in [0..3_i32, 0..3, 0..3]) {
        let [a, b, c] = members;
        let event = json!({ "a": a, "b": b, "c": c }).to_string();
        match holds(event.as_bytes(), &tree.spec()) {
            Ok(found) => prop_assert_eq!(found, tree.holds(members)),
            Err(err) => prop_assert!(err.to_string().ends_with("conditions, 32 are allowed"), "{}", err),
        }
        if let Ok(found) = holds(event.as_bytes(), &json!({ "a": tree.spec_of_field() })) {
            prop_assert_eq!(found, tree.holds([a; 3]));
        }
    }

    #[test]
    fn contains_finds_what_a_comparison_at_each_place_finds(text in "[ab]{0,12}", wanted in "[ab]{1,5}") {
        prop_assert_eq!(contains(text.as_bytes(), wanted.as_bytes()), text.contains(&wanted));
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
