//! The scanner: one pass, recursion bounded by the depth limit, no work on the good path for the sake of errors.

use serde_json::map::Entry;
use serde_json::{Map, Value};

use super::number;
use super::{JsonFault, JsonFaultKind, Profile, escape_pointer};
use crate::limits::JSON_DEPTH_MAX;

/// A fault on its way up; each level adds the step that leads down to it.
pub(super) struct Path {
    kind: JsonFaultKind,
    offset: usize,
    /// Innermost first.
    steps: Vec<String>,
}

impl Path {
    fn below(mut self: Box<Self>, step: String) -> Box<Self> {
        self.steps.push(step);
        self
    }

    pub(super) fn into_fault(self) -> JsonFault {
        let pointer = self.steps.iter().rev().map(|step| format!("/{step}")).collect();
        JsonFault {
            kind: self.kind,
            pointer,
            offset: self.offset,
        }
    }
}

type Read<T> = Result<T, Box<Path>>;

pub(super) struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    /// Offset of the next byte. Always at a character boundary of `text` between tokens.
    at: usize,
    /// The text was cut before invalid UTF-8: its end is that fault.
    truncated: bool,
    profile: Profile,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str, truncated: bool, profile: Profile) -> Self {
        Self {
            text,
            bytes: text.as_bytes(),
            at: 0,
            truncated,
            profile,
        }
    }

    /// The whole text: one value, white space around it.
    pub(super) fn document(mut self) -> Read<Value> {
        self.skip_space();
        if self.at == self.bytes.len() && !self.truncated {
            return Err(self.fault(JsonFaultKind::Empty));
        }
        let value = self.value(0)?;
        self.skip_space();
        match self.peek() {
            None if self.truncated => Err(self.fault(JsonFaultKind::InvalidUtf8)),
            None => Ok(value),
            Some(0) => Err(self.fault(JsonFaultKind::Nul)),
            Some(_) => Err(self.fault(JsonFaultKind::TrailingData)),
        }
    }

    /// A value inside `depth` arrays and objects.
    fn value(&mut self, depth: usize) -> Read<Value> {
        match self.peek() {
            Some(b'"') => Ok(Value::String(self.string()?)),
            Some(b'{') => self.nested(depth, Self::object),
            Some(b'[') => self.nested(depth, Self::array),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            _ => Err(self.unexpected()),
        }
    }

    fn nested(&mut self, depth: usize, read: fn(&mut Self, usize) -> Read<Value>) -> Read<Value> {
        if depth == JSON_DEPTH_MAX {
            return Err(self.fault(JsonFaultKind::TooDeep));
        }
        self.at += 1;
        self.skip_space();
        read(self, depth + 1)
    }

    fn object(&mut self, depth: usize) -> Read<Value> {
        let mut members = Map::new();
        if self.take(b'}') {
            return Ok(Value::Object(members));
        }
        loop {
            let name_at = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.unexpected());
            }
            let name = self.string()?;
            match members.entry(name) {
                Entry::Occupied(member) => {
                    self.at = name_at;
                    let step = escape_pointer(member.key());
                    return Err(self.fault(JsonFaultKind::DuplicateKey).below(step));
                }
                Entry::Vacant(member) => {
                    self.skip_space();
                    self.expect(b':')?;
                    self.skip_space();
                    match self.value(depth) {
                        Ok(value) => member.insert(value),
                        Err(path) => return Err(path.below(escape_pointer(member.key()))),
                    };
                }
            }
            self.skip_space();
            if self.take(b'}') {
                return Ok(Value::Object(members));
            }
            self.expect(b',')?;
            self.skip_space();
        }
    }

    fn array(&mut self, depth: usize) -> Read<Value> {
        let mut items = Vec::new();
        if self.take(b']') {
            return Ok(Value::Array(items));
        }
        loop {
            match self.value(depth) {
                Ok(item) => items.push(item),
                Err(path) => return Err(path.below(items.len().to_string())),
            }
            self.skip_space();
            if self.take(b']') {
                return Ok(Value::Array(items));
            }
            self.expect(b',')?;
            self.skip_space();
        }
    }

    fn number(&mut self) -> Read<Value> {
        let start = self.at;
        let length = self.bytes[start..]
            .iter()
            .take_while(|byte| number::belongs(**byte))
            .count();
        let text = &self.text[start..start + length];
        match number::read(text, self.profile) {
            Ok(number) => {
                self.at += length;
                Ok(Value::Number(number))
            }
            // A number that the cut or the end of the text breaks off is judged by what breaks it off.
            Err(JsonFaultKind::Syntax) if start + length == self.bytes.len() => {
                self.at += length;
                Err(self.unexpected())
            }
            Err(kind) => Err(self.fault(kind)),
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Read<Value> {
        for byte in word.bytes() {
            self.expect(byte)?;
        }
        Ok(value)
    }

    /// A string, from its opening quote to behind its closing one.
    fn string(&mut self) -> Read<String> {
        self.at += 1;
        let start = self.at;
        self.at += plain_bytes(&self.bytes[start..]);
        if self.peek() == Some(b'"') {
            let text = self.text[start..self.at].to_owned();
            self.at += 1;
            return Ok(text);
        }
        let mut text = self.text[start..self.at].to_owned();
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => text.push(self.escape()?),
                // The end, or a control character.
                _ => return Err(self.unexpected()),
            }
            let plain = self.at;
            self.at += plain_bytes(&self.bytes[plain..]);
            text.push_str(&self.text[plain..self.at]);
        }
    }

    /// An escape sequence, two of them for a pair of surrogates.
    fn escape(&mut self) -> Read<char> {
        let start = self.at;
        self.at += 1;
        let plain = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(start),
            _ => return Err(self.unexpected()),
        };
        self.at += 1;
        Ok(plain)
    }

    fn unicode_escape(&mut self, start: usize) -> Read<char> {
        self.at += 1;
        let unit = self.four_hex()?;
        let code = match unit {
            0 => return Err(self.fault_at(start, JsonFaultKind::Nul)),
            0xd800..0xdc00 => {
                if !self.bytes[self.at..].starts_with(b"\\u") {
                    return Err(self.fault_at(start, JsonFaultKind::LoneSurrogate));
                }
                self.at += 2;
                let low = self.four_hex()?;
                if !(0xdc00..0xe000).contains(&low) {
                    return Err(self.fault_at(start, JsonFaultKind::LoneSurrogate));
                }
                0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00)
            }
            other => other,
        };
        char::from_u32(code).ok_or_else(|| self.fault_at(start, JsonFaultKind::LoneSurrogate))
    }

    fn four_hex(&mut self) -> Read<u32> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            let Some(digit) = digit else {
                return Err(self.unexpected());
            };
            unit = unit << 4 | digit;
            self.at += 1;
        }
        Ok(unit)
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn expect(&mut self, byte: u8) -> Read<()> {
        if self.take(byte) {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    /// The fault of a byte, or of an end, that no rule of the grammar takes.
    #[cold]
    fn unexpected(&self) -> Box<Path> {
        self.fault(match self.peek() {
            None if self.truncated => JsonFaultKind::InvalidUtf8,
            Some(0) => JsonFaultKind::Nul,
            _ => JsonFaultKind::Syntax,
        })
    }

    #[cold]
    fn fault(&self, kind: JsonFaultKind) -> Box<Path> {
        self.fault_at(self.at, kind)
    }

    #[cold]
    fn fault_at(&self, offset: usize, kind: JsonFaultKind) -> Box<Path> {
        Box::new(Path {
            kind,
            offset,
            steps: Vec::new(),
        })
    }
}

/// How many bytes at the front need no attention inside a string: neither quote, backslash nor control character.
fn plain_bytes(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = ONES << 7;
    let mut at = 0;
    // Eight bytes at a time: `x - ONES & !x & HIGHS` marks zero bytes, and the lowest mark is always right.
    while let Some(chunk) = bytes[at..].first_chunk::<8>() {
        let word = u64::from_le_bytes(*chunk);
        let quote = word ^ (ONES * b'"' as u64);
        let backslash = word ^ (ONES * b'\\' as u64);
        let marks = (quote.wrapping_sub(ONES) & !quote)
            | (backslash.wrapping_sub(ONES) & !backslash)
            | (word.wrapping_sub(ONES * 0x20) & !word);
        let marks = marks & HIGHS;
        if marks != 0 {
            return at + (marks.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let special = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    at + bytes[at..].iter().position(special).unwrap_or(bytes.len() - at)
}

#[cfg(test)]
mod tests {
    use super::plain_bytes;

    #[test]
    fn plain_bytes_agree_with_looking_at_each() {
        let slow = |bytes: &[u8]| {
            let stop = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
            bytes.iter().position(stop).unwrap_or(bytes.len())
        };
        for special in 0..=255u8 {
            for other in [b' ', b'!', b'#', b'[', b']', 0x7f, 0x80, 0xa2, 0xdc, 0xff] {
                for place in 0..19 {
                    let mut bytes = [other; 19];
                    bytes[place] = special;
                    assert_eq!(
                        plain_bytes(&bytes),
                        slow(&bytes),
                        "{special:#x} among {other:#x} at {place}"
                    );
                    bytes[18] = b'"';
                    assert_eq!(plain_bytes(&bytes), slow(&bytes));
                }
            }
        }
    }
}
