//! Writing: a step with its checkpoint, and dead letters.

use std::collections::HashMap;
use std::sync::Arc;

use deadpool_postgres::Pool;
use futures_util::future::join_all;
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Micros, Position};
use ruche_projections::change::{SqlValue, Statement};
use ruche_projections::event::{pack, unpack};
use ruche_projections::select::Fields;
use ruche_projections::store::{
    DeadLetter, DeadLetterState, ProjectionCheckpoint, ReadStoreError, Row, Step,
};
use tokio_postgres::Error;

use crate::error::read_store_error;
use crate::many::{Address, Many, Texts, address};
use crate::session::{Pipeline, Purpose, Session, Target, begin};
use crate::value;

/// Moves a checkpoint that is there: only from where it stands and only of the same version. It waits for whoever
/// moves it at this moment, and looks again.
const MOVE: &str = "UPDATE checkpoint SET position = $1, applied = $2, recorded_at = $3 WHERE ledger = $4 \
    AND projection = $5 AND version = $6 AND position = $7 AND applied = $8 AND recorded_at = $9 \
    AND NOT EXISTS (SELECT 1 FROM projection_paused p WHERE p.ledger = $4 AND p.projection = $5 \
    AND p.paused = 1)";
/// Makes one that is not there.
const MAKE: &str = "INSERT INTO checkpoint (position, applied, recorded_at, ledger, projection, version) \
    SELECT $1, $2, $3, $4, $5, $6 WHERE NOT EXISTS (SELECT 1 FROM projection_paused p WHERE p.ledger = $4 \
    AND p.projection = $5 AND p.paused = 1) ON CONFLICT (ledger, projection) DO NOTHING";
const FOUND: &str =
    "SELECT position, applied, recorded_at FROM checkpoint WHERE ledger = $1 AND projection = $2";
const PUT: &str = "INSERT INTO dead_letter (ledger, projection, position, version, event_type, leaf, error, attempts, \
    recorded_at, state) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
    ON CONFLICT (ledger, projection, position) DO UPDATE SET version = excluded.version, \
    error = excluded.error, attempts = excluded.attempts, state = excluded.state";
const FORGET: &str = "DELETE FROM dead_letter WHERE ledger = $1 AND projection = $2 AND position = $3 \
    AND state = 'parked'";

const DISCARD: &str = "UPDATE dead_letter SET state = 'discarded' WHERE ledger = $1 AND projection = $2 AND position = $3 \
    AND state = 'parked'";
const PAUSE: &str = "INSERT INTO projection_paused (ledger, projection, paused, decided) VALUES ($1, $2, $3, $4) \
    ON CONFLICT (ledger, projection) DO UPDATE SET paused = excluded.paused, decided = excluded.decided \
    WHERE projection_paused.decided < excluded.decided";

/// A position as a column.
fn packed(position: Position) -> Result<SqlValue, ReadStoreError> {
    pack(position)
        .map(SqlValue::Int)
        .map_err(|reason| ReadStoreError::Refused(reason.to_string()))
}

/// The statement that moves the checkpoint of a step, with its values.
fn compare_and_set(step: &Step) -> Result<(&'static str, Vec<SqlValue>), ReadStoreError> {
    let to = step.to.position;
    let to = to.ok_or_else(|| ReadStoreError::Refused("a step ends at a position".into()))?;
    let numbers = |checkpoint: &ProjectionCheckpoint| {
        let numbers = [checkpoint.applied, checkpoint.recorded_at.0];
        numbers.map(|number| SqlValue::Int(number.cast_signed()))
    };
    let mut params = vec![packed(to)?];
    params.extend(numbers(&step.to));
    params.extend([
        SqlValue::Id(*step.ledger.as_bytes()),
        SqlValue::Word(step.projection.name),
        SqlValue::Int(i64::from(step.projection.version)),
    ]);
    match step.from.position {
        // No position is written as that of a checkpoint that is not there, so nothing else of it counts.
        None => Ok((MAKE, params)),
        Some(from) => {
            params.push(packed(from)?);
            params.extend(numbers(&step.from));
            Ok((MOVE, params))
        }
    }
}

