//! Taking all attributes from an inode that is deleted.
//!
//! Source: on-disk reference, section 22.5.

use ocfs2_format::{BlockNo, DynFeatures, InodeNo};

use super::area::{Flat, Pair, Stored};
use super::index;
use super::store::{self, ChangeCost, Found, Outside};
use crate::error::Result;
use crate::inode::Inode;
use crate::meta::Blocks;
use crate::mounted::space::Need;
use crate::mounted::tree::Holder;
use crate::mounted::{Level, LockSet, refcount};

/// Frees everything that the attributes of an inode take: value by value and run by run, each step a transaction of its
/// own that leaves the inode whole. The caller holds the inode's lock alone; those of its refcount tree and of allocators
/// are added.
///
/// # Errors
/// [`Error::Corrupt`](crate::Error::Corrupt), the journal's.
pub(crate) fn remove_all(locks: &mut LockSet<'_>, inode: InodeNo) -> Result<()> {
    let core = locks.core();
    let now = core.read_inode(inode)?;
    if now.refcount_root().is_some() && now.dyn_features().contains(DynFeatures::HAS_XATTR) {
        refcount::lock(locks, &now, Level::Exclusive)?;
    }
    if let Some(flat) = store::inline_area(&now)? {
        take_values(locks, &now, Holder::Dinode(inode.block()), flat.pairs)?;
    }
    match store::outside(core, &now)? {
        Outside::Nothing => return Ok(()),
        Outside::Block(at, Flat { pairs }) => take_values(locks, &now, Holder::XattrBlock(at), pairs)?,
        Outside::Tree(block) => take_runs(locks, &now, block)?,
    }
    free_block(locks, &core.read_inode(inode)?)
}

/// Takes those attributes of an area out that have clusters of their own.
fn take_values(locks: &mut LockSet<'_>, inode: &Inode, holder: Holder, pairs: Vec<Pair>) -> Result<()> {
    let core = locks.core();
    for pair in pairs {
        if let Stored::Local(_) = pair.stored {
            continue;
        }
        // Taking one out moves the others.
        let Some(found) = store::find_in(core, inode.number(), holder, &pair)? else {
            continue;
        };
        take_value(locks, inode, &found)?;
    }
    Ok(())
}

fn take_value(locks: &mut LockSet<'_>, inode: &Inode, found: &Found) -> Result<()> {
    let core = locks.core();
    let mut cost = ChangeCost::default();
    cost.add_release(core, inode, found)?;
    let own = core.geometry().blocks_per_xattr_bucket();
    let credits = locks.reserve(cost.need)?.saturating_add(cost.credits);
    let mut txn = locks.begin(credits.saturating_add(own))?;
    store::take_out(&mut txn, inode, found)?;
    txn.commit()?;
    Ok(())
}

/// Frees all runs of a tree of buckets, from the last to the first.
fn take_runs(locks: &mut LockSet<'_>, inode: &Inode, block: BlockNo) -> Result<()> {
    let core = locks.core();
    let number = inode.number();
    while let Some(run) = index::last_run(core, number, block)? {
        for (at, bucket) in run.places(core) {
            take_values(locks, inode, Holder::Bucket(at), bucket?.pairs)?;
        }
        index::drop_run(locks, number, block, &run)?;
    }
    Ok(())
}

fn free_block(locks: &mut LockSet<'_>, inode: &Inode) -> Result<()> {
    let Some(at) = inode.xattr_block() else { return Ok(()) };
    // The block's allocator is locked with the truncate log.
    let need = Need {
        frees: 1,
        ..Need::default()
    };
    let credits = locks.reserve(need)? + store::FREE_BLOCK_CREDITS + 1;
    let mut txn = locks.begin(credits)?;
    store::free_block(&mut txn, inode.number(), at)?;
    txn.commit()?;
    Ok(())
}
