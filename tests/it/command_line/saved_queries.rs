//! Questions that are saved: on the store itself, and through a server.

use ruche_tests::server::{Home, caught_up};
use serde_json::json;

use super::RUCHE;

const COSTS: [&str; 9] = [
    "COST",
    "--by",
    "agent,model",
    "--bucket",
    "day",
    "--from",
    "2020-01-01",
    "--to",
    "2040-01-01",
];

#[test]
fn questions_are_saved_asked_listed_and_dropped() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = Home::new(RUCHE, folder.path());
    home.run(&["seed", "--tenant", "demo", "--sessions", "3"])
        .expect("seeded");
    let key = home.new_key("demo", &["reader", "writer"]).expect("a key");
    // The store itself brings its read models up to date before it answers.
    the_whole_way(&home, &["--tenant", "demo"], &|| ());
    let server = home.serve().expect("the server starts");
    let client = reqwest::blocking::Client::new();
    the_whole_way(&home, &["--server", &server.url, "--key", &key], &|| {
        caught_up(&client, &server.url, &key).expect("the read models catch up");
    });
    assert!(server.stop().expect("it can be stopped"));
}

fn line<'a>(arguments: &[&'a str], place: &[&'a str]) -> Vec<&'a str> {
    [&["query"], arguments, place].concat()
}

fn the_whole_way(home: &Home, place: &[&str], caught_up: &dyn Fn()) {
    let ask = |arguments: &[&str]| home.run(&line(arguments, place)).expect("an answer");
    let refused = |arguments: &[&str], words: &str| {
        let end = home.end_of(&line(arguments, place)).expect("it ends");
        assert!(
            end.code == Some(1) && end.said.contains(words),
            "{words} is not in {}",
            end.said
        );
    };
    let stand = |expected: &[&str]| {
        caught_up();
        let listed = ask(&["--list-saved"]);
        let names = listed.as_array().expect("a list").iter();
        let names: Vec<&str> = names.map(|one| one["name"].as_str().expect("a name")).collect();
        assert_eq!(names, expected);
    };

    let saved = ask(&[&COSTS[..], &["--save", "costs"]].concat());
    assert_eq!(saved["unchanged"], false, "{saved}");
    stand(&["costs"]);
    let again = ask(&[&COSTS[..], &["--save", "costs"]].concat());
    assert_eq!(
        (&again["unchanged"], &again["position"]),
        (&json!(true), &saved["position"])
    );
    let direct = ask(&COSTS);
    assert!(
        direct["rows"].as_array().is_some_and(|rows| !rows.is_empty()),
        "{direct}"
    );
    assert_eq!(ask(&["--saved", "costs"]), direct);

    let month = [
        "TURNS",
        "--by",
        "outcome",
        "--where",
        "channel=web",
        "--bucket",
        "week",
    ];
    ask(&[&month[..], &["--save", "turns of a month"]].concat());
    stand(&["costs", "turns of a month"]);
    let listed = ask(&["--list-saved"]);
    let query = json!({ "metric": "TURNS", "groupBy": ["OUTCOME"], "filter": { "channel": "web" }, "bucket": "WEEK",
        "last": 35 * 86_400 });
    assert_eq!(
        (&listed[1]["query"], &listed[0]["position"]),
        (&query, &saved["position"])
    );
    // Without a time a question is about the last thirty days, saved or not.
    assert_eq!(ask(&["--saved", "turns of a month"]), ask(&month));
    let before = ask(&["--saved", "turns of a month", "--at", "2001-01-01"]);
    assert_eq!(before["rows"], json!([]));

    refused(
        &["COST", "--by", "tool", "--save", "wrong"],
        "has TOOL, which COST does not have",
    );
    refused(
        &["COST", "--last", "90m", "--bucket", "hour", "--save", "wrong"],
        "no full number of HOURs",
    );
    refused(
        &["COST", "--last", "90m", "--bucket", "hour"],
        "no full number of HOURs",
    );
    refused(&["--saved", "wrong"], "no query is saved as wrong");
    refused(&["--saved", "costs", "--by", "agent"], "cannot be used with");
    for name in ["costs", "turns of a month"] {
        ask(&["--drop", name]);
    }
    stand(&[]);
    refused(&["--drop", "costs"], "no query is saved as costs");
}
