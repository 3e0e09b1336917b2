//! Read models on SQLite.
