//! What holds in every lane after every decision. Looks at the log where the state could deceive itself.

use std::collections::BTreeSet;

use ruche_domain::event::AgentEvent;
use ruche_domain::events::{ApprovalMode, TurnEffect};
use ruche_domain::ids::{ApprovalId, CallId, TurnId};
use ruche_domain::side_effect::{EffectStatus, SideEffectPolicy};

use crate::lane::*;

/// Panics where one does not hold.
#[track_caller]
pub fn hold(before: &Lane, after: &Lane, log: &[LaneEvent], rows: &[u8]) {
    assert_eq!(
        after.flaw(),
        None,
        "the machine would not decide on it: {after:#?}"
    );
    one_holder(after);
    every_message_has_one_owner(after, log);
    nothing_of_a_superseded_turn_stands(after, log);
    no_terminal_turn_has_an_open_approval(after);
    no_terminal_turn_has_an_effect_under_way(after);
    irreversible_is_approved(after, log);
    terminal_is_absorbing(before, after);
    workers_hold_leases(after, log);
    waits_have_an_end(after);
    rows_lead_there(before, after, rows);
}

fn one_holder(lane: &Lane) {
    let holders: Vec<&Turn> = lane.turns.iter().filter(|turn| turn.state.holds_lane()).collect();
    assert!(holders.len() <= 1, "two turns hold the lane: {holders:#?}");
    let gathering = lane
        .turns
        .iter()
        .filter(|turn| turn.state == TurnState::Accumulating)
        .count();
    assert!(gathering <= 1, "{gathering} turns take messages");
    let queued: BTreeSet<TurnId> = in_state(lane, TurnState::Queued).map(|turn| turn.id).collect();
    assert_eq!(
        queued,
        lane.queue.iter().copied().collect(),
        "the queue is not who queues"
    );
    assert_eq!(queued.len(), lane.queue.len(), "a turn queues twice");
    assert!(queued.is_empty() || holders.len() == 1, "turns wait for nobody");
}

fn in_state(lane: &Lane, state: TurnState) -> impl Iterator<Item = &Turn> {
    lane.turns.iter().filter(move |turn| turn.state == state)
}

fn every_message_has_one_owner(lane: &Lane, log: &[LaneEvent]) {
    for event in log {
        let AgentEvent::MessageReceived(received) = &event.fact else {
            continue;
        };
        let id = received.message_id.expect("the machine names messages");
        let owners: Vec<&Turn> = lane
            .turns
            .iter()
            .filter(|turn| turn.messages.contains(&id))
            .collect();
        assert!(
            owners.len() == 1 && owners[0].state != TurnState::Superseded,
            "{id} is owned by {owners:#?}"
        );
        let times = owners[0].messages.iter().filter(|owned| **owned == id).count();
        assert_eq!(times, 1, "{id} stands {times} times in its turn");
    }
}

/// Turns whose effects or words were ever what `looks` for, by the log.
fn turns_that<'a>(log: &'a [LaneEvent], looks: impl Fn(&AgentEvent) -> bool + 'a) -> BTreeSet<TurnId> {
    log.iter()
        .filter(|event| looks(&event.fact))
        .map(|event| event.turn)
        .collect()
}

fn started_irreversible(fact: &AgentEvent) -> bool {
    matches!(fact, AgentEvent::ToolStarted(started) if started.side_effect == Some(SideEffectPolicy::Irreversible))
}

fn nothing_of_a_superseded_turn_stands(lane: &Lane, log: &[LaneEvent]) {
    let irreversible = turns_that(log, started_irreversible);
    let gone = |turn: &&Turn| matches!(turn.state, TurnState::Superseded | TurnState::Cancelled);
    for turn in lane.turns.iter().filter(gone) {
        let name = turn.state.name();
        assert!(
            !irreversible.contains(&turn.id),
            "a {name} turn did what cannot be undone"
        );
        assert!(turn.sent.is_empty(), "words of a {name} turn stand");
        let left = |call: &&Call| {
            call.side_effect == SideEffectPolicy::Compensatable
                && !matches!(
                    call.status,
                    None | Some(EffectStatus::Failed | EffectStatus::Compensated)
                )
        };
        let left: Vec<&Call> = lane.calls_of(turn.id).filter(left).collect();
        assert!(left.is_empty(), "a {name} turn left {left:#?}");
    }
}

fn no_terminal_turn_has_an_open_approval(lane: &Lane) {
    let open = |state| matches!(state, ApprovalState::Requested | ApprovalState::Approved);
    for approval in lane.approvals.values().filter(|approval| open(approval.state)) {
        let asker = lane.turn(approval.turn).expect("the turn that asked");
        let user = lane
            .turn(lane.calls[&approval.call].turn)
            .expect("the turn of the call");
        // A detached request outlives the turn that asked, if that turn stands.
        let outlives = approval.mode == ApprovalMode::Detached && asker.state == TurnState::Committed;
        assert!(
            !asker.state.is_terminal() || outlives,
            "{asker:#?} has {approval:#?}"
        );
        let pending = approval.state == ApprovalState::Requested && user.id == asker.id;
        assert!(
            !user.state.is_terminal() || (outlives && pending),
            "{user:#?} has {approval:#?}"
        );
    }
}

