//! Rows 1 to 7, 15 and 16: what a message does.

use ruche_domain::event::AgentEvent;
use ruche_domain::events::TurnStrategy;
use ruche_domain::side_effect::SideEffectPolicy;

use super::world::{World, settings};
use crate::lane::*;

#[test]
fn row_01_a_message_opens_a_turn() {
    let mut world = World::queueing();
    let message = world.message();
    assert_eq!(world.when(message), ["message.received", "turn.opened"]);
    assert_eq!(
        (world.rows.as_slice(), world.state(world.last())),
        (&[1][..], TurnState::Accumulating)
    );
}

#[test]
fn row_02_a_message_in_the_window_joins_and_moves_the_deadline() {
    let mut world = World::queueing();
    let message = world.message();
    world.when(message);
    let turn = world.last();
    let opened = world.now.0;
    world.wait(900_000);
    let message = world.message();
    assert_eq!(
        world.when(message),
        ["message.received", "turn.message_coalesced"]
    );
    assert_eq!(world.rows, [2]);
    let deadline = |world: &World| world.lane.turn(turn).unwrap().deadline.unwrap().0 - opened;
    assert_eq!(deadline(&world), 1_900_000);
    for _ in 0..2 {
        world.wait(950_000);
        let message = world.message();
        world.when(message);
    }
    // The window is five seconds in all.
    world.settings.debounce_us = 4_000_000;
    world.settings.messages_max = 9;
    let message = world.message();
    world.when(message);
    assert_eq!((deadline(&world), world.lane.turns.len()), (5_000_000, 1));
}

#[test]
fn row_03_a_message_joins_a_turn_that_waits() {
    let mut world = World::queueing();
    world.settings.coalesce_queued = true;
    world.processing();
    let message = world.message();
    world.when(message);
    let waiting = world.last();
    world.when(Intent::FlushTurn { turn: waiting });
    let message = world.message();
    assert_eq!(
        world.when(message),
        ["message.received", "turn.message_coalesced"]
    );
    assert_eq!(world.rows, [3, 16]);
    assert_eq!(world.lane.turn(waiting).unwrap().messages.len(), 2);
}

#[test]
fn row_04_a_window_that_closes_makes_the_turn_ready() {
    let mut world = World::queueing();
    let message = world.message();
    world.when(message);
    let turn = world.last();
    let fire = world.fire();
    assert!(matches!(
        world.refused(fire.clone()),
        Rejection::NothingDue { next: Some(_) }
    ));
    world.wait(1_000_000);
    assert_eq!(
        world.when(fire),
        ["turn.sealed", "config.effective_resolved", "turn.readied"]
    );
    assert_eq!(
        (world.rows.as_slice(), world.state(turn)),
        (&[4][..], TurnState::Ready)
    );
    let AgentEvent::TurnSealed(sealed) = &world.log[2].fact else {
        panic!("not sealed")
    };
    assert_eq!((sealed.message_ids.len(), sealed.reason.name()), (1, "deadline"));
    assert_eq!(
        world.lane.turn(turn).unwrap().settings,
        world.settings,
        "the settings are pinned"
    );
}

#[test]
fn row_04_a_full_turn_is_sealed_by_its_last_message() {
    let mut world = World::queueing();
    let mut rows = Vec::new();
    for _ in 0..7 {
        let message = world.message();
        world.when(message);
        rows.extend(world.rows.clone());
        world.wait(100);
    }
    let sizes: Vec<usize> = world.lane.turns.iter().map(|turn| turn.messages.len()).collect();
    assert_eq!(sizes, [5, 2], "a burst of seven is a turn of five and one of two");
    assert_eq!(rows, [1, 2, 2, 2, 2, 4, 1, 16, 2, 16]);
}

#[test]
fn row_04_a_late_timer_does_not_change_the_grouping() {
    let mut world = World::queueing();
    let message = world.message();
    world.when(message);
    world.wait(1_000_000);
    let message = world.message();
    world.when(message);
    assert_eq!(world.rows, [4, 1, 16]);
    assert_eq!(world.lane.turns.len(), 2);
}

