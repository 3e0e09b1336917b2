//! Attributes: named values, many of them JSON in text.

use std::collections::BTreeMap;
use std::ops::Bound;

use ruche_domain::measures::{Digest, Finite};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Named values of a span, a log record or a process.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Attributes(BTreeMap<String, Value>);

impl FromIterator<(String, Value)> for Attributes {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

impl Attributes {
    /// Whether there is one whose name begins so.
    pub fn has_any(&self, prefix: &str) -> bool {
        let mut from = self
            .0
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        from.next().is_some_and(|(name, _)| name.starts_with(prefix))
    }

    /// A value.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// Adds a value, unless one has the name.
    pub fn add(&mut self, name: &str, value: Value) {
        self.0.entry(name.to_owned()).or_insert(value);
    }

    /// A text that is not empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    }

    /// The first of these that is there, a text that is not empty.
    pub fn first_text(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.text(name))
    }

    /// The first of these that is there, a count.
    pub fn first_count(&self, names: &[&str]) -> Option<u64> {
        names.iter().find_map(|name| count(self.get(name)?))
    }

    /// A number.
    pub fn number(&self, name: &str) -> Option<Finite> {
        self.get(name).and_then(Value::as_f64).and_then(Finite::new)
    }

    /// A list of texts; one text is a list of one.
    pub fn texts(&self, name: &str) -> Vec<String> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        match self.get(name) {
            Some(Value::Array(values)) => values.iter().filter_map(text).collect(),
            Some(value) => text(value).into_iter().collect(),
            None => Vec::new(),
        }
    }

    /// What stands in a value as JSON text, or as JSON. Sources send both.
    pub fn json(&self, name: &str) -> Option<String> {
        self.get(name).map(as_text)
    }

    /// The same, read as `T`; nothing where it is no such JSON.
    pub fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_str(&self.json(name)?).ok()
    }

    /// SHA-256 of the text of a value, as it came.
    pub fn digest(&self, name: &str) -> Option<Digest> {
        self.json(name).map(|text| digest(text.as_bytes()))
    }
}

/// SHA-256.
pub fn digest(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

/// A count, of a number or its text.
fn count(value: &Value) -> Option<u64> {
    let whole = || {
        value
            .as_f64()
            .filter(|n| n.fract() == 0.0 && (0.0..9e15).contains(n))
    };
    value
        .as_u64()
        .or_else(|| value.as_str()?.parse().ok())
        .or_else(|| whole().map(|n| n as u64))
}

/// A text as it is, anything else as its JSON.
pub fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
