//! What an answer says about read models that stand still.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_graphql::{Response, Value, value};
use ruche_domain::numbers::Position;
use ruche_projections::runner::ProjectionState;

/// The parked read models that one operation has read: each with the event that it cannot apply. Cheap to clone; all
/// clones are one.
#[derive(Clone, Default)]
pub(super) struct ParkedModels(Arc<Mutex<BTreeMap<&'static str, Position>>>);

impl ParkedModels {
    /// Keeps those of `states` that are parked and about to be read.
    pub(super) fn note(&self, states: &[ProjectionState], read: &[&'static str]) {
        let parked = states.iter().filter(|state| read.contains(&state.projection));
        let parked = parked.filter_map(|state| Some((state.projection, state.parked?)));
        // The map is whole after each statement, so a panic of another holder changes nothing.
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(parked);
    }

    /// Adds `extensions.readModels.parked` to the answer, if anything parked was read since the last answer.
    pub(super) fn tell(&self, response: Response) -> Response {
        let parked = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        if parked.is_empty() {
            return response;
        }
        let entry = |(name, before): (&str, Position)| value!({ "name": name, "before": before.to_string() });
        let parked = Value::List(parked.into_iter().map(entry).collect());
        response.extension("readModels", value!({ "parked": parked }))
    }
}

#[test]
fn what_is_parked_and_read_is_told_once() {
    use ruche_projections::store::ProjectionCheckpoint;
    let state = |projection, parked| ProjectionState {
        projection,
        checkpoint: ProjectionCheckpoint::default(),
        parked,
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
}
