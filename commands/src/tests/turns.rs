use ruche_domain::event::AgentEvent;
use ruche_domain::events::{
    LlmRequested, LlmResponded, MessageReceived, MessageSent, Role, SessionEndReason, SessionEnded,
    SessionStarted, ToolCallRequest, ToolCompleted, ToolFailed, ToolOutcomeUnknown, TurnCommitted,
    TurnOpened, TurnTrigger,
};
use ruche_domain::limits::EVENTS_PER_APPEND_MAX;
use ruche_domain::measures::Usage;
use ruche_domain::numbers::Micros;
use ruche_domain::side_effect::{EffectStatus, SideEffectPolicy};

use crate::command::{Command, Content, NewEvent};
use crate::error::CommandError;
use crate::testing::{Given, given, references, session};
use crate::tool::tool_stream;
use crate::turn::{ModelCall, RecordImportedTurn, Said, Settled, Timed, ToolOutcome};
use crate::{
    RecordSession, RecordTurn, RecordedTurn, RegisterTool, SessionRef, StartSession, StrayAnswers, TurnEnd,
    TurnStep,
};

fn record(steps: Vec<TurnStep>) -> RecordTurn {
    RecordTurn {
        session: SessionRef::External("s-1".to_owned()),
        turn: RecordedTurn {
            opened: TurnOpened::new(TurnTrigger::User),
            opened_at: None,
            steps,
            end: TurnEnd::Committed(TurnCommitted::default()),
        },
    }
}

fn user(text: &str) -> TurnStep {
    TurnStep::Received(Timed::untimed(MessageReceived {
        text: Some(text.to_owned()),
        ..MessageReceived::new(Role::User)
    }))
}

fn says(text: Option<&str>, calls: &[(&str, &str)]) -> Said {
    let request = |(name, id): &(&str, &str)| ToolCallRequest {
        provider_call_id: Some((*id).to_owned()),
        ..ToolCallRequest::new(99, (*name).to_owned(), "{ \"a\" : 1 }".to_owned())
    };
    Said {
        message: MessageSent {
            text: text.map(str::to_owned),
            tool_calls: calls.iter().map(request).collect(),
            ..MessageSent::new(Role::Assistant)
        },
        at: None,
        model_call: None,
    }
}

fn answer(id: &str, result: &str) -> TurnStep {
    settled(ToolOutcome::Completed(ToolCompleted {
        provider_call_id: Some(id.to_owned()),
        result: Some(result.to_owned()),
        ..ToolCompleted::default()
    }))
}

fn settled(outcome: ToolOutcome) -> TurnStep {
    TurnStep::Settled(Settled {
        call: None,
        started_at: None,
        is_message: true,
        outcome,
    })
}

fn open() -> Given {
    given().in_session("s-1", SessionStarted::default())
}

fn fact(event: &NewEvent) -> &AgentEvent {
    match &event.content {
        Content::Fact(fact) => fact,
        Content::Given(_) => panic!("a turn is facts"),
    }
}

#[test]
fn a_turn_is_recorded_from_its_opening_to_its_end() {
    let tool = RegisterTool::new("book", SideEffectPolicy::Idempotent);
    let given = open().event(tool_stream(&references(), "book"), tool.tool.clone());
    let steps = vec![
        user("book it"),
        TurnStep::Said(says(None, &[("book", "c-1")])),
        answer("c-1", "done"),
        TurnStep::Said(says(Some("booked"), &[])),
    ];
    let events = given.when(&record(steps)).events();
    let types: Vec<&str> = events.iter().map(|event| fact(event).event_type()).collect();
    assert_eq!(
        types,
        [
            "turn.opened",
            "message.received",
            "message.drafted",
            "tool.proposed",
            "tool.started",
            "tool.completed",
            "message.sent",
            "turn.committed"
        ]
    );
    let turn = references().turn(session("s-1"), 0);
    let call = references().call(turn, 0);
    assert!(
        events
            .iter()
            .all(|event| event.turn == Some(turn) && event.session == Some(session("s-1")))
    );
    assert!(events[3..6].iter().all(|event| event.call == Some(call)));
    assert_eq!(
        events[4].caused_by,
        Some(3),
        "the start is caused by the proposal"
    );
    assert_eq!(events[5].caused_by, Some(4), "the result is caused by the start");
    let AgentEvent::ToolProposed(proposed) = fact(&events[3]) else {
        panic!()
    };
    assert_eq!(proposed.side_effect, Some(SideEffectPolicy::Idempotent));
    assert_eq!(proposed.arguments, "{ \"a\" : 1 }", "text as the model wrote it");
    assert_eq!((proposed.ordinal, proposed.message_ordinal), (Some(0), Some(1)));
    let AgentEvent::ToolCompleted(completed) = fact(&events[5]) else {
        panic!()
    };
    assert_eq!(completed.message_ordinal, Some(2));
    let AgentEvent::TurnCommitted(committed) = fact(&events[7]) else {
        panic!()
    };
    assert_eq!(committed.effects.len(), 1);
    assert_eq!(committed.effects[0].status, EffectStatus::Completed);
    assert_eq!(
        committed.response_message_ids,
        [references().message(session("s-1"), 3)]
    );
    let AgentEvent::TurnOpened(opened) = fact(&events[0]) else {
        panic!()
    };
    assert_eq!(opened.message_ids, [references().message(session("s-1"), 0)]);
}

