//! Blocks and what they claim to be.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use ocfs2_format::{
    BlockCheck, BlockNo, Corrupt, Dinode, DxLeaf, DxRoot, ExtentBlock, Geometry, GroupDesc, RefcountBlock, Signature,
    Structure, Violation, XattrBlock,
};
use zerocopy::{FromBytes, Immutable, KnownLayout};

use crate::error::Result;
use crate::meta::{BlockBuf, Blocks, Locality, view};

/// A structure that takes a whole block and begins with a signature.
pub trait BlockStructure: FromBytes + KnownLayout + Immutable + sealed::Sealed {
    /// Its kind.
    const STRUCTURE: Structure;
    /// The bytes it begins with.
    const SIGNATURE: Signature;
    /// Byte offset of its check field.
    const CHECK_OFFSET: usize;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! block_structures {
    ($($name:ident $signature:ident,)*) => {$(
        impl sealed::Sealed for $name {}
        impl BlockStructure for $name {
            const STRUCTURE: Structure = Structure::$name;
            const SIGNATURE: Signature = Signature::$signature;
            const CHECK_OFFSET: usize = $name::CHECK_OFFSET;
        }
    )*

        /// The structure that a block's signature names.
        fn structure_of(signature: Signature) -> Option<(Structure, usize)> {
            match signature {
                Signature::SUPER_BLOCK => Some((Structure::Superblock, Dinode::CHECK_OFFSET)),
                $(Signature::$signature => Some((Structure::$name, $name::CHECK_OFFSET)),)*
                _ => None,
            }
        }
    };
}

block_structures! {
    Dinode INODE,
    ExtentBlock EXTENT_BLOCK,
    GroupDesc GROUP_DESC,
    XattrBlock XATTR_BLOCK,
    RefcountBlock REFCOUNT_BLOCK,
    DxRoot DX_ROOT,
    DxLeaf DX_LEAF,
}

/// Whether the check field of a block agrees with its contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckState {
    /// The volume has no check codes.
    Absent,
    /// It agrees.
    Good,
    /// It does not.
    Bad {
        /// What the field should hold.
        computed: BlockCheck,
    },
}

impl CheckState {
    /// Judges `block`, whose check field lies at `offset`.
    pub fn of(block: &[u8], offset: usize, geometry: &Geometry) -> CheckState {
        if !geometry.features.metaecc() {
            return CheckState::Absent;
        }
        let computed = BlockCheck::compute(block, offset);
        let stored = BlockCheck::stored(block, offset);
        if (stored.bc_crc32e, stored.bc_ecc) == (computed.bc_crc32e, computed.bc_ecc) {
            CheckState::Good
        } else {
            CheckState::Bad { computed }
        }
    }
}

/// A block as it is on the device.
#[derive(Clone, Debug)]
pub struct RawBlock {
    at: BlockNo,
    bytes: BlockBuf,
}

impl RawBlock {
    pub(crate) fn read(meta: &dyn Blocks, at: BlockNo) -> Result<RawBlock> {
        let geometry = meta.geometry();
        // The superblock of a damaged volume may claim any number of clusters: what the device has counts too.
        let blocks = geometry
            .blocks()
            .max(meta.device().geometry().len >> geometry.block_size_bits);
        if at.0 >= blocks {
            let violation = Violation::OutsideVolume {
                field: "block number",
                found: at.0,
                blocks,
            };
            return Err(Corrupt::new(Structure::Block, violation).into());
        }
        let bytes = meta.home().bytes(at, Locality::Clustered)?;
        Ok(RawBlock { at, bytes })
    }

    /// Its number.
    pub fn number(&self) -> BlockNo {
        self.at
    }

    /// The structure that its signature names, and where that structure has its check field.
    pub fn structure(&self) -> Option<(Structure, usize)> {
        structure_of(Signature::read_from_prefix(&self.bytes).ok()?.0)
    }
}

impl Deref for RawBlock {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A block taken for a `T`, whose fields it gives access to.
pub struct Raw<T: ?Sized> {
    block: RawBlock,
    taken_for: PhantomData<fn(&T)>,
}

impl<T: ?Sized> Clone for Raw<T> {
    fn clone(&self) -> Self {
        Raw {
            block: self.block.clone(),
            taken_for: PhantomData,
        }
    }
}

impl<T: BlockStructure + ?Sized> fmt::Debug for Raw<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at block {}", T::STRUCTURE, self.block.at)
    }
}

impl<T: BlockStructure + ?Sized> Raw<T> {
    pub(crate) fn read(meta: &dyn Blocks, at: BlockNo) -> Result<Self> {
        let block = RawBlock::read(meta, at)?;
        if block.starts_with(&T::SIGNATURE.0) {
            return Ok(Raw {
                block,
                taken_for: PhantomData,
            });
        }
        let found = block
            .first_chunk()
            .map_or(String::new(), |&bytes| Signature(bytes).text());
        let violation = Violation::Signature {
            found,
            expected: T::SIGNATURE.name(),
        };
        Err(Corrupt::new(T::STRUCTURE, violation).at_block(at).into())
    }

    /// A block that was read elsewhere, such as a copy in a journal; `None` when it carries another signature or is no
    /// block at all.
    pub fn of_copy(at: BlockNo, bytes: &[u8]) -> Option<Self> {
        let is_block = matches!(bytes.len(), 512 | 1024 | 2048 | 4096);
        (is_block && bytes.starts_with(&T::SIGNATURE.0)).then(|| Self::of_bytes(at, bytes))
    }

    pub(crate) fn of_bytes(at: BlockNo, bytes: &[u8]) -> Self {
        Raw {
            block: RawBlock {
                at,
                bytes: BlockBuf::of_copy(bytes),
            },
            taken_for: PhantomData,
        }
    }

    /// The block it was read from, whatever it says of itself.
    pub fn block(&self) -> &RawBlock {
        &self.block
    }

    /// Whether its check field is right.
    pub fn check_state(&self, geometry: &Geometry) -> CheckState {
        CheckState::of(&self.block, T::CHECK_OFFSET, geometry)
    }
}

impl<T: BlockStructure + ?Sized> Deref for Raw<T> {
    type Target = T;

    fn deref(&self) -> &T {
        view(&self.block)
    }
}
