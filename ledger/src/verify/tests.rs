use std::sync::Arc;

use proptest::prelude::*;
use ruche_domain::envelope::{Actor, ActorKind, TraceContext};
use ruche_domain::ids::{CallId, CorrelationId, EventId, SessionId, SubjectId, TurnId};
use ruche_domain::numbers::Position;
use uuid::Uuid;

use super::FindingKind::*;
use super::*;
use crate::leaf::KeyClaim;
use crate::memory::MemoryStore;
use crate::payload::Commitment;
use crate::store::EventStore;
use crate::testing::{Author, FixedClock, appended, claim, ledger};

/// Nine records: the opening, appends of three and of one event, a tool call, and one more.
async fn records() -> Vec<Record> {
    let (store, a) = (MemoryStore::new(Arc::new(FixedClock::at(5))), Author::new(1));
    store
        .open_epoch(ledger(1), a.opening(ledger(1), 1, None))
        .await
        .unwrap();
    let three = (0..3).map(|n| a.event(a.stream(n % 2), "{}")).collect();
    appended(store.append(ledger(1), a.append(three)).await);
    appended(
        store
            .append(ledger(1), a.append_keyed(1, 1, vec![a.event(a.stream(2), "{}")]))
            .await,
    );
    for event_type in ["tool.started", "tool.completed"] {
        let mut event = a.typed_event(a.stream(3), event_type, b"{}".to_vec());
        event.event.call = Some(CallId(Uuid::from_u128(9)));
        appended(store.append(ledger(1), a.append(vec![event])).await);
    }
    appended(
        store
            .append(
                ledger(1),
                a.append(vec![a.event(a.stream(4), "{}"), a.event(a.stream(4), "{}")]),
            )
            .await,
    );
    store.read_ledger(ledger(1), Position::START, 100).await.unwrap()
}

/// Kinds and indexes of what is found in these leaves, as the epoch of nine records.
fn found(leaves: &[Vec<u8>]) -> Vec<(FindingKind, u64)> {
    let (mut checker, mut findings) = (RecordChecker::new(), Findings::keeping(100));
    checker.begin_epoch(
        Epoch(1),
        &format!("test.example/{}/e1", ledger(1).0.as_simple()),
        TreeSize(9),
    );
    for leaf in leaves {
        checker.leaf(leaf, &mut findings);
    }
    checker.end_epoch(&mut findings);
    findings
        .kept()
        .iter()
        .map(|finding| (finding.kind, finding.index.unwrap()))
        .collect()
}

async fn leaves() -> Vec<Vec<u8>> {
    records()
        .await
        .into_iter()
        .map(|record| record.leaf_bytes)
        .collect()
}

#[tokio::test]
async fn what_a_store_returns_holds() {
    let (mut checker, mut findings) = (RecordChecker::new(), Findings::keeping(100));
    checker.begin_epoch(Epoch(1), &records().await[0].leaf.origin, TreeSize(9));
    for record in records().await {
        assert_eq!(checker.record(&record, &mut findings), record.leaf_hash());
    }
    checker.end_epoch(&mut findings);
    assert!(findings.is_empty(), "{findings:?}");
}

#[tokio::test]
async fn missing_records_are_named_by_their_place() {
    let whole = leaves().await;
    let without = |gone: &[usize]| {
        let kept = whole.iter().enumerate().filter(|(at, _)| !gone.contains(at));
        found(&kept.map(|(_, leaf)| leaf.clone()).collect::<Vec<_>>())
    };
    assert_eq!(without(&[0]), [(FirstRecordMissing, 0)]);
    assert_eq!(without(&[0, 1, 2]), [(FirstRecordMissing, 0), (StreamBroken, 3)]);
    assert_eq!(without(&[4]), [(RecordMissing, 4)]);
    assert_eq!(without(&[1]), [(RecordMissing, 1), (StreamBroken, 3)]);
    assert_eq!(
        without(&[5]),
        [(RecordMissing, 5), (StreamBroken, 6), (EffectWithoutIntent, 6)]
    );
    assert_eq!(without(&[7]), [(RecordMissing, 7), (StreamBroken, 8)]);
    assert_eq!(without(&[8]), [(TailMissing, 8)]);
    assert_eq!(without(&[6, 7, 8]), [(TailMissing, 6)]);
    assert_eq!(
        without(&[2, 3, 7]),
        [(RecordMissing, 2), (RecordMissing, 7), (StreamBroken, 8)]
    );
}

