//! How much one operation may read and answer. What a field costs is known before an operation runs; how long the texts are that
//! it finds is not, and a page of facts may be a hundred megabytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_graphql::{Response, ServerError, Value};
use async_trait::async_trait;
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::Position;
use ruche_ledger::store::Record;
use ruche_projections::change::SqlValue;
use ruche_projections::search::Wanted;
use ruche_projections::store::{DeadLetter, ProjectionStatus, ReadStore, ReadStoreError, Row, Step};

use super::errors::with_code;
use crate::error_codes as code;
use crate::limits::{ANSWER_BYTES_MAX, OPERATION_READ_BYTES_MAX};

/// Bytes that a value takes beside its text.
const VALUE_BYTES: u64 = 16;

/// What one operation has read and answered. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub(super) struct Budget(Arc<Spent>);

#[derive(Default)]
struct Spent {
    read: AtomicU64,
    answered: AtomicU64,
    /// What a subscription tells has no end, and each item of it is one event.
    is_endless: bool,
}

impl Budget {
    /// That of a subscription: nothing is counted.
    pub(super) fn endless() -> Self {
        Self(Arc::new(Spent {
            is_endless: true,
            ..Spent::default()
        }))
    }

    /// Counts rows of a read model.
    fn read(&self, rows: &[Row]) -> Result<(), ReadStoreError> {
        self.pay(rows.iter().flatten().map(bytes_of_column).sum())
    }

    /// Counts records of the ledger, with their payloads.
    ///
    /// # Errors
    /// The operation has read too much.
    pub(super) fn read_records(&self, records: &[Record]) -> Result<(), ReadStoreError> {
        let fragments = records.iter().flat_map(|record| &record.payload);
        let payloads: usize = fragments
            .filter_map(|fragment| fragment.bytes())
            .map(<[u8]>::len)
            .sum();
        let leaves: usize = records.iter().map(|record| record.leaf_bytes.len()).sum();
        self.pay((payloads + leaves) as u64)
    }

    fn pay(&self, bytes: u64) -> Result<(), ReadStoreError> {
        let before = self.0.read.fetch_add(bytes, Ordering::Relaxed);
        if self.0.is_endless || before + bytes <= OPERATION_READ_BYTES_MAX {
            return Ok(());
        }
        Err(ReadStoreError::TooMuch {
            limit_bytes: OPERATION_READ_BYTES_MAX,
        })
    }

    /// Counts a value of the answer that has no fields below it.
    pub(super) fn answer(&self, value: Option<&Value>) -> Result<(), ServerError> {
        let bytes = value.map_or(VALUE_BYTES, bytes_of);
        self.0.answered.fetch_add(bytes, Ordering::Relaxed);
        if self.is_spent() {
            return Err(self.error());
        }
        Ok(())
    }

    /// Whether the operation has read or answered too much.
    pub(super) fn is_spent(&self) -> bool {
        let Spent { read, answered, .. } = &*self.0;
        !self.0.is_endless
            && (read.load(Ordering::Relaxed) > OPERATION_READ_BYTES_MAX
                || answered.load(Ordering::Relaxed) > ANSWER_BYTES_MAX)
    }

    /// The refusal of an operation that has.
    pub(super) fn error(&self) -> ServerError {
        let message = format!(
            "the operation reads more than {OPERATION_READ_BYTES_MAX} bytes or answers more than {ANSWER_BYTES_MAX}; ask for less"
        );
        with_code(ServerError::new(message, None), code::QUERY_LIMIT_EXCEEDED)
    }

    /// The answer, or the refusal of all of it: half of an answer would look like a whole one.
    pub(super) fn bound(&self, response: Response) -> Response {
        if self.is_spent() {
            return Response::from_errors(vec![self.error()]);
        }
        response
    }
}

fn bytes_of_column(value: &SqlValue) -> u64 {
    let bytes = match value {
        SqlValue::Text(text) => text.len(),
        SqlValue::Bytes(bytes) => bytes.len(),
        SqlValue::Null | SqlValue::Int(_) | SqlValue::Word(_) | SqlValue::Id(_) => 0,
    };
    VALUE_BYTES + bytes as u64
}

