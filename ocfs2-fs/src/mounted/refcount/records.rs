//! The records of one refcount block, as a list of runs that is edited in memory.
//!
//! Source: on-disk reference, section 24.1.

use ocfs2_format::{RefcountList, RefcountRec};
use zerocopy::FromZeros;

/// Clusters next to each other that are referenced equally often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) start: u64,
    pub(super) clusters: u32,
    pub(super) count: u32,
}

impl Run {
    pub(super) fn end(&self) -> u64 {
        self.start + u64::from(self.clusters)
    }
}

/// The runs of a block whose records have been checked.
pub(super) fn read(list: &RefcountList) -> Vec<Run> {
    let run = |rec: &RefcountRec| Run {
        start: rec.r_cpos.get(),
        clusters: rec.r_clusters.get(),
        count: rec.r_refcount.get(),
    };
    list.records().iter().map(run).collect()
}

/// Makes these the records of a block with room for `capacity` of them; there are no more.
pub(super) fn write(list: &mut RefcountList, runs: &[Run], capacity: u16) {
    list.rl_recs.fill(RefcountRec::new_zeroed());
    for (rec, run) in list.rl_recs.iter_mut().zip(runs) {
        rec.r_cpos.set(run.start);
        rec.r_clusters.set(run.clusters);
        rec.r_refcount.set(run.count);
    }
    list.rl_count.set(capacity);
    list.rl_used.set(runs.len() as u16);
}

/// How often a cluster is referenced, 0 where no record says so, and the first cluster behind it for which that changes,
/// `limit` at most.
pub(super) fn count_at(runs: &[Run], cluster: u64, limit: u64) -> (u32, u64) {
    let index = runs.partition_point(|run| run.end() <= cluster);
    match runs.get(index) {
        Some(run) if run.start <= cluster => (run.count, run.end().min(limit)),
        Some(run) => (0, run.start.min(limit)),
        None => (0, limit),
    }
}

/// Changes the counts of `start..end`, where 0 stands for no record. `change` is given each count there is and returns the
/// new one, or `None` for one that cannot be; then nothing is changed and `None` returned. Else returns what lost its last
/// reference.
pub(super) fn change(
    runs: &mut Vec<Run>,
    start: u64,
    end: u64,
    change: &dyn Fn(u32) -> Option<u32>,
) -> Option<Vec<Run>> {
    let first = runs.partition_point(|run| run.end() <= start);
    let after = runs.partition_point(|run| run.start < end);
    let inside = runs.get(first..after).unwrap_or_default();
    let mut changed: Vec<Run> = Vec::with_capacity(inside.len() + 4);
    let mut freed = Vec::new();
    if let Some(head) = inside.first().filter(|head| head.start < start) {
        changed.push(piece(head.start, start, head.count));
    }
    let mut at = start;
    let mut set = |from: u64, to: u64, old: u32| -> Option<()> {
        if from >= to {
            return Some(());
        }
        let run = piece(from, to, change(old)?);
        match run.count {
            0 if old > 0 => freed.push(run),
            0 => {}
            _ => changed.push(run),
        }
        Some(())
    };
    for run in inside {
        let (from, to) = (run.start.max(start), run.end().min(end));
        set(at, from, 0)?;
        set(from, to, run.count)?;
        at = to;
    }
    set(at, end, 0)?;
    if let Some(tail) = inside.last().filter(|tail| tail.end() > end) {
        changed.push(piece(end, tail.end(), tail.count));
    }
    let merge_from = first.saturating_sub(1);
    let merge_to = first + changed.len() + 1;
    runs.splice(first..after.max(first), changed);
    merge(runs, merge_from, merge_to);
    Some(freed)
}

fn piece(from: u64, to: u64, count: u32) -> Run {
    Run {
        start: from,
        clusters: (to - from) as u32,
        count,
    }
}

/// Joins equal neighbours among `from..=to`.
fn merge(runs: &mut Vec<Run>, from: usize, to: usize) {
    let to = to.min(runs.len().saturating_sub(1));
    for index in (from..to).rev() {
        let (Some(left), Some(right)) = (runs.get(index), runs.get(index + 1)) else {
            continue;
        };
        let Some(clusters) = left.clusters.checked_add(right.clusters) else {
            continue;
        };
        if left.end() == right.start && left.count == right.count {
            runs[index].clusters = clusters;
            runs.remove(index + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn counts(runs: &[Run]) -> BTreeMap<u64, u32> {
        let clusters = runs
            .iter()
            .flat_map(|run| (run.start..run.end()).map(|at| (at, run.count)));
        clusters.collect()
    }

    proptest! {
        #[test]
        fn runs_count_what_a_map_counts(changes in prop::collection::vec((0u64..60, 1u64..20, 0u32..3), 1..80)) {
            let mut runs = Vec::new();
            let mut model: BTreeMap<u64, u32> = BTreeMap::new();
            for (start, len, what) in changes {
                let f = move |count: u32| match what {
                    0 => Some(count + 1),
                    1 => Some(count.saturating_sub(1)),
                    _ => (count > 0).then_some(count + 1),
                };
                let end = start + len;
                let freed = change(&mut runs, start, end, &f);
                if what == 2 && (start..end).any(|at| !model.contains_key(&at)) {
                    prop_assert_eq!(freed, None);
                    continue;
                }
                let mut gone = Vec::new();
                for at in start..end {
                    let old = model.remove(&at).unwrap_or(0);
                    match f(old).unwrap() {
                        0 if old > 0 => gone.push(at),
                        0 => {}
                        new => { model.insert(at, new); }
                    }
                }
                let freed: Vec<u64> = freed.unwrap().iter().flat_map(|run| run.start..run.end()).collect();
                prop_assert_eq!(freed, gone);
                prop_assert_eq!(counts(&runs), model.clone());
                for pair in runs.windows(2) {
                    prop_assert!(pair[0].end() < pair[1].start || pair[0].count != pair[1].count);
                }
                let (count, until) = count_at(&runs, start, 100);
                prop_assert_eq!(count, model.get(&start).copied().unwrap_or(0));
                prop_assert!((start..until).all(|at| model.get(&at).copied().unwrap_or(0) == count));
            }
        }
    }
}
