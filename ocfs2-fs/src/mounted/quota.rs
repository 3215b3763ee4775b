//! Accounting for users and groups, and their limits.
//!
//! What an operation changes of somebody's usage goes straight into the global quota file, in the transaction of the
//! operation and under the file's lock. So the numbers are right at any time, after a crash too, limits hold exactly
//! across nodes, and this node's local files never have anything in them that would have to be added later. What other
//! implementations left in the local files of slots that crashed is added when those are recovered.
//!
//! Source: on-disk reference, section 30; cluster reference, sections 6.4 and 6.5; Linux 6.1 kernel behaviour.

mod file;
mod local;

use ocfs2_format::quota::{GlobalEntry, QuotaKind};
use ocfs2_format::{BlockNo, Generation, LockId, LockKind, SlotNum, SystemFile};

use self::file::GlobalFile;
use super::{Core, FileSystem, Level, LockSet, Txn};
use crate::error::{Error, Result};
use crate::meta::Blocks;

/// A change of what somebody uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Charge {
    /// Bytes of clusters.
    pub(crate) bytes: i64,
    /// Inodes.
    pub(crate) inodes: i64,
}

/// What a user or group may use; 0 for no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaLimits {
    /// Bytes that are never exceeded.
    pub space_hard: u64,
    /// Bytes that are exceeded for the grace time only.
    pub space_soft: u64,
    /// Inodes that are never exceeded.
    pub inodes_hard: u64,
    /// Inodes that are exceeded for the grace time only.
    pub inodes_soft: u64,
}

/// What a user or group uses and may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaUsage {
    /// User or group.
    pub id: u32,
    /// The limits.
    pub limits: QuotaLimits,
    /// Bytes in use.
    pub space: u64,
    /// Inodes in use.
    pub inodes: u64,
    /// When the grace time for space ends, in seconds since 1970; 0 while the soft limit is kept.
    pub space_grace_end: u64,
    /// The same for inodes.
    pub inodes_grace_end: u64,
}

impl QuotaUsage {
    fn of(entry: &GlobalEntry) -> QuotaUsage {
        QuotaUsage {
            id: entry.dqb_id.get(),
            limits: QuotaLimits {
                space_hard: entry.dqb_bhardlimit.get(),
                space_soft: entry.dqb_bsoftlimit.get(),
                inodes_hard: entry.dqb_ihardlimit.get(),
                inodes_soft: entry.dqb_isoftlimit.get(),
            },
            space: entry.dqb_curspace.get(),
            inodes: entry.dqb_curinodes.get(),
            space_grace_end: entry.dqb_btime.get(),
            inodes_grace_end: entry.dqb_itime.get(),
        }
    }
}

/// Both kinds, in the order in which their files are locked.
const KINDS: [QuotaKind; 2] = [QuotaKind::User, QuotaKind::Group];

fn id_of(kind: QuotaKind, owner: (u32, u32)) -> u32 {
    match kind {
        QuotaKind::User => owner.0,
        QuotaKind::Group => owner.1,
    }
}

fn lock_id(kind: QuotaKind) -> LockId {
    let block = match kind {
        QuotaKind::User => 0,
        QuotaKind::Group => 1,
    };
    LockId::Block {
        kind: LockKind::Quota,
        block: BlockNo(block),
        generation: Generation(0),
    }
}

impl Core {
    /// Whether usage of this kind is counted.
    fn counts(&self, kind: QuotaKind) -> bool {
        let features = self.geometry().features;
        match kind {
            QuotaKind::User => features.usrquota() && self.options.user_quota,
            QuotaKind::Group => features.grpquota() && self.options.group_quota,
        }
    }

    /// Whether usage of any kind is counted.
    pub(super) fn counts_any_quota(&self) -> bool {
        KINDS.into_iter().any(|kind| self.counts(kind))
    }

    fn global_file(&self, kind: QuotaKind) -> Result<GlobalFile> {
        let file = match kind {
            QuotaKind::User => SystemFile::UserQuota,
            QuotaKind::Group => SystemFile::GroupQuota,
        };
        Ok(GlobalFile::new(
            kind,
            self.system.find(file, SlotNum::default())?,
            self.geometry(),
        ))
    }