#[tokio::test]
async fn records_in_the_wrong_place_are_told_from_missing_ones() {
    let whole = leaves().await;
    let kinds = |leaves: &[Vec<u8>]| {
        let mut kinds = found(leaves);
        // Versions of streams are out of step around such a place; that is tested with streams.
        kinds.retain(|(kind, _)| !matches!(kind, StreamBroken | EffectWithoutIntent | EventIdRepeated));
        kinds
    };
    for (one, other) in [(4, 7), (4, 5), (1, 8), (0, 3), (7, 8), (0, 8)] {
        let mut swapped = whole.clone();
        swapped.swap(one, other);
        let names = [(RecordsSwapped, one as u64), (RecordsSwapped, other as u64)];
        assert_eq!(kinds(&swapped), names, "{one} and {other}");
    }
    let mut repeated = whole.clone();
    repeated.insert(6, whole[2].clone());
    assert_eq!(kinds(&repeated), [(RecordOutOfPlace, 6)]);
    let mut replaced = whole.clone();
    replaced[6] = whole[2].clone();
    assert_eq!(kinds(&replaced), [(RecordOutOfPlace, 6)]);
    let mut moved = whole.clone();
    let taken = moved.remove(7);
    moved.insert(3, taken);
    assert_eq!(kinds(&moved), [(RecordOutOfPlace, 3), (RecordMissing, 7)]);
}

#[tokio::test]
async fn a_leaf_of_another_log_and_bytes_that_are_no_leaf_keep_their_place() {
    let whole = leaves().await;
    let mut foreign = Leaf::decode(&whole[4]).unwrap();
    foreign.origin = "test.example/other/e1".into();
    let mut transplanted = whole.clone();
    transplanted[4] = foreign.encode();
    assert_eq!(found(&transplanted), [(ForeignRecord, 4), (ChainBroken, 5)]);
    let mut inserted = whole.clone();
    inserted.insert(4, foreign.encode());
    assert_eq!(found(&inserted), [(ForeignRecord, 4)]);
    let mut malformed = whole.clone();
    malformed[4].push(0);
    assert_eq!(found(&malformed), [(LeafMalformed, 4), (ChainBroken, 5)]);
    malformed[8] = Vec::new();
    assert_eq!(
        found(&malformed),
        [(LeafMalformed, 4), (ChainBroken, 5), (LeafMalformed, 8)]
    );
}

/// One leaf is changed and everything behind it linked again, as whoever holds the key can.
async fn changed(at: usize, change: impl FnOnce(&mut Leaf)) -> Vec<(FindingKind, u64)> {
    let mut all = leaves().await;
    let mut leaf = Leaf::decode(&all[at]).unwrap();
    change(&mut leaf);
    all[at] = leaf.encode();
    for at in at + 1..all.len() {
        let mut leaf = Leaf::decode(&all[at]).unwrap();
        leaf.previous = Some(leaf_hash(&all[at - 1]));
        all[at] = leaf.encode();
    }
    found(&all)
}

#[tokio::test]
async fn each_rule_between_records_has_its_own_finding() {
    let other = Some(Hash([7; 32]));
    assert_eq!(changed(8, |leaf| leaf.previous = other).await, [(ChainBroken, 8)]);
    assert_eq!(
        changed(8, |leaf| leaf.append.count = 3).await,
        [(AppendBroken, 8), (AppendBroken, 8)]
    );
    assert_eq!(
        changed(2, |leaf| (leaf.append.first.0, leaf.append.count) = (2, 2)).await[0],
        (AppendBroken, 2)
    );
    assert_eq!(
        changed(4, |leaf| leaf.append.count = 2).await,
        [(AppendBroken, 5)]
    );
    assert_eq!(
        changed(4, |leaf| leaf.recorded_at.0 += 1).await,
        [(TimeReversed, 5)]
    );
    let first = leaves().await[1].clone();
    let id = Leaf::decode(&first).unwrap().event.event_id;
    assert_eq!(
        changed(5, |leaf| leaf.event.event_id = id).await,
        [(EventIdRepeated, 5)]
    );
    assert_eq!(
        changed(4, |leaf| leaf.stream_version.0 = 1).await,
        [(StreamBroken, 4)]
    );
    assert_eq!(
        changed(3, |leaf| leaf.stream_version.0 = 0).await,
        [(StreamBroken, 3)]
    );
    assert_eq!(
        changed(0, |leaf| leaf.event.event_type = "infra.x".into()).await,
        [(OpeningRecordWrong, 0)]
    );
    let opened = "infra.ledger.opened";
    assert_eq!(
        changed(4, |leaf| leaf.event.event_type = opened.into()).await,
        [(OpeningRecordWrong, 4)]
    );
    assert_eq!(
        changed(5, |leaf| leaf.event.event_type = "tool.proposed".into()).await,
        [(EffectWithoutIntent, 6)]
    );
    assert_eq!(
        changed(6, |leaf| leaf.event.call = None).await,
        [(EffectWithoutIntent, 6)]
    );
}

