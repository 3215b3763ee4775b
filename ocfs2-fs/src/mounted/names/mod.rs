//! Names: making, finding, moving and removing them. The inode layer of a mounted file system, for adapters such as FUSE.
//!
//! ```text
//! mod       what callers pass and get; what the operations have in common
//! find      looking names up, listing directories, link targets
//! create    new inodes and further links to old ones
//! reflink   new files that share everything with old ones
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
mod reflink;
mod remove;
mod rename;

use std::path::PathBuf;

use ocfs2_format::{DirEntryHeader, InodeAttr, InodeFlags, InodeNo};

use super::{Core, Level, LockSet, Need, Txn, dirs};
use crate::dir::{self, require_dir};
use crate::error::{Error, Result};
use crate::inode::{Inode, Timestamp};
use crate::meta::Blocks;
use crate::path::from_bytes;

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

/// What the operation must have before its transaction begins.
#[derive(Clone, Copy, Debug, Default)]
struct Budget {
    need: Need,
    credits: u32,
}

impl Budget {
    fn add(&mut self, (need, credits): (Need, u32)) {
        self.need += need;
        self.credits += credits;
    }

    /// A name will be added to a directory, which is charged to the directory's owner if it has to grow.
    fn add_name(&mut self, locks: &mut LockSet<'_>, dir: &Inode, name: &[u8]) -> Result<()> {
        let (need, credits) = dirs::need(locks.core(), dir, name)?;
        self.add((need, credits));
        if need.clusters > 0 && !dir.flags().contains(InodeFlags::SYSTEM) {
            self.credits += locks.quota(dir.uid(), dir.gid())?;
        }
        Ok(())
    }

    /// Takes the locks of allocators and begins.
    fn begin<'l>(self, locks: &'l mut LockSet<'_>) -> Result<Txn<'l>> {
        let reserved = match self.need == Need::default() {
            true => 0,
            false => locks.reserve(self.need)?,
        };
        locks.begin(self.credits + reserved)
    }
}

/// A name for messages.
fn named(name: &[u8]) -> PathBuf {
    from_bytes(name.to_vec())
}

fn is_dot(name: &[u8]) -> bool {
    name == b"." || name == b".."
}

/// Fails for what no directory entry can be called.
fn check_name(name: &[u8]) -> Result<()> {
    if name.is_empty() || name.contains(&b'/') || name.contains(&0) {
        return Err(Error::BadName(named(name)));
    }
    if name.len() > DirEntryHeader::MAX_NAME {
        return Err(Error::NameTooLong(named(name)));
    }
    Ok(())
}

/// Locks a directory to add names to it.
fn lock_dir(locks: &mut LockSet<'_>, dir: InodeNo) -> Result<Inode> {
    let inode = locks.inode(dir, Level::Exclusive)?;
    require_dir(&inode)?;
    if inode.links() == 0 {
        return Err(Error::NotFound(format!("inode {dir}").into()));
    }
    forbid(&inode, InodeAttr::IMMUTABLE)?;
    if inode.flags().contains(InodeFlags::SYSTEM) && dir != locks.core().superblock().root() {
        let why = "system directories belong to the volume itself";
        return Err(Error::NotPermitted { inode: dir, why });
    }
    Ok(inode)
}

/// Begins a change that gives a name to something: the name is one that can be given.
fn begin_naming(core: &Core, name: &[u8]) -> Result<()> {
    check_name(name)?;
    core.begin_change()?;
    match is_dot(name) {
        true => Err(Error::Exists(named(name))),
        false => Ok(()),
    }
}

/// Locks a directory to add a name that it does not have.
fn lock_dir_without(locks: &mut LockSet<'_>, dir: InodeNo, name: &[u8]) -> Result<Inode> {
    let parent = lock_dir(locks, dir)?;
    match dir::lookup(locks.core(), &parent, name)? {
        Some(_) => Err(Error::Exists(named(name))),
        None => Ok(parent),
    }
}

/// Fails when an inode has one of these attributes.
fn forbid(inode: &Inode, attr: InodeAttr) -> Result<()> {
    let found = inode.attr() & attr;
    if found.is_empty() {
        return Ok(());
    }
    let why = match found.contains(InodeAttr::IMMUTABLE) {
        true => "it is immutable",
        false => "it is append-only",
    };
    Err(Error::NotPermitted {
        inode: inode.number(),
        why,
    })
}

/// Fails when an attribute keeps a name from being taken out of a directory, or the inode from losing it.
fn check_removal(dir: &Inode, inode: &Inode) -> Result<()> {
    // The root directory among them: on a damaged volume, names may lead there.
    if inode.flags().contains(InodeFlags::SYSTEM) {
        let why = "it belongs to the volume itself";
        return Err(Error::NotPermitted {
            inode: inode.number(),
            why,
        });
    }
    forbid(dir, InodeAttr::IMMUTABLE | InodeAttr::APPEND)?;
    forbid(inode, InodeAttr::IMMUTABLE | InodeAttr::APPEND)
}

/// Sets the time of the last change of an inode.
fn changed(txn: &mut Txn<'_>, inode: InodeNo) -> Result<()> {
    let now = txn.now();
    let dinode = txn.dinode(inode)?;
    dinode.i_ctime.set(now.secs as u64);
    dinode.i_ctime_nsec.set(now.nanos);
    Ok(())
}

/// Changes a link count.
fn add_links(txn: &mut Txn<'_>, inode: InodeNo, change: i32) -> Result<()> {
    let dinode = txn.dinode(inode)?;
    let links = dinode.links().saturating_add_signed(change);
    dinode.set_links(links);
    Ok(())
}

/// Fails when a directory cannot have one more subdirectory.
fn check_subdirs(core: &Core, dir: &Inode) -> Result<()> {
    if dir.links() >= core.geometry().link_max() {
        return Err(Error::TooManyLinks(dir.number()));
    }
    Ok(())
}
