//! The figures of `/metrics`: what each means, and those that are looked up when they are asked for.
//!
//! No label carries a tenant, a ledger, a session or any other id: figures of ledgers are sums, or those of the worst.
//! `docs/operations/metrics.md` lists the same for operators; a test holds them against each other.

use std::collections::HashMap;
use std::time::Instant;

use metrics::{Gauge, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge};
use ruche_domain::numbers::{Micros, Position};
use ruche_ledger::store::StoreError;
use ruche_projections::lanes;
use ruche_projections::runner::RunError;
use ruche_projections::store::ReadStoreError;

use crate::services::Services;

/// What a figure is in the Prometheus text form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the process lives.
    Counter,
    /// As it is now.
    Gauge,
    /// How many were in which range.
    Histogram,
}

/// A figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figure {
    /// Its name, which says the unit.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Names of its labels. Their values come from closed sets.
    pub labels: &'static [&'static str],
    /// What it counts or measures.
    pub help: &'static str,
}

const fn figure(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
) -> Figure {
    Figure {
        name,
        kind,
        labels,
        help,
    }
}

use Kind::{Counter as C, Gauge as G, Histogram as H};

/// All of them.
pub const FIGURES: &[Figure] = &[
    figure(
        "ruche_http_requests_total",
        C,
        &["route", "method", "status"],
        "Requests answered.",
    ),
    figure(
        "ruche_http_request_duration_seconds",
        H,
        &["route"],
        "Time from the request's head to the answer's head.",
    ),
    figure(
        "ruche_http_requests_in_flight",
        G,
        &[],
        "Requests being answered.",
    ),
    figure(
        "ruche_http_overloads_total",
        C,
        &[],
        "Requests refused because too many were being answered.",
    ),
    figure("ruche_connections", G, &[], "Open HTTP connections."),
    figure(
        "ruche_connections_refused_total",
        C,
        &[],
        "Connections closed at once because too many were open.",
    ),
    figure(
        "ruche_slow_heads_total",
        C,
        &[],
        "Connections closed because their first request did not come in time.",
    ),
    figure(
        "ruche_slow_readers_total",
        C,
        &[],
        "Connections closed because their client did not read what it was told.",
    ),
    figure(
        "ruche_graphql_operations_total",
        C,
        &["kind", "transport"],
        "GraphQL operations: query, mutation, subscription, refused.",
    ),
    figure(
        "ruche_websocket_connections",
        G,
        &[],
        "Open WebSocket connections.",
    ),
    figure(
        "ruche_websocket_operations",
        G,
        &[],
        "Running operations of WebSocket connections.",
    ),
    figure(
        "ruche_ingested_events_total",
        C,
        &[],
        "Events recorded by /v1/events; repetitions are not counted.",
    ),
    figure(
        "ruche_otlp_spans_total",
        C,
        &["outcome"],
        "Spans and log records taken in: classified, structure, unclassified, duplicate.",
    ),
    figure(
        "ruche_otlp_rejected_total",
        C,
        &["signal"],
        "Spans and log records refused by themselves while the rest of their request was recorded: traces, logs.",
    ),
    figure(
        "ruche_otlp_logs_passed_over_total",
        C,
        &[],
        "Log records that are of no agent, and were not kept.",
    ),
    figure(
        "ruche_otlp_metrics_discarded_total",
        C,
        &[],
        "Requests with metrics, which are answered and not kept.",
    ),
    figure(
        "ruche_otlp_derivations_total",
        C,
        &["outcome"],
        "Sessions looked at for what follows from their telemetry: derived, nothing, too_long, failed, put_off.",
    ),
    figure(
        "ruche_appends_total",
        C,
        &["outcome"],
        "Appends to ledgers: appended, duplicate, conflict, key_mismatch, unknown, overloaded, failed.",
    ),
    figure("ruche_appended_events_total", C, &[], "Events made durable."),
    figure(
        "ruche_append_duration_seconds",
        H,
        &[],
        "Time from an append's request to its durability, waiting in the queue included.",
    ),
    figure(
        "ruche_appends_waiting",
        G,
        &[],
        "Appends in the writer's queue or being written.",
    ),
    figure(
        "ruche_writer_restarts_total",
        C,
        &[],
        "Times that a writer of the ledgers broke and was started anew.",
    ),
    figure(
        "ruche_tree_heads_total",
        C,
        &[],
        "Tree heads signed or found to be up to date.",
    ),
    figure(
        "ruche_seal_failures_total",
        C,
        &[],
        "Failed tries to seal a ledger.",
    ),
    figure(
        "ruche_seal_races_lost_total",
        C,
        &[],
        "Tree heads that another sealer signed first.",
    ),
    figure(
        "ruche_timer_appends_total",
        C,
        &[],
        "Appends of what was due in lanes by itself.",
    ),
    figure(
        "ruche_timer_failures_total",
        C,
        &[],
        "Timers of lanes that could not be fired or looked for; they are tried again.",
    ),
    figure(
        "ruche_timer_races_lost_total",
        C,
        &[],
        "Timers of lanes that had been fired by somebody else.",
    ),
    figure(
        "ruche_ready_watch_failures_total",
        C,
        &[],
        "Times that whoever tells workers of ready turns broke; they find turns by looking meanwhile.",
    ),
    figure(
        "ruche_ready_turns",
        G,
        &[],
        "Turns that wait for a worker, over all ledgers.",
    ),
    figure(
        "ruche_queued_turns",
        G,
        &[],
        "Turns that wait for another turn of their lane, over all ledgers.",
    ),
    figure(
        "ruche_ready_turn_age_seconds",
        G,
        &[],
        "How long the turn that waits longest for a worker could have been claimed.",
    ),
    figure(
        "ruche_undecidable_claims_total",
        C,
        &[],
        "Tries to claim a ready turn whose lane cannot be decided on; the next turn was tried.",
    ),
    figure(
        "ruche_undecidable_lanes",
        G,
        &[],
        "Lanes that claims of this node pass over for a while because they cannot be decided on.",
    ),
    figure(
        "ruche_tended_ledgers",
        G,
        &[],
        "Ledgers that this node seals and follows; of all nodes together it is the number of ledgers.",
    ),
    figure(
        "ruche_lease_failures_total",
        C,
        &[],
        "Failed tries to renew leases.",
    ),
    figure(
        "ruche_unsealed_records",
        G,
        &[],
        "Records that no tree head covers yet, of the ledger with the most.",
    ),
    figure(
        "ruche_unsealed_age_seconds",
        G,
        &[],
        "How long the longest waiting record has not been sealed.",
    ),
    figure(
        "ruche_figures_failures_total",
        C,
        &[],
        "Scrapes that could not look at a store: what they say of records and projections is old.",
    ),
    figure(
        "ruche_halted_ledgers",
        G,
        &[],
        "Ledgers that take no appends until an operator opens their next epoch.",
    ),
    figure(
        "ruche_published_tree_heads_total",
        C,
        &["target"],
        "Tree heads that somebody else has taken: folder, url.",
    ),
    figure(
        "ruche_publish_failures_total",
        C,
        &["target"],
        "Failed tries to publish a tree head: folder, url.",
    ),
    figure(
        "ruche_publish_conflicts_total",
        C,
        &[],
        "Tree heads that contradict one published before: look at the log at once.",
    ),
    figure(
        "ruche_projection_lag_events",
        G,
        &["projection"],
        "Events that a projection has not applied, of the ledger with the most.",
    ),
    figure(
        "ruche_projection_lag_seconds",
        G,
        &["projection"],
        "Recorded-at of a ledger's end less that of the last event applied, of the ledger with the most.",
    ),
    figure(
        "ruche_parked_projections",
        G,
        &[],
        "Projections that wait for a person, over all ledgers.",
    ),
    figure(
        "ruche_parked_age_seconds",
        G,
        &[],
        "How long ago the oldest event was recorded that a projection waits before.",
    ),
    figure(
        "ruche_paused_projections",
        G,
        &[],
        "Projections that a person has paused, over all ledgers; their lag is in no other figure.",
    ),
    figure(
        "ruche_projection_failures_total",
        C,
        &[],
        "Runs of projections that ended with an error.",
    ),
];

