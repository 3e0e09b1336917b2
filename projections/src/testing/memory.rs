//! Memory: what was known when, and what held when.

#![expect(missing_docs, reason = "the name of a test says what it shows")]

use ruche_domain::event::AgentEvent;
use ruche_domain::events::{
    InvalidationReason, MemoryCompacted, MemoryDeleted, MemoryInvalidated, MemoryReextracted,
    MemoryStoreDeleted, MemoryUpdated, MemoryUpserted, MemoryWritten, TurnCancelled, TurnCommitted,
    TurnFailed, TurnOpened, TurnSuperseded, TurnTrigger,
};
use ruche_domain::ids::{LedgerId, TurnId};
use ruche_domain::measures::Digest;
use ruche_domain::numbers::{Micros, Position};
use ruche_ledger::store::PreparedEvent;

use super::Story;
use super::workers::told;
use super::world::{Fresh, World};
use crate::memory::{self, Asked, Fact, FactEndKind, FactFilter, FactStatus, KnownAt};
use crate::select::PageRequest;

pub(super) const ANN: &str = "ann";
pub(super) const OLD: Digest = Digest([1; 32]);
const NEW: Digest = Digest([2; 32]);

/// The position of the event with this number: the ledger begins with a record of its own.
pub(super) fn at(event: usize) -> Position {
    Position::new(1, event as u64 + 1)
}

pub(super) fn written(record: &str, content: &str) -> MemoryWritten {
    MemoryWritten {
        about: Some(ANN.to_owned()),
        ..MemoryWritten::new(record.to_owned(), content.into(), Vec::new())
    }
}

pub(super) fn updated(record: &str, content: &str) -> MemoryUpdated {
    MemoryUpdated {
        about: Some(ANN.to_owned()),
        ..MemoryUpdated::new(record.to_owned(), content.into(), Vec::new())
    }
}

pub(super) fn upserted(record: &str, content: &str) -> MemoryUpserted {
    MemoryUpserted {
        about: Some(ANN.to_owned()),
        ..MemoryUpserted::new(record.to_owned(), content.into(), Vec::new())
    }
}

pub(super) fn invalidated(record: &str, reason: InvalidationReason) -> MemoryInvalidated {
    MemoryInvalidated::new(record.to_owned(), reason)
}

/// Tells events of a session, each of a turn or of none.
pub(super) struct Teller {
    pub(super) story: Story,
    pub(super) events: Vec<PreparedEvent>,
}

impl Teller {
    pub(super) fn new() -> Self {
        let mut story = Story::new(1);
        let session = story.session_id(1);
        story.enter(session);
        let events = Vec::new();
        Self { story, events }
    }

    pub(super) fn turn(&self, n: u64) -> TurnId {
        self.story.turn_id(self.story.session_id(1), n)
    }

    /// Of no turn. Gives the number of the event.
    pub(super) fn say(&mut self, event: impl Into<AgentEvent>) -> usize {
        self.story.enter(self.story.session_id(1));
        let event = self.story.event(event);
        self.events.push(event);
        self.events.len() - 1
    }

    pub(super) fn say_in(&mut self, turn: u64, event: impl Into<AgentEvent>) -> usize {
        let turn = self.turn(turn);
        self.story.enter(self.story.session_id(1));
        self.story.enter_call(turn, self.story.call_id(turn));
        let mut event = self.story.event(event);
        event.event.call = None;
        self.events.push(event);
        self.events.len() - 1
    }
}

/// What is known of Ann, in words.
pub(super) async fn known(world: &World, ledger: LedgerId, known_at: KnownAt, valid_at: u64) -> Vec<String> {
    let asked = Asked {
        about: ANN.to_owned(),
        valid_at: Micros(valid_at),
        known_at,
        ..Asked::default()
    };
    let facts = memory::known(world.reads(), ledger, &asked, &PageRequest::first(100)).await;
    let facts = facts.expect("it can be read").items();
    facts.iter().map(text).collect()
}

pub(super) fn text(fact: &Fact) -> String {
    fact.content.as_str().expect("a text").to_owned()
}

pub(super) async fn list(world: &World, ledger: LedgerId, filter: &FactFilter) -> Vec<Fact> {
    let facts = memory::facts(world.reads(), ledger, filter, &PageRequest::first(100)).await;
    facts.expect("it can be read").items()
}

