//! Every type of the catalogue: what its schema allows can be read, and what is read is written the same again.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};
use ruche_domain::event::{AgentEvent, CATALOGUE, EventDescriptor, SIMULATED};
use ruche_domain::limits::PAYLOAD_BYTES_MAX;
use ruche_domain::strict_json::{Profile, read};
use ruche_domain::{DomainError, schema_compat};
use serde_json::{Value, json};

use crate::sample::instances;

fn validator(descriptor: &EventDescriptor) -> jsonschema::Validator {
    jsonschema::draft202012::new(&(descriptor.schema)()).expect("a schema of ours is a schema")
}

fn parse(descriptor: &EventDescriptor, payload: &Value) -> Result<AgentEvent, DomainError> {
    let bytes = serde_json::to_vec(payload).expect("JSON");
    AgentEvent::from_payload(descriptor.event_type, descriptor.schema_version, &bytes)
}

/// Absent, null and empty are one thing for optional fields.
fn without_empty(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members
                .iter()
                .map(|(name, member)| (name.clone(), without_empty(member)));
            Value::Object(members.filter(|(_, member)| !is_empty(member)).collect())
        }
        Value::Array(items) => items.iter().map(without_empty).collect(),
        plain => plain.clone(),
    }
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || *value == json!([]) || *value == json!({})
}

fn check(
    descriptor: &EventDescriptor,
    validator: &jsonschema::Validator,
    payload: &Value,
) -> Result<(), TestCaseError> {
    let name = descriptor.event_type;
    prop_assert!(
        validator.is_valid(payload),
        "{name}: the generator made what the schema refuses: {payload}"
    );
    let event = parse(descriptor, payload);
    prop_assert!(
        event.is_ok(),
        "{name}: valid by schema, but not readable: {event:?} {payload}"
    );
    let event = event.expect("looked at above");
    prop_assert_eq!(event.event_type(), name);
    prop_assert_eq!(event.schema_version(), descriptor.schema_version);
    let bytes = event.to_payload();
    let again = AgentEvent::from_payload(name, descriptor.schema_version, &bytes);
    prop_assert_eq!(again.as_ref(), Ok(&event));
    prop_assert_eq!(
        &again.expect("equal").to_payload(),
        &bytes,
        "{}: not deterministic",
        name
    );
    let written = read(&bytes, PAYLOAD_BYTES_MAX, Profile::Exact);
    prop_assert!(
        written.is_ok(),
        "{name}: we write what the edge refuses: {written:?}"
    );
    let written = written.expect("looked at above");
    prop_assert!(
        validator.is_valid(&written),
        "{name}: we write what the schema refuses: {written}"
    );
    prop_assert_eq!(
        without_empty(&written),
        without_empty(payload),
        "{}: something got lost",
        name
    );
    Ok(())
}

#[test]
fn every_type_round_trips_and_fits_its_schema() {
    for descriptor in CATALOGUE {
        let validator = validator(descriptor);
        let mut runner = TestRunner::new(Config {
            cases: 48,
            failure_persistence: None,
            ..Config::default()
        });
        runner
            .run(&instances(&(descriptor.schema)()), |payload| {
                check(descriptor, &validator, &payload)
            })
            .unwrap_or_else(|failure| panic!("{}: {failure}", descriptor.event_type));
    }
}

/// Of some payloads the one with the fewest fields and the one with the most.
fn smallest_and_fullest(descriptor: &EventDescriptor) -> (Value, Value) {
    let mut runner = TestRunner::deterministic();
    let (mut smallest, mut fullest) = (None, None);
    let size = |value: &Value| {
        value
            .as_object()
            .map_or(0, |members| members.values().filter(|v| !v.is_null()).count())
    };
    let strategy = instances(&(descriptor.schema)());
    for _ in 0..60 {
        let value = strategy
            .new_tree(&mut runner)
            .expect("the generator gives values")
            .current();
        if smallest.as_ref().is_none_or(|best| size(&value) < size(best)) {
            smallest = Some(value.clone());
        }
        if fullest.as_ref().is_none_or(|best| size(&value) > size(best)) {
            fullest = Some(value);
        }
    }
    (
        smallest.expect("there were cases"),
        fullest.expect("there were cases"),
    )
}

#[test]
fn unknown_and_missing_fields_are_refused_by_schema_and_by_reader_alike() {
    for descriptor in CATALOGUE {
        let validator = validator(descriptor);
        let schema = (descriptor.schema)();
        let (_, full) = smallest_and_fullest(descriptor);
        let refused = |payload: &Value, what: &str| {
            assert!(
                !validator.is_valid(payload),
                "{}: the schema takes {what}",
                descriptor.event_type
            );
            let error = parse(descriptor, payload).expect_err(descriptor.event_type);
            assert!(matches!(error, DomainError::InvalidPayload { .. }), "{error}");
        };
        let mut unknown = full.clone();
        unknown["zz_unknown"] = json!(1);
        refused(&unknown, "an unknown field");
        for required in schema["required"].as_array().into_iter().flatten() {
            let name = required.as_str().expect("a name");
            let mut missing = full.clone();
            missing
                .as_object_mut()
                .expect("payloads are objects")
                .remove(name);
            refused(&missing, name);
        }
        for wrong in [json!(null), json!([]), json!("x"), json!(1)] {
            refused(&wrong, "what is not an object");
        }
    }
}

#[test]
fn simulated_types_have_the_schema_of_what_they_wrap() {
    for (live, simulated) in CATALOGUE.iter().zip(SIMULATED) {
        assert_eq!(simulated.event_type, format!("sim.{}", live.event_type));
        assert_eq!(
            schema_compat::differences(&(live.schema)(), &(simulated.schema)()),
            []
        );
        let (small, _) = smallest_and_fullest(live);
        let event = parse(live, &small).expect("valid");
        assert_eq!(parse(simulated, &small), Ok(event.simulated()));
    }
}

#[test]
fn one_point_zero_is_an_integer_to_the_schema_alone() {
    let descriptor = ruche_domain::event::descriptor("message.received").expect("a type of the catalogue");
    let payload = json!({"role": "user", "message_ordinal": 1.0});
    assert!(validator(descriptor).is_valid(&payload));
    let error = parse(descriptor, &payload).expect_err("not an integer");
    assert!(
        matches!(&error, DomainError::InvalidPayload { pointer, .. } if pointer == "/message_ordinal"),
        "{error}"
    );
}
