//! What a new volume should be like.
//!
//! Source: the behaviour of mkfs.ocfs2 1.8.7; on-disk reference, section 5.1.

use ocfs2_format::{FeatureIncompat, FeatureName, FeatureRoCompat, Features};

use super::error::MkfsError;

/// Wishes for a new volume; whatever is left at its default is chosen to suit the size of the device.
///
/// ```
/// use ocfs2_fs::mkfs::{MkfsOptions, MountMode};
///
/// let mut options = MkfsOptions::default();
/// options.label = b"backup".to_vec();
/// options.mount = MountMode::Local;
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MkfsOptions {
    /// Block size in bytes: a power of two from 512 to 4096.
    pub block_size: Option<u32>,
    /// Cluster size in bytes: a power of two from 4096 to 1 MiB.
    pub cluster_size: Option<u32>,
    /// Blocks of the device to use, in units of the block size (of 4096 bytes while that is not chosen). All of them
    /// by default.
    pub blocks: Option<u64>,
    /// Smallest unit in bytes that the device can write; blocks are not made smaller.
    pub sector_size: u32,
    /// Volume label, at most 63 bytes.
    pub label: Vec<u8>,
    /// Node slots, 1 to 255: how many nodes can mount the volume at the same time.
    pub slots: Option<u16>,
    /// Size of each slot's journal in bytes; rounded up to whole clusters.
    pub journal_size: Option<u64>,
    /// Whether journals store 64-bit block numbers. Needed from 2^32 blocks.
    pub journal_block64: bool,
    /// Who will mount the volume.
    pub mount: MountMode,
    /// What the volume will hold.
    pub volume_type: Option<VolumeType>,
    /// Features that are asked for.
    pub features: FeatureChoice,
    /// The cluster that the volume belongs to. Classic o2cb by default.
    pub cluster: ClusterChoice,
    /// Makes a heartbeat region without a file system.
    pub heartbeat_device: bool,
    /// Whether copies of the superblock are kept, where the volume is large enough for any.
    pub backup_super: bool,
    /// Whether the device is told first that none of its bytes are needed.
    pub discard: bool,
    /// Makes everything that is otherwise random, and the time, a function of this number: the same options on a device
    /// of the same size then give the same bytes. All of the volume is made zero first, even where the device can't
    /// discard.
    pub seed: Option<u64>,
    /// Time of all inodes in seconds since 1970. Now by default, or [`SEEDED_TIME`](Self::SEEDED_TIME) with a seed.
    pub time: Option<u64>,
    /// Volume UUID. Random by default.
    pub uuid: Option<[u8; 16]>,
    /// File-system generation. Random by default.
    pub generation: Option<u32>,
    /// Seeds of the directory name hash. Random by default.
    pub dx_seed: Option<[u32; 3]>,
}

impl MkfsOptions {
    /// Time of the inodes when there is a seed and no time: 2001-09-09 01:46:40 UTC.
    pub const SEEDED_TIME: u64 = 1_000_000_000;
}

impl Default for MkfsOptions {
    fn default() -> Self {
        MkfsOptions {
            block_size: None,
            cluster_size: None,
            blocks: None,
            sector_size: 512,
            label: Vec::new(),
            slots: None,
            journal_size: None,
            journal_block64: false,
            mount: MountMode::default(),
            volume_type: None,
            features: FeatureChoice::default(),
            cluster: ClusterChoice::default(),
            heartbeat_device: false,
            backup_super: true,
            discard: true,
            seed: None,
            time: None,
            uuid: None,
            generation: None,
            dx_seed: None,
        }
    }
}

/// Who mounts a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MountMode {
    /// The nodes of a cluster, unless the `local` feature is asked for by name.
    #[default]
    Unspecified,
    /// The nodes of a cluster.
    Cluster,
    /// One node, without a cluster.
    Local,
}

/// What a volume is meant for; changes cluster size, journal size and preallocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeType {
    /// Few, large files that are allocated in advance, such as databases.
    Datafiles,
    /// Many small files.
    Mail,
    /// Images of virtual machines.
    Vmstore,
}

impl VolumeType {
    /// All of them.
    pub const ALL: [VolumeType; 3] = [VolumeType::Datafiles, VolumeType::Mail, VolumeType::Vmstore];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            VolumeType::Datafiles => "datafiles",
            VolumeType::Mail => "mail",
            VolumeType::Vmstore => "vmstore",
        }
    }
}

/// The set of features to start from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FeatureLevel {
    /// What current kernels read.
    #[default]
    Default,
    /// What the oldest kernels read.
    MaxCompat,
    /// Everything.
    MaxFeatures,
}

