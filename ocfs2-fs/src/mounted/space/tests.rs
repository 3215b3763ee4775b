//! Allocation on volumes in memory: nothing is given twice, nothing is lost, and fsck.ocfs2 agrees.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use ocfs2_format::device::{BlockDevice, Durability, FileDevice, FileOptions, MemDevice};

use super::chain::Allocator;
use super::*;
use crate::mkfs::{self, MkfsOptions, MountMode, Plan};
use crate::mounted::{FileSystem, MountOptions};

/// How a volume is made: MiB, block size, cluster size, slots, features.
type Shape = (u64, u32, u32, u16, &'static str);

const SHAPES: &[Shape] = &[
    (64, 4096, 4096, 2, ""),
    (40, 512, 4096, 2, "metaecc"),
    (64, 1024, 8192, 1, "nodiscontig-bg"),
    (96, 2048, 65536, 2, "metaecc,usrquota,grpquota"),
    (256, 4096, 1 << 20, 1, ""),
];

fn format(shape: Shape) -> Arc<MemDevice> {
    let (mib, block, cluster, slots, features) = shape;
    let device = MemDevice::new(mib << 20);
    let mut options = MkfsOptions {
        mount: MountMode::Local,
        block_size: Some(block),
        cluster_size: Some(cluster),
        slots: Some(slots),
        ..MkfsOptions::default()
    };
    if !features.is_empty() {
        options.features.parse_list(features).unwrap();
    }
    let plan = Plan::new(device.geometry().len, &options).unwrap();
    mkfs::format(&device, &plan, &mut |_| {}).unwrap();
    Arc::new(device)
}

fn options() -> MountOptions {
    MountOptions {
        commit_interval: None,
        ..MountOptions::default()
    }
}

fn mount(device: &Arc<MemDevice>) -> FileSystem {
    FileSystem::mount(device.clone(), &options()).unwrap()
}

fn save(device: &MemDevice, file: &File) {
    let len = device.geometry().len;
    file.set_len(len).unwrap();
    let mut bytes = vec![0; 1 << 16];
    for offset in (0..len).step_by(bytes.len()) {
        device.read(offset, &mut bytes).unwrap();
        if bytes.iter().any(|&byte| byte != 0) {
            file.write_all_at(&bytes, offset).unwrap();
        }
    }
}

#[track_caller]
fn assert_clean(device: &MemDevice) {
    if ocfs2_testkit::require_tool("fsck.ocfs2").is_none() {
        return;
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    save(device, file.as_file());
    ocfs2_testkit::tools::fsck_clean(file.path());
}

/// An owner of reservations; that it is no inode does not matter.
const OWNER: InodeNo = InodeNo(0);

/// Everything that was allocated.
#[derive(Debug, Default)]
struct Taken {
    /// By first cluster.
    runs: BTreeMap<u32, u32>,
    blocks: Vec<SubBlock>,
    inodes: Vec<SubBlock>,
}

impl Taken {
    fn add_run(&mut self, run: ClusterRun) {
        let before = self.runs.range(..=run.start.0).next_back();
        assert!(before.is_none_or(|(start, len)| start + len <= run.start.0), "{run:?}");
        let after = self.runs.range(run.start.0..).next();
        assert!(
            after.is_none_or(|(&start, _)| run.start.0 + run.clusters <= start),
            "{run:?}"
        );
        self.runs.insert(run.start.0, run.clusters);
    }

    fn clusters(&self) -> u64 {
        self.runs.values().map(|&len| u64::from(len)).sum()
    }
}

/// Allocates that many clusters, in pieces, and commits.
fn take_clusters(core: &Core, wanted: u32, taken: &mut Taken) -> Result<()> {
    let mut locks = LockSet::new(core);
    let credits = locks.reserve(Need {
        clusters: wanted,
        ..Need::default()
    })?;
    let mut txn = locks.begin(credits)?;
    let mut left = wanted;
    let mut goal = None;
    let mut runs = Vec::new();
    while left > 0 {
        let run = txn.alloc_clusters(OWNER, goal, 1, left)?;
        assert!(run.clusters >= 1 && run.clusters <= left);
        goal = Some(ClusterNo(run.start.0 + run.clusters));
        left -= run.clusters;
        runs.push(run);
    }
    txn.commit()?;
    runs.into_iter().for_each(|run| taken.add_run(run));
    Ok(())
}

fn give_clusters(core: &Core, runs: &[(u32, u32)]) -> Result<()> {
    let mut locks = LockSet::new(core);
    let credits = locks.reserve(Need {
        frees: runs.len() as u32,
        ..Need::default()
    })?;
    let mut txn = locks.begin(credits)?;
    for &(start, len) in runs {
        txn.free_clusters(ClusterNo(start), len)?;
    }
    txn.commit()?;
    Ok(())
}

fn take_blocks(core: &Core, blocks: u32, inodes: u32, taken: &mut Taken) -> Result<()> {
    let mut locks = LockSet::new(core);
    let credits = locks.reserve(Need {
        blocks,
        inodes,
        ..Need::default()
    })?;
    let root = core.superblock().root();
    let mut txn = locks.begin(credits)?;
    let mut new = (Vec::new(), Vec::new());
    for _ in 0..blocks {
        new.0.push(txn.alloc_block()?);
    }
    for _ in 0..inodes {
        new.1.push(txn.alloc_inode(root)?);
    }
    txn.commit()?;
    let known: HashSet<BlockNo> = taken.blocks.iter().chain(&taken.inodes).map(|at| at.block).collect();
    for at in new.0.iter().chain(&new.1) {
        assert!(!known.contains(&at.block), "{at:?}");
    }
    taken.blocks.append(&mut new.0);
    taken.inodes.append(&mut new.1);
    Ok(())
}

fn give_blocks(core: &Core, blocks: &[SubBlock]) -> Result<()> {
    let mut locks = LockSet::new(core);
    let credits = locks.reserve(Need {
        frees: 1,
        ..Need::default()
    })?;
    let mut txn = locks.begin(credits)?;
    for at in blocks {
        txn.free_block(at.block, at.slot, at.bit, at.loc)?;
    }
    txn.commit()?;
    Ok(())
}

fn give_inode(core: &Core, at: SubBlock) -> Result<()> {
    let mut locks = LockSet::new(core);
    let credits = locks.inode_alloc(at.slot)?;
    let mut txn = locks.begin(credits)?;
    txn.free_inode(at)?;
    txn.commit()?;
    Ok(())
}

fn give_everything(core: &Core, taken: &mut Taken) {
    let runs: Vec<_> = std::mem::take(&mut taken.runs).into_iter().collect();
    for part in runs.chunks(20) {
        give_clusters(core, part).unwrap();
    }
    for part in std::mem::take(&mut taken.blocks).chunks(50) {
        give_blocks(core, part).unwrap();
    }
    for at in taken.inodes.drain(..) {
        give_inode(core, at).unwrap();
    }
}

fn free_clusters(fs: &FileSystem) -> u64 {
    fs.statfs().unwrap().free_blocks >> fs.geometry().cluster_bits_over_block()
}

#[test]
fn what_is_allocated_and_freed_leaves_a_clean_volume() {
    for &shape in SHAPES {
        let device = format(shape);
        let fs = mount(&device);
        let mut taken = Taken::default();
        take_clusters(&fs.core, 7, &mut taken).unwrap();
        take_blocks(&fs.core, 5, 3, &mut taken).unwrap();
        give_everything(&fs.core, &mut taken);
        fs.unmount().unwrap();
        assert_clean(&device);
    }
}

/// What a cluster was given, to be recognised after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Contents {
    clusters: u32,
    /// Written through the journal, not to the device.
    is_meta: bool,
    mark: u64,
}

/// Files that are nothing but clusters and marks in them.
#[derive(Clone, Debug, Default)]
struct Marked {
    runs: BTreeMap<u32, Contents>,
    blocks: Vec<SubBlock>,
    inodes: Vec<SubBlock>,
}

struct Model {
    device: Arc<MemDevice>,
    fs: FileSystem,
    now: Marked,
    /// What there was after each transaction.
    history: Vec<(ocfs2_journal::Tid, Marked)>,
    next_mark: u64,
}

impl Model {
    fn new(shape: Shape, options: &MountOptions) -> Model {
        let device = format(shape);
        let fs = FileSystem::mount(device.clone(), options).unwrap();
        Model {
            device,
            fs,
            now: Marked::default(),
            history: Vec::new(),
            next_mark: 1,
        }
    }

    fn first_blocks(&self, start: u32, clusters: u32) -> impl Iterator<Item = BlockNo> + use<> {
        let geometry = *self.fs.geometry();
        (start..start + clusters).map(move |cluster| geometry.cluster_to_block(ClusterNo(cluster)))
    }

    fn committed(&mut self, tid: ocfs2_journal::Tid, then: Marked) {
        self.now = then.clone();
        // A transaction that changed nothing has the number of an old one.
        let last = self.history.last().map(|(tid, _)| *tid);
        self.history.push((last.map_or(tid, |last| last.max(tid)), then));
    }

    /// Allocates clusters and writes into them. Returns whether there was room.
    fn take(&mut self, wanted: u32, is_meta: bool, owner: InodeNo) -> bool {
        let mut then = self.now.clone();
        let core = self.fs.core.clone();
        let mut locks = LockSet::new(&core);
        let need = Need {
            clusters: wanted,
            ..Need::default()
        };
        let credits = match locks.reserve(need) {
            Ok(credits) => credits,
            Err(Error::NoSpace) => {
                drop(locks);
                assert!(free_clusters(&self.fs) < wanted.into(), "there was room for {wanted}");
                return false;
            }
            Err(error) => panic!("{error}"),
        };
        let mut txn = locks.begin(credits + if is_meta { wanted } else { 0 }).unwrap();
        let mut left = wanted;
        while left > 0 {
            let run = txn.alloc_clusters(owner, None, 1, left).unwrap();
            left -= run.clusters;
            let mark = self.next_mark;
            self.next_mark += 1;
            for (start, contents) in &then.runs {
                let apart = start + contents.clusters <= run.start.0 || run.start.0 + run.clusters <= *start;
                assert!(apart, "{run:?} was taken: {start} {contents:?}");
            }
            for block in self.first_blocks(run.start.0, run.clusters) {
                let size = core.geometry().block_size();
                if is_meta {
                    txn.create_tail(block).unwrap()[..8].copy_from_slice(&mark.to_le_bytes());
                } else {
                    let bytes = mark.to_le_bytes().repeat(size / 8);
                    let offset = core.geometry().block_offset(block).unwrap();
                    self.device.write(offset, &bytes, Durability::Cached).unwrap();
                }
            }
            let clusters = run.clusters;
            then.runs.insert(
                run.start.0,
                Contents {
                    clusters,
                    is_meta,
                    mark,
                },
            );
        }
        let tid = txn.commit().unwrap();
        drop(locks);
        self.committed(tid, then);
        true
    }

    fn give(&mut self, index: usize, how_many: usize) {
        let mut then = self.now.clone();
        let starts: Vec<u32> = then.runs.keys().copied().skip(index).take(how_many).collect();
        let core = self.fs.core.clone();
        let mut locks = LockSet::new(&core);
        let need = Need {
            frees: starts.len() as u32,
            ..Need::default()
        };
        let credits = locks.reserve(need).unwrap();
        let mut txn = locks.begin(credits).unwrap();
        for start in starts {
            let contents = then.runs.remove(&start).unwrap();
            if contents.is_meta {
                for block in self.first_blocks(start, contents.clusters) {
                    txn.forget(block, 1).unwrap();
                }
            }
            txn.free_clusters(ClusterNo(start), contents.clusters).unwrap();
        }
        let tid = txn.commit().unwrap();
        drop(locks);
        self.committed(tid, then);
    }

    fn take_blocks(&mut self, blocks: u32, inodes: u32) -> bool {
        let mut then = self.now.clone();
        let core = self.fs.core.clone();
        let mut locks = LockSet::new(&core);
        let need = Need {
            blocks,
            inodes,
            ..Need::default()
        };
        let credits = match locks.reserve(need) {
            Ok(credits) => credits,
            Err(Error::NoSpace) => return false,
            Err(error) => panic!("{error}"),
        };
        let root = core.superblock().root();
        let mut txn = locks.begin(credits + blocks + inodes).unwrap();
        for index in 0..blocks + inodes {
            let at = if index < blocks {
                txn.alloc_block().unwrap()
            } else {
                txn.alloc_inode(root).unwrap()
            };
            let all = then.blocks.iter().chain(&then.inodes);
            assert!(all.clone().all(|other| other.block != at.block), "{at:?}");
            txn.create_tail(at.block).unwrap()[..8].copy_from_slice(&at.block.0.to_le_bytes());
            if index < blocks {
                &mut then.blocks
            } else {
                &mut then.inodes
            }
            .push(at);
        }
        let tid = txn.commit().unwrap();
        drop(locks);
        self.committed(tid, then);
        true
    }

    fn give_blocks(&mut self, from_blocks: usize, from_inodes: usize) {
        let mut then = self.now.clone();
        give_blocks(
            &self.fs.core,
            &then.blocks.split_off(from_blocks.min(then.blocks.len())),
        )
        .unwrap();
        let core = self.fs.core.clone();
        for at in then.inodes.split_off(from_inodes.min(then.inodes.len())) {
            give_inode(&core, at).unwrap();
        }
        // Several transactions: what is durable of them cannot be told, unless all of it is.
        let tid = core.journal().unwrap().commit().unwrap();
        self.committed(tid, then);
    }

    /// What a crash now leaves.
    fn crash(&self) -> (Arc<MemDevice>, Marked) {
        let journal = self.fs.core.journal().unwrap();
        let durable = self.history.iter().rev().find(|(tid, _)| journal.is_durable(*tid));
        let marked = durable.map(|(_, marked)| marked.clone()).unwrap_or_default();
        (Arc::new(self.device.snapshot()), marked)
    }

    /// Recovers a crashed volume: everything that was durable is there, nothing else is taken, and it is clean when all
    /// has been given back.
    fn check_crash(&self, used_before: u64, options: &MountOptions, fsck: bool) {
        let (device, then) = self.crash();
        let fs = FileSystem::mount(device.clone(), options).unwrap();
        let geometry = *fs.geometry();
        for (&start, contents) in &then.runs {
            for block in self.first_blocks(start, contents.clusters) {
                let mut mark = vec![0; geometry.block_size()];
                device.read(geometry.block_offset(block).unwrap(), &mut mark).unwrap();
                assert_eq!(mark[..8], contents.mark.to_le_bytes(), "block {block} of {contents:?}");
            }
        }
        let counts = |fs: &FileSystem| u64::from(geometry.clusters) - free_clusters(fs) - groups_clusters(&fs.core);
        let taken: u64 = then.runs.values().map(|contents| u64::from(contents.clusters)).sum();
        assert_eq!(counts(&fs), used_before + taken);
        let mut taken = Taken {
            runs: then
                .runs
                .iter()
                .map(|(&start, contents)| (start, contents.clusters))
                .collect(),
            blocks: then.blocks,
            inodes: then.inodes,
        };
        give_everything(&fs.core, &mut taken);
        assert_eq!(counts(&fs), used_before);
        fs.unmount().unwrap();
        if fsck {
            assert_clean(&device);
        }
    }
}

/// Clusters of the groups of all suballocators.
fn groups_clusters(core: &Core) -> u64 {
    let mut sum = 0;
    for file in [SystemFile::InodeAlloc, SystemFile::ExtentAlloc] {
        for slot in (0..core.geometry().max_slots).map(SlotNum) {
            let inode = core.system.find(file, slot).unwrap();
            sum += u64::from(core.read_inode(inode).unwrap().clusters());
        }
    }
    sum
}

fn run_model(seed: u64, shape: Shape, options: &MountOptions, steps: u32, checks: u32) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut model = Model::new(shape, options);
    let fs = model.fs.clone();
    let used_before = u64::from(fs.geometry().clusters) - free_clusters(&fs) - groups_clusters(&fs.core);
    let mut full = false;
    for step in 0..steps {
        let runs = model.now.runs.len();
        match rng.u32(..100) {
            0..45 => {
                let most = if full {
                    4
                } else {
                    1 + (fs.geometry().clusters / 40).min(300)
                };
                let is_meta = rng.u32(..4) == 0;
                let wanted = rng.u32(1..=if is_meta { most.min(8) } else { most });
                full = !model.take(wanted, is_meta, InodeNo(rng.u64(..6)));
            }
            45..75 if runs > 0 => {
                let many = if full {
                    rng.usize(1..=runs.min(30))
                } else {
                    rng.usize(1..=3)
                };
                model.give(rng.usize(..runs), many);
                full = false;
            }
            75..88 => {
                model.take_blocks(rng.u32(..6), rng.u32(..3));
            }
            88..92 => {
                let (blocks, inodes) = (model.now.blocks.len(), model.now.inodes.len());
                model.give_blocks(
                    blocks - rng.usize(..=blocks.min(20)),
                    inodes - rng.usize(..=inodes.min(10)),
                );
            }
            92..95 => drop(fs.core.journal().unwrap().commit().unwrap()),
            95 => fs.core.journal().unwrap().checkpoint().unwrap(),
            96 => {
                fs.trim(0..u64::MAX, 0).unwrap();
            }
            97.. => fs.core.release_space().unwrap(),
            _ => {}
        }
        if (step + 1) % (steps / checks) == 0 {
            model.check_crash(used_before, options, false);
        }
    }
    fs.core.journal().unwrap().commit().unwrap();
    model.check_crash(used_before, options, true);
}

