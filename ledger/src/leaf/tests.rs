use proptest::prelude::*;
use ruche_domain::stream::{Category, StreamId};

use ruche_domain::envelope::{ActorKind, Classification, Provenance};
use ruche_domain::ids::{CallId, CorrelationId, EventId, SessionId, SubjectId, TurnId};
use ruche_domain::numbers::SchemaVersion;
use uuid::Uuid;

use super::*;
use crate::payload::Algorithm;

pub fn example() -> Leaf {
    let id = |n: u8| Uuid::from_bytes([n; 16]);
    let mut event = ACFEvent::new(
        EventId(id(1)),
        StreamId::new(Category::Observed, id(2)),
        "message.received",
        SchemaVersion(1),
        Micros(1_700_000_000_000_000),
        Actor {
            kind: ActorKind::Human,
            reference: Some(id(3)),
        },
    );
    event.session = Some(SessionId(id(4)));
    Leaf {
        origin: "log.example/k3v9/e1".into(),
        index: LeafIndex(1),
        previous: Some(Hash([9; 32])),
        append: AppendRange {
            first: LeafIndex(1),
            count: 1,
        },
        event,
        stream_version: StreamVersion(0),
        recorded_at: Micros(1_700_000_000_000_001),
        keys: vec![KeyClaim {
            layer: KeyLayer::Api,
            key: [5; 32],
            request: [6; 32],
        }],
        payload: vec![Commitment {
            algorithm: Algorithm::Plain,
            media_type: "application/json".into(),
            stored_length: 2,
            commitment: [7; 32],
            key_reference: None,
            salt: None,
            key_commitment: None,
        }],
    }
}

fn optional<T: std::fmt::Debug + Clone + 'static>(
    s: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<Option<T>> {
    proptest::option::of(s).boxed()
}

fn an_actor() -> impl Strategy<Value = Actor> {
    (0..ActorKind::ALL.len(), optional(any::<[u8; 16]>())).prop_map(|(kind, id)| Actor {
        kind: ActorKind::ALL[kind],
        reference: id.map(Uuid::from_bytes),
    })
}

prop_compose! {
    fn an_event()(
        ids in any::<[[u8; 16]; 2]>(),
        category in 0..Category::ALL.len(),
        event_type in "[a-z]{1,20}\\.[a-z_]{1,40}",
        schema_version in any::<u32>(),
        occurred_at in any::<u64>(),
        actor in an_actor(),
        on_behalf_of in optional(an_actor()),
        codes in (0..Provenance::ALL.len(), 0..Classification::ALL.len()),
        references in proptest::collection::vec(optional(any::<[u8; 16]>()), 6),
        trace in optional((1..=u128::MAX, 1..=u64::MAX)),
        digests in proptest::collection::vec(optional(any::<[u8; 32]>()), 2),
    ) -> ACFEvent {
        ACFEvent {
            event_id: EventId::from_bytes(ids[0]),
            stream: StreamId::new(Category::ALL[category], Uuid::from_bytes(ids[1])),
            event_type,
            schema_version: SchemaVersion(schema_version),
            occurred_at: Micros(occurred_at),
            actor,
            on_behalf_of,
            provenance: Provenance::ALL[codes.0],
            classification: Classification::ALL[codes.1],
            session: references[0].map(SessionId::from_bytes),
            turn: references[1].map(TurnId::from_bytes),
            call: references[2].map(CallId::from_bytes),
            subject: references[3].map(SubjectId::from_bytes),
            correlation_id: references[4].map(CorrelationId::from_bytes),
            causation_id: references[5].map(EventId::from_bytes),
            trace: trace.map(|(t, s)| TraceContext { trace_id: t.to_be_bytes(), span_id: s.to_be_bytes() }),
            config_digest: digests[0],
            policy_digest: digests[1],
        }
    }
}

prop_compose! {
    fn a_commitment()(
        keyed in any::<bool>(),
        media_type in "[a-z]{1,10}/[a-z]{1,10}",
        stored_length in any::<u64>(),
        hashes in any::<[[u8; 32]; 3]>(),
        key_reference in any::<[u8; 16]>(),
    ) -> Commitment {
        Commitment {
            algorithm: if keyed { Algorithm::Encrypted } else { Algorithm::Plain },
            media_type,
            stored_length,
            commitment: hashes[0],
            key_reference: keyed.then_some(key_reference),
            salt: keyed.then_some(hashes[1]),
            key_commitment: keyed.then_some(hashes[2]),
        }
    }
}

prop_compose! {
    pub fn a_leaf()(
        origin in "[a-z.]{1,30}/[a-z0-9]{26}/e[1-9]",
        index in any::<u64>(),
        previous in any::<[u8; 32]>(),
        before in any::<u32>(),
        event in an_event(),
        stream_version in any::<u64>(),
        recorded_at in any::<u64>(),
        keys in proptest::collection::vec((0u64..3, any::<[u8; 32]>(), any::<[u8; 32]>()), 0..=2),
        payload in proptest::collection::vec(a_commitment(), 0..=2),
    ) -> Leaf {
        let keys: Vec<_> = keys
            .into_iter()
            .map(|(l, key, request)| KeyClaim { layer: KeyLayer::from_code(l).unwrap(), key, request })
            .collect();
        let before = if keys.is_empty() { u64::from(before).min(index) } else { 0 };
        let room = (u64::MAX - index).min(u64::from(u32::MAX) - before).min(9);
        Leaf {
            origin,
            index: LeafIndex(index.min(u64::MAX - 1)),
            previous: (index != 0).then_some(Hash(previous)),
            append: AppendRange {
                first: LeafIndex(index.min(u64::MAX - 1) - before.min(index.min(u64::MAX - 1))),
                count: u32::try_from(before + room.max(1)).unwrap_or(u32::MAX),
            },
            event,
            stream_version: StreamVersion(stream_version),
            recorded_at: Micros(recorded_at),
            keys,
            payload,
        }
    }
}

