//! Calls that run. The start is recorded before the effect and uses up the approval, if one is needed, in the same append.
//! Its place in the ledger is the permit, which a report shows (`report`). And what a person finds out of an effect in doubt.

use ruche_domain::event::AgentEvent;
use ruche_domain::events::{
    ApprovalOutcome, ApprovalResolved, MessageSent, StaleCause, StartRefusal, ToolOutcomeAsserted,
    ToolStarted,
};
use ruche_domain::ids::{ApprovalId, CallId, LaneId, MessageId, TurnId};
use ruche_domain::numbers::{Epoch, Micros};
use ruche_domain::side_effect::EffectStatus;
use ruche_domain::stream::{Category, StreamId};
use ruche_ledger::epoch::ledger_stream;
use ruche_ledger::vote::key_stream;
use serde::Serialize;

use super::calls::{EffectName, Generation, KeyedCalls, TakenKey, Wants};
use super::propose::{no_policy, sha256};
use super::signed::Signed;
use super::{
    Asked, GovernedState, LaneName, LeaseRef, approval_of, approval_stream, held, lane_commands, refusal,
    turn_of_approval,
};
use crate::command::{Command, Content, Decision, Load, NewEvent, PastEvent, RecordedEvent};
use crate::context::{Ground, check_external_id, check_words};
use crate::error::CommandError;
use crate::lane::{
    self, ApprovalState, Call, Intent, Lane, Rejection, SentMessage, TurnState, obstacle, refused_start,
};
use crate::reviewer::KeyState;
use crate::tool::{Catalogue, schema_digest};

/// A worker is about to run a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StartEffect {
    /// Which lane.
    pub lane: LaneName,
    /// Which turn.
    pub turn: TurnId,
    /// The lease on it.
    pub lease: LeaseRef,
    /// Which call.
    pub call: CallId,
}

/// What a start is decided on.
#[derive(Clone, Debug, Default)]
pub struct StartState {
    pub(super) governed: GovernedState,
    keyed: KeyedCalls,
    taken: TakenKey,
    catalogue: Catalogue,
    /// The request for approval of the call, and the vote that approved it.
    signed: Signed,
    /// The key under which that vote was signed.
    key: KeyState,
    /// The epoch that the ledger is in.
    epoch: Option<Epoch>,
}

impl StartState {
    /// The request for approval of a call that the lane has open, where the ledger went on in another epoch since. One that
    /// has lapsed too ends as those do.
    fn outlived_request(&self, lane: &Lane, call: &Call, ground: &Ground<'_>) -> Option<ApprovalId> {
        let (asked_in, now_in) = (self.signed.asked_in()?, self.epoch?);
        let known = lane.approvals.get(&call.approval?)?;
        let is_open = known.state == ApprovalState::Requested && ground.now < known.expires_at;
        (is_open && asked_in < now_in).then_some(known.id)
    }

    /// What is recorded instead of a start: that the call was done, or that another one holds its business key.
    fn recorded(
        &self,
        lane: &Lane,
        call: &Call,
        turn: TurnId,
        ground: &Ground<'_>,
    ) -> Option<Vec<RecordedEvent>> {
        let done = call.status == Some(EffectStatus::Completed);
        let holder = self.keyed.holder_beside(lane, ground.now, call.id);
        let is_other =
            |events: &Vec<RecordedEvent>| events.iter().all(|event| event.event.call != Some(call.id));
        let of_key = holder.filter(|events| done || is_other(events));
        of_key.or_else(|| {
            (done && call.turn == turn)
                .then(|| self.keyed.of(call.id))
                .flatten()
        })
    }
}

impl Command for StartEffect {
    type State = StartState;
    const NAME: &'static str = "StartEffect";

    fn loads(&self, ground: &Ground<'_>) -> Result<Vec<Load>, CommandError> {
        Ok(vec![self.lane.load(ground)?])
    }

