//! What decides takes its clock, its randomness and its data from the caller.

use std::collections::BTreeSet;

use super::edges::listed;
use super::{PURE, Package, metadata, seen_by};
use crate::repository::{self, TextFile, assert_none, test_parts};

/// Crates that bring a clock, randomness, files, sockets, threads, processes or an engine.
const IMPURE: [&str; 33] = [
    "tokio*",
    "async-std",
    "async-io",
    "smol",
    "rayon",
    "rusqlite",
    "libsqlite3-sys",
    "sqlx*",
    "postgres*",
    "deadpool*",
    "kurrentdb",
    "eventstore",
    "reqwest",
    "hyper*",
    "ureq",
    "http",
    "axum*",
    "tower*",
    "tonic*",
    "async-graphql*",
    "rustls*",
    "rand",
    "rand_chacha",
    "fastrand",
    "getrandom",
    "time",
    "jiff",
    "tempfile",
    "memmap2",
    "walkdir",
    "clap",
    "tracing-subscriber",
    "opentelemetry*",
];

/// Features that bring a clock or randomness into a crate that is otherwise pure.
const IMPURE_FEATURES: [(&str, &[&str]); 4] = [
    ("chrono", &["clock", "now"]),
    (
        "uuid",
        &[
            "v1",
            "v4",
            "v6",
            "v7",
            "fast-rng",
            "rng",
            "rng-rand",
            "rng-getrandom",
        ],
    ),
    ("ed25519-dalek", &["rand_core", "batch"]),
    ("futures-util", &["io", "io-compat"]),
];

/// Modules of the standard library that pure code has no use for.
const IMPURE_MODULES: [&str; 5] = ["fs", "net", "env", "thread", "process"];

/// Calls that read a clock.
const CLOCKS: [&str; 2] = ["Instant::now", "SystemTime::now"];

/// Dependencies of pure packages that bring what they must take from the caller.
fn impure_dependencies(packages: &[Package]) -> Vec<String> {
    let mut findings = Vec::new();
    for package in packages
        .iter()
        .filter(|package| seen_by(&package.folder).is_some())
    {
        for dependency in &package.dependencies {
            let name = &dependency.name;
            if listed(name, &IMPURE) {
                findings.push(format!("{} depends on {name}", package.name));
            }
            let features = IMPURE_FEATURES.iter().find(|(impure, _)| impure == name);
            for feature in features.map(|(_, features)| *features).into_iter().flatten() {
                if dependency.features.iter().any(|on| on == feature) {
                    findings.push(format!("{} uses {name} with {feature}", package.name));
                }
            }
            if name == "chrono" && dependency.default_features {
                findings.push(format!(
                    "{} uses chrono with its default features, a clock among them",
                    package.name
                ));
            }
        }
    }
    findings
}

/// Copies of the ban list that differ from the first, which is the domain's.
fn differing_ban_lists(lists: &[(&str, Option<Vec<u8>>)]) -> Vec<String> {
    let first = lists.first().and_then(|(_, bytes)| bytes.as_ref());
    let mut findings = Vec::new();
    for (folder, bytes) in lists {
        match bytes {
            None => findings.push(format!("{folder}/clippy.toml is missing")),
            Some(_) if bytes.as_ref() != first => {
                findings.push(format!("{folder}/clippy.toml differs from domain/clippy.toml"));
            }
            Some(_) => {}
        }
    }
    findings
}

/// Lines of a source text that reach for a clock, a file, a socket, a thread, a variable or a process.
///
/// Clippy's ban list names single calls; this covers the modules they live in. Tests and the `testing` feature may.
fn impure_lines(file: &TextFile) -> Vec<String> {
    let mut findings = Vec::new();
    let tests_from = test_parts(&file.text).inline_from.unwrap_or(usize::MAX);
    for (index, line) in file.text.lines().enumerate().take(tests_from) {
        let code = line.trim_start();
        if code.starts_with("//") {
            continue;
        }
        let module = IMPURE_MODULES.iter().find(|module| names_module(code, module));
        let clock = CLOCKS.iter().find(|clock| code.contains(*clock));
        for word in [module, clock].into_iter().flatten() {
            findings.push(format!("{}:{}: {word}", file.path, index + 1));
        }
    }
    findings
}

/// Whether a line says `std::module`, also as one of `use std::{…}`.
fn names_module(code: &str, module: &str) -> bool {
    let is_word_end = |rest: &str| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_');
    let mut parts = code.split("std::").skip(1);
    parts.any(|part| match part.strip_prefix('{') {
        Some(group) => group
            .split([',', '{', '}', ';'])
            .any(|member| member.trim().strip_prefix(module).is_some_and(is_word_end)),
        None => part.strip_prefix(module).is_some_and(is_word_end),
    })
}

/// Sources of the pure crates without what only their tests compile.
fn pure_sources(files: Vec<TextFile>) -> Vec<TextFile> {
    let in_pure_crate = |file: &TextFile| {
        let folder = file.path.split_once("/src/").map(|(folder, _)| folder);
        file.path.ends_with(".rs") && folder.is_some_and(|folder| seen_by(folder).is_some())
    };
    let files: Vec<TextFile> = files.into_iter().filter(in_pure_crate).collect();
    // `testing` is the feature that gives other crates the contract suite and the faulty store.
    let mut for_tests = BTreeSet::from(["testing".to_owned()]);
    for_tests.extend(files.iter().flat_map(|file| test_parts(&file.text).modules));
    let is_for_tests = |file: &TextFile| {
        file.path
            .split('/')
            .any(|part| for_tests.contains(part.trim_end_matches(".rs")))
    };
    files.into_iter().filter(|file| !is_for_tests(file)).collect()
}

