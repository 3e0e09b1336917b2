//! What the benches of both engines share: the ledger that is read, and how a stage is measured and told.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Position, StreamVersion};
use ruche_domain::stream::StreamId;
use ruche_ledger::store::{
    AppendOutcome, AppendRequest, EpochInfo, EpochOpening, EventStore, LedgerHead, Receipt, Record,
    StoreError,
};

/// Sessions of 64 events each.
pub const SESSIONS: u64 = 4_000;

/// Checks every record as an engine on disk does.
pub struct Checked(pub Arc<dyn EventStore>);

#[async_trait]
impl EventStore for Checked {
    async fn append(&self, ledger: LedgerId, request: AppendRequest) -> Result<AppendOutcome, StoreError> {
        self.0.append(ledger, request).await
    }

    async fn open_epoch(&self, ledger: LedgerId, opening: EpochOpening) -> Result<Receipt, StoreError> {
        self.0.open_epoch(ledger, opening).await
    }

    async fn head(&self, ledger: LedgerId) -> Result<Option<LedgerHead>, StoreError> {
        self.0.head(ledger).await
    }

    async fn epochs(&self, ledger: LedgerId) -> Result<Vec<EpochInfo>, StoreError> {
        self.0.epochs(ledger).await
    }

    async fn ledgers(&self) -> Result<Vec<LedgerId>, StoreError> {
        self.0.ledgers().await
    }

    async fn read_ledger(
        &self,
        ledger: LedgerId,
        from: Position,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        let records = self.0.read_ledger(ledger, from, limit).await?;
        records
            .into_iter()
            .map(|r| Record::from_stored(r.position, r.leaf_bytes, r.payload))
            .collect()
    }

    async fn read_stream(
        &self,
        ledger: LedgerId,
        stream: StreamId,
        from: StreamVersion,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        self.0.read_stream(ledger, stream, from, limit).await
    }

    async fn stream_version(
        &self,
        ledger: LedgerId,
        stream: StreamId,
    ) -> Result<Option<StreamVersion>, StoreError> {
        self.0.stream_version(ledger, stream).await
    }

    async fn wait_for(&self, ledger: LedgerId, position: Position) -> Result<(), StoreError> {
        self.0.wait_for(ledger, position).await
    }
}

/// Time and processor time of one stage. On a busy machine the second one says more.
pub struct Watch {
    started: Instant,
    cpu: Option<f64>,
}

impl Watch {
    pub fn start() -> Self {
        Self {
            started: Instant::now(),
            cpu: cpu_seconds(),
        }
    }
}

/// Processor time of this process so far, where the system tells it in hundredths of seconds (Linux).
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / 100.0)
}

/// Tells how fast a stage was.
pub fn report(what: &str, events: u64, watch: Watch) {
    let seconds = watch.started.elapsed().as_secs_f64();
    let rate = events as f64 / seconds;
    let cpu = cpu_seconds()
        .zip(watch.cpu)
        .map_or_else(String::new, |(end, start)| {
            let cpu = end - start;
            format!(
                "; {cpu:.2} s of processor, {:.0} events/s of one core",
                events as f64 / cpu
            )
        });
    print(&format!(
        "{what}: {events} events in {seconds:.2} s, {rate:.0} events/s{cpu}"
    ));
}

/// Prints a line.
pub fn print(line: &str) {
    std::io::Write::write_all(&mut std::io::stdout(), format!("{line}\n").as_bytes())
        .expect("a terminal takes a line");
}
