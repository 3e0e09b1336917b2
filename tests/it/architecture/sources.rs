//! One module of the program names concrete adapters: the composition root.

use super::{Package, metadata};
use crate::repository::{self, TextFile, assert_none};

/// The file, and the folder of its parts.
const COMPOSITION_ROOT: [&str; 2] = ["api/src/app.rs", "api/src/app/"];

/// Places outside the composition root where a source of `api` names the crate of an adapter.
fn adapters_named(packages: &[Package], files: &[TextFile]) -> Vec<String> {
    let adapters = packages.iter().filter(|package| package.is_adapter());
    let crates: Vec<String> = adapters.map(|package| package.name.replace('-', "_")).collect();
    let mut findings = Vec::new();
    let sources = files.iter().filter(|file| {
        let [root, parts] = COMPOSITION_ROOT;
        let in_root = file.path == root || file.path.starts_with(parts);
        file.path.starts_with("api/src/") && file.path.ends_with(".rs") && !in_root
    });
    for file in sources {
        for (index, line) in file.text.lines().enumerate() {
            for named in crates.iter().filter(|name| names_crate(line, name)) {
                findings.push(format!("{}:{}: {named}", file.path, index + 1));
            }
        }
    }
    findings
}

/// Whether the line has the name as a whole word.
fn names_crate(line: &str, name: &str) -> bool {
    let in_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    line.match_indices(name).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + name.len()..].chars().next();
        !before.is_some_and(in_word) && !after.is_some_and(in_word)
    })
}

#[test]
fn only_the_composition_root_names_adapters() {
    let findings = adapters_named(&metadata::packages(), &repository::texts());
    assert_none(
        &format!(
            "only {} and its parts name concrete adapters",
            COMPOSITION_ROOT[0]
        ),
        &findings,
    );
}

#[test]
fn an_adapter_named_elsewhere_is_caught() {
    let package = Package {
        name: "ruche-ledger-sqlite".to_owned(),
        folder: "ledger/adapters/sqlite".to_owned(),
        dependencies: Vec::new(),
    };
    let file = |path: &str, text: &str| TextFile {
        path: path.to_owned(),
        text: text.to_owned(),
    };
    let files = [
        file("api/src/app.rs", "use ruche_ledger_sqlite::Store;"),
        file("api/src/app/files.rs", "use ruche_ledger_sqlite::Store;"),
        file("api/src/serve.rs", "//! Serves.\nuse ruche_ledger_sqlite::Store;"),
        file(
            "api/src/other.rs",
            "let ruche_ledger_sqlite_path = my_ruche_ledger_sqlite;",
        ),
        file("tests/it/crash.rs", "use ruche_ledger_sqlite::Store;"),
    ];
    assert_eq!(
        adapters_named(&[package], &files),
        ["api/src/serve.rs:2: ruche_ledger_sqlite"]
    );
}
