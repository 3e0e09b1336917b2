//! Updates of memory through the real binary: the old truth before, the new truth after, and each fact leads to what was said.

use std::fs;

use reqwest::blocking::Client;
use ruche_tests::data;
use ruche_tests::server::{Home, caught_up};
use serde_json::{Value, json};

use super::{PROGRAM, Reader, counted};

const SOURCE: &str = "letta-core-memory-update/core_memory_update.jsonl";

const FACTS: &str = "query ($about: ID!) { facts(filter: { about: $about }, first: 20) { nodes {
    recordId position content status endedBy { reason byRecordId detail } restsOn { nodes { record { type payload } } } } } }";
const TRUTHS: &str = "query ($about: ID!, $before: Position!) {
    before: memory(about: $about, knownAt: { position: $before }) { nodes { content } }
    heldBefore: memory(about: $about, validAt: \"2000-01-01T00:00:00Z\") { nodes { content } }
    now: memory(about: $about) { nodes { content } } }";

#[test]
fn updates_of_memory_are_imported_with_both_truths() {
    let Some(file) = data::file(SOURCE) else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = Home::new(PROGRAM, folder.path());
    let path = file.to_str().expect("a path in UTF-8");
    let arguments = ["import", "--tenant", "acme", "--format", "letta", path];
    let first = home.run(&arguments).expect("an import");
    let again = home.end_of(&arguments).expect("a second import");
    assert_eq!(
        (again.code, &again.json["total"]["appended"]),
        (Some(0), &json!(0)),
        "{again:?}"
    );
    assert_eq!(again.json["total"]["duplicates"], first["total"]["appended"]);

    let key = home.new_key("acme", &["reader"]).expect("a key");
    let server = home.serve().expect("the server starts");
    let there = Reader {
        client: Client::new(),
        server,
        key,
    };
    caught_up(&there.client, &there.server.url, &there.key).expect("the read models catch up");
    let text = fs::read_to_string(&file).expect("the source");
    let (mut rows, mut facts) = (0, 0);
    for (line, row) in (1..).zip(text.lines()) {
        let row: Value = serde_json::from_str(row).expect("JSON");
        facts += check_row(
            &there,
            &format!("core_memory_update/{line}"),
            &row["agent_args"]["extra"],
        );
        rows += 1;
    }
    let taken_back = there.ask("{ invalidatedFacts { reason facts } }", Value::Null);
    let taken_back = taken_back["invalidatedFacts"].as_array().expect("counts").iter();
    let taken_back = taken_back.map(|count| {
        count["facts"]
            .as_str()
            .expect("a Long")
            .parse::<u64>()
            .expect("digits")
    });
    // The script needs a mapping for other formats; this one has no tools.
    let mapping = data::of_repository("docs/import/tau2-mock.json");
    let counts = counted("letta", &file, &mapping);
    assert_eq!(
        json!({ "rows": rows, "facts": facts, "takenBack": taken_back.sum::<u64>() }),
        counts
    );
    assert_eq!((&first["total"]["sessions"], rows), (&counts["rows"], 1_100));
}

/// Checks what is known about a line against the line itself. Gives the number of its facts.
fn check_row(there: &Reader, about: &str, extra: &Value) -> usize {
    let texts = |list: &Value| list.as_array().expect("a list").clone();
    let mut said = texts(&extra["facts"]);
    let supporting: Vec<u64> = texts(&extra["supporting_fact_indices"])
        .iter()
        .map(|index| index.as_u64().expect("an index"))
        .collect();
    let contradicting = extra["contradicting_fact"].as_str().expect("a statement");
    let inner = contradicting
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    let new = inner
        .filter(|inner| !inner.contains('"'))
        .unwrap_or(contradicting);

    let found = texts(&there.ask(FACTS, json!({ "about": about }))["facts"]["nodes"]);
    let old = said.clone();
    said.push(json!(contradicting));
    assert_eq!(found.len(), said.len(), "{about}");
    for (number, (fact, statement)) in found.iter().zip(&said).enumerate() {
        assert_eq!(fact["recordId"], number.to_string(), "{about}: {fact}");
        let source = &fact["restsOn"]["nodes"][0]["record"];
        assert_eq!(
            (&source["type"], &source["payload"]["text"]),
            (&json!("message.received"), statement),
            "{about}: {fact}"
        );
        let expected = match (supporting.contains(&(number as u64)), supporting.len()) {
            (false, _) => json!(null),
            (true, 1) => json!("CONTRADICTED"),
            (true, _) => json!("OTHER"),
        };
        assert_eq!(fact["endedBy"]["reason"], expected, "{about}: {fact}");
    }

    let position = found[old.len()]["position"].as_str().expect("a position");
    let (epoch, index) = position.split_once(':').expect("epoch and index");
    let before = format!("{epoch}:{}", index.parse::<u64>().expect("digits") - 1);
    let truths = there.ask(TRUTHS, json!({ "about": about, "before": before }));
    let contents = |name: &str| -> Vec<Value> {
        let facts = texts(&truths[name]["nodes"]);
        facts.iter().map(|fact| fact["content"].clone()).collect()
    };
    assert_eq!(contents("before"), old, "{about}, before");
    assert_eq!(contents("heldBefore"), old, "{about}, what held before");
    let kept = (0..).zip(old).filter(|(number, _)| !supporting.contains(number));
    let now: Vec<Value> = kept.map(|(_, fact)| fact).chain([json!(new)]).collect();
    assert_eq!(contents("now"), now, "{about}, now");
    found.len()
}
