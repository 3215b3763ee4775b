//! The same commands, the same text: every command on every golden image, against debugfs.ocfs2 1.8.7.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use ocfs2_format::FileKind;
use ocfs2_format::device::{FileDevice, FileOptions};
use ocfs2_fs::{OpenOptions, Volume};
use ocfs2_testkit::golden::{self, Golden};
use ocfs2_testkit::{reference, require_tool};

use super::debugfs;
use crate::run::image;

/// An inode and what it is, with what decides which commands make sense.
struct Object {
    number: u64,
    kind: FileKind,
    indexed: bool,
    inline_index: bool,
    extents: bool,
}

/// Every inode with a name, in the system directory and below the root.
fn objects(path: &Path) -> (Volume, Vec<Object>) {
    let device = FileDevice::open(path, &FileOptions::default()).expect("the image");
    let mut options = OpenOptions::default();
    options.replay_journals = false;
    let volume = Volume::open(Arc::new(device), &options).expect("a sound volume");
    let mut found = BTreeMap::new();
    let system = volume.inode(volume.system_dir()).expect("the system directory");
    let system = volume.entries(&system).expect("a directory");
    let system = system.map(|entry| volume.inode(entry.expect("an entry").inode()).expect("an inode"));
    let tree = volume.walk("/").expect("the root");
    let tree = tree.filter_map(|entry| Some(entry.ok()?.inode));
    for inode in system.chain(tree) {
        let inline_index = volume
            .check_index(&inode)
            .is_ok_and(|index| index.is_some_and(|index| index.leaves == 0));
        let fast = inode.kind() == FileKind::Symlink && inode.clusters() == 0;
        let extents = volume.extents(&inode).is_ok_and(|extents| !extents.is_empty());
        let object = Object {
            number: inode.number().0,
            kind: inode.kind(),
            indexed: inode.dx_root().is_some(),
            inline_index,
            extents: extents && !fast,
        };
        found.insert(object.number, object);
    }
    (volume, found.into_values().collect())
}

/// Commands about the whole volume.
fn volume_commands(volume: &Volume) -> Vec<String> {
    let geometry = volume.geometry();
    let mut commands: Vec<String> = [
        "stats",
        "stats -h",
        "ls",
        "ls -l",
        "ls //",
        "ls -l //",
        "hb",
        "slotmap",
        "stat_sysdir",
        "curdev",
        "frag //journal:0000",
        "bmap //journal:0000 0",
        "bmap //journal:0000 100",
        "stat //nothing",
        "ls /nothing",
        "cat //",
    ]
    .map(str::to_owned)
    .into();
    for index in 0..geometry.cluster_groups().min(3) {
        let group = geometry.cluster_group_block(index);
        commands.push(format!("group <{group}>"));
        commands.push(format!("grpextents <{group}>"));
    }
    for slot in 0..geometry.max_slots.min(2) {
        commands.push(format!("logdump {slot}"));
        commands.push(format!("stat //inode_alloc:{slot:04}"));
    }
    commands
}

/// Commands about one inode.
fn object_commands(object: &Object) -> Vec<String> {
    let number = object.number;
    let mut commands: Vec<String> = [
        "stat",
        "stat -T",
        "xattr",
        "xattr -v",
        "encode",
        "refcount",
        "refcount -e",
    ]
    .iter()
    .map(|command| format!("{command} <{number}>"))
    .collect();
    // Each walks the whole tree.
    if number.is_multiple_of(16) {
        commands.push(format!("findpath <{number}>"));
    }
    if object.kind == FileKind::Directory {
        commands.extend(["ls", "ls -l", "dirblocks"].map(|command| format!("{command} <{number}>")));
        // The reference knows nothing of the free list of an index without leaves.
        if !object.inline_index {
            commands.push(format!("dx_space <{number}>"));
        }
        if object.indexed {
            commands.push(format!("dx_dump <{number}>"));
        }
    }
    // Of what has no extents, the reference reports whatever the bytes look like.
    if object.extents {
        commands.extend([0, 1, 7, 100].map(|block| format!("bmap <{number}> {block}")));
        commands.push(format!("frag <{number}>"));
    }
    commands
}

/// The output of each command of a script, by the prompt before it.
fn answers(output: &str) -> Vec<(String, String)> {
    let answers = output.split("debugfs: ").skip(1).map(|part| {
        let (command, answer) = part.split_once('\n').unwrap_or((part, ""));
        (command.to_owned(), answer.to_owned())
    });
    answers.collect()
}

/// An answer without what the reference gets wrong. It finds the checksum of nearly every directory block wrong, whatever it
/// is; does not always stop at the first path of an inode; and shows another time for one that is beyond its calendar, where
/// we show the number.
fn comparable(command: &str, answer: &str) -> String {
    let is_alarm = |line: &str| {
        (command.starts_with("dirblocks") || command.starts_with("dx_space")) && line.contains("**FAILED CHECKSUM**")
    };
    let lines = answer.split_inclusive('\n').filter(|line| !is_alarm(line));
    let lines = lines.take(if command.starts_with("findpath") { 1 } else { usize::MAX });
    lines.collect()
}

/// Whether a line shows a time that no calendar has: as a number.
fn is_beyond_the_calendar(line: &str) -> bool {
    line.split(' ').any(|word| {
        word.strip_prefix('@')
            .is_some_and(|number| number.starts_with(['-', '1']))
    })
}

