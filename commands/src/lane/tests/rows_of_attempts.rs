//! Rows 8, 9, 23, 24 and 26: what workers do.

use ruche_domain::event::AgentEvent;
use ruche_domain::events::{AssertedOutcome, PolicyVerdict, StaleCause};
use ruche_domain::side_effect::SideEffectPolicy;

use super::world::{EffectStatus, World, completed, failed, unknown};
use crate::lane::*;

#[test]
fn row_08_an_effect_starts_with_its_intent() {
    let mut world = World::queueing();
    world.processing();
    let (call, propose) = world.proposal(SideEffectPolicy::Idempotent, PolicyVerdict::Allow);
    assert_eq!(world.when(propose), ["tool.proposed", "policy.evaluated"]);
    assert_eq!(world.when(world.start(call)), ["tool.started"]);
    assert_eq!(
        (world.rows.as_slice(), world.status(call)),
        (&[8][..], Some(EffectStatus::InFlight))
    );
    assert_eq!(
        world.blocked(world.start(call)),
        Obstacle::CallNotThere,
        "it runs already"
    );
}

#[test]
fn row_08_an_irreversible_effect_uses_up_its_approval_and_is_a_commit_point() {
    let mut world = World::queueing();
    let turn = world.processing();
    let (call, propose) = world.proposal(SideEffectPolicy::Irreversible, PolicyVerdict::Allow);
    world.when(propose);
    assert_eq!(world.rows, [10], "policy alone does not allow it");
    let approve = world.approve(call);
    world.when(approve);
    let types = world.when(world.start(call));
    assert_eq!(
        types,
        ["approval.consumed", "tool.started", "turn.commit_point_reached"]
    );
    let point = world.lane.turn(turn).unwrap().commit_point.unwrap();
    assert_eq!(point.call, Some(call));
    world.when(world.report(call, failed()));
    assert_eq!(
        world.start_refused(call),
        Obstacle::ApprovalMissing,
        "an approval is used once"
    );
}

#[test]
fn row_08_what_was_denied_or_is_too_old_does_not_start() {
    let mut world = World::queueing();
    world.processing();
    let (call, propose) = world.proposal(SideEffectPolicy::Pure, PolicyVerdict::Deny);
    world.when(propose);
    assert_eq!(world.start_refused(call), Obstacle::Denied);
    let (call, propose) = world.proposal(SideEffectPolicy::Irreversible, PolicyVerdict::Allow);
    world.when(propose);
    let approve = world.approve(call);
    world.when(approve);
    world.wait(world.settings.approval_us);
    assert_eq!(world.start_refused(call), Obstacle::ApprovalExpired);
}

#[test]
fn row_33_what_was_approved_does_not_start_once_it_is_not_so_any_more() {
    for (cause, obstacle) in [
        (StaleCause::ReviewerKey, Obstacle::KeyRevoked),
        (StaleCause::Action, Obstacle::Changed),
    ] {
        let mut world = World::queueing();
        world.processing();
        let (call, propose) = world.proposal(SideEffectPolicy::Irreversible, PolicyVerdict::Allow);
        world.when(propose);
        let approve = world.approve(call);
        world.when(approve);
        let Intent::StartEffect(mut held) = world.start(call) else {
            unreachable!()
        };
        held.what.changed = vec![cause];
        let start = Intent::StartEffect(held);
        assert_eq!(world.when(start), ["approval.stale", "tool.start_refused"]);
        assert_eq!(world.rows, [33]);
        let AgentEvent::ToolStartRefused(refused) = &world.log.last().unwrap().fact else {
            panic!("{:?}", world.log.last());
        };
        assert_eq!(crate::lane::obstacle(refused.refusal), obstacle);
        assert_eq!(
            world.start_refused(call),
            Obstacle::Denied,
            "it has to be proposed anew"
        );
        let approval = world.lane.calls[&call].approval.unwrap();
        assert_eq!(world.lane.approvals[&approval].state, ApprovalState::Closed);
    }
}

#[test]
fn row_08_what_starts_is_what_was_approved() {
    let mut world = World::queueing();
    world.processing();
    let (call, propose) = world.proposal(SideEffectPolicy::Irreversible, PolicyVerdict::Allow);
    let Intent::ProposeAction(mut held) = propose else {
        unreachable!()
    };
    held.what.proposed.action_digest = None;
    world.when(Intent::ProposeAction(held));
    let approve = world.approve(call);
    world.when(approve);
    assert_eq!(world.start_refused(call), Obstacle::ActionChanged);
}

