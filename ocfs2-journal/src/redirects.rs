//! Which blocks of the volume have a newer copy in a journal.

use ocfs2_format::BlockNo;

/// The newest copy of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogCopy {
    /// Where on the device it lies: a block of a journal.
    pub at: BlockNo,
    /// Its first word was the journal's magic number and reads zero in the journal.
    pub escaped: bool,
}

/// The blocks that replay would write, each with the copy it would write there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redirects {
    /// Sorted by block, each at most once.
    copies: Vec<(BlockNo, LogCopy)>,
}

impl Redirects {
    /// Blocks with a copy.
    pub fn len(&self) -> usize {
        self.copies.len()
    }

    /// Whether there is nothing to replay.
    pub fn is_empty(&self) -> bool {
        self.copies.is_empty()
    }

    /// The copy of a block.
    pub fn get(&self, block: BlockNo) -> Option<LogCopy> {
        let index = self.copies.binary_search_by_key(&block, |&(home, _)| home).ok()?;
        self.copies.get(index).map(|&(_, copy)| copy)
    }

    /// All blocks with their copies, by block number.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (BlockNo, LogCopy)> {
        self.copies.iter().copied()
    }

    /// Adds what replay of another journal after this one would write; where both have a copy, the later one stays.
    pub fn merge(&mut self, later: &Redirects) {
        if self.is_empty() {
            self.copies.clone_from(&later.copies);
        } else if !later.is_empty() {
            *self = self.iter().chain(later.iter()).collect();
        }
    }

    /// The blocks from `first` up to but not including `end` that have a copy.
    pub(crate) fn range(&self, first: BlockNo, end: BlockNo) -> &[(BlockNo, LogCopy)] {
        let start = self.copies.partition_point(|&(home, _)| home < first);
        let behind = &self.copies[start..];
        &behind[..behind.partition_point(|&(home, _)| home < end)]
    }
}

/// Of several copies of a block the last one counts.
impl FromIterator<(BlockNo, LogCopy)> for Redirects {
    fn from_iter<I: IntoIterator<Item = (BlockNo, LogCopy)>>(copies: I) -> Redirects {
        let mut copies: Vec<_> = copies.into_iter().collect();
        // Stable, so that the last copy of a block comes first after turning the order around.
        copies.reverse();
        copies.sort_by_key(|&(home, _)| home);
        copies.dedup_by_key(|&mut (home, _)| home);
        Redirects { copies }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(at: u64) -> LogCopy {
        LogCopy {
            at: BlockNo(at),
            escaped: false,
        }
    }

    fn redirects(copies: &[(u64, u64)]) -> Redirects {
        copies.iter().map(|&(home, at)| (BlockNo(home), copy(at))).collect()
    }

    #[test]
    fn last_copy_of_a_block_counts() {
        let one = redirects(&[(9, 1), (5, 2), (9, 3), (7, 4)]);
        assert_eq!(one, redirects(&[(5, 2), (7, 4), (9, 3)]));
        assert_eq!(one.get(BlockNo(9)), Some(copy(3)));
        assert_eq!(one.get(BlockNo(8)), None);
        let mut merged = one.clone();
        merged.merge(&redirects(&[(7, 10), (1, 11)]));
        assert_eq!(merged, redirects(&[(1, 11), (5, 2), (7, 10), (9, 3)]));
        let mut empty = Redirects::default();
        empty.merge(&merged);
        empty.merge(&Redirects::default());
        assert_eq!(empty, merged);
    }

    #[test]
    fn range_has_its_first_block_and_not_its_end() {
        let all = redirects(&[(5, 1), (7, 2), (9, 3)]);
        let homes = |first, end| {
            all.range(BlockNo(first), BlockNo(end))
                .iter()
                .map(|(home, _)| home.0)
                .collect::<Vec<_>>()
        };
        assert_eq!(homes(5, 9), [5, 7]);
        assert_eq!(homes(6, 7), []);
        assert_eq!(homes(9, u64::MAX), [9]);
        assert_eq!(homes(9, 5), []);
    }
}