#[test]
fn nothing_is_given_twice_or_lost_and_crashes_bring_back_what_was_durable() {
    for (index, &shape) in SHAPES.iter().enumerate() {
        for local_alloc_mib in [None, Some(0), Some(2)] {
            let mut options = options();
            options.local_alloc_mib = local_alloc_mib;
            let seed = 4711 + index as u64;
            println!("seed {seed} {shape:?} {local_alloc_mib:?}");
            run_model(seed, shape, &options, 300, 6);
        }
    }
}

/// A small volume, for tests that fill it.
const TINY: Shape = (24, 4096, 4096, 1, "");

#[test]
fn the_last_free_cluster_can_be_allocated_and_a_failure_leaves_no_trace() {
    for shape in [TINY, (20, 512, 4096, 1, ""), (40, 4096, 65536, 2, "metaecc")] {
        for local_alloc_mib in [None, Some(0)] {
            let mut options = options();
            options.local_alloc_mib = local_alloc_mib;
            let device = format(shape);
            let fs = FileSystem::mount(device.clone(), &options).unwrap();
            let mut taken = Taken::default();
            let all = free_clusters(&fs);
            // What is freed on the way has to come back too.
            take_clusters(&fs.core, all as u32 / 3, &mut taken).unwrap();
            let some: Vec<_> = std::mem::take(&mut taken.runs).into_iter().collect();
            give_clusters(&fs.core, &some).unwrap();
            while free_clusters(&fs) > 0 {
                let wanted = free_clusters(&fs).min(5) as u32;
                take_clusters(&fs.core, wanted, &mut taken).unwrap();
            }
            assert_eq!(taken.clusters(), all);
            let refused = take_clusters(&fs.core, 1, &mut taken);
            assert!(matches!(refused, Err(Error::NoSpace)), "{refused:?}");
            let (&start, &len) = taken.runs.last_key_value().unwrap();
            taken.runs.remove(&start);
            give_clusters(&fs.core, &[(start, len)]).unwrap();
            let refused = take_clusters(&fs.core, len + 1, &mut taken);
            assert!(matches!(refused, Err(Error::NoSpace)), "{refused:?}");
            take_clusters(&fs.core, len, &mut taken).unwrap();
            give_everything(&fs.core, &mut taken);
            assert_eq!(free_clusters(&fs), all);
            fs.unmount().unwrap();
            assert_clean(&device);
        }
    }
}

