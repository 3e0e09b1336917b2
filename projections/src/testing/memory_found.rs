//! Memory: what is found in it, by words, by sources and by who used it, and what erasure leaves.

#![expect(missing_docs, reason = "the name of a test says what it shows")]

use std::sync::Arc;

use ruche_domain::events::{
    InvalidationReason, MemoryInvalidated, MemorySearched, MemoryWritten, TurnCommitted, TurnOpened,
    TurnTrigger,
};
use ruche_domain::ids::EventId;
use ruche_domain::numbers::{Micros, Position};
use ruche_ledger::store::EventStore;

use super::erased::Erased;
use super::memory::{OLD, Teller, at, in_batches, invalidated, list, text, written};
use super::workers::told;
use super::world::{Fresh, World};
use crate::memory::{self, Asked, FactFilter, FactStatus, UseFilter};
use crate::rebuild::{OnDifference, RebuildProgress};
use crate::runner::Runner;
use crate::select::PageRequest;

pub async fn a_text_finds_what_has_all_of_its_words(fresh: Fresh) {
    let mut ann = Teller::new();
    for (n, content) in [
        "Joren Sullivar is a marine biologist; he restores coral-reefs.",
        "JOREN met Ann at the café in 2019 (C++ or Rust?)",
        "NOT a* \"quoted\" OR near: %_'\\",
        "Ἀθῆναι · 東京 · \0nul\u{1}",
    ]
    .iter()
    .enumerate()
    {
        ann.say(written(&format!("r-{n}"), content));
    }
    ann.say(MemoryWritten {
        attribute: Some("lives_in".to_owned()),
        ..MemoryWritten::new(
            "data".to_owned(),
            serde_json::json!({ "city": "Lyon", "since": 2019 }),
            Vec::new(),
        )
    });
    let (world, ledger) = told(fresh, ann.events, 2).await;
    for (asked, expected) in [
        ("joren", &[0, 1][..]),
        ("Joren SULLIVAR", &[0]),
        ("reefs coral", &[0]),
        ("café", &[1]),
        ("cafe", &[]),
        ("2019", &[1, 4]),
        ("lives Lyon", &[4]),
        ("city", &[]),
        ("jor", &[]),
        ("joren OR lyon", &[]),
        ("or", &[1, 2]),
        ("not", &[2]),
        ("a*", &[0, 2]),
        ("\"quoted", &[2]),
        ("-joren", &[0, 1]),
        ("' OR 1=1 --", &[]),
        ("東京", &[3]),
        ("ἀθῆναι nul", &[3]),
        ("%", &[]),
        ("", &[]),
    ] {
        let filter = FactFilter {
            text: Some(asked.to_owned()),
            ..FactFilter::default()
        };
        let found = list(&world, ledger, &filter).await;
        let found: Vec<Position> = found.iter().map(|fact| fact.position).collect();
        let expected: Vec<Position> = expected.iter().map(|event| at(*event)).collect();
        assert_eq!(found, expected, "{asked:?}");
    }
    let one = PageRequest::first(1);
    let filter = FactFilter {
        text: Some("joren".to_owned()),
        ..FactFilter::default()
    };
    let page = memory::facts(world.reads(), ledger, &filter, &one)
        .await
        .expect("it can be read");
    assert!(page.has_next);
    let next = memory::facts(world.reads(), ledger, &filter, &one.after(page.end())).await;
    let next = next.expect("it can be read");
    assert_eq!((next.rows[0].1.position, next.has_next), (at(1), false));
}

/// A search that gave these records of a store.
fn searched(records: &[&str]) -> MemorySearched {
    let hits = records
        .iter()
        .map(|record| ruche_domain::events::MemoryHit::new((*record).to_owned()));
    MemorySearched {
        results: hits.collect(),
        ..MemorySearched::new("s".to_owned())
    }
}