impl FeatureLevel {
    /// All of them.
    pub const ALL: [FeatureLevel; 3] = [
        FeatureLevel::Default,
        FeatureLevel::MaxCompat,
        FeatureLevel::MaxFeatures,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            FeatureLevel::Default => "default",
            FeatureLevel::MaxCompat => "max-compat",
            FeatureLevel::MaxFeatures => "max-features",
        }
    }

    fn features(self) -> Features {
        match self {
            FeatureLevel::Default => Features::DEFAULT,
            FeatureLevel::MaxCompat => Features::MAX_COMPAT,
            FeatureLevel::MaxFeatures => Features::MAX_FEATURES,
        }
    }
}

/// A level and what differs from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FeatureChoice {
    /// Where to start.
    pub level: FeatureLevel,
    /// Features wanted besides.
    pub set: Features,
    /// Features not wanted.
    pub clear: Features,
}

impl FeatureChoice {
    /// Adds a comma separated list of feature names, each wanted, or not wanted with `no` in front.
    ///
    /// What a wanted feature needs is wanted too: `unwritten` wants `sparse`, so `nosparse` implies `nounwritten`.
    ///
    /// # Errors
    /// [`MkfsError::UnknownFeature`] for a name that is none, or of a feature that has its own option;
    /// [`MkfsError::ConflictingFeature`] when a feature is both wanted and not wanted.
    pub fn parse_list(&mut self, list: &str) -> Result<(), MkfsError> {
        for name in list.split(',').filter(|name| !name.is_empty()) {
            let (target, plain) = match name.strip_prefix("no") {
                Some(plain) => (&mut self.clear, plain),
                None => (&mut self.set, name),
            };
            let Some(feature) = FeatureName::find(plain).filter(|feature| feature.settable) else {
                return Err(MkfsError::UnknownFeature { name: name.to_owned() });
            };
            *target = target.union(feature.bits);
        }
        if self.set.ro_compat.contains(FeatureRoCompat::UNWRITTEN) {
            self.set.incompat |= FeatureIncompat::SPARSE;
        }
        if self.clear.incompat.contains(FeatureIncompat::SPARSE) {
            self.clear.ro_compat |= FeatureRoCompat::UNWRITTEN;
        }
        let both = intersection(self.set, self.clear);
        match both.names().next() {
            Some(name) => Err(MkfsError::ConflictingFeature { name }),
            None => Ok(()),
        }
    }

    /// The features that result.
    pub fn features(&self) -> Features {
        self.level.features().union(self.set).difference(self.clear)
    }
}

/// The cluster that a volume is stamped with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterChoice {
    /// Cluster stack: `o2cb`, `pcmk` or `cman`.
    pub stack: Option<String>,
    /// Cluster name, 1 to 16 characters; letters and digits only for o2cb.
    pub name: Option<String>,
    /// Whether the o2cb cluster uses global heartbeat.
    pub global_heartbeat: bool,
}

impl ClusterChoice {
    /// The stacks that a volume can be stamped with.
    pub const STACKS: [&str; 3] = ["o2cb", "pcmk", "cman"];

    pub(super) fn is_given(&self) -> bool {
        self.stack.is_some() || self.name.is_some() || self.global_heartbeat
    }
}

fn intersection(a: Features, b: Features) -> Features {
    Features {
        compat: a.compat & b.compat,
        incompat: a.incompat & b.incompat,
        ro_compat: a.ro_compat & b.ro_compat,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(list: &str) -> Result<FeatureChoice, MkfsError> {
        let mut choice = FeatureChoice::default();
        choice.parse_list(list).map(|()| choice)
    }

    #[test]
    fn features_that_need_sparse_go_with_it() {
        let compat = FeatureChoice {
            level: FeatureLevel::MaxCompat,
            ..choice("unwritten").unwrap()
        };
        assert_eq!(
            compat.features().to_string(),
            "sparse backup-super unwritten strict-journal-super"
        );
        let dense = choice("nosparse").unwrap().features();
        assert!(!dense.sparse() && !dense.ro_compat.contains(FeatureRoCompat::UNWRITTEN));
    }

    #[test]
    fn contradictions_are_refused_even_across_lists() {
        assert!(matches!(
            choice("unwritten,nosparse"),
            Err(MkfsError::ConflictingFeature { .. })
        ));
        let mut twice = choice("metaecc").unwrap();
        assert!(matches!(
            twice.parse_list("nometaecc"),
            Err(MkfsError::ConflictingFeature { name: "metaecc" })
        ));
    }

    #[test]
    fn features_without_a_switch_are_unknown() {
        for name in [
            "userspace-stack",
            "heartbeat-device",
            "nostrict-journal-super",
            "foo",
            "no",
        ] {
            assert!(matches!(choice(name), Err(MkfsError::UnknownFeature { .. })), "{name}");
        }
    }
}
