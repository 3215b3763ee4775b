//! Allocation on volumes in memory: nothing is given twice, nothing is lost, and fsck.ocfs2 agrees.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use ocfs2_format::device::{BlockDevice, MemDevice};

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
    let mut options = MkfsOptions::default();
    options.mount = MountMode::Local;
    options.block_size = Some(block);
    options.cluster_size = Some(cluster);
    options.slots = Some(slots);
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

#[track_caller]
fn assert_clean(device: &MemDevice) {
    if ocfs2_testkit::require_tool("fsck.ocfs2").is_none() {
        return;
    }
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let mut bytes = vec![0; device.geometry().len as usize];
    device.read(0, &mut bytes).unwrap();
    file.write_all(&bytes).unwrap();
    ocfs2_testkit::tools::fsck_clean(file.path());
}

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
    for block in new.0.iter().chain(&new.1) {
        let all = taken.blocks.iter().chain(&taken.inodes);
        assert!(all.clone().all(|other| other.block != block.block), "{block:?}");
    }
    taken.blocks.append(&mut new.0);
    taken.inodes.append(&mut new.1);
    Ok(())
}

fn give_block(core: &Core, at: SubBlock) -> Result<()> {
    let mut locks = LockSet::new(core);
    let credits = locks.reserve(Need {
        frees: 1,
        ..Need::default()
    })?;
    let mut txn = locks.begin(credits)?;
    txn.free_block(at.block, at.slot, at.bit, at.loc)?;
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
    for at in taken.blocks.drain(..) {
        give_block(core, at).unwrap();
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
