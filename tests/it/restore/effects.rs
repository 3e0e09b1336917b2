//! what was started before the backup and reported after it has no result in what is restored, and somebody has to
//! ask the tools. What was reported before is not asked for again.

use serde_json::{Value, json};

use super::text;
use crate::scenarios::world::{Outside, World, lane};

#[test]
fn a_restore_lists_the_effects_that_were_started_and_have_no_result() {
    let (world, mut outside) = (World::new(), Outside::default());
    world.register("send_parcel", "IDEMPOTENT", None);
    world.register("look_up", "PURE", None);
    let lane = lane("ann", "web");
    world.session(&lane);
    let worker = world.turn(&lane, "m-1", "send two, please");
    world.run(&mut outside, &worker, "send_parcel", "reported");
    let looked_up = world.propose(&worker, "look_up", "changes nothing");
    world.start(&worker, &looked_up);
    let call = world.propose(&worker, "send_parcel", "in the backup");
    let started = world.start(&worker, &call);
    let never = world.propose(&worker, "send_parcel", "never started");
    assert_eq!(never["deduplicated"], false, "{never}");
    let backup = world.folder().join("in-the-middle.backup");
    let run = |world: &World, arguments: &[&str]| world.home.run(arguments).expect("it runs");
    run(&world, &["backup", text(&backup)]);
    let reported = world.report(&worker, &started);
    assert_eq!(reported["state"], "COMPLETED", "and lost with the restore");

    let closed = world.closed();
    let run = |arguments: &[&str]| closed.home.run(arguments).expect("it runs");
    assert_eq!(
        doctor(&run(&["doctor"])),
        Vec::<String>::new(),
        "nothing was restored"
    );
    let restored = run(&["restore", text(&backup), "--replace"]);
    let of_the_call = |told: &Value| {
        let told = told["effects_without_result"].as_array().expect("effects");
        assert_eq!(told.len(), 1, "{told:?}");
        let names = [
            "call",
            "turn",
            "tool",
            "business_key",
            "standing",
            "position",
            "effect_key",
        ];
        names.map(|name| told[0][name].clone())
    };
    let permit = &started["permit"];
    let expected = [
        call["callId"].clone(),
        worker.turn.clone(),
        json!("send_parcel"),
        json!("in the backup"),
        json!("started"),
        permit["position"].clone(),
        permit["effectKey"].clone(),
    ];
    assert_eq!(of_the_call(&restored), expected);
    let found = doctor(&run(&["doctor"]));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("send_parcel") && found[0].contains("in the backup"),
        "{found:?}"
    );
    let opened = run(&["ledger", "new-epoch", "--restored", "--yes", "--tenant", "acme"]);
    assert_eq!(opened["epochs"].as_array().map(Vec::len), Some(3), "{opened}");
    assert_eq!(of_the_call(&opened), expected);
}

/// What the doctor says of effects.
fn doctor(findings: &Value) -> Vec<String> {
    let findings = findings.as_array().expect("findings").iter();
    let effects = findings.filter(|of| {
        of["check"]
            .as_str()
            .is_some_and(|check| check.starts_with("effect"))
    });
    effects.map(|of| of["detail"].to_string()).collect()
}
