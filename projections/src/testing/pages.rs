//! What engines are asked for the pages that people look at most, so that they can be asked how they find them.

use ruche_domain::ids::{LedgerId, SessionId};
use ruche_domain::numbers::Micros;
use ruche_domain::vector::Vector;

use super::analytics::AskedStore;
use crate::change::SqlValue;
use crate::select::PageRequest;
use crate::{memory, sessions, timeline};

/// A question, and the index that finds what it asks for.
pub struct PageQuestion {
    /// What is asked.
    pub what: &'static str,
    /// Words of the plan of SQLite.
    pub on_sqlite: &'static str,
    /// Words of the plan of PostgreSQL.
    pub on_postgres: &'static str,
    /// The text.
    pub sql: String,
    /// Its values.
    pub params: Vec<SqlValue>,
}

/// The questions.
///
/// # Panics
/// If a store that has nothing gives an answer.
pub async fn pages() -> Vec<PageQuestion> {
    let ledger = LedgerId::from_bytes([1; 16]);
    let newest = PageRequest::first(50).descending();
    let before = sessions::SessionFilter {
        started_before: Some(Micros(1)),
        ..sessions::SessionFilter::default()
    };
    let named = sessions::SessionFilter {
        external_id: Some("a".to_owned()),
        ..sessions::SessionFilter::default()
    };
    let mut pages = Vec::new();
    let mut page = |what, [on_sqlite, on_postgres]: [&'static str; 2], asked: AskedStore| {
        // What follows the first question is about what it found.
        let (sql, params) = asked.into_asked().into_iter().next().expect("something is asked");
        pages.push(PageQuestion {
            what,
            on_sqlite,
            on_postgres,
            sql,
            params,
        });
    };
    for (what, filter, index) in [
        ("sessions before a time", &before, "session_started"),
        ("a session by the client's id", &named, "session_external"),
    ] {
        let asked = AskedStore::default();
        let found = sessions::list(&asked, ledger, filter, &newest).await;
        assert!(found.expect("a page").rows.is_empty());
        page(what, [index, index], asked);
    }
    let asked = AskedStore::default();
    let (session, filter) = (
        SessionId::from_bytes([2; 16]),
        timeline::TimelineFilter::default(),
    );
    let found = timeline::of_session(&asked, ledger, session, filter, &PageRequest::first(50)).await;
    assert!(found.expect("a page").rows.is_empty());
    let by_session = ["PRIMARY KEY (ledger=? AND session=?", "timeline_pkey"];
    page("what happened in a session", by_session, asked);
    let asked = AskedStore::default();
    let question = memory::Asked {
        about: "a".to_owned(),
        valid_at: Micros(1),
        ..memory::Asked::default()
    };
    let found = memory::known(&asked, ledger, &question, &PageRequest::first(50)).await;
    assert!(found.expect("a page").rows.is_empty());
    page("what is known of somebody", ["memory_fact_about"; 2], asked);
    let nearest = memory::NearestAsked {
        model: "m".to_owned(),
        vector: Vector::new(&[1.0]).expect("a vector"),
        about: None,
        attribute: None,
        store: None,
        valid_at: Micros(1),
        known_at: memory::KnownAt::Time(Micros(1)),
        first: 10,
    };
    let asked = AskedStore::default();
    let found = memory::nearest(&asked, ledger, &nearest, memory::NearestLimits::default()).await;
    assert_eq!(found.expect("an answer"), memory::Nearest::default());
    let by_model = ["PRIMARY KEY (ledger=? AND model=?", "memory_vector_pkey"];
    page("the vectors of a model", by_model, asked);
    pages
}
