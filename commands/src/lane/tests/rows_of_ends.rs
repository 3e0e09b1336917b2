//! Rows 17 to 19, 22, 25, 27 and 35: how turns end early, and that an end is an end.

use ruche_domain::event::AgentEvent;
use ruche_domain::events::{ApprovalOutcome, AssertedOutcome, PolicyVerdict};
use ruche_domain::side_effect::SideEffectPolicy;

use super::world::{EffectStatus, World, completed, unknown};
use crate::lane::*;

#[test]
fn row_17_an_effect_under_way_is_waited_for() {
    let mut world = World::cancelling();
    let old = world.processing();
    let call = world.running(SideEffectPolicy::Idempotent);
    let pure = world.running(SideEffectPolicy::Pure);
    let message = world.message();
    let types = world.when(message);
    assert_eq!(
        types[2..],
        ["turn.supersede_requested", "tool.failed"],
        "a pure call is given up"
    );
    assert_eq!(
        (world.rows.as_slice(), world.state(old)),
        (&[1, 15, 17][..], TurnState::Cancelling)
    );
    assert_eq!(world.status(pure), Some(EffectStatus::Failed));
    let successor = world.last();
    world.when(Intent::FlushTurn { turn: successor });
    assert_eq!(
        world.state(successor),
        TurnState::Queued,
        "the lane is still held"
    );
    assert_eq!(
        world.when(world.report(call, completed())),
        [
            "tool.completed",
            "turn.drained",
            "turn.superseded",
            "turn.readied"
        ]
    );
    assert_eq!(world.rows, [9, 19, 7]);
}

#[test]
fn row_17_waiting_has_an_end() {
    let mut world = World::cancelling();
    let old = world.processing();
    world.running(SideEffectPolicy::Idempotent);
    let message = world.message();
    world.when(message);
    world.when(Intent::FlushTurn { turn: world.last() });
    world.wait(30_000_000);
    let fire = world.fire();
    assert_eq!(
        world.when(fire),
        [
            "tool.outcome_unknown",
            "turn.drained",
            "turn.superseded",
            "turn.readied"
        ]
    );
    assert_eq!(world.state(old), TurnState::Superseded);
}

#[test]
fn row_18_what_was_done_is_undone_the_last_first() {
    let mut world = World::cancelling();
    let old = world.processing();
    let first = world.completed(SideEffectPolicy::Compensatable);
    let second = world.completed(SideEffectPolicy::Compensatable);
    world.completed(SideEffectPolicy::Idempotent);
    let message = world.message();
    let types = world.when(message);
    assert_eq!(
        types[2..],
        ["turn.supersede_requested", "turn.drained", "turn.compensating"]
    );
    assert_eq!(
        (world.rows.as_slice(), world.state(old)),
        (&[1, 15, 18][..], TurnState::Compensating)
    );
    let AgentEvent::TurnCompensating(undo) = &world.log.last().unwrap().fact else {
        panic!("not undoing")
    };
    let order: Vec<_> = undo.effects.iter().map(|effect| effect.call_id).collect();
    assert_eq!(order, [second, first]);
}

#[test]
fn row_18_an_effect_in_doubt_is_undone_too() {
    let mut world = World::cancelling();
    let old = world.processing();
    let call = world.running(SideEffectPolicy::Compensatable);
    world.when(world.report(call, unknown()));
    let message = world.message();
    world.when(message);
    assert_eq!(world.state(old), TurnState::Compensating);
    let assert = world.assert_outcome(call, AssertedOutcome::NotExecuted);
    assert_eq!(
        world.when(assert),
        ["tool.outcome_asserted", "turn.superseded"],
        "or a person says it is not there"
    );
}

#[test]
fn row_19_with_nothing_left_the_outcome_is_the_pending_one() {
    let mut world = World::queueing();
    let turn = world.processing();
    assert_eq!(
        world.when(world.cancel(turn)),
        ["turn.cancel_requested", "turn.cancelled"]
    );
    assert_eq!(
        (world.rows.as_slice(), world.state(turn)),
        (&[22, 19][..], TurnState::Cancelled)
    );
}

#[test]
fn row_22_a_cancelled_turn_takes_its_approval_back_and_undoes_what_it_did() {
    let mut world = World::queueing();
    let turn = world.processing();
    let done = world.completed(SideEffectPolicy::Compensatable);
    let (_, propose) = world.proposal(SideEffectPolicy::Irreversible, PolicyVerdict::Allow);
    world.when(propose);
    let types = world.when(world.cancel(turn));
    assert_eq!(
        types,
        [
            "turn.cancel_requested",
            "approval.cancelled",
            "turn.drained",
            "turn.compensating"
        ]
    );
    assert_eq!(world.rows, [22, 18]);
    assert_eq!(
        world.when(world.undone(done)),
        ["tool.compensated", "turn.cancelled"]
    );
    assert_eq!(world.state(turn), TurnState::Cancelled);
}

