//! The table: which event of a governed turn may stand where, and what is read of its payload. Written from
//! `docs/turns.md`, not from the machine that decides: that one has to be judged by it.

use ruche_domain::events::{ApprovalMode, PolicyVerdict, StartRefusal};
use ruche_domain::ids::TurnId;
use ruche_domain::measures::Digest;
use ruche_domain::numbers::Micros;
use ruche_domain::side_effect::SideEffectPolicy;
use ruche_domain::stream::Category;
use serde::Deserialize;

use crate::hash::Hash;

/// Where a turn stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::verify) enum State {
    Accumulating,
    Queued,
    Ready,
    Processing,
    AwaitingApproval,
    Cancelling,
    Compensating,
    Committed,
    Superseded,
    Cancelled,
    Failed,
}

impl State {
    /// As in `docs/turns.md`.
    pub(in crate::verify) const fn name(self) -> &'static str {
        match self {
            Self::Accumulating => "ACCUMULATING",
            Self::Queued => "QUEUED",
            Self::Ready => "READY",
            Self::Processing => "PROCESSING",
            Self::AwaitingApproval => "AWAITING_APPROVAL",
            Self::Cancelling => "CANCELLING",
            Self::Compensating => "COMPENSATING",
            Self::Committed => "COMMITTED",
            Self::Superseded => "SUPERSEDED",
            Self::Cancelled => "CANCELLED",
            Self::Failed => "FAILED",
        }
    }
}

macro_rules! table {
    ($($kind:ident = $name:literal in $category:ident, $payload:ident, [$($state:ident)*];)*) => {
        /// A type of event that moves a turn or one of its calls.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(in crate::verify) enum Kind { $($kind,)* }

        impl Kind {
            /// The kind of an event type in a kind of stream; `None` if it moves no governed turn.
            pub(in crate::verify) fn of(event_type: &str, category: Category) -> Option<Self> {
                if !matches!(category, Category::Lane | Category::Approval) {
                    return None;
                }
                match (event_type, category) {
                    $(($name, Category::$category) => Some(Self::$kind),)*
                    _ => None,
                }
            }

            pub(super) const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// Whether its payload is needed in order to judge it.
            pub(in crate::verify) const fn reads_payload(self) -> bool {
                match self { $(Self::$kind => table!(@ $payload),)* }
            }

            /// States of its turn in which it may stand. Empty: the state of the turn does not matter.
            pub(super) const fn states(self) -> &'static [State] {
                match self { $(Self::$kind => &[$(State::$state),*],)* }
            }
        }
    };
    (@ reads) => { true };
    (@ blind) => { false };
}

table! {
    Received = "message.received" in Lane, blind, [Accumulating Queued];
    Sent = "message.sent" in Lane, blind, [Processing];
    Retracted = "message.retracted" in Lane, blind, [Cancelling];
    Opened = "turn.opened" in Lane, blind, [];
    Coalesced = "turn.message_coalesced" in Lane, blind, [Accumulating Queued];
    Sealed = "turn.sealed" in Lane, blind, [Accumulating];
    Configured = "config.effective_resolved" in Lane, blind, [Accumulating];
    Queued = "turn.queued" in Lane, blind, [Accumulating];
    Readied = "turn.readied" in Lane, reads, [Accumulating Queued Processing AwaitingApproval];
    Started = "turn.started" in Lane, reads, [Ready];
    StepStarted = "turn.step_started" in Lane, reads, [Processing];
    StepCompleted = "turn.step_completed" in Lane, reads, [Processing];
    LeaseRenewed = "infra.lease_renewed" in Lane, reads, [Processing AwaitingApproval Cancelling];
    LeaseExpired = "infra.lease_expired" in Lane, reads, [Processing];
    AttemptFailed = "turn.attempt_failed" in Lane, reads, [Processing];
    PersonNeeded = "infra.manual_intervention_required" in Lane, blind, [Processing AwaitingApproval Cancelling Compensating];
    CommitPoint = "turn.commit_point_reached" in Lane, blind, [Processing];
    SupersedeRequested = "turn.supersede_requested" in Lane, reads, [Queued Ready Processing AwaitingApproval];
    CancelRequested = "turn.cancel_requested" in Lane, blind, [Ready Processing AwaitingApproval];
    CancelRefused = "turn.cancel_refused" in Lane, blind, [Ready Processing AwaitingApproval];
    SupersedeRefused = "turn.supersede_refused" in Lane, blind, [Ready Processing AwaitingApproval];
    Drained = "turn.drained" in Lane, blind, [Cancelling];
    Compensating = "turn.compensating" in Lane, blind, [Cancelling];
    Committed = "turn.committed" in Lane, blind, [Processing];
    Superseded = "turn.superseded" in Lane, reads, [Cancelling Compensating];
    Cancelled = "turn.cancelled" in Lane, blind, [Accumulating Queued Ready Cancelling Compensating];
    Failed = "turn.failed" in Lane, blind, [Processing Cancelling Compensating];
    Proposed = "tool.proposed" in Lane, reads, [Processing];
    Evaluated = "policy.evaluated" in Lane, reads, [Processing];
    Deferred = "tool.deferred" in Lane, blind, [Processing];
    CallStarted = "tool.started" in Lane, reads, [Processing];
    CallCompleted = "tool.completed" in Lane, reads, [Processing Cancelling];
    CallFailed = "tool.failed" in Lane, reads, [Processing Cancelling];
    CallUnknown = "tool.outcome_unknown" in Lane, reads, [Processing Cancelling];
    CallAsserted = "tool.outcome_asserted" in Lane, reads,
        [Ready Processing AwaitingApproval Cancelling Compensating];
    StartRefused = "tool.start_refused" in Lane, reads, [Processing AwaitingApproval];
    UndoingStarted = "tool.compensation_started" in Lane, reads, [Compensating];
    CallUndone = "tool.compensated" in Lane, blind, [Compensating];
    UndoingFailed = "tool.compensation_failed" in Lane, reads, [Compensating];
    Requested = "approval.requested" in Approval, reads, [Processing];
    Resolved = "approval.resolved" in Approval, reads, [];
    Consumed = "approval.consumed" in Approval, blind, [Processing];
    Expired = "approval.expired" in Approval, blind, [];
    Withdrawn = "approval.cancelled" in Approval, blind, [];
    Voided = "approval.voided" in Approval, blind, [];
    Stale = "approval.stale" in Approval, blind, [];
}

