//! Mutations about the tool calls of governed turns: propose, start, say how it came out.

use async_graphql::{Context, Enum, ID, Object, Result, SimpleObject};
use ruche_commands::{CommandReceipt, RecordedEvent};
use ruche_domain::envelope::Provenance;
use ruche_domain::event::AgentEvent;
use ruche_domain::events::{AssertedOutcome, ToolProposed};
use ruche_domain::ids::CallId;

use super::super::refusals::{self, results};
use super::super::scalars::{DateTime, Hash, Long, PositionScalar};
use super::super::session::id;
use super::super::words::{EffectState, SideEffectPolicy};
use super::tool_input::{
    ProposeActionInput, ReportCompensationInput, ReportEffectInput, ResolveOutcomeInput, SendMessageInput,
    StartCompensationInput, StartEffectInput,
};
use super::{Receipt, Writing, carry_out, payloads, turn_of};
use crate::auth::Role;

/// What stands between a proposed call and its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(in crate::graphql) enum CallGate {
    /// Nothing.
    Open,
    /// An approval, which the start uses up.
    Approval,
    /// It will never start.
    Closed,
}

/// A request that people decide on.
#[derive(SimpleObject)]
pub(in crate::graphql) struct RequestedApproval {
    /// Its id.
    id: ID,
    /// Where the request stands; what is signed names this place.
    position: PositionScalar,
    /// Leaf hash of the request.
    leaf_hash: Hash,
    /// SHA-256 of the canonical action.
    action_digest: Hash,
    /// SHA-256 of what reviewers are shown.
    view_digest: Option<Hash>,
    /// When it lapses, which is a denial.
    expires_at: DateTime,
}

fn facts(receipt: &CommandReceipt) -> impl Iterator<Item = (&RecordedEvent, AgentEvent)> {
    // What this program wrote it can read; an erased payload has nothing to tell.
    let read = |event| Some((event, RecordedEvent::agent_event(event).ok()??));
    receipt.events.iter().filter_map(read)
}

fn call_of(receipt: &CommandReceipt) -> Option<ID> {
    receipt.events.iter().find_map(|event| event.event.call).map(id)
}

fn side_effect_of(receipt: &CommandReceipt) -> Option<SideEffectPolicy> {
    facts(receipt).find_map(|(_, fact)| match fact {
        AgentEvent::ToolProposed(proposed) => proposed.side_effect.map(Into::into),
        _ => None,
    })
}

fn action_of(receipt: &CommandReceipt) -> Option<Hash> {
    facts(receipt).find_map(|(_, fact)| match fact {
        AgentEvent::ToolProposed(proposed) => proposed.action_digest.map(|digest| Hash(digest.0)),
        _ => None,
    })
}

fn approval_of(receipt: &CommandReceipt) -> Option<RequestedApproval> {
    facts(receipt).find_map(|(event, fact)| match fact {
        AgentEvent::ApprovalRequested(requested) => Some(RequestedApproval {
            id: event.event.stream.id.to_string().into(),
            position: PositionScalar(event.receipt.position),
            leaf_hash: Hash(event.receipt.leaf_hash.0),
            action_digest: Hash(requested.action_digest.0),
            view_digest: requested.view_digest.map(|digest| Hash(digest.0)),
            expires_at: DateTime(requested.expires_at),
        }),
        _ => None,
    })
}

fn gate_of(receipt: &CommandReceipt) -> CallGate {
    match approval_of(receipt) {
        Some(_) => CallGate::Approval,
        None => CallGate::Open,
    }
}

/// Where the call stands by the last thing that is known of it.
fn state_of(receipt: &CommandReceipt) -> Option<EffectState> {
    let known = |fact: AgentEvent| match fact {
        AgentEvent::ToolProposed(_) => Some(EffectState::Proposed),
        AgentEvent::ToolDeferred(_) => Some(EffectState::Deferred),
        AgentEvent::ToolStarted(_) => Some(EffectState::Started),
        AgentEvent::ToolCompleted(_) => Some(EffectState::Completed),
        AgentEvent::ToolFailed(_) => Some(EffectState::Failed),
        AgentEvent::ToolOutcomeUnknown(_) => Some(EffectState::OutcomeUnknown),
        AgentEvent::ToolOutcomeAsserted(asserted) => Some(match asserted.outcome {
            AssertedOutcome::Completed => EffectState::Completed,
            AssertedOutcome::NotExecuted => EffectState::NotExecuted,
        }),
        AgentEvent::ToolCompensated(_) => Some(EffectState::Compensated),
        AgentEvent::ToolCompensationFailed(failed) if failed.exhausted == Some(true) => {
            Some(EffectState::CompensationFailed)
        }
        _ => None,
    };
    facts(receipt).filter_map(|(_, fact)| known(fact)).last()
}