    /// Adds what a crashed slot's local quota files hold to the global ones: after its journal was replayed.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::NoSpace`], the journal's.
    pub(crate) fn recover_slot_quota(&self, slot: SlotNum) -> Result<()> {
        for kind in KINDS {
            if self.counts(kind) {
                local::recover(self, kind, slot)?;
            }
        }
        Ok(())
    }
}

impl LockSet<'_> {
    /// Takes the locks that charging these owners needs: before [`reserve`](Self::reserve), and before the transaction
    /// begins. Returns the credits that a charge takes.
    ///
    /// # Errors
    /// [`Error::Lock`]; [`Error::NoSpace`], [`Error::Corrupt`] and the journal's where somebody is counted for the first
    /// time.
    pub(crate) fn quota(&mut self, uid: u32, gid: u32) -> Result<u32> {
        let core = self.core();
        let mut credits = 0;
        for kind in KINDS {
            if core.counts(kind) {
                self.quota_of(kind, id_of(kind, (uid, gid)))?;
                credits += 1;
            }
        }
        Ok(credits)
    }

    /// Locks a quota file, and makes sure that it has an entry for an id.
    fn quota_of(&mut self, kind: QuotaKind, id: u32) -> Result<GlobalFile> {
        let core = self.core();
        let file = core.global_file(kind)?;
        if !self.holds(lock_id(kind)) {
            // Quota files come before allocators.
            self.release_allocators();
            self.take(core.meta_lock(file.inode), Level::Exclusive)?;
            self.take(lock_id(kind), Level::Exclusive)?;
        }
        if file.find(core, id)?.is_none() {
            file.add(self, id)?;
        }
        Ok(file)
    }

    /// Gives back the locks of quota files and allocators: they come behind all others, so an operation of several steps
    /// that has them calls this before it takes one of those.
    pub(crate) fn release_late(&mut self) {
        self.release_allocators();
        let core = self.core();
        for kind in KINDS {
            self.release(lock_id(kind));
            if let Ok(file) = core.global_file(kind) {
                self.release(core.meta_lock(file.inode));
            }
        }
    }

    /// As [`quota`](Self::quota), for a [transfer](Txn::transfer).
    ///
    /// # Errors
    /// As [`quota`](Self::quota).
    pub(crate) fn quota_transfer(&mut self, old: (u32, u32), new: (u32, u32)) -> Result<u32> {
        let core = self.core();
        let mut credits = 0;
        for kind in KINDS {
            if core.counts(kind) {
                self.quota_of(kind, id_of(kind, old))?;
                self.quota_of(kind, id_of(kind, new))?;
                credits += 2;
            }
        }
        Ok(credits)
    }
}

impl Txn<'_> {
    /// Counts a change of what a user and a group use, under [`LockSet::quota`].
    ///
    /// # Errors
    /// [`Error::QuotaExceeded`]; [`Error::Corrupt`], the journal's.
    pub(crate) fn charge(&mut self, uid: u32, gid: u32, charge: Charge) -> Result<()> {
        for kind in KINDS {
            if self.core().counts(kind) {
                self.charge_one(kind, id_of(kind, (uid, gid)), charge)?;
            }
        }
        Ok(())
    }

    /// Counts what an inode uses for its new user and group instead of its old ones.
    ///
    /// # Errors
    /// As [`charge`](Self::charge).
    pub(crate) fn transfer(&mut self, old: (u32, u32), new: (u32, u32), charge: Charge) -> Result<()> {
        let back = Charge {
            bytes: -charge.bytes,
            inodes: -charge.inodes,
        };
        for kind in KINDS {
            let (from, to) = (id_of(kind, old), id_of(kind, new));
            if from != to && self.core().counts(kind) {
                self.charge_one(kind, from, back)?;
                self.charge_one(kind, to, charge)?;
            }
        }
        Ok(())
    }

    fn charge_one(&mut self, kind: QuotaKind, id: u32, charge: Charge) -> Result<()> {
        if charge == Charge::default() {
            return Ok(());
        }
        let file = self.core().global_file(kind)?;
        let Some(at) = file.find(self, id)? else {
            return Err(file.missing(id));
        };
        let grace = file.grace(self)?;
        // The epoch is behind us.
        let now = self.now().secs.max(0) as u64;
        let mut entry = file.entry(self, at)?;
        apply(&mut entry, charge, grace, now)?;
        file.set_entry(self, at, &entry)
    }
}

