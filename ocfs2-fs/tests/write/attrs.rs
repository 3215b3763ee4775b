//! Modes, owners, times and flags.

use ocfs2_format::{InodeAttr, InodeNo};
use ocfs2_fs::{Caller, Error, FileSystem, NewInode, SetAttributes, SetTime, Timestamp, XattrMode};
use ocfs2_testkit::require_kernel;

use crate::bed::{Bed, SHAPES, Shape};

fn file(fs: &FileSystem, name: &[u8], mode: u32) -> InodeNo {
    let new = NewInode::with_mode(mode);
    fs.create_file(fs.root(), name, &new).expect("a file").number()
}

fn owner(uid: Option<u32>, gid: Option<u32>) -> SetAttributes {
    SetAttributes {
        uid,
        gid,
        ..SetAttributes::default()
    }
}

fn mode(mode: u32) -> SetAttributes {
    SetAttributes {
        mode: Some(mode),
        ..SetAttributes::default()
    }
}

fn permissions(fs: &FileSystem, inode: InodeNo) -> u32 {
    fs.inode(inode).expect("the inode").mode() & 0o7777
}

#[test]
fn times_are_set_to_the_nanosecond_and_before_1970() {
    for &shape in SHAPES {
        let bed = Bed::new(shape);
        let fs = bed.mount();
        let inode = file(&fs, b"f", 0o644);
        let before = fs.inode(inode).unwrap();
        let (atime, mtime) = (
            Timestamp {
                secs: -5,
                nanos: 999_999_999,
            },
            Timestamp {
                secs: 1 << 33,
                nanos: 1,
            },
        );
        let change = SetAttributes {
            atime: Some(SetTime::At(atime)),
            mtime: Some(SetTime::At(mtime)),
            ..SetAttributes::default()
        };
        let after = fs.set_attributes(inode, &change).unwrap();
        assert_eq!((after.atime(), after.mtime()), (atime, mtime));
        assert!(after.ctime() > before.ctime());
        let touched = SetAttributes {
            atime: Some(SetTime::Now),
            ..SetAttributes::default()
        };
        let after = fs.set_attributes(inode, &touched).unwrap();
        assert_eq!((after.atime(), after.mtime()), (after.ctime(), mtime));
        fs.unmount().unwrap();
        let read = bed.volume().metadata("/f").unwrap();
        assert_eq!((read.atime(), read.mtime()), (after.atime(), mtime));
        bed.assert_clean();
    }
}

#[test]
fn a_new_owner_takes_the_bits_that_lend_rights_away_from_files() {
    let bed = Bed::new(Shape::default());
    let fs = bed.mount();
    let program = file(&fs, b"program", 0o6755);
    let set = |name: &[u8]| fs.set_xattr(program, name, b"value", XattrMode::Set).unwrap();
    set(b"security.capability");
    set(b"security.other");
    let after = fs.set_attributes(program, &owner(Some(7), None)).unwrap();
    assert_eq!((after.uid(), after.gid(), after.mode() & 0o7777), (7, 0, 0o755));
    assert_eq!(fs.xattr_names(program).unwrap(), [b"security.other"]);
    let locking = file(&fs, b"locking", 0o2644);
    fs.set_attributes(locking, &owner(None, Some(7))).unwrap();
    assert_eq!(permissions(&fs, locking), 0o2644);
    let new = NewInode::with_mode(0o3777);
    let dir = fs.make_dir(fs.root(), b"dir", &new).unwrap().number();
    fs.set_attributes(dir, &owner(Some(7), Some(8))).unwrap();
    assert_eq!(permissions(&fs, dir), 0o3777);
    fs.unmount().unwrap();
    bed.assert_clean();
}

#[test]
fn a_new_length_takes_capabilities_away_and_a_write_does_not() {
    let bed = Bed::new(Shape::default());
    let fs = bed.mount();
    let program = file(&fs, b"program", 0o755);
    let used = fs.use_inode(&fs.inode(program).unwrap()).unwrap();
    let names = || fs.xattr_names(program).unwrap();
    fs.set_xattr(program, b"security.capability", b"value", XattrMode::Set)
        .unwrap();
    fs.write_at(&used, 0, &[1; 10_000]).unwrap();
    assert_eq!(names(), [b"security.capability"]);
    fs.set_len(&used, 10_000).unwrap();
    assert!(names().is_empty());
    fs.unmount().unwrap();
    bed.assert_clean();
}

#[test]
fn reading_where_a_symbolic_link_leads_to_is_no_access() {
    let bed = Bed::new(Shape::default());
    let mut options = ocfs2_fs::MountOptions::default();
    options.atime = ocfs2_fs::Atime::Quantum(std::time::Duration::ZERO);
    let fs = bed.mount_with(&options);
    let link = fs
        .symlink("target", "/link")
        .map(|()| fs.symlink_metadata("/link").unwrap())
        .unwrap();
    let long_ago = SetAttributes {
        atime: Some(SetTime::At(Timestamp { secs: 1000, nanos: 0 })),
        ..SetAttributes::default()
    };
    fs.set_attributes(link.number(), &long_ago).unwrap();
    assert_eq!(fs.link_target(link.number()).unwrap(), b"target");
    assert_eq!(fs.inode(link.number()).unwrap().atime().secs, 1000);
    fs.unmount().unwrap();
    bed.assert_clean();
}

