use std::collections::BTreeMap;
use std::sync::Arc;

use ruche_domain::event::AgentEvent;
use ruche_domain::events::{ConfigPublished, ConfigScope};
use serde_json::{Value, json};

use crate::configuration::{config_stream, digest};
use crate::testing::{Decided, Given, NoObjection, TestLedger, given, references};
use crate::{CommandReceipt, PublishConfiguration};

fn publish(key: &str, value: Value) -> PublishConfiguration {
    PublishConfiguration::new(ConfigScope::Agent, Some("a-1".to_owned()), key, value)
}

fn published(decided: Decided) -> ConfigPublished {
    match decided.facts().pop() {
        Some(AgentEvent::ConfigPublished(published)) => published,
        other => panic!("{other:?}"),
    }
}

fn with(past: &[&ConfigPublished]) -> Given {
    let stream = config_stream(&references(), ConfigScope::Agent, Some("a-1"));
    past.iter()
        .fold(given(), |given, event| given.event(stream, (*event).clone()))
}

#[test]
fn each_publication_is_the_next_version_with_its_difference_and_digest() {
    let first = published(given().when(&publish("temperature", json!(0.2))));
    assert_eq!((first.version, first.previous.len()), (1, 0));
    let second = published(with(&[&first]).when(&publish("temperature", json!(0.7))));
    assert_eq!(second.version, 2);
    assert_eq!(second.previous["temperature"], json!(0.2));
    let mut removal = publish("model", json!("m"));
    removal.removed = vec!["temperature".to_owned()];
    let third = published(with(&[&first, &second]).when(&removal));
    assert_eq!(third.version, 3);
    assert_eq!(third.previous["temperature"], json!(0.7));
    assert_eq!(
        third.digest,
        Some(digest(&BTreeMap::from([("model".to_owned(), json!("m"))])))
    );
}

#[test]
fn what_changes_nothing_is_already_so() {
    let first = published(given().when(&publish("k", json!({ "a": 1 }))));
    with(&[&first])
        .when(&publish("k", json!({ "a": 1 })))
        .already_so();
}

#[tokio::test]
async fn what_changes_nothing_is_unchanged_and_leaves_its_key_free() {
    let ledger = TestLedger::in_memory(Arc::new(NoObjection)).await;
    let execute = |key: &'static str, value: Value| {
        let context = ledger.context.with_key(key);
        let commands = &ledger.commands;
        async move { commands.execute(&context, &publish("k", value)).await.unwrap() }
    };
    let kind = |receipt: &CommandReceipt| (receipt.duplicate, receipt.unchanged);
    let first = execute("first", json!(1)).await;
    assert_eq!(kind(&first), (false, false));
    let size = ledger.size().await;

    let nothing = execute("second", json!(1)).await;
    assert_eq!((kind(&nothing), ledger.size().await), ((false, true), size));
    assert_eq!(nothing.events, first.events, "the version that says so");
    let retry = execute("first", json!(1)).await;
    assert_eq!((kind(&retry), ledger.size().await), ((true, false), size));

    // The key stands for nothing yet, so it is free for another command.
    let change = execute("second", json!(2)).await;
    assert_eq!((kind(&change), ledger.size().await), ((false, false), size + 1));
    assert_eq!(kind(&execute("second", json!(2)).await), (true, false));
}

#[test]
fn a_version_that_is_not_the_last_is_refused() {
    let first = published(given().when(&publish("k", json!(1))));
    let mut change = publish("k", json!(2));
    change.base_version = Some(0);
    with(&[&first]).when(&change).refused("WRONG_EXPECTED_VERSION");
    change.base_version = Some(1);
    assert_eq!(published(with(&[&first]).when(&change)).version, 2);
}

#[test]
fn the_input_is_checked() {
    let mut tenant = publish("k", json!(1));
    tenant.scope = ConfigScope::Tenant;
    given().when(&tenant).refused("INVALID_INPUT");
    let mut nobody = publish("k", json!(1));
    nobody.scope_id = None;
    given().when(&nobody).refused("INVALID_INPUT");
    let mut both = publish("k", json!(1));
    both.removed = vec!["k".to_owned()];
    given().when(&both).refused("INVALID_INPUT");
    let mut nothing = publish("k", json!(1));
    nothing.set.clear();
    given().when(&nothing).refused("INVALID_INPUT");
}

#[test]
fn the_digest_does_not_depend_on_the_order_of_keys() {
    let of = |text: &str| digest(&serde_json::from_str(text).unwrap());
    assert_eq!(
        of(r#"{"a":{"x":1,"y":[{"p":1,"q":2}]}}"#),
        of(r#"{"a":{"y":[{"q":2,"p":1}],"x":1}}"#)
    );
    assert_ne!(of(r#"{"a":1}"#), of(r#"{"a":2}"#));
}
