//! Times and mode bits that reading and writing change.
//!
//! Source: on-disk reference, section 9; cluster reference, section 6.7; Linux 6.1 kernel behaviour.

use std::time::Duration;

use ocfs2_format::{Dinode, InodeAttr};

use super::FileId;
use crate::error::Result;
use crate::inode::{Inode, Timestamp};
use crate::mounted::{Atime, Core, Level, LockSet};

/// Set-user-ID.
const S_ISUID: u16 = 0o4000;
/// Set-group-ID, where the group may execute; without that it marks mandatory locking.
const S_ISGID: u16 = 0o2000;
const S_IXGRP: u16 = 0o0010;

/// The kernel's clock for time stamps moves in steps of this: writes within one step have equal times.
const TICK: Duration = Duration::from_millis(4);

/// An old access time is brought up to date when it is older than this, whatever has changed since.
const DAY: i64 = 24 * 60 * 60;

/// Notes that an inode was read, where the mount and the inode want that. The inode as it was read; nothing is locked.
///
/// Failing to do so is no failure of the read.
pub(crate) fn accessed(core: &Core, inode: &Inode) {
    if is_access_due(core, inode, core.now()) {
        let _ = set_atime(core, inode);
    }
}

fn is_access_due(core: &Core, inode: &Inode, now: Timestamp) -> bool {
    if core.options.read_only || inode.attr().contains(InodeAttr::NOATIME) {
        return false;
    }
    let atime = inode.atime();
    match core.options.atime {
        Atime::Never => false,
        Atime::Relative => {
            atime <= inode.mtime() || atime <= inode.ctime() || now.secs.saturating_sub(atime.secs) >= DAY
        }
        Atime::Quantum(quantum) => now.secs.saturating_sub(atime.secs) > quantum.as_secs() as i64,
    }
}

fn set_atime(core: &Core, read: &Inode) -> Result<()> {
    let mut locks = LockSet::new(core);
    let inode = locks.inode(read.number(), Level::Exclusive)?;
    // Somebody may have been faster, or the inode may be another one by now.
    if inode.generation() != read.generation() || !is_access_due(core, &inode, core.now()) {
        return Ok(());
    }
    let mut txn = locks.begin(1)?;
    let now = txn.now();
    let dinode = txn.dinode(inode.number())?;
    dinode.i_atime.set(now.secs as u64);
    dinode.i_atime_nsec.set(now.nanos);
    txn.commit()?;
    Ok(())
}

/// What becomes of set-user-ID and set-group-ID when contents change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Privileges {
    /// They are taken away: they must not outlive what they were given to.
    #[default]
    Drop,
    /// They stay: whoever makes the change may set them.
    Keep,
}

/// Sets the times of a change of contents, and settles what becomes of set-user-ID and set-group-ID.
pub(crate) fn modified(dinode: &mut Dinode, now: Timestamp, privileges: Privileges) {
    changed(dinode, now);
    dinode.i_mtime.set(now.secs as u64);
    dinode.i_mtime_nsec.set(now.nanos);
    if privileges == Privileges::Drop {
        dinode.i_mode.set(without_privileges(dinode.i_mode.get()));
    }
}

/// Sets the time of a change of the inode.
pub(crate) fn changed(dinode: &mut Dinode, now: Timestamp) {
    dinode.i_ctime.set(now.secs as u64);
    dinode.i_ctime_nsec.set(now.nanos);
}

/// Whether a write that changes no other metadata has to change these.
pub(crate) fn is_modification_due(inode: &Inode, now: Timestamp, privileges: Privileges) -> bool {
    let is_recent = |time: Timestamp| {
        let since = Duration::from_secs(now.secs.saturating_sub(time.secs).unsigned_abs())
            .saturating_add(Duration::from_nanos(now.nanos.into()))
            .saturating_sub(Duration::from_nanos(time.nanos.into()));
        time <= now && since < TICK
    };
    loses_privileges(inode, privileges) || !is_recent(inode.mtime()) || !is_recent(inode.ctime())
}

/// Whether the inode has mode bits that a write takes away.
pub(crate) fn loses_privileges(inode: &Inode, privileges: Privileges) -> bool {
    let mode = inode.dinode().i_mode.get();
    privileges == Privileges::Drop && without_privileges(mode) != mode
}

/// Notes that the contents of a file were changed, which nothing else tells.
///
/// # Errors
/// [`Error::Lock`](crate::Error::Lock), [`Error::Corrupt`](crate::Error::Corrupt), the journal's.
pub(crate) fn set_modified(core: &Core, file: FileId) -> Result<()> {
    let mut locks = LockSet::new(core);
    let inode = locks.inode(file.inode, Level::Exclusive)?;
    // Another writer may have been faster.
    if inode.generation() != file.generation || !is_modification_due(&inode, core.now(), file.privileges) {
        return Ok(());
    }
    let mut txn = locks.begin(1)?;
    let now = txn.now();
    modified(txn.dinode(file.inode)?, now, file.privileges);
    txn.commit()?;
    Ok(())
}

fn without_privileges(mode: u16) -> u16 {
    let mut mode = mode & !S_ISUID;
    if mode & S_IXGRP != 0 {
        mode &= !S_ISGID;
    }
    mode
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn privileges_go_but_mandatory_locking_stays() {
        assert_eq!(without_privileges(0o104_755), 0o100_755);
        assert_eq!(without_privileges(0o106_755), 0o100_755);
        assert_eq!(without_privileges(0o102_744), 0o102_744);
        assert_eq!(without_privileges(0o100_644), 0o100_644);
    }
}
