//! Events of a bench: goals that clients could have set, with payloads of exactly the bytes that are asked for.

use ruche_domain::ids::uuid_v8;
use ruche_domain::ports::Random;
use uuid::Uuid;

use crate::limits::BENCH_PAYLOAD_BYTES_MIN;

/// Their type.
pub const EVENT_TYPE: &str = "goal.set";

const BEGIN: &str = r#"{"goal_id":"bench","description":""#;
const END: &str = r#""}"#;
const LETTERS: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 -";

const _: () = assert!(BEGIN.len() + END.len() < BENCH_PAYLOAD_BYTES_MIN);

/// Letters that payloads are cut from: more than any payload of a usual bench has.
const POOL_BYTES: usize = 64 * 1_024;

/// Ids and letters of one caller.
pub struct Dice {
    state: u64,
    pool: Vec<u8>,
}

impl Dice {
    /// Another sequence for every caller of every run.
    pub fn new(random: &dyn Random) -> Self {
        let mut seed = [0; 8];
        random.fill(&mut seed);
        let mut dice = Self {
            state: u64::from_le_bytes(seed),
            pool: Vec::with_capacity(POOL_BYTES),
        };
        while dice.pool.len() < POOL_BYTES {
            // Ten letters of six bits from one number.
            let mut bits = dice.roll();
            for _ in 0..10 {
                dice.pool.push(LETTERS[(bits & 63) as usize]);
                bits >>= 6;
            }
        }
        dice
    }

    /// A number (SplitMix64). Good enough for what nobody guesses at: openings come from the process's own source.
    pub fn roll(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Name of a new stream.
    pub fn uuid(&mut self) -> Uuid {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&self.roll().to_be_bytes());
        bytes[8..16].copy_from_slice(&self.roll().to_be_bytes());
        uuid_v8(&bytes)
    }

    /// A payload of so many bytes, at least [`BENCH_PAYLOAD_BYTES_MIN`]. Each is another piece of the pool and none can be
    /// compressed by much, since an engine may try to. Cutting costs next to nothing: the generator has the same cores as
    /// what it measures.
    pub fn payload(&mut self, bytes: usize) -> Vec<u8> {
        let mut payload = Vec::with_capacity(bytes.max(BENCH_PAYLOAD_BYTES_MIN));
        payload.extend_from_slice(BEGIN.as_bytes());
        let text = bytes.max(BENCH_PAYLOAD_BYTES_MIN) - END.len();
        let mut from = (self.roll() % self.pool.len() as u64) as usize;
        while payload.len() < text {
            let piece = &self.pool[from..];
            payload.extend_from_slice(&piece[..piece.len().min(text - payload.len())]);
            from = 0;
        }
        payload.extend_from_slice(END.as_bytes());
        payload
    }
}

#[cfg(test)]
mod tests {
    use ruche_ledger::testing::SeededRandom;

    use super::*;

    #[test]
    fn a_payload_has_exactly_its_bytes_and_is_a_goal() {
        let mut dice = Dice::new(&SeededRandom::new(1));
        for bytes in [BENCH_PAYLOAD_BYTES_MIN, 65, 600, 10_001] {
            let payload = dice.payload(bytes);
            assert_eq!(payload.len(), bytes);
            let value: serde_json::Value = serde_json::from_slice(&payload).unwrap();
            assert_eq!(value["goal_id"], "bench");
        }
        assert_ne!(dice.payload(600), dice.payload(600));
        assert_ne!(dice.uuid(), dice.uuid());
    }
}
