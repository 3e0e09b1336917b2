//! The views of each engine, as SQL.

use std::fmt::Write as _;

use super::{Kind, Table, all};

/// What SQL is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// PostgreSQL.
    Postgres,
    /// SQLite.
    Sqlite,
}

/// The name of the view of a table, beside the tables of the read models.
pub fn view_name(table: &Table) -> String {
    format!("bi_{}", table.name)
}

/// The statements that make all views. On PostgreSQL they begin with the ledger as it is stored, for who chooses by it.
pub fn views(dialect: Dialect) -> String {
    let mut sql = String::new();
    for table in all() {
        let stored = match dialect {
            Dialect::Postgres => Some("    t.ledger AS ledger".to_owned()),
            Dialect::Sqlite => None,
        };
        let columns = table.columns.iter().map(|column| {
            let value = dialect.value(column.kind, &column.source());
            format!("    {value} AS {}", column.name)
        });
        let columns: Vec<String> = stored.into_iter().chain(columns).collect();
        let condition = match table.condition {
            "" => String::new(),
            condition => format!(" WHERE {condition}"),
        };
        let (name, columns) = (view_name(table), columns.join(",\n"));
        let _ = writeln!(
            sql,
            "\n-- {}\nCREATE VIEW {name} AS SELECT\n{columns}\nFROM {}{condition};",
            table.about, table.from
        );
    }
    sql
}

impl Dialect {
    /// A stored value in the form in which it is shown.
    fn value(self, kind: Kind, x: &str) -> String {
        match (kind, self) {
            (Kind::Text | Kind::Json | Kind::Count | Kind::Micros, _) => x.to_owned(),
            (Kind::Id, Self::Postgres) => format!("encode({x}, 'hex')::uuid::text"),
            (Kind::Id, Self::Sqlite) => {
                let part = |from: u8, length: u8| format!("substr(hex({x}), {from}, {length})");
                let parts = [part(1, 8), part(9, 4), part(13, 4), part(17, 4), part(21, 12)];
                format!(
                    "CASE WHEN {x} IS NOT NULL THEN lower({}) END",
                    parts.join("\n        || '-' || ")
                )
            }
            (Kind::Position, _) => {
                format!("CAST({x} >> 40 AS TEXT) || ':' || CAST({x} & 1099511627775 AS TEXT)")
            }
            // Microseconds of a far year are more than a product of an interval holds exactly.
            (Kind::Time, Self::Postgres) => format!(
                "TIMESTAMPTZ 'epoch' + {x} / 3600000000 * INTERVAL '1 hour'\n        \
                 + {x} % 3600000000 * INTERVAL '1 microsecond'"
            ),
            (Kind::Time, Self::Sqlite) => format!(
                "strftime('%Y-%m-%dT%H:%M:%S', {x} / 1000000, 'unixepoch') || printf('.%06dZ', {x} % 1000000)"
            ),
            (Kind::Flag, Self::Postgres) => format!("{x} <> 0"),
            (Kind::Flag, Self::Sqlite) => x.to_owned(),
            (Kind::Real, Self::Postgres) => format!("CAST({x} AS DOUBLE PRECISION)"),
            (Kind::Real, Self::Sqlite) => format!("CAST({x} AS REAL)"),
            (Kind::Decimal, Self::Postgres) => format!(
                "trim_scale({x}_units::numeric + {x}_nanos * 0.000000001\n        \
                 + {x}_rest * 0.000000000000000000000000001)"
            ),
            (Kind::Decimal, Self::Sqlite) => decimal_text(x),
        }
    }
}

/// Decimal text of the three columns of money. Only the whole units can be negative, so below zero the others count down to
/// the next unit.
fn decimal_text(x: &str) -> String {
    let (units, nanos, rest) = (format!("{x}_units"), format!("{x}_nanos"), format!("{x}_rest"));
    let below = format!("{units} < 0 AND ({nanos} > 0 OR {rest} > 0)");
    format!(
        "CASE WHEN {units} IS NULL THEN NULL\n        \
         WHEN {nanos} = 0 AND {rest} = 0 THEN CAST({units} AS TEXT)\n        \
         WHEN {below} AND {rest} = 0\n        \
         THEN '-' || (-1 - {units}) || '.' || rtrim(printf('%09d', 1000000000 - {nanos}), '0')\n        \
         WHEN {below} THEN '-' || (-1 - {units}) || '.'\n        \
         || rtrim(printf('%09d%018d', 999999999 - {nanos}, 1000000000000000000 - {rest}), '0')\n        \
         ELSE {units} || '.' || rtrim(printf('%09d%018d', {nanos}, {rest}), '0') END"
    )
}
