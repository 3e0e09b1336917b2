//! Names that are made of other programs' names: keys of units, and ids of agents.

use ruche_domain::limits::EXTERNAL_ID_BYTES_MAX;
use sha2::{Digest as _, Sha256};

/// What a unit is known by: the kind, and a SHA-256 of what makes it one. Each part has its length in front, so no two
/// lists of parts are one text; and however long the names of a source are, the key is short.
pub(super) fn key(kind: &str, parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    format!("{kind}:{}", hex::encode(hasher.finalize()))
}

/// A name as an id may be: control characters are spaces, and what is too long ends earlier.
pub(super) fn as_id(name: &str) -> String {
    let mut id: String = name
        .chars()
        .map(|char| if char.is_control() { ' ' } else { char })
        .collect();
    id.truncate(id.floor_char_boundary(EXTERNAL_ID_BYTES_MAX));
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_short_and_no_two_lists_of_parts_have_one() {
        let long = "x".repeat(10_000);
        assert!(key("otlp-turn", &[&long, &long]).len() < 100);
        assert_ne!(key("k", &["k", "y:z"]), key("k", &["k:y", "z"]));
        assert_ne!(key("k", &["ab", ""]), key("k", &["a", "b"]));
        assert_eq!(key("k", &["a", "b"]), key("k", &["a", "b"]));
    }

    #[test]
    fn a_name_becomes_an_id_that_is_let_in() {
        assert_eq!(as_id("support"), "support");
        assert_eq!(as_id("a\nb\u{0}"), "a b ");
        let cut = as_id(&"é".repeat(200));
        assert_eq!((cut.len(), cut.chars().count()), (254, 127));
    }
}
