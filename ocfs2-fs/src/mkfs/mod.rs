//! Making volumes.
//!
//! Two steps: [`Plan::new`] decides everything without touching a device, [`format()`] writes it.
//!
//! ```
//! use ocfs2_format::device::{BlockDevice, MemDevice};
//! use ocfs2_fs::mkfs::{self, MkfsOptions, MountMode, Plan};
//!
//! let device = MemDevice::new(64 << 20);
//! let mut options = MkfsOptions::default();
//! options.mount = MountMode::Local;
//! let plan = Plan::new(device.geometry().len, &options)?;
//! mkfs::format(&device, &plan, &mut |_| {})?;
//! # Ok::<(), mkfs::MkfsError>(())
//! ```
//!
//! A volume looks as mkfs.ocfs2 1.8.7 makes it with the same options, block for block, with these exceptions, where the
//! reference tool leaves something that its own fsck or the kernel stumbles over:
//!
//! * A system directory in blocks has an index, where the volume has indexed directories. The group of blocks that this
//!   takes is one of those set aside for slot 0, or one more on small volumes, for which nothing is set aside.
//! * The free space noted in the trailer of an indexed root directory is what is left beside lost+found, and a
//!   lost+found in a block has the size of a whole block.
//! * The header of a quota file counts all blocks of the file, also when the root directory is not inline, and is zero
//!   behind its fields.
//! * Extent blocks of journals in more extents than an inode holds name their own place in their group.
//! * Cluster names are padded with zeros.
//! * A heartbeat region with large blocks takes as much of the device as it needs.
//! * Whatever does not fit is found out before the first byte is written.
//!
//! Source: on-disk reference, sections 1 to 8 and 26 to 30; the behaviour of mkfs.ocfs2 1.8.7.

mod blocks;
mod dirs;
mod error;
mod existing;
mod extents;
mod format;
mod from;
mod index;
#[cfg(test)]
mod invariants;
mod layout;
mod options;
mod plan;
mod quota;
mod random;
mod sizing;
mod space;
mod writer;

pub use error::MkfsError;
pub use existing::Existing;
pub use format::{Progress, Step, Summary, format};
pub use from::{Contents, settle};
pub use options::{ClusterChoice, FeatureChoice, FeatureLevel, MkfsOptions, MountMode, VolumeType};
pub use plan::Plan;
