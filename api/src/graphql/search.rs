//! Search for texts by their words.

use async_graphql::connection::Connection;
use async_graphql::{Context, ID, Object, Result};
use ruche_domain::ids::SessionId;
use ruche_projections::search::{self, SearchFilter, WORDS_WANTED_MAX, words};
use ruche_projections::{messages, select};

use super::errors::fault;
use super::message::Message;
use super::page::Cursor;
use super::read::{Asked, Loading, Reading, of_read_store};
use super::record::Record;
use super::scalars::PositionScalar;
use super::session::{Session, id, parse_id};
use super::words::SearchKind;
use crate::error_codes as code;

/// A text that has the words.
pub(super) struct SearchHit {
    hit: search::Hit,
    message: Option<messages::Message>,
}

/// A text that has the words.
#[Object]
impl SearchHit {
    /// What kind of text.
    async fn kind(&self) -> SearchKind {
        self.hit.kind.into()
    }

    /// Id of the event that says it.
    async fn event_id(&self) -> ID {
        id(self.hit.event_id)
    }

    /// Its record.
    async fn position(&self) -> PositionScalar {
        PositionScalar(self.hit.position)
    }

    /// The record itself, read from the ledger.
    #[graphql(complexity = "5 + child_complexity")]
    async fn record(&self, ctx: &Context<'_>) -> Result<Option<Record>> {
        ctx.data_unchecked::<Loading>().load_one(self.hit.position).await
    }

    /// Id of its session.
    async fn session_id(&self) -> Option<ID> {
        self.hit.session.map(id)
    }

    /// Its session.
    async fn session(&self, ctx: &Context<'_>) -> Result<Option<Session>> {
        let Some(session) = self.hit.session else {
            return Ok(None);
        };
        let found = ctx.data_unchecked::<Loading>().load_one(session).await?;
        Ok(found.map(Session))
    }

    /// The message, where it is one.
    async fn message(&self) -> Option<Message> {
        self.message.clone().map(Message)
    }
}

/// The texts that have all words of `text`.
pub(super) async fn find(
    reading: &Reading,
    text: &str,
    kind: Option<SearchKind>,
    session_id: Option<ID>,
    (first, after): (Option<i32>, Option<&str>),
) -> Result<Connection<Cursor, SearchHit>> {
    let wanted = words(text, WORDS_WANTED_MAX + 1).len();
    if !(1..=WORDS_WANTED_MAX).contains(&wanted) {
        let message = format!("`text` has from 1 to {WORDS_WANTED_MAX} different words");
        return Err(fault(code::INVALID_ARGUMENT, message));
    }
    let asked = Asked::new("hit", first, after)?;
    let session = session_id.map(|id| parse_id::<SessionId>("sessionId", &id));
    let filter = SearchFilter {
        kind: kind.map(Into::into),
        session: session.transpose()?,
    };
    let (store, ledger) = (reading.store(), reading.ledger);
    let page = search::find(store, ledger, text, &filter, &asked.request).await;
    let page = page.map_err(|error| of_read_store(&error))?;
    let places = page
        .rows
        .iter()
        .filter_map(|(_, hit)| Some((hit.session?, hit.position)));
    let places: Vec<_> = places.collect();
    let said = match places.is_empty() {
        true => Vec::new(),
        false => messages::at(store, ledger, &places)
            .await
            .map_err(|error| of_read_store(&error))?,
    };
    let with_message = |(cursor, hit): (select::Cursor, search::Hit)| {
        let message = said.iter().find(|said| said.position == hit.position).cloned();
        (cursor, SearchHit { hit, message })
    };
    let page = select::Page {
        rows: page.rows.into_iter().map(with_message).collect(),
        has_next: page.has_next,
    };
    asked.connection(Ok(page), |hit| hit)
}
