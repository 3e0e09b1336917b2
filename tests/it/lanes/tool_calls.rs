//! Tool calls of governed turns through GraphQL: proposed, started under a permit, reported, undone, in doubt.

use serde_json::{Value, json};

use super::{World, held, lane};

const CALL: &str = "callId gate sideEffect actionDigest deduplicated state result permit { position }
    approval { id actionDigest viewDigest expiresAt } position";
const STARTED: &str =
    "callId deduplicated state result permit { position attempt effectKey approvalId actionDigest arguments }
    position";

impl World {
    /// What a worker is told that may not do this.
    fn forbidden(&self, name: &str, input: Value) -> String {
        let (query, variables) = super::mutation(name, "forbidden", input, "__typename");
        let answer =
            ruche_tests::server::graphql(&self.client, &self.server.url, &self.key, &query, variables);
        answer.expect_err("a writer is no administrator").to_string()
    }

    fn register(&self, name: &str, side_effect: &str) {
        let mut input =
            json!({ "name": name, "sideEffect": side_effect, "timeoutMs": "30000", "owner": "shop team" });
        input["argumentSchema"] = json!({ "type": "object", "properties": { "order": { "type": "integer" } },
            "required": ["order"], "additionalProperties": false });
        if side_effect == "COMPENSATABLE" {
            let undo = format!("undo_{name}");
            input["compensationTool"] = json!(undo);
            let early = self.administer("registerTool", "early", input.clone(), "position");
            assert_eq!(
                early["path"],
                json!(["compensationTool"]),
                "nobody registered it: {early}"
            );
            let undoing = json!({ "name": undo, "sideEffect": "IDEMPOTENT" });
            let done = self.administer("registerTool", &format!("register-{undo}"), undoing, "position");
            assert!(done["code"].is_null(), "{done}");
        }
        let by_agent = self.forbidden("registerTool", input.clone());
        assert!(
            by_agent.contains("admin"),
            "an agent may not say what is harmless: {by_agent}"
        );
        let done = self.administer("registerTool", &format!("register-{name}"), input, "position");
        assert!(done["code"].is_null(), "{done}");
    }

    fn propose(&self, key: &str, worker: &Value, tool: &str, business_key: &str) -> Value {
        let mut input = worker.clone();
        (input["tool"], input["arguments"]) = (json!(tool), json!("{ \"order\": 7 }"));
        input["businessKey"] = json!(business_key);
        self.mutate("proposeAction", key, input, CALL)
    }

    fn start(&self, key: &str, worker: &Value, call: &Value) -> Value {
        let mut input = worker.clone();
        input["callId"] = call["callId"].clone();
        self.mutate("startEffect", key, input, STARTED)
    }

    fn report(&self, key: &str, worker: &Value, start: &Value, outcome: Value) -> Value {
        let mut input = worker.clone();
        (input["callId"], input["permit"]) = (start["callId"].clone(), start["permit"]["position"].clone());
        input["outcome"] = outcome;
        self.mutate("reportEffect", key, input, "callId state position")
    }

    /// How many records the ledger has.
    fn size(&self) -> Value {
        self.ask("{ ledger { size } }", json!({}))["ledger"]["size"].clone()
    }
}

/// A turn of a lane, as its worker names it.
fn turn_of(world: &World, number: u32, lane: &Value) -> Value {
    world.message(&format!("m-{number}"), &format!("c-{number}"), "please", lane);
    held(&world.claim(&format!("claim-{number}"), lane), lane)
}

