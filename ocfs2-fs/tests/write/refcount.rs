//! Files that share clusters: their contents against a model, what the volume says about it, and the kernel.

use std::collections::BTreeMap;

use ocfs2_format::quota::QuotaKind;
use ocfs2_fs::{AllocateMode, FileSystem, OpenHow, QuotaLimits, SetAttributes, XattrMode};
use proptest::prelude::*;

use crate::bed::{Bed, Shape};

const CLUSTER: u64 = 4096;

const NAMES: [&str; 6] = ["/a", "/b", "/c", "/d", "/e", "/f"];

#[derive(Clone, Copy, Debug)]
enum Op {
    Write {
        file: usize,
        at: u64,
        len: u64,
        byte: u8,
    },
    Reflink {
        from: usize,
        to: usize,
    },
    SetLen {
        file: usize,
        len: u64,
    },
    CopyRange {
        from: usize,
        at: u64,
        to: usize,
        to_at: u64,
        len: u64,
    },
    Punch {
        file: usize,
        at: u64,
        len: u64,
    },
    Preallocate {
        file: usize,
        at: u64,
        len: u64,
    },
    Remove {
        file: usize,
    },
    Remount,
}

fn ops() -> impl Strategy<Value = Op> {
    let file = 0..NAMES.len();
    let at = prop_oneof![0..40 * CLUSTER, (0..40u64).prop_map(|cluster| cluster * CLUSTER)];
    let len = prop_oneof![
        1..200u64,
        1..12 * CLUSTER,
        (1..9u64).prop_map(|clusters| clusters * CLUSTER)
    ];
    prop_oneof![
        8 => (file.clone(), at.clone(), len.clone(), any::<u8>())
            .prop_map(|(file, at, len, byte)| Op::Write { file, at, len, byte }),
        5 => (file.clone(), file.clone()).prop_map(|(from, to)| Op::Reflink { from, to }),
        2 => (file.clone(), at.clone()).prop_map(|(file, len)| Op::SetLen { file, len }),
        2 => (file.clone(), at.clone(), len.clone()).prop_map(|(file, at, len)| Op::Punch { file, at, len }),
        3 => (file.clone(), at.clone(), file.clone(), at.clone(), len.clone())
            .prop_map(|(from, at, to, to_at, len)| Op::CopyRange { from, at, to, to_at, len }),
        1 => (file.clone(), at, len).prop_map(|(file, at, len)| Op::Preallocate { file, at, len }),
        2 => file.prop_map(|file| Op::Remove { file }),
        1 => Just(Op::Remount),
    ]
}

/// A mounted volume and what its files should hold.
struct World {
    bed: Bed,
    fs: Option<FileSystem>,
    files: BTreeMap<usize, Vec<u8>>,
}

impl World {
    fn new(shape: Shape) -> World {
        let bed = Bed::new(shape);
        let fs = Some(bed.mount());
        World {
            bed,
            fs,
            files: BTreeMap::new(),
        }
    }

