//! Rows of one transaction, and the two ways to send them.

use std::ops::Range;
use std::pin::pin;

use ruche_domain::stream::{Category, StreamId};
use ruche_ledger::store::Record;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Statement};
use uuid::Uuid;

use super::payload;

/// Records of one stream, as far as its index is concerned.
const STREAM_RECORDS: u64 = 200;
/// Layer of the keys.
const LAYER: i16 = 4;
/// Epoch of all rows.
const EPOCH: i64 = 1;

/// All rows of a transaction in one statement, as the engine does it.
const UNNEST: &str = "WITH records AS (INSERT INTO record
    SELECT $1, 1, r.* FROM unnest($2::bigint[], $3::text[], $4::bigint[], $5::bytea[]) AS r),
payloads AS (INSERT INTO payload
    SELECT $1, 1, p.index, 0, p.opening, p.bytes
    FROM unnest($2::bigint[], $6::bytea[], $7::bytea[]) AS p(index, opening, bytes))
INSERT INTO idempotency
    SELECT $1, 4, k.key, k.key, 1, k.first, $10 FROM unnest($8::bytea[], $9::bigint[]) AS k(key, first)";

/// The tables, as COPY fills them.
const COPY: [&str; 3] = [
    "COPY record FROM STDIN BINARY",
    "COPY payload FROM STDIN BINARY",
    "COPY idempotency FROM STDIN BINARY",
];
const RECORD: [Type; 6] = [
    Type::UUID,
    Type::INT8,
    Type::INT8,
    Type::TEXT,
    Type::INT8,
    Type::BYTEA,
];
const PAYLOAD: [Type; 6] = [
    Type::UUID,
    Type::INT8,
    Type::INT8,
    Type::INT2,
    Type::BYTEA,
    Type::BYTEA,
];
const KEY: [Type; 7] = [
    Type::UUID,
    Type::INT2,
    Type::BYTEA,
    Type::BYTEA,
    Type::INT8,
    Type::INT8,
    Type::INT4,
];

/// Rows of one transaction.
pub(super) struct Rows<'a> {
    index: Vec<i64>,
    stream: Vec<String>,
    version: Vec<i64>,
    leaf: Vec<&'a [u8]>,
    opening: Vec<&'a [u8]>,
    bytes: Vec<&'a [u8]>,
    key: Vec<[u8; 32]>,
    first: Vec<i64>,
    /// Events of one append.
    count: i32,
}

impl<'a> Rows<'a> {
    /// Rows with these indexes, of records that are repeated. There must be records.
    pub(super) fn of(records: &'a [Record], indexes: Range<u64>, batch: u64, keys: bool) -> Self {
        let chosen = indexes
            .clone()
            .map(|index| &records[index as usize % records.len()]);
        let (opening, bytes) = chosen.clone().map(payload).unzip();
        let keyed = indexes.clone().filter(|index| keys && index % batch == 0);
        let stream = |index| {
            StreamId::new(
                Category::Observed,
                Uuid::from_u128(u128::from(index / STREAM_RECORDS)),
            )
        };
        Self {
            index: indexes.clone().map(u64::cast_signed).collect(),
            stream: indexes.clone().map(|index| stream(index).to_string()).collect(),
            version: indexes
                .map(|index| (index % STREAM_RECORDS).cast_signed())
                .collect(),
            leaf: chosen.map(|record| &record.leaf_bytes[..]).collect(),
            opening,
            bytes,
            key: keyed.clone().map(key).collect(),
            first: keyed.map(u64::cast_signed).collect(),
            count: i32::try_from(batch).unwrap_or(i32::MAX),
        }
    }
}

/// A connection with its statements.
pub(super) struct Inserter {
    client: Client,
    ledger: Uuid,
    unnest: Statement,
    copy: [Statement; 3],
}

impl Inserter {
    /// Of a session whose search path is the schema.
    pub(super) async fn new(client: Client, ledger: u128) -> Result<Self, Error> {
        let [record, payload, keys] = COPY;
        Ok(Self {
            ledger: Uuid::from_u128(ledger),
            unnest: client.prepare(UNNEST).await?,
            copy: [
                client.prepare(record).await?,
                client.prepare(payload).await?,
                client.prepare(keys).await?,
            ],
            client,
        })
    }

    /// One statement, which is one transaction.
    pub(super) async fn unnest(&self, rows: &Rows<'_>) -> Result<(), Error> {
        let keys: Vec<&[u8]> = rows.key.iter().map(|key| &key[..]).collect();
        let values: [&(dyn ToSql + Sync); 10] = [
            &self.ledger,
            &rows.index,
            &rows.stream,
            &rows.version,
            &rows.leaf,
            &rows.opening,
            &rows.bytes,
            &keys,
            &rows.first,
            &rows.count,
        ];
        self.client.execute(&self.unnest, &values).await.map(drop)
    }

    /// One transaction with a COPY into each table. What fails leaves it open: the session ends with it.
    pub(super) async fn copy(&self, rows: &Rows<'_>) -> Result<(), Error> {
        let [record, payload, keys] = &self.copy;
        self.client.batch_execute("BEGIN").await?;
        let mut writer = pin!(BinaryCopyInWriter::new(
            self.client.copy_in(record).await?,
            &RECORD
        ));
        for (n, index) in rows.index.iter().enumerate() {
            let (stream, version, leaf) = (&rows.stream[n], &rows.version[n], &rows.leaf[n]);
            let row: [&(dyn ToSql + Sync); 6] = [&self.ledger, &EPOCH, index, stream, version, leaf];
            writer.as_mut().write(&row).await?;
        }
        writer.finish().await?;
        let mut writer = pin!(BinaryCopyInWriter::new(
            self.client.copy_in(payload).await?,
            &PAYLOAD
        ));
        for (n, index) in rows.index.iter().enumerate() {
            let (opening, bytes) = (&rows.opening[n], &rows.bytes[n]);
            let row: [&(dyn ToSql + Sync); 6] = [&self.ledger, &EPOCH, index, &0_i16, opening, bytes];
            writer.as_mut().write(&row).await?;
        }
        writer.finish().await?;
        if !rows.key.is_empty() {
            let mut writer = pin!(BinaryCopyInWriter::new(self.client.copy_in(keys).await?, &KEY));
            for (key, first) in rows.key.iter().zip(&rows.first) {
                let key = &&key[..];
                let row: [&(dyn ToSql + Sync); 7] =
                    [&self.ledger, &LAYER, key, key, &EPOCH, first, &rows.count];
                writer.as_mut().write(&row).await?;
            }
            writer.finish().await?;
        }
        self.client.batch_execute("COMMIT").await
    }
}

/// A key that is random as far as a B-tree can tell: SplitMix64 of the number of its record.
fn key(at: u64) -> [u8; 32] {
    let mut key = [0; 32];
    for (n, chunk) in key.chunks_mut(8).enumerate() {
        let mut z = (at * 4 + n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        chunk.copy_from_slice(&(z ^ (z >> 31)).to_be_bytes());
    }
    key
}