#[test]
fn row_22_past_a_commit_point_nobody_cancels() {
    let mut world = World::queueing();
    let turn = world.processing();
    world.completed(SideEffectPolicy::Irreversible);
    assert!(matches!(
        world.blocked(world.cancel(turn)),
        Obstacle::CommitPoint(_)
    ));
}

#[test]
fn row_25_a_fatal_error_ends_the_turn_once_effects_are_settled() {
    let mut world = World::queueing();
    let turn = world.processing();
    let call = world.running(SideEffectPolicy::Compensatable);
    assert_eq!(world.blocked(world.fail(false)), Obstacle::EffectUnsettled);
    world.when(world.report(call, completed()));
    let types = world.when(world.fail(false));
    assert_eq!(
        types,
        ["turn.attempt_failed", "turn.drained", "turn.compensating"]
    );
    assert_eq!(world.rows, [25, 18]);
    assert_eq!(
        world.when(world.undone(call)),
        ["tool.compensated", "turn.failed"]
    );
    let AgentEvent::TurnFailed(failed) = &world.log.last().unwrap().fact else {
        panic!("not failed")
    };
    assert_eq!(
        (failed.error_type.as_str(), failed.compensation_complete),
        ("broken", Some(true))
    );
    assert_eq!(world.state(turn), TurnState::Failed);

    let turn = world.processing();
    assert_eq!(world.when(world.fail(false)), ["turn.failed"]);
    assert_eq!(
        (world.rows.as_slice(), world.state(turn)),
        (&[25][..], TurnState::Failed)
    );
}

#[test]
fn row_25_a_retryable_error_without_an_attempt_left_is_fatal() {
    let mut world = World::queueing();
    world.settings.attempts_max = 2;
    let turn = world.processing();
    world.when(world.fail(true));
    world.wait(1_000_000);
    let claim = world.claim();
    world.when(claim);
    assert_eq!(
        world.when(world.fail(true)),
        ["turn.failed", "infra.manual_intervention_required"],
        "a dead letter"
    );
    assert_eq!(world.state(turn), TurnState::Failed);
}

#[test]
fn row_25_a_turn_that_takes_too_long_fails_and_what_is_in_doubt_is_asked_first() {
    let mut world = World::queueing();
    world.settings.turn_us_max = 10_000_000;
    let turn = world.processing();
    let call = world.running(SideEffectPolicy::Irreversible);
    world.wait(10_000_000);
    let fire = world.fire();
    let types = world.when(fire);
    assert_eq!(
        types,
        [
            "tool.outcome_unknown",
            "turn.attempt_failed",
            "infra.manual_intervention_required"
        ]
    );
    assert_eq!(world.state(turn), TurnState::Cancelling);
    let assert = world.assert_outcome(call, AssertedOutcome::Completed);
    assert_eq!(
        world.when(assert),
        ["tool.outcome_asserted", "turn.drained", "turn.failed"]
    );
}

/// A worker that is gone for good leaves a call in doubt: the turn fails, and a person still says what became of the call.
#[test]
fn row_32_what_a_failed_turn_left_in_doubt_a_person_says_once() {
    for outcome in AssertedOutcome::ALL.iter().copied() {
        let mut world = World::queueing();
        world.settings.attempts_max = 1;
        let turn = world.processing();
        let call = world.running(SideEffectPolicy::Idempotent);
        world.wait(30_000_000);
        let fire = world.fire();
        world.when(fire);
        assert_eq!(
            (world.state(turn), world.status(call)),
            (TurnState::Failed, Some(EffectStatus::OutcomeUnknown))
        );
        let before = world.lane.turn(turn).cloned();
        let assert = world.assert_outcome(call, outcome);
        assert_eq!(world.when(assert.clone()), ["tool.outcome_asserted"]);
        assert_eq!(
            (world.rows.as_slice(), world.lane.turn(turn)),
            (&[32][..], before.as_ref()),
            "the turn does not move"
        );
        let status = match outcome {
            AssertedOutcome::Completed => EffectStatus::Completed,
            AssertedOutcome::NotExecuted => EffectStatus::Failed,
        };
        assert_eq!(world.status(call), Some(status));
        assert_eq!(world.blocked(assert), Obstacle::CallNotThere, "it was said");
    }
}

