//! What a projection wants to have written: statements with their parameters, and additions that may be summed up
//! before they are written.
//!
//! A projection never reads. Additions exist because most of what happens to a session row, and nearly all of what
//! happens to an analytics row, is "one more": [`Changes`] sums equal ones of a batch, so that a batch of a thousand
//! events costs a few upserts. Sums are the same however events are cut into batches, and a write comes between the
//! additions before it and those after it wherever they are about the same thing, so a rebuild gives the same rows as
//! live following.

use std::collections::{HashMap, HashSet};

use crate::money::Money;
use crate::projection::PoisonReason;

/// A value that goes into or comes out of a statement. Maps to the types that every engine has: BIGINT, TEXT, BYTEA.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SqlValue {
    /// Absent.
    Null,
    /// A 64-bit integer.
    Int(i64),
    /// Text.
    Text(String),
    /// Text of the program; bound like `Text`.
    Word(&'static str),
    /// Bytes.
    Bytes(Vec<u8>),
    /// The 16 bytes of an id; bound like `Bytes`.
    Id([u8; 16]),
}

impl From<i64> for SqlValue {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<bool> for SqlValue {
    fn from(value: bool) -> Self {
        Self::Int(i64::from(value))
    }
}

impl From<String> for SqlValue {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<&String> for SqlValue {
    fn from(value: &String) -> Self {
        Self::Text(value.clone())
    }
}

impl From<&'static str> for SqlValue {
    fn from(value: &'static str) -> Self {
        Self::Word(value)
    }
}

impl From<Vec<u8>> for SqlValue {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(value)
    }
}

impl From<[u8; 16]> for SqlValue {
    fn from(value: [u8; 16]) -> Self {
        Self::Id(value)
    }
}

impl<T: Into<SqlValue>> From<Option<T>> for SqlValue {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// What one event does to a read model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A statement that runs in its place.
    Write(Write),
    /// An addition to one row, which commutes with other additions.
    Add(Box<Add>),
}

/// A statement of a projection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// What it is about: which of the additions before it have to be written before it.
    pub about: About,
    /// The statement. Placeholders `$1`, `$2`, … appear for the first time in this order.
    pub sql: &'static str,
    /// One value for each placeholder.
    pub params: Vec<SqlValue>,
}

/// Which of the additions before a write have to be written before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// All of them.
    Everything,
    /// Those about the same thing.
    One([u8; 16]),
}

/// An addition to one row. The row is made if it is not there and no `owner` is asked for. Parameters are bound in the
/// order of the fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Add {
    /// What the row depends on: a write about one of these comes after the additions before it.
    pub about: Vec<[u8; 16]>,
    /// The upsert, made by [`crate::counter::Counter`].
    pub sql: &'static str,
    /// Which row.
    pub key: Vec<SqlValue>,
    /// Values for a row that is made; of several additions the first counts.
    pub first: Vec<SqlValue>,
    /// Values that replace what stands there; of several additions the last counts.
    pub last: Vec<SqlValue>,
    /// Numbers that are added.
    pub sums: Vec<i64>,
    /// Money that is added.
    pub money: Option<Money>,
    /// Whose the row has to be for the addition to count, where that is asked ([`crate::counter::Counter::of_turn`]).
    pub owner: Option<SqlValue>,
}

impl Change {
    /// A statement about one thing.
    pub fn about(id: &[u8; 16], sql: &'static str, params: Vec<SqlValue>) -> Self {
        Self::Write(Write {
            about: About::One(*id),
            sql,
            params,
        })
    }

    /// A statement before which every addition is written.
    pub fn write(sql: &'static str, params: Vec<SqlValue>) -> Self {
        Self::Write(Write {
            about: About::Everything,
            sql,
            params,
        })
    }
}

/// A statement ready to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The statement.
    pub sql: &'static str,
    /// One value for each placeholder.
    pub params: Vec<SqlValue>,
}

/// The changes of a batch of events, in order, with additions summed up.
#[derive(Default)]
pub struct Changes {
    statements: Vec<Statement>,
    pending: Vec<Add>,
    /// Row of a table, and whose it has to be, to its place in `pending`. A statement is a static text, so its address
    /// names it.
    places: HashMap<(usize, Vec<SqlValue>, Option<SqlValue>), usize>,
    abouts: HashSet<[u8; 16]>,
}

