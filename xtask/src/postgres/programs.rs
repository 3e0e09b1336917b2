//! The server programs, and who may run them.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The oldest major version that Ruche is tested on.
const MAJOR_MIN: u32 = 15;
/// Where Debian and Ubuntu put the programs, below a folder for each major version.
const DEBIAN: &str = "/usr/lib/postgresql";
/// Where a pooler may be: its package puts it where only administrators look.
const POOLER: [&str; 2] = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"];

/// The folder of the newest server programs; installs them where that is possible.
///
/// # Errors
/// What to type by hand.
pub fn server() -> Result<PathBuf, String> {
    if let Some(found) = find() {
        return Ok(found);
    }
    install(&["postgresql"])?;
    find().ok_or_else(|| {
        format!(
            "PostgreSQL {MAJOR_MIN} or newer is needed (as root on Debian: apt-get update && apt-get install postgresql)"
        )
    })
}

/// Installs pgbouncer if it is absent. Without it the tests that read through it say that they are skipped, and fail
/// under `CI=true`.
pub(super) fn pooler() {
    if !POOLER.iter().any(|path| Path::new(path).is_file())
        && let Err(problem) = install(&["pgbouncer"])
    {
        eprintln!("pgbouncer is absent: {problem}");
    }
}

/// Installs Debian packages.
///
/// # Errors
/// What to type by hand.
pub fn install(packages: &[&str]) -> Result<(), String> {
    let names = packages.join(" ");
    eprintln!("installing: apt-get install {names}");
    let apt = |arguments: &[&str], packages: &[&str]| {
        let status = Command::new("apt-get")
            .args(arguments)
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .status();
        status.is_ok_and(|status| status.success())
    };
    let install = || apt(&["install", "--yes", "--no-install-recommends"], packages);
    // A fresh machine does not know which packages there are.
    if install() || (apt(&["update"], &[]) && install()) {
        return Ok(());
    }
    Err(format!(
        "needed, as root on Debian: apt-get update && apt-get install {names}"
    ))
}

fn find() -> Option<PathBuf> {
    let versions = fs::read_dir(DEBIAN)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse::<u32>().ok()?;
            Some((version, entry.path().join("bin")))
        });
    let newest = versions
        .filter(|(version, programs)| *version >= MAJOR_MIN && programs.join("initdb").is_file())
        .max();
    let on_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).find(|folder| folder.join("initdb").is_file())
    };
    newest.map(|(_, programs)| programs).or_else(on_path)
}

/// User and group to run the server as, if we are root.
///
/// # Errors
/// When we are root and there is nobody else.
pub fn unprivileged() -> Result<Option<(u32, u32)>, String> {
    let own = fs::metadata("/proc/self").map_err(|e| format!("cannot tell who runs this: {e}"))?;
    if std::os::unix::fs::MetadataExt::uid(&own) != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").map_err(|e| format!("cannot read /etc/passwd: {e}"))?;
    let ids = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2).map(str::parse);
        Some((fields.next()?.ok()?, fields.next()?.ok()?))
    };
    let ids = ids("postgres").or_else(|| ids("nobody"));
    ids.map(Some)
        .ok_or_else(|| "PostgreSQL does not run as root, and there is neither postgres nor nobody".into())
}

/// The command as that user, in that folder, with nothing to read.
pub(super) fn as_user(mut command: Command, user: Option<(u32, u32)>, folder: &Path) -> Command {
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command.current_dir(folder).stdin(Stdio::null());
    command
}
