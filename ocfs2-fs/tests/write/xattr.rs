//! Extended attributes: every form of storage, growing and shrinking, compared with a map.

use std::collections::BTreeMap;
use std::sync::Arc;

use ocfs2_format::device::{FileDevice, FileOptions};
use ocfs2_format::{InodeNo, SlotNum, SystemFile};
use ocfs2_fs::{Error, FileSystem, MountOptions, NewInode, OpenOptions, Volume, XattrMode, XattrPlace};
use ocfs2_testkit::tools::fsck_clean;
use ocfs2_testkit::{facts, live, require_kernel};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::bed::{Bed, SHAPES, Shape, mount_on};
use crate::observe;

type Attributes = BTreeMap<Vec<u8>, Vec<u8>>;

/// What happens to the attributes of one of a few inodes.
#[derive(Clone, Debug)]
enum Step {
    Set { on: usize, name: u16, len: usize, fill: u8 },
    Remove { on: usize, name: u16 },
    Remount,
}

/// Names of many lengths and of all name spaces; some have bytes above 0x7F.
fn name(number: u16) -> Vec<u8> {
    let prefix = ["user.", "trusted.", "security."][usize::from(number) % 3];
    let mut name = format!("{prefix}{number}").into_bytes();
    match number % 7 {
        0 => name.resize(255, b'a' + (number % 26) as u8),
        1 => name.extend([0xC3, 0xA4, 0xFF]),
        2 => name.resize(60, b'-'),
        _ => {}
    }
    name
}

fn value(len: usize, fill: u8) -> Vec<u8> {
    (0..len)
        .map(|at| (at as u8).wrapping_mul(7).wrapping_add(fill))
        .collect()
}

fn lengths() -> impl Strategy<Value = usize> {
    prop_oneof![
        4 => 0..=80usize,
        3 => 81..=600usize,
        2 => 4000..=9000usize,
        1 => 60_000..=65_536usize,
    ]
}

fn steps(count: usize, names: u16) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (0..4usize, 0..names, lengths(), any::<u8>())
            .prop_map(|(on, name, len, fill)| Step::Set { on, name, len, fill }),
        5 => (0..4usize, 0..names).prop_map(|(on, name)| Step::Remove { on, name }),
        1 => Just(Step::Remount),
    ];
    prop::collection::vec(step, count / 2..count)
}

fn full_names(fs: &FileSystem, inode: InodeNo) -> Vec<Vec<u8>> {
    let mut names = fs.xattr_names(inode).expect("the names can be listed");
    names.sort();
    names
}

/// What the reader of unmounted volumes finds.
fn read_back(volume: &Volume, inode: InodeNo) -> Attributes {
    let inode = volume.inode(inode).expect("the inode can be read");
    let found = volume.inode_xattrs(&inode).expect("its attributes can be listed");
    let attribute = |info: &ocfs2_fs::XattrInfo| {
        // Found by its hash as well as by listing all.
        let by_name = volume
            .find_xattr(&inode, info.namespace(), info.stored_name())
            .expect("the tree can be searched")
            .expect("what is listed is found");
        (
            info.name(),
            volume.xattr_value(&inode, &by_name).expect("it has a value"),
        )
    };
    found.iter().map(attribute).collect()
}

fn inodes(fs: &FileSystem) -> [InodeNo; 4] {
    let new = NewInode::with_mode(0o644);
    let file = fs.create_file(fs.root(), b"file", &new).expect("a file").number();
    let dir = fs
        .make_dir(fs.root(), b"dir", &NewInode::with_mode(0o755))
        .expect("a directory")
        .number();
    let other = fs.create_file(dir, b"other", &new).expect("a file").number();
    [fs.root(), file, dir, other]
}

fn run(shape: Shape, steps: &[Step]) {
    let bed = Bed::new(shape);
    let mut fs = bed.mount();
    let inodes = inodes(&fs);
    let mut model: [Attributes; 4] = Default::default();
    for step in steps {
        match step {
            Step::Set {
                on,
                name: number,
                len,
                fill,
            } => {
                let (name, value) = (name(*number), value(*len, *fill));
                match fs.set_xattr(inodes[*on], &name, &value, XattrMode::Set) {
                    Ok(()) => {
                        model[*on].insert(name, value);
                    }
                    Err(Error::NoSpace) => {}
                    Err(error) => panic!("{step:?}: {error}"),
                }
            }
            Step::Remove { on, name: number } => {
                let name = name(*number);
                match (fs.remove_xattr(inodes[*on], &name), model[*on].remove(&name)) {
                    (Ok(()), Some(_)) | (Err(Error::NoSuchXattr { .. }), None) => {}
                    (result, was) => panic!("{step:?}: {result:?}, and it was there: {}", was.is_some()),
                }
            }
            Step::Remount => {
                fs.unmount().expect("the volume can be unmounted");
                fs = bed.mount();
            }
        }
    }
    for (inode, attributes) in inodes.into_iter().zip(&model) {
        assert_eq!(full_names(&fs, inode), attributes.keys().cloned().collect::<Vec<_>>());
        for (name, value) in attributes {
            assert_eq!(&fs.xattr(inode, name).expect("it is there"), value);
        }
    }
    fs.unmount().expect("the volume can be unmounted");
    let volume = bed.volume();
    for (inode, attributes) in inodes.into_iter().zip(&model) {
        assert_eq!(&read_back(&volume, inode), attributes);
    }
    bed.assert_clean();
}