    fn fs(&self) -> &FileSystem {
        self.fs.as_ref().expect("it is mounted")
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Write { file, at, len, byte } => {
                let how = *OpenHow::new().read(true).write(true).create(true);
                let open = self.fs().open(NAMES[file], &how).unwrap();
                let bytes: Vec<u8> = (0..len).map(|index| byte.wrapping_add((index / 512) as u8)).collect();
                assert_eq!(open.write_at(at, &bytes).unwrap(), bytes.len());
                open.close().unwrap();
                let model = self.files.entry(file).or_default();
                let end = (at + len) as usize;
                model.resize(model.len().max(end), 0);
                model[at as usize..end].copy_from_slice(&bytes);
            }
            Op::Reflink { from, to } => {
                let result = self.fs().reflink(NAMES[from], NAMES[to]);
                if !self.files.contains_key(&from) || self.files.contains_key(&to) {
                    assert!(result.is_err());
                    return;
                }
                assert_eq!(result.unwrap().size(), self.files[&from].len() as u64);
                self.files.insert(to, self.files[&from].clone());
            }
            Op::SetLen { file, len } => {
                let Some(model) = self.files.get_mut(&file) else { return };
                model.resize(len as usize, 0);
                let open = self.fs().open(NAMES[file], OpenHow::new().write(true)).unwrap();
                open.set_len(len).unwrap();
            }
            Op::CopyRange {
                from,
                at,
                to,
                to_at,
                len,
            } => {
                if from == to || !self.files.contains_key(&from) || !self.files.contains_key(&to) {
                    return;
                }
                let source = self.fs().open(NAMES[from], OpenHow::new().read(true)).unwrap();
                let target = self.fs().open(NAMES[to], OpenHow::new().write(true)).unwrap();
                let copied = self
                    .fs()
                    .copy_range(source.inode_use(), at, target.inode_use(), to_at, len)
                    .unwrap();
                let model = &self.files[&from];
                let end = model.len().min((at + len) as usize);
                let bytes = model.get(at as usize..end).unwrap_or_default().to_vec();
                assert_eq!(copied, bytes.len() as u64);
                if bytes.is_empty() {
                    return;
                }
                let model = self.files.get_mut(&to).unwrap();
                let to_at = to_at as usize;
                model.resize(model.len().max(to_at + bytes.len()), 0);
                model[to_at..to_at + bytes.len()].copy_from_slice(&bytes);
            }
            Op::Punch { file, at, len } => {
                let Some(model) = self.files.get_mut(&file) else { return };
                let end = model.len().min((at + len) as usize);
                if let Some(hole) = model.get_mut(at as usize..end) {
                    hole.fill(0);
                }
                let open = self.fs().open(NAMES[file], OpenHow::new().write(true)).unwrap();
                open.punch_hole(at..at + len).unwrap();
            }
            Op::Preallocate { file, at, len } => {
                let Some(model) = self.files.get(&file) else { return };
                // fsck does not like clusters behind the end of a file, whoever allocated them.
                let end = (at + len).min(model.len() as u64);
                if at < end {
                    let open = self.fs().open(NAMES[file], OpenHow::new().write(true)).unwrap();
                    open.allocate(at..end, AllocateMode::KeepSize).unwrap();
                }
            }
            Op::Remove { file } => {
                let was_there = self.files.remove(&file).is_some();
                assert_eq!(self.fs().remove_file(NAMES[file]).is_ok(), was_there);
            }
            Op::Remount => {
                self.fs.take().expect("it is mounted").unmount().unwrap();
                self.fs = Some(self.bed.mount());
            }
        }
    }

    fn check(&self) {
        for (&file, model) in &self.files {
            let found = self.fs().read(NAMES[file]).unwrap();
            assert!(found == *model, "{} is not what was written", NAMES[file]);
        }
    }

    /// Lets another reader look, then fsck, then removes everything and lets fsck look again.
    fn finish(mut self) {
        self.check();
        self.fs.take().expect("it is mounted").unmount().unwrap();
        let volume = self.bed.volume();
        for (&file, model) in &self.files {
            let mut open = volume.open_file(NAMES[file]).unwrap();
            let mut found = Vec::new();
            std::io::Read::read_to_end(&mut open, &mut found).unwrap();
            assert!(found == *model, "{} reads otherwise from the device", NAMES[file]);
        }
        self.bed.assert_clean();
        let fs = self.bed.mount();
        for file in self.files.into_keys() {
            fs.remove_file(NAMES[file]).unwrap();
        }
        fs.unmount().unwrap();
        self.bed.assert_clean();
    }
}

fn run(shape: Shape, ops: &[Op]) {
    let mut world = World::new(shape);
    for &op in ops {
        world.apply(op);
    }
    world.finish();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, max_shrink_iters: 60, ..ProptestConfig::default() })]

    #[test]
    fn files_that_share_clusters_stay_apart(ops in prop::collection::vec(ops(), 1..80)) {
        run(Shape { features: "refcount", ..Shape::default() }, &ops);
    }

    #[test]
    fn files_that_share_clusters_stay_apart_in_small_blocks(ops in prop::collection::vec(ops(), 1..80)) {
        run(Shape { block: 512, features: "refcount,metaecc", ..Shape::default() }, &ops);
    }

    #[test]
    fn files_that_share_clusters_stay_apart_in_large_clusters(ops in prop::collection::vec(ops(), 1..60)) {
        run(Shape { block: 1024, cluster: 8192, features: "refcount", ..Shape::default() }, &ops);
    }
}

