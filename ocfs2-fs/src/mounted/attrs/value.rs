//! Values in clusters of their own.
//!
//! A value is never changed where it is: the new one is written to new clusters before the transaction commits that makes
//! the attribute name them, and the old clusters are freed by the same transaction.
//!
//! Source: on-disk reference, sections 22.2 and 22.5.

use ocfs2_format::device::Durability;
use ocfs2_format::{ExtentFlags, ExtentRec, Geometry, InodeNo, Structure, Violation, XattrDefValueRoot, XattrEntry};
use zerocopy::FromZeros;

use super::area::{Pair, Stored};
use crate::error::{Error, Result};
use crate::extent_tree::{Extent, ExtentTree, TreeKind};
use crate::file::write_bytes;
use crate::inode::Inode;
use crate::meta::Blocks;
use crate::mounted::space::Need;
use crate::mounted::tree::{self, Cost, Holder, Root};
use crate::mounted::{Core, Txn, refcount};
use crate::xattr::read_value;

/// Largest value (`XATTR_SIZE_MAX`).
pub(super) const MAX_VALUE: usize = 65536;

/// Whether a value of so many bytes stands beside its name.
pub(super) fn is_local(size: usize) -> bool {
    size as u64 <= XattrEntry::MAX_LOCAL_VALUE
}

/// Clusters that a value needs for itself.
pub(super) fn clusters(geometry: &Geometry, size: usize) -> u32 {
    if is_local(size) {
        return 0;
    }
    // At most 16: 64 KiB in clusters of 4 KiB.
    geometry.clusters_for_bytes(size as u64) as u32
}

/// What writing a value may take.
pub(super) fn need(geometry: &Geometry, size: usize) -> Need {
    Need {
        clusters: clusters(geometry, size),
        ..Need::default()
    }
}

/// Writes a value: beside its name if it is short, else to new clusters. Returns what to put behind the name.
///
/// The clusters are one run. The format would allow several below an extent block, but fsck.ocfs2 takes a value's list of
/// that depth for damaged and offers to cut it off, and Linux 6.1 stops when it has to make one.
///
/// # Errors
/// [`Error::NoSpace`], [`Error::Io`].
pub(super) fn write(txn: &mut Txn<'_>, inode: InodeNo, value: &[u8]) -> Result<Stored> {
    if is_local(value.len()) {
        return Ok(Stored::Local(value.to_vec()));
    }
    let core = txn.core();
    let geometry = *core.geometry();
    let wanted = clusters(&geometry, value.len());
    let run = txn.alloc_clusters(inode, None, wanted, wanted)?;
    let at = geometry.cluster_to_block(run.start);
    let mut padded = value.to_vec();
    padded.resize(value.len().next_multiple_of(geometry.block_size()), 0);
    let offset = at.0 << geometry.block_size_bits;
    write_bytes(core.home_device().as_ref(), offset, &padded, Durability::Cached)?;
    let mut root = XattrDefValueRoot::new_zeroed();
    root.xv.xr_list.l_count.set(1);
    root.xv.xr_list.l_next_free_rec.set(1);
    root.xv.xr_clusters.set(wanted);
    // Sixteen at most.
    root.er = ExtentRec::leaf(0, wanted as u16, at, ExtentFlags::empty());
    Ok(Stored::Outside(root))
}

/// The value of an attribute.
///
/// # Errors
/// [`Error::Corrupt`], [`Error::Io`].
pub(super) fn read(meta: &dyn Blocks, inode: InodeNo, pair: &Pair) -> Result<Vec<u8>> {
    match &pair.stored {
        Stored::Local(value) => Ok(value.clone()),
        Stored::Outside(root) => read_value(meta, inode, pair.size, root),
    }
}

