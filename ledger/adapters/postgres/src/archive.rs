//! Payloads that leave the database for an archive, and come back.
//!
//! Whoever takes them out is `ruche_eraser`, who alone may delete payloads, and sees one ledger. Whoever puts them back is
//! `ruche_append`, who writes payloads. What is noted of an archive changes under a lock, so that an archive is not forgotten
//! while another process takes payloads out for it.

use std::sync::Arc;

use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Epoch, LeafIndex};
use ruche_ledger::archive::{ArchivedRange, Attach, Detach, another_archive, not_all_back, noted_otherwise};
use ruche_ledger::hash::Hash;
use ruche_ledger::store::StoreError;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::cache::number;
use crate::error::OpenError;
use crate::lines::Lines;
use crate::reading::{READ_TIMEOUT, Reader, Reading};
use crate::session::{Database, Purpose, Session, unavailable};

/// "ruche" and "ar" as one number: notes of archives change one after the other.
const KEY: i64 = 0x7275_6368_6561_7200;
const RANGES: &str = "SELECT epoch, first, behind, archive, digest FROM archived_range WHERE ledger = $1 \
                      ORDER BY epoch, first";

/// What came of a piece of work: done, or refused with nothing written.
type Done = Result<Result<(), StoreError>, OpenError>;

/// What takes payloads out of a database, over one connection.
pub(crate) struct Archives(Lines);

impl Archives {
    pub(crate) fn new(database: Database) -> Self {
        Self(Lines::patient(database, Purpose::Owner, 1, READ_TIMEOUT))
    }

    /// Takes payloads out and notes where they are.
    pub(crate) async fn detach(&self, ledger: LedgerId, piece: Detach) -> Result<(), StoreError> {
        self.erase(ledger, move |session| async move {
            let failed = || OpenError::database("take payloads out");
            let Detach { range, records } = piece;
            let epoch = i64::from(range.epoch.0);
            let (first, behind) = (range.from.0.cast_signed(), range.to.0.cast_signed());
            let digest = &range.digest.0[..];
            let parameters = [
                (&ledger.0 as _, Type::UUID),
                (&epoch as _, Type::INT8),
                (&first as _, Type::INT8),
                (&behind as _, Type::INT8),
                (&range.archive as _, Type::TEXT),
                (&digest as _, Type::BYTEA),
            ];
            let sql = "INSERT INTO archived_range (ledger, epoch, first, behind, archive, digest) \
                 VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (ledger, epoch, first) \
                 DO UPDATE SET behind = greatest(archived_range.behind, excluded.behind) \
                 WHERE archived_range.archive = excluded.archive AND archived_range.digest = excluded.digest";
            let noted = session.execute_typed(sql, &parameters);
            if noted.await.map_err(failed())? == 0 {
                return Ok(Err(another_archive(&range)));
            }
            let records: Vec<i64> = records.iter().map(|index| index.0.cast_signed()).collect();
            let parameters = [
                (&ledger.0 as _, Type::UUID),
                (&epoch as _, Type::INT8),
                (&records as _, Type::INT8_ARRAY),
            ];
            let sql = "DELETE FROM payload WHERE ledger = $1 AND epoch = $2 AND index = ANY($3)";
            let taken = session.execute_typed(sql, &parameters);
            taken.await.map_err(failed())?;
            Ok(Ok(()))
        })
        .await
    }

    /// Takes the note of an archive away, if all of its payloads are there.
    pub(crate) async fn forget(
        &self,
        ledger: LedgerId,
        range: ArchivedRange,
        fragments: u64,
    ) -> Result<(), StoreError> {
        self.erase(ledger, move |session| async move {
            let failed = || OpenError::database("forget an archive");
            let epoch = i64::from(range.epoch.0);
            let (first, behind) = (range.from.0.cast_signed(), range.to.0.cast_signed());
            let parameters = [
                (&ledger.0 as _, Type::UUID),
                (&epoch as _, Type::INT8),
                (&first as _, Type::INT8),
                (&behind as _, Type::INT8),
            ];
            let sql = "SELECT count(*) FROM payload WHERE ledger = $1 AND epoch = $2 AND index >= $3 AND index < $4";
            let found = session.query_typed_one(sql, &parameters);
            let found = number(&found.await.map_err(failed())?, 0);
            if found != fragments {
                return Ok(Err(not_all_back(&range, found, fragments)));
            }
            let parameters = [
                (&ledger.0 as _, Type::UUID),
                (&epoch as _, Type::INT8),
                (&first as _, Type::INT8),
                (&behind as _, Type::INT8),
                (&range.archive as _, Type::TEXT),
                (&&range.digest.0[..] as _, Type::BYTEA),
            ];
            // What was counted is this range. Of a longer one, payloads behind it may be in the archive alone.
            let sql = "DELETE FROM archived_range WHERE ledger = $1 AND epoch = $2 AND first = $3 AND behind = $4 \
                 AND archive = $5 AND digest = $6";
            let forgotten = session.execute_typed(sql, &parameters);
            match forgotten.await.map_err(failed())? {
                0 => Ok(Err(noted_otherwise(&range))),
                _ => Ok(Ok(())),
            }
        })
        .await
    }

