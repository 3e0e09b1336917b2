//! What is told of: three sessions on three days, in the words of events.

use ruche_domain::envelope::Provenance;
use ruche_domain::event::AgentEvent;
use ruche_domain::events::{
    ApprovalConsumed, ApprovalExpired, ApprovalMode, ApprovalOutcome, ApprovalRequested, ApprovalResolved,
    ApprovalRule, ConfigEffectiveResolved, ConfigPriceTableChanged, EvalScored, InfraIngestGap,
    InfraSpanUnclassified, LlmFailed, LlmResponded, OutcomeCategory, SealReason, SessionStarted,
    ToolCompleted, ToolFailed, ToolOutcomeUnknown, ToolProposed, ToolStarted, TurnCommitted, TurnFailed,
    TurnOpened, TurnSealed, TurnStarted, TurnSuperseded, TurnTrigger,
};
use ruche_domain::ids::{MessageId, TurnId};
use ruche_domain::measures::{Cost, Digest, Finite, Usage};
use ruche_domain::numbers::Micros;
use ruche_domain::side_effect::SideEffectPolicy;
use ruche_domain::stream::{Category, StreamId};
use ruche_ledger::store::PreparedEvent;
use serde_json::json;

use crate::testing::{START_US, Story};

pub(super) const DAY_US: u64 = 86_400_000_000;
/// The first of the days that are told of: a Monday before the one at which the ledger takes all events.
pub(super) const DAY: u64 = START_US - 7 * DAY_US;
/// A turn of a lane begins at this time.
const LANE: u64 = DAY + 2 * DAY_US + 3_600_000_000;

/// Events at given times, some of them in streams of their own.
struct Teller {
    story: Story,
    events: Vec<PreparedEvent>,
}

impl Teller {
    fn tell(&mut self, at: u64, event: impl Into<AgentEvent>) -> &mut PreparedEvent {
        let mut event = self.story.event(event);
        event.event.occurred_at = Micros(at);
        self.events.push(event);
        self.events.last_mut().expect("it was pushed")
    }

    fn tell_in(&mut self, category: Category, at: u64, event: impl Into<AgentEvent>) {
        let told = self.tell(at, event);
        let id = told.event.stream.id;
        told.event.stream = StreamId::new(category, id);
    }

    fn session(&mut self, n: u64, at: u64, [agent, channel, scenario]: [&str; 3]) {
        let session = self.story.session_id(n);
        self.story.enter(session);
        self.tell(
            at,
            SessionStarted {
                agent_id: Some(agent.to_owned()),
                channel: Some(channel.to_owned()),
                scenario_id: Some(scenario.to_owned()),
                ..SessionStarted::default()
            },
        );
    }

    /// A turn of a session, and a call in it.
    fn turn(&mut self, session: u64, turn: u64) {
        let turn = self.story.turn_id(self.story.session_id(session), turn);
        self.story.enter_call(turn, self.story.call_id(turn));
    }
}

fn sealed(messages: u8) -> TurnSealed {
    let ids: Vec<_> = (0..messages).map(|n| MessageId::from_bytes([n; 16])).collect();
    TurnSealed::new(ids, SealReason::Recorded)
}

fn cost(amount: &str, currency: &str) -> Cost {
    Cost::new(
        amount.parse().expect("a decimal"),
        currency.parse().expect("three letters"),
    )
}

fn answer(model: &str, usage: Option<Usage>, cost: Option<Cost>, times: [Option<u64>; 2]) -> LlmResponded {
    LlmResponded {
        model: Some(model.to_owned()),
        usage,
        cost,
        first_chunk_us: times[0],
        duration_us: times[1],
        ..LlmResponded::default()
    }
}

fn tokens(input: u64, output: u64) -> Usage {
    Usage {
        input: Some(input),
        output: Some(output),
        ..Usage::default()
    }
}

fn prices(input: &str, from: Option<u64>) -> ConfigPriceTableChanged {
    ConfigPriceTableChanged {
        table: Some(json!({
            "m-1": { "input": input, "output": "10", "cache_read": "0.5", "currency": "USD" }
        })),
        effective_from: from.map(Micros),
        ..ConfigPriceTableChanged::new(Digest([1; 32]))
    }
}

pub(super) fn events() -> Vec<PreparedEvent> {
    let mut teller = Teller {
        story: Story::new(1),
        events: vec![],
    };
    teller.tell_in(Category::Config, DAY, prices("2.5", None));
    teller.tell_in(Category::Config, DAY, prices("5", Some(DAY + DAY_US)));
    shop(&mut teller);
    desk(&mut teller);
    bank(&mut teller);
    teller.story.enter(teller.story.session_id(9));
    teller.tell(
        DAY,
        InfraIngestGap {
            missing: Some(3),
            ..InfraIngestGap::new("source".to_owned(), "5".to_owned(), "8".to_owned())
        },
    );
    let span = teller.tell(DAY, InfraSpanUnclassified::new("odd".to_owned()));
    span.event.provenance = Provenance::Observed;
    teller.events
}

