//! Memory at its edges: ends without number, lists without end, attempts that fail, changes from some time on, and what was
//! served behind an end.

#![expect(missing_docs, reason = "the name of a test says what it shows")]

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ruche_domain::events::{
    InfraLeaseExpired, InvalidationReason, MemoryCompacted, MemoryDeleted, MemoryHit, MemoryInvalidated,
    MemoryReextracted, MemorySearched, MemoryStoreDeleted, MemoryWritten, TurnAttemptFailed, TurnCommitted,
    TurnOpened, TurnStarted, TurnStepCompleted, TurnTrigger,
};
use ruche_domain::ids::{EventId, LedgerId};
use ruche_domain::limits::MEMORY_LIST_ITEMS_MAX;
use ruche_domain::measures::Digest;
use ruche_domain::numbers::Micros;
use ruche_ledger::memory::MemoryStore;
use ruche_ledger::store::PreparedEvent;
use ruche_ledger::testing::FixedClock;

use super::memory::{
    OLD, Teller, at, in_batches, invalidated, known, list, text, updated, upserted, written,
};
use super::memory_nearest::embedded;
use super::world::{Fresh, World};
use super::{Feed, START_US};
use crate::memory::{self, Fact, FactEndKind, FactFilter, FactStatus, FactUse, KnownAt, UseFilter};
use crate::runner::Runner;
use crate::select::PageRequest;
use crate::store::ReadStore;

/// Follows memory alone: of what has many events.
async fn remembered(fresh: Fresh, events: Vec<PreparedEvent>) -> (World, LedgerId) {
    let world = World::new(fresh).await;
    let ledger = world.feed.open(1).await;
    world.feed.append(ledger, events).await;
    let runner = Runner::with(world.feed_store(), world.read_store(), vec![&memory::Memory]);
    runner.catch_up(ledger).await.expect("nothing fails here");
    let letters = world.reads().dead_letters(ledger).await;
    assert_eq!(letters.expect("it can be read"), []);
    (world, ledger)
}

/// A fact with two vectors that is taken back, in read models that are given. For tests of how it is found.
pub async fn one_fact(fresh: Fresh, models: Arc<dyn ReadStore>) -> (LedgerId, Fact) {
    let mut ann = Teller::new();
    ann.say(written("r", "one"));
    for _ in 0..2 {
        ann.say(embedded("r", &[1.0]));
    }
    ann.say(MemoryInvalidated {
        valid_to: Some(Micros(50)),
        ..invalidated("r", InvalidationReason::Contradicted)
    });
    let world = World::new(fresh).await;
    let ledger = world.feed.open(1).await;
    world.feed.append(ledger, ann.events).await;
    let runner = Runner::with(world.feed_store(), models.clone(), vec![&memory::Memory]);
    runner.catch_up(ledger).await.expect("nothing fails here");
    let first = PageRequest::first(1);
    let facts = memory::facts(&*models, ledger, &FactFilter::default(), &first).await;
    (ledger, facts.expect("it can be read").items().remove(0))
}

pub async fn the_end_that_decides_is_found_whatever_their_number(fresh: Fresh) {
    // More than were once read for a page.
    const CLOSES: u64 = 10_050;
    let mut ann = Teller::new();
    ann.say(written("r", "one"));
    for n in 0..CLOSES {
        ann.say(MemoryInvalidated {
            valid_to: Some(Micros(if n == CLOSES / 2 { 40 } else { 50 + n })),
            ..invalidated("r", InvalidationReason::Contradicted)
        });
    }
    ann.say(MemoryDeleted::new("r".to_owned()));
    let (world, ledger) = remembered(fresh, ann.events).await;
    let fact = list(&world, ledger, &FactFilter::default()).await.remove(0);
    assert_eq!(fact.status(), FactStatus::Deleted);
    assert_eq!(fact.valid_to(), Some(Micros(40)));
    assert_eq!(
        fact.forgotten_by().map(|end| end.known),
        Some(at(CLOSES as usize + 1))
    );
    let before = KnownAt::Position(at(CLOSES as usize));
    assert_eq!(known(&world, ledger, before, 39).await, ["one"]);
    assert_eq!(known(&world, ledger, before, 40).await, Vec::<String>::new());
    let half = KnownAt::Position(at(CLOSES as usize / 2));
    assert_eq!(
        known(&world, ledger, half, 49).await,
        ["one"],
        "the earliest was not said yet"
    );
}

