//! Contents in the dinode: how they get there, and their way out.
//!
//! Source: on-disk reference, section 19.1.

use ocfs2_format::{Contents, Dinode, DynFeatures, ExtentFlags, ExtentList, Geometry, InodeNo};
use zerocopy::IntoBytes;

use super::device::{self, Payload, Transfer};
use super::{place, times, truncate};
use crate::error::Result;
use crate::inode::Inode;
use crate::meta::Blocks;
use crate::mounted::tree::{self, Root};
use crate::mounted::{Charge, Core, LockSet, Need};

/// Bytes of `id_count` and what follows it, before the data.
const HEADER: usize = 8;

/// Byte of the dinode's block where inline data begins.
pub(crate) const DATA_OFFSET: usize = Dinode::ID2_OFFSET + HEADER;

pub(crate) fn is_inline(inode: &Inode) -> bool {
    inode.dyn_features().contains(DynFeatures::INLINE_DATA)
}

/// Bytes that the dinode has, or would have, room for.
pub(crate) fn capacity(inode: &Inode, geometry: &Geometry) -> u64 {
    match inode.contents() {
        Contents::Inline(data) => data.len() as u64,
        _ => {
            let with_xattr = inode.dyn_features().contains(DynFeatures::INLINE_XATTR);
            geometry.max_inline_data(with_xattr).into()
        }
    }
}

/// Whether contents up to `end` are to be in the dinode: they are there already, or the file has never had any.
pub(crate) fn fits(core: &Core, inode: &Inode, end: u64) -> bool {
    let geometry = core.geometry();
    let may_be = is_inline(inode) || (geometry.features.inline_data() && inode.size() == 0 && inode.clusters() == 0);
    may_be && end <= capacity(inode, geometry)
}

/// Writes contents that [fit](fits).
///
/// # Errors
/// [`Error::Corrupt`](crate::Error::Corrupt), the journal's.
pub(crate) fn write(locks: &mut LockSet<'_>, inode: &Inode, offset: u64, payload: &Payload<'_>) -> Result<()> {
    let room = capacity(inode, locks.core().geometry());
    let was_inline = is_inline(inode);
    let mut txn = locks.begin(1)?;
    let (now, privileges) = (txn.now(), txn.privileges());
    let dinode = txn.dinode(inode.number())?;
    if !was_inline {
        contents_area(dinode).fill(0);
        // At most what a block has.
        dinode.inline_data_mut().id_count.set(room as u16);
        set_inline(dinode, true);
    }
    let end = offset + payload.len();
    payload.copy(0, &mut dinode.inline_data_mut().id_data[offset as usize..end as usize]);
    if dinode.i_size.get() < end {
        dinode.i_size.set(end);
    }
    times::modified(dinode, now, privileges);
    txn.commit()?;
    Ok(())
}

/// Makes bytes of inline contents zeros, and the size what it is to be.
///
/// # Errors
/// [`Error::Corrupt`](crate::Error::Corrupt), the journal's.
pub(crate) fn zero(locks: &mut LockSet<'_>, inode: &Inode, start: u64, end: u64, size: u64) -> Result<()> {
    let room = capacity(inode, locks.core().geometry());
    let mut txn = locks.begin(1)?;
    let (now, privileges) = (txn.now(), txn.privileges());
    let dinode = txn.dinode(inode.number())?;
    let (start, end) = (start.min(room) as usize, end.min(room) as usize);
    if start < end {
        dinode.inline_data_mut().id_data[start..end].fill(0);
    }
    dinode.i_size.set(size);
    times::modified(dinode, now, privileges);
    txn.commit()?;
    Ok(())
}

