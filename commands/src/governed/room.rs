//! How long a lane and a turn of it may get: every command on a lane folds all that happened in it.
//!
//! A turn that has its length takes nothing more that only makes it longer. It ends as ever, and how its effects came out is
//! always taken, so nothing is stuck at a bound. A lane that has its length takes no more messages, and its turns go on.
//! The machine of lanes does not know these bounds, so what stands in a ledger is decided again without them.

use ruche_domain::event::AgentEvent;
use ruche_domain::ids::TurnId;
use ruche_domain::limits::{
    LANE_BYTES_MAX, LANE_EVENTS_MAX, OPEN_APPROVALS_PER_LANE_MAX, TURN_BYTES_MAX, TURN_EVENTS_MAX,
};

use super::GovernedState;
use crate::command::PastEvent;
use crate::error::CommandError;
use crate::lane::{ApprovalState, Call, EffectOutcome, Intent, Lane, LaneEvent, Turn, TurnState};
use ruche_domain::events::TurnTrigger;

/// How much stands of a lane, or of a turn in it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Length {
    events: usize,
    /// Of their payloads.
    bytes: usize,
}

impl Length {
    fn add(&mut self, past: &PastEvent) {
        self.events += 1;
        self.bytes += past.recorded.payload.as_ref().map_or(0, Vec::len);
    }

    /// There is room for one more.
    fn require(self, what: &'static str, most: Self) -> Result<(), CommandError> {
        if self.events >= most.events {
            return Err(one_more(what, most.events as u64, "records"));
        }
        if self.bytes >= most.bytes {
            return Err(one_more(what, most.bytes as u64, "bytes"));
        }
        Ok(())
    }
}

const LANE_MAX: Length = Length {
    events: LANE_EVENTS_MAX,
    bytes: LANE_BYTES_MAX,
};
const TURN_MAX: Length = Length {
    events: TURN_EVENTS_MAX,
    bytes: TURN_BYTES_MAX,
};

impl GovernedState {
    /// Takes a record of the lane.
    pub(super) fn lengthen(&mut self, past: &PastEvent) {
        self.length.add(past);
        if let Some(turn) = past.recorded.event.turn {
            self.lengths.entry(turn).or_default().add(past);
        }
    }

    /// That there is room for what the machine answers to a command.
    pub(super) fn require_room(
        &self,
        lane: &Lane,
        intent: &Intent,
        events: &[LaneEvent],
    ) -> Result<(), CommandError> {
        if matches!(intent, Intent::SubmitMessage(_)) {
            return self.length.require("lane", LANE_MAX);
        }
        if events
            .iter()
            .any(|event| matches!(event.fact, AgentEvent::ApprovalRequested(_)))
        {
            require_reviewers(lane)?;
        }
        match only_lengthens(lane, intent, events) {
            Some(turn) => {
                let length = self.lengths.get(&turn).copied().unwrap_or_default();
                length.require("turn", TURN_MAX)
            }
            None => Ok(()),
        }
    }
}

/// The turn that a command makes longer and that can do without it. What ends a turn, what says how something came out that
/// was begun, and refusals that have to be seen are none; all of them are bounded by what they follow from.
fn only_lengthens(lane: &Lane, intent: &Intent, events: &[LaneEvent]) -> Option<TurnId> {
    let lengthens = match intent {
        Intent::ProposeAction(_) | Intent::SendMessage(_) | Intent::StartStep(_) => true,
        Intent::StartEffect(_) => events
            .iter()
            .any(|event| matches!(event.fact, AgentEvent::ToolStarted(_))),
        // Who runs an effect keeps the turn until the effect has come out.
        Intent::HeartbeatTurn(held) => !lane.calls_of(held.turn).any(Call::is_in_flight),
        // That nobody knows is no news of a call in doubt.
        Intent::ReportEffect(held) => {
            let is_in_doubt = lane.calls.get(&held.what.call).is_some_and(Call::is_in_doubt);
            is_in_doubt && matches!(held.what.outcome, EffectOutcome::Unknown(_))
        }
        _ => false,
    };
    intent.held_turn().filter(|_| lengthens)
}