/// Fills a volume and makes holes of so many clusters in it.
fn fragment(fs: &FileSystem, hole: u32, taken: &mut Taken) {
    while free_clusters(fs) > 0 {
        take_clusters(&fs.core, free_clusters(fs).min(300) as u32, taken).unwrap();
    }
    let runs = std::mem::take(&mut taken.runs);
    let mut holes = Vec::new();
    for cluster in runs.iter().flat_map(|(&start, &len)| start..start + len) {
        if cluster % (hole + 1) == 0 {
            taken.runs.insert(cluster, 1);
        } else {
            holes.push((cluster, 1));
        }
    }
    for part in holes.chunks(30) {
        give_clusters(&fs.core, part).unwrap();
    }
}

fn groups_in_pieces(fs: &FileSystem, file: SystemFile) -> usize {
    let core = &fs.core;
    let allocator = Allocator::read(&**core, core.system.find(file, core.slot).unwrap()).unwrap();
    (0..allocator.parent.chains)
        .flat_map(|chain| allocator.walk(&**core, chain).collect::<Vec<_>>())
        .filter(|group| group.as_ref().unwrap().desc().extents().is_some())
        .count()
}

#[test]
fn suballocators_grow_by_groups_in_pieces_where_no_run_is_long_enough() {
    let shape = (24, 4096, 4096, 1, "");
    let device = format(shape);
    let fs = mount(&device);
    let mut taken = Taken::default();
    // Nothing is left in the groups that mkfs has made.
    while take_blocks(&fs.core, 50, 10, &mut taken).is_ok() && free_clusters(&fs) > 2000 {}
    fragment(&fs, 20, &mut taken);
    let before = (taken.blocks.len(), taken.inodes.len());
    while take_blocks(&fs.core, 40, 40, &mut taken).is_ok() {}
    assert!(groups_in_pieces(&fs, SystemFile::ExtentAlloc) + groups_in_pieces(&fs, SystemFile::InodeAlloc) > 0);
    assert!(taken.blocks.len() > before.0 && taken.inodes.len() > before.1);
    assert!(taken.blocks.iter().chain(&taken.inodes).any(|block| block.loc != 0));
    give_everything(&fs.core, &mut taken);
    fs.unmount().unwrap();
    assert_clean(&device);
}

