//! What can be mounted: files, devices, partitions, labels, UUIDs; and what mount(8) makes of us.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ocfs2_testkit::tools::Tool;
use ocfs2_testkit::{require_root, require_tool};

use crate::mount::{Bed, umount};
use crate::run::{PROGRAM, ocfs2};

/// A loop device over a file.
struct Loop {
    losetup: Tool,
    device: PathBuf,
}

impl Loop {
    fn over(file: &Path) -> Option<Loop> {
        let losetup = require_tool("losetup").filter(|_| require_root())?;
        let said = losetup.clone().args(["--find", "--show"]).arg(file).run().ok();
        let device = said.stdout.trim_end().into();
        Some(Loop { losetup, device })
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = self.losetup.clone().arg("-d").arg(&self.device).run();
    }
}

/// Copies the volume into the second partition of a disk image.
fn disk_image(bed: &Bed) -> PathBuf {
    const SECTOR: u64 = 512;
    let disk = bed.dir().join("disk");
    let first = 2048u32;
    let length = fs::metadata(bed.image()).expect("the image").len();
    let mut boot = [0u8; SECTOR as usize];
    // Type 0x83, first sector and number of sectors of the second entry.
    boot[0x1CE + 4] = 0x83;
    boot[0x1CE + 8..][..4].copy_from_slice(&first.to_le_bytes());
    boot[0x1CE + 12..][..4].copy_from_slice(&((length / SECTOR) as u32).to_le_bytes());
    boot[0x1FE..].copy_from_slice(&[0x55, 0xAA]);
    let file = File::create(&disk).expect("a file");
    file.write_all_at(&boot, 0).expect("a partition table");
    let volume = fs::read(bed.image()).expect("the image");
    file.set_len(u64::from(first) * SECTOR + length).expect("a sparse file");
    for (index, piece) in volume.chunks(1 << 20).enumerate() {
        if piece.iter().any(|&byte| byte != 0) {
            let at = u64::from(first) * SECTOR + ((index as u64) << 20);
            file.write_all_at(piece, at).expect("a partition");
        }
    }
    disk
}

#[test]
fn a_volume_is_found_in_a_partition() {
    let Some(bed) = Bed::local() else { return };
    let disk = disk_image(&bed);
    let point = bed.point();
    for options in [["--partition", "2"], ["-o", "partition=2"]] {
        let words = ["mount", options[0], options[1]].map(std::ffi::OsStr::new);
        ocfs2(words.into_iter().chain([disk.as_os_str(), point.as_os_str()])).ok();
        fs::write(bed.path(options[0]), "here").expect("a file");
        // Its neighbours share the disk.
        let text = ocfs2([
            "mount".as_ref(),
            "--partition".as_ref(),
            "1".as_ref(),
            disk.as_os_str(),
            point.as_os_str(),
        ])
        .failed(32);
        assert!(
            text.contains("partition 1") || text.contains("already mounted"),
            "{text}"
        );
        umount([point.as_os_str()]).ok();
    }
    let listed = ocfs2(["ls", "--partition", "2", disk.to_str().expect("UTF-8")]).ok();
    assert!(listed.contains("--partition") && listed.contains("-o"), "{listed}");
}

#[test]
fn a_label_or_uuid_beside_the_source_must_be_its_own() {
    let Some(bed) = Bed::local() else { return };
    let text = bed.try_mount(&["-f", "-L", "other"]).failed(32);
    assert!(text.contains("not the volume with label 'other'"), "{text}");
    bed.try_mount(&["-f", "-L", "bed"]).ok();
    let listed = ocfs2(["mounted", "--json", bed.image().to_str().expect("UTF-8")]).ok();
    let document: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
    let uuid = document["volumes"][0]["uuid"].as_str().expect("a UUID").to_lowercase();
    let dashed = format!(
        "{}-{}-{}-{}-{}",
        &uuid[..8],
        &uuid[8..12],
        &uuid[12..16],
        &uuid[16..20],
        &uuid[20..]
    );
    for uuid in [uuid, dashed] {
        bed.try_mount(&["-f", "-U", &uuid]).ok();
    }
    let text = bed.try_mount(&["-f", "-U", &"0".repeat(32)]).failed(32);
    assert!(text.contains("not the volume with UUID"), "{text}");
}