/// Applies a step. Until the commit nothing of it is seen, and if we die or the connection breaks before that, the server
/// undoes it. If it breaks behind the commit the answer is `Unavailable`, and the checkpoint tells what happened.
pub(crate) async fn apply(
    pool: &Pool,
    texts: &Texts,
    target: Target,
    step: &Step,
) -> Result<(), ReadStoreError> {
    let (sql, params) = compare_and_set(step)?;
    let session = Session::borrow(pool).await?;
    let begin = begin(target, Purpose::Step, step.ledger);
    let mut first = Pipeline::new(&session);
    first.batch(&begin).await;
    first.execute(sql, &params).await;
    // From here on the row of the checkpoint is locked until the end of the transaction.
    match first.finish().await {
        Ok(rows) if rows.last() == Some(&1) => {}
        Ok(_) => return Err(stale(session, step).await),
        Err(error) => return Err(refused(session, &error).await),
    }
    let done = match groups(&session, texts, &step.statements).await {
        Ok(groups) => write_all(&session, &groups).await,
        Err(error) => Err(error),
    };
    match done {
        Ok(()) => {
            session.give_back();
            Ok(())
        }
        Err(error) => Err(refused(session, &error).await),
    }
}

/// Statements of one rank and one text, in the order of the step.
struct Group<'s> {
    statements: Vec<&'s Statement>,
    /// Their form as one statement, where it has one and they are more than one.
    many: Option<Arc<Many>>,
}

/// Brings statements together, in the order of their ranks. A text that is met for the first time costs a round trip: the
/// server tells the types of its values, which tell nothing where they are null.
async fn groups<'s>(
    session: &Session,
    texts: &Texts,
    statements: &'s [Statement],
) -> Result<Vec<Group<'s>>, Error> {
    let mut places: HashMap<(u32, Address), usize> = HashMap::new();
    let mut groups: Vec<Vec<&Statement>> = Vec::new();
    for statement in statements {
        let place = *places
            .entry((statement.rank, address(statement)))
            .or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.push(statement),
            None => groups.push(vec![statement]),
        }
    }
    groups.sort_by_key(|group| group[0].rank);
    let new = groups
        .iter()
        .filter(|group| group.len() > 1)
        .map(|group| group[0]);
    learn(
        session,
        texts,
        new.filter(|statement| texts.get(statement).is_none()),
    )
    .await?;
    let group = |statements: Vec<&'s Statement>| {
        let known = texts.get(statements[0]).flatten();
        // The driver would panic where values are missing; the server tells what is wrong.
        let is_whole = |many: &Arc<Many>| statements.iter().all(|s| s.params.len() == many.types.len());
        let many = known.filter(|many| statements.len() > 1 && is_whole(many));
        Group { statements, many }
    };
    Ok(groups.into_iter().map(group).collect())
}

/// Has the server tell the types of texts. They are prepared for that and closed before anything else is sent.
async fn learn<'s>(
    session: &Session,
    texts: &Texts,
    new: impl Iterator<Item = &'s Statement>,
) -> Result<(), Error> {
    let new: HashMap<Address, &Statement> = new.map(|statement| (address(statement), statement)).collect();
    let prepare = new.into_values().map(|statement| async move {
        let prepared = session.prepare(statement.sql).await?;
        texts.learn(statement, prepared.params());
        Ok(())
    });
    // All answers are taken, so that each statement that was made is closed, whatever became of the others.
    join_all(prepare).await.into_iter().collect()
}