#[test]
fn blocks_come_from_other_slots_when_nothing_else_is_left_and_go_back_there() {
    let device = format((32, 1024, 4096, 3, "nodiscontig-bg"));
    for slot in [1, 2] {
        let mut options = options();
        options.preferred_slot = Some(SlotNum(slot));
        let fs = FileSystem::mount(device.clone(), &options).unwrap();
        let mut taken = Taken::default();
        take_blocks(&fs.core, 1, 0, &mut taken).unwrap();
        give_everything(&fs.core, &mut taken);
        fs.unmount().unwrap();
    }
    let fs = mount(&device);
    let mut taken = Taken::default();
    fragment(&fs, 1, &mut taken);
    while take_blocks(&fs.core, 1, 0, &mut taken).is_ok() {}
    let slots: std::collections::BTreeSet<u16> = taken.blocks.iter().map(|block| block.slot.0).collect();
    assert_eq!(slots.into_iter().collect::<Vec<_>>(), [0, 1, 2]);
    give_everything(&fs.core, &mut taken);
    fs.unmount().unwrap();
    assert_clean(&device);
}

#[test]
fn empty_groups_go_back_to_the_bitmap_when_clusters_are_short() {
    for features in ["", "nodiscontig-bg"] {
        let device = format((32, 1024, 4096, 1, features));
        let fs = mount(&device);
        let mut taken = Taken::default();
        let all = free_clusters(&fs);
        while free_clusters(&fs) > all / 3 {
            take_blocks(&fs.core, 20, 10, &mut taken).unwrap();
        }
        for part in std::mem::take(&mut taken.blocks).chunks(50) {
            give_blocks(&fs.core, part).unwrap();
        }
        for at in taken.inodes.drain(..) {
            give_inode(&fs.core, at).unwrap();
        }
        assert!(free_clusters(&fs) <= all / 3);
        take_clusters(&fs.core, all as u32 / 2, &mut taken).unwrap();
        give_everything(&fs.core, &mut taken);
        fs.unmount().unwrap();
        assert_clean(&device);
    }
}