#[test]
fn row_05_a_window_that_closes_while_the_lane_is_held_queues_the_turn() {
    let mut world = World::queueing();
    let holder = world.processing();
    let message = world.message();
    world.when(message);
    let turn = world.last();
    let types = world.when(Intent::FlushTurn { turn });
    assert_eq!(types, ["turn.sealed", "config.effective_resolved", "turn.queued"]);
    assert_eq!(
        (world.rows.as_slice(), world.state(turn)),
        (&[5][..], TurnState::Queued)
    );
    let AgentEvent::TurnQueued(queued) = &world.log.last().unwrap().fact else {
        panic!("not queued")
    };
    assert_eq!(queued.behind, holder);
}

#[test]
fn row_06_a_turn_that_nobody_began_is_cancelled_at_once() {
    let mut world = World::queueing();
    let message = world.message();
    world.when(message);
    let gathering = world.last();
    assert_eq!(world.when(world.cancel(gathering)), ["turn.cancelled"]);
    assert_eq!(
        (world.rows.as_slice(), world.state(gathering)),
        (&[6][..], TurnState::Cancelled)
    );

    world.processing();
    let message = world.message();
    world.when(message);
    let queued = world.last();
    world.when(Intent::FlushTurn { turn: queued });
    assert_eq!(world.when(world.cancel(queued)), ["turn.cancelled"]);

    let commit = world.commit();
    world.when(commit);
    let message = world.message();
    world.when(message);
    let ready = world.last();
    world.when(Intent::FlushTurn { turn: ready });
    assert_eq!(world.when(world.cancel(ready)), ["turn.cancelled"]);
}

#[test]
fn row_07_a_freed_lane_goes_to_the_turn_that_waits_longest() {
    let mut world = World::queueing();
    world.processing();
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let message = world.message();
        world.when(message);
        waiting.push(world.last());
        world.when(Intent::FlushTurn { turn: world.last() });
    }
    let commit = world.commit();
    assert_eq!(
        world.when(commit),
        ["turn.committed", "message.sent", "turn.readied"]
    );
    assert_eq!(world.rows, [23, 7]);
    assert_eq!(
        (world.state(waiting[0]), world.state(waiting[1])),
        (TurnState::Ready, TurnState::Queued)
    );
}

#[test]
fn row_15_a_message_takes_the_place_of_the_turn_that_runs() {
    let mut world = World::cancelling();
    let old = world.processing();
    let message = world.message();
    let types = world.when(message);
    assert_eq!(
        types,
        [
            "message.received",
            "turn.opened",
            "turn.supersede_requested",
            "turn.superseded"
        ]
    );
    assert_eq!(world.rows, [1, 15, 19]);
    assert_eq!(world.state(old), TurnState::Superseded);
    assert_eq!(
        world.lane.turn(world.last()).unwrap().messages.len(),
        2,
        "the old message is carried"
    );
}

#[test]
fn row_15_ready_and_queued_turns_are_superseded_alike() {
    let mut world = World::cancelling();
    let message = world.message();
    world.when(message);
    let ready = world.last();
    world.when(Intent::FlushTurn { turn: ready });
    let message = world.message();
    world.when(message);
    assert_eq!(
        (world.rows.as_slice(), world.state(ready)),
        (&[1, 15, 19][..], TurnState::Superseded)
    );

    world.when(Intent::FlushTurn { turn: world.last() });
    let claim = world.claim();
    world.when(claim);
    world.completed(SideEffectPolicy::Irreversible);
    let message = world.message();
    world.when(message);
    let queued = world.last();
    world.when(Intent::FlushTurn { turn: queued });
    let message = world.message();
    world.when(message);
    assert_eq!(
        (world.rows.as_slice(), world.state(queued)),
        (&[1, 15, 19, 16][..], TurnState::Superseded)
    );
    assert_eq!(world.lane.turn(world.last()).unwrap().messages.len(), 2);
}

#[test]
fn row_15_words_that_a_channel_can_take_back_are_taken_back() {
    let mut world = World::cancelling();
    world.settings.retractable = true;
    let old = world.processing();
    let send = world.send();
    assert_eq!(world.when(send), ["message.sent"]);
    let message = world.message();
    let types = world.when(message);
    assert_eq!(
        types[2..],
        ["turn.supersede_requested", "message.retracted", "turn.superseded"]
    );
    assert_eq!(world.state(old), TurnState::Superseded);
}

#[test]
fn row_16_a_message_waits_under_queue_and_says_nothing() {
    let mut world = World::queueing();
    let holder = world.processing();
    let message = world.message();
    assert_eq!(world.when(message), ["message.received", "turn.opened"]);
    assert_eq!(
        (world.rows.as_slice(), world.state(holder)),
        (&[1, 16][..], TurnState::Processing)
    );
}

