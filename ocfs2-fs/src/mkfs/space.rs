//! Which clusters of a volume that is being planned are taken, and by what rule the next ones are found.
//!
//! Source: on-disk reference, sections 6.2 and 7.1; the placement of mkfs.ocfs2 1.8.7.

use std::collections::BTreeMap;
use std::ops::Range;

use ocfs2_format::{ClusterNo, Geometry};

/// A run of clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) start: ClusterNo,
    pub(super) len: u32,
}

impl Run {
    fn new(start: u32, len: u32) -> Run {
        Run {
            start: ClusterNo(start),
            len,
        }
    }

    fn range(self) -> Range<u32> {
        // A run lies in a volume, whose cluster count has 32 bits.
        self.start.0..self.start.0 + self.len
    }
}

/// The clusters of a volume, taken group by group from the front.
///
/// Nothing is ever given back, so a volume of any size is described by what has been taken: a few runs in the groups at
/// its front, and single clusters reserved further on.
#[derive(Clone, Debug)]
pub(super) struct Space {
    per_group: u32,
    clusters: u32,
    /// Free runs of the groups before `untouched` that are not full, in order.
    partial: BTreeMap<u32, Vec<Range<u32>>>,
    /// First group that nothing was taken from but its descriptor and reserved clusters.
    untouched: u32,
    /// Clusters with a fixed use, ascending.
    reserved: Vec<u32>,
    /// Taken runs by their start, the descriptors of later groups left out.
    taken: BTreeMap<u32, u32>,
}

impl Space {
    /// The space of a volume in which the leading clusters up to the first descriptor and the descriptors are taken.
    pub(super) fn new(geometry: &Geometry) -> Space {
        let per_group = geometry.clusters_per_group();
        let first_free = geometry
            .block_to_cluster(geometry.first_cluster_group())
            .map_or(geometry.clusters, |cluster| cluster.0.saturating_add(1))
            .min(geometry.clusters);
        let group_end = per_group.min(geometry.clusters);
        let mut space = Space {
            per_group,
            clusters: geometry.clusters,
            partial: BTreeMap::new(),
            untouched: 1,
            reserved: Vec::new(),
            taken: BTreeMap::new(),
        };
        if first_free > 0 {
            space.taken.insert(0, first_free);
        }
        if first_free < group_end {
            space.partial.entry(0).or_default().push(first_free..group_end);
        }
        space
    }

    /// Takes one cluster at a fixed place. Returns whether it was free.
    pub(super) fn reserve(&mut self, cluster: ClusterNo) -> bool {
        let group = cluster.0 / self.per_group;
        let free = if group >= self.untouched {
            let first = group.saturating_mul(self.per_group);
            cluster.0 < self.clusters && cluster.0 != first && !self.reserved.contains(&cluster.0)
        } else {
            let runs = self.partial.get(&group).map_or(&[][..], Vec::as_slice);
            runs.iter().any(|run| run.contains(&cluster.0))
        };
        if free {
            let run = Run { start: cluster, len: 1 };
            if group >= self.untouched {
                self.reserved.push(cluster.0);
                self.reserved.sort_unstable();
                self.note(run);
            } else {
                self.remove(group, run);
            }
        }
        free
    }

    /// Takes `len` clusters in one run.
    pub(super) fn take(&mut self, len: u32) -> Option<Run> {
        self.take_up_to(len, len)
    }

    /// Takes a run of `most` clusters, or as many as there are in one piece but not fewer than `least`.
    ///
    /// The first group that has such a run is used: the first run in it that is long enough, else its longest.
    pub(super) fn take_up_to(&mut self, least: u32, most: u32) -> Option<Run> {
        let found = self
            .partial
            .iter()
            .find_map(|(&group, runs)| Some((group, choose(runs, least, most)?)));
        let (group, run) = match found {
            Some(found) => found,
            None => loop {
                let group = self.untouched;
                self.open_group()?;
                let runs = self.partial.get(&group).map_or(&[][..], Vec::as_slice);
                if let Some(run) = choose(runs, least, most) {
                    break (group, run);
                }
            },
        };
        self.remove(group, run);
        Some(run)
    }