#[test]
fn random_attributes_are_what_a_map_says_on_volumes_of_all_shapes() {
    for &shape in SHAPES {
        let mut runner = TestRunner::new(Config {
            cases: 1,
            max_shrink_iters: 200,
            failure_persistence: None,
            ..Config::default()
        });
        let result = runner.run(&steps(140, 60), |steps| {
            run(shape, &steps);
            Ok(())
        });
        if let Err(error) = result {
            panic!("{shape:?}: {error}");
        }
    }
}

/// A tree of buckets that grows to many runs and shrinks again, in random order.
#[test]
fn thousands_of_attributes_of_one_inode_come_and_go() {
    for (shape, longest) in [(SHAPES[0], 100), (SHAPES[1], 100), (SHAPES[4], 80)] {
        let bed = Bed::new(shape);
        let mut rng = fastrand::Rng::with_seed(7);
        let mut numbers: Vec<u32> = (0..2500).collect();
        let name = |number: u32| format!("user.{number}-{}", "x".repeat(number as usize % 50)).into_bytes();
        let fs = bed.mount();
        let new = NewInode::with_mode(0o644);
        let inode = fs.create_file(fs.root(), b"file", &new).unwrap().number();
        rng.shuffle(&mut numbers);
        for &number in &numbers {
            let value = value(number as usize % longest, number as u8);
            fs.set_xattr(inode, &name(number), &value, XattrMode::Create).unwrap();
        }
        fs.unmount().unwrap();
        let volume = bed.volume();
        let attributes = read_back(&volume, inode);
        assert_eq!(attributes.len(), numbers.len());
        for &number in &numbers {
            let wanted = value(number as usize % longest, number as u8);
            assert_eq!(attributes[&name(number)], wanted);
        }
        let of_inode = volume.inode(inode).unwrap();
        let infos = volume.inode_xattrs(&of_inode).unwrap();
        assert!(infos.iter().any(|info| matches!(info.place(), XattrPlace::Bucket(_))));
        bed.assert_clean();
        let fs = bed.mount();
        rng.shuffle(&mut numbers);
        let (first, rest) = numbers.split_at(1200);
        for &number in first {
            fs.remove_xattr(inode, &name(number)).unwrap();
        }
        assert_eq!(fs.xattr_names(inode).unwrap().len(), rest.len());
        for &number in rest {
            fs.remove_xattr(inode, &name(number)).unwrap();
        }
        assert!(fs.xattr_names(inode).unwrap().is_empty());
        fs.unmount().unwrap();
        let of_inode = bed.volume().inode(inode).unwrap();
        assert_eq!(of_inode.dinode().i_xattr_loc.get(), 0, "the block is given back");
        bed.assert_clean();
    }
}

#[test]
fn attributes_go_with_their_inode_and_leave_nothing_allocated() {
    for &shape in &SHAPES[..5] {
        let bed = Bed::new(shape);
        let fs = bed.mount();
        let used = |bed: &Bed| {
            let volume = bed.volume();
            let blocks = volume.system_file(SystemFile::ExtentAlloc, SlotNum(0)).unwrap();
            let blocks = volume.inode(blocks).unwrap();
            let clusters = volume.global_bitmap().unwrap();
            [blocks, clusters].map(|allocator| allocator.dinode().bitmap().i_used.get())
        };
        let new = NewInode::with_mode(0o644);
        let warm_up = fs.create_file(fs.root(), b"warm-up", &new).unwrap().number();
        // More than fits in the dinode: the allocator of blocks gets its first group.
        for index in 0..20 {
            let name = format!("user.{index}");
            fs.set_xattr(warm_up, name.as_bytes(), &value(79, 1), XattrMode::Set)
                .unwrap();
        }
        fs.remove_file("/warm-up").unwrap();
        fs.unmount().unwrap();
        let before = used(&bed);
        let fs = bed.mount();
        for number in 0..3 {
            let file = format!("file-{number}");
            let inode = fs.create_file(fs.root(), file.as_bytes(), &new).unwrap().number();
            for index in 0..(1 + 40 * number) {
                let len = [10, 79, 81][index % 3];
                fs.set_xattr(
                    inode,
                    format!("trusted.{index}").as_bytes(),
                    &value(len, 3),
                    XattrMode::Set,
                )
                .unwrap();
            }
        }
        for number in 0..3 {
            fs.remove_file(format!("/file-{number}")).unwrap();
        }
        fs.unmount().unwrap();
        assert_eq!(used(&bed), before, "{shape:?}");
        bed.assert_clean();
    }
}

