//! What the writer knows of streams and keys, for the sequencer.

use ruche_domain::numbers::{Position, StreamVersion};
use ruche_domain::stream::StreamId;
use ruche_ledger::leaf::{KeyLayer, Leaf};
use ruche_ledger::sequencer::{Heads, KeyEntry};
use ruche_ledger::store::StoreError;
use rusqlite::Connection;

use crate::cache::Generations;
use crate::lookup::{self, StreamRow};
use crate::recent::Recent;
use crate::rowid::RecordId;
use crate::runs::fingerprint;

/// Streams that were used lately; `None` for one that does not exist. Exact, because this process alone writes.
pub(crate) type StreamCache = Generations<(i64, StreamId), Option<StreamRow>>;

/// One ledger, as the file and the cache have it.
pub(crate) struct Known<'a> {
    pub conn: &'a Connection,
    pub streams: &'a mut StreamCache,
    pub recent: &'a mut Recent,
    pub ledger_no: i64,
}

/// The ledger and the layer in which a key stands for one append, in one number.
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
}

impl Heads for Known<'_> {
    type Error = StoreError;

    fn stream_version(&mut self, stream: &StreamId) -> Result<Option<StreamVersion>, StoreError> {
        Ok(self.stream(stream)?.map(|row| row.version))
    }

    fn key(&mut self, layer: KeyLayer, key: &[u8; 32]) -> Result<Option<KeyEntry>, StoreError> {
        let scoped = (scope(self.ledger_no, layer), *key);
        for id in self.recent.find(self.conn, &scoped)? {
            if let Some(entry) = self.claimed_by(id, layer, key)? {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }
}

impl Known<'_> {
    /// What the key stands for, if the record is of this ledger and its leaf claims the key.
    fn claimed_by(
        &self,
        id: RecordId,
        layer: KeyLayer,
        key: &[u8; 32],
    ) -> Result<Option<KeyEntry>, StoreError> {
        let corrupt = |reason: String| StoreError::Corrupt {
            place: "index of idempotency keys".into(),
            reason,
        };
        let Some(epoch) = lookup::epoch_of(self.conn, self.ledger_no, id.epoch())? else {
            return Ok(None);
        };
        let position = Position {
            epoch,
            index: id.index(),
        };
        let leaf =
            lookup::leaf(self.conn, id)?.ok_or_else(|| corrupt(format!("record {position} is missing")))?;
        let leaf = Leaf::decode(&leaf).map_err(|e| corrupt(format!("record {position}: {e}")))?;
        let print = fingerprint(key);
        if leaf.keys.iter().all(|claim| fingerprint(&claim.key) != print) {
            return Err(corrupt(format!("record {position} claims no such key")));
        }
        let claim = leaf
            .keys
            .iter()
            .find(|claim| claim.layer == layer && claim.key == *key);
        Ok(claim.map(|claim| KeyEntry {
            request: claim.request,
            first: position,
            count: leaf.append.count,
        }))
    }
}
