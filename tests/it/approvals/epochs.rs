//! A ledger that goes on in another epoch, as after a restore: what was asked for before starts nothing, whoever is asked.

use std::path::Path;

use ruche_api::app::App;
use ruche_domain::envelope::ACFEvent;
use ruche_domain::event::AgentEvent;
use ruche_domain::events::{ApprovalConsumed, ToolStarted};
use ruche_domain::ids::{EventId, LedgerId};
use ruche_domain::measures::Digest;
use ruche_domain::numbers::Position;
use ruche_domain::side_effect::SideEffectPolicy;
use ruche_ledger::hash::Hash;
use ruche_ledger::payload::{Fragment, JSON};
use ruche_ledger::store::{AppendOutcome, AppendRequest, PreparedEvent, Record};
use ruche_tests::server::Home;
use serde_json::{Value, json};

use super::{Asked, World};

impl World {
    /// The ledger goes on in its next epoch; nothing of it is lost.
    fn goes_on(self) -> Self {
        assert!(self.server.stop().expect("it stops"), "it ended well");
        let opened = self
            .home
            .run(&["ledger", "new-epoch", "--yes", "--tenant", "acme"]);
        opened.expect("an epoch");
        let server = self.home.serve().expect("the server starts");
        Self { server, ..self }
    }

    /// The requests that stand so, as soon as the read model has the record of the new epoch.
    fn standing(&self, status: &str) -> Vec<Value> {
        let query = "query ($status: [ApprovalState!]) { approvals(status: $status, minPosition: \"2:0\") {
            nodes { id state } } }";
        let found = self.ask(&self.desk, query, json!({ "status": [status] }));
        let nodes = found["approvals"]["nodes"].as_array().expect("requests").iter();
        nodes
            .map(|node| {
                assert_eq!(node["state"], status);
                node["id"].clone()
            })
            .collect()
    }

    /// What `stateAt` says of a request.
    fn state_at(&self, asked: &Asked, position: &str) -> Value {
        let query = "query ($id: ID!, $position: Position) {
            stateAt(of: { approval: $id }, position: $position) { state } }";
        let state = self.ask(
            &self.agent,
            query,
            json!({ "id": asked.id, "position": position }),
        );
        state["stateAt"]["state"]["approval"]["state"].clone()
    }
}

