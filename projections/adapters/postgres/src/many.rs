//! Statements of one rank and one text as one statement over rows: parsing, planning, answering and the round of messages
//! cost the server several times what a row does.
//!
//! What a statement does is written once, for one row (`ruche_projections::change`). Here its placeholders become columns
//! of `v`, which holds the values of all rows. Statements of one rank commute, so it comes out the same. Where two
//! additions can be to one row, whose key is looked up, the rows are summed up first: an upsert takes a row once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ruche_projections::change::Statement;
use ruche_projections::counter::Counter;
use tokio_postgres::types::Type;

/// A text over rows.
#[derive(Debug)]
pub(crate) struct Many {
    pub(crate) sql: String,
    /// Types of its parameters: arrays, one for each placeholder of the text of one row.
    pub(crate) types: Vec<Type>,
}

/// The texts over rows of those that were needed; nothing for one that has no such form. Texts are static, so the address
/// of one names it, and there are as many as the program has. Types come from the tables, whose columns never change
/// their type.
#[derive(Default)]
pub(crate) struct Texts(Mutex<HashMap<Address, Option<Arc<Many>>>>);

/// Names a static text.
pub(crate) type Address = (usize, usize);

pub(crate) fn address(statement: &Statement) -> Address {
    (statement.sql.as_ptr() as usize, statement.sql.len())
}

impl Texts {
    /// What is known of a text: nothing before it was learned.
    pub(crate) fn get(&self, statement: &Statement) -> Option<Option<Arc<Many>>> {
        self.lock().get(&address(statement)).cloned()
    }

    /// Learns the form of a text, whose parameters have these types.
    pub(crate) fn learn(&self, statement: &Statement, types: &[Type]) {
        let many = Many::of(statement, types).map(Arc::new);
        if many.is_none() {
            tracing::debug!(sql = statement.sql, "a statement has no form over rows");
        }
        self.lock().insert(address(statement), many);
    }

    /// The map is whole after each statement, so a panic of another holder changes nothing.
    fn lock(&self) -> MutexGuard<'_, HashMap<Address, Option<Arc<Many>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Many {
    fn of(statement: &Statement, types: &[Type]) -> Option<Self> {
        let types: Vec<Type> = types.iter().map(array).collect::<Option<_>>()?;
        let numbers = || 1..=types.len();
        let arrays: Vec<String> = numbers().map(|n| format!("${n}")).collect();
        let columns: Vec<String> = numbers().map(|n| format!("p{n}")).collect();
        let rows = format!("unnest({}) AS v({})", arrays.join(", "), columns.join(", "));
        let sql = match statement.counter {
            Some(counter) if counter.looks_up() => summed(counter, &rows)?,
            _ => over(statement.sql, &rows)?,
        };
        Some(Self { sql, types })
    }
}

fn array(of: &Type) -> Option<Type> {
    match *of {
        Type::INT8 => Some(Type::INT8_ARRAY),
        Type::TEXT => Some(Type::TEXT_ARRAY),
        Type::BYTEA => Some(Type::BYTEA_ARRAY),
        _ => None,
    }
}

/// A text with columns of `v` for its placeholders and with `rows` for what is called `v`: an INSERT of values or of a
/// SELECT, an UPDATE or a DELETE. Nothing for any other text.
fn over(sql: &str, rows: &str) -> Option<String> {
    let (text, conflict) = match sql.split_once(" ON CONFLICT ") {
        // No row of `v` can be named there.
        Some((_, conflict)) if conflict.contains('$') => return None,
        Some((text, conflict)) => (text, format!(" ON CONFLICT {conflict}")),
        None => (sql, String::new()),
    };
    let text = text.replace('$', "v.p");
    if text.starts_with("DELETE FROM ") {
        let (table, condition) = text.split_once(" WHERE ")?;
        return Some(format!("{table} USING {rows} WHERE {condition}"));
    }
    if let Some((into, values)) = text.split_once(" VALUES (") {
        let values = values.strip_suffix(')')?;
        return Some(format!("{into} SELECT {values} FROM {rows}{conflict}"));
    }
    let (values, condition) = text.split_once(" WHERE ")?;
    // A WHERE inside of an expression is not that of the statement.
    let is_whole = |text: &str| text.matches('(').count() == text.matches(')').count();
    // What reads a table of its own reads the rows beside it.
    let mut from = values.match_indices(" FROM ");
    let link = match from.any(|(at, _)| is_whole(&values[..at])) {
        true => ",",
        false => " FROM",
    };
    is_whole(values).then(|| format!("{values}{link} {rows} WHERE {condition}{conflict}"))
}

/// The upsert of a counter over the sums of the rows with the same key. A sum that a column cannot hold is refused by the
/// server as that of two rows is. Nothing for a counter that has more than sums.
fn summed(counter: &Counter, rows: &str) -> Option<String> {
    if counter.of_turn || !counter.first.is_empty() || !counter.last.is_empty() {
        return None;
    }
    let mut next = 0;
    let mut param = || {
        next += 1;
        format!("v.p{next}")
    };
    let mut values = counter.key_values(&mut param);
    let keys: Vec<String> = (1..=values.len()).map(|n| n.to_string()).collect();
    let mut columns = counter.key_names();
    columns.extend(counter.sum_names());
    values.extend(counter.sum_names().map(|_| format!("sum({})::bigint", param())));
    if counter.money {
        columns.extend(ruche_projections::counter::MONEY);
        // Sums of integers are numbers of any size here. Neither billionths nor rests are negative.
        let [units, nanos, rest] = [param(), param(), param()].map(|column| format!("sum({column})"));
        let nanos = format!("{nanos} + div({rest}, 1000000000000000000)");
        values.push(format!("({units} + div({nanos}, 1000000000))::bigint"));
        values.push(format!("mod({nanos}, 1000000000)::bigint"));
        values.push(format!("mod({rest}, 1000000000000000000)::bigint"));
    }
    // A row of the list for each row of values.
    let each = counter.each().map(|each| format!(", {each}")).unwrap_or_default();
    Some(format!(
        "INSERT INTO {} ({}) SELECT {} FROM {rows}{each} GROUP BY {} {}",
        counter.table,
        columns.join(", "),
        values.join(", "),
        keys.join(", "),
        counter.on_conflict()
    ))
}

