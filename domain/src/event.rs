//! `AgentEvent`: what happened. The catalogue of all event types, with their writers, versions and schemas.
//!
//! The life of a payload: `strict_json` checks the bytes at the edge; the descriptor of the type says who may write
//! it and gives the schema to validate against; the bytes are stored as received; a reader calls
//! [`AgentEvent::from_payload`], which lifts old versions through `upcast` and refuses what does not fit.

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::DomainError;
use crate::events::*;
use crate::limits::MEMORY_LIST_ITEMS_MAX;
use crate::numbers::SchemaVersion;
use crate::upcast;
use crate::words::words;

words! {
    /// Who may write the events of a family (design §4).
    pub enum Writer {
        /// Clients may append them; so may commands.
        Client = "client",
        /// Written by commands alone, on behalf of an authenticated actor.
        Command = "command",
        /// Written by Ruche itself.
        System = "system",
    }
}

/// One event type of the catalogue.
pub struct EventDescriptor {
    /// Name, such as `turn.committed`.
    pub event_type: &'static str,
    /// Version that is written today.
    pub schema_version: SchemaVersion,
    /// The part of the name before the first dot, except for `sim.` types, which carry the family they wrap.
    pub family: Family,
    /// Who may write it.
    pub writer: Writer,
    /// JSON schema (draft 2020-12) of the current version.
    pub schema: fn() -> Value,
    parse: fn(&[u8]) -> Result<AgentEvent, DomainError>,
}

impl fmt::Debug for EventDescriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} v{}", self.event_type, self.schema_version)
    }
}