    fn more_loads(&self, state: &StartState, ground: &Ground<'_>) -> Vec<Load> {
        let mut loads = state.governed.more_loads(ground);
        let call = state.governed.lane.calls.get(&self.call);
        loads.extend(call.map(|call| Catalogue::load(ground.references, &call.name)));
        loads.extend(state.catalogue.more_loads(ground.references));
        // Of a call that was started, too: that its approval is used up is why it does not start again.
        loads.extend(call.map(|call| Load::whole(approval_stream(approval_of(call.id))).unguarded()));
        // Guarded: of a start and a revocation that meet, one is decided again and sees the other.
        let voted = state.governed.vote_on(self.call);
        let key = voted.and_then(|voted| voted.key_id.parse().ok());
        loads.extend(key.map(|key| Load::whole(key_stream(key))));
        // Guarded, too: a ledger that goes on in another epoch meanwhile may have lost what was done with the approval.
        let asked_in = state.signed.asked_in();
        loads.extend(asked_in.map(|_| Load::newest(ledger_stream(ground.ledger))));
        let own = self.lane.id(ground.references);
        let name = self.effect_name(&state.governed);
        loads.extend(state.taken.loads(name, own, ground));
        loads
    }

    fn is_settled(&self, state: &StartState, stream: StreamId) -> bool {
        match stream.category {
            Category::Effect => state.taken.is_settled(),
            Category::Ledger => state.epoch.is_some(),
            _ => state.catalogue.is_settled(stream),
        }
    }

    /// The proposal: an executor is to run exactly its arguments.
    fn beside(&self, state: &StartState) -> Vec<RecordedEvent> {
        let events = state.keyed.of(self.call).unwrap_or_default();
        let is_proposal = |event: &RecordedEvent| event.event.event_type == "tool.proposed";
        events.into_iter().filter(is_proposal).collect()
    }

    fn may_hear_again(&self, state: &StartState, ground: &Ground<'_>) -> bool {
        // A permit is good under its lease alone. Who lost it must not take the first answer for leave to run the call.
        state.governed.holds(&self.lane, self.turn, &self.lease, ground)
    }

    /// A repeat is leave to run for who was not answered, while that start is the last that is known of the call. Once its
    /// time is over, its outcome is unknown, or a person has said what became of it, nobody may run it on that start any more.
    fn outlived(
        &self,
        state: &StartState,
        first: &[RecordedEvent],
        ground: &Ground<'_>,
    ) -> Option<Vec<RecordedEvent>> {
        let is_start = |event: &&RecordedEvent| event.event.event_type == "tool.started";
        let start = first.iter().find(is_start)?;
        // The timer that says so may be late.
        let is_over = match start.agent_event() {
            Ok(Some(AgentEvent::ToolStarted(said))) => said.lapses_at.is_some_and(|at| at <= ground.now),
            _ => false,
        };
        let all = state.keyed.of(self.call).unwrap_or_else(|| first.to_vec());
        let is_later = |event: &RecordedEvent| {
            event.receipt.position > start.receipt.position
                && event.event.event_type.starts_with("tool.")
                && event.event.event_type != "tool.start_refused"
        };
        (is_over || all.iter().any(is_later)).then_some(all)
    }

    fn evolve(&self, state: &mut StartState, event: &PastEvent) {
        match event.stream().category {
            Category::Tool => return state.catalogue.evolve(event),
            Category::Key => return state.key.evolve(event),
            Category::Ledger => {
                state.epoch = state.epoch.max(Some(event.recorded.receipt.position.epoch));
                return;
            }
            Category::Approval if event.stream() == approval_stream(approval_of(self.call)) => {
                state.signed.evolve(event);
            }
            _ => {}
        }
        if state.taken.evolve(event) {
            return;
        }
        state.keyed.evolve(|_| true, event);
        state.governed.evolve(event);
    }

