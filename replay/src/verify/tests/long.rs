//! A lane that many turns went through.

use ruche_commands::governed::{LaneName, lane_stream};
use ruche_commands::lane::{
    self, ChannelSettings, ClaimTurn, CommitTurn, Held, Intent, Lane, LaneCommand, LaneEvent, LeaseProof,
    SentMessage, SubmitMessage,
};
use ruche_domain::event::AgentEvent;
use ruche_domain::events::{MessageReceived, MessageSent, Role, TurnCommitted};
use ruche_domain::ids::MessageId;

use super::*;

const CHANNEL: &str = "api";

/// The appends of one turn: a message, a claim and an answer. No other turn is open, so of those before it the machine needs
/// the last lease number only.
fn turn(number: u64, now: Micros) -> Vec<Vec<LaneEvent>> {
    let id = |kind: u8| {
        let mut id = [kind; 16];
        id[8..].copy_from_slice(&number.to_be_bytes());
        id
    };
    let (turn, message_id) = (TurnId::from_bytes(id(1)), MessageId::from_bytes(id(2)));
    let lease = LeaseProof {
        id: format!("lease-{number}"),
        epoch: number + 1,
    };
    let submit = SubmitMessage {
        message_id,
        message: MessageReceived::new(Role::User),
        agent_id: Some("shop".to_owned()),
        new_turn: turn,
    };
    let claim = ClaimTurn {
        lease_id: lease.id.clone(),
        brain_build: None,
    };
    let answer = CommitTurn {
        committed: TurnCommitted::default(),
        response: Some(SentMessage {
            message_id: MessageId::from_bytes(id(3)),
            message: MessageSent::new(Role::Assistant),
        }),
    };
    let commit = Held {
        turn,
        lease,
        what: answer,
    };
    let mut lane = Lane {
        lease_epoch: number,
        ..Lane::default()
    };
    let intents = [
        Intent::SubmitMessage(submit),
        Intent::ClaimTurn(claim),
        Intent::CommitTurn(commit),
    ];
    let decide = |intent| {
        let command = LaneCommand {
            now,
            settings: ChannelSettings::of_channel(CHANNEL),
            layers: Vec::new(),
            intent,
        };
        let decided = lane::explain(&lane, &command).expect("it is possible");
        lane = decided.lane;
        decided.events
    };
    intents.map(decide).to_vec()
}

fn name() -> LaneName {
    LaneName {
        agent: "shop".to_owned(),
        interlocutor: "ann".to_owned(),
        channel: CHANNEL.to_owned(),
        thread: None,
    }
}

impl World {
    /// An empty ledger with one lane of so many turns, three appends each.
    pub(super) async fn with_long_lane(turns: u64) -> (Self, StreamId) {
        let world = Self::of(1, 0).await;
        let references = world.crowd.commands.secrets_of(world.ledger).references;
        let stream = lane_stream(name().id(&references));
        for number in 0..turns {
            for events in turn(number, world.clock.now()) {
                let prepared = events
                    .into_iter()
                    .map(|event| world.prepared(stream, event))
                    .collect();
                let request = AppendRequest::new(vec![], prepared, vec![]).expect("a few events");
                let appended = world.store.append(world.ledger, request).await;
                assert!(matches!(appended, Ok(AppendOutcome::Appended { .. })));
            }
        }
        (world, stream)
    }

    fn prepared(&self, stream: StreamId, event: LaneEvent) -> PreparedEvent {
        let LaneEvent {
            at, turn, mut fact, ..
        } = event;
        if let AgentEvent::TurnOpened(opened) = &mut fact {
            opened.channel = Some(CHANNEL.to_owned());
        }
        let mut id = [0; 10];
        ruche_domain::ports::Random::fill(&self.random, &mut id);
        let envelope = ACFEvent {
            turn: Some(turn),
            ..ACFEvent::new(
                EventId::v7(at.as_millis(), id),
                stream,
                fact.event_type(),
                SchemaVersion(1),
                at,
                Actor::SYSTEM,
            )
        };
        let payload = Fragment::plain(&self.random, JSON, fact.to_payload()).expect("it is small");
        PreparedEvent {
            event: envelope,
            payload: vec![payload],
        }
    }
}

#[tokio::test]
async fn a_decision_does_not_look_at_all_turns_that_went_before() {
    let turns = 400;
    let (world, stream) = World::with_long_lane(turns).await;
    let report = world.report(Range::default()).await;
    assert_eq!((report.findings, report.decided.appends), (vec![], 3 * turns));
    let (mut collected, mut decisions) = (Collected::new(Position::START, report.to), Decisions::default());
    let (mut from, mut most) = (Position::START, 0);
    loop {
        let page = world
            .store
            .read_ledger(world.ledger, from, 500)
            .await
            .expect("records");
        let Some(last) = page.last() else { break };
        from = last.position.next();
        for record in &page {
            decisions.take(record, &mut collected);
            most = most.max(decisions.at_hand(stream));
        }
    }
    assert!(most <= 2, "{most} turns were at hand");
}
