//! Names of the cluster locks of a file system.
//!
//! ```text
//! M 000000 0000000000007a77 00001234      type, padding, block, generation: 31 characters
//! N 0000000000001234 00007a77             dentry locks: parent directory, inode (its low 32 bits): 25 characters
//! ```
//!
//! Source: on-disk reference, section 29.

use std::fmt;
use std::str::FromStr;

use crate::prim::{BlockNo, Generation, InodeNo};

macro_rules! lock_kinds {
    ($($(#[$doc:meta])* $name:ident = $letter:literal,)*) => {
        /// What a lock protects.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum LockKind {
            $($(#[$doc])* $name,)*
        }

        impl LockKind {
            /// Every kind.
            pub const ALL: &'static [LockKind] = &[$(LockKind::$name,)*];

            /// The first character of the lock's name.
            pub const fn letter(self) -> char {
                match self {
                    $(LockKind::$name => $letter,)*
                }
            }

            /// The kind that a letter stands for.
            pub const fn from_letter(letter: char) -> Option<LockKind> {
                match letter {
                    $($letter => Some(LockKind::$name),)*
                    _ => None,
                }
            }
        }
    };
}

lock_kinds! {
    /// An inode's metadata.
    Meta = 'M',
    /// An inode's data; not used by today's drivers.
    Data = 'D',
    /// The superblock.
    Super = 'S',
    /// Renames between directories.
    Rename = 'R',
    /// An inode's data pages and mapping.
    ReadWrite = 'W',
    /// A name.
    Dentry = 'N',
    /// Use of an inode, to know when a deleted one may go.
    Open = 'O',
    /// flock(2).
    Flock = 'F',
    /// A global quota file; the block is the quota type.
    Quota = 'Q',
    /// File handles of NFS.
    NfsSync = 'Y',
    /// The scan of the orphan directories.
    OrphanScan = 'P',
    /// A refcount tree.
    Refcount = 'T',
    /// A trim of free space.
    Trim = 'I',
}

/// A lock, as its name gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LockId {
    /// Any lock but those of dentries.
    Block {
        /// What the lock protects; not [`LockKind::Dentry`].
        kind: LockKind,
        /// The object's block.
        block: BlockNo,
        /// The object's generation; 0 where it has none.
        generation: Generation,
    },
    /// A name in a directory.
    Dentry {
        /// The directory.
        parent: InodeNo,
        /// The inode, as far as the printed name has it: its low 32 bits.
        inode: InodeNo,
    },
}

/// A text that is no lock's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a cluster lock")]
pub struct BadLockName;

impl LockId {
    /// The lock's kind.
    pub fn kind(&self) -> LockKind {
        match self {
            LockId::Block { kind, .. } => *kind,
            LockId::Dentry { .. } => LockKind::Dentry,
        }
    }

    /// The block of the object that the lock protects.
    pub fn block(&self) -> BlockNo {
        match self {
            LockId::Block { block, .. } => *block,
            LockId::Dentry { inode, .. } => inode.block(),
        }
    }
}

impl FromStr for LockId {
    type Err = BadLockName;

    fn from_str(name: &str) -> Result<Self, BadLockName> {
        let kind = name.chars().next().and_then(LockKind::from_letter).ok_or(BadLockName)?;
        let mut rest = &name[1..];
        if kind != LockKind::Dentry {
            rest = rest.strip_prefix(PADDING).ok_or(BadLockName)?;
        }
        let (block, tail) = rest.split_at_checked(16).ok_or(BadLockName)?;
        let block = hex(block).ok_or(BadLockName)?;
        if tail.len() > 8 {
            return Err(BadLockName);
        }
        // Eight digits fit in 32 bits.
        let tail = hex(tail).ok_or(BadLockName)? as u32;
        Ok(match kind {
            LockKind::Dentry => LockId::Dentry {
                parent: InodeNo(block),
                inode: InodeNo(tail.into()),
            },
            _ => LockId::Block {
                kind,
                block: BlockNo(block),
                generation: Generation(tail),
            },
        })
    }
}

impl fmt::Display for LockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = self.kind().letter();
        match self {
            LockId::Block { block, generation, .. } => {
                write!(f, "{letter}{PADDING}{:016x}{:08x}", block.0, generation.0)
            }
            LockId::Dentry { parent, inode } => write!(f, "{letter}{:016x}{:08x}", parent.0, inode.0 as u32),
        }
    }
}

const PADDING: &str = "000000";

/// A number of hexadecimal digits and nothing else; `from_str_radix` alone would take a sign.
fn hex(digits: &str) -> Option<u64> {
    let all_digits = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    all_digits.then(|| u64::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_reference() {
        let meta = LockId::Block {
            kind: LockKind::Meta,
            block: BlockNo(31351),
            generation: Generation(0x1234),
        };
        assert_eq!(meta.to_string(), "M0000000000000000007a7700001234");
        let dentry = LockId::Dentry {
            parent: InodeNo(0x1234),
            inode: InodeNo(31351),
        };
        assert_eq!(dentry.to_string(), "N000000000000123400007a77");
    }

    #[test]
    fn every_kind_parses_back() {
        for &kind in LockKind::ALL {
            let id = match kind {
                LockKind::Dentry => LockId::Dentry {
                    parent: InodeNo(u64::MAX),
                    inode: InodeNo(u32::MAX.into()),
                },
                _ => LockId::Block {
                    kind,
                    block: BlockNo(u64::MAX),
                    generation: Generation(u32::MAX),
                },
            };
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for name in [
            "",
            "M",
            "é",
            "X0000000000000000007a7700001234",
            "m0000000000000000007a7700001234",
            "M0000010000000000007a7700001234",
            "M000000000000000000zz7700001234",
            "M0000000000000000007a77",
            "M000000+000000000007a7700001234",
            "M0000000000000000007a77000012345",
            "N00000000000012340000é77",
        ] {
            assert_eq!(name.parse::<LockId>(), Err(BadLockName), "{name}");
        }
    }
}