/// All versions with where they stand. The filter of each status finds exactly those that stand so.
async fn standing(world: &World, ledger: LedgerId) -> Vec<(String, FactStatus)> {
    let all = list(world, ledger, &FactFilter::default()).await;
    let all: Vec<_> = all.iter().map(|fact| (text(fact), fact.status())).collect();
    for status in [
        FactStatus::Candidate,
        FactStatus::Dropped,
        FactStatus::Current,
        FactStatus::Invalidated,
        FactStatus::Replaced,
        FactStatus::Deleted,
    ] {
        let filter = FactFilter {
            status: Some(status),
            ..FactFilter::default()
        };
        let found = list(world, ledger, &filter).await;
        let found: Vec<String> = found.iter().map(text).collect();
        let expected = all.iter().filter(|(_, stands)| *stands == status);
        let expected: Vec<String> = expected.map(|(text, _)| text.clone()).collect();
        assert_eq!(found, expected, "{status:?}");
    }
    all
}

/// Tells the events in batches of several sizes, and has a rebuild say the same. Gives the last world.
pub(super) async fn in_batches(fresh: Fresh, events: &[PreparedEvent]) -> (World, LedgerId) {
    let mut last = None;
    for batch in [1, 3, 100] {
        let (world, ledger) = told(fresh, events.to_vec(), batch).await;
        let standing = standing(&world, ledger).await;
        if let Some((_, _, before)) = &last {
            assert_eq!(before, &standing, "batches of {batch}");
        }
        last = Some((world, ledger, standing));
    }
    let (world, ledger, _) = last.expect("there was a batch");
    (world, ledger)
}

pub async fn what_was_known_and_what_held_is_told_of_every_moment(fresh: Fresh) {
    let mut ann = Teller::new();
    let paris = ann.say(MemoryWritten {
        valid_from: Some(Micros(100)),
        ..written("home", "Paris")
    });
    let lyon = ann.say(MemoryWritten {
        valid_from: Some(Micros(200)),
        ..written("home-2", "Lyon")
    });
    let taken_back = ann.say(MemoryInvalidated {
        valid_to: Some(Micros(200)),
        by_record_id: Some("home-2".to_owned()),
        ..invalidated("home", InvalidationReason::Contradicted)
    });
    let (world, ledger) = in_batches(fresh, &ann.events).await;
    let none: [&str; 0] = [];
    for (event, valid, expected) in [
        (paris, 99, &none[..]),
        (paris, 100, &["Paris"]),
        (paris, 200, &["Paris"]),
        (lyon, 199, &["Paris"]),
        (lyon, 200, &["Paris", "Lyon"]),
        (taken_back, 199, &["Paris"]),
        (taken_back, 200, &["Lyon"]),
    ] {
        let known_at = KnownAt::Position(at(event));
        let found = known(&world, ledger, known_at, valid).await;
        assert_eq!(found, expected, "known at event {event}, holding at {valid}");
    }
    assert_eq!(
        known(&world, ledger, KnownAt::Position(Position::new(1, 0)), 150).await,
        none
    );
    assert_eq!(known(&world, ledger, KnownAt::Now, 500).await, ["Lyon"]);
    let fact = &list(&world, ledger, &FactFilter::default()).await[0];
    let end = fact.ended_by().expect("it was taken back");
    assert_eq!(
        (end.kind, end.closes, end.by_record.as_deref(), end.known),
        (
            FactEndKind::Invalidated,
            Some(Micros(200)),
            Some("home-2"),
            at(taken_back)
        )
    );
    assert_eq!((fact.valid_to(), fact.forgotten_by()), (Some(Micros(200)), None));
    // Recorded-at is the same for all in this ledger, so a time knows all or nothing.
    let time = fact.known_at.expect("it is known");
    assert_eq!(known(&world, ledger, KnownAt::Time(time), 150).await, ["Paris"]);
    assert_eq!(
        known(&world, ledger, KnownAt::Time(Micros(time.0 - 1)), 150).await,
        none
    );
}

