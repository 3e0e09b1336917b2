//! What may be asked of a lane. A decider draws nothing random, so new ids come with the command.

use ruche_domain::events::{
    ApprovalRequested, ApprovalResolved, ConfigLayer, MessageReceived, MessageSent, PolicyEvaluated,
    StaleCause, ToolCompensated, ToolCompensationFailed, ToolCompensationStarted, ToolCompleted, ToolFailed,
    ToolOutcomeAsserted, ToolOutcomeUnknown, ToolProposed, ToolStarted, TurnCommitted, TurnStepCompleted,
};
use ruche_domain::ids::{ApprovalId, CallId, MessageId, TurnId};
use ruche_domain::numbers::Micros;

use super::settings::ChannelSettings;
use super::state::Binding;

/// A command to a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneCommand {
    /// When it was received.
    pub now: Micros,
    /// The settings that turns which are sealed now run under.
    pub settings: ChannelSettings,
    /// The layers that the settings were merged from.
    pub layers: Vec<ConfigLayer>,
    /// What is asked.
    pub intent: Intent,
}

/// The lease that a worker shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseProof {
    /// Opaque id of the lease.
    pub id: String,
    /// Its fencing number.
    pub epoch: u64,
}

/// What a worker does, with the lease under which it does so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held<T> {
    /// The turn.
    pub turn: TurnId,
    /// The lease on it.
    pub lease: LeaseProof,
    /// What.
    pub what: T,
}

/// What is asked of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "made and consumed one at a time")]
pub enum Intent {
    /// A message came in.
    SubmitMessage(SubmitMessage),
    /// No more messages are to be waited for.
    FlushTurn {
        /// The turn that takes messages.
        turn: TurnId,
    },
    /// The earliest timer of the lane is due.
    FireTimer {
        /// Id of the turn that opens if the timer ends a detached approval.
        new_turn: TurnId,
    },
    /// Somebody cancels a turn.
    CancelTurn(CancelTurn),
    /// A worker takes the turn that is ready.
    ClaimTurn(ClaimTurn),
    /// The worker is still there.
    HeartbeatTurn(Held<()>),
    /// The worker wants to call a tool; policy was asked.
    ProposeAction(Held<ProposeAction>),
    /// The worker is about to run a call.
    StartEffect(Held<StartEffect>),
    /// The worker says how a call came out.
    ReportEffect(Held<ReportEffect>),
    /// A person says how a call came out whose outcome is unknown.
    ResolveOutcome(ResolveOutcome),
    /// People decided on an approval.
    ResolveApproval(ResolveApproval),
    /// An effect is about to be undone.
    StartCompensation(StartCompensation),
    /// An effect was undone, or could not be.
    ReportCompensation(ReportCompensation),
    /// The worker begins a step.
    StartStep(Held<StartStep>),
    /// The worker has done a step.
    CompleteStep(Held<CompleteStep>),
    /// The worker sends words before the turn is over.
    SendMessage(Held<SentMessage>),
    /// The worker is done.
    CommitTurn(Held<CommitTurn>),
    /// The worker cannot go on.
    FailTurn(Held<FailTurn>),
}

/// A message that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubmitMessage {
    /// Its id: the same message has the same one, so that a repeat is noticed.
    pub message_id: MessageId,
    /// The message.
    pub message: MessageReceived,
    /// The client's own id of the agent that answers.
    pub agent_id: Option<String>,
    /// Id of the turn that the message opens, if it joins none.
    pub new_turn: TurnId,
    /// Whether no more messages are to be waited for behind this one.
    pub flush: bool,
}

/// Somebody cancels a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CancelTurn {
    /// Which.
    pub turn: TurnId,
    /// Opaque reference of who.
    pub by: Option<String>,
    /// Why.
    pub reason: Option<String>,
}

/// A worker takes the turn that is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimTurn {
    /// Opaque id of the new lease.
    pub lease_id: String,
    /// Build of the program that runs the agent.
    pub brain_build: Option<String>,
}

/// A call that the worker wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProposeAction {
    /// Id of the call.
    pub call: CallId,
    /// What is wanted.
    pub proposed: ToolProposed,
    /// What policy says.
    pub evaluated: PolicyEvaluated,
    /// The request to people, if there has to be one; mode and expiry are set here.
    pub approval: Option<(ApprovalId, ApprovalRequested)>,
}

/// A call that is about to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartEffect {
    /// Which.
    pub call: CallId,
    /// What is recorded. `side_effect` and `attempt` are set here.
    pub started: ToolStarted,
    /// What is not any more as it was when the call was proposed and approved.
    pub changed: Vec<StaleCause>,
}

