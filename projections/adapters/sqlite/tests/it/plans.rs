//! How SQLite finds what is asked of memory. It has no statistics, so how it does is decided by the text alone.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ruche_domain::ids::{LedgerId, SessionId, TurnId};
use ruche_domain::numbers::{Micros, Position};
use ruche_domain::vector::Vector;
use ruche_projections::change::SqlValue;
use ruche_projections::memory::{
    self, Asked, FactFilter, FactStatus, KnownAt, NearestAsked, NearestLimits, UseFilter,
};
use ruche_projections::search::Wanted;
use ruche_projections::select::{Cursor, PageRequest};
use ruche_projections::store::{DeadLetter, ProjectionStatus, ReadStore, ReadStoreError, Row, Step};
use ruche_projections::testing::memory_edges;
use ruche_projections_sqlite::SqliteReadStore;

use crate::common::{Sqlite, fresh};

/// Writes down the queries.
struct Noted {
    store: SqliteReadStore,
    queries: Mutex<Vec<String>>,
}

#[async_trait]
impl ReadStore for Noted {
    async fn apply(&self, step: Step) -> Result<(), ReadStoreError> {
        self.store.apply(step).await
    }

    async fn status(
        &self,
        ledger: LedgerId,
        projection: &'static str,
    ) -> Result<ProjectionStatus, ReadStoreError> {
        self.store.status(ledger, projection).await
    }

    async fn put_dead_letter(&self, letter: DeadLetter) -> Result<(), ReadStoreError> {
        self.store.put_dead_letter(letter).await
    }

    async fn drop_dead_letter(
        &self,
        ledger: LedgerId,
        projection: &'static str,
        position: Position,
    ) -> Result<bool, ReadStoreError> {
        self.store.drop_dead_letter(ledger, projection, position).await
    }

    async fn discard_dead_letter(
        &self,
        ledger: LedgerId,
        projection: &'static str,
        position: Position,
    ) -> Result<bool, ReadStoreError> {
        self.store.discard_dead_letter(ledger, projection, position).await
    }

    async fn set_paused(
        &self,
        ledger: LedgerId,
        projection: &'static str,
        paused: bool,
        decided: Position,
    ) -> Result<bool, ReadStoreError> {
        self.store.set_paused(ledger, projection, paused, decided).await
    }

    async fn dead_letters(&self, ledger: LedgerId) -> Result<Vec<DeadLetter>, ReadStoreError> {
        self.store.dead_letters(ledger).await
    }

    async fn query(&self, sql: &str, params: Vec<SqlValue>) -> Result<Vec<Row>, ReadStoreError> {
        self.queries
            .lock()
            .expect("nobody panics with it")
            .push(sql.to_owned());
        self.store.query(sql, params).await
    }

    async fn search(&self, wanted: &Wanted) -> Result<Vec<Row>, ReadStoreError> {
        self.store.search(wanted).await
    }
}

/// Each filter that is looked for by an index, alone.
fn filters() -> Vec<FactFilter> {
    let name = || Some("x".to_owned());
    let none = FactFilter::default;
    let status = |status| FactFilter {
        status: Some(status),
        attribute: name(),
        ..none()
    };
    vec![
        FactFilter {
            about: name(),
            ..none()
        },
        FactFilter {
            attribute: name(),
            ..none()
        },
        FactFilter {
            store: name(),
            ..none()
        },
        FactFilter {
            record_id: name(),
            ..none()
        },
        FactFilter {
            record_id: name(),
            store: name(),
            ..none()
        },
        FactFilter {
            source: name(),
            ..none()
        },
        FactFilter {
            extractor: name(),
            ..none()
        },
        FactFilter {
            turn: Some(TurnId::from_bytes([1; 16])),
            ..none()
        },
        FactFilter {
            session: Some(SessionId::from_bytes([1; 16])),
            ..none()
        },
        FactFilter {
            text: Some("two words".to_owned()),
            ..none()
        },
        FactFilter {
            status: Some(FactStatus::Candidate),
            ..none()
        },
        FactFilter {
            status: Some(FactStatus::Dropped),
            ..none()
        },
        status(FactStatus::Current),
        status(FactStatus::Invalidated),
        status(FactStatus::Replaced),
        status(FactStatus::Deleted),
    ]
}