/// A model writes its arguments anew for each attempt. What has one key happens once, and who asks for something else is told.
#[test]
fn a_key_that_is_held_with_other_arguments_is_told_of_and_not_taken() {
    let (world, lane) = (World::on("web"), lane("web"));
    world.register("create_ticket", "IDEMPOTENT");
    let worker = turn_of(&world, 1, &lane);
    let propose = |key: &str, tool: &str, arguments: &str| {
        let mut input = worker.clone();
        (input["tool"], input["arguments"]) = (json!(tool), json!(arguments));
        input["businessKey"] = json!("k");
        world.mutate(
            "proposeAction",
            key,
            input,
            "callId deduplicated duplicate arguments argumentsDiffer approval { id }",
        )
    };
    let told = |call: &Value| {
        (
            call["callId"].clone(),
            call["deduplicated"].clone(),
            call["argumentsDiffer"].clone(),
        )
    };
    for (tool, seven) in [
        ("create_ticket", "{ \"order\": 7 }"),
        ("charge_card", "{ \"order\": 7 }"),
    ] {
        let first = propose(&format!("{tool}-1"), tool, seven);
        assert_eq!(
            (&first["deduplicated"], &first["argumentsDiffer"]),
            (&json!(false), &json!(false)),
            "{first}"
        );
        let id = &first["callId"];
        let before = world.size();
        let other = propose(&format!("{tool}-2"), tool, "{ \"order\": 8 }");
        assert_eq!(told(&other), (id.clone(), json!(true), json!(true)), "{other}");
        assert_eq!(other["arguments"], seven, "those that stand");
        assert_eq!(
            other["approval"], first["approval"],
            "nobody is asked about the others"
        );
        let same = propose(&format!("{tool}-3"), tool, "{\"order\":7}");
        assert_eq!(told(&same), (id.clone(), json!(true), json!(false)), "{same}");
        let again = propose(&format!("{tool}-1"), tool, seven);
        assert_eq!(
            (&again["duplicate"], &again["argumentsDiffer"]),
            (&json!(true), &json!(false)),
            "{again}"
        );
        assert_eq!(world.size(), before, "nothing was proposed");
    }
    world.audit();
}

#[test]
fn a_call_that_failed_frees_its_key() {
    let (world, lane) = (World::on("api"), lane("api"));
    world.register("reserve_seat", "COMPENSATABLE");
    let worker = turn_of(&world, 1, &lane);
    let call = world.propose("a", &worker, "reserve_seat", "1A");
    let start = world.start("b", &worker, &call);
    let again = world.propose("c", &worker, "reserve_seat", "1A");
    assert_eq!(again["deduplicated"], true, "{again}");
    let failed = json!({ "failed": { "errorType": "unavailable", "retryable": true } });
    assert_eq!(world.report("d", &worker, &start, failed)["state"], "FAILED");
    let anew = world.propose("e", &worker, "reserve_seat", "1A");
    assert_eq!(anew["deduplicated"], false, "{anew}");
    world.audit();
}

#[test]
fn nothing_irreversible_starts_without_an_approval_and_the_turn_may_still_be_replaced() {
    let (world, lane) = (World::on("api"), lane("api"));
    let worker = turn_of(&world, 1, &lane);
    let call = world.propose("a", &worker, "charge_card", "7");
    assert_eq!(
        (&call["gate"], &call["sideEffect"]),
        (&json!("APPROVAL"), &json!("IRREVERSIBLE")),
        "{call}"
    );
    assert_eq!(call["approval"]["actionDigest"], call["actionDigest"]);
    let before = world.size();
    let refused = world.start("b", &worker, &call);
    assert_eq!(
        (&refused["code"], &refused["state"]),
        (&json!("ILLEGAL_TRANSITION"), &json!("awaiting_approval"))
    );
    let legal = refused["legal"].as_array().expect("a list");
    assert!(
        legal.contains(&json!("cancelTurn")) && !legal.contains(&json!("startEffect")),
        "{refused}"
    );
    let recorded = world.size();
    assert_ne!(recorded, before, "a refused attempt is an event too");
    let again = world.start("c", &worker, &call);
    assert_eq!(again["state"], "awaiting_approval", "{again}");
    assert_eq!(world.size(), recorded, "once");
    let cancel = json!({ "lane": lane, "turnId": worker["turnId"] });
    let done = world.sent("cancelTurn", "cancel", cancel, "position");
    assert_eq!(
        world.turn(&worker["turnId"], &done["position"])["status"],
        "CANCELLED"
    );
    world.audit();
}

