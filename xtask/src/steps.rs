//! Named steps: run in order, stop at the first failure, one summary line each.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::time::{Duration, Instant};

/// One program to run.
#[derive(Debug, Clone)]
pub struct Step {
    /// What the summary calls it; one or two words.
    pub name: &'static str,
    /// Program to start.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Variables set for it, beside those inherited.
    pub variables: Vec<(&'static str, OsString)>,
    /// Folder it starts in.
    pub folder: PathBuf,
    /// What to tell the reader when it cannot be started or fails; empty where its own output says all.
    pub hint: &'static str,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.variables {
            write!(f, "{name}={} ", quoted(&value.to_string_lossy()))?;
        }
        let program = Path::new(&self.program).file_name().unwrap_or(&self.program);
        write!(f, "{}", program.to_string_lossy())?;
        for argument in &self.arguments {
            write!(f, " {}", quoted(&argument.to_string_lossy()))?;
        }
        Ok(())
    }
}

/// The text in quotes where a shell would otherwise split it, so that a printed line can be pasted.
fn quoted(text: &str) -> String {
    if text.is_empty() || text.contains(|letter: char| letter.is_whitespace() || letter == '\'') {
        format!("'{}'", text.replace('\'', r"'\''"))
    } else {
        text.to_owned()
    }
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed { exit_code: u8 },
    NotRun,
}

/// A line of the summary.
struct Line {
    name: &'static str,
    outcome: Outcome,
    took: Duration,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.as_secs_f64();
        match self.outcome {
            Outcome::Passed => write!(f, "ok       {seconds:7.1} s  {}", self.name),
            Outcome::Failed { exit_code } => {
                write!(
                    f,
                    "FAILED   {seconds:7.1} s  {} (exit code {exit_code})",
                    self.name
                )
            }
            Outcome::NotRun => write!(f, "not run        -    {}", self.name),
        }
    }
}

/// Runs the steps and prints the summary. The exit code is 0, or that of the first step that failed.
pub fn run(steps: &[Step]) -> ExitCode {
    let mut lines: Vec<Line> = Vec::with_capacity(steps.len());
    for (index, step) in steps.iter().enumerate() {
        if lines.iter().any(|line| line.outcome != Outcome::Passed) {
            lines.push(Line {
                name: step.name,
                outcome: Outcome::NotRun,
                took: Duration::ZERO,
            });
            continue;
        }
        eprintln!("\n==> {}/{} {}\n    {step}", index + 1, steps.len(), step.name);
        let started = Instant::now();
        let outcome = run_one(step);
        lines.push(Line {
            name: step.name,
            outcome,
            took: started.elapsed(),
        });
    }

    eprintln!("\n==> summary");
    for line in &lines {
        eprintln!("    {line}");
    }
    exit_code(&lines)
}

fn run_one(step: &Step) -> Outcome {
    let status = Command::new(&step.program)
        .args(&step.arguments)
        .envs(step.variables.iter().map(|(name, value)| (name, value)))
        .current_dir(&step.folder)
        .status();
    let outcome = match status {
        Ok(status) if status.success() => Outcome::Passed,
        Ok(status) => Outcome::Failed {
            exit_code: code_of(status),
        },
        Err(problem) => {
            eprintln!("cannot start {}: {problem}", step.program.to_string_lossy());
            // 127 is what shells answer for a program that could not be found.
            Outcome::Failed { exit_code: 127 }
        }
    };
    if outcome != Outcome::Passed && !step.hint.is_empty() {
        eprintln!("{}", step.hint);
    }
    outcome
}

/// Never 0: a step that died of a signal, or with a code that does not fit, failed all the same.
fn code_of(status: ExitStatus) -> u8 {
    status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .filter(|code| *code != 0)
        .unwrap_or(1)
}

fn exit_code(lines: &[Line]) -> ExitCode {
    let failed = lines.iter().find_map(|line| match line.outcome {
        Outcome::Failed { exit_code } => Some(exit_code),
        Outcome::Passed | Outcome::NotRun => None,
    });
    failed.map_or(ExitCode::SUCCESS, ExitCode::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &'static str, script: &str) -> Step {
        Step {
            name,
            program: "sh".into(),
            arguments: vec!["-c".into(), script.into()],
            variables: vec![("MARK", "a b".into())],
            folder: std::env::temp_dir(),
            hint: "",
        }
    }

    #[test]
    fn the_exit_code_is_that_of_the_first_failure_and_later_steps_do_not_run() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mark = folder.path().join("third-ran");
        let steps = [
            step("first", "exit 0"),
            step("second", "exit 7"),
            step("third", &format!("touch '{}'", mark.display())),
        ];
        assert_eq!(run(&steps), ExitCode::from(7));
        assert!(!mark.exists());
    }

    #[test]
    fn all_steps_passing_is_success_and_each_sees_its_variables() {
        assert_eq!(
            run(&[step("one", "test \"$MARK\" = 'a b'"), step("two", "exit 0")]),
            ExitCode::SUCCESS
        );
        assert_eq!(run(&[]), ExitCode::SUCCESS);
    }

    #[test]
    fn a_program_that_is_absent_or_killed_is_a_failure() {
        let absent = Step {
            program: "ruche-no-such-program".into(),
            ..step("absent", "")
        };
        assert_eq!(run(&[absent]), ExitCode::from(127));
        assert_eq!(run(&[step("killed", "kill -9 $$")]), ExitCode::from(1));
    }

    #[test]
    fn a_step_prints_as_a_line_that_can_be_pasted() {
        assert_eq!(step("name", "exit 0").to_string(), "MARK='a b' sh -c 'exit 0'");
    }
}
