//! Random numbers, or numbers that follow from a seed.

use super::error::MkfsError;

/// A source of numbers: the system, or a seed.
#[derive(Debug)]
pub(super) struct Random {
    state: Option<u64>,
    drawn: Vec<u64>,
}

impl Random {
    /// The numbers of `seed`, or random ones.
    pub(super) fn new(seed: Option<u64>) -> Result<Random, MkfsError> {
        let mut drawn = Vec::new();
        if seed.is_none() {
            let mut bytes = [0; 8 * DRAWS];
            getrandom::fill(&mut bytes).map_err(|error| MkfsError::Random(error.into()))?;
            let (words, _) = bytes.as_chunks::<8>();
            drawn.extend(words.iter().map(|word| u64::from_le_bytes(*word)));
        }
        Ok(Random { state: seed, drawn })
    }

    pub(super) fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }

    /// A UUID of version 4.
    pub(super) fn uuid(&mut self) -> [u8; 16] {
        let mut uuid = [0; 16];
        uuid[..8].copy_from_slice(&self.next_u64().to_le_bytes());
        uuid[8..].copy_from_slice(&self.next_u64().to_le_bytes());
        uuid[6] = uuid[6] & 0x0F | 0x40;
        uuid[8] = uuid[8] & 0x3F | 0x80;
        uuid
    }

    /// From a seed: SplitMix64, by Steele, Lea and Flood (2014), whose results are equally distributed for any seed.
    fn next_u64(&mut self) -> u64 {
        let Some(state) = &mut self.state else {
            return self.drawn.pop().expect("as many numbers are drawn as a volume needs");
        };
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// Numbers that a volume needs.
const DRAWS: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_give_the_published_sequence() {
        let mut random = Random::new(Some(1_234_567)).unwrap();
        let numbers: Vec<u64> = (0..3).map(|_| random.next_u64()).collect();
        assert_eq!(
            numbers,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn uuids_say_that_they_are_random_ones() {
        let uuid = Random::new(None).unwrap().uuid();
        assert_eq!((uuid[6] >> 4, uuid[8] >> 6), (4, 2));
    }
}