#[test]
fn row_16_past_a_commit_point_the_refusal_names_it() {
    let mut world = World::cancelling();
    let holder = world.processing();
    let call = world.completed(SideEffectPolicy::Irreversible);
    let message = world.message();
    assert_eq!(
        world.when(message),
        ["message.received", "turn.opened", "turn.supersede_refused"]
    );
    let AgentEvent::TurnSupersedeRefused(refused) = &world.log.last().unwrap().fact else {
        panic!("not refused")
    };
    assert_eq!(
        (refused.commit_point.name(), refused.call_id),
        ("irreversible_effect", Some(call))
    );
    assert_eq!(
        (refused.tool.as_deref(), refused.waiting_turn_id),
        (Some("tool"), Some(world.last()))
    );
    assert_eq!(
        (world.rows.as_slice(), world.state(holder)),
        (&[1, 16][..], TurnState::Processing)
    );
}

#[test]
fn row_16_reject_new_appends_nothing() {
    let mut world = World::new(settings(TurnStrategy::RejectNew));
    world.processing();
    let message = world.message();
    let refused = world.refused(message);
    assert_eq!(
        refused,
        Rejection::LaneHeld {
            state: TurnState::Processing
        }
    );
}

#[test]
fn a_message_that_came_in_before_is_known() {
    let mut world = World::queueing();
    let message = world.message();
    world.when(message.clone());
    assert_eq!(world.blocked(message), Obstacle::MessageKnown);
}

/// Nobody claims, and people go on writing.
#[test]
fn a_lane_that_is_full_is_claimed_and_committed_all_the_same() {
    let mut world = World::cancelling();
    (world.settings.carried_max, world.settings.messages_max) = (3, 1);
    for _ in 0..3 {
        let message = world.message();
        world.when(message);
    }
    let turn = world.last();
    let owned = |world: &World| world.lane.turn(turn).unwrap().messages.len();
    assert_eq!((owned(&world), world.state(turn)), (3, TurnState::Ready));
    let message = world.message();
    assert_eq!(world.refused(message.clone()), Rejection::TurnFull { limit: 3 });
    let claim = world.claim();
    world.when(claim);
    assert_eq!(world.refused(message.clone()), Rejection::TurnFull { limit: 3 });
    let commit = world.commit();
    world.when(commit);
    assert_eq!((owned(&world), world.state(turn)), (3, TurnState::Committed));
    assert!(world.ask(message).is_ok(), "there is room again");
}

#[test]
fn so_many_turns_wait_and_no_more() {
    let mut world = World::queueing();
    (world.settings.queue_max, world.settings.messages_max) = (2, 1);
    for _ in 0..3 {
        let message = world.message();
        world.when(message);
    }
    assert_eq!(world.lane.queue.len(), 2, "and one is ready");
    let message = world.message();
    assert_eq!(world.refused(message.clone()), Rejection::LaneFull { limit: 2 });
    let claim = world.claim();
    world.when(claim);
    let commit = world.commit();
    world.when(commit);
    assert_eq!(world.lane.queue.len(), 1);
    world.when(message);
    assert_eq!(world.lane.queue.len(), 2);
}

/// A message that joins a turn that waits makes no turn, and fills that one.
#[test]
fn row_03_a_turn_that_waits_takes_so_many_messages_and_no_more() {
    let mut world = World::queueing();
    world.settings.coalesce_queued = true;
    (world.settings.carried_max, world.settings.messages_max) = (2, 1);
    for _ in 0..3 {
        let message = world.message();
        world.when(message);
    }
    let message = world.message();
    assert_eq!(world.refused(message), Rejection::TurnFull { limit: 2 });
}

#[test]
fn row_30_so_much_can_be_taken_back_and_no_more() {
    let mut world = World::cancelling();
    world.settings.retractable = true;
    let turn = world.processing();
    for _ in 0..ruche_domain::limits::MESSAGES_TO_RETRACT_MAX {
        let send = world.send();
        world.when(send);
    }
    let send = world.send();
    assert_eq!(world.refused(send), Rejection::TooManySent);
    assert!(world.ask(world.cancel(turn)).is_ok(), "all of it is taken back");
}
