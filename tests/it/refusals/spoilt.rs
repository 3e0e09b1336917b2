//! Requests with something wrong in them, made from good ones: each place of the input, with each value that may be
//! awkward there. Most are refused. Those that are not were good after all.

use serde_json::{Value, json};

use super::known::NOBODYS;

/// More than an event takes.
const LONG_BYTES: usize = 1_100_000;
/// More than names take.
const NAME_BYTES: usize = 300;
/// More than lists take.
const ITEMS: usize = 1_001;

/// An input that differs from a good one in one place.
pub struct Spoilt {
    /// JSON pointer of the place.
    pub place: String,
    /// What is there now, shortened; nothing where it was left out.
    pub value: String,
    pub input: Value,
}

/// All inputs that differ from a good one in one place.
pub fn spoilt(good: &Value) -> Vec<Spoilt> {
    let mut all = Vec::new();
    for place in places(good) {
        let name = place.rsplit('/').next().unwrap_or_default();
        let was = good.pointer(&place).expect("a place of the input");
        for value in awkward(name, was) {
            let mut input = good.clone();
            let told = short(&value);
            *input.pointer_mut(&place).expect("the same place") = value;
            all.push(Spoilt {
                place: place.clone(),
                value: told,
                input,
            });
        }
        let mut without = good.clone();
        let parent = place.rsplit_once('/').map_or("", |(parent, _)| parent);
        if let Some(Value::Object(members)) = without.pointer_mut(parent) {
            members.remove(name);
            all.push(Spoilt {
                place: place.clone(),
                value: String::new(),
                input: without,
            });
        }
    }
    // Members that a good request does not have.
    for (name, value) in [
        ("surprise", json!(1)),
        ("expectedVersion", json!("7777")),
        ("baseVersion", json!("7777")),
        ("scopeId", json!("")),
        ("waitMs", json!(-1)),
        (
            "lane",
            json!({ "agent": "", "interlocutor": "ann", "channel": "api" }),
        ),
        ("turnId", json!(NOBODYS)),
    ] {
        let mut input = good.clone();
        if input.get(name).is_none() {
            let told = short(&value);
            input[name] = value;
            all.push(Spoilt {
                place: format!("/{name}"),
                value: told,
                input,
            });
        }
    }
    all
}

/// A value as people can read it. What stands in lists is that of the good input, and not told.
fn short(value: &Value) -> String {
    const BYTES_MAX: usize = 60;
    match value {
        Value::Array(items) if !items.is_empty() => format!("[{} items]", items.len()),
        Value::String(text) if text.len() > BYTES_MAX && is_one_letter(text) => {
            format!("{}*{}", json!(text[..1]), text.len())
        }
        value => {
            let text = value.to_string();
            match text.char_indices().nth(BYTES_MAX) {
                None => text,
                Some((end, _)) => format!("{}… {} bytes", &text[..end], text.len()),
            }
        }
    }
}

fn is_one_letter(text: &str) -> bool {
    text.bytes()
        .all(|letter| letter.is_ascii() && letter == text.as_bytes()[0])
}

/// JSON pointers of everything in an input, itself left out.
fn places(input: &Value) -> Vec<String> {
    let below = |name: String, value: &Value| {
        let inner = places(value).into_iter().map(|rest| format!("/{name}{rest}"));
        let mut all: Vec<String> = inner.collect();
        all.push(format!("/{name}"));
        all
    };
    match input {
        Value::Object(members) => members
            .iter()
            .flat_map(|(name, value)| below(name.clone(), value))
            .collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .flat_map(|(number, value)| below(number.to_string(), value))
            .collect(),
        _ => Vec::new(),
    }
}

fn awkward(name: &str, was: &Value) -> Vec<Value> {
    let mut values = of_name(name);
    values.extend(match was {
        Value::String(text) if text.parse::<uuid::Uuid>().is_ok() => vec![json!(NOBODYS), json!("x")],
        Value::String(_) => vec![
            json!(""),
            json!("a\u{0}b"),
            json!("x".repeat(NAME_BYTES)),
            json!(7),
        ],
        Value::Number(_) => vec![json!(-1), json!("many")],
        Value::Array(items) => {
            let many = items.first().map(|item| Value::Array(vec![item.clone(); ITEMS]));
            [json!([])].into_iter().chain(many).collect()
        }
        Value::Object(_) => vec![json!({})],
        Value::Bool(_) | Value::Null => vec![json!("maybe")],
    });
    values
}

/// Values that are awkward under a name.
fn of_name(name: &str) -> Vec<Value> {
    let long = || json!("x".repeat(LONG_BYTES));
    match name {
        "arguments" => {
            let long = format!("{{\"order\":7,\"note\":\"{}\"}}", "x".repeat(LONG_BYTES));
            vec![
                json!("{"),
                json!("[]"),
                json!(r#"{"order":"seven"}"#),
                json!(long),
            ]
        }
        "text" | "result" | "reason" | "error" | "justification" | "cause" => vec![long()],
        "evidence" => vec![json!("x".repeat(5_000))],
        "envelope" => vec![json!("{}"), json!("x".repeat(20_000))],
        "type" => vec![
            json!("turn.started"),
            json!("approval.voted"),
            json!("goal.nothing"),
        ],
        "schemaVersion" => vec![json!(99)],
        "json" => vec![
            json!({ "role": 7 }),
            json!([]),
            json!({ "role": "user", "ordinal": 1e300 }),
        ],
        "target" => vec![
            json!({ "stream": format!("lane-{}", NOBODYS.replace('-', "")) }),
            json!({ "stream": format!("goal-{}", NOBODYS.replace('-', "")) }),
        ],
        "session" => vec![json!({ "externalId": "nobody's" }), json!({ "id": NOBODYS })],
        "id" => vec![json!("other")],
        "epoch" => vec![json!("999"), json!("-1")],
        "permit" => vec![json!("1:0"), json!("9:999999"), json!("here")],
        "call" => vec![json!("7"), json!("-1")],
        "argumentSchema" => vec![json!({ "type": 7 }), json!({ "$ref": "https://example.org/x" })],
        "compensationTool" => vec![json!("nobody_knows_it"), Value::Null],
        "sideEffect" => vec![json!("COMPENSATABLE"), json!("HARMLESS")],
        "publicKey" => vec![json!("zz"), json!("0".repeat(64))],
        "proofOfPossession" => vec![json!("{}")],
        "keyId" => vec![json!("0".repeat(64)), json!("zz")],
        "set" => vec![json!({}), json!({ "": 1 }), json!([])],
        "expectedVersion" => vec![json!(7_777)],
        "removed" => vec![json!(["greeting"])],
        "value" => vec![json!(1e300), Value::Null],
        "businessKey" => vec![Value::Null],
        _ => Vec::new(),
    }
}
