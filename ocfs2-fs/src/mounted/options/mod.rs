//! How to mount.
//!
//! Source: tools reference, section 8; cluster reference, section 8.1.

mod parse;

use std::time::Duration;

use ocfs2_format::SlotNum;

pub use parse::OptionError;

use crate::inode::Timestamp;

/// When reading a file updates its access time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Atime {
    /// When the old one is not later than the last change, or more than a day old.
    Relative,
    /// Whenever the old one is older than this.
    Quantum(Duration),
    /// Never.
    Never,
}

/// Whether file data reaches the disk before the metadata that shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataMode {
    /// Before: after a crash no file shows what was on the disk before it.
    Ordered,
    /// In any order.
    Writeback,
}

/// What becomes of the file system when its journal fails or an inconsistency is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// Nothing is written any more.
    ReadOnly,
    /// Operations fail one by one, unless the journal itself has failed.
    Continue,
}

/// How to mount a volume.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MountOptions {
    /// Refuse every change. Dirty journals are replayed in memory and nothing is written.
    pub read_only: bool,
    /// Access times.
    pub atime: Atime,
    /// Data and metadata.
    pub data: DataMode,
    /// Errors.
    pub on_error: OnError,
    /// What was changed longer ago than this is made durable in the background, and what was freed can soon be allocated
    /// again; `None` leaves the one to `sync` and to the log running full, the other to whoever needs it.
    pub commit_interval: Option<Duration>,
    /// Take this slot if it is free.
    pub preferred_slot: Option<SlotNum>,
    /// Clusters of the local alloc's window, in MiB of space; `None` chooses by the volume's size, 0 uses none.
    pub local_alloc_mib: Option<u32>,
    /// How far ahead of a growing file space is kept for it, 0 (not at all) to 8.
    pub reservation_level: u8,
    /// The same for directories.
    pub dir_reservation_level: u8,
    /// Let inodes lie beyond block 2^32.
    pub inode64: bool,
    /// POSIX ACLs take part in permissions and inheritance.
    pub acl: bool,
    /// Attributes of the `user` name space are there.
    pub user_xattr: bool,
    /// Account for and enforce quotas of users, where the volume has them.
    pub user_quota: bool,
    /// The same for groups.
    pub group_quota: bool,
    /// Mount a volume made for a cluster without its cluster, after its heartbeat was seen not to move.
    pub no_cluster: bool,
    /// Bytes of metadata kept in memory.
    pub cache_bytes: u64,
    /// What every operation takes for the present time; `None` asks the clock. With it, a
    /// [generation](Self::first_generation) and no [commit interval](Self::commit_interval), what a sequence of operations
    /// leaves on the volume follows from them alone, but for what is in the journal.
    pub fixed_time: Option<Timestamp>,
    /// Generation of the first inode that is made; a random one without it.
    pub first_generation: Option<u32>,
}

impl Default for MountOptions {
    fn default() -> Self {
        MountOptions {
            read_only: false,
            atime: Atime::Relative,
            data: DataMode::Ordered,
            on_error: OnError::ReadOnly,
            commit_interval: Some(Duration::from_secs(5)),
            preferred_slot: None,
            local_alloc_mib: None,
            reservation_level: 2,
            dir_reservation_level: 2,
            inode64: false,
            acl: true,
            user_xattr: true,
            user_quota: true,
            group_quota: true,
            no_cluster: false,
            cache_bytes: 128 << 20,
            fixed_time: None,
            first_generation: None,
        }
    }
}
