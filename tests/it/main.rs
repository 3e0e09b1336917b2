//! Whole-system tests: one binary, modules in reading order.
