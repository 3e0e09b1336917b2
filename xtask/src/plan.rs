//! Which steps each command consists of.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::arguments::{Command, SoakArguments, TestArguments};
use crate::steps::Step;

const DENY_HINT: &str = "If cargo-deny itself is missing: cargo install --locked --version 0.20.2 cargo-deny";
const PYTHON_HINT: &str =
    "The second verifier needs Python 3.11 or newer as `python3`: https://www.python.org";
const CLIENTS_HINT: &str =
    "The clients need Python 3.11 or newer with venv, and Node.js 20 or newer with npm";
const NODE_HINT: &str = "The audit needs Node.js 20 or newer with npm: https://nodejs.org";

const BROWSER_HINT: &str =
    "The check needs Node.js 20 or newer with npm, and Chromium as `chromium` in the path or in CHROMIUM";

/// The steps of a command; tests find a PostgreSQL at `postgres`. Reads the environment, runs nothing.
pub fn for_command(command: &Command, root: &Path, postgres: Option<&str>) -> Vec<Step> {
    let data = std::env::var_os("RUCHE_DATA");
    match command {
        Command::Test(arguments) => {
            let mut tests = tests(root, arguments, data);
            tests
                .variables
                .extend(postgres.map(|url| ("RUCHE_TEST_POSTGRES", url.into())));
            let mut steps = vec![fetch(root), tests];
            // Who chooses packages or tests wants those alone.
            if arguments.cargo.is_empty() && arguments.harness.is_empty() {
                steps.push(on_postgres(root, arguments, &steps[1]));
                steps.push(python_verifier(root));
                let has_node = audit_runs(find("node"), is_ci());
                steps.extend(graphql_audit(root, has_node));
                steps.extend(otlp_clients(root, has_node));
                steps.extend(console(root, audit_runs(has_node && find("chromium"), is_ci())));
                steps.extend(table_readers(root, has_node));
            }
            steps
        }
        Command::Golden(arguments) => vec![fetch(root), golden(root, arguments, data)],
        Command::Soak(arguments) => {
            let mut steps = vec![fetch(root)];
            steps.extend(soak_steps(root, arguments, postgres));
            steps
        }
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
    step.variables.push((TEST_THREADS, test_threads()));
    step
}

/// How many tests run at a time.
const TEST_THREADS: &str = "RUST_TEST_THREADS";

/// Tests of whole systems wait for servers and for disks while they do not compute, so there is one more than the machine has
/// cores. Who has set a number keeps it.
fn test_threads() -> OsString {
    std::env::var_os(TEST_THREADS).unwrap_or_else(|| {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        (cores + 1).to_string().into()
    })
}

/// Whole-system tests that say nothing of an engine's files, once more with PostgreSQL below the same program. The others
/// have PostgreSQL of themselves (`nodes`, `crowded`, `restore`, `postgres`, where also the power cuts, faults and full disks
/// of that engine are), ask no engine (`command_line`, `documents`), or count commits in the files of SQLite (`refusals`).
const ON_EVERY_ENGINE: [&str; 18] = [
    "graphql::",
    "lanes::",
    "scenarios::",
    "approvals::",
    "live::",
    "steps::",
    "replay::",
    "http::",
    "console::",
    "otlp::",
    "websocket::",
    "tenants::",
    "import::",
    "metrics::",
    "publishing::",
    "verification::",
    "parked::",
    "kill::",
];

fn on_postgres(root: &Path, given: &TestArguments, tests: &Step) -> Step {
    // Of the whole workspace, so that nothing is compiled again with other features.
    let it = ["test", "--locked", "--workspace", "--test", "it"];
    let mut step = cargo("tests on postgres", root, &it);
    step.arguments.extend(given.cargo.iter().cloned());
    step.arguments.push("--".into());
    step.arguments.extend(ON_EVERY_ENGINE.map(OsString::from));
    // It asks the verifiers alone.
    step.arguments
        .extend(["--skip", "verification::generated"].map(OsString::from));
    step.variables.clone_from(&tests.variables);
    step.variables.push(("RUCHE_TEST_ENGINE", "postgres".into()));
    step
}

/// The tests of the second verifier of exports, which is documentation that runs. Standard library only.
fn python_verifier(root: &Path) -> Step {
    Step {
        name: "python verifier",
        program: "python3".into(),
        arguments: vec!["docs/formats/verify_test.py".into()],
        variables: vec![("PYTHONDONTWRITEBYTECODE", "1".into())],
        folder: root.to_owned(),
        hint: PYTHON_HINT,
    }
}

/// The audits of the npm package graphql-http against a server that the script starts and ends.
fn graphql_audit(root: &Path, runs: bool) -> Vec<Step> {
    if !runs {
        eprintln!("skipped: graphql audit, node is absent");
        return Vec::new();
    }
    let folder = root.join("tests").join("graphql-http");
    vec![
        npm_packages("npm packages", &folder),
        Step {
            name: "graphql audit",
            program: "node".into(),
            arguments: vec!["audit.mjs".into(), built_ruche(root)],
            variables: Vec::new(),
            folder,
            hint: NODE_HINT,
        },
    ]
}

fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

/// The program that the whole-system tests run, and that these built: `ruche` by another name (tests/src). Building `ruche` itself
/// once more would take minutes.
fn built_ruche(root: &Path) -> OsString {
    let name = format!("ruche-under-test{}", std::env::consts::EXE_SUFFIX);
    target(root).join("debug").join(name).into_os_string()
}

fn npm_packages(name: &'static str, folder: &Path) -> Step {
    Step {
        name,
        program: "npm".into(),
        arguments: vec!["ci".into(), "--no-audit".into(), "--no-fund".into()],
        variables: Vec::new(),
        folder: folder.to_owned(),
        hint: NODE_HINT,
    }
}

/// Three agents of other people's SDKs that send their telemetry to a server which the script starts and ends.
fn otlp_clients(root: &Path, runs: bool) -> Vec<Step> {
    if !runs {
        eprintln!("skipped: otlp clients, node is absent");
        return Vec::new();
    }
    let folder = root.join("tests").join("otlp-clients");
    let packages = target(root).join("otlp-clients");
    let python = packages.join("bin").join("python").into_os_string();
    let step = |name, program: OsString, arguments: Vec<OsString>| Step {
        name,
        program,
        arguments,
        variables: vec![("PYTHONDONTWRITEBYTECODE", "1".into())],
        folder: folder.clone(),
        hint: CLIENTS_HINT,
    };
    let install = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "-r",
        "requirements.txt",
    ];
    vec![
        step(
            "python of clients",
            "python3".into(),
            vec!["-m".into(), "venv".into(), packages.into_os_string()],
        ),
        step(
            "python packages",
            python.clone(),
            install.map(OsString::from).to_vec(),
        ),
        npm_packages("npm packages of clients", &folder),
        step(
            "otlp clients",
            "python3".into(),
            vec!["check.py".into(), built_ruche(root), python],
        ),
    ]
}

