//! Bodies of fuzz targets: one function for each parser of bytes that nobody vouches for. Not part of the public interface.
//!
//! A body may not panic, whatever the bytes; where more can be said about its results, it does. For the parsers of one
//! block, the first byte of the input chooses the block size (bits 0 and 1) and the features (bits 2 and 3); the rest is
//! the block, cut or filled up with zeros. Whatever would have to agree with the volume, such as the block's own number,
//! is taken from the block itself, so that the checks behind it are reached.

use std::sync::Arc;

use ocfs2_format::device::partition;
use ocfs2_format::device::{BlockDevice, Durability, MemDevice};
use ocfs2_format::jbd2::{CommitHeader, Format, Header, Superblock as JournalSuperblock};
use ocfs2_format::quota::{GlobalHead, LocalHead, QuotaGeometry, QuotaKind};
use ocfs2_format::{
    BlockCheck, BlockNo, Contents, Dinode, DirEntries, DirTrailer, DxLeaf, DxRoot, ExtentBlock, ExtentList, Features,
    Generation, Geometry, GroupDesc, GroupParent, HeartbeatBlock, ImageHeader, InodeNo, RefcountBlock, SlotMap,
    Structure, Verdict, XattrArea, XattrBlock, check_superblock,
};
use zerocopy::FromBytes;

use crate::dir::DirEntry;
use crate::meta::view;
use crate::mounted::{AllocateMode, FileSystem, MountOptions, NewInode, RenameMode, SetAttributes, XattrMode};
use crate::survey::SurveyOptions;
use crate::volume::{OpenOptions, Volume};
use crate::xattr::Acl;

/// The body of a target.
pub type Body = fn(&[u8]);

/// Every target by the name of its program and its corpus.
pub const TARGETS: [(&str, Body); 19] = [
    ("block_check", block_check),
    ("dinode", dinode),
    ("dir_block", dir_block),
    ("dx_leaf", dx_leaf),
    ("dx_root", dx_root),
    ("extent_block", extent_block),
    ("group_desc", group_desc),
    ("heartbeat", heartbeat),
    ("image_header", image_header),
    ("journal_blocks", journal_blocks),
    ("journal_replay", journal_replay),
    ("mounted", mounted),
    ("partitions", partitions),
    ("quota", quota),
    ("refcount_block", refcount_block),
    ("slot_map", slot_map),
    ("superblock", superblock),
    ("volume", volume),
    ("xattr_area", xattr_area),
];

/// A block and the volume it may be part of.
fn block_of(bytes: &[u8]) -> Option<(Geometry, Vec<u8>)> {
    let (&choice, rest) = bytes.split_first()?;
    let block_size_bits = 9 + (choice & 3);
    let features = match (choice >> 2) & 3 {
        0 => Features::default(),
        1 => Features::DEFAULT,
        _ => Features::MAX_FEATURES,
    };
    let mut block = rest.to_vec();
    block.resize(1 << block_size_bits, 0);
    let geometry = Geometry {
        block_size_bits,
        cluster_size_bits: 12,
        clusters: 1 << 16,
        features,
        generation: Generation(0),
        max_slots: 4,
        xattr_inline_size: if block_size_bits > 9 { 256 } else { 0 },
        uuid_hash: 0,
        dx_seed: [0; 3],
    };
    Some((geometry, block))
}

/// The volume to which a block belongs that carries this generation.
fn of_generation(mut geometry: Geometry, generation: u32) -> Geometry {
    geometry.generation = Generation(generation);
    geometry
}

/// No more records than there is room for, whatever the list says.
fn list(list: &ExtentList) {
    assert!(list.records().len() <= list.l_recs.len());
}

/// Check fields: what is corrected is right afterwards, what is not is unchanged.
pub fn block_check(bytes: &[u8]) {
    let Some((geometry, block)) = block_of(bytes) else {
        return;
    };
    for check_offset in [8, 0x18, 0x20, 0x30, 0x80, geometry.block_size() - 8] {
        let mut copy = block.clone();
        match BlockCheck::verify_and_correct(&mut copy, check_offset) {
            Ok(verdict) => {
                assert!(BlockCheck::is_good(&copy, check_offset));
                assert_eq!(verdict == Verdict::Good, copy == block);
            }
            Err(_) => assert!(copy == block, "a block that is not corrected stays as it is"),
        }
    }
}

