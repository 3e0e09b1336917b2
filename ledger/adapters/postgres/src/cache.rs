//! What a writer knows of a ledger: exact for the head that it knows, and worth nothing once that head has moved.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;

use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Epoch, LeafIndex, Micros, Position, StreamVersion, TreeSize};
use ruche_domain::stream::StreamId;
use ruche_ledger::hash::Hash;
use ruche_ledger::leaf::KeyLayer;
use ruche_ledger::sequencer::{Heads, KeyEntry};
use ruche_ledger::store::{AppendRequest, LedgerHead, StoreError};
use tokio_postgres::{Client, Row, Statement};
use uuid::Uuid;

use crate::error::store_error;

/// Streams of one ledger that are remembered. All are forgotten when there are more.
const STREAMS_MAX: usize = 16_384;

/// One ledger as it was at its head.
pub(crate) struct Known {
    pub head: LedgerHead,
    /// `None` for a stream that does not exist.
    pub streams: HashMap<StreamId, Option<StreamVersion>>,
    /// Keys of the requests that are being decided. Absent: not used.
    pub keys: HashMap<(KeyLayer, [u8; 32]), KeyEntry>,
}

impl Heads for Known {
    type Error = Infallible;

    fn stream_version(&mut self, stream: &StreamId) -> Result<Option<StreamVersion>, Infallible> {
        Ok(self.streams.get(stream).copied().flatten())
    }

    fn key(&mut self, layer: KeyLayer, key: &[u8; 32]) -> Result<Option<KeyEntry>, Infallible> {
        Ok(self.keys.get(&(layer, *key)).copied())
    }
}

impl Known {
    pub(crate) fn new(head: LedgerHead) -> Self {
        Self {
            head,
            streams: HashMap::new(),
            keys: HashMap::new(),
        }
    }

    /// Takes over what a batch has made true.
    pub(crate) fn moved(&mut self, head: LedgerHead, streams: HashMap<StreamId, StreamVersion>) {
        self.head = head;
        self.keys.clear();
        if self.streams.len() + streams.len() > STREAMS_MAX {
            self.streams.clear();
        }
        self.streams.extend(
            streams
                .into_iter()
                .map(|(stream, version)| (stream, Some(version))),
        );
    }
}

/// Compiled statements that fill a [`Known`].
pub(crate) struct Lookups {
    pub heads: Statement,
    pub heads_locked: Statement,
    streams: Statement,
    keys: Statement,
}

impl Lookups {
    pub(crate) async fn prepare(client: &Client) -> Result<Self, tokio_postgres::Error> {
        const HEAD: &str = "SELECT ledger, epoch, origin, size, last_leaf_hash, last_recorded_at FROM head \
                            WHERE ledger = ANY($1) ORDER BY ledger";
        Ok(Self {
            heads: client.prepare(HEAD).await?,
            heads_locked: client.prepare(&format!("{HEAD} FOR UPDATE")).await?,
            streams: client
                .prepare(
                    "SELECT s.ledger, s.stream, s.version FROM stream_head s \
                     JOIN unnest($1::uuid[], $2::text[]) AS u(ledger, stream) \
                     ON s.ledger = u.ledger AND s.stream = u.stream",
                )
                .await?,
            keys: client
                .prepare(
                    "SELECT i.ledger, i.layer, i.key_hash, i.request, i.epoch, i.first, i.count FROM idempotency i \
                     JOIN unnest($1::uuid[], $2::smallint[], $3::bytea[]) AS u(ledger, layer, key_hash) \
                     ON i.ledger = u.ledger AND i.layer = u.layer AND i.key_hash = u.key_hash",
                )
                .await?,
        })
    }

