//! Rows 10 to 14: what people decide.

use ruche_domain::events::{ApprovalMode, ApprovalOutcome, PolicyVerdict};
use ruche_domain::ids::CallId;
use ruche_domain::measures::Digest;
use ruche_domain::side_effect::SideEffectPolicy;

use super::world::World;
use crate::lane::*;

/// A turn that asked for an approval.
fn asking(mode: ApprovalMode) -> (World, CallId) {
    let mut world = World::queueing();
    world.settings.approval_mode = mode;
    world.processing();
    let (call, propose) = world.proposal(SideEffectPolicy::Compensatable, PolicyVerdict::RequireApproval);
    world.when(propose);
    (world, call)
}

#[test]
fn row_10_a_turn_waits_for_a_blocking_approval() {
    let mut world = World::queueing();
    let turn = world.processing();
    let busy = world.running(SideEffectPolicy::Pure);
    let (_, propose) = world.proposal(SideEffectPolicy::Compensatable, PolicyVerdict::RequireApproval);
    assert_eq!(world.blocked(propose.clone()), Obstacle::EffectUnsettled);
    world.when(world.report(busy, super::world::completed()));
    assert_eq!(
        world.when(propose),
        ["tool.proposed", "policy.evaluated", "approval.requested"]
    );
    assert_eq!(
        (world.rows.as_slice(), world.state(turn)),
        (&[10][..], TurnState::AwaitingApproval)
    );
    // A person takes longer than a lease.
    world.wait(3_600_000_000);
    let fire = world.fire();
    assert!(matches!(world.refused(fire), Rejection::NothingDue { .. }));
}

#[test]
fn row_11_a_turn_goes_on_without_a_detached_approval() {
    let mut world = World::queueing();
    world.settings.approval_mode = ApprovalMode::Detached;
    let turn = world.processing();
    let (call, propose) = world.proposal(SideEffectPolicy::Irreversible, PolicyVerdict::Allow);
    let types = world.when(propose);
    assert_eq!(
        types,
        [
            "tool.proposed",
            "policy.evaluated",
            "approval.requested",
            "tool.deferred"
        ]
    );
    assert_eq!(
        (world.rows.as_slice(), world.state(turn)),
        (&[11][..], TurnState::Processing)
    );
    assert_eq!(world.start_refused(call), Obstacle::ApprovalMissing);
    let commit = world.commit();
    assert_eq!(
        world.when(commit),
        ["turn.committed", "message.sent"],
        "the request outlives the turn"
    );

    let approve = world.approve(call);
    let types = world.when(approve);
    assert_eq!(
        types,
        [
            "approval.resolved",
            "turn.opened",
            "config.effective_resolved",
            "turn.readied"
        ]
    );
    assert_eq!(world.rows, [12, 11]);
    let claim = world.claim();
    world.when(claim);
    assert_ne!(world.held(()).turn, turn, "a turn of its own carries it out");
    let types = world.when(world.start(call));
    assert_eq!(
        types,
        ["approval.consumed", "tool.started", "turn.commit_point_reached"]
    );
}

#[test]
fn row_11_a_denial_opens_a_turn_too_and_nothing_starts() {
    for expires in [false, true] {
        let (mut world, call) = asking(ApprovalMode::Detached);
        let commit = world.commit();
        world.when(commit);
        let intent = if expires {
            world.wait(world.settings.approval_us);
            world.fire()
        } else {
            world.resolve(call, ApprovalOutcome::Rejected)
        };
        world.when(intent);
        assert_eq!(world.rows, [13, 11]);
        let claim = world.claim();
        world.when(claim);
        assert_eq!(world.start_refused(call), Obstacle::Denied);
    }
}

#[test]
fn row_11_a_message_does_not_take_a_decision_with_it() {
    let mut world = World::cancelling();
    world.settings.approval_mode = ApprovalMode::Detached;
    world.processing();
    let (call, propose) = world.proposal(SideEffectPolicy::Irreversible, PolicyVerdict::Allow);
    world.when(propose);
    let commit = world.commit();
    world.when(commit);
    let approve = world.approve(call);
    world.when(approve);
    let deciding = world.last();
    let message = world.message();
    world.when(message);
    assert_eq!(
        (world.rows.as_slice(), world.state(deciding)),
        (&[1, 16][..], TurnState::Ready)
    );
}