fn result_of(receipt: &CommandReceipt) -> Option<String> {
    facts(receipt)
        .filter_map(|(_, fact)| match fact {
            AgentEvent::ToolCompleted(completed) => completed.result,
            AgentEvent::ToolFailed(failed) => failed.result,
            AgentEvent::ToolOutcomeAsserted(asserted) => asserted.result,
            _ => None,
        })
        .last()
}

/// That a call may run: one start of it, under one lease.
#[derive(SimpleObject)]
pub(in crate::graphql) struct Permit {
    /// Where the start stands. `reportEffect` shows it.
    position: PositionScalar,
    /// Number of the attempt, from 1.
    attempt: Option<Long>,
    /// What to give the tool so that it can tell a repeat: the same for all calls under one business key, until what was
    /// done under it is known to be gone.
    effect_key: Option<String>,
    /// The approval that was used up.
    approval_id: Option<ID>,
    /// SHA-256 of the canonical action, which the approval is of.
    action_digest: Option<Hash>,
    /// The arguments, byte for byte as they were proposed and signed: run these, and not what the model says now.
    arguments: Option<String>,
}

/// What was proposed, of the call that the events are about.
fn proposal_of(receipt: &CommandReceipt, call: Option<CallId>) -> Option<ToolProposed> {
    let events = receipt.events.iter().chain(&receipt.beside);
    let of_call = events.filter(|event| event.event.call == call);
    let facts = of_call.filter_map(|event| RecordedEvent::agent_event(event).ok()?);
    facts.into_iter().find_map(|fact| match fact {
        AgentEvent::ToolProposed(proposed) => Some(proposed),
        _ => None,
    })
}

fn permit_of(receipt: &CommandReceipt) -> Option<Permit> {
    let starts = facts(receipt).filter_map(|(event, fact)| match fact {
        AgentEvent::ToolStarted(started) => Some((event, started)),
        _ => None,
    });
    let (event, started) = starts.last()?;
    let (action, arguments) = proposal_of(receipt, event.event.call)
        .map(|proposed| (proposed.action_digest, proposed.arguments))
        .unzip();
    Some(Permit {
        position: PositionScalar(event.receipt.position),
        attempt: started.attempt.map(|attempt| Long(attempt.into())),
        effect_key: started.idempotency_key,
        approval_id: started.ticket.map(Into::into),
        action_digest: action.flatten().map(|digest| Hash(digest.0)),
        arguments,
    })
}

/// That the tool which undoes a call may run: one try.
#[derive(SimpleObject)]
pub(in crate::graphql) struct CompensationPermit {
    /// Where the start stands. `reportCompensation` shows it.
    position: PositionScalar,
    /// Number of the attempt, from 1.
    attempt: Option<Long>,
    /// Name of the tool to run.
    compensation_tool: String,
    /// What to give the tool so that it can tell a repeat: the same for all attempts.
    effect_key: Option<String>,
}

fn undoing_of(receipt: &CommandReceipt) -> Option<CompensationPermit> {
    facts(receipt).find_map(|(event, fact)| match fact {
        AgentEvent::ToolCompensationStarted(started) => Some(CompensationPermit {
            position: PositionScalar(event.receipt.position),
            attempt: started.attempt.map(|attempt| Long(attempt.into())),
            compensation_tool: started.compensation_tool,
            effect_key: started.idempotency_key,
        }),
        _ => None,
    })
}

fn deduplicated(receipt: &CommandReceipt) -> bool {
    receipt.unchanged
}

fn same_arguments_of(receipt: &CommandReceipt) -> Vec<ID> {
    let this = receipt.events.iter().find_map(|event| event.event.call);
    let others = receipt.beside.iter().filter_map(|event| event.event.call);
    others.filter(|call| Some(*call) != this).map(id).collect()
}

/// The arguments of the call that the receipt is of.
fn arguments_of(receipt: &CommandReceipt) -> Option<String> {
    facts(receipt).find_map(|(_, fact)| match fact {
        AgentEvent::ToolProposed(proposed) => Some(proposed.arguments),
        _ => None,
    })
}

