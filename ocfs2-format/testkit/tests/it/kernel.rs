use std::time::Duration;

use ocfs2_testkit::kernel::{KernelError, Link, Output};
use ocfs2_testkit::{Kernel, fsck_clean, require_kernel, require_tool};

/// A volume of 64 MiB that one node may mount.
pub(crate) fn make_volume(dir: &std::path::Path) -> Option<std::path::PathBuf> {
    let mkfs = require_tool("mkfs.ocfs2")?;
    let image = dir.join("volume.img");
    std::fs::File::create(&image)
        .and_then(|file| file.set_len(64 << 20))
        .expect("an empty image");
    mkfs.args(["-q", "-x", "-M", "local", "-J", "size=4M"])
        .arg(&image)
        .run()
        .ok();
    Some(image)
}

#[test]
fn a_script_writes_to_a_volume_and_reports_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let (Some(kernel), Some(image)) = (require_kernel(), make_volume(dir.path())) else {
        return;
    };
    let script = "set -e
        mount -t ocfs2 /dev/ubda /mnt/a
        cp $KIT/greeting /mnt/a/file
        sync; sha256sum </mnt/a/file >$OUT/sum
        echo done; exit 5";
    let output = kernel
        .disk(&image)
        .file("greeting", "hello\n")
        .script(script)
        .run()
        .expect("the script ends");
    assert_eq!(
        (output.status, output.stdout.as_str()),
        (5, "done\n"),
        "{}",
        output.console
    );
    let sum = String::from_utf8(output.read("sum").expect("the script wrote it")).expect("text");
    assert!(
        sum.starts_with("5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03 "),
        "{sum}"
    );
    fsck_clean(&image);
    let out = output.out();
    drop(output);
    assert!(!out.exists(), "what a guest left is cleaned up");
}

#[test]
fn a_power_cut_keeps_what_was_synced_and_leaves_the_journal_dirty() {
    let dir = tempfile::tempdir().expect("a directory");
    let (Some(kernel), Some(image)) = (require_kernel(), make_volume(dir.path())) else {
        return;
    };
    let kernel = kernel.disk(&image);
    let script = "mount -t ocfs2 /dev/ubda /mnt/a; echo kept >/mnt/a/kept; sync; echo READY
        while :; do echo x >>/mnt/a/growing; done";
    let output = kernel
        .clone()
        .script(script)
        .run_until(|stdout| stdout.contains("READY"))
        .expect("it gets there");
    assert_eq!(output.status, Output::POWER_CUT, "{}", output.stdout);

    let stat = ocfs2_testkit::reference("debugfs.ocfs2")
        .args(["-R", "stat //journal:0000"])
        .arg(&image)
        .run()
        .ok();
    assert!(stat.stdout.contains("Journal Flags: Dirty"), "{stat}");
    let output = kernel
        .script("mount -t ocfs2 /dev/ubda /mnt/a && cat /mnt/a/kept")
        .run()
        .expect("it mounts again")
        .ok();
    assert_eq!(output.stdout, "kept\n");
    fsck_clean(&image);
}

#[test]
fn a_script_that_hangs_is_killed_and_its_output_kept() {
    let Some(kernel) = require_kernel() else { return };
    let error = kernel
        .timeout(Duration::from_secs(10))
        .script("echo before; sleep 100")
        .run()
        .expect_err("it hangs");
    let KernelError::TimedOut { stdout, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(stdout, "before\n");
}

#[test]
fn a_kernel_that_stops_before_its_script_is_reported_as_dead() {
    let Some(kernel) = require_kernel() else { return };
    let error = kernel
        .script("echo last words; echo o >/proc/sysrq-trigger; sleep 100")
        .run()
        .expect_err("it dies");
    let KernelError::Died { stdout, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(stdout, "last words\n");
}

#[test]
fn long_output_arrives_whole() {
    let Some(kernel) = require_kernel() else { return };
    let output = kernel
        .script("for ((i = 0; i < 20000; i++)); do echo $i; done; printf end")
        .run()
        .expect("it ends")
        .ok();
    let lines: Vec<_> = output.stdout.lines().collect();
    assert_eq!((lines.len(), lines[19999], lines[20000]), (20001, "19999", "end"));
}

#[test]
fn two_guests_with_a_link_form_a_cluster_on_one_disk() {
    let dir = tempfile::tempdir().expect("a directory");
    let (Some(kernel), Some(mkfs)) = (require_kernel(), require_tool("mkfs.ocfs2")) else {
        return;
    };
    if require_tool("ip").is_none() || require_tool("o2cb").is_none() {
        return;
    }
    let image = dir.path().join("shared.img");
    std::fs::File::create(&image)
        .and_then(|file| file.set_len(64 << 20))
        .expect("an empty image");
    let options = [
        "-q",
        "-x",
        "-b",
        "4096",
        "-N",
        "2",
        "-J",
        "size=4M",
        "--cluster-stack=o2cb",
        "--cluster-name=two",
    ];
    mkfs.args(options).arg(&image).run().ok();

    let (one, two) = Link::pair().expect("two free ports");
    let node = |number: u8, link| {
        let script = format!(
            ". $KIT/cluster.sh; cluster_up two {number} '0 1' || exit
            mount -t ocfs2 /dev/ubda /mnt/a || exit
            echo {number} >/mnt/a/from-{number}
            for ((i = 0; i < 300; i++)); do [ -s /mnt/a/from-0 -a -s /mnt/a/from-1 ] && break; sleep 0.2; done
            cat /mnt/a/from-* && touch /mnt/a/done-{number}
            for ((i = 0; i < 300; i++)); do [ -e /mnt/a/done-0 -a -e /mnt/a/done-1 ] && break; sleep 0.2; done
            umount /mnt/a && cluster_down two"
        );
        kernel.clone().disk(&image).link(link).script(script)
    };
    for running in Kernel::spawn_together(&[node(0, one), node(1, two)]).expect("they start") {
        assert_eq!(running.wait().expect("it ends").ok().stdout, "0\n1\n");
    }
    fsck_clean(&image);
}