#[test]
fn a_tree_with_leaves_grows_and_goes_when_its_last_file_does() {
    // Leaves have 23 records; every second cluster of a file is written to, so that each has a record.
    let shape = Shape {
        block: 512,
        features: "refcount",
        ..Shape::default()
    };
    let bed = Bed::new(shape);
    let fs = bed.mount();
    const CLUSTERS: u64 = 1200;
    fs.write("/a", vec![1; (CLUSTERS * CLUSTER) as usize]).unwrap();
    fs.reflink("/a", "/b").unwrap();
    fs.reflink("/b", "/c").unwrap();
    let open = fs.open("/b", OpenHow::new().write(true)).unwrap();
    for cluster in (0..CLUSTERS).step_by(2) {
        open.write_at(cluster * CLUSTER, &[2; 100]).unwrap();
    }
    open.close().unwrap();
    let open = fs.open("/c", OpenHow::new().write(true)).unwrap();
    for cluster in (0..CLUSTERS).step_by(5) {
        open.punch_hole(cluster * CLUSTER..(cluster + 1) * CLUSTER).unwrap();
    }
    open.close().unwrap();
    fs.unmount().unwrap();
    bed.assert_clean();
    let fs = bed.mount();
    for name in ["/a", "/c", "/b"] {
        fs.remove_file(name).unwrap();
        fs.sync().unwrap();
    }
    fs.unmount().unwrap();
    bed.assert_clean();
}

#[test]
fn a_copy_shares_clusters_and_one_of_unaligned_places_does_not() {
    let bed = Bed::new(Shape {
        features: "refcount",
        ..Shape::default()
    });
    let fs = bed.mount();
    let bytes: Vec<u8> = (0..100 * CLUSTER + 77).map(|at| (at / 100) as u8).collect();
    fs.write("/a", &bytes).unwrap();
    let free = |fs: &FileSystem| fs.statfs().unwrap().free_blocks;
    let before = free(&fs);
    fs.copy("/a", "/b").unwrap();
    assert_eq!(fs.read("/b").unwrap(), bytes);
    assert!(
        before - free(&fs) < 10,
        "a copy takes a refcount block and an inode at most"
    );
    let (a, c) = (
        fs.open("/a", OpenHow::new().read(true)).unwrap(),
        fs.open("/c", OpenHow::new().write(true).create(true)).unwrap(),
    );
    let copied = fs
        .copy_range(a.inode_use(), 100, c.inode_use(), 0, 50 * CLUSTER)
        .unwrap();
    assert_eq!(copied, 50 * CLUSTER);
    assert!(fs.read("/c").unwrap() == bytes[100..][..50 * CLUSTER as usize]);
    a.close().unwrap();
    c.close().unwrap();
    fs.unmount().unwrap();
    bed.assert_clean();
}

#[test]
fn a_file_of_more_extents_than_a_transaction_can_move_is_changed_at_its_beginning() {
    // 28 records in a leaf, and a journal of a few thousand blocks.
    let bed = Bed::new(Shape {
        mib: 96,
        block: 512,
        features: "refcount",
        ..Shape::default()
    });
    let fs = bed.mount();
    const PIECES: u64 = 15_000;
    let open = fs.open("/a", OpenHow::new().write(true).create(true)).unwrap();
    let mut model = vec![0; (2 * PIECES * CLUSTER) as usize];
    let mut write = |open: &ocfs2_fs::OpenFile, at: u64, bytes: &[u8]| {
        assert_eq!(open.write_at(at, bytes).unwrap(), bytes.len());
        model[at as usize..][..bytes.len()].copy_from_slice(bytes);
    };
    for piece in 0..PIECES {
        write(&open, 2 * piece * CLUSTER, &[piece as u8 | 1; 100]);
    }
    for piece in 0..20 {
        write(&open, (6 * piece + 1) * CLUSTER, &[0xAB; 50]);
        open.allocate(
            (40 + piece * 20) * CLUSTER..(45 + piece * 20) * CLUSTER,
            AllocateMode::KeepSize,
        )
        .unwrap();
        write(&open, (43 + piece * 20) * CLUSTER, &[0xCD; 50]);
    }
    for piece in 0..20 {
        let hole = (600 + piece * 7) * CLUSTER..(603 + piece * 7) * CLUSTER;
        open.punch_hole(hole.clone()).unwrap();
        model[hole.start as usize..hole.end as usize].fill(0);
    }
    model.truncate(((2 * PIECES - 2) * CLUSTER + 100) as usize);
    open.close().unwrap();
    assert!(fs.read("/a").unwrap() == model);
    fs.unmount().unwrap();
    bed.assert_clean();
    let fs = bed.mount();
    assert!(fs.read("/a").unwrap() == model);
    fs.remove_file("/a").unwrap();
    fs.unmount().unwrap();
    bed.assert_clean();
}

