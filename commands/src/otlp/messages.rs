//! Messages as JSON, in every form that is out there: parts of the `gen_ai` convention, content of the AI SDK, chat
//! messages and response items of OpenAI. Read leniently; arguments of calls keep their exact text.

use ruche_domain::events::common::TextForm;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::attributes::digest;
use super::seen::{AskedCall, Said};

/// A message, or a part of one, by all names that fields have.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Raw<'a> {
    role: Option<String>,
    r#type: Option<String>,
    #[serde(borrow)]
    parts: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    tool_calls: Option<Vec<RawCall<'a>>>,
    id: Option<String>,
    call_id: Option<String>,
    #[serde(rename = "toolCallId")]
    tool_call_id: Option<String>,
    name: Option<String>,
    #[serde(rename = "toolName")]
    tool_name: Option<String>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    args: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawCall<'a> {
    id: Option<String>,
    #[serde(rename = "toolCallId")]
    tool_call_id: Option<String>,
    #[serde(rename = "toolName")]
    tool_name: Option<String>,
    #[serde(borrow)]
    function: Option<RawFunction<'a>>,
    name: Option<String>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    args: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawFunction<'a> {
    name: Option<String>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

/// Messages of a JSON list, or of a single message, or of `{"messages": …}`. What is none is passed over.
pub(super) fn read(json: &str) -> Vec<Said> {
    #[derive(Deserialize)]
    struct Wrapped<'a> {
        #[serde(borrow)]
        messages: Vec<&'a RawValue>,
    }
    let list = serde_json::from_str::<Vec<&RawValue>>(json)
        .or_else(|_| serde_json::from_str::<Wrapped<'_>>(json).map(|wrapped| wrapped.messages))
        .or_else(|_| serde_json::from_str::<&RawValue>(json).map(|one| vec![one]));
    list.unwrap_or_default().into_iter().filter_map(message).collect()
}

/// Calls of a JSON list of calls alone.
pub(super) fn calls(json: &str) -> Vec<AskedCall> {
    let calls: Vec<RawCall<'_>> = serde_json::from_str(json).unwrap_or_default();
    calls.into_iter().filter_map(asked).collect()
}

/// A call by its parts.
pub(super) fn call(id: Option<&str>, name: &str, arguments: &str) -> AskedCall {
    AskedCall {
        id: id.map(str::to_owned),
        name: name.to_owned(),
        arguments: arguments.to_owned(),
        form: Some(TextForm::String),
    }
}

fn message(json: &RawValue) -> Option<Said> {
    let raw: Raw<'_> = serde_json::from_str(json.get()).ok()?;
    let mut said = Said {
        role: raw.role.clone().unwrap_or_else(|| role_of(&raw).to_owned()),
        digest: Some(digest(json.get().as_bytes())),
        ..Said::default()
    };
    said.is_answer = said.role == "tool";
    let parts = raw.parts.clone().or_else(|| list(raw.content));
    for part in parts.unwrap_or_default() {
        add_part(&mut said, part);
    }
    if let Some(text) = raw.content.and_then(string) {
        add_text(&mut said.text, &text);
    }
    if raw.r#type.is_some() && raw.role.is_none() {
        add_part(&mut said, json);
    }
    let calls = raw.tool_calls.unwrap_or_default();
    said.calls.extend(calls.into_iter().filter_map(asked));
    Some(said)
}

/// Who speaks in an item of a response that does not say so.
fn role_of(raw: &Raw<'_>) -> &'static str {
    match raw.r#type.as_deref() {
        Some("function_call_output") => "tool",
        _ => "assistant",
    }
}

fn add_part(said: &mut Said, json: &RawValue) {
    let Ok(part) = serde_json::from_str::<Raw<'_>>(json.get()) else {
        return;
    };
    match part.r#type.as_deref().unwrap_or("text") {
        "text" | "input_text" | "output_text" => {
            if let Some(text) = part.content.or(part.text).and_then(string) {
                add_text(&mut said.text, &text);
            }
        }
        "reasoning" | "thinking" => {
            if let Some(text) = part.content.or(part.text).and_then(string) {
                add_text(&mut said.reasoning, &text);
            }
        }
        "tool_call" | "tool-call" | "function_call" => {
            let arguments = part.arguments.or(part.input).or(part.args);
            let id = part.call_id.or(part.tool_call_id).or(part.id);
            said.calls.extend(
                part.name
                    .or(part.tool_name)
                    .map(|name| with_arguments(id, name, arguments)),
            );
        }
        "tool_call_response" | "tool-result" | "function_call_output" | "tool_result" => {
            said.is_answer = true;
        }
        _ => {}
    }
}

