//! Reservations: which part of the local alloc window each file grows into, so that files that grow at the same time do
//! not interleave cluster by cluster.
//!
//! Nothing of this is on disk, and nothing depends on it: a reserved cluster is taken by somebody else when all others are
//! gone.
//!
//! Source: Linux 6.1 kernel behaviour (`resv_level`).

use std::collections::{BTreeMap, HashMap};

use ocfs2_format::{ClusterNo, InodeNo};

use super::bits::{self, BitRun};

/// The reservations in one window.
#[derive(Debug, Default)]
pub(super) struct Reservations {
    /// The window they belong to.
    window: (ClusterNo, u16),
    /// What each owner has.
    runs: HashMap<InodeNo, Reserved>,
    /// Owners by when they last used theirs.
    by_age: BTreeMap<u64, InodeNo>,
    /// Reserved bits.
    reserved: Vec<u8>,
    clock: u64,
}

#[derive(Clone, Copy, Debug)]
struct Reserved {
    run: BitRun,
    used: u64,
}

/// What an owner asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) owner: InodeNo,
    /// The bit behind what it has already.
    pub(super) goal: Option<u16>,
    pub(super) min: u16,
    pub(super) max: u16,
    /// How many bits to keep for it; 0 for none.
    pub(super) keep: u16,
    /// Clusters of whose multiples one is to be the first, where it is the first of a new run.
    pub(super) align: u16,
}

impl Reservations {
    /// Reservations given up for a request that would get little without.
    const GIVEN_UP_FOR_LENGTH: u32 = 8;
    /// A run as long as this is long enough for that not to be done.
    const LONG: u16 = 64;

    /// Starts anew if the window is another one.
    pub(super) fn enter(&mut self, start: ClusterNo, total: u16) {
        if self.window != (start, total) {
            *self = Reservations {
                window: (start, total),
                reserved: vec![0; usize::from(total).div_ceil(8)],
                ..Reservations::default()
            };
        }
    }

    /// Finds bits of the window for an owner and moves its reservation behind them. `bitmap` is the window's.
    pub(super) fn find(&mut self, bitmap: &[u8], request: &Request) -> Option<BitRun> {
        let bits = self.window.1;
        let kept = self.forget(request.owner);
        let run = self.find_run(bitmap, bits, kept, request)?;
        let next = run.0 + run.1;
        let keep = if request.keep == 0 {
            0
        } else {
            // What is left of the run that was kept; a new one if nothing is.
            let left = kept.map_or(0, |(start, len)| {
                if (start..start + len).contains(&next) {
                    start + len - next
                } else {
                    0
                }
            });
            if left > 0 {
                left
            } else {
                request.keep.saturating_sub(run.1)
            }
        };
        let keep = self.clear_from(bitmap, next, keep);
        if keep > 0 {
            self.keep(request.owner, (next, keep));
        }
        Some(run)
    }

    fn find_run(&mut self, bitmap: &[u8], bits: u16, kept: Option<BitRun>, request: &Request) -> Option<BitRun> {
        let Request { min, max, .. } = *request;
        let mut given_up = 0;
        loop {
            for at in [request.goal, kept.map(|(start, _)| start)].into_iter().flatten() {
                let run = self.clear_from(bitmap, at, max);
                if run >= min.max(1) {
                    return Some((at, run));
                }
            }
            let busy = self.busy(bitmap);
            // A hole with room for what is kept behind it.
            let room = max.max(request.keep);
            let found = bits::choose(&busy, bits, None, min, room)
                .map(|(start, len)| bits::aligned(&busy, bits, (start, len.min(max)), self.window.0.0, request.align));
            let is_long = found.is_some_and(|(_, len)| len >= max.min(Self::LONG));
            let give_up = found.is_none() || (!is_long && given_up < Self::GIVEN_UP_FOR_LENGTH);
            let oldest = self.by_age.values().next().copied();
            match oldest.filter(|_| give_up) {
                Some(oldest) => {
                    self.forget(oldest);
                    given_up += 1;
                }
                None => return found,
            }
        }
    }