/// The pages for people in a real browser, which looks at a server that the script starts and ends.
fn console(root: &Path, runs: bool) -> Vec<Step> {
    if !runs {
        eprintln!("skipped: console, node or chromium is absent");
        return Vec::new();
    }
    let folder = root.join("tests").join("console");
    vec![
        npm_packages("npm packages of console", &folder),
        Step {
            name: "console",
            program: "node".into(),
            arguments: vec!["check.mjs".into(), built_ruche(root)],
            variables: Vec::new(),
            folder,
            hint: BROWSER_HINT,
        },
    ]
}

/// Programs of other people that read exported tables. Behind the clients, in whose Python they are installed.
fn table_readers(root: &Path, runs: bool) -> Vec<Step> {
    if !runs {
        eprintln!("skipped: table readers, node is absent, and so is the Python of clients");
        return Vec::new();
    }
    let python = target(root).join("otlp-clients").join("bin").join("python");
    let step = |name, arguments: Vec<OsString>| Step {
        name,
        program: python.clone().into_os_string(),
        arguments,
        variables: vec![("PYTHONDONTWRITEBYTECODE", "1".into())],
        folder: root.join("tests").join("table-readers"),
        hint: CLIENTS_HINT,
    };
    let install = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "-r",
        "requirements.txt",
    ];
    vec![
        step("packages of table readers", install.map(OsString::from).to_vec()),
        step("table readers", vec!["check.py".into(), built_ruche(root)]),
    ]
}

/// In continuous integration the audit always runs, and fails where node is missing.
const fn audit_runs(has_node: bool, is_ci: bool) -> bool {
    has_node || is_ci
}

/// Whether a program is in the path.
fn find(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let name = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    std::env::split_paths(&path).any(|folder| folder.join(&name).is_file())
}

