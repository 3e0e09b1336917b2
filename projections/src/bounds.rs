//! How large a number of one event may be so that read models can hold it and its sums, in one place.
//!
//! Event schemas allow any 64-bit number and 40 digits of money. A read model has columns of 64 bits and adds up what a
//! million events say. So that no accepted event can stop a projection, a number beyond these bounds counts as unknown:
//! it is not added, the count of those who told it stays, and the event counts as any other. The ledger keeps it as it
//! came. The bounds look at one event alone, so a rebuild comes out the same.

use std::borrow::Cow;

use ruche_domain::numbers::Micros;
use ruche_ledger::hash::Hash;

/// Events whose numbers one row can add up, each of them at its bound.
pub const EVENTS_PER_ROW: i64 = 1_000_000;
/// Tokens of one kind of one model call.
pub const TOKENS_MAX: u64 = 1_000_000_000_000;
/// Duration of a turn or call: 104 days, µs.
pub const DURATION_US_MAX: u64 = 9_000_000_000_000;
/// Cost of one model call, in whole units of its currency. There are currencies in which a model call costs thousands.
pub const AMOUNT_UNITS_MAX: i64 = 9_000_000_000_000;
/// Number of a message or turn in its session, or of a trial. Below every packed position.
pub const ORDINAL_MAX: u64 = (1 << 40) - 1;
/// Bytes of a name that is part of a key: three of them, with an id and a day, fit a row of an index of every engine.
pub const NAME_BYTES_MAX: usize = 512;
/// Digits of its hash that a longer name is told apart by.
const NAME_DIGITS: usize = 32;
/// The last microsecond of the year 9999, which is the last that RFC 3339 can write.
pub const TIME_US_MAX: u64 = 253_402_300_799_999_999;

const _: () = assert!(TOKENS_MAX.cast_signed() <= i64::MAX / EVENTS_PER_ROW);
const _: () = assert!(DURATION_US_MAX.cast_signed() <= i64::MAX / EVENTS_PER_ROW);
// The fractions of the sums carry at most one unit for each event.
const _: () = assert!(AMOUNT_UNITS_MAX < i64::MAX / EVENTS_PER_ROW);
const _: () = assert!(TIME_US_MAX <= i64::MAX.cast_unsigned());

/// Tokens as a column.
pub fn tokens(value: Option<u64>) -> Option<i64> {
    at_most(value, TOKENS_MAX)
}

/// A duration in µs as a column.
pub fn duration(value: Option<u64>) -> Option<i64> {
    at_most(value, DURATION_US_MAX)
}

/// A number in a session as a column.
pub fn ordinal(value: Option<u64>) -> Option<i64> {
    at_most(value, ORDINAL_MAX)
}

/// A time as a column.
pub fn time(value: Option<Micros>) -> Option<i64> {
    at_most(value.map(|time| time.0), TIME_US_MAX)
}

/// A version of a configuration as a column. It is never left out, because a change of configuration has to be seen:
/// what is larger counts as the greatest version there is.
pub fn version(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A name as part of a key: of an agent, a model or tool, a scope or key of a configuration. Of one that is longer than
/// [`NAME_BYTES_MAX`] its beginning stays and the rest is told apart by its hash. Queries ask by the whole name.
pub fn name(name: &str) -> Cow<'_, str> {
    if name.len() <= NAME_BYTES_MAX {
        return Cow::Borrowed(name);
    }
    let digits = Hash::sha256(name.as_bytes()).to_string();
    let digits = &digits[..NAME_DIGITS];
    let start = name.floor_char_boundary(NAME_BYTES_MAX - NAME_DIGITS - '…'.len_utf8());
    Cow::Owned(format!("{}…{digits}", &name[..start]))
}

/// The same of a name that may be absent.
pub fn key(name: Option<&String>) -> Option<String> {
    name.map(|name| self::name(name).into_owned())
}

fn at_most(value: Option<u64>, max: u64) -> Option<i64> {
    value.filter(|value| *value <= max).map(u64::cast_signed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_shortened_and_told_apart() {
        let most = "é".repeat(NAME_BYTES_MAX / 2);
        assert_eq!(name(&most), most);
        let long = |end: &str| name(&format!("x{most}{end}")).into_owned();
        assert_ne!(long("a"), long("b"));
        assert!(long("a").len() <= NAME_BYTES_MAX && long("a").starts_with("xééé"));
        assert_eq!(name(&long("a")), long("a"), "what was shortened is short");
    }
}
