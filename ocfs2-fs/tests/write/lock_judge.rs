//! Whether every block of metadata was looked at and changed under the cluster lock that covers it.
//!
//! | structure | lock |
//! |---|---|
//! | dinode, and everything that hangs on it | M of the inode: shared to look, exclusive to change |
//! | groups of an allocator | M of the allocator's inode |
//! | refcount trees | T of the tree; the root may be looked at under M of a file that shares |
//! | an inode or a refcount tree that is being made, which nothing leads to | M of its allocator, exclusively |
//! | slot map, journals, heartbeat | owned by the slot |
//!
//! Owners are those that a survey finds before the mount and behind it. What was made or given up in between belongs to
//! whoever has it next, so nothing is said of owners that come and go during one mount but that somebody has to hold some
//! lock exclusively.
//!
//! Source: cluster reference, section 6.4.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use ocfs2_format::device::BlockDevice;
use ocfs2_format::{InodeNo, LockId, LockKind, Structure, SystemFile};
use ocfs2_fs::{FileSystem, MountOptions, OpenOptions, Result, SurveyOptions, Touch, TouchLog, Volume};

/// Mounts a volume whose touches are judged when it is unmounted, if it is sound to begin with.
pub(crate) fn mount(device: &Arc<dyn BlockDevice>, options: &MountOptions) -> Result<FileSystem> {
    let is_wanted = std::env::var_os("OCFS2_CHECKED_LOCKS").is_none_or(|text| text != "0");
    let before = Owners::of(device).filter(|_| is_wanted && !options.read_only);
    let Some(before) = before else {
        return FileSystem::mount(device.clone(), options);
    };
    let device = device.clone();
    let judge_device = device.clone();
    let judge = move |log: &TouchLog| {
        // Damage in the course of the mount is another test's.
        if let Some(after) = Owners::of(&judge_device) {
            let uncovered = uncovered(log, &before, &after);
            assert!(
                uncovered.is_empty(),
                "touched without the lock:\n{}",
                uncovered.join("\n")
            );
        }
    };
    FileSystem::mount_checked(device, options, Box::new(judge))
}

/// Who owns each block of metadata, and what it is.
pub(crate) struct Owners {
    blocks: HashMap<u64, (InodeNo, Structure)>,
    /// Inodes that belong to a slot or to nobody: no lock is needed.
    unlocked: HashSet<InodeNo>,
    inode_allocators: HashSet<InodeNo>,
    block_allocators: HashSet<InodeNo>,
}

impl Owners {
    /// `None` for a volume that has something wrong with it.
    pub(crate) fn of(device: &Arc<dyn BlockDevice>) -> Option<Owners> {
        let volume = Volume::open(device.clone(), &OpenOptions::default()).ok()?;
        let mut options = SurveyOptions::default();
        options.list_blocks = true;
        let mut is_sound = true;
        let report = volume.survey(&options, &mut |_| is_sound = false);
        let size = volume.geometry().block_size();
        let blocks = report.blocks.iter().flat_map(|block| {
            let count = block.len.div_ceil(size) as u64;
            (0..count).map(move |n| (block.block.0 + n, (block.owner, block.structure)))
        });
        let inodes = |files: &[SystemFile]| {
            let pairs = files
                .iter()
                .flat_map(|&file| volume.slots().map(move |slot| (file, slot)));
            pairs
                .filter_map(|(file, slot)| volume.system_file(file, slot).ok())
                .collect()
        };
        is_sound.then(|| Owners {
            blocks: blocks.collect(),
            unlocked: inodes(&[
                SystemFile::SlotMap,
                SystemFile::Heartbeat,
                SystemFile::Journal,
                SystemFile::BadBlocks,
            ]),
            inode_allocators: inodes(&[SystemFile::InodeAlloc]),
            block_allocators: inodes(&[SystemFile::ExtentAlloc]),
        })
    }
}

/// Every touch that no lock covers, for people.
pub(crate) fn uncovered(log: &TouchLog, before: &Owners, after: &Owners) -> Vec<String> {
    let found = log.touches.iter().filter_map(|touch| {
        let last = log.lives.get(&touch.block).copied().unwrap_or(0);
        let old = before.blocks.get(&touch.block.0).filter(|_| touch.life == 0);
        let new = after.blocks.get(&touch.block.0).filter(|_| touch.life == last);
        let owners: Vec<_> = [old, new].into_iter().flatten().copied().collect();
        let is_covered = if owners.is_empty() {
            !touch.change || is_any_exclusive(touch)
        } else {
            owners.iter().any(|&(owner, structure)| {
                before.unlocked.contains(&owner)
                    || covers(touch, owner, structure)
                    || (touch.life > 0 && allocates(touch, structure, before))
            })
        };
        let what = if touch.change { "changed" } else { "looked at" };
        let locks = &touch.locks;
        (!is_covered).then(|| format!("block {} of {owners:?} was {what} under {locks:?} only", touch.block))
    });
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

fn is_any_exclusive(touch: &Touch) -> bool {
    touch.locks.iter().any(|&(_, exclusive)| exclusive)
}

/// Whether the thread was making an inode, with all that hangs on it, or a refcount tree.
fn allocates(touch: &Touch, structure: Structure, owners: &Owners) -> bool {
    touch.locks.iter().any(|&(id, exclusive)| {
        let is_in = |inodes: &HashSet<InodeNo>| inodes.iter().any(|inode| inode.block() == id.block());
        let is_tree = structure == Structure::RefcountBlock && is_in(&owners.block_allocators);
        exclusive && id.kind() == LockKind::Meta && (is_tree || is_in(&owners.inode_allocators))
    })
}