#[test]
fn row_09_an_effect_settles() {
    let mut world = World::queueing();
    let turn = world.processing();
    for (outcome, event, status) in [
        (completed(), "tool.completed", EffectStatus::Completed),
        (failed(), "tool.failed", EffectStatus::Failed),
        (unknown(), "tool.outcome_unknown", EffectStatus::OutcomeUnknown),
    ] {
        let call = world.running(SideEffectPolicy::Compensatable);
        assert_eq!(world.when(world.report(call, outcome)), [event]);
        assert_eq!(
            (world.rows.as_slice(), world.status(call)),
            (&[9][..], Some(status))
        );
    }
    assert_eq!(world.state(turn), TurnState::Processing);
}

#[test]
fn row_23_a_turn_is_committed_once_all_is_settled() {
    let mut world = World::queueing();
    let turn = world.processing();
    let call = world.running(SideEffectPolicy::Idempotent);
    let commit = world.commit();
    assert_eq!(world.blocked(commit.clone()), Obstacle::EffectUnsettled);
    world.when(world.report(call, completed()));
    assert_eq!(world.when(commit), ["turn.committed", "message.sent"]);
    assert_eq!(
        (world.rows.as_slice(), world.state(turn)),
        (&[23][..], TurnState::Committed)
    );
}

#[test]
fn row_23_an_approval_that_was_not_used_is_void() {
    let mut world = World::queueing();
    world.processing();
    let (call, propose) = world.proposal(SideEffectPolicy::Irreversible, PolicyVerdict::Allow);
    world.when(propose);
    let approve = world.approve(call);
    world.when(approve);
    let commit = world.commit();
    assert_eq!(
        world.when(commit),
        ["turn.committed", "message.sent", "approval.voided"]
    );
}

#[test]
fn row_24_an_attempt_that_failed_is_followed_by_another_after_a_wait() {
    let mut world = World::queueing();
    let turn = world.processing();
    let kept = world.completed(SideEffectPolicy::Idempotent);
    let lost = world.running(SideEffectPolicy::Idempotent);
    let types = world.when(world.fail(true));
    assert_eq!(
        types,
        ["tool.outcome_unknown", "turn.attempt_failed", "turn.readied"]
    );
    assert_eq!(
        (world.rows.as_slice(), world.state(turn)),
        (&[24][..], TurnState::Ready)
    );
    let claim = world.claim();
    assert!(matches!(
        world.refused(claim.clone()),
        Rejection::NothingReady { not_before: Some(_) }
    ));
    world.wait(1_000_000);
    assert_eq!(world.when(claim), ["turn.started"]);
    assert_eq!(world.lane.turn(turn).unwrap().attempt, 2);
    assert_eq!(
        world.blocked(world.start(kept)),
        Obstacle::CallNotThere,
        "what is done is done"
    );
    assert_eq!(
        world.when(world.start(lost)),
        ["tool.started"],
        "under its key twice is once"
    );
}

#[test]
fn row_26_a_lease_that_lapses_gives_the_turn_to_another_worker() {
    let mut world = World::queueing();
    let turn = world.processing();
    let dead = world.held(());
    let pure = world.running(SideEffectPolicy::Pure);
    world.wait(20_000_000);
    assert_eq!(
        world.when(Intent::HeartbeatTurn(dead.clone())),
        ["infra.lease_renewed"]
    );
    world.wait(29_999_999);
    let fire = world.fire();
    assert!(matches!(
        world.refused(fire.clone()),
        Rejection::NothingDue { .. }
    ));
    world.wait(1);
    assert_eq!(
        world.when(fire),
        ["infra.lease_expired", "tool.failed", "turn.readied"]
    );
    assert_eq!(
        (world.rows.as_slice(), world.state(turn)),
        (&[26][..], TurnState::Ready)
    );
    assert_eq!(world.status(pure), Some(EffectStatus::Failed));
    let claim = world.claim();
    assert!(
        matches!(
            world.refused(claim.clone()),
            Rejection::NothingReady { not_before: Some(_) }
        ),
        "what killed one worker may kill the next"
    );
    world.wait(1_000_000);
    world.when(claim);
    let refused = world.refused(Intent::HeartbeatTurn(dead));
    assert_eq!(
        refused,
        Rejection::LeaseLost {
            state: TurnState::Processing,
            epoch: Some(2)
        }
    );
}

#[test]
fn row_26_an_irreversible_effect_in_doubt_waits_for_a_person() {
    let mut world = World::queueing();
    let turn = world.processing();
    let call = world.running(SideEffectPolicy::Irreversible);
    world.wait(30_000_000);
    let fire = world.fire();
    let types = world.when(fire);
    assert_eq!(
        types,
        [
            "infra.lease_expired",
            "tool.outcome_unknown",
            "infra.manual_intervention_required"
        ]
    );
    assert_eq!(
        (world.rows.as_slice(), world.state(turn)),
        (&[26][..], TurnState::AwaitingApproval)
    );
    assert!(matches!(
        world.blocked(world.cancel(turn)),
        Obstacle::CommitPoint(_)
    ));
    let assert = world.assert_outcome(call, AssertedOutcome::Completed);
    assert_eq!(world.when(assert), ["tool.outcome_asserted", "turn.readied"]);
    let claim = world.claim();
    world.when(claim);
    assert_eq!(world.start_refused(call), Obstacle::ApprovalMissing);
    assert_eq!(world.blocked(world.start(call)), Obstacle::CallNotThere);
}

