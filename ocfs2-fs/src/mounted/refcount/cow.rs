//! Copy on write: giving a file clusters of its own in place of those that it shares.
//!
//! Source: on-disk reference, section 24.4.

use ocfs2_format::device::{BlockDevice, Durability};
use ocfs2_format::{BlockNo, ClusterNo, ExtentFlags, InodeNo};

use super::counts::Counts;
use super::{counts_of, lock};
use crate::error::{Error, Result};
use crate::extent_tree::{Extent, Lookup};
use crate::meta::Blocks;
use crate::mounted::space::Need;
use crate::mounted::tree::{self, Intent, Root};
use crate::mounted::{Core, Level, LockSet};

/// Bytes that are copied in one transaction at most.
const STEP: u64 = 1 << 20;

/// Bytes around what is written that are copied with it if they are shared too, so that a file written in small pieces
/// does not fall apart into as many extents.
const AROUND: u64 = 64 << 10;

/// What clusters that are no longer shared hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contents {
    /// What they held before.
    Kept,
    /// Nothing: they are not written.
    Dropped,
}

/// See [`super::make_writable`] and [`super::renew`].
pub(super) fn make_writable(
    locks: &mut LockSet<'_>,
    number: InodeNo,
    root: Root,
    (cpos, clusters): (u32, u32),
    contents: Contents,
) -> Result<()> {
    let core = locks.core();
    let inode = core.read_inode(number)?;
    lock(locks, &inode, Level::Exclusive)?;
    let counts = counts_of(&inode);
    let end = (u64::from(cpos) + u64::from(clusters)).min(1 << 32);
    let mut at = u64::from(cpos);
    while at < end {
        let extent = match tree::lookup(core, root, at as u32)? {
            Lookup::Gap { next } => {
                at = next;
                continue;
            }
            Lookup::Extent(extent) if !extent.flags.contains(ExtentFlags::REFCOUNTED) => {
                at = extent.end();
                continue;
            }
            Lookup::Extent(extent) => extent,
        };
        let range = (at, end.min(extent.end()));
        let cow = Cow {
            core,
            counts: counts.ok_or_else(|| uncounted(root))?,
            root,
            contents,
        };
        at = cow.step(locks, extent, range)?;
    }
    Ok(())
}

/// Makes parts of a tree writable, a transaction for each.
struct Cow<'c> {
    core: &'c Core,
    counts: Counts,
    root: Root,
    contents: Contents,
}

