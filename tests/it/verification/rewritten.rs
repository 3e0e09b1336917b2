//! The operator as the enemy: holds the keys and a copy of the database, and makes a faultless ledger of what suits.

use std::fs;

use ruche_api::app::App;
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::Position;
use ruche_ledger::payload::{Fragment, StoredFragment};
use ruche_ledger::store::{AppendOutcome, AppendRequest, PreparedEvent, Record};
use ruche_tests::server::Home;

use super::{Audited, PROGRAM, exported, tau_bench, text, verified};

/// Events of one append of the rewritten ledger.
const CHUNK: usize = 500;

/// All records of the one ledger of a store.
pub async fn records(home: &Home) -> (LedgerId, Vec<Record>) {
    let app = App::open(&home.common(), "a rewriter")
        .await
        .expect("the store opens");
    let ledger = app.events.ledgers().await.expect("ledgers")[0];
    let mut all = Vec::new();
    let mut from = Position::START;
    loop {
        let page = app
            .events
            .read_ledger(ledger, from, 1_000)
            .await
            .expect("records");
        let Some(last) = page.last() else { break };
        from = last.position.next();
        all.extend(page);
    }
    app.close().await.expect("it closes");
    (ledger, all)
}

/// What the event of a record says, under new openings.
fn again(app: &App, record: &Record) -> PreparedEvent {
    let fragment = |(stored, committed): (&StoredFragment, &ruche_ledger::payload::Commitment)| {
        let bytes = stored.bytes().expect("the operator has all payloads").to_vec();
        Fragment::plain(&*app.random, &committed.media_type, bytes).expect("as it was")
    };
    let payload = record.payload.iter().zip(&record.leaf.payload).map(fragment);
    PreparedEvent {
        event: record.leaf.event.clone(),
        payload: payload.collect(),
    }
}

/// Writes a fresh ledger of these events under the same master seed, as if nothing else had ever been.
async fn write(
    home: &Home,
    ledger: LedgerId,
    records: &[Record],
    change: impl Fn(&App, &mut [PreparedEvent]),
) {
    let app = App::open(&home.common(), "a rewriter")
        .await
        .expect("a new store");
    app.opener
        .create(ledger)
        .await
        .expect("nothing was promised, as far as this store knows");
    for chunk in records.chunks(CHUNK) {
        let mut events: Vec<_> = chunk.iter().map(|record| again(&app, record)).collect();
        change(&app, &mut events);
        let request = AppendRequest::new(Vec::new(), events, Vec::new()).expect("within the limits");
        let outcome = app.events.append(ledger, request).await.expect("an append");
        assert!(
            matches!(outcome, AppendOutcome::Appended { duplicate: false, .. }),
            "{outcome:?}"
        );
    }
    app.sealer.seal(ledger).await.expect("a tree head");
    app.close().await.expect("it closes");
}

/// Rewrites the ledger; then it is without fault, save for who kept a tree head.
fn is_caught(
    audited: &Audited,
    name: &str,
    which: impl Fn(&[Record]) -> Vec<Record>,
    change: impl Fn(&App, &mut [PreparedEvent]),
) {
    let folder = audited.folder.path().join(name);
    let home = Home::new(PROGRAM, &folder);
    fs::create_dir_all(&home.keys).expect("a folder");
    fs::copy(
        audited.home.keys.join("master.seed"),
        home.keys.join("master.seed"),
    )
    .expect("the seed");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let (ledger, all) = records(&audited.home).await;
        // Record 0 is written anew by whoever opens the ledger.
        let kept = which(&all[1..]);
        assert!(!kept.is_empty() && kept.len() < all.len());
        write(&home, ledger, &kept, change).await;
    });
    let export = folder.join("export");
    let key = exported(&home, &export);
    assert_eq!(key, audited.key, "{name}: the same origin and key");
    let forgotten = verified(&[text(&export), "--key", &key]);
    assert_eq!(forgotten.code, 0, "{name}: {forgotten:?}");
    let kept = audited.export.join("e1/checkpoint");
    let remembered = verified(&[text(&export), "--key", &key, "--since", text(&kept)]);
    assert_eq!(remembered.code, 2, "{name}: {remembered:?}");
    assert_eq!(remembered.kinds, ["INCONSISTENT_WITH_KNOWN_HEAD"], "{name}");
}

fn as_they_were(_: &App, _: &mut [PreparedEvent]) {}

#[test]
fn an_operator_with_the_keys_who_rewrites_the_database_is_caught_by_who_kept_a_tree_head() {
    let Some(audited) = tau_bench() else { return };
    is_caught(
        &audited,
        "truncated",
        |all| all[..all.len() - 40].to_vec(),
        as_they_were,
    );
    let without_a_stream = |all: &[Record]| {
        let observed = |record: &&Record| record.leaf.event.stream.to_string().starts_with("observed-");
        let stream = all
            .iter()
            .rfind(observed)
            .expect("a conversation")
            .leaf
            .event
            .stream;
        all.iter()
            .filter(|record| record.leaf.event.stream != stream)
            .cloned()
            .collect()
    };
    is_caught(&audited, "dropped", without_a_stream, as_they_were);
    let another_text = |app: &App, events: &mut [PreparedEvent]| {
        let said = events
            .iter_mut()
            .find(|event| event.event.event_type == "message.sent");
        let Some(said) = said else { return };
        let bytes = br#"{"role":"assistant","text":"Nothing of the kind was ever said."}"#.to_vec();
        let fragment =
            Fragment::plain(&*app.random, ruche_ledger::payload::JSON, bytes).expect("within the limits");
        said.payload = vec![fragment];
    };
    is_caught(&audited, "rewritten", |all| all.to_vec(), another_text);
}