    /// One transaction as the eraser of one ledger, alone with the notes of archives. A crash at any line, or an error, leaves
    /// all of it or nothing: a connection on which it failed is given up, and the server undoes what was not committed.
    async fn erase<W>(
        &self,
        ledger: LedgerId,
        work: impl FnOnce(Arc<Session>) -> W + Send + 'static,
    ) -> Result<(), StoreError>
    where
        W: Future<Output = Done> + Send + 'static,
    {
        let begin = format!(
            "BEGIN; SET LOCAL ROLE ruche_eraser; SET LOCAL search_path = ruche; SET LOCAL ruche.ledger = '{}'; \
             SET LOCAL enable_seqscan = off; SELECT pg_advisory_xact_lock({KEY})",
            ledger.0
        );
        let all = move |session: Arc<Session>| async move {
            let begun = session.batch_execute(&begin).await;
            begun.map_err(OpenError::database("begin to change archives"))?;
            let done = work(Arc::clone(&session)).await?;
            match done {
                Ok(()) => {
                    let commit = session.batch_execute("COMMIT");
                    session
                        .heard()
                        .commit("commit what changed of archives", commit)
                        .await?;
                }
                Err(_) => {
                    let undone = session.batch_execute("ROLLBACK").await;
                    undone.map_err(OpenError::database("undo what was refused"))?;
                }
            }
            Ok(done)
        };
        self.0.run(all).await.map_err(unavailable)?
    }
}

/// Puts payloads back, as the role that appends. Those that are there stay.
pub(crate) async fn attach(
    session: &Session,
    ledger: LedgerId,
    epoch: Epoch,
    payloads: &[Attach],
) -> Result<(), OpenError> {
    let indexes: Vec<i64> = payloads
        .iter()
        .map(|payload| payload.index.0.cast_signed())
        .collect();
    let fragments: Vec<i16> = payloads
        .iter()
        .map(|payload| i16::from(payload.fragment))
        .collect();
    let openings: Vec<&[u8]> = payloads.iter().map(|payload| &payload.opening[..]).collect();
    let bytes: Vec<&[u8]> = payloads.iter().map(|payload| &payload.bytes[..]).collect();
    let epoch = i64::from(epoch.0);
    let parameters = [
        (&ledger.0 as _, Type::UUID),
        (&epoch as _, Type::INT8),
        (&indexes as _, Type::INT8_ARRAY),
        (&fragments as _, Type::INT2_ARRAY),
        (&openings as _, Type::BYTEA_ARRAY),
        (&bytes as _, Type::BYTEA_ARRAY),
    ];
    let put = session.execute_typed(
        "INSERT INTO payload (ledger, epoch, index, fragment, opening, bytes) \
         SELECT $1, $2, u.* FROM unnest($3, $4, $5, $6) AS u(index, fragment, opening, bytes) \
         ON CONFLICT DO NOTHING",
        &parameters,
    );
    session.heard().commit("put payloads back", put).await.map(drop)
}

/// What is archived of a ledger, in order.
pub(crate) async fn ranges(
    reading: &Reading,
    ledger: LedgerId,
) -> Result<Vec<Arc<ArchivedRange>>, StoreError> {
    let parameters = [(&ledger.0 as _, Type::UUID)];
    let rows = reading.client().query_typed(RANGES, &parameters);
    let rows = reading.run("table archived_range", rows).await?;
    rows.iter().map(|row| range(row).map(Arc::new)).collect()
}

impl Reader {
    /// What is archived of a ledger, in order.
    pub(crate) async fn archived(&self, ledger: LedgerId) -> Result<Vec<ArchivedRange>, StoreError> {
        let reading = self.of(ledger).await?;
        let ranges = ranges(&reading, ledger).await?;
        Ok(ranges.iter().map(|range| ArchivedRange::clone(range)).collect())
    }
}

fn range(row: &Row) -> Result<ArchivedRange, StoreError> {
    let digest = Hash::from_slice(row.get(4)).ok_or_else(|| StoreError::Corrupt {
        place: "table archived_range".to_owned(),
        reason: "a digest has 32 bytes".to_owned(),
    })?;
    Ok(ArchivedRange {
        epoch: Epoch(number(row, 0) as u32),
        from: LeafIndex(number(row, 1)),
        to: LeafIndex(number(row, 2)),
        archive: row.get(3),
        digest,
    })
}