pub async fn a_list_of_any_length_is_looked_at_so_far(fresh: Fresh) {
    let mut ann = Teller::new();
    let many = 3 * MEMORY_LIST_ITEMS_MAX;
    let id = |n: usize| EventId::v7(n as u64 / 2, [7; 10]);
    let names = || (0..many).map(|n| format!("r-{n}"));
    ann.say(MemoryWritten {
        source_event_ids: (0..many).map(id).collect(),
        source_refs: names().collect(),
        ..written("r-0", "of many")
    });
    let last = MEMORY_LIST_ITEMS_MAX - 1;
    ann.say(written(&format!("r-{last}"), "the last that is looked at"));
    ann.say(written(&format!("r-{}", last + 1), "the next"));
    ann.say(MemoryCompacted {
        // Each is named twice, and counts once.
        replaced_record_ids: names().flat_map(|name| [name.clone(), name]).collect(),
        ..MemoryCompacted::new("a summary".to_owned())
    });
    ann.say(MemoryReextracted {
        record_ids: names().collect(),
        ..MemoryReextracted::new(OLD)
    });
    ann.say(MemorySearched {
        results: names().map(MemoryHit::new).collect(),
        ..MemorySearched::new("s".to_owned())
    });
    let (world, ledger) = remembered(fresh, ann.events).await;
    let facts = list(&world, ledger, &FactFilter::default()).await;
    let expected: Vec<EventId> = (0..MEMORY_LIST_ITEMS_MAX).map(|n| id(2 * n)).collect();
    assert_eq!(facts[0].sources, expected, "each is there once");
    assert_eq!(facts[0].refs.len(), MEMORY_LIST_ITEMS_MAX);
    let stand: Vec<_> = facts.iter().map(|fact| fact.status()).collect();
    assert_eq!(
        stand,
        [FactStatus::Replaced, FactStatus::Replaced, FactStatus::Current]
    );
    let page = PageRequest::first(1_000);
    let uses = memory::uses(world.reads(), ledger, &UseFilter::default(), &page).await;
    let uses = uses.expect("it can be read");
    assert_eq!((uses.rows.len(), uses.has_next), (MEMORY_LIST_ITEMS_MAX, false));
}

pub async fn what_an_attempt_wrote_that_failed_is_not_known(fresh: Fresh) {
    let mut ann = Teller::new();
    ann.say(written("base", "base"));
    for turn in [0, 1] {
        ann.say_in(turn, TurnOpened::new(TurnTrigger::User));
        ann.say_in(turn, TurnStarted::new(1));
        ann.say_in(turn, written(&format!("a-{turn}"), "of a step"));
        ann.say_in(turn, TurnStepCompleted::new("step".to_owned(), 1));
        ann.say_in(turn, written(&format!("b-{turn}"), "of the first attempt"));
        ann.say_in(turn, invalidated("base", InvalidationReason::ExtractionError));
    }
    ann.say_in(0, TurnAttemptFailed::new(1, "broken".to_owned()));
    ann.say_in(1, InfraLeaseExpired::new("turn".to_owned(), 1));
    for turn in [0, 1] {
        ann.say_in(turn, TurnStarted::new(2));
        ann.say_in(turn, written(&format!("c-{turn}"), "of the second"));
        ann.say_in(turn, TurnCommitted::default());
    }
    let (world, ledger) = in_batches(fresh, &ann.events).await;
    let facts = list(&world, ledger, &FactFilter::default()).await;
    let found: Vec<_> = facts.iter().map(|fact| (text(fact), fact.status())).collect();
    let of_turn = [
        ("of a step", FactStatus::Current),
        ("of the first attempt", FactStatus::Dropped),
    ];
    let second = ("of the second", FactStatus::Current);
    let expected = [
        &[("base", FactStatus::Current)][..],
        &of_turn,
        &of_turn,
        &[second, second],
    ]
    .concat();
    let expected: Vec<_> = expected
        .into_iter()
        .map(|(text, stands)| (text.to_owned(), stands))
        .collect();
    assert_eq!(found, expected);
}

