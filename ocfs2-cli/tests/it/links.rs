//! The traditional names: links to the binary, and what it does when called by them.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::run::{PROGRAM, Said, copy_program, ocfs2, program};

/// The names, and the status of each after a command line that makes no sense.
const NAMES: &[(&str, i32)] = &[
    ("mkfs.ocfs2", 1),
    ("o2info", 1),
    ("mounted.ocfs2", 1),
    ("debugfs.ocfs2", 2),
    ("mount.ocfs2", 1),
    ("mount.fuse.ocfs2", 1),
    ("umount.fuse.ocfs2", 1),
];

fn links(options: &[&str], dir: &Path) -> Said {
    let words = ["links"].iter().chain(options).map(OsStr::new);
    ocfs2(words.chain([dir.as_os_str()]))
}

/// Names in a directory.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    names
}

#[test]
fn every_traditional_name_becomes_a_link_to_the_binary() {
    let dir = tempfile::tempdir().expect("a directory");
    assert_eq!(links(&["--dry-run"], dir.path()).ok().lines().count(), NAMES.len());
    assert_eq!(names(dir.path()), [""; 0]);
    links(&[], dir.path()).ok();
    let mut expected: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
    expected.sort_unstable();
    assert_eq!(names(dir.path()), expected);
    for name in expected {
        let target = fs::canonicalize(dir.path().join(name)).expect("a target");
        assert_eq!(target, fs::canonicalize(PROGRAM).expect("the binary"), "{name}");
    }
    // What is as it should be stays, and that is said.
    let report: serde_json::Value = serde_json::from_str(&links(&["--json"], dir.path()).ok()).expect("JSON");
    let actions: Vec<_> = report["links"].as_array().expect("links").iter().collect();
    assert!(
        actions.len() == NAMES.len() && actions.iter().all(|link| link["action"] == "keep"),
        "{report}"
    );
}

#[test]
fn names_of_others_are_left_alone_unless_forced() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("o2info"), "another program").expect("a file");
    symlink("elsewhere", dir.path().join("debugfs.ocfs2")).expect("a link");
    let text = links(&[], dir.path()).failed(1);
    assert!(text.contains("--force"), "{text}");
    assert_eq!(names(dir.path()), ["debugfs.ocfs2", "o2info"], "nothing was made");
    links(&["--force"], dir.path()).ok();
    assert_eq!(names(dir.path()).len(), NAMES.len());
    for (name, _) in NAMES {
        let target = fs::canonicalize(dir.path().join(name)).expect("a target");
        assert_eq!(target, fs::canonicalize(PROGRAM).expect("the binary"), "{name}");
    }
}

#[test]
fn directories_are_not_replaced_and_missing_ones_not_made() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::create_dir(dir.path().join("o2info")).expect("a directory");
    let text = links(&["--force"], dir.path()).failed(1);
    assert!(text.contains("is a directory"), "{text}");
    assert_eq!(names(dir.path()), ["o2info"]);
    let text = links(&[], &dir.path().join("missing")).failed(1);
    assert!(text.contains("No such file"), "{text}");
}

#[test]
fn called_by_a_traditional_name_the_binary_is_that_program() {
    let dir = tempfile::tempdir().expect("a directory");
    links(&[], dir.path()).ok();
    // A copy under such a name is as good as a link.
    fs::remove_file(dir.path().join("o2info")).expect("the link");
    copy_program(&dir.path().join("o2info"));
    let run = |name: &str, args: &[&str]| program(&dir.path().join(name), args);
    for (name, usage_status) in NAMES {
        let help = run(name, &["--help"]).ok();
        assert!(help.contains(&format!("Usage: {name} ")), "{help}");
        let version = run(name, &["--version"]).ok();
        assert_eq!(version, format!("{name} {}\n", env!("CARGO_PKG_VERSION")));
        let text = run(name, &["--no-such-option"]).failed(*usage_status);
        assert!(text.starts_with(&format!("{name}: ")), "{text}");
    }

    let volume = dir.path().join("volume");
    File::create(&volume)
        .and_then(|file| file.set_len(64 << 20))
        .expect("a file");
    let volume = volume.to_str().expect("UTF-8");
    let said = run("mkfs.ocfs2", &["-M", "local", "-L", "named", volume]);
    assert_eq!(
        (said.status, said.stderr.lines().next()),
        (0, Some(concat!("mkfs.ocfs2 ", env!("CARGO_PKG_VERSION"))))
    );
    assert!(
        run("debugfs.ocfs2", &["-R", "stats -h", volume])
            .ok()
            .contains("Label: named")
    );
    assert!(run("o2info", &["--volinfo", volume]).ok().contains("Label: named"));
    assert!(run("mounted.ocfs2", &["-d", volume]).ok().contains("named"));
}
