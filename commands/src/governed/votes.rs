//! A reviewer votes. One vote decides. Whether it counts is said by the judge that the offline verifier asks too; the
//! decision goes to the machine of the lane in the same append, so that a vote that is recorded has done what it says.
//!
//! A vote that does not count is recorded as `approval.vote_refused` and decides nothing: who tried what has to be
//! seen. Of votes that a registered key signed, each is; what anybody can send is, once for each cause and credential. Both
//! are bounded, each for itself, so that nobody can hide the one behind the other. With a vote on a request of an epoch
//! that is over it is recorded that the request is stale, so that nobody waits for it. The key's stream is guarded, so that a
//! key counts by position: of a vote and a revocation that meet, one is decided again and sees the other.

use ruche_domain::action::Action;
use ruche_domain::approval::RequestEnvelope;
use ruche_domain::event::AgentEvent;
use ruche_domain::events::{
    ApprovalDecision, ApprovalMode, ApprovalOutcome, ApprovalRequested, ApprovalResolved,
    ApprovalVoteRefused, ApprovalVoted, StaleCause, VoteRefusal,
};
use ruche_domain::ids::{ApprovalId, LaneId};
use ruche_domain::limits::{DSSE_ENVELOPE_BYTES_MAX, VOTE_REFUSALS_PER_REQUEST_MAX};
use ruche_domain::measures::Digest;
use ruche_domain::numbers::Epoch;
use ruche_domain::stream::{Category, StreamId};
use ruche_ledger::epoch::ledger_stream;
use ruche_ledger::vote::{
    Ballot, Refused, RequestPlace, Sender, hinted_key, judge, key_stream, request_facts,
};
use serde::Serialize;
use uuid::Uuid;

use super::propose::{no_policy, sha256};
use super::{Asked, GovernedState, approval_stream, lane_stream, turn_of_approval};
use crate::command::{Command, Decision, Load, NewEvent, PastEvent, RecordedEvent};
use crate::context::Ground;
use crate::error::CommandError;
use crate::lane::{ApprovalState, Binding, Intent, ResolveApproval};
use crate::reviewer::KeyState;
use crate::tool::{Catalogue, schema_digest};

/// A reviewer decides on a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VoteOnApproval {
    /// Which request.
    pub approval: ApprovalId,
    /// The DSSE envelope over the statement, as JSON text. It is stored as it is.
    pub envelope: String,
}

/// What a vote is decided on.
#[derive(Clone, Debug, Default)]
pub struct VoteState {
    governed: GovernedState,
    request: Option<Request>,
    key: KeyState,
    catalogue: Catalogue,
    /// The epoch that the ledger is in.
    epoch: Option<Epoch>,
    /// Votes that did not count.
    refused: Vec<RefusedVote>,
}

/// A vote that did not count, and its record.
#[derive(Clone, Debug)]
struct RefusedVote {
    cause: VoteRefusal,
    credential: Option<Uuid>,
    /// The envelope, where a registered key signed it.
    signed: Option<Digest>,
    recorded: RecordedEvent,
}

/// The request as it stands in the ledger.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) place: RequestPlace,
    recorded: RecordedEvent,
    lane: LaneId,
    pub(super) said: ApprovalRequested,
}

impl Request {
    /// The request that an event is; nothing if it is none, or of no lane.
    pub(super) fn of(event: &PastEvent) -> Option<Self> {
        let Some(AgentEvent::ApprovalRequested(said)) = &event.event else {
            return None;
        };
        let recorded = event.recorded.clone();
        Some(Self {
            place: RequestPlace {
                origin: event.origin.clone(),
                position: recorded.receipt.position,
                leaf_hash: recorded.receipt.leaf_hash,
                envelope: RequestEnvelope::of(&recorded.event),
            },
            recorded,
            lane: said.lane_id?,
            said: said.clone(),
        })
    }

    /// Who asked.
    pub(super) fn requester(&self) -> Sender<'_> {
        Sender {
            credential: self.recorded.event.actor.reference,
            user: self.said.requested_by.as_deref(),
        }
    }
}

impl Command for VoteOnApproval {
    type State = VoteState;
    const NAME: &'static str = "VoteOnApproval";

    fn loads(&self, _: &Ground<'_>) -> Result<Vec<Load>, CommandError> {
        let (value, limit) = (self.envelope.len(), DSSE_ENVELOPE_BYTES_MAX);
        if value > limit {
            return Err(CommandError::LimitExceeded {
                what: "envelope",
                value: value as u64,
                limit: limit as u64,
                unit: "bytes",
            });
        }
        let key = hinted_key(&self.envelope).map(|key| Load::whole(key_stream(key)));
        let mut loads = vec![Load::whole(approval_stream(self.approval))];
        loads.extend(key);
        Ok(loads)
    }

