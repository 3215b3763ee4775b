//! Corruption as data: which structure, where, and which rule it breaks.
//!
//! Source: on-disk reference, sections 3.4, 8.3, 11.2 and the per-structure rules.

use std::fmt;
use std::ops::Range;

use crate::{BlockNo, InodeNo};

/// A structure that breaks a rule of the format.
///
/// Created where the bytes are checked; each layer above adds what it knows with [`at_block`](Self::at_block),
/// [`in_inode`](Self::in_inode) and [`at_offset`](Self::at_offset).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{structure}{at}: {violation}")]
pub struct Corrupt {
    /// What kind of structure the bytes should have been.
    pub structure: Structure,
    /// Where it is.
    pub at: Box<Location>,
    /// The rule it breaks.
    pub violation: Violation,
}

impl Corrupt {
    /// A violation at a place not known yet.
    pub fn new(structure: Structure, violation: Violation) -> Self {
        Corrupt {
            structure,
            at: Box::default(),
            violation,
        }
    }

    /// Adds the block that holds the structure, unless one is known already.
    #[must_use]
    pub fn at_block(mut self, block: BlockNo) -> Self {
        self.at.block.get_or_insert(block);
        self
    }

    /// Adds the inode the structure belongs to, unless one is known already.
    #[must_use]
    pub fn in_inode(mut self, inode: InodeNo) -> Self {
        self.at.inode.get_or_insert(inode);
        self
    }

    /// Adds the byte offset in the file at which the structure was met, unless one is known already.
    #[must_use]
    pub fn at_offset(mut self, offset: u64) -> Self {
        self.at.file_offset.get_or_insert(offset);
        self
    }

    /// Adds the bytes of the block that break the rule, unless they are known already.
    #[must_use]
    pub fn in_bytes(mut self, bytes: Range<u32>) -> Self {
        self.at.bytes.get_or_insert(bytes);
        self
    }
}

/// Where a structure is; every part is filled by the layer that knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Location {
    /// The block that holds it.
    pub block: Option<BlockNo>,
    /// The inode it belongs to.
    pub inode: Option<InodeNo>,
    /// The byte offset in that inode's file.
    pub file_offset: Option<u64>,
    /// The bytes of the block that break the rule.
    pub bytes: Option<Range<u32>>,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(block) = self.block {
            write!(f, " at block {block}")?;
        }
        if let Some(bytes) = &self.bytes {
            write!(f, ", bytes {:#x}..{:#x}", bytes.start, bytes.end)?;
        }
        if let Some(inode) = self.inode {
            write!(f, " of inode {inode}")?;
        }
        if let Some(offset) = self.file_offset {
            write!(f, " at file offset {offset}")?;
        }
        Ok(())
    }
}

macro_rules! structures {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// The kinds of on-disk structures that are checked.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Structure {
            $($(#[$doc])* $name,)*
        }

        impl fmt::Display for Structure {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Structure::$name => $text,)*
                })
            }
        }
    };
}

structures! {
    /// A block of any kind.
    Block = "block",
    /// The superblock or one of its backups.
    Superblock = "superblock",
    /// An inode block.
    Dinode = "dinode",
    /// An extent block of any extent tree.
    ExtentBlock = "extent block",
    /// An extent list, in a dinode or any other tree root.
    ExtentList = "extent list",
    /// The chain list of an allocator inode.
    ChainList = "chain list",
    /// A group descriptor of the cluster bitmap or a suballocator.
    GroupDesc = "group descriptor",
    /// A block of a directory, or an inline directory.
    DirBlock = "directory block",
    /// The trailer of a directory block.
    DirTrailer = "directory block trailer",
    /// The root of a directory index.
    DxRoot = "directory index root",
    /// A leaf of a directory index.
    DxLeaf = "directory index leaf",
    /// An extended attribute block.
    XattrBlock = "xattr block",
    /// An extended attribute bucket.
    XattrBucket = "xattr bucket",
    /// Extended attributes in the body of an inode.
    XattrInline = "inline xattr area",
    /// The value of an extended attribute.
    XattrValue = "xattr value",
    /// A root or leaf of a refcount tree.
    RefcountBlock = "refcount block",
    /// The slot map.
    SlotMap = "slot map",
    /// The heartbeat region.
    Heartbeat = "heartbeat region",
    /// A truncate log.
    TruncateLog = "truncate log",
    /// A local alloc inode.
    LocalAlloc = "local alloc",
    /// A block of a quota file.
    QuotaBlock = "quota block",
    /// A journal's own structures.
    Journal = "journal",
    /// A file's mapping or contents.
    File = "file",
    /// The system directory.
    SystemDir = "system directory",
    /// A packed metadata image.
    Image = "metadata image",
}

