//! Our plans have the numbers that the reference tool's dry run prints.

use std::collections::BTreeMap;

use ocfs2_fs::mkfs::{FeatureLevel, Plan, VolumeType};
use ocfs2_testkit::require_tool;

use super::spec::{Spec, for_each_in_parallel};

/// The lines of the plan that mkfs.ocfs2 prints.
fn lines(plan: &Plan) -> BTreeMap<&'static str, String> {
    let geometry = plan.geometry();
    let groups = geometry.cluster_groups();
    let rest = geometry.clusters_per_group().min(geometry.clusters);
    let tail = plan.tail_group_clusters();
    BTreeMap::from([
        (
            "Block size",
            format!("{} ({} bits)", geometry.block_size(), geometry.block_size_bits),
        ),
        (
            "Cluster size",
            format!("{} ({} bits)", geometry.cluster_size(), geometry.cluster_size_bits),
        ),
        (
            "Volume size",
            format!(
                "{} ({} clusters) ({} blocks)",
                geometry.bytes(),
                geometry.clusters,
                geometry.blocks()
            ),
        ),
        (
            "Cluster groups",
            format!("{groups} (tail covers {tail} clusters, rest cover {rest} clusters)"),
        ),
        (
            "Extent allocator size",
            format!("{} ({} groups)", plan.extent_alloc_bytes(), plan.extent_groups()),
        ),
        ("Journal size", plan.journal_bytes().to_string()),
        ("Node slots", geometry.max_slots.to_string()),
        ("Features", plan.chosen_features().to_string()),
    ])
}

/// Wishes of every kind, sensible or not.
fn random_spec(random: &mut fastrand::Rng) -> Spec {
    let mut some = |chance: f32| random.f32() < chance;
    let (block, cluster, slots, journal, kind, level) =
        (some(0.4), some(0.4), some(0.5), some(0.3), some(0.3), some(0.3));
    let mut spec = Spec {
        local: some(0.3),
        block64: some(0.3),
        heartbeat: some(0.05),
        ..Spec::default()
    };
    let blocks = some(0.15);
    spec.size = (1u64 << random.u32(21..43)) + random.u64(0..1 << 20) * 512;
    spec.size += random.u64(0..spec.size);
    spec.block = block.then(|| 1 << random.u32(9..13));
    spec.cluster = cluster.then(|| 1 << random.u32(12..if spec.heartbeat { 17 } else { 21 }));
    spec.slots = slots.then(|| random.u16(1..=255).min(random.u16(1..=255)));
    spec.journal = journal.then(|| (4 << 20) + random.u64(0..64 << 20) * random.u64(0..16));
    spec.volume_type = kind.then(|| VolumeType::ALL[random.usize(0..3)]);
    spec.level = if level {
        FeatureLevel::ALL[random.usize(0..3)]
    } else {
        FeatureLevel::Default
    };
    spec.blocks = blocks.then(|| random.u64(0..spec.size / 2048));
    spec
}

#[test]
fn plans_equal_the_dry_run_of_the_reference() {
    let Some(mkfs) = require_tool("mkfs.ocfs2") else { return };
    let mut random = fastrand::Rng::with_seed(20);
    let specs: Vec<Spec> = (0..400).map(|_| random_spec(&mut random)).collect();
    let accepted = std::sync::atomic::AtomicUsize::new(0);
    for_each_in_parallel(&specs, |spec, dir| {
        let path = dir.join("volume.img");
        std::fs::File::create(&path)
            .and_then(|file| file.set_len(spec.size))
            .expect("a sparse file");
        let blocks = spec.blocks.map(|blocks| blocks.to_string());
        let theirs = mkfs.clone().arg("-n").args(spec.args()).arg(&path).args(blocks).run();
        let ours = Plan::new(spec.size, &spec.options());
        let plan = match (theirs.status, ours) {
            (0, Ok(plan)) => plan,
            (0, Err(ocfs2_fs::mkfs::MkfsError::NoSpace { .. })) => return,
            (0, Err(error)) => panic!("{spec:?} is refused: {error}\n{theirs}"),
            (_, Err(_)) => return,
            (_, Ok(_)) => panic!("{spec:?} is accepted\n{theirs}"),
        };
        accepted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if plan.is_heartbeat_device() && plan.geometry().block_size() > 1024 {
            // The reference takes less than it will need.
            return;
        }
        for (name, value) in lines(&plan) {
            let Some(theirs) = theirs
                .stdout
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
            else {
                assert!(plan.is_heartbeat_device(), "{spec:?}: no line {name}");
                continue;
            };
            assert_eq!(theirs, value, "{name} of {spec:?}");
        }
    });
    assert!(accepted.into_inner() > 150, "most wishes should be possible");
}
