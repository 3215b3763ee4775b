//! Where the blocks of a journal file lie on the device.
//!
//! Source: on-disk reference, section 26.1 (File).

use ocfs2_format::{BlockNo, Corrupt, Geometry, Structure, Violation};

/// A contiguous piece of a journal file: one extent record of its inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRun {
    /// First block, counted from the start of the file.
    pub start: u64,
    /// Where that block lies.
    pub at: BlockNo,
    /// Blocks in the run.
    pub blocks: u64,
}

/// The blocks of a journal file, without holes, all inside the volume and none twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogMap {
    /// By place in the file.
    runs: Vec<LogRun>,
    /// The same by place on the device.
    places: Vec<LogRun>,
}

impl LogMap {
    /// The journal file with these runs, in the order of the file.
    ///
    /// # Errors
    /// A hole, no block at all, a run outside the volume or over its leading area, two runs over the same block.
    pub fn new(runs: impl IntoIterator<Item = LogRun>, geometry: &Geometry) -> Result<LogMap, Corrupt> {
        let corrupt = |violation| Corrupt::new(Structure::Journal, violation);
        let mut map: Vec<LogRun> = Vec::new();
        let mut end = 0;
        for (index, run) in (0..).zip(runs) {
            let (start, previous) = (run.start, end);
            if start != end || run.blocks == 0 {
                let violation = Violation::Order {
                    field: "e_cpos",
                    index,
                    found: start,
                    previous,
                };
                return Err(corrupt(violation).at_offset(end << geometry.block_size_bits));
            }
            if !geometry.contains_run(run.at, run.blocks) {
                let (found, blocks) = (run.at.0, geometry.blocks());
                let violation = Violation::OutsideVolume {
                    field: "e_blkno",
                    found,
                    blocks,
                };
                return Err(corrupt(violation).at_offset(end << geometry.block_size_bits));
            }
            // Runs inside the volume that do not overlap cannot add up to more than it has.
            end = end.saturating_add(run.blocks);
            match map.last_mut() {
                Some(last) if last.at.0 + last.blocks == run.at.0 => last.blocks += run.blocks,
                _ => map.push(run),
            }
        }
        if map.is_empty() {
            return Err(corrupt(Violation::Missing {
                what: "every block of the file".into(),
            }));
        }
        let mut places = map.clone();
        places.sort_unstable_by_key(|run| run.at);
        for (run, next) in places.iter().zip(places.iter().skip(1)) {
            if run.at.0 + run.blocks > next.at.0 {
                let violation = Violation::Loop {
                    field: "e_blkno",
                    found: next.at.0,
                };
                return Err(corrupt(violation).at_offset(next.start << geometry.block_size_bits));
            }
        }
        Ok(LogMap { runs: map, places })
    }

    /// Blocks of the file.
    pub fn blocks(&self) -> u64 {
        self.runs.last().map_or(0, |run| run.start + run.blocks)
    }

    /// Where a block of the file lies.
    pub fn block(&self, n: u32) -> Option<BlockNo> {
        self.rest_of_run(n).map(|(at, _)| at)
    }

    /// Whether a block of the device belongs to the file.
    pub fn holds(&self, block: BlockNo) -> bool {
        let after = self.places.partition_point(|run| run.at <= block);
        self.places[..after]
            .last()
            .is_some_and(|run| block.0 - run.at.0 < run.blocks)
    }

    /// Where a block of the file lies, and how many blocks follow each other from there on.
    pub(crate) fn rest_of_run(&self, n: u32) -> Option<(BlockNo, u64)> {
        let n = u64::from(n);
        let after = self.runs.partition_point(|run| run.start <= n);
        let run = self.runs[..after].last()?;
        let inside = n - run.start;
        (inside < run.blocks).then(|| (BlockNo(run.at.0 + inside), run.blocks - inside))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::geometry;

    fn run(start: u64, at: u64, blocks: u64) -> LogRun {
        LogRun {
            start,
            at: BlockNo(at),
            blocks,
        }
    }

    #[test]
    fn every_block_is_found_in_its_run() {
        let map = LogMap::new([run(0, 50, 4), run(4, 20, 3), run(7, 54, 2)], &geometry(12, 100)).unwrap();
        let blocks: Vec<u64> = (0..9).map(|n| map.block(n).unwrap().0).collect();
        assert_eq!(blocks, [50, 51, 52, 53, 20, 21, 22, 54, 55]);
        assert_eq!((map.blocks(), map.block(9), map.block(u32::MAX)), (9, None, None));
        assert_eq!(map.rest_of_run(1), Some((BlockNo(51), 3)));
        let held: Vec<u64> = (0..100).filter(|&block| map.holds(BlockNo(block))).collect();
        assert_eq!(held, [20, 21, 22, 50, 51, 52, 53, 54, 55]);
        assert!(!map.holds(BlockNo(u64::MAX)));
    }

    #[test]
    fn neighbours_become_one_run() {
        let map = LogMap::new([run(0, 10, 4), run(4, 14, 3)], &geometry(12, 100)).unwrap();
        assert_eq!(map.rest_of_run(2), Some((BlockNo(12), 5)));
    }

    #[test]
    fn impossible_files_are_refused() {
        let cases: [(&str, &[LogRun]); 9] = [
            ("missing", &[]),
            ("does not follow", &[run(1, 10, 4)]),
            ("does not follow", &[run(0, 10, 4), run(5, 20, 4)]),
            ("does not follow", &[run(0, 10, 4), run(3, 20, 4)]),
            ("does not follow", &[run(0, 10, 0)]),
            ("the volume has 100", &[run(0, 10, 91)]),
            ("the volume has 100", &[run(0, u64::MAX, 2)]),
            ("the volume has 100", &[run(0, 2, 10)]),
            ("a loop", &[run(0, 10, 4), run(4, 30, 5), run(9, 13, 5)]),
        ];
        for (why, runs) in cases {
            let message = LogMap::new(runs.iter().copied(), &geometry(12, 100))
                .unwrap_err()
                .to_string();
            assert!(message.contains(why), "{message}");
        }
    }
}