pub async fn facts_of_a_turn_are_known_from_its_commit_on(fresh: Fresh) {
    let mut ann = Teller::new();
    ann.say(written("base", "base"));
    for turn in 0..5 {
        ann.say_in(turn, TurnOpened::new(TurnTrigger::User));
        ann.say_in(turn, written(&format!("r-{turn}"), &format!("of turn {turn}")));
    }
    // Of turns that are not committed, what takes something back counts as little.
    for turn in 1..5 {
        ann.say_in(turn, invalidated("base", InvalidationReason::ExtractionError));
    }
    let before = ann.events.len() - 1;
    let commit = ann.say_in(0, TurnCommitted::default());
    ann.say_in(1, TurnFailed::new("broken".to_owned()));
    ann.say_in(2, TurnCancelled::default());
    let successor = ann.turn(4);
    ann.say_in(3, TurnSuperseded::new(successor));
    let late = ann.say_in(0, written("late", "late of turn 0"));
    ann.say_in(1, written("late-1", "late of turn 1"));
    ann.say_in(1, invalidated("base", InvalidationReason::ExtractionError));
    let (world, ledger) = in_batches(fresh, &ann.events).await;
    let expected = [
        ("base", FactStatus::Current),
        ("of turn 0", FactStatus::Current),
        ("of turn 1", FactStatus::Dropped),
        ("of turn 2", FactStatus::Dropped),
        ("of turn 3", FactStatus::Dropped),
        ("of turn 4", FactStatus::Candidate),
        ("late of turn 0", FactStatus::Current),
        ("late of turn 1", FactStatus::Dropped),
    ];
    let expected = expected.map(|(text, status)| (text.to_owned(), status));
    assert_eq!(standing(&world, ledger).await, expected);
    for (event, expected) in [
        (before, &["base"][..]),
        (commit, &["base", "of turn 0"]),
        (late, &["base", "of turn 0", "late of turn 0"]),
    ] {
        let found = known(&world, ledger, KnownAt::Position(at(event)), 1).await;
        assert_eq!(found, expected, "event {event}");
    }
    let of_turn = FactFilter {
        turn: Some(ann.turn(0)),
        ..FactFilter::default()
    };
    let known_from: Vec<_> = list(&world, ledger, &of_turn)
        .await
        .iter()
        .map(|fact| fact.known)
        .collect();
    assert_eq!(known_from, [Some(at(commit)), Some(at(late))]);
}

pub async fn a_fact_that_is_taken_back_held_until_then_or_never(fresh: Fresh) {
    use InvalidationReason::{Contradicted, Corrected, Expired, ExtractionError, Other, SourceRetired};
    let reasons = [
        Contradicted,
        Expired,
        Corrected,
        Other,
        SourceRetired,
        ExtractionError,
    ];
    let mut ann = Teller::new();
    for reason in reasons {
        ann.say(written(reason.name(), reason.name()));
    }
    for reason in reasons {
        ann.say(MemoryInvalidated {
            valid_to: Some(Micros(50)),
            ..invalidated(reason.name(), reason)
        });
    }
    let (world, ledger) = in_batches(fresh, &ann.events).await;
    let held: Vec<&str> = reasons[..4].iter().map(|reason| reason.name()).collect();
    assert_eq!(known(&world, ledger, KnownAt::Now, 49).await, held);
    assert_eq!(
        known(&world, ledger, KnownAt::Now, 50).await,
        Vec::<String>::new()
    );
    let all = known(&world, ledger, KnownAt::Position(at(5)), 50).await;
    assert_eq!(all.len(), 6, "it stays known that they were believed");
    let standing = standing(&world, ledger).await;
    assert!(
        standing
            .iter()
            .all(|(_, stands)| *stands == FactStatus::Invalidated),
        "{standing:?}"
    );
}

pub async fn what_is_known_later_goes_before_whatever_stood_first(fresh: Fresh) {
    let mut ann = Teller::new();
    let one = ann.say(written("r", "one"));
    ann.say_in(0, TurnOpened::new(TurnTrigger::User));
    ann.say_in(0, updated("r", "of the turn, first"));
    ann.say_in(0, updated("r", "of the turn"));
    let between = ann.say(upserted("r", "between"));
    let commit = ann.say_in(0, TurnCommitted::default());
    let again = ann.say(written("r", "one"));
    let (world, ledger) = in_batches(fresh, &ann.events).await;
    for (event, expected) in [
        (one, "one"),
        (between, "between"),
        (commit, "of the turn"),
        (again, "one"),
    ] {
        let found = known(&world, ledger, KnownAt::Position(at(event)), 1).await;
        assert_eq!(found, [expected], "event {event}");
    }
    let versions = list(&world, ledger, &FactFilter::default()).await;
    let ended: Vec<_> = versions
        .iter()
        .map(|fact| fact.forgotten_by().map(|end| end.known))
        .collect();
    let [between, commit, again] = [between, commit, again].map(|event| Some(at(event)));
    assert_eq!(ended, [between, commit, again, commit, None]);
    let page = PageRequest::first(3);
    let history = memory::history(world.reads(), ledger, &versions[0], &page).await;
    let history = history.expect("it can be read");
    let page = page.after(history.end());
    let rest = memory::history(world.reads(), ledger, &versions[0], &page).await;
    let rest = rest.expect("it can be read");
    assert_eq!((history.has_next, rest.has_next), (true, false));
    assert_eq!([history.items(), rest.items()].concat(), versions);
}

