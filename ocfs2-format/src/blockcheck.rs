//! The check field of metadata blocks: a CRC-32 that detects damage and a Hamming code that undoes one flipped bit.
//!
//! Blocks carry it when the `metaecc` feature is set. Both values cover the whole object (a block, or the 4096 bytes of
//! an xattr bucket) with the 8 bytes of the check field taken as zero.
//!
//! Source: on-disk reference, section 25 (Metadata checksums).

use zerocopy::little_endian as le;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::Violation;

/// The check field of a block (`ocfs2_block_check`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct BlockCheck {
    /// CRC-32 with the reflected polynomial 0xEDB88320, initial value 0xFFFFFFFF and no final inversion.
    pub bc_crc32e: le::U32,
    /// Hamming code: exclusive-or of the code positions of all bits that are set.
    pub bc_ecc: le::U16,
    /// Reserved, written as zero. Covered by neither code.
    pub bc_reserved1: le::U16,
}
const _: () = assert!(size_of::<BlockCheck>() == CHECK_BYTES && align_of::<BlockCheck>() == 1);

/// What [`BlockCheck::verify_and_correct`] found in a block that is now right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Contents and check field agree.
    Good,
    /// One bit of the contents was wrong and has been put right.
    Corrected {
        /// Byte of the block that held the bit.
        byte_offset: usize,
        /// Number of the bit in that byte, 0 is the least significant.
        bit: u8,
    },
    /// The contents are right; the check field itself was damaged and has been recomputed.
    CorrectedCheckField,
}

/// A block whose contents cannot be trusted: the CRC is wrong and no single flipped bit explains it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("checksum mismatch: stored {stored:#010x}, computed {computed:#010x}")]
pub struct BadChecksum {
    /// CRC in the check field.
    pub stored: u32,
    /// CRC of the bytes as they are.
    pub computed: u32,
}

impl From<BadChecksum> for Violation {
    fn from(BadChecksum { stored, computed }: BadChecksum) -> Violation {
        Violation::Checksum { stored, computed }
    }
}

impl BlockCheck {
    /// The check field that belongs to `block`, whose own check field lies at `check_offset`.
    ///
    /// # Panics
    /// If `block` ends before the check field does.
    ///
    /// Source: on-disk reference, section 25.1.
    #[must_use]
    pub fn compute(block: &[u8], check_offset: usize) -> BlockCheck {
        BlockCheck {
            bc_crc32e: crc(block, check_offset).into(),
            bc_ecc: ecc(block, check_offset).into(),
            bc_reserved1: le::U16::ZERO,
        }
    }

    /// The check field stored in `block` at `check_offset`.
    ///
    /// # Panics
    /// If `block` ends before the check field does.
    #[must_use]
    pub fn stored(block: &[u8], check_offset: usize) -> BlockCheck {
        let mut check = BlockCheck::new_zeroed();
        check
            .as_mut_bytes()
            .copy_from_slice(&block[check_offset..check_offset + CHECK_BYTES]);
        check
    }

    /// Writes into `block` the check field that belongs to it, as the last step before it is written.
    ///
    /// # Panics
    /// If `block` ends before the check field does.
    pub fn set(block: &mut [u8], check_offset: usize) {
        let check = BlockCheck::compute(block, check_offset);
        block[check_offset..check_offset + CHECK_BYTES].copy_from_slice(check.as_bytes());
    }

    /// Whether the CRC stored in `block` is right, which is all a reader needs to know of an undamaged block.
    ///
    /// # Panics
    /// If `block` ends before the check field does.
    #[must_use]
    pub fn is_good(block: &[u8], check_offset: usize) -> bool {
        BlockCheck::stored(block, check_offset).bc_crc32e.get() == crc(block, check_offset)
    }

