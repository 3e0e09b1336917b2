//! What a reviewer is shown.

use std::fmt::Write as _;

use crate::events::ApprovalRequested;
use crate::ids::ApprovalId;

/// The text that a reviewer decides on: the same bytes for the same request, everywhere and for ever.
///
/// One line per fact, then the arguments exactly as they will run, each of their lines behind `| `, so that no text in
/// them can pass for a fact. Characters that are not seen, or that move others, are written as `\u{…}`. What the
/// machine sets later (mode, call, expiry) is not in it; the statement carries it.
pub fn view(approval: ApprovalId, request: &ApprovalRequested) -> String {
    let mut view = String::from("Ruche approval request, view 1\n");
    let mut fact = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            view.push_str(name);
            view.push_str(": ");
            push_visible(&mut view, &value);
            view.push('\n');
        }
    };
    fact("request", Some(approval.to_string()));
    fact("tool", request.tool_name.clone());
    fact(
        "schema digest",
        request.schema_digest.map(|digest| digest.to_string()),
    );
    fact("agent", request.agent_id.clone());
    fact("channel", request.channel.clone());
    let unknown = || "unknown, taken for irreversible".to_owned();
    let effect = request.side_effect.map(|effect| effect.name().to_lowercase());
    fact("effect", Some(effect.unwrap_or_else(unknown)));
    fact("action digest", Some(request.action_digest.to_string()));
    fact(
        "policy digest",
        request.policy_digest.map(|digest| digest.to_string()),
    );
    fact(
        "config digest",
        request.config_digest.map(|digest| digest.to_string()),
    );
    fact("policy decision", request.decision_id.clone());
    fact(
        "approvals needed",
        Some(request.rule.approvals_required.to_string()),
    );
    fact("reason of the agent, not checked", request.justification.clone());
    match &request.arguments {
        None => view.push_str("arguments: none\n"),
        Some(arguments) => {
            let _ = writeln!(view, "arguments, {} bytes:", arguments.len());
            for line in arguments.split('\n') {
                view.push_str("| ");
                push_visible(&mut view, line);
                view.push('\n');
            }
        }
    }
    view
}

/// Adds text so that every character of it is seen for what it is, on one line.
fn push_visible(view: &mut String, text: &str) {
    for char in text.chars() {
        if is_hidden(char) {
            let _ = write!(view, "\\u{{{:x}}}", u32::from(char));
        } else {
            view.push(char);
        }
    }
}

/// Control characters, line and paragraph separators, and all that is invisible or turns the direction of writing.
/// This list is part of the format.
fn is_hidden(char: char) -> bool {
    char.is_control()
        || matches!(
            u32::from(char),
            0xad | 0x34f
                | 0x61c
                | 0x115f..=0x1160
                | 0x17b4..=0x17b5
                | 0x180b..=0x180f
                | 0x200b..=0x200f
                | 0x2028..=0x202e
                | 0x2060..=0x206f
                | 0x3164
                | 0xfe00..=0xfe0f
                | 0xfeff
                | 0xffa0
                | 0xfff0..=0xfffb
                | 0xe0000..=0xe0fff
        )
}
