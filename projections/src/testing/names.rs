//! Names of any length and any character: schemas do not bound them, and no accepted event stops a projection.

#![expect(missing_docs, reason = "the name of a test says what it shows")]

use ruche_domain::events::{
    ConfigActivated, ConfigPublished, ConfigScope, LlmResponded, MessageReceived, Role, SessionStarted,
    ToolProposed, ToolRegistered, TurnOpened, TurnTrigger,
};
use ruche_domain::measures::Cost;
use ruche_domain::side_effect::SideEffectPolicy;
use ruche_ledger::testing::SeededRandom;

use super::Story;
use super::world::{Fresh, World};
use crate::configuration::{self, ConfigFilter};
use crate::messages;
use crate::select::PageRequest;
use crate::sessions::{self, SessionFilter};
use crate::tool_effects;
use crate::usage::{self, Dimension, UsageFilter};

/// Two names that nothing can press together, the same for 5,000 characters.
fn long_names() -> [String; 2] {
    let random = SeededRandom::new(1);
    let letter = |n: u64| char::from_u32(0x4e00 + (n % 20_000) as u32).unwrap_or('x');
    let name: String = (0..5_000).map(|_| letter(random.next())).collect();
    [format!("{name}a"), format!("{name}b")]
}

pub async fn names_that_are_longer_than_a_key_are_told_apart(fresh: Fresh) {
    let world = World::new(fresh).await;
    let ledger = world.feed.open(1).await;
    let mut story = Story::new(1);
    let names = long_names();
    let mut events = Vec::new();
    for (n, name) in (0..).zip(&names) {
        let session = story.session_id(n);
        story.enter(session);
        events.push(story.event(SessionStarted {
            agent_id: Some(name.clone()),
            ..SessionStarted::default()
        }));
        let turn = story.turn_id(session, 0);
        story.enter_call(turn, story.call_id(turn));
        events.push(story.event(TurnOpened::new(TurnTrigger::User)));
        events.push(story.event(ToolRegistered::new(name.clone(), SideEffectPolicy::default())));
        events.push(story.event(ToolProposed::new(name.clone(), "{}".to_owned())));
        events.push(story.event(LlmResponded {
            model: Some(name.clone()),
            cost: Some(Cost::new(
                "1".parse().expect("a decimal"),
                "USD".parse().expect("three letters"),
            )),
            ..LlmResponded::default()
        }));
        let mut published = ConfigPublished::new(ConfigScope::Agent, 1);
        published.scope_id = Some(name.clone());
        published.set = names.iter().map(|key| (key.clone(), n.into())).collect();
        events.push(story.event(published));
        events.push(story.event(ConfigActivated {
            scope_id: Some(name.clone()),
            ..ConfigActivated::new(ConfigScope::Agent, 1)
        }));
    }
    world.feed.append(ledger, events).await;
    world
        .runner()
        .catch_up(ledger)
        .await
        .expect("it can be projected");
    let store = world.reads();
    assert_eq!(store.dead_letters(ledger).await.expect("it can be read"), []);
    assert_eq!(
        tool_effects::tools(store, ledger)
            .await
            .expect("it can be read")
            .len(),
        2
    );
    for (n, name) in (0..).zip(&names) {
        let filter = SessionFilter {
            agent: Some(name.clone()),
            ..SessionFilter::default()
        };
        let page = sessions::list(store, ledger, &filter, &PageRequest::first(10)).await;
        let found: Vec<_> = page
            .expect("it can be read")
            .items()
            .iter()
            .map(|s| s.id)
            .collect();
        assert_eq!(found, [story.session_id(n)]);
        let filter = UsageFilter {
            agent: Some(name.clone()),
            model: Some(name.clone()),
            ..UsageFilter::default()
        };
        let by = [Dimension::Agent, Dimension::Model];
        let used = usage::by(store, ledger, &by, &filter)
            .await
            .expect("it can be read");
        let calls: i64 = used.iter().map(|row| row.tally.llm_calls).sum();
        assert_eq!((used.len(), calls, used[0].costs[0].known), (1, 1, 1));
        let filter = UsageFilter {
            tool: Some(name.clone()),
            ..UsageFilter::default()
        };
        let used = usage::by(store, ledger, &[], &filter)
            .await
            .expect("it can be read");
        assert_eq!(used[0].tally.tool_calls, 1);
        let scope = ConfigScope::Agent;
        let values = configuration::values(store, ledger, scope, name, None).await;
        assert_eq!(values.expect("it can be read").len(), 2);
        let active = configuration::active_version(store, ledger, scope, name).await;
        assert!(active.expect("it can be read").is_some());
        let filter = ConfigFilter {
            key: Some(name.clone()),
            scope_id: Some(name.clone()),
            ..ConfigFilter::default()
        };
        let page = configuration::history(store, ledger, &filter, &PageRequest::first(1)).await;
        let page = page.expect("it can be read");
        assert!(!page.has_next && page.rows.len() == 1);
        let end = page.end().expect("there is a row").to_string();
        assert!(
            end.parse::<crate::select::Cursor>().is_ok(),
            "a cursor of a long key"
        );
    }
    assert_eq!(world.rebuilt().await.differences, []);
}

/// A conversation comes back with every character that its source wrote, those too that databases dislike.
pub async fn every_character_comes_back(fresh: Fresh) {
    let world = World::new(fresh).await;
    let ledger = world.feed.open(1).await;
    let mut story = Story::new(1);
    let session = story.session_id(1);
    story.enter(session);
    let mut texts: Vec<String> = (0..0x20_u32)
        .filter_map(char::from_u32)
        .map(String::from)
        .collect();
    texts.push("\0\u{1}\u{2}\u{3}\0".to_owned());
    texts.push("\u{feff}\u{fffe}\u{10ffff}\u{e000}'\"\\%_$1".to_owned());
    let events = texts.iter().map(|text| {
        story.event(MessageReceived {
            text: Some(text.clone()),
            name: Some(text.clone()),
            ..MessageReceived::new(Role::User)
        })
    });
    let events = events.collect();
    world.feed.append(ledger, events).await;
    world
        .runner()
        .catch_up(ledger)
        .await
        .expect("it can be projected");
    let page = messages::of_session(world.reads(), ledger, session, &PageRequest::first(100)).await;
    let read = page.expect("it can be read").items().into_iter();
    let read: Vec<_> = read.map(|message| (message.text, message.name)).collect();
    let told: Vec<_> = texts
        .into_iter()
        .map(|text| (Some(text.clone()), Some(text)))
        .collect();
    assert_eq!(read, told);
    assert_eq!(world.rebuilt().await.differences, []);
}