/// The rule of the format that a structure breaks.
///
/// Numbers are as stored; limits are the largest value that would have been accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// The block carries another signature, or none.
    #[error("bad signature {found:?}, expected {expected:?}")]
    Signature {
        /// The bytes found, as text where they are.
        found: String,
        /// The signature of the structure.
        expected: &'static str,
    },
    /// The CRC is wrong and no single flipped bit explains it.
    #[error(
        "checksum mismatch: stored {stored:#010x}, computed {computed:#010x}, and no single flipped bit explains it"
    )]
    Checksum {
        /// CRC in the block.
        stored: u32,
        /// CRC of the block's bytes.
        computed: u32,
    },
    /// The block names another block as its own place.
    #[error("block says it is block {found}")]
    SelfBlock {
        /// The block number stored in the block.
        found: u64,
    },
    /// The block was written for another file system.
    #[error("file system generation {found:#010x}, the volume has {expected:#010x}")]
    Generation {
        /// Generation stored in the block.
        found: u32,
        /// Generation of the volume.
        expected: u32,
    },
    /// A field holds a value outside its range.
    #[error("{field} is {found}, at most {limit} is possible")]
    TooLarge {
        /// On-disk name of the field.
        field: &'static str,
        /// Its value.
        found: u64,
        /// Largest legal value.
        limit: u64,
    },
    /// A field holds a value that it must not have.
    #[error("{field} is {found}, expected {expected}")]
    Unexpected {
        /// On-disk name of the field.
        field: &'static str,
        /// Its value.
        found: u64,
        /// The only legal value.
        expected: u64,
    },
    /// A field holds a value that it must not have, for a reason that is no number.
    #[error("{field} is {found:#x}: {why}")]
    Invalid {
        /// On-disk name of the field.
        field: &'static str,
        /// Its value.
        found: u64,
        /// The rule.
        why: &'static str,
    },
    /// Fewer bytes than the structure needs.
    #[error("only {found} of {needed} bytes are there")]
    Truncated {
        /// Bytes at hand.
        found: u64,
        /// Bytes needed.
        needed: u64,
    },
    /// A block pointer leads outside the volume.
    #[error("{field} points to block {found}, the volume has {blocks}")]
    OutsideVolume {
        /// On-disk name of the pointer.
        field: &'static str,
        /// Block it points to.
        found: u64,
        /// Blocks in the volume.
        blocks: u64,
    },
    /// Records are not in order, or overlap.
    #[error("record {index} ({field} {found}) does not follow its predecessor, which ends at {previous}")]
    Order {
        /// On-disk name of the key.
        field: &'static str,
        /// Index of the record.
        index: u32,
        /// Its key.
        found: u64,
        /// End of the record before it.
        previous: u64,
    },
    /// A chain or tree leads back to a block it already passed.
    #[error("{field} leads back to block {found}: a loop")]
    Loop {
        /// On-disk name of the pointer.
        field: &'static str,
        /// The block met twice.
        found: u64,
    },
    /// Two owners claim a block or run of clusters that can have one.
    #[error("block {found} belongs to something else already")]
    Claimed {
        /// The block claimed twice.
        found: u64,
    },
    /// A name in a directory or attribute is not a legal name.
    #[error("illegal name: {why}")]
    Name {
        /// The rule.
        why: &'static str,
    },
    /// An object that must exist is missing.
    #[error("{what} is missing")]
    Missing {
        /// What is missing.
        what: String,
    },
    /// A rule between several fields.
    #[error("{0}")]
    Rule(&'static str),
}

/// A volume that needs something this library does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unsupported {
    /// Incompatible feature bits without a meaning known here.
    #[error("unknown incompatible feature bits {0:#x}: the volume needs a newer library")]
    IncompatFeatures(u32),
    /// Read-only-compatible feature bits without a meaning known here: the volume may be read, not written.
    #[error("unknown read-only-compatible feature bits {0:#x}: the volume can be read only")]
    RoCompatFeatures(u32),
    /// The revision is not 0.90.
    #[error("revision {major}.{minor}, only 0.90 is known")]
    Revision {
        /// s_major_rev_level.
        major: u16,
        /// s_minor_rev_level.
        minor: u16,
    },
    /// An OCFS version 1 volume.
    #[error("an OCFS version 1 volume: use the tools of that file system")]
    Ocfs1,
    /// A packed metadata image where a volume was expected.
    #[error("a packed metadata image (o2image), not a volume")]
    PackedImage,
}
