//! Options of the program and of its commands that are none of the others' business.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use ocfs2_testkit::require_tool;
use ocfs2_testkit::tools::reference;

use super::{debugfs, request};
use crate::run::image_named;

#[test]
fn options_of_commands_do_what_they_do_in_the_reference() {
    if require_tool("debugfs.ocfs2").is_none() {
        return;
    }
    let image = image_named("empty-backup-super");
    for command in [
        "stats -s 1",
        "stats -h -s 1",
        "stats -s 2",
        "logdump -T 0",
        "stat -t /",
        "stat -T //journal:0000",
        "ncheck <5> <99>",
    ] {
        let theirs = reference("debugfs.ocfs2").args(["-R", command]).arg(&image).run().ok();
        assert_eq!(request(&image, command), theirs.stdout, "{command}");
    }
    let script = format!("open {} -s 1\nstats -h\n#x\ncurdev\nq\nslotmap\n", image.display());
    let theirs = reference("debugfs.ocfs2").stdin(script.as_str()).run().ok();
    let ours = debugfs(&[], "-n".as_ref(), &script);
    assert_eq!(ours.status, 0, "{ours:?}");
    // Every call of ours has one more argument: here it hides the prompt.
    let theirs = theirs.stdout.replace("debugfs: ", "");
    let ours = String::from_utf8_lossy(&ours.stdout).into_owned();
    let answers = |text: &str| {
        text.lines()
            .filter(|line| line.starts_with('\t'))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(answers(&ours), answers(&theirs));
    assert!(!answers(&ours).is_empty());
}

#[test]
fn a_backup_superblock_opens_the_volume_and_others_are_refused() {
    let image = image_named("empty-backup-super");
    let said = debugfs(&["-s", "1", "-w", "-R", "stats -h"], &image, "");
    assert_eq!(
        (said.status, String::from_utf8_lossy(&said.stdout).into_owned()),
        (0, request(&image, "stats -h"))
    );
    for (number, reason) in [("2", "not found"), ("7", "between 1 and 6")] {
        let said = debugfs(&["-s", number, "-R", "stats -h"], &image, "");
        assert!(
            said.stdout.is_empty() && said.stderr.contains(reason),
            "{number}: {said:?}"
        );
    }
}

#[test]
fn the_help_lists_every_command_once_in_both_spellings() {
    let image = image_named("empty-512-4k");
    let help = request(&image, "help");
    assert_eq!(request(&image, "?"), help);
    let words: Vec<&str> = help.lines().filter_map(|line| line.split([' ', ',']).next()).collect();
    for command in [
        "bmap",
        "cat",
        "cd",
        "chroot",
        "close",
        "controld",
        "curdev",
        "decode",
        "dirblocks",
        "dlm_locks",
        "dump",
        "dx_dump",
        "dx_leaf",
        "dx_root",
        "dx_space",
        "encode",
        "extent",
        "findpath",
        "frag",
        "fs_locks",
        "gd_free_bits",
        "group",
        "grpextents",
        "hb",
        "help",
        "icheck",
        "lcd",
        "locate",
        "logdump",
        "ls",
        "net_stats",
        "open",
        "quit",
        "rdump",
        "refcount",
        "slotmap",
        "stat",
        "stat_sysdir",
        "stats",
        "xattr",
    ] {
        let count = words.iter().filter(|word| **word == command).count();
        assert_eq!(count, 1, "{command}: {help}");
    }
}

#[test]
fn copies_go_where_lcd_points_and_keep_their_owners_with_p() {
    let image = image_named("refcount-4k");
    let dir = tempfile::tempdir().expect("a directory");
    let there = dir.path().display();
    let said = debugfs(
        &["-n"],
        &image,
        &format!("lcd {there}\ndump -p /base copy\ndump /base plain\nquit\n"),
    );
    assert_eq!((said.status, said.stderr.as_str()), (0, ""));
    let [copy, plain] = ["copy", "plain"].map(|name| fs::metadata(dir.path().join(name)).expect(name));
    assert_eq!(copy.len(), plain.len());
    let stat = super::json(&image, "stat /base");
    assert_eq!(
        u64::from(copy.permissions().mode() & 0o7777),
        stat["i_mode"].as_u64().expect("a mode") & 0o7777
    );
    assert_eq!(copy.mtime(), stat["i_mtime"].as_i64().expect("a time"));

    fs::create_dir(dir.path().join("tree")).expect("a directory");
    let said = debugfs(&["-R", &format!("rdump -v /lost+found {there}/tree")], &image, "");
    assert_eq!((said.status, said.stderr.as_str()), (0, ""), "{said:?}");
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(text.contains(&format!("Copying to {there}/tree/lost+found")), "{text}");
    assert!(dir.path().join("tree/lost+found").is_dir());
    let said = debugfs(&["--strict", "-R", "lcd /no/such/place"], &image, "");
    assert!(said.status == 1 && said.stderr.contains("lcd: "), "{said:?}");
}