macro_rules! catalogue {
    ($($(#[$fdoc:meta])* $family:ident = $fname:literal, $writer:ident {
        $($name:literal $version:literal $payload:ident;)*
    })*) => {
        words! {
            /// The part of an event type before the first dot.
            pub enum Family { $($(#[$fdoc])* $family = $fname,)* }
        }

        impl Family {
            /// Who may write events of the family.
            pub const fn writer(self) -> Writer {
                match self { $(Self::$family => Writer::$writer,)* }
            }
        }

        /// What happened: one fact, in the vocabulary of agents.
        #[allow(clippy::large_enum_variant, reason = "made, serialised and dropped one at a time; boxes would cost more")]
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum AgentEvent {
            $($(
                #[doc = concat!("`", $name, "`")]
                $payload($payload),
            )*)*
            /// An event of a simulation or what-if run (`sim.<type>`); never mixed into a live stream.
            Simulated(Box<AgentEvent>),
        }

        $($(
            impl From<$payload> for AgentEvent {
                fn from(payload: $payload) -> Self {
                    Self::$payload(payload)
                }
            }
        )*)*

        /// All event types, by family. The `sim.` types are in [`SIMULATED`].
        pub static CATALOGUE: &[EventDescriptor] = &[$($(
            EventDescriptor {
                event_type: $name,
                schema_version: SchemaVersion($version),
                family: Family::$family,
                writer: Writer::$writer,
                schema: || schema_of::<$payload>($name, $version),
                parse: |bytes| parse::<$payload>($name, bytes).map(AgentEvent::$payload),
            },
        )*)*];

        /// The same types wrapped for simulations: `sim.<type>`, written by Ruche alone.
        pub static SIMULATED: &[EventDescriptor] = &[$($(
            EventDescriptor {
                event_type: concat!("sim.", $name),
                schema_version: SchemaVersion($version),
                family: Family::$family,
                writer: Writer::System,
                schema: || schema_of::<$payload>(concat!("sim.", $name), $version),
                parse: |bytes| {
                    parse::<$payload>(concat!("sim.", $name), bytes)
                        .map(|payload| AgentEvent::Simulated(Box::new(AgentEvent::$payload(payload))))
                },
            },
        )*)*];

        impl AgentEvent {
            fn live_name(&self) -> (&'static str, &'static str) {
                match self {
                    $($(Self::$payload(_) => ($name, concat!("sim.", $name)),)*)*
                    Self::Simulated(inner) => inner.live_name(),
                }
            }

            /// The payload as compact JSON, fields in the order of the struct, absent fields left out. Deterministic:
            /// equal events give equal bytes.
            pub fn to_payload(&self) -> Vec<u8> {
                match self {
                    $($(Self::$payload(payload) => serde_json::to_vec(payload),)*)*
                    Self::Simulated(inner) => return inner.to_payload(),
                }
                .expect("payload structs have text keys, finite numbers and no failing serialisers")
            }
        }
    };
}

catalogue! {
    /// Conversations: opened, continued, ended, erased.
    Session = "session", Command {
        "session.started" 2 SessionStarted;
        "session.continued_as" 1 SessionContinuedAs;
        "session.input_required" 1 SessionInputRequired;
        "session.ended" 1 SessionEnded;
        "session.erased" 1 SessionErased;
        "session.legal_hold_set" 1 SessionLegalHoldSet;
        "session.legal_hold_released" 1 SessionLegalHoldReleased;
        "session.visibility_changed" 1 SessionVisibilityChanged;
    }
    /// What people and agents said.
    Message = "message", Client {
        "message.received" 1 MessageReceived;
        "message.drafted" 1 MessageDrafted;
        "message.sent" 1 MessageSent;
        "message.delivered" 1 MessageDelivered;
        "message.read" 1 MessageRead;
        "message.failed" 1 MessageFailed;
        "message.retracted" 1 MessageRetracted;
    }
    /// Logical turns: one or more messages, at most one response.
    Turn = "turn", Command {
        "turn.opened" 1 TurnOpened;
        "turn.message_coalesced" 1 TurnMessageCoalesced;
        "turn.sealed" 1 TurnSealed;
        "turn.queued" 1 TurnQueued;
        "turn.readied" 1 TurnReadied;
        "turn.started" 1 TurnStarted;
        "turn.step_started" 1 TurnStepStarted;
        "turn.step_completed" 1 TurnStepCompleted;
        "turn.attempt_failed" 1 TurnAttemptFailed;
        "turn.commit_point_reached" 1 TurnCommitPointReached;
        "turn.supersede_requested" 1 TurnSupersedeRequested;
        "turn.cancel_requested" 1 TurnCancelRequested;
        "turn.cancel_refused" 1 TurnCancelRefused;
        "turn.supersede_refused" 1 TurnSupersedeRefused;
        "turn.drained" 1 TurnDrained;
        "turn.compensating" 1 TurnCompensating;
        "turn.committed" 1 TurnCommitted;
        "turn.superseded" 1 TurnSuperseded;
        "turn.cancelled" 1 TurnCancelled;
        "turn.failed" 1 TurnFailed;
    }
    /// Model calls.
    Llm = "llm", Client {
        "llm.requested" 1 LlmRequested;
        "llm.responded" 1 LlmResponded;
        "llm.failed" 1 LlmFailed;
        "llm.embedded" 1 LlmEmbedded;
    }
    /// Tools and their effects on the world.
    Tool = "tool", Command {
        "tool.registered" 2 ToolRegistered;
        "tool.proposed" 1 ToolProposed;
        "tool.started" 2 ToolStarted;
        "tool.start_refused" 1 ToolStartRefused;
        "tool.completed" 1 ToolCompleted;
        "tool.failed" 1 ToolFailed;
        "tool.outcome_unknown" 1 ToolOutcomeUnknown;
        "tool.outcome_asserted" 1 ToolOutcomeAsserted;
        "tool.compensation_started" 1 ToolCompensationStarted;
        "tool.compensated" 1 ToolCompensated;
        "tool.compensation_failed" 1 ToolCompensationFailed;
        "tool.deferred" 1 ToolDeferred;
        "tool.arguments_changed" 1 ToolArgumentsChanged;
        "tool.not_executed" 1 ToolNotExecuted;
    }
    /// What agents remember.
    Memory = "memory", Client {
        "memory.searched" 1 MemorySearched;
        "memory.written" 1 MemoryWritten;
        "memory.updated" 1 MemoryUpdated;
        "memory.upserted" 1 MemoryUpserted;
        "memory.invalidated" 1 MemoryInvalidated;
        "memory.deleted" 1 MemoryDeleted;
        "memory.retrieved" 1 MemoryRetrieved;
        "memory.compacted" 1 MemoryCompacted;
        "memory.reextracted" 1 MemoryReextracted;
        "memory.embedded" 1 MemoryEmbedded;
        "memory.store_created" 1 MemoryStoreCreated;
        "memory.store_deleted" 1 MemoryStoreDeleted;
    }
    /// Configuration: proposed, published, in effect.
    Config = "config", Command {
        "config.proposed" 1 ConfigProposed;
        "config.published" 1 ConfigPublished;
        "config.activated" 1 ConfigActivated;
        "config.rolled_back" 1 ConfigRolledBack;
        "config.effective_resolved" 1 ConfigEffectiveResolved;
        "config.agent_created" 1 ConfigAgentCreated;
        "config.tool_schema_changed" 1 ConfigToolSchemaChanged;
        "config.prompt_changed" 1 ConfigPromptChanged;
        "config.price_table_changed" 1 ConfigPriceTableChanged;
        "config.query_saved" 1 ConfigQuerySaved;
        "config.query_dropped" 1 ConfigQueryDropped;
    }
    /// Bundles of rules and what they decided.
    Policy = "policy", Command {
        "policy.bundle_published" 1 PolicyBundlePublished;
        "policy.evaluated" 1 PolicyEvaluated;
        "policy.failed_closed" 1 PolicyFailedClosed;
        "policy.shadow_evaluated" 1 PolicyShadowEvaluated;
    }
    /// Decisions of people, bound to the bytes they saw.
    Approval = "approval", Command {
        "approval.requested" 4 ApprovalRequested;
        "approval.viewed" 1 ApprovalViewed;
        "approval.claimed" 1 ApprovalClaimed;
        "approval.delegated" 1 ApprovalDelegated;
        "approval.escalated" 1 ApprovalEscalated;
        "approval.comment" 1 ApprovalComment;
        "approval.amended" 1 ApprovalAmended;
        "approval.voted" 1 ApprovalVoted;
        "approval.vote_refused" 1 ApprovalVoteRefused;
        "approval.use_refused" 1 ApprovalUseRefused;
        "approval.resolved" 1 ApprovalResolved;
        "approval.consumed" 1 ApprovalConsumed;
        "approval.expired" 1 ApprovalExpired;
        "approval.cancelled" 1 ApprovalCancelled;
        "approval.voided" 1 ApprovalVoided;
        "approval.stale" 2 ApprovalStale;
        "approval.grant_issued" 1 ApprovalGrantIssued;
        "approval.grant_used" 1 ApprovalGrantUsed;
        "approval.grant_revoked" 1 ApprovalGrantRevoked;
        "approval.break_glass_used" 1 ApprovalBreakGlassUsed;
    }
    /// Guided courses of a conversation.
    Scenario = "scenario", Command {
        "scenario.entered" 1 ScenarioEntered;
        "scenario.step_entered" 1 ScenarioStepEntered;
        "scenario.step_exited" 1 ScenarioStepExited;
        "scenario.checkpoint_passed" 1 ScenarioCheckpointPassed;
        "scenario.migrated" 1 ScenarioMigrated;
        "scenario.completed" 1 ScenarioCompleted;
        "scenario.abandoned" 1 ScenarioAbandoned;
    }
    /// What is to be reached.
    Goal = "goal", Client {
        "goal.set" 1 GoalSet;
        "goal.progressed" 1 GoalProgressed;
        "goal.achieved" 1 GoalAchieved;
        "goal.missed" 1 GoalMissed;
    }
    /// Things that are to happen at a time.
    Schedule = "schedule", Command {
        "schedule.created" 1 ScheduleCreated;
        "schedule.fired" 1 ScheduleFired;
        "schedule.skipped" 1 ScheduleSkipped;
        "schedule.cancelled" 1 ScheduleCancelled;
    }
    /// What agents intend to do.
    Plan = "plan", Client {
        "plan.proposed" 1 PlanProposed;
        "plan.revised" 1 PlanRevised;
    }
    /// Agents that work for other agents.
    Agent = "agent", Command {
        "agent.delegated" 1 AgentDelegated;
        "agent.returned" 1 AgentReturned;
        "agent.handed_off" 1 AgentHandedOff;
    }
    /// Scores of sessions, turns, calls and answers.
    Eval = "eval", Client {
        "eval.scored" 1 EvalScored;
    }
    /// What people thought of it.
    Feedback = "feedback", Client {
        "feedback.given" 1 FeedbackGiven;
    }
    /// Checkpoints of outside frameworks.
    State = "state", Client {
        "state.checkpointed" 1 StateCheckpointed;
        "state.written" 1 StateWritten;
        "state.forked" 1 StateForked;
    }
    /// Things that agents made.
    Artifact = "artifact", Client {
        "artifact.created" 1 ArtifactCreated;
    }
    /// Facts about Ruche itself: ledgers, keys, leases, deliveries.
    Infra = "infra", System {
        "infra.ledger.opened" 1 InfraLedgerOpened;
        "infra.chain_checkpointed" 1 InfraChainCheckpointed;
        "infra.key_rotated" 1 InfraKeyRotated;
        "infra.key.registered" 2 InfraKeyRegistered;
        "infra.key.revoked" 1 InfraKeyRevoked;
        "infra.api_key.created" 2 InfraApiKeyCreated;
        "infra.api_key.revoked" 1 InfraApiKeyRevoked;
        "infra.restore_completed" 1 InfraRestoreCompleted;
        "infra.lease_acquired" 1 InfraLeaseAcquired;
        "infra.lease_renewed" 1 InfraLeaseRenewed;
        "infra.lease_expired" 1 InfraLeaseExpired;
        "infra.outbox_dispatched" 1 InfraOutboxDispatched;
        "infra.outbox_dead_lettered" 1 InfraOutboxDeadLettered;
        "infra.projection_rebuilt" 1 InfraProjectionRebuilt;
        "infra.projection_redriven" 1 InfraProjectionRedriven;
        "infra.projection_discarded" 1 InfraProjectionDiscarded;
        "infra.projection_paused" 1 InfraProjectionPaused;
        "infra.projection_resumed" 1 InfraProjectionResumed;
        "infra.rebuild_requested" 1 InfraRebuildRequested;
        "infra.rebuild_completed" 1 InfraRebuildCompleted;
        "infra.ingest_gap" 1 InfraIngestGap;
        "infra.span_unclassified" 1 InfraSpanUnclassified;
        "infra.schema_registered" 1 InfraSchemaRegistered;
        "infra.clock_skew_detected" 1 InfraClockSkewDetected;
        "infra.rate_limited" 1 InfraRateLimited;
        "infra.quota_exceeded" 1 InfraQuotaExceeded;
        "infra.manual_intervention_required" 1 InfraManualInterventionRequired;
        "infra.manual_intervention_settled" 1 InfraManualInterventionSettled;
        "infra.effect_recorded" 1 InfraEffectRecorded;
        "infra.business_key_taken" 1 InfraBusinessKeyTaken;
        "infra.retention_applied" 1 InfraRetentionApplied;
        "infra.payloads_archived" 1 InfraPayloadsArchived;
    }
}

static BY_TYPE: LazyLock<HashMap<&'static str, &'static EventDescriptor>> = LazyLock::new(|| {
    let all = CATALOGUE.iter().chain(SIMULATED);
    all.map(|descriptor| (descriptor.event_type, descriptor))
        .collect()
});

/// The descriptor of an event type, `sim.` types among them.
pub fn descriptor(event_type: &str) -> Option<&'static EventDescriptor> {
    BY_TYPE.get(event_type).copied()
}

/// Whether clients are kept from appending events of this type: every family but the nine of design §4, every unknown
/// family, and everything simulated. The answer to such an append is `RESERVED_NAMESPACE`, or `UNKNOWN_EVENT_TYPE` where
/// there is no such family.
pub fn is_reserved(event_type: &str) -> bool {
    let family = event_type.split('.').next().unwrap_or_default();
    !matches!(family.parse().map(Family::writer), Ok(Writer::Client))
}

impl AgentEvent {
    /// Name of the event type, such as `turn.committed` or `sim.turn.committed`.
    pub fn event_type(&self) -> &'static str {
        let (live, simulated) = self.live_name();
        if matches!(self, Self::Simulated(_)) {
            simulated
        } else {
            live
        }
    }

    /// The descriptor of this event's type.
    pub fn descriptor(&self) -> &'static EventDescriptor {
        descriptor(self.event_type()).expect("every variant stands in the catalogue")
    }

    /// The first list of the event that is longer than clients may send it: its JSON pointer (RFC 6901) and how many items it
    /// has. Schemas say nothing of lengths, since what is stored already has to fit them for ever.
    pub fn too_long(&self) -> Option<(&'static str, usize)> {
        let lists = match self {
            Self::Simulated(live) => return live.too_long(),
            Self::MemoryWritten(told) => told.lists(),
            Self::MemoryUpdated(told) => told.lists(),
            Self::MemoryUpserted(told) => told.lists(),
            Self::MemoryInvalidated(told) => told.lists(),
            Self::MemorySearched(told) => told.lists(),
            Self::MemoryRetrieved(told) => told.lists(),
            Self::MemoryCompacted(told) => told.lists(),
            Self::MemoryReextracted(told) => told.lists(),
            _ => return None,
        };
        lists
            .into_iter()
            .find(|(_, items)| *items > MEMORY_LIST_ITEMS_MAX)
    }

    /// Version of the schema that [`AgentEvent::to_payload`] writes.
    pub fn schema_version(&self) -> SchemaVersion {
        self.descriptor().schema_version
    }

    /// The event in its simulated form; what is simulated stays so.
    pub fn simulated(self) -> Self {
        match self {
            Self::Simulated(_) => self,
            live => Self::Simulated(Box::new(live)),
        }
    }

    /// Reads a stored payload, lifting an older schema version to the current one first. The bytes are not changed.
    ///
    /// The append path calls it too, after the schema: `1.0` is an integer to JSON Schema and none to us, and what was
    /// stored has to be readable for ever.
    ///
    /// Errors: [`DomainError::UnknownEventType`] for a name or version that never existed,
    /// [`DomainError::FutureSchemaVersion`] for one that a newer program wrote, [`DomainError::InvalidPayload`] with a
    /// JSON pointer otherwise.
    pub fn from_payload(
        event_type: &str,
        schema_version: SchemaVersion,
        bytes: &[u8],
    ) -> Result<Self, DomainError> {
        let unknown = || DomainError::UnknownEventType {
            event_type: event_type.to_owned(),
            schema_version: schema_version.0,
        };
        let descriptor = descriptor(event_type).ok_or_else(unknown)?;
        if schema_version == descriptor.schema_version {
            return (descriptor.parse)(bytes);
        }
        let current = upcast::to_current(descriptor, schema_version, bytes)?;
        (descriptor.parse)(&current)
    }
}

