//! Memory: the facts whose vectors are nearest to one.

#![expect(missing_docs, reason = "the name of a test says what it shows")]

use std::collections::BTreeMap;
use std::sync::Arc;

use ruche_domain::events::{
    InfraLeaseExpired, InvalidationReason, MemoryEmbedded, MemoryWritten, TurnAttemptFailed, TurnCancelled,
    TurnCommitted, TurnFailed, TurnOpened, TurnStarted, TurnStepCompleted, TurnSuperseded, TurnTrigger,
};
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::Micros;
use ruche_domain::vector::Vector;
use ruche_ledger::store::EventStore;
use ruche_ledger::testing::SeededRandom;

use super::erased::Erased;
use super::memory::{ANN, Teller, at, in_batches, invalidated, list, text, updated, written};
use super::workers::told;
use super::world::{Fresh, World};
use crate::memory::{FactFilter, KnownAt, Nearest, NearestAsked, NearestError, NearestLimits, nearest};
use crate::rebuild::{OnDifference, RebuildProgress};
use crate::runner::Runner;
use crate::store::ReadStoreError;

const MODEL: &str = "m";

fn vector(numbers: &[f32]) -> Vector {
    Vector::new(numbers).expect("a vector")
}

pub(super) fn embedded(record: &str, numbers: &[f32]) -> MemoryEmbedded {
    MemoryEmbedded::new(record.to_owned(), MODEL.to_owned(), vector(numbers))
}

fn asked(numbers: &[f32]) -> NearestAsked {
    NearestAsked {
        model: MODEL.to_owned(),
        vector: vector(numbers),
        about: None,
        attribute: None,
        store: None,
        valid_at: Micros(1),
        known_at: KnownAt::Now,
        first: 100,
    }
}

/// Pages of two of these vectors, so that there are several.
fn small_pages(asked: &NearestAsked) -> NearestLimits {
    NearestLimits {
        page_bytes: 2 * asked.vector.as_bytes().len(),
        ..NearestLimits::default()
    }
}

async fn found(world: &World, ledger: LedgerId, asked: &NearestAsked) -> Nearest {
    let found = nearest(world.reads(), ledger, asked, small_pages(asked)).await;
    found.expect("it can be read")
}

/// What is found, in words. Vectors of these tests lie along an axis, so the cosine is whole.
async fn texts(world: &World, ledger: LedgerId, asked: &NearestAsked) -> Vec<(String, i64)> {
    let found = found(world, ledger, asked).await;
    assert_eq!(found.compared, found.facts.len());
    let facts = found.facts.iter();
    facts
        .map(|(fact, similarity)| {
            assert!(similarity.fract() == 0.0, "{similarity}");
            (text(fact), *similarity as i64)
        })
        .collect()
}

fn expected(facts: &[(&str, i64)]) -> Vec<(String, i64)> {
    let facts = facts.iter();
    facts
        .map(|(text, similarity)| ((*text).to_owned(), *similarity))
        .collect()
}

/// What one record holds by the order of what was told, in the plainest way.
#[derive(Clone)]
struct Believed {
    content: String,
    place: usize,
    store: Option<String>,
    about: &'static str,
    attribute: &'static str,
    vectors: BTreeMap<&'static str, Vec<f32>>,
}

type Beliefs = BTreeMap<usize, Believed>;

