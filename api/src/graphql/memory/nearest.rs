//! The facts whose vectors are nearest to one.

use async_graphql::{Context, ErrorExtensions as _, ID, InputObject, Result, SimpleObject};
use ruche_domain::vector::Vector;
use ruche_projections::memory::{self, NearestAsked, NearestError, NearestLimits};

use super::{AsOf, Fact, MODELS, moment};
use crate::error_codes as code;
use crate::graphql::errors::fault;
use crate::graphql::page::Page;
use crate::graphql::read::{Reading, of_read_store};
use crate::graphql::scalars::{DateTime, PositionScalar};

/// Which facts of memory; all conditions have to hold.
#[derive(InputObject, Default)]
pub(in crate::graphql) struct MemoryFilter {
    /// About this: the client's own id.
    about: Option<ID>,
    /// This attribute.
    attribute: Option<String>,
    /// Of this store: the client's own id.
    store: Option<String>,
}

/// Of what memory is asked.
pub(in crate::graphql) struct NearestQuestion {
    pub model: String,
    pub vector: String,
    pub filter: Option<MemoryFilter>,
    pub valid_at: Option<DateTime>,
    pub known_at: Option<AsOf>,
}

/// A fact, and how near it is.
#[derive(SimpleObject)]
pub(in crate::graphql) struct NearestFact {
    /// The cosine between its vector and the one that was sent, from -1 to 1.
    similarity: f64,
    /// The fact, as it stood at the moment that was asked for.
    fact: Fact,
}

/// The facts that are nearest to a vector.
#[derive(SimpleObject)]
pub(in crate::graphql) struct NearestFacts {
    /// The best first; of equally near ones the one that was written first.
    nodes: Vec<NearestFact>,
    /// How many facts were compared: all that were known and held, that pass the filter and have a vector of this model and
    /// length.
    compared: usize,
    /// How many were not, because their vector of this model has another length.
    of_other_length: usize,
}

/// What was known at a moment of what holds at another, the nearest first.
pub(in crate::graphql) async fn nearest(
    ctx: &Context<'_>,
    question: NearestQuestion,
    first: Option<i32>,
    min_position: Option<PositionScalar>,
) -> Result<NearestFacts> {
    let reading = Reading::at(ctx, MODELS, min_position).await?;
    let first = Page::new("fact", first, None)?.first;
    let vector = question.vector.parse::<Vector>().map_err(|error| {
        fault(code::INVALID_ARGUMENT, format!("`vector`: {error}"))
            .extend_with(|_, extensions| extensions.set("path", vec!["vector"]))
    })?;
    let (known_at, then) = moment(&reading, question.known_at).await?;
    let filter = question.filter.unwrap_or_default();
    let asked = NearestAsked {
        model: question.model,
        vector,
        about: filter.about.map(|id| id.0),
        attribute: filter.attribute,
        store: filter.store,
        valid_at: question.valid_at.map_or(then, |time| time.0),
        known_at,
        first,
    };
    let found = memory::nearest(reading.store(), reading.ledger, &asked, NearestLimits::default()).await;
    let found = found.map_err(|error| match error {
        NearestError::TooMany(_) | NearestError::TooLong(_) => {
            fault(code::QUERY_LIMIT_EXCEEDED, error.to_string())
        }
        NearestError::Store(error) => of_read_store(&error),
    })?;
    let node = |(fact, similarity)| NearestFact {
        similarity,
        fact: Fact(fact),
    };
    Ok(NearestFacts {
        nodes: found.facts.into_iter().map(node).collect(),
        compared: found.compared,
        of_other_length: found.of_other_length,
    })
}
