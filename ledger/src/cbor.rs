//! The four shapes of deterministic CBOR that leaves use: unsigned integer, byte string, text string, array.
//!
//! RFC 8949 §4.2.1: shortest heads, definite lengths. Everything else (negative numbers, maps, tags, floats, simple
//! values, indefinite lengths) does not exist here, so two different byte strings never mean the same leaf.

/// Why bytes are not the CBOR of a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CborError {
    /// The bytes end inside an item.
    #[error("ends inside an item at byte {at}")]
    Truncated {
        /// Byte offset.
        at: usize,
    },
    /// Another major type or value stands here than the format asks for.
    #[error("expected {expected} at byte {at}")]
    WrongType {
        /// What the format asks for.
        expected: &'static str,
        /// Byte offset.
        at: usize,
    },
    /// An integer or a length is not written in its shortest form, or a length is indefinite.
    #[error("head is not in its shortest form at byte {at}")]
    NotShortest {
        /// Byte offset.
        at: usize,
    },
    /// A text string is not UTF-8.
    #[error("text is not UTF-8 at byte {at}")]
    NotUtf8 {
        /// Byte offset.
        at: usize,
    },
    /// Bytes follow the item.
    #[error("{count} bytes follow the item")]
    Trailing {
        /// How many.
        count: usize,
    },
}

const UINT: u8 = 0;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;

/// Appends items to a buffer.
pub struct Writer<'a>(pub &'a mut Vec<u8>);

impl Writer<'_> {
    fn head(&mut self, major: u8, value: u64) {
        let major = major << 5;
        match value {
            0..=23 => self.0.push(major | value as u8),
            24..=0xff => self.0.extend_from_slice(&[major | 24, value as u8]),
            0x100..=0xffff => {
                self.0.push(major | 25);
                self.0.extend_from_slice(&(value as u16).to_be_bytes());
            }
            0x1_0000..=0xffff_ffff => {
                self.0.push(major | 26);
                self.0.extend_from_slice(&(value as u32).to_be_bytes());
            }
            _ => {
                self.0.push(major | 27);
                self.0.extend_from_slice(&value.to_be_bytes());
            }
        }
    }

    /// An unsigned integer.
    pub fn uint(&mut self, value: u64) {
        self.head(UINT, value);
    }

    /// A byte string.
    pub fn bytes(&mut self, value: &[u8]) {
        self.head(BYTES, value.len() as u64);
        self.0.extend_from_slice(value);
    }

    /// A text string.
    pub fn text(&mut self, value: &str) {
        self.head(TEXT, value.len() as u64);
        self.0.extend_from_slice(value.as_bytes());
    }

    /// The head of an array of `len` items; the items follow.
    pub fn array(&mut self, len: usize) {
        self.head(ARRAY, len as u64);
    }
}

/// Reads items, refusing everything that `Writer` would not have written.
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], CborError> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or(CborError::Truncated { at: self.at })?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn head(&mut self, major: u8, expected: &'static str) -> Result<u64, CborError> {
        let at = self.at;
        let first = self.take(1)?[0];
        if first >> 5 != major {
            return Err(CborError::WrongType { expected, at });
        }
        let (value, least) = match first & 0x1f {
            small @ 0..=23 => (u64::from(small), 0),
            24 => (u64::from(self.take(1)?[0]), 24),
            25 => (be(self.take(2)?), 0x100),
            26 => (be(self.take(4)?), 0x1_0000),
            27 => (be(self.take(8)?), 0x1_0000_0000),
            _ => return Err(CborError::NotShortest { at }),
        };
        if value < least {
            Err(CborError::NotShortest { at })
        } else {
            Ok(value)
        }
    }

    /// An unsigned integer.
    pub fn uint(&mut self) -> Result<u64, CborError> {
        self.head(UINT, "an unsigned integer")
    }

    /// A byte string.
    pub fn bytes(&mut self) -> Result<&'a [u8], CborError> {
        let len = self.head(BYTES, "a byte string")?;
        let len = usize::try_from(len).map_err(|_| CborError::Truncated { at: self.at })?;
        self.take(len)
    }

    /// A text string.
    pub fn text(&mut self) -> Result<&'a str, CborError> {
        let len = self.head(TEXT, "a text string")?;
        let len = usize::try_from(len).map_err(|_| CborError::Truncated { at: self.at })?;
        let at = self.at;
        std::str::from_utf8(self.take(len)?).map_err(|_| CborError::NotUtf8 { at })
    }

    /// The head of an array; returns how many items follow.
    pub fn array(&mut self) -> Result<u64, CborError> {
        self.head(ARRAY, "an array")
    }

    /// Whether the next item is the empty array, which stands for "absent". Consumes it if so.
    pub fn absent(&mut self) -> Result<bool, CborError> {
        let empty = self
            .bytes
            .get(self.at)
            .ok_or(CborError::Truncated { at: self.at })?
            == &(ARRAY << 5);
        if empty {
            self.at += 1;
        }
        Ok(empty)
    }

    /// Byte offset of the next item.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Refuses bytes behind the last item.
    pub fn end(self) -> Result<(), CborError> {
        match self.bytes.len() - self.at {
            0 => Ok(()),
            count => Err(CborError::Trailing { count }),
        }
    }
}

fn be(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8949 appendix A, the rows that concern unsigned integers, strings and arrays.
    #[test]
    fn integers_of_rfc_8949_appendix_a() {
        for (value, hex) in [
            (0, "00"),
            (1, "01"),
            (10, "0a"),
            (23, "17"),
            (24, "1818"),
            (25, "1819"),
            (100, "1864"),
            (1000, "1903e8"),
            (1_000_000, "1a000f4240"),
            (1_000_000_000_000, "1b000000e8d4a51000"),
            (u64::MAX, "1bffffffffffffffff"),
        ] {
            let mut out = Vec::new();
            Writer(&mut out).uint(value);
            assert_eq!(hex::encode(&out), hex);
            let mut reader = Reader::new(&out);
            assert_eq!(reader.uint(), Ok(value));
            assert_eq!(reader.end(), Ok(()));
        }
    }

    #[test]
    fn longer_forms_are_refused() {
        for hex in [
            "1817",
            "190018",
            "1900ff",
            "1a0000ffff",
            "1b00000000ffffffff",
            "1f",
            "1c",
        ] {
            let bytes = hex::decode(hex).unwrap();
            assert_eq!(
                Reader::new(&bytes).uint(),
                Err(CborError::NotShortest { at: 0 }),
                "{hex}"
            );
        }
    }

    #[test]
    fn strings_are_bounded_and_utf8() {
        assert_eq!(
            Reader::new(&[0x62, b'a']).text(),
            Err(CborError::Truncated { at: 1 })
        );
        assert_eq!(
            Reader::new(&[0x61, 0xff]).text(),
            Err(CborError::NotUtf8 { at: 1 })
        );
        assert_eq!(
            Reader::new(&[0x5f, 0xff]).bytes(),
            Err(CborError::NotShortest { at: 0 })
        );
        assert_eq!(
            Reader::new(&[0x5b, 255, 255, 255, 255, 255, 255, 255, 255]).bytes(),
            Err(CborError::Truncated { at: 9 })
        );
        assert_eq!(
            Reader::new(&[0xa0]).array(),
            Err(CborError::WrongType {
                expected: "an array",
                at: 0
            })
        );
    }
}
