//! EventStore on SQLite: one writer thread, group commit.
