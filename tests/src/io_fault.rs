//! A disk that fails under the real engine: `faulty-load` runs under a preloaded shim that makes a chosen write or flush
//! fail, and what it was told is compared with what a restart finds. See `io-faults/shim.c`.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;

use ruche_ledger::store::{AppendOutcome, AppendRequest, EventStore, Receipt};
use ruche_ledger::testing::{Author, check_ledger, ledger};
use ruche_ledger_bundle::Verdict;
use ruche_ledger_sqlite::Synchronous;

use crate::embedded::Embedded;

/// Appends of one run.
pub const APPENDS: u8 = 5;
/// Exit code of a load that ended at the fault.
pub const DIED: i32 = 3;

/// Which calls fail.
#[derive(Clone, Copy, Debug)]
pub enum Call {
    /// Writes to any file of the data folder.
    Write,
    /// fsync and fdatasync.
    Sync,
}

/// What goes wrong, and what the process does then.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Which calls are counted.
    pub call: Call,
    /// The first that fails, from 1.
    pub at: u32,
    /// How many fail in a row.
    pub count: u32,
    /// The number of the error: 5 is EIO, 28 is ENOSPC.
    pub errno: i32,
    /// Whether the process ends at the first answer that is no receipt; otherwise it goes on, and must recover.
    pub dies: bool,
}

/// What the answers of a run were, and what became of those that said nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Appends whose outcome was unknown.
    pub unknown: u32,
    /// Appends that failed cleanly.
    pub errors: u32,
    /// Unknown appends that a restart found in the ledger.
    pub kept: u32,
    /// Runs that were judged.
    pub runs: u32,
}

/// Append number `n` of a run, the same each time: one, two or three records under a key of its own.
pub fn short_append(n: u8) -> AppendRequest {
    let author = Author::new(1_000 + u64::from(n));
    let events = (0..records_of(n))
        .map(|e| author.event(author.stream(u128::from(e % 2)), &format!(r#"{{"append":{n}}}"#)))
        .collect();
    author.append_keyed(n, n, events)
}

fn records_of(n: u8) -> u8 {
    1 + n % 3
}

/// Tells an acknowledgement on standard output.
///
/// # Errors
/// When nobody listens.
pub fn say(n: u8, receipts: &[Receipt]) -> io::Result<()> {
    writeln!(io::stdout(), "ack {n} {}", told(receipts))
}

fn told(receipts: &[Receipt]) -> String {
    let each: Vec<String> = receipts
        .iter()
        .map(|r| format!("{} {}", r.position, r.leaf_hash))
        .collect();
    each.join(" ")
}

/// Runs the load in a fresh folder with one fault and judges it. False if the run never came to the fault.
///
/// # Errors
/// When a program cannot be run, the load says that something else than the disk failed, or the verifier cannot run.
///
/// # Panics
/// When an acknowledged append is gone or doubled, or the ledger breaks a rule.
pub async fn run(program: &Path, shim: &Path, fault: Fault, seen: &mut Seen) -> Result<bool, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let (data, keys) = (folder.path().join("data"), folder.path().join("keys"));
    let hit = folder.path().join("hit");
    std::fs::create_dir(&data)?;
    let call = match fault.call {
        Call::Write => "write",
        Call::Sync => "sync",
    };
    let output = Command::new(program)
        .arg(&data)
        .arg(&keys)
        .arg(if fault.dies { "die" } else { "go-on" })
        .env("LD_PRELOAD", shim)
        .env("RUCHE_FAULT_DIR", &data)
        .env("RUCHE_FAULT_CALL", call)
        .env("RUCHE_FAULT_AT", fault.at.to_string())
        .env("RUCHE_FAULT_COUNT", fault.count.to_string())
        .env("RUCHE_FAULT_ERRNO", fault.errno.to_string())
        .env("RUCHE_FAULT_HIT", &hit)
        .output()?;
    let acknowledged = answers(&String::from_utf8(output.stdout)?, seen)?;
    match output.status.code() {
        Some(0) => assert_eq!(acknowledged.receipts.len(), usize::from(APPENDS), "{fault:?}"),
        Some(DIED) if hit.exists() => {}
        code => {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{fault:?}: exit code {code:?}: {said}").into());
        }
    }
    judge(&data, &keys, &acknowledged, seen)
        .await
        .map_err(|error| format!("{fault:?}: {error}"))?;
    seen.runs += 1;
    Ok(hit.exists())
}

#[derive(Default)]
struct Answers {
    receipts: BTreeMap<u8, String>,
    /// Not acknowledged later.
    unknown: Vec<u8>,
}

fn answers(output: &str, seen: &mut Seen) -> Result<Answers, Box<dyn Error>> {
    let mut answers = Answers::default();
    for line in output.lines() {
        let mut words = line.splitn(3, ' ');
        let (what, n) = (words.next(), words.next().ok_or("no number")?.parse()?);
        match what {
            Some("ack") => {
                answers.unknown.retain(|unknown| *unknown != n);
                answers
                    .receipts
                    .insert(n, words.next().ok_or("no receipts")?.to_owned());
            }
            Some("unknown") => {
                seen.unknown += 1;
                answers.unknown.push(n);
            }
            Some("error") => seen.errors += 1,
            _ => return Err(format!("not an answer: {line}").into()),
        }
    }
    Ok(answers)
}

/// Opens what is left on a disk that works, repeats every append with its key, and has the whole ledger verified.
async fn judge(data: &Path, keys: &Path, answers: &Answers, seen: &mut Seen) -> Result<(), Box<dyn Error>> {
    let embedded = Embedded::open(data, keys, Synchronous::Full)?;
    embedded.start().await?;
    // Record 0 opens the epoch.
    let mut expected = 1;
    for n in 0..APPENDS {
        let again = embedded.store.append(ledger(1), short_append(n)).await?;
        let AppendOutcome::Appended { receipts, duplicate } = again else {
            return Err(format!("append {n} repeated: {again:?}").into());
        };
        if let Some(first) = answers.receipts.get(&n) {
            assert!(duplicate, "append {n} was acknowledged and is gone");
            assert_eq!(*first, told(&receipts), "append {n} has become another");
        }
        seen.kept += u32::from(duplicate && answers.unknown.contains(&n));
        expected += u64::from(records_of(n));
    }
    assert_eq!(
        check_ledger(&*embedded.store, ledger(1)).await,
        expected,
        "each append is there once"
    );
    let target = data.with_file_name("export");
    let report = embedded.verify(&target).await?;
    assert_eq!(report.verdict, Verdict::Verified, "{}", report.to_json());
    assert_eq!(report.records, expected);
    embedded.store.close().await?;
    Ok(())
}