#[tokio::test]
async fn streams_and_effects_go_on_over_epochs_and_holes_explain_what_is_not_known() {
    let records = records().await;
    let origin = &records[0].leaf.origin;
    let (mut checker, mut findings) = (RecordChecker::new(), Findings::keeping(100));
    checker.begin_epoch(Epoch(1), origin, TreeSize(9));
    for record in &records[..4] {
        checker.leaf(&record.leaf_bytes, &mut findings);
    }
    checker.skip_records(2, &mut findings);
    for record in &records[6..] {
        checker.leaf(&record.leaf_bytes, &mut findings);
    }
    checker.end_epoch(&mut findings);
    assert!(findings.is_empty(), "{findings:?}");
    // The same records again, as epoch 2: all streams start again and all ids repeat.
    checker.begin_epoch(Epoch(2), origin, TreeSize(9));
    for record in &records {
        checker.leaf(&record.leaf_bytes, &mut findings);
    }
    checker.end_epoch(&mut findings);
    assert_eq!(findings.by_kind()[&EventIdRepeated].count, 7);
    assert_eq!(findings.by_kind()[&EventIdRepeated].first.place(), "2:0");
    assert!(findings.has(StreamBroken));
    assert!(
        findings
            .by_kind()
            .keys()
            .all(|kind| matches!(kind, EventIdRepeated | StreamBroken))
    );
}

#[tokio::test]
async fn payload_fragments_are_checked_against_the_leaf_before() {
    let record = records().await.remove(1);
    let (opening, bytes) = match &record.payload[0] {
        StoredFragment::Present { opening, bytes } => (*opening, bytes.clone()),
        StoredFragment::Missing | StoredFragment::Archived(_) => unreachable!("test payloads are there"),
    };
    let check = |found: FragmentFound<'_>, leaf: &[u8]| {
        let (mut checker, mut findings) = (RecordChecker::new(), Findings::keeping(100));
        checker.begin_epoch(Epoch(1), &record.leaf.origin, TreeSize(9));
        assert_eq!(checker.leaf(leaf, &mut findings).fragments, Some(1));
        checker.fragment(found, &mut findings);
        findings
            .kept()
            .iter()
            .map(|finding| finding.kind)
            .collect::<Vec<_>>()
    };
    let present = |opening, bytes| FragmentFound::Present { opening, bytes };
    assert_eq!(check(present(&opening, &bytes), &record.leaf_bytes), []);
    assert_eq!(
        check(present(&opening, b"[]"), &record.leaf_bytes),
        [PayloadMismatch]
    );
    assert_eq!(
        check(present(&opening, b"{} "), &record.leaf_bytes),
        [PayloadMismatch]
    );
    assert_eq!(
        check(present(&[0; 32], &bytes), &record.leaf_bytes),
        [PayloadMismatch]
    );
    assert_eq!(
        check(FragmentFound::Missing, &record.leaf_bytes),
        [PayloadMissing]
    );
    let mut leaf = record.leaf.clone();
    leaf.payload[0] = Commitment {
        algorithm: Algorithm::Encrypted,
        key_reference: Some([1; 16]),
        salt: Some([2; 32]),
        key_commitment: Some([3; 32]),
        ..leaf.payload[0].clone()
    };
    assert_eq!(
        check(present(&opening, &bytes), &leaf.encode()),
        [PayloadNotChecked]
    );
    assert!(
        !PayloadNotChecked.is_tampering() && !PayloadMissing.is_tampering() && PayloadMismatch.is_tampering()
    );
}

