//! The tree head store of a deployment of many nodes: a database of its own, never restored with the ledger's.
//!
//! A promise is one row, swapped by one statement that compares it byte for byte, so any number of sealers agree on one
//! history. A swap whose answer is lost, or that came with a warning, may have happened, and a failover of this database may
//! take it back yet. So a row that is read is handed out only behind a fence: a sealer that finds its own row takes the
//! promise for made, and publishes it.

use std::sync::Arc;

use async_trait::async_trait;
use ruche_ledger::seal::{TreeHeadStore, TreeHeadStoreError};
use ruche_ledger::tree_head::SignedTreeHead;

use crate::error::OpenError;
use crate::lines::Lines;
use crate::session::{Database, Purpose, Session, fence_reads};

/// Connections of a node for the tree heads.
pub const CONNECTIONS: usize = 2;

/// Tree heads in a database that holds nothing else.
pub struct PostgresTreeHeads {
    lines: Lines,
}

impl PostgresTreeHeads {
    /// Tree heads in their database, whose schema is up to date.
    pub(crate) fn new(database: Database) -> Self {
        Self {
            lines: Lines::new(database, Purpose::Owner, CONNECTIONS),
        }
    }
}

fn unavailable(error: OpenError) -> TreeHeadStoreError {
    TreeHeadStoreError::Unavailable(crate::session::chain(&error))
}

/// Waits until what was read cannot be lost any more.
async fn confirm(session: &Session) -> Result<(), OpenError> {
    let fence = fence_reads(session);
    session.heard().commit("confirm what was promised", fence).await
}

/// The tree head of a row. One that cannot be read is never taken for none: that would let an older history be signed.
fn tree_head(note: &[u8], origin: &str) -> Result<SignedTreeHead, TreeHeadStoreError> {
    let broken = |why: &dyn std::fmt::Display| {
        TreeHeadStoreError::Unavailable(format!("the stored tree head of {origin} cannot be used: {why}"))
    };
    let head = SignedTreeHead::parse(note).map_err(|e| broken(&e))?;
    if head.head().origin != origin {
        return Err(broken(&format!("it is of {}", head.head().origin)));
    }
    Ok(head)
}

/// Refuses a tree head that cannot stand behind the expected one.
fn check(
    origin: &str,
    expected: Option<&SignedTreeHead>,
    new: &SignedTreeHead,
) -> Result<(), TreeHeadStoreError> {
    let refused = |why: String| Err(TreeHeadStoreError::Unavailable(why));
    if new.head().origin != origin {
        return refused(format!(
            "the new tree head of {origin} is of {}",
            new.head().origin
        ));
    }
    let Some(expected) = expected else { return Ok(()) };
    let (old, new) = (expected.head().tree_root(), new.head().tree_root());
    if new.size < old.size || (new.size == old.size && new.root != old.root) {
        return refused(format!(
            "a tree head of {origin} over {} records was promised, {} contradicts it",
            old.size, new.size
        ));
    }
    Ok(())
}

#[async_trait]
impl TreeHeadStore for PostgresTreeHeads {
    async fn latest(&self, origin: &str) -> Result<Option<SignedTreeHead>, TreeHeadStoreError> {
        let asked = origin.to_owned();
        let read = move |session: Arc<Session>| async move {
            let sql = "SELECT note FROM ruche_tree_heads.tree_head WHERE origin = $1";
            let row = session.query_opt(sql, &[&asked]).await;
            let Some(row) = row.map_err(OpenError::database("read what was promised"))? else {
                return Ok(None);
            };
            confirm(&session).await?;
            Ok(Some(row.get::<_, Vec<u8>>(0)))
        };
        let note = self.lines.run(read).await.map_err(unavailable)?;
        note.map(|note| tree_head(&note, origin)).transpose()
    }

    async fn origins(&self) -> Result<Vec<String>, TreeHeadStoreError> {
        let read = |session: Arc<Session>| async move {
            let sql = "SELECT origin FROM ruche_tree_heads.tree_head";
            let rows = session.query(sql, &[]).await;
            let rows = rows.map_err(OpenError::database("read what was promised"))?;
            if !rows.is_empty() {
                confirm(&session).await?;
            }
            Ok(rows.iter().map(|row| row.get(0)).collect())
        };
        self.lines.run(read).await.map_err(unavailable)
    }

    async fn compare_and_swap(
        &self,
        origin: &str,
        expected: Option<&SignedTreeHead>,
        new: &SignedTreeHead,
    ) -> Result<(), TreeHeadStoreError> {
        check(origin, expected, new)?;
        let (origin, size) = (origin.to_owned(), new.head().size.0.cast_signed());
        let new = new.as_bytes().to_vec();
        let expected = expected.map(|expected| expected.as_bytes().to_vec());
        let swap = move |session: Arc<Session>| async move {
            swap(&session, &origin, size, &new, expected.as_deref()).await
        };
        // From here on the promise survives a power cut and a failover, and may be published. An error says neither that it
        // is made nor that it is not.
        match self.lines.run(swap).await.map_err(unavailable)? {
            0 => Err(TreeHeadStoreError::Swapped),
            _ => Ok(()),
        }
    }
}

/// Gives how many rows were swapped. The commit of either statement waits for the flush, on a synchronous cluster for the
/// standby's.
async fn swap(
    session: &Session,
    origin: &str,
    size: i64,
    new: &[u8],
    expected: Option<&[u8]>,
) -> Result<u64, OpenError> {
    let (heard, doing) = (session.heard(), "store a promise");
    match expected {
        None => {
            let sql = "INSERT INTO ruche_tree_heads.tree_head (origin, size, note) VALUES ($1, $2, $3) \
                       ON CONFLICT (origin) DO NOTHING";
            heard
                .commit(doing, session.execute(sql, &[&origin, &size, &new]))
                .await
        }
        Some(expected) => {
            let sql =
                "UPDATE ruche_tree_heads.tree_head SET size = $2, note = $3 WHERE origin = $1 AND note = $4";
            let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
                [&origin, &size, &new, &expected];
            heard.commit(doing, session.execute(sql, &parameters)).await
        }
    }
}
