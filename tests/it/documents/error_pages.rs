//! A page per error code: what happened, what to try.

use std::collections::BTreeSet;

use crate::markdown;
use crate::repository::{TextFile, assert_none, texts};

const FOLDER: &str = "docs/errors/";
const SECTIONS: [&str; 2] = ["What happened", "What to try"];

/// The central list of codes: each is a string literal in this file.
const LIST: &str = "api/src/error_codes.rs";

/// Faults of one page: its name is the code, its title too, and both sections are there with something in them.
fn page_faults(page: &TextFile) -> Vec<String> {
    let mut findings = Vec::new();
    let code = code_of(&page.path);
    if !is_code(code) {
        findings.push(format!("{}: `{code}` is not SCREAMING_SNAKE_CASE", page.path));
    }
    let title = markdown::headings(&page.text, 1)
        .into_iter()
        .next()
        .map(|(_, title)| title);
    if title.as_deref() != Some(code) {
        findings.push(format!("{}: the title is not `# {code}`", page.path));
    }
    for section in SECTIONS {
        if !has_content(&page.text, section) {
            findings.push(format!("{}: nothing under `## {section}`", page.path));
        }
    }
    findings
}

fn has_content(text: &str, section: &str) -> bool {
    let heading = format!("## {section}");
    let after = text.lines().skip_while(|line| line.trim_end() != heading).skip(1);
    after
        .take_while(|line| !line.starts_with("## "))
        .any(|line| !line.trim().is_empty())
}

/// Codes without a page, and pages without a code.
fn mismatches(codes: &BTreeSet<String>, pages: &BTreeSet<String>) -> Vec<String> {
    let missing = codes
        .difference(pages)
        .map(|code| format!("{FOLDER}{code}.md is missing"));
    let stale = pages
        .difference(codes)
        .map(|code| format!("{FOLDER}{code}.md has no code in {LIST}"));
    missing.chain(stale).collect()
}

/// Codes among the string literals of a source text, comments left out.
fn codes_in(source: &str) -> BTreeSet<String> {
    let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    let literals = code.flat_map(|line| line.split('"').skip(1).step_by(2));
    literals
        .filter(|literal| is_code(literal))
        .map(str::to_owned)
        .collect()
}

fn is_code(text: &str) -> bool {
    let words_fit = text.split('_').all(|word| {
        !word.is_empty()
            && word
                .chars()
                .all(|letter| letter.is_ascii_uppercase() || letter.is_ascii_digit())
    });
    text.len() >= 3 && words_fit && text.starts_with(|letter: char| letter.is_ascii_uppercase())
}

fn code_of(path: &str) -> &str {
    path.strip_prefix(FOLDER)
        .and_then(|name| name.strip_suffix(".md"))
        .unwrap_or(path)
}

/// Pages of codes: everything in the folder but its README.
fn pages() -> Vec<TextFile> {
    let is_page = |file: &TextFile| {
        file.path.starts_with(FOLDER) && file.path.ends_with(".md") && !file.path.ends_with("/README.md")
    };
    texts().into_iter().filter(is_page).collect()
}

#[test]
fn error_pages_say_what_happened_and_what_to_try() {
    let findings: Vec<String> = pages().iter().flat_map(page_faults).collect();
    assert_none("error pages", &findings);
}

#[test]
fn every_error_code_has_a_page() {
    let list = texts().into_iter().find(|file| file.path == LIST);
    let codes = list.map(|list| codes_in(&list.text)).unwrap_or_default();
    let pages = pages()
        .iter()
        .map(|page| code_of(&page.path).to_owned())
        .collect();
    assert_none("error codes and their pages", &mismatches(&codes, &pages));
}

mod tests {
    use super::*;

    const GOOD: &str = "# OVERLOADED\n\n## What happened\n\nFull.\n\n## What to try\n\nLater.\n";

    fn page(path: &str, text: &str) -> TextFile {
        TextFile {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn a_page_with_a_part_missing_is_caught() {
        assert_eq!(
            page_faults(&page("docs/errors/OVERLOADED.md", GOOD)),
            Vec::<String>::new()
        );
        let changes = [
            ("# OVERLOADED", "# Overloaded"),
            ("## What happened", "## Why"),
            ("Later.", ""),
            ("Full.", "\n"),
        ];
        for (from, to) in changes {
            let faults = page_faults(&page("docs/errors/OVERLOADED.md", &GOOD.replacen(from, to, 1)));
            assert_eq!(faults.len(), 1, "{from} → {to}: {faults:?}");
        }
        assert_eq!(page_faults(&page("docs/errors/overloaded.md", GOOD)).len(), 2);
    }

    #[test]
    fn a_code_without_a_page_and_a_page_without_a_code_are_caught() {
        let set = |codes: &[&str]| {
            codes
                .iter()
                .map(|code| (*code).to_owned())
                .collect::<BTreeSet<_>>()
        };
        assert_eq!(mismatches(&set(&["A_B", "C_D"]), &set(&["C_D", "E_F"])).len(), 2);
        assert_eq!(mismatches(&set(&["A_B"]), &set(&["A_B"])), Vec::<String>::new());
    }

    #[test]
    fn codes_are_the_literals_in_capitals() {
        let source =
            "/// Not \"A_COMMENT\".\nSelf::Full => \"OVERLOADED\", // \"OLD_NAME\"\nx(\"Message\", \"A_1\")";
        let codes: Vec<String> = codes_in(source).into_iter().collect();
        assert_eq!(codes, ["A_1", "OLD_NAME", "OVERLOADED"]);
    }
}
