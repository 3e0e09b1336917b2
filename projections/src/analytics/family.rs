//! The tables of sums, and their upserts. A family is a table whose rows are told apart by the same dimensions.

use std::sync::LazyLock;

use super::bins;
use crate::counter::{Counter, KeyColumn, Upsert};

/// Where each row stands: its place in time, and who it is about.
const LEDGER: KeyColumn = KeyColumn::Param("ledger");
/// An addition is to the rows of its minute, its hour and its day at once, so that what it looks up is looked up once.
const GRAINS: &str = "(SELECT 0 AS grain, 60000000 AS width UNION ALL SELECT 1, 3600000000 \
    UNION ALL SELECT 2, 86400000000) g";
const GRAIN: KeyColumn = KeyColumn::Each("grain", "g.grain", GRAINS);
const BUCKET: KeyColumn = KeyColumn::Lookup("bucket", "? - ? % g.width");
const AGENT: KeyColumn = KeyColumn::Lookup(
    "agent",
    "COALESCE((SELECT s.agent FROM analytics_session s WHERE s.ledger = ? AND s.session = ?), '')",
);
const CHANNEL: KeyColumn = KeyColumn::Lookup(
    "channel",
    "COALESCE((SELECT s.channel FROM analytics_session s WHERE s.ledger = ? AND s.session = ?), '')",
);
const SCENARIO: KeyColumn = KeyColumn::Lookup(
    "scenario",
    "COALESCE((SELECT s.scenario FROM analytics_session s WHERE s.ledger = ? AND s.session = ?), '')",
);
const CONFIG: KeyColumn = KeyColumn::Lookup(
    "config",
    "COALESCE((SELECT t.config FROM analytics_turn_mark t WHERE t.ledger = ? AND t.turn = ?), ?)",
);
const MODEL: KeyColumn = KeyColumn::Param("model");
/// Of the tables of prices recorded before the call that hold at its time, the last one.
const PRICE: KeyColumn = KeyColumn::Lookup(
    "price",
    "COALESCE((SELECT p.position FROM analytics_price p WHERE p.ledger = ? AND p.effective_from <= ? \
     ORDER BY p.position DESC LIMIT 1), 0)",
);
/// Answers need not name their tool; the proposal does.
const TOOL: KeyColumn = KeyColumn::Lookup(
    "tool",
    "COALESCE((SELECT c.tool FROM analytics_call c WHERE c.ledger = ? AND c.session = ? AND c.call = ?), ?)",
);
/// Only the request names it.
const REQUESTED_TOOL: KeyColumn = KeyColumn::Lookup(
    "tool",
    "COALESCE((SELECT r.tool FROM analytics_request r WHERE r.ledger = ? AND r.approval = ?), '')",
);
const NO_MODEL: KeyColumn = KeyColumn::Lookup("model", "''");
const NO_TOOL: KeyColumn = KeyColumn::Lookup("tool", "''");

/// The key of a family that is told apart by who it is about and by these columns.
macro_rules! key {
    ($($column:expr),*) => {
        &[LEDGER, GRAIN, BUCKET, AGENT, CHANNEL, SCENARIO, CONFIG, $($column),*]
    };
}

const fn counter(table: &'static str, key: &'static [KeyColumn], sums: &'static [&'static str]) -> Counter {
    Counter {
        table,
        key,
        first: &[],
        of_turn: false,
        last: &[],
        sums: [sums, &[]],
        money: false,
        also: "",
    }
}

pub(super) static MODELS: LazyLock<Upsert> = LazyLock::new(|| {
    let sums = &[
        "calls",
        "errors",
        "input_tokens",
        "input_known",
        "output_tokens",
        "output_known",
        "cache_read_tokens",
        "cache_read_known",
        "cache_creation_tokens",
        "cache_creation_known",
        "reasoning_tokens",
        "reasoning_known",
        "costs_known",
        "priced",
        "priced_input",
        "priced_output",
        "priced_cache_read",
        "priced_cache_creation",
    ];
    counter("analytics_model", key![MODEL, PRICE], sums).upsert()
});

pub(super) static COSTS: LazyLock<Upsert> = LazyLock::new(|| {
    let key = key![MODEL, KeyColumn::Param("currency")];
    Counter {
        money: true,
        ..counter("analytics_cost", key, &["costs"])
    }
    .upsert()
});

