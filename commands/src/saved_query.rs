//! Saved questions of analytics: named, replaced and dropped. All of a ledger stand in one `config-…` stream, so that their
//! number is known where one more is decided on.
//!
//! What a question means is none of this module's business: whoever takes it from a client refuses what analytics would.

use std::collections::BTreeMap;

use ruche_domain::Object;
use ruche_domain::event::AgentEvent;
use ruche_domain::events::{ConfigQueryDropped, ConfigQuerySaved};
use ruche_domain::limits::{SAVED_QUERIES_MAX, SAVED_QUERY_BYTES_MAX, SAVED_QUERY_NAME_CHARS_MAX};
use ruche_domain::stream::{Category, StreamId};
use ruche_ledger::references::ReferenceKey;
use serde::Serialize;

use crate::command::{Command, Decision, Load, NewEvent, PastEvent, RecordedEvent};
use crate::context::{Ground, check_text};
use crate::error::CommandError;

/// The stream of all saved questions of a ledger.
pub fn saved_queries_stream(references: &ReferenceKey) -> StreamId {
    StreamId::new(Category::Config, references.id("saved-queries", &[]))
}

/// Saves a question under a name, in the place of the one that stands there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SaveQuery {
    /// Its name.
    pub name: String,
    /// The question, as it is asked.
    pub query: Object,
}

/// Drops a saved question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DropQuery {
    /// Its name.
    pub name: String,
}

/// The questions that stand, by name, each with the record that saved it.
#[derive(Clone, Debug, Default)]
pub struct SavedQueries {
    standing: BTreeMap<String, (Object, RecordedEvent)>,
}

impl SavedQueries {
    /// An event whose payload was erased names nothing any more, and changes nothing.
    fn evolve(&mut self, past: &PastEvent) {
        match &past.event {
            Some(AgentEvent::ConfigQuerySaved(saved)) => {
                let standing = (saved.query.clone(), past.recorded.clone());
                self.standing.insert(saved.name.clone(), standing);
            }
            Some(AgentEvent::ConfigQueryDropped(dropped)) => {
                self.standing.remove(&dropped.name);
            }
            _ => {}
        }
    }
}

fn check_name(name: &str) -> Result<(), CommandError> {
    if name.chars().count() > SAVED_QUERY_NAME_CHARS_MAX {
        return Err(CommandError::input(
            "/name",
            format!("longer than {SAVED_QUERY_NAME_CHARS_MAX} characters"),
        ));
    }
    // A character has four bytes at most.
    check_text("/name", name, 4 * SAVED_QUERY_NAME_CHARS_MAX)
}

impl Command for SaveQuery {
    type State = SavedQueries;
    const NAME: &'static str = "SaveQuery";

    fn loads(&self, ground: &Ground<'_>) -> Result<Vec<Load>, CommandError> {
        check_name(&self.name)?;
        let bytes = serde_json::to_vec(&self.query).map_err(|error| CommandError::Internal(error.into()))?;
        if bytes.len() > SAVED_QUERY_BYTES_MAX {
            return Err(CommandError::LimitExceeded {
                what: "the query",
                value: bytes.len() as u64,
                limit: SAVED_QUERY_BYTES_MAX as u64,
                unit: "bytes",
            });
        }
        Ok(vec![Load::whole(saved_queries_stream(ground.references))])
    }

    fn evolve(&self, state: &mut SavedQueries, event: &PastEvent) {
        state.evolve(event);
    }

    fn decide(&self, state: &SavedQueries, ground: &Ground<'_>) -> Result<Decision, CommandError> {
        match state.standing.get(&self.name) {
            Some((query, recorded)) if *query == self.query => {
                return Ok(Decision::AlreadySo(vec![recorded.clone()]));
            }
            None if state.standing.len() >= SAVED_QUERIES_MAX => {
                return Err(CommandError::LimitExceeded {
                    what: "the ledger",
                    value: state.standing.len() as u64 + 1,
                    limit: SAVED_QUERIES_MAX as u64,
                    unit: "saved queries",
                });
            }
            _ => {}
        }
        let saved = ConfigQuerySaved::new(self.name.clone(), self.query.clone());
        let stream = saved_queries_stream(ground.references);
        Ok(Decision::Append(vec![NewEvent::fact(stream, saved)]))
    }
}

impl Command for DropQuery {
    type State = SavedQueries;
    const NAME: &'static str = "DropQuery";

    fn loads(&self, ground: &Ground<'_>) -> Result<Vec<Load>, CommandError> {
        check_name(&self.name)?;
        Ok(vec![Load::whole(saved_queries_stream(ground.references))])
    }

    fn evolve(&self, state: &mut SavedQueries, event: &PastEvent) {
        state.evolve(event);
    }

    fn decide(&self, state: &SavedQueries, ground: &Ground<'_>) -> Result<Decision, CommandError> {
        if !state.standing.contains_key(&self.name) {
            return Err(CommandError::NotFound { thing: "saved query" });
        }
        let stream = saved_queries_stream(ground.references);
        let dropped = ConfigQueryDropped::new(self.name.clone());
        Ok(Decision::Append(vec![NewEvent::fact(stream, dropped)]))
    }
}
