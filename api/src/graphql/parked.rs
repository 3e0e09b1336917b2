//! What an answer says about read models that stand still.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use async_graphql::indexmap::IndexMap;
use async_graphql::{Name, Response, Value, value};
use ruche_domain::numbers::Position;
use ruche_projections::runner::ProjectionState;

/// The read models that one operation has read and that stand still: parked ones, each with the event that it cannot apply,
/// and paused ones. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub(super) struct ParkedModels(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    parked: BTreeMap<&'static str, Position>,
    paused: BTreeSet<&'static str>,
}

impl ParkedModels {
    /// Keeps those of `states` that stand still and are about to be read.
    pub(super) fn note(&self, states: &[ProjectionState], read: &[&'static str]) {
        // Both are whole after each statement, so a panic of another holder changes nothing.
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for state in states.iter().filter(|state| read.contains(&state.projection)) {
            if let Some(before) = state.parked {
                held.parked.insert(state.projection, before);
            }
            if state.paused {
                held.paused.insert(state.projection);
            }
        }
    }

    /// Adds `extensions.readModels` to the answer, if anything that stands still was read since the last answer.
    pub(super) fn tell(&self, response: Response) -> Response {
        let held = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let mut told = IndexMap::new();
        if !held.parked.is_empty() {
            let entry =
                |(name, before): (&str, Position)| value!({ "name": name, "before": before.to_string() });
            let parked = Value::List(held.parked.into_iter().map(entry).collect());
            told.insert(Name::new("parked"), parked);
        }
        if !held.paused.is_empty() {
            let paused = Value::List(held.paused.into_iter().map(Value::from).collect());
            told.insert(Name::new("paused"), paused);
        }
        match told.is_empty() {
            true => response,
            false => response.extension("readModels", Value::Object(told)),
        }
    }
}

#[test]
fn what_is_parked_and_read_is_told_once() {
    use ruche_projections::store::ProjectionCheckpoint;
    let state = |projection, parked| ProjectionState {
        projection,
        checkpoint: ProjectionCheckpoint::default(),
        parked,
        paused: false,
    };
    let at = Position::new(1, 17);
    let states = [
        state("sessions", Some(at)),
        state("turns", None),
        state("usage", Some(at)),
    ];
    let models = ParkedModels::default();
    models.note(&states, &["turns"]);
    assert!(models.tell(Response::default()).extensions.is_empty());
    models.note(&states, &["sessions", "turns"]);
    models.note(&states, &["sessions"]);
    let told = models.tell(Response::default()).extensions;
    let expected = value!({ "parked": [{ "name": "sessions", "before": "1:17" }] });
    assert_eq!(told.get("readModels"), Some(&expected));
    assert!(models.tell(Response::default()).extensions.is_empty(), "once");
    let lanes = ProjectionState {
        paused: true,
        ..state("lanes", None)
    };
    models.note(&[lanes], &["lanes"]);
    let told = models.tell(Response::default()).extensions;
    assert_eq!(told.get("readModels"), Some(&value!({ "paused": ["lanes"] })));
}
