//! Exports to verify: good ones, made by the ledger's own code, and mutated ones. Everything follows from a seed.

pub mod good;
pub mod mutate;
pub mod rewrite;

use ruche_ledger::testing::SeededRandom;

/// A number below `end`.
pub fn below(random: &SeededRandom, end: u64) -> u64 {
    random.next() % end
}

/// One of several.
pub fn one_of<'a, T>(random: &SeededRandom, items: &'a [T]) -> &'a T {
    &items[below(random, items.len() as u64) as usize]
}