/// Dinodes and what their flags select.
pub fn dinode(bytes: &[u8]) {
    let Some((geometry, block)) = block_of(bytes) else {
        return;
    };
    let dinode = view::<Dinode>(&block);
    let geometry = of_generation(geometry, dinode.i_fs_generation.get());
    let _ = (dinode.attr(), dinode.suballoc_group(), dinode.inline_xattr_area());
    match dinode.check(BlockNo(dinode.i_blkno.get()), &geometry) {
        Ok(Contents::Inline(area)) => {
            assert!(dinode.i_size.get() <= area.len() as u64);
            DirEntries::new(area).for_each(drop);
        }
        Ok(Contents::FastSymlink(target)) => assert_eq!(target.len() as u64, dinode.i_size.get()),
        Ok(Contents::Extents(root)) => list(root),
        Ok(Contents::Chains(chains)) => assert!(chains.chains().len() <= chains.cl_recs.len()),
        Ok(Contents::TruncateLog(log)) => assert!(log.records().len() <= log.tl_recs.len()),
        Ok(_) | Err(_) => {}
    }
    if let Some(area) = dinode.inline_xattr_area() {
        attributes(Structure::XattrInline, area);
    }
}

/// Directory blocks: entries and trailer.
pub fn dir_block(bytes: &[u8]) {
    let Some((geometry, block)) = block_of(bytes) else {
        return;
    };
    let mut area = block.as_slice();
    if let Some(trailer) = DirTrailer::of_block(&block) {
        let (at, dir) = (trailer.db_blkno.get(), trailer.db_parent_dinode.get());
        if trailer.check(BlockNo(at), InodeNo(dir), &geometry).is_ok() {
            area = &block[..block.len() - DirTrailer::SIZE];
        }
    }
    let mut end = 0;
    for entry in DirEntries::new(area) {
        let Ok(entry) = entry else { return };
        assert_eq!(entry.offset, end, "entries tile the block");
        end += usize::from(entry.header.rec_len.get());
        let _ = (entry.kind(), entry.inode(), entry.hole());
    }
    assert_eq!(end, area.len(), "entries tile the block");
}

/// Leaves of directory indexes.
pub fn dx_leaf(bytes: &[u8]) {
    let Some((geometry, block)) = block_of(bytes) else {
        return;
    };
    let leaf = view::<DxLeaf>(&block);
    let geometry = of_generation(geometry, leaf.dl_fs_generation.get());
    let checked = leaf.check(BlockNo(leaf.dl_blkno.get()), &geometry);
    let used = leaf.entries().entries().len();
    assert!(checked.is_err() || used == usize::from(leaf.entries().de_num_used.get()));
}

/// Roots of directory indexes.
pub fn dx_root(bytes: &[u8]) {
    let Some((geometry, block)) = block_of(bytes) else {
        return;
    };
    let root = view::<DxRoot>(&block);
    let geometry = of_generation(geometry, root.dr_fs_generation.get());
    let _ = (
        root.check(BlockNo(root.dr_blkno.get()), &geometry),
        root.suballoc_group(),
    );
    list(root.list());
    assert!(root.entries().entries().len() <= root.entries().de_entries.len());
}

/// Extent blocks and their lists.
pub fn extent_block(bytes: &[u8]) {
    let Some((geometry, block)) = block_of(bytes) else {
        return;
    };
    let block = view::<ExtentBlock>(&block);
    let geometry = of_generation(geometry, block.h_fs_generation.get());
    let _ = block.check(BlockNo(block.h_blkno.get()), None, &geometry);
    list(block.list());
}