#[test]
fn numbers_go_on_from_the_last_turn() {
    let earlier = TurnOpened {
        turn_ordinal: Some(4),
        ..TurnOpened::new(TurnTrigger::User)
    };
    let last = MessageSent {
        message_ordinal: Some(11),
        ..MessageSent::new(Role::Assistant)
    };
    let given = open().observed("s-1", earlier).observed("s-1", last);
    let events = given.when(&record(vec![user("go on")])).events();
    assert_eq!(events[0].turn, Some(references().turn(session("s-1"), 5)));
    let AgentEvent::MessageReceived(message) = fact(&events[1]) else {
        panic!()
    };
    assert_eq!(message.message_ordinal, Some(12));
}

#[test]
fn one_provider_id_for_two_calls_makes_two_calls() {
    let steps = vec![
        user("twice"),
        TurnStep::Said(says(None, &[("pay", "same"), ("pay", "same")])),
        answer("same", "first"),
        answer("same", "second"),
        TurnStep::Said(says(None, &[("pay", "same")])),
        answer("same", "third"),
    ];
    let events = open().when(&record(steps)).events();
    let results: Vec<_> = events
        .iter()
        .filter_map(|event| match fact(event) {
            AgentEvent::ToolCompleted(done) => Some((event.call.unwrap(), done.result.clone().unwrap())),
            _ => None,
        })
        .collect();
    let turn = references().turn(session("s-1"), 0);
    let expected = ["first", "second", "third"].iter().enumerate();
    let expected: Vec<_> = expected
        .map(|(n, text)| (references().call(turn, n as u64), (*text).to_owned()))
        .collect();
    assert_eq!(results, expected);
}

#[test]
fn an_unknown_tool_is_irreversible_and_a_pure_one_leaves_no_effect() {
    let pure = RegisterTool::new("look", SideEffectPolicy::Pure);
    let given = open().event(tool_stream(&references(), "look"), pure.tool.clone());
    let failed = ToolFailed {
        provider_call_id: Some("b".to_owned()),
        ..ToolFailed::default()
    };
    let steps = vec![
        TurnStep::Said(says(
            None,
            &[("look", "a"), ("launch", "b"), ("vanish", "c"), ("never", "d")],
        )),
        answer("a", "seen"),
        settled(ToolOutcome::Failed(failed)),
        TurnStep::Settled(Settled {
            call: Some(2),
            started_at: None,
            is_message: false,
            outcome: ToolOutcome::Unknown(ToolOutcomeUnknown::new("lost connection".to_owned())),
        }),
    ];
    let events = given.when(&record(steps)).events();
    let AgentEvent::TurnCommitted(end) = fact(events.last().unwrap()) else {
        panic!()
    };
    let effects: Vec<_> = end
        .effects
        .iter()
        .map(|e| (e.name.as_deref().unwrap(), e.side_effect, e.status))
        .collect();
    assert_eq!(
        effects,
        [
            ("launch", SideEffectPolicy::Irreversible, EffectStatus::Failed),
            (
                "vanish",
                SideEffectPolicy::Irreversible,
                EffectStatus::OutcomeUnknown
            ),
        ],
        "a pure call has no effect, and a call that never ran has none either"
    );
}

