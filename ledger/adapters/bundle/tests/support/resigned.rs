//! Mutations by the operator, who holds the key and signs again: every signature and every hash is right.

use ruche_domain::numbers::{LeafIndex, TreeSize};
use ruche_ledger::leaf::Leaf;
use ruche_ledger::payload::{Algorithm, Commitment, StoredFragment, commit};
use ruche_ledger::tree::TreeRoot;
use ruche_ledger::tree_head::{SignedTreeHead, TreeHead};
use ruche_ledger::verify::FindingKind::{self, *};
use serde_json::{Value, json};

use super::good::Stored;
use super::mutate::{Expected, Mutation, Work, tampered};
use super::rewrite::{chain, leaves, renumber, replace, sign, versions};
use super::{below, one_of};

/// Defects of the records themselves: found in the export alone.
pub const DEFECTS: &[(&str, Mutation)] = &[
    ("time_reversed", time_reversed),
    ("event_id_repeated", event_id_repeated),
    ("stream_skips", stream_skips),
    ("append_torn", append_torn),
    ("chain_broken", chain_broken),
    ("opened_twice", opened_twice),
    ("not_opened", not_opened),
    ("effect_without_intent", effect_without_intent),
    ("wrong_index", wrong_index),
    ("wrong_root", wrong_root),
    ("encrypted_payload", encrypted_payload),
    ("opening_names_another_origin", |work| {
        opening(work, OpeningRecordWrong, |facts| facts["origin"] = json!("x"))
    }),
    ("opening_names_another_key", |work| {
        opening(work, OpeningRecordWrong, |facts| {
            facts["verifier_key"] = json!("x")
        })
    }),
    ("opening_names_another_epoch", |work| {
        opening(work, OpeningRecordWrong, |facts| facts["epoch"] = json!(77))
    }),
    ("opening_is_no_opening", |work| {
        opening(work, OpeningRecordWrong, |facts| *facts = json!([]))
    }),
    ("link_names_another_origin", |work| {
        link(work, EpochLinkBroken, |previous| previous["origin"] = json!("x"))
    }),
    ("link_names_another_size", |work| {
        link(work, EpochLinkBroken, |previous| {
            previous["tree_size"] = json!(1_000_000)
        })
    }),
    ("link_names_another_root", |work| {
        link(work, EpochLinkBroken, |previous| previous["root"] = json!("00"))
    }),
    ("link_is_gone", |work| {
        linked(work, EpochLinkBroken, |facts| facts["previous"] = Value::Null)
    }),
    ("lost_range_declared", |work| {
        link(work, RecordsLost, |previous| {
            previous["lost_from"] = json!("1:3");
            previous["lost_to"] = json!("1:5");
        })
    }),
    ("epoch_before_truncated", epoch_before_truncated),
];

/// Histories without any defect, which only an auditor who remembers can tell from the true one.
pub const REWRITTEN: &[(&str, Mutation)] = &[
    ("record_changed", record_changed),
    ("record_removed", record_removed),
    ("stream_removed", stream_removed),
    ("tail_removed", tail_removed),
    ("tail_removed_size_known", |work| {
        let size = work.export.size();
        let expected = tail_removed(work)?;
        Some(Expected {
            any_of: vec![SmallerThanExpected],
            since: None,
            at_least: Some(size),
            ..expected
        })
    }),
];

/// Number of the last epoch: the one that can be signed again without breaking a link.
fn last(work: &Work) -> usize {
    work.export.epochs.len() - 1
}

/// Changes one record of the last epoch for which `fits` says so, links, signs and writes.
fn change(
    work: &mut Work,
    kind: FindingKind,
    fits: impl Fn(&[Leaf], usize) -> bool,
    change: impl FnOnce(&[Leaf], &mut Leaf),
) -> Option<Expected> {
    let epoch = last(work);
    let all = leaves(&work.export.epochs[epoch].records);
    let at = one_of(
        &work.random,
        &(0..all.len()).filter(|at| fits(&all, *at)).collect::<Vec<_>>(),
    )?;
    let mut leaf = all[at].clone();
    change(&all, &mut leaf);
    replace(&mut work.export.epochs[epoch].records, at, &leaf);
    sign(&mut work.export, epoch);
    work.write();
    tampered(&[kind])
}

