//! `mkfs.ocfs2`, beside the reference tool.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ocfs2_testkit::require_tool;
use ocfs2_testkit::tools::{fsck_clean, reference};

use crate::run::ocfs2;

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
