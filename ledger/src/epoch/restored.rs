//! After a restore: every ledger goes on in a new epoch, whether a promise shows a loss or not.
//!
//! A backup ends somewhere, and nobody can say what was acknowledged behind its end and not yet under a tree head. If
//! the old epoch went on, such a record's place would be given twice. In a new epoch it never is.

use ruche_domain::event::AgentEvent;
use ruche_domain::events::infra::{EpochReason, InfraRestoreCompleted};
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Epoch, LeafIndex, Position, StreamVersion, TreeSize};

use super::{OpenError, Opener};
use crate::store::{AppendOutcome, AppendRequest, Expectation, ExpectedVersion, StoreError};

/// How a ledger goes on after a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoredLedger {
    /// The epoch that was opened.
    pub epoch: Epoch,
    /// First and last record that a tree head promised and that are lost.
    pub lost: Option<(Position, Position)>,
}

impl Opener {
    /// Opens the next epoch of a ledger whose backup ends at `restored_to`, and says in it what was restored: record 0
    /// names the last promise and the promised records that are lost, record 1 is `infra.restore_completed`. Both are
    /// sealed. A call that a crash interrupted is made again: what is done already is not done twice.
    ///
    /// # Errors
    /// See [`OpenError`]. Then nobody else may append to the ledger before a later call has succeeded.
    pub async fn open_restored(
        &self,
        ledger: LedgerId,
        restored_to: Position,
    ) -> Result<RestoredLedger, OpenError> {
        let events = &self.sealer.events;
        let head = events.head(ledger).await?.ok_or(OpenError::NoSuchLedger)?;
        if head.epoch <= restored_to.epoch {
            self.next_epoch(ledger, EpochReason::Restored, Some(note(restored_to)))
                .await?;
        }
        // A crash here leaves an epoch with record 0 alone: nobody appends before this call has succeeded.
        let head = events.head(ledger).await?.ok_or(OpenError::NoSuchLedger)?;
        let first = Position {
            epoch: head.epoch,
            index: LeafIndex(0),
        };
        let (opened, lost) = self.opened_with(ledger, first).await?;
        if head.size == TreeSize(1) {
            let completed = InfraRestoreCompleted {
                lost_from: lost.map(|(from, _)| from),
                lost_to: lost.map(|(_, to)| to),
                note: Some(note(restored_to)),
                ..InfraRestoreCompleted::new(restored_to)
            };
            let record = self.prepare(ledger, AgentEvent::from(completed))?;
            // Of two calls at once, or of one whose answer was lost and its repetition, one records it.
            let behind_record_0 = Expectation {
                stream: record.event.stream,
                version: ExpectedVersion::Exact(opened),
            };
            let request = AppendRequest::new(vec![behind_record_0], vec![record], Vec::new())?;
            match events.append(ledger, request).await? {
                AppendOutcome::Appended { .. } | AppendOutcome::Conflict { .. } => {}
                // A writer that died: the next start looks again. It claims no key that could mismatch.
                AppendOutcome::Unknown | AppendOutcome::KeyMismatch { .. } => {
                    return Err(StoreError::Unavailable {
                        reason: "the writer did not say whether the restore is recorded".into(),
                    }
                    .into());
                }
            }
        }
        self.sealer.seal(ledger).await?;
        Ok(RestoredLedger {
            epoch: head.epoch,
            lost,
        })
    }

    /// The version of record 0 of an epoch, and the lost range that it names.
    async fn opened_with(
        &self,
        ledger: LedgerId,
        first: Position,
    ) -> Result<(StreamVersion, Option<(Position, Position)>), OpenError> {
        let corrupt = |reason: String| StoreError::Corrupt {
            place: format!("record {first}"),
            reason,
        };
        let records = self.sealer.events.read_ledger(ledger, first, 1).await?;
        let record = records.first().ok_or_else(|| corrupt("it is missing".into()))?;
        let payload = record
            .payload_bytes()
            .ok_or_else(|| corrupt("its payload is missing".into()))?;
        let event = &record.leaf.event;
        match AgentEvent::from_payload(&event.event_type, event.schema_version, payload) {
            Ok(AgentEvent::InfraLedgerOpened(opened)) => {
                let previous = opened.previous;
                let lost = previous.and_then(|previous| previous.lost_from.zip(previous.lost_to));
                Ok((record.leaf.stream_version, lost))
            }
            Ok(_) => Err(corrupt("it does not open its epoch".into()).into()),
            Err(error) => Err(corrupt(error.to_string()).into()),
        }
    }
}

/// What no promise shows is said in words: whether there were such records, nobody knows.
fn note(restored_to: Position) -> String {
    format!(
        "restored from a backup that ends with {restored_to}; records that were acknowledged behind it and were under \
         no tree head yet, if there were any, are lost as well"
    )
}
