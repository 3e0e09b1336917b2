//! Payloads generated from the schema of their type, so that no type and no field is missed.

use proptest::prelude::*;
use proptest::strategy::Union;
use ruche_domain::vector::Vector;
use serde_json::{Map, Number, Value};

/// Instances of a schema of the catalogue. Knows the keywords that occur there and panics on any other.
pub fn instances(schema: &Value) -> BoxedStrategy<Value> {
    let object = match schema {
        Value::Bool(true) => return anything(),
        Value::Object(object) => object,
        other => panic!("not a schema of ours: {other}"),
    };
    if let Some(value) = object.get("const") {
        return Just(value.clone()).boxed();
    }
    if let Some(Value::Array(values)) = object.get("enum") {
        return proptest::sample::select(values.clone()).boxed();
    }
    if let Some(Value::Array(choices)) = object.get("oneOf").or_else(|| object.get("anyOf")) {
        return Union::new(choices.iter().map(instances)).boxed();
    }
    match object.get("type") {
        None => anything(),
        Some(Value::String(name)) => of_type(name, object),
        Some(Value::Array(names)) => Union::new(
            names
                .iter()
                .map(|name| of_type(name.as_str().expect("a type name"), object)),
        )
        .boxed(),
        Some(other) => panic!("not a type: {other}"),
    }
}

fn of_type(name: &str, schema: &Map<String, Value>) -> BoxedStrategy<Value> {
    match name {
        "null" => Just(Value::Null).boxed(),
        "boolean" => any::<bool>().prop_map(Value::from).boxed(),
        "integer" => integer(schema),
        "number" => number(schema),
        "string" => text(schema),
        "array" => proptest::collection::vec(instances(&schema["items"]), 0..3)
            .prop_map(Value::from)
            .boxed(),
        "object" => object(schema),
        other => panic!("no type of JSON schema: {other}"),
    }
}

fn integer(schema: &Map<String, Value>) -> BoxedStrategy<Value> {
    let bound = |keyword: &str| {
        schema
            .get(keyword)
            .and_then(Value::as_number)
            .and_then(Number::as_i128)
    };
    let minimum = bound("minimum").unwrap_or_else(|| panic!("no minimum: {schema:?}"));
    let maximum = bound("maximum").unwrap_or_else(|| panic!("no maximum: {schema:?}"));
    let number =
        |value: i128| Value::Number(Number::from_i128(value).expect("within the bounds of i64 and u64"));
    prop_oneof![Just(minimum), Just(maximum), minimum..=maximum]
        .prop_map(number)
        .boxed()
}

fn number(schema: &Map<String, Value>) -> BoxedStrategy<Value> {
    let range = match (
        schema.get("minimum").and_then(Value::as_f64),
        schema.get("maximum").and_then(Value::as_f64),
    ) {
        (Some(minimum), Some(maximum)) => {
            prop_oneof![Just(minimum), Just(maximum), minimum..=maximum].boxed()
        }
        (None, None) => proptest::num::f64::NORMAL.boxed(),
        _ => panic!("one bound only: {schema:?}"),
    };
    range.prop_map(Value::from).boxed()
}

fn text(schema: &Map<String, Value>) -> BoxedStrategy<Value> {
    if schema.contains_key("contentEncoding") {
        return vector();
    }
    let pattern = schema.get("pattern").and_then(Value::as_str);
    assert!(
        pattern.is_some() || !schema.contains_key("format"),
        "a format without a pattern asserts nothing: {schema:?}"
    );
    let max = schema
        .get("maxLength")
        .and_then(Value::as_u64)
        .map_or(usize::MAX, |max| max as usize);
    let pattern = match pattern {
        Some(pattern) => pattern.trim_start_matches('^').trim_end_matches('$'),
        // NUL is refused at the edge, before schemas come in.
        None => "[^\u{0}]{0,8}",
    };
    let texts = proptest::string::string_regex(pattern).expect("a pattern of ours");
    texts
        .prop_filter("too long", move |text| text.len() <= max)
        .prop_map(Value::from)
        .boxed()
}

/// A vector: more than its schema can say.
fn vector() -> BoxedStrategy<Value> {
    let numbers = proptest::collection::vec(proptest::num::f32::NORMAL, 1..9);
    numbers
        .prop_map(|numbers| {
            Vector::new(&numbers)
                .expect("finite and not zero")
                .to_string()
                .into()
        })
        .boxed()
}

type Member = (String, Value);

fn object(schema: &Map<String, Value>) -> BoxedStrategy<Value> {
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let mut members: Vec<BoxedStrategy<Option<Member>>> = Vec::new();
    for (name, property) in schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let name = name.clone();
        let value = match required.contains(&name.as_str()) {
            true => instances(property).prop_map(Some).boxed(),
            false => proptest::option::weighted(0.6, instances(property)).boxed(),
        };
        members.push(value.prop_map(move |value| Some((name.clone(), value?))).boxed());
    }
    let free = match schema.get("additionalProperties") {
        Some(Value::Bool(false)) => Just(Vec::new()).boxed(),
        None | Some(Value::Bool(true)) => {
            proptest::collection::vec(("[a-z./~é]{0,5}".prop_map(String::from), anything()), 0..3).boxed()
        }
        Some(other) => panic!("not used in the catalogue: {other}"),
    };
    let merge = |(members, free): (Vec<Option<Member>>, Vec<Member>)| {
        Value::Object(free.into_iter().chain(members.into_iter().flatten()).collect())
    };
    (members, free).prop_map(merge).boxed()
}

/// Any JSON value that passes the edge.
pub fn anything() -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL | proptest::num::f64::ZERO)
            .prop_map(Value::from),
        "[^\u{0}]{0,12}".prop_map(Value::from),
        "[\"\\\\/\u{1}-\u{1f}\u{7f}é😀a]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[^\u{0}]{0,6}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
    .boxed()
}
