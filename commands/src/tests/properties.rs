//! Random courses of sessions, retried at random; files broken at random.

use std::sync::Arc;

use proptest::prelude::*;
use ruche_domain::events::{
    MessageReceived, MessageSent, Role, SessionEndReason, ToolCallRequest, ToolCompleted, TurnCommitted,
    TurnOpened, TurnTrigger,
};
use ruche_ledger::memory::MemoryStore;
use ruche_ledger::testing::faults::{Fault, FaultStore};
use ruche_ledger::testing::{FixedClock, check_ledger};

use crate::import::{self, Format, ImportOptions, export_messages};
use crate::testing::{NoObjection, TEST_NOW, TestLedger};
use crate::turn::{Said, Settled, Timed, ToolOutcome};
use crate::{EndSession, RecordTurn, RecordedTurn, SessionRef, StartSession, TurnEnd, TurnStep};

/// A turn in which the user says `text`, a tool echoes it and the agent repeats it.
pub(super) fn turn_of(text: &str) -> RecordedTurn {
    let call = ToolCallRequest::new(0, "echo".to_owned(), text.to_owned());
    let said = |message_text: Option<&str>, tool_calls| {
        TurnStep::Said(Said {
            message: MessageSent {
                text: message_text.map(str::to_owned),
                tool_calls,
                ..MessageSent::new(Role::Assistant)
            },
            at: None,
            model_call: None,
        })
    };
    RecordedTurn {
        opened: TurnOpened::new(TurnTrigger::User),
        opened_at: None,
        steps: vec![
            TurnStep::Received(Timed::untimed(MessageReceived {
                text: Some(text.to_owned()),
                ..MessageReceived::new(Role::User)
            })),
            said(None, vec![call]),
            TurnStep::Settled(Settled {
                call: Some(0),
                started_at: None,
                is_message: true,
                outcome: ToolOutcome::Completed(ToolCompleted {
                    result: Some(text.to_owned()),
                    ..ToolCompleted::default()
                }),
            }),
            said(Some(text), Vec::new()),
        ],
        end: TurnEnd::Committed(TurnCommitted::default()),
    }
}

/// A step of a course.
#[derive(Clone, Debug)]
enum Step {
    Start(usize),
    Turn(usize, String),
    End(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let session = 0..3usize;
    prop_oneof![
        1 => session.clone().prop_map(Step::Start),
        4 => (session.clone(), "[^\u{0}]{0,12}").prop_map(|(session, text)| Step::Turn(session, text)),
        1 => session.prop_map(Step::End),
    ]
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        3 => Just(Fault::None),
        1 => Just(Fault::NotPersisted),
        1 => Just(Fault::UnknownNotPersisted),
        1 => Just(Fault::UnknownButPersisted),
    ]
}

/// What a course must come to: for each session whether it is open, and what was said.
#[derive(Clone, Debug, Default)]
struct Model {
    open: Option<bool>,
    said: Vec<String>,
}

