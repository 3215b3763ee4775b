//! Reading the allocators: chains of groups, what is free, and what waits to become free.
//!
//! Source: on-disk reference, sections 11 to 16.

use std::collections::HashSet;

use ocfs2_format::{
    BlockNo, ClusterNo, Contents, Corrupt, FileKind, GroupDesc, GroupParent, InodeNo, SlotNum, Structure, SystemFile,
    Violation,
};

use crate::error::{Error, Result};
use crate::inode::Inode;
use crate::meta::{BlockBuf, Blocks, Locality, view};
use crate::volume::Volume;

/// A group of a chain allocator, checked.
#[derive(Clone, Debug)]
pub struct Group {
    block: BlockBuf,
    at: BlockNo,
    chain: u16,
}

impl Group {
    /// The descriptor with its on-disk fields.
    pub fn desc(&self) -> &GroupDesc {
        view(&self.block)
    }

    /// The descriptor's block.
    pub fn block(&self) -> BlockNo {
        self.at
    }

    /// Index of the chain that led here.
    pub fn chain(&self) -> u16 {
        self.chain
    }

    /// Runs of clear bits: first bit and length, from the lowest.
    pub fn free_runs(&self) -> impl Iterator<Item = (u16, u16)> + '_ {
        free_runs(self.desc().bitmap(), self.desc().bg_bits.get())
    }
}

/// Runs of clear bits among the first `bits` of a bitmap.
pub(crate) fn free_runs(bitmap: &[u8], bits: u16) -> impl Iterator<Item = (u16, u16)> + '_ {
    let mut next = 0;
    std::iter::from_fn(move || {
        let start = find_bit(bitmap, next, bits, false)?;
        next = find_bit(bitmap, start, bits, true).unwrap_or(bits);
        Some((start, next - start))
    })
}

/// The first bit in `from..end` that is set, or that is clear. Bits beyond the bitmap are clear.
pub(crate) fn find_bit(bitmap: &[u8], from: u16, end: u16, set: bool) -> Option<u16> {
    let end = usize::from(end);
    let mut at = usize::from(from);
    while at < end {
        let rest = bitmap.get(at / 8..).unwrap_or_default();
        // 64 at once from here, or what is left of a byte.
        let (bits, len) = match rest.first_chunk::<8>() {
            Some(word) if at.is_multiple_of(8) => (u64::from_le_bytes(*word), 64),
            _ => {
                let byte = rest.first().copied().unwrap_or(0);
                (u64::from(byte) >> (at % 8), 8 - at % 8)
            }
        };
        let wanted = if set { bits } else { !bits };
        let skipped = (wanted.trailing_zeros() as usize).min(len);
        at += skipped;
        if skipped < len {
            // Below `end`, which has 16 bits, or not found.
            return (at < end).then_some(at as u16);
        }
    }
    None
}

/// The counts of a chain allocator, as its dinode gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocatorCounts {
    /// The allocator's inode.
    pub inode: InodeNo,
    /// Bits: clusters in the global bitmap, blocks elsewhere.
    pub total: u32,
    /// Set bits.
    pub used: u32,
    /// Clusters of a full group.
    pub clusters_per_group: u16,
    /// Bits of a cluster.
    pub bits_per_cluster: u16,
    /// Chains in use.
    pub chains: u16,
}

impl AllocatorCounts {
    /// Clear bits.
    pub fn free(&self) -> u32 {
        self.total.saturating_sub(self.used)
    }
}

/// The window of a slot's local alloc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalAllocInfo {
    /// First cluster; 0 without a window.
    pub start: ClusterNo,
    /// Clusters.
    pub total: u32,
    /// Clusters of the window in use.
    pub used: u32,
}

/// An inode named by an orphan directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// The inode.
    pub inode: InodeNo,
    /// A `dio-` entry: a live file whose direct append was interrupted.
    pub dio: bool,
}

/// Where the clusters of a volume are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Clusters of the volume.
    pub total: u64,
    /// Clusters in use according to the global bitmap.
    pub used: u64,
    /// Part of `used`: free clusters in the windows of local allocs.
    pub local_alloc_free: u64,
    /// Part of `used`: freed clusters that wait in truncate logs.
    pub truncate_log: u64,
    /// Part of `used`: clusters of unlinked files in the orphan directories.
    pub orphans: u64,
}

