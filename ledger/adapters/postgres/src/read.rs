//! Records as they are read back, checked before anybody sees them, and held back until they are durable.

use futures_util::future::try_join;
use ruche_domain::ids::LedgerId;
use ruche_domain::limits::{READ_BYTES_MAX, READ_RECORDS_MAX};
use ruche_domain::numbers::{Epoch, LeafIndex, Position, StreamVersion, TreeSize};
use ruche_domain::stream::StreamId;
use ruche_ledger::archive::tell_archived;
use ruche_ledger::leaf::Leaf;
use ruche_ledger::payload::StoredFragment;
use ruche_ledger::store::{EpochInfo, LedgerHead, Receipt, Record, StoreError};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, Row};

use crate::archive;
use crate::cache::{self, number};
use crate::error::store_error;
use crate::reading::{Reader, Reading};
use crate::served::{ServerId, server_of};

/// Heads, and the server that they were read on.
type HeadsOfServer = (ServerId, Vec<(LedgerId, LedgerHead)>);

const HEAD: &str = "SELECT ledger, epoch, origin, size, last_leaf_hash, last_recorded_at FROM head";

/// As [`heads`], over a direct connection, and the server that they were read on.
pub(crate) async fn heads_of_server(
    client: &Client,
    of: Option<&[LedgerId]>,
) -> Result<HeadsOfServer, StoreError> {
    let server = async { server_of(client).await.map_err(|e| store_error("table head", &e)) };
    try_join(server, heads(client, of)).await
}

/// Heads of all ledgers, or of those named: as the role that appends, which sees all of them. Not known to be durable.
pub(crate) async fn heads(
    client: &Client,
    of: Option<&[LedgerId]>,
) -> Result<Vec<(LedgerId, LedgerHead)>, StoreError> {
    let ids: Vec<_> = of.unwrap_or_default().iter().map(|ledger| ledger.0).collect();
    let rows = if of.is_some() {
        let query = format!("{HEAD} WHERE ledger = ANY($1)");
        client.query_typed(&query, &[(&ids, Type::UUID_ARRAY)]).await
    } else {
        client.query_typed(HEAD, &[]).await
    };
    let rows = rows.map_err(|e| store_error("table head", &e))?;
    rows.iter().map(cache::head).collect()
}

async fn head_row(client: &Client, ledger: LedgerId) -> Result<Option<Row>, Error> {
    let query = format!("{HEAD} WHERE ledger = $1");
    client.query_typed_opt(&query, &[(&ledger.0, Type::UUID)]).await
}

fn head_of(row: Option<&Row>) -> Result<Option<LedgerHead>, StoreError> {
    Ok(row.map(cache::head).transpose()?.map(|(_, head)| head))
}

impl Reader {
    /// The open end of a ledger.
    pub(crate) async fn head(&self, ledger: LedgerId) -> Result<Option<LedgerHead>, StoreError> {
        let reading = self.of(ledger).await?;
        let row = reading
            .run("table head", head_row(reading.client(), ledger))
            .await?;
        let server = reading.let_go();
        let head = head_of(row.as_ref())?;
        self.hold(server, ledger, head.as_ref().and_then(LedgerHead::last_position))
            .await?;
        Ok(head)
    }

    /// Epochs with their sizes; empty if there is no such ledger. One statement, so one state of the database.
    pub(crate) async fn epochs(&self, ledger: LedgerId) -> Result<Vec<EpochInfo>, StoreError> {
        let reading = self.of(ledger).await?;
        let parameters = [(&ledger.0 as _, Type::UUID)];
        let query = reading.client().query_typed(
            "SELECT e.epoch, e.origin, coalesce(h.size, (SELECT max(r.index) + 1 FROM record r \
             WHERE r.ledger = e.ledger AND r.epoch = e.epoch), 0) \
             FROM epoch e LEFT JOIN head h ON h.ledger = e.ledger AND h.epoch = e.epoch \
             WHERE e.ledger = $1 ORDER BY e.epoch",
            &parameters,
        );
        let rows = reading.run("table epoch", query).await?;
        let server = reading.let_go();
        let infos = rows.iter().map(|row| EpochInfo {
            epoch: Epoch(number(row, 0) as u32),
            origin: row.get(1),
            size: TreeSize(number(row, 2)),
        });
        let infos: Vec<_> = infos.collect();
        // The open epoch is behind all others. Whoever signs a tree head takes its size from here.
        let last = infos.last().filter(|last| last.size.0 > 0);
        let last = last.map(|last| Position::new(last.epoch.0, last.size.0 - 1));
        self.hold(server, ledger, last).await?;
        Ok(infos)
    }

