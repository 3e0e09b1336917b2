//! Tables for the tools of others: read models under names and columns that stay, whatever becomes of the tables behind
//! them. Each is declared once ([`tables`]); the views of both engines are made of that ([`views`]), and so is what leaves
//! as a file ([`read`]).
//!
//! Names and columns are a promise: columns are added at the end, and none is renamed or gets another meaning.

mod read;
mod tables;
mod views;

pub use read::{Cell, Period, Place, count, page, rows_of_a_page, standing};
pub use tables::all;
pub use views::{Dialect, view_name, views};

/// A table for tools of others.
#[derive(Debug)]
pub struct Table {
    /// Its name, which stays.
    pub name: &'static str,
    /// What a row is.
    pub about: &'static str,
    /// The projection that its rows are of, which says how far they go.
    pub projection: &'static str,
    /// What people wrote or said stands in it: shown only to who may see that.
    pub shows_texts: bool,
    /// What it is of, in SQL: its main table is called `t`.
    from: &'static str,
    /// Which rows of it; all where it is empty.
    condition: &'static str,
    /// Columns that tell rows of one ledger apart and put them in order, never null.
    order: &'static [&'static str],
    /// The time of a row, in SQL, in microseconds; none where rows have no time of their own.
    time: Option<&'static str>,
    /// Its columns, in order.
    pub columns: &'static [Column],
}

impl Table {
    /// The table of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        all().find(|table| table.name == name)
    }

    /// Whether its rows have a time, by which they can be chosen.
    pub fn has_time(&self) -> bool {
        self.time.is_some()
    }
}

/// A column of such a table.
#[derive(Debug)]
pub struct Column {
    /// Its name, which stays.
    pub name: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// Where it comes from, in SQL; the column of the same name where it is empty. Of money it is what the names of its three
    /// columns begin with.
    sql: &'static str,
    /// What it means.
    pub about: &'static str,
}

impl Column {
    /// Where it comes from, in SQL.
    fn source(&self) -> String {
        match self.sql {
            "" => format!("t.{}", self.name),
            sql => sql.to_owned(),
        }
    }
}

/// What the values of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// An id, as GraphQL shows it.
    Id,
    /// A position of the ledger, as GraphQL shows it: epoch, colon, index.
    Position,
    /// A moment, in microseconds, UTC.
    Time,
    /// A count, or a number without a unit.
    Count,
    /// A length of time in microseconds.
    Micros,
    /// Yes or no.
    Flag,
    /// An exact amount with up to 27 decimal places; its currency stands beside it.
    Decimal,
    /// A floating-point number.
    Real,
    /// JSON text.
    Json,
}

impl Kind {
    /// Its type on PostgreSQL, in SQLite, and in Parquet.
    pub const fn types(self) -> [&'static str; 3] {
        match self {
            Self::Text => ["text", "TEXT", "STRING"],
            Self::Id => ["text (uuid)", "TEXT (uuid)", "STRING (uuid)"],
            Self::Position => ["text (position)", "TEXT (position)", "STRING (position)"],
            Self::Time => ["timestamptz", "TEXT (RFC 3339)", "TIMESTAMP(MICROS, UTC)"],
            Self::Count => ["bigint", "INTEGER", "INT64"],
            Self::Micros => ["bigint (µs)", "INTEGER (µs)", "INT64 (µs)"],
            Self::Flag => ["boolean", "INTEGER (0, 1)", "BOOLEAN"],
            Self::Decimal => ["numeric", "TEXT (decimal)", "DECIMAL(38, 27)"],
            Self::Real => ["double precision", "REAL", "DOUBLE"],
            Self::Json => ["text (JSON)", "TEXT (JSON)", "STRING (JSON)"],
        }
    }

    /// Its type in a word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Id => "id",
            Self::Position => "position",
            Self::Time => "time",
            Self::Count => "count",
            Self::Micros => "micros",
            Self::Flag => "flag",
            Self::Decimal => "decimal",
            Self::Real => "real",
            Self::Json => "json",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_told_apart_and_projections_are_there() {
        let projections: Vec<&str> = crate::projection::all()
            .iter()
            .map(|projection| projection.name())
            .collect();
        let mut names = BTreeSet::new();
        for table in all() {
            assert!(names.insert(table.name), "{} is there twice", table.name);
            assert!(projections.contains(&table.projection), "{}", table.name);
            assert_eq!(table.columns[0].name, "ledger_id", "{}", table.name);
            let columns: BTreeSet<&str> = table.columns.iter().map(|column| column.name).collect();
            assert_eq!(columns.len(), table.columns.len(), "{}", table.name);
            assert!(table.about.ends_with('.'), "{}", table.name);
            for column in table.columns {
                assert!(!column.about.is_empty(), "{}.{}", table.name, column.name);
            }
        }
    }

    /// What people wrote stands in tables that say so: a column of free text elsewhere would be shown to everybody.
    #[test]
    fn free_text_stands_only_where_it_is_told() {
        for table in all().filter(|table| !table.shows_texts) {
            for column in table.columns {
                assert!(
                    ![
                        "text",
                        "content",
                        "arguments",
                        "result",
                        "explanation",
                        "error",
                        "reason"
                    ]
                    .contains(&column.name),
                    "{}.{}",
                    table.name,
                    column.name
                );
            }
        }
    }
}
