//! The blocks of a new volume, built in memory.
//!
//! Source: on-disk reference, sections 2, 3, 8, 11 and 14 to 16.

use ocfs2_format::{
    BlockNo, ClusterNo, Dinode, DynFeatures, FileKind, Geometry, GroupDesc, InodeFlags, InodeNo, Signature, SlotNum,
    SuperBlock, SystemFile, set_bit,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::dirs::{self, Entry};
use super::extents::Extents;
use super::layout::{Directory, HEARTBEAT_BLOCKS, Layout, MetaBlock, Suballoc};
use super::plan::Plan;
use super::space::Run;

/// A whole block as one of its structures.
pub(super) fn view<T>(block: &mut [u8]) -> &mut T
where
    T: FromBytes + IntoBytes + KnownLayout<PointerMetadata = usize> + Immutable + ?Sized,
{
    T::mut_from_bytes(block).expect("structures that span a block fit in any block of 512 bytes or more")
}

/// A metadata block and where its check field is.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) at: BlockNo,
    pub(super) bytes: Vec<u8>,
    pub(super) check_offset: Option<usize>,
}

impl Block {
    fn new(at: BlockNo, bytes: Vec<u8>, check_offset: usize) -> Block {
        Block {
            at,
            bytes,
            check_offset: Some(check_offset),
        }
    }
}

/// Builds the blocks of a planned volume.
#[derive(Clone, Copy, Debug)]
pub(super) struct Builder<'a> {
    plan: &'a Plan,
    geometry: &'a Geometry,
    layout: &'a Layout,
}

