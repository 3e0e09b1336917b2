use std::path::Path;

use super::Engine;

/// The schema is a promise to clients: a change of it is a visible change of a file.
#[test]
fn golden_schema() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema.graphql");
    let schema = Engine::sdl();
    if std::env::var_os("RUCHE_UPDATE_GOLDEN").is_some_and(|update| update == "1") {
        std::fs::write(&path, &schema).expect("the golden file can be written");
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        schema == golden,
        "api/schema.graphql is not the schema; rewrite it with `cargo xtask golden -- schema` and look at what changed"
    );
}

#[test]
fn every_field_and_type_says_what_it_is() {
    let schema = Engine::sdl();
    let types = ["type ", "enum ", "union ", "interface ", "input ", "scalar "];
    let mut before = "";
    let mut silent = Vec::new();
    for line in schema.lines() {
        let declares = types.iter().any(|kind| line.starts_with(kind));
        if declares && !before.ends_with('"') {
            silent.push(line);
        }
        before = line;
    }
    // Those that the library brings.
    silent
        .retain(|line| !line.contains("PageInfo") && !line.contains("Connection") && !line.contains("Edge"));
    assert!(silent.is_empty(), "{silent:#?}");
}