pub async fn a_change_from_some_time_on_leaves_what_held_before(fresh: Fresh) {
    let mut ann = Teller::new();
    let from = |at: u64| Some(Micros(at));
    ann.say(MemoryWritten {
        valid_from: from(100),
        ..written("home", "Paris")
    });
    let lyon = ann.say(ruche_domain::events::MemoryUpdated {
        valid_from: from(200),
        ..updated("home", "Lyon")
    });
    let nice = ann.say(ruche_domain::events::MemoryUpserted {
        valid_from: from(150),
        ..upserted("home", "Nice")
    });
    let anew = ann.say(MemoryWritten {
        valid_from: from(300),
        ..written("home", "Brest")
    });
    let (world, ledger) = in_batches(fresh, &ann.events).await;
    for (event, valid, expected) in [
        (lyon, 99, &[][..]),
        (lyon, 199, &["Paris"]),
        (lyon, 200, &["Lyon"]),
        (nice, 149, &["Paris"]),
        (nice, 150, &["Nice"]),
        (nice, 250, &["Nice"]),
        (anew, 149, &[]),
        (anew, 300, &["Brest"]),
    ] {
        let found = known(&world, ledger, KnownAt::Position(at(event)), valid).await;
        assert_eq!(found, expected, "known at event {event}, holding at {valid}");
    }
    let paris = list(&world, ledger, &FactFilter::default()).await.remove(0);
    assert_eq!(paris.valid_to(), from(150), "the earliest");
    assert_eq!(paris.forgotten_by().map(|end| end.known), Some(at(anew)));
    let asked = memory::Asked {
        about: super::memory::ANN.to_owned(),
        valid_at: Micros(120),
        known_at: KnownAt::Position(at(lyon)),
        ..memory::Asked::default()
    };
    let then = memory::known(world.reads(), ledger, &asked, &PageRequest::first(9)).await;
    let then = &then.expect("it can be read").items()[0];
    let end = then.ended_by().expect("it was changed");
    assert_eq!(
        (then.status(), then.valid_to(), end.kind, then.forgotten_by()),
        (FactStatus::Replaced, from(200), FactEndKind::Replaced, None)
    );
}

pub async fn what_was_known_is_told_of_every_time(fresh: Fresh) {
    let mut world = World::new(fresh).await;
    let clock = Arc::new(FixedClock::at(START_US));
    world.feed = Feed {
        store: Arc::new(MemoryStore::new(clock.clone())),
        ..world.feed
    };
    let ledger = world.feed.open(1).await;
    let mut ann = Teller::new();
    let closed = MemoryInvalidated {
        valid_to: Some(Micros(50)),
        ..invalidated("r", InvalidationReason::Contradicted)
    };
    ann.say(written("r", "one"));
    ann.say(closed);
    ann.say(written("r", "two"));
    ann.say_in(0, written("r", "three"));
    ann.say_in(0, TurnCommitted::default());
    ann.say(invalidated("r", InvalidationReason::ExtractionError));
    for (n, event) in ann.events.into_iter().enumerate() {
        clock.0.store(START_US + 10 * (n as u64 + 1), Ordering::SeqCst);
        world.feed.append(ledger, vec![event]).await;
    }
    world.runner().catch_up(ledger).await.expect("nothing fails here");
    let none: [&str; 0] = [];
    for (time, valid, expected) in [
        (9, 50, &none[..]),
        (10, 50, &["one"]),
        (19, 50, &["one"]),
        (20, 49, &["one"]),
        (20, 50, &none),
        (29, 50, &none),
        (30, 50, &["two"]),
        (49, 50, &["two"]),
        (50, 50, &["three"]),
        (59, 50, &["three"]),
        (60, 50, &none),
    ] {
        let known_at = KnownAt::Time(Micros(START_US + time));
        let found = known(&world, ledger, known_at, valid).await;
        assert_eq!(
            found, expected,
            "known {time} µs behind the start, holding at {valid}"
        );
    }
    // What is told of a fact is what was known then, too.
    let asked = |time: u64| memory::Asked {
        about: super::memory::ANN.to_owned(),
        valid_at: Micros(49),
        known_at: KnownAt::Time(Micros(START_US + time)),
        ..memory::Asked::default()
    };
    for (time, status, valid_to) in [
        (19, FactStatus::Current, None),
        (20, FactStatus::Invalidated, Some(Micros(50))),
    ] {
        let found = memory::known(world.reads(), ledger, &asked(time), &PageRequest::first(9)).await;
        let fact = &found.expect("it can be read").items()[0];
        assert_eq!((fact.status(), fact.valid_to()), (status, valid_to), "{time}");
    }
}