fn no_terminal_turn_has_an_effect_under_way(lane: &Lane) {
    for turn in lane.turns.iter().filter(|turn| turn.state.is_terminal()) {
        for call in lane.calls_of(turn.id) {
            assert!(!call.is_in_flight(), "{} with {call:#?}", turn.state.name());
            let known = turn.state != TurnState::Committed || !call.is_in_doubt();
            assert!(
                known && !call.needs_person(),
                "{} with {call:#?}",
                turn.state.name()
            );
        }
    }
}

fn irreversible_is_approved(lane: &Lane, log: &[LaneEvent]) {
    let mut consumed: BTreeSet<(ApprovalId, CallId)> = BTreeSet::new();
    let mut unused: BTreeSet<CallId> = BTreeSet::new();
    for event in log {
        match (&event.fact, event.call) {
            (AgentEvent::ApprovalConsumed(used), Some(call)) => {
                let id = event.approval.expect("its stream");
                assert!(
                    event.at < lane.approvals[&id].expires_at,
                    "{id} is used after its time"
                );
                assert_eq!(
                    Some(used.action_digest),
                    lane.calls[&call].action_digest,
                    "another call"
                );
                assert!(consumed.insert((id, call)), "{id} is used twice");
                assert_eq!(
                    used.action_digest, lane.approvals[&id].binding.action,
                    "another action"
                );
                unused.insert(call);
            }
            (AgentEvent::ToolStarted(_), Some(call)) => {
                let was_approved = unused.remove(&call);
                assert!(
                    was_approved || !started_irreversible(&event.fact),
                    "{call} was started unsigned"
                );
            }
            _ => {}
        }
    }
    assert!(
        unused.is_empty(),
        "an approval was used up and nothing was started: {unused:?}"
    );
}

fn terminal_is_absorbing(before: &Lane, after: &Lane) {
    for turn in before.turns.iter().filter(|turn| turn.state.is_terminal()) {
        assert_eq!(after.turn(turn.id), Some(turn), "a turn that was over changed");
        for call in before.calls_of(turn.id) {
            let now = after.calls[&call.id].status;
            // What it left open a person settles, once.
            let is_settled = matches!(now, Some(EffectStatus::Completed | EffectStatus::Failed));
            let is_answered = call.is_left_open() && turn.state != TurnState::Committed && is_settled;
            assert!(
                call.status == now || is_answered,
                "an effect of a turn that was over changed"
            );
        }
    }
}

fn workers_hold_leases(lane: &Lane, log: &[LaneEvent]) {
    for turn in &lane.turns {
        let processing = turn.state == TurnState::Processing;
        assert!(
            !processing || turn.lease.is_some(),
            "processed by nobody: {turn:#?}"
        );
        assert!(
            turn.attempt <= turn.settings.attempts_max,
            "too many attempts: {turn:#?}"
        );
    }
    let epochs: Vec<u64> = log
        .iter()
        .filter_map(|event| match &event.fact {
            AgentEvent::TurnStarted(started) => started.lease_epoch,
            _ => None,
        })
        .collect();
    assert!(
        epochs.windows(2).all(|pair| pair[0] < pair[1]),
        "fencing numbers do not rise: {epochs:?}"
    );
}

fn waits_have_an_end(lane: &Lane) {
    for turn in in_state(lane, TurnState::AwaitingApproval) {
        let under_way = lane.calls_of(turn.id).any(Call::is_in_flight);
        assert!(!under_way, "waits while an effect is under way: {turn:#?}");
        match turn.awaited {
            Some(Awaited::Decision(id)) => {
                assert_eq!(lane.approvals[&id].state, ApprovalState::Requested, "{turn:#?}");
            }
            Some(Awaited::Outcome) => assert!(lane.calls_of(turn.id).any(Call::needs_person), "{turn:#?}"),
            None => panic!("waits for nothing: {turn:#?}"),
        }
    }
    for turn in in_state(lane, TurnState::Cancelling) {
        let waits = |call: &Call| call.is_in_flight() || call.needs_person();
        assert!(lane.calls_of(turn.id).any(waits), "drains nothing: {turn:#?}");
    }
    for turn in in_state(lane, TurnState::Compensating) {
        let undo = lane.to_undo(turn.id);
        assert!(!undo.is_empty(), "undoes nothing: {turn:#?}");
        let early = |effect: &TurnEffect| lane.calls[&effect.call_id].undo_starts > 0;
        assert!(!undo[1..].iter().any(early), "undone before its turn: {undo:#?}");
    }
}

/// Every change of state follows from the rows that the decision names.
fn rows_lead_there(before: &Lane, after: &Lane, rows: &[u8]) {
    let named = || {
        TRANSITIONS
            .iter()
            .filter(|transition| rows.contains(&transition.row))
    };
    for turn in &after.turns {
        let mut reached: BTreeSet<TurnState> = match before.turn(turn.id) {
            Some(earlier) => BTreeSet::from([earlier.state]),
            None => named()
                .filter(|transition| transition.from.is_empty())
                .flat_map(|transition| transition.to)
                .copied()
                .collect(),
        };
        for _ in 0..TurnState::ALL.len() {
            let further: Vec<TurnState> = named()
                .filter(|transition| transition.from.iter().any(|from| reached.contains(from)))
                .flat_map(|transition| transition.to)
                .copied()
                .collect();
            reached.extend(further);
        }
        assert!(
            reached.contains(&turn.state),
            "rows {rows:?} do not lead to {turn:#?}"
        );
    }
}
