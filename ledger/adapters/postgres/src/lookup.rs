//! The statements that tell a writer what its requests ask about.

use std::collections::{HashMap, HashSet};

use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Epoch, LeafIndex, Position, StreamVersion};
use ruche_domain::stream::StreamId;
use ruche_ledger::leaf::KeyClaim;
use ruche_ledger::sequencer::KeyEntry;
use ruche_ledger::store::{AppendRequest, ExpectedVersion, LedgerHead, StoreError};
use tokio_postgres::{Client, Error, Statement};
use uuid::Uuid;

use crate::cache::{self, Cache, Known, number};
use crate::error::store_error;

/// Compiled statements that fill a [`Known`].
///
/// Each row is looked up by itself, in the index: `LIMIT` keeps the planner from joining whole tables. A plan lives as long
/// as its session, and is made when the tables may be empty; it has to be the right one when they are large, too.
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
                    "SELECT u.ledger, u.stream, s.version FROM unnest($1::uuid[], $2::text[]) AS u(ledger, stream) \
                     CROSS JOIN LATERAL (SELECT version FROM stream_head h \
                     WHERE h.ledger = u.ledger AND h.stream = u.stream LIMIT 1) s",
                )
                .await?,
            keys: client
                .prepare(
                    "SELECT u.ledger, u.layer, u.key_hash, k.request, k.epoch, k.first, k.count \
                     FROM unnest($1::uuid[], $2::smallint[], $3::bytea[]) AS u(ledger, layer, key_hash) \
                     CROSS JOIN LATERAL (SELECT request, epoch, first, count FROM idempotency i \
                     WHERE i.ledger = u.ledger AND i.layer = u.layer AND i.key_hash = u.key_hash LIMIT 1) k",
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

    /// Reads the streams and keys that requests ask about and that are not guessed, streams from the cache where it has
    /// them. Heads must have been read before: what is read here is at least as new as they are, and if they have not moved
    /// at the end, exact.
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

/// Streams and keys that have to be read.
type Asked<'a> = (HashSet<(LedgerId, StreamId)>, Vec<(LedgerId, &'a KeyClaim)>);

/// Takes what the cache has, guesses what may be guessed, and says what has to be read.
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
        let expected = request.expectations.iter();
        let expected = expected.map(|e| (e.stream, e.version == ExpectedVersion::NoStream));
        // Expectations come first: what is expected of a stream that is written decides whether it is guessed.
        let written = request.events.iter().map(|e| (e.event.stream, false));
        for (stream, is_expected_absent) in expected.chain(written) {
            if known.streams.contains_key(&stream) || absent.contains(&(*ledger, stream)) {
                continue;
            }
            match cache.stream(known.reading, stream) {
                Some(version) => drop(known.streams.insert(stream, version)),
                None if known.guesses && is_expected_absent => {
                    known.streams.insert(stream, None);
                    known.guessed.push(stream);
                }
                None => drop(absent.insert((*ledger, stream))),
            }
        }
        if !known.guesses {
            keys.extend(request.keys.iter().map(|claim| (*ledger, claim)));
        }
    }
    (absent, keys)
}
