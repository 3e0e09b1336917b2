//! Texts are found by their words, the same ones on every engine.

#![expect(clippy::unwrap_used, reason = "a failing test may panic")]
#![expect(missing_docs, reason = "the name of a test says what it shows")]

use std::sync::Arc;

use ruche_domain::events::{MessageDrafted, MessageReceived, MessageSent, Role};
use ruche_domain::ids::{LedgerId, SessionId};
use ruche_domain::numbers::Position;
use ruche_ledger::store::{EventStore, PreparedEvent};

use super::Story;
use super::erased::Erased;
use super::world::{Fresh, World};
use crate::rebuild::{OnDifference, RebuildProgress};
use crate::search::{self, SearchFilter, SearchKind};
use crate::select::PageRequest;

const TEXTS: [&str; 8] = [
    "Where is my ORDER #4711?",
    "Your order 4711 is on its way; it's with DHL.",
    "Straße 5, CAFÉ Zürich -- please hurry & call (now) | or: never",
    "order order order",
    "我要退款 for 4711",
    "NOT \"quoted\" AND near(x, y) OR z* ^w :v <-> u",
    "'; DROP TABLE search_text; --",
    "Übergrößenträger",
];

fn said(story: &mut Story) -> Vec<PreparedEvent> {
    let said = |text: &str| MessageReceived {
        text: Some(text.to_owned()),
        ..MessageReceived::new(Role::User)
    };
    TEXTS.iter().map(|text| story.event(said(text))).collect()
}

async fn found(world: &World, ledger: LedgerId, text: &str, session: Option<SessionId>) -> Vec<Position> {
    let mut all = Vec::new();
    let mut request = PageRequest::first(2);
    loop {
        let filter = SearchFilter {
            session,
            ..SearchFilter::default()
        };
        let page = search::find(world.reads(), ledger, text, &filter, &request)
            .await
            .unwrap();
        request = request.after(page.end());
        let has_next = page.has_next;
        all.extend(page.items().into_iter().map(|hit| hit.position));
        if !has_next {
            return all;
        }
    }
}

pub async fn texts_are_found_by_all_their_words_and_no_word_is_an_operator(fresh: Fresh) {
    let world = World::new(fresh).await;
    let ledger = world.feed.open(1).await;
    let mut story = Story::new(1);
    story.enter(story.session_id(1));
    let places: Vec<_> = world.feed.append(ledger, said(&mut story)).await;
    let places: Vec<Position> = places.into_iter().map(|receipt| receipt.position).collect();
    story.enter(story.session_id(2));
    let more = vec![
        story.event(MessageSent {
            text: Some("order".to_owned()),
            ..MessageSent::new(Role::Assistant)
        }),
        // Sent later, or said to nobody: no message of the conversation.
        story.event(MessageDrafted {
            text: Some("order".to_owned()),
            ..MessageDrafted::new(Role::Assistant)
        }),
        story.event(MessageSent::new(Role::Assistant)),
    ];
    let elsewhere = world.feed.append(ledger, more).await[0].position;
    world.runner().catch_up(ledger).await.unwrap();
    for (text, expected) in [
        ("order", &[3, 1, 0][..]),
        ("ORDER 4711", &[1, 0]),
        ("4711", &[4, 1, 0]),
        ("way dhl order", &[1]),
        ("ord", &[]),
        ("order -4711", &[1, 0]),
        ("order OR straße", &[]),
        ("or never", &[2]),
        ("CAFÉ zürich", &[2]),
        ("cafe", &[]),
        ("退", &[4]),
        ("款 要", &[4]),
        ("not and near", &[5]),
        ("\"quoted\" AND near(x", &[5]),
        ("z*", &[5]),
        ("drop table", &[6]),
        ("' | 'order", &[3, 1, 0]),
        ("übergrößenträger", &[7]),
        ("…", &[]),
        ("", &[]),
    ] {
        let mut expected: Vec<Position> = expected.iter().map(|n| places[*n]).collect();
        if ["order", "' | 'order"].contains(&text) {
            expected.insert(0, elsewhere);
        }
        assert_eq!(found(&world, ledger, text, None).await, expected, "{text}");
    }
    let session = story.session_id(2);
    assert_eq!(found(&world, ledger, "order", Some(session)).await, [elsewhere]);
    let filter = SearchFilter {
        kind: Some(SearchKind::Message),
        session: Some(story.session_id(3)),
    };
    let page = search::find(world.reads(), ledger, "order", &filter, &PageRequest::first(9)).await;
    assert_eq!(page.unwrap().rows, []);
    assert!(world.rebuilt().await.switched);
    assert_eq!(
        found(&world, ledger, "way dhl", None).await,
        [places[1]],
        "in the next generation"
    );
}

pub async fn nobody_finds_words_of_another_tenant(fresh: Fresh) {
    let world = World::new(fresh).await;
    let mut story = Story::new(1);
    story.enter(story.session_id(1));
    let (ours, theirs) = (world.feed.open(1).await, world.feed.open(2).await);
    world.feed.append(ours, said(&mut story)).await;
    world.runner().catch_up(ours).await.unwrap();
    world.runner().catch_up(theirs).await.unwrap();
    assert_eq!(found(&world, ours, "order", None).await.len(), 3);
    for text in ["order", &format!("{}order", "01".repeat(16)), "4711"] {
        assert_eq!(found(&world, theirs, text, None).await, [], "{text}");
    }
}

pub async fn words_of_erased_payloads_are_found_no_more(fresh: Fresh) {
    let world = World::new(fresh).await;
    let ledger = world.projected(1, 2).await;
    assert_eq!(found(&world, ledger, "flight tuesday", None).await.len(), 10);
    let feed: Arc<dyn EventStore> = Arc::new(Erased(world.feed_store()));
    let report = world
        .models
        .rebuild(feed, OnDifference::Switch, &RebuildProgress::default())
        .await
        .unwrap();
    assert!(report.switched);
    assert_eq!(found(&world, ledger, "flight tuesday", None).await, []);
}
