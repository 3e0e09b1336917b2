//! A lane that many turns went through.

use ruche_commands::governed::{LaneName, lane_stream};
use ruche_commands::lane::{
    self, ChannelSettings, ClaimTurn, CommitTurn, EffectOutcome, FailTurn, Held, Intent, Lane, LaneCommand,
    LaneEvent, LeaseProof, ProposeAction, ReportEffect, SentMessage, StartEffect, SubmitMessage,
};
use ruche_domain::event::AgentEvent;
use ruche_domain::events::{
    InterventionPoint, MessageReceived, MessageSent, PolicyEvaluated, PolicyVerdict, Role,
    ToolOutcomeUnknown, ToolProposed, ToolStarted, TurnCommitted,
};
use ruche_domain::ids::{CallId, MessageId};
use ruche_domain::measures::Digest;
use ruche_domain::side_effect::SideEffectPolicy;

use super::*;

const CHANNEL: &str = "api";

/// How a turn ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Answered,
    /// It fails, and leaves a call of which nobody knows whether it happened.
    InDoubt,
}

impl End {
    /// Appends of the turn.
    pub(super) const fn appends(self) -> u64 {
        match self {
            Self::Answered => 3,
            Self::InDoubt => 6,
        }
    }
}

/// The appends of one turn: a message, a claim and how it ends. No other turn is open, so of those before it the machine
/// needs the last lease number only.
fn turn(number: u64, now: Micros, end: End) -> Vec<Vec<LaneEvent>> {
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
        flush: false,
        message_id,
        message: MessageReceived::new(Role::User),
        agent_id: Some("shop".to_owned()),
        new_turn: turn,
    };
    let claim = ClaimTurn {
        lease_id: lease.id.clone(),
        brain_build: None,
    };
    let ends = match end {
        End::Answered => {
            let message_id = MessageId::from_bytes(id(3));
            vec![Intent::CommitTurn(held(turn, &lease, answer(message_id)))]
        }
        End::InDoubt => in_doubt(turn, &lease, CallId::from_bytes(id(4))),
    };
    let mut lane = Lane {
        lease_epoch: number,
        ..Lane::default()
    };
    let intents = [Intent::SubmitMessage(submit), Intent::ClaimTurn(claim)];
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
    intents.into_iter().chain(ends).map(decide).collect()
}

fn held<T>(turn: TurnId, lease: &LeaseProof, what: T) -> Held<T> {
    let lease = lease.clone();
    Held { turn, lease, what }
}

fn answer(message_id: MessageId) -> CommitTurn {
    CommitTurn {
        committed: TurnCommitted::default(),
        response: Some(SentMessage {
            message_id,
            message: MessageSent::new(Role::Assistant),
        }),
    }
}

/// A call is proposed and starts, nobody can say how it came out, and the turn fails.
fn in_doubt(turn: TurnId, lease: &LeaseProof, call: CallId) -> Vec<Intent> {
    let tool = || "set_note".to_owned();
    let digest = Digest([7; 32]);
    let proposed = ToolProposed {
        side_effect: Some(SideEffectPolicy::Idempotent),
        business_key: Some("7".to_owned()),
        ..ToolProposed::new(tool(), "{}".to_owned())
    };
    let (point, allow) = (InterventionPoint::PreToolCall, PolicyVerdict::Allow);
    let evaluated = PolicyEvaluated::new("decision".to_owned(), point, allow, digest, digest);
    let propose = ProposeAction {
        call,
        proposed,
        evaluated,
        approval: None,
    };
    let started = ToolStarted {
        idempotency_key: Some("07".repeat(16)),
        ..ToolStarted::new(tool())
    };
    let start = StartEffect {
        call,
        started,
        changed: Vec::new(),
    };
    let unknown = EffectOutcome::Unknown(ToolOutcomeUnknown::new("timeout".to_owned()));
    let report = ReportEffect {
        call,
        outcome: unknown,
    };
    let fail = FailTurn {
        error_type: "broken".to_owned(),
        error: None,
        retryable: false,
    };
    vec![
        Intent::ProposeAction(held(turn, lease, propose)),
        Intent::StartEffect(held(turn, lease, start)),
        Intent::ReportEffect(held(turn, lease, report)),
        Intent::FailTurn(held(turn, lease, fail)),
    ]
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
    /// An empty ledger with one lane of so many turns.
    pub(super) async fn with_long_lane(turns: u64, end: End) -> (Self, StreamId) {
        let world = Self::of(1, 0).await;
        let references = world.crowd.commands.secrets_of(world.ledger).references;
        let stream = lane_stream(name().id(&references));
        for number in 0..turns {
            for events in turn(number, world.clock.now(), end) {
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
            at,
            turn,
            call,
            mut fact,
            ..
        } = event;
        if let AgentEvent::TurnOpened(opened) = &mut fact {
            opened.channel = Some(CHANNEL.to_owned());
        }
        let mut id = [0; 10];
        ruche_domain::ports::Random::fill(&self.random, &mut id);
        let envelope = ACFEvent {
            session: Some(SessionId::from_bytes([7; 16])),
            turn: Some(turn),
            call,
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
    at_most_two_are_looked_at(400, End::Answered).await;
}

/// Nothing happens to a call in doubt once its turn is over.
#[tokio::test]
async fn a_decision_does_not_look_at_all_calls_in_doubt_that_went_before() {
    at_most_two_are_looked_at(200, End::InDoubt).await;
}

/// The turns that are at hand for a decision, with their calls, are what it costs.
async fn at_most_two_are_looked_at(turns: u64, end: End) {
    let (world, stream) = World::with_long_lane(turns, end).await;
    let report = world.report(Range::default()).await;
    let appends = end.appends() * turns;
    assert_eq!((report.findings, report.decided.appends), (vec![], appends));
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