/// Seconds that soft limits may be exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grace {
    pub(super) space: u32,
    pub(super) inodes: u32,
}

/// Counts a change, unless a limit forbids it.
fn apply(entry: &mut GlobalEntry, charge: Charge, grace: Grace, now: u64) -> Result<()> {
    let space = Meter {
        used: entry.dqb_curspace.get(),
        soft: entry.dqb_bsoftlimit.get(),
        hard: entry.dqb_bhardlimit.get(),
        grace_end: entry.dqb_btime.get(),
    };
    let inodes = Meter {
        used: entry.dqb_curinodes.get(),
        soft: entry.dqb_isoftlimit.get(),
        hard: entry.dqb_ihardlimit.get(),
        grace_end: entry.dqb_itime.get(),
    };
    let space = space.changed(charge.bytes, grace.space, now)?;
    let inodes = inodes.changed(charge.inodes, grace.inodes, now)?;
    entry.dqb_curspace.set(space.used);
    entry.dqb_btime.set(space.grace_end);
    entry.dqb_curinodes.set(inodes.used);
    entry.dqb_itime.set(inodes.grace_end);
    Ok(())
}

/// One of the two things that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Meter {
    used: u64,
    soft: u64,
    hard: u64,
    grace_end: u64,
}

impl Meter {
    fn changed(self, by: i64, grace: u32, now: u64) -> Result<Meter> {
        let used = self.used.saturating_add_signed(by);
        let mut changed = Meter { used, ..self };
        if by <= 0 {
            if self.soft == 0 || used <= self.soft {
                changed.grace_end = 0;
            }
            return Ok(changed);
        }
        if self.hard != 0 && used > self.hard {
            return Err(Error::QuotaExceeded);
        }
        if self.soft != 0 && used > self.soft {
            if self.grace_end == 0 {
                changed.grace_end = now.saturating_add(grace.into());
            } else if now >= self.grace_end {
                return Err(Error::QuotaExceeded);
            }
        }
        Ok(changed)
    }

    /// What new limits make of the grace time.
    fn restarted(self, grace: u32, now: u64) -> Meter {
        let grace_end = if self.soft == 0 || self.used <= self.soft {
            0
        } else if self.grace_end == 0 {
            now.saturating_add(grace.into())
        } else {
            self.grace_end
        };
        Meter { grace_end, ..self }
    }
}

fn require_quota(core: &Core, kind: QuotaKind) -> Result<()> {
    if core.counts(kind) {
        return Ok(());
    }
    Err(Error::NoFeature {
        feature: match kind {
            QuotaKind::User => "usrquota",
            QuotaKind::Group => "grpquota",
        },
    })
}

impl FileSystem {
    /// What a user or group uses and may use. Zeros for one of whom nothing is known.
    ///
    /// # Errors
    /// [`Error::NoFeature`] when the volume, or the mount, does not count; [`Error::Corrupt`].
    pub fn quota(&self, kind: QuotaKind, id: u32) -> Result<QuotaUsage> {
        let core = &*self.core;
        require_quota(core, kind)?;
        let file = core.global_file(kind)?;
        let mut locks = LockSet::new(core);
        locks.take(core.meta_lock(file.inode), Level::Shared)?;
        locks.take(lock_id(kind), Level::Shared)?;
        let Some(at) = file.find(core, id)? else {
            return Ok(QuotaUsage {
                id,
                ..QuotaUsage::default()
            });
        };
        Ok(QuotaUsage::of(&file.entry(core, at)?))
    }