#[test]
fn pure_crates_depend_on_nothing_impure() {
    assert_none(
        "what decides is pure",
        &impure_dependencies(&metadata::packages()),
    );
}

#[test]
fn pure_crates_carry_the_same_ban_list() {
    let root = repository::root();
    let read = |folder| (folder, std::fs::read(root.join(folder).join("clippy.toml")).ok());
    let lists: Vec<_> = PURE.iter().map(|(folder, _)| read(*folder)).collect();
    assert_none(
        "clippy reads the nearest clippy.toml only, so each crate has a copy",
        &differing_ban_lists(&lists),
    );
}

#[test]
fn pure_crates_reach_for_nothing_outside() {
    let files = pure_sources(repository::texts());
    assert!(files.len() >= PURE.len(), "the check looks at the wrong tree");
    let findings: Vec<String> = files.iter().flat_map(impure_lines).collect();
    assert_none(
        "what decides takes clock, randomness and data from the caller",
        &findings,
    );
}

mod tests {
    use super::super::Dependency;
    use super::*;

    fn with_dependency(folder: &str, name: &str, features: &[&str], default_features: bool) -> Vec<Package> {
        let features = features.iter().map(|feature| (*feature).to_owned()).collect();
        let dependency = Dependency {
            name: name.to_owned(),
            folder: None,
            features,
            default_features,
        };
        vec![Package {
            name: "ours".to_owned(),
            folder: folder.to_owned(),
            dependencies: vec![dependency],
        }]
    }

    #[test]
    fn an_impure_dependency_is_caught_in_pure_crates_only() {
        for name in [
            "tokio",
            "tokio-util",
            "rusqlite",
            "sqlx",
            "reqwest",
            "rand",
            "getrandom",
            "axum",
        ] {
            assert_eq!(
                impure_dependencies(&with_dependency("ledger", name, &[], true)).len(),
                1,
                "{name}"
            );
            let adapter = with_dependency("ledger/adapters/sqlite", name, &[], true);
            assert_eq!(impure_dependencies(&adapter), Vec::<String>::new(), "{name}");
        }
        assert_eq!(
            impure_dependencies(&with_dependency("ledger", "sha2", &[], true)),
            Vec::<String>::new()
        );
    }

    #[test]
    fn an_impure_feature_is_caught() {
        let uuid = with_dependency("domain", "uuid", &["std", "v7"], false);
        assert_eq!(impure_dependencies(&uuid), ["ours uses uuid with v7"]);
        assert_eq!(
            impure_dependencies(&with_dependency("domain", "chrono", &["clock"], false)).len(),
            1
        );
        assert_eq!(
            impure_dependencies(&with_dependency("domain", "chrono", &[], true)).len(),
            1
        );
        assert_eq!(
            impure_dependencies(&with_dependency("domain", "chrono", &["serde"], false)).len(),
            0
        );
    }

    #[test]
    fn a_missing_or_changed_ban_list_is_caught() {
        let list = |text: &str| Some(text.as_bytes().to_vec());
        let same = [("domain", list("a")), ("ledger", list("a"))];
        assert_eq!(differing_ban_lists(&same), Vec::<String>::new());
        let differing = [("domain", list("a")), ("ledger", list("a\n")), ("replay", None)];
        assert_eq!(
            differing_ban_lists(&differing),
            [
                "ledger/clippy.toml differs from domain/clippy.toml",
                "replay/clippy.toml is missing"
            ]
        );
    }

    #[test]
    fn impure_code_is_caught_and_tests_may() {
        let lines = |text: &str| {
            impure_lines(&TextFile {
                path: "f.rs".to_owned(),
                text: text.to_owned(),
            })
            .len()
        };
        for text in [
            "use std::fs;",
            "use std::{collections::BTreeMap, fs};",
            "use std::{env, fmt};",
            "    let text = std::fs::read(path)?;",
            "use std::thread::spawn;",
            "    Instant::now()",
            "    std::time::SystemTime::now()",
            "std::net::TcpStream::connect(address)",
            "std::process::exit(1)",
        ] {
            assert_eq!(lines(text), 1, "{text}");
        }
        for text in [
            "use std::fmt;",
            "//! no std::fs here",
            "let environment = 1;",
            "use std::{fmt, io};",
            "std::fsx::a",
        ] {
            assert_eq!(lines(text), 0, "{text}");
        }
        assert_eq!(lines("fn f() {}\n#[cfg(test)]\nmod tests {\nuse std::fs;\n}"), 0);
    }

    #[test]
    fn what_only_tests_compile_is_left_out() {
        let file = |path: &str, text: &str| TextFile {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let files = vec![
            file(
                "ledger/src/lib.rs",
                "mod leaf;\n#[cfg(test)]\nmod testdata;\nmod tree;",
            ),
            file("ledger/src/leaf.rs", "#[cfg(test)]\nmod tests;"),
            file("ledger/src/leaf/tests.rs", ""),
            file("ledger/src/testdata.rs", ""),
            file("ledger/src/testing/faults.rs", ""),
            file("api/src/app.rs", ""),
            file("ledger/adapters/sqlite/src/lib.rs", ""),
            file("ledger/src/layout.txt", ""),
        ];
        let paths: Vec<String> = pure_sources(files).into_iter().map(|file| file.path).collect();
        assert_eq!(paths, ["ledger/src/lib.rs", "ledger/src/leaf.rs"]);
    }
}
