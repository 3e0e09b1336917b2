//! The tree head store of a deployment of many nodes: a database of its own, never restored with the ledger's.
//!
//! A promise is one row, swapped by one statement that compares it byte for byte, so any number of sealers agree on one
//! history. A swap whose answer is lost may have happened; a sealer reads the row again before it signs anything.

use async_trait::async_trait;
use deadpool_postgres::{Object, Pool};
use ruche_ledger::seal::{TreeHeadStore, TreeHeadStoreError};
use ruche_ledger::tree_head::SignedTreeHead;
use tokio_postgres::Row;

/// Tree heads in a database that holds nothing else.
pub struct PostgresTreeHeads {
    pool: Pool,
}

impl PostgresTreeHeads {
    /// Tree heads behind connections to their database, whose schema is up to date.
    pub(crate) fn new(pool: Pool) -> Self {
        Self { pool }
    }

    async fn client(&self) -> Result<Object, TreeHeadStoreError> {
        self.pool.get().await.map_err(|e| {
            TreeHeadStoreError::Unavailable(format!("no connection to the database of tree heads: {e}"))
        })
    }
}

fn unavailable(error: &tokio_postgres::Error) -> TreeHeadStoreError {
    let said = error.as_db_error().map(|db| db.message().to_owned());
    TreeHeadStoreError::Unavailable(said.unwrap_or_else(|| error.to_string()))
}

/// The tree head of a row. One that cannot be read is never taken for none: that would let an older history be signed.
fn tree_head(row: &Row, origin: &str) -> Result<SignedTreeHead, TreeHeadStoreError> {
    let broken = |why: &dyn std::fmt::Display| {
        TreeHeadStoreError::Unavailable(format!("the stored tree head of {origin} cannot be used: {why}"))
    };
    let head = SignedTreeHead::parse(row.get::<_, &[u8]>(0)).map_err(|e| broken(&e))?;
    if head.head().origin != origin {
        return Err(broken(&format!("it is of {}", head.head().origin)));
    }
    Ok(head)
}

#[async_trait]
impl TreeHeadStore for PostgresTreeHeads {
    async fn latest(&self, origin: &str) -> Result<Option<SignedTreeHead>, TreeHeadStoreError> {
        let row = self
            .client()
            .await?
            .query_opt(
                "SELECT note FROM ruche_tree_heads.tree_head WHERE origin = $1",
                &[&origin],
            )
            .await
            .map_err(|e| unavailable(&e))?;
        row.map(|row| tree_head(&row, origin)).transpose()
    }

    async fn origins(&self) -> Result<Vec<String>, TreeHeadStoreError> {
        let rows = self
            .client()
            .await?
            .query("SELECT origin FROM ruche_tree_heads.tree_head", &[])
            .await
            .map_err(|e| unavailable(&e))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    async fn compare_and_swap(
        &self,
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
        if let Some(expected) = expected {
            let (old, new) = (expected.head().tree_root(), new.head().tree_root());
            if new.size < old.size || (new.size == old.size && new.root != old.root) {
                return refused(format!(
                    "a tree head of {origin} over {} records was promised, {} contradicts it",
                    old.size, new.size
                ));
            }
        }
        let size = new.head().size.0.cast_signed();
        let client = self.client().await?;
        // The commit of either statement waits for the flush, on a synchronous cluster for the standby's.
        let swapped = match expected {
            None => {
                client
                    .execute(
                        "INSERT INTO ruche_tree_heads.tree_head (origin, size, note) VALUES ($1, $2, $3) ON CONFLICT (origin) DO NOTHING",
                        &[&origin, &size, &new.as_bytes()],
                    )
                    .await
            }
            Some(expected) => {
                client
                    .execute(
                        "UPDATE ruche_tree_heads.tree_head SET size = $2, note = $3 WHERE origin = $1 AND note = $4",
                        &[&origin, &size, &new.as_bytes(), &expected.as_bytes()],
                    )
                    .await
            }
        };
        // From here on the promise survives a power cut, and may be published.
        match swapped.map_err(|e| unavailable(&e))? {
            0 => Err(TreeHeadStoreError::Swapped),
            _ => Ok(()),
        }
    }
}
