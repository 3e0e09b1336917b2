//! The time of day of servers under test, which a test moves forward or makes stand. See `clock/shim.c`.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::shim;

/// One clock for all processes that are started with its variables. At first it is the real one.
pub struct MovableClock {
    shim: PathBuf,
    path: PathBuf,
    file: File,
    now: Mutex<Set>,
}

/// What the shim reads.
#[derive(Clone, Copy, Default)]
struct Set {
    /// µs that are added to the real time.
    ahead_us: i64,
    /// When it stands, µs since 1970; 0 where it goes.
    stands_at_us: i64,
}

impl MovableClock {
    /// A clock whose files are in `folder`.
    ///
    /// # Errors
    /// When the shim does not compile or the file cannot be made.
    pub fn new(folder: &Path) -> io::Result<Self> {
        let path = folder.join("clock");
        let file = OpenOptions::new().create_new(true).write(true).open(&path)?;
        let clock = Self {
            shim: shim::compile("clock/shim.c", folder)?,
            path,
            file,
            now: Mutex::default(),
        };
        clock.change(|_| {})?;
        Ok(clock)
    }

    /// What a server is started with.
    ///
    /// # Panics
    /// If a temporary folder has no name in UTF-8.
    pub fn variables(&self) -> [(&'static str, &str); 2] {
        [("LD_PRELOAD", &self.shim), ("RUCHE_CLOCK_FILE", &self.path)]
            .map(|(name, path)| (name, path.to_str().expect("a path in UTF-8")))
    }

    /// Time passes.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn forward(&self, by: Duration) -> io::Result<()> {
        let by = i64::try_from(by.as_micros()).map_err(io::Error::other)?;
        self.change(|set| {
            set.ahead_us += by;
            if set.stands_at_us != 0 {
                set.stands_at_us += by;
            }
        })
    }

    /// From here on no time passes but by [`Self::forward`].
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn stand(&self) -> io::Result<()> {
        let real = SystemTime::now().duration_since(UNIX_EPOCH);
        let real = real.map_err(io::Error::other)?.as_micros();
        let real = i64::try_from(real).map_err(io::Error::other)?;
        self.change(|set| set.stands_at_us = real + set.ahead_us)
    }

    fn change(&self, change: impl FnOnce(&mut Set)) -> io::Result<()> {
        let mut now = self.now.lock().map_err(|_| io::Error::other("a holder died"))?;
        change(&mut now);
        self.file.write_all_at(&now.ahead_us.to_ne_bytes(), 0)?;
        self.file.write_all_at(&now.stands_at_us.to_ne_bytes(), 8)
    }
}