impl Cow<'_> {
    /// Makes some of a range of one extent writable, from the start. Returns where the rest begins.
    fn step(&self, locks: &mut LockSet<'_>, extent: Extent, (from, to): (u64, u64)) -> Result<u64> {
        let geometry = self.core.geometry();
        let first = part(self.core, extent, from, to)?;
        let (count, alike) = self.counts.count(self.core, first.1.0)?;
        if count == 0 {
            return Err(uncounted(self.root));
        }
        let to = to.min(from + u64::from(alike));
        if count == 1 {
            self.own(locks, extent, from, to)?;
            return Ok(to);
        }
        if self.contents == Contents::Dropped {
            return self.copy(locks, extent, from, to);
        }
        let step = (STEP >> geometry.cluster_size_bits).max(1);
        let around = (AROUND >> geometry.cluster_size_bits).max(1);
        let wide_from = (from / around * around).max(extent.cpos.into());
        let wide_to = (to.div_ceil(around) * around).min(extent.end()).min(wide_from + step);
        // What lies around must be shared as often, or it is not worth it.
        let (_, first) = part(self.core, extent, wide_from, wide_to)?;
        let (wide_count, alike) = self.counts.count(self.core, first.0)?;
        let is_wide = wide_count > 1 && wide_from + u64::from(alike) >= to.min(wide_to) && wide_to > from;
        if is_wide {
            let wide_to = wide_to.min(wide_from + u64::from(alike));
            match self.copy(locks, extent, wide_from, wide_to) {
                Err(Error::NoSpace) => {}
                done => return done,
            }
        }
        self.copy(locks, extent, from, to.min(from + step))
    }

    /// Takes sole possession of clusters that nobody else references any more.
    fn own(&self, locks: &mut LockSet<'_>, extent: Extent, from: u64, to: u64) -> Result<()> {
        let (mut new, start) = part(self.core, extent, from, to)?;
        new.flags = self.flags(new.flags);
        let ready = tree::ready(locks, self.root, new.cpos, new.clusters, Intent::Change)?;
        let counts = self.counts.cost(self.core, 1)?;
        let need = Need {
            blocks: ready.cost.blocks + counts.blocks,
            ..Need::default()
        };
        let credits = locks.reserve(need)?;
        let mut txn = locks.begin(credits + ready.cost.credits + counts.credits)?;
        ready.begin(&mut txn);
        tree::replace(&mut txn, self.root, &[new])?;
        let sole = |count| (count == 1).then_some(0);
        self.counts.change(&mut txn, start, new.clusters, &sole)?;
        txn.commit()?;
        ready.end(locks)
    }

    /// Copies clusters, as many as can be had in one run, or puts new ones in their place. Returns where the rest begins.
    fn copy(&self, locks: &mut LockSet<'_>, extent: Extent, from: u64, to: u64) -> Result<u64> {
        let geometry = *self.core.geometry();
        let (whole, start) = part(self.core, extent, from, to)?;
        let goal = self.goal(from)?;
        let mut ready = tree::ready(locks, self.root, whole.cpos, whole.clusters, Intent::Change)?;
        let mut whole = whole;
        if ready.is_prepared() && whole.clusters > 1 {
            // There may be no run as long, and the change must be one record.
            whole.clusters = 1;
            ready.end(locks)?;
            ready = tree::ready(locks, self.root, whole.cpos, 1, Intent::Change)?;
        }
        let counts = self.counts.cost(self.core, 1)?;
        let need = Need {
            clusters: whole.clusters,
            blocks: ready.cost.blocks + counts.blocks,
            ..Need::default()
        };
        let credits = locks.reserve(need)?;
        let mut txn = locks.begin(credits + ready.cost.credits + counts.credits)?;
        ready.begin(&mut txn);
        let run = txn.alloc_clusters(self.counts.inode, goal, 1, whole.clusters)?;
        let new = Extent {
            clusters: run.clusters.min(whole.clusters),
            blkno: geometry.cluster_to_block(run.start),
            flags: self.flags(whole.flags),
            ..whole
        };
        if !new.flags.contains(ExtentFlags::UNWRITTEN) {
            copy_clusters(self.core, whole.blkno, new.blkno, new.clusters)?;
        }
        tree::replace(&mut txn, self.root, &[new])?;
        let one_less = |count: u32| count.checked_sub(1).filter(|&left| left > 0);
        self.counts.change(&mut txn, start, new.clusters, &one_less)?;
        txn.commit()?;
        ready.end(locks)?;
        Ok(new.end())
    }

    /// What becomes of an extent's flags.
    fn flags(&self, flags: ExtentFlags) -> ExtentFlags {
        let own = flags.difference(ExtentFlags::REFCOUNTED);
        match self.contents {
            Contents::Kept => own,
            Contents::Dropped => own | ExtentFlags::UNWRITTEN,
        }
    }

    /// Where clusters had best lie: behind those of what comes before in the file.
    fn goal(&self, from: u64) -> Result<Option<ClusterNo>> {
        let Some(before) = from.checked_sub(1) else {
            return Ok(None);
        };
        let geometry = self.core.geometry();
        Ok(match tree::lookup(self.core, self.root, before as u32)? {
            Lookup::Extent(extent) if !extent.flags.contains(ExtentFlags::REFCOUNTED) => geometry
                .block_to_cluster(BlockNo(
                    extent.blkno.0 + geometry.clusters_to_blocks((from - u64::from(extent.cpos)) as u32),
                ))
                .filter(|cluster| cluster.0 < geometry.clusters),
            _ => None,
        })
    }
}

fn uncounted(root: Root) -> Error {
    root.broken("clusters are flagged as shared, and nothing counts how often")
}

/// Part of an extent, and its first physical cluster.
fn part(core: &Core, extent: Extent, from: u64, to: u64) -> Result<(Extent, ClusterNo)> {
    let geometry = core.geometry();
    let skipped = (from - u64::from(extent.cpos)) as u32;
    let blkno = BlockNo(extent.blkno.0 + geometry.clusters_to_blocks(skipped));
    let outside = || Error::InvalidArgument {
        why: "clusters outside the volume",
    };
    let part = Extent {
        cpos: from as u32,
        clusters: (to - from) as u32,
        blkno,
        flags: extent.flags,
    };
    Ok((part, geometry.block_to_cluster(blkno).ok_or_else(outside)?))
}

/// Copies what clusters hold to others, on the device.
fn copy_clusters(core: &Core, from: BlockNo, to: BlockNo, clusters: u32) -> Result<()> {
    let geometry = core.geometry();
    let device = core.home_device();
    let bits = geometry.block_size_bits;
    let bytes = geometry.clusters_to_bytes(clusters);
    let mut buffer = vec![0; bytes.min(STEP) as usize];
    let mut done = 0;
    while done < bytes {
        let step = (bytes - done).min(STEP);
        let part = &mut buffer[..step as usize];
        device.read((from.0 << bits) + done, part)?;
        device.write((to.0 << bits) + done, part, Durability::Cached)?;
        done += step;
    }
    Ok(())
}
