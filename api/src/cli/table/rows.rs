//! Rows in the forms of files.

mod parquet;

use std::fs::File;
use std::io::{self, BufWriter, Write};

use ruche_domain::numbers::Micros;
use ruche_projections::bi::{Cell, Table};

use super::Format;
use crate::csv;
use crate::graphql::format_time;

/// What a file is of.
pub(super) struct Head {
    pub(super) table: &'static Table,
    pub(super) ledger: String,
    /// The last record that is in the rows.
    pub(super) position: Option<String>,
    pub(super) recorded_at: Option<String>,
}

/// A file that takes rows.
pub(super) enum Rows<'f> {
    Csv(BufWriter<&'f mut File>),
    Parquet(Box<parquet::Writer<'f>>),
}

impl<'f> Rows<'f> {
    /// Begins with what stands in front of the rows.
    pub(super) fn begin(format: Format, head: &Head, file: &'f mut File) -> io::Result<Self> {
        match format {
            Format::Csv => {
                let mut out = BufWriter::new(file);
                let mut names = String::new();
                csv::row(
                    &mut names,
                    head.table
                        .columns
                        .iter()
                        .map(|column| csv::Cell::Plain(column.name)),
                );
                out.write_all(names.as_bytes())?;
                Ok(Self::Csv(out))
            }
            Format::Parquet => Ok(Self::Parquet(Box::new(parquet::Writer::begin(head, file)?))),
        }
    }

    /// Takes rows.
    pub(super) fn add(&mut self, rows: Vec<Vec<Cell>>) -> io::Result<()> {
        match self {
            Self::Csv(out) => rows
                .iter()
                .try_for_each(|row| out.write_all(line(row).as_bytes())),
            Self::Parquet(writer) => writer.add(rows),
        }
    }

    /// Writes what stands behind them.
    pub(super) fn end(self) -> io::Result<()> {
        match self {
            Self::Csv(mut out) => out.flush(),
            Self::Parquet(writer) => writer.end(),
        }
    }
}

/// A row of a CSV file.
fn line(row: &[Cell]) -> String {
    let plain = row.iter().map(|cell| match cell {
        Cell::Null | Cell::Text(_) => String::new(),
        Cell::Int(number) => number.to_string(),
        Cell::Time(at) => format_time(Micros(at.cast_unsigned())),
        Cell::Flag(flag) => flag.to_string(),
        Cell::Decimal(money) => money.to_string(),
        Cell::Real(number) => number.to_string(),
    });
    let plain: Vec<String> = plain.collect();
    let mut out = String::new();
    let cells = row.iter().zip(&plain).map(|(cell, plain)| match cell {
        Cell::Null => csv::Cell::Unknown,
        Cell::Text(text) => csv::Cell::Text(text),
        _ => csv::Cell::Plain(plain),
    });
    csv::row(&mut out, cells);
    out
}