pub async fn what_is_served_behind_its_end_is_told(fresh: Fresh) {
    let mut ann = Teller::new();
    let of = |store: &str, record: &str| MemoryWritten {
        store: Some(store.to_owned()),
        extractor_digest: Some(OLD),
        ..written(record, record)
    };
    let end = |record: &str, reason, valid_to: u64| MemoryInvalidated {
        store: Some("s".to_owned()),
        valid_to: Some(Micros(valid_to)),
        ..invalidated(record, reason)
    };
    let (year, future) = (START_US - 1_000_000, START_US + 1_000_000_000);
    use InvalidationReason::{Contradicted, ExtractionError};
    ann.say(end("early", ExtractionError, 1));
    let records = [
        "early", "holds", "future", "past", "anew", "drawn", "summed", "deleted", "changed",
    ];
    for record in records {
        ann.say(of("s", record));
    }
    ann.say(of("gone", "stored"));
    ann.say(end("future", Contradicted, future));
    ann.say(end("past", Contradicted, year));
    ann.say(end("anew", ExtractionError, 1));
    ann.say(of("s", "anew"));
    ann.say(of("s", "changed"));
    ann.say(MemoryReextracted {
        record_ids: vec!["drawn".to_owned()],
        store: Some("s".to_owned()),
        ..MemoryReextracted::new(Digest([9; 32]))
    });
    ann.say(MemoryCompacted {
        replaced_record_ids: vec!["summed".to_owned()],
        store: Some("s".to_owned()),
        ..MemoryCompacted::new("a summary".to_owned())
    });
    ann.say(MemoryDeleted {
        store: Some("s".to_owned()),
        ..MemoryDeleted::new("deleted".to_owned())
    });
    ann.say(MemoryStoreDeleted::new("gone".to_owned()));
    let search = |store: &str, records: &[&str], valid_at: Option<u64>| MemorySearched {
        results: records
            .iter()
            .map(|record| MemoryHit::new((*record).to_owned()))
            .collect(),
        valid_at: valid_at.map(Micros),
        ..MemorySearched::new(store.to_owned())
    };
    ann.say(search("s", &records, None));
    ann.say(search("s", &["future", "never"], Some(future)));
    ann.say(search("s", &["past", "anew"], Some(year - 1)));
    ann.say(search("gone", &["stored"], None));
    let (world, ledger) = in_batches(fresh, &ann.events).await;
    let asked = |after_end: bool| UseFilter {
        after_end,
        ..UseFilter::default()
    };
    let page = PageRequest::first(100);
    let told = |uses: &[FactUse]| -> Vec<String> {
        let after = uses.iter().filter(|used| used.after_end);
        after.map(|used| used.record_id.clone()).collect()
    };
    let all = memory::uses(world.reads(), ledger, &asked(false), &page).await;
    let all = told(&all.expect("it can be read").items());
    assert_eq!(all, ["past", "drawn", "summed", "deleted", "future", "stored"]);
    let found = memory::uses(world.reads(), ledger, &asked(true), &page).await;
    assert_eq!(told(&found.expect("it can be read").items()), all);
}

pub async fn versions_are_found_by_each_condition_alone(fresh: Fresh) {
    let mut ann = Teller::new();
    for (store, record, attribute) in [("a", "r", "x"), ("b", "r", "y"), ("a", "q", "y")] {
        ann.say(MemoryWritten {
            store: Some(store.to_owned()),
            attribute: Some(attribute.to_owned()),
            ..written(record, &format!("{store}{record}{attribute}"))
        });
    }
    ann.say_in(0, written("c", "candidate"));
    let (world, ledger) = in_batches(fresh, &ann.events).await;
    let name = |name: &str| Some(name.to_owned());
    let none = FactFilter::default();
    for (filter, expected) in [
        (
            FactFilter {
                record_id: name("r"),
                ..none.clone()
            },
            &["arx", "bry"][..],
        ),
        (
            FactFilter {
                store: name("a"),
                ..none.clone()
            },
            &["arx", "aqy"],
        ),
        (
            FactFilter {
                attribute: name("y"),
                ..none.clone()
            },
            &["bry", "aqy"],
        ),
        (
            FactFilter {
                attribute: name("y"),
                text: name("aqy"),
                ..none.clone()
            },
            &["aqy"],
        ),
        (
            FactFilter {
                record_id: name("r"),
                source: name("no"),
                ..none.clone()
            },
            &[],
        ),
        (
            FactFilter {
                status: Some(FactStatus::Candidate),
                ..none.clone()
            },
            &["candidate"],
        ),
    ] {
        assert!(filter.has_index(), "{filter:?}");
        let found = list(&world, ledger, &filter).await;
        assert_eq!(found.iter().map(text).collect::<Vec<_>>(), expected, "{filter:?}");
    }
    let alone = |status| FactFilter {
        status: Some(status),
        ..FactFilter::default()
    };
    assert!(!alone(FactStatus::Current).has_index() && !alone(FactStatus::Deleted).has_index());
}
