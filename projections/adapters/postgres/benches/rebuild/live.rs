//! How far read models are behind while events are appended at a rate.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ruche_domain::numbers::Position;
use ruche_ledger::store::{AppendRequest, EventStore};
use ruche_ledger::testing::appended;
use ruche_projections::projection;
use ruche_projections::runner::Runner;
use ruche_projections::store::ReadStore;
use ruche_projections::testing::{Feed, Story};
use ruche_projections_postgres::PostgresReadStore;
use tokio::sync::mpsc;

use crate::shared::{Checked, print};

/// How long events are appended.
const SECONDS: u64 = 10;
/// Appends of a second, each with its share of the events.
const APPENDS_PER_S: u64 = 100;

/// Appends by the clock, whoever follows or not. The time of an append is when it was due.
pub async fn run(models: PostgresReadStore, rate: u64) {
    let feed = Feed::default();
    let ledger = feed.open(1).await;
    let mut story = Story::new(1);
    let mut told = story.setup();
    let events = rate * SECONDS;
    for session in 0.. {
        if told.len() as u64 >= events {
            break;
        }
        told.extend(story.session(session));
    }
    let checked: Arc<dyn EventStore> = Arc::new(Checked(feed.store.clone()));
    let runner = Arc::new(Runner::new(checked, Arc::new(models) as Arc<dyn ReadStore>));
    let progress = Arc::clone(runner.progress());
    let following = tokio::spawn(async move { runner.follow(ledger).await });

    let (due, mut all_due) = mpsc::unbounded_channel::<(Position, Instant)>();
    let appending = tokio::spawn(async move {
        let share = (rate / APPENDS_PER_S).max(1) as usize;
        let started = Instant::now();
        let mut late = Duration::ZERO;
        for (n, events) in (0u32..).zip(told.chunks(share)) {
            let at = started + Duration::from_secs(1) / APPENDS_PER_S as u32 * n;
            tokio::time::sleep_until(at.into()).await;
            let request = AppendRequest::new(vec![], events.to_vec(), vec![]).unwrap();
            let receipts = appended(feed.store.append(ledger, request).await);
            late = late.max(at.elapsed());
            due.send((receipts.last().unwrap().position, at)).unwrap();
        }
        late
    });
    let names: Vec<&str> = projection::all()
        .iter()
        .map(|projection| projection.name())
        .collect();
    let mut lags = Vec::new();
    while let Some((position, at)) = all_due.recv().await {
        progress.wait_for(ledger, &names, position).await.unwrap();
        lags.push(at.elapsed());
    }
    let late = appending.await.unwrap();
    following.abort();
    lags.sort_unstable();
    let at = |share: f64| lags[((lags.len() - 1) as f64 * share) as usize].as_secs_f64() * 1_000.0;
    print(&format!(
        "live at {rate} events/s: in all read models after p50 {:.0} ms, p99 {:.0} ms, at most {:.0} ms; appends were late \
         by {:.0} ms at most",
        at(0.5),
        at(0.99),
        at(1.0),
        late.as_secs_f64() * 1_000.0
    ));
}
