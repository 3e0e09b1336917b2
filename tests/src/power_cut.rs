//! A power cut, as near as a process can come to one: a preloaded shim keeps a copy of what was synced, the process is
//! killed in the middle of its work, and the copy takes the place of the folder. See `power-cut/shim.c`.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use ruche_domain::numbers::Position;
use ruche_ledger::store::{AppendOutcome, EventStore, Record};
use ruche_ledger::testing::{Author, SeededRandom, check_ledger, ledger};
use ruche_ledger_sqlite::{SqliteStore, Synchronous};

use crate::embedded::Embedded;

/// What was acknowledged before a cut and is not there after it, or is another record.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Acknowledged records.
    pub acknowledged: usize,
    /// Those that are gone or changed.
    pub lost: usize,
    /// Cuts after which the ledger was behind a tree head that had been signed, or contradicted it.
    pub promises_broken: usize,
}

impl Loss {
    /// Whether something is gone that somebody was told.
    pub fn is_any(&self) -> bool {
        self.lost > 0 || self.promises_broken > 0
    }
}

/// Runs `append-load` in `folder` under the shim, cuts the power after a seeded number of acknowledgements, and judges
/// what a restart finds. The folder then holds what survived, so that the next cut goes on from it.
///
/// # Panics
/// When the surviving store cannot be opened, or its ledger breaks a rule.
pub async fn cut(
    program: &Path,
    shim: &Path,
    folder: &Path,
    synchronous: &str,
    seed: u64,
) -> io::Result<Loss> {
    // Tree heads live apart from the data; this disk forgets nothing, so that what was promised before a cut is known.
    let keys = folder.join("keys");
    let (data, synced) = (folder.join("data"), folder.join("synced"));
    std::fs::create_dir_all(&data)?;
    // At the start everything on the disk is synced.
    copy(&data, &synced)?;
    let acknowledged = run_until_cut(program, shim, &data, &keys, &synced, synchronous, seed)?;
    copy(&synced, &data)?;
    judge(&data, &keys, &acknowledged).await
}

fn run_until_cut(
    program: &Path,
    shim: &Path,
    data: &Path,
    keys: &Path,
    synced: &Path,
    synchronous: &str,
    seed: u64,
) -> io::Result<HashMap<Position, String>> {
    let mut child = Command::new(program)
        .arg(data)
        .arg(keys)
        .args([synchronous, &seed.to_string()])
        .env("LD_PRELOAD", shim)
        .env("RUCHE_CUT_DIR", data)
        .env("RUCHE_CUT_SHADOW", synced)
        .stdout(Stdio::piped())
        .spawn()?;
    let enough = 1 + SeededRandom::new(seed).next() % 600;
    let mut acknowledged = HashMap::new();
    let output = child
        .stdout
        .take()
        .ok_or_else(|| io::Error::other("no standard output"))?;
    let mut lines = BufReader::new(output).lines();
    while (acknowledged.len() as u64) < enough {
        let line = lines
            .next()
            .ok_or_else(|| io::Error::other("the load ended by itself"))??;
        acknowledge(&mut acknowledged, &line)?;
    }
    child.kill()?;
    // Lines in the pipe were written before the cut: they count.
    for line in lines {
        acknowledge(&mut acknowledged, &line?)?;
    }
    child.wait()?;
    Ok(acknowledged)
}

fn acknowledge(acknowledged: &mut HashMap<Position, String>, line: &str) -> io::Result<()> {
    let bad = || io::Error::other(format!("not an acknowledgement: {line}"));
    let (position, hash) = line
        .strip_prefix("ack ")
        .and_then(|l| l.split_once(' '))
        .ok_or_else(bad)?;
    acknowledged.insert(position.parse().map_err(|_| bad())?, hash.to_owned());
    Ok(())
}

async fn judge(data: &Path, keys: &Path, acknowledged: &HashMap<Position, String>) -> io::Result<Loss> {
    let embedded =
        Embedded::open(data, keys, Synchronous::Full).map_err(|e| io::Error::other(e.to_string()))?;
    let store = &embedded.store;
    let mut loss = Loss {
        acknowledged: acknowledged.len(),
        lost: acknowledged.len(),
        promises_broken: 0,
    };
    if store.head(ledger(1)).await.map_err(io::Error::other)?.is_some() {
        match embedded.seal().await {
            Ok(()) => {}
            Err(error) if error.halts_appends() => loss.promises_broken = 1,
            Err(error) => return Err(io::Error::other(error)),
        }
        check_ledger(&**store, ledger(1)).await;
        let mut from = Position::START;
        loop {
            let records = store
                .read_ledger(ledger(1), from, 1_000)
                .await
                .map_err(io::Error::other)?;
            let Some(last) = records.last() else { break };
            from = last.position.next();
            let kept = |r: &&ruche_ledger::store::Record| {
                acknowledged
                    .get(&r.position)
                    .is_some_and(|hash| *hash == r.leaf_hash().to_string())
            };
            loss.lost -= records.iter().filter(kept).count();
            for record in records.iter().filter(|r| !r.leaf.keys.is_empty()) {
                repeat(store, record).await?;
            }
        }
    }
    store.close().await.map_err(io::Error::other)?;
    Ok(loss)
}

/// Asks for the append of a record again, with its key: nothing may be written.
async fn repeat(store: &SqliteStore, record: &Record) -> io::Result<()> {
    let author = Author::new(u64::MAX);
    let mut request = author.append(vec![author.event(record.leaf.event.stream, "{}")]);
    request.keys.clone_from(&record.leaf.keys);
    match store.append(ledger(1), request).await.map_err(io::Error::other)? {
        AppendOutcome::Appended { receipts, duplicate } => {
            assert!(duplicate, "the key of {} was forgotten", record.position);
            assert_eq!(receipts[0].position, record.position);
        }
        other => {
            return Err(io::Error::other(format!(
                "not answered as a duplicate: {other:?}"
            )));
        }
    }
    Ok(())
}

/// Makes `to` hold exactly the data files of `from`.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if to.exists() {
        std::fs::remove_dir_all(to)?;
    }
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        let text = name.to_string_lossy();
        if !text.ends_with("-shm") && text != "lock" {
            std::fs::copy(entry.path(), to.join(&name))?;
        }
    }
    Ok(())
}
