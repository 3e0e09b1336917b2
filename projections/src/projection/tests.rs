//! What each projection makes of single events, and rules that every statement obeys.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use ruche_domain::event::AgentEvent;
use ruche_domain::events::{
    ApprovalVoided, ConfigEffectiveResolved, ConfigPublished, ConfigQueryDropped, ConfigQuerySaved,
    ConfigScope, InfraLeaseExpired, InfraLeaseRenewed, InfraManualInterventionRequired, InterventionPoint,
    LlmResponded, MemoryHit, MemorySearched, MemoryWritten, MessageDrafted, MessageReceived, MessageSent,
    PolicyEvaluated, PolicyReason, PolicyVerdict, Role, SealReason, SessionStarted, ToolCompleted,
    ToolOutcomeUnknown, ToolProposed, ToolStarted, TurnAttemptFailed, TurnCancelled, TurnCommitted,
    TurnCompensating, TurnMessageCoalesced, TurnOpened, TurnQueued, TurnReadied, TurnSealed, TurnStarted,
    TurnTrigger,
};
use ruche_domain::ids::{LedgerId, TurnId};
use ruche_domain::measures::{Cost, Usage};
use ruche_domain::numbers::{LeafIndex, Micros, Position, StreamVersion};
use ruche_domain::stream::Category;
use ruche_ledger::leaf::{AppendRange, Leaf};
use ruche_ledger::payload::StoredFragment;
use ruche_ledger::store::{PreparedEvent, Record};

use super::{PoisonReason, Projection, all};
use crate::bounds;
use crate::change::{Change, Changes, SqlValue, Statement};
use crate::event::ProjectedEvent;
use crate::tally::Tally;
use crate::testing::Story;
use crate::testing::extremes::{self, Choices};

/// The event as a projection sees it, at an index of the first epoch.
fn projected(index: u64, event: PreparedEvent) -> ProjectedEvent {
    let commitments = event.payload.iter().map(|f| f.commitment.clone()).collect();
    let leaf = Leaf {
        origin: "test".to_owned(),
        index: LeafIndex(index),
        previous: (index > 0).then_some(ruche_ledger::hash::Hash([1; 32])),
        append: AppendRange {
            first: LeafIndex(index),
            count: 1,
        },
        event: event.event,
        stream_version: StreamVersion(index),
        recorded_at: Micros(1_000_000),
        keys: vec![],
        payload: commitments,
    };
    let present = |f: ruche_ledger::payload::Fragment| StoredFragment::Present {
        opening: f.opening,
        bytes: f.bytes.into(),
    };
    let payload = event.payload.into_iter().map(present).collect();
    let record = Record::from_stored(Position::new(1, index), leaf.encode(), payload).unwrap();
    ProjectedEvent::new(LedgerId::from_bytes([9; 16]), record)
}

/// One event of a session, a turn and a call.
fn one(event: impl Into<AgentEvent>) -> ProjectedEvent {
    let mut story = Story::new(1);
    let session = story.session_id(1);
    story.enter(session);
    let turn = story.turn_id(session, 0);
    story.enter_call(turn, story.call_id(turn));
    projected(5, story.event(event))
}

fn statements(projection: &dyn Projection, event: &ProjectedEvent) -> Result<Vec<Statement>, PoisonReason> {
    let mut changes = Changes::default();
    changes.push(projection.apply(event)?)?;
    changes.into_statements()
}

fn tally(event: impl Into<AgentEvent>) -> Tally {
    Tally::of(&one(event)).unwrap()
}

/// Numbers of the placeholders of a statement in the order in which they first stand there.
fn first_placeholders(sql: &str) -> Vec<usize> {
    let digits = |part: &str| part.chars().take_while(char::is_ascii_digit).collect::<String>();
    let mut numbers = Vec::new();
    for part in sql.split('$').skip(1) {
        let number = digits(part).parse().unwrap();
        if !numbers.contains(&number) {
            numbers.push(number);
        }
    }
    numbers
}

