//! What a projection wants to have written: statements with their parameters, and additions that may be summed up
//! before they are written.
//!
//! A projection never reads. Additions exist because most of what happens to a session row, and nearly all of what
//! happens to an analytics row, is "one more": [`Changes`] sums equal ones of a batch, so that a batch of a thousand
//! events costs a few upserts. Sums are the same however events are cut into batches, and a write comes between the
//! additions before it and those after it wherever they are about the same thing, so a rebuild gives the same rows as
//! live following.
//!
//! Each statement has a rank, made of what changes say they are about. An engine to which each statement is dear sends
//! those of one rank and one text as one.

use std::collections::{HashMap, HashSet};

use crate::counter::{Counter, Upsert};
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

/// What ids name: whatever statements and additions depend on.
type Id = [u8; 16];

/// A statement of a projection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// What it is about: which statements and additions have to be written before it, and which behind it.
    pub about: About,
    /// The statement. Placeholders `$1`, `$2`, … appear for the first time in this order.
    pub sql: &'static str,
    /// One value for each placeholder.
    pub params: Vec<SqlValue>,
}

/// What a write depends on, and what depends on it. Writes that say too little here come out in another order than their
/// events on some engine; a test compares the engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// Everything: it keeps its place among all others.
    Everything,
    /// One thing: it keeps its place among all that is about the same thing.
    One(Id),
    /// The same, and it looks at what is known of another thing.
    OneGiven(Id, Id),
    /// The same as `One`, of what makes the row of a thing if it is not there. Where the row is there, additions about the
    /// thing commute with it: so they do with all but the first of these in a batch.
    Made(Id),
    /// A row that the event alone decides, and that no other statement reads or says anything else of.
    Alone,
}

/// An addition to one row. The row is made if it is not there and no `owner` is asked for. Parameters are bound in the
/// order of the fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Add {
    /// What the row depends on: a write about one of these comes after the additions before it. The same for all
    /// additions to a row.
    pub about: Vec<Id>,
    /// The upsert.
    pub upsert: &'static Upsert,
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
    pub fn about(id: &Id, sql: &'static str, params: Vec<SqlValue>) -> Self {
        Self::of(About::One(*id), sql, params)
    }

    /// A statement about everything.
    pub fn write(sql: &'static str, params: Vec<SqlValue>) -> Self {
        Self::of(About::Everything, sql, params)
    }

    /// A statement about a row of the event alone.
    pub fn alone(sql: &'static str, params: Vec<SqlValue>) -> Self {
        Self::of(About::Alone, sql, params)
    }

    /// A statement.
    pub fn of(about: About, sql: &'static str, params: Vec<SqlValue>) -> Self {
        Self::Write(Write { about, sql, params })
    }
}

/// A statement ready to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The statement.
    pub sql: &'static str,
    /// One value for each placeholder.
    pub params: Vec<SqlValue>,
    /// Statements of one rank may run in any order or at once, and come out the same; behind all of a lower rank.
    pub rank: u32,
    /// Whose upsert it is, if it is one.
    pub counter: Option<&'static Counter>,
}

impl Statement {
    /// A statement of the first rank.
    pub fn new(sql: &'static str, params: Vec<SqlValue>) -> Self {
        Self {
            sql,
            params,
            rank: 0,
            counter: None,
        }
    }
}

/// The changes of a batch of events, in order, with additions summed up.
#[derive(Default)]
pub struct Changes {
    statements: Vec<Statement>,
    ranks: Ranks,
    /// Additions that are not written yet; nothing in the places of those that are.
    pending: Vec<Option<Add>>,
    /// Row of a table, and whose it has to be, to its place in `pending`. An upsert is static, so its address names it.
    places: HashMap<(usize, Vec<SqlValue>, Option<SqlValue>), usize>,
    /// Places of what depends on a thing.
    abouts: HashMap<Id, Vec<usize>>,
    /// Things whose rows are there for certain, because something in this batch made them or found them.
    made: HashSet<Id>,
}

impl Changes {
    /// Takes the changes of the next event.
    ///
    /// # Errors
    /// A sum that no column can hold. The changes are useless then.
    pub fn push(&mut self, changes: Vec<Change>) -> Result<(), PoisonReason> {
        for change in changes {
            match change {
                Change::Write(write) => self.write(write)?,
                Change::Add(add) => self.add(*add)?,
            }
        }
        Ok(())
    }

    /// How many statements they will be, about: additions that are summed up count once.
    pub fn count(&self) -> usize {
        self.statements.len() + self.places.len()
    }

