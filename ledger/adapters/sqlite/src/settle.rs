//! Answers that wait for the commit: nobody hears of a decision before it is durable.

use ruche_ledger::store::{AppendOutcome, Receipt, StoreError};

use crate::queue::{Answer, Work};

/// A job that was decided, with what will be answered once the commit is durable.
pub(crate) enum Settled {
    /// Of an append.
    Append(Answer<AppendOutcome>, Result<AppendOutcome, StoreError>),
    /// Of an opening.
    Opened(Answer<Receipt>, Result<Receipt, StoreError>),
    /// Of a tile or a tree head.
    Done(Answer<()>, Result<(), StoreError>),
}

impl Settled {
    /// A job that failed before anything was decided.
    pub(crate) fn failed(work: Work, error: StoreError) -> Self {
        match work {
            Work::Append(_, answer) => Self::Append(answer, Err(error)),
            Work::OpenEpoch(_, answer) => Self::Opened(answer, Err(error)),
            Work::PutTiles(.., answer) | Work::PutTreeHead(.., answer) | Work::Archive(.., answer) => {
                Self::Done(answer, Err(error))
            }
        }
    }

    /// Replaces the answer: the transaction was undone, so nothing that was decided in it is true.
    pub(crate) fn undo(&mut self, error: &StoreError) {
        match self {
            Self::Append(_, outcome) => *outcome = Err(error.clone()),
            Self::Opened(_, outcome) => *outcome = Err(error.clone()),
            Self::Done(_, outcome) => *outcome = Err(error.clone()),
        }
    }

    /// Replaces the answer: the commit failed, and the log may or may not hold it after a crash.
    pub(crate) fn doubt(&mut self, error: &StoreError) {
        match self {
            Self::Append(_, outcome) if matches!(outcome, Ok(AppendOutcome::Appended { .. })) => {
                *outcome = Ok(AppendOutcome::Unknown);
            }
            // A conflict or a mismatch may rest on an append of the same commit, so it is not given either. An opening
            // says what end it expects, so trying it again is safe whatever happened.
            Self::Append(..) | Self::Opened(..) | Self::Done(..) => self.undo(error),
        }
    }

    /// Gives the answer. A caller that went away does not hear it; what was decided stands all the same.
    pub(crate) fn answer(self) {
        match self {
            Self::Append(answer, outcome) => drop(answer.send(outcome)),
            Self::Opened(answer, outcome) => drop(answer.send(outcome)),
            Self::Done(answer, outcome) => drop(answer.send(outcome)),
        }
    }
}
