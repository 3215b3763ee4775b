//! Transactions: the only way to change metadata of a mounted file system.
//!
//! A [`Txn`] is one journal handle with typed blocks. What it changes is seen by its own reads at once, by everybody else
//! when it commits, and by nobody when it is dropped.
//!
//! Source: on-disk reference, sections 25.4 and 37.

use std::fmt;
use std::sync::Arc;

use ocfs2_format::{
    BlockNo, Corrupt, Dinode, DxLeaf, DxRoot, ExtentBlock, Geometry, GroupDesc, InodeNo, RefcountBlock, Structure,
    XattrBlock,
};
use ocfs2_journal::{CheckAt, Handle, Tid};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Core;
use super::data::Privileges;
use super::space::{SpaceGrant, TxnSpace};
use super::tree::Root;
use crate::error::Result;
use crate::inode::Timestamp;
use crate::meta::{Blocks, Locality, Meta, view, view_mut};

/// A structure that takes a whole block.
pub(crate) trait MetaBlock: FromBytes + IntoBytes + KnownLayout + Immutable {
    /// For messages.
    const STRUCTURE: Structure;
    /// Where the block's check field is.
    const CHECK_OFFSET: usize;

    /// Whether a block read from its home can be trusted.
    fn check_home(&self, at: BlockNo, geometry: &Geometry) -> std::result::Result<(), Corrupt>;
}

macro_rules! meta_blocks {
    ($($block:ident: |$this:ident, $at:ident, $geometry:ident| $check:expr;)*) => {$(
        impl MetaBlock for $block {
            const STRUCTURE: Structure = Structure::$block;
            const CHECK_OFFSET: usize = $block::CHECK_OFFSET;

            fn check_home(&self, $at: BlockNo, $geometry: &Geometry) -> std::result::Result<(), Corrupt> {
                let $this = self;
                $check
            }
        }
    )*};
}

meta_blocks! {
    Dinode: |it, at, geometry| it.check(at, geometry).map(drop);
    ExtentBlock: |it, at, geometry| it.check(at, None, geometry);
    DxRoot: |it, at, geometry| it.check(at, geometry);
    DxLeaf: |it, at, geometry| it.check(at, geometry);
    XattrBlock: |it, at, geometry| it.check(at, geometry);
    RefcountBlock: |it, at, geometry| it.check(at, geometry);
    // Judged against the allocator that it belongs to, by whoever finds it there.
    GroupDesc: |_it, _at, _geometry| Ok(());
}

/// One set of changes that reaches the volume whole or not at all.
///
/// Made by [`LockSet::begin`](super::LockSet::begin), and borrows the locks it runs under: none can be taken while it is
/// open.
pub(crate) struct Txn<'t> {
    core: &'t Core,
    handle: Handle<'t>,
    now: Timestamp,
    privileges: Privileges,
    /// See [`tree::prepare`](super::tree::prepare).
    prepared_tree: Option<Root>,
    pub(super) space: TxnSpace<'t>,
}

