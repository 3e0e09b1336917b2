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

/// Bytes of randomness in the label of a ledger.
const LABEL_BYTES: usize = 16;

/// Why an epoch was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The deployment name cannot be part of an origin.
    #[error("a deployment name has 1 to 88 characters a-z, 0-9, `.` and `-`: {0:?}")]
    Deployment(String),
    /// There is no such ledger to go on from.
    #[error("no such ledger")]
    NoSuchLedger,
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

/// Opens ledgers and epochs.
pub struct Opener {
    /// Seals the epoch before, so that the new one links to everything that was promised.
    pub sealer: Arc<Sealer>,
    /// Time of the opening record.
    pub clock: Arc<dyn Clock>,
    /// Labels, ids and openings.
    pub random: Arc<dyn Random>,
    /// Name of the deployment: by custom a domain that the operator owns. Chosen once.
    pub deployment: String,
}

impl Opener {
    /// Opens a new ledger with its first epoch.
    ///
    /// # Errors
    /// See [`OpenError`]; `EpochMoved` if the ledger exists.
    pub async fn create(&self, ledger: LedgerId) -> Result<Receipt, OpenError> {
        let mut label = [0u8; LABEL_BYTES];
        self.random.fill(&mut label);
        let stem = format!("{}/{}", self.checked_deployment()?, base32(&label));
        self.open(
            ledger,
            &stem,
            Epoch::FIRST,
            None,
            EpochReason::Created,
            None,
            None,
        )
        .await
    }

    /// Closes the open epoch and opens the next one, whose record 0 names the last promise of the old one. If the
    /// store holds less than was promised (a restore), it names the lost range as well.
    ///
    /// # Errors
    /// See [`OpenError`]; `EpochMoved`, retryable, if somebody appended meanwhile.
    pub async fn next_epoch(
        &self,
        ledger: LedgerId,
        reason: EpochReason,
        note: Option<String>,
    ) -> Result<Receipt, OpenError> {
        let last = self
            .sealer
            .events
            .epochs(ledger)
            .await?
            .pop()
            .ok_or(OpenError::NoSuchLedger)?;
        let (head, lost) = self.last_promise(ledger, &last).await?;
        let end = last.size.0.checked_sub(1).map(|index| Position {
            epoch: last.epoch,
            index: LeafIndex(index),
        });
        let (stem, _) = last.origin.rsplit_once('/').unwrap_or((&last.origin, ""));
        let epoch = self.unused_epoch(stem, last.epoch).await?;
        let previous = PreviousEpoch {
            origin: head.head().origin.clone(),
            tree_size: head.head().size,
            root: Digest(head.head().root.0),
            tree_head: head.note().to_text(),
            lost_from: lost.map(|(from, _)| from),
            lost_to: lost.map(|(_, to)| to),
        };
        self.open(ledger, stem, epoch, end, reason, Some(previous), note)
            .await
    }

    /// The last tree head of an epoch, sealing what is not sealed yet; and what is lost of what it promised.
    async fn last_promise(
        &self,
        ledger: LedgerId,
        epoch: &EpochInfo,
    ) -> Result<(SignedTreeHead, Option<(Position, Position)>), OpenError> {
        match self.sealer.seal_epoch(ledger, epoch).await {
            Ok(head) => Ok((head, None)),
            Err(SealError::Behind {
                origin,
                stored,
                promised,
            }) => {
                let head = self.sealer.heads.latest(&origin).await.map_err(SealError::from)?;
                let head = head.ok_or(OpenError::NoSuchLedger)?;
                let at = |index| Position {
                    epoch: epoch.epoch,
                    index: LeafIndex(index),
                };
                Ok((head, Some((at(stored), at(promised - 1)))))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The next epoch number that was never promised anything: numbers opened after a backup and lost in its restore
    /// are not used again, because their origin has signed tree heads.
    async fn unused_epoch(&self, stem: &str, last: Epoch) -> Result<Epoch, OpenError> {
        let mut epoch = last.next();
        while self
            .sealer
            .heads
            .latest(&origin(stem, epoch))
            .await
            .map_err(SealError::from)?
            .is_some()
        {
            epoch = epoch.next();
        }
        Ok(epoch)
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
            deployment: self.checked_deployment()?.to_owned(),
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
            StreamId::new(Category::Ledger, ledger.0),
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

#[cfg(test)]
mod tests;
