//! The same journals, replayed by us and by the kernel.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use ocfs2_format::device::{BlockDevice, Durability, MemDevice};
use ocfs2_format::jbd2::{ChecksumVersion, Incompat};
use ocfs2_format::{BlockCheck, BlockNo, Dinode, Geometry, InodeFlags, JournalFlags, Signature, check_superblock};
use ocfs2_journal::{DamageKind, End, JournalError, Log, LogMap, LogRun, Overlay, Recovery, Redirects};
use ocfs2_testkit::{Kernel, require_kernel, require_tool};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use zerocopy::FromBytes;

use crate::random::{draft, mishap, style};
use crate::writer::{LogWriter, Style, Txn};

/// A volume with one journal.
pub(crate) struct Volume {
    pub(crate) device: MemDevice,
    pub(crate) geometry: Geometry,
    pub(crate) map: LogMap,
    journal_inode: BlockNo,
}

impl Volume {
    /// A fresh volume made by the reference mkfs.
    pub(crate) fn make(dir: &Path, bits: u8, options: &[&str]) -> Option<Volume> {
        let image = dir.join(format!("empty-{bits}"));
        File::create(&image).unwrap().set_len(VOLUME).unwrap();
        let block_size = (1 << bits).to_string();
        require_tool("mkfs.ocfs2")?
            .args([
                "-q", "-x", "-M", "local", "-C", "4096", "-N", "1", "-J", "size=4M", "-b",
            ])
            .arg(block_size)
            .args(options)
            .arg(&image)
            .run()
            .ok();
        Some(Volume::of(std::fs::read(&image).unwrap(), bits))
    }

    pub(crate) fn of(bytes: Vec<u8>, bits: u8) -> Volume {
        let view = |block| Dinode::ref_from_bytes(block).unwrap();
        let geometry = check_superblock(view(&bytes[2 << bits..3 << bits]), BlockNo(2)).unwrap();
        let (journal_inode, dinode) = (0..)
            .map(BlockNo)
            .zip(bytes.chunks_exact(1 << bits).map(view))
            .find(|(_, dinode)| dinode.i_signature == Signature::INODE && dinode.flags().contains(InodeFlags::JOURNAL))
            .unwrap();
        let runs = dinode.extent_list().records().iter().map(|extent| LogRun {
            start: geometry.clusters_to_blocks(extent.e_cpos.get()),
            at: extent.blkno(),
            blocks: geometry.clusters_to_blocks(extent.clusters(0)),
        });
        Volume {
            map: LogMap::new(runs, &geometry).unwrap(),
            geometry,
            journal_inode,
            device: MemDevice::from_vec(bytes),
        }
    }

    /// The volume, as if a node had crashed with this journal.
    fn with_journal(&self, journal: &[u8]) -> Volume {
        let bits = self.geometry.block_size_bits;
        let device = self.device.snapshot();
        let write = |at: BlockNo, block: &[u8]| device.write(at.0 << bits, block, Durability::Cached).unwrap();
        for (n, block) in (0..).zip(journal.chunks(1 << bits)) {
            write(self.map.block(n).unwrap(), block);
        }
        let volume = self.on(device);
        volume.set_dirty(true);
        volume
    }

    /// The volume on another device.
    pub(crate) fn on(&self, device: MemDevice) -> Volume {
        Volume {
            device,
            map: self.map.clone(),
            ..*self
        }
    }

    /// Says in the journal's inode whether it is to be replayed.
    pub(crate) fn set_dirty(&self, dirty: bool) {
        let offset = self.journal_inode.0 << self.geometry.block_size_bits;
        let mut block = vec![0; self.geometry.block_size()];
        self.device.read(offset, &mut block).unwrap();
        let dinode = Dinode::mut_from_bytes(&mut block).unwrap();
        let flags = if dirty {
            JournalFlags::DIRTY
        } else {
            JournalFlags::empty()
        };
        dinode.journal_mut().ij_flags.set(flags.bits());
        if self.geometry.features.metaecc() {
            BlockCheck::set(&mut block, Dinode::CHECK_OFFSET);
        }
        self.device.write(offset, &block, Durability::ForceUnitAccess).unwrap();
    }

