//! Read model: figures for analysts, added up by minute, hour and day.
//!
//! # What it promises
//!
//! 1. Each event is counted once at each [`Grain`], in the row of its time, of its session's agent, channel and scenario,
//!    of the configuration of its turn, and of its model or tool where it has one. So sums over any of these are exact,
//!    and a turn that used two models is one turn.
//! 2. What nobody told is unknown. It counts where calls are counted and never as zero: each sum has the number of those
//!    who told it beside it.
//! 3. Durations are kept in bins ([`bins`]), which add up like everything else: a percentile over any rows is that of all
//!    their events, within the error that the bins state.
//!
//! # The life of an event here
//!
//! 1. [`known`] keeps what later events need to know of it: who a session is with, when a turn was opened.
//! 2. [`figures`] says which rows it adds to, each of a [`family`]: a table with its own dimensions and sums.
//! 3. A question names a [`metric`]; [`query`] reads the coarsest grain that fits, and adds up.
//!
//! Times are those at which things happened, save for the intake of events, which is by when the ledger took them. The
//! configuration of a turn is known of lanes, whose turns pin one; elsewhere it is what the envelope names.

pub mod bins;
mod family;
mod figures;
mod known;
mod metric;
mod prices;
mod query;
mod window;

use crate::change::{Add, Change};
use crate::event::ProjectedEvent;
use crate::projection::{PoisonReason, Projection};

pub use metric::{Metric, Unit};
pub use query::{
    AnalyticsError, Bucket, Dimension, Figure, Question, ROWS_MAX, Row, compared, grain_of, rows,
};
pub use window::Window;

/// Tables of this read model.
pub const TABLES: &[&str] = &[
    "analytics_session",
    "analytics_turn_mark",
    "analytics_call",
    "analytics_request",
    "analytics_price",
    "analytics_model",
    "analytics_cost",
    "analytics_tool",
    "analytics_turn",
    "analytics_latency",
    "analytics_approval",
    "analytics_score",
    "analytics_ingest",
];

/// How long the time of one row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grain {
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// A day, UTC.
    Day,
}

impl Grain {
    /// From the finest to the coarsest.
    pub const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    /// The number in the column.
    const fn number(self) -> i64 {
        match self {
            Self::Minute => 0,
            Self::Hour => 1,
            Self::Day => 2,
        }
    }

    /// Its length, µs.
    pub const fn width_us(self) -> i64 {
        match self {
            Self::Minute => 60_000_000,
            Self::Hour => 3_600_000_000,
            Self::Day => 86_400_000_000,
        }
    }

    /// The start of the one that a time is in.
    const fn start(self, at: i64) -> i64 {
        at - at.rem_euclid(self.width_us())
    }
}

/// The projection.
pub struct Analytics;

impl Projection for Analytics {
    fn name(&self) -> &'static str {
        "analytics"
    }

    fn version(&self) -> u32 {
        2
    }

    fn apply(&self, event: &ProjectedEvent) -> Result<Vec<Change>, PoisonReason> {
        let mut changes = known::changes(event)?;
        for addition in figures::of(event)? {
            changes.push(Change::Add(Box::new(Add {
                key: addition.key(event),
                about: addition.about,
                upsert: addition.upsert,
                first: vec![],
                last: vec![],
                sums: addition.sums,
                money: addition.money,
                owner: None,
            })));
        }
        Ok(changes)
    }
}
