//! Finding out what blocks are used for.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;

use ocfs2_format::{
    BACKUP_OFFSETS, BlockNo, ChainList, ClusterNo, Dinode, DxFlags, DxRoot, DynFeatures, ExtentList, ExtentRec,
    FileKind, Geometry, GroupDesc, InodeFlags, InodeNo, RefcountBlock, RefcountFlags, SlotNum, Structure, SystemFile,
    XattrBlock, XattrBlockFlags, test_bit,
};

use super::{Inspector, Raw, RawXattrs};
use crate::error::Result;

/// What a block is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockUse {
    /// It lies before the first cluster group, or holds a backup of the superblock.
    SuperblockArea,
    /// It is an inode.
    Inode(InodeNo),
    /// It holds contents of an inode; the block's number in its file.
    Contents(InodeNo, u64),
    /// It holds metadata of an inode.
    Metadata(InodeNo, Structure),
    /// It lies in the window of a slot's local alloc, whose inode this is, and is not used.
    LocalAlloc(InodeNo),
    /// It was freed and waits in a slot's truncate log, whose inode this is.
    TruncateLog(InodeNo),
    /// It is free, according to the bitmap that it belongs to.
    Free,
    /// It is in use according to its bitmap, and nothing that could be read uses it.
    Unknown,
}

impl Inspector {
    /// What the given blocks are used for, by reading the inodes of the volume until all are found. A block that several
    /// files share is shown for the first of them. `damage` hears of what could not be read on the way.
    pub fn block_uses(&self, blocks: &[BlockNo], damage: impl FnMut(crate::Error)) -> BTreeMap<BlockNo, BlockUse> {
        let mut search = Search {
            inspector: self,
            pending: blocks.iter().copied().collect(),
            found: BTreeMap::new(),
            roots: HashSet::new(),
            damage,
        };
        search.run();
        let unknown = search.pending.into_iter().map(|block| (block, BlockUse::Unknown));
        search.found.extend(unknown);
        search.found
    }
}

struct Search<'a, D> {
    inspector: &'a Inspector,
    /// Blocks whose use is not known yet, in order.
    pending: BTreeSet<BlockNo>,
    found: BTreeMap<BlockNo, BlockUse>,
    /// Roots of shared trees that were walked.
    roots: HashSet<BlockNo>,
    damage: D,
}

