//! The one statement of an append: heads move, and rows come in for the ledgers whose head moved.

use ruche_domain::ids::LedgerId;
use ruche_domain::stream::StreamId;
use ruche_ledger::sequencer::Batch;
use ruche_ledger::store::LedgerHead;
use tokio_postgres::{Client, Error, Statement};
use uuid::Uuid;

/// `want` says from where to where each head has to move. `locked` takes the rows in the order of their ids, waiting for
/// whoever has them; `wrong` are ledgers that something was guessed of which does not hold; `moved` compares on the row
/// as it is then. Rows of ledgers that did not move join nothing.
///
/// `wrong` is read without a lock, and as of the beginning of the statement. It is exact all the same for a ledger that
/// moves: whoever writes to a ledger moves its head, so where the head is still the one that the batch was decided on,
/// nothing of the ledger has changed since.
///
/// A ledger that was restored from a backup is `wrong` too until its next epoch is open: in the old one places would be
/// given twice. A node that did not notice the restore is kept out by this alone. So is one of a halted ledger, which
/// another node found to be behind what was promised; a halt that came since the statement began stands in the head.
const APPEND: &str = "
WITH wrong AS MATERIALIZED (
    SELECT k.ledger FROM unnest($23::uuid[], $24::smallint[], $25::bytea[]) AS k(ledger, layer, key_hash)
        CROSS JOIN LATERAL (SELECT FROM idempotency i
            WHERE i.ledger = k.ledger AND i.layer = k.layer AND i.key_hash = k.key_hash LIMIT 1) used
    UNION
    SELECT s.ledger FROM unnest($30::uuid[], $31::text[]) AS s(ledger, stream)
        CROSS JOIN LATERAL (SELECT FROM stream_head h WHERE h.ledger = s.ledger AND h.stream = s.stream LIMIT 1) present
    UNION
    SELECT e.ledger FROM unnest($1::uuid[], $2::bigint[]) AS e(ledger, epoch)
        CROSS JOIN LATERAL (SELECT FROM restore r WHERE r.ledger = e.ledger AND r.epoch = e.epoch LIMIT 1) restored
    UNION
    SELECT e.ledger FROM unnest($1::uuid[], $2::bigint[]) AS e(ledger, epoch)
        CROSS JOIN LATERAL (SELECT FROM halt t WHERE t.ledger = e.ledger AND t.epoch = e.epoch LIMIT 1) halted),
want AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bytea[], $5::bigint[], $6::bytea[], $7::bigint[])
        AS w(ledger, epoch, old_size, old_hash, size, hash, recorded_at)
        WHERE w.ledger NOT IN (SELECT ledger FROM wrong)),
locked AS MATERIALIZED (
    SELECT ledger FROM head WHERE ledger = ANY($1) ORDER BY ledger FOR UPDATE),
moved AS (
    UPDATE head AS h SET size = w.size, last_leaf_hash = w.hash, last_recorded_at = w.recorded_at
    FROM want w JOIN locked l ON l.ledger = w.ledger
    WHERE h.ledger = w.ledger AND h.epoch = w.epoch AND h.size = w.old_size AND h.last_leaf_hash = w.old_hash
        AND h.halted IS DISTINCT FROM h.epoch
    RETURNING h.ledger),
records AS (
    INSERT INTO record (ledger, epoch, index, stream, stream_version, leaf)
    SELECT r.* FROM unnest($8::uuid[], $9::bigint[], $10::bigint[], $11::text[], $12::bigint[], $13::bytea[])
        AS r(ledger, epoch, index, stream, stream_version, leaf) JOIN moved m ON m.ledger = r.ledger),
payloads AS (
    INSERT INTO payload (ledger, epoch, index, fragment, opening, bytes)
    SELECT p.* FROM unnest($14::uuid[], $15::bigint[], $16::bigint[], $17::smallint[], $18::bytea[], $19::bytea[])
        AS p(ledger, epoch, index, fragment, opening, bytes) JOIN moved m ON m.ledger = p.ledger),
streams AS (
    INSERT INTO stream_head (ledger, stream, version)
    SELECT s.* FROM unnest($20::uuid[], $21::text[], $22::bigint[])
        AS s(ledger, stream, version) JOIN moved m ON m.ledger = s.ledger
    ON CONFLICT (ledger, stream) DO UPDATE SET version = excluded.version),
keys AS (
    INSERT INTO idempotency (ledger, layer, key_hash, request, epoch, first, count)
    SELECT k.* FROM unnest($23::uuid[], $24::smallint[], $25::bytea[], $26::bytea[], $27::bigint[], $28::bigint[],
        $29::integer[]) AS k(ledger, layer, key_hash, request, epoch, first, count)
        JOIN moved m ON m.ledger = k.ledger)
SELECT ledger, true FROM moved UNION ALL SELECT ledger, false FROM wrong";

pub(crate) async fn prepare(client: &Client) -> Result<Statement, Error> {
    client.prepare(APPEND).await
}

/// What one ledger is to become.
pub(crate) struct Move<'a> {
    pub ledger: LedgerId,
    /// The head that the batch was decided on.
    pub old: &'a LedgerHead,
    pub batch: &'a Batch,
    /// Streams that the batch was decided on as absent although nobody looked.
    pub guessed: &'a [StreamId],
}

/// What came of moves. Of the ledgers that are in neither list, the head was not where it was believed to be.
#[derive(Default)]
pub(crate) struct Moved {
    /// What was wanted of these is done.
    pub ledgers: Vec<LedgerId>,
    /// Of these a key had been used, a stream is there that was guessed to be absent, or the epoch is that of a backup
    /// that was restored, or is halted. Nothing was written.
    pub wrong: Vec<LedgerId>,
}