/// That people are asked for no more than they can be. A decision that its turn went on without opens another turn, so those
/// that wait count as well; each request counts once.
fn require_reviewers(lane: &Lane) -> Result<(), CommandError> {
    let is_open = |state| matches!(state, ApprovalState::Requested | ApprovalState::Approved);
    let open = lane
        .approvals
        .values()
        .filter(|approval| is_open(approval.state))
        .count();
    let is_counted = |call: &Call| {
        let known = call.approval.and_then(|id| lane.approvals.get(&id));
        known.is_some_and(|approval| is_open(approval.state))
    };
    let is_of_decision = |turn: &&Turn| {
        turn.state == TurnState::Queued
            && turn.trigger == TurnTrigger::ApprovalResolution
            && !lane.calls_of(turn.id).any(is_counted)
    };
    let decided = lane
        .queue
        .iter()
        .filter_map(|turn| lane.turn(*turn))
        .filter(is_of_decision)
        .count();
    if open + decided >= OPEN_APPROVALS_PER_LANE_MAX {
        let limit = OPEN_APPROVALS_PER_LANE_MAX as u64;
        return Err(one_more("lane", limit, "requests for approval that are open"));
    }
    Ok(())
}

/// The refusal of one more than there may be.
pub(super) fn one_more(what: &'static str, limit: u64, unit: &'static str) -> CommandError {
    CommandError::LimitExceeded {
        what,
        value: limit + 1,
        limit,
        unit,
    }
}

#[cfg(test)]
mod tests {
    use ruche_domain::envelope::Actor;
    use ruche_domain::events::{
        ApprovalMode, ApprovalOutcome, ApprovalRequested, ApprovalResolved, ApprovalRule, InterventionPoint,
        MessageReceived, MessageSent, PolicyEvaluated, PolicyVerdict, Role, ToolCompleted,
        ToolOutcomeUnknown, ToolProposed, ToolStarted, TurnCommitted, TurnOpened, TurnQueued, TurnReadied,
        TurnStarted,
    };
    use ruche_domain::ids::{ApprovalId, CallId, LaneId, LedgerId, MessageId, TenantId};
    use ruche_domain::measures::Digest;
    use ruche_domain::numbers::{Micros, StreamVersion};
    use ruche_domain::side_effect::SideEffectPolicy;
    use uuid::Uuid;

    use super::super::{Asked, LeaseRef, held, lane_stream};
    use super::*;
    use crate::context::Ground;
    use crate::lane::{self, SentMessage};
    use crate::testing::{NoObjection, TEST_NOW, past_event, references};

    const LANE: LaneId = LaneId(Uuid::from_u128(1));
    const TURN: TurnId = TurnId(Uuid::from_u128(2));
    const CALL: CallId = CallId(Uuid::from_u128(3));

    /// A turn that a worker holds, and a call of it that may start.
    struct World {
        state: GovernedState,
        records: u64,
    }

    impl World {
        fn new() -> Self {
            let mut world = Self {
                state: GovernedState::default(),
                records: 0,
            };
            world.record(None, TurnOpened::new(TurnTrigger::User));
            world.record(None, TurnReadied::new(1, TEST_NOW));
            world.record(
                None,
                TurnStarted {
                    lease_id: Some("lease".to_owned()),
                    lease_epoch: Some(1),
                    lease_expires_at: Some(Micros(TEST_NOW.0 + 30_000_000)),
                    ..TurnStarted::new(1)
                },
            );
            let mut proposed = ToolProposed::new("book".to_owned(), "{}".to_owned());
            proposed.side_effect = Some(SideEffectPolicy::Idempotent);
            world.record(Some(CALL), proposed);
            world.record(Some(CALL), allowed());
            world
        }

        fn record(&mut self, call: Option<CallId>, fact: impl Into<AgentEvent>) {
            let version = StreamVersion(self.records);
            let mut past = past_event(lane_stream(LANE), fact.into(), version, self.records);
            (past.recorded.event.turn, past.recorded.event.call) = (Some(TURN), call);
            self.records += 1;
            self.state.evolve(&past);
        }

        /// All that a turn may have stands of it.
        fn fill(&mut self, length: Length) {
            self.state.lengths.insert(TURN, length);
        }

        /// The limit that a command meets, if it meets one.
        fn limit(&self, intent: Intent) -> Option<u64> {
            let references = references();
            let ground = Ground {
                references: &references,
                now: TEST_NOW,
                idempotency_key: "key",
                ledger: LedgerId(Uuid::from_u128(1)),
                tenant: TenantId(Uuid::from_u128(0xA11CE)),
                actor: Actor::SYSTEM,
                user: None,
                schemas: &NoObjection,
            };
            let name = intent.name();
            match self.state.decide_in(LANE, "api", &ground, &Asked::from(intent)) {
                Ok(_) => None,
                Err(CommandError::LimitExceeded { limit, .. }) => Some(limit),
                Err(other) => panic!("{name}: {other}"),
            }
        }

