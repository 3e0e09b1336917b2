//! Timers of lanes: which lanes are found, and when there is more to do.

#![expect(missing_docs, reason = "the name of a test says what it shows")]

use ruche_domain::event::AgentEvent;
use ruche_domain::events::{ApprovalMode, ApprovalRequested, ApprovalRule, TurnOpened, TurnTrigger};
use ruche_domain::ids::{CallId, LaneId, LedgerId, TurnId};
use ruche_domain::measures::Digest;
use ruche_domain::numbers::Micros;
use ruche_domain::stream::{Category, StreamId};
use ruche_ledger::store::PreparedEvent;
use uuid::Uuid;

use super::Story;
use super::world::{Fresh, World};
use crate::lanes::{self, Due, Timers};

/// An event of a stream, of a turn that has the number of its lane.
fn event(
    story: &mut Story,
    stream: (Category, u128),
    lane: u128,
    fact: impl Into<AgentEvent>,
) -> PreparedEvent {
    let mut event = story.event(fact);
    event.event.stream = StreamId::new(stream.0, Uuid::from_u128(stream.1));
    event.event.turn = Some(TurnId(Uuid::from_u128(lane)));
    event
}

/// A lane whose turn asks for approvals, which lapse at these times.
fn asking(story: &mut Story, lane: u128, lapse: &[u64]) -> Vec<PreparedEvent> {
    let opened = event(
        story,
        (Category::Lane, lane),
        lane,
        TurnOpened::new(TurnTrigger::User),
    );
    let mut events = vec![opened];
    for (call, at) in (lane * 1_000_000..).zip(lapse) {
        let rule = ApprovalRule::new(1);
        let asked = ApprovalRequested::new(Digest([1; 32]), rule, Micros(*at), ApprovalMode::Detached);
        let mut asked = event(story, (Category::Approval, call), lane, asked);
        asked.event.call = Some(CallId(Uuid::from_u128(call)));
        events.push(asked);
    }
    events
}

fn due(lane: u128, at: u64) -> Due {
    let lane = LaneId(Uuid::from_u128(lane));
    Due { at: Micros(at), lane }
}

async fn told(world: &World, ledger: LedgerId, now: u64, lanes_max: usize) -> Timers {
    let timers = lanes::timers(world.reads(), ledger, Micros(now), lanes_max).await;
    timers.expect("it can be read")
}

pub async fn a_lane_with_many_timers_hides_no_other(fresh: Fresh) {
    let world = World::new(fresh).await;
    let ledger = world.feed.open(1).await;
    let mut story = Story::new(1);
    let session = story.session_id(1);
    story.enter(session);
    let many: Vec<u64> = (100..400).collect();
    for (lane, lapse) in [(1, &many[..]), (2, &[500, 900]), (3, &[600]), (4, &[700])] {
        let events = asking(&mut story, lane, lapse);
        world.feed.append(ledger, events).await;
    }
    let caught_up = world.runner().catch_up(ledger).await;
    caught_up.expect("nothing fails here");

    let timers = told(&world, ledger, 650, 2).await;
    assert_eq!(timers.due, [due(1, 100), due(2, 500)]);
    assert_eq!(
        timers.next,
        Some(Micros(700)),
        "what is due is not what comes next"
    );
    let timers = told(&world, ledger, 650, 10).await;
    assert_eq!(timers.due, [due(1, 100), due(2, 500), due(3, 600)]);
    let timers = told(&world, ledger, 99, 10).await;
    assert_eq!((&timers.due[..], timers.first()), (&[][..], Some(Micros(100))));
    let timers = told(&world, ledger, 900, 1).await;
    assert_eq!((&timers.due[..], timers.next), (&[due(1, 100)][..], None));
}
