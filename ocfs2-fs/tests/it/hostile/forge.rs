//! Single fields and records of a volume, set to what they must not be.

use ocfs2_format::{Dinode, DynFeatures, FileKind, InodeFlags, InodeNo, SlotNum, Structure, SystemFile};
use ocfs2_fs::{SurveyedBlock, Volume};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::base::{Base, Copy};

/// A view of a whole block.
pub(crate) trait View: FromBytes + IntoBytes + KnownLayout + Immutable {}
impl<T: FromBytes + IntoBytes + KnownLayout + Immutable + ?Sized> View for T {}

/// A copy of a golden image, and what is needed to find one's way in it.
pub(crate) struct Forge<'a> {
    pub(crate) base: &'a Base,
    pub(crate) copy: Copy,
    pub(crate) volume: Volume,
}

impl<'a> Forge<'a> {
    pub(crate) fn new(base: &'a Base) -> Forge<'a> {
        let copy = base.copy();
        let volume = copy.open().expect("a golden image opens");
        Forge { base, copy, volume }
    }

    /// The first block of a structure that `suits`.
    pub(crate) fn find<T: View + ?Sized>(&self, structure: Structure, suits: impl Fn(&T) -> bool) -> SurveyedBlock {
        let mut blocks = self.base.blocks.iter().filter(|block| block.structure == structure);
        let suits = |block: &&SurveyedBlock| suits(view(&self.copy.read(block)));
        *blocks
            .find(suits)
            .unwrap_or_else(|| panic!("{} has no {structure} that suits", self.base.name))
    }

    /// Changes the first block of a structure that suits, its check field with it. Returns which one.
    pub(crate) fn edit<T: View + ?Sized>(
        &self,
        structure: Structure,
        suits: impl Fn(&T) -> bool,
        change: impl FnOnce(&mut T),
    ) -> u64 {
        let block = self.find(structure, suits);
        self.edit_block(&block, change)
    }

    pub(crate) fn edit_block<T: View + ?Sized>(&self, block: &SurveyedBlock, change: impl FnOnce(&mut T)) -> u64 {
        self.copy.forge(block, |bytes| {
            change(T::mut_from_bytes(bytes).expect("a block is longer than its fixed part"));
        });
        block.block.0
    }

    /// Changes the bytes of the first block of a structure, whatever it holds.
    pub(crate) fn edit_bytes(&self, structure: Structure, change: impl FnOnce(&mut [u8])) -> u64 {
        self.edit::<[u8]>(structure, |_| true, change)
    }

    /// Changes the first inode that suits.
    pub(crate) fn inode(&self, suits: impl Fn(&Dinode) -> bool, change: impl FnOnce(&mut Dinode)) -> u64 {
        self.edit(Structure::Dinode, suits, change)
    }

    /// Changes the inode of a system file of slot 0.
    pub(crate) fn system_file(&self, file: SystemFile, change: impl FnOnce(&mut Dinode)) -> u64 {
        let number = self.number_of(file);
        self.inode(|dinode| dinode.inode() == number, change)
    }

    pub(crate) fn number_of(&self, file: SystemFile) -> InodeNo {
        self.volume.system_file(file, SlotNum(0)).expect("the volume has it")
    }

    /// Changes bytes on the way to the device that belong to no metadata block: `len` bytes from the first block of a
    /// system file of slot 0.
    pub(crate) fn contents_of(&self, file: SystemFile, len: usize, change: impl FnOnce(&mut [u8])) -> u64 {
        let number = self.number_of(file);
        let inode = self.volume.inode(number).expect("it was sound");
        let extents = self.volume.extents(&inode).expect("they were sound");
        let block = SurveyedBlock {
            block: extents.first().expect("it has contents").blkno,
            ..self.base.blocks[0]
        };
        self.copy.damage(&SurveyedBlock { len, ..block }, change);
        number.0
    }
}

fn view<T: View + ?Sized>(bytes: &[u8]) -> &T {
    T::ref_from_bytes(bytes).expect("a block is longer than its fixed part")
}

/// Puts a little-endian number at an offset.
pub(crate) fn put<const N: usize>(bytes: &mut [u8], offset: usize, value: [u8; N]) {
    bytes[offset..offset + N].copy_from_slice(&value);
}

pub(crate) fn is_system(dinode: &Dinode) -> bool {
    dinode.flags().contains(InodeFlags::SYSTEM)
}

pub(crate) fn is_inline(dinode: &Dinode) -> bool {
    dinode.dyn_features().contains(DynFeatures::INLINE_DATA)
}

pub(crate) fn is_user(dinode: &Dinode, kind: FileKind) -> bool {
    dinode.kind() == Some(kind) && !is_system(dinode)
}

/// A regular file of a user with extents of its own.
pub(crate) fn is_file(dinode: &Dinode) -> bool {
    is_user(dinode, FileKind::Regular) && dinode.i_clusters.get() > 0 && !is_inline(dinode)
}

/// The same, whose tree has a level below the root.
pub(crate) fn is_deep(dinode: &Dinode) -> bool {
    is_file(dinode) && dinode.extent_list().l_tree_depth.get() > 0
}

/// A directory in blocks.
pub(crate) fn is_block_dir(dinode: &Dinode) -> bool {
    is_user(dinode, FileKind::Directory) && dinode.i_clusters.get() > 0 && !is_inline(dinode)
}

pub(crate) fn is_fast_symlink(dinode: &Dinode) -> bool {
    is_user(dinode, FileKind::Symlink) && dinode.i_clusters.get() == 0
}