/// Writes, embeds and takes back at random. Gives what is believed in the middle and at the end, with how many events there were.
fn story(teller: &mut Teller, random: &SeededRandom) -> [(usize, Beliefs); 2] {
    let below = |bound: u64| random.next() % bound;
    let mut beliefs = Beliefs::new();
    let mut middle = None;
    for n in 0..260 {
        let record = below(24) as usize;
        let id = format!("r-{record}");
        let store = record.is_multiple_of(2).then(|| "s".to_owned());
        match below(10) {
            0..4 => {
                let believed = Believed {
                    content: format!("{record} for the {n}th time"),
                    place: teller.events.len(),
                    store: store.clone(),
                    about: if record.is_multiple_of(3) { "bob" } else { ANN },
                    attribute: if record.is_multiple_of(5) { "likes" } else { "is" },
                    vectors: BTreeMap::new(),
                };
                teller.say(MemoryWritten {
                    store,
                    about: Some(believed.about.to_owned()),
                    attribute: Some(believed.attribute.to_owned()),
                    ..MemoryWritten::new(id, believed.content.clone().into(), Vec::new())
                });
                beliefs.insert(record, believed);
            }
            4..9 => {
                let model = if below(4) == 0 { "other" } else { MODEL };
                let count = if below(6) == 0 { 3 } else { 4 };
                // So few different numbers that some vectors are equal.
                let numbers: Vec<f32> = (0..count).map(|_| below(4) as f32 - 1.25).collect();
                teller.say(MemoryEmbedded {
                    store,
                    model: model.to_owned(),
                    ..embedded(&id, &numbers)
                });
                if let Some(believed) = beliefs.get_mut(&record) {
                    believed.vectors.insert(model, numbers);
                }
            }
            _ => {
                let mut end = invalidated(&id, InvalidationReason::ExtractionError);
                end.store = store;
                teller.say(end);
                beliefs.remove(&record);
            }
        }
        if n == 130 {
            middle = Some((teller.events.len() - 1, beliefs.clone()));
        }
    }
    [
        middle.expect("there is a middle"),
        (teller.events.len() - 1, beliefs),
    ]
}

/// The cosine, worked out in another way: of the vectors made as long as one.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let unit = |numbers: &[f32]| {
        let length = numbers.iter().map(|n| f64::from(*n).powi(2)).sum::<f64>().sqrt();
        numbers.iter().map(|n| f64::from(*n) / length).collect::<Vec<_>>()
    };
    unit(a).iter().zip(unit(b)).map(|(a, b)| a * b).sum()
}

/// By looking at everything: contents with their cosines, best first, and how many have a vector of another length.
fn by_hand(beliefs: &Beliefs, asked: &NearestAsked) -> (Vec<(String, f64)>, usize) {
    let numbers: Vec<f32> = asked.vector.numbers().collect();
    let of_other_length = |vector: &&Vec<f32>| vector.len() != numbers.len();
    let is_wanted = |believed: &&Believed| {
        asked.about.as_deref().is_none_or(|about| about == believed.about)
            && asked
                .attribute
                .as_deref()
                .is_none_or(|name| name == believed.attribute)
            && (asked.store.is_none() || asked.store == believed.store)
    };
    let wanted = || beliefs.values().filter(is_wanted);
    let vector_of = |believed: &Believed| believed.vectors.get(asked.model.as_str()).cloned();
    let others = wanted()
        .filter_map(vector_of)
        .filter(|vector| of_other_length(&vector))
        .count();
    let compared = wanted().filter_map(|believed| {
        let vector = vector_of(believed).filter(|vector| !of_other_length(&vector))?;
        // Rounded, so that what is equally near is equal in both ways of working it out.
        let similarity = (cosine(&numbers, &vector) * 1e9).round() / 1e9;
        Some((believed.place, believed.content.clone(), similarity))
    });
    let mut compared: Vec<_> = compared.collect();
    compared.sort_by(|a, b| b.2.total_cmp(&a.2).then(a.0.cmp(&b.0)));
    let compared = compared
        .into_iter()
        .map(|(_, content, similarity)| (content, similarity));
    (compared.collect(), others)
}