/// Events of every kind that a projection writes something for.
fn all_events() -> Vec<ProjectedEvent> {
    let mut story = Story::new(1);
    let mut events = story.setup();
    for n in 0..10 {
        events.extend(story.session(n));
    }
    let mut events: Vec<_> = (0..).zip(events).map(|(n, event)| projected(n, event)).collect();
    events.push(one(TurnQueued::new(TurnId::from_bytes([1; 16]))));
    events.push(one(TurnCancelled::default()));
    events.push(one(ToolOutcomeUnknown::new("lost connection".to_owned())));
    events.push(one(ruche_domain::events::ToolCompensated::default()));
    events.push(one(ruche_domain::events::SessionInputRequired::new(
        "r-1".to_owned(),
        ruche_domain::events::InputKind::Text,
    )));
    let question = ruche_domain::Object::from([("metric".to_owned(), "COST".into())]);
    events.push(one(ConfigQuerySaved::new("costs".to_owned(), question)));
    events.push(one(ConfigQueryDropped::new("costs".to_owned())));
    events.extend(extremes::events(&mut Choices::new(&[1])).into_iter().map(one));
    events.extend(lane_events());
    events.extend(memory_events());
    events
}

/// What is said of memory, in every way that its read model has a statement for.
fn memory_events() -> Vec<ProjectedEvent> {
    let mut written = MemoryWritten::new("r".to_owned(), "a fact".into(), Vec::new());
    written.source_refs.push("elsewhere".to_owned());
    let mut searched = MemorySearched::new("s".to_owned());
    searched.results.push(MemoryHit::new("r".to_owned()));
    let mut of_a_stream = one(written.clone());
    of_a_stream.record.leaf.event.session = None;
    of_a_stream.record.leaf.event.stream.category = Category::Memory;
    vec![
        one(written),
        one(searched),
        one(TurnCommitted::default()),
        of_a_stream,
    ]
}

/// Events of a lane of every kind that changes its read model.
fn lane_events() -> Vec<ProjectedEvent> {
    let deadline = Some(Micros(5));
    let id = TurnId::from_bytes([1; 16]);
    let digest = ruche_domain::measures::Digest([1; 32]);
    let renewed = InfraLeaseRenewed::new(id.to_string(), "lease".to_owned(), 1, Micros(9));
    let facts: Vec<AgentEvent> = vec![
        TurnOpened {
            deadline,
            ..TurnOpened::new(TurnTrigger::User)
        }
        .into(),
        TurnMessageCoalesced::new(ruche_domain::ids::MessageId::from_bytes([2; 16])).into(),
        TurnSealed::new(vec![], SealReason::Deadline).into(),
        ConfigEffectiveResolved::new(vec![], digest).into(),
        TurnQueued::new(id).into(),
        TurnReadied::new(1, Micros(7)).into(),
        TurnStarted::new(1).into(),
        renewed.into(),
        InfraLeaseExpired::new(id.to_string(), 1).into(),
        ToolStarted::new("tool".to_owned()).into(),
        ToolCompleted::default().into(),
        ApprovalVoided::default().into(),
        TurnAttemptFailed::new(1, "down".to_owned()).into(),
        TurnCompensating::new(vec![]).into(),
        TurnCancelled::default().into(),
        InfraManualInterventionRequired::new("down".to_owned()).into(),
        PolicyEvaluated {
            reasons: vec![PolicyReason::new("amount".to_owned())],
            ..PolicyEvaluated::new(
                "d".to_owned(),
                InterventionPoint::PreToolCall,
                PolicyVerdict::Deny,
                digest,
                digest,
            )
        }
        .into(),
    ];
    let in_lane = |fact| {
        let mut event = one(fact);
        event.record.leaf.event.stream.category = match event.family() {
            "approval" => Category::Approval,
            _ => Category::Lane,
        };
        event
    };
    facts.into_iter().map(in_lane).collect()
}

