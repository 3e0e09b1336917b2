//! What the writer knows of streams and keys, for the sequencer.

use ruche_domain::numbers::{Position, StreamVersion};
use ruche_domain::stream::StreamId;
use ruche_ledger::leaf::{KeyLayer, Leaf};
use ruche_ledger::sequencer::{Heads, KeyEntry};
use ruche_ledger::store::StoreError;
use rusqlite::{Connection, OptionalExtension, params};

use crate::cache::Generations;
use crate::error::store_error;
use crate::lookup::{self, StreamRow};
use crate::recent::Recent;
use crate::rowid::RecordId;

/// Streams that were used lately; `None` for one that does not exist. Exact, because this process alone writes.
pub(crate) type StreamCache = Generations<(i64, StreamId), Option<StreamRow>>;

/// One ledger, as the file and the cache have it.
pub(crate) struct Known<'a> {
    pub conn: &'a Connection,
    pub streams: &'a mut StreamCache,
    pub recent: &'a mut Recent,
    pub ledger_no: i64,
}

/// Value of `idempotency.scope`.
pub(crate) fn scope(ledger_no: i64, layer: KeyLayer) -> i64 {
    ledger_no << 2 | layer as i64
}

impl Known<'_> {
    /// Number and version of a stream.
    pub(crate) fn stream(&mut self, stream: &StreamId) -> Result<Option<StreamRow>, StoreError> {
        let key = (self.ledger_no, *stream);
        if let Some(row) = self.streams.get(&key) {
            return Ok(*row);
        }
        let row = lookup::stream(self.conn, self.ledger_no, stream)?;
        self.streams.insert(key, row);
        Ok(row)
    }

    /// First record of the append that a key stands for.
    fn record_of(&self, scope: i64, key: &[u8; 32]) -> Result<Option<RecordId>, StoreError> {
        if let Some(id) = self.recent.get(&(scope, *key)) {
            return Ok(Some(id));
        }
        self.conn
            .prepare_cached("SELECT record FROM idempotency WHERE scope = ?1 AND key_hash = ?2")
            .and_then(|mut s| {
                s.query_row(params![scope, &key[..]], |row| row.get(0).map(RecordId))
                    .optional()
            })
            .map_err(|e| store_error("table idempotency", &e))
    }
}

impl Heads for Known<'_> {
    type Error = StoreError;

    fn stream_version(&mut self, stream: &StreamId) -> Result<Option<StreamVersion>, StoreError> {
        Ok(self.stream(stream)?.map(|row| row.version))
    }

    fn key(&mut self, layer: KeyLayer, key: &[u8; 32]) -> Result<Option<KeyEntry>, StoreError> {
        let Some(id) = self.record_of(scope(self.ledger_no, layer), key)? else {
            return Ok(None);
        };
        // The entry points at the record; what the key stands for is what that record's leaf says.
        let corrupt = |reason: String| StoreError::Corrupt {
            place: "table idempotency".into(),
            reason,
        };
        let epoch = lookup::epoch_of(self.conn, self.ledger_no, id.epoch())?;
        let epoch = epoch.ok_or_else(|| corrupt(format!("record id {} is of another ledger", id.0)))?;
        let position = Position {
            epoch,
            index: id.index(),
        };
        let leaf =
            lookup::leaf(self.conn, id)?.ok_or_else(|| corrupt(format!("record {position} is missing")))?;
        let leaf = Leaf::decode(&leaf).map_err(|e| corrupt(format!("record {position}: {e}")))?;
        let claim = leaf
            .keys
            .iter()
            .find(|claim| claim.layer == layer && claim.key == *key);
        let claim = claim.ok_or_else(|| corrupt(format!("record {position} does not claim the key")))?;
        Ok(Some(KeyEntry {
            request: claim.request,
            first: position,
            count: leaf.append.count,
        }))
    }
}
