//! Followers of the ledger: read models, and the runner that keeps them up to date.
//!
//! # What this crate promises
//!
//! 1. Every event is in a read model exactly once: rows and checkpoint are committed in one transaction, and only from
//!    the checkpoint that the worker started at. A second worker, a repeated step and a crash between any two lines
//!    change nothing.
//! 2. Everything here can be thrown away and made again from the ledger, and comes out the same, row by row.
//! 3. An event that cannot be applied stops one projection of one ledger, and nothing else.
//! 4. Every table is keyed by ledger and every query names it first: tenant A sees nothing of tenant B.
//! 5. SQL is written once, next to what it is for, and SQLite and PostgreSQL run the same text.
//! 6. Nothing here reads a clock, does I/O or knows a database.
//!
//! # The life of an event in the read models
//!
//! 1. The [`runner`] reads records behind the lowest checkpoint of a ledger, each once for all projections, and reads
//!    each payload once ([`event`]).
//! 2. Each [`projection`] says what the event changes ([`change`]): writes in their place, additions that are summed up
//!    over the batch ([`counter`]).
//! 3. The [`store`] commits statements and checkpoint together. What fails is asked for its checkpoint again and tried
//!    again from there; what fails five times is put aside as a dead letter, and the projection of that ledger waits
//!    for a person, who has it redriven or discarded.
//! 4. Whoever waits for the position is woken, and the queries beside each projection find the rows ([`select`]).
//!
//! # What an erased payload takes with it
//!
//! Where something stands is read from the names of events, which are never erased, wherever a name says it. What only a
//! payload says is lost, and these states with it:
//!
//! - how an approval was decided (`decided`); a deferred call stays so until its approval ends otherwise or it starts;
//! - how a person settled an outcome (`asserted`);
//! - whether a start that was refused closed its call: other events of its append, or the end of its turn, say so;
//! - whether an attempt that failed was the last: the turn is shown as ending early unless its append readies it again;
//! - which step a turn began or completed, and which version of a configuration is active;
//! - what is said of memory: which record it speaks of. A version whose end was erased counts again after a rebuild;
//! - what policy said, for which rules, and how unsure the agent was;
//! - which scenario or goal is meant: a scenario or goal stays where it stood before what is gone;
//! - of figures, which model, tool, configuration or reason they are about, and what was told: tokens, costs, durations
//!   (`analytics`);
//! - timers, and who holds a lane, in a lane that nobody can decide on any more (`lanes`).

pub mod store;
pub mod change;
pub mod bounds;
pub mod money;
pub mod event;
pub mod projection;
pub mod counter;
pub mod tally;
pub mod select;
pub mod sessions;
pub mod scores;
pub mod scenarios;
pub mod goals;
pub mod turns;
pub mod turn_attempts;
pub mod turn_steps;
pub mod lanes;
pub mod timeline;
pub mod messages;
pub mod search;
pub mod tool_effects;
pub mod approvals;
pub mod policy;
pub mod interventions;
pub mod memory;
pub mod configuration;
pub mod usage;
pub mod analytics;
pub mod saved_queries;
pub mod ledger_health;
pub mod bi;
pub mod runner;
pub mod rebuild;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

/// Tables of all read models; checkpoints and dead letters are kept beside them.
pub fn tables() -> Vec<&'static str> {
    [
        sessions::TABLES,
        scenarios::TABLES,
        goals::TABLES,
        turns::TABLES,
        lanes::TABLES,
        timeline::TABLES,
        messages::TABLES,
        search::TABLES,
        tool_effects::TABLES,
        approvals::TABLES,
        policy::TABLES,
        interventions::TABLES,
        memory::TABLES,
        configuration::TABLES,
        usage::TABLES,
        analytics::TABLES,
        saved_queries::TABLES,
        ledger_health::TABLES,
    ]
    .concat()
}

/// JSON of a value made of text keys and finite numbers.
fn json(value: &(impl serde::Serialize + ?Sized)) -> String {
    serde_json::to_string(value).expect("payload parts have text keys and no failing serialisers")
}
