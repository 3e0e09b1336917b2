//! What a span says, as the ledger can hold it. A span is recorded whatever it says: one that was left out would be told
//! to have never come, and its call to have never run.
//!
//! NUL is replaced, what is nested too deeply becomes its text, and of a text that is too long the beginning stands there
//! with a note of how long it was and its SHA-256.

use ruche_domain::event::AgentEvent;
use ruche_domain::limits::{JSON_DEPTH_MAX, PAYLOAD_BYTES_MAX};
use serde_json::Value;

use super::attributes::digest;

/// Begins the note behind a text that was cut.
const NOTE: &str = "… [cut by Ruche: ";
/// Bytes of a note.
const NOTE_BYTES_MAX: usize = 160;
/// Bytes of the longest text that is left whole, at first. Halved until everything fits.
const TEXT_BYTES_MAX: usize = PAYLOAD_BYTES_MAX / 4;
/// Bytes below which texts are not cut.
const TEXT_BYTES_MIN: usize = 256;

/// Whether a text is only the beginning of what was said.
pub(super) fn is_cut(text: &str) -> bool {
    text.contains(NOTE)
}

/// The event as it can be recorded; the same one nearly always.
pub(super) fn fitting(event: AgentEvent) -> AgentEvent {
    let payload = event.to_payload();
    if !may_be_refused(&payload) {
        return event;
    }
    let Ok(mut value) = serde_json::from_slice::<Value>(&payload) else {
        return event;
    };
    change(&mut value, 1, &mut |text| text.replace('\0', "\u{fffd}"));
    let mut bytes_max = TEXT_BYTES_MAX;
    while value.to_string().len() > PAYLOAD_BYTES_MAX && bytes_max >= TEXT_BYTES_MIN {
        change(&mut value, 1, &mut |text| cut(text, bytes_max));
        bytes_max /= 2;
    }
    let bytes = value.to_string().into_bytes();
    AgentEvent::from_payload(event.event_type(), event.schema_version(), &bytes).unwrap_or(event)
}

/// A cheap look, which lets all through that need none.
fn may_be_refused(payload: &[u8]) -> bool {
    let opens = payload.iter().filter(|byte| matches!(byte, b'{' | b'['));
    payload.len() > PAYLOAD_BYTES_MAX
        || opens.count() > JSON_DEPTH_MAX
        || payload.windows(6).any(|six| six == br"\u0000")
}

/// Changes all texts, names among them, and makes a text of what is nested too deeply.
fn change(value: &mut Value, depth: usize, text: &mut impl FnMut(&str) -> String) {
    match value {
        Value::String(old) => *old = text(old),
        Value::Array(_) | Value::Object(_) if depth == JSON_DEPTH_MAX => {
            *value = Value::String(text(&value.to_string()));
        }
        Value::Array(list) => list.iter_mut().for_each(|one| change(one, depth + 1, text)),
        Value::Object(members) => {
            let old = std::mem::take(members);
            members.extend(old.into_iter().map(|(name, mut one)| {
                change(&mut one, depth + 1, text);
                (name.replace('\0', "\u{fffd}"), one)
            }));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The beginning of a text with a note of the whole. One that was cut before keeps the note that it has.
fn cut(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let note = || format!("{NOTE}{} bytes, SHA-256 {}]", text.len(), digest(text.as_bytes()));
    let old = text.rfind(NOTE).map(|at| text[at..].to_owned());
    let note = old.filter(|old| old.len() < NOTE_BYTES_MAX).unwrap_or_else(note);
    let begins = text.floor_char_boundary(bytes_max.saturating_sub(note.len()));
    format!("{}{note}", &text[..begins])
}

#[cfg(test)]
mod tests {
    use ruche_domain::events::memory::MemoryWritten;
    use ruche_domain::events::tool::{ToolCompleted, ToolStarted};
    use ruche_domain::strict_json::{self, Profile};
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn fits(event: impl Into<AgentEvent>) -> AgentEvent {
        let event = event.into();
        let read = |event: &AgentEvent| {
            let payload = event.to_payload();
            strict_json::read(&payload, PAYLOAD_BYTES_MAX, Profile::Exact).map(|_| ())
        };
        assert!(read(&event).is_err(), "it would be recorded as it is");
        let fitting = fitting(event);
        read(&fitting).expect("it can be recorded");
        fitting
    }

    #[test]
    fn nul_is_replaced() {
        let mut started = ToolStarted::new("a\0b".to_owned());
        started.ext.insert("c\0".to_owned(), json!(["\0"]));
        let AgentEvent::ToolStarted(started) = fits(started) else {
            panic!("another event")
        };
        assert_eq!(started.name, "a\u{fffd}b");
        assert_eq!(started.ext["c\u{fffd}"], json!(["\u{fffd}"]));
    }

    #[test]
    fn of_a_text_that_is_too_long_the_beginning_and_the_digest_are_kept() {
        let result = "é\"".repeat(PAYLOAD_BYTES_MAX);
        let completed = ToolCompleted {
            result: Some(result.clone()),
            name: Some("look".to_owned()),
            ..ToolCompleted::default()
        };
        let AgentEvent::ToolCompleted(completed) = fits(completed) else {
            panic!("another event")
        };
        let kept = completed.result.expect("a result");
        assert!(is_cut(&kept) && kept.starts_with("é\"é"));
        let note = format!("{} bytes, SHA-256 {}]", result.len(), digest(result.as_bytes()));
        assert!(kept.ends_with(&note), "{}", &kept[kept.len() - 200..]);
        assert_eq!(completed.name.as_deref(), Some("look"));
    }

    #[test]
    fn what_is_nested_too_deeply_becomes_its_text() {
        let mut content = json!("inside");
        for _ in 0..100 {
            content = json!([content]);
        }
        let AgentEvent::MemoryWritten(written) = fits(MemoryWritten::new("m".to_owned(), content, vec![]))
        else {
            panic!("another event")
        };
        assert!(written.content.to_string().contains("inside"));
    }

    #[test]
    fn what_fits_is_not_touched() {
        let mut started = ToolStarted::new("look".to_owned());
        let text = "[{".repeat(JSON_DEPTH_MAX);
        started.ext.insert("text".to_owned(), json!(text));
        let event = AgentEvent::from(started);
        assert_eq!(fitting(event.clone()), event);
    }
}