impl<D: FnMut(crate::Error)> Search<'_, D> {
    fn geometry(&self) -> Geometry {
        *self.inspector.geometry()
    }

    fn run(&mut self) {
        self.superblocks();
        self.free_clusters();
        let system: Vec<_> = self.inspector.volume().system().iter().collect();
        for (_, number) in &system {
            self.inode(*number);
        }
        self.inode(self.inspector.volume().root());
        self.inode(self.inspector.volume().system_dir());
        let inode_allocs = system
            .iter()
            .filter(|(file, _)| matches!(file, SystemFile::GlobalInodeAlloc | SystemFile::InodeAlloc));
        for (_, number) in inode_allocs {
            self.inodes_of(*number);
        }
    }

    fn is_done(&self) -> bool {
        self.pending.is_empty()
    }

    /// Says what the blocks of a range are used for; `usage` is given each block's place in the range.
    fn claim(&mut self, first: BlockNo, len: u64, usage: impl Fn(u64) -> BlockUse) {
        let range = first..BlockNo(first.0.saturating_add(len));
        let hits: Vec<_> = self.pending.range(range).copied().collect();
        for block in hits {
            self.pending.remove(&block);
            self.found.insert(block, usage(block.0 - first.0));
        }
    }

    fn superblocks(&mut self) {
        let geometry = self.geometry();
        let first_group = self.inspector.volume().superblock().s_first_cluster_group.get();
        let first_group = first_group.min(geometry.first_cluster_group().0);
        self.claim(BlockNo(0), first_group, |_| BlockUse::SuperblockArea);
        if geometry.features.backup_super() {
            for offset in BACKUP_OFFSETS {
                let block = offset >> geometry.block_size_bits;
                if block < geometry.blocks() {
                    self.claim(BlockNo(block), 1, |_| BlockUse::SuperblockArea);
                }
            }
        }
    }

    /// Asks the groups of the global bitmap, which lie where the geometry says.
    fn free_clusters(&mut self) {
        let geometry = self.geometry();
        let clusters: Vec<_> = self
            .pending
            .iter()
            .filter_map(|block| geometry.block_to_cluster(*block))
            .collect();
        let mut group: Option<(u32, Result<Raw<GroupDesc>>)> = None;
        for cluster in clusters {
            let index = cluster.0 / geometry.clusters_per_group();
            if group.as_ref().is_none_or(|(known, _)| *known != index) {
                group = Some((index, self.inspector.read(geometry.cluster_group_block(index))));
            }
            let Some((_, Ok(desc))) = &group else { continue };
            let bit = cluster.0 % geometry.clusters_per_group();
            if bit < u32::from(desc.bg_bits.get()) && !test_bit(desc.bitmap(), bit as usize) {
                let first = geometry.cluster_to_block(cluster);
                self.claim(first, geometry.blocks_per_cluster().into(), |_| BlockUse::Free);
            }
        }
        if let Some((_, Err(error))) = group {
            (self.damage)(error);
        }
    }

    /// Every inode whose bit is set in an inode allocator.
    fn inodes_of(&mut self, allocator: InodeNo) {
        let Ok(dinode) = self.inspector.dinode(allocator) else {
            return;
        };
        let list = dinode.chain_list();
        let mut seen = HashSet::new();
        for rec in list.chains() {
            for group in self.inspector.group_chain(BlockNo(rec.c_blkno.get())) {
                let Ok(group) = group else { break };
                if !seen.insert(group.block().number()) {
                    break;
                }
                for bit in 0..group.bg_bits.get() {
                    if self.is_done() {
                        return;
                    }
                    if !test_bit(group.bitmap(), bit.into()) {
                        continue;
                    }
                    let Some(block) = group.block_of_bit(bit, list.cl_bpc.get()) else {
                        continue;
                    };
                    if block != group.block().number() {
                        self.inode(block.inode());
                    }
                }
            }
        }
    }

    /// Everything that an inode uses.
    fn inode(&mut self, number: InodeNo) {
        if self.is_done() {
            return;
        }
        let dinode = match self.inspector.dinode(number) {
            Ok(dinode) => dinode,
            Err(error) => return (self.damage)(error),
        };
        let flags = dinode.flags();
        if !flags.contains(InodeFlags::VALID) {
            return;
        }
        self.claim(number.block(), 1, |_| BlockUse::Inode(number));
        if flags.contains(InodeFlags::LOCAL_ALLOC) {
            let local = dinode.local_alloc();
            let used = |bit: u32| test_bit(&local.la_bitmap, bit as usize);
            for bit in (0..dinode.bitmap().i_total.get().min(u16::MAX.into())).filter(|bit| !used(*bit)) {
                self.claim_clusters(
                    local.la_bm_off.get().saturating_add(bit),
                    1,
                    BlockUse::LocalAlloc(number),
                );
            }
        } else if flags.contains(InodeFlags::CHAIN) {
            self.groups(number, dinode.chain_list());
        } else if flags.contains(InodeFlags::DEALLOC) {
            for rec in dinode.truncate_log().records() {
                self.claim_clusters(rec.t_start.get(), rec.t_clusters.get(), BlockUse::TruncateLog(number));
            }
        } else {
            let fast_symlink = dinode.kind() == Some(FileKind::Symlink) && dinode.i_clusters.get() == 0;
            if !fast_symlink && !dinode.dyn_features().contains(DynFeatures::INLINE_DATA) {
                let per_cluster = u64::from(self.geometry().blocks_per_cluster());
                self.tree(number, dinode.extent_list(), |search, rec| {
                    let start = u64::from(rec.e_cpos.get()) * per_cluster;
                    let len = u64::from(rec.e_leaf_clusters.get()) * per_cluster;
                    search.claim(rec.blkno(), len, |skip| BlockUse::Contents(number, start + skip));
                });
            }
        }
        self.xattrs(number, &dinode);
        if dinode.dyn_features().contains(DynFeatures::INDEXED_DIR) {
            self.index(number, BlockNo(dinode.i_dx_root.get()));
        }
        if dinode.dyn_features().contains(DynFeatures::HAS_REFCOUNT) {
            self.refcounts(number, BlockNo(dinode.i_refcount_loc.get()));
        }
    }

    fn claim_clusters(&mut self, first: u32, clusters: u32, usage: BlockUse) {
        let geometry = self.geometry();
        let first = geometry.cluster_to_block(ClusterNo(first));
        self.claim(first, geometry.clusters_to_blocks(clusters), |_| usage);
    }

    /// The extent blocks of a tree, and its leaf records to `leaf`.
    fn tree(&mut self, number: InodeNo, root: &ExtentList, mut leaf: impl FnMut(&mut Self, &ExtentRec)) {
        let leaves = |list: &ExtentList| match list.l_tree_depth.get() {
            0 => list.records().to_vec(),
            _ => Vec::new(),
        };
        for rec in leaves(root) {
            leaf(self, &rec);
        }
        for block in self.inspector.tree_blocks(root) {
            if self.is_done() {
                return;
            }
            match block {
                Ok(block) => {
                    self.claim(block.block().number(), 1, |_| {
                        BlockUse::Metadata(number, Structure::ExtentBlock)
                    });
                    for rec in leaves(block.list()) {
                        leaf(self, &rec);
                    }
                }
                Err(error) => (self.damage)(error),
            }
        }
    }

    /// A run of clusters full of metadata.
    fn metadata_run(&mut self, number: InodeNo, rec: &ExtentRec, structure: Structure) {
        let len = self.geometry().clusters_to_blocks(rec.e_leaf_clusters.get().into());
        self.claim(rec.blkno(), len, |_| BlockUse::Metadata(number, structure));
    }

    fn groups(&mut self, number: InodeNo, list: &ChainList) {
        let geometry = self.geometry();
        let bitmap = self
            .inspector
            .volume()
            .system_file(SystemFile::GlobalBitmap, SlotNum::default());
        let is_bitmap = bitmap.is_ok_and(|bitmap| bitmap == number);
        let mut seen = HashSet::new();
        for rec in list.chains() {
            for group in self.inspector.group_chain(BlockNo(rec.c_blkno.get())) {
                let group = match group {
                    Ok(group) if seen.insert(group.block().number()) => group,
                    Ok(_) => break,
                    Err(error) => {
                        (self.damage)(error);
                        break;
                    }
                };
                let at = group.block().number();
                // A cluster group's descriptor has its cluster to itself.
                let len = if is_bitmap {
                    geometry.blocks_per_cluster().into()
                } else {
                    1
                };
                self.claim(at, len, |_| BlockUse::Metadata(number, Structure::GroupDesc));
                if is_bitmap {
                    continue;
                }
                for range in free_blocks(&group, list.cl_bpc.get()) {
                    self.claim(BlockNo(range.start), range.end - range.start, |_| BlockUse::Free);
                }
            }
        }
    }

    fn xattrs(&mut self, number: InodeNo, dinode: &Raw<Dinode>) {
        if let Some(area) = dinode.inline_xattr_area().and_then(RawXattrs::new) {
            self.values(number, &area);
        }
        let at = dinode.i_xattr_loc.get();
        if at == 0 || !dinode.dyn_features().contains(DynFeatures::HAS_XATTR) {
            return;
        }
        let block = match self.inspector.read::<XattrBlock>(BlockNo(at)) {
            Ok(block) => block,
            Err(error) => return (self.damage)(error),
        };
        self.claim(BlockNo(at), 1, |_| BlockUse::Metadata(number, Structure::XattrBlock));
        if !block.flags().contains(XattrBlockFlags::INDEXED) {
            if let Some(area) = RawXattrs::new(block.area()) {
                self.values(number, &area);
            }
            return;
        }
        self.tree(number, block.list(), |search, rec| {
            search.metadata_run(number, rec, Structure::XattrBucket);
            for bucket in search.inspector.xattr_buckets(rec) {
                match bucket {
                    Ok(bucket) => search.values(number, &bucket.area()),
                    Err(error) => (search.damage)(error),
                }
            }
        });
    }

    fn values(&mut self, number: InodeNo, area: &RawXattrs<'_>) {
        for entry in area.entries() {
            if self.is_done() {
                return;
            }
            let Some(root) = area.value_root(entry) else { continue };
            self.tree(number, root.list(), |search, rec| {
                search.metadata_run(number, rec, Structure::XattrValue);
            });
        }
    }

    fn index(&mut self, number: InodeNo, at: BlockNo) {
        let root = match self.inspector.read::<DxRoot>(at) {
            Ok(root) => root,
            Err(error) => return (self.damage)(error),
        };
        self.claim(at, 1, |_| BlockUse::Metadata(number, Structure::DxRoot));
        if !root.flags().contains(DxFlags::INLINE) {
            self.tree(number, root.list(), |search, rec| {
                search.metadata_run(number, rec, Structure::DxLeaf)
            });
        }
    }

    fn refcounts(&mut self, number: InodeNo, at: BlockNo) {
        if !self.roots.insert(at) {
            return;
        }
        let root = match self.inspector.read::<RefcountBlock>(at) {
            Ok(root) => root,
            Err(error) => return (self.damage)(error),
        };
        self.claim(at, 1, |_| BlockUse::Metadata(number, Structure::RefcountBlock));
        if root.flags().contains(RefcountFlags::TREE) {
            self.tree(number, root.list(), |search, rec| {
                // A leaf is a single block.
                search.claim(rec.blkno(), 1, |_| BlockUse::Metadata(number, Structure::RefcountBlock));
            });
        }
    }
}

/// Blocks of a suballocator's group whose bits are clear.
fn free_blocks(group: &GroupDesc, bits_per_cluster: u16) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for (start, len) in super::clear_runs(group) {
        for bit in start..start.saturating_add(len) {
            let Some(block) = group.block_of_bit(bit, bits_per_cluster) else {
                continue;
            };
            match ranges.last_mut() {
                Some(last) if last.end == block.0 => last.end += 1,
                _ => ranges.push(block.0..block.0.saturating_add(1)),
            }
        }
    }
    ranges
}
