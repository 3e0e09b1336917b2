//! The sequencer is judged by the contract suite on the in-memory engine; what only a batch can show stands here.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use super::*;
use crate::leaf::Leaf;
use crate::memory::MemoryStore;
use crate::store::EventStore;
use crate::testing::{Author, archives, contract};

#[derive(Default)]
struct Nothing;

impl Heads for Nothing {
    type Error = Infallible;
    fn stream_version(&mut self, _: &StreamId) -> Result<Option<StreamVersion>, Infallible> {
        Ok(None)
    }
    fn key(&mut self, _: KeyLayer, _: &[u8; 32]) -> Result<Option<KeyEntry>, Infallible> {
        Ok(None)
    }
}

fn head() -> LedgerHead {
    LedgerHead {
        epoch: Epoch(1),
        origin: "test.example/x/e1".into(),
        size: TreeSize(10),
        last_leaf_hash: Some(Hash([1; 32])),
        last_recorded_at: Micros(500),
    }
}

#[test]
fn one_conflict_leaves_its_neighbours_alone() {
    let (a, mut known) = (Author::new(1), Nothing);
    let mut s = Sequencer::new(head(), Micros(0), &mut known);
    let one = |n| vec![a.event(a.stream(n), "{}")];
    let Ok(first) = s.decide(&a.append_expecting(ExpectedVersion::NoStream, one(1)));
    let Ok(second) = s.decide(&a.append_expecting(ExpectedVersion::NoStream, one(1)));
    let Ok(third) = s.decide(&a.append_expecting(ExpectedVersion::Exact(StreamVersion(0)), one(1)));
    assert!(matches!(first, Decision::Append(_)));
    assert!(
        matches!(
            second,
            Decision::Conflict {
                actual: Some(StreamVersion(0)),
                ..
            }
        ),
        "{second:?}"
    );
    assert!(matches!(third, Decision::Append(_)));
    let batch = s.finish();
    assert_eq!((batch.base, batch.head.size), (TreeSize(10), TreeSize(12)));
    assert_eq!(batch.streams, HashMap::from([(a.stream(1), StreamVersion(1))]));
    assert_eq!(batch.head.last_leaf_hash, Some(batch.records[1].leaf_hash));
}

#[test]
fn a_key_of_the_same_batch_is_known_already() {
    let (a, mut known) = (Author::new(1), Nothing);
    let mut s = Sequencer::new(head(), Micros(0), &mut known);
    let two = || vec![a.event(a.stream(1), "{}"), a.event(a.stream(2), "{}")];
    let Ok(first) = s.decide(&a.append_keyed(1, 1, two()));
    let Ok(again) = s.decide(&a.append_keyed(1, 1, two()));
    let Ok(other) = s.decide(&a.append_keyed(1, 2, two()));
    assert!(matches!(first, Decision::Append(ref r) if r.len() == 2));
    assert_eq!(
        again,
        Decision::Duplicate {
            first: Position::new(1, 10),
            count: 2
        }
    );
    assert_eq!(other, Decision::KeyMismatch { layer: KeyLayer::Api });
    assert_eq!(s.finish().records.len(), 2);
}

#[test]
fn keys_stand_on_the_first_leaf_of_an_append_only() {
    let (a, mut known) = (Author::new(1), Nothing);
    let mut s = Sequencer::new(head(), Micros(0), &mut known);
    let Ok(_) = s.decide(&a.append_keyed(1, 1, vec![a.event(a.stream(1), "{}"), a.event(a.stream(1), "{}")]));
    let leaves: Vec<_> = s
        .finish()
        .records
        .iter()
        .map(|r| Leaf::decode(&r.leaf).unwrap())
        .collect();
    assert_eq!(leaves[0].keys.len(), 1);
    assert!(leaves[1].keys.is_empty());
    assert_eq!(
        leaves[1].append,
        AppendRange {
            first: LeafIndex(10),
            count: 2
        }
    );
    assert_eq!(leaves[1].previous, Some(leaves[0].hash()));
    assert_eq!(leaves[0].recorded_at, Micros(500), "not before the last record");
}

#[tokio::test]
async fn the_memory_engine_keeps_the_contract() {
    contract::run(|clock| async move { Arc::new(MemoryStore::new(clock)) as Arc<dyn EventStore> }).await;
    archives::run(|clock| async move { Arc::new(MemoryStore::new(clock)) as Arc<dyn archives::Engine> })
        .await;
}

#[test]
fn what_could_not_be_read_back_is_not_taken() {
    let a = Author::new(1);
    let event = |change: fn(&mut PreparedEvent)| {
        let mut event = a.event(a.stream(1), "{}");
        change(&mut event);
        AppendRequest::new(vec![], vec![event], vec![])
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        event(|e| e.event.event_type.clear()),
        "not a leaf: field event type: 0 bytes, 1 to 64 are allowed"
    );
    assert_eq!(
        event(|e| e.payload[0].commitment.media_type.clear()),
        "not a leaf: field payload: 0 bytes, 1 to 64 are allowed"
    );
    let zero = ruche_domain::envelope::TraceContext {
        trace_id: [0; 16],
        span_id: [1; 8],
    };
    let mut traced = a.event(a.stream(1), "{}");
    traced.event.trace = Some(zero);
    assert!(
        AppendRequest::new(vec![], vec![traced], vec![])
            .unwrap_err()
            .to_string()
            .contains("trace")
    );
    let opening = a.typed_event(a.stream(1), "infra.ledger.opened", b"{}".to_vec());
    assert!(
        AppendRequest::new(vec![], vec![opening], vec![])
            .unwrap_err()
            .to_string()
            .contains("never appended")
    );
    let twice = a.event(a.stream(1), "{}");
    let twice = AppendRequest::new(vec![], vec![twice.clone(), twice], vec![]).unwrap_err();
    assert!(twice.to_string().contains("stands twice"), "{twice}");
}
