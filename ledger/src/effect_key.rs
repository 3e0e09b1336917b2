//! The key that a tool is given so that it can tell a repeat. One rule for the pipeline, which gives it, and for the
//! verifier, which has the records alone; so nothing secret goes into it beside what is in the records already.
//!
//! A business key is used for one effect after the other, and a tool that remembers the one that is gone must not answer
//! with it. So the key of the effect names the generation of the business key, too.

use uuid::Uuid;

use crate::hash::Hash;

/// The generation of a business key that nobody counted: the first.
pub const FIRST_GENERATION: u32 = 1;

/// The key of the effect under a generation of a business key, 32 hex digits. `business_key` is what the stream of the
/// effect is called by. Of the first generation it is the key itself; of a later one the first half of the SHA-256 of
/// `<its 32 hex digits>/<generation>`.
pub fn effect_key(business_key: Uuid, generation: u32) -> String {
    let id = business_key.as_simple();
    if generation <= FIRST_GENERATION {
        return id.to_string();
    }
    let hash = Hash::sha256(format!("{id}/{generation}").as_bytes());
    hash.to_string()[..32].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By `printf 000102030405060708090a0b0c0d0e0f/2 | sha256sum`.
    #[test]
    fn a_key_can_be_worked_out_by_anybody() {
        let id = Uuid::from_bytes(std::array::from_fn(|at| at as u8));
        let keys = [1, 2, 10].map(|generation| effect_key(id, generation));
        assert_eq!(
            keys,
            [
                "000102030405060708090a0b0c0d0e0f",
                "b8b8fa01b0deb69d92cb10d2daca040c",
                "c00a9c7a9a0eb11f668112c9511181fc",
            ]
        );
    }
}
