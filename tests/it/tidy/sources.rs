//! Rules for Rust sources.

use crate::repository::{TextFile, assert_none, test_parts, texts};

/// Lines of a file, above which it must be split.
const FILE_LINES_MAX: usize = 800;
/// Lines of a file, above which one stops and thinks; said, not refused.
const FILE_LINES_WARN: usize = 500;
/// Characters of a line.
const LINE_CHARS_MAX: usize = 140;

/// What is never committed. Written in halves, so that this file obeys its own rule.
const UNFINISHED: [&str; 5] = [
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
    concat!("dbg", "!("),
    concat!("#[", "ignore"),
    concat!("FIX", "ME"),
];

/// Calls that make a test wait for time to pass in place of waiting for a state.
const SLEEPS: [&str; 2] = [concat!("thread::", "sleep"), concat!("time::", "sleep")];

fn line_count(file: &TextFile) -> usize {
    file.text.lines().count()
}

fn too_long_file(file: &TextFile) -> Option<String> {
    let lines = line_count(file);
    (lines > FILE_LINES_MAX).then(|| format!("{}: {lines} lines", file.path))
}

fn too_long_lines(file: &TextFile) -> Vec<String> {
    let lines = file
        .text
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.chars().count()));
    let long = lines.filter(|(_, characters)| *characters > LINE_CHARS_MAX);
    long.map(|(number, characters)| format!("{}:{number}: {characters} characters", file.path))
        .collect()
}

fn unfinished(file: &TextFile) -> Vec<String> {
    lines_with(file, &UNFINISHED, 0)
}

/// Sleeps in files of tests, and in the test module at the end of any other.
fn sleeps_in_tests(file: &TextFile) -> Vec<String> {
    let first = if is_test_file(&file.path) {
        Some(0)
    } else {
        test_parts(&file.text).inline_from
    };
    first
        .map(|first| lines_with(file, &SLEEPS, first))
        .unwrap_or_default()
}

fn is_test_file(path: &str) -> bool {
    let mut parts: Vec<&str> = path.split('/').collect();
    let name = parts.pop().unwrap_or_default();
    parts.contains(&"tests") || name == "tests.rs" || name.contains("_test")
}

/// Lines, from the given index, that contain one of the texts.
fn lines_with(file: &TextFile, texts: &[&str], first: usize) -> Vec<String> {
    let mut findings = Vec::new();
    for (index, line) in file.text.lines().enumerate().skip(first) {
        for text in texts.iter().filter(|text| line.contains(*text)) {
            findings.push(format!("{}:{}: {text}", file.path, index + 1));
        }
    }
    findings
}

fn rust_files() -> Vec<TextFile> {
    let files: Vec<TextFile> = texts()
        .into_iter()
        .filter(|file| file.path.ends_with(".rs"))
        .collect();
    assert!(
        !files.is_empty(),
        "no sources found: the check looks at the wrong tree"
    );
    files
}

#[test]
fn files_are_short_enough_to_read() {
    let files = rust_files();
    for file in files.iter().filter(|file| line_count(file) > FILE_LINES_WARN) {
        eprintln!("worth splitting: {} has {} lines", file.path, line_count(file));
    }
    let findings: Vec<String> = files.iter().filter_map(too_long_file).collect();
    assert_none(&format!("at most {FILE_LINES_MAX} lines per file"), &findings);
}

#[test]
fn lines_are_short_enough_to_read() {
    let findings: Vec<String> = rust_files().iter().flat_map(too_long_lines).collect();
    assert_none(
        &format!("at most {LINE_CHARS_MAX} characters per line"),
        &findings,
    );
}

#[test]
fn nothing_unfinished_is_committed() {
    let findings: Vec<String> = rust_files().iter().flat_map(unfinished).collect();
    assert_none("finish it, or leave it out", &findings);
}

#[test]
fn tests_wait_for_a_state_and_never_sleep() {
    let findings: Vec<String> = rust_files().iter().flat_map(sleeps_in_tests).collect();
    assert_none(
        "a test waits for a state, with a limit; it never sleeps",
        &findings,
    );
}

mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> TextFile {
        TextFile {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn a_file_of_801_lines_is_caught() {
        assert_eq!(too_long_file(&file("a.rs", &"\n".repeat(800))), None);
        assert_eq!(
            too_long_file(&file("a.rs", &"\n".repeat(801))),
            Some("a.rs: 801 lines".to_owned())
        );
    }

    #[test]
    fn a_line_of_141_characters_is_caught() {
        let text = format!("short\n{}\n{}\n", "é".repeat(140), "é".repeat(141));
        assert_eq!(too_long_lines(&file("a.rs", &text)), ["a.rs:3: 141 characters"]);
    }

    #[test]
    fn unfinished_code_is_caught() {
        for text in UNFINISHED {
            assert_eq!(
                unfinished(&file("a.rs", &format!("ok\n  {text}"))),
                [format!("a.rs:2: {text}")]
            );
        }
        assert_eq!(
            unfinished(&file("a.rs", "a mastodon!(); // ignored")),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_sleep_is_caught_in_tests_and_left_alone_elsewhere() {
        for call in SLEEPS {
            let text = format!("std::{call}(a);");
            for path in [
                "tests/it/a.rs",
                "ledger/src/leaf/tests.rs",
                "api/src/serve_test.rs",
                "x/tests/y/z.rs",
            ] {
                assert_eq!(sleeps_in_tests(&file(path, &text)).len(), 1, "{path}");
            }
            assert_eq!(
                sleeps_in_tests(&file("api/src/serve.rs", &text)),
                Vec::<String>::new()
            );
            let inline = format!("{text}\n#[cfg(test)]\nmod tests {{\n    {text}\n}}\n");
            assert_eq!(
                sleeps_in_tests(&file("api/src/serve.rs", &inline)),
                [format!("api/src/serve.rs:4: {call}")]
            );
        }
    }
}
