//! Compares a released schema of an event type with the one that the Rust types give today.
//!
//! A released schema is frozen: stored payloads were validated against it, and older programs refuse fields that they
//! do not know. So every difference except words for people asks for a new schema version with an upcaster. The list
//! says of each difference whether payloads that were valid would be refused (breaking) or not (additive).

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Map, Value};

use crate::strict_json::escape_pointer;

/// What differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A property is gone or has another name.
    PropertyRemoved(String),
    /// A property is new and optional.
    OptionalPropertyAdded(String),
    /// A property is required that was optional or did not exist.
    RequiredAdded(String),
    /// A property is optional that was required: older programs miss it.
    RequiredRemoved(String),
    /// A type is no longer allowed.
    TypeRemoved(String),
    /// A type is allowed that was not.
    TypeAdded(String),
    /// A word of a closed list is gone.
    WordRemoved(String),
    /// A word of a closed list is new.
    WordAdded(String),
    /// A keyword of JSON schema has another value, or came, or went.
    KeywordChanged(String),
}

/// One difference and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// JSON pointer (RFC 6901) into the schema.
    pub pointer: String,
    /// What differs.
    pub change: Change,
}

impl Change {
    /// Whether a payload that was valid may now be refused, or lack what readers rely on.
    pub fn is_breaking(&self) -> bool {
        match self {
            Self::PropertyRemoved(_)
            | Self::RequiredAdded(_)
            | Self::RequiredRemoved(_)
            | Self::TypeRemoved(_)
            | Self::WordRemoved(_)
            | Self::KeywordChanged(_) => true,
            Self::OptionalPropertyAdded(_) | Self::TypeAdded(_) | Self::WordAdded(_) => false,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.change {
            Change::PropertyRemoved(name) => write!(f, "property {name} was removed or renamed")?,
            Change::OptionalPropertyAdded(name) => write!(f, "optional property {name} was added")?,
            Change::RequiredAdded(name) => write!(f, "property {name} is now required")?,
            Change::RequiredRemoved(name) => write!(f, "property {name} is no longer required")?,
            Change::TypeRemoved(name) => write!(f, "type {name} is no longer allowed")?,
            Change::TypeAdded(name) => write!(f, "type {name} is now allowed")?,
            Change::WordRemoved(word) => write!(f, "value {word} is no longer allowed")?,
            Change::WordAdded(word) => write!(f, "value {word} is now allowed")?,
            Change::KeywordChanged(keyword) => write!(f, "{keyword} changed")?,
        }
        let weight = if self.change.is_breaking() {
            "breaking"
        } else {
            "additive"
        };
        write!(f, " at {:?} ({weight})", self.pointer)
    }
}

/// Keywords for people and tools; they bind nobody.
const ANNOTATIONS: &[&str] = &[
    "$comment",
    "$id",
    "$schema",
    "default",
    "deprecated",
    "description",
    "examples",
    "title",
];
/// Keywords with a comparison of their own.
const COMPARED: &[&str] = &["const", "enum", "oneOf", "properties", "required", "type"];
/// Keywords that hold one schema.
const HOLD_ONE: &[&str] = &["additionalProperties", "items", "not", "propertyNames"];
/// Keywords that hold a list of schemas.
const HOLD_LIST: &[&str] = &["allOf", "anyOf", "prefixItems"];

/// Everything that differs between a released schema and the current one, words for people apart.
///
/// Both must stand alone (no `$ref`), as the schemas of the catalogue do: a `$ref` is compared as text.
pub fn differences(released: &Value, current: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(released, current, "", &mut found);
    found
}

/// A schema without its words for people: what the lock of released schemas keeps.
pub fn without_annotations(schema: &Value) -> Value {
    strip(schema, false)
}

fn strip(value: &Value, names: bool) -> Value {
    match value {
        // Inside `properties` the keys are names of fields, and a field may well be called `title`.
        Value::Object(members) => Value::Object(
            members
                .iter()
                .filter(|(key, _)| names || !ANNOTATIONS.contains(&key.as_str()))
                .map(|(key, member)| (key.clone(), strip(member, !names && key == "properties")))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(|item| strip(item, false)).collect()),
        plain => plain.clone(),
    }
}

fn compare(released: &Value, current: &Value, at: &str, found: &mut Vec<Difference>) {
    let (Value::Object(old), Value::Object(new)) = (released, current) else {
        if without_annotations(released) != without_annotations(current) {
            push(found, at, Change::KeywordChanged("schema".to_owned()));
        }
        return;
    };
    compare_words(old, new, at, found);
    compare_sets(
        &types(old),
        &types(new),
        Change::TypeRemoved,
        Change::TypeAdded,
        at,
        found,
    );
    compare_properties(old, new, at, found);
    let keywords: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for keyword in keywords {
        let name = keyword.as_str();
        if ANNOTATIONS.contains(&name) || COMPARED.contains(&name) {
            continue;
        }
        let below = format!("{at}/{}", escape_pointer(name));
        match (old.get(keyword), new.get(keyword)) {
            (Some(old), Some(new)) if HOLD_ONE.contains(&name) => compare(old, new, &below, found),
            (Some(Value::Array(old)), Some(Value::Array(new)))
                if HOLD_LIST.contains(&name) && old.len() == new.len() =>
            {
                for (index, (old, new)) in old.iter().zip(new).enumerate() {
                    compare(old, new, &format!("{below}/{index}"), found);
                }
            }
            (old, new) if old == new => {}
            _ => push(found, at, Change::KeywordChanged(name.to_owned())),
        }
    }
}

fn compare_properties(
    old: &Map<String, Value>,
    new: &Map<String, Value>,
    at: &str,
    found: &mut Vec<Difference>,
) {
    let empty = Map::new();
    let properties = |schema: &'_ Map<String, Value>| match schema.get("properties") {
        Some(Value::Object(properties)) => properties.clone(),
        _ => empty.clone(),
    };
    let (old_properties, new_properties) = (properties(old), properties(new));
    let (old_required, new_required) = (texts(old.get("required")), texts(new.get("required")));
    for (name, old_property) in &old_properties {
        let Some(new_property) = new_properties.get(name) else {
            push(found, at, Change::PropertyRemoved(name.clone()));
            continue;
        };
        compare(
            old_property,
            new_property,
            &format!("{at}/properties/{}", escape_pointer(name)),
            found,
        );
        match (old_required.contains(name), new_required.contains(name)) {
            (false, true) => push(found, at, Change::RequiredAdded(name.clone())),
            (true, false) => push(found, at, Change::RequiredRemoved(name.clone())),
            _ => {}
        }
    }
    for name in new_properties
        .keys()
        .filter(|name| !old_properties.contains_key(*name))
    {
        let required = new_required.contains(name);
        let change = if required {
            Change::RequiredAdded
        } else {
            Change::OptionalPropertyAdded
        };
        push(found, at, change(name.clone()));
    }
}