/// Bytes of a value. As deep as a payload may be nested, so the stack holds it.
fn bytes_of(value: &Value) -> u64 {
    let more = match value {
        Value::String(text) => text.len() as u64,
        Value::Enum(name) => name.len() as u64,
        Value::Binary(bytes) => bytes.len() as u64,
        Value::List(items) => items.iter().map(bytes_of).sum(),
        Value::Object(members) => members
            .iter()
            .map(|(name, member)| name.len() as u64 + bytes_of(member))
            .sum(),
        Value::Null | Value::Number(_) | Value::Boolean(_) => 0,
    };
    VALUE_BYTES + more
}

/// The read models as one operation reads them.
pub(super) struct Counted {
    pub store: Arc<dyn ReadStore>,
    pub budget: Budget,
}

#[async_trait]
impl ReadStore for Counted {
    async fn apply(&self, step: Step) -> Result<(), ReadStoreError> {
        self.store.apply(step).await
    }

    async fn status(
        &self,
        ledger: LedgerId,
        projection: &'static str,
    ) -> Result<ProjectionStatus, ReadStoreError> {
        self.store.status(ledger, projection).await
    }

    async fn put_dead_letter(&self, letter: DeadLetter) -> Result<(), ReadStoreError> {
        self.store.put_dead_letter(letter).await
    }

    async fn drop_dead_letter(
        &self,
        ledger: LedgerId,
        projection: &'static str,
        position: Position,
    ) -> Result<bool, ReadStoreError> {
        self.store.drop_dead_letter(ledger, projection, position).await
    }

    async fn discard_dead_letter(
        &self,
        ledger: LedgerId,
        projection: &'static str,
        position: Position,
    ) -> Result<bool, ReadStoreError> {
        self.store.discard_dead_letter(ledger, projection, position).await
    }

    async fn set_paused(
        &self,
        ledger: LedgerId,
        projection: &'static str,
        paused: bool,
        decided: Position,
    ) -> Result<bool, ReadStoreError> {
        self.store.set_paused(ledger, projection, paused, decided).await
    }

    async fn dead_letters(&self, ledger: LedgerId) -> Result<Vec<DeadLetter>, ReadStoreError> {
        self.store.dead_letters(ledger).await
    }

    async fn query(&self, sql: &str, params: Vec<SqlValue>) -> Result<Vec<Row>, ReadStoreError> {
        let rows = self.store.query(sql, params).await?;
        self.budget.read(&rows)?;
        Ok(rows)
    }

    async fn search(&self, wanted: &Wanted) -> Result<Vec<Row>, ReadStoreError> {
        let rows = self.store.search(wanted).await?;
        self.budget.read(&rows)?;
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(bytes: u64) -> Row {
        vec![SqlValue::Bytes(vec![
            0;
            usize::try_from(bytes - VALUE_BYTES).unwrap()
        ])]
    }

    #[test]
    fn an_operation_reads_so_much_over_all_its_fields() {
        let budget = Budget::default();
        let half = [row(OPERATION_READ_BYTES_MAX / 2)];
        assert_eq!((budget.read(&half), budget.clone().read(&half)), (Ok(()), Ok(())));
        assert!(!budget.is_spent());
        assert!(matches!(
            budget.read(&[row(VALUE_BYTES)]),
            Err(ReadStoreError::TooMuch { .. })
        ));
        assert!(budget.is_spent());
        let endless = Budget::endless();
        assert_eq!(
            (endless.read(&half), endless.read(&half), endless.read(&half)),
            (Ok(()), Ok(()), Ok(()))
        );
    }

    #[test]
    fn an_answer_is_so_long_and_otherwise_refused_as_a_whole() {
        let budget = Budget::default();
        let text = "x".repeat(usize::try_from(ANSWER_BYTES_MAX / 4).unwrap());
        let value = Value::from_json(serde_json::json!({ "a": [text], "b": { "c": text } })).unwrap();
        budget.answer(Some(&value)).unwrap();
        assert!(budget.bound(Response::new(value.clone())).is_ok());
        let error = budget.answer(Some(&value)).expect_err("it is too long");
        assert!(error.message.contains("ask for less"), "{error:?}");
        let refused = budget.bound(Response::new(value));
        assert!(refused.is_err() && refused.data == Value::Null);
    }
}
