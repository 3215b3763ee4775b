//! Inodes that outlive their names.

use ocfs2_format::{InodeNo, SlotNum};
use ocfs2_fs::{Error, FileSystem, NewInode, RenameMode};

use crate::bed::{Bed, SHAPES, Shape};

const FILE: NewInode = NewInode {
    mode: 0o644,
    umask: 0,
    uid: 0,
    gid: 0,
    time: None,
};

/// The inodes in the orphan directories, as another reader finds them.
fn orphans(bed: &Bed) -> Vec<InodeNo> {
    let volume = bed.volume();
    let slots = (0..volume.geometry().max_slots).map(SlotNum);
    slots
        .flat_map(|slot| volume.orphans(slot).unwrap())
        .map(|orphan| orphan.inode)
        .collect()
}

fn assert_gone(fs: &FileSystem, inode: InodeNo) {
    assert!(
        matches!(fs.inode(inode), Err(Error::Stale(_))),
        "{inode} is still there"
    );
}

#[test]
fn an_unlinked_file_stays_until_its_last_user_leaves() {
    for &shape in SHAPES {
        let bed = Bed::new(shape);
        let fs = bed.mount();
        let file = fs.create_file(fs.root(), b"f", &FILE).unwrap();
        let first = fs.use_inode(&file).unwrap();
        let second = fs.use_inode(&file).unwrap();
        fs.write_at(&first, 0, &[7; 10_000]).unwrap();
        fs.unlink(fs.root(), b"f").unwrap();
        assert!(fs.lookup(fs.root(), b"f").unwrap().is_none());
        fs.sync().unwrap();
        assert_eq!(orphans(&bed), [file.number()]);

        let mut bytes = [0; 10_000];
        fs.read_at(&second, 0, &mut bytes).unwrap();
        assert_eq!(bytes, [7; 10_000]);
        first.end().unwrap();
        assert_eq!(fs.inode(file.number()).unwrap().links(), 0);
        second.end().unwrap();
        assert_gone(&fs, file.number());
        fs.unmount().unwrap();
        assert_eq!(orphans(&bed), []);
        bed.assert_clean();
    }
}

#[test]
fn what_a_crash_leaves_without_a_name_is_deleted_by_the_next_mount() {
    for &shape in SHAPES {
        let bed = Bed::new(shape);
        let fs = bed.mount();
        let file = fs.create_file(fs.root(), b"f", &FILE).unwrap();
        let link = fs.make_symlink(fs.root(), b"l", &[b'x'; 4000], &FILE).unwrap();
        let dir = fs.make_dir(fs.root(), b"d", &NewInode::with_mode(0o755)).unwrap();
        for number in 0..300 {
            fs.create_file(dir.number(), format!("{number}").as_bytes(), &FILE)
                .unwrap();
        }
        for number in 0..300 {
            fs.unlink(dir.number(), format!("{number}").as_bytes()).unwrap();
        }
        let uses = [&file, &link, &dir].map(|inode| fs.use_inode(inode).unwrap());
        fs.write_at(&uses[0], 0, &[1; 100_000]).unwrap();
        fs.unlink(fs.root(), b"f").unwrap();
        fs.unlink(fs.root(), b"l").unwrap();
        fs.rmdir(fs.root(), b"d").unwrap();
        fs.sync().unwrap();
        let crashed = bed.snapshot();
        drop(uses);
        fs.unmount().unwrap();
        assert_eq!(orphans(&bed), []);
        bed.assert_clean();

        assert_eq!(orphans(&crashed).len(), 3);
        let fs = crashed.mount();
        for inode in [&file, &link, &dir] {
            assert_gone(&fs, inode.number());
        }
        fs.unmount().unwrap();
        assert_eq!(orphans(&crashed), []);
        crashed.assert_clean();
    }
}

#[test]
fn a_directory_in_use_is_dead_once_it_has_no_name() {
    let bed = Bed::new(Shape::default());
    let fs = bed.mount();
    let dir = fs.make_dir(fs.root(), b"d", &NewInode::with_mode(0o755)).unwrap();
    let used = fs.use_inode(&dir).unwrap();
    fs.rmdir(fs.root(), b"d").unwrap();
    let file = fs.create_file(fs.root(), b"f", &FILE).unwrap();
    let at = dir.number();
    assert!(matches!(fs.create_file(at, b"x", &FILE), Err(Error::NotFound(_))));
    assert!(matches!(fs.link(file.number(), at, b"x"), Err(Error::NotFound(_))));
    let moved = fs.rename_at(fs.root(), b"f", at, b"x", RenameMode::Replace);
    assert!(matches!(moved, Err(Error::NotFound(_))));
    drop(used);
    assert_gone(&fs, at);
    fs.unmount().unwrap();
    bed.assert_clean();
}

#[test]
fn a_file_that_a_rename_replaces_is_deleted_when_its_user_leaves() {
    let bed = Bed::new(Shape::default());
    let fs = bed.mount();
    let old = fs.create_file(fs.root(), b"old", &FILE).unwrap();
    let new = fs.create_file(fs.root(), b"new", &FILE).unwrap();
    let used = fs.use_inode(&old).unwrap();
    fs.rename_at(fs.root(), b"new", fs.root(), b"old", RenameMode::Replace)
        .unwrap();
    assert_eq!(fs.lookup(fs.root(), b"old").unwrap().unwrap().number(), new.number());
    fs.write_at(&used, 0, b"still here").unwrap();
    drop(used);
    assert_gone(&fs, old.number());
    fs.unmount().unwrap();
    bed.assert_clean();
}

#[test]
fn a_file_without_names_gets_no_new_one_and_its_number_another_generation() {
    let bed = Bed::new(Shape::default());
    let fs = bed.mount();
    let file = fs.create_file(fs.root(), b"f", &FILE).unwrap();
    let used = fs.use_inode(&file).unwrap();
    fs.unlink(fs.root(), b"f").unwrap();
    let linked = fs.link(file.number(), fs.root(), b"again");
    assert!(matches!(linked, Err(Error::NotFound(_))), "{linked:?}");
    drop(used);
    assert!(matches!(fs.use_inode(&file), Err(Error::Stale(_))));
    fs.sync().unwrap();
    let mut reused = None;
    for number in 0..2000 {
        let made = fs
            .create_file(fs.root(), format!("{number}").as_bytes(), &FILE)
            .unwrap();
        if made.number() == file.number() {
            reused = Some(made);
            break;
        }
    }
    let reused = reused.expect("the number is given out again");
    assert_ne!(reused.generation(), file.generation());
    assert!(matches!(fs.use_inode(&file), Err(Error::Stale(_))));
    fs.unmount().unwrap();
    bed.assert_clean();
}