/// The outcome of a call by its number.
fn nth(call: u64, outcome: ToolOutcome) -> TurnStep {
    TurnStep::Settled(Settled {
        call: Some(call),
        started_at: None,
        is_message: true,
        outcome,
    })
}

fn done() -> ToolOutcome {
    ToolOutcome::Completed(ToolCompleted::default())
}

fn place_of(refusal: CommandError) -> String {
    match refusal {
        CommandError::InvalidInput { field, .. } => field,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_call_comes_out_once_and_after_it_was_made() {
    let call = || TurnStep::Said(says(None, &[("pay", "c-1")]));
    let failed = || ToolOutcome::Failed(ToolFailed::default());
    let named = || {
        settled(ToolOutcome::Completed(ToolCompleted {
            name: Some("pay".to_owned()),
            ..ToolCompleted::default()
        }))
    };
    let nameless = || settled(ToolOutcome::Unknown(ToolOutcomeUnknown::new("lost".to_owned())));
    let cases = [
        (
            "again",
            vec![call(), nth(0, done()), nth(0, failed())],
            "/steps/2/settled/call",
        ),
        (
            "never made",
            vec![call(), nth(5, done())],
            "/steps/1/settled/call",
        ),
        ("before it", vec![nth(0, done()), call()], "/steps/0/settled/call"),
        (
            "no call at all",
            vec![user("x"), nth(0, done())],
            "/steps/1/settled/call",
        ),
        (
            "largest number",
            vec![call(), nth(u64::MAX, done())],
            "/steps/1/settled/call",
        ),
        (
            "again by id",
            vec![call(), answer("c-1", "a"), answer("c-1", "b")],
            "/steps/2/settled",
        ),
        (
            "number, then id",
            vec![call(), nth(0, done()), answer("c-1", "b")],
            "/steps/2/settled",
        ),
        (
            "id, then number",
            vec![call(), answer("c-1", "b"), nth(0, done())],
            "/steps/2/settled/call",
        ),
        (
            "again by name",
            vec![call(), named(), named()],
            "/steps/2/settled",
        ),
        (
            "id before it",
            vec![answer("c-1", "a"), call()],
            "/steps/0/settled",
        ),
        ("ghost", vec![call(), answer("ghost", "boo")], "/steps/1/settled"),
        ("names nothing", vec![call(), nameless()], "/steps/1/settled"),
    ];
    for (what, steps, place) in cases {
        let refusal = open().when(&record(steps)).refused("INVALID_INPUT");
        assert_eq!(place_of(refusal), place, "{what}");
    }
    open()
        .when(&record(vec![call(), nth(0, done()), call(), nth(1, failed())]))
        .events();
    open().when(&record(vec![call(), named()])).events();
}

#[test]
fn an_id_that_was_answered_is_not_given_to_another_call_of_the_tool() {
    let twice = |second: &str| {
        let outcome = |id: &str| {
            settled(ToolOutcome::Completed(ToolCompleted {
                name: Some("pay".to_owned()),
                provider_call_id: Some(id.to_owned()),
                ..ToolCompleted::default()
            }))
        };
        let calls = TurnStep::Said(says(None, &[("pay", "c-1"), ("pay", "c-2")]));
        record(vec![calls, outcome("c-1"), outcome(second)])
    };
    let refusal = open().when(&twice("c-1")).refused("INVALID_INPUT");
    assert_eq!(place_of(refusal), "/steps/2/settled");
    open().when(&twice("c-2")).events();
}

/// A session of one turn, as an import records it.
fn whole(steps: Vec<TurnStep>, stray_answers: StrayAnswers) -> RecordSession {
    RecordSession {
        start: StartSession::new("s-1"),
        turns: vec![record(steps).turn],
        end: None,
        scores: Vec::new(),
        stray_answers,
    }
}

#[test]
fn a_recorded_session_keeps_stray_answers_only_where_that_was_asked_for() {
    let ghost = || vec![user("x"), answer("ghost", "boo")];
    let refusal = given()
        .when(&whole(ghost(), StrayAnswers::Refused))
        .refused("INVALID_INPUT");
    assert_eq!(place_of(refusal), "/turns/0/steps/1/settled");
    given().when(&whole(ghost(), StrayAnswers::Kept)).events();
    // A number that says something false is no stray answer.
    let call = || TurnStep::Said(says(None, &[("pay", "c-1")]));
    for false_number in [
        vec![call(), nth(0, done()), nth(0, done())],
        vec![call(), nth(5, done())],
    ] {
        given()
            .when(&whole(false_number, StrayAnswers::Kept))
            .refused("INVALID_INPUT");
    }
}

#[test]
fn a_recorded_session_that_ended_before_is_refused_as_ended() {
    let refusal = given()
        .in_session("s-1", SessionStarted::default())
        .in_session("s-1", SessionEnded::new(SessionEndReason::Completed))
        .when(&whole(vec![user("x")], StrayAnswers::Kept))
        .refused("ILLEGAL_TRANSITION");
    assert!(
        matches!(refusal, CommandError::IllegalTransition { state: "ended", .. }),
        "{refusal:?}"
    );
}

#[test]
fn a_turn_of_an_import_is_the_same_command_to_its_key() {
    let recorded = record(vec![user("x"), answer("ghost", "boo")]);
    let imported = RecordImportedTurn {
        recorded: recorded.clone(),
        stray: StrayAnswers::Kept,
    };
    assert_eq!(
        serde_json::to_string(&imported).unwrap(),
        serde_json::to_string(&recorded).unwrap()
    );
    assert_eq!(RecordImportedTurn::NAME, RecordTurn::NAME);
}

#[test]
fn a_stray_answer_of_an_import_is_a_call_without_a_proposal() {
    let imported = RecordImportedTurn {
        recorded: record(vec![user("x"), answer("ghost", "boo")]),
        stray: StrayAnswers::Kept,
    };
    let events = open().when(&imported).events();
    let types: Vec<&str> = events.iter().map(|event| fact(event).event_type()).collect();
    assert_eq!(
        types,
        [
            "turn.opened",
            "message.received",
            "tool.started",
            "tool.completed",
            "turn.committed"
        ]
    );
    assert!(events[2].call.is_some() && events[2].caused_by.is_none());
}

#[test]
fn model_calls_stand_in_front_of_their_message_and_sum_up_where_all_is_known() {
    let model_call = |output| ModelCall {
        requested: Some(LlmRequested::new("m-1".to_owned())),
        responded: LlmResponded {
            usage: Some(Usage {
                input: Some(10),
                output,
                ..Usage::default()
            }),
            ..LlmResponded::default()
        },
        responded_at: Some(Micros(7)),
    };
    let mut first = says(Some("a"), &[]);
    first.model_call = Some(model_call(Some(1)));
    let mut second = says(Some("b"), &[]);
    second.model_call = Some(model_call(None));
    let steps = vec![user("x"), TurnStep::Said(first), TurnStep::Said(second)];
    let events = open().when(&record(steps)).events();
    let types: Vec<&str> = events.iter().map(|event| fact(event).event_type()).collect();
    assert_eq!(types[2..5], ["llm.requested", "llm.responded", "message.sent"]);
    assert_eq!((events[3].caused_by, events[4].caused_by), (Some(2), Some(3)));
    let AgentEvent::LlmResponded(responded) = fact(&events[3]) else {
        panic!()
    };
    assert_eq!(responded.message_ordinal, Some(1));
    let AgentEvent::TurnCommitted(end) = fact(events.last().unwrap()) else {
        panic!()
    };
    let total = end.usage_total.as_ref().unwrap();
    assert_eq!((total.input, total.output), (Some(20), None));
}

#[test]
fn what_has_no_time_of_its_own_happened_no_earlier_than_what_came_before() {
    let mut turn = record(vec![user("x"), TurnStep::Said(says(Some("y"), &[]))]);
    turn.turn.opened_at = Some(Micros(50));
    let events = open().when(&turn).events();
    assert!(events.iter().all(|event| event.occurred_at == Some(Micros(50))));
}

#[test]
fn a_turn_is_refused_where_it_cannot_be() {
    given()
        .when(&record(vec![user("x")]))
        .refused("ILLEGAL_TRANSITION");
    open().when(&record(Vec::new())).refused("INVALID_INPUT");
    let many = (0..EVENTS_PER_APPEND_MAX).map(|n| user(&n.to_string())).collect();
    open().when(&record(many)).refused("LIMIT_EXCEEDED");
}
