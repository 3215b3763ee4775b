//! ACLs: what they do to modes, what modes do to them, how they are handed down; compared with the kernel.

use ocfs2_fs::{
    Acl, AclKind, AclRecord, AclTag, Caller, Error, FileSystem, MAY_READ, MAY_WRITE, NewInode, SetAttributes,
};
use ocfs2_testkit::require_kernel;

use crate::bed::{Bed, SHAPES, Shape};

fn acl(records: &[(AclTag, u16)]) -> Acl {
    let entries = records.iter().map(|&(tag, perm)| AclRecord { tag, perm });
    Acl {
        entries: entries.collect(),
    }
}

fn handed_down() -> Acl {
    acl(&[
        (AclTag::UserObj, 7),
        (AclTag::User(1000), 7),
        (AclTag::GroupObj, 5),
        (AclTag::Group(2000), 5),
        (AclTag::Mask, 7),
        (AclTag::Other, 0),
    ])
}

/// So many users that the value needs clusters of its own.
fn long() -> Acl {
    let mut records = vec![(AclTag::UserObj, 7)];
    records.extend((0..40).map(|uid| (AclTag::User(3000 + uid), 5)));
    records.extend([(AclTag::GroupObj, 5), (AclTag::Mask, 5), (AclTag::Other, 1)]);
    acl(&records)
}

fn mode(mode: u32) -> SetAttributes {
    SetAttributes {
        mode: Some(mode),
        ..SetAttributes::default()
    }
}

fn with_umask(mode: u32) -> NewInode {
    let mut new = NewInode::with_mode(mode);
    new.umask = 0o022;
    new
}

/// What [`KERNEL`] does, by us.
fn populate(fs: &FileSystem) {
    let root = fs.root();
    let dir = fs.make_dir(root, b"d", &with_umask(0o777)).unwrap().number();
    fs.set_acl(dir, AclKind::Default, Some(&handed_down())).unwrap();
    fs.create_file(dir, b"f", &with_umask(0o666)).unwrap();
    let sub = fs.make_dir(dir, b"sub", &with_umask(0o777)).unwrap().number();
    fs.create_file(sub, b"f", &with_umask(0o640)).unwrap();
    fs.make_symlink(sub, b"link", b"f", &with_umask(0o777)).unwrap();
    let changed = fs.create_file(sub, b"changed", &with_umask(0o666)).unwrap().number();
    fs.set_attributes(changed, &mode(0o4510)).unwrap();
    let many = fs.make_dir(root, b"many", &with_umask(0o777)).unwrap().number();
    fs.set_acl(many, AclKind::Default, Some(&long())).unwrap();
    let below = fs.make_dir(many, b"below", &with_umask(0o777)).unwrap().number();
    fs.create_file(below, b"f", &with_umask(0o666)).unwrap();
    let plain = fs.create_file(root, b"plain", &with_umask(0o600)).unwrap().number();
    let of_mode = acl(&[(AclTag::UserObj, 6), (AclTag::GroupObj, 4), (AclTag::Other, 4)]);
    fs.set_acl(plain, AclKind::Access, Some(&of_mode)).unwrap();
    let rich = fs.create_file(root, b"rich", &with_umask(0o600)).unwrap().number();
    fs.set_acl(rich, AclKind::Access, Some(&handed_down())).unwrap();
    let none = fs.create_file(root, b"none", &with_umask(0o600)).unwrap().number();
    fs.set_acl(none, AclKind::Access, Some(&handed_down())).unwrap();
    fs.set_acl(none, AclKind::Access, None).unwrap();
}

const KERNEL: &str = r#"
set -e
umask 022
LONG=u::7,$(seq -s, -f 'u:%g:5' 3000 3039),g::5,m::5,o::1
populate() {
    mkdir d
    setfacl -d -m u::7,u:1000:7,g::5,g:2000:5,m::7,o::0 d
    python3 -c 'import os; os.close(os.open("d/f", os.O_CREAT | os.O_WRONLY, 0o666))'
    mkdir d/sub
    python3 -c 'import os; os.close(os.open("d/sub/f", os.O_CREAT | os.O_WRONLY, 0o640))'
    ln -s f d/sub/link
    python3 -c 'import os; os.close(os.open("d/sub/changed", os.O_CREAT | os.O_WRONLY, 0o666))'
    chmod 4510 d/sub/changed
    mkdir many
    setfacl -d -m $LONG many
    mkdir many/below
    python3 -c 'import os; os.close(os.open("many/below/f", os.O_CREAT | os.O_WRONLY, 0o666))'
    for name in plain rich none; do
        python3 -c "import os; os.close(os.open('$name', os.O_CREAT | os.O_WRONLY, 0o600))"
    done
    setfacl -m u::6,g::4,o::4 plain
    setfacl -m u::7,u:1000:7,g::5,g:2000:5,m::7,o::0 rich
    setfacl -m u::7,u:1000:7,g::5,g:2000:5,m::7,o::0 none
    setfacl -x u:1000,g:2000,m:: none 2> /dev/null || true
    python3 -c 'import os; os.path.exists("none") and "system.posix_acl_access" in os.listxattr("none") and os.removexattr("none", "system.posix_acl_access")'
    chmod 770 none
}
show() {
    find d many plain rich none | sort | while read -r name; do
        stat -c '%n %f' "$name"
        test -L "$name" || getfacl -n -p "$name"
    done
}
mount -t ocfs2 /dev/ubda /mnt/a
cd /mnt/a; show > $OUT/ours; cd /
umount /mnt/a
mount -t ocfs2 /dev/ubdb /mnt/a
cd /mnt/a; populate; show > $OUT/kernel; cd /
umount /mnt/a
"#;

