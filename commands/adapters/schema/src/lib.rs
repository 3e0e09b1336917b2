//! Payload validation by JSON schema (draft 2020-12).
//!
//! All schemas of the catalogue are compiled once, when the validator is made, the frozen ones of older versions among
//! them. After that a validation allocates nothing unless it fails. Nothing is fetched: schemas stand alone.

use std::collections::HashMap;

use jsonschema::{PatternOptions, Validator};
use ruche_commands::{ArgumentSchemas, PayloadValidator, Unfit, Violation};
use ruche_domain::event::CATALOGUE;
use ruche_domain::limits::{VALUES_JUDGED_WHOLE_MAX, VIOLATION_CHARS_MAX, VIOLATIONS_TOLD_MAX};
use ruche_domain::numbers::SchemaVersion;
use ruche_domain::upcast::UPCASTERS;
use serde_json::Value;

/// A schema of the catalogue is not a JSON schema.
#[derive(Debug, thiserror::Error)]
#[error("the schema of {event_type} at version {version} cannot be compiled")]
pub struct SchemaBroken {
    event_type: &'static str,
    version: u32,
    #[source]
    source: Box<jsonschema::ValidationError<'static>>,
}

/// The compiled schemas of all event types.
pub struct CatalogueValidator {
    schemas: HashMap<&'static str, Vec<(SchemaVersion, Validator)>>,
}

impl CatalogueValidator {
    /// Compiles every schema.
    ///
    /// # Errors
    /// When a schema of the catalogue is broken: a fault of this build.
    pub fn new() -> Result<Self, SchemaBroken> {
        let current = CATALOGUE
            .iter()
            .map(|d| (d.event_type, d.schema_version, d.schema));
        let old = UPCASTERS.iter().map(|u| (u.event_type, u.from, u.schema));
        let mut schemas: HashMap<_, Vec<_>> = HashMap::new();
        for (event_type, version, schema) in current.chain(old) {
            let compiled = jsonschema::options()
                .build(&schema())
                .map_err(|source| SchemaBroken {
                    event_type,
                    version: version.0,
                    source: Box::new(source),
                })?;
            schemas.entry(event_type).or_default().push((version, compiled));
        }
        Ok(Self { schemas })
    }
}

impl PayloadValidator for CatalogueValidator {
    fn validate(&self, event_type: &str, version: SchemaVersion, payload: &Value) -> Result<(), Unfit> {
        let versions = self.schemas.get(event_type).ok_or(Unfit::UnknownSchema)?;
        let (_, schema) = versions
            .iter()
            .find(|(known, _)| *known == version)
            .ok_or(Unfit::UnknownSchema)?;
        if schema.is_valid(payload) {
            return Ok(());
        }
        Err(Unfit::Violations(violations(schema, payload, true)))
    }
}

impl ArgumentSchemas for CatalogueValidator {
    fn check(&self, schema: &Value) -> Result<(), String> {
        let compiled = of_tool(schema).map_err(|error| violation(&error));
        compiled.map(drop).map_err(|fault| match fault.pointer.as_str() {
            "" => fault.reason,
            at => format!("at {at}: {}", fault.reason),
        })
    }

    fn fit(&self, schema: &Value, arguments: &Value) -> Result<(), Vec<Violation>> {
        // A schema that was registered compiles; one that does not any more lets nothing pass.
        let compiled = of_tool(schema).map_err(|error| vec![violation(&error)])?;
        if compiled.is_valid(arguments) {
            return Ok(());
        }
        Err(violations(&compiled, arguments, !refers(schema)))
    }
}

/// The schema that a client gave its tool. Patterns run in linear time whatever they are.
fn of_tool(schema: &Value) -> Result<Validator, jsonschema::ValidationError<'static>> {
    jsonschema::options()
        .with_pattern_options(PatternOptions::regex())
        .build(schema)
}

/// What is wrong with a value that does not fit. The library finds all of it before it tells the first, so it is only asked
/// for all where that is bounded: by the size of the value, and for a schema that does not refer to its own parts,
/// by which one of 2 kB can multiply them until finding all faults of one number takes minutes.
fn violations(schema: &Validator, value: &Value, is_plain: bool) -> Vec<Violation> {
    if is_plain && is_small(value) {
        let all = schema.iter_errors(value).take(VIOLATIONS_TOLD_MAX);
        return all.map(|error| violation(&error)).collect();
    }
    let first = schema.validate(value).err();
    first.iter().map(violation).collect()
}

fn is_small(value: &Value) -> bool {
    let (mut waiting, mut seen) = (vec![value], 0);
    while let Some(value) = waiting.pop() {
        seen += 1;
        match value {
            Value::Array(items) => waiting.extend(items),
            Value::Object(members) => waiting.extend(members.values()),
            _ => {}
        }
        if seen + waiting.len() > VALUES_JUDGED_WHOLE_MAX {
            return false;
        }
    }
    true
}

/// Whether a schema refers to schemas.
fn refers(schema: &Value) -> bool {
    match schema {
        Value::Array(items) => items.iter().any(refers),
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| matches!(name.as_str(), "$ref" | "$dynamicRef") || refers(value)),
        _ => false,
    }
}

fn violation(error: &jsonschema::ValidationError<'_>) -> Violation {
    // The library quotes the value at fault, which may be long.
    let mut reason = error.to_string();
    if let Some((end, _)) = reason.char_indices().nth(VIOLATION_CHARS_MAX) {
        reason.truncate(end);
        reason.push('…');
    }
    Violation {
        pointer: error.instance_path().to_string(),
        reason,
    }
}