    pub(crate) fn log(&self) -> Result<Log<'_>, JournalError> {
        Log::open(&self.device, self.map.clone(), &self.geometry)
    }

    /// Where the blocks start that belong to nobody.
    pub(crate) fn free(&self) -> u64 {
        (self.geometry.blocks() - FREE) << self.geometry.block_size_bits
    }

    /// Writes what is not zero.
    fn write_to(&self, file: &File, offset: u64) {
        let mut piece = vec![0; 4096];
        for at in (0..VOLUME).step_by(piece.len()) {
            self.device.read(at, &mut piece).unwrap();
            if piece.iter().any(|&byte| byte != 0) {
                file.write_all_at(&piece, offset + at).unwrap();
            }
        }
    }
}

/// Lets the kernel mount one volume after the other, all made by [`Volume::make`]. Returns the disk with what it left, and
/// a line for each with the error number.
pub(crate) fn mount_all(kernel: Kernel, dir: &Path, volumes: &[&Volume]) -> (File, Vec<String>) {
    let (disk, count) = (dir.join("disk"), volumes.len());
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&disk)
        .unwrap();
    file.set_len(VOLUME * count as u64).unwrap();
    for (volume, offset) in volumes.iter().zip((0..).step_by(VOLUME as usize)) {
        volume.write_to(&file, offset);
    }
    let output = kernel
        .disk(&disk)
        .file("mount.py", include_bytes!("mount.py"))
        .script(format!(
            "modprobe -d ${{KIT%/kit}} loop && python3 $KIT/mount.py {VOLUME} {count}"
        ))
        .run()
        .unwrap()
        .ok();
    let results: Vec<String> = output.stdout.lines().map(str::to_owned).collect();
    assert_eq!(results.len(), count, "{}", output.stdout);
    (file, results)
}

fn random_case(runner: &mut TestRunner, empty: &[Volume]) -> Volume {
    fn draw<T: std::fmt::Debug>(strategy: impl Strategy<Value = T>, runner: &mut TestRunner) -> T {
        strategy.new_tree(runner).unwrap().current()
    }
    let mut style = draw(style(), runner);
    if style.bits == 9 && style.has_block_checksums() {
        // The driver takes the checksum of the superblock over what memory holds behind its first 512 bytes.
        style.bits = 10;
    }
    let empty = empty
        .iter()
        .find(|volume| volume.geometry.block_size_bits == style.bits)
        .unwrap();
    let blocks = empty.map.blocks() as u32;
    let style = Style {
        blocks,
        // Mostly near the end of the ring, so that the log goes around it.
        start: blocks - style.start,
        ..style
    };
    let drafts = draw(proptest::collection::vec(draft(), 1..16), runner);
    let home = |n: u64| empty.geometry.blocks() - 1 - n;
    let image = |byte, magic: bool| {
        if magic {
            style.magic_image(byte)
        } else {
            style.image(byte)
        }
    };
    let mut writer = LogWriter::new(style);
    let mut used = Vec::new();
    for (copies, revokes, revokes_first) in drafts {
        let transaction = Txn {
            copies: copies
                .into_iter()
                .map(|(n, byte, magic)| (home(n), image(byte, magic)))
                .collect(),
            revokes: revokes.into_iter().map(home).collect(),
            revokes_first,
        };
        let written = writer.transaction(&transaction);
        // Now and then the clock goes back, as between two rounds of the ring.
        if draw(proptest::bool::weighted(0.1), runner) {
            writer.time -= 1000;
        }
        used.extend((0..written.blocks).map(|n| writer.ring.advance(written.at, n)));
    }
    for _ in 0..draw(0..4usize, runner) {
        // What lies on the log, not anywhere in the much larger journal.
        let mut hit: Vec<u8> = used.iter().flat_map(|&n| writer.block_mut(n).to_vec()).collect();
        draw(mishap(), runner).happen(&mut hit, style.bits);
        for (&n, block) in used.iter().zip(hit.chunks(1 << style.bits)) {
            writer.block_mut(n).copy_from_slice(block);
        }
    }
    empty.with_journal(&writer.journal)
}

