//! A short run on an embedded store whose disk fails under it. Tells each answer on standard output, one line each:
//! `ack <n> <epoch:index> <leaf hash>`, `unknown <n>` or `error <n>` for append number n; an append that was not
//! acknowledged is repeated with its key, by the same process on the same store.
//!
//! Exit code 0: every append was acknowledged and the store closed; 3: it ended at the fault, without closing, as a
//! process does that dies there; anything else: an answer that no failing disk excuses.
//!
//! Usage: faulty-load DATA KEYS go-on|die

use std::error::Error;
use std::path::Path;

use ruche_ledger::epoch::OpenError;
use ruche_ledger::store::{AppendOutcome, EventStore, StoreError};
use ruche_ledger::testing::ledger;
use ruche_ledger_sqlite::Synchronous;
use ruche_tests::embedded::Embedded;
use ruche_tests::io_fault::{APPENDS, DIED, say, short_append};

/// Times that a thing is tried while the disk fails; more than any run of failing calls.
const TRIES_MAX: u32 = 12;
/// The append after which the ledger is sealed in the middle of the run.
const SEALED_AFTER: u8 = APPENDS / 2;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [data, keys, mode] = &args[..] else {
        return Err("usage: faulty-load DATA KEYS go-on|die".into());
    };
    let dies = mode == "die";
    let Ok(embedded) = Embedded::open(Path::new(data), Path::new(keys), Synchronous::Full) else {
        // A start that fails is tried again by the operator: the next process opens the folder without faults.
        std::process::exit(DIED);
    };
    let mut tries = 0;
    while let Err(error) = embedded.start().await {
        excuse(&error)?;
        tries = again(tries, dies, &error)?;
    }
    for n in 0..APPENDS {
        append(&embedded, n, dies).await?;
        if n == SEALED_AFTER {
            let mut tries = 0;
            while let Err(error) = embedded.seal().await {
                if error.halts_appends() {
                    return Err(error.into());
                }
                tries = again(tries, dies, &error)?;
            }
        }
    }
    // What the last checkpoint of a close cannot do is done at the next start.
    if let Err(error @ StoreError::Corrupt { .. }) = embedded.store.close().await {
        return Err(error.into());
    }
    Ok(())
}

async fn append(embedded: &Embedded, n: u8, dies: bool) -> Result<(), Box<dyn Error>> {
    let mut tries = 0;
    loop {
        match embedded.store.append(ledger(1), short_append(n)).await {
            Ok(AppendOutcome::Appended { receipts, .. }) => {
                say(n, &receipts)?;
                return Ok(());
            }
            Ok(AppendOutcome::Unknown) => {
                println(&format!("unknown {n}"))?;
                tries = again(tries, dies, &"unknown")?;
            }
            Err(error @ StoreError::Unavailable { .. }) => {
                println(&format!("error {n}"))?;
                tries = again(tries, dies, &error)?;
            }
            other => return Err(format!("append {n}: {other:?}").into()),
        }
    }
}

/// An opening may fail with the disk, not for another reason.
fn excuse(error: &OpenError) -> Result<(), Box<dyn Error>> {
    match error {
        OpenError::Store(StoreError::Unavailable { .. }) => Ok(()),
        OpenError::Seal(error) if !error.halts_appends() => Ok(()),
        other => Err(format!("start: {other}").into()),
    }
}

/// Counts a try, or ends the process.
fn again(tries: u32, dies: bool, error: &dyn std::fmt::Display) -> Result<u32, Box<dyn Error>> {
    if dies {
        std::process::exit(DIED);
    }
    if tries == TRIES_MAX {
        return Err(format!("still failing after the disk works again: {error}").into());
    }
    Ok(tries + 1)
}

fn println(line: &str) -> std::io::Result<()> {
    use std::io::Write;
    writeln!(std::io::stdout(), "{line}")
}
