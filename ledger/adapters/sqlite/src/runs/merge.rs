//! Writing one run out of sorted sources, a little with each commit.
//!
//! The same sources always make the same blocks under the same ids. So a merge whose transaction was undone is simply
//! begun again: blocks that were committed before are replaced by themselves.

use std::mem;
use std::sync::Arc;

use ruche_ledger::store::StoreError;
use rusqlite::{Connection, params};

use super::filter::Filter;
use super::{BLOCK_ENTRIES, Entry, Run, block_id, check_distinct, failed, read_block};
use crate::rowid::RecordId;

/// A run that is being written.
pub(crate) struct Merge {
    /// Number of the run.
    no: i64,
    /// Runs that it replaces, with their blocks. None if its entries come from memory.
    pub replaces: Vec<(i64, usize)>,
    sources: Vec<Source>,
    /// Entries of all sources, duplicates counted.
    entries_max: u64,
    entries: u64,
    last: Option<Entry>,
    block: Vec<Entry>,
    filter: Filter,
    firsts: Vec<u64>,
}

enum Source {
    Memory {
        entries: Arc<[Entry]>,
        at: usize,
    },
    Stored {
        run: i64,
        blocks: usize,
        next_block: usize,
        entries: Vec<Entry>,
        at: usize,
    },
}

impl Merge {
    /// Of sorted entries in memory.
    pub(crate) fn of_memory(no: i64, entries: Arc<[Entry]>) -> Self {
        let count = entries.len() as u64;
        Self::new(no, Vec::new(), vec![Source::Memory { entries, at: 0 }], count)
    }

    /// Of stored runs, which the new one replaces.
    pub(crate) fn of_runs(no: i64, runs: &[&Run]) -> Self {
        let replaces: Vec<_> = runs.iter().map(|run| (run.no, run.firsts.len())).collect();
        let sources = replaces.iter().map(|(run, blocks)| Source::Stored {
            run: *run,
            blocks: *blocks,
            next_block: 0,
            entries: Vec::new(),
            at: 0,
        });
        let sources = sources.collect();
        Self::new(no, replaces, sources, runs.iter().map(|run| run.entries).sum())
    }

    fn new(no: i64, replaces: Vec<(i64, usize)>, sources: Vec<Source>, entries_max: u64) -> Self {
        Self {
            no,
            replaces,
            sources,
            entries_max,
            entries: 0,
            last: None,
            block: Vec::with_capacity(BLOCK_ENTRIES),
            filter: Filter::for_entries(entries_max),
            firsts: Vec::new(),
        }
    }

    /// The same merge from its beginning.
    pub(crate) fn restarted(self) -> Self {
        let sources = self.sources.into_iter().map(Source::restarted).collect();
        Self::new(self.no, self.replaces, sources, self.entries_max)
    }

    /// Goes on for up to `budget` entries, as part of the open transaction. Returns the run once it is whole; its row
    /// and the absence of those that it replaces are then part of the transaction too.
    pub(crate) fn step(&mut self, conn: &Connection, budget: usize) -> Result<Option<Run>, StoreError> {
        for _ in 0..budget {
            let Some(entry) = self.next(conn)? else {
                return self.finish(conn).map(Some);
            };
            if self.last == Some(entry) {
                // Two layers may have the same key, and a crash may have left keys to be read from leaves again.
                continue;
            }
            if let Some(last) = self.last.filter(|last| last.0 == entry.0) {
                check_distinct(conn, entry.0, RecordId(last.1), RecordId(entry.1))?;
            }
            self.last = Some(entry);
            self.filter.insert(entry.0);
            self.entries += 1;
            self.block.push(entry);
            if self.block.len() == BLOCK_ENTRIES {
                self.write_block(conn)?;
            }
        }
        Ok(None)
    }

    /// The least entry that is left in any source.
    fn next(&mut self, conn: &Connection) -> Result<Option<Entry>, StoreError> {
        let mut least: Option<(usize, Entry)> = None;
        for (n, source) in self.sources.iter_mut().enumerate() {
            if let Some(entry) = source.peek(conn)?
                && least.is_none_or(|(_, other)| entry < other)
            {
                least = Some((n, entry));
            }
        }
        Ok(least.map(|(n, entry)| {
            self.sources[n].advance();
            entry
        }))
    }

    fn write_block(&mut self, conn: &Connection) -> Result<(), StoreError> {
        let Some(first) = self.block.first() else {
            return Ok(());
        };
        let id = block_id(self.no, self.firsts.len());
        self.firsts.push(first.0);
        let bytes: Vec<u8> = self.block.drain(..).flat_map(Entry::to_bytes).collect();
        conn.prepare_cached("INSERT OR REPLACE INTO key_block VALUES (?1, ?2)")
            .and_then(|mut s| s.execute(params![id, bytes]))
            .map_err(|e| failed(&e))?;
        Ok(())
    }

    fn finish(&mut self, conn: &Connection) -> Result<Run, StoreError> {
        self.write_block(conn)?;
        let run = Run {
            no: self.no,
            entries: self.entries,
            filter: mem::replace(&mut self.filter, Filter::for_entries(0)),
            firsts: mem::take(&mut self.firsts),
        };
        run.insert(conn).map_err(|e| failed(&e))?;
        let mut delete = conn
            .prepare_cached("DELETE FROM key_run WHERE no = ?1")
            .map_err(|e| failed(&e))?;
        for (no, _) in &self.replaces {
            delete.execute([no]).map_err(|e| failed(&e))?;
        }
        Ok(run)
    }
}

impl Source {
    fn restarted(self) -> Self {
        match self {
            Self::Memory { entries, .. } => Self::Memory { entries, at: 0 },
            Self::Stored { run, blocks, .. } => Self::Stored {
                run,
                blocks,
                next_block: 0,
                entries: Vec::new(),
                at: 0,
            },
        }
    }

    fn peek(&mut self, conn: &Connection) -> Result<Option<Entry>, StoreError> {
        match self {
            Self::Memory { entries, at } => Ok(entries.get(*at).copied()),
            Self::Stored {
                run,
                blocks,
                next_block,
                entries,
                at,
            } => {
                if *at == entries.len() && next_block < blocks {
                    *entries = read_block(conn, *run, *next_block)?;
                    *next_block += 1;
                    *at = 0;
                }
                Ok(entries.get(*at).copied())
            }
        }
    }

    fn advance(&mut self) {
        match self {
            Self::Memory { at, .. } | Self::Stored { at, .. } => *at += 1,
        }
    }
}
