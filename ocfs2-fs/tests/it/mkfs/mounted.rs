//! The real kernel mounts our volumes, writes to them and leaves them clean.

use std::path::PathBuf;
use std::time::Duration;

use ocfs2_fs::mkfs::{FeatureLevel, VolumeType};
use ocfs2_testkit::tools::fsck;
use ocfs2_testkit::{require_kernel, require_tool};

use super::spec::{Spec, for_each_in_parallel};

/// Volumes that differ in everything that mkfs can choose. All are for one node: there is no cluster here.
fn specs() -> Vec<Spec> {
    const MIB: u64 = 1 << 20;
    let features = [
        (FeatureLevel::Default, ""),
        (FeatureLevel::MaxFeatures, ""),
        (FeatureLevel::MaxCompat, ""),
        (FeatureLevel::Default, "noinline-data"),
        (FeatureLevel::Default, "noindexed-dirs,metaecc"),
        (FeatureLevel::MaxFeatures, "noinline-data"),
        (FeatureLevel::Default, "nodiscontig-bg,noextended-slotmap,usrquota"),
    ];
    let mut specs = Vec::new();
    for block_bits in 9..=12 {
        for cluster_bits in [12, 15, 17, 20] {
            let (level, features) = features[specs.len() % features.len()];
            let cluster = 1u32 << cluster_bits;
            let journal = (4 * MIB).max(9 * u64::from(cluster));
            let slots = [1, 2, 4][specs.len() % 3];
            specs.push(Spec {
                block: Some(1 << block_bits),
                cluster: Some(cluster),
                slots: Some(slots),
                journal: Some(journal),
                local: true,
                level,
                features,
                ..Spec::new((160 * MIB) + u64::from(slots) * (journal + 40 * MIB))
            });
        }
    }
    specs.push(Spec {
        local: true,
        ..Spec::new(32 * MIB)
    });
    specs.push(Spec {
        local: true,
        ..Spec::new((1 << 30) + 4096)
    });
    specs.push(Spec {
        local: true,
        ..Spec::new(200 << 30)
    });
    specs.push(Spec {
        local: true,
        block64: true,
        ..Spec::new(300 * MIB)
    });
    specs.push(Spec {
        local: true,
        volume_type: Some(VolumeType::Mail),
        ..Spec::new(800 * MIB)
    });
    specs.push(Spec {
        local: true,
        volume_type: Some(VolumeType::Vmstore),
        ..Spec::new(3 << 30)
    });
    specs.push(Spec {
        local: true,
        slots: Some(255),
        journal: Some(4 * MIB),
        ..Spec::new(3 << 30)
    });
    specs.push(Spec {
        local: true,
        no_backup: true,
        label: "no backup",
        ..Spec::new(1100 * MIB)
    });
    specs
}

/// Fills and empties whatever volumes the guest has, one after the other. A program takes long to start there, so most
/// is done by the shell itself.
const SCRIPT: &str = r#"
set -e
printf -v kilobyte 'x%.0s' {1..1000}
for disk in /dev/ubd[a-z]; do
    mount -t ocfs2 $disk /mnt/a || { echo "$disk is not mounted"; exit 1; }
    mkdir /mnt/a/dir /mnt/a/dir/sub
    for i in {1..150}; do : >/mnt/a/dir/file-with-a-name-of-some-length-$i; done
    echo "content of $disk" >/mnt/a/small
    for i in {1..300}; do printf %s $kilobyte; done >/mnt/a/large
    ln /mnt/a/small /mnt/a/dir/other
    rm /mnt/a/dir/file-with-a-name-of-some-length-{1..100}
    mv /mnt/a/large /mnt/a/dir/sub/moved
    umount /mnt/a
    mount -t ocfs2 $disk /mnt/a
    read -r line </mnt/a/dir/other
    files=(/mnt/a/dir/*)
    moved=$(</mnt/a/dir/sub/moved)
    [[ $line = "content of $disk" && ${#files[@]} = 52 && ${#moved} = 300000 ]]
    umount /mnt/a
    echo "$disk is good"
done
"#;

#[test]
fn the_kernel_writes_to_our_volumes_and_leaves_them_clean() {
    let (Some(kernel), Some(_)) = (require_kernel(), require_tool("fsck.ocfs2")) else {
        return;
    };
    let specs = specs();
    assert!(specs.len() >= 24);
    let boots: Vec<&[Spec]> = specs.chunks(DISKS_PER_BOOT).collect();
    for_each_in_parallel(&boots, |specs, dir| {
        let images: Vec<PathBuf> = (0..specs.len()).map(|i| dir.join(format!("{i}.img"))).collect();
        let mut guest = kernel.clone().timeout(Duration::from_secs(300)).script(SCRIPT);
        for (spec, image) in specs.iter().zip(&images) {
            spec.make_ours(&spec.options(), image)
                .unwrap_or_else(|error| panic!("{spec:?}: {error}"));
            guest = guest.disk(image);
        }
        let output = guest.run().expect("the kernel finishes").ok();
        assert_eq!(
            output.stdout.matches("is good").count(),
            specs.len(),
            "{}",
            output.stdout
        );
        assert!(!output.console.contains("OCFS2: ERROR"), "{}", output.console);
        for (spec, image) in specs.iter().zip(&images) {
            let report = fsck(image);
            // The kernel allocates quota files in advance, which fsck remarks upon.
            let problems: Vec<&String> = report
                .problems
                .iter()
                .filter(|code| *code != "INODE_SPARSE_SIZE")
                .collect();
            assert!(report.finished && problems.is_empty(), "{spec:?}\n{}", report.output);
            std::fs::remove_file(image).expect("the image is ours");
        }
    });
}

/// Disks that a guest has at a time.
const DISKS_PER_BOOT: usize = 8;
