//! Runs of bits: finding clear ones, setting and clearing them.
//!
//! Bit n of a bitmap is bit n % 8 of byte n / 8; 1 means in use.
//!
//! Source: on-disk reference, sections 0 and 11.

use crate::alloc::{find_bit, free_runs};

/// A run of bits: the first, and how many.
pub(super) type BitRun = (u16, u16);

/// The run of clear bits to take: at `goal` if that is clear and enough follow, else the first behind the goal that has
/// `max` bits, else the longest. None has fewer than `min`; `max` is the most that is taken.
pub(super) fn choose(busy: &[u8], bits: u16, goal: Option<u16>, min: u16, max: u16) -> Option<BitRun> {
    let goal = goal.filter(|&goal| goal < bits).unwrap_or(0);
    let run = clear_from(busy, bits, goal, max);
    if run >= min.max(1) && goal != 0 {
        return Some((goal, run));
    }
    let mut longest: Option<BitRun> = None;
    let mut first: Option<BitRun> = None;
    for (start, len) in free_runs(busy, bits) {
        // What is left of a run that the goal lies in.
        let behind = if start < goal && goal < start + len {
            (goal, start + len - goal)
        } else {
            (start, len)
        };
        if behind.0 >= goal && behind.1 >= max {
            return Some((behind.0, max));
        }
        if len >= max && first.is_none() {
            first = Some((start, max));
        }
        if longest.is_none_or(|(_, longest)| len > longest) {
            longest = Some((start, len));
        }
    }
    first.or(longest.filter(|&(_, len)| len >= min.max(1)))
}

/// A run as long as `run`, which is clear, that begins a little behind it at a multiple of `to`, counted from `base` before
/// the first bit. `run` itself if that would be in the way of others.
pub(super) fn aligned(busy: &[u8], bits: u16, run: BitRun, base: u32, to: u16) -> BitRun {
    let at = u64::from(base) + u64::from(run.0);
    let skipped = at.next_multiple_of(to.max(1).into()) - at;
    match u16::try_from(u64::from(run.0) + skipped) {
        Ok(start) if clear_from(busy, bits, start, run.1) == run.1 => (start, run.1),
        _ => run,
    }
}

/// Clear bits from `start`, `max` at most.
pub(super) fn clear_from(busy: &[u8], bits: u16, start: u16, max: u16) -> u16 {
    let end = bits.min(start.saturating_add(max));
    find_bit(busy, start, end, true).unwrap_or(end).saturating_sub(start)
}

/// The first of `len` clear bits next to each other, at or behind `from`.
pub(super) fn find_run(busy: &[u8], bits: u16, from: u16, len: u16) -> Option<u16> {
    let mut next = from;
    loop {
        let start = find_bit(busy, next, bits, false)?;
        let run = clear_from(busy, bits, start, len);
        if run >= len {
            return Some(start);
        }
        next = start + run;
    }
}

/// The first clear bit at or behind `from`, or else before it.
pub(super) fn first_clear(busy: &[u8], bits: u16, from: u16) -> Option<u16> {
    find_bit(busy, from, bits, false).or_else(|| find_bit(busy, 0, from.min(bits), false))
}

/// Sets or clears a run. `false`, with nothing changed, if not all of it was the other way round, or in the bitmap.
pub(super) fn flip(bitmap: &mut [u8], (start, len): BitRun, set: bool) -> bool {
    let range = usize::from(start)..usize::from(start) + usize::from(len);
    // The bits of the range in each byte that has some.
    let masks = (range.start / 8..range.end.div_ceil(8)).map(|index| {
        let (from, to) = (
            range.start.max(index * 8) - index * 8,
            range.end.min(index * 8 + 8) - index * 8,
        );
        (index, (0xFFu8 << from) & (0xFFu8 >> (8 - to)))
    });
    let is_other_way = |(index, mask): (usize, u8)| {
        let old = bitmap.get(index).map(|byte| byte & mask);
        old == Some(if set { 0 } else { mask })
    };
    if !masks.clone().all(is_other_way) {
        return false;
    }
    for (index, mask) in masks {
        if let Some(byte) = bitmap.get_mut(index) {
            *byte ^= mask;
        }
    }
    true
}

/// Sets a bit, which the caller knows to lie in the bitmap; one beyond it is left alone.
pub(super) fn mark(bitmap: &mut [u8], bit: usize) {
    if let Some(byte) = bitmap.get_mut(bit / 8) {
        *byte |= 1 << (bit % 8);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_run_begins_at_a_multiple_where_that_takes_nothing_from_it() {
        let busy = [0b0000_0111, 0, 0, 0b1000_0000];
        assert_eq!(aligned(&busy, 32, (3, 8), 0, 8), (8, 8));
        assert_eq!(aligned(&busy, 32, (3, 8), 5, 8), (3, 8));
        assert_eq!(aligned(&busy, 32, (3, 8), 1, 8), (7, 8));
        // There are 23 clear bits from the multiple on, and not 24.
        assert_eq!(aligned(&busy, 32, (3, 23), 0, 8), (8, 23));
        assert_eq!(aligned(&busy, 32, (3, 24), 0, 8), (3, 24));
        assert_eq!(aligned(&busy, 32, (30, 1), 0, 8), (30, 1));
        assert_eq!(aligned(&busy, 32, (3, 8), 0, 1), (3, 8));
    }

    proptest! {
        #[test]
        fn a_chosen_run_is_clear_and_as_long_as_can_be(
            busy in prop::collection::vec(prop_oneof![Just(0u8), Just(0xFF), any::<u8>()], 1..12),
            goal in 0u16..110,
            min in 1u16..20,
            more in 0u16..20,
        ) {
            let bits = busy.len() as u16 * 8 - 3;
            let max = min + more;
            let chosen = choose(&busy, bits, Some(goal), min, max);
            let longest = free_runs(&busy, bits).map(|(_, len)| len).max().unwrap_or(0);
            match chosen {
                None => prop_assert!(longest < min),
                Some((start, len)) => {
                    prop_assert!(len >= min && len <= max && start + len <= bits);
                    prop_assert_eq!(clear_from(&busy, bits, start, len), len);
                    let at_goal = start == goal && goal != 0;
                    prop_assert!(at_goal || len == longest.min(max));
                }
            }
        }

        #[test]
        fn flipping_a_run_there_and_back_changes_nothing(start in 0u16..60, len in 1u16..30) {
            let mut bitmap = [0u8; 12];
            prop_assert!(flip(&mut bitmap, (start, len), true));
            prop_assert_eq!(clear_from(&bitmap, 96, start, 96), 0);
            prop_assert!(!flip(&mut bitmap, (start, 1), true));
            prop_assert!(flip(&mut bitmap, (start, len), false));
            prop_assert_eq!(bitmap, [0u8; 12]);
        }
    }

    #[test]
    fn a_run_beyond_the_bitmap_is_refused() {
        let mut bitmap = [0u8; 2];
        assert!(!flip(&mut bitmap, (10, 7), true));
        assert_eq!(bitmap, [0; 2]);
    }

    #[test]
    fn the_first_clear_bit_is_looked_for_from_the_hint_on() {
        let bitmap = [0b0000_0001, 0xFF, 0];
        assert_eq!(first_clear(&bitmap, 24, 0), Some(1));
        assert_eq!(first_clear(&bitmap, 24, 5), Some(5));
        assert_eq!(first_clear(&bitmap, 24, 8), Some(16));
        assert_eq!(first_clear(&bitmap, 16, 8), Some(1));
        assert_eq!(first_clear(&[0xFF], 8, 0), None);
    }
}
