use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ruche_commands::testing::{NoObjection, TEST_NOW, TestLedger};
use ruche_commands::{SessionRef, StartSession};
use ruche_domain::side_effect::SideEffectPolicy;
use ruche_ledger::store::Record;

use super::*;

const SESSIONS: u64 = 60;

async fn ledger() -> TestLedger {
    TestLedger::in_memory(Arc::new(NoObjection)).await
}

fn demo(ledger: &TestLedger) -> Demo<'_> {
    Demo {
        commands: &ledger.commands,
        events: &*ledger.store,
    }
}

fn story() -> StoryName {
    StoryName::of_today(TEST_NOW, SESSIONS)
}

async fn seed(ledger: &TestLedger) -> Result<Seeded, DemoError> {
    demo(ledger).seed(ledger.context.tenant, story(), &|| ()).await
}

async fn records(ledger: &TestLedger) -> Vec<Record> {
    let (mut all, mut from) = (Vec::<Record>::new(), Position::START);
    loop {
        let page = ledger
            .store
            .read_ledger(ledger.context.ledger, from, READ_RECORDS_MAX)
            .await
            .unwrap();
        let Some(last) = page.last() else { return all };
        from = last.position.next();
        all.extend(page);
    }
}

/// Type and payload of all events, by stream: what a story is, whatever the order of its sessions.
fn told(records: &[Record]) -> BTreeMap<String, Vec<(String, Vec<u8>)>> {
    let mut streams = BTreeMap::<String, Vec<_>>::new();
    for record in records {
        let event = (
            record.leaf.event.event_type.clone(),
            record.payload_bytes().unwrap_or_default().to_vec(),
        );
        streams
            .entry(record.leaf.event.stream.to_string())
            .or_default()
            .push(event);
    }
    streams
}

#[tokio::test]
async fn the_story_is_told_once_and_is_the_same_everywhere() {
    let (one, other) = (ledger().await, ledger().await);
    let progress = AtomicU64::new(0);
    let counted = || {
        progress.fetch_add(1, Ordering::Relaxed);
    };
    let seeded = demo(&one)
        .seed(one.context.tenant, story(), &counted)
        .await
        .unwrap();
    assert_eq!((seeded.sessions, seeded.duplicates), (SESSIONS, 0));
    assert_eq!(progress.load(Ordering::Relaxed), SESSIONS);
    // Record 0 is the opening of the ledger.
    assert_eq!(one.size().await, seeded.appended + 1);
    let again = seed(&one).await.unwrap();
    assert_eq!(
        (again.told_before, again.sessions, again.appended),
        (true, SESSIONS, 0)
    );
    assert_eq!(one.size().await, seeded.appended + 1);
    seed(&other).await.unwrap();
    assert_eq!(told(&records(&one).await), told(&records(&other).await));
}

#[tokio::test]
async fn a_story_that_was_cut_off_goes_on_as_it_began() {
    let (whole, cut) = (ledger().await, ledger().await);
    seed(&whole).await.unwrap();
    // What a process leaves that dies after a few sessions: everything in front of the sessions, and some of them.
    let name = serde_json::to_value(story()).unwrap();
    let tenant = cut.context.tenant;
    demo(&cut)
        .execute(tenant, "demo/story", &settings::tenant(STORY_KEY, name))
        .await
        .unwrap();
    for session in story::sessions(1, story().until, SESSIONS).iter().take(7) {
        demo(&cut)
            .record(tenant, session, settings::prices_digest())
            .await
            .unwrap();
    }
    // The next process starts on another day and is told another number.
    let tomorrow = StoryName::of_today(Micros(TEST_NOW.0 + DAY_US), 3);
    let seeded = demo(&cut).seed(tenant, tomorrow, &|| ()).await.unwrap();
    assert_eq!(seeded.sessions, SESSIONS);
    assert!(seeded.duplicates > 7, "{seeded:?}");
    assert_eq!(cut.size().await, whole.size().await);
}

#[tokio::test]
async fn a_tenant_with_records_of_its_own_is_left_alone() {
    let ledger = ledger().await;
    ledger
        .commands
        .execute(&ledger.context.with_key("k"), &StartSession::new("mine"))
        .await
        .unwrap();
    let before = ledger.size().await;
    assert!(matches!(seed(&ledger).await, Err(DemoError::NotEmpty)));
    assert_eq!(ledger.size().await, before);
    let tenant = ledger.context.tenant;
    let many = StoryName {
        sessions: SEED_SESSIONS_MAX + 1,
        ..story()
    };
    assert!(matches!(
        demo(&ledger).seed(tenant, many, &|| ()).await,
        Err(DemoError::TooMany)
    ));
}

#[tokio::test]
async fn everything_is_marked_as_simulated_and_lies_in_the_six_weeks() {
    let ledger = ledger().await;
    seed(&ledger).await.unwrap();
    let until = story().until.0;
    for record in records(&ledger).await.iter().skip(1) {
        let event = &record.leaf.event;
        assert_eq!(event.provenance, Provenance::Simulated, "{}", record.position);
        if event.session.is_some() && event.event_type != "eval.scored" {
            let at = event.occurred_at.0;
            assert!(
                at <= until && at + 42 * DAY_US >= until,
                "{} at {at}",
                event.event_type
            );
        }
    }
}

#[test]
fn the_story_has_what_an_analyst_looks_for() {
    let sessions = story::sessions(1, story().until, super::SESSIONS);
    let steps: Vec<&story::Step> = sessions
        .iter()
        .flat_map(|s| &s.turns)
        .flat_map(|t| &t.steps)
        .collect();
    let calls = || {
        steps.iter().filter_map(|step| {
            if let story::Step::Tool(call) = step {
                Some(call)
            } else {
                None
            }
        })
    };
    for policy in [
        SideEffectPolicy::Pure,
        SideEffectPolicy::Idempotent,
        SideEffectPolicy::Compensatable,
        SideEffectPolicy::Irreversible,
    ] {
        let tools: Vec<_> = story::TOOLS
            .iter()
            .filter(|t| t.side_effect == policy)
            .map(|t| t.name)
            .collect();
        assert!(tools.len() >= 2, "{policy:?}");
        assert!(calls().any(|call| tools.contains(&call.name)), "{policy:?}");
    }
    let outcome = |wanted: fn(&story::ToolOutcome) -> bool| calls().filter(|c| wanted(&c.outcome)).count();
    assert!(outcome(|o| matches!(o, story::ToolOutcome::Failed(_))) > 20);
    assert!(outcome(|o| matches!(o, story::ToolOutcome::Unknown)) > 2);
    assert!(sessions.iter().any(|s| s.turns.iter().any(|t| t.reply.is_none())));
    assert!(sessions.iter().any(|s| !s.ended));
    assert!(sessions.iter().filter(|s| s.rating.is_some()).count() > 50);
    assert!(calls().all(|call| serde_json::from_str::<serde_json::Value>(&call.arguments).is_ok()));
}

#[test]
fn sessions_have_names_of_their_own() {
    let sessions = story::sessions(1, story().until, super::SESSIONS);
    let names: std::collections::BTreeSet<_> = sessions.iter().map(|s| &s.external_id).collect();
    assert_eq!(names.len(), sessions.len());
    let first = SessionRef::External(sessions[0].external_id.clone());
    assert_eq!(
        record::turn(&sessions[0], &sessions[0].turns[0], settings::prices_digest()).session,
        first
    );
}