#[cfg(test)]
mod pipeline_tests;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(event_type: &str, payload: Value) -> Result<(), Unfit> {
        let validator = CatalogueValidator::new().unwrap();
        validator.validate(event_type, SchemaVersion(1), &payload)
    }

    fn pointers(result: Result<(), Unfit>) -> Vec<String> {
        match result {
            Err(Unfit::Violations(violations)) => violations.into_iter().map(|v| v.pointer).collect(),
            other => panic!("expected violations, got {other:?}"),
        }
    }

    /// Each level has the one below twice, so all faults of one number are 2 to the power of the levels.
    #[test]
    fn one_fault_is_told_where_a_schema_makes_many_of_one() {
        let levels = 40;
        let mut definitions = serde_json::Map::new();
        definitions.insert("0".to_owned(), json!({ "type": "string" }));
        for level in 1..=levels {
            let below = json!({ "$ref": format!("#/$defs/{}", level - 1) });
            definitions.insert(level.to_string(), json!({ "allOf": [below.clone(), below] }));
        }
        let schema =
            json!({ "$defs": definitions, "properties": { "n": { "$ref": format!("#/$defs/{levels}") } } });
        let validator = CatalogueValidator::new().unwrap();
        let told = validator.fit(&schema, &json!({ "n": 7 })).unwrap_err();
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].pointer, "/n");
    }

    #[test]
    fn one_fault_is_told_of_a_large_payload_and_more_of_a_small_one() {
        let calls = |count: usize| json!({ "message_id": "m", "role": "user", "tool_calls": vec![7; count] });
        let told = |count| pointers(check("message.received", calls(count))).len();
        assert_eq!(told(VALUES_JUDGED_WHOLE_MAX), 1);
        assert_eq!(told(20), VIOLATIONS_TOLD_MAX);
    }

    #[test]
    fn every_schema_of_the_catalogue_compiles() {
        let validator = CatalogueValidator::new().unwrap();
        assert_eq!(validator.schemas.len(), CATALOGUE.len());
    }

    #[test]
    fn what_fits_passes() {
        check("eval.scored", json!({ "name": "reward", "value": 1.0 })).unwrap();
        check("message.received", json!({ "role": "user", "text": "" })).unwrap();
        check("message.received", json!({ "role": "user", "text": null })).unwrap();
    }

    #[test]
    fn a_violation_names_its_place() {
        assert_eq!(
            pointers(check("message.received", json!({ "role": "king" }))),
            ["/role"]
        );
        assert_eq!(pointers(check("message.received", json!({}))), [""]);
        let nested = json!({ "role": "user", "tool_calls": [{ "ordinal": 0, "name": 7, "arguments": "" }] });
        assert_eq!(
            pointers(check("message.received", nested)),
            ["/tool_calls/0/name"]
        );
    }

    #[test]
    fn a_long_value_does_not_make_a_long_message() {
        let Err(Unfit::Violations(violations)) = check(
            "eval.scored",
            json!({ "name": "n", "value": "x".repeat(100_000) }),
        ) else {
            panic!("a text passed for a number");
        };
        assert!(violations[0].reason.chars().count() <= VIOLATION_CHARS_MAX + 1);
    }

    #[test]
    fn unknown_types_and_versions_have_no_schema() {
        assert_eq!(check("message.guessed", json!({})), Err(Unfit::UnknownSchema));
        let validator = CatalogueValidator::new().unwrap();
        let future = validator.validate("eval.scored", SchemaVersion(99), &json!({}));
        assert_eq!(future, Err(Unfit::UnknownSchema));
    }

    #[test]
    fn arguments_are_held_against_the_schema_of_their_tool() {
        let validator = CatalogueValidator::new().unwrap();
        let schema = json!({
            "type": "object",
            "properties": { "order": { "type": "integer", "minimum": 1 }, "note": { "pattern": "^a*$" } },
            "required": ["order"],
            "additionalProperties": false
        });
        validator.check(&schema).unwrap();
        validator
            .fit(&schema, &json!({ "order": 7, "note": "aaa" }))
            .unwrap();
        let at = |arguments: Value| {
            let faults = validator.fit(&schema, &arguments).unwrap_err();
            faults.into_iter().map(|fault| fault.pointer).collect::<Vec<_>>()
        };
        assert_eq!(at(json!({ "order": "7" })), ["/order"]);
        assert_eq!(at(json!({})), [""]);
        assert_eq!(at(json!({ "order": 7, "other": 1 })), [""]);
    }

    #[test]
    fn a_schema_that_is_none_or_that_would_be_fetched_is_refused() {
        let validator = CatalogueValidator::new().unwrap();
        for broken in [
            json!({ "type": "king" }),
            json!({ "properties": { "a": 7 } }),
            json!({ "$ref": "https://example.org/schema.json" }),
            json!({ "pattern": "(?=a)b" }),
        ] {
            assert!(validator.check(&broken).is_err(), "{broken}");
            assert!(validator.fit(&broken, &json!({})).is_err(), "{broken}");
        }
    }

    /// Patterns of a client's schema run in linear time: one that is exponential elsewhere is answered at once.
    #[test]
    fn a_pattern_cannot_be_made_to_take_for_ever() {
        let validator = CatalogueValidator::new().unwrap();
        let schema = json!({ "pattern": "^(a+)+$" });
        let text = "a".repeat(50_000) + "!";
        assert!(validator.fit(&schema, &json!(text)).is_err());
    }
}
