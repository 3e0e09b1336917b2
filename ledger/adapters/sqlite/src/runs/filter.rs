//! A Bloom filter whose bits for one entry lie on one cache line: "certainly not here" for the price of one miss.

/// Bits of the filter for each entry. With 7 bits set in a line of 512, about 6 in 1,000 absent entries look present.
const BITS_PER_ENTRY: u64 = 12;
/// Words of a cache line.
const LINE_WORDS: usize = 8;
/// Bits set for each entry.
const BITS_SET: u32 = 7;

/// What a run may hold. Never says no to an entry that was inserted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    words: Vec<u64>,
}

impl Filter {
    /// An empty filter, of the size for that many entries.
    pub(crate) fn for_entries(entries: u64) -> Self {
        let lines = (entries * BITS_PER_ENTRY).div_ceil(64 * LINE_WORDS as u64).max(1);
        Self {
            words: vec![0; lines as usize * LINE_WORDS],
        }
    }

    pub(crate) fn insert(&mut self, fingerprint: u64) {
        let (line, bits) = self.place(fingerprint);
        for (word, bit) in bits {
            self.words[line + word] |= bit;
        }
    }

    /// False if the fingerprint was certainly not inserted.
    pub(crate) fn may_hold(&self, fingerprint: u64) -> bool {
        let (line, mut bits) = self.place(fingerprint);
        bits.all(|(word, bit)| self.words[line + word] & bit != 0)
    }

    /// First word of the line of a fingerprint, and its bits there.
    fn place(&self, fingerprint: u64) -> (usize, impl Iterator<Item = (usize, u64)> + use<>) {
        let hash = mix(fingerprint);
        let lines = (self.words.len() / LINE_WORDS) as u64;
        let line = (u128::from(hash) * u128::from(lines)) >> 64;
        let bits = mix(hash);
        let bits = (0..BITS_SET).map(move |n| {
            let bit = (bits >> (9 * n)) & 511;
            ((bit >> 6) as usize, 1 << (bit & 63))
        });
        (line as usize * LINE_WORDS, bits)
    }

    /// The stored form: words, little-endian.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// Of the stored form; `None` for bytes that are no whole lines.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<8>();
        let whole = rest.is_empty() && !words.is_empty() && words.len().is_multiple_of(LINE_WORDS);
        whole.then(|| Self {
            words: words.iter().map(|word| u64::from_le_bytes(*word)).collect(),
        })
    }
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014): every bit of the input changes half of the output.
fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_inserted_is_found_and_little_else() {
        let mut filter = Filter::for_entries(20_000);
        (0..20_000).for_each(|n| filter.insert(n));
        assert!((0..20_000).all(|n| filter.may_hold(n)));
        let wrong = (20_000..120_000).filter(|n| filter.may_hold(*n)).count();
        assert!(wrong < 1_500, "{wrong} of 100,000 absent entries look present");
    }

    #[test]
    fn the_stored_form_is_the_same_filter() {
        let mut filter = Filter::for_entries(100);
        filter.insert(7);
        assert_eq!(Filter::from_bytes(&filter.to_bytes()), Some(filter));
        assert_eq!(Filter::from_bytes(&[0; 63]), None);
        assert_eq!(Filter::from_bytes(&[]), None);
    }
}
