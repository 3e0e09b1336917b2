//! What a reviewer is shown.

use std::fmt::Write as _;

use crate::envelope::ACFEvent;
use crate::events::ApprovalRequested;
use crate::ids::{ApprovalId, SessionId, TurnId};
use crate::measures::Digest;
use crate::numbers::SchemaVersion;

/// What the envelope of `approval.requested` says and its payload does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestEnvelope {
    /// The request: the id in the name of its stream.
    pub approval: ApprovalId,
    /// Version of the payload. It says which view belongs to the record.
    pub schema_version: SchemaVersion,
    /// Session that the record belongs to.
    pub session: Option<SessionId>,
    /// Turn that the record belongs to.
    pub turn: Option<TurnId>,
}

impl RequestEnvelope {
    /// Of the event that asks.
    pub fn of(event: &ACFEvent) -> Self {
        Self {
            approval: ApprovalId(event.stream.id),
            schema_version: event.schema_version,
            session: event.session,
            turn: event.turn,
        }
    }
}

/// First version of `approval.requested` that is shown by view 2.
const FIRST_OF_VIEW_2: SchemaVersion = SchemaVersion(3);
/// First version of `approval.requested` that is shown by view 3, which says who asked.
const FIRST_OF_VIEW_3: SchemaVersion = SchemaVersion(4);

/// The text that a reviewer decides on: the same bytes for the same record, everywhere and for ever.
///
/// One line per fact, then the arguments exactly as they will run, each of their lines behind `| `, so that no text in
/// them can pass for a fact. Characters that are not seen, or that move others, are written as `\u{…}`.
pub fn view(envelope: &RequestEnvelope, request: &ApprovalRequested) -> String {
    let mut lines = Lines::default();
    if envelope.schema_version < FIRST_OF_VIEW_2 {
        lines.text.push_str("Ruche approval request, view 1\n");
        lines.facts_of_view_1(envelope, request);
    } else {
        let number = if envelope.schema_version < FIRST_OF_VIEW_3 {
            2
        } else {
            3
        };
        let _ = writeln!(lines.text, "Ruche approval request, view {number}");
        lines.facts(envelope, request);
    }
    lines.arguments(request);
    lines.text
}

#[derive(Default)]
struct Lines {
    text: String,
}

impl Lines {
    /// A line, where there is something to say.
    fn fact(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text.push_str(name);
            self.text.push_str(": ");
            push_visible(&mut self.text, value);
            self.text.push('\n');
        }
    }

    fn digest(&mut self, name: &str, digest: Option<Digest>) {
        self.fact(name, digest.map(|digest| digest.to_string()).as_deref());
    }

    fn effect(&mut self, request: &ApprovalRequested) {
        let effect = request.side_effect.map(|effect| effect.name().to_lowercase());
        self.fact(
            "effect",
            Some(effect.as_deref().unwrap_or("unknown, taken for irreversible")),
        );
    }

    /// All that a decision may rest on. It lacks nothing that the payload says of the action.
    fn facts(&mut self, envelope: &RequestEnvelope, request: &ApprovalRequested) {
        let rule = &request.rule;
        let list = |names: &[String]| (!names.is_empty()).then(|| names.join(", "));
        self.fact("request", Some(&envelope.approval.to_string()));
        self.fact("tenant", request.tenant_id.map(|id| id.to_string()).as_deref());
        self.fact("session", envelope.session.map(|id| id.to_string()).as_deref());
        self.fact("turn", envelope.turn.map(|id| id.to_string()).as_deref());
        self.fact("call", request.call_id.map(|id| id.to_string()).as_deref());
        self.fact(
            "number in the turn",
            request.ordinal.map(|number| number.to_string()).as_deref(),
        );
        self.fact("tool", request.tool_name.as_deref());
        self.fact("tool version, as registered", request.tool_version.as_deref());
        self.fact("who answers for the tool", request.tool_owner.as_deref());
        self.digest("schema digest", request.schema_digest);
        self.fact("agent", request.agent_id.as_deref());
        if envelope.schema_version >= FIRST_OF_VIEW_3 {
            self.fact("asked for by", request.requested_by.as_deref());
        }
        self.fact("talks with", request.interlocutor_id.as_deref());
        self.fact("channel", request.channel.as_deref());
        self.effect(request);
        self.fact("business key", request.business_key.as_deref());
        let expires_at = request.expires_at;
        self.fact(
            "expires",
            Some(&format!("{}, {} µs", expires_at.to_rfc3339(), expires_at.0)),
        );
        self.fact("the turn waits", Some(request.mode.name()));
        self.digest("action digest", Some(request.action_digest));
        self.digest("policy digest", request.policy_digest);
        self.digest("config digest", request.config_digest);
        self.fact("policy decision", request.decision_id.as_deref());
        self.fact("approvals needed", Some(&rule.approvals_required.to_string()));
        self.fact("from groups", list(&rule.groups).as_deref());
        self.fact("may not decide", list(&rule.excluded).as_deref());
        self.fact("assurance", rule.assurance.as_deref());
        self.fact(
            "reason of the agent, not checked",
            request.justification.as_deref(),
        );
    }

    /// What records before version 3 show. Their votes were given on it.
    fn facts_of_view_1(&mut self, envelope: &RequestEnvelope, request: &ApprovalRequested) {
        self.fact("request", Some(&envelope.approval.to_string()));
        self.fact("tool", request.tool_name.as_deref());
        self.digest("schema digest", request.schema_digest);
        self.fact("agent", request.agent_id.as_deref());
        self.fact("channel", request.channel.as_deref());
        self.effect(request);
        self.digest("action digest", Some(request.action_digest));
        self.digest("policy digest", request.policy_digest);
        self.digest("config digest", request.config_digest);
        self.fact("policy decision", request.decision_id.as_deref());
        let approvals = request.rule.approvals_required.to_string();
        self.fact("approvals needed", Some(&approvals));
        self.fact(
            "reason of the agent, not checked",
            request.justification.as_deref(),
        );
    }

    fn arguments(&mut self, request: &ApprovalRequested) {
        let Some(arguments) = &request.arguments else {
            self.text.push_str("arguments: none\n");
            return;
        };
        let _ = writeln!(self.text, "arguments, {} bytes:", arguments.len());
        for line in arguments.split('\n') {
            self.text.push_str("| ");
            push_visible(&mut self.text, line);
            self.text.push('\n');
        }
    }
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
