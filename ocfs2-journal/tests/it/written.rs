//! Journals that we wrote, replayed by the kernel and by fsck.ocfs2.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use ocfs2_format::device::{BlockDevice, Crash, Durability, MemDevice, Recording};
use ocfs2_format::jbd2::{Incompat, Superblock};
use ocfs2_format::{BlockCheck, BlockNo, Dinode, InodeFlags, Signature};
use ocfs2_journal::{CheckAt, Journal, Tid};
use ocfs2_testkit::{fsck_clean, require_kernel, require_tool};
use zerocopy::FromBytes;

use crate::bed::BY_HAND;
use crate::kernel::{FREE, VOLUME, Volume, mount_all};

impl Volume {
    /// Opens the journal, which is empty.
    fn open_journal(&self, device: Arc<dyn BlockDevice>) -> Journal {
        Journal::open(device, self.map.clone(), self.geometry, &BY_HAND).unwrap()
    }

    /// The inodes of directories, the root among them. Nothing changes their times behind our back.
    fn directories(&self) -> Vec<BlockNo> {
        let bytes = self.device.to_vec();
        let inodes = (0..).map(BlockNo).zip(bytes.chunks_exact(self.geometry.block_size()));
        inodes
            .filter(|(at, block)| {
                let dinode = Dinode::ref_from_bytes(block).unwrap();
                let is_inode = dinode.i_signature == Signature::INODE && dinode.i_blkno.get() == at.0;
                is_inode && dinode.flags().contains(InodeFlags::VALID) && dinode.i_mode.get() >> 12 == 4
            })
            .map(|(at, _)| at)
            .collect()
    }

    /// Lets the journal have revoke blocks, as those of OCFS2 never do.
    fn set_revoke_feature(&self) {
        let offset = self.map.block(0).unwrap().0 << self.geometry.block_size_bits;
        let mut bytes = vec![0; 1024];
        self.device.read(offset, &mut bytes).unwrap();
        let superblock = Superblock::mut_from_bytes(&mut bytes).unwrap();
        superblock.s_feature_incompat.set(Incompat::REVOKE.bits());
        self.device.write(offset, &bytes, Durability::Cached).unwrap();
    }

    fn block(&self, at: BlockNo) -> Vec<u8> {
        let mut block = vec![0; self.geometry.block_size()];
        self.device
            .read(at.0 << self.geometry.block_size_bits, &mut block)
            .unwrap();
        block
    }
}

/// What a handle was the last one to leave in a block that belongs to nobody.
fn image(volume: &Volume, number: u64, block: BlockNo) -> Vec<u8> {
    let mut bytes = (number * 1_000_003 + block.0)
        .to_be_bytes()
        .repeat(volume.geometry.block_size() / 8);
    if (number + block.0).is_multiple_of(5) {
        bytes[..4].copy_from_slice(&ocfs2_format::jbd2::MAGIC.to_be_bytes());
    }
    bytes
}

/// What a workload did.
#[derive(Clone)]
struct Work {
    /// For each handle, which one left a block as it is, or `None` where a block was freed; those not listed are as they
    /// were.
    states: Vec<BTreeMap<u64, Option<u64>>>,
    /// The transaction of each handle.
    tids: Vec<Tid>,
    /// The handle that was known to be durable after so many operations of the device.
    durable: Vec<(usize, usize)>,
    /// Blocks that held metadata and then file data.
    reused: u64,
}

