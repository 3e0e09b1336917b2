//! The processes of a server: their sudden end, and their standstill.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A process that was killed and is not gone by then is stuck in the kernel.
const GONE_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two looks at whether a process is gone.
const GONE_POLL: Duration = Duration::from_millis(5);

/// SIGKILL to a process and its children; returns when none of them runs.
///
/// # Errors
/// When the system refuses.
pub fn kill_tree(parent: u32) -> Result<(), String> {
    // Stopped first: one that runs would notice the death of a child, and would start new ones between the look and the
    // signal.
    signal("STOP", &[parent])?;
    let mut all = children(parent)?;
    all.push(parent);
    // Some may have ended by themselves since the look; whether all are gone is asked below.
    let sent = signal("KILL", &all);
    let started = Instant::now();
    while all.iter().any(|process| is_alive(*process)) {
        if started.elapsed() > GONE_TIMEOUT {
            return Err(format!("processes of a killed server are still there: {sent:?}"));
        }
        std::thread::sleep(GONE_POLL);
    }
    Ok(())
}

/// SIGSTOP to a process and its children; none of them runs then.
///
/// # Errors
/// When the system refuses.
pub fn freeze_tree(parent: u32) -> Result<(), String> {
    // The parent first: it makes no new ones then.
    signal("STOP", &[parent])?;
    match children(parent)? {
        none if none.is_empty() => Ok(()),
        children => signal("STOP", &children),
    }
}

/// SIGCONT to a process and its children, whether they were frozen or not.
///
/// # Errors
/// When the system refuses.
pub fn thaw_tree(parent: u32) -> Result<(), String> {
    // The children first: none of them ends and becomes another's meanwhile.
    let mut all = children(parent)?;
    all.push(parent);
    let sent = signal("CONT", &all);
    // One that ended by itself since the look is no failure.
    if all.iter().any(|process| is_frozen(*process)) {
        return sent.and(Err(format!("processes are still frozen: {all:?}")));
    }
    Ok(())
}

fn is_frozen(process: u32) -> bool {
    status(process).is_some_and(|(state, _)| state == 'T')
}

/// Fails when one of them is not there.
pub(super) fn signal(name: &str, processes: &[u32]) -> Result<(), String> {
    let status = Command::new("kill")
        .arg(format!("-{name}"))
        .args(processes.iter().map(u32::to_string))
        .stderr(Stdio::null())
        .status()
        .map_err(|e| format!("cannot start kill: {e}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("kill -{name} {processes:?}: {status}"))
    }
}

/// Processes whose parent this is.
pub(super) fn children(parent: u32) -> Result<Vec<u32>, String> {
    let entries = fs::read_dir("/proc").map_err(|e| format!("cannot read /proc: {e}"))?;
    let ids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    Ok(ids
        .filter(|process| status(*process).is_some_and(|(_, of)| of == parent))
        .collect())
}

/// Whether a process runs. A dead one that nobody has asked about yet does not.
pub fn is_alive(process: u32) -> bool {
    status(process).is_some_and(|(state, _)| state != 'Z' && state != 'X')
}

/// State and parent, from `/proc/<id>/stat`; the name between them may hold anything, so the last bracket counts.
fn status(process: u32) -> Option<(char, u32)> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, after) = text.rsplit_once(')')?;
    let mut fields = after.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.next()?.parse().ok()?))
}
