//! Settings of the engine.

/// When SQLite flushes the write-ahead log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Synchronous {
    /// At every commit. The only setting that keeps promise 1 of this crate.
    #[default]
    Full,
    /// At checkpoints only: answered appends can be lost in a power cut. For the power-cut test, which must be able to
    /// fail, and for benches.
    Normal,
    /// Never. As `Normal`, and the file may be corrupt after a power cut.
    Off,
}

impl Synchronous {
    pub(crate) fn pragma(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Normal => "normal",
            Self::Off => "off",
        }
    }
}

/// Settings of the engine. There is nothing to tune in production: take the default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqliteOptions {
    /// When the log is flushed. Exists only for the power-cut test and for benches; everything else uses `Full`.
    pub synchronous: Synchronous,
    /// Threads that read, each with a connection. Default 2; more help only if many callers read the disk at once.
    pub readers: usize,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            synchronous: Synchronous::Full,
            readers: 2,
        }
    }
}
