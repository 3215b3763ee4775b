//! What will be made: every decision, before anything is written.

use std::time::{SystemTime, UNIX_EPOCH};

use ocfs2_format::{
    BlockNo, ClusterInfo, FeatureCompat, FeatureIncompat, Features, Generation, Geometry, StackFlags, SystemFile,
    uuid_hash,
};
use zerocopy::FromZeros;

use super::error::MkfsError;
use super::layout::{Layout, QuotaFiles};
use super::options::{ClusterChoice, MkfsOptions, VolumeType};
use super::random::Random;
use super::sizing::Sizes;

/// A volume that can be made: sizes, features, identity, and the place of everything on it.
///
/// Making one touches no device, so this is also what a dry run shows.
#[derive(Clone, Debug)]
pub struct Plan {
    geometry: Geometry,
    features: Features,
    chosen_features: Features,
    identity: Identity,
    label: Vec<u8>,
    cluster_info: Option<ClusterInfo>,
    local: bool,
    volume_type: Option<VolumeType>,
    sizes: Sizes,
    journal_block64: bool,
    layout: Layout,
    device_bytes: u64,
    discard: bool,
    reproducible: bool,
}

/// What tells a volume from others.
#[derive(Clone, Copy, Debug)]
struct Identity {
    uuid: [u8; 16],
    generation: u32,
    dx_seed: [u32; 3],
    time: u64,
}

impl Plan {
    /// Decides everything about a volume on a device of `device_bytes` bytes.
    ///
    /// Without a seed, what the options leave open of the volume's identity is random, so two plans are never equal.
    ///
    /// # Errors
    /// Everything that makes the wishes impossible; see [`MkfsError`].
    pub fn new(device_bytes: u64, options: &MkfsOptions) -> Result<Plan, MkfsError> {
        check_label(&options.label)?;
        let local = options.is_local();
        let cluster_info = cluster_info(&options.cluster, local)?;
        let chosen = options.features.features();
        if chosen.incompat.contains(FeatureIncompat::CLUSTERINFO) && cluster_info.is_none() {
            return Err(MkfsError::ClusterInfoWithoutCluster);
        }
        let sizes = Sizes::new(device_bytes, options, local)?;
        let features = features(options, chosen, local, cluster_info.as_ref());
        let stored = if options.heartbeat_device {
            heartbeat_features(features)
        } else {
            features
        };
        let identity = Identity::new(options)?;
        let named = chosen.xattr() || chosen.indexed_dirs();
        let geometry = Geometry {
            block_size_bits: sizes.block_size_bits,
            cluster_size_bits: sizes.cluster_size_bits,
            clusters: sizes.clusters,
            features,
            generation: Generation(identity.generation),
            max_slots: sizes.slots,
            xattr_inline_size: if chosen.xattr() { XATTR_INLINE_SIZE } else { 0 },
            uuid_hash: if named { uuid_hash(&identity.uuid) } else { 0 },
            dx_seed: if chosen.indexed_dirs() {
                identity.dx_seed
            } else {
                [0; 3]
            },
        };
        let layout = Layout::new(&geometry, &sizes, features)?;
        Ok(Plan {
            geometry,
            features: stored,
            chosen_features: chosen,
            identity,
            label: options.label.clone(),
            cluster_info,
            local,
            volume_type: options.volume_type,
            sizes,
            journal_block64: options.journal_block64,
            layout,
            device_bytes,
            discard: options.discard,
            reproducible: options.seed.is_some(),
        })
    }

    /// Sizes of the volume, and the features by which its structures are made.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The feature words of the superblock.
    pub fn features(&self) -> Features {
        self.features
    }

    /// The features chosen by level and by name, before mount mode, cluster and other options have changed them: what
    /// mkfs.ocfs2 prints.
    pub fn chosen_features(&self) -> Features {
        self.chosen_features
    }

    /// Whether a single node will mount the volume, and no cluster is stamped on it.
    pub fn is_local(&self) -> bool {
        self.local
    }

    /// What the volume is meant for.
    pub fn volume_type(&self) -> Option<VolumeType> {
        self.volume_type
    }

    /// Volume label.
    pub fn label(&self) -> &[u8] {
        &self.label
    }

    /// Volume UUID.
    pub fn uuid(&self) -> [u8; 16] {
        self.identity.uuid
    }

    /// Time of all inodes in seconds since 1970.
    pub fn time(&self) -> u64 {
        self.identity.time
    }

    /// The cluster that the volume is stamped with.
    pub fn cluster_info(&self) -> Option<&ClusterInfo> {
        self.cluster_info.as_ref()
    }

    /// Whether the volume is only a heartbeat region.
    pub fn is_heartbeat_device(&self) -> bool {
        self.geometry.max_slots == 0
    }

    /// Bytes of each slot's journal.
    pub fn journal_bytes(&self) -> u64 {
        self.geometry.clusters_to_bytes(self.sizes.journal_clusters)
    }

    /// Whether journals store 64-bit block numbers.
    pub fn journal_block64(&self) -> bool {
        self.journal_block64
    }

    /// Groups of extent blocks that each slot starts with.
    pub fn extent_groups(&self) -> u32 {
        self.sizes.extent_groups
    }

    /// Bytes of the extent blocks that each slot starts with.
    pub fn extent_alloc_bytes(&self) -> u64 {
        let group = self.geometry.clusters_to_bytes(self.sizes.suballoc_clusters.into());
        group * u64::from(self.sizes.extent_groups)
    }

