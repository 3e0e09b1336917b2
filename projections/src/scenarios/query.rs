//! Queries about scenarios.

use std::str::FromStr;

use ruche_domain::ids::{LedgerId, SessionId};
use ruche_domain::numbers::{Micros, Position};

use crate::bounds;
use crate::select::{Cursor, Fields, Page, PageRequest, Select};
use crate::store::{ReadStore, ReadStoreError};

macro_rules! column_words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// The word in the column.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl FromStr for $name {
            type Err = ();

            fn from_str(text: &str) -> Result<Self, ()> {
                match text { $($word => Ok(Self::$variant),)* _ => Err(()) }
            }
        }
    )*};
}

column_words! {
    /// Where a scenario stands.
    ScenarioStatus {
        /// It is under way, whether its session goes on or not.
        Active = "active",
        /// It came to its end.
        Completed = "completed",
        /// It was left before its end.
        Abandoned = "abandoned",
    }

    /// What a scenario went through.
    PassageKind {
        /// A step.
        Step = "step",
        /// A point behind which it does not go back.
        Checkpoint = "checkpoint",
        /// From one version of the scenario to another.
        Migration = "migration",
    }
}

/// A scenario of a session, from its entry to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Its session.
    pub session: SessionId,
    /// The client's own id of the scenario.
    pub scenario: String,
    /// The version that it runs in, or ran in last.
    pub version: Option<String>,
    /// Why it was entered.
    pub reason: Option<String>,
    /// Where it stands.
    pub status: ScenarioStatus,
    /// The step that it stands at, or stood at when it ended.
    pub step: Option<String>,
    /// When it was entered; when it was first told of, where no entry says that.
    pub entered_at: Micros,
    /// When it ended.
    pub ended_at: Option<Micros>,
    /// How it ended, by the client's word.
    pub outcome: Option<String>,
    /// Why it was abandoned.
    pub end_reason: Option<String>,
    /// Its first record.
    pub first_position: Position,
    /// Its last record.
    pub last_position: Position,
    /// When that happened.
    pub last_at: Micros,
}

const COLUMNS: &str = "session, scenario, version, reason, status, step, entered_at, ended_at, outcome, end_reason, \
    first_position, last_position, last_at";

fn read(fields: &mut Fields) -> Result<(Cursor, Scenario), ReadStoreError> {
    let scenario = Scenario {
        session: fields.id()?,
        scenario: fields.text()?,
        version: fields.optional_text()?,
        reason: fields.optional_text()?,
        status: fields.word()?,
        step: fields.optional_text()?,
        entered_at: fields.time()?,
        ended_at: fields.optional_time()?,
        outcome: fields.optional_text()?,
        end_reason: fields.optional_text()?,
        first_position: fields.position()?,
        last_position: fields.position()?,
        last_at: fields.time()?,
    };
    let at = crate::event::pack(scenario.first_position).unwrap_or(i64::MAX);
    Ok((Cursor::of_number(at, at), scenario))
}

/// Which scenarios; all conditions have to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScenarioFilter {
    /// Of this session.
    pub session: Option<SessionId>,
    /// Of this name.
    pub scenario: Option<String>,
    /// Standing so.
    pub status: Option<ScenarioStatus>,
    /// At this step.
    pub step: Option<String>,
}

/// Scenarios by their first record.
///
/// # Errors
/// Those of the store; so for all queries.
pub async fn list(
    store: &dyn ReadStore,
    ledger: LedgerId,
    filter: &ScenarioFilter,
    page: &PageRequest,
) -> Result<Page<Scenario>, ReadStoreError> {
    let rows = Select::of(COLUMNS, "scenario", ledger)
        .and_if("session = ", filter.session.map(|id| *id.as_bytes()))
        .and_if("scenario = ", bounds::key(filter.scenario.as_ref()))
        .and_if("status = ", filter.status.map(ScenarioStatus::name))
        .and_if("step = ", bounds::key(filter.step.as_ref()))
        .page(["first_position", "first_position"], Cursor::number_value, page)
        .rows(store)
        .await?;
    Page::read(page, rows, read)
}

/// A step, a point or a change of version that a scenario went through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage {
    /// Its record.
    pub position: Position,
    /// What it is.
    pub kind: PassageKind,
    /// The client's own id of the step or point; the version that it went over to.
    pub name: String,
    /// The step before, the step of the point, or the version before.
    pub from: Option<String>,
    /// When it began.
    pub at: Micros,
    /// When a step was left.
    pub left_at: Option<Micros>,
    /// The record that says so.
    pub left_position: Option<Position>,
    /// How a step ended, by the client's word.
    pub outcome: Option<String>,
    /// How long a step took, by the client's word, µs.
    pub duration_us: Option<u64>,
}

/// What an instance of a scenario went through, in the order of the ledger. `instance` is its first record.
///
/// # Errors
/// Those of the store.
pub async fn history(
    store: &dyn ReadStore,
    ledger: LedgerId,
    (session, scenario, instance): (SessionId, &str, Position),
    page: &PageRequest,
) -> Result<Page<Passage>, ReadStoreError> {
    let columns = "position, kind, name, from_name, at, left_at, left_position, outcome, duration_us";
    let instance = crate::event::pack(instance).unwrap_or(i64::MAX);
    // A migration and the step that it leads to are one record.
    let order = [
        "position",
        "CAST(CASE kind WHEN 'step' THEN 1 ELSE 0 END AS BIGINT)",
    ];
    let rows = Select::of(columns, "scenario_passage", ledger)
        .and("session = ", *session.as_bytes())
        .and("scenario = ", bounds::name(scenario).into_owned())
        .and("instance = ", instance)
        .page(order, Cursor::number_value, page)
        .rows(store)
        .await?;
    Page::read(page, rows, |fields| {
        let at = fields.int()?;
        let passage = Passage {
            position: crate::event::unpack(at),
            kind: fields.word()?,
            name: fields.text()?,
            from: fields.optional_text()?,
            at: fields.time()?,
            left_at: fields.optional_time()?,
            left_position: fields.optional_position()?,
            outcome: fields.optional_text()?,
            duration_us: fields.optional_count()?,
        };
        let second = i64::from(passage.kind == PassageKind::Step);
        Ok((Cursor::of_number(at, second), passage))
    })
}
