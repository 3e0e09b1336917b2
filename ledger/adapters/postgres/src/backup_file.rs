//! The file of a backup: what `COPY … BINARY` gives for each table, in frames, and a hash of all of it.
//!
//! [`MAGIC`]; for each of [`TABLES`] its number as a byte, chunks with their length before them (4 bytes, big-endian), and
//! a length of 0; a byte 0; SHA-256 of everything before; nothing behind it.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use sha2::{Digest, Sha256};

/// First bytes, with the version of the format.
const MAGIC: &[u8] = b"ruche backup of postgresql 1\n";
/// Bytes of one chunk.
const CHUNK_MAX: usize = 65_536;
/// Behind the last table.
const END: u8 = 0;
const HASH_BYTES: usize = 32;

/// What is copied of a table.
pub(crate) struct Table {
    pub name: &'static str,
    pub columns: &'static str,
    /// The check walks through the tables side by side, so they come in the order of their keys.
    pub order: &'static str,
}

/// The tables of a backup. Tiles are left out: they are derived, and made again. Nodes and leases are of no use later.
pub(crate) const TABLES: [Table; 8] = [
    Table {
        name: "epoch",
        columns: "ledger, epoch, origin",
        order: "ledger, epoch",
    },
    Table {
        name: "head",
        columns: "ledger, epoch, origin, size, last_leaf_hash, last_recorded_at",
        order: "ledger",
    },
    Table {
        name: "record",
        columns: "ledger, epoch, index, stream, stream_version, leaf",
        order: "ledger, epoch, index",
    },
    Table {
        name: "payload",
        columns: "ledger, epoch, index, fragment, opening, bytes",
        order: "ledger, epoch, index, fragment",
    },
    Table {
        name: "stream_head",
        columns: "ledger, stream, version",
        order: "ledger, stream",
    },
    Table {
        name: "idempotency",
        columns: "ledger, layer, key_hash, request, epoch, first, count",
        order: "ledger, layer, key_hash",
    },
    Table {
        name: "tree_head",
        columns: "ledger, epoch, size, note",
        order: "ledger, epoch",
    },
    Table {
        name: "archived_range",
        columns: "ledger, epoch, first, behind, archive, digest",
        order: "ledger, epoch, first",
    },
];
/// How many of them every backup has. The last one is there if something is archived: so a backup without is read by versions
/// that know of no archives, and one with is refused by them.
pub(crate) const TABLES_ALWAYS: usize = TABLES.len() - 1;
pub(crate) const EPOCH: usize = 0;
pub(crate) const HEAD: usize = 1;
pub(crate) const RECORD: usize = 2;
pub(crate) const PAYLOAD: usize = 3;
pub(crate) const STREAM_HEAD: usize = 4;
pub(crate) const IDEMPOTENCY: usize = 5;
pub(crate) const ARCHIVED_RANGE: usize = 7;

/// Something in the file that no backup has.
pub(crate) fn broken(reason: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.into())
}

/// A backup that is being written.
pub(crate) struct Writer {
    out: BufWriter<File>,
    hash: Sha256,
    /// Bytes so far.
    pub written: u64,
}

impl Writer {
    /// Begins a new file that is its owner's alone from the first byte on: all payloads are in it.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        let mut writer = Self {
            out: BufWriter::new(file),
            hash: Sha256::new(),
            written: 0,
        };
        writer.put(MAGIC)?;
        Ok(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.written += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    /// Begins the table with this place in [`TABLES`].
    pub(crate) fn begin(&mut self, table: usize) -> io::Result<()> {
        self.put(&[number_of(table)])
    }

    /// More of the table.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        for chunk in bytes.chunks(CHUNK_MAX) {
            self.put(&(chunk.len() as u32).to_be_bytes())?;
            self.put(chunk)?;
        }
        Ok(())
    }

    /// Ends the table.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        self.put(&0_u32.to_be_bytes())
    }

    /// Ends the file and flushes it to the disk.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.put(&[END])?;
        let hash = self.hash.finalize();
        self.out.write_all(&hash)?;
        let file = self.out.into_inner().map_err(|error| error.into_error())?;
        file.sync_all()
    }
}

fn number_of(table: usize) -> u8 {
    table as u8 + 1
}