async fn run(course: &[(Step, Fault, u8)]) {
    let clock = Arc::new(FixedClock::at(TEST_NOW.0));
    let store = Arc::new(FaultStore::new(Arc::new(MemoryStore::new(clock.clone()))));
    let ledger = TestLedger::on(store.clone(), clock, Arc::new(NoObjection)).await;
    let mut models = vec![Model::default(); 3];
    for (number, (step, fault, tries)) in course.iter().enumerate() {
        store.inject(*fault);
        let context = ledger.context.with_key(format!("step-{number}"));
        let name = |session: &usize| SessionRef::External(format!("s-{session}"));
        let mut first = None;
        // At least twice: the first try may fail, and a repeated one changes nothing.
        for _ in 0..=(*tries).max(1) {
            let done = match step {
                Step::Start(s) => {
                    ledger
                        .commands
                        .execute(&context, &StartSession::new(format!("s-{s}")))
                        .await
                }
                Step::Turn(s, text) => {
                    let (session, turn) = (name(s), turn_of(text));
                    ledger
                        .commands
                        .execute(&context, &RecordTurn { session, turn })
                        .await
                }
                Step::End(s) => {
                    let end = EndSession::new(name(s), SessionEndReason::Completed);
                    ledger.commands.execute(&context, &end).await
                }
            };
            match (done, &first) {
                (Ok(receipt), None) => first = Some(receipt.events),
                (Ok(receipt), Some(events)) => {
                    assert!(receipt.duplicate);
                    assert_eq!(&receipt.events, events, "the first answer again");
                }
                (Err(error), Some(_)) => panic!("an answer turned into {error}"),
                (Err(_), None) => {}
            }
        }
        let model = match step {
            Step::Start(s) | Step::Turn(s, _) | Step::End(s) => &mut models[*s],
        };
        let legal = match (step, model.open) {
            (Step::Start(_), open) => open.is_none(),
            (Step::Turn(..) | Step::End(_), open) => open == Some(true),
        };
        assert_eq!(first.is_some(), legal, "{step:?} on {model:?}");
        match step {
            Step::Start(_) if legal => model.open = Some(true),
            Step::Turn(_, text) if legal => model.said.push(text.clone()),
            Step::End(_) if legal => model.open = Some(false),
            _ => {}
        }
    }
    check_ledger(&*ledger.store, ledger.context.ledger).await;
    for (number, model) in models.iter().enumerate() {
        let records = ledger.records(ledger.session(&format!("s-{number}"))).await;
        let messages = export_messages(&records).unwrap();
        assert_eq!(messages.len(), model.said.len() * 4);
        for (turn, text) in messages.chunks(4).zip(&model.said) {
            assert_eq!(turn[0].text.as_ref(), Some(text));
            assert_eq!(
                (turn[1].text.as_ref(), &turn[1].tool_calls[0].arguments),
                (None, text)
            );
            assert_eq!(turn[2].text.as_ref(), Some(text));
            assert_eq!(turn[3].text.as_ref(), Some(text));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_course_under_any_faults_is_carried_out_once(
        course in prop::collection::vec((step(), fault(), 0..3u8), 1..24)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(run(&course));
    }
}

/// Small files of each format, to be broken.
const FILES: [(Format, &str); 4] = [
    (
        Format::Letta,
        concat!(
            r#"{"input":"q","ground_truth":"b","agent_args":{"extra":{"facts":["a"],"contradicting_fact":"b","#,
            r#""contradicting_answer":"b","supporting_fact_indices":[0]}}}"#
        ),
    ),
    (
        Format::TauBench,
        r#"[{"task_id":0,"trial":0,"reward":1.0,"info":{"source":"user"},"traj":[{"role":"user","content":"a"}]},
{"task_id":1,"trial":0,"reward":0.0,"info":{},"traj":[{"role":"assistant","content":null,"tool_calls":
[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c",
"name":"f","content":"Error"}]}]"#,
    ),
    (
        Format::AgentDojo,
        r#"{"metadata":{"name":"x"}}
{"index":1,"messages":[{"role":"user","content":"a"}],"metadata":{"success":true}}
{"index":2,"messages":[{"role":"assistant","content":null,"tool_calls":[{"id":"c","function":{"name":"f","arguments":{"k":[1, 2]}}}]}]}"#,
    ),
    (
        Format::Tau2,
        r#"{"info":{"agent_info":{"llm":"p/m"}},"tasks":[{"id":"t"}],"simulations":[{"id":"s","task_id":"t",
"start_time":"2026-05-31T11:41:11.146652","messages":[{"role":"assistant","content":"a","cost":1e-05,
"timestamp":"2026-05-31T11:41:11","raw_data":{"created":1780252874}}]}]}"#,
    ),
];

proptest! {
    #[test]
    fn no_file_is_too_broken_to_be_read(
        file in 0..FILES.len(),
        breaks in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 0..4),
    ) {
        let (format, text) = FILES[file];
        let mut bytes = text.as_bytes().to_vec();
        for (at, byte, what) in &breaks {
            let at = at.index(bytes.len());
            match what {
                0 => bytes[at] = *byte,
                1 => bytes.insert(at, *byte),
                2 => bytes.truncate(at + 1),
                _ => { bytes.remove(at); }
            }
            if bytes.is_empty() {
                bytes.push(b' ');
            }
        }
        let options = ImportOptions { source: "s".to_owned(), ..ImportOptions::default() };
        for session in import::read(format, &bytes).flatten() {
            import::plan(session, &options);
        }
        let intact = import::read(format, text.as_bytes()).filter(Result::is_ok).count();
        if breaks.is_empty() {
            prop_assert_eq!(import::read(format, &bytes).filter(Result::is_ok).count(), intact);
        }
        import::read_with_log(&bytes, text.as_bytes()).for_each(drop);
        import::read_with_log(text.as_bytes(), &bytes).for_each(drop);
    }
}