    /// Reads the streams and keys that requests ask about and the cache does not have. Heads must have been read
    /// before: what is read here is at least as new as they are, and if they have not moved at the end, exact.
    pub(crate) async fn fill(
        &self,
        client: &Client,
        known: &mut HashMap<LedgerId, Known>,
        requests: &[(LedgerId, &AppendRequest)],
    ) -> Result<(), StoreError> {
        let mut streams = HashSet::new();
        let (mut key_ledgers, mut layers, mut hashes) = (Vec::new(), Vec::new(), Vec::new());
        for (ledger, request) in requests {
            let Some(known) = known.get(ledger) else {
                continue;
            };
            let named = request.expectations.iter().map(|e| e.stream);
            let written = request.events.iter().map(|e| e.event.stream);
            streams.extend(
                named
                    .chain(written)
                    .filter(|stream| !known.streams.contains_key(stream))
                    .map(|stream| (*ledger, stream)),
            );
            for claim in &request.keys {
                key_ledgers.push(ledger.0);
                layers.push(claim.layer as i16);
                hashes.push(&claim.key[..]);
            }
        }
        let (ledgers, names): (Vec<Uuid>, Vec<String>) = streams
            .iter()
            .map(|(ledger, stream)| (ledger.0, stream.to_string()))
            .unzip();
        let of_streams = async {
            if names.is_empty() {
                return Ok(Vec::new());
            }
            client.query(&self.streams, &[&ledgers, &names]).await
        };
        let of_keys = async {
            if hashes.is_empty() {
                return Ok(Vec::new());
            }
            client.query(&self.keys, &[&key_ledgers, &layers, &hashes]).await
        };
        // Sent together: one round trip.
        let (of_streams, of_keys) = futures_util::future::try_join(of_streams, of_keys)
            .await
            .map_err(|e| store_error("tables stream_head and idempotency", &e))?;
        for (ledger, stream) in &streams {
            if let Some(known) = known.get_mut(ledger) {
                known.streams.insert(*stream, None);
            }
        }
        for row in of_streams {
            let stream = stream(row.get(1))?;
            if let Some(known) = known.get_mut(&LedgerId(row.get(0))) {
                known.streams.insert(stream, Some(StreamVersion(number(&row, 2))));
            }
        }
        for row in of_keys {
            let entry = KeyEntry {
                request: hash(&row, 3)?.0,
                first: Position {
                    epoch: Epoch(number(&row, 4) as u32),
                    index: LeafIndex(number(&row, 5)),
                },
                count: row.get::<_, i32>(6).cast_unsigned(),
            };
            if let Some(known) = known.get_mut(&LedgerId(row.get(0))) {
                known.keys.insert((layer(row.get(1))?, hash(&row, 2)?.0), entry);
            }
        }
        Ok(())
    }
}

/// A row of `head`.
pub(crate) fn head(row: &Row) -> Result<(LedgerId, LedgerHead), StoreError> {
    let head = LedgerHead {
        epoch: Epoch(number(row, 1) as u32),
        origin: row.get(2),
        size: TreeSize(number(row, 3)),
        last_leaf_hash: Some(hash(row, 4)?),
        last_recorded_at: Micros(number(row, 5)),
    };
    Ok((LedgerId(row.get(0)), head))
}

/// A column that is never negative.
pub(crate) fn number(row: &Row, at: usize) -> u64 {
    row.get::<_, i64>(at).cast_unsigned()
}

pub(crate) fn hash(row: &Row, at: usize) -> Result<Hash, StoreError> {
    Hash::from_slice(row.get(at)).ok_or_else(|| corrupt("a hash has 32 bytes"))
}

fn stream(name: &str) -> Result<StreamId, StoreError> {
    name.parse().map_err(|_| corrupt("the name of a stream"))
}

fn layer(number: i16) -> Result<KeyLayer, StoreError> {
    u64::try_from(number)
        .ok()
        .and_then(KeyLayer::from_code)
        .ok_or_else(|| corrupt("a layer of a key"))
}

fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt {
        place: "the tables of the ledger".into(),
        reason: format!("{what} cannot be read"),
    }
}
