//! Extended attributes: every form of storage, growing and shrinking, compared with a map.

use std::collections::BTreeMap;

use ocfs2_format::InodeNo;
use ocfs2_fs::{Error, FileSystem, NewInode, Volume, XattrMode, XattrPlace};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::bed::{Bed, SHAPES, Shape};

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