#[test]
fn limits_modes_and_name_spaces_are_kept() {
    let bed = Bed::new(Shape::default());
    let fs = bed.mount();
    let new = NewInode::with_mode(0o644);
    let file = fs.create_file(fs.root(), b"file", &new).unwrap().number();
    let link = fs.make_symlink(fs.root(), b"link", b"file", &new).unwrap().number();
    let set = |inode, name: &[u8], len, mode| fs.set_xattr(inode, name, &value(len, 0), mode);
    assert!(matches!(
        set(file, b"user.a", 1, XattrMode::Replace),
        Err(Error::NoSuchXattr { .. })
    ));
    set(file, b"user.a", 1, XattrMode::Create).unwrap();
    assert!(matches!(
        set(file, b"user.a", 1, XattrMode::Create),
        Err(Error::XattrExists { .. })
    ));
    set(file, b"user.a", 65536, XattrMode::Replace).unwrap();
    assert_eq!(fs.xattr(file, b"user.a").unwrap(), value(65536, 0));
    assert!(matches!(
        set(file, b"user.a", 65537, XattrMode::Set),
        Err(Error::TooLarge { .. })
    ));
    let long = [&b"user."[..], &[b'n'; 250]].concat();
    set(file, &long, 10, XattrMode::Set).unwrap();
    assert!(matches!(
        set(file, &[&long[..], b"n"].concat(), 10, XattrMode::Set),
        Err(Error::TooLarge { .. })
    ));
    for name in [&b"system.other"[..], b"nothing", b"user"] {
        assert!(matches!(
            set(file, name, 1, XattrMode::Set),
            Err(Error::UnknownXattr { .. })
        ));
    }
    assert!(matches!(
        set(file, b"user.", 1, XattrMode::Set),
        Err(Error::InvalidArgument { .. })
    ));
    assert!(matches!(
        set(link, b"user.a", 1, XattrMode::Set),
        Err(Error::NotPermitted { .. })
    ));
    set(link, b"trusted.a", 100, XattrMode::Set).unwrap();
    assert_eq!(fs.link_target(link).unwrap(), b"file");
    fs.unmount().unwrap();
    bed.assert_clean();
}

/// Volumes of which we and the kernel change the same attributes, one after the other.
#[test]
fn the_kernel_reads_and_changes_our_attributes_and_we_its() {
    if require_kernel().is_none() {
        return;
    }
    let small_blocks = Shape { mib: 300, ..SHAPES[1] };
    for shape in [SHAPES[5], small_blocks] {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("volume");
        let bed = Bed::new(shape);
        let fs = bed.mount();
        let new = NewInode::with_mode(0o644);
        let file = fs.create_file(fs.root(), b"file", &new).unwrap().number();
        let other = fs
            .make_dir(fs.root(), b"dir", &NewInode::with_mode(0o755))
            .unwrap()
            .number();
        for number in 0..600_u32 {
            let value = value(number as usize * 7 % 200, number as u8);
            fs.set_xattr(file, format!("user.{number}").as_bytes(), &value, XattrMode::Set)
                .unwrap();
            if number % 50 == 0 {
                fs.set_xattr(other, format!("trusted.{number}").as_bytes(), &value, XattrMode::Set)
                    .unwrap();
            }
        }
        fs.unmount().unwrap();
        bed.save(&image);
        let change = r#"
python3 - <<'P'
import os
for number in range(0, 600, 3):
    os.removexattr("/mnt/a/file", f"user.{number}")
for number in range(1, 600, 3):
    os.setxattr("/mnt/a/file", f"user.{number}", bytes(number % 300))
for number in range(600, 1000):
    os.setxattr("/mnt/a/file", f"user.{number}", b"k" * (number % 120))
for number in range(0, 600, 50):
    os.setxattr("/mnt/a/dir", f"trusted.{number}", b"theirs" * (number // 50))
P
"#;
        let device = |image: &std::path::Path| {
            let options = FileOptions::default().writable(true);
            Arc::new(FileDevice::open(image, &options).unwrap())
        };
        for change in ["", change] {
            let script = format!(
                "set -e\nmount -t ocfs2 /dev/ubda /mnt/a\n{change}\numount /mnt/a\n{}",
                live::facts_script()
            );
            let output = require_kernel()
                .unwrap()
                .disk(&image)
                .script(script)
                .run()
                .unwrap()
                .ok();
            let facts = String::from_utf8(output.read(live::FACTS).unwrap()).unwrap();
            let volume = Volume::open(device(&image), &OpenOptions::default()).unwrap();
            observe::assert_equal(&volume, &facts::parse(&facts).unwrap());
        }
        let fs = mount_on(device(&image), &MountOptions::default()).unwrap();
        for inode in [file, other] {
            for name in fs.xattr_names(inode).unwrap() {
                fs.remove_xattr(inode, &name).unwrap();
            }
            assert!(fs.xattr_names(inode).unwrap().is_empty());
        }
        fs.unmount().unwrap();
        fsck_clean(&image);
    }
}
