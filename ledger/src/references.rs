//! Keyed hashing of clients' own words: their ids and their idempotency keys never stand in leaves.

use hmac::{Hmac, KeyInit, Mac};
use ruche_domain::ids::{AgentId, CallId, CorrelationId, MessageId, SessionId, SubjectId, TurnId, uuid_v8};
use sha2::Sha256;
use uuid::Uuid;
use zeroize::ZeroizeOnDrop;

use crate::leaf::{KeyClaim, KeyLayer};

/// HMAC-SHA-256 over length-prefixed parts, so that no two lists of parts hash the same bytes.
fn keyed_hash(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Turns a client's own id into an opaque one, the same each time, that outsiders cannot guess from the name.
#[derive(Clone, ZeroizeOnDrop)]
pub struct ReferenceKey([u8; 32]);

impl ReferenceKey {
    /// From the key that `keys` derives for a ledger.
    pub fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// UUIDv8 of the keyed hash of kind and parts. `kind` keeps a session and a turn of one name apart.
    pub fn id(&self, kind: &str, parts: &[&[u8]]) -> Uuid {
        let mut all = vec![kind.as_bytes()];
        all.extend_from_slice(parts);
        uuid_v8(&keyed_hash(&self.0, &all))
    }

    /// The session that a client calls `external`.
    pub fn session(&self, external: &str) -> SessionId {
        SessionId(self.id("session", &[external.as_bytes()]))
    }

    /// The agent that a client calls `external`.
    pub fn agent(&self, external: &str) -> AgentId {
        AgentId(self.id("agent", &[external.as_bytes()]))
    }

    /// The data subject (interlocutor) that a client calls `external`.
    pub fn subject(&self, external: &str) -> SubjectId {
        SubjectId(self.id("subject", &[external.as_bytes()]))
    }

    /// The turn with this ordinal in a session.
    pub fn turn(&self, session: SessionId, ordinal: u64) -> TurnId {
        TurnId(self.id("turn", &[session.as_bytes(), &ordinal.to_be_bytes()]))
    }

    /// The tool call with this ordinal in a turn. Provider call ids repeat, so they have no say.
    pub fn call(&self, turn: TurnId, ordinal: u64) -> CallId {
        CallId(self.id("call", &[turn.as_bytes(), &ordinal.to_be_bytes()]))
    }

    /// The message with this ordinal in a session.
    pub fn message(&self, session: SessionId, ordinal: u64) -> MessageId {
        MessageId(self.id("message", &[session.as_bytes(), &ordinal.to_be_bytes()]))
    }

    /// The correlation that a client calls `external`.
    pub fn correlation(&self, external: &str) -> CorrelationId {
        CorrelationId(self.id("correlation", &[external.as_bytes()]))
    }

    /// The thing of another kind (tool, configuration scope, artifact) that a client calls `external`.
    pub fn other(&self, kind: &str, external: &str) -> Uuid {
        self.id(kind, &[external.as_bytes()])
    }
}

/// Hashes idempotency keys and the requests they stand for.
#[derive(Clone, ZeroizeOnDrop)]
pub struct IdempotencyHasher([u8; 32]);

impl IdempotencyHasher {
    /// From the key that `keys` derives for a ledger.
    pub fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// The claim of a client's key over the bytes that make its request what it is.
    pub fn claim(&self, layer: KeyLayer, key: &str, request: &[&[u8]]) -> KeyClaim {
        let mut parts: Vec<&[u8]> = vec![b"request"];
        parts.extend_from_slice(request);
        KeyClaim {
            layer,
            key: keyed_hash(&self.0, &[b"key", layer.name().as_bytes(), key.as_bytes()]),
            request: keyed_hash(&self.0, &parts),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_depend_on_key_kind_and_every_part() {
        let k = ReferenceKey::new([1; 32]);
        let s = k.session("s-1");
        assert_eq!(s, k.session("s-1"));
        assert_ne!(s.0, k.agent("s-1").0);
        assert_ne!(s, ReferenceKey::new([2; 32]).session("s-1"));
        assert_ne!(k.turn(s, 0), k.turn(s, 1));
        assert_ne!(k.id("x", &[b"ab", b"c"]), k.id("x", &[b"a", b"bc"]));
    }

    #[test]
    fn one_key_text_is_different_in_each_layer() {
        let h = IdempotencyHasher::new([3; 32]);
        let a = h.claim(KeyLayer::Api, "k", &[b"body"]);
        assert_ne!(a.key, h.claim(KeyLayer::Tool, "k", &[b"body"]).key);
        assert_eq!(a.request, h.claim(KeyLayer::Tool, "k", &[b"body"]).request);
        assert_ne!(a.request, h.claim(KeyLayer::Api, "k", &[b"other"]).request);
    }
}