    /// Takes `count` runs of `len` clusters each, as so many calls of [`take`](Self::take) would.
    pub(super) fn take_many(&mut self, len: u32, count: u32, each: &mut dyn FnMut(ClusterNo)) -> Option<()> {
        let mut left = count;
        let mut next_group = 0;
        while left > 0 {
            let at = self.partial.range(next_group..).next().map(|(&group, _)| group);
            let Some(group) = at else {
                next_group = self.untouched;
                self.open_group()?;
                continue;
            };
            let runs = self.partial.get(&group).map_or(&[][..], Vec::as_slice);
            match choose(runs, len, len) {
                None => next_group = group + 1,
                Some(run) => {
                    // As many as fit where the first one goes.
                    let room = runs
                        .iter()
                        .find(|free| free.start == run.start.0)
                        .map_or(len, |free| free.end - free.start);
                    let many = (room / len).min(left);
                    self.remove(
                        group,
                        Run {
                            start: run.start,
                            len: many * len,
                        },
                    );
                    (0..many).for_each(|i| each(ClusterNo(run.start.0 + i * len)));
                    left -= many;
                    next_group = group;
                }
            }
        }
        Some(())
    }

    /// Clusters in use, all descriptors included.
    pub(super) fn used(&self) -> u32 {
        let descriptors = self.clusters.div_ceil(self.per_group).saturating_sub(1);
        // Never more than the volume has: every taken cluster is another one.
        self.taken.values().sum::<u32>() + descriptors
    }

    /// The runs taken in a group, relative to its first cluster, its descriptor left out unless it is group 0.
    pub(super) fn taken_in(&self, group: Range<u32>) -> impl Iterator<Item = Range<u32>> + '_ {
        // No run reaches into a group from the one before: its descriptor lies between.
        let first = group.start;
        let runs = self
            .taken
            .range(group)
            .map(|(&start, &len)| Run::new(start, len).range());
        runs.map(move |run| run.start - first..run.end - first)
    }

    /// Makes the free runs of the next group explicit; `None` behind the last one.
    fn open_group(&mut self) -> Option<()> {
        let group = self.untouched;
        let start = group
            .checked_mul(self.per_group)
            .filter(|&start| start < self.clusters)?;
        let end = start.saturating_add(self.per_group).min(self.clusters);
        let mut runs = Vec::new();
        let mut from = start + 1;
        for &cluster in self.reserved.iter().filter(|&&cluster| (start..end).contains(&cluster)) {
            runs.push(from..cluster);
            from = cluster + 1;
        }
        runs.push(from..end);
        runs.retain(|run| !run.is_empty());
        if !runs.is_empty() {
            self.partial.insert(group, runs);
        }
        self.untouched = group + 1;
        Some(())
    }

    fn remove(&mut self, group: u32, run: Run) {
        self.note(run);
        let Some(runs) = self.partial.get_mut(&group) else {
            return;
        };
        let taken = run.range();
        let Some(at) = runs.iter().position(|free| free.contains(&taken.start)) else {
            return;
        };
        let free = runs[at].clone();
        let rest = [free.start..taken.start, taken.end..free.end];
        runs.splice(at..=at, rest.into_iter().filter(|run| !run.is_empty()));
        if runs.is_empty() {
            self.partial.remove(&group);
        }
    }

    /// Adds to the taken runs, joined with its neighbours.
    fn note(&mut self, run: Run) {
        let Range { mut start, mut end } = run.range();
        if let Some((&before, &len)) = self.taken.range(..start).next_back()
            && before + len == start
        {
            start = before;
        }
        if let Some(len) = self.taken.remove(&end) {
            end += len;
        }
        self.taken.insert(start, end - start);
    }
}

/// The run to take from the free runs of a group.
fn choose(free: &[Range<u32>], least: u32, most: u32) -> Option<Run> {
    let len = |run: &&Range<u32>| run.end - run.start;
    let enough = free.iter().find(|run| len(run) >= most);
    let longest = || free.iter().rev().max_by_key(len).filter(|run| len(run) >= least);
    let run = enough.or_else(longest)?;
    Some(Run::new(run.start, len(&run).min(most)))
}

