//! The fragments of a payload bundle, one after the other, in bounded memory.

use std::fs::File;
use std::io::{self, Read};

/// Bytes read at a time, and kept.
const BUFFER_BYTES: usize = 256 * 1024;
/// Bytes before the stored bytes of a fragment that is there, the mark not counted: opening and length.
const HEAD_BYTES: usize = 32 + 4;

/// A fragment as it stands in the bundle.
#[derive(Debug)]
pub enum Fragment<'a> {
    /// Mark `01`.
    Present {
        /// The opening.
        opening: &'a [u8; 32],
        /// The stored bytes.
        bytes: &'a [u8],
    },
    /// Mark `00`.
    Missing,
    /// Neither, or the bundle ends within it.
    Malformed,
}

/// Reads a payload bundle. Holds a quarter of a mebibyte, or the longest fragment if that is more; a fragment's
/// length is believed only as far as the file goes.
#[derive(Debug)]
pub struct PayloadStream {
    file: File,
    /// Bytes that were not read from the file yet.
    left: u64,
    buffer: Vec<u8>,
    /// What of the buffer is not consumed yet.
    start: usize,
    end: usize,
}

impl PayloadStream {
    /// The fragments of `file`, in a buffer that was used before.
    ///
    /// # Errors
    /// When the length of the file cannot be had.
    pub fn new(file: File, mut buffer: Vec<u8>) -> io::Result<Self> {
        let left = file.metadata()?.len();
        buffer.resize(buffer.len().max(BUFFER_BYTES), 0);
        Ok(Self {
            file,
            left,
            buffer,
            start: 0,
            end: 0,
        })
    }

    /// The buffer, for the next bundle.
    #[must_use]
    pub fn into_buffer(mut self) -> Vec<u8> {
        // One huge fragment does not stay in memory for the rest of the export.
        self.buffer.truncate(BUFFER_BYTES);
        self.buffer.shrink_to(BUFFER_BYTES);
        self.buffer
    }

    /// The next fragment.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn next_fragment(&mut self) -> io::Result<Fragment<'_>> {
        if !self.fill(1)? {
            return Ok(Fragment::Malformed);
        }
        match self.buffer[self.start] {
            0 => {
                self.start += 1;
                return Ok(Fragment::Missing);
            }
            1 => {}
            _ => return Ok(Fragment::Malformed),
        }
        if !self.fill(1 + HEAD_BYTES)? {
            return Ok(Fragment::Malformed);
        }
        let length = &self.buffer[self.start + 33..self.start + 37];
        let length = u32::from_be_bytes(length.try_into().expect("four bytes"));
        let Some(whole) = usize::try_from(length)
            .ok()
            .and_then(|length| length.checked_add(1 + HEAD_BYTES))
        else {
            return Ok(Fragment::Malformed);
        };
        if !self.fill(whole)? {
            return Ok(Fragment::Malformed);
        }
        let fragment = &self.buffer[self.start + 1..self.start + whole];
        self.start += whole;
        let (opening, rest) = fragment.split_first_chunk::<32>().expect("filled above");
        Ok(Fragment::Present {
            opening,
            bytes: &rest[4..],
        })
    }

    /// Whether nothing stands behind the last fragment.
    #[must_use]
    pub const fn is_at_end(&self) -> bool {
        self.left == 0 && self.start == self.end
    }

    /// Brings `count` bytes into the buffer; false if there are not so many.
    fn fill(&mut self, count: usize) -> io::Result<bool> {
        if self.end - self.start >= count {
            return Ok(true);
        }
        let missing = (count - (self.end - self.start)) as u64;
        if missing > self.left {
            return Ok(false);
        }
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.buffer.len() < count {
            self.buffer.resize(count, 0);
        }
        while self.end < count {
            let read = self.file.read(&mut self.buffer[self.end..])?;
            if read == 0 {
                // The file became shorter while it was read.
                self.left = 0;
                return Ok(false);
            }
            self.end += read;
            self.left = self.left.saturating_sub(read as u64);
        }
        Ok(true)
    }
}
