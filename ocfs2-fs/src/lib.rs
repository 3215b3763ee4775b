//! OCFS2 volumes from Rust: no kernel module, no root, no C library.
//!
//! [`Volume`] opens a volume for reading on any [`BlockDevice`](ocfs2_format::device::BlockDevice). Two layers: paths
//! ([`Volume::read_dir`], [`Volume::open_file`], [`Volume::walk`]), and inodes below them ([`Volume::inode`],
//! [`Volume::lookup`], [`Volume::entries`]).
//!
//! ```no_run
//! use std::sync::Arc;
//! use ocfs2_format::device::{FileDevice, FileOptions};
//! use ocfs2_fs::{OpenOptions, ReadDir, Volume};
//!
//! let device = FileDevice::open("san.img", &FileOptions::default())?;
//! let volume = Volume::open(Arc::new(device), &OpenOptions::default())?;
//! for entry in volume.read_dir("/")? {
//!     println!("{}", entry?.name().escape_ascii());
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

#[cfg(test)]
extern crate self as ocfs2_fs;

mod alloc;
mod detect;
mod dir;
mod error;
mod extent_tree;
mod file;
#[doc(hidden)]
pub mod fuzz;
mod image;
mod inode;
pub mod inspect;
mod journals;
mod meta;
pub mod mkfs;
mod mounted;
mod path;
mod quota;
mod superblock;
mod survey;
mod system;
mod usage;
mod volume;
mod walk;
mod xattr;

pub use alloc::{AllocatorCounts, Group, Groups, LocalAllocInfo, Orphan, Space};
pub use detect::{Detected, mounted_nodes};
pub use dir::DirEntry;
pub use error::{Error, ErrorKind, Result};
pub use extent_tree::Extent;
pub use file::{File, Segment, SegmentSource};
pub use image::PackedImage;
pub use inode::{DeviceNumber, Inode, Timestamp};
pub use journals::JournalReplay;
pub use meta::Correction;
pub use mounted::{
    AclKind, AllocateMode, Atime, Caller, DataMode, DirPage, DirStream, ExtentInfo, ExtentPlace, FileSystem, FsStats,
    HeldLocks, InodeUse, LockError, MAY_EXECUTE, MAY_READ, MAY_WRITE, MountOptions, NewInode, OnError, OpenFile,
    OpenHow, OptionError, QuotaLimits, QuotaUsage, RenameMode, SetAttributes, SetTime, Touch, TouchJudge, TouchLog,
    XattrMode,
};
pub use quota::{GlobalQuota, LocalQuota};
pub use survey::{Finding, SurveyOptions, SurveyReport, SurveyedBlock};
pub use system::{Heartbeat, JournalInfo};
pub use usage::{Chunks, FileUsage, FreeSpace, LengthClass};
pub use volume::{Entries, IndexSummary, OpenOptions, ReadDir, Volume};
pub use walk::{Walk, WalkEntry, WalkError};
pub use xattr::{Acl, AclRecord, AclTag, XattrInfo, XattrPlace};