#[test]
fn acls_are_handed_down_and_follow_modes_as_the_kernel_does_it() {
    let Some(kernel) = require_kernel() else { return };
    // The kernel wants journals larger than those of the smallest volumes.
    let small_blocks = Shape { mib: 300, ..SHAPES[1] };
    for shape in [SHAPES[0], small_blocks] {
        let dir = tempfile::tempdir().unwrap();
        let images = [dir.path().join("ours"), dir.path().join("kernel")];
        let bed = Bed::new(shape);
        bed.save(&images[1]);
        let fs = bed.mount();
        populate(&fs);
        fs.unmount().unwrap();
        bed.assert_clean();
        bed.save(&images[0]);
        let output = kernel
            .clone()
            .disk(&images[0])
            .disk(&images[1])
            .script(KERNEL)
            .run()
            .expect("the kernel finishes")
            .ok();
        let [ours, kernels] = ["ours", "kernel"].map(|name| String::from_utf8(output.read(name).unwrap()).unwrap());
        assert!(ours.contains("user:1000:rwx"), "{ours}");
        assert_eq!(ours, kernels, "{shape:?}");
    }
}

#[test]
fn an_acl_that_is_no_more_than_a_mode_is_not_stored_and_changes_the_mode() {
    let bed = Bed::new(Shape::default());
    let fs = bed.mount();
    let file = fs
        .create_file(fs.root(), b"f", &NewInode::with_mode(0o600))
        .unwrap()
        .number();
    let of_mode = acl(&[(AclTag::UserObj, 6), (AclTag::GroupObj, 4), (AclTag::Other, 0)]);
    fs.set_acl(file, AclKind::Access, Some(&of_mode)).unwrap();
    assert_eq!(fs.acl(file, AclKind::Access).unwrap(), None);
    assert_eq!(fs.inode(file).unwrap().mode() & 0o7777, 0o640);
    fs.set_acl(file, AclKind::Access, Some(&long())).unwrap();
    assert_eq!(fs.acl(file, AclKind::Access).unwrap(), Some(long()));
    assert_eq!(fs.inode(file).unwrap().mode() & 0o7777, 0o751);
    fs.set_attributes(file, &mode(0o700)).unwrap();
    let changed = fs.acl(file, AclKind::Access).unwrap().unwrap();
    assert_eq!(changed.entries[42].perm, 0, "the mask follows the group bits");
    assert_eq!(changed.entries[41].perm, 5, "the group keeps its own");
    assert!(matches!(
        fs.set_acl(file, AclKind::Default, Some(&long())),
        Err(Error::NotPermitted { .. })
    ));
    let stored = fs.xattr(file, b"system.posix_acl_access").unwrap();
    assert_eq!(stored, changed.to_posix_xattr());
    fs.remove_xattr(file, b"system.posix_acl_access").unwrap();
    assert!(matches!(
        fs.xattr(file, b"system.posix_acl_access"),
        Err(Error::NoSuchXattr { .. })
    ));
    fs.unmount().unwrap();
    bed.assert_clean();
}

#[test]
fn access_is_granted_by_owner_then_users_then_groups_then_others() {
    let bed = Bed::new(Shape::default());
    let fs = bed.mount();
    let mut new = NewInode::with_mode(0o600);
    (new.uid, new.gid) = (10, 20);
    let file = fs.create_file(fs.root(), b"f", &new).unwrap().number();
    let records = acl(&[
        (AclTag::UserObj, 4),
        (AclTag::User(11), 7),
        (AclTag::GroupObj, 2),
        (AclTag::Group(21), 4),
        (AclTag::Mask, 6),
        (AclTag::Other, 1),
    ]);
    fs.set_acl(file, AclKind::Access, Some(&records)).unwrap();
    let caller = |uid, gid| Caller {
        uid,
        gid,
        ..Caller::default()
    };
    let may = |caller: &Caller, mask| fs.check_access(file, caller, mask).is_ok();
    assert!(may(&caller(10, 20), MAY_READ) && !may(&caller(10, 20), MAY_WRITE));
    assert!(may(&caller(11, 0), MAY_READ | MAY_WRITE) && !may(&caller(11, 0), 1));
    assert!(may(&caller(12, 20), MAY_WRITE) && !may(&caller(12, 20), MAY_READ));
    assert!(may(&caller(12, 21), MAY_READ) && !may(&caller(12, 21), MAY_WRITE));
    let both = Caller {
        groups: vec![21],
        ..caller(12, 20)
    };
    assert!(may(&both, MAY_READ) && may(&both, MAY_WRITE) && !may(&both, MAY_READ | MAY_WRITE));
    assert!(may(&caller(12, 22), 1) && !may(&caller(12, 22), MAY_READ));
    assert!(may(&Caller::root(), MAY_READ | MAY_WRITE | 1));
}
