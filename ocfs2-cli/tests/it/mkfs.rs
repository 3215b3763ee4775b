//! `mkfs.ocfs2`, beside the reference tool.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ocfs2_testkit::tools::{fsck_clean, reference};
use ocfs2_testkit::{require_kernel, require_tool};

use crate::run::{PROGRAM, ocfs2};

fn image(dir: &Path, mebibytes: u64) -> PathBuf {
    let path = dir.join("volume.img");
    File::create(&path)
        .and_then(|file| file.set_len(mebibytes << 20))
        .expect("a sparse file");
    path
}

fn mkfs(options: &str, image: &Path) -> crate::run::Said {
    let words = ["mkfs"]
        .into_iter()
        .chain(options.split_whitespace())
        .map(std::ffi::OsStr::new);
    ocfs2(words.chain([image.as_os_str()]))
}

/// The output of a run that does what it should, and says nothing on stderr but its name.
fn made(options: &str, image: &Path) -> String {
    let said = mkfs(options, image);
    assert_eq!((said.status, said.stderr.lines().count()), (0, 1), "{said:?}");
    String::from_utf8(said.stdout).expect("text")
}

#[test]
fn plan_and_progress_are_printed_as_the_reference_prints_them() {
    if require_tool("mkfs.ocfs2").is_none() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (options, mebibytes) in [
        ("-M local -L lab", 300),
        ("-M LOCAL -N 010 --no-backup-super", 300),
        ("-b 0x400 -C 0x4k -J size=0x400000 -N 0x3", 300),
        ("-M local -N 2 -L a -M cluster -N 3 -L b", 300),
        ("-T mail -M local", 1100),
        ("-b 4K -C 64K -N 3", 600),
        ("--fs-feature-level=max-features -M local", 400),
        ("--fs-features=local", 200),
        ("--cluster-stack=o2cb --cluster-name=mycl --global-heartbeat", 300),
        ("-H -b 512", 1),
    ] {
        for dry in ["", "-n "] {
            let options = format!("{dry}{options}");
            let theirs = image(dir.path(), mebibytes);
            let words = options.split_whitespace();
            let said = reference("mkfs.ocfs2")
                .args(["-F", "-x"])
                .args(words)
                .arg(&theirs)
                .run()
                .ok();
            let ours = made(&options, &image(dir.path(), mebibytes));
            assert_eq!(ours, said.stdout, "{options}");
        }
    }
}

#[test]
fn choices_to_think_about_are_pointed_out() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let uuid = "0FE3B6F3-A9B5-4072-896b-4b4ba3638973";
    for (options, mebibytes, hint) in [
        (format!("-M local -U {uuid}"), 64, "a UUID must be unique"),
        ("-H".to_owned(), 64, "larger than required"),
        ("-H -n".to_owned(), 64, "larger than required"),
        ("-b 3K -M local".to_owned(), 64, "using 2048"),
    ] {
        let said = mkfs(&options, &image(dir.path(), mebibytes));
        assert_eq!((said.status, said.stderr.lines().count()), (0, 2), "{said:?}");
        assert!(said.stderr.contains(hint), "{said:?}");
    }
    made("-H", &image(dir.path(), 2));
    let volume = image(dir.path(), 64);
    assert_eq!(mkfs(&format!("-q -M local -U {uuid}"), &volume).ok(), "");
    let said = ocfs2(["o2info".as_ref(), "--volinfo".as_ref(), volume.as_os_str()]).ok();
    assert!(said.contains("UUID: 0FE3B6F3A9B54072896B4B4BA3638973\n"), "{said}");
}

