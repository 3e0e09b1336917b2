//! `Record`: a record of the ledger as it is stored.

use async_graphql::{Enum, ID, Object, SimpleObject};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ruche_domain::envelope;
use ruche_domain::event::AgentEvent;
use ruche_domain::numbers::{Position, TreeSize};
use ruche_ledger::payload::StoredFragment;
use ruche_ledger::store as ledger;

use super::scalars::{DateTime, Hash, Json, JsonText, Long, PositionScalar};

/// How far the proof of a record has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(super) enum RecordState {
    /// Durable; position and hash are fixed.
    Appended,
    /// Under a signed tree head.
    Sealed,
    /// Under a tree head that witnesses have cosigned.
    Witnessed,
    /// Under a tree head with a trusted timestamp.
    Timestamped,
}

impl RecordState {
    /// The state of a record whose epoch has a signed tree head over `sealed` records.
    pub(super) fn under(sealed: TreeSize, position: Position) -> Self {
        if position.index.0 < sealed.0 {
            Self::Sealed
        } else {
            Self::Appended
        }
    }
}

/// Whether a payload is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(super) enum PayloadState {
    /// The bytes are there and open the commitment of the leaf.
    Present,
    /// The bytes are gone: erased, or lost. The leaf still stands.
    Missing,
    /// The bytes are in an archive, which is not at hand here. `archive` says which.
    Archived,
}

fn state_of(stored: &StoredFragment) -> PayloadState {
    match stored {
        StoredFragment::Present { .. } => PayloadState::Present,
        StoredFragment::Missing => PayloadState::Missing,
        StoredFragment::Archived(_) => PayloadState::Archived,
    }
}

/// Who acted: a kind and an opaque reference.
#[derive(SimpleObject)]
pub(super) struct Actor {
    /// `human`, `agent`, `tool`, `policy`, `system` or `client`.
    kind: String,
    /// Opaque id; absent where the kind says all.
    reference: Option<ID>,
}

impl From<envelope::Actor> for Actor {
    fn from(actor: envelope::Actor) -> Self {
        Self {
            kind: actor.kind.name().to_owned(),
            reference: actor.reference.map(|id| ID(id.to_string())),
        }
    }
}

/// One part of a payload, and what the leaf says of it.
#[derive(SimpleObject)]
pub(super) struct Fragment {
    /// Media type of the plain bytes.
    media_type: String,
    /// Length of the stored bytes.
    stored_bytes: Long,
    /// What the leaf commits to.
    commitment: Hash,
    /// Key of the commitment: `HMAC-SHA-256(opening, stored bytes)` is the commitment. Gone together with the bytes.
    opening: Option<Hash>,
    /// Whether the bytes are there.
    state: PayloadState,
}

/// A record of the ledger: the leaf, which stands for ever, and its payload, which can be erased.
#[derive(Clone)]
pub(super) struct Record {
    record: ledger::Record,
    /// Size of the last signed tree head of the record's epoch.
    sealed: TreeSize,
}

impl Record {
    pub(super) fn new(record: ledger::Record, sealed: TreeSize) -> Self {
        Self { record, sealed }
    }

    pub(super) fn position(&self) -> Position {
        self.record.position
    }

    /// RFC 6962 hash of the stored leaf.
    pub(super) fn stored_leaf_hash(&self) -> ruche_ledger::hash::Hash {
        self.record.leaf_hash()
    }

    pub(super) fn event(&self) -> &envelope::ACFEvent {
        &self.record.leaf.event
    }

    /// What happened; nothing where the payload is gone or this program cannot read it.
    pub(super) fn agent_event(&self) -> Option<AgentEvent> {
        let event = self.event();
        let bytes = self.record.payload_bytes()?;
        AgentEvent::from_payload(&event.event_type, event.schema_version, bytes).ok()
    }
}

fn id(uuid: impl std::fmt::Display) -> ID {
    ID(uuid.to_string())
}

/// A record of the ledger: the leaf, which stands for ever, and its payload, which can be erased.
#[Object]
impl Record {
    /// Place in the ledger.
    #[graphql(name = "position")]
    async fn place(&self) -> PositionScalar {
        PositionScalar(self.record.position)
    }

    /// How far its proof has come.
    async fn state(&self) -> RecordState {
        RecordState::under(self.sealed, self.record.position)
    }

    /// RFC 6962 hash of the leaf.
    async fn leaf_hash(&self) -> Hash {
        Hash(self.record.leaf_hash().0)
    }

    /// Hash of the leaf before it in its epoch.
    async fn previous_leaf_hash(&self) -> Option<Hash> {
        self.record.leaf.previous.map(|hash| Hash(hash.0))
    }

    /// The leaf's bytes in base64, as they are hashed. Their format is in `docs/formats/record.md`.
    async fn leaf(&self) -> String {
        STANDARD.encode(&self.record.leaf_bytes)
    }

