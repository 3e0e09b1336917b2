//! Proofs that lead to a signed tree head.

use std::time::Instant;

use ruche_domain::numbers::{LeafIndex, TreeSize};
use ruche_ledger::hash::Hash;
use ruche_ledger::proof::{verify_consistency, verify_inclusion};
use ruche_ledger::tlog_proof::TlogProof;
use ruche_ledger::tree::TreeRoot;
use serde_json::{Value, json};

use super::{SEAL_WAIT_MAX, World, number};

fn hash(value: &Value) -> Hash {
    let mut bytes = [0; 32];
    hex::decode_to_slice(value.as_str().expect("a hash"), &mut bytes).expect("hex");
    Hash(bytes)
}

fn hashes(value: &Value) -> Vec<Hash> {
    value.as_array().expect("a list").iter().map(hash).collect()
}

#[test]
fn proofs_lead_to_the_signed_root() {
    let world = World::new();
    for n in 0..9 {
        world.append(
            &format!("k-{n}"),
            "goal.set",
            json!({ "json": { "goal_id": n.to_string(), "description": "d" } }),
            None,
        );
    }
    let deadline = Instant::now() + SEAL_WAIT_MAX;
    let size = loop {
        let health = world.ask(
            "{ ledger { health { sealedRecords appendedRecords } } }",
            json!({}),
        )["ledger"]["health"]
            .clone();
        if health["sealedRecords"] == health["appendedRecords"] {
            break number(&health["sealedRecords"]);
        }
        assert!(Instant::now() < deadline, "not all is sealed: {health}");
        std::thread::yield_now();
    };
    let query = "query ($p: Position!, $size: Long) { inclusionProof(position: $p, treeSize: $size) { leafHash treeSize rootHash hashes
        tlogProof treeHead { size rootHash } } record(position: $p) { leaf state } }";
    for (index, size_asked) in [(0, None), (3, Some(5)), (size - 1, None)] {
        let read = world.ask(
            query,
            json!({ "p": format!("1:{index}"), "size": size_asked.map(|s: u64| s.to_string()) }),
        );
        let proof = &read["inclusionProof"];
        let tree = TreeRoot {
            size: TreeSize(number(&proof["treeSize"])),
            root: hash(&proof["rootHash"]),
        };
        verify_inclusion(
            &hash(&proof["leafHash"]),
            LeafIndex(index),
            &tree,
            &hashes(&proof["hashes"]),
        )
        .expect("included");
        assert_eq!(read["record"]["state"], "SEALED");
        assert_eq!(proof["tlogProof"].is_null(), size_asked.is_some());
        if let Some(file) = proof["tlogProof"].as_str() {
            let file = TlogProof::parse(file.as_bytes()).expect("a proof file");
            assert_eq!(
                (file.index, file.tree_head.head().root),
                (LeafIndex(index), tree.root)
            );
        }
    }
    let query = "query ($to: Long) { consistencyProof(epoch: 1, fromSize: 4, toSize: $to) {
        fromSize fromRootHash toSize toRootHash hashes } }";
    let proof = world.ask(query, json!({ "to": size.to_string() }))["consistencyProof"].clone();
    let root = |size: &str, root: &str| TreeRoot {
        size: TreeSize(number(&proof[size])),
        root: hash(&proof[root]),
    };
    verify_consistency(
        &root("fromSize", "fromRootHash"),
        &root("toSize", "toRootHash"),
        &hashes(&proof["hashes"]),
    )
    .expect("consistent");
    let beyond = world.ask_as(
        &world.key,
        "{ inclusionProof(position: \"1:0\", treeSize: 1000) { treeSize } }",
        json!({}),
    );
    assert!(
        beyond
            .expect_err("beyond the tree head")
            .to_string()
            .contains("NOT_SEALED")
    );
}
