//! `ruche doctor`: looks for what is wrong with an installation, and repairs nothing.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::Micros;
use ruche_ledger::seal::SealError;
use serde::Serialize;

use super::{CliError, Common, print};
use crate::app::{self, App, promised};
use crate::check_records::RecordCheck;
use crate::out::{Table, progress, time};
use crate::unsettled;

/// Free bytes below which the disk counts as nearly full: a few checkpoints of the write-ahead log and a backup.
const FREE_BYTES_MIN: u64 = 1_073_741_824;
/// Flushes of one measurement.
const FLUSHES: u32 = 32;
/// Flushes per second that no disk can do: the file system only says that it flushed.
const FLUSHES_PER_S_CREDIBLE_MAX: u64 = 100_000;
/// Difference of clock and last record that is still taken for a clock being set, µs.
const CLOCK_BEHIND_US_MAX: u64 = 60_000_000;

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// As it should be.
    Ok,
    /// Could not be looked at, or worth knowing.
    Note,
    /// Somebody has to do something.
    Wrong,
}

#[derive(Serialize)]
struct Finding {
    check: String,
    state: State,
    detail: String,
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, check: impl Into<String>, state: State, detail: impl Into<String>) {
        self.0.push(Finding {
            check: check.into(),
            state,
            detail: detail.into(),
        });
    }

    fn ok(&mut self, check: impl Into<String>, detail: impl Into<String>) {
        self.add(check, State::Ok, detail);
    }

    fn note(&mut self, check: impl Into<String>, detail: impl Into<String>) {
        self.add(check, State::Note, detail);
    }

    fn wrong(&mut self, check: impl Into<String>, detail: impl Into<String>) {
        self.add(check, State::Wrong, detail);
    }
}

/// How closely to look.
#[derive(Args)]
pub struct DoctorArgs {
    /// Read every record, its payload and the tiles as well: takes as long as there are records
    #[arg(long)]
    full: bool,
}

