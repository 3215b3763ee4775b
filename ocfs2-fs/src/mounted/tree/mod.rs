//! Editing extent trees: of files and directories, of attribute values and buckets, of directory indexes, of refcounts.
//!
//! Every edit leaves the tree as the format wants it: all leaves full but the rightmost, interior records that tile what
//! they cover, the last-leaf pointer and the cluster counter of the root right. An edit reads and changes the leaf that it
//! is about, and all leaves to the right of it when the number of records changes; at the right end of the tree, where
//! files grow and shrink, that is one path.
//!
//! Source: on-disk reference, section 10.

use ocfs2_format::{BlockNo, InodeNo};

use super::Txn;
use crate::error::{Error, Result};
use crate::extent_tree::Extent;
use crate::meta::Blocks;

/// What holds the root of the extents of an attribute's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// The attributes in an inode's own block.
    Dinode(BlockNo),
    /// The block of attributes of an inode.
    XattrBlock(BlockNo),
    /// A bucket: its first block.
    Bucket(BlockNo),
}

/// Which tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Root {
    /// The contents of a file or directory.
    Data(InodeNo),
    /// Leaves of a directory index.
    DxRoot {
        /// The index's root block.
        block: BlockNo,
        /// The directory.
        dir: InodeNo,
    },
    /// Buckets of attributes.
    XattrIndex {
        /// The block of attributes that has become a root.
        block: BlockNo,
        /// The inode.
        inode: InodeNo,
    },
    /// Leaves of a refcount tree.
    Refcount {
        /// The tree's root block.
        block: BlockNo,
        /// An inode attached to it.
        inode: InodeNo,
    },
    /// The value of an attribute.
    XattrValue {
        /// Where the value's root is.
        holder: Holder,
        /// Bytes from the start of the holder to the value's root (`ocfs2_xattr_value_root`).
        offset: usize,
        /// The inode.
        inode: InodeNo,
    },
}

/// What changes of a tree may take, at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    /// Metadata blocks that may have to be allocated.
    pub(crate) blocks: u32,
    /// Blocks that may be changed: those of the tree, and those of the allocators of extent blocks that are freed. What
    /// allocating takes comes on top.
    pub(crate) credits: u32,
}

/// Puts an extent where nothing is. It is merged with its neighbours where the kind of tree allows; the root's cluster
/// counter includes it.
///
/// # Errors
/// [`Error::Corrupt`] when something is there; [`Error::NoSpace`], the journal's.
pub(crate) fn insert(_txn: &mut Txn<'_>, _root: Root, _extent: Extent) -> Result<()> {
    Err(Error::NoFeature { feature: "tree" })
}

/// Takes out what lies in `clusters` logical clusters from `cpos`, and returns it in pieces, from left to right, for the
/// caller to free. Extent blocks that are no longer needed are freed here.
///
/// In trees with hashes or the like as keys (`DxRoot`, `XattrIndex`, `Refcount`), takes out the one record that begins at
/// `cpos` and has `clusters` clusters.
///
/// # Errors
/// [`Error::Corrupt`], the journal's.
pub(crate) fn remove(_txn: &mut Txn<'_>, _root: Root, _cpos: u32, _clusters: u32) -> Result<Vec<Extent>> {
    Err(Error::NoFeature { feature: "tree" })
}

/// Gives what is mapped already other flags or another place: `new` is what holds from now on, sorted by logical cluster,
/// and all of it must be mapped. Records are split where `new` covers part of them, and merged where they have become
/// alike. Returns what was there, cut to the same ranges.
///
/// # Errors
/// [`Error::Corrupt`] when part of it is not mapped; [`Error::NoSpace`], the journal's.
pub(crate) fn replace(_txn: &mut Txn<'_>, _root: Root, _new: &[Extent]) -> Result<Vec<Extent>> {
    Err(Error::NoFeature { feature: "tree" })
}

/// What `changes` changes anywhere in the tree may take. A change is one record inserted, one range replaced, or one
/// record (or part of one) removed.
///
/// # Errors
/// [`Error::Corrupt`].
pub(crate) fn cost(meta: &dyn Blocks, root: Root, changes: u32) -> Result<Cost> {
    cost_from(meta, root, 0, changes)
}

/// As [`cost`], for changes at `cpos` or to the right of it: much less where that is near the end of the tree.
///
/// # Errors
/// [`Error::Corrupt`].
pub(crate) fn cost_from(_meta: &dyn Blocks, _root: Root, _cpos: u32, changes: u32) -> Result<Cost> {
    Ok(Cost {
        blocks: changes,
        credits: changes,
    })
}

/// The last part of `clusters` logical clusters from `cpos` that has at most `records` records in it: what one
/// transaction of a removal, which goes from right to left, can take out. `None` when nothing is mapped there.
///
/// # Errors
/// [`Error::Corrupt`].
pub(crate) fn last_part(
    _meta: &dyn Blocks,
    _root: Root,
    _cpos: u32,
    _clusters: u32,
    _records: u32,
) -> Result<Option<(u32, u32)>> {
    Err(Error::NoFeature { feature: "tree" })
}
