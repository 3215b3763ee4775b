//! Directories of every size and form.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::os::unix::fs::FileExt;

use ocfs2_format::device::{BlockDevice, Durability};
use ocfs2_format::{CharSign, DxHash, InodeNo};
use ocfs2_fs::{DirEntry, FileSystem, NewInode, Volume};
use ocfs2_testkit::kernel::Output;
use ocfs2_testkit::require_kernel;

use crate::bed::{Bed, SHAPES, Shape};

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

#[test]
fn a_listing_has_every_name_that_is_there_all_the_time_once() {
    for (&shape, seed) in SHAPES.iter().zip(0..) {
        let bed = Bed::new(shape);
        let fs = bed.mount();
        let dir = fs
            .make_dir(fs.root(), b"d", &NewInode::with_mode(0o755))
            .unwrap()
            .number();
        let mut random = fastrand::Rng::with_seed(seed);
        let mut lasting: BTreeSet<Vec<u8>> = BTreeSet::new();
        let mut passing: Vec<Vec<u8>> = Vec::new();
        // From a listing that begins in the dinode to one of many blocks.
        for round in 0..40 {
            let mut listed = Vec::new();
            let mut position = 0;
            loop {
                let page = fs.read_dir_at(dir, position).unwrap();
                // As a caller with a small buffer does: some of the names, the rest again later.
                let taken = random.usize(1..=page.entries.len().max(1)).min(page.entries.len());
                let dots = |entry: &&DirEntry| !entry.is_dot();
                listed.extend(
                    page.entries[..taken]
                        .iter()
                        .filter(dots)
                        .map(|entry| entry.name().to_vec()),
                );
                position = match (page.entries.get(taken.wrapping_sub(1)), page.next) {
                    (Some(last), Some(_)) => last.next_position(),
                    (Some(last), None) if taken < page.entries.len() => last.next_position(),
                    (None, Some(next)) => next,
                    (_, None) => break,
                };
                for _ in 0..random.usize(0..6) {
                    match random.bool() && !passing.is_empty() {
                        true => {
                            let name = passing.swap_remove(random.usize(..passing.len()));
                            fs.unlink(dir, &name).unwrap();
                        }
                        false => {
                            let name = long_name(random.usize(..1 << 40));
                            file(&fs, 0, dir, &name);
                            passing.push(name);
                        }
                    }
                }
            }
            let unique: BTreeSet<_> = listed.iter().cloned().collect();
            assert_eq!(unique.len(), listed.len(), "round {round}: a name twice");
            assert!(unique.is_superset(&lasting), "round {round}: a name lost");
            for _ in 0..random.usize(0..3).min(passing.len()) {
                lasting.insert(passing.swap_remove(random.usize(..passing.len())));
            }
        }
        fs.unmount().unwrap();
    }
}

/// Lets the kernel run a script on the volume.
fn with_kernel(bed: &Bed, script: &str) -> Output {
    const STEP: u64 = 1 << 20;
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("volume");
    bed.save(&image);
    let kernel = require_kernel().expect("asked for before").disk(&image).script(script);
    let output = kernel.run().expect("the kernel finishes").ok();
    let image = std::fs::File::open(&image).unwrap();
    let mut bytes = vec![0; STEP as usize];
    for offset in (0..image.metadata().unwrap().len()).step_by(STEP as usize) {
        image.read_exact_at(&mut bytes, offset).unwrap();
        bed.device.write(offset, &bytes, Durability::Cached).unwrap();
    }
    output
}