    /// Clusters that the last cluster group covers; all others cover
    /// [`clusters_per_group`](Geometry::clusters_per_group).
    pub fn tail_group_clusters(&self) -> u32 {
        let last = self
            .geometry
            .group_clusters(self.geometry.cluster_groups().saturating_sub(1));
        // Part of a volume of fewer than 2^32 clusters.
        (last.end - last.start) as u32
    }

    /// Blocks of the copies of the superblock.
    pub fn backup_blocks(&self) -> &[BlockNo] {
        &self.layout.backups
    }

    /// Clusters in use on the new volume.
    pub fn used_clusters(&self) -> u32 {
        self.layout.space.used()
    }

    /// Bytes of the device that the plan was made for.
    pub fn device_bytes(&self) -> u64 {
        self.device_bytes
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(super) fn suballoc_clusters(&self) -> u16 {
        self.sizes.suballoc_clusters
    }

    pub(super) fn discards(&self) -> bool {
        self.discard
    }

    pub(super) fn is_reproducible(&self) -> bool {
        self.reproducible
    }

    /// The quota files that a system file is one of.
    pub(super) fn quota_files(&self, file: SystemFile) -> &QuotaFiles {
        let of_groups = matches!(file, SystemFile::GroupQuota | SystemFile::LocalGroupQuota);
        let index = usize::from(of_groups && self.features.usrquota());
        self.layout
            .quotas
            .get(index)
            .expect("quota inodes exist only with quota files")
    }
}

impl Identity {
    fn new(options: &MkfsOptions) -> Result<Identity, MkfsError> {
        let mut random = Random::new(options.seed)?;
        // Everything is drawn, also what is given, so that one given value does not change the others.
        let uuid = random.uuid();
        let generation = random.next_u32();
        let dx_seed = [random.next_u32(), random.next_u32(), random.next_u32()];
        let now = || {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |age| age.as_secs())
        };
        let time = options.time.unwrap_or_else(|| match options.seed {
            Some(_) => MkfsOptions::SEEDED_TIME,
            None => now(),
        });
        Ok(Identity {
            uuid: options.uuid.unwrap_or(uuid),
            generation: options.generation.unwrap_or(generation),
            dx_seed: options.dx_seed.unwrap_or(dx_seed),
            time,
        })
    }
}

fn check_label(label: &[u8]) -> Result<(), MkfsError> {
    if label.len() > 63 {
        return Err(MkfsError::LabelTooLong { len: label.len() });
    }
    if label.contains(&0) {
        return Err(MkfsError::LabelNul);
    }
    Ok(())
}

/// The cluster as it is stored.
fn cluster_info(choice: &ClusterChoice, local: bool) -> Result<Option<ClusterInfo>, MkfsError> {
    if !choice.is_given() {
        return Ok(None);
    }
    let stack = choice.stack.as_deref().ok_or(MkfsError::MissingStack)?;
    if !ClusterChoice::STACKS.contains(&stack) {
        let stack = stack.to_owned();
        return Err(MkfsError::UnknownStack { stack });
    }
    let name = choice
        .name
        .as_deref()
        .filter(|name| !name.is_empty())
        .ok_or(MkfsError::MissingClusterName)?;
    let o2cb = stack == "o2cb";
    if choice.global_heartbeat && !o2cb {
        return Err(MkfsError::GlobalHeartbeat);
    }
    let why = if o2cb && !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        Some("an o2cb cluster has up to 16 letters and digits")
    } else if name.len() > 16 || name.contains('\0') {
        Some("it has up to 16 characters")
    } else {
        None
    };
    if let Some(why) = why {
        return Err(MkfsError::ClusterName {
            name: name.to_owned(),
            why,
        });
    }
    if local {
        return Err(MkfsError::LocalWithCluster);
    }
    let mut info = ClusterInfo::new_zeroed();
    info.ci_stack.copy_from_slice(stack.as_bytes());
    info.ci_cluster[..name.len()].copy_from_slice(name.as_bytes());
    if choice.global_heartbeat {
        info.ci_stackflags = StackFlags::GLOBAL_HEARTBEAT.bits();
    }
    Ok(Some(info))
}

/// The features that the volume's structures are made by.
fn features(options: &MkfsOptions, chosen: Features, local: bool, cluster: Option<&ClusterInfo>) -> Features {
    let mut features = chosen;
    features.compat |= FeatureCompat::STRICT_JOURNAL_SUPER;
    if !options.backup_super {
        features.compat -= FeatureCompat::BACKUP_SUPER;
    }
    if local {
        features.incompat |= FeatureIncompat::LOCAL;
    }
    if let Some(cluster) = cluster {
        features.incompat |= FeatureIncompat::EXTENDED_SLOT_MAP;
        if cluster.stack() == b"o2cb" {
            features.incompat |= FeatureIncompat::CLUSTERINFO;
        } else if !chosen.incompat.contains(FeatureIncompat::CLUSTERINFO) {
            features.incompat |= FeatureIncompat::USERSPACE_STACK;
        }
    }
    features
}

/// The features that are noted on a device that holds only a heartbeat region.
fn heartbeat_features(features: Features) -> Features {
    let kept = FeatureIncompat::LOCAL
        | FeatureIncompat::CLUSTERINFO
        | FeatureIncompat::USERSPACE_STACK
        | FeatureIncompat::EXTENDED_SLOT_MAP;
    let clustered = features.cluster_info();
    let mut incompat = FeatureIncompat::HEARTBEAT_DEVICE | (features.incompat & kept);
    incompat.set(FeatureIncompat::EXTENDED_SLOT_MAP, clustered);
    Features {
        compat: FeatureCompat::STRICT_JOURNAL_SUPER,
        incompat,
        ..Features::NONE
    }
}

/// Bytes that attributes take in the body of an inode that has some.
const XATTR_INLINE_SIZE: u16 = 256;
