//! How much of the log a transaction takes, and how much there is.
//!
//! A handle reserves what a transaction of its own would take. Two transactions that become one never take more than both
//! did, so whatever is merged in whichever order, the log has room for it.
//!
//! Source: on-disk reference, section 26.3 (Log layout).

use ocfs2_format::jbd2::{Format, Ring};

/// Blocks of the log that a transaction takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Costs {
    tags_per_descriptor: u32,
    revokes_per_block: u32,
}

impl Costs {
    pub(crate) fn of(format: &Format) -> Costs {
        Costs {
            tags_per_descriptor: format.tags_per_descriptor().max(1),
            revokes_per_block: format.revokes_per_block().max(1),
        }
    }

    /// Images that follow one descriptor block at most.
    pub(crate) fn tags_per_descriptor(&self) -> usize {
        self.tags_per_descriptor as usize
    }

    /// Block numbers in one revoke block at most.
    pub(crate) fn revokes_per_block(&self) -> usize {
        self.revokes_per_block as usize
    }

    /// Descriptors, images, revoke blocks and the commit block of a transaction; nothing for one that does nothing.
    pub(crate) fn transaction(&self, images: u32, revokes: u32) -> u32 {
        if images == 0 && revokes == 0 {
            return 0;
        }
        images + images.div_ceil(self.tags_per_descriptor) + revokes.div_ceil(self.revokes_per_block) + 1
    }

    /// Most images of a transaction that takes no more than `blocks`.
    fn images_in(&self, blocks: u32) -> u32 {
        let blocks = blocks.saturating_sub(1);
        blocks - blocks.div_ceil(self.tags_per_descriptor + 1)
    }
}

/// What the ring holds.
#[derive(Debug)]
pub(crate) struct Space {
    pub(crate) ring: Ring,
    pub(crate) costs: Costs,
    /// Where the next transaction is written.
    head: u32,
    /// Blocks of transactions that are in the log, or on their way there.
    used: u32,
    /// Blocks promised to open handles.
    reserved: u32,
}

impl Space {
    /// An empty log.
    pub(crate) fn new(ring: Ring) -> Space {
        Space {
            ring,
            costs: Costs::of(&ring.format),
            head: ring.first,
            used: 0,
            reserved: 0,
        }
    }

    /// Most credits that one handle may have: with them, four such transactions fit.
    pub(crate) fn max_credits(&self) -> u32 {
        self.costs.images_in(self.ring.blocks() / 4)
    }

    /// Promises `need` blocks to a handle, beside a running transaction that takes `running`. One block of the ring stays
    /// free, so that its end is never its start.
    pub(crate) fn reserve(&mut self, need: u32, running: u32) -> bool {
        let wanted = [self.used, self.reserved, running, need]
            .map(u64::from)
            .iter()
            .sum::<u64>();
        let fits = wanted < u64::from(self.ring.blocks());
        if fits {
            self.reserved += need;
        }
        fits
    }

    /// Takes a promise back, kept or not.
    pub(crate) fn unreserve(&mut self, blocks: u32) {
        self.reserved -= blocks;
    }

    /// Where a transaction of so many blocks begins.
    pub(crate) fn take(&mut self, blocks: u32) -> u32 {
        let start = self.head;
        self.head = self.ring.advance(start, blocks);
        self.used += blocks;
        start
    }

    /// The oldest blocks of the log are not needed any more.
    pub(crate) fn free(&mut self, blocks: u32) {
        self.used -= blocks;
    }

    /// Where the next transaction will begin.
    pub(crate) fn head(&self) -> u32 {
        self.head
    }

    pub(crate) fn used(&self) -> u32 {
        self.used
    }

    pub(crate) fn reserved(&self) -> u32 {
        self.reserved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn costs(tags_per_descriptor: u32, revokes_per_block: u32) -> Costs {
        Costs {
            tags_per_descriptor,
            revokes_per_block,
        }
    }

    #[test]
    fn as_many_images_as_possible_fit_into_a_number_of_blocks() {
        for tags in 1..8 {
            let costs = costs(tags, 1);
            for blocks in 3..60 {
                let images = costs.images_in(blocks);
                assert!(
                    costs.transaction(images, 0) <= blocks,
                    "{images} images, {tags} tags, {blocks} blocks"
                );
                assert!(
                    costs.transaction(images + 1, 0) > blocks,
                    "{images} images, {tags} tags, {blocks} blocks"
                );
            }
            assert_eq!(costs.images_in(0), 0);
        }
    }

    #[test]
    fn merged_transactions_take_no_more_than_they_did_alone() {
        for (tags, revokes) in [(1, 1), (2, 3), (5, 4)] {
            let costs = costs(tags, revokes);
            for (a, b) in (0..200).map(|n| (n % 14, n / 14)) {
                for (c, d) in (0..200).map(|n| (n % 14, n / 14)) {
                    let merged = costs.transaction(a + c, b + d);
                    assert!(merged <= costs.transaction(a, b) + costs.transaction(c, d));
                }
                assert!(
                    costs.transaction(a, b) <= costs.transaction(a + b, 0),
                    "a revoke costs as much as an image at most"
                );
            }
        }
    }

    #[test]
    fn one_block_of_the_ring_stays_free() {
        let superblock = ocfs2_format::jbd2::Superblock::new(4096, 1025, [0; 16], false);
        let ring = superblock.check(4096, 1025).unwrap();
        let mut space = Space::new(ring);
        assert!(space.reserve(1000, 23) && !space.reserve(1, 23) && space.reserve(1, 22));
        space.unreserve(1001);
        assert_eq!((space.take(1000), space.take(23), space.head()), (1, 1001, 1024));
        assert!(!space.reserve(1, 0));
        space.free(1000);
        assert!(space.reserve(1000, 0));
        assert_eq!((space.take(5), space.head()), (1024, 5));
    }
}
