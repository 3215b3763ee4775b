//! Four workers of each of stress-ng's file system stressors, and what is left after them.
//!
//! `OCFS2_STRESS_SECONDS=600` goes on for so long, all in all.

use std::env;

use ocfs2_testkit::require_tool;

use super::bed::Bed;

/// Stressors of the class `filesystem` that are about a mounted directory. Left out are those about other file systems (binderfs,
/// procfs, bind-mount) or no file system (eventfd, ioprio), and those for which there is no request in FUSE (fanotify, verity).
const STRESSORS: &[&str] = &[
    "access",
    "chattr",
    "chmod",
    "chown",
    "copy-file",
    "dentry",
    "dir",
    "dirdeep",
    "dup",
    "fallocate",
    "fcntl",
    "file-ioctl",
    "filename",
    "flock",
    "fpunch",
    "fsize",
    "fstat",
    "getdent",
    "hdd",
    "inode-flags",
    "io",
    "iomix",
    "lease",
    "link",
    "locka",
    "lockf",
    "lockofd",
    "mknod",
    "open",
    "rename",
    "symlink",
    "touch",
    "utime",
    "xattr",
];

#[test]
fn a_volume_is_clean_after_every_kind_of_load() {
    let Some(stress) = require_tool("stress-ng") else {
        return;
    };
    let long: Option<u64> = env::var("OCFS2_STRESS_SECONDS")
        .ok()
        .map(|seconds| seconds.parse().expect("seconds"));
    let Some(bed) = Bed::of_size(3 << 30, &[], &[]) else {
        return;
    };
    let stress = stress.arg("--temp-path").arg(bed.dir()).arg("--verify");
    let stress = stress.args(["--fallocate-bytes", "16M", "--iomix-bytes", "16M", "--hdd-bytes", "64M"]);
    match long {
        // One after the other.
        Some(seconds) => {
            let each = seconds.div_ceil(STRESSORS.len() as u64).to_string();
            for stressor in STRESSORS {
                let workers = [&format!("--{stressor}"), "4", "--timeout", &each];
                stress.clone().args(workers).run().ok();
            }
        }
        // The most different ones at the same time.
        None => {
            let some = [
                "dentry",
                "dir",
                "fallocate",
                "fpunch",
                "iomix",
                "link",
                "rename",
                "xattr",
            ];
            let workers = some.map(|stressor| [format!("--{stressor}"), "1".to_owned()]);
            stress.args(workers.concat()).args(["--timeout", "10"]).run().ok();
        }
    }
    let left = std::fs::read_dir(bed.dir()).expect("the directory answers");
    let left: Vec<_> = left.map(|entry| entry.expect("an entry").file_name()).collect();
    assert!(left.iter().all(|name| name == "lost+found"), "{left:?}");
    // The daemon is there to the end, and a clean volume has no orphans.
    bed.end();
}