#[test]
fn a_search_moves_a_group_with_room_to_the_front_of_its_chain() {
    // Few chains, many groups.
    let device = format((48, 512, 4096, 1, ""));
    let fs = mount(&device);
    let mut taken = Taken::default();
    while free_clusters(&fs) > 1000 {
        take_blocks(&fs.core, 300, 0, &mut taken).unwrap();
    }
    let chains = |fs: &FileSystem| {
        let core = &fs.core;
        let inode = core.system.find(SystemFile::ExtentAlloc, core.slot).unwrap();
        Allocator::read(&**core, inode).unwrap()
    };
    let allocator = chains(&fs);
    let long = (0..allocator.parent.chains).find(|&chain| allocator.walk(&*fs.core, chain).count() > 1);
    let long = long.expect("more groups than chains");
    let tail = allocator.walk(&*fs.core, long).last().unwrap().unwrap().at;
    // Only the last group of that chain has room.
    while allocator.free() > 0 && take_blocks(&fs.core, 1, 0, &mut taken).is_ok() && chains(&fs).free() > 0 {}
    let range = tail.0..tail.0 + 2048;
    let index = taken
        .blocks
        .iter()
        .position(|block| range.contains(&block.block.0))
        .unwrap();
    give_blocks(&fs.core, &[taken.blocks.swap_remove(index)]).unwrap();
    lock(&fs.core.space).last_groups.clear();
    take_blocks(&fs.core, 1, 0, &mut taken).unwrap();
    assert_eq!(chains(&fs).chains[usize::from(long)].1, tail);
    give_everything(&fs.core, &mut taken);
    fs.unmount().unwrap();
    assert_clean(&device);
}

