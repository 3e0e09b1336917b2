//! `ACFEvent`: the envelope of a record. It says who, when and why; `AgentEvent` says what happened.
//!
//! The envelope is what the leaf of the ledger holds (design §3), so it carries no personal data: every reference is
//! an opaque id. Which fields exist, in which order, is frozen by `docs/formats/record.md`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::{CallId, CorrelationId, EventId, SessionId, SubjectId, TurnId};
use crate::numbers::{Micros, SchemaVersion};
use crate::stream::StreamId;

macro_rules! coded {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $code:literal, $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[repr(u8)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant = $code,)* }

        impl $name {
            /// All values, in code order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The number stored in leaves. Never reused for another meaning.
            pub const fn code(self) -> u8 {
                self as u8
            }

            /// The value of a stored number.
            pub const fn from_code(code: u64) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }

            /// The name in JSON, SQL, GraphQL and documents.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

coded!(
    /// Who acted.
    ActorKind {
        /// A person.
        Human = 0, "human";
        /// An AI agent.
        Agent = 1, "agent";
        /// A tool, reporting its own effect.
        Tool = 2, "tool";
        /// The policy engine.
        Policy = 3, "policy";
        /// Ruche itself.
        System = 4, "system";
        /// An authenticated program that is none of the above (an importer, a platform).
        Client = 5, "client";
    }
);

coded!(
    /// What a record is worth as evidence (reference/agents.md §1.1).
    Provenance {
        /// Submitted before the effect, authenticated, version-checked.
        Attested = 0, "attested";
        /// An authenticated client says so afterwards.
        Reported = 1, "reported";
        /// Telemetry: lossy, unordered, late.
        Observed = 2, "observed";
        /// Backfill from files.
        Imported = 3, "imported";
        /// Made for demonstration or simulation.
        Simulated = 4, "simulated";
    }
);

coded!(
    /// How sensitive the payload is (R-EVT-08).
    Classification {
        /// May be shown to anyone.
        Public = 0, "public";
        /// For people of the tenant.
        Internal = 1, "internal";
        /// For named roles; the default for conversations.
        Confidential = 2, "confidential";
        /// For named people.
        Secret = 3, "secret";
    }
);

/// Who acted: a kind and an opaque reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Actor {
    /// Kind of actor.
    pub kind: ActorKind,
    /// Opaque id of the actor; absent where the kind says all (`system`).
    pub reference: Option<Uuid>,
}

impl Actor {
    /// Ruche itself.
    pub const SYSTEM: Self = Self {
        kind: ActorKind::System,
        reference: None,
    };
}

/// W3C trace context of the request that caused the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// Trace id, not all zero.
    pub trace_id: [u8; 16],
    /// Span id, not all zero.
    pub span_id: [u8; 8],
}

/// The part of the envelope that the author of an event decides. Position, stream version, recorded-at and the hash
/// links are added by the ledger when the event is sequenced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ACFEvent {
    /// Unique id of the event, UUIDv7.
    pub event_id: EventId,
    /// Stream that the event belongs to.
    pub stream: StreamId,
    /// Event type, such as `turn.committed`.
    pub event_type: String,
    /// Version of the payload's schema.
    pub schema_version: SchemaVersion,
    /// When it happened, by the clock of whoever saw it happen.
    pub occurred_at: Micros,
    /// Who did it.
    pub actor: Actor,
    /// For whom, if not for the actor itself.
    pub on_behalf_of: Option<Actor>,
    /// Worth as evidence.
    pub provenance: Provenance,
    /// Sensitivity of the payload.
    pub classification: Classification,
    /// Session it belongs to.
    pub session: Option<SessionId>,
    /// Turn it belongs to.
    pub turn: Option<TurnId>,
    /// Tool call it belongs to.
    pub call: Option<CallId>,
    /// Data subject of the record as a whole.
    pub subject: Option<SubjectId>,
    /// The conversation or job it belongs to.
    pub correlation_id: Option<CorrelationId>,
    /// The event that directly caused it.
    pub causation_id: Option<EventId>,
    /// Trace of the request.
    pub trace: Option<TraceContext>,
    /// SHA-256 of the effective configuration, where one applied.
    pub config_digest: Option<[u8; 32]>,
    /// SHA-256 of the policy bundle, where one applied.
    pub policy_digest: Option<[u8; 32]>,
}

impl ACFEvent {
    /// An envelope with the required fields; everything else absent, provenance `reported`, `confidential`.
    pub fn new(
        event_id: EventId,
        stream: StreamId,
        event_type: impl Into<String>,
        schema_version: SchemaVersion,
        occurred_at: Micros,
        actor: Actor,
    ) -> Self {
        Self {
            event_id,
            stream,
            event_type: event_type.into(),
            schema_version,
            occurred_at,
            actor,
            on_behalf_of: None,
            provenance: Provenance::Reported,
            classification: Classification::Confidential,
            session: None,
            turn: None,
            call: None,
            subject: None,
            correlation_id: None,
            causation_id: None,
            trace: None,
            config_digest: None,
            policy_digest: None,
        }
    }
}
