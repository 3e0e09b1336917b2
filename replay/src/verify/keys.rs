//! Idempotency: a key stands for one append, for ever, so the answer that it gives is what its records say.

use std::collections::HashMap;

use ruche_domain::numbers::Position;
use ruche_ledger::store::Record;

use super::report::{Collected, Fault, KEY_REPEATED};

/// The keys that were claimed so far: layer and keyed hash.
#[derive(Default)]
pub(super) struct Keys {
    claimed: HashMap<(u8, [u8; 32]), Position>,
}

impl Keys {
    pub fn take(&mut self, record: &Record, collected: &mut Collected) {
        for claim in &record.leaf.keys {
            let key = (claim.layer as u8, claim.key);
            match self.claimed.get(&key) {
                Some(first) => {
                    let detail = format!(
                        "a key of layer {} stands for the append at {first} already",
                        claim.layer.name()
                    );
                    collected.push(Fault::at(KEY_REPEATED, record.position, detail));
                }
                None => {
                    self.claimed.insert(key, record.position);
                    collected.decided(record.position, |decided| decided.keys += 1);
                }
            }
        }
    }
}