/// Runs the command. Exit code 1 if anything is wrong.
pub async fn run(common: Common, args: DoctorArgs) -> Result<ExitCode, CliError> {
    if common.database_url.is_none() {
        app::files_must_exist(&common)?;
    }
    let mut findings = Findings::default();
    let has_ledger = common.database_url.is_none() && app::ledger_file(&common).exists();
    let has_seed = keys_folder(&mut findings, &common);
    if common.database_url.is_none() {
        disk(&mut findings, &common.data_dir);
    }
    if args.full && has_ledger {
        records(&mut findings, &common);
    }
    if has_seed {
        ledgers(&mut findings, &common, args.full).await?;
    } else {
        match app::must_exist(&common).await {
            Err(error) if !error.is_absent() => findings.wrong("database", crate::error::chain(&error)),
            there => there?,
        }
        // Opening would make a new seed, under which nothing that was promised could be kept.
        findings.note("ledgers", "not looked at without the master seed");
    }
    let wrong = findings.0.iter().any(|finding| finding.state == State::Wrong);
    print(&common, &findings.0, |findings| table(findings))?;
    Ok(if wrong {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn table(findings: &[Finding]) -> String {
    let mut table = Table::new(["", "check", "finding"]);
    for finding in findings {
        let mark = match finding.state {
            State::Ok => "ok",
            State::Note => "note",
            State::Wrong => "WRONG",
        };
        table.row([mark.to_owned(), finding.check.clone(), finding.detail.clone()]);
    }
    table.to_string()
}

/// Looks at the keys folder without making anything. Returns whether there is a seed.
fn keys_folder(findings: &mut Findings, common: &Common) -> bool {
    let (dir, seed) = (&common.keys_dir, common.keys_dir.join("master.seed"));
    match seed.is_file() {
        true => private(findings, "master seed", &seed),
        false => findings.wrong(
            "master seed",
            format!(
                "{} is not there: nothing can be signed; put it back from where you keep it",
                seed.display()
            ),
        ),
    }
    if dir.is_dir() {
        private(findings, "keys folder", dir);
    }
    if let (Ok(data), Ok(keys)) = (common.data_dir.canonicalize(), dir.canonicalize())
        && keys.starts_with(&data)
    {
        findings.wrong(
            "keys folder",
            format!(
                "{} is inside the data folder, so a restored copy takes back promises",
                dir.display()
            ),
        );
    }
    seed.is_file()
}

/// Whether only the owner can read and write.
fn private(findings: &mut Findings, check: &str, path: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        match std::fs::metadata(path).map(|found| found.permissions().mode() & 0o777) {
            Ok(mode) if mode & 0o077 == 0 => {
                findings.ok(check, format!("{} (mode {mode:o})", path.display()));
            }
            Ok(mode) => {
                let right = if path.is_dir() { "700" } else { "600" };
                findings.wrong(
                    check,
                    format!(
                        "others can use {0} (mode {mode:o}); run chmod {right} {0}",
                        path.display()
                    ),
                );
            }
            Err(error) => findings.wrong(check, format!("{}: {error}", path.display())),
        }
    }
    #[cfg(not(unix))]
    findings.note(
        check,
        format!("{}: permissions are not looked at on this system", path.display()),
    );
}

fn disk(findings: &mut Findings, dir: &Path) {
    match flushes_per_s(dir) {
        Ok(rate) if rate > FLUSHES_PER_S_CREDIBLE_MAX => findings.note(
            "disk flush",
            format!("{rate} per second: more than a disk can do; a power cut may lose what was acknowledged"),
        ),
        Ok(rate) => findings.ok("disk flush", format!("{rate} per second, each one by itself")),
        Err(error) => findings.wrong("disk flush", format!("{}: {error}", dir.display())),
    }
    match free_bytes(dir) {
        Ok(free) if free < FREE_BYTES_MIN => {
            findings.wrong("free disk", format!("{} MiB left", free / 1_048_576));
        }
        Ok(free) => findings.ok("free disk", format!("{} MiB", free / 1_048_576)),
        Err(error) => findings.note("free disk", format!("not known: {error}")),
    }
}

/// Measures how often a small write can be made durable, in a file that is removed again.
fn flushes_per_s(dir: &Path) -> io::Result<u64> {
    let path = dir.join(format!("doctor-{}.tmp", std::process::id()));
    let measured = measure(&path);
    std::fs::remove_file(&path)?;
    measured
}

fn measure(path: &Path) -> io::Result<u64> {
    let mut file = std::fs::File::create(path)?;
    let begun = Instant::now();
    for _ in 0..FLUSHES {
        file.write_all(&[0x72; 4_096])?;
        file.sync_data()?;
    }
    Ok((f64::from(FLUSHES) / begun.elapsed().as_secs_f64().max(1e-9)) as u64)
}

/// Asks the system's own tool: the standard library does not know, and one figure is not worth a dependency.
fn free_bytes(dir: &Path) -> io::Result<u64> {
    let output = std::process::Command::new("df")
        .arg("-Pk")
        .arg("--")
        .arg(dir)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    // POSIX: one line per file system, the fourth column is what is available, in KiB.
    let available = text
        .lines()
        .nth(1)
        .and_then(|line| line.split_whitespace().nth(3)?.parse::<u64>().ok());
    available
        .map(|kib| kib.saturating_mul(1_024))
        .ok_or_else(|| io::Error::other("df gave no figure"))
}

/// Reads everything once, as reads and the verifier do. The first place that is not what it was is told.
fn records(findings: &mut Findings, common: &Common) {
    let bar = progress(0, "reading records");
    let checked = app::check_records(common, &|records, total| {
        bar.set_length(total);
        bar.set_position(records);
    });
    bar.finish_and_clear();
    match checked {
        // No version erases payloads yet, so nothing explains one that is gone.
        Ok(checked) if checked.payloads_missing > 0 => findings.wrong(
            "records",
            format!(
                "all {} read and as they were written, but {} payloads are not there; a backup may have them",
                checked.records, checked.payloads_missing
            ),
        ),
        Ok(checked) => findings.ok(
            "records",
            format!("all {} read, with payloads and tiles", checked.records),
        ),
        Err(error) => findings.wrong(
            "records",
            format!(
                "{}; keep the file, and restore a backup or export what can be read",
                crate::error::chain(&error)
            ),
        ),
    }
}

/// The same for the ledgers of a database. One that is not as it was keeps nobody from the others.
async fn records_of(findings: &mut Findings, app: &App, ledgers: &[LedgerId]) {
    let check = RecordCheck {
        events: app.stored.clone(),
        trees: app.trees.clone(),
    };
    let bar = progress(0, "reading records");
    match check.count(ledgers).await {
        Ok(total) => bar.set_length(total),
        Err(error) => findings.wrong("records", error.to_string()),
    }
    let (mut records, mut faults) = (0, 0);
    for &ledger in ledgers {
        let place = format!("records of {ledger}");
        match check
            .ledger(ledger, &|read| bar.set_position(records + read))
            .await
        {
            Ok(checked) => {
                records += checked.records;
                if checked.payloads_missing > 0 {
                    faults += 1;
                    // No version erases payloads yet, so nothing explains one that is gone.
                    let missing = checked.payloads_missing;
                    let told = format!("{missing} payloads are not there; a backup may have them");
                    findings.wrong(place, told);
                }
            }
            Err(error) => {
                faults += 1;
                let told = format!("{error}; restore a backup, or export what can be read");
                findings.wrong(place, told);
            }
        }
    }
    bar.finish_and_clear();
    match faults {
        0 => findings.ok("records", format!("all {records} read, with payloads and tiles")),
        faults => findings.note(
            "records",
            format!(
                "{} of {} ledgers are as they were written",
                ledgers.len() - faults,
                ledgers.len()
            ),
        ),
    }
}

async fn ledgers(findings: &mut Findings, common: &Common, full: bool) -> Result<(), CliError> {
    let app = match App::open_to_read(common, "ruche doctor").await {
        Ok(app) => app,
        Err(error) if error.is_in_use() => {
            findings.note("ledgers", format!("not looked at: {error}"));
            return Ok(());
        }
        Err(error) if error.is_absent() => return Err(error.into()),
        Err(error) => {
            findings.wrong("ledgers", crate::error::chain(&error));
            return Ok(());
        }
    };
    match common.database_url {
        Some(_) => findings.ok("database", "opens, with the schema of this version"),
        None => findings.ok(
            "data folder",
            format!(
                "{}: opens, and its heads agree with the last records",
                common.data_dir.display()
            ),
        ),
    }
    match app.events.ledgers().await {
        Ok(ledgers) => {
            if full && common.database_url.is_some() {
                records_of(findings, &app, &ledgers).await;
            }
            for ledger in ledgers {
                sealing(findings, &app, ledger).await;
                read_models(findings, &app, ledger).await;
                effects(findings, &app, ledger).await;
                archives(findings, &app, ledger).await;
            }
        }
        Err(error) => findings.wrong("ledgers", error.to_string()),
    }
    match app.lost_ledgers().await {
        Ok(lost) => {
            for origin in lost {
                findings.wrong(
                    format!("ledger {origin}"),
                    format!("it is lost: {}", promised::LOST),
                );
            }
        }
        Err(error) => findings.wrong("tree heads", crate::error::chain(&error)),
    }
    app.close().await?;
    Ok(())
}

/// Compares what is stored with what was promised. Signs nothing.
async fn sealing(findings: &mut Findings, app: &App, ledger: LedgerId) {
    let check = format!("ledger {ledger}");
    let epochs = match app.events.epochs(ledger).await {
        Ok(epochs) => epochs,
        Err(error) => return findings.wrong(check, error.to_string()),
    };
    for (number, epoch) in epochs.iter().enumerate() {
        let is_open = number + 1 == epochs.len();
        let standing = match app.sealer.check_epoch(ledger, epoch.epoch).await {
            // A successor that was promised and is not here shows in the open epoch alone.
            Ok(head) if is_open => app.sealer.check_open_epoch(ledger).await.map(|()| head),
            other => other,
        };
        match standing {
            Ok(head) => findings.ok(
                &check,
                format!(
                    "epoch {}: {} records, {} sealed",
                    epoch.epoch,
                    epoch.size.0,
                    head.map_or(0, |head| head.head().size.0)
                ),
            ),
            // A closed epoch stays behind for ever; the first record of a later one says so.
            Err(SealError::Behind { stored, promised, .. }) if !is_open => findings.note(
                &check,
                format!(
                    "epoch {}: {} of {promised} records were lost",
                    epoch.epoch,
                    promised - stored
                ),
            ),
            Err(error) => {
                findings.wrong(
                    &check,
                    format!("epoch {}: {}", epoch.epoch, crate::error::chain(&error)),
                );
            }
        }
    }
    if let Ok(Some(head)) = app.events.head(ledger).await {
        let last = head.last_recorded_at;
        if last > Micros(app.clock.now().0.saturating_add(CLOCK_BEHIND_US_MAX)) {
            findings.wrong(
                &check,
                format!(
                    "the clock of this machine stands before the last record ({})",
                    time(last)
                ),
            );
        }
    }
}

/// After a restore: what was started before it and has no result. Reads the whole ledger then.
async fn effects(findings: &mut Findings, app: &App, ledger: LedgerId) {
    let found = async {
        match unsettled::last_restore(&*app.stored, ledger).await? {
            Some(restore) => unsettled::without_result(&*app.stored, ledger, Some(restore)).await,
            None => Ok(Vec::new()),
        }
    };
    match found.await {
        Ok(found) => {
            for effect in found {
                findings.note(format!("effect of call {}", effect.call), effect.to_string());
            }
        }
        Err(error) => findings.wrong(format!("effects of {ledger}"), error.to_string()),
    }
}

/// Whether what is archived is at hand, and all of it what it was. Without it nothing is lost, and some things are refused.
async fn archives(findings: &mut Findings, app: &App, ledger: LedgerId) {
    let check = format!("archives of {ledger}");
    match app.check_archives(ledger).await {
        Ok((0, _)) => {}
        Ok((all, missing)) if missing.is_empty() => {
            findings.ok(check, format!("{all} at hand, all of their bundles read"))
        }
        Ok((all, missing)) => {
            let missing: Vec<_> = missing.into_iter().map(|range| range.archive).collect();
            let (count, names) = (missing.len(), missing.join(", "));
            findings.note(
                check,
                format!("{count} of {all} not at hand, see --archive-dir: {names}"),
            );
        }
        Err(error) => findings.wrong(check, crate::error::chain(&error)),
    }
}

async fn read_models(findings: &mut Findings, app: &App, ledger: LedgerId) {
    let check = format!("read models of {ledger}");
    let lags = match app.runner.lag(ledger).await {
        Ok(lags) => lags,
        Err(error) => return findings.wrong(check, crate::error::chain(&error)),
    };
    let mut behind = 0;
    for lag in &lags {
        behind = behind.max(lag.records);
        if let Some(parked) = lag.parked {
            findings.wrong(
                &check,
                format!(
                    "{} stands before record {parked}, which it cannot apply",
                    lag.projection
                ),
            );
        } else if !lag.is_gapless() {
            let (passed, applied) = (lag.passed, lag.checkpoint.applied);
            findings.wrong(
                &check,
                format!("{} passed {passed} records and applied {applied}", lag.projection),
            );
        }
    }
    match behind {
        0 => findings.ok(check, format!("{} up to date", lags.len())),
        1 => findings.note(check, "1 record behind; `ruche serve` catches up"),
        behind => findings.note(
            check,
            format!("{behind} records behind; `ruche serve` catches up"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_of_the_working_folder_can_be_measured() {
        let dir = std::env::temp_dir();
        assert!(flushes_per_s(&dir).unwrap() > 0);
        assert!(free_bytes(&dir).unwrap() > 0);
    }
}
