//! Every block of metadata is looked at and changed under the cluster lock that covers it.
//!
//! | structure | lock |
//! |---|---|
//! | dinode, and everything that hangs on it | M of the inode: shared to look, exclusive to change |
//! | groups of an allocator | M of the allocator's inode |
//! | refcount trees | T of the tree; the root may be looked at under M of a file that shares |
//! | slot map, journals, heartbeat | owned by the slot |
//! | local alloc, truncate log | owned by the slot: M, which nobody else takes |
//! | a block that is being allocated or freed | M of the allocator, exclusively |
//!
//! Source: cluster reference, section 6.4.

use std::collections::HashMap;

use ocfs2_format::{InodeNo, LockId, LockKind, Structure};
use ocfs2_fs::{FileSystem, MountOptions, SurveyOptions, Touch, Volume};

use crate::bed::{Bed, SHAPES, seed};
use crate::model::apply::{ROOT, World};
use crate::model::ops::random_ops;

/// Who owns each block of metadata, and what it is.
fn owners(volume: &Volume) -> HashMap<u64, (InodeNo, Structure)> {
    let mut options = SurveyOptions::default();
    options.list_blocks = true;
    let report = volume.survey(&options, &mut |finding| panic!("{finding}"));
    let size = volume.geometry().block_size();
    let blocks = report.blocks.iter().flat_map(|block| {
        let count = block.len.div_ceil(size) as u64;
        (0..count).map(move |n| (block.block.0 + n, (block.owner, block.structure)))
    });
    blocks.collect()
}

/// Inodes that belong to a slot or to nobody: no lock is needed.
fn unlocked(volume: &Volume) -> Vec<InodeNo> {
    use ocfs2_format::SystemFile::{BadBlocks, Heartbeat, Journal, SlotMap};
    let files = [SlotMap, Heartbeat, Journal, BadBlocks];
    let slots: Vec<_> = volume.slots().collect();
    let found = files
        .iter()
        .flat_map(|&file| slots.iter().map(move |&slot| (file, slot)))
        .filter_map(|(file, slot)| volume.system_file(file, slot).ok());
    found.collect()
}

fn covers(touch: &Touch, owner: InodeNo, structure: Structure) -> bool {
    touch.locks.iter().any(|&(id, exclusive)| match id {
        LockId::Block { kind, block, .. } => {
            let is_owner = kind == LockKind::Meta && block == owner.block();
            let is_tree =
                kind == LockKind::Refcount && matches!(structure, Structure::RefcountBlock | Structure::ExtentBlock);
            // The name of T is in the tree's root, which is looked at under the lock of a file that shares.
            let is_sharer =
                kind == LockKind::Meta && structure == Structure::RefcountBlock && exclusive && !touch.change;
            is_sharer || ((is_owner || is_tree) && (exclusive || !touch.change))
        }
        _ => false,
    })
}

/// Whether some allocator is locked exclusively: what is allocated or freed has no other owner yet.
fn allocates(touch: &Touch, volume: &Volume) -> bool {
    use ocfs2_format::SystemFile::{ExtentAlloc, GlobalBitmap, InodeAlloc, LocalAlloc};
    touch.locks.iter().any(|&(id, exclusive)| {
        exclusive
            && id.kind() == LockKind::Meta
            && [ExtentAlloc, GlobalBitmap, InodeAlloc, LocalAlloc]
                .iter()
                .flat_map(|&file| volume.slots().map(move |slot| (file, slot)))
                .any(|(file, slot)| {
                    volume
                        .system_file(file, slot)
                        .is_ok_and(|inode| inode.block() == id.block())
                })
    })
}

#[test]
fn no_block_is_touched_without_its_lock() {
    for &shape in SHAPES {
        let bed = Bed::new(shape);
        let fs = bed.mount();
        fs.create_dir(ROOT).expect("a directory can be made");
        fs.unmount().expect("the volume can be unmounted");
        let mut options = MountOptions::default();
        options.commit_interval = None;
        let (fs, log) = FileSystem::mount_checked(bed.device.clone(), &options).expect("the volume can be mounted");
        let mut world = World::on(fs, bed.clone(), options, ROOT);
        log.take();
        let mut before = owners(&bed.volume());
        let free = unlocked(&bed.volume());
        let seed = seed();
        for op in random_ops(seed, 250).iter().filter(|op| op.stays_mounted()) {
            world.apply(op);
            let touches = log.take();
            world.fs().sync().expect("the volume can be synchronised");
            log.take();
            let volume = bed.volume();
            let after = owners(&volume);
            for touch in &touches {
                let (old, new) = (before.get(&touch.block.0), after.get(&touch.block.0));
                let known: Vec<_> = [old, new].into_iter().flatten().collect();
                let is_covered = known.is_empty()
                    || known
                        .iter()
                        .any(|(owner, structure)| free.contains(owner) || covers(touch, *owner, *structure))
                    || (old != new && allocates(touch, &volume));
                assert!(
                    is_covered,
                    "{shape:?} seed {seed} {op:?}: block {} of {known:?} {} under {:?} only",
                    touch.block,
                    if touch.change { "changed" } else { "looked at" },
                    touch.locks
                );
            }
            before = after;
        }
    }
}
