//! The report for people.

use std::io::{self, Write};

use ruche_ledger::verify::Finding;

use crate::report::{EpochReport, Report, Verdict};

/// How to show a report.
pub struct Show {
    /// Whether the reader is a terminal that wants colours.
    pub colour: bool,
}

const GREEN: &str = "32";
const YELLOW: &str = "33";
const RED: &str = "31";

impl Show {
    /// Writes the report.
    pub fn report(&self, report: &Report, out: &mut impl Write) -> io::Result<()> {
        let (colour, title) = match report.verdict {
            Verdict::Verified => (GREEN, "VERIFIED"),
            Verdict::Tampered => (RED, "TAMPERED"),
            Verdict::PayloadsMissing => (YELLOW, "PAYLOADS MISSING"),
            Verdict::PayloadsArchived => (YELLOW, "PAYLOADS ARCHIVED"),
            Verdict::SelfConsistent => (YELLOW, "SELF-CONSISTENT, NOT AUTHENTICATED"),
        };
        let records = counted(report.records, "record");
        writeln!(
            out,
            "{}  {records} in {:.1} s",
            self.paint(colour, title),
            report.seconds
        )?;
        if let Some(ledger) = &report.ledger {
            writeln!(out, "ledger {ledger}")?;
        }
        for epoch in &report.epochs {
            show_epoch(epoch, out)?;
        }
        if report.not_run.total > 0 {
            let calls = counted(report.not_run.total, "proposed call");
            writeln!(out, "{calls} did not run; --json names them")?;
        }
        if report.not_over.total > 0 {
            let turns = counted(report.not_over.total, "turn");
            writeln!(out, "{turns} not over; --json names them")?;
        }
        if report.asserted.total > 0 {
            let outcomes = counted(report.asserted.total, "outcome");
            writeln!(out, "{outcomes} asserted by a person; --json names them")?;
        }
        for archive in &report.archives_not_told {
            writeln!(
                out,
                "archive {archive} was not used: the ledger does not tell of it"
            )?;
        }
        show_reviewers(report, out)?;
        match report.verdict {
            Verdict::SelfConsistent => {
                writeln!(
                    out,
                    "\nThe key came inside the export, so whoever rewrote the ledger could have signed it"
                )?;
                writeln!(
                    out,
                    "again. Bring the key that you were given by another way: --key, see --help."
                )?;
            }
            Verdict::Verified => {}
            Verdict::Tampered | Verdict::PayloadsMissing | Verdict::PayloadsArchived => {
                self.findings(report, colour, out)?
            }
        }
        Ok(())
    }

    fn findings(&self, report: &Report, colour: &str, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "\n{}:", counted(report.findings.total(), "finding"))?;
        for (kind, known) in report.findings.by_kind() {
            let name = self.paint(colour, &format!("{:<28}", kind.name()));
            writeln!(out, "  {name} {:>7} x  {}", known.count, kind.meaning())?;
        }
        writeln!(out)?;
        for finding in report.findings.kept() {
            let Finding { kind, detail, .. } = finding;
            writeln!(out, "  {:<12} {kind:<28} {}", finding.place(), harmless(detail))?;
        }
        let hidden = report.findings.total() - report.findings.kept().len() as u64;
        if hidden > 0 {
            writeln!(out, "  … and {hidden} more")?;
        }
        Ok(())
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colour {
            format!("\u{1b}[1;{colour}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

fn show_epoch(epoch: &EpochReport, out: &mut impl Write) -> io::Result<()> {
    // A proof names a log and no epoch.
    let name = epoch
        .epoch
        .map_or("log".to_owned(), |epoch| format!("epoch {epoch}"));
    let size = counted(epoch.size.0, "record");
    writeln!(
        out,
        "{name}  {}  {size} under its tree head",
        harmless(&epoch.origin)
    )?;
    if let Some(root) = epoch.root {
        writeln!(out, "  root      {root}")?;
    }
    if let Some(key) = &epoch.authenticated_by {
        writeln!(out, "  signed by {}", harmless(key))?;
    }
    Ok(())
}

/// Who decided, by which keys. A name beside a key is what the ledger says.
fn show_reviewers(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let Some(first) = report.reviewers.first() else {
        return Ok(());
    };
    let keys = counted(report.reviewers.len() as u64, "key");
    match first.is_trusted {
        Some(_) => writeln!(out, "{keys} of reviewers decided:")?,
        None => writeln!(
            out,
            "{keys} of reviewers decided, and nobody vouched for them; --reviewer-keys says whom you trust:"
        )?,
    }
    for used in &report.reviewers {
        let trusted = match used.is_trusted {
            Some(true) => "trusted",
            Some(false) => "NOT TRUSTED",
            None => "not vouched for",
        };
        let revoked = used
            .revoked_at
            .map_or(String::new(), |at| format!(", revoked at {at}"));
        let decisions = counted(used.decisions, "decision");
        writeln!(
            out,
            "  {}  {trusted}, {decisions}, registered at {}{revoked}",
            harmless(&used.reviewer),
            used.registered_at
        )?;
        writeln!(out, "    public key  {}", used.public_key)?;
        writeln!(out, "    fingerprint {}", used.key_id)?;
    }
    Ok(())
}

fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Text that somebody else chose must not move the cursor, split a line or turn it around: control characters and
/// marks of writing direction are shown as their escapes.
pub fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_moving(letter) {
            shown.extend(letter.escape_unicode());
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// Whether it is a control character or a mark of writing direction.
pub fn is_moving(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
