//! Block and cluster sizes, slots and features in every combination: what the reference tools say of our volumes is what
//! they say of the reference's.

use std::path::Path;

use ocfs2_fs::SurveyOptions;
use ocfs2_fs::mkfs::{FeatureLevel, Plan, VolumeType};
use ocfs2_testkit::{fsck_clean, reference, require_tool};

use super::blocks;
use super::spec::{Spec, for_each_in_parallel, pair};

/// What `debugfs.ocfs2` prints.
fn debugfs(command: &str, image: &Path) -> String {
    reference("debugfs.ocfs2")
        .args(["-n", "-R", command])
        .arg(image)
        .run()
        .ok()
        .stdout
}

/// `ls -l //` without the times.
fn listing(image: &Path) -> Vec<String> {
    let text = debugfs("ls -l //", image);
    let lines = text.lines().map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words.len(), 9, "{line}");
        [&words[..6], &words[8..]].concat().join(" ")
    });
    lines.collect()
}

/// `stats` without the check field, which covers bytes that the reference does not initialise.
fn stats(image: &Path) -> String {
    let text = debugfs("stats", image);
    text.lines()
        .filter(|line| !line.contains("CRC32"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The listing that a volume of the reference should have had: small volumes with a system directory in blocks get a
/// group of extent blocks, since the directory's index needs a block of it.
fn expected_listing(mut listing: Vec<String>, plan: &Plan, image: &Path) -> Vec<String> {
    let volume = blocks::open(image);
    let system = volume.inode(volume.system_dir()).expect("the system directory");
    if system.dx_root().is_some() && plan.extent_groups() == 0 {
        let group_bytes = [(512, 1u32), (1024, 2), (2048, 4), (4096, 4)]
            .into_iter()
            .find(|&(size, _)| size == plan.geometry().block_size())
            .map_or(0, |(_, mib)| u64::from(mib) << 20);
        for line in &mut listing {
            if line.ends_with("extent_alloc:0000") {
                *line = line.replace(" 0 extent_alloc", &format!(" {group_bytes} extent_alloc"));
            }
        }
    }
    listing
}

fn check(spec: &Spec, dir: &Path) {
    let (theirs, ours) = pair(dir);
    spec.make_reference(&reference("mkfs.ocfs2"), &theirs).ok();
    let mut options = spec.options();
    blocks::take_identity(&mut options, &theirs);
    let plan = spec
        .make_ours(&options, &ours)
        .unwrap_or_else(|error| panic!("{spec:?}: {error}"));

    fsck_clean(&ours);
    assert_eq!(stats(&ours), stats(&theirs), "{spec:?}");
    assert_eq!(
        listing(&ours),
        expected_listing(listing(&theirs), &plan, &ours),
        "{spec:?}"
    );
    blocks::assert_equal(&theirs, &ours, &plan);
    let mut findings = Vec::new();
    let volume = blocks::open(&ours);
    volume.survey(&SurveyOptions::default(), &mut |finding| {
        findings.push(finding.to_string())
    });
    assert_eq!(findings, [""; 0], "{spec:?}");
}

/// Every block size with every cluster size, slots and features changing along.
fn combinations() -> Vec<Spec> {
    let features = [
        (FeatureLevel::Default, ""),
        (FeatureLevel::MaxFeatures, ""),
        (FeatureLevel::MaxCompat, ""),
        (FeatureLevel::Default, "noinline-data"),
        (FeatureLevel::Default, "noindexed-dirs,metaecc"),
        (FeatureLevel::Default, "noindexed-dirs,noinline-data,metaecc,usrquota"),
        (
            FeatureLevel::Default,
            "noxattr,nodiscontig-bg,noextended-slotmap,grpquota",
        ),
        (FeatureLevel::MaxFeatures, "noinline-data,norefcount,noappend-dio"),
        (FeatureLevel::MaxCompat, "indexed-dirs,usrquota"),
        (FeatureLevel::Default, "nosparse,nobackup-super,noxattr,noindexed-dirs"),
        (FeatureLevel::MaxFeatures, "local,nounwritten"),
        (FeatureLevel::MaxCompat, "inline-data,metaecc,grpquota,extended-slotmap"),
        (FeatureLevel::Default, "indexed-dirs,noinline-data,noxattr,metaecc"),
        (FeatureLevel::MaxCompat, "discontig-bg,unwritten"),
        (FeatureLevel::MaxFeatures, "nometaecc"),
    ];
    let mut specs = Vec::new();
    for block_bits in 9..=12 {
        for cluster_bits in [12, 14, 16, 18, 20] {
            for (i, &(level, features)) in features.iter().enumerate() {
                let cluster = 1u32 << cluster_bits;
                let variant = specs.len();
                specs.push(Spec {
                    block: Some(1 << block_bits),
                    cluster: Some(cluster),
                    slots: Some([1, 2, 4, 3, 9][variant % 5]),
                    journal: Some((4 << 20).max(9 * u64::from(cluster))),
                    local: i % 3 == 0,
                    level,
                    features,
                    label: ["", "matrix"][variant % 2],
                    ..Spec::new((600 << 20) + 4096 * variant as u64)
                });
            }
        }
    }
    specs
}

/// Sizes, types and numbers that the combinations leave out.
fn extremes() -> Vec<Spec> {
    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;
    let sized = [
        7 * MIB,
        64 * MIB + 1,
        300 * MIB,
        512 * MIB - 4096,
        512 * MIB,
        GIB,
        GIB + 4096,
        4 * GIB + 5000,
        20 * GIB,
        70 * GIB,
        300 * GIB,
        1100 * GIB,
    ];
    let mut specs: Vec<Spec> = sized
        .map(|size| Spec {
            local: true,
            ..Spec::new(size)
        })
        .to_vec();
    for (volume_type, size) in [
        (VolumeType::Mail, 600 * MIB),
        (VolumeType::Datafiles, 3 * GIB),
        (VolumeType::Datafiles, 130 * GIB),
        (VolumeType::Vmstore, 66 * GIB),
    ] {
        specs.push(Spec {
            volume_type: Some(volume_type),
            slots: Some(1),
            ..Spec::new(size)
        });
    }
    let small_journals = Spec {
        journal: Some(4 * MIB),
        ..Spec::new(2 * GIB)
    };
    for (slots, block) in [(255, 512), (255, 4096), (32, 1024), (33, 2048), (100, 4096)] {
        specs.push(Spec {
            slots: Some(slots),
            block: Some(block),
            ..small_journals.clone()
        });
    }
    specs.push(Spec {
        blocks: Some(50_000),
        ..Spec::new(GIB)
    });
    specs.push(Spec {
        block: Some(1024),
        blocks: Some(200_001),
        ..Spec::new(GIB)
    });
    specs.push(Spec {
        no_backup: true,
        ..small_journals.clone()
    });
    specs.push(Spec {
        block64: true,
        ..small_journals.clone()
    });
    specs.push(Spec {
        cluster_stack: Some(("o2cb", "cluster1")),
        ..small_journals.clone()
    });
    specs.push(Spec {
        cluster_stack: Some(("o2cb", "abcdefghijklmnop")),
        global_heartbeat: true,
        level: FeatureLevel::MaxCompat,
        ..small_journals.clone()
    });
    specs.push(Spec {
        cluster_stack: Some(("pcmk", "some_name")),
        ..small_journals.clone()
    });
    specs.push(Spec {
        cluster_stack: Some(("cman", "x")),
        features: "clusterinfo",
        ..small_journals
    });
    // Journals and their neighbours around a backup superblock, in groups of 14 MiB.
    specs.push(Spec {
        block: Some(512),
        slots: Some(8),
        journal: Some(120 * MIB),
        ..Spec::new(3 * GIB)
    });
    specs
}

#[test]
fn every_combination_of_sizes_slots_and_features_equals_the_reference() {
    for tool in ["mkfs.ocfs2", "fsck.ocfs2", "debugfs.ocfs2"] {
        if require_tool(tool).is_none() {
            return;
        }
    }
    let specs = combinations();
    assert!(specs.len() >= 300);
    for_each_in_parallel(&specs, check);
}

#[test]
fn extreme_sizes_types_and_slots_equal_the_reference() {
    for tool in ["mkfs.ocfs2", "fsck.ocfs2", "debugfs.ocfs2"] {
        if require_tool(tool).is_none() {
            return;
        }
    }
    for_each_in_parallel(&extremes(), check);
}
