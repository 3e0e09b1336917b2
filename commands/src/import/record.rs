//! Reads one record of a source file strictly, and says where it is broken.

use ruche_domain::limits::IMPORT_RECORD_BYTES_MAX;
use ruche_domain::strict_json::{self, Profile};
use serde::Deserialize;
use serde_json::Value;

use super::BadRecord;

/// A record, and where it stands in its file.
pub(super) struct RawRecord<'a> {
    /// A JSON pointer, or `line <n>`.
    pub place: String,
    pub text: &'a str,
}

impl<'a> RawRecord<'a> {
    /// The record of these bytes, once they are JSON that every reader understands alike.
    pub fn new(place: String, bytes: &'a [u8]) -> Result<Self, BadRecord> {
        strict_json::read(bytes, IMPORT_RECORD_BYTES_MAX, Profile::Exact).map_err(|fault| BadRecord {
            path: join(&place, &fault.pointer),
            reason: format!("{} (byte {} of the record)", fault.kind.reason(), fault.offset),
        })?;
        let text = std::str::from_utf8(bytes).map_err(|_| BadRecord {
            path: place.clone(),
            reason: "not UTF-8".to_owned(),
        })?;
        Ok(Self { place, text })
    }

    /// The record as a type; a fault names the innermost place.
    pub fn parse<T: Deserialize<'a>>(&self) -> Result<T, BadRecord> {
        parse(&self.place, self.text)
    }
}

/// A part of a record as a type.
pub(super) fn parse<'a, T: Deserialize<'a>>(place: &str, text: &'a str) -> Result<T, BadRecord> {
    let mut reader = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| BadRecord {
        path: join(place, &pointer(error.path())),
        reason: error.inner().to_string(),
    })
}

/// A pointer into something at a place.
pub(super) fn join(place: &str, pointer: &str) -> String {
    match (place.starts_with("line"), pointer.is_empty()) {
        (_, true) => place.to_owned(),
        (true, false) => format!("{place} {pointer}"),
        (false, false) => format!("{place}{pointer}"),
    }
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter().fold(String::new(), |pointer, segment| match segment {
        Segment::Seq { index } => format!("{pointer}/{index}"),
        Segment::Map { key } => format!("{pointer}/{}", strict_json::escape_pointer(key)),
        Segment::Enum { .. } | Segment::Unknown => pointer,
    })
}

/// The members of an object that a front did not take into fields of its own.
pub(super) fn others(place: &str, text: &str, known: &[&str]) -> Result<ruche_domain::Ext, BadRecord> {
    let mut all: ruche_domain::Ext = parse(place, text)?;
    all.retain(|name, _| !known.contains(&name.as_str()));
    Ok(all)
}

/// A value where there is one.
pub(super) fn insert(ext: &mut ruche_domain::Ext, name: &str, value: Option<Value>) {
    if let Some(value) = value.filter(|value| !value.is_null()) {
        ext.insert(name.to_owned(), value);
    }
}
