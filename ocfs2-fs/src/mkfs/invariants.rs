//! What holds for every plan, whatever was wished for.

use std::sync::Arc;

use ocfs2_format::ClusterNo;
use ocfs2_format::device::MemDevice;
use proptest::prelude::*;

use super::options::{FeatureLevel, MkfsOptions, MountMode, VolumeType};
use super::plan::Plan;
use super::space::Run;
use super::{MkfsError, format};
use crate::{OpenOptions, SurveyOptions, Volume};

/// Everything that a plan places, by what it is for.
fn placed(plan: &Plan) -> Vec<(&'static str, Run)> {
    let (geometry, layout) = (plan.geometry(), plan.layout());
    let run = |start: ClusterNo, len: u32| Run { start, len };
    let group = |&start| run(start, plan.suballoc_clusters().into());
    let mut all = vec![
        ("first inodes", layout.inode_group),
        ("heartbeat region", layout.heartbeat),
    ];
    let mut add = |what, runs: &mut dyn Iterator<Item = Run>| all.extend(runs.map(|run| (what, run)));
    add("slot map", &mut layout.slot_map.into_iter());
    let directories = [&layout.root, &layout.system].into_iter().chain(&layout.orphans);
    let mut directories = directories.chain(&layout.lost_found).filter_map(|dir| dir.data);
    add("directory", &mut directories);
    for alloc in layout.extent_alloc.iter().chain([&layout.inode_alloc]) {
        add("allocator", &mut alloc.groups.iter().map(group));
    }
    for journal in &layout.journals {
        add("journal", &mut journal.runs().iter().copied());
    }
    for quota in &layout.quotas {
        let mut files = [&quota.global].into_iter().chain(&quota.local);
        add("quota file", &mut files.by_ref().flat_map(|file| file.runs().to_vec()));
    }
    if let Some(index) = &layout.system_index {
        add("index", &mut index.leaf_clusters.iter().map(|leaf| run(leaf.place, 1)));
    }
    let backups = layout.backups.iter();
    let mut backups = backups.filter_map(|&block| Some(run(geometry.block_to_cluster(block)?, 1)));
    add("copy of the superblock", &mut backups);

    // What the format itself takes: all up to the first descriptor, and the descriptors.
    let first = geometry.block_to_cluster(geometry.first_cluster_group());
    let leading = first.map_or(0, |cluster| cluster.0 + 1);
    all.push(("leading blocks", run(ClusterNo(0), leading)));
    let descriptors = (1..geometry.cluster_groups()).map(|index| index * geometry.clusters_per_group());
    all.extend(descriptors.map(|start| ("group descriptor", run(ClusterNo(start), 1))));
    all
}

fn check_places(plan: &Plan) -> Result<(), TestCaseError> {
    let geometry = plan.geometry();
    let mut all = placed(plan);
    all.sort_by_key(|(_, run)| run.start);
    for (what, run) in &all {
        prop_assert!(run.len > 0, "{what} takes nothing");
        let end = u64::from(run.start.0) + u64::from(run.len);
        prop_assert!(end <= geometry.clusters.into(), "{what} ends behind the volume");
    }
    for pair in all.windows(2) {
        let ((before, first), (behind, second)) = (pair[0], pair[1]);
        prop_assert!(
            first.start.0 + first.len <= second.start.0,
            "{before} {first:?} overlaps {behind} {second:?}"
        );
    }
    let sum: u64 = all.iter().map(|(_, run)| u64::from(run.len)).sum();
    prop_assert_eq!(sum, u64::from(plan.used_clusters()), "clusters in use");
    Ok(())
}

fn check_sizes(plan: &Plan, device_bytes: u64) -> Result<(), TestCaseError> {
    let (geometry, layout) = (plan.geometry(), plan.layout());
    prop_assert!(geometry.bytes() <= device_bytes);
    let slots = usize::from(geometry.max_slots);
    prop_assert_eq!(layout.journals.len(), slots);
    prop_assert_eq!(layout.extent_alloc.len(), slots);
    for journal in &layout.journals {
        prop_assert_eq!(geometry.clusters_to_bytes(journal.clusters()), plan.journal_bytes());
    }
    let groups = u64::from(geometry.cluster_groups() - 1) * u64::from(geometry.clusters_per_group());
    prop_assert_eq!(
        groups + u64::from(plan.tail_group_clusters()),
        u64::from(geometry.clusters)
    );
    for alloc in &layout.extent_alloc {
        prop_assert!(alloc.groups.len() >= plan.extent_groups() as usize);
    }
    Ok(())
}

