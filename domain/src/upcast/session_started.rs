//! `session.started` 1 → 2: the person whom the agent talks with became the interlocutor (R-EVT-04).
//!
//! Version 1 is how the platform's older programs wrote it: `customer_id`, or `customer_key`, or both. These words
//! stand nowhere else in the code.

use serde_json::{Value, json};

use super::Fields;

/// Where the second of two different old names is kept.
const OTHER: &str = "customer_key";

/// The old names in the order in which they are believed.
const OLD_NAMES: [&str; 2] = ["customer_id", "customer_key"];

pub(super) fn lift(mut fields: Fields) -> Result<Fields, String> {
    if fields.contains_key("interlocutor_id") {
        return Err("version 1 has no interlocutor_id".to_owned());
    }
    let [id, key] = OLD_NAMES.map(|name| fields.remove(name).filter(|value| !value.is_null()));
    match (id, key) {
        (None, None) => {}
        (Some(only), None) | (None, Some(only)) => {
            fields.insert("interlocutor_id".to_owned(), only);
        }
        (Some(id), Some(key)) => {
            if id != key {
                keep(&mut fields, key)?;
            }
            fields.insert("interlocutor_id".to_owned(), id);
        }
    }
    Ok(fields)
}

/// Nothing that was recorded is lost to readers: a key that says something else stays among the free fields.
fn keep(fields: &mut Fields, key: Value) -> Result<(), String> {
    match fields.entry("ext").or_insert_with(|| json!({})) {
        Value::Object(ext) => ext.entry(OTHER).or_insert(key),
        _ => return Err("ext is not an object".to_owned()),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::lift;

    fn check(old: Value, new: Value) {
        let Value::Object(fields) = old else {
            panic!("not an object")
        };
        assert_eq!(lift(fields).map(Value::Object), Ok(new));
    }

    #[test]
    fn either_old_name_becomes_the_interlocutor() {
        check(
            json!({"customer_id": "c1", "app": "x"}),
            json!({"interlocutor_id": "c1", "app": "x"}),
        );
        check(json!({"customer_key": "k1"}), json!({"interlocutor_id": "k1"}));
        check(
            json!({"customer_id": null, "customer_key": "k1"}),
            json!({"interlocutor_id": "k1"}),
        );
        check(json!({"channel": "web"}), json!({"channel": "web"}));
    }

    #[test]
    fn two_names_of_one_person_are_one() {
        check(
            json!({"customer_id": "c1", "customer_key": "c1"}),
            json!({"interlocutor_id": "c1"}),
        );
    }

    #[test]
    fn a_second_name_that_differs_is_kept() {
        check(
            json!({"customer_id": "c1", "customer_key": "k1", "ext": {"a": 1}}),
            json!({"interlocutor_id": "c1", "ext": {"a": 1, "customer_key": "k1"}}),
        );
    }

    #[test]
    fn what_version_1_never_had_is_refused() {
        let fields = json!({"customer_id": "c1", "interlocutor_id": "c2"});
        assert!(lift(fields.as_object().unwrap().clone()).is_err());
    }
}
