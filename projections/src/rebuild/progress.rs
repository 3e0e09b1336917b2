//! How far a rebuild is, for those who look on while it runs.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

/// What a rebuild does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RebuildPhase {
    /// It reads records and fills the tables beside the current ones.
    #[default]
    Filling,
    /// It holds what it filled against the current tables, row by row.
    Comparing,
    /// It applies what came meanwhile, and puts its tables in the place of the current ones.
    Switching,
}

/// How far a rebuild is. Written by the rebuild, read by anybody; what is read is true of a moment that may be over.
#[derive(Debug, Default)]
pub struct RebuildProgress {
    phase: AtomicU8,
    total: AtomicU64,
    applied: AtomicU64,
}

/// Where a rebuild stood when somebody looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RebuildStanding {
    /// What it does.
    pub phase: RebuildPhase,
    /// Records that it has gone through.
    pub applied: u64,
    /// Records that the current read models are made of, as far as that was seen; it grows while clients write.
    pub total: u64,
}

impl RebuildProgress {
    /// Where it stands.
    pub fn standing(&self) -> RebuildStanding {
        let applied = self.applied.load(Ordering::Relaxed);
        RebuildStanding {
            phase: match self.phase.load(Ordering::Relaxed) {
                0 => RebuildPhase::Filling,
                1 => RebuildPhase::Comparing,
                _ => RebuildPhase::Switching,
            },
            applied,
            total: self.total.load(Ordering::Relaxed).max(applied),
        }
    }

    /// It does something else from now on.
    pub fn enter(&self, phase: RebuildPhase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// So many records are to be gone through, as things stand.
    pub(super) fn expect(&self, total: u64) {
        self.total.store(total, Ordering::Relaxed);
    }

    /// It went through more records.
    pub(super) fn add(&self, records: u64) {
        self.applied.fetch_add(records, Ordering::Relaxed);
    }
}

impl RebuildStanding {
    /// How much longer filling takes if it goes on as it did for this long. Nothing can be said before the first record, nor
    /// of what comes behind filling.
    pub fn time_left(&self, since: Duration) -> Option<Duration> {
        if self.phase != RebuildPhase::Filling || self.applied == 0 {
            return None;
        }
        let each = since.as_secs_f64() / self.applied as f64;
        let left = self.total.saturating_sub(self.applied) as f64;
        Duration::try_from_secs_f64(each * left).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_follows_the_rate_so_far_and_is_not_told_where_nobody_knows() {
        let progress = RebuildProgress::default();
        progress.expect(1_000);
        let hour = Duration::from_secs(3_600);
        assert_eq!(progress.standing().time_left(hour), None, "nothing was done yet");
        progress.add(250);
        assert_eq!(
            progress.standing().time_left(Duration::from_secs(10)),
            Some(Duration::from_secs(30))
        );
        progress.add(900);
        let standing = progress.standing();
        assert_eq!(
            (standing.applied, standing.total),
            (1_150, 1_150),
            "what was not foreseen counts"
        );
        assert_eq!(standing.time_left(hour), Some(Duration::ZERO));
        progress.enter(RebuildPhase::Comparing);
        assert_eq!(progress.standing().time_left(hour), None);
        progress.enter(RebuildPhase::Switching);
        assert_eq!(progress.standing().phase, RebuildPhase::Switching);
    }
}
