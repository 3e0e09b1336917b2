//! The canonical text of an action: what exactly a tool call would do, and for whom. Approvals bind its SHA-256.
//!
//! Other programs recompute it (`docs/formats/action.md`), so it is the one place where JSON is canonicalised, after
//! RFC 8785. All values are texts: the arguments stand in it by the hash of their stored bytes. So there is no number
//! that a reader could round, and two arguments that only a lenient reader takes for equal are two actions.

use serde::Serialize;

use crate::ids::{SessionId, TenantId, TurnId};
use crate::measures::Digest;
use crate::side_effect::SideEffectPolicy;

/// What a proposed call would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// The client's own id of the agent that wants it.
    pub agent: String,
    /// SHA-256 of the arguments text as stored, which is what the executor is given.
    pub arguments: Digest,
    /// SHA-256 of the schema of the arguments, if the tool has one.
    pub schema: Option<Digest>,
    /// Session that it happens in.
    pub session: SessionId,
    /// What it does to the world.
    pub side_effect: SideEffectPolicy,
    /// Tenant that it happens for.
    pub tenant: TenantId,
    /// Name of the tool.
    pub tool: String,
    /// Turn that asks for it.
    pub turn: TurnId,
}

/// What tells the text of an action from every other text that is hashed or signed.
pub const ACTION_TYPE: &str = "ruche.action.v1";

/// Members in the order of RFC 8785 §3.2.3, which for these names is that of their bytes.
#[derive(Serialize)]
struct Members<'a> {
    agent: &'a str,
    arguments_sha256: Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema_sha256: Option<Digest>,
    session: SessionId,
    side_effect: SideEffectPolicy,
    tenant: TenantId,
    tool: &'a str,
    turn: TurnId,
    #[serde(rename = "type")]
    kind: &'static str,
}

impl Action {
    /// The canonical text. The action digest is its SHA-256.
    ///
    /// # Panics
    /// Never: texts have a JSON form.
    pub fn canonical(&self) -> String {
        let members = Members {
            agent: &self.agent,
            arguments_sha256: self.arguments,
            schema_sha256: self.schema,
            session: self.session,
            side_effect: self.side_effect,
            tenant: self.tenant,
            tool: &self.tool,
            turn: self.turn,
            kind: ACTION_TYPE,
        };
        // `serde_json` escapes as RFC 8785 §3.2.2.2 says: the five short forms, `\u00xx` in lower case for other
        // controls, everything else as it is.
        serde_json::to_string(&members).expect("texts serialise")
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn action() -> Action {
        Action {
            agent: "shop \"é\" \u{1f}\u{7f}\u{2028}/".to_owned(),
            arguments: Digest([0xab; 32]),
            schema: None,
            session: SessionId(Uuid::from_u128(1)),
            side_effect: SideEffectPolicy::Irreversible,
            tenant: TenantId(Uuid::from_u128(2)),
            tool: "charge_card".to_owned(),
            turn: TurnId(Uuid::from_u128(3)),
        }
    }

    #[test]
    fn the_text_is_canonical() {
        let expected = concat!(
            r#"{"agent":"shop \"é\" \u001f"#,
            "\u{7f}\u{2028}",
            r#"/","arguments_sha256":"abababababababababababababababababababababababababababababababab","#,
            r#""session":"00000000-0000-0000-0000-000000000001","side_effect":"irreversible","#,
            r#""tenant":"00000000-0000-0000-0000-000000000002","tool":"charge_card","#,
            r#""turn":"00000000-0000-0000-0000-000000000003","type":"ruche.action.v1"}"#,
        );
        assert_eq!(action().canonical(), expected);
    }

    #[test]
    fn names_are_in_the_order_of_their_bytes() {
        let action = Action {
            schema: Some(Digest([1; 32])),
            ..action()
        };
        // Read into a sorted map and written again it is the same text.
        let text = action.canonical();
        let read: std::collections::BTreeMap<String, String> = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        assert_eq!(read.len(), 9);
    }

    #[test]
    fn every_part_counts() {
        let base = action();
        let others = [
            Action {
                agent: "other".to_owned(),
                ..base.clone()
            },
            Action {
                arguments: Digest([0xac; 32]),
                ..base.clone()
            },
            Action {
                schema: Some(Digest([0; 32])),
                ..base.clone()
            },
            Action {
                session: SessionId(Uuid::from_u128(9)),
                ..base.clone()
            },
            Action {
                side_effect: SideEffectPolicy::Pure,
                ..base.clone()
            },
            Action {
                tenant: TenantId(Uuid::from_u128(9)),
                ..base.clone()
            },
            Action {
                tool: "charge".to_owned(),
                ..base.clone()
            },
            Action {
                turn: TurnId(Uuid::from_u128(9)),
                ..base.clone()
            },
        ];
        for other in others {
            assert_ne!(other.canonical(), base.canonical(), "{other:?}");
        }
    }
}