    /// Checks `block` and undoes one flipped bit, in memory only.
    ///
    /// A right CRC settles that the contents are right, as it does for the kernel driver; a wrong ECC beside it only
    /// means that the ECC was hit, and is recomputed. With a wrong CRC, a single flipped bit is undone if that makes
    /// contents, CRC and ECC agree. Unlike the kernel driver, a flipped bit of the CRC itself counts as one, since the
    /// ECC vouches for the contents.
    ///
    /// # Errors
    /// [`BadChecksum`] if no single flipped bit explains the difference. The block is then unchanged.
    ///
    /// # Panics
    /// If `block` ends before the check field does.
    ///
    /// Source: on-disk reference, section 25.2.
    pub fn verify_and_correct(block: &mut [u8], check_offset: usize) -> Result<Verdict, BadChecksum> {
        let stored = BlockCheck::stored(block, check_offset);
        let computed = BlockCheck::compute(block, check_offset);
        let difference = stored.bc_ecc.get() ^ computed.bc_ecc.get();
        if stored.bc_crc32e == computed.bc_crc32e {
            if difference == 0 {
                return Ok(Verdict::Good);
            }
            BlockCheck::set(block, check_offset);
            return Ok(Verdict::CorrectedCheckField);
        }
        let bad = BadChecksum {
            stored: stored.bc_crc32e.get(),
            computed: computed.bc_crc32e.get(),
        };
        if difference == 0 {
            // Two flipped bits of the contents never cancel out in the ECC, so here they are as they were written.
            if (bad.stored ^ bad.computed).is_power_of_two() {
                BlockCheck::set(block, check_offset);
                return Ok(Verdict::CorrectedCheckField);
            }
            return Err(bad);
        }
        let Some(index) = data_bit(u32::from(difference)) else {
            return Err(bad);
        };
        let byte_offset = index as usize / 8;
        let bit = (index % 8) as u8;
        let Some(byte) = block.get_mut(byte_offset) else {
            return Err(bad);
        };
        *byte ^= 1 << bit;
        if crc(block, check_offset) == bad.stored {
            return Ok(Verdict::Corrected { byte_offset, bit });
        }
        block[byte_offset] ^= 1 << bit;
        Err(bad)
    }
}

/// CRC of the block with its check field taken as zero.
fn crc(block: &[u8], check_offset: usize) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&block[..check_offset]);
    hasher.update(&[0; CHECK_BYTES]);
    hasher.update(&block[check_offset + CHECK_BYTES..]);
    // The on-disk value lacks the final inversion that the common CRC-32 has.
    !hasher.finalize()
}

/// Hamming code of the block with its check field taken as zero.
fn ecc(block: &[u8], check_offset: usize) -> u16 {
    // The code is linear: what the bits of the check field contribute can be taken out again afterwards.
    let mut field = [0; CHECK_BYTES];
    field.copy_from_slice(&block[check_offset..check_offset + CHECK_BYTES]);
    let mut bits = u64::from_le_bytes(field);
    let first = check_offset as u32 * 8;
    let mut code = hamming(block);
    while bits != 0 {
        code ^= code_position(first + bits.trailing_zeros());
        bits &= bits - 1;
    }
    code as u16
}