/// Whether a call that stands has other arguments than were asked for. Spaces and the order of members make no other ones. What
/// nobody can compare may be anything.
fn differ(held: Option<&str>, asked: &str) -> bool {
    let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    held.is_none_or(|held| held != asked && (read(held).is_none() || read(held) != read(asked)))
}

/// What was asked for stands nowhere in the receipt of a proposal; the mutation says whether it differs.
fn not_compared(_: &CommandReceipt) -> bool {
    false
}

/// Of a start that was not made because another call holds the business key: the proposal of its own is beside the answer.
fn started_otherwise(receipt: &CommandReceipt) -> bool {
    let own = receipt.beside.iter().find_map(|event| match event.agent_event() {
        Ok(Some(AgentEvent::ToolProposed(proposed))) => Some(proposed.arguments),
        _ => None,
    });
    receipt.unchanged && own.is_some_and(|own| differ(arguments_of(receipt).as_deref(), &own))
}

/// A start that is answered again may have been run on already, so it is no new leave to run.
fn started_before(receipt: &CommandReceipt) -> bool {
    receipt.unchanged || receipt.duplicate
}

payloads! {
    /// A call was proposed, or one under the same business key stands already.
    ProposeActionPayload {
        /// The call. Its id is ours; it says which call of which turn it is.
        call_id: Option<ID> = call_of,
        /// What stands between it and its start.
        gate: CallGate = gate_of,
        /// What a call of the tool does to the world, as it is registered.
        side_effect: Option<SideEffectPolicy> = side_effect_of,
        /// SHA-256 of the canonical action.
        action_digest: Option<Hash> = action_of,
        /// The request that people have to decide on first.
        approval: Option<RequestedApproval> = approval_of,
        /// Whether another call holds the business key: nothing was proposed, and this is that call.
        deduplicated: bool = deduplicated,
        /// The arguments of the call, byte for byte as they were proposed: those that run or ran, and that `approval` is of.
        arguments: Option<String> = arguments_of,
        /// Whether that call has other arguments than this request: what was asked for now was not proposed, runs nowhere, and nobody
        /// is asked to approve it. Spaces and the order of members do not count. Only if `deduplicated`.
        arguments_differ: bool = not_compared,
        /// Where the call stands.
        state: Option<EffectState> = state_of,
        /// The permit of its last start, if it was started.
        permit: Option<Permit> = permit_of,
        /// Its result, if it has one.
        result: Option<String> = result_of,
        /// Other calls of this turn of the same tool with the same arguments, oldest first, the last 16 of them. Two equal
        /// calls may both be meant, so nothing is refused: is this one?
        same_arguments_as: Vec<ID> = same_arguments_of,
    }
    /// A call may run, or it ran already.
    StartEffectPayload {
        /// The call. If `deduplicated`, the one that holds the business key.
        call_id: Option<ID> = call_of,
        /// The permit. If `unchanged`, that of another start: do not run anything. If `duplicate`, that of this request, sent
        /// before: who heard nothing of it the first time has run nothing, and may run it now.
        permit: Option<Permit> = permit_of,
        /// Whether nothing was started now: this is what is recorded. With `unchanged` the effect stands, is under way, or was
        /// settled since this request was first answered. With `duplicate` this request started it, and nothing is known since.
        deduplicated: bool = started_before,
        /// Whether the call that holds the business key has other arguments than the one that was to start: what was to start did
        /// not, and what stands is another. Only if `deduplicated`.
        arguments_differ: bool = started_otherwise,
        /// Where the call stands.
        state: Option<EffectState> = state_of,
        /// Its result, if it has one.
        result: Option<String> = result_of,
    }
    /// How a call came out is recorded.
    ReportEffectPayload {
        /// The call.
        call_id: Option<ID> = call_of,
        /// Where it stands.
        state: Option<EffectState> = state_of,
    }
    /// The tool that undoes the call may run.
    StartCompensationPayload {
        /// The call whose effect it is.
        call_id: Option<ID> = call_of,
        /// The permit.
        permit: Option<CompensationPermit> = undoing_of,
    }
    /// How undoing went is recorded.
    ReportCompensationPayload {
        /// The call whose effect it was.
        call_id: Option<ID> = call_of,
        /// Where it stands.
        state: Option<EffectState> = state_of,
    }
    /// What a person found out is recorded.
    ResolveOutcomePayload {
        /// The call.
        call_id: Option<ID> = call_of,
        /// Where it stands.
        state: Option<EffectState> = state_of,
    }
    /// The message is recorded.
    SendMessagePayload {
        /// Its turn.
        turn_id: Option<ID> = turn_of,
    }
}

