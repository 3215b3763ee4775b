//! Reading quota files.
//!
//! Source: on-disk reference, section 30.

use std::collections::HashSet;

use ocfs2_format::quota::{
    GlobalEntry, GlobalHead, GlobalInfo, LocalEntry, LocalHead, LocalInfo, QuotaGeometry, QuotaKind,
};
use ocfs2_format::{BlockNo, Corrupt, SlotNum, Structure, SystemFile, Violation};
use zerocopy::FromBytes;

use crate::dir::data_tree;
use crate::error::{Error, Result};
use crate::extent_tree::Lookup;
use crate::inode::Inode;
use crate::meta::{BlockBuf, Blocks};
use crate::volume::Volume;

/// The contents of a global quota file.
#[derive(Clone, Debug)]
pub struct GlobalQuota {
    /// Grace times and sizes.
    pub info: GlobalInfo,
    /// Limits and usage by id, in the order of the tree.
    pub entries: Vec<GlobalEntry>,
}

/// The contents of a slot's local quota file.
#[derive(Clone, Debug)]
pub struct LocalQuota {
    /// Flags and sizes.
    pub info: LocalInfo,
    /// Changes not yet added to the global file.
    pub entries: Vec<LocalEntry>,
}

impl Volume {
    /// Limits and usage of all users or groups.
    ///
    /// # Errors
    /// [`Error::NoSuchSystemFile`] on a volume without such quotas, [`Error::Corrupt`].
    pub fn global_quota(&self, kind: QuotaKind) -> Result<GlobalQuota> {
        let file = match kind {
            QuotaKind::User => SystemFile::UserQuota,
            QuotaKind::Group => SystemFile::GroupQuota,
        };
        let file = QuotaFile::open(self, file, SlotNum::default())?;
        file.global(kind).map_err(|error| error.in_inode(file.inode.number()))
    }

    /// The changes to the usage of users or groups that a slot has not added to the global file yet.
    ///
    /// # Errors
    /// As [`global_quota`](Self::global_quota).
    pub fn local_quota(&self, kind: QuotaKind, slot: SlotNum) -> Result<LocalQuota> {
        let file = match kind {
            QuotaKind::User => SystemFile::LocalUserQuota,
            QuotaKind::Group => SystemFile::LocalGroupQuota,
        };
        let file = QuotaFile::open(self, file, slot)?;
        file.local(kind).map_err(|error| error.in_inode(file.inode.number()))
    }
}

struct QuotaFile<'a> {
    meta: &'a dyn Blocks,
    inode: Inode,
    geometry: QuotaGeometry,
}

impl<'a> QuotaFile<'a> {
    fn open(volume: &'a Volume, file: SystemFile, slot: SlotNum) -> Result<Self> {
        let inode = volume.inode(volume.system_file(file, slot)?)?;
        Ok(QuotaFile {
            meta: volume.meta(),
            inode,
            geometry: QuotaGeometry::new(volume.geometry()),
        })
    }

    fn blocks(&self) -> u64 {
        self.inode.size() >> self.meta.geometry().block_size_bits
    }

    /// Block `n` of the file.
    fn block(&self, n: u64) -> Result<BlockBuf> {
        let geometry = self.meta.geometry();
        let fail = |violation| Err(Error::Corrupt(Corrupt::new(Structure::QuotaBlock, violation)));
        if n >= self.blocks() {
            let limit = self.blocks().saturating_sub(1);
            return fail(Violation::TooLarge {
                field: "quota block number",
                found: n,
                limit,
            });
        }
        let per_cluster = u64::from(geometry.blocks_per_cluster());
        let cpos = u32::try_from(n / per_cluster).unwrap_or(u32::MAX);
        let Lookup::Extent(extent) = data_tree(self.meta, &self.inode)?.lookup(cpos)? else {
            return fail(Violation::Rule("a quota file has no holes"));
        };
        let at = BlockNo(extent.blkno.0 + (n - u64::from(extent.cpos) * per_cluster));
        self.meta.verified_tail(at, Structure::QuotaBlock)
    }

    fn global(&self, kind: QuotaKind) -> Result<GlobalQuota> {
        let first = self.block(0)?;
        let head = GlobalHead::of_block(&first).expect("a block is longer than the head");
        head.check(kind, self.blocks())?;
        let mut entries = Vec::new();
        // Levels still to be walked: block and level. A block that is met again is not visited again.
        let mut todo = vec![(QuotaGeometry::ROOT_BLOCK, 0)];
        let mut seen = HashSet::from([0, QuotaGeometry::ROOT_BLOCK]);
        while let Some((number, level)) = todo.pop() {
            let block = self.block(number.into())?;
            if level == self.geometry.depth() {
                let Some((header, slots)) = self.geometry.leaf(&block) else {
                    continue;
                };
                header.check(&self.geometry, head.info.dqi_blocks.get())?;
                entries.extend(slots.iter().filter(|entry| !entry.is_free()));
                continue;
            }
            for child in self.geometry.tree_numbers(&block).iter().rev() {
                // 0 means that no id of this range has an entry; leaves are shared by ids.
                if child.get() != 0 && seen.insert(child.get()) {
                    todo.push((child.get(), level + 1));
                }
            }
        }
        Ok(GlobalQuota {
            info: head.info,
            entries,
        })
    }

    fn local(&self, kind: QuotaKind) -> Result<LocalQuota> {
        let first = self.block(0)?;
        let head = LocalHead::of_block(&first).expect("a block is longer than the head");
        head.check(kind, &self.geometry, self.blocks())?;
        let mut entries = Vec::new();
        for chunk in 0..head.info.dqi_chunks.get() {
            let header = self.block(self.geometry.chunk_block(chunk))?;
            let Some(header) = self.geometry.chunk(&header) else {
                continue;
            };
            let entry_blocks = head.chunk_entry_blocks(&self.geometry, chunk);
            header.check(&self.geometry, entry_blocks)?;
            for index in header.used(entry_blocks * self.geometry.entries_per_block()) {
                let place = self.geometry.local_entry(chunk, index);
                let block = self.block(place.block)?;
                let Ok((entry, _)) = LocalEntry::read_from_prefix(&block[place.offset..]) else {
                    continue;
                };
                entries.push(entry);
            }
        }
        Ok(LocalQuota {
            info: head.info,
            entries,
        })
    }
}
