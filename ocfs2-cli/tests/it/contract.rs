//! What every command owes its user, whatever it does.

use std::ffi::OsStr;
use std::fs::Permissions;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ocfs2_testkit::golden;

use crate::run::{PROGRAM, Said, copy_program, image, image_named, ocfs2};

/// The verbs in the help of the suite.
fn verbs() -> Vec<String> {
    let help = ocfs2(["--help"]).ok();
    let commands = help
        .split("Commands:\n")
        .nth(1)
        .and_then(|rest| rest.split("\n\n").next())
        .expect("a list of commands");
    let first_words = commands
        .lines()
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next());
    first_words.filter(|verb| *verb != "help").map(str::to_owned).collect()
}

#[test]
fn help_names_the_command_and_its_options() {
    let verbs = verbs();
    assert!(verbs.contains(&"links".to_owned()), "{verbs:?}");
    for verb in verbs {
        let help = ocfs2([&verb, "--help"]).ok();
        assert!(
            help.contains(&format!("Usage: ocfs2 {verb}"))
                && help.contains("Options:")
                && help.contains("\nExamples:\n  "),
            "{help}"
        );
    }
}

#[test]
fn version_names_the_release() {
    for verb in verbs() {
        let text = ocfs2([&verb, "--version"]).ok();
        assert!(text.contains(env!("CARGO_PKG_VERSION")), "{text}");
    }
}

#[test]
fn an_unknown_option_is_a_usage_error_that_names_it() {
    for verb in verbs() {
        let said = ocfs2([verb.as_str(), "--no-such-option"]);
        // As the traditional programs do it, but for debugfs.ocfs2, which counts mistakes as success.
        let status = if ["mkfs", "o2info", "mounted", "mount", "umount"].contains(&verb.as_str()) {
            1
        } else {
            2
        };
        assert_eq!(said.status, status, "{verb}: {said:?}");
        assert!(said.stdout.is_empty(), "{verb}: {said:?}");
        assert!(said.stderr.starts_with(&format!("ocfs2 {verb}: ")), "{verb}: {said:?}");
        assert!(said.stderr.contains("--no-such-option"), "{verb}: {said:?}");
    }
}

/// The commands that read a volume, each with a call that needs nothing but an image: what stands before it, and behind.
const READERS: &[(&[&str], &[&str])] = &[
    (&["ls"], &[]),
    (&["ls", "-lR"], &[]),
    (&["tree"], &[]),
    (&["find"], &[]),
    (&["cat"], &[]),
    (&["cp", "-r"], &["/nonexistent/copy"]),
    (&["stat"], &[]),
    (&["xattr"], &[]),
    (&["du"], &[]),
    (&["df"], &[]),
    (&["o2info", "--volinfo"], &[]),
];

#[test]
fn every_reader_prints_one_json_document_with_the_number_of_its_schema() {
    let image = image_named("kinds-4k");
    let dir = tempfile::tempdir().expect("a directory");
    let copy = dir.path().join("copy");
    let file = PathBuf::from(format!("{}://slot_map", image.display()));
    for (before, target, behind) in [
        (&["ls"][..], &image, None),
        (&["ls", "-lR"], &image, None),
        (&["tree"], &image, None),
        (&["find"], &image, None),
        (&["cat"], &file, None),
        (&["cp", "-r"], &image, Some(&copy)),
        (&["stat"], &image, None),
        (&["xattr"], &image, None),
        (&["du"], &image, None),
        (&["df"], &image, None),
        (&["o2info", "--volinfo"], &image, None),
        (&["mounted", "-f"], &image, None),
        (&["mkfs", "-n"], &image, None),
    ] {
        let words = [before[0], "--json"].into_iter().chain(before[1..].iter().copied());
        let words = words.map(OsStr::new).chain([target.as_os_str()]);
        let said = ocfs2(words.chain(behind.map(|path| path.as_os_str())));
        assert_eq!(said.status, 0, "{before:?}: {said:?}");
        let document: serde_json::Value = serde_json::from_slice(&said.stdout).expect(before[0]);
        assert_eq!(document["schema"], 1, "{before:?}");
        let lists = ["entries", "files", "volumes"].map(|name| document[name].as_array());
        assert!(
            lists.iter().flatten().all(|list| !list.is_empty()),
            "{before:?}: {document}"
        );
    }
}