#[test]
fn only_owners_change_modes_and_give_files_to_their_groups() {
    let bed = Bed::new(Shape::default());
    let fs = bed.mount();
    let inode = file(&fs, b"f", 0o644);
    fs.set_attributes(inode, &owner(Some(10), Some(20))).unwrap();
    let user = |uid, gid| Caller {
        uid,
        gid,
        groups: vec![30],
        ..Caller::default()
    };
    let refused = |change: &SetAttributes, caller: &Caller| {
        let result = fs.set_attributes_as(inode, change, caller);
        assert!(
            matches!(result, Err(Error::NotPermitted { .. } | Error::AccessDenied)),
            "{change:?} {caller:?}"
        );
    };
    refused(&mode(0o600), &user(11, 20));
    refused(&owner(Some(11), None), &user(10, 20));
    refused(&owner(None, Some(40)), &user(10, 20));
    refused(&owner(None, Some(30)), &user(11, 20));
    let touch = SetAttributes {
        mtime: Some(SetTime::Now),
        ..SetAttributes::default()
    };
    refused(&touch, &user(11, 20));
    fs.set_attributes_as(inode, &owner(None, Some(30)), &user(10, 20))
        .unwrap();
    fs.set_attributes_as(inode, &mode(0o2766), &user(10, 20)).unwrap();
    assert_eq!(permissions(&fs, inode), 0o2766);
    fs.set_attributes(inode, &owner(None, Some(99))).unwrap();
    fs.set_attributes_as(inode, &mode(0o2766), &user(10, 20)).unwrap();
    assert_eq!(
        permissions(&fs, inode),
        0o766,
        "not for a group that the owner is not in"
    );
    fs.set_attributes_as(inode, &touch, &user(11, 20)).unwrap();
}

#[test]
fn immutable_and_append_only_inodes_keep_their_attributes() {
    let bed = Bed::new(Shape::default());
    let fs = bed.mount();
    let inode = file(&fs, b"f", 0o644);
    let touch = SetAttributes {
        mtime: Some(SetTime::Now),
        ..SetAttributes::default()
    };
    for (flag, may_touch) in [(InodeAttr::IMMUTABLE, false), (InodeAttr::APPEND, true)] {
        fs.set_flags(inode, flag).unwrap();
        let is_refused = |result: Result<(), Error>| matches!(result, Err(Error::NotPermitted { .. }));
        assert!(is_refused(fs.set_attributes(inode, &mode(0o600)).map(drop)));
        assert!(is_refused(fs.set_attributes(inode, &owner(Some(1), None)).map(drop)));
        assert!(is_refused(fs.set_xattr(inode, b"user.a", b"b", XattrMode::Set)));
        assert!(is_refused(fs.set_acl(inode, ocfs2_fs::AclKind::Access, None)));
        assert_eq!(fs.set_attributes(inode, &touch).is_ok(), may_touch);
    }
    fs.set_flags(inode, InodeAttr::empty()).unwrap();
    fs.set_attributes(inode, &mode(0o600)).unwrap();
    assert!(matches!(
        fs.set_flags(InodeNo(7), InodeAttr::empty()),
        Err(Error::NotPermitted { .. })
    ));
}

#[test]
fn the_flags_that_can_be_set_are_those_of_the_kernel() {
    let Some(kernel) = require_kernel() else { return };
    let bed = Bed::new(Shape::default());
    let fs = bed.mount();
    let all = InodeAttr::from_bits_retain(0x3_FFFF & !0x30);
    let inode = file(&fs, b"ours", 0o644);
    fs.set_flags(inode, all).unwrap();
    let dir = fs
        .make_dir(fs.root(), b"ours-dir", &NewInode::with_mode(0o755))
        .unwrap()
        .number();
    fs.set_flags(dir, all).unwrap();
    fs.unmount().unwrap();
    let image = tempfile::tempdir().unwrap();
    let image = (image.path().join("volume"), image);
    bed.save(&image.0);
    // FS_IOC_SETFLAGS and FS_IOC_GETFLAGS of 64-bit machines.
    let script = r#"
set -e
mount -t ocfs2 /dev/ubda /mnt/a
cd /mnt/a
touch theirs; mkdir theirs-dir
python3 - > $OUT/flags <<'P'
import fcntl, os, struct
for name in ["theirs", "theirs-dir"]:
    fd = os.open(name, os.O_RDONLY)
    fcntl.ioctl(fd, 0x40086602, struct.pack("l", 0x3FFFF & ~0x30))
for name in ["ours", "theirs", "ours-dir", "theirs-dir"]:
    fd = os.open(name, os.O_RDONLY)
    print(name, hex(struct.unpack("l", fcntl.ioctl(fd, 0x80086601, bytes(8)))[0]))
P
"#;
    let output = kernel
        .disk(&image.0)
        .script(script)
        .run()
        .expect("the kernel finishes")
        .ok();
    let flags = String::from_utf8(output.read("flags").unwrap()).unwrap();
    let flags: Vec<&str> = flags.split_whitespace().collect();
    assert_eq!((flags[1], flags[5]), (flags[3], flags[7]), "{flags:?}");
}
