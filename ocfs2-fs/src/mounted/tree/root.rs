//! The roots of extent trees, which lie in all kinds of blocks.
//!
//! Source: on-disk reference, sections 10.2 and 22.

use ocfs2_format::{
    BlockNo, Corrupt, Dinode, DxFlags, DxRoot, DynFeatures, ExtentList, InodeNo, RefcountBlock, RefcountFlags,
    Structure, Violation, XattrBlock, XattrBlockFlags,
};

use super::{Holder, Root, Txn};
use crate::error::Result;
use crate::extent_tree::{Extent, TreeKind};
use crate::meta::{BlockBuf, Blocks, Locality, view};
use crate::mounted::txn::MetaBlock;

/// Bytes before the list in a value root, and bytes of the list's header.
const LIST_IN_VALUE_ROOT: usize = 16;
const LIST_HEADER: usize = 16;
const RECORD: usize = 16;

impl Root {
    /// The inode that the tree belongs to, for messages.
    pub(crate) fn inode(self) -> InodeNo {
        match self {
            Root::Data(inode) => inode,
            Root::DirIndex { dir, .. } => dir,
            Root::XattrIndex { inode, .. } | Root::Refcount { inode, .. } | Root::XattrValue { inode, .. } => inode,
        }
    }

    /// The block that holds the root; of a bucket, the first.
    pub(crate) fn block(self) -> BlockNo {
        match self {
            Root::Data(inode) => inode.block(),
            Root::DirIndex { block, .. } | Root::XattrIndex { block, .. } | Root::Refcount { block, .. } => block,
            Root::XattrValue { holder, .. } => match holder {
                Holder::Dinode(block) | Holder::XattrBlock(block) | Holder::Bucket(block) => block,
            },
        }
    }

    /// What the keys are.
    pub(crate) fn kind(self) -> TreeKind {
        match self {
            Root::Data(_) | Root::XattrValue { .. } => TreeKind::Data,
            Root::DirIndex { .. } | Root::XattrIndex { .. } | Root::Refcount { .. } => TreeKind::Hash,
        }
    }

    /// Clusters that a record may have; 0 if records are never joined.
    pub(super) fn merge_limit(self, cluster_size: u64) -> u32 {
        /// Bytes of a run of buckets.
        const BUCKET_RUN: u64 = 64 << 10;
        match self {
            Root::Refcount { .. } => 0,
            Root::XattrIndex { .. } => (BUCKET_RUN / cluster_size) as u32,
            _ => u16::MAX.into(),
        }
    }

    /// Credits that changing the root itself takes.
    pub(super) fn credits(self, meta: &dyn Blocks) -> u32 {
        match self {
            Root::XattrValue {
                holder: Holder::Bucket(_),
                ..
            } => meta.geometry().blocks_per_xattr_bucket(),
            _ => 1,
        }
    }

