//! How a command that did not do its work says so: a line for people, with `--json` an object for programs.

use std::error::Error;
use std::io::{self, Write};

use serde_json::{Value, json};

use super::escaped;
use crate::app::AppError;
use crate::demo::DemoError;
use crate::out::harmless;

/// Why a command did not do its work. Printed once, by [`run`](super::run).
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The store could not be opened, or failed.
    #[error(transparent)]
    App(#[from] AppError),
    /// The demo could not be written.
    #[error(transparent)]
    Demo(#[from] DemoError),
    /// What was asked for makes no sense here; says what to try.
    #[error("{0}")]
    Usage(String),
    /// What the call names is not here; says what to try.
    #[error("{0}")]
    NotFound(String),
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Output could not be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
    /// The work was refused or failed half-way; says what to try.
    #[error("{0}")]
    Failed(String),
}

impl CliError {
    /// Name for programs. Names are added, never changed.
    fn code(&self) -> &'static str {
        match self {
            Self::Usage(_) => USAGE,
            Self::NotFound(_) | Self::App(AppError::NoLedger) => "NOT_FOUND",
            Self::App(error) if error.is_in_use() => "IN_USE",
            Self::Io { .. } | Self::Output(_) => "IO",
            Self::App(_) | Self::Demo(_) | Self::Failed(_) => "FAILED",
        }
    }

    /// What to try, where the message does not say it.
    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::App(error) if error.is_in_use() => {
                Some("stop that process, or name another folder with --data-dir")
            }
            _ => None,
        }
    }

    /// The error with its causes, each said once.
    fn message(&self) -> String {
        let mut text = self.to_string();
        let mut source = self.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !text.contains(&cause_text) {
                text = format!("{text}: {cause_text}");
            }
            source = cause.source();
        }
        text
    }

    /// Tells it on standard error.
    pub(super) fn report(&self, json: bool) {
        say(&self.told(json));
    }

    /// What is told. It may carry what a server or a file says, so this is the one place where that is made harmless,
    /// whoever made the error. Lines after the first stand behind two spaces: none passes for a line of ours.
    fn told(&self, json: bool) -> String {
        let (message, hint) = (self.message(), self.hint());
        if json {
            escaped(&object(self.code(), &message, hint).to_string())
        } else {
            let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
            let told = format!("error: {message}{hint}");
            let lines: Vec<String> = told.split('\n').map(harmless).collect();
            lines.join("\n  ")
        }
    }
}

/// Code of a call that is none.
const USAGE: &str = "USAGE";

/// Tells that the call is none, or gives the help or version that it asks for. Returns whether it was an error.
pub(super) fn report_call(error: &clap::Error, json: bool) -> bool {
    if json && error.use_stderr() {
        let text = error.to_string();
        let (message, rest) = text.split_once("\n\n").unwrap_or((&text, ""));
        let message = message.trim_start_matches("error: ").trim_end();
        let hint: Vec<&str> = rest.split_whitespace().collect();
        say(&object(USAGE, message, Some(&hint.join(" "))));
    } else {
        // Whoever closed the pipe does not want to know.
        let _ = error.print();
    }
    error.use_stderr()
}

fn object(code: &str, message: &str, hint: Option<&str>) -> Value {
    json!({ "code": code, "message": message, "hint": hint })
}

fn say(line: &impl std::fmt::Display) {
    // Nothing is left to tell if standard error is closed.
    let _ = writeln!(io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_moves_no_cursor_and_makes_no_line_of_its_own() {
        let said = "NOT_FOUND: a\u{1b}[2Jb\u{9b}8mc\u{202e}d\r\nerror: none";
        let error = CliError::Failed(said.to_owned());
        let shown = r"error: NOT_FOUND: a\u{1b}[2Jb\u{9b}8mc\u{202e}d\u{d}";
        assert_eq!(error.told(false), format!("{shown}\n  error: none"));
        let json = error.told(true);
        assert!(
            !json.chars().any(crate::app::offline_verifier::is_moving),
            "{json:?}"
        );
        let read: Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(read["message"], said, "a program reads what was said");
    }
}