#[test]
fn threads_allocate_and_free_at_the_same_time() {
    for shape in [(48, 4096, 4096, 2, ""), (32, 512, 4096, 3, "metaecc")] {
        let device = format(shape);
        let fs = FileSystem::mount(device.clone(), &MountOptions::default()).unwrap();
        let before = free_clusters(&fs) + groups_clusters(&fs.core);
        let all: Vec<Taken> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|thread| {
                    let fs = fs.clone();
                    scope.spawn(move || {
                        let mut rng = fastrand::Rng::with_seed(thread);
                        let mut taken = Taken::default();
                        for _ in 0..60 {
                            match rng.u32(..6) {
                                0 | 1 => drop(take_clusters(&fs.core, rng.u32(1..200), &mut taken)),
                                2 => drop(take_blocks(&fs.core, rng.u32(1..8), rng.u32(..4), &mut taken)),
                                3 => {
                                    let runs: Vec<_> = taken.runs.iter().take(2).map(|(&a, &b)| (a, b)).collect();
                                    give_clusters(&fs.core, &runs).unwrap();
                                    taken.runs.retain(|start, _| runs.iter().all(|run| run.0 != *start));
                                }
                                4 => give_blocks(&fs.core, &taken.blocks.split_off(taken.blocks.len() / 2)).unwrap(),
                                _ => taken.inodes.drain(..).for_each(|at| give_inode(&fs.core, at).unwrap()),
                            }
                        }
                        taken
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let mut together = Taken::default();
        for mut taken in all {
            for (start, clusters) in std::mem::take(&mut taken.runs) {
                let start = ClusterNo(start);
                together.add_run(ClusterRun { start, clusters });
            }
            together.blocks.append(&mut taken.blocks);
            together.inodes.append(&mut taken.inodes);
        }
        give_everything(&fs.core, &mut together);
        assert_eq!(free_clusters(&fs) + groups_clusters(&fs.core), before);
        fs.unmount().unwrap();
        assert_clean(&device);
    }
}

#[test]
fn a_trim_discards_what_is_free_and_nothing_else() {
    let device = format(TINY);
    let fs = mount(&device);
    let geometry = *fs.geometry();
    let mut taken = Taken::default();
    take_clusters(&fs.core, 100, &mut taken).unwrap();
    let ones = vec![1; geometry.cluster_size() as usize];
    let last = u64::from(geometry.clusters) - 1;
    for cluster in taken.runs.iter().flat_map(|(&start, &len)| start..start + len) {
        device
            .write(u64::from(cluster) << 12, &ones, Durability::Cached)
            .unwrap();
    }
    device.write(last << 12, &ones, Durability::Cached).unwrap();
    let trimmed = fs.trim(0..u64::MAX, 0).unwrap();
    assert!(trimmed > 0 && trimmed <= free_clusters(&fs) << 12);
    let first_byte = |cluster: u64| {
        let mut bytes = vec![0; 512];
        device.read(cluster << 12, &mut bytes).unwrap();
        bytes[0]
    };
    assert!(taken.runs.iter().all(|(&start, _)| first_byte(start.into()) == 1));
    assert_eq!(first_byte(last), 0);
    assert_eq!(fs.trim(0..u64::MAX, 1 << 30).unwrap(), 0);
    assert!(fs.trim(0..100, 0).is_err());
    give_everything(&fs.core, &mut taken);
    fs.unmount().unwrap();
    assert_clean(&device);
}

#[test]
fn a_slot_that_crashed_is_recovered_by_another() {
    let device = format((64, 4096, 4096, 2, ""));
    let mut slot_1 = options();
    slot_1.preferred_slot = Some(SlotNum(1));
    let fs = FileSystem::mount(device.clone(), &slot_1).unwrap();
    assert_eq!(fs.slot(), SlotNum(1));
    let all = free_clusters(&fs);
    let mut taken = Taken::default();
    take_clusters(&fs.core, 50, &mut taken).unwrap();
    let (&start, _) = taken.runs.first_key_value().unwrap();
    give_clusters(&fs.core, &[(start, 1)]).unwrap();
    fs.core.journal().unwrap().commit().unwrap();
    let crashed = Arc::new(device.snapshot());
    let mut rest = taken
        .runs
        .remove(&start)
        .map(|len| (start + 1, len - 1))
        .into_iter()
        .collect::<Vec<_>>();
    rest.extend(taken.runs.iter().map(|(&start, &len)| (start, len)));
    let fs = mount(&crashed);
    assert_eq!(free_clusters(&fs), all - 49);
    give_clusters(&fs.core, &rest).unwrap();
    assert_eq!(free_clusters(&fs), all);
    fs.unmount().unwrap();
    assert_clean(&crashed);
}

#[test]
fn a_block_whose_allocator_somebody_has_is_freed_by_a_later_operation() {
    let device = format(TINY);
    let fs = mount(&device);
    let core = &*fs.core;
    let mut taken = Taken::default();
    take_blocks(core, 3, 0, &mut taken).unwrap();
    let inode = core.system.find(SystemFile::ExtentAlloc, core.slot).unwrap();
    let used = || Allocator::read(core, inode).unwrap().used;
    let before = used();
    let mut other = LockSet::new(core);
    other.take(core.meta_lock(inode), Level::Exclusive).unwrap();
    for at in taken.blocks.drain(..) {
        let mut locks = LockSet::new(core);
        let mut txn = locks.begin(4).unwrap();
        txn.free_block(at.block, at.slot, at.bit, at.loc).unwrap();
        txn.commit().unwrap();
    }
    assert_eq!(used(), before);
    drop(other);
    LockSet::new(core).reserve(Need::default()).unwrap();
    assert_eq!(used(), before - 3);
    fs.unmount().unwrap();
    assert_clean(&device);
}

#[test]
fn the_kernel_recovers_the_window_and_the_truncate_log_of_a_crash_and_goes_on() {
    if ocfs2_testkit::require_tool("fsck.ocfs2").is_none() {
        return;
    }
    for shape in [(64, 4096, 4096, 1, ""), (200, 512, 4096, 1, "metaecc")] {
        let Some(kernel) = ocfs2_testkit::require_kernel() else {
            return;
        };
        let device = format(shape);
        let fs = mount(&device);
        let mut taken = Taken::default();
        // Groups in pieces, and all of it freed again: part of that is in the truncate log still.
        take_blocks(&fs.core, 300, 300, &mut taken).unwrap();
        fragment(&fs, 40, &mut taken);
        for _ in 0..30 {
            take_blocks(&fs.core, 100, 100, &mut taken).unwrap();
        }
        give_everything(&fs.core, &mut taken);
        take_clusters(&fs.core, 100, &mut taken).unwrap();
        give_everything(&fs.core, &mut taken);
        let core = &fs.core;
        core.journal().unwrap().commit().unwrap();
        assert!(groups_in_pieces(&fs, SystemFile::InodeAlloc) > 0);
        assert!(
            window::Window::read(&**core, core.local_alloc_inode().unwrap())
                .unwrap()
                .total
                > 0
        );
        let log = truncate_log::Log::read(&**core, core.truncate_log_inode().unwrap()).unwrap();
        assert!(!log.records.is_empty());

        let file = tempfile::NamedTempFile::new().unwrap();
        save(&device.snapshot(), file.as_file());
        let script = "mount -t ocfs2 /dev/ubda /mnt/a && for i in $(seq 300); do echo $i > /mnt/a/f$i; done && \
            dd if=/dev/zero of=/mnt/a/big bs=1M count=8 2>/dev/null && rm /mnt/a/f1* && umount /mnt/a";
        kernel.disk(file.path()).script(script).run().unwrap().ok();
        ocfs2_testkit::tools::fsck_clean(file.path());
    }
}

#[test]
fn the_window_and_the_truncate_log_of_a_crashed_kernel_are_recovered() {
    if ocfs2_testkit::require_tool("fsck.ocfs2").is_none() {
        return;
    }
    let Some(kernel) = ocfs2_testkit::require_kernel() else {
        return;
    };
    let device = format((64, 4096, 4096, 1, ""));
    let file = tempfile::NamedTempFile::new().unwrap();
    save(&device, file.as_file());
    let script = "mount -t ocfs2 /dev/ubda /mnt/a && for i in $(seq 50); do dd if=/dev/zero of=/mnt/a/f$i bs=64k count=3 \
        2>/dev/null; done && sync && truncate -s 4096 /mnt/a/f[1-4]* && sync -f /mnt/a/f1 && echo crash now; sleep 60";
    let cut = |output: &str| output.contains("crash now");
    kernel.disk(file.path()).script(script).run_until(cut).unwrap();
    let options = FileOptions::default().writable(true);
    let image = Arc::new(FileDevice::open(file.path(), &options).unwrap());
    let fs = FileSystem::mount(image, &MountOptions::default()).unwrap();
    fs.unmount().unwrap();
    ocfs2_testkit::tools::fsck_clean(file.path());
}

#[test]
fn clusters_that_data_is_being_written_to_are_kept_from_others() {
    let device = format(SHAPES[0]);
    let fs = mount(&device);
    let core = &*fs.core;
    let mut taken = Taken::default();
    // Opens a window.
    take_clusters(core, 1, &mut taken).unwrap();
    let flight = LockSet::new(core).take_off(OWNER, None, (100, 4), 0).unwrap().unwrap();
    let is_ours = |taken: &Taken| {
        let inside = |run: &ClusterRun, (&start, &len): (&u32, &u32)| {
            start < run.start.0 + run.clusters && run.start.0 < start + len
        };
        flight
            .runs()
            .iter()
            .any(|run| taken.runs.iter().any(|other| inside(run, other)))
    };
    for _ in 0..50 {
        take_clusters(core, 3, &mut taken).unwrap();
    }
    let other = LockSet::new(core)
        .take_off(InodeNo(1), None, (100, 4), 0)
        .unwrap()
        .unwrap();
    assert!(other.runs().iter().all(|run| !flight.runs().contains(run)) && !is_ours(&taken));
    drop(other);
    std::thread::scope(|scope| {
        // So many do not come from the window, which may be moved for them.
        let waiting = scope.spawn(|| take_clusters(core, 5000, &mut taken).map(|()| &mut taken));
        while !lock(&core.space).flights.is_waited_for() {
            std::thread::sleep(std::time::Duration::from_millis(1));
            assert!(!waiting.is_finished());
        }
        // Nobody takes off while somebody waits for that.
        assert!(LockSet::new(core).take_off(OWNER, None, (1, 1), 0).unwrap().is_none());
        drop(flight);
        let taken = waiting.join().unwrap().unwrap();
        give_everything(core, taken);
    });
    fs.unmount().unwrap();
    assert_clean(&device);
}
