//! Rules for Markdown documents.

use std::collections::BTreeSet;

use crate::markdown;
use crate::repository::{TextFile, assert_none, paths, texts};

fn title(file: &TextFile) -> Option<String> {
    let titles = markdown::headings(&file.text, 1);
    (titles.len() != 1).then(|| format!("{}: {} lines start with `# `", file.path, titles.len()))
}

/// Relative links to what is not under version control; a link that leaves the repository is one of them.
fn broken_links(file: &TextFile, paths: &BTreeSet<String>) -> Vec<String> {
    let links = markdown::links(&file.text)
        .into_iter()
        .filter(|(_, target)| is_relative(target));
    let broken = links.filter(|(_, target)| {
        let found = resolve(&file.path, target).is_some_and(|path| exists(&path, paths));
        !found
    });
    broken
        .map(|(line, target)| format!("{}:{line}: {target}", file.path))
        .collect()
}

fn is_relative(target: &str) -> bool {
    let scheme = target.split_once(':').map(|(scheme, _)| scheme);
    let has_scheme = scheme.is_some_and(|scheme| scheme.chars().all(|letter| letter.is_ascii_alphanumeric()));
    !has_scheme && !target.starts_with('#')
}

/// The path from the root that a link in the given file means; nothing where it leaves the repository.
fn resolve(file: &str, target: &str) -> Option<String> {
    let target = target.split(['#', '?']).next().unwrap_or_default();
    let mut parts: Vec<&str> = if target.starts_with('/') {
        Vec::new()
    } else {
        file.split('/').collect()
    };
    // The file's own name is not part of its folder.
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Whether the path is a file under version control, or a folder that holds one.
fn exists(path: &str, paths: &BTreeSet<String>) -> bool {
    let folder = format!("{path}/");
    path.is_empty() || paths.contains(path) || paths.iter().any(|file| file.starts_with(&folder))
}

fn documents() -> Vec<TextFile> {
    let files: Vec<TextFile> = texts()
        .into_iter()
        .filter(|file| file.path.ends_with(".md"))
        .collect();
    assert!(
        !files.is_empty(),
        "no documents found: the check looks at the wrong tree"
    );
    files
}

#[test]
fn every_document_has_one_title() {
    let findings: Vec<String> = documents().iter().filter_map(title).collect();
    assert_none("exactly one `# ` per document", &findings);
}

#[test]
fn links_between_documents_lead_somewhere() {
    let paths: BTreeSet<String> = paths().into_iter().collect();
    let findings: Vec<String> = documents()
        .iter()
        .flat_map(|file| broken_links(file, &paths))
        .collect();
    assert_none("links to files that are not under version control", &findings);
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
    fn no_title_and_two_titles_are_caught() {
        assert_eq!(
            title(&file("a.md", "# A\n\n## B\n\n```sh\n# comment\n```\n")),
            None
        );
        assert_eq!(
            title(&file("a.md", "## A\n")),
            Some("a.md: 0 lines start with `# `".to_owned())
        );
        assert_eq!(
            title(&file("a.md", "# A\n# B\n")),
            Some("a.md: 2 lines start with `# `".to_owned())
        );
    }

    #[test]
    fn a_link_that_leads_nowhere_is_caught() {
        let paths: BTreeSet<String> = ["README.md", "docs/a.md", "docs/errors/X.md"]
            .map(String::from)
            .into();
        let broken =
            |target: &str| !broken_links(&file("docs/a.md", &format!("[t]({target})")), &paths).is_empty();
        for target in [
            "b.md",
            "errors/Y.md",
            "../docs/b.md",
            "../../README.md",
            "/docs/b.md",
            "b.md#part",
        ] {
            assert!(broken(target), "{target}");
        }
        for target in [
            "a.md",
            "#part",
            "a.md#part",
            "errors/X.md",
            "errors/",
            "errors",
            "../README.md",
            "..",
            "/README.md",
        ] {
            assert!(!broken(target), "{target}");
        }
        for target in ["https://example.org/b.md", "mailto:a@example.org"] {
            assert!(!broken(target), "{target}");
        }
    }
}
