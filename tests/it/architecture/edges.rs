//! The dependency rule, and what the offline verifier links.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::metadata::{self, Graph};
use super::{PURE, Package, port_of, seen_by};
use crate::repository::assert_none;

/// Names of crates that are a runtime, a database or a network stack; `x*` stands for all that begin with `x`.
const ENGINES: [&str; 31] = [
    "tokio*",
    "mio",
    "async-std",
    "async-io",
    "async-executor",
    "smol",
    "rusqlite",
    "libsqlite3-sys",
    "sqlite*",
    "sqlx*",
    "diesel*",
    "sea-orm*",
    "postgres*",
    "deadpool*",
    "r2d2*",
    "mysql*",
    "mongodb",
    "redis",
    "redb",
    "sled",
    "rocksdb",
    "librocksdb-sys",
    "heed*",
    "lmdb*",
    "fjall",
    "kurrentdb",
    "eventstore",
    "hyper*",
    "reqwest",
    "axum*",
    "tonic*",
];

/// Whether a name is on a list of names and `prefix*` patterns.
pub fn listed(name: &str, list: &[&str]) -> bool {
    list.iter().any(|entry| match entry.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == *entry,
    })
}

/// Edges between packages of ours that the dependency rule forbids, and packages in a place it does not know.
fn forbidden_edges(packages: &[Package]) -> Vec<String> {
    let mut findings = Vec::new();
    for package in packages {
        if !is_known(&package.folder) {
            findings.push(format!(
                "{} lies in {}, which has no place in the rule",
                package.name, package.folder
            ));
        }
        for dependency in &package.dependencies {
            if let Some(folder) = &dependency.folder
                && !may_see(&package.folder, folder)
            {
                findings.push(format!("{} may not depend on {}", package.name, dependency.name));
            }
        }
    }
    findings
}

fn is_known(folder: &str) -> bool {
    seen_by(folder).is_some()
        || port_of(folder).and_then(seen_by).is_some()
        || matches!(folder, "api" | "tests" | "xtask")
}

fn may_see(from: &str, to: &str) -> bool {
    let built_on = seen_by(to).is_some() || port_of(to).is_some();
    match from {
        "api" => built_on,
        // The servers that `cargo xtask` starts are the tests' as well.
        "tests" => built_on || matches!(to, "api" | "xtask"),
        "xtask" => built_on || to == "api",
        _ => match port_of(from) {
            Some(port) => to == port || seen_by(port).is_some_and(|seen| seen.contains(&to)),
            None => seen_by(from).is_some_and(|seen| seen.contains(&to)),
        },
    }
}

/// Listed crates that a package links, directly or not, each with the path that leads to it.
fn links_of(package: &str, graph: &Graph, list: &[&str]) -> Vec<String> {
    let name = |id: &str| graph.names.get(id).cloned().unwrap_or_else(|| id.to_owned());
    let start = graph
        .names
        .iter()
        .find(|(_, name)| *name == package)
        .map(|(id, _)| id.as_str());
    let Some(start) = start else {
        return vec![format!("{package} is not in the graph")];
    };

    let mut reached_from: BTreeMap<&str, Option<&str>> = BTreeMap::from([(start, None)]);
    let mut queue = VecDeque::from([start]);
    let mut findings = Vec::new();
    while let Some(id) = queue.pop_front() {
        if id != start && listed(&name(id), list) {
            let mut path = vec![name(id)];
            let mut at = id;
            while let Some(Some(before)) = reached_from.get(at) {
                path.push(name(before));
                at = before;
            }
            path.reverse();
            findings.push(path.join(" → "));
        }
        for next in graph.links.get(id).into_iter().flatten() {
            if !reached_from.contains_key(next.as_str()) {
                reached_from.insert(next, Some(id));
                queue.push_back(next);
            }
        }
    }
    findings
}

#[test]
fn dependencies_point_one_way() {
    let packages = metadata::packages();
    let folders: BTreeSet<&str> = packages.iter().map(|package| package.folder.as_str()).collect();
    for (folder, _) in PURE {
        assert!(
            folders.contains(folder),
            "no package in {folder}: the check looks at the wrong tree"
        );
    }
    assert!(
        packages.iter().any(Package::is_adapter),
        "no adapters: the check looks at the wrong tree"
    );
    assert_none(
        "the dependency rule (ARCHITECTURE.md)",
        &forbidden_edges(&packages),
    );
}

