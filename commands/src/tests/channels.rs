//! What a tenant publishes of a channel holds for the turns that are cut after it.

use ruche_domain::events::{ConfigScope, SealReason};
use serde_json::{Value, json};

use super::tool_calls::{World, types};
use crate::command::CommandReceipt;
use crate::configuration::PublishConfiguration;
use crate::error::CommandError;
use crate::governed::*;
use crate::session::SessionRef;

impl World {
    async fn publish(&self, key: &str, set: &Value) -> Result<CommandReceipt, CommandError> {
        let channel = self.lane().channel;
        let set = serde_json::from_value(set.clone()).unwrap();
        let publish = PublishConfiguration {
            set,
            ..PublishConfiguration::new(ConfigScope::Channel, Some(channel), "", Value::Null)
        };
        self.send(key, &publish).await
    }

    async fn says(&self, message: &str) -> Result<CommandReceipt, CommandError> {
        let submit = SubmitMessage {
            flush: false,
            session: SessionRef::External("s".to_owned()),
            lane: self.lane(),
            message: ruche_domain::events::MessageReceived {
                channel_message_id: Some(message.to_owned()),
                ..ruche_domain::events::MessageReceived::new(ruche_domain::events::common::Role::User)
            },
        };
        self.send(&format!("says-{message}"), &submit).await
    }
}

#[tokio::test]
async fn a_burst_has_the_size_that_was_published() {
    let world = World::on("api").await;
    let settings = json!({ "turns.debounce_us": 60_000_000, "turns.window_us_max": 60_000_000, "turns.messages_max": 2 });
    world.publish("p", &settings).await.unwrap();
    let first = world.says("a").await.unwrap();
    assert!(types(&first).contains(&"turn.opened"), "{:?}", types(&first));
    let second = world.says("b").await.unwrap();
    let sealed = second
        .events
        .iter()
        .find_map(|event| match event.agent_event().unwrap() {
            Some(ruche_domain::event::AgentEvent::TurnSealed(sealed)) => Some(sealed.reason),
            _ => None,
        });
    assert_eq!(sealed, Some(SealReason::MessagesMax), "{:?}", types(&second));
    let third = world.says("c").await.unwrap();
    assert!(types(&third).contains(&"turn.opened"), "{:?}", types(&third));
    // What was taken back has the defaults again.
    let removed = PublishConfiguration {
        set: std::collections::BTreeMap::new(),
        removed: vec!["turns.messages_max".to_owned()],
        ..PublishConfiguration::new(ConfigScope::Channel, Some("api".to_owned()), "", Value::Null)
    };
    world.send("r", &removed).await.unwrap();
    let fourth = world.says("d").await.unwrap();
    assert!(!types(&fourth).contains(&"turn.sealed"), "{:?}", types(&fourth));
}

#[tokio::test]
async fn settings_that_no_turn_can_run_under_are_refused_and_change_nothing() {
    let world = World::on("web").await;
    let before = world.ledger.size().await;
    let refused = world.publish("p", &json!({ "turns.lease_us": 1 })).await;
    match refused {
        Err(CommandError::InvalidInput { field, .. }) => assert_eq!(field, "/set/turns.lease_us"),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.ledger.size().await, before);
    world
        .publish("p", &json!({ "turns.lease_us": 1_000_000 }))
        .await
        .unwrap();
}