/// As many questions as there are filters, of both models and lengths, in the middle and at the end.
pub async fn the_nearest_facts_are_those_that_a_look_at_all_of_them_finds(fresh: Fresh) {
    let random = SeededRandom::new(7);
    let mut teller = Teller::new();
    let moments = story(&mut teller, &random);
    let (world, ledger) = told(fresh, teller.events, 50).await;
    let (mut answers, mut others) = (0, 0);
    for (event, beliefs) in moments {
        for model in [MODEL, "other", "none"] {
            for (about, attribute, store) in [
                (None, None, None),
                (Some(ANN), None, None),
                (Some("bob"), Some("likes"), None),
                (None, Some("is"), Some("s")),
                (Some(ANN), None, Some("s")),
                (Some("nobody"), None, None),
            ] {
                let owned = |text: Option<&str>| text.map(str::to_owned);
                let question = NearestAsked {
                    model: model.to_owned(),
                    about: owned(about),
                    attribute: owned(attribute),
                    store: owned(store),
                    known_at: KnownAt::Position(at(event)),
                    ..asked(&[0.5, -1.0, 2.0, 0.25])
                };
                let (expected, of_other_length) = by_hand(&beliefs, &question);
                let all = found(&world, ledger, &question).await;
                let rounded = |(fact, similarity): &(crate::memory::Fact, f64)| {
                    (text(fact), (similarity * 1e9).round() / 1e9)
                };
                let told: Vec<_> = all.facts.iter().map(rounded).collect();
                assert_eq!(told, expected, "{question:?}");
                assert_eq!(
                    (all.compared, all.of_other_length),
                    (expected.len(), of_other_length)
                );
                answers += expected.len();
                others += of_other_length;
                let best = NearestAsked { first: 3, ..question };
                let best = found(&world, ledger, &best).await;
                assert_eq!(best.compared, expected.len());
                assert_eq!(best.facts, all.facts[..expected.len().min(3)]);
            }
        }
    }
    assert!(answers > 50 && others > 5, "{answers} {others}");
}

pub async fn a_vector_of_a_turn_is_known_from_its_commit_on(fresh: Fresh) {
    let (near, far) = ([1.0, 0.0], [0.0, 1.0]);
    let mut ann = Teller::new();
    ann.say(written("base", "base"));
    ann.say(embedded("base", &near));
    for turn in 0..5 {
        ann.say_in(turn, TurnOpened::new(TurnTrigger::User));
        ann.say_in(turn, written(&format!("r-{turn}"), &format!("of turn {turn}")));
        ann.say_in(turn, embedded(&format!("r-{turn}"), &near));
    }
    // Of turns that are not committed, another vector of a known fact counts as little.
    for turn in 1..5 {
        ann.say_in(turn, embedded("base", &far));
    }
    let before = ann.events.len() - 1;
    let commit = ann.say_in(0, TurnCommitted::default());
    ann.say_in(1, TurnFailed::new("broken".to_owned()));
    ann.say_in(2, TurnCancelled::default());
    let successor = ann.turn(4);
    ann.say_in(3, TurnSuperseded::new(successor));
    ann.say_in(0, written("late", "late of turn 0"));
    let late = ann.say_in(0, embedded("late", &near));
    ann.say_in(1, embedded("base", &far));
    let (world, ledger) = in_batches(fresh, &ann.events).await;
    for (event, facts) in [
        (before, &[("base", 1)][..]),
        (commit, &[("base", 1), ("of turn 0", 1)]),
        (late - 1, &[("base", 1), ("of turn 0", 1)]),
        (late, &[("base", 1), ("of turn 0", 1), ("late of turn 0", 1)]),
    ] {
        let question = NearestAsked {
            known_at: KnownAt::Position(at(event)),
            ..asked(&near)
        };
        let told = texts(&world, ledger, &question).await;
        assert_eq!(told, expected(facts), "event {event}");
    }
    let now = texts(&world, ledger, &asked(&near)).await;
    let all = [("base", 1), ("of turn 0", 1), ("late of turn 0", 1)];
    assert_eq!(now, expected(&all));
}

