//! Questions of analytics that stand saved.

#![expect(missing_docs, reason = "the name of a test says what it shows")]

use std::sync::Arc;

use ruche_domain::Object;
use ruche_domain::event::AgentEvent;
use ruche_domain::events::{ConfigQueryDropped, ConfigQuerySaved};
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::Position;
use serde_json::json;

use super::Story;
use super::erased::Erased;
use super::world::{Fresh, World};
use crate::runner::Runner;
use crate::saved_queries::{SavedQuery, by_name, list};
use crate::select::PageRequest;

fn question(metric: &str) -> Object {
    let members = [
        ("metric", json!(metric)),
        ("filter", json!({ "agent": "é\"" })),
        ("last", json!(86_400)),
    ];
    members.map(|(name, value)| (name.to_owned(), value)).into()
}

fn saved(name: &str, metric: &str) -> AgentEvent {
    ConfigQuerySaved::new(name.to_owned(), question(metric)).into()
}

fn dropped(name: &str) -> AgentEvent {
    ConfigQueryDropped::new(name.to_owned()).into()
}

/// Tells them behind the opening of a new ledger, so that the n-th stands at index n.
async fn projected(world: &World, n: u128, events: Vec<AgentEvent>) -> LedgerId {
    let ledger = world.feed.open(n).await;
    let mut story = Story::new(n as u64);
    let events = events.into_iter().map(|event| story.event(event)).collect();
    world.feed.append(ledger, events).await;
    world.runner().catch_up(ledger).await.expect("nothing fails here");
    ledger
}

async fn page(
    world: &World,
    ledger: LedgerId,
    request: &PageRequest,
) -> (Vec<SavedQuery>, bool, PageRequest) {
    let page = list(world.reads(), ledger, request).await.expect("a page");
    let next = request.clone().after(page.end());
    let has_next = page.has_next;
    (page.items(), has_next, next)
}

async fn found(world: &World, ledger: LedgerId, name: &str) -> Option<SavedQuery> {
    by_name(world.reads(), ledger, name).await.expect("an answer")
}

fn names(found: &[SavedQuery]) -> Vec<&str> {
    found.iter().map(|saved| saved.name.as_str()).collect()
}

pub async fn what_was_saved_last_under_a_name_stands_until_it_is_dropped(fresh: Fresh) {
    let world = World::new(fresh).await;
    let events = vec![
        saved("costs", "COST"),
        saved("Costs", "TURNS"),
        saved("costs", "INPUT_TOKENS"),
        saved("gone", "COST"),
        dropped("gone"),
        dropped("never there"),
        saved("back", "COST"),
        dropped("back"),
        saved("back", "TURNS"),
    ];
    let ledger = projected(&world, 1, events).await;
    let costs = found(&world, ledger, "costs").await.expect("it stands");
    assert_eq!(
        (costs.query, costs.position),
        (question("INPUT_TOKENS"), Position::new(1, 3))
    );
    let others = found(&world, ledger, "Costs").await.expect("it stands");
    assert_eq!(
        (others.query, others.position),
        (question("TURNS"), Position::new(1, 2))
    );
    assert!(
        others.saved_at < costs.saved_at,
        "each has the time at which it was saved"
    );
    let back = found(&world, ledger, "back").await.expect("it stands again");
    assert_eq!(
        (back.query, back.position),
        (question("TURNS"), Position::new(1, 9))
    );
    assert_eq!(found(&world, ledger, "gone").await, None);

    let other = projected(&world, 2, vec![saved("gone", "COST"), dropped("costs")]).await;
    assert_eq!(
        found(&world, other, "costs").await,
        None,
        "it is another tenant's"
    );
    assert!(found(&world, other, "gone").await.is_some());
    assert!(found(&world, ledger, "costs").await.is_some());
    assert_eq!(world.rebuilt().await.differences, []);
}

pub async fn saved_questions_are_given_page_by_page_in_the_order_of_saving(fresh: Fresh) {
    let world = World::new(fresh).await;
    let events = ["d", "b", "a", "c", "b"].map(|name| saved(name, "COST")).to_vec();
    let ledger = projected(&world, 1, events).await;
    let (first, has_next, next) = page(&world, ledger, &PageRequest::first(3)).await;
    assert_eq!((names(&first), has_next), (vec!["d", "a", "c"], true));
    let (rest, has_next, _) = page(&world, ledger, &next).await;
    assert_eq!((names(&rest), has_next), (vec!["b"], false));
}

pub async fn a_saved_question_that_was_erased_is_none(fresh: Fresh) {
    let world = World::new(fresh).await;
    let ledger = world.feed.open(1).await;
    let mut story = Story::new(1);
    // Payloads of sessions are those that this feed has not any more.
    story.enter(story.session_id(1));
    let events = [saved("costs", "COST"), dropped("costs"), saved("costs", "TURNS")];
    let events = events.into_iter().map(|event| story.event(event)).collect();
    world.feed.append(ledger, events).await;
    let erased = Runner::new(Arc::new(Erased(world.feed_store())), world.read_store());
    erased.catch_up(ledger).await.expect("nothing fails here");
    let letters = world.models.dead_letters(ledger).await.expect("an answer");
    assert_eq!((letters.len(), found(&world, ledger, "costs").await), (0, None));
}