impl Volume {
    /// The counts of the allocator in an inode.
    ///
    /// # Errors
    /// [`Error::WrongKind`] when the inode is no chain allocator.
    pub fn allocator(&self, inode: &Inode) -> Result<AllocatorCounts> {
        let Contents::Chains(list) = inode.contents() else {
            return Err(Error::WrongKind {
                inode: inode.number(),
                wanted: "chain allocator",
            });
        };
        let counts = inode.dinode().bitmap();
        Ok(AllocatorCounts {
            inode: inode.number(),
            total: counts.i_total.get(),
            used: counts.i_used.get(),
            clusters_per_group: list.cl_cpg.get(),
            bits_per_cluster: list.cl_bpc.get(),
            chains: list.cl_next_free_rec.get(),
        })
    }

    /// The groups of the allocator in an inode, chain by chain.
    ///
    /// A broken group ends its chain with an error; the walk goes on with the next chain. A group is visited once, so
    /// chains that form a loop end.
    ///
    /// # Errors
    /// [`Error::WrongKind`] when the inode is no chain allocator.
    pub fn groups(&self, inode: &Inode) -> Result<Groups> {
        let counts = self.allocator(inode)?;
        Ok(Groups {
            volume: self.clone(),
            inode: inode.clone(),
            parent: GroupParent {
                inode: inode.number(),
                clusters_per_group: counts.clusters_per_group,
                bits_per_cluster: counts.bits_per_cluster,
                chains: counts.chains,
            },
            chain: 0,
            next: None,
            seen: HashSet::new(),
        })
    }

    /// The global bitmap's inode.
    ///
    /// # Errors
    /// [`Error::NoSuchSystemFile`], [`Error::Corrupt`].
    pub fn global_bitmap(&self) -> Result<Inode> {
        self.inode(self.system_file(SystemFile::GlobalBitmap, SlotNum::default())?)
    }

    /// The window of a slot's local alloc.
    ///
    /// # Errors
    /// [`Error::NoSuchSystemFile`], [`Error::Corrupt`].
    pub fn local_alloc(&self, slot: SlotNum) -> Result<LocalAllocInfo> {
        let inode = self.inode(self.system_file(SystemFile::LocalAlloc, slot)?)?;
        let Contents::LocalAlloc(local) = inode.contents() else {
            return Err(Error::WrongKind {
                inode: inode.number(),
                wanted: "local alloc",
            });
        };
        let counts = inode.dinode().bitmap();
        Ok(LocalAllocInfo {
            start: local.window_start(),
            total: counts.i_total.get(),
            used: counts.i_used.get(),
        })
    }

    /// The runs of clusters that wait in a slot's truncate log.
    ///
    /// # Errors
    /// [`Error::NoSuchSystemFile`], [`Error::Corrupt`].
    pub fn truncate_log(&self, slot: SlotNum) -> Result<Vec<(ClusterNo, u32)>> {
        let inode = self.inode(self.system_file(SystemFile::TruncateLog, slot)?)?;
        let Contents::TruncateLog(log) = inode.contents() else {
            return Err(Error::WrongKind {
                inode: inode.number(),
                wanted: "truncate log",
            });
        };
        let runs = log.records().iter().filter(|rec| rec.t_start.get() != 0);
        Ok(runs
            .map(|rec| (ClusterNo(rec.t_start.get()), rec.t_clusters.get()))
            .collect())
    }

    /// The inodes in a slot's orphan directory.
    ///
    /// # Errors
    /// [`Error::NoSuchSystemFile`], [`Error::Corrupt`], also when a name is not one that an orphan directory has.
    pub fn orphans(&self, slot: SlotNum) -> Result<Vec<Orphan>> {
        let dir = self.inode(self.system_file(SystemFile::OrphanDir, slot)?)?;
        let mut orphans = Vec::new();
        for entry in self.entries(&dir)? {
            let entry = entry?;
            if entry.is_dot() {
                continue;
            }
            let (dio, digits) = match entry.name().strip_prefix(b"dio-") {
                Some(digits) => (true, digits),
                None => (false, entry.name()),
            };
            let named = std::str::from_utf8(digits)
                .ok()
                .and_then(|digits| u64::from_str_radix(digits, 16).ok());
            if named != Some(entry.inode().0) {
                let violation = Violation::Name {
                    why: "an orphan is named after its inode number",
                };
                return Err(Corrupt::new(Structure::DirBlock, violation)
                    .in_inode(dir.number())
                    .into());
            }
            orphans.push(Orphan {
                inode: entry.inode(),
                dio,
            });
        }
        Ok(orphans)
    }

