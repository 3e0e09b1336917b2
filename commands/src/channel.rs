//! What a tenant set of its channels. A configuration of the scope `channel` may have values whose keys begin with `turns.`:
//! they stand over what [`ChannelSettings::of_channel`] has for that channel, and hold for turns that are sealed after them.

use std::collections::BTreeMap;

use ruche_domain::Ext;
use ruche_domain::limits::{
    CHANNEL_ATTEMPTS_MAX, CHANNEL_CARRIED_MAX, CHANNEL_GATHER_US_MAX, CHANNEL_LEASE_US_MAX,
    CHANNEL_MESSAGES_MAX, CHANNEL_QUEUE_MAX, CHANNEL_RETRY_US_MAX, CHANNEL_TURN_US_MAX, CHANNEL_WAIT_US_MIN,
};
use serde_json::Value;

use crate::error::CommandError;
use crate::lane::ChannelSettings;

/// What keys of settings of turns begin with. Others are the tenant's own.
const PREFIX: &str = "turns.";

/// Words of `turns.strategy`.
const STRATEGIES: [&str; 3] = ["queue", "cancel_in_progress", "reject_new"];

/// Numbers that the machine of turns runs under: from, to.
const BOUNDS: [(&str, u64, u64); 14] = [
    ("debounce_us", 0, CHANNEL_GATHER_US_MAX),
    ("window_us_max", 0, CHANNEL_GATHER_US_MAX),
    ("messages_max", 1, CHANNEL_MESSAGES_MAX),
    ("carried_max", 1, CHANNEL_CARRIED_MAX),
    ("queue_max", 1, CHANNEL_QUEUE_MAX),
    ("approval_us", CHANNEL_WAIT_US_MIN, CHANNEL_TURN_US_MAX),
    ("attempts_max", 1, CHANNEL_ATTEMPTS_MAX),
    ("lease_us", CHANNEL_WAIT_US_MIN, CHANNEL_LEASE_US_MAX),
    ("retry_delay_us", 0, CHANNEL_RETRY_US_MAX),
    ("retry_delay_us_max", 0, CHANNEL_RETRY_US_MAX),
    ("turn_us_max", CHANNEL_WAIT_US_MIN, CHANNEL_TURN_US_MAX),
    ("drain_us", 0, CHANNEL_RETRY_US_MAX),
    ("compensation_attempts_max", 1, CHANNEL_ATTEMPTS_MAX),
    ("compensation_us", CHANNEL_WAIT_US_MIN, CHANNEL_RETRY_US_MAX),
];

/// The settings of a channel under what was published of it.
pub fn settings(channel: &str, published: Option<&BTreeMap<String, Value>>) -> ChannelSettings {
    let of_channel = ChannelSettings::of_channel(channel);
    match published {
        None => of_channel,
        // What was published was checked. If a later version cannot read it, the channel is as if nothing had been.
        Some(values) => read(&over(&of_channel, values)).unwrap_or(of_channel),
    }
}

/// Refuses values that turns cannot run under.
///
/// # Errors
/// `InvalidInput`, with the key.
pub(crate) fn check(channel: &str, published: &BTreeMap<String, Value>) -> Result<(), CommandError> {
    let of_channel = ChannelSettings::of_channel(channel);
    let known = of_channel.to_values();
    for (key, value) in published {
        let Some(name) = key.strip_prefix(PREFIX) else {
            continue;
        };
        let refuse = |reason: String| Err(CommandError::input(format!("/set/{key}"), reason));
        if !known.contains_key(name) {
            let names: Vec<&str> = known.keys().map(String::as_str).collect();
            return refuse(format!("is no setting of turns; these are: {}", names.join(", ")));
        }
        let alone = BTreeMap::from([(key.clone(), value.clone())]);
        if read(&over(&of_channel, &alone)).is_none() {
            return refuse("is not of the kind that this setting has".to_owned());
        }
        if name == "strategy" && !STRATEGIES.iter().any(|word| value == word) {
            return refuse(format!("is one of {}", STRATEGIES.join(", ")));
        }
        let bounds = BOUNDS.iter().find(|(bounded, ..)| *bounded == name);
        if let (Some((_, from, to)), Some(number)) = (bounds, value.as_u64())
            && !(*from..=*to).contains(&number)
        {
            return refuse(format!("is a number from {from} to {to}"));
        }
    }
    let all = settings(channel, Some(published));
    if all.window_us_max < all.debounce_us {
        return Err(CommandError::input(
            format!("/set/{PREFIX}window_us_max"),
            "is shorter than debounce_us, which would never be over",
        ));
    }
    if all.carried_max < all.messages_max {
        return Err(CommandError::input(
            format!("/set/{PREFIX}carried_max"),
            "is less than messages_max, with which a turn is sealed",
        ));
    }
    Ok(())
}