    /// Reads the root's list, checked, and the last-leaf pointer.
    pub(super) fn read<R>(self, meta: &dyn Blocks, f: impl FnOnce(&ExtentList, u64) -> Result<R>) -> Result<R> {
        let geometry = *meta.geometry();
        let at = self.block();
        match self {
            Root::Data(inode) => {
                let block = read_block::<Dinode>(meta, at)?;
                let dinode = view::<Dinode>(&block);
                let dynamic = dinode.dyn_features();
                if dynamic.contains(DynFeatures::INLINE_DATA) {
                    return Err(self.broken("an inode with its contents inline has no extents"));
                }
                let list = dinode.extent_list();
                let capacity = geometry.extents_per_dinode(dynamic.contains(DynFeatures::INLINE_XATTR));
                list.check_header(capacity, None)
                    .map_err(|corrupt| corrupt.at_block(at).in_inode(inode))?;
                f(list, dinode.i_last_eb_blk.get())
            }
            Root::DirIndex { .. } => {
                let block = read_block::<DxRoot>(meta, at)?;
                let dx_root = view::<DxRoot>(&block);
                if dx_root.flags().contains(DxFlags::INLINE) {
                    return Err(self.broken("an inline index has no extents"));
                }
                f(
                    self.checked(dx_root.list(), geometry.extents_per_dx_root())?,
                    dx_root.dr_last_eb_blk.get(),
                )
            }
            Root::XattrIndex { .. } => {
                let block = read_block::<XattrBlock>(meta, at)?;
                let xattrs = view::<XattrBlock>(&block);
                if !xattrs.flags().contains(XattrBlockFlags::INDEXED) {
                    return Err(self.broken("a plain block of attributes has no extents"));
                }
                f(
                    self.checked(xattrs.list(), geometry.extents_per_xattr_block())?,
                    xattrs.tree_root().xt_last_eb_blk.get(),
                )
            }
            Root::Refcount { .. } => {
                let block = read_block::<RefcountBlock>(meta, at)?;
                let refcounts = view::<RefcountBlock>(&block);
                if !refcounts.flags().contains(RefcountFlags::TREE) {
                    return Err(self.broken("a refcount block with records has no extents"));
                }
                f(
                    self.checked(refcounts.list(), geometry.recs_per_refcount_block())?,
                    refcounts.rf_last_eb_blk.get(),
                )
            }
            Root::XattrValue { holder, offset, .. } => {
                let block = match holder {
                    Holder::Dinode(at) => read_block::<Dinode>(meta, at)?,
                    Holder::XattrBlock(at) => read_block::<XattrBlock>(meta, at)?,
                    Holder::Bucket(at) => meta.bucket(at)?,
                };
                let list = self.value_list(&block, offset)?;
                let last_eb = offset + 8;
                let last_eb = block.get(last_eb..last_eb + 8).and_then(|bytes| bytes.try_into().ok());
                f(list, last_eb.map_or(0, u64::from_le_bytes))
            }
        }
    }

    /// The root's list, to be changed. What [`read`](Self::read) checks holds.
    pub(super) fn list_mut<'x>(self, txn: &'x mut Txn<'_>) -> Result<&'x mut ExtentList> {
        let broken = self.broken("the root of a value lies outside its block");
        Ok(match self {
            Root::Data(inode) => txn.dinode(inode)?.extent_list_mut(),
            Root::DirIndex { block, .. } => txn.edit::<DxRoot>(block)?.list_mut(),
            Root::XattrIndex { block, .. } => txn.edit::<XattrBlock>(block)?.list_mut(),
            Root::Refcount { block, .. } => txn.edit::<RefcountBlock>(block)?.list_mut(),
            Root::XattrValue { offset, .. } => {
                let holder = self.value_holder(txn)?;
                let start = offset + LIST_IN_VALUE_ROOT;
                let count = holder
                    .get(start + 2..start + 4)
                    .map_or(0, |count| usize::from(u16::from_le_bytes([count[0], count[1]])));
                holder
                    .get_mut(start..start + LIST_HEADER + count * RECORD)
                    .and_then(ExtentList::view_mut)
                    .ok_or(broken)?
            }
        })
    }

    /// Sets the last-leaf pointer.
    pub(super) fn set_last_leaf(self, txn: &mut Txn<'_>, leaf: u64) -> Result<()> {
        if self.read(txn, |_, last_eb| Ok(last_eb))? == leaf {
            return Ok(());
        }
        match self {
            Root::Data(inode) => txn.dinode(inode)?.i_last_eb_blk.set(leaf),
            Root::DirIndex { block, .. } => txn.edit::<DxRoot>(block)?.dr_last_eb_blk.set(leaf),
            Root::XattrIndex { block, .. } => txn.edit::<XattrBlock>(block)?.tree_root_mut().xt_last_eb_blk.set(leaf),
            Root::Refcount { block, .. } => txn.edit::<RefcountBlock>(block)?.rf_last_eb_blk.set(leaf),
            Root::XattrValue { offset, .. } => {
                let broken = self.broken("the root of a value lies outside its block");
                let field = self.value_holder(txn)?.get_mut(offset + 8..offset + 16);
                field.ok_or(broken)?.copy_from_slice(&leaf.to_le_bytes());
            }
        }
        Ok(())
    }

