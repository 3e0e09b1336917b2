//! Replay: reads the ledger and decides again. Cannot append.