#[test]
fn kernel_replays_the_same_blocks_of_random_and_damaged_logs() {
    let dir = tempfile::tempdir().unwrap();
    let (Some(kernel), Some(_)) = (require_kernel(), require_tool("python3")) else {
        return;
    };
    let Some(empty) = (9..=12)
        .map(|bits| Volume::make(dir.path(), bits, &[]))
        .collect::<Option<Vec<_>>>()
    else {
        return;
    };
    let mut runner = TestRunner::deterministic();
    let cases: Vec<(Volume, Recovery)> = std::iter::repeat_with(|| random_case(&mut runner, &empty))
        .map(|volume| {
            let recovery = volume.log().unwrap().scan().unwrap();
            (volume, recovery)
        })
        .filter(|(volume, recovery)| {
            let free = |home: BlockNo| {
                volume.geometry.contains(home) && home.0 << volume.geometry.block_size_bits >= volume.free()
            };
            // Behind a bad commit block that may be an incomplete transaction, the driver goes on without a check where
            // blocks have their own checksums, and may replay what we do not.
            let log = volume.log().unwrap();
            let ambiguous = log.superblock().incompat().contains(Incompat::ASYNC_COMMIT)
                && matches!(log.ring().format.checksum, ChecksumVersion::V2 | ChecksumVersion::V3)
                && matches!(recovery.end(), End::BadCommit { .. });
            !ambiguous
                && recovery.redirects().iter().all(|(home, _)| free(home))
                && recovery
                    .damage()
                    .iter()
                    .all(|damage| damage.kind == DamageKind::Checksum && free(damage.home))
        })
        .take(CASES)
        .collect();

    let volumes: Vec<&Volume> = cases.iter().map(|(volume, _)| volume).collect();
    let (file, results) = mount_all(kernel, dir.path(), &volumes);

    let (mut mounted, mut ends) = (0, BTreeMap::new());
    for (n, ((volume, recovery), result)) in cases.iter().zip(results).enumerate() {
        let context = format!("case {n}: {result}, {}, {:?}", recovery.end(), recovery.damage());
        let mounts = result.split(' ').nth(1) == Some("0");
        let intact = recovery.check(&volume.geometry).is_ok();
        assert_eq!(mounts, intact, "{context}");
        mounted += usize::from(mounts);
        *ends
            .entry(format!("{:?}", recovery.end()).split(' ').next().unwrap().to_owned())
            .or_insert(0) += 1;

        let mut after = vec![0; (VOLUME - volume.free()) as usize];
        file.read_exact_at(&mut after, VOLUME * n as u64 + volume.free())
            .unwrap();
        // The driver gives up at once, before it replays anything.
        let nothing = matches!(recovery.end(), End::BadControl { .. } | End::BadRevoke { .. });
        let redirects = if nothing {
            Redirects::default()
        } else {
            recovery.redirects().clone()
        };
        let overlay = Overlay::new(volume.device.snapshot(), volume.geometry.block_size_bits, redirects);
        let mut shown = vec![0; after.len()];
        overlay.read(volume.free(), &mut shown).unwrap();
        assert!(shown == after, "{context}");
    }
    assert!(
        mounted > CASES / 3 && mounted < CASES,
        "{mounted} of {CASES} are intact: {ends:?}"
    );
    println!("{mounted} of {CASES} are intact: {ends:?}");
}