    /// Where the volume's clusters are: free, in use, or in use only until something is cleaned up.
    ///
    /// # Errors
    /// [`Error::NoSuchSystemFile`], [`Error::Corrupt`] when one of the system files is damaged.
    pub fn space(&self) -> Result<Space> {
        let counts = self.allocator(&self.global_bitmap()?)?;
        let mut space = Space {
            total: counts.total.into(),
            used: counts.used.into(),
            ..Space::default()
        };
        if self.geometry().features.heartbeat_device() {
            return Ok(space);
        }
        for slot in self.slots() {
            let local = self.local_alloc(slot)?;
            space.local_alloc_free += u64::from(local.total - local.used);
            space.truncate_log += self
                .truncate_log(slot)?
                .iter()
                .map(|&(_, clusters)| u64::from(clusters))
                .sum::<u64>();
            for orphan in self.orphans(slot)?.iter().filter(|orphan| !orphan.dio) {
                let inode = self.inode(orphan.inode)?;
                if matches!(
                    inode.kind(),
                    FileKind::Regular | FileKind::Directory | FileKind::Symlink
                ) {
                    space.orphans += u64::from(inode.clusters());
                }
            }
        }
        Ok(space)
    }
}

/// Walks the groups of an allocator. See [`Volume::groups`].
#[derive(Debug)]
pub struct Groups {
    volume: Volume,
    inode: Inode,
    parent: GroupParent,
    chain: u16,
    /// The next group of the current chain; `None` before its first.
    next: Option<BlockNo>,
    seen: HashSet<BlockNo>,
}

impl Groups {
    fn read(&mut self, at: BlockNo) -> Result<Group> {
        let structure = Structure::GroupDesc;
        let place = |error: Error| error.in_inode(self.parent.inode);
        if !self.seen.insert(at) {
            let violation = Violation::Loop {
                field: "bg_next_group",
                found: at.0,
            };
            return Err(Corrupt::new(structure, violation).in_inode(self.parent.inode).into());
        }
        let meta = self.volume.meta();
        // Suballocator groups are full of inodes or extent blocks; those of the bitmap lie alone.
        let locality = if self.parent.bits_per_cluster == 1 {
            Locality::Scattered
        } else {
            Locality::Clustered
        };
        let block = meta
            .verified(at, structure, GroupDesc::CHECK_OFFSET, locality)
            .map_err(place)?;
        let desc = view::<GroupDesc>(&block);
        desc.check(at, meta.geometry(), &self.parent)
            .map_err(|corrupt| corrupt.in_inode(self.parent.inode))?;
        if desc.bg_chain.get() != self.chain {
            let (found, expected) = (desc.bg_chain.get().into(), self.chain.into());
            let violation = Violation::Unexpected {
                field: "bg_chain",
                found,
                expected,
            };
            return Err(Corrupt::new(structure, violation)
                .at_block(at)
                .in_inode(self.parent.inode)
                .into());
        }
        Ok(Group {
            block,
            at,
            chain: self.chain,
        })
    }
}

impl Iterator for Groups {
    type Item = Result<Group>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.chain < self.parent.chains {
            let at = match self.next {
                Some(at) => at,
                None => {
                    let Contents::Chains(list) = self.inode.contents() else {
                        return None;
                    };
                    BlockNo(list.chains().get(usize::from(self.chain))?.c_blkno.get())
                }
            };
            if at.0 == 0 {
                self.chain += 1;
                self.next = None;
                continue;
            }
            let group = self.read(at);
            match &group {
                Ok(group) => self.next = Some(BlockNo(group.desc().bg_next_group.get())),
                Err(_) => {
                    self.chain += 1;
                    self.next = None;
                }
            }
            return Some(group);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_runs_cross_bytes_and_end_at_the_last_bit() {
        let bitmap = [0b0000_0111, 0xFF, 0x00, 0b0000_0001];
        let runs: Vec<_> = free_runs(&bitmap, 30).collect();
        assert_eq!(runs, [(3, 5), (16, 8), (25, 5)]);
        assert_eq!(free_runs(&[0xFF; 2], 16).count(), 0);
        let mut long = vec![0xFF; 100];
        long[30..60].fill(0);
        long[60] = 0xFE;
        let runs: Vec<_> = free_runs(&long, 800).collect();
        assert_eq!(runs, [(240, 241)]);
        assert_eq!(free_runs(&[], 5).collect::<Vec<_>>(), [(0, 5)]);
    }
}
