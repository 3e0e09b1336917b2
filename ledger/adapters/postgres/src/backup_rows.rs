//! Rows of `COPY … BINARY`, read one by one.

use std::io::{self, BufReader, Read};

use ruche_domain::ids::LedgerId;
use ruche_ledger::hash::Hash;
use uuid::Uuid;

use crate::backup_file::{Section, broken};

/// What stands before the rows: a signature, no flags, and nothing more of a header.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// In the place of a number of columns, behind the last row.
const TRAILER: i16 = -1;

/// The rows of one table.
pub(crate) struct Rows {
    input: BufReader<Section>,
    columns: usize,
}

/// A row. No column of a backup is ever null.
pub(crate) struct Row(Vec<Vec<u8>>);

impl Rows {
    /// Rows with so many columns.
    pub(crate) fn of(section: Section, columns: usize) -> io::Result<Self> {
        let mut input = BufReader::new(section);
        let mut header = [0; HEADER.len()];
        input.read_exact(&mut header)?;
        if header != *HEADER {
            return Err(broken("a table does not begin as tables do"));
        }
        Ok(Self { input, columns })
    }

    /// The next row; `None` behind the last.
    pub(crate) fn next(&mut self) -> io::Result<Option<Row>> {
        let mut count = [0; 2];
        self.input.read_exact(&mut count)?;
        let count = i16::from_be_bytes(count);
        if count == TRAILER {
            return match self.input.read(&mut [0])? {
                0 => Ok(None),
                _ => Err(broken("there is something behind the end of a table")),
            };
        }
        if usize::try_from(count) != Ok(self.columns) {
            return Err(broken(format!("a row has {count} columns, not {}", self.columns)));
        }
        let columns = (0..self.columns).map(|_| self.column());
        Ok(Some(Row(columns.collect::<io::Result<_>>()?)))
    }

    fn column(&mut self) -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.input.read_exact(&mut length)?;
        let length = u64::try_from(i32::from_be_bytes(length)).map_err(|_| broken("a column is null"))?;
        // Grows with what is there: a length that is not true takes no memory.
        let mut column = Vec::new();
        let read = Read::take(&mut self.input, length).read_to_end(&mut column)?;
        if read as u64 != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(column)
    }
}

impl Row {
    pub(crate) fn bytes(&self, at: usize) -> &[u8] {
        &self.0[at]
    }

    /// Takes a column out of the row.
    pub(crate) fn take(&mut self, at: usize) -> Vec<u8> {
        std::mem::take(&mut self.0[at])
    }

    fn fixed<const N: usize>(&self, at: usize) -> io::Result<[u8; N]> {
        let bytes = self.bytes(at).try_into();
        bytes.map_err(|_| broken(format!("column {at} of a row has not {N} bytes")))
    }

    pub(crate) fn ledger(&self) -> io::Result<LedgerId> {
        Ok(LedgerId(Uuid::from_bytes(self.fixed(0)?)))
    }

    /// A `bigint` that is never negative.
    pub(crate) fn number(&self, at: usize) -> io::Result<u64> {
        let number = i64::from_be_bytes(self.fixed(at)?);
        u64::try_from(number).map_err(|_| broken(format!("column {at} of a row is negative")))
    }

    /// The number of an epoch.
    pub(crate) fn epoch(&self, at: usize) -> io::Result<u32> {
        u32::try_from(self.number(at)?).map_err(|_| broken("an epoch has a number that none has"))
    }

    /// A `smallint` that is never negative.
    pub(crate) fn small(&self, at: usize) -> io::Result<u16> {
        let number = i16::from_be_bytes(self.fixed(at)?);
        u16::try_from(number).map_err(|_| broken(format!("column {at} of a row is negative")))
    }

    /// An `integer` that is never negative.
    pub(crate) fn count(&self, at: usize) -> io::Result<u32> {
        let number = i32::from_be_bytes(self.fixed(at)?);
        u32::try_from(number).map_err(|_| broken(format!("column {at} of a row is negative")))
    }

    pub(crate) fn text(&self, at: usize) -> io::Result<&str> {
        std::str::from_utf8(self.bytes(at)).map_err(|_| broken(format!("column {at} of a row is no UTF-8")))
    }

    pub(crate) fn hash(&self, at: usize) -> io::Result<Hash> {
        Ok(Hash(self.fixed(at)?))
    }
}
