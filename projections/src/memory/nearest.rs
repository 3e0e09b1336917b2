//! The facts whose vectors point most nearly in a direction: every vector that counts is compared, and no index guesses.
//!
//! A vector belongs to one version of its record. Which one does not depend on what comes later: of those that the turn which
//! told it has written before, the last; where there is none, the one that had become known last.

use std::cmp::Ordering;
use std::collections::HashMap;

use ruche_domain::ids::LedgerId;
use ruche_domain::limits::{NEAREST_CANDIDATES_MAX, NEAREST_PAGE_BYTES, NEAREST_VECTOR_BYTES_MAX};
use ruche_domain::numbers::Micros;
use ruche_domain::vector::{Vector, numbers_of};

use super::query::{bound_of, found_by, holding, written_at};
use super::state::{Fact, KnownAt};
use crate::bounds;
use crate::change::SqlValue;
use crate::event::unpack;
use crate::select::{Fields, PAGE_ROWS_MAX, Select};
use crate::store::{ReadStore, ReadStoreError, Row};

/// The version that a vector is told of. A turn makes known at once what it wrote, so what became known with the vector and
/// stands before it is of the same turn.
const VERSION: &str = "COALESCE((SELECT o.position FROM memory_fact o WHERE o.ledger = memory_vector.ledger \
    AND o.record = memory_vector.record AND o.known = memory_vector.known AND o.position < memory_vector.position \
    ORDER BY o.position DESC LIMIT 1), \
    (SELECT b.position FROM memory_fact b WHERE b.ledger = memory_vector.ledger AND b.record = memory_vector.record \
    AND b.known < memory_vector.position ORDER BY b.known DESC, b.position DESC LIMIT 1))";

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NearestAsked {
    /// The model whose vectors are compared.
    pub model: String,
    /// The direction.
    pub vector: Vector,
    /// About this.
    pub about: Option<String>,
    /// This attribute.
    pub attribute: Option<String>,
    /// Of this store.
    pub store: Option<String>,
    /// When the facts hold.
    pub valid_at: Micros,
    /// What may be known.
    pub known_at: KnownAt,
    /// How many facts.
    pub first: usize,
}

/// How much one search looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NearestLimits {
    /// Vectors.
    pub candidates: usize,
    /// Bytes of those that are compared.
    pub bytes: usize,
    /// Bytes of one page of them.
    pub page_bytes: usize,
}

impl Default for NearestLimits {
    fn default() -> Self {
        Self {
            candidates: NEAREST_CANDIDATES_MAX,
            bytes: NEAREST_VECTOR_BYTES_MAX,
            page_bytes: NEAREST_PAGE_BYTES,
        }
    }
}

/// The nearest facts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Nearest {
    /// The best first; of equal ones the one that was written first.
    pub facts: Vec<(Fact, f64)>,
    /// How many facts were compared.
    pub compared: usize,
    /// How many were not, because their vector has another number of numbers.
    pub of_other_length: usize,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NearestError {
    /// There are too many vectors.
    #[error(
        "more than {0} vectors of the model would be looked at; narrow the filter: `about` first, then `store` or `attribute`"
    )]
    TooMany(usize),
    /// They are too long, all of them together.
    #[error(
        "more than {0} bytes of vectors would be compared; narrow the filter: `about` first, then `store` or `attribute`, or \
         take shorter vectors"
    )]
    TooLong(usize),
    /// The store of read models.
    #[error(transparent)]
    Store(#[from] ReadStoreError),
}

/// A vector of a version, compared.
#[derive(Clone, Copy)]
struct Compared {
    /// Where it became known, and where it stands: of two of a version the later one counts.
    told: (i64, i64),
    /// Nothing where its length is another.
    similarity: Option<f64>,
}

