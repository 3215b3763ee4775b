//! The numbers that mkfs chooses: block, cluster and journal sizes, slots, preallocation.
//!
//! Source: on-disk reference, sections 7.2 to 7.6.

use super::error::MkfsError;
use super::options::{MkfsOptions, MountMode, VolumeType};

/// Everything that depends on sizes alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) block_size_bits: u8,
    pub(super) cluster_size_bits: u8,
    pub(super) clusters: u32,
    pub(super) slots: u16,
    /// Clusters of each journal; 0 on a heartbeat device.
    pub(super) journal_clusters: u32,
    /// Clusters of a group of inodes or extent blocks.
    pub(super) suballoc_clusters: u16,
    /// Groups that each slot's extent allocator starts with.
    pub(super) extent_groups: u32,
}

impl Sizes {
    pub(super) fn new(device_bytes: u64, options: &MkfsOptions, local: bool) -> Result<Sizes, MkfsError> {
        if device_bytes == 0 {
            return Err(MkfsError::EmptyDevice);
        }
        check_block_and_cluster_size(options)?;
        let device_bytes = match options.heartbeat_device {
            true => device_bytes.min(heartbeat_bytes(options)),
            false => device_bytes,
        };
        let (block_size, volume_bytes) = block_and_volume_size(device_bytes, options)?;
        let large_files = matches!(options.volume_type, Some(VolumeType::Datafiles | VolumeType::Vmstore));
        let cluster_size = match (options.cluster_size, options.volume_type) {
            (Some(bytes), _) => bytes,
            (None, Some(volume_type)) if large_files && volume_bytes < 2 * GIB => {
                let volume_type = volume_type.name();
                return Err(MkfsError::TooSmallForType { volume_type });
            }
            (None, _) => default_cluster_size(volume_bytes, large_files),
        };
        let clusters = volume_bytes / u64::from(cluster_size);
        let clusters = u32::try_from(clusters).map_err(|_| MkfsError::TooManyClusters { clusters, cluster_size })?;
        let blocks_per_cluster = cluster_size / block_size;
        let blocks = u64::from(clusters) * u64::from(blocks_per_cluster);
        let slots = match options.slots {
            _ if options.heartbeat_device => 0,
            Some(slots) if (1..=255).contains(&slots) => slots,
            Some(slots) => return Err(MkfsError::Slots { slots }),
            None if local => 1,
            None => default_slots(volume_bytes),
        };
        let journal_clusters = match options.heartbeat_device {
            true => 0,
            false => journal_clusters(options, blocks, block_size, cluster_size, slots)?,
        };
        if blocks > u64::from(u32::MAX) && !options.journal_block64 && !options.heartbeat_device {
            return Err(MkfsError::NeedsBlock64 { blocks });
        }
        let suballoc_bytes = suballoc_bytes(block_size);
        Ok(Sizes {
            block_size_bits: block_size.trailing_zeros() as u8,
            cluster_size_bits: cluster_size.trailing_zeros() as u8,
            clusters,
            slots,
            journal_clusters,
            // 4 MiB at most, in clusters of 4 KiB at least.
            suballoc_clusters: (suballoc_bytes / cluster_size).max(1) as u16,
            extent_groups: extent_groups(
                u64::from(clusters) * u64::from(cluster_size),
                suballoc_bytes,
                slots,
                large_files,
            ),
        })
    }
}

fn check_block_and_cluster_size(options: &MkfsOptions) -> Result<(), MkfsError> {
    let sector_size = options.sector_size;
    match options.block_size {
        Some(bytes) if !bytes.is_power_of_two() || !(512..=4096).contains(&bytes) => {
            return Err(MkfsError::BlockSize { bytes });
        }
        Some(bytes) if bytes < sector_size => return Err(MkfsError::BelowSector { bytes, sector_size }),
        None if sector_size > 4096 => {
            return Err(MkfsError::BelowSector {
                bytes: 4096,
                sector_size,
            });
        }
        _ => {}
    }
    match options.cluster_size {
        Some(bytes) if !bytes.is_power_of_two() || !(4096..=1 << 20).contains(&bytes) => {
            Err(MkfsError::ClusterSize { bytes })
        }
        _ => Ok(()),
    }
}

/// Block size, and the bytes of the device that are meant to be used.
fn block_and_volume_size(device_bytes: u64, options: &MkfsOptions) -> Result<(u32, u64), MkfsError> {
    let chosen = options
        .block_size
        .or(options.heartbeat_device.then(|| heartbeat_block_size(options)));
    // Blocks that the caller counts before it is known how large they are have 4096 bytes.
    let unit = u64::from(chosen.unwrap_or(4096));
    let bytes = match options.blocks {
        None => device_bytes,
        Some(wanted) => {
            let available = device_bytes / unit;
            if wanted > available {
                return Err(MkfsError::TooManyBlocks { wanted, available });
            }
            wanted * unit
        }
    };
    let block_size = chosen.unwrap_or_else(|| default_block_size(bytes).max(options.sector_size));
    let volume_bytes = match options.blocks {
        Some(blocks) => blocks * u64::from(block_size),
        None => bytes,
    };
    Ok((block_size, volume_bytes))
}

fn default_block_size(volume_bytes: u64) -> u32 {
    match volume_bytes {
        0..=SMALLEST => 512,
        bytes if bytes < GIB / 2 => 1024,
        bytes if bytes < GIB => 2048,
        _ => 4096,
    }
}