    fn is_settled(&self, state: &VoteState, stream: StreamId) -> bool {
        match stream.category {
            Category::Ledger => state.epoch.is_some(),
            _ => state.catalogue.is_settled(stream),
        }
    }

    fn more_loads(&self, state: &VoteState, ground: &Ground<'_>) -> Vec<Load> {
        let lane = state.request.as_ref().map(|request| request.lane);
        let mut loads: Vec<Load> = lane
            .map(|lane| Load::whole(lane_stream(lane)).going_forward())
            .into_iter()
            .collect();
        loads.extend(state.governed.more_loads(ground));
        let tool = state
            .request
            .as_ref()
            .and_then(|request| request.said.tool_name.as_deref());
        loads.extend(tool.map(|tool| Catalogue::load(ground.references, tool)));
        loads.extend(state.catalogue.more_loads(ground.references));
        // Guarded: of a vote and an epoch that begins, one is decided again and sees the other.
        loads.push(Load::newest(ledger_stream(ground.ledger)));
        loads
    }

    fn evolve(&self, state: &mut VoteState, event: &PastEvent) {
        match event.stream().category {
            Category::Key => return state.key.evolve(event),
            Category::Tool => return state.catalogue.evolve(event),
            Category::Ledger => {
                state.epoch = state.epoch.max(Some(event.recorded.receipt.position.epoch));
                return;
            }
            _ => {}
        }
        if event.stream() == approval_stream(self.approval)
            && let Some(AgentEvent::ApprovalVoteRefused(refused)) = &event.event
        {
            state.refused.push(RefusedVote {
                cause: refused.refusal,
                credential: event.recorded.event.actor.reference,
                signed: refused.reviewer.is_some().then_some(refused.envelope_digest),
                recorded: event.recorded.clone(),
            });
        }
        if event.stream() == approval_stream(self.approval)
            && let Some(request) = Request::of(event)
        {
            state.request = Some(request);
        }
        state.governed.evolve(event);
    }

    fn decide(&self, state: &VoteState, ground: &Ground<'_>) -> Result<Decision, CommandError> {
        let request = state.request.as_ref();
        let request = request.ok_or(CommandError::NotFound { thing: "approval" })?;
        let lane = state.governed.lane()?;
        let approval = lane.approvals.get(&self.approval);
        let is_open = approval.is_some_and(|approval| approval.state == ApprovalState::Requested);
        match self.judge(state, request, is_open, ground) {
            Ok(voted) => self.carry_out(state, request, voted, ground),
            Err(refused) => self.record_refusal(state, request, refused, ground),
        }
    }
}

impl VoteOnApproval {
    fn judge(
        &self,
        state: &VoteState,
        request: &Request,
        is_open: bool,
        ground: &Ground<'_>,
    ) -> Result<ApprovalVoted, Refused> {
        // What the record says is computed anew, so that no digest in it is believed.
        let facts = request_facts(&request.place, &request.said).map_err(|fault| Refused {
            refusal: VoteRefusal::Mismatch,
            detail: fault.to_string(),
            reviewer: None,
        })?;
        let key = state.key.key(ground.tenant);
        let statement = judge(&Ballot {
            envelope: &self.envelope,
            key: key.as_ref(),
            request: &facts,
            requester: request.requester(),
            voter: Sender {
                credential: ground.actor.reference,
                user: ground.user,
            },
            now: ground.now,
            is_open,
            now_in: state.epoch,
        })?;
        let mut voted = ApprovalVoted::new(
            statement.reviewer,
            statement.decision,
            statement.key_id,
            self.envelope.clone(),
            facts.action_digest,
            facts.view_digest,
        );
        voted.reason = statement.reason;
        Ok(voted)
    }

    /// The vote, and what follows from it in the lane.
    fn carry_out(
        &self,
        state: &VoteState,
        request: &Request,
        voted: ApprovalVoted,
        ground: &Ground<'_>,
    ) -> Result<Decision, CommandError> {
        let approves = voted.decision == ApprovalDecision::Approve;
        let outcome = if approves {
            ApprovalOutcome::Approved
        } else {
            ApprovalOutcome::Rejected
        };
        let mut resolved = ApprovalResolved::new(outcome);
        resolved.approvals = Some(u32::from(approves));
        resolved.by = Some(voted.reviewer.clone());
        resolved.detail.clone_from(&voted.reason);
        let vote = self.of_request(request, voted);
        self.with_what_follows(vote, (resolved, Vec::new()), (state, request), ground)
    }

