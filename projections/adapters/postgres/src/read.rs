//! Reading: queries of one ledger in a transaction of their own, in one round trip.

use deadpool_postgres::Pool;
use ruche_domain::ids::LedgerId;
use ruche_projections::change::SqlValue;
use ruche_projections::store::{ReadStoreError, Row};
use tokio_postgres::Error;

use crate::error::{is_passed_over, read_store_error};
use crate::session::{Pipeline, Purpose, Session, Target, begin};
use crate::value;

/// Times that a read begins: the generation that it began with can be dropped under it, and then it begins again.
const ATTEMPTS_MAX: u32 = 3;

/// A query with its values.
pub(crate) type Query<'q> = (&'q str, &'q [SqlValue]);

/// The rows of each query.
pub(crate) async fn rows(
    pool: &Pool,
    target: Target,
    ledger: LedgerId,
    queries: &[Query<'_>],
) -> Result<Vec<Vec<Row>>, ReadStoreError> {
    let begin = begin(target, Purpose::Read, ledger);
    let mut attempts = 0;
    let answers = loop {
        attempts += 1;
        let session = Session::borrow(pool).await?;
        match transaction(&session, &begin, queries).await {
            Ok(answers) => {
                session.give_back();
                break answers;
            }
            Err(error) => {
                // The commit that was sent behind the failed query has ended the transaction.
                if error.as_db_error().is_some() && session.batch_execute("ROLLBACK").await.is_ok() {
                    session.give_back();
                }
                if target != Target::Current || !is_passed_over(&error) || attempts == ATTEMPTS_MAX {
                    return Err(read_store_error(&error));
                }
            }
        }
    };
    let read = |rows: &Vec<tokio_postgres::Row>| rows.iter().map(value::row).collect();
    answers.iter().skip(1).take(queries.len()).map(read).collect()
}

async fn transaction(
    session: &Session,
    begin: &str,
    queries: &[Query<'_>],
) -> Result<Vec<Vec<tokio_postgres::Row>>, Error> {
    let mut all = Pipeline::new(session);
    all.batch(begin).await;
    for (sql, params) in queries {
        all.query(sql, params).await;
    }
    all.batch("COMMIT").await;
    all.finish().await
}