/// Sends the moves. Of ledgers that did not move nothing was written. Outside of a transaction this is one: when it
/// returns, what moved is durable.
pub(crate) async fn send(client: &Client, statement: &Statement, moves: &[Move<'_>]) -> Result<Moved, Error> {
    let rows = Rows::of(moves);
    let answer = client
        .query(
            statement,
            &[
                &rows.head.ledger,
                &rows.head.epoch,
                &rows.head.old_size,
                &rows.head.old_hash,
                &rows.head.size,
                &rows.head.hash,
                &rows.head.recorded_at,
                &rows.record.ledger,
                &rows.record.epoch,
                &rows.record.index,
                &rows.record.stream,
                &rows.record.version,
                &rows.record.leaf,
                &rows.payload.ledger,
                &rows.payload.epoch,
                &rows.payload.index,
                &rows.payload.fragment,
                &rows.payload.opening,
                &rows.payload.bytes,
                &rows.stream.ledger,
                &rows.stream.name,
                &rows.stream.version,
                &rows.key.ledger,
                &rows.key.layer,
                &rows.key.hash,
                &rows.key.request,
                &rows.key.epoch,
                &rows.key.first,
                &rows.key.count,
                &rows.guess.ledger,
                &rows.guess.stream,
            ],
        )
        .await?;
    let mut moved = Moved::default();
    for row in answer {
        let list = if row.get(1) {
            &mut moved.ledgers
        } else {
            &mut moved.wrong
        };
        list.push(LedgerId(row.get(0)));
    }
    Ok(moved)
}

/// Columns of the arrays that the statement takes.
#[derive(Default)]
struct Rows<'a> {
    head: HeadRows<'a>,
    record: RecordRows<'a>,
    payload: PayloadRows<'a>,
    stream: StreamRows,
    key: KeyRows<'a>,
    guess: GuessRows,
}

#[derive(Default)]
struct HeadRows<'a> {
    ledger: Vec<Uuid>,
    epoch: Vec<i64>,
    old_size: Vec<i64>,
    old_hash: Vec<&'a [u8]>,
    size: Vec<i64>,
    hash: Vec<&'a [u8]>,
    recorded_at: Vec<i64>,
}

#[derive(Default)]
struct RecordRows<'a> {
    ledger: Vec<Uuid>,
    epoch: Vec<i64>,
    index: Vec<i64>,
    stream: Vec<String>,
    version: Vec<i64>,
    leaf: Vec<&'a [u8]>,
}

#[derive(Default)]
struct PayloadRows<'a> {
    ledger: Vec<Uuid>,
    epoch: Vec<i64>,
    index: Vec<i64>,
    fragment: Vec<i16>,
    opening: Vec<&'a [u8]>,
    bytes: Vec<&'a [u8]>,
}

#[derive(Default)]
struct StreamRows {
    ledger: Vec<Uuid>,
    name: Vec<String>,
    version: Vec<i64>,
}

#[derive(Default)]
struct KeyRows<'a> {
    ledger: Vec<Uuid>,
    layer: Vec<i16>,
    hash: Vec<&'a [u8]>,
    request: Vec<&'a [u8]>,
    epoch: Vec<i64>,
    first: Vec<i64>,
    count: Vec<i32>,
}

#[derive(Default)]
struct GuessRows {
    ledger: Vec<Uuid>,
    stream: Vec<String>,
}

impl<'a> Rows<'a> {
    fn of(moves: &[Move<'a>]) -> Self {
        let mut rows = Self::default();
        for one in moves {
            rows.add(one);
        }
        rows
    }

    fn add(&mut self, one: &Move<'a>) {
        let (ledger, batch) = (one.ledger.0, one.batch);
        let epoch = i64::from(batch.head.epoch.0);
        let head = &mut self.head;
        head.ledger.push(ledger);
        head.epoch.push(epoch);
        head.old_size.push(one.old.size.0.cast_signed());
        head.old_hash
            .push(one.old.last_leaf_hash.as_ref().map_or(&[], |hash| &hash.0));
        head.size.push(batch.head.size.0.cast_signed());
        head.hash
            .push(batch.head.last_leaf_hash.as_ref().map_or(&[], |hash| &hash.0));
        head.recorded_at.push(batch.head.last_recorded_at.0.cast_signed());
        for record in &batch.records {
            let index = record.position.index.0.cast_signed();
            let rows = &mut self.record;
            rows.ledger.push(ledger);
            rows.epoch.push(epoch);
            rows.index.push(index);
            rows.stream.push(record.stream.to_string());
            rows.version.push(record.stream_version.0.cast_signed());
            rows.leaf.push(&record.leaf);
            for (n, fragment) in (0..).zip(&record.payload) {
                let rows = &mut self.payload;
                rows.ledger.push(ledger);
                rows.epoch.push(epoch);
                rows.index.push(index);
                rows.fragment.push(n);
                rows.opening.push(&fragment.opening);
                rows.bytes.push(&fragment.bytes);
            }
        }
        for (stream, version) in &batch.streams {
            self.stream.ledger.push(ledger);
            self.stream.name.push(stream.to_string());
            self.stream.version.push(version.0.cast_signed());
        }
        for stream in one.guessed {
            self.guess.ledger.push(ledger);
            self.guess.stream.push(stream.to_string());
        }
        for ((layer, key), entry) in &batch.keys {
            let rows = &mut self.key;
            rows.ledger.push(ledger);
            rows.layer.push(*layer as i16);
            rows.hash.push(key);
            rows.request.push(&entry.request);
            rows.epoch.push(i64::from(entry.first.epoch.0));
            rows.first.push(entry.first.index.0.cast_signed());
            rows.count.push(entry.count.cast_signed());
        }
    }
}