    /// First record of the append that it came in.
    async fn append_first(&self) -> PositionScalar {
        PositionScalar(Position {
            epoch: self.record.position.epoch,
            index: self.record.leaf.append.first,
        })
    }

    /// How many records that append has.
    async fn append_count(&self) -> u32 {
        self.record.leaf.append.count
    }

    /// Id of the event.
    async fn event_id(&self) -> ID {
        id(self.event().event_id)
    }

    /// Stream that it belongs to.
    async fn stream(&self) -> String {
        self.event().stream.to_string()
    }

    /// Version of its stream, from 0.
    async fn stream_version(&self) -> Long {
        Long::count(self.record.leaf.stream_version.0)
    }

    /// Event type, such as `message.received`.
    async fn r#type(&self) -> &str {
        &self.event().event_type
    }

    /// Version of the payload's schema.
    async fn schema_version(&self) -> u32 {
        self.event().schema_version.0
    }

    /// When the ledger took it.
    async fn recorded_at(&self) -> DateTime {
        DateTime(self.record.leaf.recorded_at)
    }

    /// When it happened, by the clock of whoever saw it happen.
    async fn occurred_at(&self) -> DateTime {
        DateTime(self.event().occurred_at)
    }

    /// Who did it.
    async fn actor(&self) -> Actor {
        self.event().actor.into()
    }

    /// For whom, if not for the actor itself.
    async fn on_behalf_of(&self) -> Option<Actor> {
        self.event().on_behalf_of.map(Into::into)
    }

    /// Worth as evidence: `attested`, `reported`, `observed`, `imported` or `simulated`.
    async fn provenance(&self) -> &str {
        self.event().provenance.name()
    }

    /// Sensitivity of the payload: `public`, `internal`, `confidential` or `secret`.
    async fn classification(&self) -> &str {
        self.event().classification.name()
    }

    /// Session that it belongs to.
    async fn session_id(&self) -> Option<ID> {
        self.event().session.map(id)
    }

    /// Turn that it belongs to.
    async fn turn_id(&self) -> Option<ID> {
        self.event().turn.map(id)
    }

    /// Tool call that it belongs to.
    async fn call_id(&self) -> Option<ID> {
        self.event().call.map(id)
    }

    /// Data subject whose payloads are erased together.
    async fn subject_id(&self) -> Option<ID> {
        self.event().subject.map(id)
    }

    /// The conversation, job or request that it belongs to.
    async fn correlation_id(&self) -> Option<ID> {
        self.event().correlation_id.map(id)
    }

    /// The event that caused it.
    async fn causation_id(&self) -> Option<ID> {
        self.event().causation_id.map(id)
    }

    /// Trace of the request that appended it (W3C Trace Context).
    async fn trace_id(&self) -> Option<String> {
        self.event().trace.map(|trace| hex::encode(trace.trace_id))
    }

    /// Span of the request that appended it.
    async fn span_id(&self) -> Option<String> {
        self.event().trace.map(|trace| hex::encode(trace.span_id))
    }

    /// SHA-256 of the configuration in effect, where one applied.
    async fn config_digest(&self) -> Option<Hash> {
        self.event().config_digest.map(Hash)
    }

    /// SHA-256 of the policy bundle, where one applied.
    async fn policy_digest(&self) -> Option<Hash> {
        self.event().policy_digest.map(Hash)
    }

    /// Whether the payload is there.
    async fn payload_state(&self) -> PayloadState {
        self.record
            .payload
            .first()
            .map_or(PayloadState::Missing, state_of)
    }

    /// Name of the archive that has what is not here of the payload. The ledger's event `infra.payloads_archived` says more of it.
    async fn archive(&self) -> Option<&str> {
        self.record.archived_in().map(|range| range.archive.as_str())
    }

    /// The payload as a value; for reading. Numbers may be changed by the client's library.
    async fn payload(&self) -> Option<Json> {
        let bytes = self.record.payload_bytes()?;
        serde_json::from_slice(bytes).ok().map(Json)
    }

    /// The payload's bytes as text, exactly as they are stored and committed.
    async fn payload_text(&self) -> Option<JsonText> {
        let bytes = self.record.payload_bytes()?;
        String::from_utf8(bytes.to_vec()).ok().map(JsonText)
    }

    /// The parts of the payload with their commitments.
    async fn fragments(&self) -> Vec<Fragment> {
        let both = self.record.leaf.payload.iter().zip(&self.record.payload);
        both.map(|(commitment, stored)| {
            let opening = match stored {
                StoredFragment::Present { opening, .. } => Some(Hash(*opening)),
                StoredFragment::Missing | StoredFragment::Archived(_) => None,
            };
            Fragment {
                media_type: commitment.media_type.clone(),
                stored_bytes: Long::count(commitment.stored_length),
                commitment: Hash(commitment.commitment),
                opening,
                state: state_of(stored),
            }
        })
        .collect()
    }
}