#[test]
fn the_offline_verifier_links_no_runtime_and_no_database() {
    let graph = metadata::graph();
    let server = links_of("ruche-api", &graph, &ENGINES);
    assert!(
        !server.is_empty(),
        "the server links tokio: the check reads the graph wrongly"
    );
    let findings = links_of("ruche-ledger-bundle", &graph, &ENGINES);
    assert_none(
        "ruche-verify must stay small enough to audit; it links",
        &findings,
    );
}

#[test]
fn pure_crates_link_no_runtime_and_no_database() {
    let graph = metadata::graph();
    let pure = metadata::packages()
        .into_iter()
        .filter(|package| seen_by(&package.folder).is_some());
    let findings: Vec<String> = pure
        .flat_map(|package| links_of(&package.name, &graph, &ENGINES))
        .collect();
    assert_none("what decides is pure; it links", &findings);
}

mod tests {
    use super::super::Dependency;
    use super::*;

    fn package(folder: &str, sees: &[&str]) -> Package {
        let dependency = |folder: &&str| Dependency {
            name: format!("package-in-{folder}"),
            folder: Some((*folder).to_owned()),
            features: Vec::new(),
            default_features: true,
        };
        Package {
            name: format!("package-in-{folder}"),
            folder: folder.to_owned(),
            dependencies: sees.iter().map(dependency).collect(),
        }
    }

    #[test]
    fn every_forbidden_edge_is_caught() {
        let forbidden = [
            ("domain", "ledger"),
            ("ledger", "commands"),
            ("ledger", "projections"),
            ("commands", "projections"),
            ("projections", "commands"),
            ("commands", "replay"),
            ("replay", "api"),
            ("replay", "ledger/adapters/sqlite"),
            ("commands", "ledger/adapters/sqlite"),
            ("domain", "domain"),
            ("ledger/adapters/sqlite", "ledger/adapters/keys"),
            ("ledger/adapters/sqlite", "commands"),
            ("commands/adapters/schema", "projections"),
            ("projections/adapters/sqlite", "commands"),
            ("projections/adapters/sqlite", "ledger/adapters/sqlite"),
            ("projections/adapters/sqlite", "api"),
            ("api", "tests"),
            ("api", "xtask"),
            ("xtask", "tests"),
        ];
        for (from, to) in forbidden {
            let findings = forbidden_edges(&[package(from, &[to])]);
            assert_eq!(findings.len(), 1, "{from} → {to} gave {findings:?}");
        }
    }

    #[test]
    fn the_edges_of_the_rule_are_allowed() {
        let allowed = [
            package("domain", &[]),
            package("ledger", &["domain"]),
            package("commands", &["domain", "ledger"]),
            package("projections", &["domain", "ledger"]),
            package("replay", &["domain", "ledger", "commands", "projections"]),
            package("ledger/adapters/bundle", &["domain", "ledger"]),
            package("commands/adapters/schema", &["domain", "ledger", "commands"]),
            package(
                "projections/adapters/sqlite",
                &["domain", "ledger", "projections"],
            ),
            package("api", &["domain", "replay", "commands", "ledger/adapters/sqlite"]),
            package("tests", &["api", "ledger/adapters/keys"]),
            package("xtask", &["api"]),
        ];
        assert_eq!(forbidden_edges(&allowed), Vec::<String>::new());
    }

    #[test]
    fn a_package_in_an_unknown_place_is_caught() {
        for folder in [
            "common",
            "domain/helpers",
            "api/adapters/web",
            "ledger/adapters/sqlite/inner",
        ] {
            assert_eq!(forbidden_edges(&[package(folder, &[])]).len(), 1, "{folder}");
        }
    }

    #[test]
    fn a_listed_crate_is_found_with_the_path_that_leads_to_it() {
        let edges = [
            ("verify", "bar"),
            ("verify", "hex"),
            ("bar", "tokio-util"),
            ("other", "rusqlite"),
        ];
        let mut graph = Graph::default();
        for (from, to) in edges {
            for id in [from, to] {
                graph.names.insert(id.to_owned(), id.to_owned());
            }
            graph
                .links
                .entry(from.to_owned())
                .or_default()
                .insert(to.to_owned());
        }
        assert_eq!(
            links_of("verify", &graph, &ENGINES),
            ["verify → bar → tokio-util"]
        );
        assert_eq!(links_of("other", &graph, &ENGINES), ["other → rusqlite"]);
        assert_eq!(links_of("hex", &graph, &ENGINES), Vec::<String>::new());
        assert_eq!(
            links_of("absent", &graph, &ENGINES),
            ["absent is not in the graph"]
        );
    }
}
