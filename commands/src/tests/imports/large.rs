//! Sessions beyond the byte limits of one append and of one payload.

use ruche_domain::limits::APPEND_BYTES_MAX;
use ruche_ledger::memory::MemoryStore;
use ruche_ledger::testing::FixedClock;
use ruche_ledger::testing::faults::{Fault, FaultStore};

use super::*;
use crate::import::check_session;
use crate::testing::TEST_NOW;

/// A session of so many turns, each with a message of so many bytes, as it stands in a file.
fn planned(turns: usize, bytes: usize) -> SessionPlan {
    let long = "x".repeat(bytes);
    let turn =
        |n| format!(r#"{{"role":"user","content":"{n}{long}"}},{{"role":"assistant","content":"a{n}"}}"#);
    let traj: Vec<String> = (0..turns).map(turn).collect();
    let traj = traj.join(",");
    let file = format!(r#"[{{"task_id":1,"trial":0,"reward":0.5,"info":{{}},"traj":[{traj}]}}]"#);
    let session = import::read(Format::TauBench, file.as_bytes()).next();
    let options = ImportOptions {
        source: "large".to_owned(),
        ..ImportOptions::default()
    };
    plan(session.unwrap().unwrap(), &options)
}

#[tokio::test]
async fn a_session_of_many_bytes_is_imported_once_wherever_it_stops() {
    let whole = planned(12, 900_000);
    let clock = Arc::new(FixedClock::at(TEST_NOW.0));
    let store = Arc::new(FaultStore::new(Arc::new(MemoryStore::new(clock.clone()))));
    let ledger = TestLedger::on(store.clone(), clock, Arc::new(NoObjection)).await;
    let (commands, context) = (&ledger.commands, &ledger.context);

    // Each run goes further than the one before and is cut off behind another part.
    let opening = ledger.size().await;
    for sent in [0, 1, 5, 11, 12] {
        let mut begun = whole.clone();
        begun.session.turns.truncate(sent);
        begun.session.end = None;
        begun.session.scores.clear();
        in_parts(commands, context, &begun, &mut ImportedCounts::default())
            .await
            .unwrap();
        let before = ledger.size().await;
        assert_eq!(before - opening, 1 + 4 * sent as u64, "nothing stands twice");
        store.inject(Fault::NotPersisted);
        let error = import_session(commands, context, &whole).await.unwrap_err();
        assert_eq!((error.code(), ledger.size().await), ("UNAVAILABLE", before));
    }
    let counts = import_session(commands, context, &whole).await.unwrap();
    assert_eq!(
        (counts.appended, counts.duplicate),
        (2, 1 + 4 * 12),
        "the end and the score"
    );
    let size = ledger.size().await;
    let again = import_session(commands, context, &whole).await.unwrap();
    assert_eq!((again.appended, again.duplicate), (0, size - opening));
    assert_eq!(ledger.size().await, size);
    assert_eq!(exported(&ledger, &whole).await.len(), 24);
    check_ledger(&*ledger.store, ledger.context.ledger).await;
}

/// Near the limit, too, the same choice is made each time, whatever tools are registered as.
#[tokio::test]
async fn around_the_limit_of_an_append_the_choice_is_the_same_each_time() {
    for bytes in [APPEND_BYTES_MAX / 10 - 300, APPEND_BYTES_MAX / 10 - 100] {
        let ledger = ledger().await;
        let planned = planned(10, bytes);
        let (commands, context) = (&ledger.commands, &ledger.context);
        let first = import_session(commands, context, &planned).await.unwrap();
        let again = import_session(commands, context, &planned).await.unwrap();
        assert_eq!((again.appended, again.duplicate), (0, first.appended), "{bytes}");
    }
}

#[tokio::test]
async fn a_message_beyond_its_limit_is_told_each_time_and_leaves_nothing_behind() {
    for turns in [1, 10] {
        let ledger = ledger().await;
        let mut planned = planned(turns, 900_000);
        let last = planned.session.turns.last_mut().unwrap();
        let crate::turn::TurnStep::Received(message) = &mut last.steps[0] else {
            panic!("a turn begins with what comes in")
        };
        message.what.text = Some("x".repeat(1_048_577));
        let before = ledger.size().await;
        for _ in 0..2 {
            let checked = check_session(&ledger.commands, &ledger.context, &planned);
            let imported = import_session(&ledger.commands, &ledger.context, &planned).await;
            for error in [checked.unwrap_err(), imported.unwrap_err()] {
                assert_eq!(error.code(), "LIMIT_EXCEEDED");
                assert!(error.to_string().contains("payload"), "{error}");
            }
            assert_eq!(ledger.size().await, before);
        }
    }
}
