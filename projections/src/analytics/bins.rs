//! Bins of durations: 32 for each doubling, so that a bin is never wider than a 32nd of where it begins. A duration that is
//! read back as the middle of its bin is wrong by at most [`ERROR_PER_MILLE_MAX`]. Bins are numbers of rows that are added
//! up, so those of several rows together are the bins of all their durations.

use std::sync::LazyLock;

use crate::bounds::DURATION_US_MAX;

/// Bins of one doubling, as a power of two.
const BITS: u32 = 5;
const PER_OCTAVE: i64 = 1 << BITS;
/// The bin of a duration that nobody told.
pub const UNKNOWN: i64 = -1;
/// Doublings above the first, which is exact, up to the longest duration.
const OCTAVES: u32 = DURATION_US_MAX.ilog2() - BITS;
/// How far the middle of a bin may be from a duration in it: half of a 32nd, rounded up.
pub const ERROR_PER_MILLE_MAX: i64 = 16;

const _: () = assert!(ERROR_PER_MILLE_MAX * 2 * PER_OCTAVE >= 1_000);

/// The bin of a duration in µs. Durations below 64 µs have a bin each.
pub fn of(duration_us: Option<i64>) -> i64 {
    let Some(told) = duration_us.filter(|told| *told >= 0) else {
        return UNKNOWN;
    };
    let octave = told.max(1).ilog2().saturating_sub(BITS);
    i64::from(octave) * PER_OCTAVE + (told >> octave)
}

/// The middle of a bin, µs.
pub fn middle(bin: i64) -> i64 {
    let octave = (bin / PER_OCTAVE - 1).max(0);
    let low = (bin - octave * PER_OCTAVE) << octave;
    low + (1 << octave) / 2
}

/// The duration that so many of a thousand thousandths of durations do not exceed, by bins in ascending order with their
/// numbers: that of rank `ceil(share * n)`, the least for a share of nothing. Nothing where there are none.
pub fn percentile(bins: &[(i64, i64)], per_mille: i64) -> Option<i64> {
    let total: i128 = bins.iter().map(|(_, n)| i128::from(*n)).sum();
    let rank = ((total * i128::from(per_mille) + 999) / 1_000).max(1);
    let mut seen = 0;
    for (bin, n) in bins {
        seen += i128::from(*n);
        if seen >= rank && *n > 0 {
            return Some(middle(*bin));
        }
    }
    None
}

/// The bin of the time from a column of a table on, as an expression of three parameters: the time, and the two columns of
/// the table's key. [`UNKNOWN`] where the table does not say, the time lies before, or too far behind.
pub(super) fn since(column: &str, table: &str, key: &str) -> &'static str {
    static OCTAVE: LazyLock<String> = LazyLock::new(|| {
        let ends = (0..=OCTAVES).map(|octave| {
            let end = 1_i64 << (octave + BITS + 1);
            format!(" WHEN a.x < {end} THEN {octave}")
        });
        format!("CASE WHEN a.x < 0 THEN NULL{} END", ends.collect::<String>())
    });
    // Made once for each counter, which is static.
    String::leak(format!(
        "COALESCE((SELECT b.octave * {PER_OCTAVE} + (b.x >> b.octave) FROM (SELECT a.x, {} AS octave FROM \
         (SELECT ? - w.{column} AS x FROM {table} w WHERE w.ledger = ? AND w.{key} = ?) a) b), {UNKNOWN})",
        *OCTAVE
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_in_order_and_the_middle_is_within_the_error() {
        let mut durations: Vec<i64> = (0..5_000).collect();
        for octave in 12..43 {
            let start = 1_i64 << octave;
            durations.extend([start - 1, start, start + 1, start + start / 3, start + start / 32]);
        }
        durations.sort_unstable();
        let bins: Vec<i64> = durations.iter().map(|told| of(Some(*told))).collect();
        assert!(bins.is_sorted());
        for (told, bin) in durations.iter().zip(bins) {
            let wrong = (middle(bin) - told).abs();
            assert!(
                wrong * 1_000 <= told * ERROR_PER_MILLE_MAX,
                "{told} is read as {}",
                middle(bin)
            );
        }
        assert_eq!(of(Some(2_000_000)), 541, "quick decisions end here");
        assert_eq!(of(None), UNKNOWN);
        assert_eq!(of(Some(-5)), UNKNOWN);
    }

    #[test]
    fn percentiles_of_merged_bins_are_those_of_the_whole() {
        let durations: Vec<i64> = (1..=1_000).map(|n| n * n * 37 % 900_001 + 50).collect();
        let bins = |durations: &[i64]| {
            let mut bins = std::collections::BTreeMap::new();
            for told in durations {
                *bins.entry(of(Some(*told))).or_insert(0) += 1;
            }
            bins
        };
        let whole: Vec<_> = bins(&durations).into_iter().collect();
        let mut merged = std::collections::BTreeMap::new();
        for part in durations.chunks(7) {
            for (bin, n) in bins(part) {
                *merged.entry(bin).or_insert(0) += n;
            }
        }
        let merged: Vec<_> = merged.into_iter().collect();
        let mut sorted = durations.clone();
        sorted.sort_unstable();
        for per_mille in [0, 1, 500, 950, 990, 999, 1_000] {
            let got = percentile(&merged, per_mille).unwrap();
            assert_eq!(Some(got), percentile(&whole, per_mille));
            let exact = sorted[((1_000 * per_mille + 999) / 1_000).max(1) as usize - 1];
            assert!(
                (got - exact).abs() * 1_000 <= exact * ERROR_PER_MILLE_MAX,
                "{per_mille}: {got}, {exact}"
            );
        }
        assert_eq!(percentile(&[], 500), None);
    }
}
