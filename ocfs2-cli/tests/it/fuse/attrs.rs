//! Attributes in a mounted directory.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown, lchown, symlink};
use std::process::Command;

use rustix::fs::{
    AtFlags, CWD, IFlags, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, XattrFlags, getxattr, ioctl_getflags,
    ioctl_setflags, listxattr, removexattr, setxattr, utimensat,
};

use ocfs2_testkit::require_tool;

use super::bed::{Bed, as_nobody};

const EPERM: i32 = 1;
const EEXIST: i32 = 17;
const ERANGE: i32 = 34;
const ENODATA: i32 = 61;
const EOPNOTSUPP: i32 = 95;

fn time(tv_sec: i64, tv_nsec: i64) -> Timespec {
    Timespec { tv_sec, tv_nsec }
}

#[test]
fn owners_modes_and_times_survive_a_remount() {
    let Some(mut bed) = Bed::new() else { return };
    let path = bed.path("file");
    fs::write(&path, b"x").unwrap();
    symlink("file", bed.path("link")).unwrap();
    chown(&path, Some(1000), Some(70_000)).unwrap();
    lchown(bed.path("link"), Some(5), None).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o6751)).unwrap();
    let times = Timestamps {
        last_access: time(-2, 500_000_000),
        last_modification: time(5_000_000_000, 123_456_789),
    };
    utimensat(CWD, &path, &times, AtFlags::empty()).unwrap();
    bed.remount();
    let file = fs::metadata(&path).unwrap();
    assert_eq!((file.uid(), file.gid(), file.mode()), (1000, 70_000, 0o106_751));
    assert_eq!((file.atime(), file.atime_nsec()), (-2, 500_000_000));
    assert_eq!((file.mtime(), file.mtime_nsec()), (5_000_000_000, 123_456_789));
    assert_eq!(fs::symlink_metadata(bed.path("link")).unwrap().uid(), 5);
    // One of them now, the other as it is.
    let times = Timestamps {
        last_access: time(0, UTIME_OMIT),
        last_modification: time(0, UTIME_NOW),
    };
    utimensat(CWD, &path, &times, AtFlags::empty()).unwrap();
    let file = fs::metadata(&path).unwrap();
    assert_eq!((file.atime(), file.atime_nsec()), (-2, 500_000_000));
    assert!(file.mtime() > 1_600_000_000 && file.mtime() < 5_000_000_000);
    assert_eq!((file.mtime(), file.mtime_nsec()), (file.ctime(), file.ctime_nsec()));
    bed.end();
}

#[test]
fn changes_by_others_take_set_user_id_away_and_those_of_root_do_not() {
    let Some(bed) = Bed::new() else { return };
    fs::set_permissions(bed.folder(), Permissions::from_mode(0o755)).unwrap();
    let path = bed.path("file");
    let mode = || fs::metadata(&path).unwrap().mode() & 0o7777;
    fs::write(&path, b"x").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o6777)).unwrap();
    File::options()
        .append(true)
        .open(&path)
        .unwrap()
        .write_all(b"root")
        .unwrap();
    assert_eq!(mode(), 0o6777);
    for script in [
        "echo more >> \"$1\"",
        "truncate -s 1 \"$1\"",
        ": > \"$1\"",
        "fallocate -l 100 \"$1\"",
    ] {
        fs::set_permissions(&path, Permissions::from_mode(0o6777)).unwrap();
        assert_eq!(as_nobody(script, &path), 0, "{script}");
        assert_eq!(mode(), 0o777, "{script}");
    }
    fs::set_permissions(&path, Permissions::from_mode(0o6777)).unwrap();
    chown(&path, Some(7), None).unwrap();
    assert_eq!(mode(), 0o777);
    bed.end();
}

#[test]
fn extended_attributes_have_values_of_all_sizes() {
    let Some(mut bed) = Bed::new() else { return };
    let path = bed.path("file");
    fs::write(&path, b"x").unwrap();
    let large = vec![3; 60_000];
    let all: [(&str, &[u8]); 5] = [
        ("user.small", b"value"),
        ("user.empty", b""),
        ("user.large", &large),
        ("trusted.root", b"only"),
        ("security.thing", b"label"),
    ];
    for (name, value) in all {
        setxattr(&path, name, value, XattrFlags::empty()).unwrap();
    }
    let code = |result: rustix::io::Result<()>| result.err().map_or(0, |error| error.raw_os_error());
    assert_eq!(code(setxattr(&path, "user.small", b"", XattrFlags::CREATE)), EEXIST);
    assert_eq!(code(setxattr(&path, "user.none", b"", XattrFlags::REPLACE)), ENODATA);
    assert_eq!(
        code(setxattr(&path, "other.name", b"", XattrFlags::empty())),
        EOPNOTSUPP
    );
    bed.remount();
    let mut value = vec![0; 65_536];
    for (name, wanted) in all {
        let len = getxattr(&path, name, &mut value[..]).unwrap();
        assert!(value[..len] == *wanted, "{name}");
    }
    assert_eq!(
        getxattr(&path, "user.small", &mut value[..2])
            .unwrap_err()
            .raw_os_error(),
        ERANGE
    );
    assert_eq!(
        getxattr(&path, "user.none", &mut value[..]).unwrap_err().raw_os_error(),
        ENODATA
    );
    let len = listxattr(&path, &mut value[..]).unwrap();
    let names: Vec<_> = value[..len]
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
        .collect();
    assert_eq!(names.len(), all.len(), "{names:?}");
    removexattr(&path, "user.large").unwrap();
    assert_eq!(removexattr(&path, "user.large").unwrap_err().raw_os_error(), ENODATA);
    bed.end();
}