    /// An event of the request, and what the lane makes of the decision.
    fn with_what_follows(
        &self,
        first: NewEvent,
        (resolved, changed): (ApprovalResolved, Vec<StaleCause>),
        (state, request): (&VoteState, &Request),
        ground: &Ground<'_>,
    ) -> Result<Decision, CommandError> {
        let resolve = ResolveApproval {
            approval: self.approval,
            resolved,
            binding: state.binding_now(request, ground),
            changed,
            new_turn: turn_of_approval(self.approval, ground),
        };
        let asked = Asked::from(Intent::ResolveApproval(resolve));
        let channel = request.said.channel.as_deref().unwrap_or_default();
        let follows = state.governed.decide_in(request.lane, channel, ground, &asked)?;
        // All of it follows from the first.
        let follows = follows.into_iter().map(|event| NewEvent {
            caused_by: Some(0),
            ..event
        });
        Ok(Decision::Append(std::iter::once(first).chain(follows).collect()))
    }

    /// A vote that does not count is recorded once for each cause, credential and, where it is signed, envelope; and for a
    /// bounded number of them.
    fn record_refusal(
        &self,
        state: &VoteState,
        request: &Request,
        refused: Refused,
        ground: &Ground<'_>,
    ) -> Result<Decision, CommandError> {
        let signed = refused
            .reviewer
            .is_some()
            .then(|| sha256(self.envelope.as_bytes()));
        let this = (refused.refusal, ground.actor.reference, signed);
        let is_this = |known: &&RefusedVote| (known.cause, known.credential, known.signed) == this;
        if let Some(known) = state.refused.iter().find(is_this) {
            return Ok(Decision::AlreadySo(vec![known.recorded.clone()]));
        }
        let alike = |known: &&RefusedVote| known.signed.is_some() == signed.is_some();
        let limit = VOTE_REFUSALS_PER_REQUEST_MAX as u64;
        let value = state.refused.iter().filter(alike).count() as u64 + 1;
        if value > limit {
            return Err(CommandError::LimitExceeded {
                what: "the request",
                value,
                limit,
                unit: "votes that do not count",
            });
        }
        let is_over = refused.refusal == VoteRefusal::Epoch;
        let refusal = self.refusal(request, refused);
        if is_over {
            // Whatever people say of it, it starts nothing. A turn that waits for them need not wait for its expiry.
            let stale = (
                ApprovalResolved::new(ApprovalOutcome::Approved),
                vec![StaleCause::Epoch],
            );
            return self.with_what_follows(refusal, stale, (state, request), ground);
        }
        Ok(Decision::Append(vec![refusal]))
    }

    fn refusal(&self, request: &Request, refused: Refused) -> NewEvent {
        let digest = sha256(self.envelope.as_bytes());
        let mut event = ApprovalVoteRefused::new(refused.refusal, digest);
        event.detail = Some(refused.detail);
        event.key_id = hinted_key(&self.envelope).map(|key| key.to_string());
        event.reviewer = refused.reviewer;
        self.of_request(request, event)
    }

    /// An event that belongs where the request belongs.
    fn of_request(&self, request: &Request, event: impl Into<AgentEvent>) -> NewEvent {
        let envelope = &request.recorded.event;
        NewEvent {
            session: envelope.session,
            subject: envelope.subject,
            turn: envelope.turn,
            call: envelope.call,
            ..NewEvent::fact(approval_stream(self.approval), event)
        }
    }
}

impl VoteState {
    /// What the approval would have to be bound to now: the tool as it is registered, policy, and the settings of the
    /// turn that is going to start the call. That is the one that asked, where it waits; otherwise one that opens now.
    fn binding_now(&self, request: &Request, ground: &Ground<'_>) -> Binding {
        let said = &request.said;
        let pinned = request
            .place
            .envelope
            .turn
            .and_then(|turn| self.governed.configs.get(&turn).copied());
        let channel = said.channel.as_deref().unwrap_or_default();
        let config = match said.mode {
            ApprovalMode::Blocking => pinned,
            ApprovalMode::Detached => Some(self.governed.settings_of(channel).digest()),
        };
        let action = self.action_now(request, ground);
        Binding {
            // A request that lacks something was refused before; it equals no action.
            action: action.map_or(Digest([0; 32]), |action| sha256(action.canonical().as_bytes())),
            policy: Some(no_policy()),
            config,
            session_head: said.session_head,
        }
    }

    fn action_now(&self, request: &Request, ground: &Ground<'_>) -> Option<Action> {
        let said = &request.said;
        let tool = said.tool_name.clone()?;
        let registered = self.catalogue.tool(ground.references, &tool);
        Some(Action {
            agent: said.agent_id.clone()?,
            arguments: sha256(said.arguments.as_ref()?.as_bytes()),
            schema: registered.and_then(schema_digest),
            session: request.place.envelope.session?,
            side_effect: self.catalogue.side_effect(ground.references, &tool),
            tenant: ground.tenant,
            tool,
            turn: request.place.envelope.turn?,
        })
    }
}
