//! Followers of the ledger: read models and their runner.
