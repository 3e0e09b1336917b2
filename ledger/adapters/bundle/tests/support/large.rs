//! A large export, written record by record: for measuring, and for tests of more than one level of tiles.

use std::collections::HashMap;
use std::convert::Infallible;
use std::path::Path;

use ruche_domain::envelope::{ACFEvent, Actor, ActorKind};
use ruche_domain::ids::{EventId, LedgerId, SessionId, TurnId};
use ruche_domain::numbers::{Epoch, Micros, SchemaVersion, StreamVersion, TreeSize};
use ruche_domain::ports::Random;
use ruche_domain::stream::{Category, StreamId};
use ruche_ledger::keys::MasterSeed;
use ruche_ledger::leaf::KeyLayer;
use ruche_ledger::payload::{Fragment, JSON, StoredFragment};
use ruche_ledger::sequencer::{Heads, KeyEntry, SequencedRecord, Sequencer, open_epoch};
use ruche_ledger::store::{AppendRequest, EpochOpening, LedgerHead, PreparedEvent};
use ruche_ledger::testing::SeededRandom;
use ruche_ledger::tree::Frontier;
use ruche_ledger::tree_head::{SignedTreeHead, TreeHead};
use ruche_ledger_bundle::BundleWriter;
use serde_json::json;
use uuid::Uuid;

/// Events of one append.
const EVENTS: u64 = 100;
/// Bytes of each payload.
const PAYLOAD_BYTES: usize = 600;
/// Records of one stream: a long conversation.
const STREAM_EVENTS: u64 = 25;
const START: u64 = 1_700_000_000_000_000;

/// Versions of the streams so far.
#[derive(Default)]
struct Versions(HashMap<StreamId, StreamVersion>);

impl Heads for Versions {
    type Error = Infallible;

    fn stream_version(&mut self, stream: &StreamId) -> Result<Option<StreamVersion>, Infallible> {
        Ok(self.0.get(stream).copied())
    }

    fn key(&mut self, _: KeyLayer, _: &[u8; 32]) -> Result<Option<KeyEntry>, Infallible> {
        Ok(None)
    }
}

/// Everything that a run through the records needs. The same seed gives the same records.
struct Ledger {
    random: SeededRandom,
    versions: Versions,
    head: Option<LedgerHead>,
    origin: String,
    key: String,
}

impl Ledger {
    fn new(seed: &MasterSeed) -> Self {
        let origin = "large.example/records/e1".to_owned();
        let key = seed
            .log_signer(&origin)
            .expect("an origin")
            .verifier()
            .to_string();
        Self {
            random: SeededRandom::new(1),
            versions: Versions::default(),
            head: None,
            origin,
            key,
        }
    }

    /// The next records: the opening, or an append.
    fn next(&mut self, records: u64) -> Vec<SequencedRecord> {
        let batch = match self.head.take() {
            None => {
                let Ok(batch) = open_epoch(self.opening(), Micros(0), Micros(START), &mut self.versions);
                batch
            }
            Some(head) => {
                let first = head.size.0;
                let events = (first..(first + EVENTS).min(records))
                    .map(|number| self.event(number))
                    .collect();
                let request = AppendRequest::new(Vec::new(), events, Vec::new()).expect("within the limits");
                let mut sequencer = Sequencer::new(head, Micros(START + first), &mut self.versions);
                let Ok(_) = sequencer.decide(&request);
                sequencer.finish()
            }
        };
        self.versions.0.extend(batch.streams);
        self.head = Some(batch.head);
        batch.records
    }

    fn opening(&self) -> EpochOpening {
        let facts = json!({
            "deployment": "large.example", "origin": self.origin, "verifier_key": self.key, "epoch": 1,
            "reason": "created",
        });
        let stream = StreamId::new(Category::Ledger, Uuid::from_u128(1));
        let record = self.prepared(stream, "infra.ledger.opened", facts.to_string().into_bytes());
        EpochOpening {
            origin: self.origin.clone(),
            expected_end: None,
            epoch: Epoch(1),
            record,
        }
    }

    fn event(&self, number: u64) -> PreparedEvent {
        let session = Uuid::from_u64_pair(2, number / STREAM_EVENTS);
        let mut text = format!("{{\"message_ordinal\":{number},\"text\":\"");
        text.push_str(&"x".repeat(PAYLOAD_BYTES - 2 - text.len()));
        text.push_str("\"}");
        let stream = StreamId::new(Category::Observed, session);
        let mut prepared = self.prepared(stream, "message.received", text.into_bytes());
        prepared.event.session = Some(SessionId(session));
        prepared.event.turn = Some(TurnId(Uuid::from_u64_pair(3, number / 5)));
        prepared
    }

    fn prepared(&self, stream: StreamId, event_type: &str, payload: Vec<u8>) -> PreparedEvent {
        let mut id = [0; 10];
        self.random.fill(&mut id);
        let actor = Actor {
            kind: ActorKind::Agent,
            reference: Some(Uuid::from_u128(4)),
        };
        let id = EventId::v7(START / 1_000, id);
        let event = ACFEvent::new(id, stream, event_type, SchemaVersion(1), Micros(START), actor);
        let payload = Fragment::plain(&self.random, JSON, payload).expect("within the limits");
        PreparedEvent {
            event,
            payload: vec![payload],
        }
    }
}

/// Writes an export of `records` records of 600 bytes and returns the key. Goes through the records twice, because the
/// signed tree head is written first.
pub fn write(folder: &Path, records: u64) -> String {
    let seed = MasterSeed::from_slice(&[7; 32]).expect("32 bytes");
    let mut tree = Frontier::new();
    let mut ledger = Ledger::new(&seed);
    while tree.size() < TreeSize(records) {
        ledger
            .next(records)
            .iter()
            .for_each(|record| tree.append(record.leaf_hash));
    }
    let signer = seed.log_signer(&ledger.origin).expect("an origin");
    let head = TreeHead::new(&ledger.origin, tree.tree_root());
    let head = SignedTreeHead::sign(head, &signer).expect("the log's own key");
    let mut writer = BundleWriter::create(folder, LedgerId(Uuid::from_u128(1))).expect("a fresh folder");
    writer
        .begin_epoch(Epoch(1), &head, signer.verifier())
        .expect("the first epoch");
    let mut ledger = Ledger::new(&seed);
    let mut left = records;
    while left > 0 {
        for record in ledger.next(records) {
            let present = |f: Fragment| StoredFragment::Present {
                opening: f.opening,
                bytes: f.bytes.into(),
            };
            let payload: Vec<_> = record.payload.into_iter().map(present).collect();
            writer.record(&record.leaf, &payload).expect("writable");
            left -= 1;
        }
    }
    assert!(
        writer.end_epoch().expect("writable").fits_tree_head,
        "both runs give the same records"
    );
    writer.finish().expect("writable");
    ledger.key
}