pub(super) static TOOLS: LazyLock<Upsert> = LazyLock::new(|| {
    let sums = &[
        "calls",
        "unclassified",
        "starts",
        "retries",
        "results",
        "errors",
        "unknowns",
        "not_executed",
    ];
    counter("analytics_tool", key![TOOL], sums).upsert()
});

pub(super) static TURNS: LazyLock<Upsert> = LazyLock::new(|| {
    let key = key![KeyColumn::Param("outcome"), KeyColumn::Param("stop")];
    let sums = &["opened", "sealed", "sealed_messages", "ended", "attempts_failed"];
    counter("analytics_turn", key, sums).upsert()
});

pub(super) static APPROVALS: LazyLock<Upsert> = LazyLock::new(|| {
    let sums = &[
        "requested",
        "approved",
        "rejected",
        "expired",
        "withdrawn",
        "consumed",
    ];
    counter("analytics_approval", key![REQUESTED_TOOL], sums).upsert()
});

pub(super) static SCORES: LazyLock<Upsert> = LazyLock::new(|| {
    Counter {
        money: true,
        ..counter(
            "analytics_score",
            key![KeyColumn::Param("name")],
            &["scores", "told"],
        )
    }
    .upsert()
});

pub(super) static INGEST: LazyLock<Upsert> = LazyLock::new(|| {
    let key = &[LEDGER, GRAIN, BUCKET, KeyColumn::Param("provenance")];
    let sums = &["events", "late", "gaps", "missing", "unclassified", "erased"];
    counter("analytics_ingest", key, sums).upsert()
});

const MEASURE: KeyColumn = KeyColumn::Param("measure");
const BIN: KeyColumn = KeyColumn::Param("bin");

/// Durations of model calls.
pub(super) static MODEL_LATENCY: LazyLock<Upsert> =
    LazyLock::new(|| counter("analytics_latency", key![MEASURE, MODEL, NO_TOOL, BIN], &["n"]).upsert());

/// Durations of tool calls that are told.
pub(super) static TOOL_LATENCY: LazyLock<Upsert> =
    LazyLock::new(|| counter("analytics_latency", key![MEASURE, NO_MODEL, TOOL, BIN], &["n"]).upsert());

/// Durations of turns that are told.
pub(super) static TURN_LATENCY: LazyLock<Upsert> =
    LazyLock::new(|| counter("analytics_latency", key![MEASURE, NO_MODEL, NO_TOOL, BIN], &["n"]).upsert());

/// What nobody tells and the ledger knows: the time between two events.
fn since(tool: KeyColumn, bin: &'static str) -> Upsert {
    // Keys live as long as the counters, of which there are as many as stand here.
    let head: &[KeyColumn] = key![MEASURE, NO_MODEL];
    let key = [head, &[tool, KeyColumn::Lookup("bin", bin)]].concat().leak();
    counter("analytics_latency", key, &["n"]).upsert()
}

/// From the start of a call of a lane.
pub(super) static SINCE_START: LazyLock<Upsert> = LazyLock::new(|| {
    let bin = bins::since("started_at", "analytics_call", "session = ? AND w.call");
    since(TOOL, bin)
});

/// From when a turn of a lane was opened.
pub(super) static SINCE_OPENED: LazyLock<Upsert> = LazyLock::new(|| {
    let bin = bins::since("opened_at", "analytics_turn_mark", "turn");
    since(NO_TOOL, bin)
});

/// From when a turn of a lane took no more messages.
pub(super) static SINCE_SEALED: LazyLock<Upsert> = LazyLock::new(|| {
    let bin = bins::since("sealed_at", "analytics_turn_mark", "turn");
    since(NO_TOOL, bin)
});

/// From when people were asked.
pub(super) static SINCE_REQUESTED: LazyLock<Upsert> = LazyLock::new(|| {
    let bin = bins::since("requested_at", "analytics_request", "approval");
    since(REQUESTED_TOOL, bin)
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analytics::Grain;

    #[test]
    fn the_text_has_all_grains() {
        let told = Grain::ALL.map(|grain| format!("{}{}", grain.number(), grain.width_us()));
        let text = GRAINS
            .replace(" AS grain, ", "")
            .replace(" AS width", "")
            .replace(", ", "");
        for grain in told {
            assert!(
                text.contains(&format!("SELECT {grain}")),
                "{grain} is not in {text}"
            );
        }
    }
}
