//! Our volumes are the reference's, block for block, but for what it leaves inconsistent.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use ocfs2_format::device::{FileDevice, FileOptions};
use ocfs2_format::{Dinode, DynFeatures, InodeNo, SlotNum, SystemFile};
use ocfs2_fs::mkfs::{MkfsOptions, Plan};
use ocfs2_fs::{Inode, OpenOptions, Volume};
use rustix::fs::{SeekFrom, seek};
use zerocopy::{FromBytes, IntoBytes};

/// Opens a volume in a file.
pub(super) fn open(path: &Path) -> Volume {
    let device = FileDevice::open(path, &FileOptions::new()).expect("an image");
    Volume::open(Arc::new(device), &OpenOptions::default()).expect("a volume")
}

/// Gives a new volume the identity of an existing one.
pub(super) fn take_identity(options: &mut MkfsOptions, path: &Path) {
    let file = File::open(path).expect("the reference's volume");
    let mut block = vec![0; 4096];
    for block_size in [512, 1024, 2048, 4096] {
        block.resize(block_size, 0);
        file.read_exact_at(&mut block, 2 * block_size as u64).expect("block 2");
        let dinode = Dinode::ref_from_bytes(&block).expect("a block");
        let sb = dinode.super_block();
        if dinode.i_signature == ocfs2_format::Signature::SUPER_BLOCK && sb.s_blocksize_bits.get() == block_size.ilog2()
        {
            options.uuid = Some(sb.s_uuid);
            options.generation = Some(dinode.i_fs_generation.get());
            options.dx_seed = Some(sb.s_dx_seed.map(|seed| seed.get()));
            options.time = Some(dinode.i_ctime.get());
            return;
        }
    }
    panic!("{} is no volume", path.display());
}

/// Compares a volume of the reference with ours of the same identity.
///
/// # Panics
/// When a block differs that should not.
pub(super) fn assert_equal(reference: &Path, ours: &Path, plan: &Plan) {
    let block_size = plan.geometry().block_size();
    let different = different_blocks(reference, ours, block_size);
    if different.is_empty() {
        return;
    }
    let allowed = blocks_made_better(ours, plan);
    let surprising: Vec<u64> = different.difference(&allowed).copied().collect();
    assert!(
        surprising.is_empty(),
        "blocks that differ from the reference: {surprising:?}"
    );
}

/// Blocks that differ in more than the time of inodes: the reference may take more than a second.
fn different_blocks(reference: &Path, ours: &Path, block_size: usize) -> BTreeSet<u64> {
    let files = [reference, ours].map(|path| File::open(path).expect("an image"));
    let mut chunks = BTreeSet::new();
    for file in &files {
        let mut at = 0;
        while let Ok(data) = seek(file, SeekFrom::Data(at)) {
            at = seek(file, SeekFrom::Hole(data)).expect("every file ends with a hole");
            chunks.extend(data / CHUNK..at.div_ceil(CHUNK));
        }
    }
    let mut different = BTreeSet::new();
    let mut bytes = [vec![0; CHUNK as usize], vec![0; CHUNK as usize]];
    for chunk in chunks {
        for (file, bytes) in files.iter().zip(&mut bytes) {
            let len = file.read_at(bytes, chunk * CHUNK).expect("an image can be read");
            bytes[len..].fill(0);
        }
        let [theirs, ours] = &mut bytes;
        if theirs == ours {
            continue;
        }
        let blocks = theirs.chunks_mut(block_size).zip(ours.chunks_mut(block_size));
        for (index, (theirs, ours)) in (0..).zip(blocks) {
            let same_clock = |block: &mut [u8]| match Dinode::mut_from_bytes(block) {
                Ok(dinode) if dinode.i_signature.0.starts_with(b"INODE01") => {
                    for time in [&mut dinode.i_atime, &mut dinode.i_ctime, &mut dinode.i_mtime] {
                        time.set(0);
                    }
                    dinode.i_check.as_mut_bytes().fill(0);
                }
                Ok(dinode) if dinode.i_signature.0.starts_with(b"OCFSV2") => {
                    // The reference leaves what it finds in memory behind the name.
                    let name = &mut dinode.super_block_mut().s_cluster_info.ci_cluster;
                    let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
                    name[end..].fill(0);
                    dinode.i_check.as_mut_bytes().fill(0);
                }
                _ => {}
            };
            same_clock(theirs);
            same_clock(ours);
            if theirs != ours {
                different.insert(chunk * (CHUNK / block_size as u64) + index);
            }
        }
    }
    different
}