        /// What only makes the turn longer, while nothing runs.
        fn lengthening(&self) -> [Intent; 5] {
            let sent = SentMessage {
                message_id: MessageId(Uuid::from_u128(9)),
                message: MessageSent::new(Role::Assistant),
            };
            let step = lane::StartStep {
                step_id: "look".to_owned(),
                name: None,
            };
            let mut proposed = ToolProposed::new("look_up".to_owned(), "{}".to_owned());
            proposed.side_effect = Some(SideEffectPolicy::Pure);
            let wanted = lane::ProposeAction {
                call: CallId(Uuid::from_u128(4)),
                proposed,
                evaluated: allowed(),
                approval: None,
            };
            let start = lane::StartEffect {
                call: CALL,
                started: ToolStarted::new("book".to_owned()),
                changed: Vec::new(),
            };
            [
                Intent::HeartbeatTurn(held(TURN, &lease(), ())),
                Intent::SendMessage(held(TURN, &lease(), sent)),
                Intent::StartStep(held(TURN, &lease(), step)),
                Intent::ProposeAction(held(TURN, &lease(), wanted)),
                Intent::StartEffect(held(TURN, &lease(), start)),
            ]
        }
    }

    fn lease() -> LeaseRef {
        LeaseRef {
            id: "lease".to_owned(),
            epoch: 1,
        }
    }

    fn allowed() -> PolicyEvaluated {
        PolicyEvaluated::new(
            "decision".to_owned(),
            InterventionPoint::PreToolCall,
            PolicyVerdict::Allow,
            Digest([1; 32]),
            Digest([2; 32]),
        )
    }

    fn report(outcome: EffectOutcome) -> Intent {
        Intent::ReportEffect(held(TURN, &lease(), lane::ReportEffect { call: CALL, outcome }))
    }

    fn unknown() -> ToolOutcomeUnknown {
        ToolOutcomeUnknown::new("timeout".to_owned())
    }

    #[test]
    fn a_turn_that_has_its_length_takes_nothing_more_and_ends_as_ever() {
        for bytes in [false, true] {
            let mut world = World::new();
            let (events, bytes) = match bytes {
                true => (9, TURN_BYTES_MAX - 1),
                false => (TURN_EVENTS_MAX - 1, 9),
            };
            world.fill(Length { events, bytes });
            for intent in world.lengthening() {
                assert_eq!(world.limit(intent), None, "there is room for one more");
            }
            world.record(None, MessageSent::new(Role::Assistant));
            let limit = if events == 9 {
                TURN_BYTES_MAX
            } else {
                TURN_EVENTS_MAX
            };
            for intent in world.lengthening() {
                let name = intent.name();
                assert_eq!(world.limit(intent), Some(limit as u64), "{name}");
            }
            let commit = lane::CommitTurn {
                committed: TurnCommitted::default(),
                response: None,
            };
            let fail = lane::FailTurn {
                error_type: "stuck".to_owned(),
                error: None,
                retryable: true,
            };
            let cancel = lane::CancelTurn {
                turn: TURN,
                by: None,
                reason: None,
            };
            let ends = [
                Intent::CommitTurn(held(TURN, &lease(), commit)),
                Intent::FailTurn(held(TURN, &lease(), fail)),
                Intent::CancelTurn(cancel),
            ];
            for intent in ends {
                assert_eq!(world.limit(intent.clone()), None, "{}", intent.name());
            }
        }
    }

    #[test]
    fn how_an_effect_came_out_is_taken_whatever_length_its_turn_has() {
        let mut world = World::new();
        world.record(Some(CALL), ToolStarted::new("book".to_owned()));
        let full = Length {
            events: TURN_EVENTS_MAX,
            bytes: 0,
        };
        world.fill(full);
        let [beat, ..] = world.lengthening();
        assert_eq!(world.limit(beat), None, "it keeps the turn while the effect runs");
        let done = || report(EffectOutcome::Completed(ToolCompleted::default()));
        for outcome in [done(), report(EffectOutcome::Unknown(unknown()))] {
            assert_eq!(world.limit(outcome), None);
        }
        world.record(Some(CALL), unknown());
        let again = report(EffectOutcome::Unknown(unknown()));
        assert_eq!(world.limit(again), Some(TURN_EVENTS_MAX as u64), "it is no news");
        assert_eq!(world.limit(done()), None);
    }

