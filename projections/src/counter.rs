//! Upserts that add: written down as lists of columns, so that the same columns can be counted per session, per turn
//! and per day.

/// The condition of [`Counter::of_turn`], up to the owner's parameter. Events of no session have turns of no session.
const OWN_TURN: &str = "EXISTS (SELECT 1 FROM turn own WHERE own.ledger = $1 AND own.turn = $2 \
    AND own.session IS NOT DISTINCT FROM ";

/// The columns of money.
pub const MONEY: &[&str] = &["cost_units", "cost_nanos", "cost_rest"];

/// A column of a key and where its value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyColumn {
    /// The parameter itself.
    Param(&'static str),
    /// An expression with as many parameters as it has `?`.
    Lookup(&'static str, &'static str),
    /// An expression of the columns of a short list of rows, which stands third: the addition is to a row for each of them.
    Each(&'static str, &'static str, &'static str),
}

/// A table whose rows are added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    /// The table.
    pub table: &'static str,
    /// Columns of its primary key.
    pub key: &'static [KeyColumn],
    /// Columns that are set when the row is made.
    pub first: &'static [&'static str],
    /// Whether the first two columns of the key name a turn, and an addition counts only where that turn is there and
    /// belongs to the session that is the `owner` of the addition.
    pub of_turn: bool,
    /// Columns that each addition replaces.
    pub last: &'static [&'static str],
    /// Columns that are added to, in two parts for the sake of shared lists.
    pub sums: [&'static [&'static str]; 2],
    /// Whether the row holds money (`cost_units`, `cost_nanos`, `cost_rest`).
    pub money: bool,
    /// Further assignments of the update, or nothing.
    pub also: &'static str,
}

/// A counter with the text of its upsert, which is made once.
#[derive(Debug, PartialEq, Eq)]
pub struct Upsert {
    /// Of this table.
    pub counter: Counter,
    /// See [`Counter::sql`].
    pub sql: String,
}

impl Counter {
    /// The same with its text.
    pub fn upsert(self) -> Upsert {
        Upsert {
            sql: self.sql(),
            counter: self,
        }
    }

    /// Whether additions with different keys can be to one row: a column of the key is looked up when they are written.
    pub fn looks_up(&self) -> bool {
        let looked_up = |column: &KeyColumn| !matches!(column, KeyColumn::Param(_));
        self.key.iter().any(looked_up)
    }

    /// The upsert. Its parameters stand in the order of the fields of [`crate::change::Add`].
    pub fn sql(&self) -> String {
        let Self { table, .. } = self;
        let mut next = 0;
        let mut param = || {
            next += 1;
            format!("${next}")
        };
        let mut values = self.key_values(&mut param);
        let others: Vec<&str> = self.others().collect();
        values.extend(others.iter().map(|_| param()));
        let columns = [self.key_names(), others].concat().join(", ");
        let values = values.join(", ");
        let values = if self.of_turn {
            format!("SELECT {values} WHERE {OWN_TURN}{})", param())
        } else if let Some(rows) = self.each() {
            // Without a condition one engine takes what follows for one of a join.
            format!("SELECT {values} FROM {rows} WHERE TRUE")
        } else {
            format!("VALUES ({values})")
        };
        format!("INSERT INTO {table} ({columns}) {values} {}", self.on_conflict())
    }

    /// Columns of the key.
    pub fn key_names(&self) -> Vec<&'static str> {
        let name = |column: &KeyColumn| match column {
            KeyColumn::Param(name) | KeyColumn::Lookup(name, _) | KeyColumn::Each(name, ..) => *name,
        };
        self.key.iter().map(name).collect()
    }

    /// The list of rows for each of which an addition is made, if there is one.
    pub fn each(&self) -> Option<&'static str> {
        self.key.iter().find_map(|column| match column {
            KeyColumn::Each(_, _, rows) => Some(*rows),
            _ => None,
        })
    }

    /// Their values, as expressions of parameters.
    pub fn key_values(&self, param: &mut impl FnMut() -> String) -> Vec<String> {
        let mut values = Vec::with_capacity(self.key.len());
        for column in self.key {
            values.push(match column {
                KeyColumn::Param(_) => param(),
                KeyColumn::Lookup(_, expression) | KeyColumn::Each(_, expression, _) => {
                    numbered(expression, param)
                }
            });
        }
        values
    }

    /// Columns that are added to, but for money.
    pub fn sum_names(&self) -> impl Iterator<Item = &'static str> {
        self.sums.iter().copied().flatten().copied()
    }

    /// Columns that are not of the key.
    fn others(&self) -> impl Iterator<Item = &'static str> {
        let money = if self.money { MONEY } else { &[] };
        let before = self.first.iter().chain(self.last).copied();
        before.chain(self.sum_names()).chain(money.iter().copied())
    }

    /// What becomes of a row that is there.
    pub fn on_conflict(&self) -> String {
        let Self { table, .. } = self;
        let mut updates: Vec<String> = self.last.iter().map(|c| format!("{c} = excluded.{c}")).collect();
        updates.extend(
            self.sum_names()
                .map(|c| format!("{c} = {table}.{c} + excluded.{c}")),
        );
        if self.money {
            // Both rests are below 10^18 and both billionths below 10^9, so their sums fit and carry at most one.
            let rest = format!("({table}.cost_rest + excluded.cost_rest)");
            let nanos = format!("({table}.cost_nanos + excluded.cost_nanos + {rest} / 1000000000000000000)");
            updates.push(format!(
                "cost_units = {table}.cost_units + excluded.cost_units + {nanos} / 1000000000"
            ));
            updates.push(format!("cost_nanos = {nanos} % 1000000000"));
            updates.push(format!("cost_rest = {rest} % 1000000000000000000"));
        }
        if !self.also.is_empty() {
            updates.push(self.also.to_owned());
        }
        let keys = self.key_names().join(", ");
        format!("ON CONFLICT ({keys}) DO UPDATE SET {}", updates.join(", "))
    }
}

