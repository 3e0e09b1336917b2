//! The statements that tell a writer what its requests ask about.

use std::collections::{HashMap, HashSet};

use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Epoch, LeafIndex, Position, StreamVersion};
use ruche_domain::stream::StreamId;
use ruche_ledger::leaf::KeyClaim;
use ruche_ledger::sequencer::KeyEntry;
use ruche_ledger::store::{AppendRequest, LedgerHead, StoreError};
use tokio_postgres::{Client, Error, Statement};
use uuid::Uuid;

use crate::cache::{self, Cache, Known, number};
use crate::error::store_error;

/// Compiled statements that fill a [`Known`].
pub(crate) struct Lookups {
    heads: Statement,
    heads_locked: Statement,
    streams: Statement,
    keys: Statement,
}

impl Lookups {
    pub(crate) async fn prepare(client: &Client) -> Result<Self, Error> {
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

    /// Heads of ledgers; those that do not exist are absent.
    pub(crate) async fn heads(
        &self,
        client: &Client,
        ledgers: &[Uuid],
    ) -> Result<Vec<(LedgerId, LedgerHead)>, StoreError> {
        let rows = client.query(&self.heads, &[&ledgers]).await;
        let rows = rows.map_err(|e| store_error("table head", &e))?;
        rows.iter().map(cache::head).collect()
    }

    /// Begins a transaction and locks the head of a ledger in it; `None` if there is no such ledger. Sent together.
    /// READ COMMITTED takes a snapshot for each statement, so the row is the last one once the lock is ours, and what is
    /// read after it is as new.
    pub(crate) async fn lock(
        &self,
        client: &Client,
        ledger: LedgerId,
    ) -> Result<Option<LedgerHead>, StoreError> {
        let ids = [ledger.0];
        let ids = &ids[..];
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 1] = [&ids];
        let begun = futures_util::future::try_join(
            client.batch_execute("BEGIN"),
            client.query(&self.heads_locked, &parameters),
        );
        let ((), rows) = begun.await.map_err(|e| store_error("table head", &e))?;
        let head = rows.first().map(cache::head).transpose()?;
        Ok(head.map(|(_, head)| head))
    }

    /// Reads the streams and keys that requests ask about, streams from the cache where it has them. Heads must have been
    /// read before: what is read here is at least as new as they are, and if they have not moved at the end, exact.
    pub(crate) async fn fill(
        &self,
        client: &Client,
        cache: &mut Cache,
        known: &mut HashMap<LedgerId, Known>,
        requests: &[(LedgerId, &AppendRequest)],
    ) -> Result<(), StoreError> {
        let (absent, keys) = asked(cache, known, requests);
        let (ledgers, names): (Vec<Uuid>, Vec<String>) = absent
            .iter()
            .map(|(ledger, stream)| (ledger.0, stream.to_string()))
            .unzip();
        let of_streams = async {
            if names.is_empty() {
                return Ok(Vec::new());
            }
            client.query(&self.streams, &[&ledgers, &names]).await
        };
        let key_ledgers: Vec<Uuid> = keys.iter().map(|(ledger, _)| ledger.0).collect();
        let layers: Vec<i16> = keys.iter().map(|(_, claim)| claim.layer as i16).collect();
        let hashes: Vec<&[u8]> = keys.iter().map(|(_, claim)| &claim.key[..]).collect();
        let of_keys = async {
            if keys.is_empty() {
                return Ok(Vec::new());
            }
            client.query(&self.keys, &[&key_ledgers, &layers, &hashes]).await
        };
        // Sent together: one round trip.
        let (of_streams, of_keys) = futures_util::future::try_join(of_streams, of_keys)
            .await
            .map_err(|e| store_error("tables stream_head and idempotency", &e))?;
        for (ledger, stream) in &absent {
            if let Some(known) = known.get_mut(ledger) {
                known.streams.insert(*stream, None);
            }
        }
        for row in of_streams {
            let stream = cache::stream(row.get(1))?;
            if let Some(known) = known.get_mut(&LedgerId(row.get(0))) {
                known.streams.insert(stream, Some(StreamVersion(number(&row, 2))));
            }
        }
        for (ledger, stream) in absent {
            if let Some(known) = known.get(&ledger) {
                let version = known.streams.get(&stream).copied().flatten();
                cache.learn(known.reading, stream, version);
            }
        }
        for row in of_keys {
            let entry = KeyEntry {
                request: cache::hash(&row, 3)?.0,
                first: Position {
                    epoch: Epoch(number(&row, 4) as u32),
                    index: LeafIndex(number(&row, 5)),
                },
                count: row.get::<_, i32>(6).cast_unsigned(),
            };
            if let Some(known) = known.get_mut(&LedgerId(row.get(0))) {
                let key = (cache::layer(row.get(1))?, cache::hash(&row, 2)?.0);
                known.keys.insert(key, entry);
            }
        }
        Ok(())
    }
}

/// Streams that the cache does not have, and all keys.
type Asked<'a> = (HashSet<(LedgerId, StreamId)>, Vec<(LedgerId, &'a KeyClaim)>);

/// Takes what the cache has, and says what has to be read.
fn asked<'a>(
    cache: &mut Cache,
    known: &mut HashMap<LedgerId, Known>,
    requests: &[(LedgerId, &'a AppendRequest)],
) -> Asked<'a> {
    let (mut absent, mut keys) = (HashSet::new(), Vec::new());
    for (ledger, request) in requests {
        let Some(known) = known.get_mut(ledger) else {
            continue;
        };
        let named = request.expectations.iter().map(|e| e.stream);
        let written = request.events.iter().map(|e| e.event.stream);
        for stream in named.chain(written) {
            if known.streams.contains_key(&stream) {
                continue;
            }
            match cache.stream(known.reading, stream) {
                Some(version) => drop(known.streams.insert(stream, version)),
                None => drop(absent.insert((*ledger, stream))),
            }
        }
        keys.extend(request.keys.iter().map(|claim| (*ledger, claim)));
    }
    (absent, keys)
}