/// Changes the blocks that belong to nobody, time and again, until the log has gone around.
fn work(volume: &Volume, device: &Recording<MemDevice>, journal: &Journal) -> Work {
    let free: Vec<BlockNo> = (0..FREE).map(|n| BlockNo(volume.geometry.blocks() - 1 - n)).collect();
    let (mut states, mut tids, mut durable) = (vec![BTreeMap::new()], vec![Tid::default()], vec![(0, 0)]);
    let mut reused = 0;
    let rounds = volume.map.blocks() / 30;
    for number in 1..=rounds {
        let mut state = states.last().unwrap().clone();
        let mut handle = journal.begin(FREE as u32).unwrap();
        for (n, &block) in (0u64..).zip(&free) {
            let image = image(volume, number, block);
            let is_freed = state.get(&block.0) == Some(&None);
            // Any mixture of both will do.
            let choice = (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ n.wrapping_mul(0xBF58_476D_1CE4_E5B9)) >> 40;
            match choice % 8 {
                // The first block counts the handles.
                _ if n == 0 => handle.create(block, None).unwrap().copy_from_slice(&image),
                0 | 1 => continue,
                2 if state.contains_key(&block.0) => {
                    handle.forget(block, 1).unwrap();
                    state.insert(block.0, None);
                    continue;
                }
                3..=6 if is_freed => {
                    if !journal.may_reuse(block..BlockNo(block.0 + 1)) {
                        continue;
                    }
                    let offset = block.0 << volume.geometry.block_size_bits;
                    device.write(offset, &image, Durability::Cached).unwrap();
                    reused += 1;
                }
                _ => handle.create(block, None).unwrap().copy_from_slice(&image),
            }
            state.insert(block.0, Some(number));
        }
        tids.push(handle.commit().unwrap());
        states.push(state);
        if number % 3 == 0 {
            journal.commit().unwrap();
            durable.push((device.ops().len(), number as usize));
        }
        if number % 16 == 0 {
            journal.checkpoint_through(tids[number as usize - 5]).unwrap();
        }
    }
    journal.commit().unwrap();
    durable.push((device.ops().len(), rounds as usize));
    Work {
        states,
        tids,
        durable,
        reused,
    }
}

#[test]
fn kernel_replays_what_power_cuts_leave_of_our_journals() {
    let dir = tempfile::tempdir().unwrap();
    let (Some(kernel), Some(_)) = (require_kernel(), require_tool("python3")) else {
        return;
    };
    let mut cases = Vec::new();
    for (bits, options) in [
        (9, [].as_slice()),
        (10, &["--fs-features=metaecc"]),
        (11, &[]),
        (12, &["-J", "size=4M,block64"]),
    ] {
        let Some(empty) = Volume::make(dir.path(), bits, options) else {
            return;
        };
        empty.set_dirty(true);
        if bits == 11 {
            empty.set_revoke_feature();
        }
        let device = Arc::new(Recording::new(empty.device.snapshot()));
        let journal = empty.open_journal(device.clone());
        let work = work(&empty, &device, &journal);
        assert!(work.reused > 10, "{} blocks were reused", work.reused);
        let ops = device.ops();
        let crash = Crash::new(empty.device.snapshot());
        let step = ops.len() / CUTS + 1;
        for (n, op) in ops.iter().enumerate() {
            op.apply(&crash).unwrap();
            if n % step == step - 1 || n + 1 == ops.len() {
                let left = empty.on(crash.after_power_cut(n as u64).unwrap());
                let known = work.durable.iter().rfind(|(ops, _)| *ops <= n + 1).unwrap().1;
                cases.push((left, work.clone(), known));
            }
        }
    }
    let volumes: Vec<&Volume> = cases.iter().map(|(volume, ..)| volume).collect();
    let (disk, results) = mount_all(kernel, dir.path(), &volumes);

    for (n, ((volume, work, known), result)) in cases.iter().zip(results).enumerate() {
        let Work { states, tids, .. } = work;
        assert_eq!(result.trim(), format!("{n} 0"), "the kernel mounts the volume");
        let mut by_kernel = vec![0; (VOLUME - volume.free()) as usize];
        disk.read_exact_at(&mut by_kernel, VOLUME * n as u64 + volume.free())
            .unwrap();
        let log = volume.log().unwrap();
        let recovery = log.scan().unwrap();
        log.replay(&recovery).unwrap();
        let by_us = &volume.device.to_vec()[volume.free() as usize..];
        assert!(by_us == by_kernel, "case {n}: our replay is the kernel's");

        // All blocks are as one of the handles left them, the last one of its transaction.
        let size = volume.geometry.block_size();
        let first = volume.geometry.blocks() - FREE;
        let counter = &by_kernel[(FREE as usize - 1) * size..];
        let at = (1..states.len())
            .find(|&number| counter == image(volume, number as u64, BlockNo(first + FREE - 1)))
            .unwrap_or(0);
        assert!(
            at >= *known,
            "case {n}: handle {known} was durable, {at} is the last one there"
        );
        assert!(tids.get(at + 1).is_none_or(|next| *next > tids[at]));
        for (block, bytes) in (first..).zip(by_kernel.chunks(size)) {
            let expected = match states[at].get(&block) {
                Some(Some(number)) => image(volume, *number, BlockNo(block)),
                Some(None) => continue,
                None => vec![0; size],
            };
            assert!(bytes == expected, "case {n}: block {block} after handle {at}");
        }
    }
}