proptest! {
    /// The short way that appends take says what the reader says, of good values and of each that no type bounds.
    #[test]
    fn a_check_says_what_the_reader_says(
        event in an_event(),
        payload in proptest::collection::vec(a_commitment(), 0..=2),
        fault in 0..7,
    ) {
        let mut leaf = example();
        (leaf.event, leaf.payload) = (event, payload);
        match (fault, leaf.payload.first_mut()) {
            (1, _) => leaf.event.event_type.clear(),
            (2, _) => leaf.event.event_type = "t".repeat(65),
            (3, _) => leaf.event.trace = Some(TraceContext { trace_id: [0; 16], span_id: [1; 8] }),
            (4, Some(c)) => c.media_type.clear(),
            (5, Some(c)) => c.media_type = "m".repeat(65),
            (6, Some(c)) => c.salt = c.salt.is_none().then_some([1; 32]),
            _ => {}
        }
        let checked = check(&leaf.event, leaf.payload.iter());
        prop_assert_eq!(checked.is_err(), fault > 0 && (fault < 4 || !leaf.payload.is_empty()));
        match decode::leaf(&leaf.encode()) {
            Ok(read) => {
                prop_assert_eq!(read, leaf);
                prop_assert!(checked.is_ok());
            }
            Err(refused) => prop_assert_eq!(checked.unwrap_err().to_string(), refused.to_string()),
        }
    }

    #[test]
    fn every_leaf_survives_encoding(leaf in a_leaf()) {
        let bytes = leaf.encode();
        prop_assume!(bytes.len() <= LEAF_BYTES_MAX);
        prop_assert_eq!(Leaf::decode(&bytes), Ok(leaf));
    }

    /// No byte of a leaf is free: a changed leaf is refused or means something else.
    #[test]
    fn every_byte_of_a_leaf_matters(leaf in a_leaf(), at in any::<prop::sample::Index>(), flip in 1u8..=255) {
        let mut bytes = leaf.encode();
        prop_assume!(bytes.len() <= LEAF_BYTES_MAX);
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(other) = Leaf::decode(&bytes) {
            prop_assert_ne!(other, leaf);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..1100)) {
        let _ = Leaf::decode(&bytes);
    }

    /// Another implementation of CBOR reads the same structure: one array of the right length, nothing behind it.
    #[test]
    fn another_cbor_reader_agrees(leaf in a_leaf()) {
        let bytes = leaf.encode();
        let mut d = minicbor::Decoder::new(&bytes);
        prop_assert_eq!(d.array().unwrap(), Some(FIELDS as u64));
        prop_assert_eq!(d.u64().unwrap(), FORMAT_VERSION);
        prop_assert_eq!(d.str().unwrap(), leaf.origin.as_str());
        prop_assert_eq!(d.u64().unwrap(), leaf.index.0);
        for _ in 3..FIELDS {
            d.skip().unwrap();
        }
        prop_assert_eq!(d.position(), bytes.len());
    }
}

#[test]
fn faults_name_their_field() {
    let check = |change: fn(&mut Leaf), expected: &str| {
        let mut leaf = example();
        change(&mut leaf);
        assert_eq!(Leaf::decode(&leaf.encode()).unwrap_err().to_string(), expected);
    };
    check(
        |l| l.previous = None,
        "field previous: absent in record 0 and only there",
    );
    check(
        |l| l.append.first = LeafIndex(2),
        "field append: does not contain the record itself",
    );
    check(
        |l| {
            l.append = AppendRange {
                first: LeafIndex(0),
                count: 1,
            }
        },
        "field append: does not contain the record itself",
    );
    check(
        |l| {
            l.append = AppendRange {
                first: LeafIndex(0),
                count: 2,
            }
        },
        "field idempotency: stands on the first record of an append only",
    );
    check(
        |l| l.origin = String::new(),
        "field origin: 0 bytes, 1 to 128 are allowed",
    );
    check(
        |l| l.payload[0].salt = Some([0; 32]),
        "field payload: key reference, salt and key commitment stand with algorithm 1 and only there",
    );
}

#[test]
fn an_unknown_version_is_told_before_its_length_is_judged() {
    let mut bytes = example().encode();
    bytes[2] = 2; // after the two-byte head of the array
    assert_eq!(Leaf::decode(&bytes), Err(LeafError::Version(2)));
}

#[test]
fn bytes_behind_a_leaf_are_refused() {
    let mut bytes = example().encode();
    bytes.push(0);
    assert!(
        Leaf::decode(&bytes)
            .unwrap_err()
            .to_string()
            .starts_with("field extensions")
    );
    assert_eq!(Leaf::decode(&[0; 1025]), Err(LeafError::TooLong(1025)));
}

/// The worked example of docs/formats/record.md, byte by byte. If this fails, stored ledgers can no longer be read.
#[test]
fn the_example_of_the_document_is_these_bytes() {
    let document = include_str!("../../../docs/formats/record.md");
    let hex: String = document
        .lines()
        .skip_while(|line| *line != "```leaf")
        .skip(1)
        .take_while(|line| *line != "```")
        .flat_map(|line| line.split('|').next().unwrap_or_default().chars())
        .filter(|c| !c.is_whitespace())
        .collect();
    assert_eq!(hex::encode(example().encode()), hex);
    let hash = document
        .lines()
        .find_map(|l| l.strip_prefix("leaf hash: "))
        .unwrap();
    assert_eq!(example().hash().to_string(), hash);
}
