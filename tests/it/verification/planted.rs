//! Faults that an operator with the key plants in the export of a real story, one for each rule about turns, calls and
//! approvals. Everything is hashed, linked and signed again, so that nothing but the rule can find them.

mod faults;
mod shown;
mod work;

use std::fs;

use ruche_ledger::verify::FindingKind::{self, *};
use ruche_ledger_keys::{MasterSeedFile, ReviewerKeyFile};
use serde_json::{Value, json};

use super::rewritten::records;
use super::{text, verifier};
use crate::approvals::{World, script};
use faults::FAULTS;
use shown::{SHOWN, sign_anew};
use work::{Operator, Work};

/// Two turns of a lane: one with a call that a reviewer signed for, an attempt that fails, and another call; and one that
/// waits for a reviewer. Gives the request that was signed, too.
fn story() -> (World, String) {
    let world = World::new();
    world.register();
    let schema = json!({ "type": "object", "additionalProperties": false });
    let tool = json!({ "name": "note", "sideEffect": "IDEMPOTENT", "timeoutMs": "30000", "owner": "shop",
        "argumentSchema": schema });
    let send = |who: &str, name: &str, key: &str, input: Value, fields: &str| {
        let answer = world.mutate(who, name, key, input, fields);
        assert!(answer["code"].is_null() && !answer.is_null(), "{name}: {answer}");
        answer
    };
    let by_agent = |name: &str, key: &str, input: &Value, more: Value, fields: &str| {
        let mut input = input.clone();
        for (name, value) in more.as_object().expect("an object") {
            input[name] = value.clone();
        }
        send(&world.agent, name, key, input, fields)
    };
    send(&world.admin, "registerTool", "tool", tool, "duplicate");
    let mut asked = world.request_on("api");
    let (_, voted) = world.approvals(&["approve", &asked.id]);
    assert_eq!(voted["outcome"], "APPROVED", "{voted}");
    let finish = |key: &str, worker: &Value, call: &Value, start: &Value| {
        let more = json!({ "callId": call, "permit": start["permit"]["position"],
            "outcome": { "completed": { "result": "done", "externalRef": "T-1" } } });
        by_agent("reportEffect", key, worker, more, "state");
    };
    let started = world.start("run", &asked);
    finish("report", &asked.worker, &asked.call, &started);
    let failed = json!({ "errorType": "model_down", "retryable": true });
    by_agent("failTurn", "fail", &asked.worker, failed, "duplicate");

    let approval = asked.id.clone();
    let lane = asked.worker["lane"].clone();
    asked.worker = world.claim("claim-2", &lane);
    let note = json!({ "tool": "note", "arguments": "{}", "businessKey": "n" });
    asked.call = by_agent("proposeAction", "propose-2", &asked.worker, note, "callId")["callId"].clone();
    let started = world.start("run-2", &asked);
    finish("report-2", &asked.worker, &asked.call, &started);
    by_agent("heartbeatTurn", "beat", &asked.worker, json!({}), "duplicate");
    by_agent("commitTurn", "commit", &asked.worker, json!({}), "duplicate");

    let message = json!({ "session": { "externalId": "s" }, "text": "and that one", "lane": lane });
    send(&world.agent, "submitMessage", "message-2", message, "duplicate");
    let worker = world.claim("claim-3", &lane);
    let other = json!({ "tool": "delete_file", "arguments": "{}", "businessKey": "b" });
    by_agent("proposeAction", "propose-3", &worker, other, "callId");
    (world, approval)
}

#[test]
fn each_planted_fault_is_found_by_its_rule_where_it_stands() {
    let (world, approval) = story();
    let alice = ReviewerKeyFile::load(&world.private)
        .expect("the reviewer's key")
        .key;
    let (folder, home, key) = world.export();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let (ledger, all) = runtime.block_on(records(&home));
    let origin = all[0].leaf.origin.clone();
    let seed = MasterSeedFile::load_or_create(&home.keys).expect("the seed");
    let signer = seed.seed().log_signer(&origin).expect("an origin");
    let operator = Operator {
        ledger,
        signer,
        origin,
    };
    let whole = Work::of(all);

    let good = folder.path().join("good");
    let mut linked = whole.clone();
    linked.link();
    let report = operator.verified(&linked, &good);
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    let told = script(text(&good), &approval, &key).expect("it verifies");
    assert!(told.contains(r#""outcome": "used""#), "{told}");
    let negatives = report.to_json();
    assert_eq!(negatives["proposed_and_not_run"]["total"], 1, "{negatives}");
    let open = &negatives["turns_not_over"];
    assert_eq!(
        (&open["total"], &open["turns"][0]["state"]),
        (&json!(1), &json!("AWAITING_APPROVAL"))
    );
    let same = fs::read(good.join("e1/checkpoint")).expect("a tree head");
    let theirs = fs::read(folder.path().join("export/e1/checkpoint")).expect("a tree head");
    assert_eq!(same, theirs, "what is linked again is what was exported");
    let mut signed = whole.clone();
    sign_anew(&mut signed, &alice);
    signed.link();
    let report = operator.verified(&signed, &folder.path().join("signed"));
    assert!(report.findings.is_empty(), "{:?}", report.findings);

    let mut wrong = Vec::new();
    for (number, (name, kind, plant, follows)) in FAULTS.iter().chain(SHOWN).enumerate() {
        let mut work = whole.clone();
        let at = plant(&mut work) as u64;
        let is_shown = number >= FAULTS.len();
        if is_shown {
            sign_anew(&mut work, &alice);
        }
        work.link();
        let folder = folder.path().join(format!("planted-{number}"));
        let report = operator.verified(&work, &folder);
        let found = report.findings.kept();
        let is_first = found
            .first()
            .is_some_and(|first| (first.kind, first.index) == (*kind, Some(at)));
        if !is_first || found[1..].iter().any(|more| !follows.contains(&more.kind)) {
            wrong.push(format!("{name}: {kind} at {at}, but {found:?}"));
        }
        let ours = verifier(&[text(&folder), "--key", &key]);
        if ours.code != 2 || !ours.kinds.contains(&kind.name().to_owned()) {
            wrong.push(format!("{name}: the program says {ours:?}"));
        }
        let concerns_it = is_shown || concerns_the_signature(*kind);
        if concerns_it && script(text(&folder), &approval, &key).is_ok() {
            wrong.push(format!("{name}: the script of the documents says nothing"));
        }
        fs::remove_dir_all(&folder).expect("a folder");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whether the script of the documents, which looks at one request and what became of it, has to find it, too.
fn concerns_the_signature(kind: FindingKind) -> bool {
    matches!(
        kind,
        VoteInvalid | DecisionWithoutVote | ApprovalMisused | ApprovalUsedTwice | EffectWithoutApproval
    )
}