results! {
    /// What came of `proposeAction`.
    ProposeActionResult = ProposeActionPayload;
    /// What came of `startEffect`.
    StartEffectResult = StartEffectPayload;
    /// What came of `reportEffect`.
    ReportEffectResult = ReportEffectPayload;
    /// What came of `startCompensation`.
    StartCompensationResult = StartCompensationPayload;
    /// What came of `reportCompensation`.
    ReportCompensationResult = ReportCompensationPayload;
    /// What came of `resolveOutcome`.
    ResolveOutcomeResult = ResolveOutcomePayload;
    /// What came of `sendMessage`.
    SendMessageResult = SendMessagePayload;
}

/// Writes about tool calls.
#[derive(Default)]
pub(in crate::graphql) struct ToolCallMutation;

/// Writes about tool calls.
#[Object]
impl ToolCallMutation {
    /// Asks for a call of a tool. Nothing runs yet. What the call does to the world comes from the tool's registration,
    /// and what is irreversible opens a request for approval. While another call holds the business key nothing is
    /// proposed; the answer is that call, `deduplicated`, and `argumentsDiffer` if it is not of these arguments.
    async fn propose_action(
        &self,
        ctx: &Context<'_>,
        input: ProposeActionInput,
    ) -> Result<ProposeActionResult> {
        let asked = input.arguments.0.clone();
        let answer: Result<ProposeActionResult> =
            carry_out!(ctx, Attested, input, ProposeActionResult, ProposeActionPayload);
        Ok(match answer? {
            ProposeActionResult::ProposeActionPayload(told) => {
                let arguments_differ = told.deduplicated && differ(told.arguments.as_deref(), &asked);
                ProposeActionResult::ProposeActionPayload(ProposeActionPayload {
                    arguments_differ,
                    ..told
                })
            }
            refused => refused,
        })
    }

    /// Says that a call is about to run, and gives the permit. An approval that is needed is used up in the same append.
    /// While another call holds the business key nothing is started; the answer is that call, `deduplicated`. A start is
    /// refused, and that it was is recorded, where the call was denied, its approval is missing, lapsed, of another action
    /// or under a key that was revoked since, or where the tool was registered otherwise since. An approval that is named
    /// and is of another action is `APPROVAL_MISMATCH`; its reviewer sees that it was tried.
    async fn start_effect(&self, ctx: &Context<'_>, input: StartEffectInput) -> Result<StartEffectResult> {
        carry_out!(ctx, Attested, input, StartEffectResult, StartEffectPayload)
    }

    /// Says how a call came out that was started. Of a call whose outcome is unknown a worker may still find out, unless
    /// it is irreversible: then a person has to (`resolveOutcome`).
    async fn report_effect(&self, ctx: &Context<'_>, input: ReportEffectInput) -> Result<ReportEffectResult> {
        carry_out!(ctx, Reported, input, ReportEffectResult, ReportEffectPayload)
    }

    /// Says that an effect is about to be undone, for a turn that undoes what it did, and gives the permit. The last start
    /// is undone first. Where nobody reported the last try, this starts another one, once the time of that one is over.
    async fn start_compensation(
        &self,
        ctx: &Context<'_>,
        input: StartCompensationInput,
    ) -> Result<StartCompensationResult> {
        carry_out!(
            ctx,
            Attested,
            input,
            StartCompensationResult,
            StartCompensationPayload
        )
    }

    /// Says how undoing an effect went, for a turn that undoes what it did. The last start is undone first.
    async fn report_compensation(
        &self,
        ctx: &Context<'_>,
        input: ReportCompensationInput,
    ) -> Result<ReportCompensationResult> {
        carry_out!(
            ctx,
            Reported,
            input,
            ReportCompensationResult,
            ReportCompensationPayload
        )
    }

    /// A person says how a call came out that is in doubt, and what that rests on. For administrators.
    async fn resolve_outcome(
        &self,
        ctx: &Context<'_>,
        input: ResolveOutcomeInput,
    ) -> Result<ResolveOutcomeResult> {
        carry_out!(
            ctx,
            &[Role::Admin],
            Attested,
            input,
            ResolveOutcomeResult,
            ResolveOutcomePayload
        )
    }

    /// Sends words before the turn is over. On a channel that cannot take them back this is a commit point.
    async fn send_message(&self, ctx: &Context<'_>, input: SendMessageInput) -> Result<SendMessageResult> {
        carry_out!(ctx, Attested, input, SendMessageResult, SendMessagePayload)
    }
}