    /// Bits from `start` on, `max` at most, that are neither taken nor kept for somebody.
    fn clear_from(&self, bitmap: &[u8], start: u16, max: u16) -> u16 {
        let untaken = bits::clear_from(bitmap, self.window.1, start, max);
        bits::clear_from(&self.reserved, self.window.1, start, untaken)
    }

    /// The window's bits that are taken or kept for somebody.
    fn busy(&self, bitmap: &[u8]) -> Vec<u8> {
        bitmap
            .iter()
            .zip(&self.reserved)
            .map(|(taken, reserved)| taken | reserved)
            .collect()
    }

    fn keep(&mut self, owner: InodeNo, run: BitRun) {
        self.clock += 1;
        let used = self.clock;
        self.by_age.insert(used, owner);
        self.runs.insert(owner, Reserved { run, used });
        bits::flip(&mut self.reserved, run, true);
    }

    /// Gives up what an owner has.
    pub(super) fn forget(&mut self, owner: InodeNo) -> Option<BitRun> {
        let Reserved { run, used } = self.runs.remove(&owner)?;
        self.by_age.remove(&used);
        bits::flip(&mut self.reserved, run, false);
        Some(run)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(owner: u64, goal: Option<u16>, max: u16) -> Request {
        Request {
            owner: InodeNo(owner),
            goal,
            min: 1,
            max,
            keep: 16,
            align: 1,
        }
    }

    #[test]
    fn files_that_grow_in_turn_get_a_few_long_extents() {
        let mut bitmap = vec![0; 128];
        let mut reservations = Reservations::default();
        reservations.enter(ClusterNo(1000), 1024);
        let mut extents = [0; 4];
        let mut ends = [None; 4];
        for _ in 0..100 {
            for file in 0..4 {
                let run = reservations
                    .find(&bitmap, &request(file as u64, ends[file], 1))
                    .unwrap();
                assert!(bits::flip(&mut bitmap, run, true));
                extents[file] += i32::from(ends[file] != Some(run.0));
                ends[file] = Some(run.0 + run.1);
            }
        }
        assert!(extents.iter().all(|&extents| extents <= 7), "{extents:?}");
    }

    #[test]
    fn what_is_kept_for_others_is_taken_last() {
        let mut bitmap = vec![0; 4];
        let mut reservations = Reservations::default();
        reservations.enter(ClusterNo(1000), 32);
        for owner in 0..32 {
            let run = reservations.find(&bitmap, &request(owner, None, 1)).unwrap();
            assert!(bits::flip(&mut bitmap, run, true));
        }
        assert_eq!(reservations.find(&bitmap, &request(99, None, 1)), None);
    }

    #[test]
    fn another_window_has_no_reservations() {
        let mut reservations = Reservations::default();
        reservations.enter(ClusterNo(8), 16);
        reservations.find(&[0; 2], &request(1, None, 1)).unwrap();
        reservations.enter(ClusterNo(100), 16);
        assert_eq!(reservations.find(&[0; 2], &request(2, None, 16)), Some((0, 16)));
    }

    proptest! {
        #[test]
        fn what_is_found_was_free(steps in prop::collection::vec((0u64..6, 1u16..40, any::<bool>(), 0u16..5), 1..80)) {
            let mut bitmap = vec![0; 40];
            let mut reservations = Reservations::default();
            reservations.enter(ClusterNo(1), 317);
            let mut free = 317;
            let mut ends = [None; 6];
            for (owner, max, at_end, level) in steps {
                let mut ask = request(owner, if at_end { ends[owner as usize] } else { None }, max);
                ask.keep = if level == 0 { 0 } else { 4 << level };
                match reservations.find(&bitmap, &ask) {
                    Some(run) => {
                        prop_assert!(run.1 >= 1 && run.1 <= max && run.0 + run.1 <= 317);
                        prop_assert!(bits::flip(&mut bitmap, run, true));
                        free -= run.1;
                        ends[owner as usize] = Some(run.0 + run.1);
                    }
                    None => prop_assert_eq!(free, 0),
                }
            }
        }
    }
}