pub async fn a_vector_of_an_attempt_that_failed_is_not_known(fresh: Fresh) {
    let (near, far) = ([1.0, 0.0], [0.0, 1.0]);
    let mut ann = Teller::new();
    for turn in [0, 1] {
        for record in ["step", "attempt", "second"] {
            let id = format!("{record}-{turn}");
            ann.say(written(&id, &id));
            ann.say(embedded(&id, &far));
        }
    }
    for turn in [0, 1] {
        ann.say_in(turn, TurnOpened::new(TurnTrigger::User));
        ann.say_in(turn, TurnStarted::new(1));
        ann.say_in(turn, embedded(&format!("step-{turn}"), &near));
        ann.say_in(turn, TurnStepCompleted::new("step".to_owned(), 1));
        ann.say_in(turn, embedded(&format!("attempt-{turn}"), &near));
    }
    ann.say_in(0, TurnAttemptFailed::new(1, "broken".to_owned()));
    ann.say_in(1, InfraLeaseExpired::new("turn".to_owned(), 1));
    for turn in [0, 1] {
        ann.say_in(turn, TurnStarted::new(2));
        ann.say_in(turn, embedded(&format!("second-{turn}"), &near));
        ann.say_in(turn, TurnCommitted::default());
    }
    let (world, ledger) = in_batches(fresh, &ann.events).await;
    let told = texts(&world, ledger, &asked(&near)).await;
    let facts = [
        ("step-0", 1),
        ("second-0", 1),
        ("step-1", 1),
        ("second-1", 1),
        ("attempt-0", 0),
        ("attempt-1", 0),
    ];
    assert_eq!(told, expected(&facts));
}

pub async fn a_vector_stays_with_the_version_that_it_was_told_of(fresh: Fresh) {
    let (near, far, against) = ([1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]);
    let mut ann = Teller::new();
    ann.say(embedded("home", &near));
    ann.say(written("home", "Paris"));
    // What was told before there was a version is told of none.
    let none = ann.say(MemoryEmbedded {
        store: Some("another".to_owned()),
        ..embedded("home", &near)
    });
    ann.say(embedded("home", &far));
    let paris = ann.say(embedded("home", &near));
    let lyon = ann.say(ruche_domain::events::MemoryUpdated {
        valid_from: Some(Micros(200)),
        ..updated("home", "Lyon")
    });
    let embedded_lyon = ann.say(embedded("home", &against));
    let (world, ledger) = in_batches(fresh, &ann.events).await;
    for (event, valid, facts) in [
        (none, 100, &[][..]),
        (paris - 1, 100, &[("Paris", 0)]),
        (paris, 100, &[("Paris", 1)]),
        (lyon, 100, &[("Paris", 1)]),
        (lyon, 200, &[]),
        (embedded_lyon, 100, &[("Paris", 1)]),
        (embedded_lyon, 200, &[("Lyon", -1)]),
    ] {
        let question = NearestAsked {
            known_at: KnownAt::Position(at(event)),
            valid_at: Micros(valid),
            ..asked(&near)
        };
        let told = texts(&world, ledger, &question).await;
        assert_eq!(
            told,
            expected(facts),
            "known at event {event}, holding at {valid}"
        );
    }
}

/// What a turn says is told of what it wrote itself, and what nobody's turn says of what everybody knows.
pub async fn a_vector_of_a_turn_is_told_of_what_the_turn_has_written(fresh: Fresh) {
    let (near, far) = ([1.0, 0.0], [0.0, 1.0]);
    let mut ann = Teller::new();
    ann.say(written("r", "first"));
    ann.say_in(0, TurnOpened::new(TurnTrigger::User));
    ann.say_in(0, written("r", "of the turn, before"));
    ann.say_in(0, written("r", "of the turn"));
    ann.say(written("r", "between"));
    ann.say_in(0, embedded("r", &near));
    let between = ann.say(embedded("r", &far));
    // It knows of no version of its own, and is known behind what follows.
    ann.say_in(1, TurnOpened::new(TurnTrigger::User));
    ann.say_in(1, embedded("r", &near));
    let commit = ann.say_in(0, TurnCommitted::default());
    let late = ann.say_in(1, TurnCommitted::default());
    let (world, ledger) = in_batches(fresh, &ann.events).await;
    for (event, facts) in [
        (between - 1, &[][..]),
        (between, &[("between", 0)]),
        (commit, &[("of the turn", 1)]),
        (late, &[("of the turn", 1)]),
    ] {
        let question = NearestAsked {
            known_at: KnownAt::Position(at(event)),
            ..asked(&near)
        };
        let told = texts(&world, ledger, &question).await;
        assert_eq!(told, expected(facts), "event {event}");
    }
}