/// Closed lists of words come as `enum`, as one `const`, or as `oneOf` consts with a description each.
fn words(schema: &Map<String, Value>) -> Option<BTreeSet<String>> {
    if let Some(Value::Array(values)) = schema.get("enum") {
        return Some(values.iter().map(Value::to_string).collect());
    }
    if let Some(value) = schema.get("const") {
        return Some(BTreeSet::from([value.to_string()]));
    }
    let Some(Value::Array(choices)) = schema.get("oneOf") else {
        return None;
    };
    choices
        .iter()
        .map(|choice| Some(choice.get("const")?.to_string()))
        .collect()
}

fn compare_words(old: &Map<String, Value>, new: &Map<String, Value>, at: &str, found: &mut Vec<Difference>) {
    match (words(old), words(new)) {
        (Some(old), Some(new)) => compare_sets(&old, &new, Change::WordRemoved, Change::WordAdded, at, found),
        (None, None) if old.get("oneOf") == new.get("oneOf") => {}
        _ => push(found, at, Change::KeywordChanged("enum".to_owned())),
    }
}

/// The allowed types; those of a list of words are not looked at, the words say more.
fn types(schema: &Map<String, Value>) -> BTreeSet<String> {
    match schema.get("type") {
        _ if words(schema).is_some() => BTreeSet::new(),
        Some(Value::String(name)) => BTreeSet::from([name.clone()]),
        list => texts(list),
    }
}