#[test]
fn findings_keep_the_first_of_each_kind_and_count_all() {
    let mut findings = Findings::keeping(2);
    for index in 0..5 {
        findings.push(Finding::at(TileMismatch, Epoch(1), index, String::new()));
    }
    findings.push(Finding::at(RecordMissing, Epoch(1), 9, String::new()));
    assert_eq!(findings.total(), 6);
    let kept: Vec<_> = findings.kept().iter().map(Finding::place).collect();
    assert_eq!(kept, ["1:0", "1:1", "1:9"]);
    assert_eq!(findings.by_kind()[&TileMismatch].count, 5);
}

/// A leaf with everything in it.
async fn full_leaf() -> Leaf {
    let mut leaf = records().await.remove(4).leaf;
    let id = |n: u8| Uuid::from_bytes([n; 16]);
    let event = &mut leaf.event;
    event.on_behalf_of = Some(Actor {
        kind: ActorKind::Agent,
        reference: Some(id(1)),
    });
    event.session = Some(SessionId(id(2)));
    event.turn = Some(TurnId(id(3)));
    event.call = Some(CallId(id(4)));
    event.subject = Some(SubjectId(id(5)));
    event.correlation_id = Some(CorrelationId(id(6)));
    event.causation_id = Some(EventId(id(7)));
    event.trace = Some(TraceContext {
        trace_id: [1; 16],
        span_id: [2; 8],
    });
    event.config_digest = Some([8; 32]);
    event.policy_digest = Some([9; 32]);
    leaf.keys = vec![
        claim(1, 2),
        KeyClaim {
            layer: crate::leaf::KeyLayer::Tool,
            ..claim(3, 4)
        },
    ];
    leaf.payload.push(Commitment {
        algorithm: Algorithm::Encrypted,
        media_type: "text/plain".into(),
        stored_length: 70_000,
        commitment: [1; 32],
        key_reference: Some([1; 16]),
        salt: Some([2; 32]),
        key_commitment: Some([3; 32]),
    });
    leaf
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

/// The two readers of leaves are of one mind.
fn compare(bytes: &[u8]) {
    let (view, leaf) = (LeafView::read(bytes), Leaf::decode(bytes));
    let (view, leaf) = match (view, leaf) {
        (Some(view), Ok(leaf)) => (view, leaf),
        (None, Err(_)) => return,
        (view, leaf) => panic!("{}: {view:?} but {leaf:?}", hex::encode(bytes)),
    };
    assert_eq!((view.origin, view.index), (leaf.origin.as_str(), leaf.index.0));
    assert_eq!(view.previous.copied(), leaf.previous.map(|hash| hash.0));
    assert_eq!(
        (view.append_first, view.append_count),
        (leaf.append.first.0, leaf.append.count)
    );
    assert_eq!(view.event_id, leaf.event.event_id.as_bytes());
    assert_eq!(
        (view.stream.id(), view.stream_version),
        (leaf.event.stream, leaf.stream_version.0)
    );
    assert_eq!(view.event_type, leaf.event.event_type);
    assert_eq!(view.recorded_at, leaf.recorded_at.0);
    assert_eq!(view.call, leaf.event.call.as_ref().map(CallId::as_bytes));
    assert_eq!(view.fragments.count, leaf.payload.len());
    for (number, committed) in leaf.payload.iter().enumerate() {
        let view = view.fragments.get(number).unwrap();
        let committed = (committed.algorithm, committed.stored_length, committed.commitment);
        assert_eq!((view.algorithm, view.stored_length, view.commitment), committed);
    }
}

#[test]
fn the_view_accepts_what_the_decoder_accepts_with_any_byte_changed() {
    for leaf in [block_on(full_leaf()), block_on(records()).remove(0).leaf] {
        let bytes = leaf.encode();
        compare(&bytes);
        for at in 0..bytes.len() {
            compare(&bytes[..at]);
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                compare(&flipped);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_view_accepts_what_the_decoder_accepts(changes in prop::collection::vec((0..2_000usize, any::<u8>(), 0..3u8), 1..6)) {
        static BYTES: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| block_on(full_leaf()).encode());
        let mut bytes = BYTES.clone();
        for (at, byte, how) in changes {
            let at = at % bytes.len();
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => { bytes.remove(at); }
            }
        }
        compare(&bytes);
    }
}