/// A backup that is read from its beginning, and hashed.
pub(crate) struct Reader {
    input: BufReader<File>,
    hash: Sha256,
    /// Bytes so far.
    pub read: u64,
}

impl Reader {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut reader = Self {
            input: BufReader::new(File::open(path)?),
            hash: Sha256::new(),
            read: 0,
        };
        let mut magic = [0; MAGIC.len()];
        match reader.get(&mut magic) {
            Ok(()) if magic == *MAGIC => Ok(reader),
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
            _ => Err(broken("it is no backup that `ruche backup` made of a PostgreSQL")),
        }
    }

    fn get(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.input.read_exact(bytes)?;
        self.hash.update(&*bytes);
        self.read += bytes.len() as u64;
        Ok(())
    }

    /// Goes into a table, which has to be the next one. Says whether there is one: else the tables are over.
    pub(crate) fn begin(&mut self, table: usize) -> io::Result<bool> {
        if table >= TABLES_ALWAYS && self.input.fill_buf()?.first() == Some(&END) {
            return Ok(false);
        }
        self.expect(number_of(table), TABLES[table].name)?;
        Ok(true)
    }

    fn expect(&mut self, number: u8, what: &str) -> io::Result<()> {
        let mut found = [0];
        self.get(&mut found)?;
        if found[0] == number {
            return Ok(());
        }
        Err(broken(format!("{what} is not where it should begin")))
    }

    /// The next chunk of the table; `None` behind its last.
    pub(crate) fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut length = [0; 4];
        self.get(&mut length)?;
        let length = chunk_length(length)?;
        let mut chunk = vec![0; length];
        self.get(&mut chunk)?;
        Ok((length > 0).then_some(chunk))
    }

    /// Reads the end and compares the hash. Gives it.
    pub(crate) fn finish(mut self) -> io::Result<[u8; HASH_BYTES]> {
        self.expect(END, "its end")?;
        let mut said = [0; HASH_BYTES];
        self.input.read_exact(&mut said)?;
        let hash: [u8; HASH_BYTES] = self.hash.finalize().into();
        if said != hash {
            return Err(broken("its bytes are not those that were written"));
        }
        match self.input.read(&mut [0])? {
            0 => Ok(hash),
            _ => Err(broken("there is something behind its end")),
        }
    }
}

fn chunk_length(bytes: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_be_bytes(bytes) as usize;
    if length > CHUNK_MAX {
        return Err(broken("a chunk is longer than chunks are"));
    }
    Ok(length)
}

/// What a walk through the whole file shows.
pub(crate) struct Survey {
    pub hash: [u8; HASH_BYTES],
    /// Where the first chunk of each table is; 0 for one that is not there.
    pub begins: [u64; TABLES.len()],
    /// Bytes of the file, but for the hash.
    pub bytes: u64,
}

/// Walks through a file and compares its hash. `progress` is told bytes read.
pub(crate) fn survey(path: &Path, progress: &dyn Fn(u64)) -> io::Result<Survey> {
    let mut reader = Reader::open(path)?;
    let mut begins = [0; TABLES.len()];
    for (table, begin) in begins.iter_mut().enumerate() {
        if !reader.begin(table)? {
            break;
        }
        *begin = reader.read;
        while reader.chunk()?.is_some() {
            progress(reader.read);
        }
    }
    let bytes = reader.read;
    let hash = reader.finish()?;
    Ok(Survey { hash, begins, bytes })
}

/// What `COPY` gave for one table, without the frames.
pub(crate) struct Section {
    input: BufReader<File>,
    left: usize,
    is_over: bool,
}

impl Section {
    /// Opens the table whose first chunk is at `begin`.
    pub(crate) fn open(path: &Path, begin: u64) -> io::Result<Self> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(begin))?;
        Ok(Self {
            input: BufReader::new(file),
            left: 0,
            is_over: false,
        })
    }
}

impl Read for Section {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !self.is_over {
            let mut length = [0; 4];
            self.input.read_exact(&mut length)?;
            self.left = chunk_length(length)?;
            self.is_over = self.left == 0;
        }
        if self.is_over || into.is_empty() {
            return Ok(0);
        }
        let most = into.len().min(self.left);
        let read = self.input.read(&mut into[..most])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read;
        Ok(read)
    }
}