impl<'t> Txn<'t> {
    pub(super) fn new(
        core: &'t Core,
        handle: Handle<'t>,
        space: &'t SpaceGrant,
        now: Timestamp,
        privileges: Privileges,
    ) -> Txn<'t> {
        let space = TxnSpace::new(core, space);
        Txn {
            core,
            handle,
            now,
            privileges,
            prepared_tree: None,
            space,
        }
    }

    /// What its changes of contents do to set-user-ID and set-group-ID.
    pub(super) fn privileges(&self) -> Privileges {
        self.privileges
    }

    /// Whether the transaction makes one change of this tree that was [prepared](super::tree::prepare) for it.
    pub(super) fn is_tree_prepared(&self, root: Root) -> bool {
        self.prepared_tree == Some(root)
    }

    /// Says that it does, of this tree alone.
    pub(crate) fn set_tree_prepared(&mut self, root: Root) {
        self.prepared_tree = Some(root);
    }

    /// The file system.
    pub(crate) fn core(&self) -> &'t Core {
        self.core
    }

    /// The time of the operation: all its time stamps are equal.
    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }

    /// Blocks that can still be changed.
    pub(crate) fn credits_left(&self) -> u32 {
        self.handle.credits_left()
    }

    /// Makes room for more blocks. `false` if the log has none right now: then the caller commits what is whole and goes
    /// on in a new transaction.
    ///
    /// # Errors
    /// The journal's.
    pub(crate) fn try_extend(&mut self, credits: u32) -> Result<bool> {
        Ok(self.handle.try_extend(credits)?)
    }

    /// A block to change. Its contents were verified and checked when they came from the device.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt), [`Error::Io`](crate::Error::Io), the journal's.
    pub(crate) fn edit<B: MetaBlock + ?Sized>(&mut self, at: BlockNo) -> Result<&mut B> {
        let meta = self.core.home();
        let geometry = *meta.geometry();
        let locality = match B::STRUCTURE {
            Structure::GroupDesc => Locality::Scattered,
            _ => Locality::Clustered,
        };
        let check = Some(CheckAt::block(B::CHECK_OFFSET));
        self.core.locks.touched(at, true);
        let bytes = self.handle.modify_with(at, check, || -> Result<Arc<[u8]>> {
            let block = meta.verified(at, B::STRUCTURE, B::CHECK_OFFSET, locality)?;
            view::<B>(&block).check_home(at, &geometry)?;
            Ok(block.into_shared())
        })?;
        Ok(view_mut(bytes))
    }

    /// A block that has just been allocated, zeroed, to fill.
    ///
    /// # Errors
    /// The journal's.
    pub(crate) fn create<B: MetaBlock + ?Sized>(&mut self, at: BlockNo) -> Result<&mut B> {
        let check = Some(CheckAt::block(B::CHECK_OFFSET));
        self.core.locks.changed_hands(at, 1);
        self.core.locks.touched(at, true);
        Ok(view_mut(self.handle.create(at, check)?))
    }

    /// A dinode to change.
    ///
    /// # Errors
    /// As [`edit`](Self::edit).
    pub(crate) fn dinode(&mut self, inode: InodeNo) -> Result<&mut Dinode> {
        self.edit(inode.block())
    }

    /// A directory or quota block to change: one with its check field, if any, in its last eight bytes.
    ///
    /// # Errors
    /// As [`edit`](Self::edit).
    pub(crate) fn edit_tail(&mut self, at: BlockNo, structure: Structure) -> Result<&mut [u8]> {
        let meta = self.core.home();
        let check = Some(CheckAt::block(meta.geometry().block_size() - 8));
        self.core.locks.touched(at, true);
        self.handle
            .modify_with(at, check, || Ok(meta.verified_tail(at, structure)?.into_shared()))
    }

    /// As [`create`](Self::create), for a directory or quota block.
    ///
    /// # Errors
    /// The journal's.
    pub(crate) fn create_tail(&mut self, at: BlockNo) -> Result<&mut [u8]> {
        let check = Some(CheckAt::block(self.core.geometry().block_size() - 8));
        self.core.locks.changed_hands(at, 1);
        self.core.locks.touched(at, true);
        Ok(self.handle.create(at, check)?)
    }

    /// The 4096 bytes of an xattr bucket, to change. Costs as many credits as it has blocks.
    ///
    /// # Errors
    /// As [`edit`](Self::edit).
    pub(crate) fn edit_bucket(&mut self, at: BlockNo) -> Result<&mut [u8]> {
        let meta = self.core.home();
        self.touch_bucket(at);
        let check = Some(CheckAt::xattr_bucket(meta.geometry()));
        self.handle
            .modify_with(at, check, || Ok(meta.bucket(at)?.into_shared()))
    }

    /// As [`create`](Self::create), for an xattr bucket.
    ///
    /// # Errors
    /// The journal's.
    pub(crate) fn create_bucket(&mut self, at: BlockNo) -> Result<&mut [u8]> {
        let geometry = self.core.geometry();
        self.core.locks.changed_hands(at, geometry.blocks_per_xattr_bucket());
        self.touch_bucket(at);
        let check = Some(CheckAt::xattr_bucket(geometry));
        Ok(self.handle.create(at, check)?)
    }

    fn touch_bucket(&self, at: BlockNo) {
        for index in 0..u64::from(self.core.geometry().blocks_per_xattr_bucket()) {
            self.core.locks.touched(BlockNo(at.0 + index), true);
        }
    }

    /// Blocks of metadata that are freed: they may become other metadata at once, and file data when
    /// [`Journal::may_reuse`](ocfs2_journal::Journal::may_reuse) says so.
    ///
    /// # Errors
    /// The journal's.
    pub(crate) fn forget(&mut self, at: BlockNo, blocks: u32) -> Result<()> {
        self.core.locks.changed_hands(at, blocks);
        Ok(self.handle.forget(at, blocks)?)
    }

    /// Makes all changes visible. They are durable when the transaction returned is.
    ///
    /// # Errors
    /// The journal's; then nothing was changed.
    pub(crate) fn commit(self) -> Result<Tid> {
        let tid = self.handle.commit()?;
        self.space.committed();
        Ok(tid)
    }
}

impl Blocks for Txn<'_> {
    fn home(&self) -> &Meta {
        self.core.home()
    }

    fn newest(&self, at: BlockNo) -> Option<Arc<[u8]>> {
        self.core.locks.touched(at, false);
        self.handle.newest(at)
    }
}

impl fmt::Debug for Txn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Txn")
            .field("handle", &self.handle)
            .finish_non_exhaustive()
    }
}