fn time_reversed(work: &mut Work) -> Option<Expected> {
    change(
        work,
        TimeReversed,
        |_, at| at > 0,
        |all, leaf| {
            leaf.recorded_at.0 = all[leaf.index.0 as usize - 1].recorded_at.0 - 1;
        },
    )
}

fn event_id_repeated(work: &mut Work) -> Option<Expected> {
    change(
        work,
        EventIdRepeated,
        |_, at| at > 0,
        |all, leaf| leaf.event.event_id = all[0].event.event_id,
    )
}

fn stream_skips(work: &mut Work) -> Option<Expected> {
    change(
        work,
        StreamBroken,
        |_, at| at > 0,
        |_, leaf| leaf.stream_version.0 += 1,
    )
}

fn append_torn(work: &mut Work) -> Option<Expected> {
    change(
        work,
        AppendBroken,
        |_, at| at > 0,
        |_, leaf| leaf.append.count += 1,
    )
}

fn chain_broken(work: &mut Work) -> Option<Expected> {
    change(
        work,
        ChainBroken,
        |_, at| at > 1,
        |all, leaf| {
            leaf.previous = all[1].previous.map(|mut hash| {
                hash.0[0] ^= 1;
                hash
            })
        },
    )
}

fn opened_twice(work: &mut Work) -> Option<Expected> {
    change(
        work,
        OpeningRecordWrong,
        |_, at| at > 0,
        |_, leaf| leaf.event.event_type = "infra.ledger.opened".into(),
    )
}

fn not_opened(work: &mut Work) -> Option<Expected> {
    change(
        work,
        OpeningRecordWrong,
        |_, at| at == 0,
        |_, leaf| leaf.event.event_type = "infra.ledger.sealed".into(),
    )
}

fn effect_without_intent(work: &mut Work) -> Option<Expected> {
    let is_outcome = |leaf: &Leaf| matches!(leaf.event.event_type.as_str(), "tool.completed" | "tool.failed");
    let fits = |all: &[Leaf], at: usize| {
        let call = all[at].event.call;
        all[at].event.event_type == "tool.started"
            && all.iter().any(|leaf| is_outcome(leaf) && leaf.event.call == call)
    };
    change(work, EffectWithoutIntent, fits, |_, leaf| {
        leaf.event.event_type = "tool.proposed".into()
    })
}

fn wrong_index(work: &mut Work) -> Option<Expected> {
    change(
        work,
        RecordOutOfPlace,
        |all, at| at > 0 && at + 2 < all.len(),
        |all, leaf| {
            leaf.index = LeafIndex(all.len() as u64 + 5);
            (leaf.append.first, leaf.append.count) = (leaf.index, 1);
        },
    )
}

/// The signature is right, and what is signed is not the tree.
fn wrong_root(work: &mut Work) -> Option<Expected> {
    let epoch = last(work);
    let head = work.export.epochs[epoch].head.head().clone();
    let tree = TreeRoot {
        size: head.size,
        root: ruche_ledger::hash::Hash::sha256(b"another tree"),
    };
    let signer = work.export.signer(&head.origin);
    work.export.epochs[epoch].head =
        SignedTreeHead::sign(TreeHead::new(&head.origin, tree), &signer).expect("own key");
    work.write();
    tampered(&[RootMismatch])
}

fn encrypted_payload(work: &mut Work) -> Option<Expected> {
    let fits = |all: &[Leaf], at: usize| at > 0 && !all[at].payload.is_empty();
    let expected = change(work, PayloadNotChecked, fits, |_, leaf| {
        leaf.payload[0] = Commitment {
            algorithm: Algorithm::Encrypted,
            key_reference: Some([1; 16]),
            salt: Some([2; 32]),
            key_commitment: Some([3; 32]),
            ..leaf.payload[0].clone()
        };
    });
    Some(Expected {
        exit_code: 3,
        ..expected?
    })
}

/// Changes what record 0 of the last epoch says.
pub fn opening(work: &mut Work, kind: FindingKind, change: impl FnOnce(&mut Value)) -> Option<Expected> {
    let epoch = last(work);
    let records = &mut work.export.epochs[epoch].records;
    let mut leaf = leaves(&records[..1]).remove(0);
    let StoredFragment::Present { opening, bytes } = &mut records[0].payload[0] else {
        panic!("a good export has its opening records");
    };
    let mut facts = serde_json::from_slice(bytes).expect("JSON");
    change(&mut facts);
    *bytes = serde_json::to_vec(&facts).expect("JSON");
    leaf.payload[0].stored_length = bytes.len() as u64;
    leaf.payload[0].commitment = commit(opening, bytes);
    replace(records, 0, &leaf);
    sign(&mut work.export, epoch);
    work.write();
    tampered(&[kind])
}