#[cfg(test)]
mod tests {
    use ocfs2_format::{Features, Generation};
    use proptest::prelude::*;

    use super::*;

    fn geometry(block_size_bits: u8, cluster_size_bits: u8, clusters: u32) -> Geometry {
        Geometry {
            block_size_bits,
            cluster_size_bits,
            clusters,
            features: Features::DEFAULT,
            generation: Generation(1),
            max_slots: 1,
            xattr_inline_size: 256,
            uuid_hash: 0,
            dx_seed: [0; 3],
        }
    }

    #[test]
    fn runs_end_where_the_next_group_has_its_descriptor() {
        let mut space = Space::new(&geometry(9, 12, 8000));
        assert_eq!(space.take(2), Some(Run::new(2, 2)));
        assert_eq!(space.take_up_to(1, 4000), Some(Run::new(4, 3580)));
        assert_eq!(space.take_up_to(1, 4000), Some(Run::new(3585, 3583)));
        assert_eq!(
            space.taken_in(3584..7168).collect::<Vec<_>>(),
            std::slice::from_ref(&(1..3584))
        );
        assert_eq!(space.used(), 3584 * 2 + 1);
    }

    #[test]
    fn longest_run_of_a_group_is_used_before_a_shorter_one_in_front_of_it() {
        let mut space = Space::new(&geometry(9, 12, 8000));
        assert!(space.reserve(ClusterNo(100)));
        assert!(!space.reserve(ClusterNo(100)));
        assert!(!space.reserve(ClusterNo(3584)), "a descriptor is not free");
        assert_eq!(space.take_up_to(1, 5000), Some(Run::new(101, 3483)));
        assert_eq!(space.take_up_to(1, 5000), Some(Run::new(2, 98)));
        assert_eq!(space.take(1), Some(Run::new(3585, 1)));
    }

    #[test]
    fn nothing_is_left_of_a_full_volume() {
        let mut space = Space::new(&geometry(12, 12, 10));
        assert_eq!(space.take(7), None);
        assert_eq!(space.take(6), Some(Run::new(4, 6)));
        assert_eq!(space.take_up_to(1, 5), None);
        assert_eq!(space.used(), 10);
    }

    #[test]
    fn largest_volume_does_not_overflow() {
        let mut space = Space::new(&geometry(9, 20, u32::MAX));
        assert!(space.reserve(ClusterNo(u32::MAX - 1)));
        assert!(!space.reserve(ClusterNo(u32::MAX)));
        assert_eq!(space.used(), 2 + 1 + u32::MAX / 3584);
    }

    proptest! {
        #[test]
        fn taking_many_runs_at_once_equals_taking_them_one_by_one(
            reserved in proptest::collection::vec(2u32..30_000, 0..20),
            first in 1u32..5000,
            len in 1u32..300,
            count in 0u32..200,
        ) {
            let mut one = Space::new(&geometry(9, 12, 30_000));
            for cluster in reserved {
                one.reserve(ClusterNo(cluster));
            }
            one.take_up_to(1, first);
            let mut many = one.clone();
            let singly: Option<Vec<_>> = (0..count).map(|_| one.take(len).map(|run| run.start)).collect();
            let mut at_once = Vec::new();
            let done = many.take_many(len, count, &mut |start| at_once.push(start));
            prop_assert_eq!(done.is_some(), singly.is_some());
            if let Some(singly) = singly {
                prop_assert_eq!(at_once, singly);
                prop_assert_eq!(&many.taken, &one.taken);
            }
        }

        #[test]
        fn runs_never_overlap(wishes in proptest::collection::vec((1u32..4000, 1u32..9000), 0..60)) {
            let mut space = Space::new(&geometry(9, 12, 40_000));
            let mut used = vec![false; 40_000];
            used[..2].fill(true);
            (1..12).for_each(|group| used[group * 3584] = true);
            for (least, most) in wishes {
                let Some(run) = space.take_up_to(least.min(most), most) else { continue };
                for cluster in run.range() {
                    prop_assert!(!std::mem::replace(&mut used[cluster as usize], true));
                }
            }
            prop_assert_eq!(space.used() as usize, used.iter().filter(|used| **used).count());
        }
    }
}