fn is_ci() -> bool {
    std::env::var_os("CI").is_some_and(|ci| ci == "true")
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

/// Servers and clusters are expensive to make: there is no step for nothing.
fn soak_steps(root: &Path, soak: &SoakArguments, postgres: Option<&str>) -> Vec<Step> {
    let steps = [
        ("kills", "kill::", "RUCHE_SOAK_KILLS", soak.kills),
        ("power cuts", "power_cut::", "RUCHE_SOAK_CUTS", soak.cuts),
        (
            "node kills",
            "nodes::conformance_2",
            "RUCHE_SOAK_NODE_KILLS",
            soak.node_kills,
        ),
        (
            "postgres kills",
            "postgres::crash::",
            "RUCHE_SOAK_POSTGRES_KILLS",
            soak.postgres_kills,
        ),
        (
            "postgres power cuts",
            "postgres::lost_writes::",
            "RUCHE_SOAK_POSTGRES_CUTS",
            soak.postgres_cuts,
        ),
        (
            "failovers",
            "postgres::failover::",
            "RUCHE_SOAK_FAILOVERS",
            soak.failovers,
        ),
        (
            "outages",
            "postgres::outage::",
            "RUCHE_SOAK_OUTAGE_SECONDS",
            soak.outage_seconds,
        ),
        (
            "stuck projections",
            "postgres::projections::",
            "RUCHE_SOAK_OUTAGE_SECONDS",
            soak.outage_seconds,
        ),
        (
            "rebuild under load",
            "scenarios::rebuilding::",
            "RUCHE_SOAK_REBUILD_RECORDS",
            soak.rebuild_records,
        ),
    ];
    steps
        .into_iter()
        .filter(|(.., count)| *count > 0)
        .map(|(name, tests, variable, count)| {
            let mut step = soak_step(name, root, tests, variable, count);
            step.variables
                .extend(postgres.map(|url| ("RUCHE_TEST_POSTGRES", url.into())));
            step
        })
        .collect()
}

fn soak_step(name: &'static str, root: &Path, tests: &str, variable: &'static str, count: u64) -> Step {
    let mut step = cargo(
        name,
        root,
        &[
            "test",
            "--locked",
            "-p",
            "ruche-tests",
            tests,
            "--",
            "--nocapture",
        ],
    );
    step.variables.push((variable, count.to_string().into()));
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
        assert_eq!(
            step.variables[0],
            ("RUCHE_DATA", OsString::from("/a/shared/data"))
        );
    }

    #[test]
    fn a_data_folder_of_ones_own_is_kept() {
        let step = tests(Path::new("/a/ruche"), &given(&[], &[]), Some("/b/data".into()));
        assert_eq!(step.variables[0], ("RUCHE_DATA", OsString::from("/b/data")));
    }

    #[test]
    fn the_python_verifier_is_tested_with_everything_and_not_with_chosen_tests() {
        let has_it = |given: TestArguments| {
            let steps = for_command(&Command::Test(given), Path::new("/a/ruche"), None);
            steps.iter().any(|step| step.name == "python verifier")
        };
        assert!(has_it(given(&[], &[])));
        assert!(!has_it(given(&["-p", "ruche-ledger"], &[])));
        assert!(!has_it(given(&[], &["tile"])));
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
    fn the_audit_never_goes_missing_in_ci() {
        let names: Vec<&str> = graphql_audit(Path::new("/a"), true)
            .iter()
            .map(|step| step.name)
            .collect();
        assert_eq!(names, ["npm packages", "graphql audit"]);
        let clients = otlp_clients(Path::new("/a"), true);
        assert_eq!(clients.last().map(|step| step.name), Some("otlp clients"));
        let console = console(Path::new("/a"), true);
        assert_eq!(console.last().map(|step| step.name), Some("console"));
        let readers = table_readers(Path::new("/a"), true);
        assert_eq!(readers.last().map(|step| step.name), Some("table readers"));
        assert!(audit_runs(false, true) && audit_runs(true, false) && !audit_runs(false, false));
    }

    #[test]
    fn chosen_tests_are_run_alone() {
        let chosen = Command::Test(given(&["-p", "xtask"], &[]));
        assert_eq!(for_command(&chosen, Path::new("/a"), None).len(), 2);
    }

    #[test]
    fn a_soak_has_no_step_for_what_is_not_asked_for() {
        let names = |failovers, outage_seconds| -> Vec<&str> {
            let soak = SoakArguments {
                kills: 1,
                cuts: 0,
                node_kills: 0,
                postgres_kills: 2,
                postgres_cuts: 0,
                failovers,
                outage_seconds,
                rebuild_records: 0,
            };
            let steps = for_command(&Command::Soak(soak), Path::new("/a"), None);
            steps.iter().map(|step| step.name).collect()
        };
        assert_eq!(names(0, 0), ["fetch", "kills", "postgres kills"]);
        assert_eq!(names(3, 0).last(), Some(&"failovers"));
        assert_eq!(names(0, 30)[3..], ["outages", "stuck projections"]);
    }

    #[test]
    fn lint_covers_format_clippy_documentation_and_dependencies() {
        let names: Vec<&str> = for_command(&Command::Lint, Path::new("/a/ruche"), None)
            .iter()
            .map(|step| step.name)
            .collect();
        assert_eq!(
            names,
            ["fetch", "format", "clippy", "documentation", "dependencies"]
        );
    }
}