impl<'a> Builder<'a> {
    pub(super) fn new(plan: &'a Plan) -> Builder<'a> {
        Builder {
            plan,
            geometry: plan.geometry(),
            layout: plan.layout(),
        }
    }

    /// The superblock, or its copy for block `at`.
    pub(super) fn superblock(&self, at: BlockNo) -> Block {
        let mut bytes = vec![0; self.geometry.block_size()];
        let time = self.plan.time();
        let dinode = view::<Dinode>(&mut bytes);
        dinode.i_signature = Signature::SUPER_BLOCK;
        dinode.i_generation.set(self.geometry.generation.0);
        dinode.i_fs_generation.set(self.geometry.generation.0);
        dinode.i_suballoc_slot.set(SlotNum::INVALID.0);
        dinode.i_suballoc_bit.set(u16::MAX);
        dinode.i_blkno.set(at.0);
        dinode
            .i_flags
            .set((InodeFlags::VALID | InodeFlags::SYSTEM | InodeFlags::SUPER_BLOCK).bits());
        dinode.i_clusters.set(self.geometry.clusters);
        dinode.i_ctime.set(time);
        dinode.i_mtime.set(time);
        let sb = dinode.super_block_mut();
        sb.s_major_rev_level.set(SuperBlock::MAJOR_REV);
        sb.s_minor_rev_level.set(SuperBlock::MINOR_REV);
        sb.s_max_mnt_count.set(MAX_MOUNTS);
        sb.s_lastcheck.set(time);
        sb.set_features(self.plan.features());
        sb.s_root_blkno.set(self.layout.root.inode.0);
        sb.s_system_dir_blkno.set(self.layout.system.inode.0);
        sb.s_blocksize_bits.set(self.geometry.block_size_bits.into());
        sb.s_clustersize_bits.set(self.geometry.cluster_size_bits.into());
        sb.s_max_slots.set(self.geometry.max_slots);
        sb.s_first_cluster_group.set(self.geometry.first_cluster_group().0);
        let label = self.plan.label();
        sb.s_label[..label.len()].copy_from_slice(label);
        sb.s_uuid = self.plan.uuid();
        if let Some(cluster) = self.plan.cluster_info() {
            sb.s_cluster_info = *cluster;
        }
        if !self.plan.is_heartbeat_device() {
            sb.s_uuid_hash.set(self.geometry.uuid_hash);
            sb.s_xattr_inline_size.set(self.geometry.xattr_inline_size);
            for (field, seed) in sb.s_dx_seed.iter_mut().zip(self.geometry.dx_seed) {
                field.set(seed);
            }
        }
        // A heartbeat device does not note the feature, though its other blocks have check fields.
        let check_offset = self.plan.features().metaecc().then_some(Dinode::CHECK_OFFSET);
        Block {
            at,
            bytes,
            check_offset,
        }
    }

    /// The inode of every system file but the orphan directories, and the extent blocks they need.
    pub(super) fn system_files(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let bit = |inode: InodeNo| self.bit_in(self.layout.inode_group, inode);
        for placed in self
            .layout
            .files
            .iter()
            .filter(|placed| placed.file != SystemFile::OrphanDir)
        {
            let (file, inode, slot) = (placed.file, placed.inode, usize::from(placed.slot.0));
            let mut dinode = self.inode(inode, bit(inode), None, file.mode(), file.flags());
            match file {
                SystemFile::BadBlocks => blocks.extend(dinode.extents(&Extents::default(), 0)),
                SystemFile::GlobalInodeAlloc => {
                    let mut groups = Suballoc {
                        groups: vec![self.layout.inode_group.start],
                        used: 0,
                    };
                    // Root, system directory and files: some thousand.
                    groups.used = 2 + self.layout.files.len() as u32;
                    // At most 2053 blocks in clusters of at least one block.
                    let clusters = self.layout.inode_group.len as u16;
                    dinode.chains(&groups, clusters);
                }
                SystemFile::SlotMap => {
                    let extents = self.layout.slot_map.map(Extents::from).unwrap_or_default();
                    let bytes = self.geometry.clusters_to_bytes(extents.clusters());
                    blocks.extend(dinode.extents(&extents, bytes));
                }
                SystemFile::Heartbeat => {
                    let region = HEARTBEAT_BLOCKS << self.geometry.block_size_bits;
                    blocks.extend(dinode.extents(&self.layout.heartbeat.into(), region));
                }
                SystemFile::GlobalBitmap => self.global_bitmap(&mut dinode),
                SystemFile::ExtentAlloc => {
                    dinode.chains(&self.layout.extent_alloc[slot], self.plan.suballoc_clusters())
                }
                SystemFile::InodeAlloc => {
                    let none = Suballoc::default();
                    let alloc = if slot == 0 { &self.layout.inode_alloc } else { &none };
                    dinode.chains(alloc, self.plan.suballoc_clusters());
                }
                SystemFile::Journal => {
                    let journal = &self.layout.journals[slot];
                    let bytes = self.geometry.clusters_to_bytes(journal.clusters());
                    blocks.extend(dinode.extents(journal, bytes));
                }
                SystemFile::LocalAlloc => {
                    let la_size = self.geometry.local_alloc_bytes();
                    dinode.view().local_alloc_mut().la_size.set(la_size);
                }
                SystemFile::TruncateLog => {
                    let count = self.geometry.truncate_log_recs();
                    dinode.view().truncate_log_mut().tl_count.set(count);
                }
                SystemFile::UserQuota | SystemFile::GroupQuota => {
                    let quota = self.plan.quota_files(file);
                    let size = super::quota::global_blocks(self.geometry) << self.geometry.block_size_bits;
                    blocks.extend(dinode.extents(&quota.global, size.into()));
                }
                SystemFile::LocalUserQuota | SystemFile::LocalGroupQuota => {
                    let quota = self.plan.quota_files(file);
                    let size = super::quota::FRESH_BLOCKS << self.geometry.block_size_bits;
                    blocks.extend(dinode.extents(&quota.local[slot], size.into()));
                }
                SystemFile::OrphanDir => {}
            }
            blocks.push(dinode.finish());
        }
        blocks
    }

    /// Inodes, blocks and indexes of the root, system and orphan directories.
    pub(super) fn directories(&self) -> Vec<Block> {
        let flags = InodeFlags::VALID | InodeFlags::SYSTEM;
        let slots = self.layout.orphans.len() as u32;
        let mode = FileKind::Directory.mode_bits() | 0o755;
        let has_lost_found = u32::from(self.layout.lost_found.is_some());
        let root = self.inode_of(&self.layout.root, mode, flags, 2 + has_lost_found);
        let system = self.inode_of(&self.layout.system, mode, flags, 2 + slots);
        let mut blocks = self.directory(&self.layout.root, root, &dirs::root_entries(self.layout));
        blocks.extend(self.directory(
            &self.layout.system,
            system,
            &dirs::system_entries(&self.layout.system, &self.layout.files),
        ));
        for orphan in &self.layout.orphans {
            let inode = self.inode_of(orphan, SystemFile::OrphanDir.mode(), SystemFile::OrphanDir.flags(), 2);
            blocks.extend(self.directory(orphan, inode, &dirs::dot_entries(orphan)));
        }
        blocks
    }

    /// lost+found and the group that its inode is from.
    pub(super) fn lost_found(&self) -> Vec<Block> {
        let (Some(directory), Some(&start)) = (&self.layout.lost_found, self.layout.inode_alloc.groups.first()) else {
            return Vec::new();
        };
        let group = self.geometry.cluster_to_block(start);
        let mode = FileKind::Directory.mode_bits() | 0o755;
        let bit = (directory.inode.0 - group.0) as u16;
        let owner = Some((SlotNum(0), group));
        let mut inode = self.inode(directory.inode, bit, owner, mode, InodeFlags::VALID);
        inode.view().set_links(2);
        let mut blocks = self.directory(directory, inode, &dirs::dot_entries(directory));
        blocks.extend(self.suballoc_groups(SystemFile::InodeAlloc, SlotNum(0), &self.layout.inode_alloc));
        blocks
    }

    /// The descriptor of the group that holds the first inodes.
    pub(super) fn first_inode_group(&self) -> Block {
        let run = self.layout.inode_group;
        let at = self.geometry.cluster_to_block(run.start);
        let bits = self.geometry.clusters_to_blocks(run.len);
        let mut bytes = vec![0; self.geometry.block_size()];
        let group = view::<GroupDesc>(&mut bytes);
        self.describe(group, at, self.owner(SystemFile::GlobalInodeAlloc, SlotNum(0)));
        // The whole block, whatever the features: the reference tools read it so.
        group.bg_size.set(self.geometry.group_bitmap_bytes());
        // At most 2053 inodes, rounded up to clusters of 2048 blocks.
        set_first_bits(group, bits as u16, 3 + self.layout.files.len() as u16);
        Block::new(at, bytes, GroupDesc::CHECK_OFFSET)
    }

    /// The groups of an allocator of inodes or extent blocks.
    pub(super) fn suballoc_groups<'b>(
        &'b self,
        file: SystemFile,
        slot: SlotNum,
        alloc: &'b Suballoc,
    ) -> impl Iterator<Item = Block> + 'b {
        let bits = self.suballoc_bits();
        let chains = usize::from(self.geometry.chains_per_dinode());
        let owner = self.owner(file, slot);
        alloc.groups.iter().enumerate().map(move |(i, &start)| {
            let at = self.geometry.cluster_to_block(start);
            let mut bytes = vec![0; self.geometry.block_size()];
            let group = view::<GroupDesc>(&mut bytes);
            self.describe(group, at, owner);
            group.bg_size.set(self.geometry.suballoc_bitmap_bytes());
            group.bg_chain.set((i % chains) as u16);
            // A group is put in front of those that its chain has.
            let next = i.checked_sub(chains).and_then(|before| alloc.groups.get(before));
            group
                .bg_next_group
                .set(next.map_or(0, |&next| self.geometry.cluster_to_block(next).0));
            set_first_bits(group, bits, alloc.used_bits(i, bits));
            Block::new(at, bytes, GroupDesc::CHECK_OFFSET)
        })
    }

    /// Fills `block` with the descriptor of cluster group `index`; returns where it belongs.
    pub(super) fn cluster_group(&self, index: u32, block: &mut [u8]) -> BlockNo {
        block.fill(0);
        let at = self.geometry.cluster_group_block(index);
        let chains = u32::from(self.geometry.chains_per_dinode());
        let group = view::<GroupDesc>(block);
        self.describe(group, at, self.owner(SystemFile::GlobalBitmap, SlotNum(0)));
        group.bg_size.set(self.geometry.group_bitmap_bytes());
        group.bg_chain.set((index % chains) as u16);
        let next = index
            .checked_add(chains)
            .filter(|&next| next < self.geometry.cluster_groups());
        group
            .bg_next_group
            .set(next.map_or(0, |next| self.geometry.cluster_group_block(next).0));
        let bits = self.group_bits(index);
        let mut used = 0;
        for run in self.group_used(index) {
            used += run.len() as u16;
            run.for_each(|bit| {
                set_bit(group.bitmap_mut(), bit as usize);
            });
        }
        group.bg_bits.set(bits);
        group.bg_free_bits_count.set(bits - used);
        at
    }

    /// Contents of the quota files.
    pub(super) fn quota_files(&self) -> Vec<Block> {
        use ocfs2_format::quota::{QuotaGeometry, QuotaKind};
        let check_offset = QuotaGeometry::new(self.geometry).check_offset();
        let root_clusters = self.layout.root.data.map_or(0, |run| run.len);
        let root_bytes = self.geometry.clusters_to_bytes(root_clusters);
        let mut blocks = Vec::new();
        for (kind, file) in [
            (QuotaKind::User, SystemFile::UserQuota),
            (QuotaKind::Group, SystemFile::GroupQuota),
        ] {
            if !file.exists_with(self.plan.features()) {
                continue;
            }
            let quota = self.plan.quota_files(file);
            let global = super::quota::global_file(self.geometry, kind, root_bytes);
            let locals = quota
                .local
                .iter()
                .map(|file| (file, super::quota::local_file(self.geometry, kind)));
            for (extents, contents) in [(&quota.global, global)].into_iter().chain(locals) {
                let places = self.blocks_of(extents);
                blocks.extend(
                    places
                        .zip(contents)
                        .map(|(at, bytes)| Block::new(at, bytes, check_offset)),
                );
            }
        }
        blocks
    }

    /// First bytes of every journal: its superblock.
    pub(super) fn journal_superblocks(&self) -> Vec<Block> {
        let block_size = self.geometry.block_size();
        self.layout
            .journals
            .iter()
            .filter_map(|journal| {
                let first = journal.runs().first()?;
                // Checked when the sizes were chosen.
                let blocks = self.geometry.clusters_to_blocks(journal.clusters()) as u32;
                let wide = self.plan.journal_block64();
                let sb = ocfs2_format::jbd2::Superblock::new(block_size as u32, blocks, self.plan.uuid(), wide);
                let mut bytes = vec![0; sb.as_bytes().len().max(block_size)];
                bytes[..sb.as_bytes().len()].copy_from_slice(sb.as_bytes());
                Some(Block {
                    at: self.geometry.cluster_to_block(first.start),
                    bytes,
                    check_offset: None,
                })
            })
            .collect()
    }

    /// Contents of the slot map, where they are not zeros.
    pub(super) fn slot_map(&self) -> Option<Block> {
        let run = self
            .layout
            .slot_map
            .filter(|_| !self.plan.features().extended_slot_map())?;
        let len = self.geometry.clusters_to_bytes(run.len) as usize;
        let at = self.geometry.cluster_to_block(run.start);
        Some(Block {
            at,
            bytes: vec![0xFF; len],
            check_offset: None,
        })
    }

    fn global_bitmap(&self, dinode: &mut NewInode<'_>) {
        let geometry = self.geometry;
        let groups = geometry.cluster_groups();
        let count = u32::from(geometry.chains_per_dinode());
        let mut totals = vec![(0u32, 0u32); groups.min(count) as usize];
        for index in 0..groups {
            let (free, total) = &mut totals[(index % count) as usize];
            let bits = u32::from(self.group_bits(index));
            let used: u32 = self.group_used(index).map(|run| run.len() as u32).sum();
            *total += bits;
            *free += bits - used;
        }
        let inode = dinode.view();
        inode.i_clusters.set(geometry.clusters);
        inode.i_size.set(geometry.bytes());
        inode.bitmap_mut().i_used.set(self.layout.space.used());
        inode.bitmap_mut().i_total.set(geometry.clusters);
        let list = inode.chain_list_mut();
        // A group has at most 32256 clusters.
        list.cl_cpg.set(geometry.clusters_per_group() as u16);
        list.cl_bpc.set(1);
        list.cl_count.set(count as u16);
        list.cl_next_free_rec.set(totals.len() as u16);
        for (index, (rec, (free, total))) in (0..).zip(list.cl_recs.iter_mut().zip(totals)) {
            rec.c_free.set(free);
            rec.c_total.set(total);
            rec.c_blkno.set(geometry.cluster_group_block(index).0);
        }
    }

    /// Clusters of a cluster group.
    fn group_bits(&self, index: u32) -> u16 {
        let clusters = self.geometry.group_clusters(index);
        // At most 32256.
        (clusters.end - clusters.start) as u16
    }

    /// Clusters in use of a cluster group, relative to its first, in runs.
    fn group_used(&self, index: u32) -> impl Iterator<Item = std::ops::Range<u32>> + '_ {
        let clusters = self.geometry.group_clusters(index);
        // The volume has fewer than 2^32 clusters; the end of its last group is one of them or 2^32 - 1.
        let clusters = clusters.start as u32..clusters.end as u32;
        let descriptor = (index > 0).then_some(0..1);
        descriptor.into_iter().chain(self.layout.space.taken_in(clusters))
    }

    fn owner(&self, file: SystemFile, slot: SlotNum) -> InodeNo {
        self.layout
            .inode_of(file, slot)
            .expect("every volume has its allocators")
    }

    fn describe(&self, group: &mut GroupDesc, at: BlockNo, owner: InodeNo) {
        group.bg_signature = Signature::GROUP_DESC;
        group.bg_generation.set(self.geometry.generation.0);
        group.bg_parent_dinode.set(owner.0);
        group.bg_blkno.set(at.0);
    }

    fn suballoc_bits(&self) -> u16 {
        // At most 4 MiB in blocks of 2048 bytes, 1 MiB in blocks of 512.
        self.geometry.clusters_to_blocks(self.plan.suballoc_clusters().into()) as u16
    }

    fn bit_in(&self, group: Run, inode: InodeNo) -> u16 {
        // A group has fewer than 2^16 blocks.
        (inode.0 - self.geometry.cluster_to_block(group.start).0) as u16
    }

    fn blocks_of<'b>(&'b self, extents: &'b Extents) -> impl Iterator<Item = BlockNo> + 'b {
        extents.runs().iter().flat_map(|run| {
            let first = self.geometry.cluster_to_block(run.start).0;
            (first..first + self.geometry.clusters_to_blocks(run.len)).map(BlockNo)
        })
    }

    fn inode_of(&self, directory: &Directory, mode: u16, flags: InodeFlags, links: u32) -> NewInode<'a> {
        let bit = self.bit_in(self.layout.inode_group, directory.inode);
        let mut inode = self.inode(directory.inode, bit, None, mode, flags);
        inode.view().set_links(links);
        inode
    }

    /// An inode with one link and no contents. `owner` is the slot and group it is from, unless that is the group of the
    /// first inodes.
    fn inode(
        &self,
        inode: InodeNo,
        bit: u16,
        owner: Option<(SlotNum, BlockNo)>,
        mode: u16,
        flags: InodeFlags,
    ) -> NewInode<'a> {
        let mut bytes = vec![0; self.geometry.block_size()];
        let time = self.plan.time();
        let generation = self.geometry.generation.0;
        let (slot, group) = owner.unwrap_or((SlotNum::INVALID, BlockNo(0)));
        let dinode = view::<Dinode>(&mut bytes);
        dinode.i_signature = Signature::INODE;
        dinode.i_generation.set(generation);
        dinode.i_fs_generation.set(generation);
        dinode.i_suballoc_slot.set(slot.0);
        dinode.i_suballoc_bit.set(bit);
        dinode.i_suballoc_loc.set(group.0);
        dinode.i_blkno.set(inode.0);
        dinode.i_mode.set(mode);
        dinode.set_links(1);
        dinode.i_flags.set(flags.bits());
        dinode.i_atime.set(time);
        dinode.i_ctime.set(time);
        dinode.i_mtime.set(time);
        NewInode {
            geometry: self.geometry,
            at: inode.block(),
            bytes,
        }
    }

    /// Fills the inode of a directory, and makes its blocks and its index.
    fn directory(&self, directory: &Directory, mut inode: NewInode<'_>, entries: &[Entry]) -> Vec<Block> {
        let geometry = self.geometry;
        let Some(run) = directory.data else {
            let capacity = geometry.max_inline_data(false);
            let dinode = inode.view();
            dinode.i_dyn_features.set(DynFeatures::INLINE_DATA.bits());
            dinode.i_size.set(capacity.into());
            let inline = dinode.inline_data_mut();
            inline.id_count.set(capacity);
            dirs::write_entries(&mut inline.id_data, entries);
            return vec![inode.finish()];
        };
        let first = geometry.cluster_to_block(run.start);
        let packed = dirs::pack(geometry, entries);
        let (contents, free_list) = dirs::blocks(geometry, directory, first, &packed);
        let size = (contents.len() as u64) << geometry.block_size_bits;
        let mut blocks = inode.extents(&run.into(), size);
        if let Some(place) = directory.index {
            inode.view().i_dyn_features.set(DynFeatures::INDEXED_DIR.bits());
            inode.view().i_dx_root.set(place.block.0);
            blocks.extend(self.index(directory, place, &packed, free_list));
        }
        blocks.push(inode.finish());
        let check_offset =
            dirs::has_trailer(geometry).then(|| ocfs2_format::DirTrailer::check_offset(geometry.block_size()));
        blocks.extend((first.0..).zip(contents).map(|(at, bytes)| Block {
            at: BlockNo(at),
            bytes,
            check_offset,
        }));
        blocks
    }

    fn index(&self, directory: &Directory, place: MetaBlock, packed: &[Vec<Entry>], free_list: u64) -> Vec<Block> {
        use ocfs2_format::{DxLeaf, DxRoot};
        let small;
        let plan = match &self.layout.system_index {
            Some(plan) if directory.inode == self.layout.system.inode => plan,
            _ => {
                let first = directory.data.map_or(ClusterNo(0), |run| run.start);
                small = super::index::IndexPlan::new(self.geometry, packed, self.geometry.cluster_to_block(first));
                &small
            }
        };
        let root = plan.root(self.geometry, directory, place, free_list);
        let leaves = plan.leaves(self.geometry);
        let leaves = leaves
            .into_iter()
            .map(|(at, bytes)| Block::new(at, bytes, DxLeaf::CHECK_OFFSET));
        [Block::new(place.block, root, DxRoot::CHECK_OFFSET)]
            .into_iter()
            .chain(leaves)
            .collect()
    }
}