/// The same of an epoch that is not the first.
fn linked(work: &mut Work, kind: FindingKind, change: impl FnOnce(&mut Value)) -> Option<Expected> {
    (last(work) > 0).then_some(())?;
    opening(work, kind, change)
}

fn link(work: &mut Work, kind: FindingKind, change: impl FnOnce(&mut Value)) -> Option<Expected> {
    linked(work, kind, |facts| change(&mut facts["previous"]))
}

/// An earlier epoch ends earlier, and is signed so; the next epoch remembers.
fn epoch_before_truncated(work: &mut Work) -> Option<Expected> {
    let epoch = last(work).checked_sub(1)?;
    shorten(&mut work.export.epochs[epoch].records)?;
    sign(&mut work.export, epoch);
    work.write();
    tampered(&[EpochLinkBroken])
}

/// Takes whole appends off the end.
fn shorten(records: &mut Vec<Stored>) -> Option<()> {
    let last = leaves(records).pop()?;
    (last.append.first.0 > 0).then_some(())?;
    records.truncate(last.append.first.0 as usize);
    Some(())
}

/// The export is without fault; the head that the auditor kept says otherwise.
fn remembered(kept: SignedTreeHead) -> Option<Expected> {
    Some(Expected {
        since: Some(kept),
        ..tampered(&[InconsistentWithKnownHead])?
    })
}

/// Whether nothing else depends on a record.
fn is_plain(leaf: &Leaf) -> bool {
    leaf.index.0 > 0 && !leaf.event.event_type.starts_with("tool.")
}

fn record_changed(work: &mut Work) -> Option<Expected> {
    let epoch = last(work);
    let kept = one_of(&work.random, &work.export.epochs[epoch].earlier)?;
    let TreeSize(size) = kept.head().size;
    let fits = |all: &[Leaf], at: usize| is_plain(&all[at]) && (at as u64) < size;
    change(work, InconsistentWithKnownHead, fits, |_, leaf| {
        leaf.event.occurred_at.0 += 1
    })?;
    remembered(kept)
}

fn record_removed(work: &mut Work) -> Option<Expected> {
    remove(work, |random, plain| one_of(random, plain).map(|one| vec![one]))
}

fn stream_removed(work: &mut Work) -> Option<Expected> {
    remove(work, |random, plain| {
        let stream = one_of(random, plain)?.event.stream;
        Some(
            plain
                .iter()
                .filter(|leaf| leaf.event.stream == stream)
                .cloned()
                .collect(),
        )
    })
}

/// Removes records and makes a faultless epoch of the others.
fn remove(
    work: &mut Work,
    which: impl FnOnce(&ruche_ledger::testing::SeededRandom, &[Leaf]) -> Option<Vec<Leaf>>,
) -> Option<Expected> {
    let epoch = last(work);
    let kept = work.export.epochs[epoch].head.clone();
    let records = &work.export.epochs[epoch].records;
    let plain: Vec<_> = leaves(records).into_iter().filter(is_plain).collect();
    let gone: Vec<_> = which(&work.random, &plain)?
        .iter()
        .map(|leaf| leaf.index.0 as usize)
        .collect();
    let left = records.iter().enumerate().filter(|(at, _)| !gone.contains(at));
    let mut left: Vec<_> = left.map(|(_, record)| record.clone()).collect();
    renumber(&mut left, versions(&work.export, epoch));
    work.export.epochs[epoch].records = left;
    sign(&mut work.export, epoch);
    work.write();
    remembered(kept)
}

fn tail_removed(work: &mut Work) -> Option<Expected> {
    let epoch = last(work);
    let kept = work.export.epochs[epoch].head.clone();
    let records = &mut work.export.epochs[epoch].records;
    for _ in 0..=below(&work.random, 3) {
        shorten(records)?;
    }
    chain(records, 1);
    sign(&mut work.export, epoch);
    work.write();
    remembered(kept)
}
