//! Accounting for users and groups.

use super::{LockSet, Txn};
use crate::error::Result;

/// A change of what somebody uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Charge {
    /// Bytes of clusters.
    pub(crate) bytes: i64,
    /// Inodes.
    pub(crate) inodes: i64,
}

impl LockSet<'_> {
    /// Takes the locks that charging these owners needs: before the transaction begins. Returns the credits that a charge
    /// takes.
    ///
    /// # Errors
    /// [`Error::Lock`](crate::Error::Lock).
    pub(crate) fn quota(&mut self, _uid: u32, _gid: u32) -> Result<u32> {
        Ok(0)
    }
}

impl LockSet<'_> {
    /// As [`quota`](Self::quota), for a [transfer](Txn::transfer).
    ///
    /// # Errors
    /// As [`quota`](Self::quota).
    pub(crate) fn quota_transfer(&mut self, old: (u32, u32), new: (u32, u32)) -> Result<u32> {
        Ok(self.quota(old.0, old.1)? + self.quota(new.0, new.1)?)
    }
}

impl Txn<'_> {
    /// Counts what an inode uses for its new user and group instead of its old ones.
    ///
    /// # Errors
    /// As [`charge`](Self::charge).
    pub(crate) fn transfer(&mut self, _old: (u32, u32), _new: (u32, u32), _charge: Charge) -> Result<()> {
        Ok(())
    }

    /// Counts a change of what a user and a group use.
    ///
    /// # Errors
    /// [`Error::QuotaExceeded`](crate::Error::QuotaExceeded).
    pub(crate) fn charge(&mut self, _uid: u32, _gid: u32, _charge: Charge) -> Result<()> {
        Ok(())
    }
}