#[test]
fn every_statement_names_the_ledger_and_numbers_its_values_in_order() {
    let mut seen = BTreeSet::new();
    let mut changed = BTreeMap::new();
    for event in all_events() {
        for projection in all() {
            let statements = statements(projection, &event).unwrap();
            *changed.entry(projection.name()).or_insert(0) += statements.len();
            for Statement { sql, params, .. } in statements {
                let expected: Vec<usize> = (1..=params.len()).collect();
                assert_eq!(first_placeholders(sql), expected, "{sql}");
                assert!(params.contains(&SqlValue::Id([9; 16])), "{sql}");
                let keyed =
                    sql.starts_with("INSERT") && sql.contains("(ledger, ") || sql.contains("ledger = $");
                assert!(keyed || sql.contains("(ledger)"), "{sql}");
                seen.insert(sql);
            }
        }
    }
    assert!(changed.values().all(|count| *count > 0), "{changed:?}");
    assert!(seen.len() >= 24, "{} statements", seen.len());
}

#[test]
fn every_projection_has_a_name_of_its_own() {
    let names: BTreeSet<_> = all().iter().map(|projection| projection.name()).collect();
    assert_eq!(names.len(), all().len());
}

#[test]
fn a_message_is_counted_where_it_is_one() {
    assert_eq!(tally(MessageReceived::new(Role::User)).messages, 1);
    assert_eq!(tally(MessageReceived::new(Role::System)).user_messages, 0);
    assert_eq!(tally(MessageSent::new(Role::Assistant)).messages, 1);
    let draft = MessageDrafted::new(Role::Assistant);
    assert_eq!(
        tally(draft.clone()).messages,
        0,
        "a draft that is sent later is no message yet"
    );
    assert_eq!(
        tally(MessageDrafted {
            message_ordinal: Some(0),
            ..draft
        })
        .messages,
        1
    );
    assert_eq!(tally(ToolCompleted::default()).messages, 0);
    assert_eq!(
        tally(ToolCompleted {
            message_ordinal: Some(3),
            ..ToolCompleted::default()
        })
        .messages,
        1
    );
}

#[test]
fn a_call_of_an_unclassified_tool_may_write() {
    let call = ToolProposed::new("mystery".to_owned(), "{}".to_owned());
    assert_eq!(tally(call.clone()).write_calls, 1);
    let side_effect = Some(ruche_domain::side_effect::SideEffectPolicy::Pure);
    assert_eq!(tally(ToolProposed { side_effect, ..call }).write_calls, 0);
}

#[test]
fn unknown_tokens_are_not_zero() {
    let none = tally(LlmResponded::default());
    assert_eq!(
        (none.input().tokens, none.input().known, none.input().calls),
        (None, 0, 1)
    );
    let usage = Usage {
        input: Some(0),
        ..Usage::default()
    };
    let zero = tally(LlmResponded {
        usage: Some(usage),
        ..LlmResponded::default()
    });
    assert_eq!((zero.input().tokens, zero.output().tokens), (Some(0), None));
}

#[test]
fn what_cannot_be_held_is_unknown_and_never_rounded() {
    let cost = |amount: &str| LlmResponded {
        cost: Some(Cost::new(amount.parse().unwrap(), "USD".parse().unwrap())),
        ..LlmResponded::default()
    };
    for amount in [
        "0.0000000000000000000000000001",
        "9000000000000.1",
        &"9".repeat(40),
    ] {
        let event = one(cost(amount));
        assert_eq!(Tally::of(&event).unwrap().costs_known, 0, "{amount}");
        assert_eq!(crate::tally::cost_of(&event).unwrap(), None, "{amount}");
    }
    for amount in ["-0.1", "10000", "9000000000000"] {
        assert_eq!(tally(cost(amount)).costs_known, 1, "{amount}");
    }
    let told = |input, duration_us| {
        tally(LlmResponded {
            usage: Some(Usage {
                input: Some(input),
                output: Some(7),
                ..Usage::default()
            }),
            duration_us: Some(duration_us),
            ..LlmResponded::default()
        })
    };
    let most = told(bounds::TOKENS_MAX, bounds::DURATION_US_MAX);
    assert_eq!((most.input().known, most.llm_durations), (1, 1));
    assert_eq!(most.input().tokens, Some(bounds::TOKENS_MAX as i64));
    let more = told(bounds::TOKENS_MAX + 1, bounds::DURATION_US_MAX + 1);
    assert_eq!(
        (more.input().tokens, more.input().known, more.llm_calls),
        (None, 0, 1)
    );
    assert_eq!((more.llm_duration_us, more.llm_durations), (0, 0));
    assert_eq!(more.output().tokens, Some(7), "what can be held is");
}