#[test]
fn row_11_a_superseded_turn_takes_its_requests_back() {
    let mut world = World::cancelling();
    world.settings.approval_mode = ApprovalMode::Detached;
    let turn = world.processing();
    let (pending, propose) = world.proposal(SideEffectPolicy::Irreversible, PolicyVerdict::Allow);
    world.when(propose);
    let (approved, propose) = world.proposal(SideEffectPolicy::Irreversible, PolicyVerdict::Allow);
    world.when(propose);
    let approve = world.approve(approved);
    world.when(approve);
    let deciding = world.last();
    assert_eq!(world.state(deciding), TurnState::Queued);
    let message = world.message();
    let types = world.when(message);
    assert_eq!(
        types[2..],
        [
            "turn.supersede_requested",
            "approval.cancelled",
            "approval.voided",
            "turn.cancelled",
            "turn.superseded"
        ]
    );
    assert_eq!(
        (world.state(turn), world.state(deciding)),
        (TurnState::Superseded, TurnState::Cancelled)
    );
    let resolve = world.approve(pending);
    assert_eq!(world.blocked(resolve), Obstacle::ApprovalDecided);
}

#[test]
fn row_12_an_approved_turn_goes_on_under_a_fresh_lease() {
    let (mut world, call) = asking(ApprovalMode::Blocking);
    world.wait(3_600_000_000);
    let approve = world.approve(call);
    assert_eq!(world.when(approve), ["approval.resolved", "infra.lease_renewed"]);
    assert_eq!(
        (world.rows.as_slice(), world.state(world.last())),
        (&[12][..], TurnState::Processing)
    );
    let fire = world.fire();
    assert!(
        matches!(world.refused(fire), Rejection::NothingDue { .. }),
        "the lease did not lapse meanwhile"
    );
    assert_eq!(
        world.when(world.start(call)),
        ["approval.consumed", "tool.started"]
    );
}

#[test]
fn row_13_a_denial_is_told_to_the_agent_or_ends_the_turn() {
    let (mut world, call) = asking(ApprovalMode::Blocking);
    let reject = world.resolve(call, ApprovalOutcome::Rejected);
    assert_eq!(world.when(reject), ["approval.resolved", "infra.lease_renewed"]);
    assert_eq!(
        (world.rows.as_slice(), world.state(world.last())),
        (&[13][..], TurnState::Processing)
    );
    assert_eq!(world.start_refused(call), Obstacle::Denied);

    let (mut world, _) = asking(ApprovalMode::Blocking);
    world.wait(world.settings.approval_us);
    let fire = world.fire();
    assert_eq!(world.when(fire), ["approval.expired", "infra.lease_renewed"]);

    let mut world = World::queueing();
    world.settings.on_deny = OnDeny::Fail;
    let turn = world.processing();
    let (call, propose) = world.proposal(SideEffectPolicy::Compensatable, PolicyVerdict::RequireApproval);
    world.when(propose);
    let reject = world.resolve(call, ApprovalOutcome::Rejected);
    assert_eq!(world.when(reject), ["approval.resolved", "turn.failed"]);
    assert_eq!(
        (world.rows.as_slice(), world.state(turn)),
        (&[13, 25][..], TurnState::Failed)
    );
}

#[test]
fn row_13_an_approval_that_comes_too_late_is_none() {
    let (mut world, call) = asking(ApprovalMode::Blocking);
    world.wait(world.settings.approval_us);
    let approve = world.approve(call);
    assert_eq!(world.when(approve), ["approval.expired", "infra.lease_renewed"]);
    assert_eq!(world.start_refused(call), Obstacle::Denied);
}

#[test]
fn row_14_an_approval_of_what_changed_meanwhile_is_stale() {
    let (mut world, call) = asking(ApprovalMode::Blocking);
    let Intent::ResolveApproval(mut resolve) = world.approve(call) else {
        unreachable!()
    };
    resolve.binding.policy = Some(Digest([9; 32]));
    let types = world.when(Intent::ResolveApproval(resolve));
    assert_eq!(types, ["approval.stale", "infra.lease_renewed"]);
    assert_eq!(
        (world.rows.as_slice(), world.state(world.last())),
        (&[14][..], TurnState::Processing)
    );
    assert_eq!(
        world.start_refused(call),
        Obstacle::Denied,
        "it has to be proposed anew"
    );
}
