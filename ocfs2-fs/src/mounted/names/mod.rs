//! Names: making, finding, moving and removing them. The inode layer of a mounted file system, for adapters such as FUSE.
//!
//! ```text
//! mod       what callers pass and get
//! find      looking names up, listing directories, link targets
//! create    new inodes and further links to old ones
//! remove    unlink and rmdir
//! rename    moving and exchanging names
//! ```
//!
//! Every operation is one transaction: after a crash it has happened or it has not. Permissions are the caller's business;
//! what the attributes of an inode forbid to everybody is refused here.
//!
//! Source: on-disk reference, sections 8.5, 9, 16, 17, 21 and 37; cluster reference, sections 6.4 to 6.7.

mod create;
mod find;
mod remove;
mod rename;

use crate::inode::Timestamp;

pub use find::DirPage;

/// What an inode is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewInode {
    /// Permission bits, with set-user-ID, set-group-ID and sticky bit; bits of the file type are ignored.
    pub mode: u32,
    /// Permission bits to leave out of the mode, unless the parent directory hands down an ACL.
    pub umask: u32,
    /// Owner.
    pub uid: u32,
    /// Group; in a directory with the set-group-ID bit, the directory's group is used instead.
    pub gid: u32,
    /// Access, modification and change time; `None` for now.
    pub time: Option<Timestamp>,
}

impl NewInode {
    /// An inode of root's, made now.
    pub fn with_mode(mode: u32) -> NewInode {
        NewInode {
            mode,
            umask: 0,
            uid: 0,
            gid: 0,
            time: None,
        }
    }
}

/// What a rename does when the new name is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RenameMode {
    /// It replaces what was there.
    #[default]
    Replace,
    /// It fails (`RENAME_NOREPLACE`).
    NoReplace,
    /// The two names change places (`RENAME_EXCHANGE`).
    Exchange,
}