/// The expression with each `?` replaced by the next placeholder.
fn numbered(expression: &str, param: &mut impl FnMut() -> String) -> String {
    let mut parts = expression.split('?');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str(&param());
        out.push_str(part);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_a_turn_counts_only_where_the_turn_is_the_sessions() {
        let counter = Counter {
            table: "t",
            key: &[KeyColumn::Param("ledger"), KeyColumn::Param("turn")],
            first: &[],
            of_turn: true,
            last: &[],
            sums: [&["a"], &[]],
            money: false,
            also: "",
        };
        assert_eq!(
            counter.sql(),
            "INSERT INTO t (ledger, turn, a) SELECT $1, $2, $3 WHERE EXISTS (SELECT 1 FROM turn own \
             WHERE own.ledger = $1 AND own.turn = $2 AND own.session IS NOT DISTINCT FROM $4) \
             ON CONFLICT (ledger, turn) DO UPDATE SET a = t.a + excluded.a"
        );
    }

    #[test]
    fn an_addition_can_be_to_a_row_for_each_of_a_list() {
        let counter = Counter {
            table: "t",
            key: &[
                KeyColumn::Param("ledger"),
                KeyColumn::Each(
                    "start",
                    "? - ? % g.width",
                    "(SELECT 60 AS width UNION ALL SELECT 3600) g",
                ),
            ],
            first: &[],
            of_turn: false,
            last: &[],
            sums: [&["a"], &[]],
            money: false,
            also: "",
        };
        assert!(counter.looks_up());
        assert_eq!(
            counter.sql(),
            "INSERT INTO t (ledger, start, a) SELECT $1, $2 - $3 % g.width, $4 FROM (SELECT 60 AS width UNION ALL \
             SELECT 3600) g WHERE TRUE ON CONFLICT (ledger, start) DO UPDATE SET a = t.a + excluded.a"
        );
    }

    #[test]
    fn the_upsert_adds_carries_and_replaces() {
        let counter = Counter {
            table: "t",
            key: &[
                KeyColumn::Param("ledger"),
                KeyColumn::Lookup(
                    "agent",
                    "COALESCE((SELECT agent FROM s WHERE ledger = ? AND id = ?), '')",
                ),
            ],
            first: &["started_at"],
            of_turn: false,
            last: &["last_at"],
            sums: [&["a"], &["b"]],
            money: true,
            also: "",
        };
        assert_eq!(
            counter.sql(),
            "INSERT INTO t (ledger, agent, started_at, last_at, a, b, cost_units, cost_nanos, cost_rest) VALUES ($1, \
             COALESCE((SELECT agent FROM s WHERE ledger = $2 AND id = $3), ''), $4, $5, $6, $7, $8, $9, $10) \
             ON CONFLICT (ledger, agent) DO UPDATE SET last_at = excluded.last_at, a = t.a + excluded.a, \
             b = t.b + excluded.b, \
             cost_units = t.cost_units + excluded.cost_units + (t.cost_nanos + excluded.cost_nanos + \
             (t.cost_rest + excluded.cost_rest) / 1000000000000000000) / 1000000000, \
             cost_nanos = (t.cost_nanos + excluded.cost_nanos + \
             (t.cost_rest + excluded.cost_rest) / 1000000000000000000) % 1000000000, \
             cost_rest = (t.cost_rest + excluded.cost_rest) % 1000000000000000000"
        );
    }
}