/// Bounds of the ranges of histograms, seconds.
pub const DURATIONS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Says what the figures mean, and shows those without labels from the start: nothing yet is zero, not unknown.
pub fn describe() {
    for figure in FIGURES {
        let unlabelled = figure.labels.is_empty();
        match figure.kind {
            Kind::Counter => {
                describe_counter!(figure.name, Unit::Count, figure.help);
                if unlabelled {
                    counter!(figure.name).increment(0);
                }
            }
            Kind::Gauge => {
                describe_gauge!(figure.name, Unit::Count, figure.help);
                if unlabelled {
                    gauge!(figure.name).increment(0.0);
                }
            }
            Kind::Histogram => describe_histogram!(figure.name, Unit::Seconds, figure.help),
        }
    }
}

/// One more in a gauge, until it is dropped: also when a client goes away in the middle.
pub struct Held(Gauge);

impl Held {
    /// Counts one.
    pub fn new(gauge: Gauge) -> Self {
        gauge.increment(1);
        Self(gauge)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

/// Why figures could not be looked up.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The ledgers do not answer.
    #[error(transparent)]
    Ledger(#[from] StoreError),
    /// The read models do not answer.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A read model does not answer.
    #[error(transparent)]
    Read(#[from] ReadStoreError),
}

/// Turns that nobody has begun, over all ledgers.
#[derive(Default)]
struct Waiting(lanes::Queue);

impl Waiting {
    fn add(&mut self, of_ledger: lanes::Queue) {
        self.0.ready += of_ledger.ready;
        self.0.queued += of_ledger.queued;
        let both = self.0.oldest_ready.into_iter().chain(of_ledger.oldest_ready);
        self.0.oldest_ready = both.min();
    }

    fn show(&self, now: Micros) {
        // One that is to be tried again later is not late yet.
        let age = self
            .0
            .oldest_ready
            .map_or(0, |since| now.0.saturating_sub(since.0));
        gauge!("ruche_ready_turns").set(self.0.ready as f64);
        gauge!("ruche_queued_turns").set(self.0.queued as f64);
        gauge!("ruche_ready_turn_age_seconds").set(age as f64 / 1e6);
    }
}

/// Shows what needs no store, so that it is true above all when a store fails.
pub fn show_memory(services: &Services) {
    let oldest = services.sealing.oldest_unsealed();
    let age = oldest.map_or(0.0, |since| since.elapsed().as_secs_f64());
    gauge!("ruche_unsealed_age_seconds").set(age);
    gauge!("ruche_halted_ledgers").set(services.guard.halted_count() as f64);
    counter!("ruche_writer_restarts_total").absolute(services.append_health.writer_restarts());
    let passed_over = services.passed_over.count(Instant::now());
    gauge!("ruche_undecidable_lanes").set(passed_over as f64);
}

/// Looks up how far sealing and the read models are, and what waits in lanes. Costs two reads per ledger, and more for those
/// that are behind.
///
/// # Errors
/// When a store fails; what was not looked up by then is as it was.
pub async fn look(services: &Services) -> Result<(), LookError> {
    let projections = ruche_projections::projection::all();
    let mut lags: HashMap<&'static str, (u64, u64)> =
        projections.iter().map(|p| (p.name(), (0, 0))).collect();
    let (mut unsealed_records, mut parked, mut paused) = (0, 0_usize, 0_usize);
    let mut oldest_parked: Option<Micros> = None;
    for ledger in services.events.ledgers().await? {
        let Some(head) = services.events.head(ledger).await? else {
            continue;
        };
        if let Some(sealing) = services.sealing.of(ledger) {
            let sealed = if sealing.next.epoch == head.epoch {
                sealing.next.index.0
            } else {
                0
            };
            unsealed_records = unsealed_records.max(head.size.0.saturating_sub(sealed));
        }
        let states = services.runner.progress().states(ledger);
        let is_near = |at: Option<Position>| at == head.last_position();
        if states.len() == projections.len()
            && states
                .iter()
                .all(|s| s.parked.is_none() && !s.paused && is_near(s.checkpoint.position))
        {
            continue;
        }
        for lag in services.runner.lag(ledger).await? {
            if lag.parked.is_some() {
                parked += 1;
                let status = services.runner.store().status(ledger, lag.projection).await?;
                let recorded_at = status.parked.map(|letter| letter.recorded_at);
                oldest_parked = oldest_parked.into_iter().chain(recorded_at).min();
            }
            paused += usize::from(lag.paused);
            if lag.paused {
                continue;
            }
            let (events, us) = lags.entry(lag.projection).or_default();
            *events = lag.records.max(*events);
            *us = lag.recorded_us.max(*us);
        }
    }
    for (projection, (events, us)) in lags {
        gauge!("ruche_projection_lag_events", "projection" => projection).set(events as f64);
        gauge!("ruche_projection_lag_seconds", "projection" => projection).set(us as f64 / 1e6);
    }
    gauge!("ruche_parked_projections").set(parked as f64);
    let parked_us = oldest_parked.map_or(0, |at| services.clock.now().0.saturating_sub(at.0));
    gauge!("ruche_parked_age_seconds").set(parked_us as f64 / 1e6);
    gauge!("ruche_paused_projections").set(paused as f64);
    gauge!("ruche_unsealed_records").set(unsealed_records as f64);
    // Last: what needs the read models does not keep the others from being seen.
    let mut waiting = Waiting::default();
    for ledger in services.events.ledgers().await? {
        waiting.add(lanes::queue(&**services.runner.store(), ledger).await?);
    }
    waiting.show(services.clock.now());
    Ok(())
}