    /// Adds to the cluster counter.
    pub(super) fn add_clusters(self, txn: &mut Txn<'_>, change: i64) -> Result<()> {
        if change == 0 {
            return Ok(());
        }
        let broken = self.broken("the cluster counter of a tree is not what its records add up to");
        let add = |count: u32| {
            i64::from(count)
                .checked_add(change)
                .and_then(|sum| u32::try_from(sum).ok())
        };
        match self {
            Root::Data(inode) => {
                let field = &mut txn.dinode(inode)?.i_clusters;
                field.set(add(field.get()).ok_or(broken)?);
            }
            Root::DirIndex { block, .. } => {
                let field = &mut txn.edit::<DxRoot>(block)?.dr_clusters;
                field.set(add(field.get()).ok_or(broken)?);
            }
            Root::XattrIndex { block, .. } => {
                let field = &mut txn.edit::<XattrBlock>(block)?.tree_root_mut().xt_clusters;
                field.set(add(field.get()).ok_or(broken)?);
            }
            Root::Refcount { block, .. } => {
                let field = &mut txn.edit::<RefcountBlock>(block)?.rf_clusters;
                field.set(add(field.get()).ok_or(broken)?);
            }
            Root::XattrValue { offset, .. } => {
                let holder = self.value_holder(txn)?;
                let field = holder.get_mut(offset..offset + 4);
                let Some(field) = field else { return Err(broken) };
                let count = u32::from_le_bytes([field[0], field[1], field[2], field[3]]);
                field.copy_from_slice(&add(count).ok_or(broken)?.to_le_bytes());
            }
        }
        Ok(())
    }

    /// The tree breaks a rule of the format.
    pub(crate) fn broken(self, rule: &'static str) -> crate::error::Error {
        self.corrupt(Violation::Rule(rule))
    }

    pub(super) fn corrupt(self, violation: Violation) -> crate::error::Error {
        Corrupt::new(Structure::ExtentList, violation)
            .at_block(self.block())
            .in_inode(self.inode())
            .into()
    }

    fn checked(self, list: &ExtentList, capacity: u16) -> Result<&ExtentList> {
        list.check_header(capacity, None)
            .map_err(|corrupt| corrupt.at_block(self.block()).in_inode(self.inode()))?;
        Ok(list)
    }

    fn value_list(self, holder: &[u8], offset: usize) -> Result<&ExtentList> {
        let outside = || self.broken("the root of a value lies outside its block");
        let start = offset.checked_add(LIST_IN_VALUE_ROOT).ok_or_else(outside)?;
        let list = holder.get(start..).and_then(ExtentList::view).ok_or_else(outside)?;
        let count = list.l_count.get();
        let end = start + LIST_HEADER + usize::from(count) * RECORD;
        let list = holder.get(start..end).and_then(ExtentList::view).ok_or_else(outside)?;
        self.checked(list, count)
    }

    fn value_holder<'x>(self, txn: &'x mut Txn<'_>) -> Result<&'x mut [u8]> {
        use zerocopy::IntoBytes;
        let Root::XattrValue { holder, .. } = self else {
            return Err(self.broken("only a value lies in a holder"));
        };
        Ok(match holder {
            Holder::Dinode(block) => txn.edit::<Dinode>(block)?.as_mut_bytes(),
            Holder::XattrBlock(block) => txn.edit::<XattrBlock>(block)?.as_mut_bytes(),
            Holder::Bucket(block) => txn.edit_bucket(block)?,
        })
    }

    /// Whether two records may become one.
    pub(super) fn can_merge(self, left: &Extent, right: &Extent, meta: &dyn Blocks) -> bool {
        let geometry = meta.geometry();
        let limit = self.merge_limit(geometry.cluster_size());
        left.end() == u64::from(right.cpos)
            && left.flags == right.flags
            && left.blkno.0.checked_add(geometry.clusters_to_blocks(left.clusters)) == Some(right.blkno.0)
            && left.clusters.saturating_add(right.clusters) <= limit
    }
}

/// A block with a root in it, with its identity checked where it comes from the device.
fn read_block<B: MetaBlock + ?Sized>(meta: &dyn Blocks, at: BlockNo) -> Result<BlockBuf> {
    let block = meta.verified(at, B::STRUCTURE, B::CHECK_OFFSET, Locality::Clustered)?;
    if meta.newest(at).is_none() {
        view::<B>(&block).check_home(at, meta.geometry())?;
    }
    Ok(block)
}
