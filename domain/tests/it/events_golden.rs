//! `docs/events`: the schemas as published, their index, and the lock of what was released.
//!
//! `RUCHE_UPDATE_GOLDEN=1` writes the schemas and the index anew. `RUCHE_RELEASE_SCHEMAS=1` adds the current versions
//! to the lock; what stands there is never rewritten.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use ruche_domain::event::{CATALOGUE, EventDescriptor};
use ruche_domain::numbers::SchemaVersion;
use ruche_domain::schema_compat::{differences, without_annotations};
use ruche_domain::upcast::{UPCASTERS, schema_at};
use serde_json::Value;

const INDEX: &str = "README.md";
const LOCK: &str = "released.json";

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/events")
}

fn file_name(event_type: &str, version: SchemaVersion) -> String {
    format!("{event_type}.v{version}.json")
}

#[allow(clippy::disallowed_methods, reason = "golden files")]
fn stored(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap_or_default()
}

#[allow(clippy::disallowed_methods, reason = "golden files")]
fn store(name: &str, text: &str) {
    std::fs::write(folder().join(name), text).expect("golden file is writable");
}

#[allow(clippy::disallowed_methods, reason = "golden files")]
fn asked(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| value == "1")
}

fn names_on_disk() -> Vec<String> {
    let entries = std::fs::read_dir(folder()).expect("docs/events exists");
    entries
        .map(|entry| {
            entry
                .expect("readable folder")
                .file_name()
                .into_string()
                .expect("UTF-8 name")
        })
        .collect()
}

/// Every version that was ever written, current and old: file name and schema.
fn schemas() -> BTreeMap<String, Value> {
    let current = CATALOGUE
        .iter()
        .map(|d| (file_name(d.event_type, d.schema_version), (d.schema)()));
    let old = UPCASTERS
        .iter()
        .map(|step| (file_name(step.event_type, step.from), (step.schema)()));
    old.chain(current).collect()
}

fn golden() -> BTreeMap<String, String> {
    let mut files: BTreeMap<String, String> = schemas()
        .into_iter()
        .map(|(name, schema)| (name, serde_json::to_string_pretty(&schema).expect("JSON") + "\n"))
        .collect();
    files.insert(INDEX.to_owned(), index());
    files
}

fn index() -> String {
    let mut text = "# Event types\n\n\
        Generated from `domain/src/events`; `RUCHE_UPDATE_GOLDEN=1 cargo test -p ruche-domain` writes it anew.\n\n\
        Writers: *client* types may be appended by clients, *command* types are written by commands alone, *system* types by\n\
        Ruche itself. Each type can also stand as `sim.<type>` in a simulation, written by Ruche alone. The envelope around\n\
        every event is described in `docs/formats/record.md`. `released.json` locks the schemas that were released: any\n\
        difference except words for people needs a new version and an upcaster.\n\n\
        | type | version | writer | what happened |\n| --- | --- | --- | --- |\n"
        .to_owned();
    for EventDescriptor {
        event_type,
        schema_version,
        writer,
        schema,
        ..
    } in CATALOGUE
    {
        let schema = schema();
        let description = schema["description"]
            .as_str()
            .expect("every payload has a doc comment")
            .replace('\n', " ");
        let file = file_name(event_type, *schema_version);
        writeln!(
            text,
            "| [`{event_type}`]({file}) | {schema_version} | {writer} | {description} |"
        )
        .expect("text");
    }
    text
}

#[test]
fn the_published_schemas_are_those_of_the_code() {
    let golden = golden();
    if asked("RUCHE_UPDATE_GOLDEN") {
        golden.iter().for_each(|(name, text)| store(name, text));
    }
    let stale: Vec<&str> = golden
        .iter()
        .filter(|(name, text)| stored(name) != **text)
        .map(|(name, _)| name.as_str())
        .collect();
    assert!(
        stale.is_empty(),
        "docs/events differs from the code: {stale:?}. Look at the difference, then run with RUCHE_UPDATE_GOLDEN=1"
    );
    let strangers: Vec<String> = names_on_disk()
        .into_iter()
        .filter(|name| name != LOCK && !golden.contains_key(name))
        .collect();
    assert!(
        strangers.is_empty(),
        "docs/events has files of no event type: {strangers:?}"
    );
}

#[test]
fn released_schemas_do_not_change() {
    let mut lock: BTreeMap<String, Value> = match stored(LOCK) {
        empty if empty.is_empty() => BTreeMap::new(),
        text => serde_json::from_str(&text).expect("released.json is an object"),
    };
    if asked("RUCHE_RELEASE_SCHEMAS") {
        for (name, schema) in schemas() {
            lock.entry(name).or_insert_with(|| without_annotations(&schema));
        }
        let lines: Vec<String> = lock
            .iter()
            .map(|(name, schema)| format!("\"{name}\":{schema}"))
            .collect();
        store(LOCK, &format!("{{\n{}\n}}\n", lines.join(",\n")));
    }
    let current = schemas();
    let mut found = Vec::new();
    for (name, released) in &lock {
        match current.get(name) {
            None => found.push(format!(
                "{name}: a released version is gone; keep it with an upcaster"
            )),
            Some(schema) => found.extend(
                differences(released, schema)
                    .iter()
                    .map(|d| format!("{name}: {d}")),
            ),
        }
    }
    assert!(
        found.is_empty(),
        "released schemas changed; give the type a new version and an upcaster (domain/src/upcast.rs), or, if no \
         release of Ruche ever carried it, take its line out of docs/events/released.json and run with \
         RUCHE_RELEASE_SCHEMAS=1:\n{}",
        found.join("\n")
    );
}

#[test]
fn every_old_version_has_a_step_and_a_schema() {
    for descriptor in CATALOGUE {
        for version in 1..descriptor.schema_version.0 {
            let schema = schema_at(descriptor.event_type, SchemaVersion(version));
            let schema =
                schema.unwrap_or_else(|| panic!("{} v{version} has no upcaster", descriptor.event_type));
            assert_eq!(schema["title"], descriptor.event_type);
        }
    }
    for step in UPCASTERS {
        let descriptor = ruche_domain::event::descriptor(step.event_type).expect("a type of the catalogue");
        assert!(
            step.from < descriptor.schema_version,
            "{} lifts a version that is not old",
            step.event_type
        );
    }
}

#[test]
fn every_type_and_field_is_described() {
    fn look(schema: &Value, at: &str, missing: &mut Vec<String>) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let at = format!("{at}/{name}");
            if property["description"].as_str().is_none_or(str::is_empty) {
                missing.push(at.clone());
            }
            look(property, &at, missing);
            look(&property["items"], &at, missing);
        }
        for choice in schema["anyOf"].as_array().into_iter().flatten() {
            look(choice, at, missing);
        }
    }
    let mut missing = Vec::new();
    for (name, schema) in schemas() {
        if schema["description"].as_str().is_none_or(str::is_empty) {
            missing.push(name.clone());
        }
        look(&schema, &name, &mut missing);
    }
    assert!(missing.is_empty(), "no description: {missing:?}");
}