/// Makes the volume in memory and has it read by ourselves.
fn check_volume(plan: &Plan) -> Result<(), TestCaseError> {
    let device = MemDevice::new(plan.device_bytes());
    format(&device, plan, &mut |_| {}).expect("memory does not fail");
    let volume = Volume::open(Arc::new(device), &OpenOptions::default());
    let volume = volume.map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(volume.geometry().clusters, plan.geometry().clusters);
    prop_assert_eq!(volume.superblock().s_uuid, plan.uuid());
    if plan.is_heartbeat_device() {
        return Ok(());
    }
    let mut findings = Vec::new();
    let report = volume.survey(&SurveyOptions::default(), &mut |finding| {
        findings.push(finding.to_string());
    });
    prop_assert_eq!(findings, Vec::<String>::new());
    // Root, lost+found, the system directory and all in it.
    prop_assert!(report.inodes as usize >= 3 + plan.layout().files.len());
    let bitmap = volume.global_bitmap();
    let bitmap = bitmap.map_err(|error| TestCaseError::fail(error.to_string()))?;
    let used = bitmap.dinode().bitmap().i_used.get();
    prop_assert_eq!(used, plan.used_clusters());
    Ok(())
}

fn wishes() -> impl Strategy<Value = MkfsOptions> {
    let sizes = (
        proptest::option::of(9u32..=12),
        proptest::option::of(12u32..=20),
        proptest::option::of(prop_oneof![4 => 1u16..=8, 1 => 1u16..=255]),
        proptest::option::of(4u64 << 20..80 << 20),
    );
    let level = prop_oneof![
        Just(FeatureLevel::Default),
        Just(FeatureLevel::MaxCompat),
        Just(FeatureLevel::MaxFeatures)
    ];
    let kind = prop_oneof![
        3 => Just(None),
        1 => proptest::sample::select(&VolumeType::ALL[..]).prop_map(Some),
    ];
    let names = [
        "metaecc",
        "inline-data",
        "indexed-dirs",
        "usrquota",
        "grpquota",
        "xattr",
        "discontig-bg",
        "extended-slotmap",
        "refcount",
    ];
    let features = proptest::collection::btree_map(0..names.len(), any::<bool>(), 0..4).prop_map(move |chosen| {
        let one = |(index, wanted): (usize, bool)| format!("{}{}", if wanted { "" } else { "no" }, names[index]);
        chosen.into_iter().map(one).collect::<Vec<_>>().join(",")
    });
    let switches = (
        any::<bool>(),
        any::<bool>(),
        proptest::bool::weighted(0.9),
        any::<bool>(),
    );
    let rare = proptest::bool::weighted(0.05);
    (sizes, level, kind, features, switches, rare, any::<u64>()).prop_map(
        |((block, cluster, slots, journal), level, kind, features, switches, heartbeat, seed)| {
            let (local, block64, backup_super, discard) = switches;
            let mut options = MkfsOptions {
                block_size: block.map(|bits| 1 << bits),
                cluster_size: cluster.map(|bits| 1 << bits),
                slots,
                journal_size: journal,
                journal_block64: block64,
                volume_type: kind,
                heartbeat_device: heartbeat,
                backup_super,
                discard,
                seed: Some(seed),
                ..MkfsOptions::default()
            };
            if local {
                options.mount = MountMode::Local;
            }
            options.features.level = level;
            options.features.parse_list(&features).expect("features that exist");
            options
        },
    )
}

/// Any size up to `1 << most_bits`, small ones as often as large ones.
fn device_bytes(most_bits: u32) -> impl Strategy<Value = u64> {
    (22..most_bits).prop_flat_map(|bits| (1u64 << bits..2u64 << bits).prop_map(|bytes| bytes & !511))
}

/// The plan, or `None` where the wishes cannot be had; that is no failure, but a lack of space has to be one.
fn plan(device_bytes: u64, options: &MkfsOptions) -> Result<Option<Plan>, TestCaseError> {
    match Plan::new(device_bytes, options) {
        Ok(plan) => Ok(Some(plan)),
        Err(MkfsError::NoSpace { clusters, .. }) => {
            prop_assert!(
                u64::from(clusters) << 12 <= 64 << 30,
                "no space in {clusters} clusters for {options:?}"
            );
            Ok(None)
        }
        Err(_) => Ok(None),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn nothing_overlaps_and_everything_is_inside(bytes in device_bytes(44), options in wishes()) {
        if let Some(plan) = plan(bytes, &options)? {
            check_places(&plan)?;
            check_sizes(&plan, bytes)?;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn planned_volumes_are_sound(bytes in device_bytes(33), options in wishes()) {
        if let Some(plan) = plan(bytes, &options)? {
            check_volume(&plan)?;
        }
    }
}