/// Group descriptors: a group that passes has the free bits it counts.
pub fn group_desc(bytes: &[u8]) {
    let Some((geometry, block)) = block_of(bytes) else {
        return;
    };
    let group = view::<GroupDesc>(&block);
    let geometry = of_generation(geometry, group.bg_generation.get());
    let parent = GroupParent {
        inode: InodeNo(group.bg_parent_dinode.get()),
        clusters_per_group: u16::MAX,
        bits_per_cluster: 8,
        chains: u16::MAX,
    };
    let checked = group.check(BlockNo(group.bg_blkno.get()), &geometry, &parent);
    for bit in (0..group.bg_bits.get()).step_by(61) {
        let _ = group.block_of_bit(bit, parent.bits_per_cluster);
    }
    if let Some(extents) = group.extents() {
        list(extents);
    }
    let free = (0..usize::from(group.bg_bits.get())).filter(|&bit| !ocfs2_format::test_bit(group.bitmap(), bit));
    assert!(checked.is_err() || free.count() == usize::from(group.bg_free_bits_count.get()));
}

/// Heartbeat sectors.
pub fn heartbeat(bytes: &[u8]) {
    let mut sector = bytes.to_vec();
    sector.resize(512, 0);
    let _ = (HeartbeatBlock::of_sector(&sector), HeartbeatBlock::is_intact(&sector));
    HeartbeatBlock::seal(&mut sector);
    assert!(HeartbeatBlock::is_intact(&sector));
}

/// Headers of packed images.
pub fn image_header(bytes: &[u8]) {
    let Ok((header, _)) = ImageHeader::ref_from_prefix(bytes) else {
        return;
    };
    let _ = (header.bitmap_offset(), header.bitmap_bytes());
    if header.check(1 << 40).is_ok() {
        assert!(header.bitmap_offset().is_some() && header.superblocks().count() <= 6);
    }
}

/// Control blocks of journals, one by one, in every format.
pub fn journal_blocks(bytes: &[u8]) {
    let Some((geometry, block)) = block_of(bytes) else {
        return;
    };
    let block_size = geometry.block_size() as u32;
    let _ = (Header::of_block(&block), CommitHeader::of_block(&block));
    let mut formats = vec![Format::plain(block_size, false), Format::plain(block_size, true)];
    if let Ok((superblock, _)) = JournalSuperblock::ref_from_prefix(&block) {
        formats.extend(superblock.check(block_size, 1 << 20).map(|ring| ring.format));
    }
    for format in formats {
        assert!(format.tags(&block).count() <= block.len() / 8);
        if let Ok(revoked) = format.revoked(&block) {
            assert!(revoked.count() <= block.len() / 4);
        }
    }
}

/// Whole logs: what an overlay shows is what replay writes.
pub fn journal_replay(bytes: &[u8]) {
    ocfs2_journal::fuzz::replay(bytes);
}

/// Partition tables: what is found lies inside the device.
pub fn partitions(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    bytes.truncate(1 << 20);
    bytes.resize(bytes.len().next_multiple_of(4096).max(64 << 10), 0);
    let len = bytes.len() as u64;
    let device: Arc<dyn BlockDevice> = Arc::new(MemDevice::from_vec(bytes));
    for found in partition::partitions(device.as_ref()).unwrap_or_default() {
        if let Ok(range) = partition::open_partition(device.clone(), found.number) {
            assert!(range.geometry().len <= len);
        }
    }
}

/// Blocks of quota files, global and local.
pub fn quota(bytes: &[u8]) {
    let Some((geometry, block)) = block_of(bytes) else {
        return;
    };
    let quota = QuotaGeometry::new(&geometry);
    for kind in [QuotaKind::User, QuotaKind::Group] {
        let _ = GlobalHead::of_block(&block).map(|head| head.check(kind, 1000));
        if let Some(head) = LocalHead::of_block(&block)
            && head.check(kind, &quota, 1000).is_ok()
        {
            assert!(head.chunk_entry_blocks(&quota, 0) <= 1000);
        }
    }
    assert_eq!(quota.tree_numbers(&block).len(), quota.fanout() as usize);
    if let Some((header, entries)) = quota.leaf(&block) {
        let _ = header.check(&quota, 1000);
        assert_eq!(entries.len(), usize::from(quota.entries_per_leaf()));
    }
    if let Some(chunk) = quota.chunk(&block) {
        let _ = chunk.check(&quota, 3);
        let room = quota.entries_per_chunk();
        assert!(chunk.used(room).all(|entry| entry < room));
    }
}