/// Formats the same device with the reference and with the program given as `$O`, in one state of the cluster after the other.
const CLUSTERS: &str = r#"
D=/dev/ubda C=/sys/kernel/config/cluster
stamp() { debugfs.ocfs2 -R "stats -h" $D 2>/dev/null | grep 'Cluster stack\|Cluster name\|Cluster flags\|Incompat'; }
# What is on the device before, then the options.
same() {
    old=$1; shift
    for mkfs in mkfs.ocfs2 "$O mkfs"; do
        dd if=/dev/zero of=$D bs=1M count=4 2>/dev/null
        [ -z "$old" ] || mkfs.ocfs2 -q -x -F -N 1 $old $D > /dev/null 2>&1
        $mkfs -x -N 1 "$@" $D > $OUT/said 2>/dev/null
        { echo "status $?"; grep '^Cluster [sn]\|^Stack' $OUT/said; stamp; } > "$OUT/${mkfs%% *}"
    done
    cmp -s $OUT/mkfs.ocfs2 $OUT/ocfs2 || { echo "== $old: $*"; diff $OUT/mkfs.ocfs2 $OUT/ocfs2; }
}
mkdir $OUT/bin; ln -s $O $OUT/bin/ocfs2; PATH=$OUT/bin:$PATH; O=ocfs2
old_global="--cluster-stack=o2cb --cluster-name=old --global-heartbeat"
same "" --fs-features=clusterinfo
same "$old_global" -F
same "--cluster-stack=o2cb --cluster-name=old" -F
same "--cluster-stack=pcmk --cluster-name=old" -F
same "-H $old_global" -F
mkdir $C/mycl $C/mycl/node/n0 && cd $C/mycl/node/n0 || exit 1
echo 7777 > ipv4_port; echo 127.0.0.1 > ipv4_address; echo 0 > num; echo 1 > local; cd /
same ""
same "" --fs-features=clusterinfo
same "" --cluster-stack=o2cb --cluster-name=other
same "" --cluster-stack=o2cb --cluster-name=mycl
same "$old_global" -F
echo global > $C/mycl/heartbeat/mode
same ""
same "" -M local
same "" -H
same "" --fs-features=noclusterinfo
same "" --cluster-stack=o2cb --cluster-name=mycl
same "" -F --cluster-stack=o2cb --cluster-name=mycl
same "$old_global" -F
"#;

#[test]
fn the_running_cluster_or_that_of_the_old_volume_is_stamped_as_the_reference_does() {
    let (Some(kernel), Some(_)) = (require_kernel(), require_tool("mkfs.ocfs2")) else {
        return;
    };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let output = kernel
        .disk(image(dir.path(), 16))
        .script(format!("O={PROGRAM}\n{CLUSTERS}"))
        .run()
        .expect("the kernel finishes the script");
    assert_eq!(output.stdout, "");
}

#[test]
fn a_mounted_device_is_refused_under_any_name() {
    let Some(kernel) = require_kernel() else { return };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let image = image(dir.path(), 16);
    mkfs("-q -M local", &image).ok();
    let script = "mount -t ocfs2 /dev/ubda /mnt/a || exit 1
        ln -s /dev/ubda $OUT/alias
        for device in /dev/ubda $OUT/alias; do
            $O mkfs -q -y -M local $device 2>&1; echo status $?
        done
        $O mkfs -q -n -M local /dev/ubda; echo status $?
        umount /mnt/a; $O mkfs -q -y -M local /dev/ubda; echo status $?";
    let output = kernel
        .disk(&image)
        .script(format!("O={PROGRAM}\n{script}"))
        .run()
        .expect("the kernel finishes the script");
    let lines: Vec<_> = output.stdout.lines().collect();
    let [first, "status 1", second, "status 1", rest @ ..] = lines.as_slice() else {
        panic!("{lines:?}");
    };
    assert!(
        first.contains("/dev/ubda is mounted on /mnt/a") && second.contains("alias is mounted on /mnt/a"),
        "{lines:?}"
    );
    assert_eq!(rest, ["status 0", "Overwriting existing ocfs2 partition.", "status 0"]);
}

#[test]
fn a_volume_whose_heartbeat_moves_is_in_use() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let image = image(dir.path(), 64);
    mkfs("-q -b 4K", &image).ok();
    let said = ocfs2([
        "debugfs".as_ref(),
        "-R".as_ref(),
        "bmap //heartbeat 0".as_ref(),
        image.as_os_str(),
    ])
    .ok();
    let block = said.split_whitespace().last().and_then(|word| word.parse::<u64>().ok());
    let block = block.unwrap_or_else(|| panic!("the block of the heartbeat region: {said}"));
    let file = File::options().write(true).open(&image).expect("the image");
    let done = AtomicBool::new(false);
    let said = std::thread::scope(|scope| {
        scope.spawn(|| {
            for beat in 1u64.. {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                // The sector of node 3: sequence number and node.
                let mut bytes = [0; 16];
                bytes[..8].copy_from_slice(&beat.to_le_bytes());
                bytes[8] = 3;
                file.write_all_at(&bytes, block * 4096 + 3 * 512).expect("a beat");
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        let said = mkfs("-q -y -b 4K", &image);
        done.store(true, Ordering::Relaxed);
        said
    });
    let text = said.failed(1);
    assert!(text.contains("the heartbeat of node 3 moves"), "{text}");
    assert_eq!(mkfs("-q -y -F -b 4K", &image).status, 0);
}

#[test]
fn a_volume_of_a_cluster_that_beats_elsewhere_is_in_use_while_a_slot_is_taken() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let image = image(dir.path(), 64);
    let options = "--cluster-stack=o2cb --cluster-name=mycl --global-heartbeat -b 4K -q -y";
    mkfs(options, &image).ok();
    mkfs(options, &image).ok();
    // Node 7 takes the first slot of the slot map, whose only cluster debugfs knows.
    let said = ocfs2([
        "debugfs".as_ref(),
        "-R".as_ref(),
        "bmap //slot_map 0".as_ref(),
        image.as_os_str(),
    ])
    .ok();
    let block = said.split_whitespace().last().and_then(|word| word.parse::<u64>().ok());
    let block = block.unwrap_or_else(|| panic!("the block of the slot map: {said}"));
    let file = File::options().write(true).open(&image).expect("the image");
    file.write_all_at(&[1, 0, 0, 0, 7, 0, 0, 0], block * 4096)
        .expect("a slot");
    let text = mkfs(options, &image).failed(1);
    assert!(text.contains("mounted by node 7"), "{text}");
    let said = mkfs(&format!("-F {options}"), &image);
    assert_eq!(
        (said.status, said.stderr.as_str()),
        (0, "WARNING: Cluster check disabled.\n")
    );
}

#[test]
fn unique_prefixes_of_long_options_are_enough() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let image = image(dir.path(), 300);
    let said = mkfs("--mo local --lab short --node 2 --json", &image).ok();
    let report: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((&report["label"], &report["node_slots"]), (&"short".into(), &2.into()));
}