#[test]
fn files_of_more_extents_than_a_transaction_can_move_share_clusters_anywhere() {
    // Journals of a few thousand blocks, and 28 records in a leaf: what moves all records of one of these files to the right
    // is too large for a transaction.
    let bed = Bed::new(Shape {
        mib: 192,
        block: 512,
        slots: 1,
        features: "refcount",
        ..Shape::default()
    });
    let fs = bed.mount();
    const PIECES: u64 = 15_000;
    let byte_of = |file: u64, cluster: u64| (file * 101 + cluster) as u8 | 1;
    let mut models = Vec::new();
    // Every other cluster, and in the second file also every other pair of them.
    for (file, name) in ["/a", "/b"].into_iter().enumerate() {
        let open = fs.open(name, OpenHow::new().write(true).create(true)).unwrap();
        let mut model = vec![0; (2 * PIECES * CLUSTER) as usize];
        for cluster in (0..2 * PIECES).filter(|cluster| (cluster >> file) % 2 == 0) {
            let at = (cluster * CLUSTER) as usize;
            let byte = byte_of(file as u64, cluster);
            assert_eq!(open.write_at(at as u64, &[byte; 512]).unwrap(), 512);
            model[at..at + 512].fill(byte);
        }
        open.set_len(2 * PIECES * CLUSTER).unwrap();
        open.close().unwrap();
        models.push(model);
    }
    let (a, b) = (
        fs.open("/a", OpenHow::new().read(true)).unwrap(),
        fs.open("/b", OpenHow::new().write(true)).unwrap(),
    );
    // Holes and extents over holes and extents, whole and in part. fsck.ocfs2 does not survive a file that has one cluster
    // in two places.
    for (from, to, clusters) in [
        (3, 10, 9),
        (20, 20, 1),
        (101, 200, 40),
        (300, 1001, 3),
        (1007, 5000, 301),
    ] {
        let bytes = clusters * CLUSTER;
        let copied = fs
            .copy_range(a.inode_use(), from * CLUSTER, b.inode_use(), to * CLUSTER, bytes)
            .unwrap();
        assert_eq!(copied, bytes);
        let part = models[0][(from * CLUSTER) as usize..][..bytes as usize].to_vec();
        models[1][(to * CLUSTER) as usize..][..bytes as usize].copy_from_slice(&part);
    }
    a.close().unwrap();
    b.close().unwrap();
    fs.reflink("/b", "/c").unwrap();
    models.push(models[1].clone());
    for (name, model) in ["/a", "/b", "/c"].into_iter().zip(&models) {
        assert!(fs.read(name).unwrap() == *model, "{name} is not what was written");
    }
    fs.unmount().unwrap();
    bed.assert_clean();
    let fs = bed.mount();
    for name in ["/b", "/a", "/c"] {
        fs.remove_file(name).unwrap();
    }
    fs.unmount().unwrap();
    bed.assert_clean();
}

#[test]
fn a_copy_that_runs_out_of_space_says_how_far_it_got() {
    const CLUSTERS: u64 = 800;
    // Room is needed for blocks of records alone, or for bytes too where the two places do not lie alike.
    for (from_at, to_at) in [(0, 0), (100, 100), (100, 0), (0, 5 * CLUSTER)] {
        let mut is_short = false;
        for free in [0, 1, 40] {
            let bed = Bed::new(Shape {
                mib: 32,
                block: 512,
                slots: 1,
                features: "refcount,noinline-data",
                ..Shape::default()
            });
            let fs = bed.mount();
            let mut source = vec![0; (2 * CLUSTERS * CLUSTER) as usize];
            let open = fs.open("/a", OpenHow::new().write(true).create(true)).unwrap();
            for cluster in 0..CLUSTERS {
                let at = (2 * cluster * CLUSTER) as usize;
                source[at..at + CLUSTER as usize].fill(cluster as u8 | 1);
                open.write_at(at as u64, &source[at..at + CLUSTER as usize]).unwrap();
            }
            open.set_len(source.len() as u64).unwrap();
            open.close().unwrap();
            let mut target = vec![0xEE; 30 * CLUSTER as usize];
            fs.write("/b", &target).unwrap();
            let spare: Vec<String> = (0..free).map(|index| format!("/spare-{index}")).collect();
            for name in &spare {
                fs.write(name, [1; CLUSTER as usize]).unwrap();
            }
            let fill = fs.open("/fill", OpenHow::new().write(true).create(true)).unwrap();
            let mut at = 0;
            while let Ok(written) = fill.write_at(at, &[1; 8 * CLUSTER as usize]) {
                at += written as u64;
            }
            fill.close().unwrap();
            for name in &spare {
                fs.remove_file(name).unwrap();
            }
            fs.sync().unwrap();

            let (a, b) = (
                fs.open("/a", OpenHow::new().read(true)).unwrap(),
                fs.open("/b", OpenHow::new().write(true)).unwrap(),
            );
            let len = source.len() as u64;
            let copied = match fs.copy_range(a.inode_use(), from_at, b.inode_use(), to_at, len) {
                Ok(copied) => copied,
                Err(error) => {
                    assert!(matches!(error, ocfs2_fs::Error::NoSpace), "{error}");
                    0
                }
            };
            is_short |= copied < len - from_at;
            let part = &source[from_at as usize..][..copied as usize];
            let (start, end) = (to_at as usize, to_at as usize + part.len());
            if !part.is_empty() {
                target.resize(target.len().max(end), 0);
            }
            target[start..end].copy_from_slice(part);
            let found = fs.read("/b").unwrap();
            assert!(
                found == target,
                "{copied} bytes from {from_at} to {to_at} left {} bytes",
                found.len()
            );
            a.close().unwrap();
            b.close().unwrap();
            fs.unmount().unwrap();
            bed.assert_clean();
        }
        assert!(
            is_short || from_at % CLUSTER == to_at % CLUSTER,
            "there was room for everything"
        );
    }
}

