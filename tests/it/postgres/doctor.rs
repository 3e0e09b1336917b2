//! `ruche doctor --full` reads every record of a database, and names what is not as it was written.

use ruche_api::cli::main_ledger;
use ruche_ledger::leaf::Leaf;
use ruche_tests::databases::{Databases, rows, run};
use ruche_tests::server::{Ended, Home};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ruche-under-test");
/// Conversations of each ledger: enough to fill a tile.
const SESSIONS: &str = "30";
/// What is changed behind the back of the store, by the name of the tenant, and what the doctor says of it.
const FAULTS: [(&str, &str, &str); 5] = [
    (
        "payload",
        "UPDATE ruche.payload SET bytes = bytes || '\\x20' WHERE index = 5 AND ledger = ",
        "record 1:5",
    ),
    (
        "erased",
        "DELETE FROM ruche.payload WHERE index = 7 AND ledger = ",
        "1 payloads are not there",
    ),
    (
        "end",
        "DELETE FROM ruche.record WHERE index = (SELECT max(index) FROM ruche.record r WHERE r.ledger = record.ledger) \
         AND ledger = ",
        "it is missing",
    ),
    (
        "middle",
        "DELETE FROM ruche.record WHERE index = 9 AND ledger = ",
        "record 1:9",
    ),
    (
        "tile",
        "UPDATE ruche.tile SET hashes = set_byte(hashes, 64, get_byte(hashes, 64) # 1) WHERE level = 0 AND n = 0 \
         AND ledger = ",
        "hash 2 is not that of the records",
    ),
];

/// What the doctor said of a check.
fn said<'a>(ended: &'a Ended, check: &str) -> Option<(&'a str, &'a str)> {
    let findings = ended.json.as_array().expect("findings");
    let finding = findings.iter().find(|finding| finding["check"] == check)?;
    let text = |name: &str| finding[name].as_str().expect("text");
    Some((text("state"), text("detail")))
}

#[test]
fn every_record_of_a_database_is_read_and_what_was_changed_is_named() {
    let Some(databases) = Databases::new().expect("databases") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = Home::on(PROGRAM, folder.path(), databases.clone());
    let tenants = FAULTS.map(|(tenant, ..)| tenant);
    for tenant in tenants.into_iter().chain(["leaf", "well"]) {
        home.run(&["seed", "--tenant", tenant, "--sessions", SESSIONS])
            .expect("records");
    }
    let change = |sql: &str| run(&databases.ledgers, sql).expect("an administrator may do it");
    let all = rows(&databases.ledgers, "SELECT count(*)::text FROM ruche.record").expect("a count");
    let well = home.end_of(&["doctor", "--full"]).expect("it runs");
    assert_eq!(
        said(&well, "records"),
        Some(("ok", &*format!("all {} read, with payloads and tiles", all[0]))),
        "{well:?}"
    );
    for (tenant, sql, _) in FAULTS {
        change(&format!("{sql}'{}'", main_ledger(tenant)));
    }
    // A leaf that is a good one, and not the one that was there: the next one names another hash.
    let of_leaf = format!("ledger = '{}' AND index = 3", main_ledger("leaf"));
    let stored = rows(
        &databases.ledgers,
        &format!("SELECT encode(leaf, 'hex') FROM ruche.record WHERE {of_leaf}"),
    );
    let stored = hex::decode(&stored.expect("an answer")[0]).expect("hexadecimal digits");
    let mut leaf = Leaf::decode(&stored).expect("a leaf");
    leaf.event.occurred_at.0 += 1;
    let forged = hex::encode(leaf.encode());
    change(&format!(
        "UPDATE ruche.record SET leaf = '\\x{forged}' WHERE {of_leaf}"
    ));
    let found = home.end_of(&["doctor", "--full"]).expect("it runs");
    assert_eq!(found.code, Some(1));
    let expected = FAULTS.map(|(tenant, _, told)| (tenant, told));
    for (tenant, told) in expected.into_iter().chain([("leaf", "record 1:4")]) {
        let finding = said(&found, &format!("records of {}", main_ledger(tenant)));
        let (state, detail) = finding.unwrap_or_else(|| panic!("{tenant}: {found:?}"));
        assert!(state == "wrong" && detail.contains(told), "{tenant}: {detail}");
    }
    assert_eq!(said(&found, &format!("records of {}", main_ledger("well"))), None);
    assert_eq!(
        said(&found, "records"),
        Some(("note", "1 of 7 ledgers are as they were written"))
    );
    // Not looked at without being asked to.
    let quick = home.end_of(&["doctor"]).expect("it runs");
    assert!(
        quick.json != Value::Null && said(&quick, "records").is_none(),
        "{quick:?}"
    );
}
