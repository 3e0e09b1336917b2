//! Whole-system tests: one binary, modules in reading order.

mod repository;
mod markdown;

mod architecture;
mod tidy;
mod documents;
mod power_cut;
mod kill;