#[test]
fn kernel_and_fsck_replay_the_same_blocks_of_a_journal_that_the_kernel_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let (Some(kernel), Some(mkfs), Some(fsck)) =
        (require_kernel(), require_tool("mkfs.ocfs2"), require_tool("fsck.ocfs2"))
    else {
        return;
    };
    let image = |name: &str| dir.path().join(name);
    for (bits, journal) in [(12, "size=4M,block64"), (10, "size=4M")] {
        let crashed = image("crashed");
        File::create(&crashed).unwrap().set_len(4 * VOLUME).unwrap();
        let options = ["-q", "-x", "-M", "local", "-C", "4096", "-N", "1", "-J", journal, "-b"];
        let mkfs = mkfs.clone().args(options).arg((1 << bits).to_string());
        mkfs.arg(&crashed).run().ok();
        let crash = kernel.clone().disk(&crashed).script(WORKLOAD);
        crash.run_until(|output| output.contains("crash now")).unwrap();

        let volume = Volume::of(std::fs::read(&crashed).unwrap(), bits);
        let log = volume.log().unwrap();
        let recovery = log.scan().unwrap();
        recovery.check(&volume.geometry).unwrap();
        assert!(recovery.transactions() > 1, "{recovery:?}");
        let before = volume.device.to_vec();
        let overlay = Overlay::new(volume.device.snapshot(), bits, recovery.redirects().clone());
        let mut shown = vec![0; before.len()];
        overlay.read(0, &mut shown).unwrap();
        log.replay(&recovery).unwrap();
        let written = volume.device.to_vec();

        // Without a cluster, fsck replays and then gives up: what it leaves is replay and nothing else.
        std::fs::copy(&crashed, image("fsck")).unwrap();
        fsck.clone().arg("-fy").arg(image("fsck")).run();
        std::fs::copy(&crashed, image("kernel")).unwrap();
        let mount = kernel.clone().disk(image("kernel"));
        mount
            .script("mount -t ocfs2 /dev/ubda /mnt/a && umount /mnt/a")
            .run()
            .unwrap()
            .ok();
        let by_fsck = std::fs::read(image("fsck")).unwrap();
        let by_kernel = std::fs::read(image("kernel")).unwrap();

        let mut changed = 0;
        for n in 0..volume.geometry.blocks() {
            let block = |bytes: &[u8]| bytes[(n << bits) as usize..][..1 << bits].to_vec();
            if volume.map.holds(BlockNo(n)) {
                continue;
            }
            let shown = block(&shown);
            assert!(shown == block(&written), "our replay of block {n}");
            assert!(shown == block(&by_fsck), "fsck's replay of block {n}");
            if recovery.redirects().get(BlockNo(n)).is_some() {
                changed += usize::from(shown != block(&before));
                // After its replay, the driver gives back what the local alloc of the crashed node held.
                let by_kernel = block(&by_kernel);
                assert!(
                    shown == by_kernel || is_allocator(&by_kernel),
                    "the kernel's replay of block {n}"
                );
            }
        }
        assert!(changed > 100, "{changed} blocks are not at home");
    }
}

fn is_allocator(block: &[u8]) -> bool {
    let dinode = Dinode::ref_from_bytes(block).unwrap();
    let allocator = InodeFlags::SYSTEM | InodeFlags::BITMAP;
    let is_inode = dinode.i_signature == Signature::INODE && dinode.flags().contains(allocator);
    is_inode || dinode.i_signature == Signature::GROUP_DESC
}

/// Commits blocks that stay in the journal, in a log that goes around its ring.
const WORKLOAD: &str = "
    mount -t ocfs2 /dev/ubda /mnt/a && cd /mnt/a && mkdir dir || exit
    for round in {1..7}; do
        for i in {1..150}; do echo $round > dir/$round-$i; done
        sync dir/$round-1
    done
    rm dir/1-*; echo done > dir/done; sync dir/done
    echo crash now; sleep 60";
/// Bytes of a test volume.
pub(crate) const VOLUME: u64 = 16 << 20;
/// Blocks at its end that nothing is in.
pub(crate) const FREE: u64 = 64;
/// Logs that the kernel gets to replay.
const CASES: usize = 80;