impl Changes {
    /// Takes the changes of the next event.
    ///
    /// # Errors
    /// A sum that no column can hold. The changes are useless then.
    pub fn push(&mut self, changes: Vec<Change>) -> Result<(), PoisonReason> {
        for change in changes {
            match change {
                Change::Write(write) => {
                    let depends = match write.about {
                        About::Everything => true,
                        About::One(id) => self.abouts.contains(&id),
                    };
                    if depends {
                        self.flush()?;
                    }
                    self.statements.push(Statement {
                        sql: write.sql,
                        params: write.params,
                    });
                }
                Change::Add(add) => self.add(*add)?,
            }
        }
        Ok(())
    }

    /// The statements, in the order in which they have to run.
    ///
    /// # Errors
    /// Money that no column can hold.
    pub fn into_statements(mut self) -> Result<Vec<Statement>, PoisonReason> {
        self.flush()?;
        Ok(self.statements)
    }

    fn add(&mut self, add: Add) -> Result<(), PoisonReason> {
        let place = (add.sql.as_ptr() as usize, add.key, add.owner);
        if let Some(&at) = self.places.get(&place) {
            let into = &mut self.pending[at];
            for (sum, more) in into.sums.iter_mut().zip(add.sums) {
                *sum = sum.checked_add(more).ok_or(PoisonReason::TooLarge("a counter"))?;
            }
            into.money = match (into.money, add.money) {
                (Some(a), Some(b)) => Some(a.plus(b)?),
                (a, b) => a.or(b),
            };
            into.last = add.last;
            return Ok(());
        }
        let (key, owner) = (place.1.clone(), place.2.clone());
        self.abouts.extend(&add.about);
        self.places.insert(place, self.pending.len());
        self.pending.push(Add { key, owner, ..add });
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PoisonReason> {
        self.places.clear();
        self.abouts.clear();
        for add in self.pending.drain(..) {
            let mut params = add.key;
            params.extend(add.first);
            params.extend(add.last);
            params.extend(add.sums.into_iter().map(SqlValue::Int));
            if let Some(money) = add.money {
                let (units, nanos, rest) = money.columns()?;
                params.extend([units, nanos, rest].map(SqlValue::Int));
            }
            params.extend(add.owner);
            self.statements.push(Statement { sql: add.sql, params });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SQL: &str = "add";
    const WRITE: &str = "write";

    fn add(row: u8, sum: i64, last: i64) -> Change {
        Change::Add(Box::new(Add {
            about: vec![[row; 16]],
            sql: SQL,
            key: vec![SqlValue::Id([row; 16])],
            first: vec![SqlValue::Int(last)],
            last: vec![SqlValue::Int(last)],
            sums: vec![sum],
            money: None,
            owner: None,
        }))
    }

    fn statements(changes: Vec<Change>) -> Vec<(&'static str, Vec<SqlValue>)> {
        let mut all = Changes::default();
        for change in changes {
            all.push(vec![change]).unwrap();
        }
        let statements = all.into_statements().unwrap();
        statements.into_iter().map(|s| (s.sql, s.params)).collect()
    }

    fn row(row: u8, numbers: [i64; 3]) -> (&'static str, Vec<SqlValue>) {
        let mut params = vec![SqlValue::Id([row; 16])];
        params.extend(numbers.map(SqlValue::Int));
        (SQL, params)
    }

    #[test]
    fn additions_to_one_row_become_one() {
        let got = statements(vec![add(1, 5, 10), add(2, 1, 11), add(1, 7, 12)]);
        assert_eq!(got, [row(1, [10, 12, 12]), row(2, [11, 11, 1])]);
    }

    #[test]
    fn a_write_keeps_its_place_among_additions_about_the_same_thing() {
        let write = Change::about(&[1; 16], WRITE, vec![]);
        let got = statements(vec![add(1, 5, 10), write, add(1, 7, 12)]);
        assert_eq!(got, [row(1, [10, 10, 5]), (WRITE, vec![]), row(1, [12, 12, 7])]);
        let other = Change::about(&[9; 16], WRITE, vec![]);
        let got = statements(vec![add(1, 5, 10), other, add(1, 7, 12)]);
        assert_eq!(got, [(WRITE, vec![]), row(1, [10, 12, 12])]);
        let got = statements(vec![add(1, 5, 10), Change::write(WRITE, vec![])]);
        assert_eq!(got, [row(1, [10, 10, 5]), (WRITE, vec![])]);
    }

    #[test]
    fn a_sum_that_does_not_fit_is_refused() {
        let mut all = Changes::default();
        all.push(vec![add(1, i64::MAX, 0)]).unwrap();
        assert!(all.push(vec![add(1, 1, 0)]).is_err());
    }
}
