//! The auditor's half: the ledger, its tree heads, its records and proofs.

mod proofs;

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::connection::Connection;
use async_graphql::{Context, ID, Object, Result, SimpleObject};
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Epoch, LeafIndex, Position, TreeSize};
use ruche_ledger::store::{EpochInfo, LedgerHead};
use ruche_ledger::tree_head::SignedTreeHead;
use ruche_projections::ledger_health;

use super::budget::Budget;
use super::errors::{fault, of_store};
use super::page::{Cursor, Page, bad_cursor, cost};
use super::read::{Reading, of_read_store};
use super::record::Record;
use super::scalars::{DateTime, Hash, Long, PositionScalar};
use crate::error_codes as code;
use crate::services::Services;

pub(super) use proofs::{ConsistencyProof, InclusionProof, consistency, inclusion};

/// What a record's cursor is called.
const RECORD: &str = "record";

/// A signed tree head: the promise that the ledger holds exactly these records.
#[derive(SimpleObject)]
pub(super) struct TreeHead {
    /// Name of the log that it is of.
    origin: String,
    /// Records under it.
    size: Long,
    /// RFC 6962 root over them.
    root_hash: Hash,
    /// The signed note (C2SP tlog-checkpoint), as it is to be kept and verified.
    note: String,
}

impl From<&SignedTreeHead> for TreeHead {
    fn from(signed: &SignedTreeHead) -> Self {
        Self {
            origin: signed.head().origin.clone(),
            size: Long::count(signed.head().size.0),
            root_hash: Hash(signed.head().root.0),
            note: signed.note().to_text(),
        }
    }
}

/// One epoch of a ledger: a log with its own origin and key.
pub(super) struct LedgerEpoch {
    services: Arc<Services>,
    ledger: LedgerId,
    info: EpochInfo,
}

/// One epoch of a ledger: a log with its own origin and key.
#[Object]
impl LedgerEpoch {
    /// Its number, from 1.
    async fn epoch(&self) -> u32 {
        self.info.epoch.0
    }

    /// Its origin: the name in its tree heads, and its place below `/ledgers/`.
    async fn origin(&self) -> &str {
        &self.info.origin
    }

    /// Records in it.
    async fn size(&self) -> Long {
        Long::count(self.info.size.0)
    }

    /// Its last signed tree head.
    async fn tree_head(&self) -> Result<Option<TreeHead>> {
        let head = self.services.trees.tree_head(self.ledger, self.info.epoch).await;
        Ok(head
            .map_err(|error| of_store(&error))?
            .as_ref()
            .map(TreeHead::from))
    }
}

/// Where the ledger stands.
#[derive(SimpleObject)]
pub(super) struct LedgerHealth {
    /// Records of the open epoch that are durable.
    appended_records: Long,
    /// Those of them under a signed tree head.
    sealed_records: Long,
    /// Records that wait for a tree head.
    sealing_lag_records: Long,
    /// When the last record was taken.
    last_recorded_at: DateTime,
    /// What the ledger holds over all epochs, as far as the read model has come; absent before its first record.
    holdings: Option<Holdings>,
    /// The same by event type, in the order of the names.
    by_type: Vec<TypeHoldings>,
}

/// What a ledger, or one event type of it, holds.
#[derive(SimpleObject)]
pub(super) struct Holdings {
    /// Records.
    records: Long,
    /// Bytes of their leaves.
    leaf_bytes: Long,
    /// Bytes of their payloads that were there when the record was counted.
    payload_bytes: Long,
    /// Payload fragments that were gone when the record was counted.
    payloads_missing: Long,
    /// When the first record was taken.
    first_recorded_at: DateTime,
    /// The last record that is counted.
    last_position: PositionScalar,
    /// When it was taken.
    last_recorded_at: DateTime,
}

impl From<ledger_health::Holdings> for Holdings {
    fn from(holdings: ledger_health::Holdings) -> Self {
        Self {
            records: Long::count(holdings.records),
            leaf_bytes: Long::count(holdings.leaf_bytes),
            payload_bytes: Long::count(holdings.payload_bytes),
            payloads_missing: Long::count(holdings.payloads_missing),
            first_recorded_at: DateTime(holdings.first_recorded_at),
            last_position: PositionScalar(holdings.last_position),
            last_recorded_at: DateTime(holdings.last_recorded_at),
        }
    }
}

/// What a ledger holds of one event type.
#[derive(SimpleObject)]
pub(super) struct TypeHoldings {
    /// The event type.
    event_type: String,
    /// What there is of it.
    holdings: Holdings,
}

/// The ledger of the caller's tenant.
pub(super) struct Ledger {
    services: Arc<Services>,
    ledger: LedgerId,
    head: LedgerHead,
}