/// A session of the first day: a turn with two models, three model calls, two tools.
fn shop(teller: &mut Teller) {
    teller.session(1, DAY + 5, ["shop", "web", "refunds"]);
    teller.turn(1, 0);
    teller.tell(DAY + 6, TurnOpened::new(TurnTrigger::User));
    teller.tell(DAY + 7, sealed(2));
    let usage = Usage {
        cache_read: Some(200),
        reasoning: Some(40),
        ..tokens(1_000, 100)
    };
    let told = Some(cost("0.0031000000000000001", "USD"));
    teller.tell(
        DAY + 8,
        answer("m-1", Some(usage), told, [Some(200_000), Some(900_000)]),
    );
    teller.tell(DAY + 9, answer("m-2", None, None, [None, Some(100_000)]));
    teller.tell(
        DAY + 10,
        LlmFailed {
            model: Some("m-1".to_owned()),
            ..LlmFailed::new("timeout".to_owned())
        },
    );
    teller.tell(
        DAY + 11,
        ToolProposed {
            side_effect: Some(SideEffectPolicy::Pure),
            ..ToolProposed::new("find".to_owned(), "{}".to_owned())
        },
    );
    teller.tell(DAY + 12, ToolStarted::new("find".to_owned()));
    teller.tell(
        DAY + 13,
        ToolCompleted {
            duration_us: Some(120_000),
            ..ToolCompleted::default()
        },
    );
    let turn = teller.story.turn_id(teller.story.session_id(1), 0);
    let other = teller.story.call_id(TurnId::from_bytes([7; 16]));
    teller.story.enter_call(turn, other);
    teller.tell(DAY + 14, ToolProposed::new("refund".to_owned(), "{}".to_owned()));
    teller.tell(
        DAY + 15,
        ToolStarted {
            attempt: Some(1),
            ..ToolStarted::new("refund".to_owned())
        },
    );
    teller.tell(DAY + 16, ToolOutcomeUnknown::new("lost".to_owned()));
    teller.tell(
        DAY + 17,
        ToolStarted {
            attempt: Some(2),
            ..ToolStarted::new("refund".to_owned())
        },
    );
    teller.tell(DAY + 18, ToolFailed::default());
    teller.tell(
        DAY + 19,
        TurnCommitted {
            outcome_category: Some(OutcomeCategory::Answered),
            duration_us: Some(1_500_000),
            ..TurnCommitted::default()
        },
    );
}

/// A session of the second day: a turn that was superseded, one that failed, three scores.
fn desk(teller: &mut Teller) {
    let day = DAY + DAY_US;
    teller.session(2, day, ["desk", "mail", "refunds"]);
    teller.turn(2, 0);
    teller.tell(day + 1, TurnOpened::new(TurnTrigger::User));
    let told = Some(cost("0.01", "EUR"));
    teller.tell(
        day + 2,
        answer("m-1", Some(tokens(400, 50)), told, [None, Some(2_000_000)]),
    );
    teller.tell(day + 3, TurnSuperseded::new(TurnId::from_bytes([1; 16])));
    teller.turn(2, 1);
    teller.tell(day + 4, TurnOpened::new(TurnTrigger::User));
    teller.tell(day + 5, sealed(1));
    teller.tell(
        day + 6,
        TurnFailed {
            duration_us: Some(500_000),
            ..TurnFailed::new("budget".to_owned())
        },
    );
    for (value, label) in [(Some(0.5), None), (Some(0.25), None), (None, Some("pass"))] {
        teller.tell(
            day + 7,
            EvalScored {
                value: value.and_then(Finite::new),
                label: label.map(str::to_owned),
                ..EvalScored::new("reward".to_owned())
            },
        );
    }
}

/// A lane of the third day: a turn that gathers for two seconds, waits for three, and asks people about a call.
fn bank(teller: &mut Teller) {
    const SECOND: u64 = 1_000_000;
    teller.session(3, LANE, ["bank", "app", ""]);
    teller.turn(3, 0);
    let mut lane =
        |after: u64, event: AgentEvent| teller.tell_in(Category::Lane, LANE + after * SECOND, event);
    lane(0, TurnOpened::new(TurnTrigger::User).into());
    lane(2, sealed(3).into());
    lane(5, ConfigEffectiveResolved::new(vec![], Digest([0xab; 32])).into());
    lane(5, TurnStarted::new(1).into());
    lane(
        6,
        ToolProposed {
            side_effect: Some(SideEffectPolicy::Irreversible),
            ..ToolProposed::new("transfer".to_owned(), "{}".to_owned())
        }
        .into(),
    );
    let mut approval = |n: u8, after: u64, event: AgentEvent| {
        let told = teller.tell(LANE + after * SECOND, event);
        told.event.stream = StreamId::new(Category::Approval, uuid::Uuid::from_bytes([n; 16]));
    };
    let requested = || ApprovalRequested {
        tool_name: Some("transfer".to_owned()),
        ..ApprovalRequested::new(
            Digest([2; 32]),
            ApprovalRule::new(1),
            Micros(LANE),
            ApprovalMode::Blocking,
        )
    };
    for n in 1..=3 {
        approval(n, 6, requested().into());
    }
    approval(1, 66, ApprovalResolved::new(ApprovalOutcome::Approved).into());
    approval(2, 16, ApprovalResolved::new(ApprovalOutcome::Rejected).into());
    approval(3, 100, ApprovalExpired::new(Micros(LANE)).into());
    let call = teller
        .story
        .call_id(teller.story.turn_id(teller.story.session_id(3), 0));
    let ticket = ApprovalConsumed::new("ticket".to_owned(), call, Digest([2; 32]));
    let told = teller.tell(LANE + 110 * SECOND, ticket);
    told.event.stream = StreamId::new(Category::Approval, uuid::Uuid::from_bytes([1; 16]));
    let mut lane =
        |after: u64, event: AgentEvent| teller.tell_in(Category::Lane, LANE + after * SECOND, event);
    lane(110, ToolStarted::new("transfer".to_owned()).into());
    lane(113, ToolCompleted::default().into());
    lane(120, TurnFailed::new("worker_lost".to_owned()).into());
}
