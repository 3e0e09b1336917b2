//! How single fields of inputs are read, and what is refused of each, naming its path.

use ruche_commands::CommandError;

use super::super::scalars::{Json, Long};

type Made<C> = Result<C, CommandError>;

/// Reads text that has a form.
pub(super) fn parsed<T: std::str::FromStr>(field: &str, text: &str) -> Made<T> {
    text.parse()
        .map_err(|_| CommandError::input(field, format!("{text:?} is not of the form that is expected")))
}

/// A number that is not negative.
pub(super) fn count(field: &str, value: Long) -> Made<u64> {
    u64::try_from(value.0).map_err(|_| CommandError::input(field, "must not be negative"))
}

pub(super) fn optional_count(field: &str, value: Option<Long>) -> Made<Option<u64>> {
    value.map(|value| count(field, value)).transpose()
}

/// The members of a JSON object.
pub(super) fn object(field: &str, value: Option<Json>) -> Made<ruche_domain::Ext> {
    match value.map(|json| json.0) {
        None | Some(serde_json::Value::Null) => Ok(ruche_domain::Ext::new()),
        Some(serde_json::Value::Object(members)) => Ok(members.into_iter().collect()),
        Some(_) => Err(CommandError::input(field, "must be an object")),
    }
}

/// A name, a stable word or a reference: what is empty names nothing, and who left it out would not have sent it.
pub(super) fn named(field: &str, text: String) -> Made<String> {
    if text.is_empty() {
        return Err(CommandError::input(field, "must not be empty"));
    }
    Ok(text)
}

/// The same of one that may be left out.
pub(super) fn optional_name(field: &str, text: Option<String>) -> Made<Option<String>> {
    text.map(|text| named(field, text)).transpose()
}

#[test]
fn a_name_that_is_empty_is_refused_with_its_path() {
    let refused = optional_name("/outcome/failed/errorType", Some(String::new())).expect_err("it is empty");
    let path = refused.path().expect("a path");
    assert_eq!(
        (refused.code(), path.join(" ")),
        ("INVALID_INPUT", "outcome failed errorType".to_owned())
    );
    assert_eq!(optional_name("/owner", None).expect("nothing is no name"), None);
    assert_eq!(named("/owner", " ".to_owned()).expect("a name"), " ");
}
