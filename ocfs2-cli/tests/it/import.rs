//! Copying into volumes: `ocfs2 cp`, `ocfs2 import` and `mkfs --from`.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, UNIX_EPOCH};

use ocfs2_testkit::{fsck_clean, require_kernel, require_tool};
use rustix::fs::{CWD, FileType, Mode, XattrFlags, mknodat, setxattr};

use crate::edit::Volume;
use crate::run::{PROGRAM, Said, ocfs2};

/// A tree of everything that a volume can hold.
fn tree(root: &Path) {
    let at = |name: &str| root.join(name);
    fs::create_dir_all(at("sub/deep/er")).expect("directories");
    fs::write(at("empty"), "").expect("a file");
    fs::write(at("small"), "small").expect("a file");
    fs::write(at("sub/large"), (0..3_000_000u32).map(|n| n as u8).collect::<Vec<_>>()).expect("a file");
    let sparse = File::create(at("sub/sparse")).expect("a file");
    sparse.set_len(10 << 20).expect("a size");
    sparse.write_all_at(b"middle", 5 << 20).expect("data");
    fs::hard_link(at("small"), at("sub/deep/hard")).expect("a link");
    symlink("../somewhere/else", at("sub/link")).expect("a link");
    symlink("x".repeat(300), at("long-link")).expect("a link");
    mknodat(CWD, at("pipe"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("a pipe");
    mknodat(CWD, at("socket"), FileType::Socket, Mode::from_raw_mode(0o640), 0).expect("a socket");
    if rustix::process::geteuid().is_root() {
        let device = rustix::fs::makedev(1, 3);
        mknodat(
            CWD,
            at("null"),
            FileType::CharacterDevice,
            Mode::from_raw_mode(0o666),
            device,
        )
        .expect("a device");
        std::os::unix::fs::chown(at("small"), Some(12), Some(34)).expect("an owner");
    }
    for (name, value) in [("user.small", vec![1; 10]), ("user.large", vec![2; 1500])] {
        setxattr(at("small"), name, &value, XattrFlags::empty()).expect("an attribute");
    }
    for n in 0..200 {
        fs::write(
            at(&format!("sub/deep/er/file with a long name, number {n}")),
            "x".repeat(n * 7),
        )
        .expect("a file");
    }
    fs::set_permissions(at("sub/large"), fs::Permissions::from_mode(0o4711)).expect("permissions");
    fs::set_permissions(at("sub/deep"), fs::Permissions::from_mode(0o2770)).expect("permissions");
    for (name, secs) in [
        ("small", 1_000_000_000),
        ("sub/sparse", 5),
        ("sub/deep", 1_500_000_000),
        ("sub", 7),
    ] {
        let time = UNIX_EPOCH + Duration::new(secs, 123_456_789);
        let file = File::open(at(name)).expect("a file");
        file.set_times(fs::FileTimes::new().set_modified(time).set_accessed(time))
            .expect("times");
    }
}

/// What can be seen of a tree, a line for each object.
fn facts(root: &Path) -> Vec<String> {
    let mut facts = Vec::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(path) = todo.pop() {
        let full = root.join(&path);
        let found = fs::symlink_metadata(&full).expect("an object");
        let mut line = format!(
            "{} {:o} {}:{} {}",
            path.display(),
            found.mode(),
            found.uid(),
            found.gid(),
            found.rdev()
        );
        if !found.is_symlink() {
            line += &format!(" {}.{:09}", found.mtime(), found.mtime_nsec());
        }
        if found.is_dir() {
            let entries = fs::read_dir(&full).expect("a directory");
            todo.extend(entries.map(|entry| path.join(entry.expect("an entry").file_name())));
        } else if found.is_symlink() {
            line += &format!(" -> {}", fs::read_link(&full).expect("a link").display());
        } else if found.is_file() {
            let contents = fs::read(&full).expect("contents");
            let sum: u64 = contents.iter().zip(1u64..).map(|(&byte, n)| u64::from(byte) * n).sum();
            let mut names = vec![0; 4096];
            let len = rustix::fs::listxattr(&full, &mut names).expect("attributes");
            let mut names: Vec<&[u8]> = names[..len].split(|&byte| byte == 0).collect();
            names.sort_unstable();
            let values = names.iter().filter(|name| !name.is_empty()).map(|name| {
                let mut value = vec![0; 70_000];
                let len = rustix::fs::getxattr(&full, *name, &mut value).expect("a value");
                format!("{}={:?}", name.escape_ascii(), &value[..len])
            });
            line += &format!(
                " {} {sum} {} {:?}",
                contents.len(),
                found.nlink(),
                values.collect::<Vec<_>>()
            );
        }
        facts.push(line);
    }
    facts.sort();
    facts
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A volume, and a tree beside it.
fn bed(mebibytes: u64, options: &[&str]) -> (Volume, PathBuf) {
    let volume = Volume::new(mebibytes, options);
    let root = volume.dir().join("tree");
    fs::create_dir(&root).expect("a directory");
    tree(&root);
    (volume, root)
}

const LOCAL: &[&str] = &["-M", "local", "--fs-features=xattr,metaecc"];

#[test]
fn a_tree_that_is_copied_in_and_out_again_is_the_same() {
    for options in [
        LOCAL,
        &[
            "-M",
            "local",
            "-b",
            "512",
            "--fs-feature-level=max-compat",
            "--fs-features=xattr",
        ],
        &[
            "-M",
            "local",
            "-b",
            "1K",
            "-C",
            "64K",
            "--fs-feature-level=max-features",
        ],
    ] {
        let (volume, root) = bed(128, options);
        volume.quiet(&["cp", "-a", text(&root), "@/"]);
        volume.assert_clean();
        let out = volume.dir().join("out");
        volume.quiet(&["cp", "-a", "@/tree", text(&out)]);
        assert_eq!(facts(&out), facts(&root), "{options:?}");
        if options == LOCAL {
            let blocks: u64 = volume.stat("%b", "@/tree/sub/sparse").parse().expect("a number");
            assert!(blocks <= 16, "{blocks} of 512 bytes: the hole is kept");
        }
        // A second time, over what is there.
        volume.quiet(&["cp", "-a", &format!("{}/.", root.display()), "@/tree"]);
        volume.assert_clean();
        // From one volume to another, and from one place to another.
        let other = Volume::new(128, options);
        let source = format!("{}:/tree", volume.image.display());
        other.quiet(&["cp", "-a", &source, "@/once"]);
        other.quiet(&["cp", "-a", "@/once", "@/twice"]);
        other.assert_clean();
        let out = volume.dir().join("again");
        other.quiet(&["cp", "-a", "@/twice", text(&out)]);
        assert_eq!(facts(&out), facts(&root), "{options:?}");
    }
}

#[test]
fn copies_go_where_cp_puts_them() {
    let (volume, root) = bed(64, LOCAL);
    let small = root.join("small");
    volume.quiet(&["cp", text(&small), "@/as"]);
    assert_eq!(volume.ok(&["cat", "@/as"]), "small");
    volume.quiet(&["mkdir", "@/d"]);
    volume.quiet(&["cp", text(&small), text(&root.join("empty")), "@/as", "@/d"]);
    volume.quiet(&[
        "cp",
        "-t",
        &format!("{}:/d", volume.image.display()),
        text(&root.join("sub/large")),
    ]);
    assert_eq!(volume.ok(&["ls", "@/d"]), "as\nempty\nlarge\nsmall\n");
    // Without -p, nothing is kept but the permissions that the umask leaves.
    assert_eq!(volume.stat("%a", "@/d/large"), "711");
    assert!(
        volume
            .refused(&["cp", text(&root), "@/d"])
            .contains("is a directory (use -r to copy it)")
    );
    assert!(
        volume
            .refused(&["cp", text(&small), "@/none/x"])
            .contains("/none/: no such file")
    );
    assert!(
        volume
            .refused(&["cp", text(&small), "@/as", "@/as"])
            .contains("/as: not a directory")
    );
    assert!(
        volume
            .refused(&["cp", "@/as", "@/as"])
            .contains("file that is to be copied")
    );
    assert!(
        volume
            .refused(&["cp", "-r", "@/d", "@/d/below"])
            .contains("cannot be copied into itself")
    );
    volume.quiet(&["ln", "-s", "d", "@/to-d"]);
    volume.quiet(&["cp", "-L", text(&root.join("small")), "@/to-d/again"]);
    assert_eq!(volume.ok(&["cat", "@/d/again"]), "small");
    volume.quiet(&["ln", "-s", "as", "@/to-as"]);
    let said = volume.refused(&["cp", text(&root.join("empty")), "@/to-as"]);
    assert!(said.contains("not writing through a symbolic link"), "{said}");
    volume.quiet(&["cp", "-n", text(&root.join("empty")), "@/as"]);
    assert_eq!(volume.ok(&["cat", "@/as"]), "small");
    volume.quiet(&["cp", "-f", text(&root.join("empty")), "@/to-as"]);
    assert_eq!(volume.stat("%F %s", "@/to-as"), "regular file 0");
    assert_eq!(volume.ok(&["cat", "@/as"]), "small");
    let said = volume.ok(&["cp", "-r", "--json", text(&root), "@/d"]);
    let report: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert!(
        report["files"].as_u64() > Some(200) && report["problems"] == serde_json::json!([]),
        "{said}"
    );
    volume.assert_clean();
}

#[test]
fn what_does_not_fit_is_an_error_and_the_volume_stays_sound() {
    let volume = Volume::new(32, LOCAL);
    let big = volume.dir().join("big");
    File::create(&big)
        .and_then(|mut file| file.write_all(&vec![1; 40 << 20]))
        .expect("a file");
    let said = volume.refused(&["cp", text(&big), "@/"]);
    assert!(said.contains("/big: no space left"), "{said}");
    volume.assert_clean();
    volume.quiet(&["rm", "@/big"]);
    volume.quiet(&["mkdir", "@/d"]);
    volume.assert_clean();
}

/// Packs a directory with the tar of this machine.
fn tar(options: &[&str], root: &Path, to: &Path) {
    let status = Command::new("tar")
        .args(options)
        .arg("-cf")
        .arg(to)
        .arg("-C")
        .arg(root)
        .arg(".")
        .stderr(Stdio::null())
        .status();
    assert!(status.expect("tar runs").success());
}

#[test]
fn archives_of_every_form_are_the_tree_that_was_packed() {
    for options in [
        &["--format=gnu"][..],
        &["--format=gnu", "-S"],
        &["--format=posix", "--xattrs"],
        &["--format=posix", "-S", "--xattrs"],
        &["--format=posix", "-S", "--sparse-version=0.1", "--xattrs"],
        &["--format=posix", "-S", "--sparse-version=0.0", "--xattrs"],
    ] {
        let (volume, root) = bed(64, LOCAL);
        let archive = volume.dir().join("archive.tar");
        tar(options, &root, &archive);
        volume.quiet(&["import", text(&archive), "@/in"]);
        volume.assert_clean();
        let out = volume.dir().join("out");
        volume.quiet(&["cp", "-a", "@/in", text(&out)]);
        let comparable = |root: &Path| -> Vec<String> {
            let facts = facts(root).into_iter().filter(|line| !line.starts_with("socket "));
            let pax = options.contains(&"--xattrs");
            facts
                .map(|line| match pax {
                    true => line,
                    // Fractions of seconds and attributes are for pax archives.
                    false => line
                        .split(' ')
                        .map(|word| word.split('.').next().unwrap_or(word))
                        .filter(|word| !word.starts_with('[') && !word.contains("user") && !word.ends_with([',', ']']))
                        .collect(),
                })
                .collect()
        };
        // Sockets cannot be packed, which changes the time of the directory that is read again.
        assert_eq!(comparable(&out), comparable(&root), "{options:?}");
    }
}

/// One entry of an archive: a header, and contents.
fn entry(name: &str, kind: u8, link: &str, contents: &[u8]) -> Vec<u8> {
    let mut header = [0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    header[108..116].copy_from_slice(b"0000000\0");
    header[116..124].copy_from_slice(b"0000000\0");
    header[124..136].copy_from_slice(format!("{:011o}\0", contents.len()).as_bytes());
    header[136..148].copy_from_slice(b"00000000001\0");
    header[156] = kind;
    header[157..157 + link.len()].copy_from_slice(link.as_bytes());
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum::<u32>() + 8 * 32;
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut entry = header.to_vec();
    entry.extend_from_slice(contents);
    entry.resize(entry.len().next_multiple_of(512), 0);
    entry
}

/// Imports an archive that comes through a pipe.
fn piped(volume: &Volume, archive: &[u8]) -> Said {
    let mut child = Command::new(PROGRAM)
        .args(["import", "-"])
        .arg(format!("{}:/in", volume.image.display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    // It may have seen enough before the end.
    let _ = child.stdin.take().expect("a pipe").write_all(archive);
    child.wait_with_output().expect("it ends").into()
}

#[test]
fn nothing_in_an_archive_leads_out_of_the_destination() {
    let volume = Volume::local();
    volume.quiet(&["mkdir", "@/in", "@/outside"]);
    volume.quiet(&["touch", "@/outside/victim"]);
    let archive = [
        entry("../up", b'0', "", b"x"),
        entry("a/../../up", b'0', "", b"x"),
        entry("/absolute", b'0', "", b"fine"),
        entry("link", b'2', "/outside", b""),
        entry("link/through", b'0', "", b"x"),
        entry("hard", b'1', "link/victim", b""),
        entry("hard2", b'1', "../outside/victim", b""),
        entry("strange", b'Z', "", b"x"),
        entry("last", b'0', "", b"last"),
    ]
    .concat();
    let said = piped(&volume, &archive);
    assert_eq!(said.status, 1, "{said:?}");
    assert_eq!(said.stderr.lines().count(), 6, "{said:?}");
    assert_eq!(volume.ok(&["ls", "@/outside"]), "victim\n");
    assert_eq!(volume.ok(&["ls", "@/in"]), "absolute\nlast\nlink\n");
    assert_eq!(volume.ok(&["cat", "@/in/last"]), "last");
    assert_eq!(volume.ok(&["ls", "@/"]), "in\nlost+found\noutside\n");
    volume.assert_clean();
}

#[test]
fn damaged_archives_end_with_an_error_and_a_sound_volume() {
    let volume = Volume::local();
    let sound = entry("file", b'0', "", b"contents");
    let mut huge = entry("name", b'L', "", b"x");
    huge[124..136].copy_from_slice(b"77777777777\0");
    let sum: u32 = huge[..148]
        .iter()
        .chain(&huge[156..512])
        .map(|&byte| u32::from(byte))
        .sum::<u32>()
        + 8 * 32;
    huge[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    for (archive, because) in [
        (b"this is no archive".repeat(50), "no tar archive"),
        (b"\x1f\x8b rest".repeat(100), "compressed"),
        ([&sound[..], &[0x55; 512]].concat(), "wrong checksum"),
        (sound[..700].to_vec(), "ends in the middle"),
        (sound[..515].to_vec(), "ends in the middle"),
        (huge, "to describe one entry"),
        (entry("x", b'x', "", b"999 path=y\n"), "extended header"),
    ] {
        let said = piped(&volume, &archive);
        assert_eq!(said.status, 1, "{because}: {said:?}");
        assert!(said.stderr.contains(because), "{because}: {said:?}");
    }
    assert_eq!(piped(&volume, b"").status, 0);
    volume.assert_clean();
}

#[test]
fn a_volume_made_from_a_tree_is_as_large_as_needed_and_the_same_every_time() {
    let (volume, root) = bed(16, LOCAL);
    let make = |name: &str, from: &Path| {
        let image = volume.dir().join(name);
        let said = ocfs2([
            "mkfs",
            "-q",
            "--seed",
            "5",
            "-M",
            "local",
            "--fs-features=xattr",
            "--owner",
            "7:8",
            "--from",
            text(from),
            text(&image),
        ]);
        assert_eq!((said.status, said.stderr.as_str()), (0, ""), "{said:?}");
        image
    };
    let first = make("first", &root);
    std::thread::sleep(Duration::from_millis(1100));
    let second = make("second", &root);
    let (one, two) = (
        fs::read(&first).expect("an image"),
        fs::read(&second).expect("an image"),
    );
    assert!(one.len() < 64 << 20, "{} bytes", one.len());
    assert!(one == two, "the images differ");
    let out = volume.dir().join("out");
    ocfs2(["cp", "-a", &format!("{}:/.", first.display()), text(&out)]).ok();
    fs::remove_dir(out.join("lost+found")).expect("lost+found");
    let owned = |lines: Vec<String>| -> Vec<String> {
        // Owners are others, and lost+found was taken out of the root directory.
        let lines = lines.into_iter().filter(|line| !line.starts_with(' '));
        lines
            .map(|line| line.split(' ').filter(|word| !word.contains(':')).collect())
            .collect()
    };
    assert_eq!(owned(facts(&out)), owned(facts(&root)));
    let archive = volume.dir().join("tree.tar");
    tar(&["--format=posix", "--xattrs", "--sort=name"], &root, &archive);
    let image = make("third", &archive);
    if require_tool("fsck.ocfs2").is_some() {
        fsck_clean(&image);
        fsck_clean(&first);
    }
}

#[test]
fn the_kernel_sees_what_was_imported() {
    let Some(kernel) = require_kernel() else { return };
    let (volume, root) = bed(128, LOCAL);
    for n in 0..20 {
        let dir = root.join(format!("more/{n}"));
        fs::create_dir_all(&dir).expect("a directory");
        for m in 0..100 {
            fs::write(dir.join(format!("{m}")), format!("{n} {m}").repeat(m)).expect("a file");
        }
    }
    volume.quiet(&["import", text(&root), "@/"]);
    volume.assert_clean();
    let output = kernel
        .disk(&volume.image)
        .script(format!(
            "mount -t ocfs2 /dev/ubda /mnt/a || exit 1
             cd /mnt/a && diff -r -x lost+found --no-dereference . {root} | grep -v ' is a \\(fifo\\|socket\\|character special\\)'
             # The way to the host's files knows whole seconds only.
             list() {{ find . -mindepth 1 -printf '%P %M %U %G %T@ %l\\n' | sed 's/[.][0-9]* / /' | grep -v '^lost+found' | sort; }}
             list > $OUT/volume; cd {root}; list > $OUT/host; diff $OUT/volume $OUT/host
             echo new > /mnt/a/by-the-kernel; umount /mnt/a; echo done",
            root = root.display()
        ))
        .run()
        .expect("the kernel finishes the script");
    assert_eq!(output.stdout, "done\n");
    volume.assert_clean();
    assert_eq!(volume.ok(&["cat", "@/by-the-kernel"]), "new\n");
}