pub async fn a_fact_names_what_it_rests_on_and_who_used_it(fresh: Fresh) {
    let mut ann = Teller::new();
    let stored = |record: &str, content: &str, sources: Vec<EventId>| MemoryWritten {
        store: Some("s".to_owned()),
        source_event_ids: sources,
        source_refs: vec!["crm:7".to_owned(), "crm:7".to_owned()],
        extractor_digest: Some(OLD),
        ..written(record, content)
    };
    let said = ann.say(TurnOpened::new(TurnTrigger::User));
    let source = ann.events[said].event.event_id;
    let strange = EventId::v7(1, [9; 10]);
    ann.say(stored("r", "one", vec![source, strange]));
    let used = ann.say_in(0, searched(&["r", "other"]));
    let second = ann.say(stored("r", "two", vec![]));
    let used_again = ann.say_in(1, searched(&["r"]));
    let taken_back = MemoryInvalidated {
        store: Some("s".to_owned()),
        ..invalidated("r", InvalidationReason::ExtractionError)
    };
    ann.say(taken_back.clone());
    ann.say(taken_back);
    let served = ann.say_in(2, searched(&["other", "r"]));
    let (world, ledger) = in_batches(fresh, &ann.events).await;
    let of = |source: String| FactFilter {
        source: Some(source),
        ..FactFilter::default()
    };
    let found = list(&world, ledger, &of(source.to_string())).await;
    assert_eq!(found.iter().map(text).collect::<Vec<_>>(), ["one"]);
    assert_eq!(
        (found[0].sources.clone(), found[0].refs.len()),
        (vec![source, strange], 1),
        "each is there once"
    );
    assert_eq!(list(&world, ledger, &of("crm:7".to_owned())).await.len(), 2);
    let positions = memory::positions_of(world.reads(), ledger, &found[0].sources).await;
    let positions = positions.expect("it can be read");
    assert_eq!(positions.into_iter().collect::<Vec<_>>(), [(source, at(said))]);

    let page = PageRequest::first(10);
    let versions = memory::history(world.reads(), ledger, &found[0], &page).await;
    let versions = versions.expect("it can be read").items();
    for (version, expected) in [
        (&versions[0], vec![(at(used), Some(ann.turn(0)), false)]),
        (
            &versions[1],
            vec![
                (at(used_again), Some(ann.turn(1)), false),
                (at(served), Some(ann.turn(2)), true),
            ],
        ),
    ] {
        let uses = memory::used_by(world.reads(), ledger, version, &page).await;
        let uses = uses.expect("it can be read").items();
        let uses: Vec<_> = uses
            .iter()
            .map(|used| (used.position, used.turn, used.after_end))
            .collect();
        assert_eq!(uses, expected);
    }
    assert_eq!(versions[1].position, at(second));
    let filter = UseFilter {
        after_end: true,
        ..UseFilter::default()
    };
    let served_still = memory::uses(world.reads(), ledger, &filter, &page)
        .await
        .expect("it can be read");
    let served_still: Vec<_> = served_still.items().iter().map(|used| used.position).collect();
    assert_eq!(served_still, [at(served)]);
    let all = memory::uses(world.reads(), ledger, &UseFilter::default(), &page).await;
    assert_eq!(all.expect("it can be read").rows.len(), 5);
    let counts = memory::invalidated(world.reads(), ledger, None, None)
        .await
        .expect("it can be read");
    let day = (super::START_US / super::DAY_US) as i64;
    let told: Vec<_> = counts
        .iter()
        .map(|count| (count.day, count.extractor.clone(), count.facts))
        .collect();
    assert_eq!(
        told,
        [(day, Some(OLD.to_string()), 1)],
        "taken back twice is once"
    );
    let later = Some(Micros(super::START_US + super::DAY_US));
    let none = memory::invalidated(world.reads(), ledger, later, None).await;
    assert_eq!(none.expect("it can be read"), []);
}

pub async fn what_erasure_leaves_of_memory_is_whose_turn_was_committed(fresh: Fresh) {
    let mut ann = Teller::new();
    ann.say(written("gone", "gone"));
    ann.say_in(0, TurnOpened::new(TurnTrigger::User));
    let kept = ann.say_in(0, written("kept", "kept"));
    // Of a stream of the client's own: its payload is not erased with the session.
    ann.events[kept].event.session = None;
    let commit = ann.say_in(0, TurnCommitted::default());
    let world = World::new(fresh).await;
    let ledger = world.feed.open(1).await;
    world.feed.append(ledger, ann.events).await;
    let feed: Arc<dyn EventStore> = Arc::new(Erased(world.feed_store()));
    let runner = Runner::new(feed.clone(), world.read_store());
    runner.catch_up(ledger).await.expect("nothing fails here");
    assert_eq!(
        world.reads().dead_letters(ledger).await.expect("it can be read"),
        []
    );
    let facts = list(&world, ledger, &FactFilter::default()).await;
    let facts: Vec<_> = facts.iter().map(|fact| (text(fact), fact.known)).collect();
    assert_eq!(facts, [("kept".to_owned(), Some(at(commit)))]);
    let rebuilt = world
        .models
        .rebuild(feed, OnDifference::Keep, &RebuildProgress::default())
        .await;
    assert_eq!(rebuilt.expect("it is rebuilt").differences, []);
}

pub async fn names_of_memory_may_have_any_length(fresh: Fresh) {
    let mut teller = Teller::new();
    let long = |end: &str| format!("{}\0{end}", "名".repeat(5_000));
    for end in ["a", "b"] {
        teller.say(MemoryWritten {
            store: Some(long(end)),
            about: Some(long(end)),
            attribute: Some(long(end)),
            source_refs: vec![long(end)],
            ..MemoryWritten::new(long(end), end.into(), vec![])
        });
    }
    teller.say(MemoryInvalidated {
        store: Some(long("a")),
        ..invalidated(&long("b"), InvalidationReason::ExtractionError)
    });
    let (world, ledger) = told(fresh, teller.events, 2).await;
    assert_eq!(
        world.reads().dead_letters(ledger).await.expect("it can be read"),
        []
    );
    for end in ["a", "b"] {
        let name = Some(long(end));
        for filter in [
            FactFilter {
                about: name.clone(),
                ..FactFilter::default()
            },
            FactFilter {
                attribute: name.clone(),
                ..FactFilter::default()
            },
            FactFilter {
                store: name.clone(),
                record_id: name.clone(),
                ..FactFilter::default()
            },
            FactFilter {
                source: name.clone(),
                ..FactFilter::default()
            },
        ] {
            let found = list(&world, ledger, &filter).await;
            assert_eq!(found.iter().map(text).collect::<Vec<_>>(), [end]);
            assert_eq!(found[0].status(), FactStatus::Current);
        }
        let asked = Asked {
            about: long(end),
            ..Asked::default()
        };
        let found = memory::known(world.reads(), ledger, &asked, &PageRequest::first(9)).await;
        assert_eq!(found.expect("it can be read").rows.len(), 1);
    }
}