    /// Records of a ledger from a position on, running on into the next epochs.
    pub(crate) async fn ledger(
        &self,
        ledger: LedgerId,
        from: Position,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        // Behind every index that there can be: nothing is found there.
        let index = i64::try_from(from.index.0).unwrap_or(i64::MAX);
        let (epoch, limit) = (i64::from(from.epoch.0), page(limit));
        let reading = self.of(ledger).await?;
        let parameters = [
            (&ledger.0 as _, Type::UUID),
            (&epoch as _, Type::INT8),
            (&index as _, Type::INT8),
            (&limit as _, Type::INT8),
        ];
        let query = reading.client().query_typed(
            "SELECT epoch, index, leaf FROM record WHERE ledger = $1 AND (epoch, index) >= ($2, $3) \
             ORDER BY epoch, index LIMIT $4",
            &parameters,
        );
        let leaves = self.leaves(&reading, ledger, query).await?;
        let mut expected = from;
        for (position, ..) in &leaves {
            if position.epoch != expected.epoch {
                expected = Position {
                    epoch: position.epoch,
                    index: LeafIndex(0),
                };
            }
            if *position != expected {
                return Err(corrupt(expected, "it is missing and later ones are there".into()));
            }
            expected = position.next();
        }
        self.records(reading, ledger, leaves).await
    }

    /// Records of a stream from a version on.
    pub(crate) async fn stream(
        &self,
        ledger: LedgerId,
        stream: StreamId,
        from: StreamVersion,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        let version = i64::try_from(from.0).unwrap_or(i64::MAX);
        let (name, limit) = (stream.to_string(), page(limit));
        let reading = self.of(ledger).await?;
        let parameters = [
            (&ledger.0 as _, Type::UUID),
            (&name as _, Type::TEXT),
            (&version as _, Type::INT8),
            (&limit as _, Type::INT8),
        ];
        let query = reading.client().query_typed(
            "SELECT epoch, index, leaf FROM record WHERE ledger = $1 AND stream = $2 AND stream_version >= $3 \
             ORDER BY stream_version LIMIT $4",
            &parameters,
        );
        let leaves = self.leaves(&reading, ledger, query).await?;
        let mut version = from;
        for (position, _, leaf) in &leaves {
            if leaf.event.stream != stream || leaf.stream_version != version {
                let found = format!("{} version {}", leaf.event.stream, leaf.stream_version);
                let reason = format!("version {version} of {stream} leads to it, and it is {found}");
                return Err(corrupt(*position, reason));
            }
            version = version.next();
        }
        self.records(reading, ledger, leaves).await
    }

    /// Version of the last event of a stream.
    pub(crate) async fn stream_version(
        &self,
        ledger: LedgerId,
        stream: StreamId,
    ) -> Result<Option<StreamVersion>, StoreError> {
        let (reading, name) = (self.of(ledger).await?, stream.to_string());
        let client = reading.client();
        let parameters = [(&ledger.0 as _, Type::UUID), (&name as _, Type::TEXT)];
        let version = client.query_typed_opt(
            "SELECT version FROM stream_head WHERE ledger = $1 AND stream = $2",
            &parameters,
        );
        // The head is read behind the version, so it is not before the event that the version is of.
        let both = try_join(version, head_row(client, ledger));
        let (row, head) = reading.run("table stream_head", both).await?;
        let server = reading.let_go();
        let head = head_of(head.as_ref())?.ok_or(StoreError::NoSuchLedger)?;
        self.hold(server, ledger, head.last_position()).await?;
        Ok(row.map(|row| StreamVersion(number(&row, 0))))
    }

    /// Receipts of records that are stored: `count` from `first` on.
    pub(crate) async fn receipts(
        &self,
        ledger: LedgerId,
        first: Position,
        count: u32,
    ) -> Result<Vec<Receipt>, StoreError> {
        let (epoch, from) = (i64::from(first.epoch.0), first.index.0.cast_signed());
        let to = from.saturating_add(i64::from(count));
        let reading = self.of(ledger).await?;
        let parameters = [
            (&ledger.0 as _, Type::UUID),
            (&epoch as _, Type::INT8),
            (&from as _, Type::INT8),
            (&to as _, Type::INT8),
        ];
        let query = reading.client().query_typed(
            "SELECT epoch, index, leaf FROM record WHERE ledger = $1 AND epoch = $2 AND index >= $3 AND index < $4 \
             ORDER BY index",
            &parameters,
        );
        let rows = reading.run("table record", query).await?;
        let server = reading.let_go();
        if rows.len() != count as usize {
            return Err(corrupt(
                first,
                format!("{} of its append's {count} records are there", rows.len()),
            ));
        }
        let receipt = |(position, bytes, leaf): (Position, Vec<u8>, Leaf)| Receipt {
            position,
            leaf_hash: ruche_ledger::hash::leaf_hash(&bytes),
            recorded_at: leaf.recorded_at,
        };
        let receipts: Vec<_> = leaves(&rows)?.into_iter().map(receipt).collect();
        self.hold(server, ledger, receipts.last().map(|last| last.position))
            .await?;
        Ok(receipts)
    }