#[test]
fn a_device_is_found_by_its_volume_and_is_ours_alone() {
    let Some(bed) = Bed::local() else { return };
    // A label that no other test's device has.
    let label = format!("bed-{}", std::process::id());
    let image = bed.image();
    let made = ocfs2([
        "mkfs",
        "-q",
        "--yes",
        "-M",
        "local",
        "-L",
        &label,
        image.to_str().expect("UTF-8"),
    ]);
    assert_eq!(made.status, 0, "{made:?}");
    let point = bed.point();
    let mount = |source: &str| ocfs2(["mount".as_ref(), source.as_ref(), point.as_os_str()]);
    let text = mount(&format!("LABEL={label}")).failed(32);
    assert!(
        text.contains(&format!(
            "no block device of this machine holds a volume with label '{label}'"
        )),
        "{text}"
    );
    let Some(device) = Loop::over(&image) else { return };
    mount(&format!("LABEL={label}")).ok();
    let line = bed.mount_line().expect("mounted");
    assert!(line.starts_with(device.device.to_str().expect("UTF-8")), "{line}");
    fs::write(bed.path("file"), "content").expect("a file");
    let taken = mount(device.device.to_str().expect("UTF-8")).failed(32);
    assert!(taken.contains("already mounted"), "{taken}");
    umount([device.device.as_os_str()]).ok();
    ocfs2(["mount".as_ref(), "-L".as_ref(), label.as_ref(), point.as_os_str()]).ok();
    umount([point.as_os_str()]).ok();
    let twin = Loop::over(&image).expect("as before");
    let text = mount(&format!("LABEL={label}")).failed(32);
    assert!(
        text.contains("several devices") && text.contains(twin.device.to_str().expect("UTF-8")),
        "{text}"
    );
    drop(twin);
    bed.assert_clean();
}

#[test]
fn the_systems_own_mount_and_umount_call_us() {
    let Some(bed) = Bed::local() else { return };
    if require_tool("unshare").is_none() || !require_root() {
        return;
    }
    // Our names in /sbin, seen by nobody but the script: what was there stays visible through links.
    let script = r#"set -e
        mount --make-rprivate /
        mkdir "$1/sbin"
        mount --bind /usr/sbin "$1/sbin"
        mount -t tmpfs tmpfs /usr/sbin
        for name in "$1"/sbin/*; do ln -s "$name" /usr/sbin; done
        "$0" links --force /usr/sbin >/dev/null
        cd "$1"
        for type in ocfs2 fuse.ocfs2; do
            /bin/mount -v -t $type -o nosuid,_netdev image point
            grep " fuse.ocfs2 rw,nosuid" /proc/mounts
            echo $type >point/$type
            /bin/umount point
            # It waited: nobody has it open any more.
            ! fuser image 2>/dev/null
            "$0" mounted -f image | grep 'Not mounted'
        done
        /bin/mount -t ocfs2 -o ro,frobnicate image point && exit 9
        [ $? = 1 ]
        /bin/mount -s -t fuse.ocfs2 -o ro,frobnicate image point
        cat point/ocfs2 point/fuse.ocfs2
        /bin/umount point
    "#;
    let unshare = require_tool("unshare").expect("asked for above");
    let said = unshare
        .args(["-m", "bash", "-c", script, PROGRAM])
        .arg(bed.dir())
        .run()
        .ok();
    assert!(said.stdout.ends_with("ocfs2\nfuse.ocfs2\n"), "{said}");
    bed.assert_clean();
}
