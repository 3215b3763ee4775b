//! Exit statuses.

use std::process::ExitCode;

/// How a command ended.
///
/// Most commands use the three constants. `fsck` returns its own bit mask through [`from`](From::from).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit(u8);

impl Exit {
    /// Everything asked for was done.
    pub(crate) const OK: Self = Self(0);
    /// Something was not done; stderr says what.
    pub(crate) const FAILED: Self = Self(1);
    /// The command line makes no sense; nothing was done.
    pub(crate) const USAGE: Self = Self(2);

    /// A status with a meaning of a command's own.
    pub(crate) const fn of(status: u8) -> Self {
        Self(status)
    }
}

impl From<u8> for Exit {
    fn from(status: u8) -> Self {
        Self(status)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}

impl From<Exit> for i32 {
    fn from(exit: Exit) -> Self {
        exit.0.into()
    }
}
