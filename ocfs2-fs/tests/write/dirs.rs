//! Directories of every size and form.

use std::collections::BTreeSet;

use ocfs2_format::InodeNo;
use ocfs2_fs::{FileSystem, NewInode, Volume};

use crate::bed::{Bed, SHAPES};

/// Reads all names of a directory but the dots, page by page.
pub(crate) fn names(fs: &FileSystem, dir: InodeNo) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    let mut position = Some(0);
    while let Some(at) = position {
        let page = fs.read_dir_at(dir, at).unwrap();
        position = page.next;
        names.extend(
            page.entries
                .iter()
                .filter(|entry| !entry.is_dot())
                .map(|entry| entry.name().to_vec()),
        );
    }
    names
}

/// Holds a directory and its index to what another reader finds in them.
#[track_caller]
pub(crate) fn assert_consistent(volume: &Volume, dir: InodeNo, names: &BTreeSet<Vec<u8>>) {
    let inode = volume.inode(dir).unwrap();
    let entries: Vec<_> = volume.entries(&inode).unwrap().map(Result::unwrap).collect();
    let found: BTreeSet<_> = entries
        .iter()
        .filter(|entry| !entry.is_dot())
        .map(|entry| entry.name().to_vec())
        .collect();
    assert_eq!(&found, names);
    assert_eq!(entries.len(), names.len() + 2);
    if let Some(index) = volume.check_index(&inode).unwrap() {
        assert_eq!(index.entries, entries.len() as u64);
    }
    for entry in &entries {
        let by_index = volume
            .lookup(&inode, entry.name())
            .unwrap()
            .expect("every name is in the index");
        let by_walk = volume
            .lookup_linear(&inode, entry.name())
            .unwrap()
            .expect("the walk has found it");
        assert_eq!((by_index.inode(), by_index.kind()), (by_walk.inode(), by_walk.kind()));
    }
}

/// A name of 1 to 255 bytes that is like no other.
pub(crate) fn long_name(number: usize) -> Vec<u8> {
    let mut name = format!("{number:x}").into_bytes();
    // Lengths jump, so that holes of all sizes come about; bytes above 0x7F hash in two ways.
    name.resize(name.len().max(number * 37 % 255 + 1), 0xC0 | (number % 32) as u8);
    name
}

#[test]
fn directories_grow_from_the_dinode_to_an_index_of_many_leaves_and_shrink_again() {
    for &shape in SHAPES {
        let bed = Bed::new(shape);
        let fs = bed.mount();
        let root = fs.root();
        let dir = fs.make_dir(root, b"d", &NewInode::with_mode(0o755)).unwrap().number();
        let mut model = BTreeSet::new();
        for number in 0..600 {
            let name = long_name(number);
            fs.link(file(&fs, number, dir, &name), root, format!("l{number}").as_bytes())
                .unwrap();
            model.insert(name);
        }
        fs.sync().unwrap();
        assert_consistent(&bed.volume(), dir, &model);
        assert_eq!(names(&fs, dir).into_iter().collect::<BTreeSet<_>>(), model);
        for number in (0..600).filter(|number| number % 3 != 0) {
            fs.unlink(dir, &long_name(number)).unwrap();
            fs.unlink(root, format!("l{number}").as_bytes()).unwrap();
            model.remove(&long_name(number));
        }
        for number in 600..700 {
            file(&fs, number, dir, &long_name(number));
            model.insert(long_name(number));
        }
        fs.unmount().unwrap();
        assert_consistent(&bed.volume(), dir, &model);
        bed.assert_clean();
    }
}

fn file(fs: &FileSystem, number: usize, dir: InodeNo, name: &[u8]) -> InodeNo {
    let new = NewInode::with_mode(0o600 + number as u32 % 8);
    fs.create_file(dir, name, &new).unwrap().number()
}
