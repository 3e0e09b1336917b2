//! `ruche import`: conversations from files, through the same commands as everybody's.
//!
//! What cannot be imported is told with file and place while the rest goes on. Importing a file again appends nothing;
//! an import that was interrupted goes on where it stopped.

use std::collections::{BTreeSet, HashSet};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use futures_util::stream::{self, StreamExt};
use indicatif::ProgressBar;
use ruche_commands::import::{
    BadRecord, Format, ImportOptions, ImportedCounts, ImportedSession, SessionPlan, Sessions, ToolMapping,
    check_session, import_session, import_tools, is_event_log, plan, read, read_with_log,
};
use ruche_commands::{CommandContext, CommandError};
use ruche_domain::envelope::{Actor, ActorKind, Provenance};
use ruche_domain::ids::TenantId;
use serde::Serialize;

use super::{CliError, Common, print, tenant, tenant_name};
use crate::app::App;
use crate::limits::{IMPORT_FILE_BYTES_MAX, SESSIONS_AT_ONCE_MAX};
use crate::out::{Table, harmless, progress};

/// Exit code where some records were bad and the others were imported.
const SOME_BAD: u8 = 2;

/// What UTF-8 files may begin with.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What to try where a session was imported before and is another one now.
const MISMATCH_HINT: &str = "IDEMPOTENCY_MISMATCH: the session was imported before, and what is to be recorded now is \
     not the same. Import it as it was imported then: the same file, the same --agent, for tau2 with or without the \
     event log as then. To import it beside the first one, give the file another name. Where two records of one file \
     bear the same id, give one of them another id";

/// What, and where to.
#[derive(Args)]
pub struct ImportArgs {
    /// Tenant that the conversations go to; its ledger is made if there is none
    #[arg(long, value_parser = tenant_name)]
    tenant: String,
    /// Format of the files
    #[arg(long, value_name = "tau-bench|agentdojo|tau2|letta")]
    format: Format,
    /// File that says what each tool does to the world; tools that it does not name count as irreversible
    #[arg(long, value_name = "FILE")]
    mapping: Option<PathBuf>,
    /// Name of the agent, where a file does not say it
    #[arg(long)]
    agent: Option<String>,
    /// Files to read; for tau2 also the event log beside a results file
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// What came of one file, or of all.
#[derive(Clone, Debug, Default, Serialize)]
struct Counts {
    /// Sessions that are in the ledger now.
    sessions: u64,
    /// Their messages.
    messages: u64,
    /// Tool calls that the messages ask for.
    tool_calls: u64,
    /// Events that were appended now.
    appended: u64,
    /// Events that an earlier import had appended.
    duplicates: u64,
    /// Records that could not be imported.
    bad: u64,
}

#[derive(Serialize)]
struct FileCounts {
    file: PathBuf,
    #[serde(flatten)]
    counts: Counts,
}

#[derive(Serialize)]
struct Bad {
    file: PathBuf,
    path: String,
    reason: String,
}

#[derive(Default, Serialize)]
struct Report {
    files: Vec<FileCounts>,
    total: Counts,
    bad_records: Vec<Bad>,
    unclassified_tools: BTreeSet<String>,
    /// Tools that an administrator registered otherwise, which stays.
    kept_tools: BTreeSet<String>,
    /// What to try about bad records.
    hint: Option<&'static str>,
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.sessions += other.sessions;
        self.messages += other.messages;
        self.tool_calls += other.tool_calls;
        self.appended += other.appended;
        self.duplicates += other.duplicates;
        self.bad += other.bad;
    }

    fn add_events(&mut self, events: ImportedCounts) {
        self.appended += events.appended;
        self.duplicates += events.duplicate;
    }
}