/// Reads a payload struct. The happy path does not track where it is; a failure reads again to name the place.
fn parse<T: DeserializeOwned>(event_type: &'static str, bytes: &[u8]) -> Result<T, DomainError> {
    // Structs would be read from arrays too, field by field; no schema allows that.
    let is_object = bytes.trim_ascii_start().first() == Some(&b'{');
    if let (true, Ok(payload)) = (is_object, serde_json::from_slice(bytes)) {
        return Ok(payload);
    }
    let invalid = |pointer: String, reason: String| DomainError::InvalidPayload {
        event_type: event_type.to_owned(),
        pointer,
        reason,
    };
    if !is_object {
        return Err(invalid(String::new(), "not an object".to_owned()));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    match serde_path_to_error::deserialize::<_, T>(&mut reader) {
        Err(error) => Err(invalid(pointer_of(error.path()), error.inner().to_string())),
        // The value itself is fine, so what failed is what follows it.
        Ok(_) => Err(invalid(String::new(), "data after the payload".to_owned())),
    }
}

/// A path of serde as a JSON pointer (RFC 6901).
fn pointer_of(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter().fold(String::new(), |pointer, segment| match segment {
        Segment::Seq { index } => format!("{pointer}/{index}"),
        Segment::Map { key } => format!("{pointer}/{}", crate::strict_json::escape_pointer(key)),
        Segment::Enum { .. } | Segment::Unknown => pointer,
    })
}

fn schema_of<T: schemars::JsonSchema>(event_type: &str, version: u32) -> Value {
    let mut settings = schemars::generate::SchemaSettings::draft2020_12();
    // Each schema stands alone, so that a change of a shared type shows in every type it touches.
    settings.inline_subschemas = true;
    settings
        .transforms
        .push(Box::new(schemars::transform::RecursiveTransform(assert_format)));
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    schema.insert("title".to_owned(), event_type.into());
    schema.insert(
        "$id".to_owned(),
        format!("urn:ruche:event:{event_type}:v{version}").into(),
    );
    schema.to_value()
}

/// Says in asserting keywords what schemars leaves to `format`, which validators ignore: otherwise a payload could
/// pass the schema and not be readable.
fn assert_format(schema: &mut schemars::Schema) {
    let bounds = match schema.get("format").and_then(Value::as_str) {
        Some("uint32") => (Value::from(u32::MIN), Value::from(u32::MAX)),
        Some("uint64") => (Value::from(u64::MIN), Value::from(u64::MAX)),
        Some("int64") => (Value::from(i64::MIN), Value::from(i64::MAX)),
        Some("uuid") => {
            let canonical = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$";
            schema.insert("pattern".to_owned(), canonical.into());
            return;
        }
        _ => return,
    };
    schema.insert("minimum".to_owned(), bounds.0);
    schema.insert("maximum".to_owned(), bounds.1);
}

#[cfg(test)]
mod tests;
