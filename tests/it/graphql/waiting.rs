//! The wait of all these tests for the read models is for every one of them. Each goes its own way: one that a test reads and
//! does not wait for is old on a slow machine.

use ruche_tests::server::caught_up;
use serde_json::json;

use super::World;

#[test]
fn the_wait_for_the_read_models_is_for_every_one_of_them() {
    let world = World::new();
    let wait = || caught_up(&world.client, &world.server.url, &world.key);
    wait().expect("nothing stands still");
    let found = world.ask("{ projections { name } }", json!({}))["projections"].take();
    let names = found.as_array().expect("projections").iter();
    let names: Vec<&str> = names.map(|one| one["name"].as_str().expect("a name")).collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        let decided = |mutation: &str, kind: &str| {
            let input = json!({ "idempotencyKey": format!("{mutation} {name}"), "projection": name, "reason": "a test" });
            let told = world.mutate_as(&world.admin_key, mutation, kind, "", input);
            assert!(told["code"].is_null(), "{name}: {told}");
        };
        decided("pauseProjection", "PauseProjectionInput");
        world.start_session(name);
        let held = wait().expect_err("it has no session of that name").to_string();
        let why = format!("the read model {name} is paused");
        assert!(held.contains(&why), "{name}: {held}");
        decided("resumeProjection", "ResumeProjectionInput");
        wait().expect("it goes on");
    }
}
