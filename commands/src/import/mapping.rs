//! Which tool does what to the world: a JSON file beside the conversations.
//!
//! ```json
//! { "tools": [
//!     { "name": "book_reservation", "side_effect": "compensatable", "compensation_tool": "cancel_reservation" },
//!     { "prefix": "get_", "side_effect": "pure", "kind": "read" }
//! ] }
//! ```
//!
//! A name goes before a prefix, a longer prefix before a shorter one. A tool that the file does not classify is not
//! registered, and so its calls count as irreversible.

use std::collections::BTreeMap;

use ruche_domain::events::ToolRegistered;
use ruche_domain::limits::MAPPING_BYTES_MAX;
use ruche_domain::side_effect::{SideEffectPolicy, ToolKind};
use ruche_domain::strict_json::{self, Profile};
use serde::Deserialize;

use crate::tool::RegisterTool;

/// Why a mapping file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MappingFault {
    /// Not JSON that every reader understands alike.
    #[error("the mapping file is not JSON: {0}")]
    NotJson(String),
    /// Not of the form of a mapping.
    #[error("the mapping file is wrong at {pointer:?}: {reason}")]
    Form {
        /// JSON pointer.
        pointer: String,
        /// What is wrong there.
        reason: String,
    },
}

/// A mapping of tools to what they do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolMapping {
    names: BTreeMap<String, Entry>,
    prefixes: Vec<(String, Entry)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: Option<String>,
    prefix: Option<String>,
    side_effect: SideEffectPolicy,
    compensation_tool: Option<String>,
    kind: Option<ToolKind>,
    description: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default, rename = "description")]
    _description: Option<String>,
    tools: Vec<Entry>,
}

impl ToolMapping {
    /// Reads a mapping file.
    ///
    /// # Errors
    /// [`MappingFault`] with the place. A tool that is classified twice, or is compensatable without a tool that
    /// undoes it, is a fault.
    pub fn read(bytes: &[u8]) -> Result<Self, MappingFault> {
        strict_json::read(bytes, MAPPING_BYTES_MAX, Profile::Exact)
            .map_err(|fault| MappingFault::NotJson(fault.to_string()))?;
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let file: File =
            serde_path_to_error::deserialize(&mut reader).map_err(|error| MappingFault::Form {
                pointer: error.path().to_string(),
                reason: error.inner().to_string(),
            })?;
        let mut mapping = Self::default();
        for (number, entry) in file.tools.into_iter().enumerate() {
            let fault = |reason: &str| MappingFault::Form {
                pointer: format!("/tools/{number}"),
                reason: reason.to_owned(),
            };
            if entry.side_effect == SideEffectPolicy::Compensatable && entry.compensation_tool.is_none() {
                return Err(fault("compensatable, and no compensation_tool is named"));
            }
            match (entry.name.clone(), entry.prefix.clone()) {
                (Some(name), None) => {
                    if mapping.names.insert(name, entry).is_some() {
                        return Err(fault("this name is classified twice"));
                    }
                }
                (None, Some(prefix)) => {
                    if mapping.prefixes.iter().any(|(other, _)| *other == prefix) {
                        return Err(fault("this prefix is classified twice"));
                    }
                    mapping.prefixes.push((prefix, entry));
                }
                _ => return Err(fault("either a name or a prefix")),
            }
        }
        // The longest prefix that fits is the first that fits.
        mapping
            .prefixes
            .sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        Ok(mapping)
    }

    /// The registration of a tool, if the file classifies it.
    pub fn registration(&self, name: &str) -> Option<RegisterTool> {
        let prefixed = || {
            self.prefixes
                .iter()
                .find(|(prefix, _)| name.starts_with(prefix))
                .map(|(_, entry)| entry)
        };
        let entry = self.names.get(name).or_else(prefixed)?;
        let mut tool = ToolRegistered::new(name.to_owned(), entry.side_effect);
        tool.compensation_tool.clone_from(&entry.compensation_tool);
        tool.tool_kind = entry.kind;
        tool.description.clone_from(&entry.description);
        Some(RegisterTool {
            tool,
            is_imported: true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        ToolMapping::read(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_name_goes_before_a_prefix_and_a_long_prefix_before_a_short_one() {
        let mapping = ToolMapping::read(
            br#"{"tools":[{"prefix":"get_","side_effect":"pure"},{"prefix":"get_and_","side_effect":"idempotent"},
                {"name":"get_rid","side_effect":"irreversible"}]}"#,
        )
        .unwrap();
        let of = |name: &str| mapping.registration(name).map(|r| r.tool.side_effect);
        assert_eq!(of("get_user"), Some(SideEffectPolicy::Pure));
        assert_eq!(of("get_and_set"), Some(SideEffectPolicy::Idempotent));
        assert_eq!(of("get_rid"), Some(SideEffectPolicy::Irreversible));
        assert_eq!(of("put"), None);
    }

    #[test]
    fn a_wrong_file_names_its_fault() {
        assert!(fault("{").contains("not JSON"));
        assert!(
            fault(r#"{"tools":[{"name":"a","side_effect":"harmless"}]}"#).contains("tools[0].side_effect")
        );
        assert!(
            fault(r#"{"tools":[{"name":"a","side_effect":"compensatable"}]}"#).contains("compensation_tool")
        );
        assert!(fault(r#"{"tools":[{"side_effect":"pure"}]}"#).contains("either a name or a prefix"));
        let twice = r#"{"tools":[{"name":"a","side_effect":"pure"},{"name":"a","side_effect":"pure"}]}"#;
        assert!(fault(twice).contains("twice"));
    }
}
