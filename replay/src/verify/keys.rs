//! Idempotency: a key stands for one append, for ever, so the answer that it gives is what its records say. That is looked
//! up from the records alone: whoever repeats a command must have been given the append that claims its key, so no other
//! append may claim it, neither with the same request (carried out twice) nor with another one (which is refused).

use std::collections::HashMap;

use ruche_domain::numbers::Position;
use ruche_ledger::leaf::KeyClaim;
use ruche_ledger::store::Record;

use super::report::{Collected, Fault, KEY_REPEATED};

/// The keys that were claimed so far: layer and keyed hash, with the append that claims it and its request.
#[derive(Default)]
pub(super) struct Keys {
    claimed: HashMap<(u8, [u8; 32]), (Position, [u8; 32])>,
}

impl Keys {
    pub fn take(&mut self, record: &Record, collected: &mut Collected) {
        for claim in &record.leaf.keys {
            let key = (claim.layer as u8, claim.key);
            match self.claimed.get(&key) {
                Some((first, request)) => {
                    let detail = repeated(claim, *first, *request == claim.request);
                    collected.push(Fault::at(KEY_REPEATED, record.position, detail));
                }
                None => {
                    self.claimed.insert(key, (record.position, claim.request));
                    collected.decided(record.position, |decided| decided.keys += 1);
                }
            }
        }
    }
}

fn repeated(claim: &KeyClaim, first: Position, is_same_request: bool) -> String {
    let what = if is_same_request {
        "the same request was carried out twice"
    } else {
        "the request is another one, which had to be refused"
    };
    let layer = claim.layer.name();
    format!("a key of layer {layer} stands for the append at {first} already: {what}")
}