/// An inode that is being filled.
struct NewInode<'a> {
    geometry: &'a Geometry,
    at: BlockNo,
    bytes: Vec<u8>,
}

impl NewInode<'_> {
    fn view(&mut self) -> &mut Dinode {
        view(&mut self.bytes)
    }

    /// Makes it a file with these extents; returns the blocks of its extent tree.
    fn extents(&mut self, extents: &Extents, size: u64) -> Vec<Block> {
        use ocfs2_format::ExtentBlock;
        let geometry = self.geometry;
        let dinode = self.view();
        dinode.i_size.set(size);
        dinode.i_clusters.set(extents.clusters());
        dinode.i_last_eb_blk.set(extents.last_leaf());
        let blocks = extents.fill(geometry, dinode.extent_list_mut());
        let block = |(place, bytes): (MetaBlock, _)| Block::new(place.block, bytes, ExtentBlock::CHECK_OFFSET);
        blocks.into_iter().map(block).collect()
    }

    /// Makes it an allocator of blocks.
    fn chains(&mut self, alloc: &Suballoc, clusters_per_group: u16) {
        let geometry = self.geometry;
        // Suballocator groups have fewer than 2^16 blocks.
        let bits = geometry.clusters_to_blocks(clusters_per_group.into()) as u16;
        let count = usize::from(geometry.chains_per_dinode());
        let groups = alloc.groups.len();
        // The clusters of all groups are clusters of the volume.
        let clusters = groups as u32 * u32::from(clusters_per_group);
        let dinode = self.view();
        dinode.i_clusters.set(clusters);
        dinode.i_size.set(geometry.clusters_to_bytes(clusters));
        let used: u32 = (0..groups).map(|i| u32::from(alloc.used_bits(i, bits))).sum();
        dinode.bitmap_mut().i_used.set(used);
        dinode.bitmap_mut().i_total.set(groups as u32 * u32::from(bits));
        let list = dinode.chain_list_mut();
        list.cl_cpg.set(clusters_per_group);
        // At most 1 MiB in blocks of 512 bytes.
        list.cl_bpc.set(geometry.blocks_per_cluster() as u16);
        list.cl_count.set(geometry.chains_per_dinode());
        list.cl_next_free_rec.set(groups.min(count) as u16);
        for (i, &start) in alloc.groups.iter().enumerate() {
            let rec = &mut list.cl_recs[i % count];
            rec.c_total.set(rec.c_total.get() + u32::from(bits));
            rec.c_free
                .set(rec.c_free.get() + u32::from(bits - alloc.used_bits(i, bits)));
            rec.c_blkno.set(geometry.cluster_to_block(start).0);
        }
    }

    fn finish(self) -> Block {
        Block::new(self.at, self.bytes, Dinode::CHECK_OFFSET)
    }
}

/// Makes the first `used` of `bits` bits of a group used and all others free.
fn set_first_bits(group: &mut GroupDesc, bits: u16, used: u16) {
    group.bg_bits.set(bits);
    group.bg_free_bits_count.set(bits - used);
    let bitmap = group.bitmap_mut();
    (0..used.into()).for_each(|bit| {
        set_bit(bitmap, bit);
    });
}

/// Mounts after which a check would be due, if anyone counted.
const MAX_MOUNTS: u16 = 20;