fn default_cluster_size(volume_bytes: u64, large_files: bool) -> u32 {
    if large_files {
        return match volume_bytes / GIB {
            0..64 => 128 << 10,
            64..96 => 256 << 10,
            96..128 => 512 << 10,
            _ => 1 << 20,
        };
    }
    let fits = |size: &u32| volume_bytes / u64::from(*size) < u64::from(u32::MAX);
    (12..20).map(|bits| 1 << bits).find(fits).unwrap_or(1 << 20)
}

fn default_slots(volume_bytes: u64) -> u16 {
    match volume_bytes / GIB {
        0..2 => 2,
        2..10 => 4,
        10..1024 => 8,
        _ => 16,
    }
}

/// Clusters of a journal: as asked for, or by the size and purpose of the volume.
fn journal_clusters(
    options: &MkfsOptions,
    volume_blocks: u64,
    block_size: u32,
    cluster_size: u32,
    slots: u16,
) -> Result<u32, MkfsError> {
    if volume_blocks < 2048 {
        return Err(MkfsError::TooSmallForJournal { blocks: volume_blocks });
    }
    let least = MIN_JOURNAL_CLUSTERS * u64::from(cluster_size);
    let (bytes, may_not_fit) = match options.journal_size {
        Some(bytes) if bytes < MIN_JOURNAL.max(least) => {
            let minimum = MIN_JOURNAL.max(least);
            return Err(MkfsError::JournalTooSmall { bytes, minimum });
        }
        Some(bytes) => (bytes, true),
        None => {
            let blocks = default_journal_blocks(volume_blocks, block_size, options.volume_type);
            ((blocks * u64::from(block_size)).max(least), false)
        }
    };
    let clusters = bytes.div_ceil(u64::from(cluster_size));
    let blocks = clusters * u64::from(cluster_size / block_size);
    let too_large = MkfsError::JournalTooLarge {
        blocks,
        slots,
        volume_blocks,
    };
    let wanted = blocks.checked_mul(slots.into()).and_then(|all| all.checked_add(1024));
    match u32::try_from(clusters) {
        Ok(clusters) if !may_not_fit || wanted.is_some_and(|wanted| wanted <= volume_blocks) => {
            // The log's own length has 32 bits.
            if u32::try_from(blocks).is_err() {
                Err(too_large)
            } else {
                Ok(clusters)
            }
        }
        _ => Err(too_large),
    }
}

fn default_journal_blocks(volume_blocks: u64, block_size: u32, volume_type: Option<VolumeType>) -> u64 {
    let size_class = |small, medium, large| match volume_blocks {
        0..262_144 => small,
        262_144..524_288 => medium,
        _ => large,
    };
    match volume_type {
        None if volume_blocks < 32_768 => MIN_JOURNAL / u64::from(block_size),
        None if volume_blocks < 262_144 => 4096,
        None => (volume_blocks / 160).clamp(16_384, 65_536),
        Some(VolumeType::Mail) => size_class(16_384, 32_768, 65_536),
        Some(VolumeType::Datafiles) => 8192,
        Some(VolumeType::Vmstore) => size_class(8192, 16_384, 32_768),
    }
}

/// Bytes of a group of inodes or extent blocks.
fn suballoc_bytes(block_size: u32) -> u32 {
    match block_size {
        512 => 1 << 20,
        1024 => 2 << 20,
        _ => 4 << 20,
    }
}

/// How many groups of extent blocks each slot gets in advance: a small share of the volume.
fn extent_groups(volume_bytes: u64, group_bytes: u32, slots: u16, large_files: bool) -> u32 {
    if slots == 0 {
        return 0;
    }
    let per_mille = if large_files { 3 } else { 1 };
    let wanted = volume_bytes / 1000 * per_mille;
    let all_slots = u64::from(group_bytes) * u64::from(slots);
    let groups = wanted.div_ceil(all_slots);
    let limit = volume_bytes / 100 * 5;
    let groups = if groups * all_slots > limit {
        groups.saturating_sub(1)
    } else {
        groups
    };
    // At most 2^52 bytes by 1 MiB.
    u32::try_from(groups).unwrap_or(u32::MAX)
}

/// Bytes that a heartbeat device takes of a larger one: enough for the region and the files that lead to it.
fn heartbeat_bytes(options: &MkfsOptions) -> u64 {
    let block_size = heartbeat_block_size(options);
    let cluster_size = options.cluster_size.unwrap_or(4096);
    let blocks = |count: u32| u64::from((count * block_size).next_multiple_of(cluster_size));
    let cluster = u64::from(cluster_size);
    // Leading area and superblock; descriptor; inodes; two directories; region.
    let needed = blocks(3) + cluster + blocks(super::layout::first_inodes(0)) + 2 * cluster + blocks(256);
    needed.max(1 << 20).max(512 * u64::from(block_size))
}

fn heartbeat_block_size(options: &MkfsOptions) -> u32 {
    options.block_size.unwrap_or(512.max(options.sector_size))
}

const GIB: u64 = 1 << 30;

/// Largest volume with blocks of 512 bytes by default, in bytes.
const SMALLEST: u64 = 3 << 20;

/// Smallest journal in bytes.
const MIN_JOURNAL: u64 = 4 << 20;

/// Smallest journal in clusters.
const MIN_JOURNAL_CLUSTERS: u64 = 9;

impl MkfsOptions {
    /// Whether the volume is for a single node, which also decides how many slots it gets by default.
    pub fn is_local(&self) -> bool {
        match self.mount {
            MountMode::Local => true,
            MountMode::Cluster => false,
            MountMode::Unspecified => self.features.features().local(),
        }
    }
}
