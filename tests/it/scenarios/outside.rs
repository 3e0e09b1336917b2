//! What tools really did, which no server sees.

use std::collections::BTreeMap;

use serde_json::Value;

/// The world outside: which calls were really run, by the key that the tool was given.
#[derive(Default)]
pub struct Outside(BTreeMap<(String, String), u32>);

impl Outside {
    /// Runs the tool, as a permit says.
    #[track_caller]
    pub fn execute(&mut self, tool: &str, started: &Value) {
        assert_eq!(started["deduplicated"], false, "no leave to run: {started}");
        let key = started["permit"]["effectKey"].as_str().expect("a key");
        *self.0.entry((tool.to_owned(), key.to_owned())).or_default() += 1;
    }

    /// How often a tool ran, and how many effects that made for one that knows its keys.
    pub fn runs(&self, tool: &str) -> (u32, usize) {
        let of_tool = self.0.iter().filter(|((of, _), _)| of == tool);
        of_tool.fold((0, 0), |(runs, effects), (_, count)| (runs + count, effects + 1))
    }
}