/// A person needs longer than the turn may run, and then no worker is there: neither is the turn's fault.
#[test]
fn row_25_a_turn_is_not_overdue_for_having_waited() {
    let mut world = World::queueing();
    world.settings.turn_us_max = 10_000_000;
    let turn = world.processing();
    let call = world.running(SideEffectPolicy::Irreversible);
    world.wait(4_000_000);
    world.when(world.report(call, unknown()));
    world.when(world.fail(true));
    assert_eq!(world.state(turn), TurnState::AwaitingApproval);
    world.wait(100_000_000);
    let assert = world.assert_outcome(call, AssertedOutcome::Completed);
    world.when(assert);
    world.wait(100_000_000);
    let claim = world.claim();
    world.when(claim);
    let (_, propose) = world.proposal(SideEffectPolicy::Idempotent, PolicyVerdict::RequireApproval);
    world.when(propose);
    world.wait(100_000_000);
    let call = world
        .lane
        .calls_of(turn)
        .find(|call| call.status.is_none())
        .unwrap()
        .id;
    let approve = world.approve(call);
    world.when(approve);
    // Four seconds were the first attempt's; six are left.
    world.wait(5_999_999);
    let early = world.fire();
    assert!(matches!(world.refused(early), Rejection::NothingDue { .. }));
    world.wait(1);
    let fire = world.fire();
    world.when(fire);
    assert_eq!(world.state(turn), TurnState::Failed);
}

#[test]
fn row_27_an_end_is_an_end() {
    let mut world = World::queueing();
    let turn = world.processing();
    let call = world.completed(SideEffectPolicy::Irreversible);
    let worker = world.held(());
    let commit = world.commit();
    world.when(commit.clone());
    let Intent::CommitTurn(held) = commit else {
        unreachable!()
    };
    let with = |what| Held {
        turn: held.turn,
        lease: held.lease.clone(),
        what,
    };
    let intents = [
        Intent::FlushTurn { turn },
        world.cancel(turn),
        Intent::HeartbeatTurn(worker),
        Intent::FailTurn(Held {
            turn,
            lease: held.lease.clone(),
            what: FailTurn {
                error_type: "late".to_owned(),
                error: None,
                retryable: true,
            },
        }),
        Intent::CommitTurn(with(held.what.clone())),
        world.assert_outcome(call, AssertedOutcome::Completed),
        world.undone(call),
    ];
    for intent in intents {
        let name = intent.name();
        let refused = world.refused(intent);
        let expected = Rejection::IllegalTransition {
            state: TurnState::Committed,
            legal: &[],
            waits: None,
        };
        assert_eq!(refused, expected, "{name}");
    }
    let resolve = world.resolve(call, ApprovalOutcome::Rejected);
    assert_eq!(world.blocked(resolve), Obstacle::ApprovalDecided);
}

#[test]
fn a_refusal_names_the_state_and_the_commands_that_it_knows() {
    let mut world = World::queueing();
    let message = world.message();
    world.when(message);
    let turn = world.last();
    world.when(Intent::FlushTurn { turn });
    let refused = world.refused(Intent::FlushTurn { turn });
    let legal: &[&str] = &["CancelTurn", "ClaimTurn", "ResolveOutcome", "SubmitMessage"];
    assert_eq!(
        refused,
        Rejection::IllegalTransition {
            state: TurnState::Ready,
            legal,
            waits: None,
        }
    );
    assert_eq!(refused.to_string(), "not possible while the turn is ready");
}

#[test]
fn row_35_a_call_past_its_time_is_in_doubt_and_its_worker_may_still_find_out() {
    for side_effect in SideEffectPolicy::ALL.iter().copied() {
        let mut world = World::queueing();
        let turn = world.processing();
        let call = world.running_until(side_effect, 5_000_000);
        world.wait(4_999_999);
        let early = world.fire();
        assert!(matches!(world.refused(early), Rejection::NothingDue { .. }));
        world.wait(1);
        let fire = world.fire();
        let says = world.when(fire);
        assert_eq!(
            (world.rows.as_slice(), world.state(turn)),
            (&[35][..], TurnState::Processing)
        );
        if side_effect == SideEffectPolicy::Pure {
            assert_eq!(says, ["tool.failed"]);
            assert!(world.ask(world.start(call)).is_ok(), "it may run again");
            continue;
        }
        assert_eq!(says, ["tool.outcome_unknown"]);
        let late = world.report(call, super::world::completed());
        if side_effect == SideEffectPolicy::Irreversible {
            assert_eq!(world.blocked(late), Obstacle::OutcomeForPerson);
            let commit = world.commit();
            assert_eq!(world.blocked(commit), Obstacle::EffectUnsettled);
        } else {
            assert_eq!(world.when(late), ["tool.completed"]);
        }
        assert_eq!(
            world.lane.next_timer().map(|(_, timer)| timer),
            Some(Timer::Lease(turn))
        );
    }
}

#[test]
fn row_35_what_takes_too_long_ends_the_draining_of_its_turn() {
    let mut world = World::queueing();
    let turn = world.processing();
    world.running_until(SideEffectPolicy::Compensatable, 5_000_000);
    world.when(world.cancel(turn));
    assert_eq!(world.state(turn), TurnState::Cancelling);
    world.wait(5_000_000);
    let fire = world.fire();
    assert_eq!(
        world.when(fire),
        ["tool.outcome_unknown", "turn.drained", "turn.compensating"]
    );
    assert_eq!(world.rows, [35, 18]);
}