    /// Leaves that a query finds in a ledger that must exist.
    async fn leaves(
        &self,
        reading: &Reading,
        ledger: LedgerId,
        query: impl Future<Output = Result<Vec<Row>, Error>>,
    ) -> Result<Vec<StoredLeaf>, StoreError> {
        let both = try_join(head_row(reading.client(), ledger), query);
        let (head, rows) = reading.run("table record", both).await?;
        if head.is_none() {
            return Err(StoreError::NoSuchLedger);
        }
        leaves(&rows)
    }

    /// Records of leaves, with the payload fragments that are there. One that is not was erased, which is allowed.
    async fn records(
        &self,
        reading: Reading,
        ledger: LedgerId,
        leaves: Vec<StoredLeaf>,
    ) -> Result<Vec<Record>, StoreError> {
        let Some(last) = leaves.iter().map(|(position, ..)| *position).max() else {
            return Ok(Vec::new());
        };
        let mut payloads = payloads(&reading, ledger, &leaves).await?;
        if payloads
            .iter()
            .any(|payload| payload.contains(&StoredFragment::Missing))
        {
            let archived = archive::ranges(&reading, ledger).await?;
            // Read once more: what was put back between the two reads is in neither of them, and is here now.
            let now = self::payloads(&reading, ledger, &leaves).await?;
            for (((position, _, leaf), payload), now) in leaves.iter().zip(&mut payloads).zip(now) {
                for (fragment, now) in payload.iter_mut().zip(now) {
                    if *fragment == StoredFragment::Missing {
                        *fragment = now;
                    }
                }
                tell_archived(*position, leaf.event.stream.category, payload, &archived);
            }
        }
        let server = reading.let_go();
        self.hold(server, ledger, Some(last)).await?;
        let records = leaves.into_iter().zip(payloads);
        records
            .map(|((position, bytes, _), payload)| Record::from_stored(position, bytes, payload))
            .collect()
    }
}

fn page(limit: usize) -> i64 {
    i64::try_from(limit.min(READ_RECORDS_MAX)).unwrap_or(i64::MAX)
}

type StoredLeaf = (Position, Vec<u8>, Leaf);

/// Decoded leaves of rows, as many as fit the bytes of one read.
fn leaves(rows: &[Row]) -> Result<Vec<StoredLeaf>, StoreError> {
    let (mut leaves, mut bytes) = (Vec::with_capacity(rows.len()), 0);
    for row in rows {
        if bytes >= READ_BYTES_MAX {
            break;
        }
        let position = Position {
            epoch: Epoch(number(row, 0) as u32),
            index: LeafIndex(number(row, 1)),
        };
        let stored: Vec<u8> = row.get(2);
        let leaf = Leaf::decode(&stored).map_err(|e| corrupt(position, e.to_string()))?;
        let payload = leaf.payload.iter().map(|c| c.stored_length).sum::<u64>();
        bytes += stored.len() + usize::try_from(payload).unwrap_or(usize::MAX / 2);
        leaves.push((position, stored, leaf));
    }
    Ok(leaves)
}

/// Payload fragments of leaves.
async fn payloads(
    reading: &Reading,
    ledger: LedgerId,
    leaves: &[StoredLeaf],
) -> Result<Vec<Vec<StoredFragment>>, StoreError> {
    let (epochs, indexes): (Vec<i64>, Vec<i64>) = leaves
        .iter()
        .map(|(position, ..)| (i64::from(position.epoch.0), position.index.0.cast_signed()))
        .unzip();
    let parameters = [
        (&ledger.0 as _, Type::UUID),
        (&epochs as _, Type::INT8_ARRAY),
        (&indexes as _, Type::INT8_ARRAY),
    ];
    let query = reading.client().query_typed(
        "SELECT u.n, p.fragment, p.opening, p.bytes \
         FROM unnest($2, $3) WITH ORDINALITY AS u(epoch, index, n) \
         JOIN payload p ON p.ledger = $1 AND p.epoch = u.epoch AND p.index = u.index",
        &parameters,
    );
    let rows = reading.run("table payload", query).await?;
    let mut payloads: Vec<_> = leaves
        .iter()
        .map(|(.., leaf)| vec![StoredFragment::Missing; leaf.payload.len()])
        .collect();
    for row in rows {
        let (record, fragment) = (number(&row, 0) as usize - 1, row.get::<_, i16>(1));
        let place = usize::try_from(fragment)
            .ok()
            .and_then(|n| payloads[record].get_mut(n))
            .ok_or_else(|| corrupt(leaves[record].0, format!("it commits to no fragment {fragment}")))?;
        let opening = row
            .get::<_, &[u8]>(2)
            .try_into()
            .map_err(|_| corrupt(leaves[record].0, "an opening has 32 bytes".into()))?;
        *place = StoredFragment::Present {
            opening,
            bytes: row.get(3),
        };
    }
    Ok(payloads)
}

fn corrupt(position: Position, reason: String) -> StoreError {
    StoreError::Corrupt {
        place: format!("record {position}"),
        reason,
    }
}
