//! Read model: questions of analytics that stand saved, by name.

use ruche_domain::Object;
use ruche_domain::event::AgentEvent;
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Micros, Position};

use crate::bounds;
use crate::change::Change;
use crate::event::ProjectedEvent;
use crate::projection::{PoisonReason, Projection};
use crate::select::{Cursor, Fields, Page, PageRequest, Select};
use crate::store::{ReadStore, ReadStoreError};

/// Tables of this read model.
pub const TABLES: &[&str] = &["saved_query"];

const SAVED: &str = "INSERT INTO saved_query (ledger, name, position, query, saved_at) VALUES ($1, $2, $3, $4, $5) \
    ON CONFLICT (ledger, name) DO UPDATE SET position = excluded.position, query = excluded.query, \
    saved_at = excluded.saved_at";
const DROPPED: &str = "DELETE FROM saved_query WHERE saved_query.ledger = $1 AND saved_query.name = $2";

/// The projection.
pub struct SavedQueries;

impl Projection for SavedQueries {
    fn name(&self) -> &'static str {
        "saved_queries"
    }

    fn version(&self) -> u32 {
        1
    }

    fn apply(&self, event: &ProjectedEvent) -> Result<Vec<Change>, PoisonReason> {
        if !matches!(event.event_type(), "config.query_saved" | "config.query_dropped") {
            return Ok(vec![]);
        }
        // Whose payload was erased names nothing any more.
        match event.agent()? {
            Some(AgentEvent::ConfigQuerySaved(saved)) => {
                let params = vec![
                    event.ledger_key().into(),
                    bounds::name(&saved.name).into_owned().into(),
                    event.place()?.into(),
                    crate::json(&saved.query).into(),
                    event.occurred_at()?.into(),
                ];
                Ok(vec![Change::write(SAVED, params)])
            }
            Some(AgentEvent::ConfigQueryDropped(dropped)) => {
                let params = vec![
                    event.ledger_key().into(),
                    bounds::name(&dropped.name).into_owned().into(),
                ];
                Ok(vec![Change::write(DROPPED, params)])
            }
            _ => Ok(vec![]),
        }
    }
}

/// A saved question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedQuery {
    /// Its name.
    pub name: String,
    /// The question, as it was asked when it was saved.
    pub query: Object,
    /// When it was saved.
    pub saved_at: Micros,
    /// The record that saved it.
    pub position: Position,
}

const COLUMNS: &str = "position, name, query, saved_at";

fn read(fields: &mut Fields) -> Result<(Cursor, SavedQuery), ReadStoreError> {
    let position = fields.int()?;
    let saved = SavedQuery {
        position: crate::event::unpack(position),
        name: fields.text()?,
        query: fields.optional_json()?.unwrap_or_default(),
        saved_at: fields.time()?,
    };
    Ok((Cursor::of_number(position, position), saved))
}

/// Saved questions in the order in which they were saved last: one that is replaced while somebody pages comes again, at the
/// end.
///
/// # Errors
/// Those of the store; so for all queries.
pub async fn list(
    store: &dyn ReadStore,
    ledger: LedgerId,
    page: &PageRequest,
) -> Result<Page<SavedQuery>, ReadStoreError> {
    let select = Select::of(COLUMNS, "saved_query", ledger);
    let rows = select.page(["position", "position"], Cursor::number_value, page);
    Page::read(page, rows.rows(store).await?, read)
}

/// The saved question of a name.
///
/// # Errors
/// Those of the store.
pub async fn by_name(
    store: &dyn ReadStore,
    ledger: LedgerId,
    name: &str,
) -> Result<Option<SavedQuery>, ReadStoreError> {
    let select = Select::of(COLUMNS, "saved_query", ledger).and("name = ", bounds::name(name).into_owned());
    let row = select.rows(store).await?.pop();
    row.map(|row| read(&mut Fields::new(row)).map(|(_, saved)| saved))
        .transpose()
}
