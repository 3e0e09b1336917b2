//! Many rows by few statements: multi-row inserts, compiled once and kept.

use rusqlite::{Connection, Statement};

/// Rows of one statement, largest first. The last is 1, so that every count can be made up.
const ROWS: [usize; 3] = [64, 8, 1];

/// An insert into one table, for any number of rows.
pub(crate) struct Insert {
    columns: usize,
    /// One text for each of [`ROWS`].
    sql: [String; ROWS.len()],
}

impl Insert {
    /// Into all columns of `table`, in the order of the schema.
    ///
    /// OR FAIL: the transaction is undone as a whole after any error, so SQLite need not remember, row by row, how to
    /// undo half a statement.
    pub(crate) fn new(table: &str, columns: usize) -> Self {
        let row = format!("({})", vec!["?"; columns].join(","));
        let values = |rows| vec![row.as_str(); rows].join(",");
        let sql = ROWS.map(|rows| format!("INSERT OR FAIL INTO {table} VALUES {}", values(rows)));
        Self { columns, sql }
    }

    /// Inserts one row for each item. `bind` binds an item to the parameters behind the given one.
    pub(crate) fn all<T>(
        &self,
        conn: &Connection,
        items: &[T],
        bind: impl Fn(&mut Statement<'_>, usize, &T) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        let mut rest = items;
        for (rows, sql) in ROWS.iter().zip(&self.sql) {
            if rest.len() < *rows {
                continue;
            }
            let mut statement = conn.prepare_cached(sql)?;
            while rest.len() >= *rows {
                let (now, later) = rest.split_at(*rows);
                for (n, item) in now.iter().enumerate() {
                    bind(&mut statement, n * self.columns, item)?;
                }
                statement.raw_execute()?;
                rest = later;
            }
        }
        Ok(())
    }
}