/// Exclusive-or of the code positions of all bits that are set in `data`.
///
/// Think of the code word: the data bits in order, with a zero inserted at position 0 and at every power of two. Between
/// two powers of two it is the data shifted by a constant, so its 64-bit words are made by two shifts each. The position
/// of a bit is then `group << 12 | column << 6 | bit` (a group is 64 words), and each of the three parts needs only the
/// exclusive-or of the words that share it.
fn hamming(data: &[u8]) -> u32 {
    let (whole, rest) = data.split_at(data.len() - data.len() % 8);
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    // A length that is a multiple of 8 makes whole words; a remainder is one more word, padded with zeros.
    let words = <[le::U64]>::ref_from_bytes(whole).unwrap_or_default();
    let word_at = |index: usize| match words.get(index) {
        Some(word) => word.get(),
        None if index == words.len() => u64::from_le_bytes(last),
        None => 0,
    };

    let mut columns = [0u64; GROUP_WORDS];
    let mut code = 0;

    // Group 0: the distance between data and code word changes inside it.
    columns[0] = first_code_word(word_at(0));
    for (index, column) in columns.iter_mut().enumerate().skip(1) {
        *column = code_word(word_at(index - 1), word_at(index), shift_of(index));
        *column &= without_power_of_two(index);
    }

    // The others: one distance per group, and a power of two at most in front.
    let code_words = words.len() + 2;
    for start in (GROUP_WORDS..code_words).step_by(GROUP_WORDS) {
        let shift = shift_of(start);
        let mut row = 0;
        let mut add = |column: &mut u64, word: u64| {
            *column ^= word;
            row ^= word;
        };
        let mask = without_power_of_two(start);
        add(
            &mut columns[0],
            code_word(word_at(start - 1), word_at(start), shift) & mask,
        );
        let end = (start + GROUP_WORDS).min(words.len());
        let before = words.get(start..end.saturating_sub(1)).unwrap_or_default();
        let here = words.get(start + 1..end).unwrap_or_default();
        for ((column, before), here) in columns[1..].iter_mut().zip(before).zip(here) {
            add(column, code_word(before.get(), here.get(), shift));
        }
        // Past the last whole word: the remainder, and the bits that the shift pushes out of the last data word.
        let group_end = (start + GROUP_WORDS).min(code_words);
        for index in end.max(start + 1)..group_end {
            add(
                &mut columns[index - start],
                code_word(word_at(index - 1), word_at(index), shift),
            );
        }
        if row.count_ones() % 2 == 1 {
            code ^= (start as u32) << 6;
        }
    }

    // Fold the columns in half until one word is left; what the upper half holds counts for one bit of their number.
    let mut columns = columns.as_mut_slice();
    while columns.len() > 1 {
        let half = columns.len() / 2;
        let (low, high) = columns.split_at_mut(half);
        let mut upper = 0;
        for (low, high) in low.iter_mut().zip(high) {
            upper ^= *high;
            *low ^= *high;
        }
        code ^= ((upper.count_ones() % 2) * half as u32) << 6;
        columns = low;
    }
    for (bit, mask) in BIT_MASKS.iter().enumerate() {
        code ^= ((columns[0] & mask).count_ones() % 2) << bit;
    }
    code
}

/// Word 0 of the code word, in which the distance to the data changes at every power of two.
fn first_code_word(data: u64) -> u64 {
    (1..=5).fold(0, |word, power| {
        let positions = (1u128 << (2u32 << power)) - (1u128 << ((1u32 << power) + 1));
        word | (data << (power + 2)) & positions as u64
    })
}

/// A later word of the code word, from the two data words it takes its bits from.
fn code_word(before: u64, here: u64, shift: u32) -> u64 {
    here << shift | before >> (64 - shift)
}

/// Distance between a bit in the data and its place in the given word of the code word, which is not word 0.
fn shift_of(word: usize) -> u32 {
    word.ilog2() + 8
}

/// Clears the first position of a word if it is a power of two, where the code word holds no data.
fn without_power_of_two(word: usize) -> u64 {
    !u64::from(word.is_power_of_two())
}

/// Code position of a data bit: the `index`-th positive integer, from 0, that is not a power of two.
fn code_position(index: u32) -> u32 {
    // 2^power is the largest power of two below the position; power + 1 of them, and 0, were skipped on the way.
    let low = (index + 1).ilog2();
    let power = low + u32::from((2 << low) - low - 2 <= index);
    index + power + 2
}

/// The data bit at a code position, or `None` at zero and at the powers of two.
fn data_bit(position: u32) -> Option<u32> {
    if position == 0 || position.is_power_of_two() {
        return None;
    }
    Some(position - position.ilog2() - 2)
}