impl Ledger {
    /// The ledger as it stands now.
    pub(super) async fn load(services: &Arc<Services>, ledger: LedgerId) -> Result<Self> {
        let head = services
            .events
            .head(ledger)
            .await
            .map_err(|error| of_store(&error))?;
        let head = head.ok_or_else(|| fault(code::NOT_FOUND, "nothing is recorded here yet"))?;
        Ok(Self {
            services: services.clone(),
            ledger,
            head,
        })
    }
}

/// The ledger of the caller's tenant.
#[Object]
impl Ledger {
    /// Its id.
    async fn id(&self) -> ID {
        ID(self.ledger.to_string())
    }

    /// Origin of the open epoch.
    async fn origin(&self) -> &str {
        &self.head.origin
    }

    /// Number of the open epoch.
    async fn epoch(&self) -> u32 {
        self.head.epoch.0
    }

    /// Records in the open epoch.
    async fn size(&self) -> Long {
        Long::count(self.head.size.0)
    }

    /// Position of the last record. Give it as `minPosition` to read what was written up to now.
    async fn last_position(&self) -> Option<PositionScalar> {
        self.head.last_position().map(PositionScalar)
    }

    /// The last signed tree head of the open epoch.
    async fn tree_head(&self) -> Result<Option<TreeHead>> {
        let head = self.services.trees.tree_head(self.ledger, self.head.epoch).await;
        Ok(head
            .map_err(|error| of_store(&error))?
            .as_ref()
            .map(TreeHead::from))
    }

    /// All epochs, oldest first.
    #[graphql(complexity = "10 * child_complexity")]
    async fn epochs(&self) -> Result<Vec<LedgerEpoch>> {
        let epochs = self.services.events.epochs(self.ledger).await;
        let epochs = epochs.map_err(|error| of_store(&error))?;
        let epoch = |info| LedgerEpoch {
            services: self.services.clone(),
            ledger: self.ledger,
            info,
        };
        Ok(epochs.into_iter().map(epoch).collect())
    }

    /// Records in the order of the ledger, running on from epoch to epoch.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn records(
        &self,
        #[graphql(desc = "Items of the page, 1 to 100; 20 if absent.")] first: Option<i32>,
        #[graphql(desc = "Cursor behind which the page starts.")] after: Option<String>,
        #[graphql(desc = "Position at which the first page starts; the beginning if absent.")] from: Option<
            PositionScalar,
        >,
    ) -> Result<Connection<Cursor, Record>> {
        let page = Page::new(RECORD, first, after.as_deref())?;
        let after = page
            .after
            .as_deref()
            .map(|key| key.parse::<Position>().map_err(|_| bad_cursor()));
        let start = match (after.transpose()?, from) {
            (Some(after), _) => after.next(),
            (None, Some(from)) => from.0,
            (None, None) => Position::new(Epoch::FIRST.0, 0),
        };
        let records = read(&self.services, self.ledger, start, page.limit()).await?;
        let items = records.into_iter().map(|record| {
            let cursor = Cursor::new(RECORD, &record.position().to_string());
            (cursor, record)
        });
        Ok(page.connection(items.collect()))
    }

    /// How far sealing has come, and what the ledger holds.
    #[graphql(complexity = "50 + child_complexity")]
    async fn health(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Wait until the read model holds this record.")] min_position: Option<
            PositionScalar,
        >,
    ) -> Result<LedgerHealth> {
        let reading = Reading::in_ledger(ctx, self.ledger);
        reading.wait_if(&["ledger_health"], min_position).await?;
        reading.note(&["ledger_health"]);
        let holdings = ledger_health::of_ledger(reading.store(), self.ledger).await;
        let types = ledger_health::by_type(reading.store(), self.ledger).await;
        let types = types.map_err(|error| of_read_store(&error))?.into_iter();
        let sealed = sealed(&self.services, self.ledger, self.head.epoch).await?;
        Ok(LedgerHealth {
            appended_records: Long::count(self.head.size.0),
            sealed_records: Long::count(sealed.0),
            sealing_lag_records: Long::count(self.head.size.0.saturating_sub(sealed.0)),
            last_recorded_at: DateTime(self.head.last_recorded_at),
            holdings: holdings
                .map_err(|error| of_read_store(&error))?
                .map(Holdings::from),
            by_type: types
                .map(|(event_type, holdings)| TypeHoldings {
                    event_type,
                    holdings: holdings.into(),
                })
                .collect(),
        })
    }
}

/// Size of the last signed tree head of an epoch.
pub(super) async fn sealed(services: &Services, ledger: LedgerId, epoch: Epoch) -> Result<TreeSize> {
    let head = services.trees.tree_head(ledger, epoch).await;
    let head = head.map_err(|error| of_store(&error))?;
    Ok(head.map_or(TreeSize(0), |head| head.head().size))
}

/// Up to `limit` records from a position on, each with how far its proof has come. One read of the store may end
/// early, so several may be needed.
async fn read(services: &Services, ledger: LedgerId, from: Position, limit: usize) -> Result<Vec<Record>> {
    let stored = stored_from(services, ledger, from, limit, None).await?;
    with_states(services, ledger, stored).await
}

