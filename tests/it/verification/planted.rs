//! Faults that an operator with the keys plants. Everything is hashed, linked and signed again, so that nothing but the rule
//! can find them. Here are those of one request for approval, which the script of the documents has to find, too: each in a
//! copy of a short story. The others are planted where real conversations were (`tests/it/live/planted.rs`).

pub mod faults;
mod shown;
pub mod work;

use std::fs;

use ruche_ledger::verify::FindingKind;
use ruche_ledger_keys::{MasterSeedFile, ReviewerKeyFile};
use serde_json::{Value, json};

use super::rewritten::records;
use super::{text, verifier};
use crate::approvals::{World, script};
use faults::SIGNED;
use shown::{SHOWN, sign_anew};
use work::{Operator, Work};

/// What is found, and where, in the order of the ledger.
type Found = [(FindingKind, u64)];

/// A call that a reviewer signed for and that was done, and one that waits for a reviewer. Gives the request that was signed.
fn story() -> (World, String) {
    let world = World::new();
    world.register();
    let send = |name: &str, key: &str, mut input: Value, more: Value, fields: &str| {
        for (name, value) in more.as_object().expect("an object") {
            input[name] = value.clone();
        }
        let answer = world.mutate(&world.agent, name, key, input, fields);
        assert!(answer["code"].is_null() && !answer.is_null(), "{name}: {answer}");
        answer
    };
    let asked = world.request_on("api");
    let (_, voted) = world.approvals(&["approve", &asked.id]);
    assert_eq!(voted["outcome"], "APPROVED", "{voted}");
    let started = world.start("run", &asked);
    let done = json!({ "callId": asked.call, "permit": started["permit"]["position"],
        "outcome": { "completed": { "result": "done", "externalRef": "T-1" } } });
    send("reportEffect", "report", asked.worker.clone(), done, "state");
    send(
        "commitTurn",
        "commit",
        asked.worker.clone(),
        json!({}),
        "duplicate",
    );

    let lane = &asked.worker["lane"];
    let message = json!({ "session": { "externalId": "s" }, "text": "and that one" });
    send(
        "submitMessage",
        "message-2",
        message,
        json!({ "lane": lane }),
        "duplicate",
    );
    let worker = world.claim("claim-2", lane);
    let other = json!({ "tool": "delete_file", "arguments": "{}", "businessKey": "b" });
    send("proposeAction", "propose-2", worker, other, "callId");
    (world, asked.id)
}

#[test]
fn each_fault_of_a_request_is_found_by_its_rule_where_it_stands_and_by_the_script() {
    let (world, approval) = story();
    let alice = || {
        ReviewerKeyFile::load(&world.private)
            .expect("the reviewer's key")
            .key
    };
    let (signs, alice) = (alice(), alice());
    let (folder, home, key) = world.export();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let (ledger, all) = runtime.block_on(records(&home));
    let seed = MasterSeedFile::load_or_create(&home.keys).expect("the seed");
    let operator = Operator::of(ledger, &all, &seed);
    let whole = Work::of(all, vec![signs]);

    let good = folder.path().join("good");
    let mut linked = whole.clone();
    linked.link();
    let report = operator.verified(&linked, &good);
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    operator.assert_same(&linked, &folder.path().join("export"));
    let told = script(text(&good), &approval, &key).expect("it verifies");
    assert!(told.contains(r#""outcome": "used""#), "{told}");
    let negatives = report.to_json();
    assert_eq!(negatives["proposed_and_not_run"]["total"], 1, "{negatives}");
    let open = &negatives["turns_not_over"];
    assert_eq!(
        (&open["total"], &open["turns"][0]["state"]),
        (&json!(1), &json!("AWAITING_APPROVAL"))
    );
    let mut signed = whole.clone();
    sign_anew(&mut signed, &alice);
    signed.link();
    let report = operator.verified(&signed, &folder.path().join("signed"));
    assert!(report.findings.is_empty(), "{:?}", report.findings);

    let mut wrong = Vec::new();
    let mut judge = |name: &str, work: &Work, is_found: &dyn Fn(&Found) -> bool| {
        let folder = folder.path().join("planted");
        let report = operator.verified(work, &folder);
        let found = report.findings.kept().iter();
        let mut found: Vec<_> = found
            .map(|one| (one.kind, one.index.unwrap_or(u64::MAX)))
            .collect();
        found.sort_by_key(|(_, place)| *place);
        if !is_found(&found) {
            wrong.push(format!("{name}: {:?}", report.findings.kept()));
        }
        let ours = verifier(&[text(&folder), "--key", &key]);
        if ours.code != 2
            || !found
                .iter()
                .all(|(kind, _)| ours.kinds.contains(&kind.name().to_owned()))
        {
            wrong.push(format!("{name}: the program says {ours:?}"));
        }
        if script(text(&folder), &approval, &key).is_ok() {
            wrong.push(format!("{name}: the script of the documents says nothing"));
        }
        fs::remove_dir_all(&folder).expect("a folder");
    };
    for fault in SIGNED {
        let mut work = whole.clone();
        let expected = fault.planted(&mut work);
        work.link();
        let expected = expected.places(&work);
        judge(fault.name, &work, &|found| found == expected);
    }
    for (name, kind, plant, follows) in SHOWN {
        let mut work = whole.clone();
        let at = plant(&mut work) as u64;
        sign_anew(&mut work, &alice);
        work.link();
        let is_found = |found: &Found| {
            found.first() == Some(&(*kind, at)) && found[1..].iter().all(|(more, _)| follows.contains(more))
        };
        judge(name, &work, &is_found);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