/// An export of all epochs, and the keys that verify it.
fn exported(home: &Home, export: &Path) -> Vec<String> {
    let told = home.run(&["export", "--tenant", "acme", export.to_str().expect("UTF-8")]);
    let told = told.expect("an export");
    let keys = told["verifier_keys"].as_array().expect("keys").iter();
    keys.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The findings of `ruche verify`, kinds and places.
fn found(home: &Home, export: &Path, keys: &[String]) -> Vec<Value> {
    let mut arguments = vec!["verify", export.to_str().expect("UTF-8")];
    arguments.extend(keys.iter().flat_map(|key| ["--key", key]));
    let report = home.end_of(&arguments).expect("it starts").json;
    let findings = report["findings"].as_array().expect("findings").iter();
    findings
        .map(|found| json!([found["kind"], found["epoch"], found["index"]]))
        .collect()
}

/// What the script of the documents says.
fn script(export: &Path, id: &str, keys: &[String]) -> Result<String, String> {
    let mut arguments = vec![export.to_str().expect("UTF-8"), id];
    arguments.extend(keys.iter().map(String::as_str));
    super::program("docs/formats/approval.py", &arguments)
}

#[test]
fn a_request_of_an_epoch_that_is_over_is_stale_for_whoever_asks() {
    let world = World::new();
    world.register();
    let old = world.request_on("api");
    let world = world.goes_on();

    assert_eq!(world.standing("REQUESTED"), [Value::Null; 0]);
    assert_eq!(world.standing("STALE"), [json!(old.id)]);
    assert_eq!(world.approvals(&["list"]).1, json!([]));
    let (_, shown) = world.approvals(&["show", &old.id]);
    assert_eq!(shown["state"], "stale", "{shown}");
    assert_eq!(world.state_at(&old, "2:0"), "stale");
    let (code, voted) = world.approvals(&["approve", &old.id]);
    assert_eq!(
        (code, &voted["outcome"], &voted["refusal"]),
        (Some(1), &json!("REFUSED"), &json!("EPOCH")),
        "{voted}"
    );
    let detail = voted["detail"].as_str().expect("why");
    assert!(detail.ends_with("the call has to be proposed anew"), "{detail}");

    // The turn waits no longer, and what is asked for in this epoch holds in it.
    let new = world.propose("anew", &old.worker, "/a");
    let (_, voted) = world.approvals(&["approve", &new.id]);
    assert_eq!(voted["outcome"], "APPROVED", "{voted}");
    let started = world.start("run", &new);
    assert_eq!(started["permit"]["approvalId"], json!(new.id), "{started}");

    assert!(world.server.stop().expect("it stops"), "it ended well");
    let export = world.folder.path().join("export");
    let keys = exported(&world.home, &export);
    assert_eq!(keys.len(), 2);
    assert_eq!(found(&world.home, &export, &keys), [Value::Null; 0]);
    for (asked, outcome) in [(&old, "stale"), (&new, "used")] {
        let told = script(&export, &asked.id, &keys).expect("it verifies");
        assert!(told.contains(&format!(r#""outcome": "{outcome}""#)), "{told}");
    }
    let held = world.home.run(&["replay", "verify", "--tenant", "acme"]);
    assert_eq!(held.expect("it verifies")["findings"], json!([]));
}

/// Two records that the server would not write: the approval of the epoch before is used, and the call starts.
fn forged(all: &[Record], app: &App) -> Vec<PreparedEvent> {
    let of = |event_type: &str| {
        let mut found = all
            .iter()
            .filter(|record| record.leaf.event.event_type == event_type);
        found.next_back().expect("it is there")
    };
    let said = |record: &Record| {
        let event = &record.leaf.event;
        let bytes = record.payload_bytes().expect("a payload");
        AgentEvent::from_payload(&event.event_type, event.schema_version, bytes).expect("it is read")
    };
    let (request, proposal) = (of("approval.requested"), of("tool.proposed"));
    let (AgentEvent::ApprovalRequested(requested), AgentEvent::ToolProposed(proposed)) =
        (said(request), said(proposal))
    else {
        panic!("they are")
    };
    let call = proposal.leaf.event.call.expect("a call");
    let ticket = request.leaf.event.stream.id.to_string();
    let consumed = ApprovalConsumed::new(ticket.clone(), call, requested.action_digest);
    let mut started = ToolStarted::new(proposed.name);
    started.args_digest = Some(Digest(Hash::sha256(proposed.arguments.as_bytes()).0));
    started.side_effect = Some(SideEffectPolicy::Irreversible);
    started.attempt = Some(1);
    started.ticket = Some(ticket);
    let facts: [(&Record, AgentEvent); 2] = [(request, consumed.into()), (proposal, started.into())];
    let now = all.last().expect("records").leaf.recorded_at;
    let prepared = facts.into_iter().enumerate().map(|(number, (of, fact))| {
        let id = u8::try_from(number).expect("a few");
        let event = ACFEvent {
            actor: proposal.leaf.event.actor,
            session: of.leaf.event.session,
            turn: of.leaf.event.turn,
            call: of.leaf.event.call,
            ..ACFEvent::new(
                EventId::v7(now.as_millis(), [id; 10]),
                of.leaf.event.stream,
                fact.event_type(),
                fact.schema_version(),
                now,
                proposal.leaf.event.actor,
            )
        };
        let payload = Fragment::plain(&*app.random, JSON, fact.to_payload()).expect("it is small");
        PreparedEvent {
            event,
            payload: vec![payload],
        }
    });
    prepared.collect()
}

async fn forge(home: &Home) {
    let app = App::open(&home.common(), "a forger")
        .await
        .expect("the store opens");
    let ledger: LedgerId = app.events.ledgers().await.expect("ledgers")[0];
    let (mut all, mut from) = (Vec::new(), Position::START);
    loop {
        let page = app
            .events
            .read_ledger(ledger, from, 1_000)
            .await
            .expect("records");
        let Some(last) = page.last() else { break };
        from = last.position.next();
        all.extend(page);
    }
    let request = AppendRequest::new(vec![], forged(&all, &app), vec![]).expect("two events");
    let appended = app.events.append(ledger, request).await.expect("an append");
    assert!(matches!(appended, AppendOutcome::Appended { .. }), "{appended:?}");
    app.sealer.seal(ledger).await.expect("a tree head");
    app.close().await.expect("it closes");
}

#[test]
fn an_approval_that_is_used_in_another_epoch_is_found_by_every_verifier() {
    let world = World::new();
    world.register();
    let asked = world.request_on("api");
    let (_, voted) = world.approvals(&["approve", &asked.id]);
    assert_eq!(voted["outcome"], "APPROVED", "{voted}");
    let world = world.goes_on();
    assert!(world.server.stop().expect("it stops"), "it ended well");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(forge(&world.home));

    let export = world.folder.path().join("export");
    let keys = exported(&world.home, &export);
    let all = found(&world.home, &export, &keys);
    let misused = all.iter().find(|found| found[0] == "APPROVAL_MISUSED");
    let misused = misused.unwrap_or_else(|| panic!("{all:?}"));
    let start = misused[2].as_u64().expect("an index") + 1;
    assert_eq!(misused[1], 2, "{all:?}");
    assert!(
        all.contains(&json!(["EFFECT_WITHOUT_APPROVAL", 2, start])),
        "{all:?}"
    );
    let complaint = script(&export, &asked.id, &keys).expect_err("it does not verify");
    assert!(complaint.contains("an epoch that is over"), "{complaint}");
    let replayed = world.home.end_of(&["replay", "verify", "--tenant", "acme"]);
    let replayed = replayed.expect("it starts");
    let names = replayed.json["findings"].as_array().expect("findings").iter();
    let names: Vec<&Value> = names.map(|finding| &finding["name"]).collect();
    assert!(names.contains(&&json!("APPROVAL_MISUSED")), "{}", replayed.json);
}