/// Sends the statements of a step, and the commit behind them.
async fn write_all(session: &Session, groups: &[Group<'_>]) -> Result<(), Error> {
    let mut all = Pipeline::new(session);
    for group in groups {
        match &group.many {
            Some(many) => all.execute_many(many, &group.statements).await,
            None => {
                for statement in &group.statements {
                    all.execute(statement.sql, &statement.params).await;
                }
            }
        }
    }
    all.batch("COMMIT").await;
    all.finish().await.map(drop)
}

/// Undoes a transaction in which something failed. Where nobody answers the connection is closed.
async fn refused(session: Session, error: &Error) -> ReadStoreError {
    if !session.is_closed() && session.batch_execute("ROLLBACK").await.is_ok() {
        session.give_back();
    }
    read_store_error(error)
}

/// Where the checkpoint stands, and nothing written.
async fn stale(session: Session, step: &Step) -> ReadStoreError {
    let key = [
        SqlValue::Id(*step.ledger.as_bytes()),
        SqlValue::Word(step.projection.name),
    ];
    let mut look = Pipeline::new(&session);
    look.query(FOUND, &key).await;
    look.batch("ROLLBACK").await;
    let answers = match look.finish().await {
        Ok(answers) => answers,
        Err(error) => return refused(session, &error).await,
    };
    session.give_back();
    let rows = answers.first().map_or(&[][..], Vec::as_slice);
    let Some(row) = rows.first() else {
        let found = ProjectionCheckpoint::default();
        return ReadStoreError::StaleCheckpoint { found };
    };
    match value::row(row).and_then(checkpoint) {
        Ok(found) => ReadStoreError::StaleCheckpoint { found },
        Err(error) => error,
    }
}

fn checkpoint(row: Row) -> Result<ProjectionCheckpoint, ReadStoreError> {
    let fields = &mut Fields::new(row);
    Ok(ProjectionCheckpoint {
        position: Some(unpack(fields.int()?)),
        applied: fields.int()?.cast_unsigned(),
        recorded_at: Micros(fields.int()?.cast_unsigned()),
    })
}

/// The word in the column.
fn state_name(state: DeadLetterState) -> &'static str {
    match state {
        DeadLetterState::Parked => "parked",
        DeadLetterState::Discarded => "discarded",
    }
}

pub(crate) async fn put(pool: &Pool, target: Target, letter: &DeadLetter) -> Result<(), ReadStoreError> {
    let params = [
        SqlValue::Id(*letter.ledger.as_bytes()),
        SqlValue::Text(letter.projection.clone()),
        packed(letter.position)?,
        SqlValue::Int(i64::from(letter.version)),
        SqlValue::Text(letter.event_type.clone()),
        SqlValue::Bytes(letter.leaf.clone()),
        SqlValue::Text(letter.error.clone()),
        SqlValue::Int(i64::from(letter.attempts)),
        SqlValue::Int(letter.recorded_at.0.cast_signed()),
        SqlValue::Word(state_name(letter.state)),
    ];
    write(pool, target, letter.ledger, (PUT, &params)).await.map(drop)
}

pub(crate) async fn forget(
    pool: &Pool,
    target: Target,
    ledger: LedgerId,
    projection: &'static str,
    position: Position,
) -> Result<bool, ReadStoreError> {
    let params = [
        SqlValue::Id(*ledger.as_bytes()),
        SqlValue::Word(projection),
        packed(position)?,
    ];
    Ok(write(pool, target, ledger, (FORGET, &params)).await? > 0)
}

/// Pauses a projection, or lets it go on. A step that has moved its checkpoint already is not stopped; the next one is.
pub(crate) async fn pause(
    pool: &Pool,
    target: Target,
    ledger: LedgerId,
    projection: &'static str,
    (paused, decided): (bool, Position),
) -> Result<bool, ReadStoreError> {
    let params = [
        SqlValue::Id(*ledger.as_bytes()),
        SqlValue::Word(projection),
        SqlValue::Int(i64::from(paused)),
        packed(decided)?,
    ];
    Ok(write(pool, target, ledger, (PAUSE, &params)).await? > 0)
}

/// Has a projection go on without a parked event.
pub(crate) async fn discard(
    pool: &Pool,
    target: Target,
    ledger: LedgerId,
    projection: &'static str,
    position: Position,
) -> Result<bool, ReadStoreError> {
    let params = [
        SqlValue::Id(*ledger.as_bytes()),
        SqlValue::Word(projection),
        packed(position)?,
    ];
    Ok(write(pool, target, ledger, (DISCARD, &params)).await? > 0)
}

/// One statement about a dead letter or a pause in a transaction of its own; how many rows it changed.
async fn write(
    pool: &Pool,
    target: Target,
    ledger: LedgerId,
    (sql, params): (&str, &[SqlValue]),
) -> Result<u64, ReadStoreError> {
    let session = Session::borrow(pool).await?;
    let begin = begin(target, Purpose::Letter, ledger);
    let mut all = Pipeline::new(&session);
    all.batch(&begin).await;
    all.execute(sql, params).await;
    all.batch("COMMIT").await;
    match all.finish().await {
        Ok(rows) => {
            session.give_back();
            Ok(rows.get(1).copied().unwrap_or_default())
        }
        Err(error) => Err(refused(session, &error).await),
    }
}