    fn decide(&self, state: &StartState, ground: &Ground<'_>) -> Result<Decision, CommandError> {
        let governed = &state.governed;
        let lane = governed.lane()?;
        governed.require_lease(&lane, &self.lane, self.turn, &self.lease, ground)?;
        let known = lane.calls.get(&self.call);
        let call = known.ok_or(CommandError::NotFound { thing: "call" })?;
        if let Some(events) = state.recorded(&lane, call, self.turn, ground) {
            return Ok(Decision::AlreadySo(events));
        }
        if let Some(events) = state.taken.holder(ground.now)? {
            return Ok(Decision::AlreadySo(events));
        }
        // Another turn's request is none of this worker's business.
        let outlived = state.outlived_request(&lane, call, ground);
        if let Some(approval) = outlived.filter(|_| call.turn == self.turn) {
            return self.end_request(approval, governed, &lane, ground);
        }
        let timeout_us = state
            .catalogue
            .tool(ground.references, &call.name)
            .and_then(|tool| tool.timeout_us);
        let generation = state.taken.generation(call.id, (&lane, &state.keyed));
        let started = ToolStarted {
            lapses_at: timeout_us.map(|wait| Micros(ground.now.0.saturating_add(wait))),
            ..self.started(governed, call, generation.number, ground)
        };
        let changed = self.changed(state, &lane, call, ground);
        let is_own_vote = changed.contains(&StaleCause::Requester);
        let start = lane::StartEffect {
            call: self.call,
            started,
            changed,
        };
        let asked = Asked::from(Intent::StartEffect(held(self.turn, &self.lease, start)));
        let id = self.lane.id(ground.references);
        let mut events = governed.decide_in(id, &self.lane.channel, ground, &asked)?;
        Ok(match refused_in(&events) {
            None => {
                events.extend(self.taking(state, id, generation, ground));
                Decision::Append(events)
            }
            Some(why) => Decision::Refused {
                events,
                refusal: match refusal(refused_start(&lane, self.call, why), ground.now) {
                    told if why == StartRefusal::Stale && is_own_vote => of_own_vote(told),
                    told => told,
                },
            },
        })
    }
}

/// The refusal in words that fit.
fn of_own_vote(mut told: CommandError) -> CommandError {
    if let CommandError::IllegalTransition { obstacle, .. } = &mut told {
        *obstacle = Some("the reviewer is who asked, or who starts it".into());
    }
    told
}

fn refused_in(events: &[NewEvent]) -> Option<StartRefusal> {
    events.iter().find_map(|event| match &event.content {
        Content::Fact(AgentEvent::ToolStartRefused(refused)) => Some(refused.refusal),
        _ => None,
    })
}

impl StartEffect {
    /// Nobody can decide on the request any more, and the turn would wait until it lapses. It is ended here, so that the call
    /// is proposed anew and people are asked in this epoch.
    fn end_request(
        &self,
        approval: ApprovalId,
        governed: &GovernedState,
        lane: &Lane,
        ground: &Ground<'_>,
    ) -> Result<Decision, CommandError> {
        let known = lane.approvals.get(&approval);
        let known = known.ok_or(CommandError::NotFound { thing: "approval" })?;
        let resolve = lane::ResolveApproval {
            approval,
            resolved: ApprovalResolved::new(ApprovalOutcome::Approved),
            binding: known.binding,
            changed: vec![StaleCause::Epoch],
            new_turn: turn_of_approval(approval, ground),
        };
        let asked = Asked::from(Intent::ResolveApproval(resolve));
        let id = self.lane.id(ground.references);
        let events = governed.decide_in(id, &self.lane.channel, ground, &asked)?;
        let stale = Rejection::blocked(TurnState::Processing, obstacle(StartRefusal::Stale));
        Ok(Decision::Refused {
            events,
            refusal: refusal(stale, ground.now),
        })
    }

    /// The effect that other lanes must not bring about as well. What changes nothing is none.
    fn effect_name<'a>(&'a self, governed: &'a GovernedState) -> Option<EffectName<'a>> {
        let call = governed.lane.calls.get(&self.call)?;
        let proposed = governed
            .proposal_of(call.id)
            .filter(|_| call.side_effect.has_effect())?;
        Some(EffectName {
            interlocutor: &self.lane.interlocutor,
            tool: &proposed.name,
            key: proposed.business_key.as_deref()?,
        })
    }

    /// The call took its key when it was proposed. It takes it anew where another call did in between.
    fn taking(
        &self,
        state: &StartState,
        lane: LaneId,
        generation: Generation,
        ground: &Ground<'_>,
    ) -> Option<NewEvent> {
        let wants = Wants {
            name: self.effect_name(&state.governed)?,
            lane,
            turn: self.turn,
            call: self.call,
            generation,
        };
        state.taken.taking(&wants, &state.governed, ground)
    }

