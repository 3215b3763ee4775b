//! The 8-byte signatures that open every metadata block.
//!
//! Source: on-disk reference, section 1.1.

use std::fmt;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::{Corrupt, Structure, Violation};

/// An 8-byte signature field: up to seven ASCII characters and a NUL.
#[derive(Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Signature(pub [u8; 8]);

impl Signature {
    /// The superblock and its backups.
    pub const SUPER_BLOCK: Signature = Signature(*b"OCFSV2\0\0");
    /// A dinode.
    pub const INODE: Signature = Signature(*b"INODE01\0");
    /// An extent block.
    pub const EXTENT_BLOCK: Signature = Signature(*b"EXBLK01\0");
    /// A group descriptor.
    pub const GROUP_DESC: Signature = Signature(*b"GROUP01\0");
    /// An extended attribute block.
    pub const XATTR_BLOCK: Signature = Signature(*b"XATTR01\0");
    /// A refcount block.
    pub const REFCOUNT_BLOCK: Signature = Signature(*b"REFCNT1\0");
    /// A directory index root.
    pub const DX_ROOT: Signature = Signature(*b"DXDIR01\0");
    /// A directory index leaf.
    pub const DX_LEAF: Signature = Signature(*b"DXLEAF1\0");
    /// A directory block trailer.
    pub const DIR_TRAILER: Signature = Signature(*b"DIRTRL1\0");

    /// The signature's characters, without the NUL.
    pub fn text(&self) -> String {
        let end = self.0.iter().position(|&b| b == 0).unwrap_or(self.0.len());
        self.0[..end].escape_ascii().to_string()
    }

    /// Fails unless this is `expected`.
    pub(crate) fn require(self, expected: Signature, structure: Structure) -> Result<(), Corrupt> {
        if self == expected {
            return Ok(());
        }
        let violation = Violation::Signature {
            found: self.text(),
            expected: expected.name(),
        };
        Err(Corrupt::new(structure, violation))
    }

    /// The text of a known signature.
    pub fn name(self) -> &'static str {
        match self {
            Signature::SUPER_BLOCK => "OCFSV2",
            Signature::INODE => "INODE01",
            Signature::EXTENT_BLOCK => "EXBLK01",
            Signature::GROUP_DESC => "GROUP01",
            Signature::XATTR_BLOCK => "XATTR01",
            Signature::REFCOUNT_BLOCK => "REFCNT1",
            Signature::DX_ROOT => "DXDIR01",
            Signature::DX_LEAF => "DXLEAF1",
            Signature::DIR_TRAILER => "DIRTRL1",
            _ => "unknown",
        }
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text())
    }
}
