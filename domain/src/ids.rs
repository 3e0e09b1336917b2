//! Identifiers: one type per thing, no conversions between them.
//!
//! Ids are opaque. A client's own names never become ids directly: they are hashed under a key of the ledger
//! (`ruche_ledger::references`), so that a leaf, which lives for ever, holds no personal data (design §3).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::DomainError;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
        #[serde(transparent)]
        pub struct $name(#[schemars(with = "String", extend("format" = "uuid"))] pub Uuid);

        impl $name {
            /// The 16 bytes, as they stand in leaves.
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// An id from its 16 bytes.
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = DomainError;

            fn from_str(text: &str) -> Result<Self, DomainError> {
                Uuid::parse_str(text)
                    .map(Self)
                    .map_err(|_| DomainError::NotAnId { kind: stringify!($name), text: text.to_owned() })
            }
        }
    };
}

id!(
    /// A customer of the deployment. Comes from the credential alone, never from a request body.
    TenantId
);
id!(
    /// One ledger: a tenant's main ledger carries the tenant's own uuid; a simulation has its own.
    LedgerId
);
id!(
    /// One event, UUIDv7, unique in its ledger.
    EventId
);
id!(
    /// A conversation between an agent and an interlocutor.
    SessionId
);
id!(
    /// A logical turn: one or more messages, at most one response.
    TurnId
);
id!(
    /// A tool call, identified by us from (turn, ordinal); provider call ids repeat and are only recorded.
    CallId
);
id!(
    /// A message of a conversation.
    MessageId
);
id!(
    /// An agent (a "brain" with a configuration).
    AgentId
);
id!(
    /// A lane: who talks with whom, and where. Its events are the stream `lane-<id>`.
    LaneId
);
id!(
    /// A request that people decide on; its events are the stream `approval-<id>`.
    ApprovalId
);
id!(
    /// A data subject whose payloads can be erased together.
    SubjectId
);
id!(
    /// A credential of a client (an API key).
    ApiKeyId
);
id!(
    /// The conversation, job or request that an event belongs to.
    CorrelationId
);

/// Last bytes of the ids of governed turns and of their calls.
const GOVERNED: [u8; 4] = *b"lane";

fn governed(id: Uuid) -> Uuid {
    let mut bytes = id.into_bytes();
    bytes[12..].copy_from_slice(&GOVERNED);
    Uuid::from_bytes(bytes)
}

impl TurnId {
    /// The id of a turn of a lane, from an id that the ledger made. It says so itself: what may be written about such a
    /// turn depends on who holds it, and whoever writes about other turns has nothing to look up.
    pub fn governed(id: Uuid) -> Self {
        Self(governed(id))
    }

    /// Whether it is the id of a turn of a lane. Ids that the ledger made of other things end so once in 2^32.
    pub fn is_governed(&self) -> bool {
        self.0.as_bytes().ends_with(&GOVERNED)
    }
}

impl CallId {
    /// The id of a call of a turn of a lane, which says so as that of the turn does.
    pub fn governed(id: Uuid) -> Self {
        Self(governed(id))
    }

    /// Whether it is the id of a call of a turn of a lane, as for turns.
    pub fn is_governed(&self) -> bool {
        self.0.as_bytes().ends_with(&GOVERNED)
    }
}

impl LedgerId {
    /// The main ledger of a tenant.
    pub fn main_of(tenant: TenantId) -> Self {
        Self(tenant.0)
    }
}

impl EventId {
    /// A UUIDv7 (RFC 9562 §5.7) from milliseconds since 1970 and ten random bytes.
    pub fn v7(unix_ms: u64, random: [u8; 10]) -> Self {
        let mut b = [0u8; 16];
        b[..6].copy_from_slice(&unix_ms.to_be_bytes()[2..]);
        b[6..].copy_from_slice(&random);
        b[6] = (b[6] & 0x0f) | 0x70;
        b[8] = (b[8] & 0x3f) | 0x80;
        Self(Uuid::from_bytes(b))
    }
}

/// Makes a UUIDv8 (RFC 9562 §5.8) of the first 16 bytes of a keyed hash. The key keeps outsiders from guessing.
pub fn uuid_v8(hash: &[u8; 32]) -> Uuid {
    let mut b = [0u8; 16];
    b.copy_from_slice(&hash[..16]);
    b[6] = (b[6] & 0x0f) | 0x80;
    b[8] = (b[8] & 0x3f) | 0x80;
    Uuid::from_bytes(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_ids_are_uuid_v7_and_sort_by_time() {
        let a = EventId::v7(1_700_000_000_000, [0xff; 10]);
        let b = EventId::v7(1_700_000_000_001, [0x00; 10]);
        assert_eq!(a.0.get_version_num(), 7);
        assert_eq!(b.0.get_variant(), uuid::Variant::RFC4122);
        assert!(a < b);
    }

    #[test]
    fn a_bad_id_names_its_kind() {
        let err = "nonsense".parse::<SessionId>().unwrap_err();
        assert_eq!(err.to_string(), "not a SessionId: nonsense");
    }

    #[test]
    fn hashed_ids_are_uuid_v8() {
        assert_eq!(uuid_v8(&[0xff; 32]).get_version_num(), 8);
    }
}