/// The facts that were known at a moment to hold at another and whose vectors are nearest to one, by the cosine between them.
///
/// # Errors
/// More than the limits allow; those of the store.
pub async fn nearest(
    store: &dyn ReadStore,
    ledger: LedgerId,
    asked: &NearestAsked,
    limits: NearestLimits,
) -> Result<Nearest, NearestError> {
    let Some(known_at) = moment(store, ledger, asked.known_at).await? else {
        return Ok(Nearest::default());
    };
    let versions = compared(store, ledger, asked, known_at, limits).await?;
    let all = versions.len();
    let with_similarity = versions
        .into_iter()
        .filter_map(|(version, compared)| Some((version, compared.similarity?)));
    let mut ranked: Vec<(i64, f64)> = with_similarity.collect();
    let compared = ranked.len();
    ranked.sort_unstable_by(best_first);
    ranked.truncate(asked.first);
    let positions: Vec<_> = ranked.iter().map(|(version, _)| unpack(*version)).collect();
    let facts = written_at(store, ledger, &positions, known_at).await?;
    let mut facts: HashMap<_, _> = facts.into_iter().map(|fact| (fact.position, fact)).collect();
    let facts = ranked
        .into_iter()
        .filter_map(|(version, similarity)| Some((facts.remove(&unpack(version))?, similarity)));
    Ok(Nearest {
        facts: facts.collect(),
        compared,
        of_other_length: all - compared,
    })
}

fn best_first(a: &(i64, f64), b: &(i64, f64)) -> Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

/// The moment that is asked of. Pages are read one after the other, so "now" is a place that stays: up to where the read model
/// is. Nothing where it holds nothing.
async fn moment(
    store: &dyn ReadStore,
    ledger: LedgerId,
    known_at: KnownAt,
) -> Result<Option<KnownAt>, ReadStoreError> {
    match known_at {
        KnownAt::Now => {
            let status = store.status(ledger, "memory").await?;
            Ok(status.checkpoint.position.map(KnownAt::Position))
        }
        then => Ok(Some(then)),
    }
}

/// The versions that count, each with its last vector.
async fn compared(
    store: &dyn ReadStore,
    ledger: LedgerId,
    asked: &NearestAsked,
    known_at: KnownAt,
    limits: NearestLimits,
) -> Result<HashMap<i64, Compared>, NearestError> {
    let direction = Direction::of(&asked.vector);
    let row_bytes = asked.vector.as_bytes().len();
    let page_rows = (limits.page_bytes / row_bytes).clamp(1, PAGE_ROWS_MAX);
    let mut versions: HashMap<i64, Compared> = HashMap::new();
    let (mut candidates, mut bytes, mut after) = (0, 0, None);
    loop {
        let rows = page(ledger, asked, known_at, after.take(), page_rows);
        let rows = rows.rows(store).await?;
        let is_last = rows.len() < page_rows;
        candidates += rows.len();
        if candidates > limits.candidates {
            return Err(NearestError::TooMany(limits.candidates));
        }
        for row in rows {
            let candidate = Candidate::read(row)?;
            bytes += candidate.vector.as_ref().map_or(0, Vec::len);
            if bytes > limits.bytes {
                return Err(NearestError::TooLong(limits.bytes));
            }
            let compared = Compared {
                told: (candidate.known, candidate.position),
                similarity: candidate.vector.map(|vector| direction.similarity(&vector)),
            };
            let last = versions.entry(candidate.version).or_insert(compared);
            if last.told < compared.told {
                *last = compared;
            }
            after = Some(candidate.place);
        }
        if is_last {
            return Ok(versions);
        }
    }
}

/// Some vectors behind a place. With `about` they are found from the facts, without it in the order of their key; an engine that
/// reorders joins may do otherwise.
fn page(
    ledger: LedgerId,
    asked: &NearestAsked,
    known_at: KnownAt,
    after: Option<[SqlValue; 2]>,
    rows: usize,
) -> Select {
    let (column, bound) = bound_of(known_at);
    let model = bounds::name(&asked.model).into_owned();
    // The sign keeps SQLite from the key of the facts: it would go through all that stand behind the place.
    let (tables, place, beyond) = match asked.about {
        Some(_) => (
            "memory_fact CROSS JOIN memory_vector",
            "memory_fact.position",
            "+memory_fact.position",
        ),
        None => (
            "memory_vector CROSS JOIN memory_fact",
            "memory_vector.record",
            "memory_vector.record",
        ),
    };
    let columns = format!(
        "{place}, memory_vector.position, memory_fact.position, memory_vector.known, \
         CASE WHEN memory_vector.numbers = {} THEN memory_vector.vector END",
        asked.vector.count()
    );
    let mut select = Select::of(&columns, tables, ledger);
    if let Some(about) = bounds::key(asked.about.as_ref()) {
        select = found_by(select, ledger, "about", about);
    }
    select = select
        .and("memory_vector.ledger = ", *ledger.as_bytes())
        .and("memory_vector.model = ", model)
        .text(" AND memory_fact.ledger = memory_vector.ledger AND memory_fact.record = memory_vector.record")
        .and(&format!("memory_vector.{column} <= "), bound)
        .text(&format!(" AND memory_fact.position = {VERSION}"))
        .and_if("attribute = ", bounds::key(asked.attribute.as_ref()))
        .and_if("store = ", asked.store.clone());
    select = holding(select, (column, bound), asked.valid_at);
    if let Some([place_of_last, position]) = after {
        select = select
            .text(&format!(" AND ({beyond}, memory_vector.position) > ("))
            .bind(place_of_last)
            .text(", ")
            .bind(position)
            .text(")");
    }
    select
        .text(&format!(" ORDER BY {place}, memory_vector.position LIMIT "))
        .bind(i64::try_from(rows).unwrap_or(i64::MAX))
}

