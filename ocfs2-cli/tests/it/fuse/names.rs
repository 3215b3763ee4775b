//! Names in a mounted directory.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirEntryExt, FileTypeExt, MetadataExt, symlink};
use std::path::Path;
use std::thread;

use rustix::fs::{CWD, FileType, Mode, RenameFlags, makedev, mknodat, renameat_with};

use super::bed::{Bed, as_nobody};

fn code<T>(result: io::Result<T>) -> i32 {
    result.err().and_then(|error| error.raw_os_error()).unwrap_or(0)
}

const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const EEXIST: i32 = 17;
const ENOTDIR: i32 = 20;
const EISDIR: i32 = 21;
const EINVAL: i32 = 22;
const ENAMETOOLONG: i32 = 36;
const ENOTEMPTY: i32 = 39;

#[test]
fn names_of_every_kind_survive_a_remount() {
    let Some(mut bed) = Bed::new() else { return };
    fs::create_dir_all(bed.path("a/b/c")).unwrap();
    fs::write(bed.path("a/file"), b"contents").unwrap();
    fs::hard_link(bed.path("a/file"), bed.path("a/b/link")).unwrap();
    symlink("b/link", bed.path("a/short")).unwrap();
    let long = "x/".repeat(1500);
    symlink(&long, bed.path("a/long")).unwrap();
    let mode = Mode::from_raw_mode(0o640);
    mknodat(CWD, bed.path("fifo"), FileType::Fifo, mode, 0).unwrap();
    mknodat(CWD, bed.path("null"), FileType::CharacterDevice, mode, makedev(1, 3)).unwrap();
    mknodat(CWD, bed.path("disk"), FileType::BlockDevice, mode, makedev(259, 70_000)).unwrap();
    fs::rename(bed.path("a/b/c"), bed.path("moved")).unwrap();
    let number = fs::metadata(bed.path("a/file")).unwrap().ino();
    bed.remount();
    assert_eq!(fs::read(bed.path("a/short")).unwrap(), b"contents");
    assert_eq!(
        fs::read_link(bed.path("a/long")).unwrap().as_os_str(),
        OsStr::new(&long)
    );
    let file = fs::metadata(bed.path("a/b/link")).unwrap();
    assert_eq!((file.ino(), file.nlink()), (number, 2));
    assert!(fs::metadata(bed.path("fifo")).unwrap().file_type().is_fifo());
    let null = fs::metadata(bed.path("null")).unwrap();
    assert!(null.file_type().is_char_device());
    assert_eq!((null.rdev(), null.mode() & 0o7777), (makedev(1, 3), 0o640));
    assert_eq!(fs::metadata(bed.path("disk")).unwrap().rdev(), makedev(259, 70_000));
    // The device opens, as root's mounts have devices.
    File::options()
        .write(true)
        .open(bed.path("null"))
        .unwrap()
        .write_all(b"gone")
        .unwrap();
    assert_eq!(fs::metadata(bed.path("moved")).unwrap().nlink(), 2);
    assert_eq!(fs::metadata(bed.path("a")).unwrap().nlink(), 3);
    bed.end();
}

#[test]
fn refusals_have_the_error_numbers_of_the_kernel() {
    let Some(bed) = Bed::new() else { return };
    fs::create_dir(bed.path("dir")).unwrap();
    fs::write(bed.path("dir/file"), b"").unwrap();
    let p = |name: &str| bed.path(name);
    assert_eq!(code(fs::read(p("none"))), ENOENT);
    // A second time, when the kernel remembers.
    assert_eq!(code(fs::read(p("none"))), ENOENT);
    assert_eq!(code(fs::create_dir(p("dir"))), EEXIST);
    assert_eq!(code(fs::remove_dir(p("dir"))), ENOTEMPTY);
    assert_eq!(code(fs::remove_dir(p("dir/file"))), ENOTDIR);
    assert_eq!(code(fs::read_dir(p("dir/file"))), ENOTDIR);
    assert_eq!(code(fs::remove_file(p("dir"))), EISDIR);
    assert_eq!(code(fs::rename(p("dir"), p("dir/sub"))), EINVAL);
    fs::create_dir(p("empty")).unwrap();
    assert_eq!(code(fs::rename(p("dir/file"), p("empty"))), EISDIR);
    assert_eq!(code(fs::hard_link(p("dir"), p("other"))), EPERM);
    assert_eq!(code(File::create(p(&"n".repeat(256)))), ENAMETOOLONG);
    File::create(p(&"n".repeat(255))).unwrap();
    // What was remembered as missing is there once it is made.
    fs::write(p("none"), b"now").unwrap();
    assert_eq!(fs::read(p("none")).unwrap(), b"now");
    bed.end();
}

