//! After a crash: the next mount, `--replay-only`, and looking on without a trace.

use std::fs::{self, File};
use std::io::Write;

use ocfs2_testkit::{require_root, require_tool};
use sha2::{Digest, Sha256};

use crate::mount::{Bed, kill, umount, until};
use crate::run::ocfs2;

/// Makes files, one of them durable, and crashes.
fn crash(bed: &Bed) {
    let pid = bed.mount(&["-o", "commit=1000"]);
    fs::create_dir(bed.path("dir")).expect("a directory");
    let mut file = File::create(bed.path("dir/durable")).expect("a file");
    file.write_all(b"safe and sound").expect("a write");
    file.sync_all().expect("durable");
    fs::write(bed.path("perhaps"), "or not").expect("a file");
    drop(file);
    kill(pid);
    until("nobody answers", || {
        let error = fs::read_dir(bed.point()).expect_err("nobody answers");
        error.kind() == std::io::ErrorKind::NotConnected
    });
}

fn digest(bed: &Bed) -> Vec<u8> {
    Sha256::digest(fs::read(bed.image()).expect("the image")).to_vec()
}

#[test]
fn the_next_mount_clears_away_what_a_crash_has_left() {
    let Some(bed) = Bed::local() else { return };
    crash(&bed);
    let said = bed.try_mount(&[]);
    assert_eq!(said.status, 0, "{said:?}");
    assert!(said.stderr.contains("has crashed"), "{said:?}");
    let text = fs::read_to_string(bed.path("dir/durable")).expect("a file");
    assert_eq!(text, "safe and sound");
    bed.umount();
}

#[test]
fn with_sync_everything_survives_and_with_dirsync_every_name() {
    let Some(bed) = Bed::local() else { return };
    for (option, content) in [("sync", "content"), ("dirsync", "")] {
        let pid = bed.mount(&["-o", option, "-o", "commit=1000"]);
        let dir = bed.path(option);
        fs::create_dir(&dir).expect("a directory");
        fs::write(dir.join("file"), "content").expect("a file");
        fs::write(dir.join("old"), "").expect("a file");
        fs::rename(dir.join("old"), dir.join("new")).expect("a name");
        fs::hard_link(dir.join("new"), dir.join("other")).expect("a name");
        fs::remove_file(dir.join("new")).expect("removed");
        kill(pid);
        bed.mount(&[]);
        let text = fs::read_to_string(dir.join("file")).expect("a file");
        assert!(text.starts_with(content), "{option}: {text:?}");
        assert!(dir.join("other").exists() && !dir.join("new").exists() && !dir.join("old").exists());
        bed.umount();
    }
}

#[test]
fn a_dead_mount_can_be_unmounted_and_replayed() {
    let Some(bed) = Bed::local() else { return };
    crash(&bed);
    umount([bed.point().as_os_str()]).ok();
    assert!(!bed.is_mounted());
    let image = bed.image();
    let text = ocfs2(["mount".as_ref(), "--replay-only".as_ref(), image.as_os_str()]).ok();
    assert_eq!(text, format!("{}: recovered, and clean\n", image.display()));
    bed.assert_clean();
    let text = ocfs2(["cat", &format!("{}:/dir/durable", image.display())]).ok();
    assert_eq!(text, "safe and sound");
    let text = ocfs2([
        "mount".as_ref(),
        "--replay-only".as_ref(),
        "--json".as_ref(),
        image.as_os_str(),
    ])
    .ok();
    let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (document["schema"].as_u64(), document["label"].as_str()),
        (Some(1), Some("bed"))
    );
}

#[test]
fn who_only_looks_sees_what_recovery_would_bring_and_writes_nothing() {
    let Some(bed) = Bed::local() else { return };
    crash(&bed);
    umount([bed.point().as_os_str()]).ok();
    let before = digest(&bed);
    for options in [&["-r"][..], &["--spectator"], &["-o", "spectator"]] {
        bed.mount(options);
        let text = fs::read_to_string(bed.path("dir/durable")).expect("a file");
        assert_eq!(text, "safe and sound");
        // Reading would move the access time.
        fs::read_dir(bed.path("dir")).expect("a directory").for_each(drop);
        let error = fs::write(bed.path("new"), "").expect_err("read-only");
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        umount([bed.point().as_os_str()]).ok();
        assert!(before == digest(&bed), "{options:?} wrote");
    }
}

#[test]
fn a_spectator_looks_at_a_volume_in_use() {
    let Some(bed) = Bed::local() else { return };
    bed.mount(&[]);
    let mut file = File::create(bed.path("file")).expect("a file");
    file.write_all(b"content").expect("a write");
    file.sync_all().expect("durable");
    let other = bed.dir().join("other");
    fs::create_dir(&other).expect("a directory");
    let mount = |option: &str| {
        ocfs2([
            "mount".as_ref(),
            option.as_ref(),
            bed.image().as_os_str(),
            other.as_os_str(),
        ])
    };
    let text = mount("-r").failed(32);
    assert!(text.contains("--spectator"), "{text}");
    mount("--spectator").ok();
    assert_eq!(fs::read_to_string(other.join("file")).expect("a file"), "content");
    umount([other.as_os_str()]).ok();
    drop(file);
    bed.umount();
}

#[test]
fn a_disk_that_fails_is_reported_once_and_ends_all_writing() {
    let Some(bed) = Bed::local() else { return };
    let Some(mount) = require_tool("mount") else { return };
    if !require_root() {
        return;
    }
    // A small file system in memory that the image outgrows: its writes fail.
    let small = bed.dir().join("small");
    fs::create_dir(&small).expect("a directory");
    mount
        .clone()
        .args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"])
        .arg(&small)
        .run()
        .ok();
    let outcome = std::panic::catch_unwind(|| {
        let image = small.join("image");
        let copied = require_tool("cp")
            .expect("cp")
            .args(["--sparse=always"])
            .arg(bed.image())
            .arg(&image)
            .run();
        copied.ok();
        fs::remove_file(bed.image()).expect("the image");
        std::os::unix::fs::symlink(&image, bed.image()).expect("a link");
        let mut served = bed.serve(&[]);
        let mut failed = 0;
        for number in 0..64 {
            let written = File::create(bed.path(&format!("file-{number}"))).and_then(|mut file| {
                file.write_all(&vec![7; 1 << 20])?;
                file.sync_all()
            });
            failed += u32::from(written.is_err());
        }
        assert!(failed > 10, "the disk is too small for that");
        let said = served.said();
        let complaints: Vec<_> = said.lines().filter(|line| line.contains("write")).collect();
        assert!(!complaints.is_empty(), "{said}");
        let distinct: std::collections::BTreeSet<_> = complaints.iter().collect();
        assert_eq!(distinct.len(), complaints.len(), "{said}");
        umount(["-l".as_ref(), bed.point().as_os_str()]).ok();
        served.wait();
        until("the directory is gone", || !bed.is_mounted());
        // With more room, what was durable is there.
        mount.clone().args(["-o", "remount,size=300m"]).arg(&small).run().ok();
        bed.mount(&[]);
        bed.umount();
    });
    let _ = require_tool("umount").expect("umount").arg("-l").arg(&small).run();
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}