    /// The statements, in an order in which they can run.
    ///
    /// # Errors
    /// Money that no column can hold.
    pub fn into_statements(mut self) -> Result<Vec<Statement>, PoisonReason> {
        self.flush()?;
        Ok(self.statements)
    }

    fn write(&mut self, write: Write) -> Result<(), PoisonReason> {
        match write.about {
            About::Everything => self.flush()?,
            About::One(id) | About::OneGiven(id, _) => self.flush_about(&id)?,
            About::Made(id) => {
                if self.made.insert(id) {
                    self.flush_about(&id)?;
                }
            }
            About::Alone => {}
        }
        self.statements.push(Statement {
            rank: self.ranks.of_write(write.about),
            ..Statement::new(write.sql, write.params)
        });
        Ok(())
    }

    fn add(&mut self, add: Add) -> Result<(), PoisonReason> {
        let place = (std::ptr::from_ref(add.upsert) as usize, add.key, add.owner);
        let before = self.places.get(&place).and_then(|at| self.pending[*at].as_mut());
        if let Some(into) = before {
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
        for id in &add.about {
            self.abouts.entry(*id).or_default().push(self.pending.len());
        }
        self.places.insert(place, self.pending.len());
        self.pending.push(Some(Add { key, owner, ..add }));
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PoisonReason> {
        self.places.clear();
        self.abouts.clear();
        self.made.clear();
        for add in std::mem::take(&mut self.pending).into_iter().flatten() {
            self.emit(add)?;
        }
        Ok(())
    }

    fn flush_about(&mut self, id: &Id) -> Result<(), PoisonReason> {
        for place in self.abouts.remove(id).unwrap_or_default() {
            if let Some(add) = self.pending[place].take() {
                self.emit(add)?;
            }
        }
        Ok(())
    }

    fn emit(&mut self, add: Add) -> Result<(), PoisonReason> {
        let mut params = add.key;
        params.extend(add.first);
        params.extend(add.last);
        params.extend(add.sums.into_iter().map(SqlValue::Int));
        if let Some(money) = add.money {
            let (units, nanos, rest) = money.columns()?;
            params.extend([units, nanos, rest].map(SqlValue::Int));
        }
        params.extend(add.owner);
        self.statements.push(Statement {
            sql: &add.upsert.sql,
            params,
            rank: self.ranks.of_add(&add.about),
            counter: Some(&add.upsert.counter),
        });
        Ok(())
    }
}

/// The ranks of statements: each is behind all that it depends on.
#[derive(Default)]
struct Ranks {
    /// The first free ranks behind the writes, and behind everything, about a thing.
    free: HashMap<Id, (u32, u32)>,
    /// The first rank behind the last write about everything.
    floor: u32,
    /// The first rank behind all.
    top: u32,
}

impl Ranks {
    fn of_write(&mut self, about: About) -> u32 {
        let rank = match about {
            About::Everything => self.top,
            About::Alone => self.floor,
            About::One(id) | About::Made(id) => self.behind_all(&id),
            About::OneGiven(id, seen) => self.behind_all(&id).max(self.behind_writes(&seen)),
        };
        match about {
            About::Everything => self.floor = rank + 1,
            About::Alone => {}
            About::One(id) | About::Made(id) => drop(self.free.insert(id, (rank + 1, rank + 1))),
            About::OneGiven(id, seen) => {
                self.free.insert(id, (rank + 1, rank + 1));
                self.looked_at(seen, rank);
            }
        }
        self.top = self.top.max(rank + 1);
        rank
    }

    /// Additions commute with each other.
    fn of_add(&mut self, about: &[Id]) -> u32 {
        let behind = about.iter().map(|id| self.behind_writes(id)).max();
        let rank = behind.unwrap_or(self.floor);
        for id in about {
            self.looked_at(*id, rank);
        }
        self.top = self.top.max(rank + 1);
        rank
    }

    fn behind_writes(&self, id: &Id) -> u32 {
        self.free.get(id).map_or(0, |free| free.0).max(self.floor)
    }

    fn behind_all(&self, id: &Id) -> u32 {
        self.free.get(id).map_or(0, |free| free.1).max(self.floor)
    }

    fn looked_at(&mut self, id: Id, rank: u32) {
        let free = self.free.entry(id).or_default();
        free.1 = free.1.max(rank + 1);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;
    use crate::counter::KeyColumn;

    const WRITE: &str = "write";

    static ADD: LazyLock<Upsert> = LazyLock::new(|| {
        Counter {
            table: "t",
            key: &[KeyColumn::Param("id")],
            first: &["first"],
            of_turn: false,
            last: &["last"],
            sums: [&["sum"], &[]],
            money: false,
            also: "",
        }
        .upsert()
    });

    fn add(row: u8, sum: i64, last: i64) -> Change {
        Change::Add(Box::new(Add {
            about: vec![[row; 16]],
            upsert: &ADD,
            key: vec![SqlValue::Id([row; 16])],
            first: vec![SqlValue::Int(last)],
            last: vec![SqlValue::Int(last)],
            sums: vec![sum],
            money: None,
            owner: None,
        }))
    }

    fn ranked(changes: Vec<Change>) -> Vec<Statement> {
        let mut all = Changes::default();
        for change in changes {
            all.push(vec![change]).unwrap();
        }
        all.into_statements().unwrap()
    }

    fn statements(changes: Vec<Change>) -> Vec<(&'static str, Vec<SqlValue>)> {
        let statements = ranked(changes);
        statements.into_iter().map(|s| (s.sql, s.params)).collect()
    }

    /// The ranks of statements, in the order of the statements.
    fn ranks(changes: Vec<Change>) -> Vec<u32> {
        ranked(changes).iter().map(|statement| statement.rank).collect()
    }

    fn about(thing: u8) -> Change {
        Change::about(&[thing; 16], WRITE, vec![])
    }

    fn row(row: u8, numbers: [i64; 3]) -> (&'static str, Vec<SqlValue>) {
        let mut params = vec![SqlValue::Id([row; 16])];
        params.extend(numbers.map(SqlValue::Int));
        (&ADD.sql, params)
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
    fn additions_about_other_things_go_on_over_a_write() {
        let got = statements(vec![
            add(1, 5, 10),
            add(2, 1, 11),
            about(1),
            add(2, 1, 12),
            add(1, 7, 13),
        ]);
        let expected = [
            row(1, [10, 10, 5]),
            (WRITE, vec![]),
            row(2, [11, 12, 2]),
            row(1, [13, 13, 7]),
        ];
        assert_eq!(got, expected);
    }

    #[test]
    fn what_is_about_different_things_has_one_rank() {
        assert_eq!(ranks(vec![about(1), about(2), about(1), about(3)]), [0, 0, 1, 0]);
        assert_eq!(ranks(vec![add(1, 1, 1), add(2, 1, 1)]), [0, 0]);
        // The addition, the write, and what was added after it.
        assert_eq!(
            ranks(vec![add(1, 1, 1), about(1), add(1, 1, 2), about(2)]),
            [0, 1, 0, 2]
        );
    }

    #[test]
    fn a_write_about_everything_is_behind_what_came_before_it_and_before_what_comes() {
        let everything = || Change::write(WRITE, vec![]);
        let alone = || Change::alone(WRITE, vec![]);
        let changes = vec![
            about(1),
            about(1),
            add(2, 1, 1),
            everything(),
            about(3),
            alone(),
            add(2, 1, 1),
        ];
        assert_eq!(ranks(changes), [0, 1, 0, 2, 3, 3, 3]);
        assert_eq!(ranks(vec![everything(), everything()]), [0, 1]);
    }

    #[test]
    fn additions_go_on_over_what_finds_the_row_that_was_made_before() {
        let made = || Change::of(About::Made([1; 16]), WRITE, vec![]);
        let got = statements(vec![add(1, 5, 10), made(), add(1, 1, 11), made(), add(1, 2, 12)]);
        let expected = [
            row(1, [10, 10, 5]),
            (WRITE, vec![]),
            (WRITE, vec![]),
            row(1, [11, 12, 3]),
        ];
        assert_eq!(got, expected);
        assert_eq!(
            ranks(vec![
                made(),
                add(1, 1, 1),
                made(),
                Change::write(WRITE, vec![]),
                made()
            ]),
            [0, 1, 2, 3, 4]
        );
    }

    #[test]
    fn what_looks_at_a_thing_is_between_the_writes_about_it() {
        let given = |one: u8| Change::of(About::OneGiven([one; 16], [9; 16]), WRITE, vec![]);
        assert_eq!(
            ranks(vec![about(9), given(1), given(2), given(1), about(9)]),
            [0, 1, 1, 2, 3]
        );
        // It says nothing of the thing, so additions that depend on that go on.
        assert_eq!(ranks(vec![add(9, 1, 1), given(1), add(9, 1, 1)]), [0, 0]);
    }

    #[test]
    fn a_sum_that_does_not_fit_is_refused() {
        let mut all = Changes::default();
        all.push(vec![add(1, i64::MAX, 0)]).unwrap();
        assert!(all.push(vec![add(1, 1, 0)]).is_err());
    }
}