/// How a call came out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "made and consumed one at a time")]
pub enum EffectOutcome {
    /// It gave a result.
    Completed(ToolCompleted),
    /// It failed.
    Failed(ToolFailed),
    /// Nobody can say.
    Unknown(ToolOutcomeUnknown),
}

/// The end of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportEffect {
    /// Which.
    pub call: CallId,
    /// How it came out.
    pub outcome: EffectOutcome,
}

/// What a person found out about a call whose outcome was unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolveOutcome {
    /// Which.
    pub call: CallId,
    /// What was found.
    pub asserted: ToolOutcomeAsserted,
}

/// People decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolveApproval {
    /// On what.
    pub approval: ApprovalId,
    /// What.
    pub resolved: ApprovalResolved,
    /// What the approval would have to be bound to now.
    pub binding: Binding,
    /// What else changed, so that an approval would start nothing.
    pub changed: Vec<StaleCause>,
    /// Id of the turn that opens if the approval is detached.
    pub new_turn: TurnId,
}

/// How undoing went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undone {
    /// It is undone.
    Compensated(ToolCompensated),
    /// It is not. `attempt` and `exhausted` are set here.
    Failed(ToolCompensationFailed),
}

/// An effect is about to be undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartCompensation {
    /// The call to undo.
    pub call: CallId,
    /// What is recorded. `attempt` is set here.
    pub started: ToolCompensationStarted,
}

/// How undoing an effect went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportCompensation {
    /// The call to undo.
    pub call: CallId,
    /// How it went.
    pub outcome: Undone,
}

/// A step that begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartStep {
    /// The client's own id of it, one in its turn.
    pub step_id: String,
    /// What it is, in words.
    pub name: Option<String>,
}

/// A step that is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompleteStep {
    /// What is recorded. `attempt` is set here.
    pub completed: TurnStepCompleted,
}

/// Words that go out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentMessage {
    /// Id of the message.
    pub message_id: MessageId,
    /// The message.
    pub message: MessageSent,
}

/// The end of a turn whose answer stands. `effects` and `response_message_ids` are set here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitTurn {
    /// What is recorded.
    pub committed: TurnCommitted,
    /// The answer; a turn may end without one.
    pub response: Option<SentMessage>,
}

/// The end of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailTurn {
    /// What went wrong: a stable word of the client.
    pub error_type: String,
    /// What went wrong, in words.
    pub error: Option<String>,
    /// Whether trying again may help.
    pub retryable: bool,
}

impl Intent {
    /// Name in refusals and documents.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::SubmitMessage(_) => "SubmitMessage",
            Self::FlushTurn { .. } => "FlushTurn",
            Self::FireTimer { .. } => "FireTimer",
            Self::CancelTurn(_) => "CancelTurn",
            Self::ClaimTurn(_) => "ClaimTurn",
            Self::HeartbeatTurn(_) => "HeartbeatTurn",
            Self::ProposeAction(_) => "ProposeAction",
            Self::StartEffect(_) => "StartEffect",
            Self::ReportEffect(_) => "ReportEffect",
            Self::ResolveOutcome(_) => "ResolveOutcome",
            Self::ResolveApproval(_) => "ResolveApproval",
            Self::StartCompensation(_) => "StartCompensation",
            Self::ReportCompensation(_) => "ReportCompensation",
            Self::StartStep(_) => "StartStep",
            Self::CompleteStep(_) => "CompleteStep",
            Self::SendMessage(_) => "SendMessage",
            Self::CommitTurn(_) => "CommitTurn",
            Self::FailTurn(_) => "FailTurn",
        }
    }

    /// The turn that is asked for under a lease.
    pub fn held_turn(&self) -> Option<TurnId> {
        match self {
            Self::HeartbeatTurn(held) => Some(held.turn),
            Self::ProposeAction(held) => Some(held.turn),
            Self::StartEffect(held) => Some(held.turn),
            Self::StartStep(held) => Some(held.turn),
            Self::CompleteStep(held) => Some(held.turn),
            Self::ReportEffect(held) => Some(held.turn),
            Self::SendMessage(held) => Some(held.turn),
            Self::CommitTurn(held) => Some(held.turn),
            Self::FailTurn(held) => Some(held.turn),
            Self::SubmitMessage(_)
            | Self::FlushTurn { .. }
            | Self::FireTimer { .. }
            | Self::CancelTurn(_)
            | Self::ClaimTurn(_)
            | Self::ResolveOutcome(_)
            | Self::ResolveApproval(_)
            | Self::StartCompensation(_)
            | Self::ReportCompensation(_) => None,
        }
    }
}