    #[test]
    fn a_lane_that_has_its_length_takes_no_message_and_its_turn_goes_on() {
        let mut world = World::new();
        let message = || {
            Intent::SubmitMessage(lane::SubmitMessage {
                message_id: MessageId(Uuid::from_u128(8)),
                message: MessageReceived::new(Role::User),
                agent_id: None,
                new_turn: TurnId(Uuid::from_u128(7)),
                flush: false,
            })
        };
        world.state.length.events = LANE_EVENTS_MAX - 1;
        assert_eq!(world.limit(message()), None);
        world.record(None, MessageSent::new(Role::Assistant));
        assert_eq!(world.limit(message()), Some(LANE_EVENTS_MAX as u64));
        for intent in world.lengthening() {
            assert_eq!(world.limit(intent), None);
        }
        world.state.length.events = 9;
        world.state.length.bytes = LANE_BYTES_MAX;
        assert_eq!(world.limit(message()), Some(LANE_BYTES_MAX as u64));
    }

    /// A lane with so many requests that are open, and so many turns that wait because one was decided.
    fn asked_of_reviewers(open: u128, waiting: u128) -> Lane {
        let event = |turn: u128, call: Option<u128>, approval: Option<u128>, fact: AgentEvent| LaneEvent {
            at: TEST_NOW,
            turn: TurnId(Uuid::from_u128(turn)),
            call: call.map(|id| CallId(Uuid::from_u128(id))),
            approval: approval.map(|id| ApprovalId(Uuid::from_u128(id))),
            fact,
        };
        let rule = || ApprovalRule::new(1);
        let digest = Digest([1; 32]);
        let request = || ApprovalRequested::new(digest, rule(), TEST_NOW, ApprovalMode::Detached);
        let mut lane = Lane::default();
        for id in 0..open {
            let proposed = ToolProposed::new("wire".to_owned(), "{}".to_owned());
            lane.apply(&event(1, Some(id), None, proposed.into()));
            lane.apply(&event(1, Some(id), Some(id), request().into()));
        }
        for id in 0..waiting {
            let turn = 1_000 + id;
            let opened = TurnOpened::new(TurnTrigger::ApprovalResolution);
            lane.apply(&event(turn, None, None, opened.into()));
            let behind = TurnId(Uuid::from_u128(1));
            lane.apply(&event(turn, None, None, TurnQueued::new(behind).into()));
        }
        lane
    }

    #[test]
    fn people_are_asked_for_so_much_at_once_and_what_they_decided_counts_until_it_is_begun() {
        let most = OPEN_APPROVALS_PER_LANE_MAX as u128;
        for (open, waiting) in [(most - 1, 0), (0, most - 1), (most - 9, 8)] {
            require_reviewers(&asked_of_reviewers(open, waiting)).unwrap();
        }
        for (open, waiting) in [(most, 0), (0, most), (most - 8, 8)] {
            let refused = require_reviewers(&asked_of_reviewers(open, waiting)).unwrap_err();
            assert_eq!(refused.code(), "LIMIT_EXCEEDED", "{refused}");
        }
    }

    /// A detached request stays one, from the question over the yes to the turn that is to start the call.
    #[test]
    fn a_decision_that_waits_for_its_turn_counts_once() {
        let with_yes = |count: u128| {
            let mut lane = asked_of_reviewers(count, 0);
            for id in 0..count {
                let call = Some(CallId(Uuid::from_u128(id)));
                let mut apply = |turn: u128, approval: Option<u128>, fact: AgentEvent| {
                    lane.apply(&LaneEvent {
                        at: TEST_NOW,
                        turn: TurnId(Uuid::from_u128(turn)),
                        call,
                        approval: approval.map(|id| ApprovalId(Uuid::from_u128(id))),
                        fact,
                    });
                };
                apply(
                    1,
                    Some(id),
                    ApprovalResolved::new(ApprovalOutcome::Approved).into(),
                );
                let opened = TurnOpened::new(TurnTrigger::ApprovalResolution);
                apply(1_000 + id, None, opened.into());
                let behind = TurnId(Uuid::from_u128(1));
                apply(1_000 + id, None, TurnQueued::new(behind).into());
            }
            lane
        };
        let most = OPEN_APPROVALS_PER_LANE_MAX as u128;
        require_reviewers(&with_yes(most - 1)).unwrap();
        require_reviewers(&with_yes(most)).unwrap_err();
    }
}