/// Moves inline contents to a cluster of their own.
///
/// # Errors
/// [`Error::NoSpace`](crate::Error::NoSpace), [`Error::QuotaExceeded`](crate::Error::QuotaExceeded),
/// [`Error::Corrupt`](crate::Error::Corrupt), the journal's. Then nothing was changed.
pub(crate) fn convert(locks: &mut LockSet<'_>, number: InodeNo) -> Result<()> {
    let core = locks.core();
    let geometry = *core.geometry();
    let inode = core.read_inode(number)?;
    let Contents::Inline(data) = inode.contents() else {
        return Ok(());
    };
    let used = &data[..inode.size() as usize];
    let clusters = u32::from(!used.is_empty());
    let mut credits = 1 + locks.quota(inode.uid(), inode.gid())?;
    if clusters > 0 {
        credits += locks.reserve(Need {
            clusters,
            ..Need::default()
        })?;
    }
    let mut txn = locks.begin(credits)?;
    let dinode = txn.dinode(number)?;
    let with_xattr = dinode.dyn_features().contains(DynFeatures::INLINE_XATTR);
    let area = contents_area(dinode);
    if let Some(list) = ExtentList::view_mut(area) {
        list.init(geometry.extents_per_dinode(with_xattr));
    }
    set_inline(dinode, false);
    if clusters > 0 {
        let extent = place::allocate(&mut txn, number, &mut None, 0, 1, ExtentFlags::empty())?;
        let bytes = geometry.clusters_to_bytes(clusters) as i64;
        txn.charge(inode.uid(), inode.gid(), Charge { bytes, inodes: 0 })?;
        let offset = extent.blkno.0 << geometry.block_size_bits;
        let transfer = Transfer {
            at: 0,
            len: used.len() as u64,
            offset,
        };
        let bufs = [std::io::IoSlice::new(used)];
        let whole = offset..offset + geometry.cluster_size();
        device::fill(core.device().as_ref(), &Payload::new(&bufs), transfer, whole)?;
    }
    txn.commit()?;
    Ok(())
}

/// Moves contents back that were [converted](convert) for nothing: what came next has failed. `before` is the inode as it
/// was then. If this fails too, the file has its contents all the same.
pub(crate) fn restore(locks: &mut LockSet<'_>, before: &Inode) {
    // The first failure is the one to be told.
    let _ = try_restore(locks, before);
}

fn try_restore(locks: &mut LockSet<'_>, before: &Inode) -> Result<()> {
    let core = locks.core();
    let geometry = *core.geometry();
    let number = before.number();
    let now = core.read_inode(number)?;
    let (Contents::Inline(old), false) = (before.contents(), is_inline(&now)) else {
        return Ok(());
    };
    if now.size() != before.size() || u64::from(now.clusters()) > 1 {
        return Ok(());
    }
    let root = Root::Data(number);
    let cost = tree::cost_from(core, root, 0, 1)?;
    let mut credits = cost.credits + 1 + locks.quota(now.uid(), now.gid())?;
    credits += locks.reserve(Need {
        blocks: cost.blocks,
        frees: 1,
        ..Need::default()
    })?;
    let mut txn = locks.begin(credits)?;
    let pieces = tree::remove(&mut txn, root, 0, 1)?;
    for piece in &pieces {
        truncate::free(&mut txn, piece)?;
    }
    let freed = geometry.clusters_to_bytes(now.clusters()) as i64;
    let charge = Charge {
        bytes: -freed,
        inodes: 0,
    };
    txn.charge(now.uid(), now.gid(), charge)?;
    let dinode = txn.dinode(number)?;
    contents_area(dinode).fill(0);
    set_inline(dinode, true);
    let data = dinode.inline_data_mut();
    // At most what a block has, as it was before.
    data.id_count.set(old.len() as u16);
    data.id_data[..old.len()].copy_from_slice(old);
    txn.commit()?;
    Ok(())
}

/// The bytes of the dinode that hold its contents: not the attributes at the end.
fn contents_area(dinode: &mut Dinode) -> &mut [u8] {
    let end = match dinode.inline_xattr_area() {
        Some(area) => dinode.as_bytes().len() - area.len(),
        None => dinode.as_bytes().len(),
    };
    &mut dinode.as_mut_bytes()[Dinode::ID2_OFFSET..end]
}

fn set_inline(dinode: &mut Dinode, on: bool) {
    let mut features = dinode.dyn_features();
    features.set(DynFeatures::INLINE_DATA, on);
    dinode.i_dyn_features.set(features.bits());
}