/// Refcount blocks: records that pass are in order and inside the volume.
pub fn refcount_block(bytes: &[u8]) {
    let Some((geometry, block)) = block_of(bytes) else {
        return;
    };
    let block = view::<RefcountBlock>(&block);
    let geometry = of_generation(geometry, block.rf_fs_generation.get());
    let checked = block.check(BlockNo(block.rf_blkno.get()), &geometry);
    list(block.list());
    if checked.is_ok() && !block.flags().contains(ocfs2_format::RefcountFlags::TREE) {
        let mut end = 0;
        for rec in block.records().records() {
            assert!(rec.r_cpos.get() >= end);
            end = rec.r_cpos.get() + u64::from(rec.r_clusters.get());
        }
        assert!(end <= geometry.clusters.into());
    }
}

/// Slot maps of both kinds.
pub fn slot_map(bytes: &[u8]) {
    for extended in [false, true] {
        for slots in [1, 32, 255, u16::MAX] {
            let map = SlotMap::parse(bytes, slots, extended);
            assert_eq!(map.slots(), slots);
            assert!(map.used().count() <= usize::from(slots));
        }
    }
}

/// Superblocks of every block size: one that passes describes a volume that can be calculated with.
pub fn superblock(bytes: &[u8]) {
    let Some((_, block)) = block_of(bytes) else { return };
    let dinode = view::<Dinode>(&block);
    let superblock = dinode.super_block();
    let _ = (
        superblock.label(),
        superblock.uuid_text(),
        superblock.s_cluster_info.cluster(),
    );
    let Ok(geometry) = check_superblock(dinode, BlockNo(dinode.i_blkno.get())) else {
        return;
    };
    assert_eq!(geometry.block_size(), block.len());
    assert!(geometry.contains(superblock.root().block()) && geometry.blocks() > 0 && geometry.bytes() > 0);
    let _ = (geometry.cluster_groups(), geometry.backup_blocks().count());
    let _ = (
        geometry.extents_per_dinode(true),
        geometry.max_inline_data(true),
        geometry.blocks_per_xattr_bucket(),
    );
}

/// Areas of attributes, in a block and in a bucket.
pub fn xattr_area(bytes: &[u8]) {
    let Some((geometry, block)) = block_of(bytes) else {
        return;
    };
    let header = view::<XattrBlock>(&block);
    let geometry = of_generation(geometry, header.xb_fs_generation.get());
    let _ = header.check(BlockNo(header.xb_blkno.get()), &geometry);
    list(header.list());
    attributes(Structure::XattrBlock, header.area());
    attributes(Structure::XattrBucket, &block);
}

fn attributes(structure: Structure, bytes: &[u8]) {
    let Ok(area) = XattrArea::parse(structure, bytes) else {
        return;
    };
    let sound = area.check().is_ok();
    let mut total = 0;
    for xattr in area.iter().flatten() {
        total += xattr.name.len();
        if let ocfs2_format::XattrValue::Local(value) = xattr.value {
            total += value.len();
            let _ = Acl::parse(value).map(|acl| acl.to_posix_xattr());
        }
    }
    assert!(!sound || total <= bytes.len(), "names and values do not share bytes");
}

/// Length of the devices that [`device_of`] makes.
pub const VOLUME_BYTES: u64 = 64 << 20;

/// The device of an input that is sectors of 512 bytes, each behind its number in four bytes; all others are zero.
pub fn device_of(bytes: &[u8]) -> Arc<MemDevice> {
    let device = MemDevice::new(VOLUME_BYTES);
    for record in bytes.chunks_exact(516) {
        let (number, sector) = record.split_at(4);
        let number = number
            .iter()
            .rev()
            .fold(0u64, |number, &byte| number << 8 | u64::from(byte));
        // Beyond the end there is no device.
        let _ = device.write(number * 512, sector, Durability::Cached);
    }
    Arc::new(device)
}

