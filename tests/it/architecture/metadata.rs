//! What cargo knows of the workspace, in the form the checks take.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use cargo_metadata::camino::Utf8Path;
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

use super::{Dependency, Package};
use crate::repository;

/// A test neither downloads anything nor changes the lock file.
const OFFLINE: [&str; 2] = ["--offline", "--locked"];

/// Who links whom, features resolved, for the platform the tests run on.
#[derive(Debug, Default)]
pub struct Graph {
    /// Package id to package name.
    pub names: BTreeMap<String, String>,
    /// Package id to the ids it links; dependencies of tests and of build scripts are left out.
    pub links: BTreeMap<String, BTreeSet<String>>,
}

/// The packages of the workspace with what they declare.
pub fn packages() -> Vec<Package> {
    let metadata = run(MetadataCommand::new()
        .no_deps()
        .other_options(OFFLINE.map(String::from)));
    let folder = |path: &Utf8Path| {
        let inside = path
            .strip_prefix(&metadata.workspace_root)
            .expect("our packages lie below the root");
        inside.as_str().replace('\\', "/")
    };
    let dependency = |declared: &cargo_metadata::Dependency| Dependency {
        name: declared.name.clone(),
        folder: declared.path.as_deref().map(folder),
        features: declared.features.clone(),
        default_features: declared.uses_default_features,
    };
    let package = |package: &cargo_metadata::Package| Package {
        name: package.name.to_string(),
        folder: folder(
            package
                .manifest_path
                .parent()
                .expect("a manifest lies in a folder"),
        ),
        dependencies: package
            .dependencies
            .iter()
            .filter(|declared| declared.kind != DependencyKind::Development)
            .map(dependency)
            .collect(),
    };
    metadata.packages.iter().map(package).collect()
}

/// The resolved graph of the whole workspace.
pub fn graph() -> Graph {
    let platform = format!("--filter-platform={}", platform());
    let metadata = run(MetadataCommand::new().other_options(
        OFFLINE
            .map(String::from)
            .into_iter()
            .chain([platform])
            .collect::<Vec<_>>(),
    ));
    let mut graph = Graph::default();
    for package in &metadata.packages {
        graph
            .names
            .insert(package.id.repr.clone(), package.name.to_string());
    }
    for node in metadata.resolve.expect("cargo resolves unless told not to").nodes {
        let linked = node.deps.iter().filter(|dependency| {
            dependency
                .dep_kinds
                .iter()
                .any(|kind| kind.kind == DependencyKind::Normal)
        });
        let linked = linked.map(|dependency| dependency.pkg.repr.clone()).collect();
        graph.links.insert(node.id.repr, linked);
    }
    graph
}

fn run(command: &mut MetadataCommand) -> Metadata {
    command.manifest_path(repository::root().join("Cargo.toml"));
    command.exec().unwrap_or_else(|problem| {
        panic!("cargo metadata failed; `cargo fetch --locked` brings what it needs: {problem}")
    })
}

/// The platform's name as rustc prints it, such as `x86_64-unknown-linux-gnu`.
fn platform() -> String {
    let output = Command::new("rustc")
        .arg("-vV")
        .output()
        .expect("rustc is there where cargo is");
    let text = String::from_utf8(output.stdout).expect("rustc prints UTF-8");
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.expect("rustc -vV names its host").to_owned()
}
