//! Credentials are many, a person is one: who asked does not decide under another of them.

use serde_json::{Value, json};

use super::World;

#[test]
fn whoever_asked_does_not_decide_under_another_credential() {
    let world = World::whose_agent_is(&["--user", "alice"]);
    world.register();
    let asked = world.request_on("api");
    let me = world.ask(&world.agent, "{ me { user } }", json!({}));
    assert_eq!(me["me"]["user"], "alice", "{me}");
    let (_, shown) = world.approvals(&["show", &asked.id]);
    let view = shown["view"].as_str().expect("a view");
    assert!(view.contains("\nasked for by: alice\n"), "{view}");
    let query = "query ($id: ID!) { approval(id: $id) { state requestedByUser } }";
    let approval = |id: &str| world.ask(&world.desk, query, json!({ "id": id }))["approval"].clone();

    // The key of the desk names nobody, and alice's own key signs.
    let (code, voted) = world.approvals(&["approve", &asked.id]);
    assert_eq!(
        (code, &voted["refusal"]),
        (Some(1), &json!("REQUESTER")),
        "{voted}"
    );
    let stands = json!({ "state": "REQUESTED", "requestedByUser": "alice" });
    assert_eq!(approval(&asked.id), stands);
    let refused = world.start("run", &asked);
    assert_eq!(refused["code"], "ILLEGAL_TRANSITION", "{refused}");

    let (folder, home, key) = world.export();
    let keys = home.run(&["keys", "list", "--tenant", "acme"]).expect("a list");
    let users: Vec<&Value> = keys
        .as_array()
        .expect("keys")
        .iter()
        .map(|key| &key["user"])
        .collect();
    assert_eq!(users, [&json!("alice"), &Value::Null, &Value::Null]);
    let export = folder.path().join("export");
    let export = export.to_str().expect("a path in UTF-8");
    let report = home.run(&["verify", export, "--key", &key]).expect("it verifies");
    assert_eq!(report["findings"], json!([]), "{report}");
    let told = super::script(export, &asked.id, &key).expect("it verifies");
    assert!(
        told.contains(r#""outcome": "requested", "reviewer": null"#),
        "{told}"
    );
}

#[test]
fn another_person_decides() {
    let world = World::whose_agent_is(&["--user", "carol"]);
    world.register();
    let asked = world.request_on("api");
    let (_, voted) = world.approvals(&["approve", &asked.id]);
    assert_eq!(voted["outcome"], "APPROVED", "{voted}");
    let started = world.start("run", &asked);
    assert!(started["permit"].is_object(), "{started}");

    let (folder, home, key) = world.export();
    let export = folder.path().join("export");
    let export = export.to_str().expect("a path in UTF-8");
    let report = home.run(&["verify", export, "--key", &key]).expect("it verifies");
    assert_eq!(report["findings"], json!([]), "{report}");
    let told = super::script(export, &asked.id, &key).expect("it verifies");
    assert!(
        told.contains(r#""outcome": "used", "reviewer": "alice""#),
        "{told}"
    );

    // What it reads anybody can read.
    let records = super::program("docs/formats/records.py", &[export, &key]).expect("it reads them");
    let read = |line: &str| serde_json::from_str(line).expect("JSON");
    let records: Vec<Value> = records.lines().map(read).collect();
    assert_eq!(json!(records.len()), report["records"], "{report}");
    let asked = records
        .iter()
        .filter(|record| record["type"] == "approval.requested");
    let asked: Vec<&Value> = asked.map(|record| &record["said"]["requested_by"]).collect();
    assert_eq!(asked, [&json!("carol")]);
}

/// Users are named as reviewers are.
#[test]
fn a_user_has_a_name_that_a_reviewer_could_have() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = ruche_tests::server::Home::new(super::PROGRAM, folder.path());
    for user in ["", "a\nb", &"x".repeat(256)] {
        let new = [
            "keys", "new", "--tenant", "acme", "--role", "reader", "--user", user,
        ];
        let ended = home.end_of(&new).expect("it starts");
        assert_eq!(ended.code, Some(1), "{user:?}: {}", ended.said);
        assert!(
            ended.said.contains("a user is named in 1 to 255 bytes"),
            "{}",
            ended.said
        );
    }
}
