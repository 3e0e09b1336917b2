//! What the invented shop has set up: tools, prices of models, agents.

use std::collections::BTreeMap;

use ruche_commands::configuration::{PublishConfiguration, digest};
use ruche_commands::tool::RegisterTool;
use ruche_domain::events::ConfigScope;
use ruche_domain::measures::Digest;
use serde_json::{Value, json};

use super::story::{MODELS, TOOLS};

/// All tools with what a call does to the world.
pub fn tools() -> Vec<RegisterTool> {
    let register = |tool: &super::story::DemoTool| {
        let mut register = RegisterTool::new(tool.name, tool.side_effect);
        register.tool.tool_kind = Some(tool.kind);
        register.tool.description = Some(tool.description.to_owned());
        register.tool.compensation_tool = tool.compensation.map(str::to_owned);
        // What the shop did is told afterwards, whatever may undo it here.
        register.is_imported = true;
        register
    };
    TOOLS.iter().map(register).collect()
}

/// The configuration of the shop, in the order in which it was published.
pub fn configuration() -> Vec<PublishConfiguration> {
    let mut versions = vec![
        tenant("prices.llm", json!(prices())),
        tenant("language", json!("en")),
        tenant(
            "refund.amount_max",
            json!({ "amount": "300.00", "currency": "EUR" }),
        ),
    ];
    for (agent, model, temperature) in [
        ("support", "shop-large-2", 0.2),
        ("sales", "shop-small-2", 0.7),
        ("workshop", "shop-small-2", 0.2),
    ] {
        let mut first = publish(ConfigScope::Agent, Some(agent), "model", json!(model));
        first.set.insert("temperature".to_owned(), json!(temperature));
        versions.push(first);
    }
    let mut limit = tenant(
        "refund.amount_max",
        json!({ "amount": "250.00", "currency": "EUR" }),
    );
    limit.reason = Some("refunds above 250 euro go to a colleague".to_owned());
    versions.push(limit);
    versions.push(publish(
        ConfigScope::Channel,
        Some("whatsapp"),
        "reply.characters_max",
        json!(600),
    ));
    versions
}

/// One value of the tenant's own configuration.
pub fn tenant(key: &str, value: Value) -> PublishConfiguration {
    publish(ConfigScope::Tenant, None, key, value)
}

fn publish(scope: ConfigScope, id: Option<&str>, key: &str, value: Value) -> PublishConfiguration {
    PublishConfiguration::new(scope, id.map(str::to_owned), key, value)
}

/// US dollars for a million tokens, by model.
fn prices() -> BTreeMap<String, Value> {
    let dollars = |cents: u64| format!("{}.{:02}", cents / 100, cents % 100);
    let price = |(model, cents_in, cents_out): &(&str, u64, u64)| {
        let price = json!({ "input": dollars(*cents_in), "output": dollars(*cents_out), "currency": "USD" });
        ((*model).to_owned(), price)
    };
    MODELS.iter().map(price).collect()
}

/// SHA-256 of the price table, which every cost of the demo names.
pub fn prices_digest() -> Digest {
    digest(&prices())
}