pub async fn records_of_one_id_in_two_stores_are_two(fresh: Fresh) {
    let mut ann = Teller::new();
    let of = |store: Option<&str>, content: &str| MemoryWritten {
        store: store.map(str::to_owned),
        ..written("r", content)
    };
    // Of a record that is not there yet: it says nothing of what is written later.
    ann.say(invalidated("r", InvalidationReason::ExtractionError));
    ann.say(MemoryDeleted::new("r".to_owned()));
    ann.say(of(None, "in none"));
    ann.say(of(Some("a"), "in a"));
    ann.say(of(Some("b"), "in b"));
    ann.say(of(Some(""), "in the one without a name"));
    let before = ann.events.len() - 1;
    ann.say(MemoryInvalidated {
        store: Some("a".to_owned()),
        ..invalidated("r", InvalidationReason::SourceRetired)
    });
    ann.say(MemoryStoreDeleted::new("b".to_owned()));
    ann.say(MemoryInvalidated {
        store: Some("c".to_owned()),
        ..invalidated("r", InvalidationReason::SourceRetired)
    });
    let (world, ledger) = in_batches(fresh, &ann.events).await;
    assert_eq!(
        known(&world, ledger, KnownAt::Position(at(before)), 1)
            .await
            .len(),
        4
    );
    let left = ["in none", "in the one without a name"];
    assert_eq!(known(&world, ledger, KnownAt::Now, 1).await, left);
    let asked = Asked {
        about: ANN.to_owned(),
        store: Some(String::new()),
        ..Asked::default()
    };
    let found = memory::known(world.reads(), ledger, &asked, &PageRequest::first(9)).await;
    assert_eq!(
        found
            .expect("it can be read")
            .items()
            .iter()
            .map(text)
            .collect::<Vec<_>>(),
        left[1..]
    );
}

pub async fn another_extractor_and_a_summary_take_the_place_of_what_they_name(fresh: Fresh) {
    let mut ann = Teller::new();
    let drawn = |record: &str, by: Option<Digest>| MemoryWritten {
        extractor_digest: by,
        ..written(record, record)
    };
    ann.say(drawn("old", Some(OLD)));
    ann.say(drawn("older", Some(Digest([3; 32]))));
    ann.say(drawn("by hand", None));
    ann.say(drawn("new", Some(NEW)));
    ann.say(drawn("not named", Some(OLD)));
    let before = ann.events.len() - 1;
    let names = ["old", "older", "by hand", "new"].map(str::to_owned);
    ann.say(MemoryReextracted {
        previous_extractor_digest: Some(OLD),
        record_ids: names.to_vec(),
        ..MemoryReextracted::new(NEW)
    });
    let drawn_anew = ann.events.len() - 1;
    ann.say(MemoryCompacted {
        record_id: Some("summary".to_owned()),
        replaced_record_ids: vec!["older".to_owned(), "new".to_owned(), "summary".to_owned()],
        ..MemoryCompacted::new("a summary".to_owned())
    });
    ann.say(MemoryReextracted {
        record_ids: names.to_vec(),
        ..MemoryReextracted::new(NEW)
    });
    let (world, ledger) = in_batches(fresh, &ann.events).await;
    assert_eq!(
        known(&world, ledger, KnownAt::Position(at(before)), 1)
            .await
            .len(),
        5
    );
    let left = known(&world, ledger, KnownAt::Position(at(drawn_anew)), 1).await;
    assert_eq!(left, ["older", "by hand", "new", "not named"]);
    let standing = standing(&world, ledger).await;
    let current = standing
        .iter()
        .filter(|(_, stands)| *stands == FactStatus::Current);
    let current: Vec<&str> = current.map(|(text, _)| text.as_str()).collect();
    assert_eq!(current, ["by hand", "not named", "a summary"]);
    let kinds = list(&world, ledger, &FactFilter::default()).await;
    let kinds: Vec<_> = kinds
        .iter()
        .map(|fact| fact.ended_by().map(|end| end.kind))
        .collect();
    assert_eq!(
        kinds,
        [
            Some(FactEndKind::ReExtracted),
            Some(FactEndKind::Compacted),
            None,
            Some(FactEndKind::Compacted),
            None,
            None
        ]
    );
}