#[cfg(test)]
mod tests {
    use ruche_domain::numbers::Position;
    use ruche_ledger::store::EventStore;
    use ruche_projections::change::Changes;
    use ruche_projections::event::ProjectedEvent;
    use ruche_projections::projection;
    use ruche_projections::testing::extremes::{Choices, events};
    use ruche_projections::testing::{Feed, Story};

    use super::*;

    /// Statements of conversations and of events at every limit.
    async fn statements() -> Vec<Statement> {
        let feed = Feed::default();
        let ledger = feed.filled(1, 2).await;
        let mut story = Story::new(2);
        let session = story.session_id(9);
        story.enter(session);
        let turn = story.turn_id(session, 0);
        story.enter_call(turn, story.call_id(turn));
        let extreme = events(&mut Choices::new(&[1]));
        let extreme = extreme.into_iter().map(|event| story.event(event)).collect();
        feed.append(ledger, extreme).await;
        let records = feed
            .store
            .read_ledger(ledger, Position::START, 1_000)
            .await
            .unwrap();
        let mut statements = Vec::new();
        for projection in projection::all() {
            let mut changes = Changes::default();
            for record in &records {
                let event = ProjectedEvent::new(ledger, record.clone());
                changes.push(projection.apply(&event).unwrap()).unwrap();
            }
            statements.extend(changes.into_statements().unwrap());
        }
        statements
    }

    /// One that had none would be sent row by row, and nothing would be wrong but the speed.
    #[tokio::test]
    async fn every_statement_of_the_projections_has_a_form_over_rows() {
        let statements = statements().await;
        let texts: HashMap<Address, &Statement> = statements.iter().map(|s| (address(s), s)).collect();
        assert!(texts.len() >= 20, "{} texts", texts.len());
        for statement in texts.values() {
            let types = vec![Type::INT8; statement.params.len()];
            let many = Many::of(statement, &types);
            let many = many.unwrap_or_else(|| panic!("{}", statement.sql));
            assert_eq!(many.sql.matches('$').count(), types.len(), "{}", many.sql);
            let last = format!("v.p{}", types.len());
            assert!(many.sql.contains(&last), "{}", many.sql);
        }
    }

    #[test]
    fn the_values_of_one_row_become_columns_of_many() {
        for (one, many) in [
            (
                "INSERT INTO t (a, b, c) VALUES ($1, $2, 'x') ON CONFLICT (a) DO UPDATE SET b = excluded.b",
                Some(
                    "INSERT INTO t (a, b, c) SELECT v.p1, v.p2, 'x' FROM v ON CONFLICT (a) DO UPDATE SET b = excluded.b",
                ),
            ),
            (
                "INSERT INTO t (a, b) VALUES ($1, COALESCE((SELECT u.b FROM u WHERE u.a = $1), ''))",
                Some(
                    "INSERT INTO t (a, b) SELECT v.p1, COALESCE((SELECT u.b FROM u WHERE u.a = v.p1), '') FROM v",
                ),
            ),
            (
                "INSERT INTO t (a) SELECT $1 WHERE EXISTS (SELECT 1 FROM u WHERE u.a = $2)",
                Some("INSERT INTO t (a) SELECT v.p1 FROM v WHERE EXISTS (SELECT 1 FROM u WHERE u.a = v.p2)"),
            ),
            (
                "INSERT INTO t (a, b) SELECT u.a, $1 FROM u WHERE u.a = $2 ON CONFLICT (a) DO UPDATE SET b = excluded.b",
                Some(
                    "INSERT INTO t (a, b) SELECT u.a, v.p1 FROM u, v WHERE u.a = v.p2 ON CONFLICT (a) DO UPDATE SET b = excluded.b",
                ),
            ),
            (
                "INSERT INTO t (a) SELECT (SELECT b FROM u LIMIT $1) WHERE TRUE",
                Some("INSERT INTO t (a) SELECT (SELECT b FROM u LIMIT v.p1) FROM v WHERE TRUE"),
            ),
            (
                "UPDATE t SET b = $1 WHERE a = $2",
                Some("UPDATE t SET b = v.p1 FROM v WHERE a = v.p2"),
            ),
            (
                "DELETE FROM t WHERE a = $1",
                Some("DELETE FROM t USING v WHERE a = v.p1"),
            ),
            (
                "INSERT INTO t (a) VALUES ($1) ON CONFLICT (a) DO UPDATE SET b = $2",
                None,
            ),
            ("INSERT INTO t (a) SELECT (SELECT b FROM u WHERE u.a = $1)", None),
            ("UPDATE t SET b = $1", None),
        ] {
            assert_eq!(over(one, "v").as_deref(), many, "{one}");
        }
    }
}