fn texts(list: Option<&Value>) -> BTreeSet<String> {
    let items = list.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn compare_sets(
    old: &BTreeSet<String>,
    new: &BTreeSet<String>,
    removed: fn(String) -> Change,
    added: fn(String) -> Change,
    at: &str,
    found: &mut Vec<Difference>,
) {
    old.difference(new)
        .for_each(|name| push(found, at, removed(name.clone())));
    new.difference(old)
        .for_each(|name| push(found, at, added(name.clone())));
}

fn push(found: &mut Vec<Difference>, at: &str, change: Change) {
    found.push(Difference {
        pointer: at.to_owned(),
        change,
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn released() -> Value {
        json!({
            "title": "x", "description": "words", "type": "object", "additionalProperties": false,
            "required": ["role"],
            "properties": {
                "role": { "oneOf": [
                    { "type": "string", "const": "user", "description": "A person." },
                    { "type": "string", "const": "agent" },
                ] },
                "text": { "type": ["string", "null"], "maxLength": 9 },
                "title": { "type": "string" },
                "parts": { "type": "array", "items": { "anyOf": [{ "type": "string" }, { "type": "null" }] } },
            },
        })
    }

    /// What a change at `pointer` of the released schema gives, breaking or not.
    fn check(pointer: &str, edit: impl FnOnce(&mut Value), expected: &[(&str, Change, bool)]) {
        let mut current = released();
        edit(current.pointer_mut(pointer).unwrap());
        let found = differences(&released(), &current);
        let found: Vec<_> = found
            .into_iter()
            .map(|d| (d.pointer, d.change.clone(), d.change.is_breaking()))
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(at, change, breaking)| ((*at).to_owned(), change.clone(), *breaking))
            .collect();
        assert_eq!(found, expected);
        let stripped = differences(&without_annotations(&released()), &current);
        assert_eq!(stripped.len(), expected.len(), "the lock finds the same");
    }

    fn object(value: &mut Value) -> &mut Map<String, Value> {
        value.as_object_mut().unwrap()
    }

    #[test]
    fn words_for_people_may_change() {
        check(
            "",
            |schema| *schema.pointer_mut("/description").unwrap() = json!("other"),
            &[],
        );
        check(
            "/properties/role/oneOf/0",
            |word| word["description"] = json!("Someone."),
            &[],
        );
        check("/properties/text", |text| text["default"] = json!(null), &[]);
    }

    #[test]
    fn a_removed_property_breaks() {
        let gone = Change::PropertyRemoved("title".to_owned());
        check(
            "/properties",
            |p| drop(object(p).remove("title")),
            &[("", gone, true)],
        );
    }

    #[test]
    fn a_renamed_property_breaks() {
        let rename = |p: &mut Value| {
            let title = object(p).remove("title").unwrap();
            object(p).insert("name".to_owned(), title);
        };
        let gone = Change::PropertyRemoved("title".to_owned());
        let new = Change::OptionalPropertyAdded("name".to_owned());
        check("/properties", rename, &[("", gone, true), ("", new, false)]);
    }

    #[test]
    fn a_narrowed_type_breaks_and_a_wider_one_adds() {
        let narrowed = Change::TypeRemoved("null".to_owned());
        check(
            "/properties/text/type",
            |t| *t = json!("string"),
            &[("/properties/text", narrowed, true)],
        );
        let wider = Change::TypeAdded("integer".to_owned());
        check(
            "/properties/title/type",
            |t| *t = json!(["string", "integer"]),
            &[("/properties/title", wider, false)],
        );
        let deep = Change::TypeRemoved("string".to_owned());
        let other = Change::TypeAdded("number".to_owned());
        let at = "/properties/parts/items/anyOf/0";
        check(
            at,
            |t| t["type"] = json!("number"),
            &[(at, deep, true), (at, other, false)],
        );
    }

    #[test]
    fn a_new_required_property_breaks_and_an_optional_one_adds() {
        let add = |p: &mut Value| drop(object(p).insert("new".to_owned(), json!({ "type": "string" })));
        check(
            "/properties",
            add,
            &[("", Change::OptionalPropertyAdded("new".to_owned()), false)],
        );
        let require = |schema: &mut Value| {
            add(&mut schema["properties"]);
            schema["required"] = json!(["role", "new"]);
        };
        check(
            "",
            require,
            &[("", Change::RequiredAdded("new".to_owned()), true)],
        );
        let tighten = Change::RequiredAdded("text".to_owned());
        check(
            "/required",
            |r| *r = json!(["role", "text"]),
            &[("", tighten, true)],
        );
        let loosen = Change::RequiredRemoved("role".to_owned());
        check("/required", |r| *r = json!([]), &[("", loosen, true)]);
    }

    #[test]
    fn a_removed_word_breaks_and_a_new_one_adds() {
        let gone = Change::WordRemoved("\"agent\"".to_owned());
        let at = "/properties/role";
        check(
            "/properties/role/oneOf",
            |o| drop(o.as_array_mut().unwrap().pop()),
            &[(at, gone, true)],
        );
        let new = Change::WordAdded("\"tool\"".to_owned());
        let add = |o: &mut Value| {
            o.as_array_mut()
                .unwrap()
                .push(json!({ "type": "string", "const": "tool" }))
        };
        check("/properties/role/oneOf", add, &[(at, new, false)]);
        let plain = |role: &mut Value| *role = json!({ "type": "string", "enum": ["user", "agent"] });
        check("/properties/role", plain, &[]);
        let open = Change::KeywordChanged("enum".to_owned());
        let opened = Change::TypeAdded("string".to_owned());
        check(
            "/properties/role",
            |r| *r = json!({ "type": "string" }),
            &[(at, open, true), (at, opened, false)],
        );
    }

    #[test]
    fn any_other_keyword_counts_as_a_break() {
        let changed = |keyword: &str| Change::KeywordChanged(keyword.to_owned());
        let at = "/properties/text";
        check(
            at,
            |t| t["maxLength"] = json!(8),
            &[(at, changed("maxLength"), true)],
        );
        check(
            at,
            |t| t["pattern"] = json!("^a"),
            &[(at, changed("pattern"), true)],
        );
        check(
            "",
            |s| drop(object(s).remove("additionalProperties")),
            &[("", changed("additionalProperties"), true)],
        );
        let free = ("/additionalProperties", changed("schema"), true);
        check("", |s| s["additionalProperties"] = json!(true), &[free]);
    }

    #[test]
    fn a_difference_reads_well() {
        let difference = Difference {
            pointer: "/properties/a".to_owned(),
            change: Change::TypeRemoved("null".to_owned()),
        };
        assert_eq!(
            difference.to_string(),
            "type null is no longer allowed at \"/properties/a\" (breaking)"
        );
    }
}