/// The kernel reads what we have made, makes and removes names in the same directories, and we go on after it.
#[test]
fn the_kernel_and_we_grow_the_same_directories_in_turns() {
    if require_kernel().is_none() {
        return;
    }
    for shape in [SHAPES[0], SHAPES[1], SHAPES[3], SHAPES[6]] {
        // The kernel wants journals of 4 MiB at least, which smaller volumes do not have.
        let bed = Bed::new(Shape { mib: 256, ..shape });
        let mut model: [BTreeSet<Vec<u8>>; 3] = Default::default();
        let fs = bed.mount();
        for dir in 0..3 {
            fs.make_dir(fs.root(), &[b'd', b'0' + dir], &NewInode::with_mode(0o755))
                .unwrap();
        }
        fs.unmount().unwrap();
        let plain = |number: usize| format!("{number:0width$}", width = 1 + number * 31 % 200).into_bytes();
        let mut next = 0;
        for turn in 0..4 {
            let mut changes = Vec::new();
            for (dir, names) in model.iter_mut().enumerate() {
                for _ in 0..[3, 40, 150][dir] {
                    next += 1;
                    names.insert(plain(next));
                    changes.push((dir, plain(next), true));
                }
                let gone: Vec<_> = names.iter().step_by(3 + turn).cloned().collect();
                for name in gone {
                    names.remove(&name);
                    changes.push((dir, name, false));
                }
            }
            if turn % 2 == 0 {
                let fs = bed.mount();
                for (dir, name, is_new) in &changes {
                    let dir = fs
                        .lookup(fs.root(), &[b'd', b'0' + *dir as u8])
                        .unwrap()
                        .unwrap()
                        .number();
                    match is_new {
                        true => drop(file(&fs, 0, dir, name)),
                        false => fs.unlink(dir, name).unwrap(),
                    }
                }
                fs.unmount().unwrap();
            } else {
                let mut script = String::from("set -e\nmount -t ocfs2 /dev/ubda /mnt/a\ncd /mnt/a\n");
                for (verb, is_new) in [("touch", true), ("rm", false)] {
                    writeln!(script, "xargs {verb} <<'END'").unwrap();
                    for (dir, name, _) in changes.iter().filter(|change| change.2 == is_new) {
                        writeln!(script, "d{dir}/{}", std::str::from_utf8(name).unwrap()).unwrap();
                    }
                    script.push_str("END\n");
                }
                script.push_str("cd /; umount /mnt/a\n");
                with_kernel(&bed, &script);
            }
            let volume = bed.volume();
            for (dir, names) in model.iter().enumerate() {
                let inode = volume.metadata(format!("/d{dir}")).unwrap();
                assert_consistent(&volume, inode.number(), names);
            }
            bed.assert_clean();
        }
        let listing = model.iter().enumerate().flat_map(|(dir, names)| {
            names
                .iter()
                .map(move |name| format!("d{dir}/{}", std::str::from_utf8(name).unwrap()))
        });
        let mut expected: Vec<String> = listing.collect();
        expected.sort();
        let script = "mount -t ocfs2 /dev/ubda /mnt/a && cd /mnt/a && find d0 d1 d2 -type f | LC_ALL=C sort > $OUT/names\n\
                      cd /; umount /mnt/a";
        let found = with_kernel(&bed, script).read("names").unwrap();
        assert_eq!(String::from_utf8(found).unwrap().lines().collect::<Vec<_>>(), expected);
    }
}

#[test]
fn clusters_of_more_leaves_than_a_transaction_takes_are_filled_and_divided() {
    // 2048 leaves in a cluster, and room for 1000 blocks in a transaction.
    for features in ["", "metaecc,usrquota"] {
        let bed = Bed::new(Shape {
            mib: 200,
            block: 512,
            cluster: 1 << 20,
            slots: 1,
            features,
        });
        let geometry = *bed.volume().geometry();
        let leaves = geometry.blocks_per_cluster();
        let mut expected: Vec<Vec<u8>> = (0..5000).map(|number| format!("name-{number}").into_bytes()).collect();
        // Names of one leaf, which has room for 28.
        let of_one_leaf = (0u32..)
            .map(|number| format!("collision-{number}").into_bytes())
            .filter(|name| {
                let hash = DxHash::of(name, &geometry.dx_seed, CharSign::default());
                hash.minor % leaves == 77
            });
        expected.extend(of_one_leaf.take(120));
        let fs = bed.mount();
        let dir = fs
            .make_dir(fs.root(), b"d", &NewInode::with_mode(0o755))
            .unwrap()
            .number();
        for name in &expected {
            fs.create_file(dir, name, &NewInode::with_mode(0o644)).unwrap();
        }
        fs.unmount().unwrap();
        bed.assert_clean();
        let fs = bed.mount();
        for name in &expected {
            assert!(fs.lookup(dir, name).unwrap().is_some(), "{name:?}");
        }
        expected.sort();
        let mut found = names(&fs, dir);
        found.sort();
        assert!(found == expected, "{} names of {}", found.len(), expected.len());
        for name in &expected {
            fs.unlink(dir, name).unwrap();
        }
        fs.rmdir(fs.root(), b"d").unwrap();
        fs.unmount().unwrap();
        bed.assert_clean();
    }
}
