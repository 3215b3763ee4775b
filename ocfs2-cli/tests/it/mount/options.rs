//! `-o`: every option that mount.ocfs2 or the kernel driver knows is taken, or refused with a reason.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;

use ocfs2_testkit::require_root;
use rustix::fs::Access;

use crate::mount::{Bed, umount};

/// What is taken.
const TAKEN: &[&str] = &[
    "rw",
    "ro",
    "defaults",
    "_netdev",
    "auto",
    "noauto",
    "user",
    "users",
    "owner",
    "nouser",
    "group",
    "nogroup",
    "nosuid",
    "suid",
    "nodev",
    "dev",
    "noexec",
    "exec",
    "sync",
    "async",
    "dirsync",
    "atime",
    "noatime",
    "nodiratime",
    "diratime",
    "relatime",
    "strictatime",
    "nointr",
    "intr",
    "barrier=1",
    "errors=remount-ro",
    "errors=continue",
    "heartbeat=none",
    "data=ordered",
    "data=writeback",
    "atime_quantum=60",
    "preferred_slot=0",
    "preferred_slot=300",
    "commit=0",
    "commit=30",
    "localalloc=8",
    "localflocks",
    "user_xattr",
    "nouser_xattr",
    "acl",
    "noacl",
    "inode64",
    "coherency=full",
    "coherency=buffered",
    "resv_level=0",
    "resv_level=9",
    "dir_resv_level=8",
    "usrquota",
    "grpquota",
    "noquota",
    "nocluster",
    "loop",
    "nomand",
    "quiet",
    "loud",
    "comment=x",
    "kudzu",
    "managed",
    "pamconsole",
    "sub",
    "nosub",
    "nofail",
    "x-systemd.device-timeout=5",
    "allow_other",
    "noallow_other",
    "default_permissions",
    "fakeroot",
    "max_threads=2",
    "writeback_cache",
    "fsname=x",
    "subtype=ocfs2",
    "spectator",
];

/// What is refused, and a word of the reason.
const REFUSED: &[(&str, &str)] = &[
    ("remount", "unmount and mount again"),
    ("datavolume", "OCFS2 1.2"),
    ("barrier=0", "power cut"),
    ("barrier=2", "takes 1"),
    ("errors=panic", "machine"),
    ("errors=maybe", "remount-ro or continue"),
    ("heartbeat=local", "without a cluster"),
    ("heartbeat=global", "without a cluster"),
    ("cluster_stack=o2cb", "without a cluster"),
    ("data=journal", "ordered or writeback"),
    ("atime_quantum=often", "seconds"),
    ("coherency=none", "full or buffered"),
    ("journal_async_commit", "fsck.ocfs2"),
    ("bind", "bind mount"),
    ("mand", "gone from Linux"),
    ("uid=0", "owners are those on the volume"),
    ("gid=0", "owners are those on the volume"),
    ("umask=022", "modes are those on the volume"),
    ("allow_root", "allow_other"),
    ("auto_unmount", "next mount"),
    ("offset=512", "partition"),
    ("norecovery", "replayed"),
    ("partition=0", "from 1"),
    ("max_threads=0", "from 1"),
    ("frobnicate", "unknown"),
    ("frobnicate=1", "unknown"),
];

#[test]
fn every_option_is_taken_or_refused_with_a_reason() {
    let Some(bed) = Bed::local() else { return };
    for option in TAKEN {
        assert_eq!(bed.try_mount(&["-f", "-o", option]).ok(), "", "{option}");
    }
    for (option, why) in REFUSED {
        let text = bed.try_mount(&["-f", "-o", &format!("rw,{option}")]).failed(1);
        assert!(text.contains(option) && text.contains(why), "{option}: {text}");
    }
    assert_eq!(bed.try_mount(&["-f", "-s", "-o", "frobnicate,rw"]).ok(), "");
    let all: Vec<_> = TAKEN.iter().filter(|option| **option != "fakeroot").copied().collect();
    bed.mount(&["-o", &all.join(",")]);
    umount([bed.point().as_os_str()]).ok();
}

#[test]
fn flags_are_those_of_the_mount_point() {
    let Some(bed) = Bed::local() else { return };
    bed.mount(&[]);
    fs::write(bed.path("program"), "#!/bin/sh\n").expect("a file");
    fs::set_permissions(bed.path("program"), PermissionsExt::from_mode(0o755)).expect("permissions");
    bed.umount();
    for (options, shown) in [
        ("rw", &["rw"][..]),
        ("ro", &["ro"]),
        ("nosuid,nodev", &["rw", "nosuid", "nodev"]),
        ("user", &["rw", "nosuid", "nodev", "noexec"]),
        ("noexec,exec", &["rw"]),
    ] {
        bed.mount(&["-o", options]);
        let line = bed.mount_line().expect("mounted");
        let words: Vec<_> = line.split(' ').nth(3).expect("options").split(',').collect();
        for flag in ["rw", "ro", "nosuid", "nodev", "noexec"] {
            // A user's mounts have some of them in any case.
            let forced = !rustix::process::geteuid().is_root() && ["nosuid", "nodev"].contains(&flag);
            assert_eq!(
                words.contains(&flag),
                shown.contains(&flag) || forced,
                "{options}: {line}"
            );
        }
        let ran = Command::new(bed.path("program")).status();
        assert_eq!(ran.is_ok(), !shown.contains(&"noexec"), "{options}");
        umount([bed.point().as_os_str()]).ok();
    }
}

#[test]
fn the_kernel_reads_as_far_ahead_as_a_request_goes_where_root_mounts() {
    let Some(bed) = Bed::local().filter(|_| require_root()) else {
        return;
    };
    bed.mount(&[]);
    let device = fs::metadata(bed.point()).expect("mounted").dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let setting = PathBuf::from(format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb"));
    if rustix::fs::access(&setting, Access::WRITE_OK).is_ok() {
        assert_eq!(fs::read_to_string(&setting).expect("a setting"), "1024\n");
    } else {
        eprintln!("skipped: {} cannot be written", setting.display());
    }
    bed.umount();
}

#[test]
fn what_comes_later_counts_and_single_letters_count_most() {
    let Some(bed) = Bed::local() else { return };
    for (options, read_only) in [
        (&["-o", "ro", "-o", "rw"][..], false),
        (&["-o", "rw,ro"], true),
        (&["-r", "-o", "rw"], true),
        (&["-r", "-w"], false),
        (&["-w", "-r"], true),
    ] {
        bed.mount(options);
        let written = fs::write(bed.path("file"), "");
        assert_eq!(written.is_err(), read_only, "{options:?}");
        umount([bed.point().as_os_str()]).ok();
    }
}