/// An ACL as setxattr(2) takes it: tags, permissions and ids.
fn acl(records: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, perm, id) in records {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(perm.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

const NOBODY: u32 = u32::MAX;

#[test]
fn acls_grant_and_are_inherited_whatever_the_umask() {
    let Some(bed) = Bed::new() else { return };
    fs::set_permissions(bed.folder(), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(bed.dir(), Permissions::from_mode(0o755)).unwrap();
    let (dir, file) = (bed.path("dir"), bed.path("dir/file"));
    fs::create_dir(&dir).unwrap();
    let rights = acl(&[
        (1, 7, NOBODY),
        (2, 7, 65534),
        (4, 5, NOBODY),
        (0x10, 7, NOBODY),
        (0x20, 0, NOBODY),
    ]);
    setxattr(&dir, "system.posix_acl_default", &rights, XattrFlags::empty()).unwrap();
    setxattr(&dir, "system.posix_acl_access", &rights, XattrFlags::empty()).unwrap();
    assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o7777, 0o770);
    let made = Command::new("sh")
        .args(["-c", "umask 077; echo x > \"$1\"", "sh"])
        .arg(&file)
        .status();
    assert!(made.unwrap().success());
    // The mask is what the mode of open(2) has for the group.
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o660);
    assert_eq!(as_nobody("echo more >> \"$1\"", &file), 0);
    fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
    assert_ne!(as_nobody("echo more >> \"$1\"", &file), 0);
    assert_eq!(as_nobody("cat \"$1\" > /dev/null", &file), 0);
    let mut value = [0; 200];
    let len = getxattr(&file, "system.posix_acl_access", &mut value[..]).unwrap();
    let wanted = acl(&[
        (1, 6, NOBODY),
        (2, 7, 65534),
        (4, 5, NOBODY),
        (0x10, 4, NOBODY),
        (0x20, 0, NOBODY),
    ]);
    assert_eq!(value[..len], wanted);
    removexattr(&file, "system.posix_acl_access").unwrap();
    assert_ne!(as_nobody("cat \"$1\" > /dev/null", &file), 0);
    bed.end();
}

#[test]
fn an_acl_set_by_an_owner_outside_the_group_takes_set_group_id_away() {
    let Some(bed) = Bed::new() else { return };
    if require_tool("setfacl").is_none() {
        return;
    }
    fs::set_permissions(bed.folder(), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(bed.dir(), Permissions::from_mode(0o755)).unwrap();
    let mode_after = |group: u32| {
        let file = bed.path(format!("of-{group}"));
        fs::write(&file, b"#!/bin/true").unwrap();
        chown(&file, Some(65534), Some(group)).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o2755)).unwrap();
        assert_eq!(as_nobody("setfacl -m u:1:r \"$1\"", &file), 0);
        fs::metadata(&file).unwrap().mode() & 0o7777
    };
    assert_eq!(mode_after(65534), 0o2755);
    assert_eq!(mode_after(4), 0o755);
    bed.end();
}

#[test]
fn flags_of_chattr_are_set_seen_and_obeyed() {
    let Some(bed) = Bed::new() else { return };
    let path = bed.path("file");
    fs::write(&path, b"start").unwrap();
    let file = File::open(&path).unwrap();
    let before = fs::metadata(&path).unwrap();
    ioctl_setflags(&file, IFlags::IMMUTABLE).unwrap();
    assert_eq!(ioctl_getflags(&file).unwrap(), IFlags::IMMUTABLE);
    let after = fs::metadata(&path).unwrap();
    assert!((after.ctime(), after.ctime_nsec()) > (before.ctime(), before.ctime_nsec()));
    let code = |result: std::io::Result<()>| result.err().and_then(|error| error.raw_os_error()).unwrap_or(0);
    assert_eq!(code(File::options().write(true).open(&path).map(drop)), EPERM);
    assert_eq!(code(fs::remove_file(&path)), EPERM);
    assert_eq!(code(fs::rename(&path, bed.path("other"))), EPERM);
    assert_eq!(code(fs::hard_link(&path, bed.path("other"))), EPERM);
    ioctl_setflags(&file, IFlags::APPEND).unwrap();
    assert_eq!(code(File::options().write(true).open(&path).map(drop)), EPERM);
    assert_eq!(code(File::create(&path).map(drop)), EPERM);
    let mut append = File::options().append(true).open(&path).unwrap();
    append.write_all(b" and").unwrap();
    append.write_all(b" more").unwrap();
    let both = (OFlags::APPEND | OFlags::TRUNC).bits() as i32;
    let truncate = File::options().write(true).custom_flags(both).open(&path);
    assert_eq!(code(truncate.map(drop)), EPERM);
    assert_eq!(fs::read(&path).unwrap(), b"start and more");
    ioctl_setflags(&file, IFlags::empty()).unwrap();
    drop((file, append));
    fs::remove_file(&path).unwrap();
    bed.end();
}

#[test]
fn the_volume_says_how_full_it_is_and_trims_what_is_free() {
    let Some(bed) = Bed::with(&["-b", "4096"], &[]) else {
        return;
    };
    let stats = || rustix::fs::statvfs(bed.dir()).unwrap();
    let empty = stats();
    assert_eq!((empty.f_namemax, empty.f_frsize), (255, 4096));
    assert_eq!(empty.f_blocks * empty.f_frsize, 256 << 20);
    fs::write(bed.path("file"), vec![1; 10 << 20]).unwrap();
    assert!(empty.f_bfree - stats().f_bfree >= (10 << 20) / 4096);
    let said = Command::new("fstrim").arg("-v").arg(bed.dir()).output().unwrap();
    assert!(said.status.success(), "{said:?}");
    bed.end();
}