/// The wait counts from the end of the lease: when somebody noticed is no part of it.
#[test]
fn row_26_a_lease_that_lapses_again_is_waited_for_longer() {
    let mut world = World::queueing();
    let turn = world.processing();
    for (attempt, wait_us) in [(1, 1_000_000), (2, 2_000_000)] {
        world.wait(30_000_000);
        let lapsed = world.now.0;
        world.wait(500_000);
        let fire = world.fire();
        world.when(fire);
        let of = world.lane.turn(turn).unwrap();
        assert_eq!(
            (of.attempt, of.not_before.map(|at| at.0)),
            (attempt, Some(lapsed + wait_us))
        );
        world.wait(wait_us - 500_000);
        let claim = world.claim();
        world.when(claim);
    }
}

#[test]
fn row_33_a_start_before_people_decided_is_recorded_once() {
    let mut world = World::queueing();
    let turn = world.processing();
    let other = world.completed(SideEffectPolicy::Idempotent);
    let (call, propose) = world.proposal(SideEffectPolicy::Irreversible, PolicyVerdict::Allow);
    world.when(propose);
    assert_eq!(world.when(world.start(call)), ["tool.start_refused"]);
    assert_eq!(
        (world.rows.as_slice(), world.state(turn)),
        (&[33][..], TurnState::AwaitingApproval)
    );
    for call in [call, other] {
        let refused = world.refused(world.start(call));
        let state = TurnState::AwaitingApproval;
        assert!(
            matches!(refused, Rejection::IllegalTransition { state: told, .. } if told == state),
            "{refused:?}"
        );
    }
    let approve = world.approve(call);
    world.when(approve);
    assert!(world.when(world.start(call)).contains(&"tool.started"));
}

#[test]
fn row_33_a_second_start_under_one_approval_is_recorded_once() {
    let mut world = World::queueing();
    world.processing();
    let call = world.running(SideEffectPolicy::Irreversible);
    assert_eq!(world.when(world.start(call)), ["tool.start_refused"]);
    assert_eq!(world.blocked(world.start(call)), Obstacle::CallNotThere);
    let pure = world.running(SideEffectPolicy::Pure);
    assert_eq!(
        world.blocked(world.start(pure)),
        Obstacle::CallNotThere,
        "it needed no approval"
    );
}

#[test]
fn row_26_without_an_attempt_left_the_turn_fails() {
    let mut world = World::queueing();
    world.settings.attempts_max = 1;
    let turn = world.processing();
    world.wait(30_000_000);
    let fire = world.fire();
    assert_eq!(
        world.when(fire),
        [
            "infra.lease_expired",
            "turn.failed",
            "infra.manual_intervention_required"
        ]
    );
    assert_eq!(
        (world.rows.as_slice(), world.state(turn)),
        (&[26, 25][..], TurnState::Failed)
    );
}

#[test]
fn row_28_a_claim_leads_out_of_ready_with_a_new_fencing_number() {
    let mut world = World::queueing();
    let turn = world.processing();
    assert_eq!(
        (world.rows.as_slice(), world.state(turn)),
        (&[28][..], TurnState::Processing)
    );
    let AgentEvent::TurnStarted(started) = &world.log.last().unwrap().fact else {
        panic!("not started")
    };
    assert_eq!((started.attempt, started.lease_epoch), (1, Some(1)));
    let claim = world.claim();
    assert_eq!(
        world.refused(claim),
        Rejection::NothingReady { not_before: None },
        "one worker has it"
    );
}

#[test]
fn row_30_words_that_cannot_be_taken_back_are_a_commit_point() {
    let mut world = World::cancelling();
    let turn = world.processing();
    let send = world.send();
    assert_eq!(world.when(send), ["message.sent", "turn.commit_point_reached"]);
    assert!(matches!(
        world.blocked(world.cancel(turn)),
        Obstacle::CommitPoint(_)
    ));
}

#[test]
fn a_call_that_leaves_a_trace_needs_a_business_key() {
    let mut world = World::queueing();
    world.processing();
    for (side_effect, needed) in [
        (SideEffectPolicy::Pure, false),
        (SideEffectPolicy::Idempotent, true),
    ] {
        let (_, propose) = world.proposal(side_effect, PolicyVerdict::Allow);
        let Intent::ProposeAction(mut held) = propose else {
            unreachable!()
        };
        held.what.proposed.business_key = None;
        let refused = world.ask(Intent::ProposeAction(held)).err() == Some(Rejection::BusinessKeyMissing);
        assert_eq!(refused, needed, "{side_effect}");
    }
}
