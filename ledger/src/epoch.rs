//! Opening epochs: a new ledger, and the next epoch of one, linked to the last promise of the epoch before.

use std::sync::Arc;

use ruche_domain::envelope::{ACFEvent, Actor, Classification, Provenance};
use ruche_domain::event::AgentEvent;
use ruche_domain::events::infra::{EpochReason, InfraLedgerOpened, PreviousEpoch};
use ruche_domain::ids::LedgerId;
use ruche_domain::limits::ORIGIN_BYTES_MAX;
use ruche_domain::measures::Digest;
use ruche_domain::numbers::{Epoch, LeafIndex, Position};
use ruche_domain::ports::{Clock, Random, event_id};
use ruche_domain::stream::{Category, StreamId};

use crate::error::LedgerError;
use crate::payload::{Fragment, JSON};
use crate::seal::{SealError, Sealer};
use crate::store::{EpochInfo, EpochOpening, PreparedEvent, Receipt, StoreError};
use crate::tree_head::SignedTreeHead;

/// Epochs that are looked for behind the last one in the database.
const EPOCHS_PROBED_MAX: u32 = 10_000;
/// Tries to close an epoch to which others append meanwhile.
const CLOSE_ATTEMPTS_MAX: u32 = 8;

/// Why an epoch was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The deployment name cannot be part of an origin.
    #[error("a deployment name has 1 to 88 characters a-z, 0-9, `.` and `-`: {0:?}")]
    Deployment(String),
    /// There is no such ledger to go on from.
    #[error("no such ledger")]
    NoSuchLedger,
    /// Tree heads of this ledger were signed, and the database does not hold it: it was lost.
    #[error(
        "tree heads of {origin} were signed, but the database does not hold this ledger: it was lost or is another \
         one. Restore a backup, or open a new epoch that names the loss with `ruche ledger new-epoch --restored`"
    )]
    Promised {
        /// The last origin that was promised something.
        origin: String,
    },
    /// More epochs were promised than are looked for.
    #[error("no unused epoch was found")]
    TooManyEpochs,
    /// The epoch before cannot be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The opening record is too large (a long note).
    #[error(transparent)]
    Record(#[from] LedgerError),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Bytes of a deployment name: what an origin leaves beside the label and the epoch.
pub const DEPLOYMENT_BYTES_MAX: usize = ORIGIN_BYTES_MAX - 40;
const _: () = assert!(
    DEPLOYMENT_BYTES_MAX == 88,
    "as the message of `OpenError::Deployment` says"
);

/// The stream of what happened to a ledger itself. Each epoch begins with a record of it.
pub fn ledger_stream(ledger: LedgerId) -> StreamId {
    StreamId::new(Category::Ledger, ledger.0)
}

/// Opens ledgers and epochs.
pub struct Opener {
    /// Seals the epoch before, so that the new one links to everything that was promised.
    pub sealer: Arc<Sealer>,
    /// Time of the opening record.
    pub clock: Arc<dyn Clock>,
    /// Ids and openings.
    pub random: Arc<dyn Random>,
    /// Name of the deployment: by custom a domain that the operator owns. Chosen once.
    pub deployment: String,
}

impl Opener {
    /// Opens a new ledger with its first epoch, and seals it: from here on it is known that the ledger exists, even if
    /// the database is lost.
    ///
    /// # Errors
    /// See [`OpenError`]; `EpochMoved` if the ledger exists.
    pub async fn create(&self, ledger: LedgerId) -> Result<Receipt, OpenError> {
        if self.sealer.events.head(ledger).await?.is_some() {
            return Err(StoreError::EpochMoved.into());
        }
        let stem = self.stem(ledger)?;
        if let Some(promise) = self.last_promise(&stem, Epoch(0)).await? {
            return Err(OpenError::Promised {
                origin: promise.head.head().origin.clone(),
            });
        }
        let receipt = self
            .open(
                ledger,
                &stem,
                Epoch::FIRST,
                None,
                EpochReason::Created,
                None,
                None,
            )
            .await?;
        self.sealer.seal(ledger).await?;
        Ok(receipt)
    }

    /// Closes the open epoch and opens the next one, sealed, whose record 0 names the last promise before it. If the
    /// store holds less than was promised (a restore), it names the lost range as well.
    ///
    /// # Errors
    /// See [`OpenError`]; `EpochMoved`, retryable, if others kept appending.
    pub async fn next_epoch(
        &self,
        ledger: LedgerId,
        reason: EpochReason,
        note: Option<String>,
    ) -> Result<Receipt, OpenError> {
        let mut attempt = 1;
        loop {
            match self.try_next_epoch(ledger, reason, note.clone()).await {
                Err(OpenError::Store(StoreError::EpochMoved)) if attempt < CLOSE_ATTEMPTS_MAX => attempt += 1,
                Err(error) => return Err(error),
                Ok(receipt) => {
                    self.sealer.seal(ledger).await?;
                    return Ok(receipt);
                }
            }
        }
    }

    async fn try_next_epoch(
        &self,
        ledger: LedgerId,
        reason: EpochReason,
        note: Option<String>,
    ) -> Result<Receipt, OpenError> {
        let last = self.sealer.events.epochs(ledger).await?.pop();
        let stem = match &last {
            Some(last) => last
                .origin
                .rsplit_once('/')
                .map_or(last.origin.as_str(), |(stem, _)| stem)
                .to_owned(),
            None => self.stem(ledger)?,
        };
        let closed = self.close(ledger, &stem, last.as_ref()).await?;
        let end = last.as_ref().and_then(|last| {
            let index = last.size.0.checked_sub(1)?;
            Some(Position {
                epoch: last.epoch,
                index: LeafIndex(index),
            })
        });
        let previous = PreviousEpoch {
            origin: closed.head.head().origin.clone(),
            tree_size: closed.head.head().size,
            root: Digest(closed.head.head().root.0),
            tree_head: closed.head.note().to_text(),
            lost_from: closed.lost.map(|(from, _)| from),
            lost_to: closed.lost.map(|(_, to)| to),
        };
        self.open(
            ledger,
            &stem,
            closed.epoch.next(),
            end,
            reason,
            Some(previous),
            note,
        )
        .await
    }

    /// The last promise of the ledger, whatever the database holds, and what is lost of it. Seals what can be sealed.
    async fn close(
        &self,
        ledger: LedgerId,
        stem: &str,
        last: Option<&EpochInfo>,
    ) -> Result<Closed, OpenError> {
        let here = last.map_or(Epoch(0), |last| last.epoch);
        let first_lost = last.map_or(Position::START, |last| Position {
            epoch: last.epoch,
            index: last.size.next_index(),
        });
        if let Some(promise) = self.last_promise(stem, here).await? {
            // Whole epochs are lost. That what is here is what was promised of it is still asked.
            if let Some(last) = last {
                match self.sealer.seal_epoch(ledger, last.epoch).await {
                    Ok(_) | Err(SealError::Superseded { .. }) => {}
                    Err(SealError::Behind { .. }) => {
                        self.sealer.seal_end(ledger, last.epoch).await?;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            return Ok(promise.with_loss_from(first_lost));
        }
        let last = last.ok_or(OpenError::NoSuchLedger)?;
        match self.sealer.seal_epoch(ledger, last.epoch).await {
            Ok(head) => Ok(Closed {
                epoch: last.epoch,
                head,
                lost: None,
            }),
            Err(SealError::Behind { origin, .. }) => {
                let head = self.sealer.heads.latest(&origin).await.map_err(SealError::from)?;
                let head = head.ok_or(OpenError::NoSuchLedger)?;
                self.sealer.seal_end(ledger, last.epoch).await?;
                Ok(Closed {
                    epoch: last.epoch,
                    head,
                    lost: None,
                }
                .with_loss_from(first_lost))
            }
            Err(SealError::PromisesLost { origin, .. }) => {
                let end = self.sealer.seal_end(ledger, last.epoch).await?;
                let head = end.ok_or(OpenError::NoSuchLedger)?;
                // What was promised since the old copy is not known; this is what is known now. Without it the promises
                // of a ledger would have a hole, and whoever looks for the last one would stop there.
                let key = self.sealer.keys.signer(&origin).verifier().clone();
                if head.verify(std::slice::from_ref(&key)).is_ok() {
                    let kept = self.sealer.heads.latest(&origin).await.map_err(SealError::from)?;
                    let swapped = self.sealer.heads.compare_and_swap(&origin, kept.as_ref(), &head);
                    swapped.await.map_err(SealError::from)?;
                }
                Ok(Closed {
                    epoch: last.epoch,
                    head,
                    lost: None,
                })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The last tree head that was signed for an epoch behind `epoch`. Numbers are used without a hole, so the first
    /// one without a tree head ends the search.
    async fn last_promise(&self, stem: &str, epoch: Epoch) -> Result<Option<Closed>, OpenError> {
        let mut found = None;
        let mut next = epoch.next();
        while let Some(head) = self
            .sealer
            .heads
            .latest(&origin(stem, next))
            .await
            .map_err(SealError::from)?
        {
            found = Some(Closed {
                epoch: next,
                head,
                lost: None,
            });
            next = next.next();
            if next.0 - epoch.0 > EPOCHS_PROBED_MAX {
                return Err(OpenError::TooManyEpochs);
            }
        }
        Ok(found)
    }

    fn stem(&self, ledger: LedgerId) -> Result<String, OpenError> {
        Ok(format!(
            "{}/{}",
            self.checked_deployment()?,
            base32(&self.sealer.keys.label(ledger))
        ))
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "one private caller per kind of opening; a struct would only rename it"
    )]
    async fn open(
        &self,
        ledger: LedgerId,
        stem: &str,
        epoch: Epoch,
        expected_end: Option<Position>,
        reason: EpochReason,
        previous: Option<PreviousEpoch>,
        note: Option<String>,
    ) -> Result<Receipt, OpenError> {
        let origin = origin(stem, epoch);
        let opened = InfraLedgerOpened {
            // That of the origin: it was chosen once, whatever a later start is told.
            deployment: stem.split_once('/').map_or(stem, |(name, _)| name).to_owned(),
            verifier_key: self.sealer.keys.signer(&origin).verifier().to_string(),
            origin: origin.clone(),
            epoch,
            reason,
            previous,
            note,
        };
        let record = self.prepare(ledger, AgentEvent::from(opened))?;
        let opening = EpochOpening {
            origin,
            expected_end,
            epoch,
            record,
        };
        Ok(self.sealer.events.open_epoch(ledger, opening).await?)
    }

    fn prepare(&self, ledger: LedgerId, event: AgentEvent) -> Result<PreparedEvent, OpenError> {
        let mut envelope = ACFEvent::new(
            event_id(&*self.clock, &*self.random),
            ledger_stream(ledger),
            event.event_type(),
            event.schema_version(),
            self.clock.now(),
            Actor::SYSTEM,
        );
        envelope.provenance = Provenance::Attested;
        envelope.classification = Classification::Public;
        let payload = Fragment::plain(&*self.random, JSON, event.to_payload())?;
        Ok(PreparedEvent {
            event: envelope,
            payload: vec![payload],
        })
    }

    fn checked_deployment(&self) -> Result<&str, OpenError> {
        let name = &self.deployment;
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-';
        if name.is_empty() || name.len() > DEPLOYMENT_BYTES_MAX || !name.bytes().all(allowed) {
            return Err(OpenError::Deployment(name.clone()));
        }
        Ok(name)
    }
}

/// How the ledger ended before a new epoch.
struct Closed {
    /// The last epoch that was promised something.
    epoch: Epoch,
    /// The last promise.
    head: SignedTreeHead,
    /// First and last record under promises that are not in the database.
    lost: Option<(Position, Position)>,
}

impl Closed {
    fn with_loss_from(self, from: Position) -> Self {
        let index = LeafIndex(self.head.head().size.0.saturating_sub(1));
        let to = Position {
            epoch: self.epoch,
            index,
        };
        Self {
            lost: Some((from, to)),
            ..self
        }
    }
}

fn origin(stem: &str, epoch: Epoch) -> String {
    format!("{stem}/e{epoch}")
}

/// RFC 4648 base32 without padding, in lower case.
fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let bit = |n: usize| bytes.get(n / 8).is_some_and(|byte| byte >> (7 - n % 8) & 1 == 1);
    (0..(bytes.len() * 8).div_ceil(5))
        .map(|group| (0..5).fold(0, |value, n| value << 1 | usize::from(bit(group * 5 + n))))
        .map(|value| char::from(ALPHABET[value]))
        .collect()
}

mod restored;

pub use restored::RestoredLedger;

#[cfg(test)]
mod tests;
