//! Appends to an embedded store and seals it without end, and tells each receipt on standard output, one line each:
//! `ack <epoch:index> <leaf hash>`. A test kills it and asks the store whether every line was true.
//!
//! Usage: append-load DATA KEYS full|normal|off SEED

use std::io::{self, Write};
use std::path::Path;

use futures_util::future::join_all;
use ruche_domain::numbers::Position;
use ruche_ledger::leaf::{KeyClaim, KeyLayer};
use ruche_ledger::seal::SealError;
use ruche_ledger::store::{AppendOutcome, EventStore};
use ruche_ledger::testing::{Author, SeededRandom, ledger};
use ruche_ledger_sqlite::{SqliteStore, Synchronous};
use ruche_tests::embedded::Embedded;

const CALLERS: u64 = 8;
/// Records between two tree heads.
const SEALED_TOGETHER: u64 = 40;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [data, keys, synchronous, seed] = &args[..] else {
        return Err("usage: append-load DATA KEYS full|normal|off SEED".into());
    };
    let synchronous = match synchronous.as_str() {
        "full" => Synchronous::Full,
        "normal" => Synchronous::Normal,
        "off" => Synchronous::Off,
        other => return Err(format!("no such setting: {other}").into()),
    };
    let seed: u64 = seed.parse()?;
    let embedded = Embedded::open(Path::new(data), Path::new(keys), synchronous)?;
    embedded.start().await?;
    let appends = join_all((0..CALLERS).map(|caller| append_for_ever(&embedded.store, seed, caller)));
    tokio::select! {
        _ = appends => Ok(()),
        error = seal_for_ever(&embedded) => Err(error.into()),
    }
}

/// Seals beside the appends, several times before most cuts: they hit tiles and copies of tree heads as well.
async fn seal_for_ever(embedded: &Embedded) -> SealError {
    loop {
        let sealed = match embedded.sealer.seal(ledger(1)).await {
            Ok(head) => head.map_or(0, |head| head.head().size.0),
            Err(error) => return error,
        };
        let next = Position::new(1, sealed + SEALED_TOGETHER);
        if let Err(error) = embedded.store.wait_for(ledger(1), next).await {
            return error.into();
        }
    }
}

fn random_key(dice: &SeededRandom) -> [u8; 32] {
    let mut key = [0; 32];
    for part in key.chunks_mut(8) {
        part.copy_from_slice(&dice.next().to_be_bytes());
    }
    key
}

/// Ends when the other end of standard output is gone, or with the process.
async fn append_for_ever(store: &SqliteStore, seed: u64, caller: u64) {
    let author = Author::new(seed * CALLERS + caller);
    let dice = SeededRandom::new(seed ^ caller);
    loop {
        let text = format!(r#"{{"text":"{}"}}"#, "x".repeat((dice.next() % 900) as usize));
        let events = (0..1 + dice.next() % 3)
            .map(|_| author.event(author.stream(u128::from(dice.next() % 20)), &text))
            .collect();
        let mut request = author.append(events);
        request.keys.push(KeyClaim {
            layer: KeyLayer::Api,
            key: random_key(&dice),
            request: [7; 32],
        });
        match store.append(ledger(1), request).await {
            Ok(AppendOutcome::Appended { receipts, .. }) => {
                let lines: String = receipts
                    .iter()
                    .map(|r| format!("ack {} {}\n", r.position, r.leaf_hash))
                    .collect();
                // One write, so that a kill cannot tear a line in two.
                if io::stdout()
                    .write_all(lines.as_bytes())
                    .and_then(|()| io::stdout().flush())
                    .is_err()
                {
                    return;
                }
            }
            other => {
                // A refused append is no defect of what is tested here, but it must not go unseen.
                let _ = writeln!(io::stderr(), "not appended: {other:?}");
                return;
            }
        }
    }
}
