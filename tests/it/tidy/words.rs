//! Words that no text file may contain. All are written in halves here, so that this file obeys its own rules.

use crate::repository::{TextFile, assert_none, texts};

/// The former name of `ACFEvent` (R-EVT-03). Only the upcaster, which reads old files, may know it.
const RETIRED: &str = concat!("Fabric", "Event");

/// Beginnings of paths that exist on one machine only.
const MACHINE_PATHS: [&str; 2] = [concat!("/wo", "rk/"), concat!("/ro", "ot/")];

fn retired_name(file: &TextFile) -> Vec<String> {
    if is_upcaster(&file.path) {
        return Vec::new();
    }
    let retired = RETIRED.to_lowercase();
    let lines = file.text.lines().enumerate();
    // In any spelling: a column or a module would write it with an underscore and in lower case.
    let named = lines.filter(|(_, line)| line.to_lowercase().replace('_', "").contains(&retired));
    named
        .map(|(index, _)| format!("{}:{}: {RETIRED}", file.path, index + 1))
        .collect()
}

/// The upcaster of the domain, `upcast.rs` or a folder of that name, with its tests and fixtures.
fn is_upcaster(path: &str) -> bool {
    path.split('/')
        .any(|part| matches!(part, "upcast" | "upcaster" | "upcast.rs" | "upcaster.rs"))
}

fn machine_paths(file: &TextFile) -> Vec<String> {
    let mut findings = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        for path in MACHINE_PATHS {
            // In the middle of a longer path it is an ordinary folder's name.
            let starts_a_path = |at: usize| {
                let before = line[..at].chars().next_back();
                !before.is_some_and(|letter| letter.is_alphanumeric() || "._-}>~*".contains(letter))
            };
            if line.match_indices(path).any(|(at, _)| starts_a_path(at)) {
                findings.push(format!("{}:{}: {path}", file.path, index + 1));
            }
        }
    }
    findings
}

#[test]
fn the_retired_name_is_gone() {
    let findings: Vec<String> = texts().iter().flat_map(retired_name).collect();
    assert_none("say ACFEvent", &findings);
}

#[test]
fn nothing_names_a_place_on_one_machine() {
    let findings: Vec<String> = texts().iter().flat_map(machine_paths).collect();
    assert_none("say it relative to the repository", &findings);
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
    fn the_retired_name_is_caught_in_any_spelling_outside_the_upcaster() {
        for name in [RETIRED, concat!("fabric_", "event"), concat!("FABRIC_", "EVENTS")] {
            let text = format!("ok\nenum {name};");
            assert_eq!(
                retired_name(&file("api/src/a.rs", &text)),
                [format!("api/src/a.rs:2: {RETIRED}")]
            );
            for upcaster in ["domain/src/upcast.rs", "domain/src/upcast/tests.rs"] {
                assert_eq!(retired_name(&file(upcaster, &text)), Vec::<String>::new());
            }
        }
        assert_eq!(
            retired_name(&file("a.md", "the conversation fabric, an event")),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_machine_path_is_caught() {
        for path in MACHINE_PATHS {
            for before in ["", "in `", "file://", "PATH=", "(", "a:"] {
                let text = format!("ok\n{before}{path}x");
                assert_eq!(machine_paths(&file("a.md", &text)), [format!("a.md:2: {path}")]);
            }
            for before in ["a", "https://example.org", "${HOME}", "<folder>", ".."] {
                assert_eq!(
                    machine_paths(&file("a.md", &format!("{before}{path}x"))),
                    Vec::<String>::new()
                );
            }
        }
    }
}