/// Runs the command.
pub async fn run(common: Common, args: ImportArgs) -> Result<ExitCode, CliError> {
    // Whatever is wrong with the files shows before anything is written.
    let mapping = match &args.mapping {
        Some(path) => ToolMapping::read(&read_file(path)?)
            .map_err(|fault| CliError::Usage(format!("{}: {fault}", path.display())))?,
        None => ToolMapping::default(),
    };
    let sources = sources(args.format, &args.files)?;
    let app = App::open(&common, "ruche import").await?;
    let done = on_app(&app, &args, mapping, sources).await;
    app.close().await?;
    let report = done?;
    print(&common, &report, text)?;
    Ok(if report.total.bad == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(SOME_BAD)
    })
}

/// A file of sessions, and the event log that belongs to it.
struct Source {
    file: PathBuf,
    name: String,
    bytes: Vec<u8>,
    log: Option<Vec<u8>>,
}

/// Reads the files and puts each event log beside the results file in its folder.
fn sources(format: Format, files: &[PathBuf]) -> Result<Vec<Source>, CliError> {
    let (mut sources, mut logs) = (Vec::<Source>::new(), Vec::new());
    for file in files {
        let bytes = read_file(file)?;
        if format == Format::Tau2 && is_event_log(&bytes) {
            logs.push((file, bytes));
            continue;
        }
        if !format.is_of(&bytes) {
            return Err(CliError::Usage(another_format(format, file, &bytes)));
        }
        let name = file
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if let Some(other) = sources.iter().find(|other| other.name == name) {
            return Err(CliError::Usage(format!(
                "{} and {} would both be the source {name:?}; import them one by one into tenants of their own, or \
                 rename one",
                other.file.display(),
                file.display()
            )));
        }
        sources.push(Source {
            file: file.clone(),
            name,
            bytes,
            log: None,
        });
    }
    for (log, bytes) in logs {
        let beside = |source: &&mut Source| source.file.parent() == log.parent() && source.log.is_none();
        let source = sources.iter_mut().find(beside).ok_or_else(|| {
            CliError::Usage(format!(
                "{} is an event log; name the results file in the same folder as well",
                log.display()
            ))
        })?;
        source.log = Some(bytes);
    }
    Ok(sources)
}

/// Says that a file is not of the format, and what it may be instead.
fn another_format(format: Format, file: &Path, bytes: &[u8]) -> String {
    let known = Format::ALL.map(|format| format!("{} ({})", format.name(), format.content()));
    let guess = match Format::ALL.into_iter().find(|other| other.is_of(bytes)) {
        Some(other) => format!("; try --format {}", other.name()),
        None => String::new(),
    };
    format!(
        "{} is not {}, as --format {} asks for. Formats are {}{guess}",
        file.display(),
        format.content(),
        format.name(),
        known.join(", ")
    )
}

fn read_file(path: &Path) -> Result<Vec<u8>, CliError> {
    let io = |source| CliError::Io {
        path: path.display().to_string(),
        source,
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(io)?;
    io::Read::read_to_end(&mut io::Read::take(file, IMPORT_FILE_BYTES_MAX + 1), &mut bytes).map_err(io)?;
    if bytes.len() as u64 > IMPORT_FILE_BYTES_MAX {
        let limit = IMPORT_FILE_BYTES_MAX / 1_048_576;
        return Err(CliError::Usage(format!(
            "{} is larger than {limit} MiB; split it",
            path.display()
        )));
    }
    // Some editors begin a file with it; it says nothing.
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
    Ok(bytes)
}

async fn on_app(
    app: &App,
    args: &ImportArgs,
    mapping: ToolMapping,
    sources: Vec<Source>,
) -> Result<Report, CliError> {
    let tenant = tenant(&args.tenant);
    app.ensure_ledger(tenant).await?;
    let mut import = Import {
        app,
        context: context(tenant),
        options: ImportOptions {
            source: String::new(),
            agent: args.agent.clone(),
            mapping,
        },
        format: args.format,
        known_tools: HashSet::new(),
        report: Report::default(),
        bar: ProgressBar::hidden(),
    };
    for source in &sources {
        import.options.source.clone_from(&source.name);
        import.file(source).await?;
    }
    Ok(import.report)
}

fn context(tenant: TenantId) -> CommandContext {
    let importer = Actor {
        kind: ActorKind::Client,
        reference: None,
    };
    // Every step has a key of its own, made from what it imports.
    CommandContext::new(tenant, importer, Provenance::Imported, "import")
}

struct Import<'a> {
    app: &'a App,
    context: CommandContext,
    options: ImportOptions,
    format: Format,
    known_tools: HashSet<String>,
    report: Report,
    /// Of the file that is being imported.
    bar: ProgressBar,
}

