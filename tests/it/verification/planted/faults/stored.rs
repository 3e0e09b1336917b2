//! Faults of stored bytes: hashes, links, versions and times that do not fit, under a good signature.

use ruche_domain::numbers::Micros;
use ruche_ledger::hash::Hash;
use ruche_ledger::payload::StoredFragment;
use ruche_ledger::verify::FindingKind::*;

use super::{Fault, Takes};

const TURN: Takes = Takes::Turn(
    &["turn.opened", "turn.started", "turn.committed", "message.sent"],
    &[],
);

pub const STORED: &[Fault] = &[
    Fault {
        name: "a gap in a stream",
        takes: TURN,
        plant: |work, of| {
            let at = of.at(work, "turn.started");
            work.records[at].skips = true;
        },
        found: &[(StreamBroken, "turn.started")],
    },
    Fault {
        name: "a record that names another one before it",
        takes: TURN,
        plant: |work, of| {
            let at = of.at(work, "turn.started");
            work.records[at].bend = Some(|leaf| leaf.previous = Some(Hash([1; 32])));
        },
        found: &[(ChainBroken, "turn.started")],
    },
    Fault {
        name: "a record that was taken before the one in front of it",
        takes: TURN,
        plant: |work, of| {
            let at = of.at(work, "turn.started");
            work.records[at].bend = Some(|leaf| leaf.recorded_at = Micros(1));
        },
        found: &[(TimeReversed, "turn.started")],
    },
    Fault {
        name: "one event twice",
        takes: TURN,
        plant: |work, of| {
            let first = work.records[of.at(work, "turn.opened")].leaf.event.event_id;
            let at = of.at(work, "turn.started");
            work.records[at].leaf.event.event_id = first;
        },
        found: &[(EventIdRepeated, "turn.started")],
    },
    Fault {
        name: "other words than were said",
        takes: TURN,
        plant: |work, of| {
            let at = of.at(work, "message.sent");
            let StoredFragment::Present { bytes, .. } = &mut work.records[at].payload[0] else {
                panic!("nothing was erased");
            };
            *bytes.last_mut().expect("they say something") ^= 1;
        },
        found: &[(PayloadMismatch, "message.sent")],
    },
    Fault {
        name: "words that are not there",
        takes: TURN,
        plant: |work, of| {
            let at = of.at(work, "message.sent");
            work.records[at].payload[0] = StoredFragment::Missing;
        },
        found: &[(PayloadMissing, "message.sent")],
    },
];