#[test]
fn sharing_stops_at_a_quota_and_says_how_far_it_got() {
    const CLUSTERS: u64 = 600;
    let bed = Bed::new(Shape {
        features: "refcount,usrquota,noinline-data",
        ..Shape::default()
    });
    let fs = bed.mount();
    let mut source = Vec::new();
    let open = fs.open("/a", OpenHow::new().write(true).create(true)).unwrap();
    for cluster in 0..CLUSTERS {
        source.resize((2 * cluster * CLUSTER) as usize, 0);
        source.resize(source.len() + CLUSTER as usize, cluster as u8 | 1);
        let at = 2 * cluster * CLUSTER;
        open.write_at(at, &source[at as usize..]).unwrap();
    }
    open.close().unwrap();
    let mut target = vec![0xEE; 30 * CLUSTER as usize];
    fs.write("/b", &target).unwrap();
    let owner = fs.metadata("/b").unwrap().number();
    let change = SetAttributes {
        uid: Some(5),
        ..Default::default()
    };
    fs.set_attributes(owner, &change).unwrap();
    let limits = QuotaLimits {
        space_hard: 300 * CLUSTER,
        ..Default::default()
    };
    fs.set_quota(QuotaKind::User, 5, &limits).unwrap();
    let (a, b) = (
        fs.open("/a", OpenHow::new().read(true)).unwrap(),
        fs.open("/b", OpenHow::new().write(true)).unwrap(),
    );
    let copied = fs
        .copy_range(a.inode_use(), 0, b.inode_use(), 0, source.len() as u64)
        .unwrap() as usize;
    assert!(
        (256 * CLUSTER as usize..source.len()).contains(&copied),
        "{copied} bytes"
    );
    target.resize(target.len().max(copied), 0);
    target[..copied].copy_from_slice(&source[..copied]);
    assert!(fs.read("/b").unwrap() == target);
    a.close().unwrap();
    b.close().unwrap();
    fs.unmount().unwrap();
    bed.assert_clean();
}

#[test]
fn attributes_in_every_place_are_shared_with_the_file() {
    for block in [512, 4096] {
        let shape = Shape {
            block,
            features: "refcount",
            ..Shape::default()
        };
        let bed = Bed::new(shape);
        let fs = bed.mount();
        fs.write("/a", b"contents").unwrap();
        let inode = fs.metadata("/a").unwrap().number();
        let value = |index: usize| vec![index as u8; [5, 70, 300, 9000, 30_000][index % 5]];
        for index in 0..60 {
            let name = format!("user.attribute-{index}");
            fs.set_xattr(inode, name.as_bytes(), &value(index), XattrMode::Set)
                .unwrap();
        }
        let copy = fs.reflink("/a", "/b").unwrap().number();
        let check = |fs: &FileSystem, inode| {
            for index in 0..60 {
                let name = format!("user.attribute-{index}");
                assert_eq!(fs.xattr(inode, name.as_bytes()).unwrap(), value(index));
            }
        };
        check(&fs, copy);
        check(&fs, inode);
        fs.unmount().unwrap();
        bed.assert_clean();
        let fs = bed.mount();
        // What replaces a shared value is not seen through the other file.
        for index in (0..60).step_by(2) {
            let name = format!("user.attribute-{index}");
            fs.set_xattr(copy, name.as_bytes(), b"new", XattrMode::Set).unwrap();
        }
        check(&fs, inode);
        fs.remove_file("/a").unwrap();
        fs.unmount().unwrap();
        bed.assert_clean();
        let fs = bed.mount();
        fs.remove_file("/b").unwrap();
        fs.unmount().unwrap();
        bed.assert_clean();
    }
}
