//! Which steps each command consists of.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::arguments::{Command, TestArguments};
use crate::steps::Step;

const DENY_HINT: &str = "If cargo-deny itself is missing: cargo install --locked --version 0.20.2 cargo-deny";

/// The steps of a command. Reads the environment, runs nothing.
pub fn for_command(command: &Command, root: &Path) -> Vec<Step> {
    let data = std::env::var_os("RUCHE_DATA");
    match command {
        Command::Test(arguments) => vec![fetch(root), tests(root, arguments, data)],
        Command::Golden(arguments) => vec![fetch(root), golden(root, arguments, data)],
        Command::Lint => {
            vec![
                fetch(root),
                format(root),
                clippy(root),
                documentation(root),
                dependencies(root),
            ]
        }
    }
}

fn cargo(name: &'static str, root: &Path, arguments: &[&str]) -> Step {
    Step {
        name,
        // Cargo tells the programs it runs which cargo it is; with rustup that is the pinned toolchain's.
        program: std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()),
        arguments: arguments.iter().map(OsString::from).collect(),
        variables: Vec::new(),
        folder: root.to_owned(),
        hint: "",
    }
}

/// Downloads every locked dependency for every platform, so that later steps and tests can be offline.
fn fetch(root: &Path) -> Step {
    cargo("fetch", root, &["fetch", "--locked"])
}

fn tests(root: &Path, given: &TestArguments, data: Option<OsString>) -> Step {
    let mut step = cargo("tests", root, &["test", "--locked"]);
    if !names_packages(&given.cargo) {
        step.arguments.push("--workspace".into());
    }
    step.arguments.extend(given.cargo.iter().cloned());
    if !given.harness.is_empty() {
        step.arguments.push("--".into());
        step.arguments.extend(given.harness.iter().cloned());
    }
    step.variables
        .push(("RUCHE_DATA", data.unwrap_or_else(|| data_folder(root))));
    step
}

fn golden(root: &Path, given: &TestArguments, data: Option<OsString>) -> Step {
    let mut harness = vec![OsString::from("golden")];
    harness.extend(given.harness.iter().cloned());
    let given = TestArguments {
        cargo: given.cargo.clone(),
        harness,
    };
    let mut step = tests(root, &given, data);
    step.name = "golden files";
    step.variables.push(("RUCHE_UPDATE_GOLDEN", "1".into()));
    step
}

fn format(root: &Path) -> Step {
    Step {
        hint: "To repair: cargo fmt --all",
        ..cargo("format", root, &["fmt", "--all", "--", "--check"])
    }
}

fn clippy(root: &Path) -> Step {
    let arguments = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ];
    cargo("clippy", root, &arguments)
}

fn documentation(root: &Path) -> Step {
    let mut step = cargo(
        "documentation",
        root,
        &["doc", "--workspace", "--no-deps", "--locked"],
    );
    step.variables.push(("RUSTDOCFLAGS", "-D warnings".into()));
    step
}

/// Offline, because `fetch` came first; advisories are left out for the reason in `deny.toml`.
fn dependencies(root: &Path) -> Step {
    let arguments = [
        "deny",
        "--offline",
        "--locked",
        "check",
        "licenses",
        "bans",
        "sources",
    ];
    Step {
        hint: DENY_HINT,
        ..cargo("dependencies", root, &arguments)
    }
}

/// `shared/data` beside the repository.
fn data_folder(root: &Path) -> OsString {
    root.parent()
        .unwrap_or(root)
        .join("shared")
        .join("data")
        .into_os_string()
}

/// Whether the reader chose packages, in which case `--workspace` would override the choice.
fn names_packages(arguments: &[OsString]) -> bool {
    arguments.iter().map(OsString::as_os_str).any(chooses_a_package)
}

fn chooses_a_package(argument: &OsStr) -> bool {
    argument.to_str().is_some_and(|text| {
        let short = text.starts_with("-p") && !text.starts_with("--");
        short || text == "--package" || text.starts_with("--package=")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(texts: &[&str]) -> Vec<OsString> {
        texts.iter().map(OsString::from).collect()
    }

    fn given(cargo: &[&str], harness: &[&str]) -> TestArguments {
        TestArguments {
            cargo: strings(cargo),
            harness: strings(harness),
        }
    }

    #[test]
    fn test_runs_the_locked_workspace_with_data_beside_the_repository() {
        let step = tests(Path::new("/a/ruche"), &given(&[], &[]), None);
        assert_eq!(step.arguments, strings(&["test", "--locked", "--workspace"]));
        assert_eq!(step.variables, [("RUCHE_DATA", OsString::from("/a/shared/data"))]);
    }

    #[test]
    fn a_data_folder_of_ones_own_is_kept() {
        let step = tests(Path::new("/a/ruche"), &given(&[], &[]), Some("/b/data".into()));
        assert_eq!(step.variables, [("RUCHE_DATA", OsString::from("/b/data"))]);
    }

    #[test]
    fn chosen_packages_replace_the_workspace() {
        for choice in [
            &["-p", "ruche-ledger"][..],
            &["-pruche-ledger"],
            &["--package=ruche-ledger"],
        ] {
            let step = tests(Path::new("/a/ruche"), &given(choice, &["--nocapture"]), None);
            let mut expected = vec!["test", "--locked"];
            expected.extend(choice);
            expected.extend(["--", "--nocapture"]);
            assert_eq!(step.arguments, strings(&expected));
        }
        assert!(!names_packages(&strings(&["--profile", "release", "tile"])));
    }

    #[test]
    fn golden_runs_the_golden_tests_alone_and_asks_for_rewriting() {
        let step = golden(Path::new("/a/ruche"), &given(&[], &[]), None);
        assert_eq!(
            step.arguments,
            strings(&["test", "--locked", "--workspace", "--", "golden"])
        );
        assert!(step.variables.contains(&("RUCHE_UPDATE_GOLDEN", "1".into())));
    }

    #[test]
    fn lint_covers_format_clippy_documentation_and_dependencies() {
        let names: Vec<&str> = for_command(&Command::Lint, Path::new("/a/ruche"))
            .iter()
            .map(|step| step.name)
            .collect();
        assert_eq!(
            names,
            ["fetch", "format", "clippy", "documentation", "dependencies"]
        );
    }
}