pub async fn a_search_that_would_compare_too_much_says_what_to_narrow(fresh: Fresh) {
    let mut ann = Teller::new();
    for n in 0..5 {
        let id = format!("r-{n}");
        ann.say(MemoryWritten {
            about: Some(if n < 2 { ANN } else { "bob" }.to_owned()),
            ..written(&id, &id)
        });
        ann.say(embedded(&id, &[1.0, 0.0]));
    }
    let (world, ledger) = told(fresh, ann.events, 100).await;
    let of_ann = NearestAsked {
        about: Some(ANN.to_owned()),
        ..asked(&[1.0, 0.0])
    };
    let all = asked(&[1.0, 0.0]);
    let limits = |candidates, bytes| NearestLimits {
        candidates,
        bytes,
        ..small_pages(&all)
    };
    for (question, limits, is_taken) in [
        (&all, limits(5, 40), true),
        (&all, limits(4, 40), false),
        (&all, limits(5, 39), false),
        (&of_ann, limits(2, 16), true),
        (&of_ann, limits(1, 16), false),
        (&of_ann, limits(2, 15), false),
    ] {
        let answer = nearest(world.reads(), ledger, question, limits).await;
        match answer {
            Ok(answer) => assert!(is_taken && answer.compared == answer.facts.len(), "{limits:?}"),
            Err(NearestError::Store(error)) => panic!("{error}"),
            Err(error) => {
                assert!(!is_taken, "{limits:?}: {error}");
                assert!(error.to_string().contains("`about`"), "{error}");
            }
        }
    }
    // Of another length nothing is read, so nothing is too long.
    let longer = asked(&[1.0, 0.0, 0.0]);
    let answer = nearest(world.reads(), ledger, &longer, limits(5, 0))
        .await
        .expect("it can be read");
    assert_eq!(
        (answer.facts.len(), answer.compared, answer.of_other_length),
        (0, 0, 5)
    );
    let empty = nearest(world.reads(), LedgerId::from_bytes([9; 16]), &all, limits(0, 0)).await;
    assert_eq!(empty.expect("nothing is there"), Nearest::default());
}

pub async fn a_vector_whose_payload_is_gone_is_not_found(fresh: Fresh) {
    let mut ann = Teller::new();
    for record in ["kept", "gone"] {
        let fact = ann.say(written(record, record));
        // Of a stream of the client's own: its payload is not erased with the session.
        ann.events[fact].event.session = None;
        let told = ann.say(embedded(record, &[1.0, 0.0]));
        if record == "kept" {
            ann.events[told].event.session = None;
        }
    }
    let world = World::new(fresh).await;
    let ledger = world.feed.open(1).await;
    world.feed.append(ledger, ann.events).await;
    let feed: Arc<dyn EventStore> = Arc::new(Erased(world.feed_store()));
    let runner = Runner::new(feed.clone(), world.read_store());
    runner.catch_up(ledger).await.expect("nothing fails here");
    let letters = world.reads().dead_letters(ledger).await;
    assert_eq!(letters, Ok::<_, ReadStoreError>(vec![]));
    assert_eq!(list(&world, ledger, &FactFilter::default()).await.len(), 2);
    for _ in 0..2 {
        let told = texts(&world, ledger, &asked(&[1.0, 0.0])).await;
        assert_eq!(told, expected(&[("kept", 1)]));
        let progress = RebuildProgress::default();
        let rebuilt = world
            .models
            .rebuild(feed.clone(), OnDifference::Keep, &progress)
            .await;
        let rebuilt = rebuilt.expect("it is rebuilt");
        assert!(rebuilt.switched && rebuilt.differences.is_empty(), "{rebuilt:?}");
    }
}
