//! Random courses of commands. After each, the invariants hold and the events lead to the state that was decided on;
//! at the end, every turn can be brought to an end.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree;
use ruche_domain::event::AgentEvent;
use ruche_domain::events::{
    ApprovalMode, ApprovalOutcome, AssertedOutcome, PolicyVerdict, StaleCause, TurnCommitted, TurnStrategy,
};
use ruche_domain::ids::{ApprovalId, CallId, TurnId};
use ruche_domain::measures::Digest;
use ruche_domain::numbers::Micros;
use ruche_domain::side_effect::SideEffectPolicy;
use uuid::Uuid;

use super::world::{self, World};
use crate::lane::*;

/// What is tried; picks are made among what the lane has at that moment.
#[derive(Clone, Debug)]
enum Step {
    Message {
        again: bool,
    },
    Flush,
    /// The clock goes to the next timer, and it fires.
    Next,
    Wait(u64),
    Fire,
    Cancel,
    Claim,
    Heartbeat,
    Propose {
        side_effect: SideEffectPolicy,
        verdict: PolicyVerdict,
        asks: bool,
        other_action: bool,
    },
    /// A call from its proposal on, approved where that is asked; it may stay under way.
    Call {
        side_effect: SideEffectPolicy,
        settles: bool,
    },
    Start {
        changed: bool,
    },
    Report(u8),
    Assert(AssertedOutcome),
    Decide {
        approves: bool,
        changed: bool,
    },
    Compensate {
        works: bool,
    },
    Send,
    Begin(u8),
    End(u8),
    Commit,
    Fail {
        retryable: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let side_effect = prop::sample::select(SideEffectPolicy::ALL);
    // As often allowed as everything else together, so that courses get somewhere.
    let verdict = prop_oneof![
        Just(PolicyVerdict::Allow),
        prop::sample::select(PolicyVerdict::ALL)
    ];
    let asserted = prop::sample::select(AssertedOutcome::ALL);
    prop_oneof![
        6 => Just(Step::Message { again: false }),
        1 => Just(Step::Message { again: true }),
        3 => Just(Step::Flush),
        3 => Just(Step::Next),
        2 => (0..3_000_000_u64).prop_map(Step::Wait),
        1 => Just(Step::Fire),
        2 => Just(Step::Cancel),
        6 => Just(Step::Claim),
        1 => Just(Step::Heartbeat),
        6 => (side_effect, verdict, prop::bool::weighted(0.9), prop::bool::weighted(0.1)).prop_map(
            |(side_effect, verdict, asks, other_action)| Step::Propose { side_effect, verdict, asks, other_action },
        ),
        6 => (prop::sample::select(SideEffectPolicy::ALL), prop::bool::weighted(0.7))
            .prop_map(|(side_effect, settles)| Step::Call { side_effect, settles }),
        8 => prop::bool::weighted(0.1).prop_map(|changed| Step::Start { changed }),
        6 => (0..4_u8).prop_map(Step::Report),
        2 => asserted.prop_map(Step::Assert),
        5 => (prop::bool::weighted(0.8), prop::bool::weighted(0.1))
            .prop_map(|(approves, changed)| Step::Decide { approves, changed }),
        4 => prop::bool::weighted(0.7).prop_map(|works| Step::Compensate { works }),
        1 => Just(Step::Send),
        2 => (0..3_u8).prop_map(Step::Begin),
        2 => (0..3_u8).prop_map(Step::End),
        3 => Just(Step::Commit),
        2 => prop::bool::weighted(0.7).prop_map(|retryable| Step::Fail { retryable }),
    ]
}

fn channel() -> impl Strategy<Value = ChannelSettings> {
    let strategies = [
        TurnStrategy::Queue,
        TurnStrategy::CancelInProgress,
        TurnStrategy::RejectNew,
    ];
    let strategy = prop::sample::select(strategies.to_vec());
    let mode = prop::sample::select(ApprovalMode::ALL);
    let counts = (1..4_u32, 1..4_u32, 1..3_u32, prop::bool::ANY, prop::bool::ANY);
    (
        strategy,
        mode,
        prop::bool::ANY,
        prop::bool::ANY,
        prop::bool::weighted(0.3),
        counts,
    )
        .prop_map(
            |(
                strategy,
                approval_mode,
                coalesce_queued,
                retractable,
                denies,
                (messages, attempts, undos, instant, hasty),
            )| {
                ChannelSettings {
                    debounce_us: if instant { 0 } else { 1_000_000 },
                    messages_max: messages,
                    coalesce_queued,
                    retractable,
                    approval_mode,
                    on_deny: if denies { OnDeny::Fail } else { OnDeny::Continue },
                    // So short that an approval can get old before it is used.
                    approval_us: if hasty { 2_000_000 } else { 86_400_000_000 },
                    attempts_max: attempts,
                    compensation_attempts_max: undos,
                    ..world::settings(strategy)
                }
            },
        )
}

/// Which of the things at hand, and whether the worker shows its own lease.
#[derive(Clone, Debug)]
struct Picks {
    which: Index,
    own_lease: bool,
}

fn picks() -> impl Strategy<Value = Picks> {
    (any::<Index>(), prop::bool::weighted(0.95)).prop_map(|(which, own_lease)| Picks { which, own_lease })
}

fn pick<T: Copy>(which: &Index, among: &[T]) -> Option<T> {
    (!among.is_empty()).then(|| among[which.index(among.len())])
}

/// The lease of the turn that holds the lane, or one that nobody has.
fn held<T>(world: &World, picks: &Picks, what: T) -> Held<T> {
    let turn = world.lane.holder().or(world.lane.turns.last());
    let lease = turn
        .and_then(|turn| turn.lease.as_ref())
        .filter(|_| picks.own_lease);
    Held {
        turn: turn.map_or(TurnId(Uuid::nil()), |turn| turn.id),
        lease: LeaseProof {
            id: lease.map_or_else(|| "stolen".to_owned(), |lease| lease.id.clone()),
            epoch: lease.map_or(0, |lease| lease.epoch),
        },
        what,
    }
}

/// The calls that a step is about, where the worker is no stranger; otherwise any.
fn calls(world: &World, step: &Step, picks: &Picks) -> Vec<CallId> {
    let holder = world.lane.holder().map(|turn| turn.id);
    let fits = |call: &&Call| {
        let fits = match step {
            Step::Start { .. } => call.status.is_none() && call.gate != Gate::Closed,
            Step::Report(_) => call.is_in_flight(),
            Step::Assert(_) => call.is_in_doubt(),
            Step::Compensate { .. } => {
                let due = world.lane.to_undo(call.turn);
                due.first().is_some_and(|due| due.call_id == call.id)
            }
            _ => true,
        };
        fits && Some(call.turn) == holder
    };
    let fitting: Vec<CallId> = world
        .lane
        .calls
        .values()
        .filter(fits)
        .map(|call| call.id)
        .collect();
    if fitting.is_empty() || !picks.own_lease {
        return world.lane.calls.keys().copied().collect();
    }
    fitting
}

fn intent(world: &mut World, step: &Step, picks: &Picks) -> Option<Intent> {
    let which = &picks.which;
    let last = world.lane.turns.iter().rev().take(3);
    let turns: Vec<TurnId> = last.map(|turn| turn.id).collect();
    // Mostly the turn that holds the lane.
    let holder = world
        .lane
        .holder()
        .map(|turn| turn.id)
        .filter(|_| picks.own_lease);
    let cancelled = holder.or_else(|| pick(which, &turns));
    let call = pick(which, &calls(world, step, picks));
    Some(match step {
        Step::Wait(_) | Step::Call { .. } => return None,
        Step::Message { again: false } => world.message(),
        Step::Message { again: true } => {
            let known: Vec<_> = world.lane.messages.iter().copied().collect();
            let Intent::SubmitMessage(mut submit) = world.message() else {
                return None;
            };
            submit.message_id = pick(which, &known)?;
            Intent::SubmitMessage(submit)
        }
        Step::Flush => Intent::FlushTurn {
            turn: *turns.first()?,
        },
        Step::Next | Step::Fire => world.fire(),
        Step::Cancel => world.cancel(cancelled?),
        Step::Claim => world.claim(),
        Step::Heartbeat => Intent::HeartbeatTurn(held(world, picks, ())),
        Step::Propose {
            side_effect,
            verdict,
            asks,
            other_action,
        } => {
            let (call, approval) = (CallId(world.fresh()), ApprovalId(world.fresh()));
            let mut what = world::proposal(call, approval, *side_effect, *verdict);
            what.approval = what.approval.filter(|_| *asks);
            if *other_action {
                what.proposed.action_digest = Some(Digest([0xbb; 32]));
            }
            Intent::ProposeAction(held(world, picks, what))
        }
        Step::Start { changed } => {
            let changed = changed.then_some(StaleCause::ReviewerKey).into_iter().collect();
            let started = ruche_domain::events::ToolStarted::new("tool".to_owned());
            Intent::StartEffect(held(
                world,
                picks,
                StartEffect {
                    call: call?,
                    started,
                    changed,
                },
            ))
        }
        Step::Report(outcome) => {
            let outcome = match outcome {
                0 | 1 => world::completed(),
                2 => world::failed(),
                _ => world::unknown(),
            };
            Intent::ReportEffect(held(world, picks, ReportEffect { call: call?, outcome }))
        }
        Step::Assert(outcome) => world.assert_outcome(call?, *outcome),
        Step::Decide { approves, changed } => return decision(world, which, *approves, *changed),
        Step::Compensate { .. } if !world.lane.calls.get(&call?)?.is_being_undone => {
            world::start_undoing(call?)
        }
        Step::Compensate { works: true } => world.undone(call?),
        Step::Compensate { works: false } => world.not_undone(call?),
        Step::Send => {
            let message = world::sent(world.fresh());
            Intent::SendMessage(held(world, picks, message))
        }
        Step::Begin(step) => Intent::StartStep(held(world, picks, world::step(*step))),
        Step::End(step) => Intent::CompleteStep(held(world, picks, world::step_done(*step))),
        Step::Commit => {
            let response = Some(world::sent(world.fresh()));
            let committed = TurnCommitted::default();
            Intent::CommitTurn(held(world, picks, CommitTurn { committed, response }))
        }
        Step::Fail { retryable } => {
            let error_type = "broken".to_owned();
            Intent::FailTurn(held(
                world,
                picks,
                FailTurn {
                    error_type,
                    error: None,
                    retryable: *retryable,
                },
            ))
        }
    })
}

fn decision(world: &mut World, which: &Index, approves: bool, changed: bool) -> Option<Intent> {
    let approvals: Vec<ApprovalId> = world.lane.approvals.keys().rev().take(3).copied().collect();
    let call = world.lane.approvals[&pick(which, &approvals)?].call;
    let outcome = if approves {
        ApprovalOutcome::Approved
    } else {
        ApprovalOutcome::Rejected
    };
    let Intent::ResolveApproval(mut resolve) = world.resolve(call, outcome) else {
        return None;
    };
    if changed {
        resolve.binding.config = Some(Digest([7; 32]));
    }
    Some(Intent::ResolveApproval(resolve))
}

/// What the state afterwards cannot tell: that a stranger's lease, or a binding that changed, was let through.
fn check_honesty(intent: &Intent, step: &Step, decided: &Decided) {
    let shown = match intent {
        Intent::HeartbeatTurn(held) => Some(&held.lease),
        Intent::ProposeAction(held) => Some(&held.lease),
        Intent::StartEffect(held) => Some(&held.lease),
        Intent::ReportEffect(held) => Some(&held.lease),
        Intent::SendMessage(held) => Some(&held.lease),
        Intent::StartStep(held) => Some(&held.lease),
        Intent::CompleteStep(held) => Some(&held.lease),
        Intent::CommitTurn(held) => Some(&held.lease),
        Intent::FailTurn(held) => Some(&held.lease),
        _ => None,
    };
    assert!(
        shown.is_none_or(|lease| lease.id != "stolen"),
        "a stranger did {intent:?}"
    );
    if matches!(step, Step::Start { changed: true }) {
        let starts = |event: &LaneEvent| matches!(event.fact, AgentEvent::ToolStarted(_));
        assert!(
            !decided.events.iter().any(starts),
            "what was approved is not what is"
        );
    }
    if let (Intent::ResolveApproval(resolve), Step::Decide { changed: true, .. }) = (intent, step) {
        let state = decided.lane.approvals[&resolve.approval].state;
        assert_eq!(state, ApprovalState::Closed, "what was signed is not what is");
    }
}

/// Tries a step. What is refused changes nothing, since nothing is decided; what is accepted says something.
fn try_step(world: &mut World, step: &Step, picks: &Picks, seen: &mut BTreeSet<u8>) {
    match step {
        Step::Wait(us) => world.wait(*us),
        Step::Next => {
            if let Some((at, _)) = world.lane.next_timer() {
                world.now = world.now.max(at);
            }
        }
        _ => {}
    }
    if let Step::Call { side_effect, settles } = step {
        return call(world, *side_effect, *settles, picks, seen);
    }
    if let Some(intent) = intent(world, step, picks) {
        attempt(world, intent, step, seen);
    }
}

fn attempt(world: &mut World, intent: Intent, step: &Step, seen: &mut BTreeSet<u8>) {
    let before = world.lane.clone();
    match world.ask(intent.clone()) {
        Ok(decided) => {
            let says = !decided.events.is_empty() && !decided.rows.is_empty();
            assert!(says, "{intent:?} says nothing");
            check_honesty(&intent, step, &decided);
            seen.extend(&decided.rows);
            world.take(decided);
        }
        Err(rejection) => {
            assert_eq!(world.lane, before);
            if let Rejection::IllegalTransition { legal, .. } = rejection {
                assert!(
                    !legal.contains(&intent.name()),
                    "{} is said to be legal",
                    intent.name()
                );
            }
        }
    }
}

/// Each part of a call is tried, whatever came of the one before.
fn call(
    world: &mut World,
    side_effect: SideEffectPolicy,
    settles: bool,
    picks: &Picks,
    seen: &mut BTreeSet<u8>,
) {
    let step = Step::Call { side_effect, settles };
    let (call, approval) = (CallId(world.fresh()), ApprovalId(world.fresh()));
    let what = world::proposal(call, approval, side_effect, PolicyVerdict::Allow);
    let propose = Intent::ProposeAction(held(world, picks, what));
    attempt(world, propose, &step, seen);
    if world.lane.approvals.contains_key(&approval) {
        let approve = world.approve(call);
        attempt(world, approve, &step, seen);
    }
    let mut started = ruche_domain::events::ToolStarted::new("tool".to_owned());
    // One that stays under way may take too long.
    started.lapses_at = (!settles).then(|| Micros(world.now.0 + 2_000_000));
    let start = Intent::StartEffect(held(
        world,
        picks,
        StartEffect {
            call,
            started,
            changed: Vec::new(),
        },
    ));
    attempt(world, start, &step, seen);
    if settles {
        let outcome = world::completed();
        let report = Intent::ReportEffect(held(world, picks, ReportEffect { call, outcome }));
        attempt(world, report, &step, seen);
    }
}

/// A command that brings a turn nearer to its end, with workers and people at hand.
fn forward(world: &mut World) -> Option<Intent> {
    if let Some(turn) = world.lane.accumulating() {
        return Some(Intent::FlushTurn { turn: turn.id });
    }
    let Some(turn) = world.lane.holder().cloned() else {
        let (at, _) = world.lane.next_timer()?;
        world.now = world.now.max(at);
        return Some(world.fire());
    };
    let calls: Vec<Call> = world.lane.calls_of(turn.id).cloned().collect();
    if let Some(call) = calls
        .iter()
        .find(|call| call.is_in_doubt() && turn.state != TurnState::Ready)
    {
        return Some(world.assert_outcome(call.id, AssertedOutcome::NotExecuted));
    }
    let under_way = calls.iter().find(|call| call.is_in_flight());
    Some(match (turn.state, under_way) {
        (TurnState::Ready, _) => {
            world.now = world.now.max(turn.not_before.expect("ready from a time on"));
            world.claim()
        }
        (TurnState::Processing | TurnState::Cancelling, Some(call)) => {
            world.report(call.id, world::completed())
        }
        (TurnState::Processing, None) => world.commit(),
        (TurnState::AwaitingApproval, _) => {
            let Some(Awaited::Decision(id)) = turn.awaited else {
                panic!("waits for a call that is not there")
            };
            let call = world.lane.approvals[&id].call;
            world.resolve(call, ApprovalOutcome::Rejected)
        }
        (TurnState::Compensating, _) => world.undone(world.lane.to_undo(turn.id)[0].call_id),
        other => panic!("no way on from {other:?}"),
    })
}

fn run(settings: ChannelSettings, course: &[(Step, Picks)]) -> BTreeSet<u8> {
    let mut seen = BTreeSet::new();
    let mut world = World::new(settings);
    for (step, picks) in course {
        try_step(&mut world, step, picks, &mut seen);
    }
    // Each command settles something, and what is there to settle is bounded by the course.
    for _ in 0..20 * (course.len() + 1) {
        let Some(intent) = forward(&mut world) else { break };
        world.when(intent);
    }
    let open: Vec<&Turn> = world
        .lane
        .turns
        .iter()
        .filter(|turn| !turn.state.is_terminal())
        .collect();
    assert!(open.is_empty(), "no way to an end: {open:#?}");
    assert_eq!(
        world.lane.next_timer(),
        None,
        "a timer is left where every turn is over"
    );
    seen
}

/// Courses of the property test. The figure is what takes a few seconds.
const CASES: u32 = 2_000;

fn course() -> impl Strategy<Value = (ChannelSettings, Vec<(Step, Picks)>)> {
    (channel(), prop::collection::vec((step(), picks()), 1..60))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_asked_the_invariants_hold((settings, course) in course()) {
        run(settings, &course);
    }
}

/// A property test that never gets anywhere proves nothing: the same courses go through every row.
#[test]
fn random_courses_go_through_every_row() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = BTreeSet::new();
    for _ in 0..CASES {
        let (settings, steps) = course().new_tree(&mut runner).expect("a course").current();
        seen.extend(run(settings, &steps));
    }
    // Row 27 is a refusal.
    let all: BTreeSet<u8> = TRANSITIONS
        .iter()
        .map(|row| row.row)
        .filter(|row| *row != 27)
        .collect();
    assert_eq!(all.difference(&seen).collect::<Vec<_>>(), Vec::<&u8>::new());
}