fn asked(call: RawCall<'_>) -> Option<AskedCall> {
    let function = call.function.unwrap_or_default();
    let name = function.name.or(call.name).or(call.tool_name)?;
    let arguments = function.arguments.or(call.arguments).or(call.input).or(call.args);
    Some(with_arguments(call.id.or(call.tool_call_id), name, arguments))
}

fn with_arguments(id: Option<String>, name: String, arguments: Option<&RawValue>) -> AskedCall {
    let (arguments, form) = match arguments {
        None => (String::new(), None),
        Some(raw) => match string(raw) {
            Some(text) => (text, Some(TextForm::String)),
            None => (raw.get().to_owned(), Some(TextForm::Json)),
        },
    };
    AskedCall {
        id,
        name,
        arguments,
        form,
    }
}

fn add_text(to: &mut Option<String>, text: &str) {
    match to {
        Some(before) => {
            before.push('\n');
            before.push_str(text);
        }
        None => *to = Some(text.to_owned()),
    }
}

/// The content of a JSON string.
fn string(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

/// The members of a JSON list.
fn list(raw: Option<&RawValue>) -> Option<Vec<&RawValue>> {
    serde_json::from_str(raw?.get()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn one(json: &str) -> Said {
        let mut said = read(json);
        assert_eq!(said.len(), 1, "{json}");
        said.remove(0)
    }

    #[test]
    fn a_call_is_found_in_every_form_and_its_arguments_keep_their_text() {
        for (json, arguments) in [
            (
                r#"[{"role":"assistant","parts":[{"type":"tool_call","id":"c","name":"f","arguments":{"b":1, "a":2}}]}]"#,
                r#"{"b":1, "a":2}"#,
            ),
            (
                r#"[{"role":"assistant","content":[{"type":"tool-call","toolCallId":"c","toolName":"f","input":{"b":1}}]}]"#,
                r#"{"b":1}"#,
            ),
            (
                r#"{"role":"assistant","content":null,"tool_calls":[{"id":"c","function":{"name":"f","arguments":"{\"b\": 1}"}}]}"#,
                r#"{"b": 1}"#,
            ),
            (
                r#"[{"type":"function_call","call_id":"c","id":null,"name":"f","arguments":"{\"b\":1}"}]"#,
                r#"{"b":1}"#,
            ),
        ] {
            let said = one(json);
            assert_eq!((said.role.as_str(), said.calls.len()), ("assistant", 1), "{json}");
            let call = &said.calls[0];
            assert_eq!(
                (call.id.as_deref(), call.name.as_str()),
                (Some("c"), "f"),
                "{json}"
            );
            assert_eq!(call.arguments, arguments, "{json}");
        }
    }

    #[test]
    fn a_text_is_found_in_every_form() {
        for json in [
            r#"[{"role":"user","parts":[{"type":"text","content":"Hi"}]}]"#,
            r#"[{"role":"user","content":"Hi"}]"#,
            r#"{"messages":[{"role":"user","content":[{"type":"input_text","text":"Hi"}]}]}"#,
        ] {
            let said = one(json);
            assert_eq!(
                (said.role.as_str(), said.text.as_deref()),
                ("user", Some("Hi")),
                "{json}"
            );
            assert!(!said.is_answer);
        }
        let item =
            one(r#"[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"Hi"}]}]"#);
        assert_eq!(item.text.as_deref(), Some("Hi"));
    }

    #[test]
    fn the_answer_of_a_tool_is_no_word_of_the_user() {
        for json in [
            r#"[{"role":"user","parts":[{"type":"tool_call_response","id":"c","result":"x"}]}]"#,
            r#"[{"role":"tool","content":"x","tool_call_id":"c"}]"#,
            r#"[{"type":"function_call_output","call_id":"c","output":"x"}]"#,
        ] {
            assert!(one(json).is_answer, "{json}");
        }
        assert!(read("no json").is_empty() && read("[1]").is_empty());
    }
}
