//! Exports to verify: good ones, made by the ledger's own code, and mutated ones. Everything follows from a seed.

pub mod files;
pub mod good;
pub mod large;
pub mod mutate;
pub mod resigned;
pub mod rewrite;

use ruche_ledger::testing::SeededRandom;

/// A number below `end`.
pub fn below(random: &SeededRandom, end: usize) -> usize {
    (random.next() % end as u64) as usize
}

/// One of several; `None` of none.
pub fn one_of<T: Clone>(random: &SeededRandom, items: &[T]) -> Option<T> {
    if items.is_empty() {
        None
    } else {
        Some(items[below(random, items.len())].clone())
    }
}
