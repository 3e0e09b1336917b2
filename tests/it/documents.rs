//! What the documents promise: commands that can be typed, error pages for error codes, examples that parse, a changelog in its form.

mod console;
mod error_pages;
mod figures;

use crate::markdown;
use crate::repository::{TextFile, assert_none, texts};

/// Blocks of JSON in a document that no JSON parser reads.
fn broken_json(file: &TextFile) -> Vec<String> {
    let (_, blocks) = markdown::split(&file.text);
    let json = blocks.iter().filter(|block| block.language == "json");
    json.filter_map(|block| {
        let problem = serde_json::from_str::<serde_json::Value>(&block.text).err()?;
        Some(format!("{}:{}: {problem}", file.path, block.line))
    })
    .collect()
}

/// Departures from the form of Keep a Changelog: versions newest first, known kinds of change.
fn changelog_faults(text: &str) -> Vec<String> {
    const KINDS: [&str; 6] = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"];
    let mut findings = Vec::new();
    let versions = markdown::headings(text, 2);
    if versions
        .first()
        .is_none_or(|(_, version)| version != "[Unreleased]")
    {
        findings.push("the first `## ` is not [Unreleased]".to_owned());
    }
    for (line, version) in versions.iter().skip(1) {
        let released = version.strip_prefix('[').and_then(|rest| rest.split_once("] - "));
        if released.is_none_or(|(_, date)| date.len() != "2026-01-31".len()) {
            findings.push(format!(
                "line {line}: `{version}` is not `[version] - year-month-day`"
            ));
        }
    }
    for (line, kind) in markdown::headings(text, 3) {
        if !KINDS.contains(&kind.as_str()) {
            findings.push(format!("line {line}: `{kind}` is none of {}", KINDS.join(", ")));
        }
    }
    findings
}

#[test]
fn json_in_documents_parses() {
    let documents = texts().into_iter().filter(|file| file.path.ends_with(".md"));
    let findings: Vec<String> = documents.flat_map(|file| broken_json(&file)).collect();
    assert_none("blocks marked json that are not JSON", &findings);
}

#[test]
fn the_changelog_keeps_its_form() {
    let changelog = texts()
        .into_iter()
        .find(|file| file.path == "CHANGELOG.md")
        .expect("CHANGELOG.md is there");
    assert_none(
        "CHANGELOG.md, in the form of Keep a Changelog",
        &changelog_faults(&changelog.text),
    );
}

mod tests {
    use super::*;

    #[test]
    fn broken_json_is_caught_with_its_line() {
        let text = "# A\n```json\n{\"a\": 1}\n```\n```json\n{\"a\": 1,}\n```\n```text\n{,}\n```\n";
        let findings = broken_json(&TextFile {
            path: "a.md".to_owned(),
            text: text.to_owned(),
        });
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].starts_with("a.md:5: "), "{findings:?}");
    }

    #[test]
    fn a_changelog_out_of_form_is_caught() {
        let good = "# C\n## [Unreleased]\n### Added\n- a\n## [0.1.0] - 2026-01-31\n### Fixed\n- b\n";
        assert_eq!(changelog_faults(good), Vec::<String>::new());
        let changes = [
            ("## [Unreleased]\n", ""),
            ("] - 2026-01-31", "]"),
            ("Fixed", "Misc"),
        ];
        for (from, to) in changes {
            assert!(
                !changelog_faults(&good.replace(from, to)).is_empty(),
                "{from} → {to}"
            );
        }
    }
}