#[test]
fn renames_replace_refuse_or_exchange() {
    let Some(bed) = Bed::new() else { return };
    let p = |name: &str| bed.path(name);
    fs::write(p("one"), b"1").unwrap();
    fs::write(p("two"), b"2").unwrap();
    fs::create_dir(p("dir")).unwrap();
    let rename = |from: &str, to: &str, flags| renameat_with(CWD, p(from), CWD, p(to), flags).map_err(io::Error::from);
    assert_eq!(code(rename("one", "two", RenameFlags::NOREPLACE)), EEXIST);
    rename("one", "two", RenameFlags::EXCHANGE).unwrap();
    assert_eq!(
        (fs::read(p("one")).unwrap(), fs::read(p("two")).unwrap()),
        (b"2".to_vec(), b"1".to_vec())
    );
    rename("one", "dir", RenameFlags::EXCHANGE).unwrap();
    assert!(fs::metadata(p("one")).unwrap().is_dir());
    rename("dir", "one/inside", RenameFlags::NOREPLACE).unwrap();
    assert_eq!(fs::read(p("one/inside")).unwrap(), b"2");
    assert_eq!(code(rename("two", "three", RenameFlags::WHITEOUT)), EINVAL);
    fs::rename(p("two"), p("one/inside")).unwrap();
    assert_eq!(fs::read(p("one/inside")).unwrap(), b"1");
    bed.end();
}

#[test]
fn a_file_without_a_name_lives_until_it_is_closed() {
    let Some(bed) = Bed::new() else { return };
    let free = || rustix::fs::statvfs(bed.dir()).unwrap().f_bfree;
    let before = free();
    let mut file = File::create_new(bed.path("file")).unwrap();
    file.write_all(&vec![7; 8 << 20]).unwrap();
    fs::remove_file(bed.path("file")).unwrap();
    let mut dir = fs::create_dir(bed.path("dir"))
        .map(|()| File::open(bed.path("dir")).unwrap())
        .unwrap();
    fs::remove_dir(bed.path("dir")).unwrap();
    assert_eq!(file.metadata().unwrap().nlink(), 0);
    assert_eq!(dir.metadata().unwrap().nlink(), 0);
    assert!(dir.read(&mut [0]).is_err());
    file.write_all(b"still").unwrap();
    assert!(free() < before);
    drop((file, dir));
    // The kernel forgets when it finds the time.
    for _ in 0..500 {
        if free() == before {
            return bed.end();
        }
        thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("{} blocks are missing", before - free());
}

/// What is in a directory, with the inode numbers that it says.
fn listing(dir: &Path) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        assert!(
            all.insert(name, entry.ino()).is_none(),
            "{:?} appears twice",
            entry.file_name()
        );
    }
    all
}