#[test]
fn a_time_that_no_calendar_has_is_that_of_the_ledger() {
    let mut story = Story::new(1);
    story.enter(story.session_id(1));
    story.set_time(u64::MAX);
    let event = projected(0, story.event(SessionStarted::default()));
    assert_eq!(event.occurred_at().unwrap(), 1_000_000);
    assert_eq!(event.time_or_occurred(Some(Micros(5))).unwrap(), 5);
    assert_eq!(event.time_or_occurred(Some(Micros(u64::MAX))).unwrap(), 1_000_000);
}

proptest! {
    /// Whatever the schemas allow, no projection stops: neither at an event nor at the sum of a batch.
    #[test]
    fn no_number_is_poison(choices in proptest::collection::vec(any::<u64>(), 1..80), at: u64) {
        let mut of = Choices::new(&choices);
        let mut story = Story::new(1);
        story.set_time(at);
        let session = story.session_id(1);
        story.enter(session);
        let turn = story.turn_id(session, 0);
        story.enter_call(turn, story.call_id(turn));
        let events = (0..4).flat_map(|_| extremes::events(&mut of)).collect::<Vec<_>>();
        let events: Vec<_> = (0..).zip(events).map(|(n, event)| projected(n, story.event(event))).collect();
        for projection in all() {
            let mut changes = Changes::default();
            for event in &events {
                let change = projection.apply(event);
                prop_assert!(change.is_ok(), "{}: {change:?}", projection.name());
                prop_assert_eq!(changes.push(change.unwrap()), Ok(()));
            }
            prop_assert!(changes.into_statements().is_ok());
        }
    }
}

#[test]
fn an_unreadable_payload_is_poison_where_it_is_needed() {
    let mut story = Story::new(1);
    story.enter(story.session_id(1));
    let mut event = story.event(SessionStarted::default());
    event.event.schema_version = ruche_domain::numbers::SchemaVersion(99);
    let event = projected(0, event);
    let poisoned: Vec<_> = all()
        .iter()
        .filter(|p| p.apply(&event).is_err())
        .map(|p| p.name())
        .collect();
    assert_eq!(poisoned, ["sessions", "usage", "analytics"]);
}

#[test]
fn an_event_of_no_session_concerns_few() {
    let mut story = Story::new(1);
    let event = projected(0, story.event(ConfigPublished::new(ConfigScope::Tenant, 1)));
    let concerned: Vec<_> = all()
        .iter()
        .filter(|p| !p.apply(&event).unwrap().is_empty())
        .map(|p| p.name())
        .collect();
    assert_eq!(concerned, ["configuration", "analytics", "ledger_health"]);
}

#[test]
fn a_simulated_event_counts_as_what_it_simulates() {
    let event = AgentEvent::from(MessageReceived::new(Role::User)).simulated();
    let event = one(event);
    assert_eq!(event.event_type(), "message.received");
    assert_eq!(Tally::of(&event).unwrap().user_messages, 1);
}

#[test]
fn messages_without_a_number_come_behind_those_that_have_one() {
    let place = |event: ProjectedEvent| {
        let changes = crate::messages::Messages.apply(&event).unwrap();
        match &changes[..] {
            [Change::Write(write)] => write.params[2].clone(),
            other => panic!("{other:?}"),
        }
    };
    let numbered = MessageReceived {
        message_ordinal: Some(7),
        ..MessageReceived::new(Role::User)
    };
    assert_eq!(place(one(numbered)), SqlValue::Int(7));
    assert_eq!(
        place(one(MessageReceived::new(Role::User))),
        SqlValue::Int((1 << 40) | 5)
    );
}
