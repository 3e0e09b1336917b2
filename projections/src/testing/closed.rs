//! Calls that never run, and effects that a person settled, also where payloads are gone.

#![expect(missing_docs, reason = "the name of a test says what it shows")]

use std::sync::Arc;

use ruche_domain::event::AgentEvent;
use ruche_domain::events::tool::{AssertedOutcome, NotExecutedCause as ToldCause, StartRefusal};
use ruche_domain::events::{
    ApprovalCancelled, ApprovalExpired, ApprovalMode, ApprovalOutcome, ApprovalRequested, ApprovalResolved,
    ApprovalRule, ApprovalStale, ApprovalVoided, InfraManualInterventionRequired, InputKind,
    InterventionPoint, PolicyEvaluated, PolicyVerdict, SessionInputRequired, StaleCause,
    ToolCompensationFailed, ToolCompleted, ToolDeferred, ToolNotExecuted, ToolOutcomeAsserted,
    ToolOutcomeUnknown, ToolProposed, ToolStartRefused, ToolStarted, TurnAttemptFailed, TurnCommitted,
    TurnOpened, TurnTrigger,
};
use ruche_domain::ids::{CallId, LedgerId, SessionId, TurnId};
use ruche_domain::measures::Digest;
use ruche_domain::numbers::Micros;
use ruche_domain::stream::Category;
use ruche_ledger::store::PreparedEvent;

use super::Story;
use super::erased::Erased;
use super::workers::told;
use super::world::{Fresh, World};
use crate::rebuild::{OnDifference, RebuildProgress};
use crate::runner::Runner;
use crate::tool_effects::{EffectState, NotExecutedCause, ToolEffect};
use crate::{sessions, tool_effects, turns};

/// A turn of a lane whose calls are told of.
struct Lane {
    story: Story,
    session: SessionId,
    turn: TurnId,
    events: Vec<PreparedEvent>,
}

impl Lane {
    fn new() -> Self {
        let mut story = Story::new(1);
        let session = story.session_id(1);
        let turn = story.turn_id(session, 0);
        story.enter(session);
        let mut lane = Self {
            story,
            session,
            turn,
            events: Vec::new(),
        };
        lane.turn(TurnOpened::new(TurnTrigger::User));
        lane
    }

    fn id(&self, n: u64) -> CallId {
        self.story.references.call(self.turn, n)
    }

    fn turn(&mut self, fact: impl Into<AgentEvent>) {
        let turn = self.turn;
        let mut event = self.story.event(fact);
        event.event.stream.category = Category::Lane;
        (event.event.turn, event.event.call) = (Some(turn), None);
        self.events.push(event);
    }

    /// An event of a call, in the stream of its lane or of its approval.
    fn call(&mut self, n: u64, fact: impl Into<AgentEvent>) {
        let (turn, call) = (self.turn, self.id(n));
        let mut event = self.story.event(fact);
        event.event.stream.category = match event.event.event_type.starts_with("approval.") {
            true => Category::Approval,
            false => Category::Lane,
        };
        (event.event.turn, event.event.call) = (Some(turn), Some(call));
        self.events.push(event);
    }

    fn proposed(&mut self, n: u64) {
        self.call(n, ToolProposed::new("refund".to_owned(), "{}".to_owned()));
    }

    fn evaluated(&mut self, n: u64, verdict: PolicyVerdict) {
        let (point, digest) = (InterventionPoint::PreToolCall, Digest([1; 32]));
        self.call(
            n,
            PolicyEvaluated::new("d".to_owned(), point, verdict, digest, digest),
        );
    }

    fn asked(&mut self, n: u64) {
        self.proposed(n);
        self.evaluated(n, PolicyVerdict::RequireApproval);
        let (rule, at) = (ApprovalRule::new(1), Micros(n));
        self.call(
            n,
            ApprovalRequested::new(Digest([1; 32]), rule, at, ApprovalMode::Detached),
        );
        self.call(n, ToolDeferred::new("handle".to_owned()));
    }

    fn refused(&mut self, n: u64, refusal: StartRefusal) {
        self.call(n, ToolStartRefused::new("refund".to_owned(), refusal));
    }
}

async fn effect(world: &World, ledger: LedgerId, call: CallId) -> ToolEffect {
    let found = tool_effects::by_calls(world.reads(), ledger, &[call]).await;
    found.expect("it can be read").remove(&call).expect("a row")
}

/// Telemetry comes in any order: the run of a call may be told before its proposal.
pub async fn a_proposal_that_is_told_late_takes_no_call_back(fresh: Fresh) {
    let mut lane = Lane::new();
    lane.call(0, ToolStarted::new("refund".to_owned()));
    lane.call(0, ToolCompleted::default());
    lane.proposed(0);
    lane.proposed(1);
    lane.call(1, ToolNotExecuted::new(ToldCause::Denied, vec![]));
    lane.proposed(1);
    for batch in [1, 100] {
        let (world, ledger) = told(fresh, lane.events.clone(), batch).await;
        let late = effect(&world, ledger, lane.id(0)).await;
        let arguments = late.arguments.as_deref();
        assert_eq!((late.status, arguments), (EffectState::Completed, Some("{}")));
        let again = effect(&world, ledger, lane.id(1)).await;
        assert_eq!(again.status, EffectState::Proposed, "a call may be proposed anew");
    }
}