#[test]
fn large_directories_list_every_name_once_while_names_go() {
    let Some(mut bed) = Bed::new() else { return };
    let dir = bed.path("many");
    fs::create_dir(&dir).unwrap();
    let names: BTreeSet<String> = (0..3000).map(|i| format!("{i:03}{}", "n".repeat(i % 60))).collect();
    for name in &names {
        File::create_new(dir.join(name)).unwrap();
    }
    let listed = listing(&dir);
    assert!(listed.keys().eq(names.iter()));
    for (name, number) in listed.iter().step_by(37) {
        assert_eq!(fs::metadata(dir.join(name)).unwrap().ino(), *number);
    }
    bed.remount();
    assert_eq!(listing(&dir), listed);
    // Removing while listing, as rm -r does.
    for (at, entry) in fs::read_dir(&dir).unwrap().enumerate() {
        if at % 3 != 0 {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
    }
    let left = listing(&dir);
    assert_eq!(left.len(), 1000);
    assert!(left.iter().all(|(name, number)| listed.get(name) == Some(number)));
    fs::remove_dir_all(&dir).unwrap();
    bed.end();
}

#[test]
fn the_root_and_dot_entries_have_the_numbers_that_the_volume_gives_them() {
    let Some(mut bed) = Bed::new() else { return };
    fs::create_dir(bed.path("dir")).unwrap();
    let numbers = |dir: &Path| {
        let mut found = [0; 2];
        for entry in rustix::fs::Dir::read_from(File::open(dir).unwrap()).unwrap() {
            let entry = entry.unwrap();
            match entry.file_name().to_bytes() {
                b"." => found[0] = entry.ino(),
                b".." => found[1] = entry.ino(),
                _ => {}
            }
        }
        found
    };
    let stat = |path: &Path| fs::metadata(path).unwrap().ino();
    let (root, dir) = (stat(&bed.dir()), stat(&bed.path("dir")));
    assert_eq!(stat(&bed.path("dir/..")), root);
    // The system fills in what lies outside of a mount.
    assert_eq!(numbers(&bed.dir())[0], root);
    assert_eq!(numbers(&bed.path("dir")), [dir, root]);
    bed.unmount();
    let said = crate::run::ocfs2(["ls", "-lai", &format!("{}:/", bed.image().display())]).ok();
    assert!(
        said.lines()
            .any(|line| line.trim_start().starts_with(&format!("{root} "))),
        "{said}"
    );
}

#[test]
fn permissions_bind_other_users() {
    let Some(bed) = Bed::new() else { return };
    fs::create_dir(bed.path("open")).unwrap();
    let mode = |path: &str, mode| rustix::fs::chmod(bed.path(path), Mode::from_raw_mode(mode)).unwrap();
    rustix::fs::chmod(bed.folder(), Mode::from_raw_mode(0o755)).unwrap();
    mode("open", 0o1777);
    fs::write(bed.path("open/mine"), b"secret").unwrap();
    mode("open/mine", 0o600);
    assert_ne!(as_nobody("cat \"$1\"", &bed.path("open/mine")), 0);
    // The sticky bit keeps others from removing what is not theirs.
    assert_ne!(as_nobody("rm -f \"$1\"", &bed.path("open/mine")), 0);
    assert_eq!(as_nobody("echo x > \"$1\"", &bed.path("open/theirs")), 0);
    let theirs = fs::metadata(bed.path("open/theirs")).unwrap();
    assert_eq!((theirs.uid(), theirs.gid()), (65534, 65534));
    mode("open/mine", 0o604);
    assert_eq!(as_nobody("cat \"$1\" > /dev/null", &bed.path("open/mine")), 0);
    assert_ne!(as_nobody("echo x >> \"$1\"", &bed.path("open/mine")), 0);
    bed.end();
}

#[test]
fn many_threads_make_move_and_remove_names_at_once() {
    let Some(bed) = Bed::new() else { return };
    for dir in ["a", "b"] {
        fs::create_dir(bed.path(dir)).unwrap();
    }
    thread::scope(|scope| {
        for worker in 0..4 {
            let bed = &bed;
            scope.spawn(move || {
                for i in 0..120 {
                    let (from, to) = (format!("a/{worker}-{i}"), format!("b/{worker}-{i}"));
                    fs::write(bed.path(&from), from.as_bytes()).unwrap();
                    fs::rename(bed.path(&from), bed.path(&to)).unwrap();
                    assert_eq!(fs::read(bed.path(&to)).unwrap(), from.as_bytes());
                    if i % 2 == 0 {
                        fs::remove_file(bed.path(&to)).unwrap();
                    }
                    // Everybody's.
                    drop(File::create(bed.path("a/shared")));
                    drop(fs::rename(bed.path("a/shared"), bed.path("b/shared")));
                    drop(fs::remove_file(bed.path("b/shared")));
                }
            });
        }
    });
    let left = listing(&bed.path("b"))
        .into_keys()
        .filter(|name| name != "shared")
        .count();
    assert_eq!(left, 4 * 60);
    bed.end();
}