const CHECK_BYTES: usize = 8;
/// Words of the code word handled together: their positions share all but the lowest 12 bits.
const GROUP_WORDS: usize = 64;
/// The bits of a word whose number has bit 0, 1, ... 5 set.
const BIT_MASKS: [u64; 6] = [
    0xAAAA_AAAA_AAAA_AAAA,
    0xCCCC_CCCC_CCCC_CCCC,
    0xF0F0_F0F0_F0F0_F0F0,
    0xFF00_FF00_FF00_FF00,
    0xFFFF_0000_FFFF_0000,
    0xFFFF_FFFF_0000_0000,
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, bit by bit.
    fn slow_hamming(data: &[u8]) -> u32 {
        let mut positions = (1u32..).filter(|p| !p.is_power_of_two());
        let mut code = 0;
        for byte in data {
            for bit in 0..8 {
                let position = positions.next().unwrap();
                if byte >> bit & 1 == 1 {
                    code ^= position;
                }
            }
        }
        code
    }

    fn check_of(block: &[u8]) -> (u32, u16) {
        // The vectors are of blocks without a check field; one of zeros behind the block changes no position.
        (!crc32fast::hash(block), hamming(block) as u16)
    }

    #[test]
    fn crc_is_the_common_one_without_inversion() {
        assert_eq!(check_of(b"123456789").0, 0x340B_C6D9);
    }

    #[test]
    fn blocks_have_the_documented_codes() {
        let rows = [
            (512, 0x4D55_8A87, (0xE39E_CA89, 0x1F72), (0x4284_3C60, 0x1FFE)),
            (1024, 0x104A_50D1, (0x48F4_B3D9, 0x1F7C), (0x47C5_000B, 0x1FF0)),
            (2048, 0x0E17_4561, (0x60A1_22A7, 0x7F73), (0xC0AA_2E80, 0x7FFF)),
            (4096, 0x38E3_FFEE, (0x5D6E_DF7D, 0xBF62), (0x0EAB_98F5, 0x7FEF)),
        ];
        for (size, zeros, counting, ones) in rows {
            assert_eq!(check_of(&vec![0; size]), (zeros, 0));
            assert_eq!(check_of(&(0..size).map(|i| i as u8).collect::<Vec<_>>()), counting);
            assert_eq!(check_of(&vec![0xFF; size]), ones);
        }
    }

    #[test]
    fn single_bits_have_the_documented_codes() {
        let one_bit = |k: usize| {
            let mut block = vec![0u8; 4096];
            block[k / 8] |= 1 << (k % 8);
            block
        };
        assert_eq!(check_of(&one_bit(0)), (0x623B_56C2, 0x0003));
        assert_eq!(check_of(&one_bit(1)), (0x8D52_ADB6, 0x0005));
        assert_eq!(check_of(&one_bit(7)).1, 0x000C);
        assert_eq!(check_of(&one_bit(8)).1, 0x000D);
        assert_eq!(check_of(&one_bit(32767)).1, 0x8010);
    }

    #[test]
    fn code_positions_skip_the_powers_of_two() {
        let positions = (1u32..).filter(|p| !p.is_power_of_two());
        for (index, position) in positions.take(70_000).enumerate() {
            assert_eq!(code_position(index as u32), position);
            assert_eq!(data_bit(position), Some(index as u32));
        }
        assert!([0, 1, 2, 4, 0x8000].iter().all(|&p| data_bit(p).is_none()));
    }

    /// A block with contents from a seed, a check field at one of the places blocks have it, and that place.
    fn checked_block() -> impl Strategy<Value = (Vec<u8>, usize)> {
        let sizes = prop_oneof![Just(512usize), Just(1024), Just(2048), Just(4096)];
        (
            sizes,
            prop_oneof![
                Just(0x80),
                Just(8),
                Just(0x30),
                Just(0x18),
                Just(0x20),
                Just(usize::MAX)
            ],
        )
            .prop_flat_map(|(size, at)| (proptest::collection::vec(any::<u8>(), size), Just(at.min(size - 8))))
            .prop_map(|(mut block, at)| {
                BlockCheck::set(&mut block, at);
                (block, at)
            })
    }

    fn flip(block: &mut [u8], bit: usize) {
        block[bit / 8] ^= 1 << (bit % 8);
    }

    fn is_reserved(at: usize, bit: usize) -> bool {
        (at + 6..at + 8).contains(&(bit / 8))
    }

    fn is_in_ecc(at: usize, bit: usize) -> bool {
        (at + 4..at + 6).contains(&(bit / 8))
    }

    #[test]
    fn every_single_flipped_bit_of_a_small_block_is_corrected() {
        let mut block: Vec<u8> = (0..512u32).map(|i| (i * i + 7) as u8).collect();
        let at = 0x80;
        BlockCheck::set(&mut block, at);
        for bit in (0..512 * 8).filter(|&bit| !is_reserved(at, bit)) {
            let mut damaged = block.clone();
            flip(&mut damaged, bit);
            let verdict = BlockCheck::verify_and_correct(&mut damaged, at);
            let expected = if (at..at + 8).contains(&(bit / 8)) {
                Verdict::CorrectedCheckField
            } else {
                Verdict::Corrected {
                    byte_offset: bit / 8,
                    bit: (bit % 8) as u8,
                }
            };
            assert_eq!(verdict, Ok(expected));
            assert_eq!(damaged, block, "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn fast_code_equals_the_definition(data in proptest::collection::vec(any::<u8>(), 0..=4200)) {
            prop_assert_eq!(hamming(&data), slow_hamming(&data));
        }

        #[test]
        fn check_field_counts_as_zero((mut block, at) in checked_block()) {
            let check = BlockCheck::stored(&block, at);
            prop_assert_eq!(check, BlockCheck::compute(&block, at));
            prop_assert!(BlockCheck::is_good(&block, at));
            prop_assert_eq!(BlockCheck::verify_and_correct(&mut block, at), Ok(Verdict::Good));
            block[at..at + 8].fill(0);
            prop_assert_eq!(check_of(&block), (check.bc_crc32e.get(), check.bc_ecc.get()));
        }

        #[test]
        fn one_flipped_bit_is_corrected((block, at) in checked_block(), bit in any::<prop::sample::Index>()) {
            let bit = bit.index(block.len() * 8);
            prop_assume!(!is_reserved(at, bit));
            let mut damaged = block.clone();
            flip(&mut damaged, bit);
            prop_assert_ne!(BlockCheck::verify_and_correct(&mut damaged, at), Ok(Verdict::Good));
            prop_assert_eq!(damaged, block);
        }

        #[test]
        fn two_flipped_bits_are_never_taken_for_one(
            (block, at) in checked_block(),
            bits in any::<[prop::sample::Index; 2]>(),
            near_field in any::<[bool; 2]>(),
        ) {
            let pick = |i: usize| match near_field[i] {
                true => at * 8 + bits[i].index(48),
                false => bits[i].index(block.len() * 8),
            };
            let (first, second) = (pick(0), pick(1));
            prop_assume!(first != second && !is_reserved(at, first) && !is_reserved(at, second));
            let mut damaged = block.clone();
            flip(&mut damaged, first);
            flip(&mut damaged, second);
            let before = damaged.clone();
            let verdict = BlockCheck::verify_and_correct(&mut damaged, at);
            if is_in_ecc(at, first) && is_in_ecc(at, second) {
                // Nothing the CRC covers was hit.
                prop_assert_eq!(verdict, Ok(Verdict::CorrectedCheckField));
                prop_assert_eq!(damaged, block);
            } else {
                prop_assert!(verdict.is_err());
                prop_assert_eq!(damaged, before);
            }
        }

        #[test]
        fn reserved_bits_are_not_checked((mut block, at) in checked_block(), reserved in any::<[u8; 2]>()) {
            block[at + 6..at + 8].copy_from_slice(&reserved);
            prop_assert_eq!(BlockCheck::verify_and_correct(&mut block, at), Ok(Verdict::Good));
        }
    }
}
