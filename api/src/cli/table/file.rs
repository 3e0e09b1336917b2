//! A file that is there only once it is whole.

use std::fs::File;
use std::io;
use std::path::Path;

use tempfile::{Builder, NamedTempFile};

use crate::cli::CliError;

/// Where rows go: a file beside the one that is asked for, which takes its place in the end. If we fail it is removed; if we
/// are killed it stays beside, under a name that begins with a point, and nobody takes it for the whole.
pub(super) struct Target<'a> {
    path: &'a Path,
    force: bool,
    beside: NamedTempFile,
}

impl<'a> Target<'a> {
    /// Refuses where a file is in the way, unless it is to be replaced. Only whoever runs the command can read the file.
    pub(super) fn new(path: &'a Path, force: bool) -> Result<Self, CliError> {
        let Some(name) = path.file_name() else {
            return Err(CliError::Usage(format!(
                "{} is no name of a file",
                path.display()
            )));
        };
        if !force && path.symlink_metadata().is_ok() {
            return Err(in_the_way(path));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let prefix = format!(".{}.", name.to_string_lossy());
        let beside = Builder::new().prefix(&prefix).suffix(".part").tempfile_in(folder);
        let beside = beside.map_err(|source| failed(path, source))?;
        Ok(Self { path, force, beside })
    }

    /// The path that was asked for.
    pub(super) fn path(&self) -> &'a Path {
        self.path
    }

    /// What is written to.
    pub(super) fn file(&mut self) -> &mut File {
        self.beside.as_file_mut()
    }

    /// Has it on the disk, whole, under its name.
    pub(super) fn put_in_place(self) -> Result<(), CliError> {
        let Self { path, force, beside } = self;
        beside
            .as_file()
            .sync_all()
            .map_err(|source| failed(path, source))?;
        let put = match force {
            true => beside.persist(path),
            // Somebody may have put one there meanwhile.
            false => beside.persist_noclobber(path),
        };
        match put {
            Ok(_) => Ok(()),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Err(in_the_way(path)),
            Err(error) => Err(failed(path, error.error)),
        }
    }
}

fn in_the_way(path: &Path) -> CliError {
    CliError::Usage(format!(
        "{} is there already; --force replaces it",
        path.display()
    ))
}

fn failed(path: &Path, source: io::Error) -> CliError {
    CliError::Io {
        path: path.display().to_string(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use super::*;

    #[test]
    fn nothing_is_there_before_it_is_whole_and_nothing_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.csv");
        let mut target = Target::new(&path, false).unwrap();
        target.file().write_all(b"half").unwrap();
        assert!(!path.exists());
        drop(target);
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            0,
            "what failed is removed"
        );

        let target = Target::new(&path, false).unwrap();
        fs::write(&path, "theirs").unwrap();
        assert!(target.put_in_place().is_err(), "it came while we wrote");
        assert!(Target::new(&path, false).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");

        let mut target = Target::new(&path, true).unwrap();
        target.file().write_all(b"ours").unwrap();
        target.put_in_place().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "ours");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
