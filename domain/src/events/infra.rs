//! `infra.*`: facts about Ruche itself. Nobody else writes them.

use super::turn::CommitPointKind;
use crate::ids::{ApiKeyId, CallId, EventId, LaneId};
use crate::measures::Digest;
use crate::numbers::{Epoch, Micros, Position, SchemaVersion, TreeSize};
use crate::payload::{List, payloads};
use crate::side_effect::{EffectStatus, SideEffectPolicy};
use crate::words::words;

words! {
    /// Why an epoch of a ledger was opened.
    pub enum EpochReason {
        /// The ledger is new.
        Created = "created",
        /// The database was restored from a backup and lost records.
        Restored = "restored",
        /// The signing key changes.
        KeyChanged = "key_changed",
        /// An operator asked for it.
        Operator = "operator",
    }

    /// What a limit counts.
    pub enum LimitKind {
        /// Requests.
        Requests = "requests",
        /// Events.
        Events = "events",
        /// Bytes.
        Bytes = "bytes",
        /// Model tokens.
        Tokens = "tokens",
        /// Money.
        Money = "money",
    }
}

payloads! {
    /// The epoch before, and how it ended.
    pub struct PreviousEpoch {
        /// Its origin.
        pub origin: String,
        /// Its last signed size.
        pub tree_size: TreeSize,
        /// Its last signed root.
        pub root: Digest,
        /// Its last signed tree head: the text of the signed note.
        pub tree_head: String,
        /// First record that was under that tree head and is lost, `epoch:index`.
        pub lost_from: Option<Position>,
        /// Last record that was under that tree head and is lost, `epoch:index`.
        pub lost_to: Option<Position>,
    }

    /// An epoch of a ledger was opened. Record 0 of every epoch.
    pub struct InfraLedgerOpened {
        /// Name of the deployment, chosen once.
        pub deployment: String,
        /// Origin of the epoch, as it stands in every tree head.
        pub origin: String,
        /// The key that signs the epoch's tree heads: a verifier key of C2SP signed-note.
        pub verifier_key: String,
        /// Number of the epoch, from 1.
        pub epoch: Epoch,
        /// Why it was opened.
        pub reason: EpochReason,
        /// The epoch before; absent for the first.
        pub previous: Option<PreviousEpoch>,
        /// What the operator said.
        pub note: Option<String>,
    }

    /// A tree head was signed and recorded.
    pub struct InfraChainCheckpointed {
        /// Size of the tree.
        pub tree_size: TreeSize,
        /// Root of the tree.
        pub root: Digest,
        /// The signed note.
        pub signature: String,
    }

    /// A key was replaced.
    pub struct InfraKeyRotated {
        /// What the key is for, such as `ledger` or `master`.
        pub purpose: String,
        /// Id of the new key.
        pub key_id: String,
        /// Id of the old key.
        pub previous_key_id: Option<String>,
        /// Why.
        pub reason: Option<String>,
    }

    /// A person's signing key was registered. The stream names the key; it is registered once and never again.
    pub struct InfraKeyRegistered {
        /// Id of the key: SHA-256 of its SubjectPublicKeyInfo in DER.
        pub key_id: Digest,
        /// Whose key it is, as the tenant names people.
        pub reviewer: String,
        /// The 32 bytes of the Ed25519 public key, in hex.
        pub public_key: Digest,
        /// DSSE envelope as signed with the key, as JSON text: that this tenant may take it for this person's.
        pub proof_of_possession: String,
        /// Name of the key for people.
        pub label: Option<String>,
        /// Who registered it: the user of the credential, where it names one.
        pub registered_by: Option<String>,
    }

    /// A person's signing key was revoked. What it signed counts only where it was used up to here.
    pub struct InfraKeyRevoked {
        /// Id of the key.
        pub key_id: Digest,
        /// Why.
        pub reason: Option<String>,
    }

    /// An API key was made. The key itself is nowhere: its secret part is 32 random bytes, of which only the hash stays.
    pub struct InfraApiKeyCreated {
        /// Id of the key.
        pub key_id: ApiKeyId,
        /// SHA-256 of the secret part.
        pub secret_digest: Digest,
        /// Roles that it carries.
        pub roles: List<String>,
        /// Name for people.
        pub label: Option<String>,
        /// When it lapses, µs since 1970 UTC.
        pub expires_at: Option<Micros>,
        /// Opaque reference of who made it.
        pub created_by: Option<String>,
        /// Whose key it is: the person or service, as the tenant names people and reviewers. One may have several keys.
        pub user: Option<String>,
    }

    /// An API key was revoked.
    pub struct InfraApiKeyRevoked {
        /// Id of the key.
        pub key_id: ApiKeyId,
        /// Why.
        pub reason: Option<String>,
        /// Opaque reference of who revoked it.
        pub revoked_by: Option<String>,
    }

    /// A database was restored from a backup. The first record of the epoch names what was lost.
    pub struct InfraRestoreCompleted {
        /// When the backup was made, µs since 1970 UTC.
        pub backup_taken_at: Option<Micros>,
        /// SHA-256 of the backup's manifest.
        pub backup_digest: Option<Digest>,
        /// Last record that the backup holds, `epoch:index`.
        pub restored_to: Position,
        /// First record that is lost, `epoch:index`.
        pub lost_from: Option<Position>,
        /// Last record that is lost, as far as a signed tree head says, `epoch:index`.
        pub lost_to: Option<Position>,
        /// What the operator said.
        pub note: Option<String>,
    }

    /// A lease was taken.
    pub struct InfraLeaseAcquired {
        /// What the lease is on, such as a turn or a ledger: an opaque reference.
        pub resource: String,
        /// Opaque id of the holder.
        pub holder: String,
        /// Fencing number; a lower one is refused from here on.
        pub lease_epoch: u64,
        /// When it lapses, µs since 1970 UTC.
        pub expires_at: Micros,
    }

    /// A lease was made longer by its holder.
    pub struct InfraLeaseRenewed {
        /// What the lease is on: an opaque reference.
        pub resource: String,
        /// Opaque id of the holder.
        pub holder: String,
        /// Fencing number, the same as before.
        pub lease_epoch: u64,
        /// When it lapses now, µs since 1970 UTC.
        pub expires_at: Micros,
    }

    /// A lease lapsed.
    pub struct InfraLeaseExpired {
        /// What the lease was on: an opaque reference.
        pub resource: String,
        /// Opaque id of the holder.
        pub holder: Option<String>,
        /// Fencing number of the lapsed lease.
        pub lease_epoch: u64,
        /// When it lapsed, µs since 1970 UTC.
        pub expired_at: Option<Micros>,
    }

    /// A delivery to the outside was made.
    pub struct InfraOutboxDispatched {
        /// The event that was delivered.
        pub event_id: EventId,
        /// Opaque reference of the destination.
        pub destination: String,
        /// Number of the attempt, from 1.
        pub attempt: u32,
        /// Status that the destination gave.
        pub status: Option<String>,
    }

    /// A delivery to the outside was given up.
    pub struct InfraOutboxDeadLettered {
        /// The event that was not delivered.
        pub event_id: EventId,
        /// Opaque reference of the destination.
        pub destination: String,
        /// Attempts made.
        pub attempts: u32,
        /// The last error.
        pub error: String,
    }

    /// A read model was rebuilt from the ledger.
    pub struct InfraProjectionRebuilt {
        /// Name of the projection.
        pub projection: String,
        /// Version of the read model.
        pub version: u32,
        /// Last record it took in, `epoch:index`.
        pub position: Position,
        /// Events applied.
        pub events: u64,
        /// How long it took, µs.
        pub duration_us: Option<u64>,
    }

    /// A person had a projection try an event again that it could not apply.
    pub struct InfraProjectionRedriven {
        /// Name of the projection.
        pub projection: String,
        /// The event, `epoch:index`.
        pub position: Position,
        /// Its type.
        pub event_type: String,
        /// Why it could not be applied before.
        pub error: String,
        /// What a person expects of it now.
        pub reason: Option<String>,
    }

    /// A person had a projection go on without an event that it could not apply. The ledger keeps the event.
    pub struct InfraProjectionDiscarded {
        /// Name of the projection.
        pub projection: String,
        /// The event, `epoch:index`.
        pub position: Position,
        /// Its type.
        pub event_type: String,
        /// Why it could not be applied.
        pub error: String,
        /// Why the read model goes without it.
        pub reason: String,
    }

    /// A person paused a projection: its read model stays as it is until it is resumed.
    pub struct InfraProjectionPaused {
        /// Name of the projection.
        pub projection: String,
        /// Why.
        pub reason: String,
    }

    /// A person had a paused projection go on.
    pub struct InfraProjectionResumed {
        /// Name of the projection.
        pub projection: String,
        /// Why.
        pub reason: Option<String>,
    }

    /// A person had all read models made anew from the ledger. Reads go on from the old ones until it is done.
    pub struct InfraRebuildRequested {
        /// Why.
        pub reason: String,
    }

    /// Read models were made anew as a person had asked, and took the place of the old ones.
    pub struct InfraRebuildCompleted {
        /// The request, `epoch:index`.
        pub requested_at: Position,
        /// Number of the tables that are current since.
        pub generation: u32,
        /// Records that they were made of.
        pub records: u64,
        /// Whether the old ones said the same, row by row; absent if another version had made them and they were not compared.
        pub equal: Option<bool>,
        /// How long it took, µs.
        pub duration_us: u64,
    }

    /// A source skipped something.
    pub struct InfraIngestGap {
        /// Opaque reference of the source.
        pub source: String,
        /// What should have come next.
        pub expected: String,
        /// What came.
        pub got: String,
        /// How many are missing, if that can be said.
        pub missing: Option<u64>,
    }

    /// A span of telemetry fits no event type. It is kept and counted.
    pub struct InfraSpanUnclassified {
        /// Name of the span.
        pub span_name: String,
        /// Instrumentation that made it.
        pub scope: Option<String>,
        /// SHA-256 of the span as received.
        pub digest: Option<Digest>,
        /// The span as received.
        pub span: Option<serde_json::Value>,
    }

    /// A version of an event schema was made known.
    pub struct InfraSchemaRegistered {
        /// Event type.
        pub event_type: String,
        /// Version.
        pub version: SchemaVersion,
        /// SHA-256 of the schema.
        pub digest: Digest,
    }

    /// The clock of a source is off.
    pub struct InfraClockSkewDetected {
        /// Opaque reference of the source.
        pub source: String,
        /// Its clock minus ours, µs.
        pub skew_us: i64,
        /// Bound that was passed, µs.
        pub threshold_us: Option<u64>,
    }

    /// A caller was slowed down.
    pub struct InfraRateLimited {
        /// Opaque reference of the caller.
        pub caller: String,
        /// What was counted.
        pub kind: LimitKind,
        /// The limit.
        pub limit: u64,
        /// The window, µs.
        pub window_us: u64,
        /// Refused so far in the window.
        pub refused: Option<u64>,
    }

    /// A quota was used up.
    pub struct InfraQuotaExceeded {
        /// Opaque reference of who the quota is for.
        pub holder: String,
        /// What was counted.
        pub kind: LimitKind,
        /// The quota, in whole units of the kind; money in millionths of the currency.
        pub limit: u64,
        /// What was used, in the same unit.
        pub used: u64,
        /// When it is filled again, µs since 1970 UTC.
        pub resets_at: Option<Micros>,
    }

    /// A person has to step in.
    pub struct InfraManualInterventionRequired {
        /// What happened.
        pub reason: String,
        /// The call concerned.
        pub call_id: Option<CallId>,
        /// The commit point that stands in the way of going back.
        pub commit_point: Option<CommitPointKind>,
        /// The page that says what to do.
        pub runbook: Option<String>,
    }

    /// A person looked after a turn that failed: nobody is called for it any more.
    pub struct InfraManualInterventionSettled {
        /// Opaque reference of the person.
        pub by: String,
        /// What was done about it, or why nothing is.
        pub reason: String,
    }

    /// The transport's view of a tool's effect.
    pub struct InfraEffectRecorded {
        /// The call.
        pub call_id: CallId,
        /// What the call does to the world.
        pub side_effect: SideEffectPolicy,
        /// Where the effect stands.
        pub status: EffectStatus,
        /// SHA-256 of the request as sent.
        pub request_digest: Option<Digest>,
        /// SHA-256 of the answer as received.
        pub response_digest: Option<Digest>,
    }

    /// A call took the business key of a tool: it is the one that may bring the effect about. Written where the key goes to
    /// a call, in the append that proposes or starts it. Whether that call holds the key still follows from its lane.
    pub struct InfraBusinessKeyTaken {
        /// Name of the tool.
        pub tool: String,
        /// The lane of the call. The call is that of the envelope.
        pub lane_id: LaneId,
        /// Generation of the key, from 1; absent means 1. It rises where what was done under the key is known to be gone, or
        /// to be over for a day.
        pub generation: Option<u32>,
        /// Whether a try of another call before, under the same generation, was in doubt when this call took the key. Then a
        /// failure of this one does not raise the generation. Absent means no.
        pub in_doubt: Option<bool>,
    }

    /// Payloads were removed because their time was over.
    pub struct InfraRetentionApplied {
        /// Name of the rule.
        pub rule: String,
        /// Payloads removed.
        pub payloads_removed: u64,
        /// First record looked at, `epoch:index`.
        pub from: Option<Position>,
        /// Last record looked at, `epoch:index`.
        pub to: Option<Position>,
        /// Records kept because of a legal hold.
        pub held: Option<u64>,
    }

    /// Payloads of sealed records leave the store for an archive, from which they can come back. Written once the archive is
    /// whole and verified, before the first of them is taken out. Leaves stay, so the records verify as before.
    pub struct InfraPayloadsArchived {
        /// Name of the archive: that of its folder.
        pub archive: String,
        /// SHA-256 that the archive is known by: of its file `index`.
        pub digest: Digest,
        /// First record of the range, `epoch:index`.
        pub from: Position,
        /// Last record of the range, of the same epoch. Payloads of the range that are not in the archive stay in the store.
        pub to: Position,
        /// Payload fragments in the archive.
        pub payloads: u64,
        /// Stored bytes of these fragments.
        pub bytes: u64,
    }
}