/// Sets the modification time of inodes.
fn touch(journal: &Journal, inodes: &[BlockNo], time: u64) -> Tid {
    let mut handle = journal.begin(inodes.len() as u32).unwrap();
    for &inode in inodes {
        let bytes = handle
            .modify(inode, Some(CheckAt::block(Dinode::CHECK_OFFSET)))
            .unwrap();
        Dinode::mut_from_bytes(bytes).unwrap().i_mtime.set(time);
    }
    handle.commit().unwrap()
}

fn save(volume: &Volume, path: &Path) {
    std::fs::write(path, volume.device.to_vec()).unwrap();
}

#[test]
fn kernel_and_fsck_replay_our_change_of_an_inode_and_go_on_from_there() {
    let dir = tempfile::tempdir().unwrap();
    let (Some(kernel), Some(fsck)) = (require_kernel(), require_tool("fsck.ocfs2")) else {
        return;
    };
    let path = |name: &str| dir.path().join(name);
    for (bits, options) in [(12, ["--fs-features=metaecc"].as_slice()), (10, &[])] {
        let Some(volume) = Volume::make(dir.path(), bits, options) else {
            return;
        };
        let directories = volume.directories();
        assert!(directories.len() >= 3, "{directories:?}");
        volume.set_dirty(true);
        let device = Arc::new(volume.device.snapshot());
        let journal = volume.open_journal(device.clone());
        // Until the log has gone around.
        for n in 0..volume.map.blocks() / 4 {
            let tid = touch(&journal, &directories, 1_000_000_000 + n);
            journal.commit_and_wait(tid).unwrap();
        }
        let durable = touch(&journal, &directories, 1_234_567_890);
        journal.commit_and_wait(durable).unwrap();
        touch(&journal, &directories, 1_999_999_999);
        drop(journal);

        let crashed = volume.on(device.snapshot());
        save(&crashed, &path("kernel"));
        save(&crashed, &path("fsck"));
        let recovery = crashed.log().unwrap().scan().unwrap();
        assert!(recovery.transactions() > 3);
        crashed.log().unwrap().replay(&recovery).unwrap();

        // Without a cluster, the first run ends behind the replay.
        fsck.clone().arg("-fy").arg(path("fsck")).run();
        fsck.clone().arg("-fy").arg(path("fsck")).run().ok();
        fsck_clean(path("fsck"));
        // The driver reads the root's inode before it replays the journal, and does not look again.
        let script = "set -e
            mount -t ocfs2 -o noatime /dev/ubda /mnt/a && umount /mnt/a
            mount -t ocfs2 -o noatime /dev/ubda /mnt/a && stat -c %Y /mnt/a && umount /mnt/a";
        let output = kernel.clone().disk(path("kernel")).script(script).run().unwrap().ok();
        assert_eq!(output.stdout.trim(), "1234567890");
        fsck_clean(path("kernel"));
        let by = |name: &str| Volume::of(std::fs::read(path(name)).unwrap(), bits);
        let (by_fsck, by_kernel) = (by("fsck"), by("kernel"));
        for &inode in &directories {
            let expected = crashed.block(inode);
            let mtime = Dinode::ref_from_bytes(&expected).unwrap().i_mtime.get();
            assert_eq!(mtime, 1_234_567_890);
            if crashed.geometry.features.metaecc() {
                assert!(BlockCheck::is_good(&expected, Dinode::CHECK_OFFSET));
            }
            assert!(
                by_fsck.block(inode) == expected && by_kernel.block(inode) == expected,
                "inode {inode}"
            );
        }

        // What the kernel left is ours again, and so on.
        for (volume, name) in [(by_kernel, "kernel"), (by_fsck, "fsck")] {
            volume.set_dirty(true);
            let device = Arc::new(volume.device.snapshot());
            let journal = volume.open_journal(device.clone());
            touch(&journal, &directories, 1_111_111_111);
            journal.close().unwrap();
            let closed = volume.on(device.snapshot());
            closed.set_dirty(false);
            save(&closed, &path(name));
            fsck_clean(path(name));
        }
        let output = kernel.clone().disk(path("kernel")).script(script).run().unwrap().ok();
        assert_eq!(output.stdout.trim(), "1111111111");
    }
}

/// Power cuts for each kind of volume.
const CUTS: usize = 16;