/// A whole volume, from its sectors; everything is read.
pub fn volume(bytes: &[u8]) {
    let Ok(volume) = Volume::open(device_of(bytes), &OpenOptions::default()) else {
        return;
    };
    let options = SurveyOptions {
        data_bytes: 1 << 20,
        ..SurveyOptions::default()
    };
    volume.survey(&options, &mut |finding| drop(finding.to_string()));
    let Ok(walk) = volume.walk("/") else { return };
    for entry in walk.flatten() {
        let _ = (volume.extents(&entry.inode), volume.inode_xattrs(&entry.inode));
        let _ = volume.metadata(&entry.path);
    }
}

/// A whole volume, from its sectors; it is mounted and everything is changed.
pub fn mounted(bytes: &[u8]) {
    let options = MountOptions {
        commit_interval: None,
        ..MountOptions::default()
    };
    let device = device_of(bytes);
    // What was done is there the next time, too.
    for round in 0..2 {
        let Ok(fs) = FileSystem::mount(device.clone(), &options) else {
            return;
        };
        // Whether an operation is refused depends on the volume.
        let _ = change_everything(&fs, round);
        let _ = fs.unmount();
    }
}

fn change_everything(fs: &FileSystem, round: u8) -> crate::Result<()> {
    // Directories can lead back to themselves.
    const MOST: u32 = 100;
    let name = [b'n', b'0' + round];
    let to = fs
        .make_dir(fs.root(), &name, &NewInode::with_mode(0o755))
        .map_or(fs.root(), |dir| dir.number());
    let mut count = 0;
    let mut dirs = vec![fs.root()];
    while let Some(dir) = dirs.pop() {
        let mut at = Some(0);
        while let Some(position) = at {
            let Ok(page) = fs.read_dir_at(dir, position) else {
                break;
            };
            for entry in &page.entries {
                count += 1;
                if count > MOST {
                    return fs.sync();
                }
                change(fs, dir, entry, to, round);
                if !entry.is_dot() {
                    dirs.push(entry.inode());
                }
            }
            at = page.next.filter(|next| *next > position);
        }
    }
    let _ = fs.trim(0..VOLUME_BYTES, 0);
    let _ = fs.statfs();
    fs.sync()
}

/// Does to an entry of a directory whatever can be done; `to` is another directory.
fn change(fs: &FileSystem, dir: InodeNo, entry: &DirEntry, to: InodeNo, round: u8) {
    let new = NewInode::with_mode(0o755);
    let (number, name) = (entry.inode(), entry.name());
    let _ = fs.lookup(dir, name);
    let _ = fs.link_target(number);
    let _ = fs.link(number, to, name);
    let _ = fs.reflink_at(number, to, b"shared", &new, true);
    for xattr in fs.xattr_names(number).unwrap_or_default() {
        let _ = fs.xattr(number, &xattr);
        let _ = fs.remove_xattr(number, &xattr);
    }
    let _ = fs.set_xattr(number, b"user.name", &[round; 3000], XattrMode::Set);
    let _ = fs.set_xattr(number, b"user.small", b"value", XattrMode::Set);
    let others = SetAttributes {
        uid: Some(round.into()),
        gid: Some(7),
        mode: Some(0o640),
        ..SetAttributes::default()
    };
    let _ = fs.set_attributes(number, &others);
    if let Ok(file) = fs.inode(number).and_then(|inode| fs.use_inode(&inode)) {
        let _ = fs.read_at(&file, 0, &mut [0; 5000]);
        let _ = fs.allocate(&file, 20_000..90_000, AllocateMode::ZeroRange);
        let _ = fs.write_at(&file, 5000, &[round; 5000]);
        let _ = fs.copy_range(&file, 0, &file, 1 << 20, 50_000);
        let _ = fs.seek_data(&file, 100_000);
        let _ = fs.allocate(&file, 0..100_000, AllocateMode::PunchHole);
        let _ = fs.append(&file, b"end");
        let _ = fs.set_len(&file, 1);
    }
    let _ = fs.rename_at(dir, name, to, b"moved", RenameMode::Replace);
    let _ = fs.rmdir(to, b"moved");
    if round > 0 {
        let _ = fs.unlink(to, b"moved");
    }
    let _ = fs.make_symlink(dir, name, b"target", &new);
}
