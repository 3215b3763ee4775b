//! Values in clusters of their own.
//!
//! A value is never changed where it is: the new one is written to new clusters before the transaction commits that makes
//! the attribute name them, and the old clusters are freed by the same transaction.
//!
//! Source: on-disk reference, sections 22.2 and 22.5.

use ocfs2_format::device::Durability;
use ocfs2_format::{
    ClusterNo, ExtentFlags, ExtentRec, Geometry, InodeNo, Structure, Violation, XattrDefValueRoot, XattrEntry,
};
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

/// What writing a value may take: credits beside those for what holds its root.
pub(super) fn need(geometry: &Geometry, size: usize) -> (Need, u32) {
    let clusters = clusters(geometry, size);
    // One record fits in the root. Below it, one extent block holds all that a value can have.
    let blocks = u32::from(clusters > 1);
    let need = Need {
        clusters,
        blocks,
        ..Need::default()
    };
    (need, blocks)
}

/// A value that has been written, and whose root is not in place yet.
#[derive(Debug)]
pub(super) struct Written {
    /// What to put behind the name.
    pub(super) stored: Stored,
    /// Extents that do not fit in the root, to be [added](Self::finish) when it is in place.
    rest: Vec<Extent>,
}

impl Written {
    /// Adds what did not fit in the root, which is in place now.
    ///
    /// # Errors
    /// [`Error::NoSpace`], the journal's.
    pub(super) fn finish(self, txn: &mut Txn<'_>, holder: Holder, offset: usize, inode: InodeNo) -> Result<()> {
        let root = Root::XattrValue { holder, offset, inode };
        for extent in self.rest {
            tree::insert(txn, root, extent)?;
        }
        Ok(())
    }
}

/// Writes a value: beside its name if it is short, else to new clusters.
///
/// # Errors
/// [`Error::NoSpace`], [`Error::Io`].
pub(super) fn write(txn: &mut Txn<'_>, inode: InodeNo, value: &[u8]) -> Result<Written> {
    if is_local(value.len()) {
        return Ok(Written {
            stored: Stored::Local(value.to_vec()),
            rest: Vec::new(),
        });
    }
    let core = txn.core();
    let geometry = *core.geometry();
    let wanted = clusters(&geometry, value.len());
    let mut padded = value.to_vec();
    padded.resize(value.len().next_multiple_of(geometry.block_size()), 0);
    let mut extents: Vec<Extent> = Vec::new();
    let (mut cpos, mut goal) = (0, None);
    while cpos < wanted {
        let run = txn.alloc_clusters(inode, goal, 1, wanted - cpos)?;
        let blkno = geometry.cluster_to_block(run.start);
        let from = geometry.clusters_to_bytes(cpos) as usize;
        let to = padded
            .len()
            .min(from + geometry.clusters_to_bytes(run.clusters) as usize);
        write_bytes(
            core.home_device().as_ref(),
            blkno.0 << geometry.block_size_bits,
            &padded[from..to],
            Durability::Cached,
        )?;
        match extents.last_mut() {
            Some(last) if last.blkno.0 + geometry.clusters_to_blocks(last.clusters) == blkno.0 => {
                last.clusters += run.clusters;
            }
            _ => extents.push(Extent {
                cpos,
                clusters: run.clusters,
                blkno,
                flags: ExtentFlags::empty(),
            }),
        }
        cpos += run.clusters;
        goal = Some(ClusterNo(run.start.0 + run.clusters));
    }
    let mut root = empty_root();
    let rest = extents.split_off(1.min(extents.len()));
    if let Some(first) = extents.first() {
        root.xv.xr_clusters.set(first.clusters);
        root.xv.xr_list.l_next_free_rec.set(1);
        // Clusters of one value: 16 at most.
        root.er = ExtentRec::leaf(0, first.clusters as u16, first.blkno, first.flags);
    }
    Ok(Written {
        stored: Stored::Outside(root),
        rest,
    })
}

fn empty_root() -> XattrDefValueRoot {
    let mut root = XattrDefValueRoot::new_zeroed();
    root.xv.xr_list.l_count.set(1);
    root
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
