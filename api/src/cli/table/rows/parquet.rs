//! Apache Parquet: every column has its type, and may be null. Rows are gathered into groups, which bounds memory.

use std::fs::File;
use std::io::{self, BufWriter};
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DataType, DoubleType, FixedLenByteArray, FixedLenByteArrayType,
    Int64Type,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::Type;
use ruche_projections::bi::{Cell, Column, Kind};

use super::Head;

/// Rows of a group at most.
const GROUP_ROWS_MAX: usize = 50_000;
/// Bytes of text that a group holds at most, but for one page more.
const GROUP_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Digits of a decimal, and of these behind the point.
const PRECISION: i32 = 38;
const SCALE: i32 = 27;
const DECIMAL_BYTES: i32 = 16;

/// A file that takes rows.
pub(in crate::cli::table) struct Writer<'f> {
    columns: &'static [Column],
    out: SerializedFileWriter<BufWriter<&'f mut File>>,
    rows: Vec<Vec<Cell>>,
    text_bytes: usize,
}

impl<'f> Writer<'f> {
    /// Begins a file, which says of what it is.
    pub(super) fn begin(head: &Head, file: &'f mut File) -> io::Result<Self> {
        let columns = head.table.columns;
        let fields = columns.iter().map(|column| field(column).map(Arc::new));
        let schema = Type::group_type_builder(head.table.name)
            .with_fields(fields.collect::<Result<_, _>>().map_err(other)?)
            .build()
            .map_err(other)?;
        let said = [
            ("ruche.table", Some(head.table.name.to_owned())),
            ("ruche.ledger", Some(head.ledger.clone())),
            ("ruche.position", head.position.clone()),
            ("ruche.recorded_at", head.recorded_at.clone()),
        ];
        let said = said.into_iter().filter(|(_, value)| value.is_some());
        let said = said.map(|(key, value)| KeyValue::new(key.to_owned(), value));
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(concat!("ruche ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_key_value_metadata(Some(said.collect()));
        let out = SerializedFileWriter::new(
            BufWriter::new(file),
            Arc::new(schema),
            Arc::new(properties.build()),
        );
        Ok(Self {
            columns,
            out: out.map_err(other)?,
            rows: Vec::new(),
            text_bytes: 0,
        })
    }

    /// Takes rows, and writes a group when there are enough.
    pub(super) fn add(&mut self, rows: Vec<Vec<Cell>>) -> io::Result<()> {
        let bytes = |cell: &Cell| {
            if let Cell::Text(text) = cell {
                text.len()
            } else {
                0
            }
        };
        self.text_bytes += rows.iter().flatten().map(bytes).sum::<usize>();
        self.rows.extend(rows);
        if self.rows.len() >= GROUP_ROWS_MAX || self.text_bytes >= GROUP_BYTES_MAX {
            self.group()?;
        }
        Ok(())
    }

    fn group(&mut self) -> io::Result<()> {
        self.text_bytes = 0;
        let rows = std::mem::take(&mut self.rows);
        if rows.is_empty() {
            return Ok(());
        }
        let mut group = self.out.next_row_group().map_err(other)?;
        for (place, column) in self.columns.iter().enumerate() {
            let cells = rows.iter().map(|row| &row[place]);
            match column.kind {
                Kind::Text | Kind::Id | Kind::Position | Kind::Json => {
                    chunk::<ByteArrayType>(&mut group, column, cells, |cell| match cell {
                        Cell::Text(text) => Some(ByteArray::from(text.as_str())),
                        _ => None,
                    })?;
                }
                Kind::Count | Kind::Micros | Kind::Time => {
                    chunk::<Int64Type>(&mut group, column, cells, |cell| match cell {
                        Cell::Int(number) | Cell::Time(number) => Some(*number),
                        _ => None,
                    })?;
                }
                Kind::Flag => chunk::<BoolType>(&mut group, column, cells, |cell| match cell {
                    Cell::Flag(flag) => Some(*flag),
                    _ => None,
                })?,
                Kind::Real => chunk::<DoubleType>(&mut group, column, cells, |cell| match cell {
                    Cell::Real(number) => Some(*number),
                    _ => None,
                })?,
                Kind::Decimal => {
                    chunk::<FixedLenByteArrayType>(&mut group, column, cells, |cell| match cell {
                        Cell::Decimal(money) => {
                            let scaled = money.scaled().filter(|scaled| scaled.abs() < 10_i128.pow(38))?;
                            let bytes = scaled.to_be_bytes().to_vec();
                            Some(FixedLenByteArray::from(ByteArray::from(bytes)))
                        }
                        _ => None,
                    })?
                }
            }
        }
        group.close().map_err(other)?;
        Ok(())
    }

    /// Writes the last group and the end.
    pub(super) fn end(mut self) -> io::Result<()> {
        self.group()?;
        let out = self.out.into_inner().map_err(other)?;
        out.into_inner().map_err(|error| error.into_error())?;
        Ok(())
    }
}

/// Writes the values of one column. A cell of another kind is refused, and never written as null.
fn chunk<'c, T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, BufWriter<&mut File>>,
    column: &Column,
    cells: impl Iterator<Item = &'c Cell>,
    value: impl Fn(&Cell) -> Option<T::T>,
) -> io::Result<()> {
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    for cell in cells {
        if *cell == Cell::Null {
            levels.push(0);
            continue;
        }
        let fits = value(cell).ok_or_else(|| does_not_fit(column, cell))?;
        values.push(fits);
        levels.push(1);
    }
    let writer = group.next_column().map_err(other)?;
    let mut writer = writer.ok_or_else(|| io::Error::other("the file has fewer columns than the table"))?;
    writer
        .typed::<T>()
        .write_batch(values.as_slice(), Some(&levels), None)
        .map_err(other)?;
    writer.close().map_err(other)
}

fn does_not_fit(column: &Column, cell: &Cell) -> io::Error {
    let (name, parquet) = (column.name, column.kind.types()[2]);
    io::Error::other(match cell {
        Cell::Decimal(money) => format!("{name}: {money} does not fit in {parquet}; --format csv holds it"),
        _ => format!("{name}: a value is not of its type, {parquet}"),
    })
}

fn field(column: &Column) -> Result<Type, ParquetError> {
    let of =
        |physical| Type::primitive_type_builder(column.name, physical).with_repetition(Repetition::OPTIONAL);
    match column.kind {
        Kind::Text | Kind::Id | Kind::Position | Kind::Json => of(Physical::BYTE_ARRAY)
            .with_logical_type(Some(LogicalType::String))
            .build(),
        Kind::Count | Kind::Micros => of(Physical::INT64).build(),
        Kind::Time => {
            let micros = LogicalType::timestamp(true, TimeUnit::MICROS);
            of(Physical::INT64).with_logical_type(Some(micros)).build()
        }
        Kind::Flag => of(Physical::BOOLEAN).build(),
        Kind::Real => of(Physical::DOUBLE).build(),
        Kind::Decimal => of(Physical::FIXED_LEN_BYTE_ARRAY)
            .with_length(DECIMAL_BYTES)
            .with_logical_type(Some(LogicalType::decimal(SCALE, PRECISION)))
            .with_precision(PRECISION)
            .with_scale(SCALE)
            .build(),
    }
}

fn other(error: ParquetError) -> io::Error {
    io::Error::other(error)
}