    /// What is not as it was when the call was proposed, and when it was approved. A start holds only on what people and
    /// rules looked at; what changed since, even for the better, is proposed anew.
    fn changed(&self, state: &StartState, lane: &Lane, call: &Call, ground: &Ground<'_>) -> Vec<StaleCause> {
        let governed = &state.governed;
        let proposed = governed.proposal_of(self.call);
        let tool = state.catalogue.tool(ground.references, &call.name);
        let schema = proposed.and_then(|proposed| proposed.schema_digest);
        let side_effect = state.catalogue.side_effect(ground.references, &call.name);
        let mut changed = Vec::new();
        if side_effect != call.side_effect || tool.and_then(schema_digest) != schema {
            changed.push(StaleCause::Action);
        }
        let Some(approval) = call.approval.and_then(|id| lane.approvals.get(&id)) else {
            return changed;
        };
        if approval.binding.policy != Some(no_policy()) {
            changed.push(StaleCause::Policy);
        }
        if approval.binding.config != governed.configs.get(&self.turn).copied() {
            changed.push(StaleCause::Config);
        }
        let key = state.key.key(ground.tenant);
        let signed = match proposed {
            Some(proposed) => state.signed.changed(proposed, key.as_ref(), state.epoch, ground),
            None => Some(StaleCause::Action),
        };
        changed.extend(signed.filter(|cause| !changed.contains(cause)));
        changed
    }

    fn started(
        &self,
        governed: &GovernedState,
        call: &Call,
        generation: u32,
        ground: &Ground<'_>,
    ) -> ToolStarted {
        let mut started = ToolStarted::new(call.name.clone());
        started.effect_id = Some(self.call.to_string());
        let Some(proposed) = governed.proposal_of(self.call) else {
            return started;
        };
        // Of the bytes that the executor is given, as they are now.
        started.args_digest = Some(sha256(proposed.arguments.as_bytes()));
        started.provider_call_id.clone_from(&proposed.provider_call_id);
        let Some(key) = proposed.business_key.as_deref() else {
            return started;
        };
        let name = EffectName {
            interlocutor: &self.lane.interlocutor,
            tool: &call.name,
            key,
        };
        // The same over attempts, turns and lanes while one generation of the key lasts: the tool tells a repeat by it. What
        // changes nothing takes no key, so it has no generations.
        let generation = Some(generation).filter(|_| call.side_effect.has_effect());
        started.idempotency_key = Some(name.effect_key(generation.unwrap_or_default(), ground.references));
        started.generation = generation;
        started.business_key_id = generation.map(|_| name.id(ground.references).as_simple().to_string());
        started
    }
}

lane_commands! {
    /// A person says how a call in doubt came out, with evidence. Timers that are due fire first: what makes a call
    /// doubtful is often a worker that is gone.
    ResolveOutcome {
        /// Which call.
        call: CallId,
        /// What was found.
        asserted: ToolOutcomeAsserted,
    } (command, _ground) => {
        check_external_id("/by", &command.asserted.by)?;
        check_words("/evidence", &command.asserted.evidence)?;
        let (call, asserted) = (command.call, command.asserted.clone());
        Asked {
            after_timers: true,
            ..Asked::from(Intent::ResolveOutcome(lane::ResolveOutcome { call, asserted }))
        }
    };
    /// A worker sends words before its turn is over.
    SendMessage {
        /// Which turn.
        turn: TurnId,
        /// The lease on it.
        lease: LeaseRef,
        /// The message.
        message: MessageSent,
    } (command, ground) => {
        let parts: [&[u8]; 3] = [command.turn.as_bytes(), b"sent", ground.idempotency_key.as_bytes()];
        let message_id = MessageId(ground.references.id("message-of-turn", &parts));
        let sent = SentMessage { message_id, message: command.message.clone() };
        Intent::SendMessage(held(command.turn, &command.lease, sent)).into()
    };
}
