//! A store of read models that keeps statements in memory and fails where it is told to, in both ways: not persisted,
//! and persisted although an error comes back.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::Position;

use crate::change::{SqlValue, Statement};
use crate::search::Wanted;
use crate::store::{
    DeadLetter, DeadLetterState, ProjectionCheckpoint, ProjectionStatus, ReadStore, ReadStoreError, Row, Step,
};

/// How a write fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is kept.
    Lost,
    /// It is kept, and the caller is told otherwise.
    Kept,
}

/// Keeps every statement of every committed step.
#[derive(Default)]
pub struct RecordingStore {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    writes: u64,
    fault: Option<(u64, Fault)>,
    refused: Option<SqlValue>,
    checkpoints: HashMap<(LedgerId, String), (u32, ProjectionCheckpoint)>,
    statements: HashMap<(LedgerId, String), Vec<Statement>>,
    letters: Vec<DeadLetter>,
    paused: HashMap<(LedgerId, String), (bool, Position)>,
}

impl RecordingStore {
    /// A store whose write number `n`, from 0, fails.
    pub fn failing(n: u64, fault: Fault) -> Self {
        let store = Self::default();
        store.lock().fault = Some((n, fault));
        store
    }

    /// Refuses each step that has a statement with this value, as a database refuses what does not fit.
    pub fn refuse(&self, value: Option<SqlValue>) {
        self.lock().refused = value;
    }

    /// How many writes were tried.
    pub fn writes(&self) -> u64 {
        self.lock().writes
    }

    /// The committed statements of a projection, in order.
    pub fn statements(&self, ledger: LedgerId, projection: &str) -> Vec<Statement> {
        self.lock()
            .statements
            .get(&(ledger, projection.to_owned()))
            .cloned()
            .unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What happens to the write that is about to be made.
    fn next_fault(&mut self) -> Option<Fault> {
        let number = self.writes;
        self.writes += 1;
        self.fault.filter(|(n, _)| *n == number).map(|(_, fault)| fault)
    }

    fn is_paused(&self, of: &(LedgerId, String)) -> bool {
        self.paused.get(of).is_some_and(|(paused, _)| *paused)
    }

    fn write(&mut self, write: impl FnOnce(&mut Self)) -> Result<(), ReadStoreError> {
        let fault = self.next_fault();
        if fault != Some(Fault::Lost) {
            write(self);
        }
        match fault {
            None => Ok(()),
            Some(fault) => Err(ReadStoreError::Unavailable(format!("injected: {fault:?}"))),
        }
    }
}

#[async_trait]
impl ReadStore for RecordingStore {
    async fn apply(&self, step: Step) -> Result<(), ReadStoreError> {
        let mut state = self.lock();
        let key = (step.ledger, step.projection.name.to_owned());
        let found = state
            .checkpoints
            .get(&key)
            .map_or_else(Default::default, |(_, checkpoint)| *checkpoint);
        if found != step.from || state.is_paused(&key) {
            return Err(ReadStoreError::StaleCheckpoint { found });
        }
        let refused = state.refused.as_ref();
        if step
            .statements
            .iter()
            .flat_map(|s| &s.params)
            .any(|value| Some(value) == refused)
        {
            return Err(ReadStoreError::Refused("it does not fit".into()));
        }
        state.write(|state| {
            state
                .checkpoints
                .insert(key.clone(), (step.projection.version, step.to));
            state.statements.entry(key).or_default().extend(step.statements);
        })
    }

    async fn status(
        &self,
        ledger: LedgerId,
        projection: &'static str,
    ) -> Result<ProjectionStatus, ReadStoreError> {
        let state = self.lock();
        let stored = state.checkpoints.get(&(ledger, projection.to_owned()));
        let letters = state
            .letters
            .iter()
            .filter(|l| l.ledger == ledger && l.projection == projection);
        let mut status = ProjectionStatus {
            checkpoint: stored.map_or_else(Default::default, |(_, checkpoint)| *checkpoint),
            version: stored.map(|(version, _)| *version),
            paused: state.is_paused(&(ledger, projection.to_owned())),
            decided: state
                .paused
                .get(&(ledger, projection.to_owned()))
                .map(|(_, decided)| *decided),
            ..ProjectionStatus::default()
        };
        for letter in letters {
            match letter.state {
                DeadLetterState::Parked => status.parked = Some(letter.clone()),
                DeadLetterState::Discarded => status.discarded.push(letter.position),
            }
        }
        Ok(status)
    }

    async fn put_dead_letter(&self, letter: DeadLetter) -> Result<(), ReadStoreError> {
        let key = |l: &DeadLetter| (l.ledger, l.projection.clone(), l.position);
        self.lock().write(|state| {
            state.letters.retain(|other| key(other) != key(&letter));
            state.letters.push(letter);
        })
    }

    async fn drop_dead_letter(
        &self,
        ledger: LedgerId,
        projection: &'static str,
        position: Position,
    ) -> Result<bool, ReadStoreError> {
        let mut state = self.lock();
        let before = state.letters.len();
        state.write(|state| {
            state.letters.retain(|l| {
                (l.ledger, l.projection.as_str(), l.position) != (ledger, projection, position)
                    || l.state == DeadLetterState::Discarded
            });
        })?;
        Ok(state.letters.len() < before)
    }

    async fn discard_dead_letter(
        &self,
        ledger: LedgerId,
        projection: &'static str,
        position: Position,
    ) -> Result<bool, ReadStoreError> {
        let (mut state, mut found) = (self.lock(), false);
        let key = (ledger, projection, position);
        state.write(|state| {
            let is_it = |l: &&mut DeadLetter| (l.ledger, l.projection.as_str(), l.position) == key;
            let parked = state
                .letters
                .iter_mut()
                .filter(|l| l.state == DeadLetterState::Parked);
            if let Some(letter) = parked.into_iter().find(is_it) {
                letter.state = DeadLetterState::Discarded;
                found = true;
            }
        })?;
        Ok(found)
    }

    async fn set_paused(
        &self,
        ledger: LedgerId,
        projection: &'static str,
        paused: bool,
        decided: Position,
    ) -> Result<bool, ReadStoreError> {
        let (mut state, mut changed) = (self.lock(), false);
        let key = (ledger, projection.to_owned());
        state.write(|state| {
            changed = state.paused.get(&key).is_none_or(|(_, before)| *before < decided);
            if changed {
                state.paused.insert(key, (paused, decided));
            }
        })?;
        Ok(changed)
    }

    async fn dead_letters(&self, ledger: LedgerId) -> Result<Vec<DeadLetter>, ReadStoreError> {
        Ok(self
            .lock()
            .letters
            .iter()
            .filter(|l| l.ledger == ledger)
            .cloned()
            .collect())
    }

    async fn query(&self, _: &str, _: Vec<SqlValue>) -> Result<Vec<Row>, ReadStoreError> {
        Err(ReadStoreError::Unavailable(
            "this store keeps statements and runs none".into(),
        ))
    }

    async fn search(&self, _: &Wanted) -> Result<Vec<Row>, ReadStoreError> {
        self.query("", vec![]).await
    }
}