impl Kind {
    /// Whether the rules of approvals read the payload, too, and say so if it cannot be read.
    pub(super) fn is_read_elsewhere(self) -> bool {
        matches!(self, Self::Proposed | Self::CallStarted) || self.name().starts_with("approval.")
    }

    /// Whether it is about a call.
    pub(super) fn needs_call(self) -> bool {
        self == Self::Evaluated || self.name().starts_with("tool.") || self.name().starts_with("approval.")
    }

    /// Whether only the worker that holds the turn does it.
    pub(super) const fn is_of_worker(self) -> bool {
        matches!(
            self,
            Self::Sent
                | Self::Committed
                | Self::Proposed
                | Self::StepStarted
                | Self::StepCompleted
                | Self::CallStarted
                | Self::CallCompleted
        )
    }

    /// The state in which a turn is over for ever.
    pub(super) const fn end(self) -> Option<State> {
        match self {
            Self::Committed => Some(State::Committed),
            Self::Superseded => Some(State::Superseded),
            Self::Cancelled => Some(State::Cancelled),
            Self::Failed => Some(State::Failed),
            _ => None,
        }
    }
}

/// What is read of a payload; everything else in it is none of these rules' business.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Said {
    pub attempt: Option<u32>,
    pub lease_epoch: Option<u64>,
    pub lease_expires_at: Option<Micros>,
    pub expires_at: Option<Micros>,
    pub not_before: Option<Micros>,
    pub lapses_at: Option<Micros>,
    pub idempotency_key: Option<String>,
    pub business_key_id: Option<String>,
    pub generation: Option<u32>,
    pub retry_at: Option<Micros>,
    pub exhausted: Option<bool>,
    pub side_effect: Option<SideEffectPolicy>,
    pub verdict: Option<PolicyVerdict>,
    pub mode: Option<ApprovalMode>,
    pub outcome: Option<String>,
    pub refusal: Option<StartRefusal>,
    pub successor_turn_id: Option<TurnId>,
    pub step_id: Option<String>,
    /// The digest of a result is that of something else.
    #[serde(skip)]
    pub is_other_result: bool,
}

/// What an outcome says of its result.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ToldResult {
    result: Option<String>,
    result_digest: Option<Digest>,
}

impl Said {
    /// Whether the turn that asks goes on.
    pub fn is_detached(&self) -> bool {
        self.mode == Some(ApprovalMode::Detached)
    }

    /// What `payload` says to an event of this kind; an error with what is wrong.
    pub fn read(kind: Kind, payload: &[u8]) -> Result<Self, String> {
        if payload.trim_ascii_start().first() != Some(&b'{') {
            return Err("it is no object".to_owned());
        }
        let said: Self = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
        let lacks = match kind {
            Kind::Readied => said.attempt.is_none() || said.not_before.is_none(),
            Kind::Started | Kind::AttemptFailed => said.attempt.is_none(),
            Kind::StepStarted | Kind::StepCompleted => said.attempt.is_none() || said.step_id.is_none(),
            Kind::LeaseRenewed => said.lease_epoch.is_none() || said.expires_at.is_none(),
            Kind::LeaseExpired => said.lease_epoch.is_none(),
            Kind::SupersedeRequested | Kind::Superseded => said.successor_turn_id.is_none(),
            Kind::Evaluated => said.verdict.is_none(),
            Kind::CallAsserted | Kind::Resolved => said.outcome.is_none(),
            Kind::Requested => said.mode.is_none(),
            Kind::StartRefused => said.refusal.is_none(),
            Kind::UndoingStarted => said.attempt.is_none(),
            _ => false,
        };
        if lacks {
            return Err("it lacks what it has to say".to_owned());
        }
        let is_other_result = match kind {
            Kind::CallCompleted | Kind::CallFailed => is_other_result(payload)?,
            _ => false,
        };
        Ok(Self {
            is_other_result,
            ..said
        })
    }
}

fn is_other_result(payload: &[u8]) -> Result<bool, String> {
    let told: ToldResult = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
    let digest = told.result.map(|text| Hash::sha256(text.as_bytes()).0);
    Ok(digest
        .zip(told.result_digest)
        .is_some_and(|(is, said)| is != said.0))
}