/// A session on its way, with what there is to count of it.
struct Planned {
    plan: SessionPlan,
    counts: Counts,
}

impl Import<'_> {
    /// Imports a file, a page of sessions at a time. The tools of a page are registered before its sessions are
    /// recorded, several of them at the same time. A process that dies here has imported some sessions; the next run
    /// finds them and goes on.
    async fn file(&mut self, source: &Source) -> Result<(), CliError> {
        let mut counts = Counts::default();
        self.bar = progress(session_count(self.format, source), "importing");
        let mut sessions = sessions(self.format, source);
        loop {
            let page: Vec<_> = sessions.by_ref().take(SESSIONS_AT_ONCE_MAX).collect();
            let is_last = page.len() < SESSIONS_AT_ONCE_MAX;
            let mut planned = Vec::with_capacity(page.len());
            for session in page {
                match session {
                    Ok(session) => planned.extend(self.prepare(source, session, &mut counts).await?),
                    Err(bad) => self.bad(source, &mut counts, bad),
                }
            }
            for (planned, imported) in self.record(planned).await {
                match imported {
                    Ok(events) => {
                        counts.add(&planned.counts);
                        counts.add_events(events);
                    }
                    Err(error) => self.refused(source, &mut counts, planned.plan.path, error)?,
                }
            }
            if is_last {
                break;
            }
        }
        self.bar.finish_and_clear();
        self.report.total.add(&counts);
        self.report.files.push(FileCounts {
            file: source.file.clone(),
            counts,
        });
        Ok(())
    }

    /// Plans a session and registers its tools. `None` for a session that cannot be imported.
    async fn prepare(
        &mut self,
        source: &Source,
        session: ImportedSession,
        counts: &mut Counts,
    ) -> Result<Option<Planned>, CliError> {
        let calls = session
            .messages
            .iter()
            .map(|message| message.message.tool_calls.len() as u64);
        let (sessions, messages, tool_calls) = (1, session.messages.len() as u64, calls.sum());
        let plan = plan(session, &self.options);
        if let Err(error) = check_session(&self.app.commands, &self.context, &plan) {
            return self.refused(source, counts, plan.path, error).map(|()| None);
        }
        let mapping = &self.options.mapping;
        let tools = import_tools(
            &self.app.commands,
            &self.context,
            &plan,
            mapping,
            &mut self.known_tools,
        );
        match tools.await {
            Ok(tools) => {
                counts.add_events(tools.counts);
                self.report.unclassified_tools.extend(tools.unclassified);
                self.report.kept_tools.extend(tools.kept);
                let counts = Counts {
                    sessions,
                    messages,
                    tool_calls,
                    ..Counts::default()
                };
                Ok(Some(Planned { plan, counts }))
            }
            Err(error) => self.refused(source, counts, plan.path, error).map(|()| None),
        }
    }

    async fn record(&self, planned: Vec<Planned>) -> Vec<(Planned, Result<ImportedCounts, CommandError>)> {
        let import = |planned: Planned| async move {
            let imported = import_session(&self.app.commands, &self.context, &planned.plan).await;
            self.bar.inc(1);
            (planned, imported)
        };
        stream::iter(planned)
            .map(import)
            .buffer_unordered(SESSIONS_AT_ONCE_MAX)
            .collect()
            .await
    }

    /// What is wrong with a session is told and the rest goes on; what is wrong with the store ends the import.
    fn refused(
        &mut self,
        source: &Source,
        counts: &mut Counts,
        path: String,
        error: CommandError,
    ) -> Result<(), CliError> {
        if error.retryable() || matches!(error, CommandError::Internal(_) | CommandError::NotFound { .. }) {
            let text = crate::error::chain(&error);
            return Err(CliError::Failed(format!(
                "{text}; run the same import again and it goes on"
            )));
        }
        if matches!(error, CommandError::IdempotencyMismatch) {
            self.report.hint = Some(MISMATCH_HINT);
        }
        let reason = format!("{}: {error}", error.code());
        self.bad(source, counts, BadRecord { path, reason });
        Ok(())
    }

    fn bad(&mut self, source: &Source, counts: &mut Counts, bad: BadRecord) {
        counts.bad += 1;
        self.bar.suspend(|| {
            // Nothing is left to tell if standard error is closed; the report has it too.
            let line = format!("{}: {bad}", source.file.display());
            let _ = writeln!(io::stderr(), "{}", harmless(&line));
        });
        self.report.bad_records.push(Bad {
            file: source.file.clone(),
            path: bad.path,
            reason: bad.reason,
        });
    }
}