    /// Sets the limits of a user or group.
    ///
    /// # Errors
    /// [`Error::NoFeature`] when the volume, or the mount, does not count; [`Error::NoSpace`], [`Error::ReadOnly`],
    /// [`Error::Corrupt`], the journal's.
    pub fn set_quota(&self, kind: QuotaKind, id: u32, limits: &QuotaLimits) -> Result<()> {
        let core = &*self.core;
        core.begin_change()?;
        require_quota(core, kind)?;
        let mut locks = LockSet::new(core);
        let file = locks.quota_of(kind, id)?;
        let mut txn = locks.begin(1)?;
        let Some(at) = file.find(&txn, id)? else {
            return Err(file.missing(id));
        };
        let grace = file.grace(&txn)?;
        let now = txn.now().secs.max(0) as u64;
        let mut entry = file.entry(&txn, at)?;
        entry.dqb_bhardlimit.set(limits.space_hard);
        entry.dqb_bsoftlimit.set(limits.space_soft);
        entry.dqb_ihardlimit.set(limits.inodes_hard);
        entry.dqb_isoftlimit.set(limits.inodes_soft);
        let space = Meter {
            used: entry.dqb_curspace.get(),
            soft: limits.space_soft,
            hard: limits.space_hard,
            grace_end: entry.dqb_btime.get(),
        };
        entry.dqb_btime.set(space.restarted(grace.space, now).grace_end);
        let inodes = Meter {
            used: entry.dqb_curinodes.get(),
            soft: limits.inodes_soft,
            hard: limits.inodes_hard,
            grace_end: entry.dqb_itime.get(),
        };
        entry.dqb_itime.set(inodes.restarted(grace.inodes, now).grace_end);
        file.set_entry(&mut txn, at, &entry)?;
        txn.commit()?;
        Ok(())
    }

    /// Sets how many seconds users or groups may exceed their soft limits of space and of inodes.
    ///
    /// # Errors
    /// As [`set_quota`](Self::set_quota).
    pub fn set_quota_grace(&self, kind: QuotaKind, space: u32, inodes: u32) -> Result<()> {
        let core = &*self.core;
        core.begin_change()?;
        require_quota(core, kind)?;
        let file = core.global_file(kind)?;
        let mut locks = LockSet::new(core);
        locks.take(core.meta_lock(file.inode), Level::Exclusive)?;
        locks.take(lock_id(kind), Level::Exclusive)?;
        let mut txn = locks.begin(1)?;
        file.set_grace(&mut txn, Grace { space, inodes })?;
        txn.commit()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METER: Meter = Meter {
        used: 90,
        soft: 100,
        hard: 200,
        grace_end: 0,
    };

    #[test]
    fn a_soft_limit_is_exceeded_until_the_grace_time_has_passed() {
        let over = METER.changed(20, 7, 1000).unwrap();
        assert_eq!((over.used, over.grace_end), (110, 1007));
        assert_eq!(over.changed(1, 7, 1006).unwrap().grace_end, 1007);
        assert!(matches!(over.changed(1, 7, 1007), Err(Error::QuotaExceeded)));
        assert_eq!(over.changed(-5, 7, 2000).unwrap().grace_end, 1007);
        assert_eq!(over.changed(-10, 7, 2000).unwrap().grace_end, 0);
    }

    #[test]
    fn a_hard_limit_is_reached_and_never_exceeded() {
        assert_eq!(METER.changed(110, 7, 1000).unwrap().used, 200);
        assert!(matches!(METER.changed(111, 7, 1000), Err(Error::QuotaExceeded)));
        let none = Meter {
            soft: 0,
            hard: 0,
            ..METER
        };
        assert_eq!(none.changed(1 << 40, 7, 1000).unwrap().grace_end, 0);
    }

    #[test]
    fn new_limits_start_and_stop_the_grace_time() {
        let lower = Meter { soft: 50, ..METER };
        assert_eq!(lower.restarted(7, 1000).grace_end, 1007);
        let running = Meter {
            grace_end: 900,
            ..lower
        };
        assert_eq!(running.restarted(7, 1000).grace_end, 900);
        assert_eq!(Meter { soft: 95, ..running }.restarted(7, 1000).grace_end, 0);
    }
}