/// The same without that. If an operation is named, it pays for their bytes.
async fn stored_from(
    services: &Services,
    ledger: LedgerId,
    from: Position,
    limit: usize,
    budget: Option<&Budget>,
) -> Result<Vec<ruche_ledger::store::Record>> {
    let mut stored = Vec::new();
    let mut next = from;
    while stored.len() < limit {
        let read = services
            .stored
            .read_ledger(ledger, next, limit - stored.len())
            .await;
        let read = read.map_err(|error| of_store(&error))?;
        if let Some(budget) = budget {
            budget
                .read_records(&read)
                .map_err(|error| of_read_store(&error))?;
        }
        let Some(last) = read.last() else { break };
        next = last.position.next();
        stored.extend(read);
    }
    Ok(stored)
}

/// Records with how far their proofs have come: one look at the tree head of each epoch among them.
pub(super) async fn with_states(
    services: &Services,
    ledger: LedgerId,
    stored: Vec<ruche_ledger::store::Record>,
) -> Result<Vec<Record>> {
    let mut sizes: HashMap<Epoch, TreeSize> = HashMap::new();
    let mut records = Vec::with_capacity(stored.len());
    for record in stored {
        let epoch = record.position.epoch;
        let size = match sizes.get(&epoch) {
            Some(size) => *size,
            None => sealed(services, ledger, epoch).await?,
        };
        sizes.insert(epoch, size);
        records.push(Record::new(record, size));
    }
    Ok(records)
}

/// The record at a position; nothing where there is none.
pub(super) async fn record(
    services: &Services,
    ledger: LedgerId,
    position: Position,
) -> Result<Option<Record>> {
    let records = read(services, ledger, position, 1).await?;
    // Beyond the end of an epoch the store runs on into the next one.
    Ok(records.into_iter().find(|record| record.position() == position))
}

/// Positions that lie this close together are read at once, with what lies between.
const GAP_RECORDS_MAX: u64 = 8;

/// The records at these positions that there are: neighbours are read together.
pub(super) async fn records_at(
    services: &Services,
    ledger: LedgerId,
    positions: &[Position],
    budget: &Budget,
) -> Result<HashMap<Position, Record>> {
    let mut sorted = positions.to_vec();
    sorted.sort_unstable();
    let mut stored = Vec::new();
    let near = |a: &Position, b: &Position| a.epoch == b.epoch && b.index.0 - a.index.0 <= GAP_RECORDS_MAX;
    for run in sorted.chunk_by(near) {
        let (first, last) = (run[0], run[run.len() - 1]);
        let count = usize::try_from(last.index.0 - first.index.0 + 1).unwrap_or(usize::MAX);
        stored.extend(stored_from(services, ledger, first, count, Some(budget)).await?);
    }
    let records = with_states(services, ledger, stored).await?;
    let wanted = |record: &Record| sorted.binary_search(&record.position()).is_ok();
    Ok(records
        .into_iter()
        .filter(wanted)
        .map(|record| (record.position(), record))
        .collect())
}

/// The epoch of that number, and its last tree head.
async fn epoch_and_head(
    services: &Services,
    ledger: LedgerId,
    epoch: Epoch,
) -> Result<(EpochInfo, SignedTreeHead)> {
    let epochs = services
        .events
        .epochs(ledger)
        .await
        .map_err(|error| of_store(&error))?;
    let info = epochs.into_iter().find(|info| info.epoch == epoch);
    let info = info.ok_or_else(|| fault(code::NOT_FOUND, "the ledger has no such epoch"))?;
    let head = services
        .trees
        .tree_head(ledger, epoch)
        .await
        .map_err(|error| of_store(&error))?;
    let head = head.ok_or_else(|| fault(code::NOT_SEALED, "the epoch has no signed tree head yet"))?;
    Ok((info, head))
}

/// Who reads the ledger of a request.
pub(super) fn services<'c>(ctx: &'c Context<'_>) -> &'c Arc<Services> {
    ctx.data_unchecked::<Arc<Services>>()
}

/// A size of the tree that a caller names.
fn tree_size(size: Option<Long>, head: &SignedTreeHead) -> Result<TreeSize> {
    let Some(Long(size)) = size else {
        return Ok(head.head().size);
    };
    let size = u64::try_from(size).ok().filter(|size| *size > 0);
    let size = size.ok_or_else(|| fault(code::INVALID_ARGUMENT, "a tree size is 1 or more"))?;
    if size > head.head().size.0 {
        let message = format!("the last tree head covers {} records", head.head().size);
        return Err(fault(code::NOT_SEALED, message));
    }
    Ok(TreeSize(size))
}

/// Whether the record at an index is in a tree of a size.
fn require_within(index: LeafIndex, size: TreeSize) -> Result<()> {
    if index.0 < size.0 {
        return Ok(());
    }
    Err(fault(
        code::NOT_SEALED,
        format!("record {index} is not among the first {size} records"),
    ))
}