pub async fn a_call_that_never_runs_says_why(fresh: Fresh) {
    let mut lane = Lane::new();
    let approved = || ApprovalResolved::new(ApprovalOutcome::Approved);
    lane.proposed(0);
    lane.evaluated(0, PolicyVerdict::Allow);
    lane.proposed(1);
    lane.evaluated(1, PolicyVerdict::Deny);
    lane.asked(2);
    let mut rejected = ApprovalResolved::new(ApprovalOutcome::Rejected);
    rejected.detail = Some("not that file".to_owned());
    lane.call(2, rejected);
    lane.refused(2, StartRefusal::Denied);
    lane.asked(3);
    lane.call(3, ApprovalExpired::new(Micros(3)));
    lane.asked(4);
    lane.call(4, approved());
    lane.call(4, ApprovalStale::new(vec![StaleCause::ReviewerKey]));
    lane.refused(4, StartRefusal::RevokedKey);
    lane.asked(5);
    lane.call(5, approved());
    lane.call(5, ApprovalVoided { reason: None });
    lane.refused(5, StartRefusal::Expired);
    lane.asked(6);
    lane.refused(6, StartRefusal::NotApproved);
    lane.asked(7);
    lane.call(7, ApprovalCancelled::new("superseded".to_owned()));
    lane.proposed(8);
    lane.refused(8, StartRefusal::Stale);
    lane.proposed(9);
    lane.call(9, ToolStarted::new("refund".to_owned()));
    lane.call(9, ToolCompleted::default());
    lane.proposed(10);
    lane.call(10, ToolNotExecuted::new(ToldCause::NoExecutionSeen, vec![]));
    // Of another session, under the turn of this one.
    let other = lane.story.session_id(2);
    lane.story.enter(other);
    lane.proposed(11);
    let session = lane.session;
    lane.story.enter(session);
    lane.turn(TurnCommitted::default());

    use EffectState::{Completed, Deferred, NotExecuted, Proposed};
    let expected = [
        (NotExecuted, Some(NotExecutedCause::TurnGone)),
        (NotExecuted, Some(NotExecutedCause::Denied)),
        (NotExecuted, Some(NotExecutedCause::Rejected)),
        (NotExecuted, Some(NotExecutedCause::Expired)),
        (NotExecuted, Some(NotExecutedCause::Stale)),
        (NotExecuted, Some(NotExecutedCause::Expired)),
        (Deferred, None),
        (NotExecuted, Some(NotExecutedCause::TurnGone)),
        (NotExecuted, Some(NotExecutedCause::Stale)),
        (Completed, None),
        (NotExecuted, Some(NotExecutedCause::NoExecutionSeen)),
        (Proposed, None),
    ];
    for batch in [1, 3, 100] {
        let (world, ledger) = told(fresh, lane.events.clone(), batch).await;
        for (n, expected) in (0..).zip(expected) {
            let effect = effect(&world, ledger, lane.id(n)).await;
            assert_eq!(
                (effect.status, effect.not_executed_cause),
                expected,
                "call {n}, batches of {batch}"
            );
            let reason = (n == 2).then_some("not that file");
            assert_eq!(effect.not_executed_reason.as_deref(), reason, "call {n}");
        }
    }
}

pub async fn what_stands_in_the_name_of_an_event_holds_when_its_payload_is_gone(fresh: Fresh) {
    let mut lane = Lane::new();
    let started = |lane: &mut Lane, n| {
        lane.proposed(n);
        lane.call(n, ToolStarted::new("refund".to_owned()));
    };
    for n in 0..2 {
        started(&mut lane, n);
        lane.call(n, ToolOutcomeUnknown::new("timeout".to_owned()));
    }
    let found = AssertedOutcome::Completed;
    lane.call(
        0,
        ToolOutcomeAsserted::new(found, "ann".to_owned(), "seen".to_owned()),
    );
    for n in 2..4 {
        started(&mut lane, n);
        lane.call(n, ToolCompleted::default());
        lane.call(n, ToolCompensationFailed::new("down".to_owned()));
    }
    // What else a person is called for says nothing of a call in doubt.
    for n in [1, 3] {
        lane.call(n, InfraManualInterventionRequired::new("a reason".to_owned()));
    }
    lane.proposed(4);
    lane.asked(5);
    lane.call(5, ApprovalExpired::new(Micros(5)));
    lane.turn(TurnAttemptFailed::new(1, "broken".to_owned()));
    lane.turn(SessionInputRequired::new("r".to_owned(), InputKind::Text));

    let world = World::new(fresh).await;
    let ledger = world.feed.open(1).await;
    world.feed.append(ledger, lane.events.clone()).await;
    let feed: Arc<dyn ruche_ledger::store::EventStore> = Arc::new(Erased(world.feed_store()));
    let runner = Runner::new(feed.clone(), world.read_store());
    runner.catch_up(ledger).await.expect("nothing fails here");
    let rebuilt = world
        .models
        .rebuild(feed, OnDifference::Keep, &RebuildProgress::default())
        .await;
    assert_eq!(rebuilt.expect("it is rebuilt").differences, []);

    let expected = [
        EffectState::Asserted,
        EffectState::OutcomeUnknown,
        EffectState::Completed,
        EffectState::CompensationFailed,
        EffectState::Proposed,
        EffectState::NotExecuted,
    ];
    for (n, expected) in (0..).zip(expected) {
        let effect = effect(&world, ledger, lane.id(n)).await;
        assert_eq!((effect.status, effect.erased), (expected, true), "call {n}");
    }
    let settled = effect(&world, ledger, lane.id(0)).await;
    assert!(settled.outcome_position.is_some() && settled.error.is_none());
    let turn = turns::get(world.reads(), ledger, lane.turn).await;
    let turn = turn.expect("it can be read").expect("a row");
    assert_eq!(turn.status.name(), "draining");
    let session = sessions::get(world.reads(), ledger, lane.session).await;
    let session = session.expect("it can be read").expect("a row");
    assert_eq!(session.status.name(), "input_required");
}