fn over(of_channel: &ChannelSettings, published: &BTreeMap<String, Value>) -> Ext {
    let mut values = of_channel.to_values();
    for (key, value) in published {
        if let Some(name) = key.strip_prefix(PREFIX) {
            values.insert(name.to_owned(), value.clone());
        }
    }
    values
}

fn read(values: &Ext) -> Option<ChannelSettings> {
    let object: serde_json::Map<_, _> = values.clone().into_iter().collect();
    serde_json::from_value(Value::Object(object)).ok()
}

#[cfg(test)]
mod tests {
    use ruche_domain::events::TurnStrategy;
    use serde_json::json;

    use super::*;

    fn values(value: Value) -> BTreeMap<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_is_published_stands_over_the_defaults_of_the_channel() {
        let published =
            values(json!({ "turns.messages_max": 5, "turns.strategy": "reject_new", "colour": "red" }));
        assert!(check("web", &published).is_ok());
        let set = settings("web", Some(&published));
        assert_eq!((set.messages_max, set.strategy), (5, TurnStrategy::RejectNew));
        let rest = ChannelSettings {
            messages_max: 20,
            strategy: TurnStrategy::CancelInProgress,
            ..set
        };
        assert_eq!(rest, ChannelSettings::of_channel("web"));
        assert_eq!(settings("web", None), rest);
    }

    #[test]
    fn what_turns_cannot_run_under_is_refused_with_its_key() {
        for (value, path) in [
            (json!({ "turns.debounce_ms": 5 }), "/set/turns.debounce_ms"),
            (json!({ "turns.lease_us": "long" }), "/set/turns.lease_us"),
            (json!({ "turns.lease_us": 0 }), "/set/turns.lease_us"),
            (json!({ "turns.messages_max": 0 }), "/set/turns.messages_max"),
            (
                json!({ "turns.messages_max": 1_000_000 }),
                "/set/turns.messages_max",
            ),
            (
                json!({ "turns.strategy": "coalesce_queued" }),
                "/set/turns.strategy",
            ),
            (
                json!({ "turns.debounce_us": 9_000_000 }),
                "/set/turns.window_us_max",
            ),
            (json!({ "turns.carried_max": 19 }), "/set/turns.carried_max"),
            (json!({ "turns.queue_max": 0 }), "/set/turns.queue_max"),
            (json!({ "turns.queue_max": 10_001 }), "/set/turns.queue_max"),
        ] {
            match check("web", &values(value.clone())) {
                Err(CommandError::InvalidInput { field: told, .. }) => assert_eq!(told, path, "{value}"),
                other => panic!("{value}: {other:?}"),
            }
        }
    }

    #[test]
    fn every_number_has_bounds_within_which_all_channels_are() {
        for channel in ["web", "whatsapp", "sms", "voice", "email", "api"] {
            let of_channel = ChannelSettings::of_channel(channel).to_values();
            for (key, value) in of_channel {
                let Some(number) = value.as_u64() else { continue };
                let (_, from, to) = BOUNDS.iter().find(|(name, ..)| *name == key).expect(&key);
                assert!((*from..=*to).contains(&number), "{channel}: {key}");
            }
        }
    }
}
