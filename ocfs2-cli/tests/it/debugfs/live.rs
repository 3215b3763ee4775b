//! Locks and connections of a mounted volume, from copies of the kernel's files.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use ocfs2_testkit::tools::reference;

use super::{debugfs, request};
use crate::run::image_named;

/// `o2dlm/<UUID>/locking_state`, as Linux writes it.
fn dlm_state() -> String {
    let value = format!("05010203{}", "ab".repeat(60));
    let zeros = "00".repeat(64);
    format!(
        "NAME:S000000000000000000000200000000\nLRES:1,0,4,0,0,0,0,0,0,0,4\nRMAP:1 \nLVBX:{zeros}\n\
         LOCK:1,0,0,-1,0,0:1,0,0,0,0,0,0,0,0,2\nLOCK:1,0,5,-1,1,1:1,0,0,0,0,0,0,0,0,2\n\n\
         NAME:M000000000000000000001100000000\nLRES:1,1,10,123,1,1,1,2,1,3,5\nRMAP:0 2 \nLVBX:{value}\n\
         LOCK:1,1,3,5,2,2:77,1,0,1,0,1,0,0,0,3\nLOCK:1,2,-1,5,3,3:78,0,1,0,1,0,1,1,1,1\n\n"
    )
}

/// `ocfs2/<UUID>/locking_state` with lines of the versions that the reference reads.
fn fs_state() -> String {
    let mut state = String::new();
    for (version, name, level, flags, rest) in [
        (3, "M0000000000000000007e0300000000", 5, 0x41, "0x0\t0x0\t0\t0\t5\t-1"),
        (3, "M000000000000000000001100000000", 3, 0x4b, "0x2\t0x1\t2\t0\t-1\t5"),
        (2, "W000000000000000000001100000000", 0, 0x1ff, "0x1\t0x2\t1\t1\t3\t3"),
    ] {
        write!(state, "{version:#x}\t{name}\t{level}\t{flags:#x}\t{rest}\t0x5\t").expect("memory");
        state.push_str(&"0x0\t".repeat(63));
        state.push_str("4\t1\t0\t0\t1580\t361\t7000\t8000\t2\t\n");
    }
    state
}

fn file(dir: &Path, name: &str, contents: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, contents).expect("a file");
    path
}

#[test]
fn saved_locks_are_shown_as_the_reference_shows_them() {
    if ocfs2_testkit::require_tool("debugfs.ocfs2").is_none() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let dlm = file(dir.path(), "dlm", &dlm_state()).display().to_string();
    let fs = file(dir.path(), "fs", &fs_state()).display().to_string();
    let image = image_named("empty-512-4k");
    for command in [
        format!("dlm_locks -f {dlm}"),
        format!("dlm_locks -l -f {dlm}"),
        format!("dlm_locks -f {dlm} M000000000000000000001100000000"),
        format!("dlm_locks -f {dlm} M000000000000000000001200000000"),
        format!("fs_locks -f {fs}"),
        format!("fs_locks -l -f {fs}"),
        format!("fs_locks -B -f {fs}"),
        format!("fs_locks -f {fs} M000000000000000000001100000000 W000000000000000000001100000000"),
    ] {
        let theirs = reference("debugfs.ocfs2").args(["-R", &command]).arg(&image).run().ok();
        assert_eq!(request(&image, &command), theirs.stdout, "{command}");
    }
}

#[test]
fn saved_statistics_of_connections_become_rates() {
    let dir = tempfile::tempdir().expect("a directory");
    let stats = file(
        dir.path(),
        "stats",
        "1,1,33,638847,25410909,262269150,26,18469980\n1,2,0,0,0,0,0,0\n",
    );
    let said = request(
        &image_named("empty-512-4k"),
        &format!("net_stats -f {}", stats.display()),
    );
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines[..4],
        [
            "       ------- msg / sec -------   --------------------------- usecs / msg ---------------------------",
            "Node#  send q       recv q        (acquiry       xmit          wait        ) send         process     ",
            "1      33           26             19.359        770.028       7947.550      8736.937     710.384     ",
            "2      0            0              0.000         0.000         0.000         0.000        0.000       ",
        ]
    );
}

#[test]
fn files_that_no_kernel_wrote_are_refused_by_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let image = image_named("empty-512-4k");
    for (command, contents, line) in [
        ("dlm_locks", "NAME:M\nLRES:2,0,0\n", "line 2"),
        ("dlm_locks", "NAME:M\nLVBX:0\u{e9}\n", "line 2"),
        ("dlm_locks", "no tag\n", "line 1"),
        ("fs_locks", "0x9\tM\n", "line 1"),
        ("fs_locks", "\n", "line 1"),
        ("net_stats", "1,1,-5,0,0,0,0,0\n", "line 1"),
    ] {
        let path = file(dir.path(), "bad", contents);
        let said = debugfs(
            &["--strict", "-R", &format!("{command} -f {}", path.display())],
            &image,
            "",
        );
        assert_eq!(said.status, 1, "{command}: {said:?}");
        assert!(said.stderr.contains(line), "{command}: {said:?}");
        let said = debugfs(
            &["--strict", "-R", &format!("{command} -f {}-not", path.display())],
            &image,
            "",
        );
        assert!(
            said.status == 1 && said.stderr.contains("bad-not"),
            "{command}: {said:?}"
        );
    }
    let said = debugfs(&["--strict", "-R", "controld dump"], &image, "");
    assert!(said.status == 1 && said.stderr.contains("no daemon"), "{said:?}");
}
