//! The rows of `testdata/hooks/signatures.txt`.

use super::*;
use crate::rows::rows;

#[test]
fn each_row_of_the_table_is_signed_or_refused() {
    for row in rows(include_str!("../../../testdata/hooks/signatures.txt")) {
        let text = row.text(0);
        let secrets: Vec<&str> = text.split(' ').collect();
        let checked = secrets.iter().try_for_each(|secret| check(secret));
        let signing = Signing::new(secrets.iter().map(|secret| Secret::new((*secret).to_owned())).collect());
        let found = match checked {
            Err(found) if row.columns.len() == 2 => format!("refused: {found}"),
            _ => signing.sign(&row.text(1), row.text(2).parse().unwrap(), row.bytes(3)),
        };
        assert_eq!(found, row.text(row.columns.len() - 1), "line {}", row.line);
        assert_eq!(format!("{signing:?}").matches("***").count(), secrets.len());
        assert!(!secrets.iter().any(|secret| format!("{signing:?}").contains(secret)));
    }
}

#[test]
fn a_secret_is_known_by_its_parts() {
    let secret = "whsec_plJ3nmyCDG/KInavdO+15jslAA==";
    let signing = Signing::new(vec![Secret::new(secret.to_owned())]);
    let known: Vec<&str> = signing.secrets().collect();
    assert_eq!(known, [secret, &secret[6..], "plJ3nmyCDG", "KInavdO", "15jslAA"]);
}