#[test]
fn what_is_refused_names_its_place_and_changes_nothing() {
    let (world, lane) = (World::on("api"), lane("api"));
    world.register("create_ticket", "IDEMPOTENT");
    let worker = turn_of(&world, 1, &lane);
    let before = world.size();
    let mut unfit = worker.clone();
    (unfit["tool"], unfit["businessKey"]) = (json!("create_ticket"), json!("7"));
    unfit["arguments"] = json!("{ \"order\": \"seven\" }");
    let refused = world.mutate("proposeAction", "a", unfit.clone(), CALL);
    assert_eq!(
        (&refused["code"], &refused["path"]),
        (&json!("INVALID_INPUT"), &json!(["arguments", "order"]))
    );
    unfit["arguments"] = json!("{ \"order\": 7");
    assert_eq!(
        world.mutate("proposeAction", "a", unfit, CALL)["path"],
        json!(["arguments"])
    );
    let tool = json!({ "name": "t", "sideEffect": "PURE", "argumentSchema": { "type": "king" } });
    assert_eq!(
        world.administer("registerTool", "b", tool, "position")["path"],
        json!(["argumentSchema"])
    );
    let bare = json!({ "name": "t", "sideEffect": "COMPENSATABLE" });
    assert_eq!(
        world.administer("registerTool", "b", bare, "position")["path"],
        json!(["compensationTool"])
    );
    let evidence = "statement of the bank";
    let resolve = |call: &Value| json!({ "lane": lane, "callId": call, "outcome": "COMPLETED", "by": "ann", "evidence": evidence });
    let unknown = json!("00000000-0000-0000-0000-000000000001");
    assert_eq!(
        world.administer("resolveOutcome", "c", resolve(&unknown), "state")["code"],
        "NOT_FOUND"
    );
    assert_eq!(world.size(), before);
    let call = world.propose("a", &worker, "create_ticket", "7");
    assert_eq!(call["gate"], "OPEN", "the key was left free: {call}");
    let before = world.size();
    let refused = world.administer("resolveOutcome", "c", resolve(&call["callId"]), "state");
    assert_eq!(
        (&refused["code"], &refused["state"]),
        (&json!("ILLEGAL_TRANSITION"), &json!("processing"))
    );
    assert_eq!(world.size(), before);
    let forbidden = world.forbidden("resolveOutcome", resolve(&call["callId"]));
    assert!(forbidden.contains("FORBIDDEN"), "{forbidden}");
    world.audit();
}

#[test]
fn a_tool_that_was_registered_anew_does_not_run_on_an_earlier_proposal() {
    let (world, lane) = (World::on("api"), lane("api"));
    world.register("create_ticket", "IDEMPOTENT");
    let worker = turn_of(&world, 1, &lane);
    let call = world.propose("a", &worker, "create_ticket", "7");
    let stronger = json!({ "name": "create_ticket", "sideEffect": "IRREVERSIBLE" });
    let done = world.administer("registerTool", "stronger", stronger, "position");
    assert!(done["code"].is_null(), "{done}");
    let before = world.size();
    for key in ["b", "c", "b"] {
        let refused = world.start(key, &worker, &call);
        assert_eq!(refused["code"], "ILLEGAL_TRANSITION", "{refused}");
    }
    let records = |size: &Value| size.as_str().and_then(|size| size.parse::<u64>().ok());
    let added = records(&world.size())
        .zip(records(&before))
        .map(|(now, then)| now - then);
    assert_eq!(
        added,
        Some(2),
        "of three attempts the first of each cause is recorded"
    );
    let anew = world.propose("d", &worker, "create_ticket", "7");
    assert_eq!(
        (&anew["gate"], &anew["deduplicated"]),
        (&json!("APPROVAL"), &json!(false)),
        "{anew}"
    );
    world.audit();
}

#[test]
fn a_start_that_is_answered_again_is_no_new_leave_to_run() {
    let (world, lane) = (World::on("api"), lane("api"));
    world.register("create_ticket", "IDEMPOTENT");
    let worker = turn_of(&world, 1, &lane);
    let call = world.propose("a", &worker, "create_ticket", "7");
    let first = world.start("b", &worker, &call);
    let again = world.start("b", &worker, &call);
    assert_eq!(
        (&first["deduplicated"], &again["deduplicated"], &again["permit"]),
        (&json!(false), &json!(true), &first["permit"]),
        "{again}"
    );
    assert_eq!(
        (&first["permit"]["arguments"], &first["permit"]["actionDigest"]),
        (&json!("{ \"order\": 7 }"), &call["actionDigest"]),
        "what runs is what was proposed, byte for byte"
    );
    let mut strange = worker.clone();
    strange["lease"]["epoch"] = json!("7");
    let refused = world.start("c", &strange, &call);
    assert_eq!(refused["path"], json!(["lease"]), "{refused}");
}