#[test]
fn an_existing_volume_is_overwritten_only_when_asked_or_told() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let image = image(dir.path(), 64);
    mkfs("-M local --seed 1 -q", &image).ok();
    let before = fs::read(&image).expect("the image");
    // Nobody answers: that is a no.
    let said = mkfs("-M local --seed 2", &image);
    assert_eq!(said.status, 1);
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(text.contains("Overwriting existing ocfs2 partition.\nProceed (y/N): Aborting operation."));
    mkfs("-M local --seed 2 --json", &image).failed(1);
    assert!(fs::read(&image).expect("the image") == before, "nothing was written");
    made("-M local --seed 2 --yes", &image);
    assert!(fs::read(&image).expect("the image") != before);
}

#[test]
fn the_same_seed_makes_the_same_bytes_on_whatever_was_there_before() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let image = image(dir.path(), 64);
    mkfs("-M local --seed 7 -q", &image).ok();
    let first = fs::read(&image).expect("the image");
    let file = File::options().write(true).open(&image).expect("the image");
    for offset in (0..64).map(|mebibyte| (mebibyte << 20) + 777) {
        file.write_all_at(&[0xA5; 5000], offset).expect("rubbish");
    }
    mkfs("-M local --seed 7 -q -y", &image).ok();
    assert!(fs::read(&image).expect("the image") == first);
}

#[test]
fn dry_run_writes_nothing() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let image = image(dir.path(), 64);
    let said = made("-n -M local", &image);
    assert!(said.starts_with("Dry run\n"), "{said}");
    assert!(fs::read(&image).expect("the image").iter().all(|&byte| byte == 0));
}

#[test]
fn impossible_wishes_end_with_1_and_a_reason_and_write_nothing() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let image = image(dir.path(), 64);
    for (options, reason) in [
        ("-b 100", "block size"),
        ("-b 8K", "block size"),
        ("-b 1Kx", "unit"),
        ("-N 08", "not a number"),
        ("-M localish", "mount type"),
        ("-C 2K", "cluster size"),
        ("-N 0", "at least 1"),
        ("-N 300", "255"),
        ("-J size=1M", "too small"),
        ("-J foo", "journal option"),
        ("-M foo", "mount type"),
        ("-T foo", "fs type"),
        ("-T datafiles", "2 GiB"),
        ("-U xx", "UUID"),
        ("--fs-features=foo", "'foo'"),
        ("--fs-features=sparse,nosparse", "sparse"),
        ("--fs-feature-level=foo", "level"),
        ("--cluster-stack=x --cluster-name=a", "stack"),
        ("--cluster-name=a", "stack"),
        ("--cluster-stack=o2cb", "name"),
        ("--cluster-stack=o2cb --cluster-name=averylongclustername123", "name"),
        (
            "-L aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "label",
        ),
    ] {
        let said = mkfs(options, &image);
        assert_eq!(said.status, 1, "{options}: {said:?}");
        assert!(said.stderr.contains(reason), "{options}: {said:?}");
    }
    assert!(fs::read(&image).expect("the image").iter().all(|&byte| byte == 0));
    File::create(dir.path().join("empty")).expect("a file");
    let said = mkfs("-M local", &dir.path().join("empty"));
    assert!(said.status == 1 && said.stderr.contains("no space"), "{said:?}");
}

#[test]
fn what_the_command_makes_passes_fsck() {
    if require_tool("fsck.ocfs2").is_none() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let image = image(dir.path(), 300);
    made("-M local -N 4 --fs-features=metaecc,usrquota,grpquota", &image);
    fsck_clean(&image);
}