/// A vector as it is read.
struct Candidate {
    /// Its place in the order of the pages.
    place: [SqlValue; 2],
    position: i64,
    version: i64,
    known: i64,
    /// Nothing where its length is another.
    vector: Option<Vec<u8>>,
}

impl Candidate {
    fn read(row: Row) -> Result<Self, ReadStoreError> {
        let place = row.iter().take(2).cloned().collect::<Vec<_>>();
        let place = place
            .try_into()
            .map_err(|_| ReadStoreError::Corrupt("a vector has no place".to_owned()))?;
        let fields = &mut Fields::new(row.into_iter().skip(1).collect());
        Ok(Self {
            place,
            position: fields.int()?,
            version: fields.int()?,
            known: fields.int()?,
            vector: fields.optional_bytes()?,
        })
    }
}

/// What others are compared with.
struct Direction {
    numbers: Vec<f64>,
    /// The square of its length.
    square: f64,
}

impl Direction {
    fn of(vector: &Vector) -> Self {
        let numbers: Vec<f64> = vector.numbers().map(f64::from).collect();
        let square = numbers.iter().map(|number| number * number).sum();
        Self { numbers, square }
    }

    /// The cosine between the two, from -1 to 1. In `f64`, one number after the other, so it is the same wherever it is worked
    /// out; no fourth power of an `f32` is too large or too small for that. Of a vector and itself it is 1, exactly.
    fn similarity(&self, vector: &[u8]) -> f64 {
        let (mut product, mut square) = (0.0, 0.0);
        for (mine, theirs) in self.numbers.iter().zip(numbers_of(vector).map(f64::from)) {
            product += mine * theirs;
            square += theirs * theirs;
        }
        (product / (self.square * square).sqrt()).clamp(-1.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn similarity(a: &[f32], b: &[f32]) -> f64 {
        let [a, b] = [a, b].map(|numbers| Vector::new(numbers).unwrap());
        Direction::of(&a).similarity(b.as_bytes())
    }

    #[test]
    fn the_cosine_is_that_of_the_angle() {
        assert_eq!(similarity(&[1.0, 0.0], &[2.0, 0.0]), 1.0);
        assert_eq!(similarity(&[1.0, 0.0], &[0.0, -3.0]), 0.0);
        assert_eq!(similarity(&[1.0, 1.0], &[-4.0, -4.0]), -1.0);
        assert_eq!(similarity(&[3.0, 4.0], &[4.0, 3.0]), 0.96);
        let (least, most) = (f32::from_bits(1), f32::MAX);
        assert_eq!(similarity(&[least; 4_096], &[least; 4_096]), 1.0);
        assert!((similarity(&[most; 4_096], &[-most; 4_096]) + 1.0).abs() < 1e-12);
    }

    fn vectors() -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
        let number = || proptest::num::f32::NORMAL | proptest::num::f32::SUBNORMAL;
        (1..40_usize).prop_flat_map(move |count| {
            let some = || proptest::collection::vec(number(), count);
            (some(), some())
        })
    }

    proptest! {
        /// A number for whatever vectors, between the ends, the same both ways, and 1 of a vector and itself.
        #[test]
        fn the_cosine_is_a_number_between_its_ends((a, b) in vectors()) {
            let found = similarity(&a, &b);
            prop_assert!((-1.0..=1.0).contains(&found), "{found}");
            prop_assert!((found - similarity(&b, &a)).abs() < 1e-12);
            prop_assert_eq!(similarity(&a, &a), 1.0);
            let turned: Vec<f32> = b.iter().map(|number| -number).collect();
            prop_assert_eq!(similarity(&a, &turned), -found);
        }
    }
}