/// Blocks whose contents the reference gets wrong, and those that change with them.
fn blocks_made_better(ours: &Path, plan: &Plan) -> BTreeSet<u64> {
    let volume = open(ours);
    let mut blocks = BTreeSet::new();
    let inode = |number: InodeNo| volume.inode(number).expect("an inode");
    let system_file = |file| inode(volume.system_file(file, SlotNum(0)).expect("a system file"));
    let data_blocks = |inode: &Inode| -> Vec<u64> {
        let extents = volume.extents(inode).expect("extents");
        let blocks = extents.iter().flat_map(|extent| {
            let first = extent.blkno.0;
            first..first + volume.geometry().clusters_to_blocks(extent.clusters)
        });
        blocks.collect()
    };
    let is_indexed = |inode: &Inode| inode.dyn_features().contains(DynFeatures::INDEXED_DIR);
    let is_inline = |inode: &Inode| inode.dyn_features().contains(DynFeatures::INLINE_DATA);

    let system = inode(volume.system_dir());
    if let Some(root) = system.dx_root() {
        // The index, what it is in, and what it takes.
        blocks.extend(data_blocks(&system));
        blocks.extend([system.number().0, root.0]);
        let mut allocators = vec![system_file(SystemFile::ExtentAlloc)];
        let leaves = volume
            .check_index(&system)
            .expect("a sound index")
            .map_or(0, |index| index.leaves);
        if leaves > 0 || plan.extent_groups() == 0 {
            allocators.push(system_file(SystemFile::GlobalBitmap));
        }
        for allocator in allocators {
            let groups = volume.groups(&allocator).expect("groups");
            blocks.extend(groups.map(|group| group.expect("a group").block().0));
            blocks.insert(allocator.number().0);
        }
        blocks.extend(leaf_blocks(&volume, &system));
    }
    let root = inode(volume.root());
    if is_indexed(&root) {
        // The trailer's account of free space.
        blocks.extend(data_blocks(&root));
    }
    let lost_found = volume.metadata("/lost+found").expect("lost+found");
    if !is_inline(&lost_found) {
        // The size of the directory, and old bytes in its block.
        blocks.extend(data_blocks(&lost_found));
        blocks.insert(lost_found.number().0);
    }
    let features = volume.geometry().features;
    for file in [SystemFile::UserQuota, SystemFile::GroupQuota] {
        if file.exists_with(features) {
            // The header's count of blocks, and old bytes behind it.
            blocks.extend(data_blocks(&system_file(file)).first());
        }
    }
    blocks
}

/// Blocks of the leaves of a directory's index.
fn leaf_blocks(volume: &Volume, dir: &Inode) -> Vec<u64> {
    use ocfs2_format::device::BlockDevice;
    use ocfs2_format::{DxFlags, DxRoot};
    let Some(root) = dir.dx_root() else { return Vec::new() };
    let geometry = volume.geometry();
    let mut bytes = vec![0; geometry.block_size()];
    volume
        .device()
        .read(root.0 << geometry.block_size_bits, &mut bytes)
        .expect("the root of the index");
    let root = DxRoot::ref_from_bytes(&bytes).expect("a block");
    if root.flags().contains(DxFlags::INLINE) {
        return Vec::new();
    }
    let records = root.list().records();
    let blocks = records.iter().flat_map(|rec| {
        let first = rec.blkno().0;
        first..first + geometry.clusters_to_blocks(rec.clusters(0))
    });
    blocks.collect()
}

/// Bytes compared at a time.
const CHUNK: u64 = 1 << 16;
