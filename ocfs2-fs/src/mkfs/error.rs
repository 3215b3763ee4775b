//! Why a volume is not made.

use ocfs2_format::device::IoError;

/// Why a volume can't be made as asked for, or could not be written.
///
/// Everything but [`Io`](Self::Io) is found out by [`Plan::new`](super::Plan::new) or before the first byte is written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MkfsError {
    /// A block size that is not possible.
    #[error("block size {bytes} is not a power of two from 512 to 4096")]
    BlockSize {
        /// What was asked for, in bytes.
        bytes: u32,
    },
    /// A block size below what the device can write.
    #[error("block size {bytes} is smaller than the device's sectors of {sector_size} bytes")]
    BelowSector {
        /// What was asked for, in bytes.
        bytes: u32,
        /// The device's smallest unit in bytes.
        sector_size: u32,
    },
    /// A cluster size that is not possible.
    #[error("cluster size {bytes} is not a power of two from 4096 to 1048576")]
    ClusterSize {
        /// What was asked for, in bytes.
        bytes: u32,
    },
    /// More blocks than the device has.
    #[error("{wanted} blocks were specified, more than the {available} blocks of the device")]
    TooManyBlocks {
        /// What was asked for.
        wanted: u64,
        /// What there is, in blocks of the same size.
        available: u64,
    },
    /// A device without a single byte.
    #[error("the device has no space at all (its size is 0)")]
    EmptyDevice,
    /// More clusters than cluster numbers.
    #[error(
        "{clusters} clusters of {cluster_size} bytes are more than a volume can have (4294967295): choose larger \
         clusters, or fewer blocks"
    )]
    TooManyClusters {
        /// How many there would be.
        clusters: u64,
        /// Their size in bytes.
        cluster_size: u32,
    },
    /// A label that does not fit.
    #[error("the volume label has {len} bytes, 63 are possible")]
    LabelTooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// A label with a NUL in it.
    #[error("the volume label contains a NUL")]
    LabelNul,
    /// A number of slots that is not possible.
    #[error("{slots} node slots: 1 to 255 are possible")]
    Slots {
        /// What was asked for.
        slots: u16,
    },
    /// A name that is no feature, or of one that can't be chosen by name.
    #[error("'{name}' is not a feature that can be chosen")]
    UnknownFeature {
        /// The name, with its `no`.
        name: String,
    },
    /// A feature both wanted and not wanted.
    #[error("feature '{name}' is both asked for and excluded")]
    ConflictingFeature {
        /// Its name.
        name: &'static str,
    },
    /// A cluster stack that is none.
    #[error("unknown cluster stack '{stack}'")]
    UnknownStack {
        /// What was asked for.
        stack: String,
    },
    /// A cluster name or global heartbeat without a cluster stack.
    #[error("a cluster stack is missing")]
    MissingStack,
    /// A cluster stack without a cluster name.
    #[error("a cluster name is missing")]
    MissingClusterName,
    /// A cluster name that the stack can't have.
    #[error("cluster name '{name}' is not possible: {why}")]
    ClusterName {
        /// What was asked for.
        name: String,
        /// What is possible.
        why: &'static str,
    },
    /// Global heartbeat with another stack than o2cb.
    #[error("global heartbeat exists in the o2cb cluster stack only")]
    GlobalHeartbeat,
    /// A volume for one node that belongs to a cluster.
    #[error("a local volume can't have a cluster stack or cluster name")]
    LocalWithCluster,
    /// The clusterinfo feature without a cluster.
    #[error("feature 'clusterinfo' needs a cluster stack and a cluster name")]
    ClusterInfoWithoutCluster,
    /// A type that needs a larger volume.
    #[error("volume type {volume_type} needs a device of at least 2 GiB")]
    TooSmallForType {
        /// The type's name.
        volume_type: &'static str,
    },
    /// A volume that has no room for a journal.
    #[error("the volume is too small for a journal: {blocks} blocks, 2048 are needed")]
    TooSmallForJournal {
        /// Blocks of the volume.
        blocks: u64,
    },
    /// A journal below the smallest possible.
    #[error("a journal of {bytes} bytes is too small: it must have at least {minimum}")]
    JournalTooSmall {
        /// What was asked for.
        bytes: u64,
        /// The least that is possible.
        minimum: u64,
    },
    /// Journals that do not fit.
    #[error("{slots} journals of {blocks} blocks do not fit in a volume of {volume_blocks} blocks")]
    JournalTooLarge {
        /// Blocks of each journal.
        blocks: u64,
        /// Number of journals.
        slots: u16,
        /// Blocks of the volume.
        volume_blocks: u64,
    },
    /// A volume whose block numbers do not fit in its journals.
    #[error(
        "journals with 32-bit block numbers can't serve a volume of {blocks} blocks: choose 64-bit block numbers for \
         them (-J block64), larger blocks, or a smaller volume"
    )]
    NeedsBlock64 {
        /// Blocks of the volume.
        blocks: u64,
    },
    /// The volume is full before everything has its place.
    #[error("no space for {what}: the volume's {clusters} clusters are used up")]
    NoSpace {
        /// What should have been placed.
        what: &'static str,
        /// Clusters of the volume.
        clusters: u32,
    },
    /// The device is smaller than the plan was made for.
    #[error("the device has {found} bytes, the plan is for {expected}")]
    DeviceTooSmall {
        /// What the device has.
        found: u64,
        /// What the plan needs.
        expected: u64,
    },
    /// No random numbers to be had.
    #[error("the system gives no random numbers: {0}")]
    Random(std::io::Error),
    /// The device failed. The volume is not usable, and does not look like one.
    #[error(transparent)]
    Io(#[from] IoError),
}