/// What the two say differently.
fn compare(golden: &Golden) -> Vec<String> {
    let path = image(golden);
    let (volume, objects) = objects(&path);
    let mut commands = volume_commands(&volume);
    commands.extend(objects.iter().flat_map(object_commands));
    commands.push("quit".to_owned());
    let script = commands.join("\n") + "\n";

    let theirs = reference("debugfs.ocfs2").arg(&path).stdin(script.as_str()).run();
    assert_eq!(theirs.status, 0, "{}: {theirs}", golden.name);
    let ours = debugfs(&[], &path, &script);
    assert_eq!(ours.status, 0, "{}: {ours:?}", golden.name);
    let ours = String::from_utf8_lossy(&ours.stdout).into_owned();
    let (theirs, ours) = (answers(&theirs.stdout), answers(&ours));
    assert_eq!(theirs.len(), commands.len(), "{}", golden.name);
    assert_eq!(ours.len(), commands.len(), "{}", golden.name);
    let mut differences = Vec::new();
    for ((command, theirs), (echo, ours)) in theirs.iter().zip(&ours) {
        assert_eq!(command, echo, "{}", golden.name);
        let theirs = comparable(command, theirs);
        let mut lines = theirs.lines().zip(ours.lines());
        let line = lines.find(|(theirs, ours)| theirs != ours && !is_beyond_the_calendar(ours));
        if line.is_some() || theirs.lines().count() != ours.lines().count() {
            let lines = (theirs.lines().count(), ours.lines().count());
            differences.push(format!("{}: {command}: {lines:?} lines, {line:?}", golden.name));
        }
    }
    differences
}

#[test]
fn every_command_prints_what_the_reference_prints() {
    if require_tool("debugfs.ocfs2").is_none() {
        return;
    }
    let mut differences = Vec::new();
    for golden in golden::all().iter().filter(|golden| !golden.has("heartbeat-device")) {
        differences.extend(compare(golden));
    }
    assert!(
        differences.is_empty(),
        "{} differences:\n{}",
        differences.len(),
        differences.join("\n")
    );
}

#[test]
fn cat_writes_the_bytes_that_the_reference_writes() {
    if require_tool("debugfs.ocfs2").is_none() {
        return;
    }
    for golden in golden::all().iter().filter(|golden| golden.name.starts_with("kinds")) {
        let path = image(golden);
        let (_, objects) = objects(&path);
        let files = objects.iter().filter(|object| object.kind == FileKind::Regular);
        for file in files.skip(10).step_by(7).take(10) {
            let request = format!("cat <{}>", file.number);
            let theirs = reference("debugfs.ocfs2").args(["-R", &request]).arg(&path).run().ok();
            let ours = debugfs(&["-R", &request], &path, "");
            let ours = String::from_utf8_lossy(&ours.stdout);
            assert!(theirs.stdout == ours, "{}: {request}", golden.name);
        }
    }
}

#[test]
fn icheck_agrees_where_the_reference_knows_an_answer() {
    if require_tool("debugfs.ocfs2").is_none() {
        return;
    }
    for name in [
        "kinds-4k",
        "kinds-1k-8k-metaecc",
        "extents-512",
        "discontig-4k",
        "refcount-4k",
    ] {
        let path = image(golden::named(name));
        let (volume, _) = objects(&path);
        let blocks = volume.geometry().blocks();
        // The reference takes 50 blocks at a time.
        for start in (0..500).step_by(50) {
            let list: Vec<_> = (start..start + 50)
                .map(|index| (index * 7919 + index * index) % blocks)
                .collect();
            let list = list.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
            let request = format!("icheck {list}");
            let theirs = reference("debugfs.ocfs2")
                .args(["-R", &request])
                .arg(&path)
                .run()
                .ok()
                .stdout;
            let ours = super::request(&path, &request);
            assert_eq!(theirs.lines().count(), ours.lines().count());
            for (theirs, ours) in theirs.lines().zip(ours.lines()) {
                assert!(
                    theirs == ours || theirs.contains("Unknown"),
                    "{name}: {theirs:?} {ours:?}"
                );
                assert!(!ours.contains("Unknown"), "{name}: {ours:?}");
            }
        }
    }
}

#[test]
fn locate_finds_the_names_that_the_reference_finds() {
    if require_tool("debugfs.ocfs2").is_none() {
        return;
    }
    for name in ["kinds-4k", "kinds-max-compat", "dirs-4k"] {
        let path = image(golden::named(name));
        let (_, objects) = objects(&path);
        let words: Vec<_> = objects
            .iter()
            .step_by(9)
            .take(30)
            .map(|object| format!("<{}>", object.number))
            .collect();
        let request = format!("locate {}", words.join(" "));
        let theirs = reference("debugfs.ocfs2")
            .args(["-R", &request])
            .arg(&path)
            .run()
            .ok()
            .stdout;
        assert_eq!(super::request(&path, &request), theirs, "{name}");
    }
}

#[test]
fn lock_names_are_made_and_read_as_the_reference_does() {
    if require_tool("debugfs.ocfs2").is_none() {
        return;
    }
    let calls: [&[&str]; 6] = [
        &["-e", "M", "31351", "0"],
        &["-e", "W", "0x7a77", "305419896"],
        &["-e", "N", "31351", "7"],
        &[
            "-d",
            "M0000000000000000007a7712345678",
            "S000000000000000000000200000000",
        ],
        &["-d", "N000000000000000700007a77"],
        &["--decode", "W0000000000000000007a77DEADBEEF", "no lock"],
    ];
    for args in calls {
        let theirs = reference("debugfs.ocfs2").args(args).run();
        let ours = crate::run::ocfs2(["debugfs"].iter().chain(args));
        assert_eq!(
            (ours.status, String::from_utf8_lossy(&ours.stdout).as_ref()),
            (0, theirs.stdout.as_str()),
            "{args:?}"
        );
    }
}