#[test]
fn every_reader_finds_a_volume_in_a_partition() {
    const SECTOR: u64 = 512;
    let volume = image_named("kinds-4k");
    let dir = tempfile::tempdir().expect("a directory");
    let disk = dir.path().join("disk");
    let first = 2048u32;
    let bytes = std::fs::read(&volume).expect("the image");
    let mut boot = [0u8; SECTOR as usize];
    // Type 0x83, first sector and number of sectors of the second entry.
    boot[0x1CE + 4] = 0x83;
    boot[0x1CE + 8..][..4].copy_from_slice(&first.to_le_bytes());
    boot[0x1CE + 12..][..4].copy_from_slice(&((bytes.len() as u64 / SECTOR) as u32).to_le_bytes());
    boot[0x1FE..].copy_from_slice(&[0x55, 0xAA]);
    let file = std::fs::File::create(&disk).expect("a file");
    file.write_all_at(&boot, 0).expect("a partition table");
    file.write_all_at(&bytes, u64::from(first) * SECTOR)
        .expect("a partition");
    for call in READERS {
        let (before, behind) = call;
        let with = |number: &'static str| {
            let before = [&[before[0], "--partition", number], &before[1..]].concat();
            // What is copied is checked elsewhere; here is nowhere to put it.
            let here = dir.path().join(before.join(" "));
            let behind: Vec<&str> = behind.iter().map(|_| here.to_str().expect("UTF-8")).collect();
            read(&(before.as_slice(), behind.as_slice()), &disk)
        };
        // cat refuses the root directory of any volume.
        let found = with("2");
        if before[0] == "cat" {
            assert!(found.stderr.contains("directory"), "{found:?}");
        } else {
            assert_eq!(found.status, 0, "{before:?}: {found:?}");
        }
        let missing = with("3");
        assert_eq!(missing.status, 1, "{before:?}: {missing:?}");
        assert!(missing.stderr.contains("partition 3"), "{before:?}: {missing:?}");
    }
    refuses(&disk, "no ocfs2 volume");
    let said = ocfs2([
        OsStr::new("debugfs"),
        "--partition".as_ref(),
        "2".as_ref(),
        "-R".as_ref(),
        "ls".as_ref(),
        disk.as_os_str(),
    ]);
    // Not all names there are text.
    assert_eq!((said.status, said.stderr.as_str()), (0, ""));
    assert!(String::from_utf8_lossy(&said.stdout).contains("lost+found"));
}

/// Runs a reader on an image.
fn read(call: &(&[&str], &[&str]), image: &Path) -> Said {
    let (before, behind) = call;
    ocfs2(
        before
            .iter()
            .map(OsStr::new)
            .chain([image.as_os_str()])
            .chain(behind.iter().map(OsStr::new)),
    )
}

/// What a reader says about an `image` that holds no volume: one complaint that names it, status 1, nothing on stdout but an
/// empty document.
fn refuses(image: &Path, because: &str) {
    for call in READERS {
        let said = read(call, image);
        assert_eq!(said.status, 1, "{call:?}: {said:?}");
        assert!(
            said.stderr
                .starts_with(&format!("ocfs2 {}: {}: ", call.0[0], image.display())),
            "{call:?}: {said:?}"
        );
        assert!(said.stderr.contains(because), "{call:?}: {said:?}");
        assert_eq!(said.stderr.lines().count(), 1, "{call:?}: {said:?}");
    }
}

/// A directory, and a file in it with these contents.
fn file(contents: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("image");
    std::fs::write(&path, contents).expect("a file");
    (dir, path)
}

#[test]
fn a_missing_image_is_refused() {
    refuses(Path::new("/nonexistent/image"), "No such file");
}

#[test]
fn an_empty_image_is_refused() {
    let (_dir, path) = file(b"");
    refuses(&path, "no ocfs2 volume");
}

#[test]
fn a_tiny_image_is_refused() {
    for len in [1, 511, 512, 1023, 1024, 4096] {
        let (_dir, path) = file(&vec![0x55; len]);
        refuses(&path, "no ocfs2 volume");
    }
}

#[test]
fn an_image_of_something_else_is_refused() {
    let (_dir, path) = file(&vec![0; 1 << 20]);
    refuses(&path, "no ocfs2 volume");
}

#[test]
fn a_volume_cut_short_is_refused_or_reported_without_a_panic() {
    let image = std::fs::read(image_named("kinds-4k")).expect("the image");
    for len in [10_000, 12_288, 100_000, 1 << 20] {
        let (_dir, path) = file(&image[..len]);
        for call in READERS {
            let said = read(call, &path);
            // What little they need may still be there; not so what lies at the end.
            assert!(matches!(said.status, 0 | 1), "{len} bytes: {call:?}: {said:?}");
            assert!(
                said.status == 1 || !call.0.contains(&"-lR"),
                "{len} bytes: {call:?}: {said:?}"
            );
        }
    }
}

#[test]
fn unknown_features_are_refused_by_name() {
    let golden = golden::named("kinds-max-compat");
    let mut image = std::fs::read(image(golden)).expect("the image");
    // s_feature_incompat of the superblock in block 2.
    image[2 * golden.block_size as usize + 0xC0 + 0x20 + 2] |= 0x80;
    let (_dir, path) = file(&image);
    refuses(&path, "0x800000");
}

#[test]
fn a_directory_is_refused_as_an_image() {
    let dir = tempfile::tempdir().expect("a directory");
    refuses(dir.path(), "a directory");
}

#[test]
fn a_pipe_is_refused_as_an_image_without_waiting_for_a_writer() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, 0o600.into()).expect("a pipe");
    refuses(&path, "a named pipe");
}

#[test]
fn an_unreadable_image_is_refused() {
    let (dir, path) = file(b"secret");
    std::fs::set_permissions(&path, Permissions::from_mode(0o000)).expect("permissions");
    std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("permissions");
    let mut command = Command::new(PROGRAM);
    command.arg("ls").arg(&path);
    if rustix::process::geteuid().is_root() {
        // Root may read everything; nobody may not, but may run a copy of the program.
        let program = dir.path().join("ocfs2");
        copy_program(&program);
        command = Command::new(program);
        command.arg("ls").arg(&path).uid(65_534).gid(65_534);
    }
    let said: Said = command.output().expect("the program starts").into();
    let text = said.failed(1);
    assert!(text.contains("ermission denied"), "{text}");
}
