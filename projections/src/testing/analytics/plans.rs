//! What engines are asked for each figure, so that they can be asked how they find it.

use std::sync::Mutex;

use async_trait::async_trait;
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::Position;

use super::question;
use crate::analytics::{self, Bucket, Metric, Question};
use crate::change::SqlValue;
use crate::search::Wanted;
use crate::store::{DeadLetter, ProjectionStatus, ReadStore, ReadStoreError, Row, Step};

/// A store that has nothing and keeps what it is asked.
#[derive(Default)]
pub(in crate::testing) struct AskedStore(Mutex<Vec<(String, Vec<SqlValue>)>>);

impl AskedStore {
    /// What it was asked, in order.
    pub(in crate::testing) fn into_asked(self) -> Vec<(String, Vec<SqlValue>)> {
        self.0.into_inner().expect("nobody panicked")
    }
}

const ONLY_QUERIES: &str = "this store is only asked";

#[async_trait]
impl ReadStore for AskedStore {
    async fn apply(&self, _: Step) -> Result<(), ReadStoreError> {
        Err(ReadStoreError::Refused(ONLY_QUERIES.into()))
    }

    async fn status(&self, _: LedgerId, _: &'static str) -> Result<ProjectionStatus, ReadStoreError> {
        Err(ReadStoreError::Refused(ONLY_QUERIES.into()))
    }

    async fn put_dead_letter(&self, _: DeadLetter) -> Result<(), ReadStoreError> {
        Err(ReadStoreError::Refused(ONLY_QUERIES.into()))
    }

    async fn drop_dead_letter(
        &self,
        _: LedgerId,
        _: &'static str,
        _: Position,
    ) -> Result<bool, ReadStoreError> {
        Err(ReadStoreError::Refused(ONLY_QUERIES.into()))
    }

    async fn discard_dead_letter(
        &self,
        _: LedgerId,
        _: &'static str,
        _: Position,
    ) -> Result<bool, ReadStoreError> {
        Err(ReadStoreError::Refused(ONLY_QUERIES.into()))
    }

    async fn set_paused(
        &self,
        _: LedgerId,
        _: &'static str,
        _: bool,
        _: Position,
    ) -> Result<bool, ReadStoreError> {
        Err(ReadStoreError::Refused(ONLY_QUERIES.into()))
    }

    async fn dead_letters(&self, _: LedgerId) -> Result<Vec<DeadLetter>, ReadStoreError> {
        Err(ReadStoreError::Refused(ONLY_QUERIES.into()))
    }

    async fn query(&self, sql: &str, params: Vec<SqlValue>) -> Result<Vec<Row>, ReadStoreError> {
        let mut asked = self.0.lock().expect("nobody panics while it is held");
        asked.push((sql.to_owned(), params));
        Ok(vec![])
    }

    async fn search(&self, _: &Wanted) -> Result<Vec<Row>, ReadStoreError> {
        Err(ReadStoreError::Refused(ONLY_QUERIES.into()))
    }
}

/// What a store is asked for each figure by day and all that it can be grouped by. Tables of prices are left out, of which
/// there are few.
///
/// # Panics
/// If a question makes no sense.
pub async fn questions() -> Vec<(Metric, String, Vec<SqlValue>)> {
    let mut questions = Vec::new();
    for metric in Metric::ALL {
        let asked = AskedStore::default();
        let question = Question {
            bucket: Some(Bucket::Day),
            ..question(*metric, &metric.dimensions())
        };
        let rows = analytics::rows(&asked, LedgerId::from_bytes([1; 16]), &question).await;
        assert!(rows.expect("there are no rows").is_empty(), "{metric:?}");
        let asked = asked.into_asked().into_iter();
        let told = asked.filter(|(sql, _)| !sql.contains("FROM analytics_price"));
        questions.extend(told.map(|(sql, params)| (*metric, sql, params)));
    }
    questions
}

/// The text with values in place of its placeholders, from the last on: `$12` begins like `$1`. `bytes` writes an id as the
/// engine does.
pub fn written_out(sql: &str, params: &[SqlValue], bytes: fn(&[u8]) -> String) -> String {
    let numbered = params.iter().enumerate().rev();
    numbered.fold(sql.to_owned(), |sql, (n, value)| {
        let value = match value {
            SqlValue::Null => "NULL".to_owned(),
            SqlValue::Int(number) => number.to_string(),
            SqlValue::Text(text) => format!("'{text}'"),
            SqlValue::Word(word) => format!("'{word}'"),
            SqlValue::Bytes(told) => bytes(told),
            SqlValue::Id(id) => bytes(id),
        };
        sql.replace(&format!("${}", n + 1), &value)
    })
}