/// The extents of a value.
///
/// # Errors
/// [`Error::Corrupt`].
pub(super) fn extents(meta: &dyn Blocks, inode: InodeNo, root: &XattrDefValueRoot) -> Result<Vec<Extent>> {
    root.list()
        .check_header(1, None)
        .map_err(|corrupt| corrupt.in_inode(inode))?;
    let tree = ExtentTree {
        meta,
        root: root.list(),
        kind: TreeKind::Data,
        owner: inode,
    };
    let mut extents = Vec::new();
    for extent in tree.extents() {
        extents.push(extent?);
        // What more clusters than the largest value would need has more than one extent for each.
        if extents.len() > MAX_VALUE {
            let violation = Violation::Rule("an attribute value has fewer extents");
            let corrupt = ocfs2_format::Corrupt::new(Structure::XattrValue, violation);
            return Err(Error::Corrupt(corrupt.in_inode(inode)));
        }
    }
    Ok(extents)
}

/// What giving up a value takes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ReleaseCost {
    pub(super) need: Need,
    pub(super) credits: u32,
}

/// What [`release`] of a value takes. If the inode shares clusters, the caller has locked its refcount tree.
///
/// # Errors
/// [`Error::Corrupt`].
pub(super) fn release_cost(
    core: &Core,
    inode: &Inode,
    holder: Holder,
    offset: usize,
    root: &XattrDefValueRoot,
) -> Result<ReleaseCost> {
    let extents = extents(core, inode.number(), root)?;
    // A record holds at most 65535 clusters, a value far fewer extents than that.
    let pieces = extents.len() as u32;
    let mut cost = ReleaseCost {
        need: Need {
            frees: pieces,
            ..Need::default()
        },
        credits: 1,
    };
    if root.xv.xr_list.l_tree_depth.get() > 0 {
        let of_tree = tree::cost(core, value_root(holder, offset, inode.number()), pieces)?;
        cost.add(of_tree);
    }
    if is_shared(&extents) {
        let of_refcounts = refcount::release_cost(core, inode, pieces)?;
        cost.add(of_refcounts);
    }
    Ok(cost)
}

impl ReleaseCost {
    fn add(&mut self, cost: Cost) {
        self.need.blocks = self.need.blocks.saturating_add(cost.blocks);
        self.credits = self.credits.saturating_add(cost.credits);
    }
}

fn is_shared(extents: &[Extent]) -> bool {
    extents
        .iter()
        .any(|extent| extent.flags.contains(ExtentFlags::REFCOUNTED))
}

fn value_root(holder: Holder, offset: usize, inode: InodeNo) -> Root {
    Root::XattrValue { holder, offset, inode }
}

/// Gives up the clusters of a value. Its root is not to be used any more: the caller takes the attribute out, in the same
/// transaction.
///
/// # Errors
/// [`Error::Corrupt`], the journal's.
pub(super) fn release(
    txn: &mut Txn<'_>,
    inode: InodeNo,
    holder: Holder,
    offset: usize,
    root: &XattrDefValueRoot,
) -> Result<()> {
    let mut pieces = extents(txn, inode, root)?;
    if root.xv.xr_list.l_tree_depth.get() > 0
        && let Some((first, last)) = pieces.first().zip(pieces.last())
    {
        let (start, end) = (first.cpos, last.end());
        let span = u32::try_from(end - u64::from(start)).unwrap_or(u32::MAX);
        pieces = tree::remove(txn, value_root(holder, offset, inode), start, span)?;
    }
    if is_shared(&pieces) {
        return refcount::release(txn, inode, &pieces);
    }
    free(txn, &pieces)
}

/// Frees clusters that nobody shares.
///
/// # Errors
/// [`Error::Corrupt`], the journal's.
pub(super) fn free(txn: &mut Txn<'_>, pieces: &[Extent]) -> Result<()> {
    let geometry = *txn.geometry();
    for piece in pieces {
        let Some(start) = geometry.block_to_cluster(piece.blkno) else {
            let violation = Violation::Invalid {
                field: "e_blkno",
                found: piece.blkno.0,
                why: "no cluster has this block",
            };
            return Err(ocfs2_format::Corrupt::new(Structure::XattrValue, violation).into());
        };
        txn.free_clusters(start, piece.clusters)?;
    }
    Ok(())
}