fn sessions(format: Format, source: &Source) -> Sessions<'_> {
    match &source.log {
        Some(log) => read_with_log(&source.bytes, log),
        None => read(format, &source.bytes),
    }
}

/// For the length of the bar, which nobody sees where no terminal is.
fn session_count(format: Format, source: &Source) -> u64 {
    if io::stderr().is_terminal() {
        sessions(format, source).count() as u64
    } else {
        0
    }
}

fn text(report: &Report) -> String {
    let mut table = Table::new([
        "file",
        "sessions",
        "messages",
        "tool calls",
        "appended",
        "duplicate",
        "bad",
    ]);
    let mut row = |name: String, counts: &Counts| {
        let Counts {
            sessions,
            messages,
            tool_calls,
            appended,
            duplicates,
            bad,
        } = counts;
        let figures = [sessions, messages, tool_calls, appended, duplicates, bad].map(u64::to_string);
        let [sessions, messages, tool_calls, appended, duplicates, bad] = figures;
        table.row([name, sessions, messages, tool_calls, appended, duplicates, bad]);
    };
    for file in &report.files {
        row(file.file.display().to_string(), &file.counts);
    }
    if report.files.len() > 1 {
        row("total".to_owned(), &report.total);
    }
    let mut text = table.to_string();
    if report.total.appended == 0 && report.total.sessions > 0 {
        text.push_str(match report.total.bad {
            0 => "\nnothing was appended: everything had been imported before",
            _ => "\nnothing was appended: what is not bad had been imported before",
        });
    }
    tools(
        &mut text,
        &report.unclassified_tools,
        "are not classified and count as irreversible (--mapping)",
    );
    tools(
        &mut text,
        &report.kept_tools,
        "are registered otherwise than the mapping says, and stay so",
    );
    if let Some(hint) = report.hint {
        text.push_str(&format!("\n{hint}"));
    }
    text
}

/// A line about some tools, if there are any.
fn tools(text: &mut String, names: &BTreeSet<String>, what: &str) {
    if !names.is_empty() {
        let shown: Vec<String> = names.iter().map(|name| harmless(name)).collect();
        text.push_str(&format!("\n{} tools {what}: {}", shown.len(), shown.join(", ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_a_file_cannot_paint_the_terminal() {
        let report = Report {
            unclassified_tools: ["\u{1b}]0;title\u{7}".to_owned()].into_iter().collect(),
            ..Default::default()
        };
        let text = text(&report);
        assert!(!text.contains(['\u{1b}', '\u{7}']), "{text:?}");
        assert!(text.contains(r"\u{1b}]0;title\u{7}"), "{text:?}");
    }
}