#[tokio::test]
async fn what_is_asked_of_memory_is_found_by_an_index() {
    let sqlite = Sqlite::new();
    let noted = Arc::new(Noted {
        store: sqlite.models.clone(),
        queries: Mutex::default(),
    });
    let (ledger, fact) = memory_edges::one_fact(fresh, Arc::new(sqlite.models.clone())).await;
    let page = PageRequest::first(10);
    let later = PageRequest::first(10).after(Some(Cursor::of_number(0, 0)));
    for known_at in [
        KnownAt::Now,
        KnownAt::Time(Micros(1)),
        KnownAt::Position(Position::new(1, 9)),
    ] {
        let asked = Asked {
            about: "ann".to_owned(),
            known_at,
            ..Asked::default()
        };
        memory::known(&*noted, ledger, &asked, &page).await.unwrap();
        memory::known(&*noted, ledger, &asked, &later).await.unwrap();
    }
    for filter in filters() {
        assert!(filter.has_index(), "{filter:?}");
        memory::facts(&*noted, ledger, &filter, &page).await.unwrap();
        // Behind a place, all facts are what is asked for.
        if filter != FactFilter::default() {
            memory::facts(&*noted, ledger, &filter, &later).await.unwrap();
        }
    }
    for about in [None, Some("ann".to_owned())] {
        let asked = NearestAsked {
            model: "m".to_owned(),
            vector: Vector::new(&[1.0]).unwrap(),
            about,
            attribute: None,
            store: None,
            valid_at: Micros(1),
            known_at: KnownAt::Now,
            first: 10,
        };
        // One vector of each page: what is behind a place is found by the same.
        let limits = NearestLimits {
            page_bytes: 4,
            ..NearestLimits::default()
        };
        let found = memory::nearest(&*noted, ledger, &asked, limits).await.unwrap();
        assert_eq!((found.compared, found.facts[0].1), (1, 1.0));
    }
    memory::history(&*noted, ledger, &fact, &page).await.unwrap();
    memory::history(&*noted, ledger, &fact, &later).await.unwrap();
    memory::by_positions(&*noted, ledger, &[fact.position])
        .await
        .unwrap();
    memory::used_by(&*noted, ledger, &fact, &page).await.unwrap();
    memory::invalidated(&*noted, ledger, Some(Micros(1)), None)
        .await
        .unwrap();
    let of_record = UseFilter {
        store: Some("s".to_owned()),
        record_id: Some("r".to_owned()),
        ..UseFilter::default()
    };
    memory::uses(&*noted, ledger, &of_record, &page).await.unwrap();
    memory::uses(
        &*noted,
        ledger,
        &UseFilter {
            after_end: true,
            ..of_record
        },
        &page,
    )
    .await
    .unwrap();

    let conn = rusqlite::Connection::open(sqlite.models.path()).unwrap();
    let queries = noted.queries.lock().unwrap();
    assert!(queries.len() > 24, "{}", queries.len());
    for sql in queries.iter() {
        let mut plan = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let steps = plan.raw_query().mapped(|row| row.get::<_, String>(3));
        for step in steps.map(Result::unwrap) {
            let reads_table = step.starts_with("SEARCH") || step.starts_with("SCAN memory");
            // Of a list, the key of the ledger alone is all of the ledger.
            let is_all = ["(ledger=?)", "PRIMARY KEY (ledger=? AND position>?)"]
                .iter()
                .any(|end| step.ends_with(end));
            let is_all = is_all || step.starts_with("SCAN memory");
            assert!(!(reads_table && is_all), "{step}: {sql}");
            let of_ends = ["x", "c"]
                .iter()
                .any(|name| step.starts_with(&format!("SEARCH {name} ")));
            assert!(
                !of_ends || step.contains("memory_end_known (ledger=? AND record=? AND ends=? AND known>?"),
                "{step}: {sql}"
            );
        }
    }
}

/// A turn ends often: what was written in it is found by the turn, and nothing else of the ledger is looked at.
#[tokio::test]
async fn what_was_written_in_a_turn_is_found_by_the_turn() {
    let sqlite = Sqlite::new();
    let conn = rusqlite::Connection::open(sqlite.models.path()).unwrap();
    for sql in memory::OF_A_TURN {
        let mut plan = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let steps = plan.raw_query().mapped(|row| row.get::<_, String>(3));
        let steps: Vec<String> = steps.collect::<Result<_, _>>().unwrap();
        let by_turn =
            |step: &String| step.contains("COVERING INDEX") && step.contains("(ledger=? AND turn=?");
        assert!(steps.iter().any(by_turn), "{sql}: {steps:?}");
        let is_whole = |step: &String| step.starts_with("SCAN") || step.ends_with("(ledger=?)");
        assert!(!steps.iter().any(is_whole), "{sql}: {steps:?}");
    }
}
