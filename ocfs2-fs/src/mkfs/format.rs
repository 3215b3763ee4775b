//! Writing a planned volume.

use std::ops::Range;

use ocfs2_format::device::{BlockDevice, DiscardEffect};
use ocfs2_format::{BlockNo, Geometry, SlotNum, SystemFile, fill_leading_area};

use super::blocks::{Block, Builder};
use super::error::MkfsError;
use super::plan::Plan;
use super::space::Run;
use super::writer::Writer;

/// A part of the work, in the order in which it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Step {
    /// Clearing old contents and describing free space.
    Bitmaps,
    /// Composing the superblock.
    InitializeSuperblock,
    /// Inodes and directories of the system.
    SystemFiles,
    /// Fixing the superblock's contents; they are written at the very end.
    Superblock,
    /// Copies of the superblock; written with it.
    BackupSuperblocks,
    /// Journals.
    Journals,
    /// Space for extent blocks.
    ExtentAllocators,
    /// Slot map.
    SlotMap,
    /// Quota files.
    QuotaFiles,
    /// The directory lost+found.
    LostFound,
}

impl Step {
    /// The steps that a volume takes, and those that a heartbeat device takes.
    pub fn of(plan: &Plan) -> &'static [Step] {
        const ALL: &[Step] = &[
            Step::Bitmaps,
            Step::InitializeSuperblock,
            Step::SystemFiles,
            Step::Superblock,
            Step::BackupSuperblocks,
            Step::Journals,
            Step::ExtentAllocators,
            Step::SlotMap,
            Step::QuotaFiles,
            Step::LostFound,
        ];
        if plan.is_heartbeat_device() { &ALL[..4] } else { ALL }
    }
}

/// What happens to a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It begins.
    Begin(Step),
    /// It is done.
    Done(Step),
}

/// What formatting did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Whether the device was told that its old bytes are not needed, and knows what to do with that.
    pub discarded: bool,
    /// Bytes of structures written.
    pub bytes_written: u64,
    /// Writes that they took.
    pub writes: u64,
}

/// Makes the volume.
///
/// Old contents are first made unrecognisable. The superblock is written last, and its copies just before it, each after
/// everything else has reached the device, so that an interrupted format is never mistaken for a volume. Nothing is read.
///
/// # Errors
/// [`MkfsError::DeviceTooSmall`] or [`MkfsError::BelowSector`] when the plan is not for this device; nothing has been
/// written then. [`MkfsError::Io`] when the device fails; its first MiB and the copies of the superblock are then left
/// zero if they can still be written.
pub fn format(device: &dyn BlockDevice, plan: &Plan, progress: &mut dyn FnMut(Progress)) -> Result<Summary, MkfsError> {
    let (device_geometry, geometry) = (device.geometry(), plan.geometry());
    let (found, expected) = (device_geometry.len, geometry.bytes());
    if found < expected {
        return Err(MkfsError::DeviceTooSmall { found, expected });
    }
    let sector_size = device_geometry.block_size;
    if geometry.block_size() < sector_size as usize {
        // A block has at most 4096 bytes.
        let bytes = geometry.block_size() as u32;
        return Err(MkfsError::BelowSector { bytes, sector_size });
    }
    let mut formatting = Formatting {
        device,
        plan,
        writer: Writer::new(device, geometry),
        known_zero: false,
    };
    let outcome = formatting.run(progress);
    if outcome.is_err() {
        let (block_size, shift) = (geometry.block_size() as u64, geometry.block_size_bits);
        let backups = plan.backup_blocks().iter().map(|block| block.0 << shift);
        let backups = backups.map(|start| start..start + block_size);
        for range in backups.chain(std::iter::once(0..END_BYTES.min(found))) {
            // The first error is the one to report, and one place that can't be cleared must not save the others.
            let _ = device.write_zeroes(range);
        }
        let _ = device.flush();
    }
    outcome
}

struct Formatting<'a> {
    device: &'a dyn BlockDevice,
    plan: &'a Plan,
    writer: Writer<'a>,
    /// The whole volume reads as zeros, but for what has been written since.
    known_zero: bool,
}

impl Formatting<'_> {
    fn run(&mut self, progress: &mut dyn FnMut(Progress)) -> Result<Summary, MkfsError> {
        let plan = self.plan;
        let builder = Builder::new(plan);
        let discarded = self.clear_device()?;
        for &step in Step::of(plan) {
            progress(Progress::Begin(step));
            match step {
                Step::Bitmaps => {
                    self.clear_areas()?;
                    self.cluster_groups(&builder)?;
                    self.writer.stage([builder.first_inode_group()])?;
                }
                // Written at the very end.
                Step::InitializeSuperblock | Step::Superblock | Step::BackupSuperblocks => {}
                Step::SystemFiles => {
                    self.writer.stage(builder.system_files())?;
                    self.writer.stage(builder.directories())?;
                }
                Step::Journals => self.writer.stage(builder.journal_superblocks())?,
                Step::ExtentAllocators => {
                    for (slot, alloc) in (0..).zip(&plan.layout().extent_alloc) {
                        self.writer
                            .stage(builder.suballoc_groups(SystemFile::ExtentAlloc, SlotNum(slot), alloc))?;
                    }
                }
                Step::SlotMap => self.writer.stage(builder.slot_map())?,
                Step::QuotaFiles => self.writer.stage(builder.quota_files())?,
                Step::LostFound => self.writer.stage(builder.lost_found())?,
            }
            self.writer.write_staged()?;
            progress(Progress::Done(step));
        }
        self.device.flush()?;
        if !plan.backup_blocks().is_empty() {
            self.writer
                .stage(plan.backup_blocks().iter().map(|&at| builder.superblock(at)))?;
            self.writer.write_staged()?;
            self.device.flush()?;
        }
        self.superblock(&builder)?;
        self.device.flush()?;
        Ok(Summary {
            discarded,
            bytes_written: self.writer.bytes_written(),
            writes: self.writer.writes(),
        })
    }

    /// Gives the device's bytes back where it can take them, and makes sure that nothing at either end of it looks like
    /// anything any more. Returns whether the device took its bytes back.
    fn clear_device(&mut self) -> Result<bool, MkfsError> {
        let volume = 0..self.plan.geometry().bytes();
        let effect = self.device.traits().discard;
        let discards = self.plan.discards() && effect != DiscardEffect::Ignored;
        // A device that fails to discard can still be written.
        let discarded = discards && self.device.discard(volume.clone()).is_ok();
        self.known_zero = discarded && effect == DiscardEffect::Zeroes;
        if self.plan.is_reproducible() && !self.known_zero {
            self.device.write_zeroes(volume)?;
            self.known_zero = true;
        }
        for end in self.ends() {
            if !self.known_zero || end.end > self.plan.geometry().bytes() {
                self.device.write_zeroes(end)?;
            }
        }
        self.device.flush()?;
        Ok(discarded)
    }

    /// The first and the last bytes of the volume, or of the device when what is left of it is too small for a cluster.
    fn ends(&self) -> [Range<u64>; 2] {
        let volume = self.plan.geometry().bytes();
        let device = self.device.geometry();
        let rest = device.len - volume;
        let end = if rest < self.plan.geometry().cluster_size() {
            device.len
        } else {
            volume
        };
        let start = end.saturating_sub(END_BYTES);
        let start = start - start % u64::from(device.block_size);
        [0..END_BYTES.min(volume), start..end]
    }

    /// Zeroes what has to be zero besides what will be written.
    fn clear_areas(&mut self) -> Result<(), MkfsError> {
        if self.known_zero {
            return Ok(());
        }
        for range in zero_areas(self.plan) {
            self.device.write_zeroes(range)?;
        }
        Ok(())
    }

    /// Writes the descriptors of all cluster groups. There can be a million of them, far apart: a second thread makes
    /// the device work on what has been written while more is being written.
    fn cluster_groups(&mut self, builder: &Builder<'_>) -> Result<(), MkfsError> {
        let geometry = self.plan.geometry();
        let device = self.device;
        let check = geometry
            .features
            .metaecc()
            .then_some(ocfs2_format::GroupDesc::CHECK_OFFSET);
        let writer = &mut self.writer;
        std::thread::scope(|scope| {
            let (wake, woken) = std::sync::mpsc::sync_channel(1);
            let flusher = scope.spawn(move || woken.iter().try_for_each(|()| device.flush()));
            for index in 0..geometry.cluster_groups() {
                writer.write_with(geometry.block_size(), check, |block| {
                    builder.cluster_group(index, block)
                })?;
                if (index + 1).is_multiple_of(GROUPS_PER_FLUSH) {
                    // A flush that is still under way, or has failed, needs no further one.
                    let _ = wake.try_send(());
                }
            }
            drop(wake);
            flusher
                .join()
                .expect("flushing does not panic")
                .map_err(MkfsError::from)
        })
    }

    /// The leading area and the superblock, in one write.
    fn superblock(&mut self, builder: &Builder<'_>) -> Result<(), MkfsError> {
        let block_size = self.plan.geometry().block_size();
        let mut leading = vec![0; 2 * block_size];
        fill_leading_area(&mut leading);
        let leading = Block {
            at: BlockNo(0),
            bytes: leading,
            check_offset: None,
        };
        self.writer
            .stage([leading, builder.superblock(Geometry::SUPER_BLOCK)])?;
        self.writer.write_staged()
    }
}

/// Byte ranges that have to be zero where nothing is written into them, ascending and joined.
fn zero_areas(plan: &Plan) -> Vec<Range<u64>> {
    let (geometry, layout) = (plan.geometry(), plan.layout());
    let group = |&start| Run {
        start,
        len: plan.suballoc_clusters().into(),
    };
    let directories = [&layout.root, &layout.system]
        .into_iter()
        .chain(&layout.orphans)
        .chain(&layout.lost_found);
    let quotas = layout
        .quotas
        .iter()
        .flat_map(|files| [&files.global].into_iter().chain(&files.local));
    let files = layout.journals.iter().chain(quotas).flat_map(|extents| extents.runs());
    let leaves = layout.system_index.iter().flat_map(|index| &index.leaf_clusters);
    let single = |start| Run { start, len: 1 };
    let backups = layout
        .backups
        .iter()
        .filter_map(|&block| geometry.block_to_cluster(block))
        .map(single);
    let mut runs: Vec<Run> = [layout.inode_group, layout.heartbeat]
        .into_iter()
        .chain(layout.slot_map)
        .chain(directories.filter_map(|directory| directory.data))
        // Inodes that an older volume left there could pass for deleted ones of this volume.
        .chain(layout.inode_alloc.groups.iter().map(group))
        .chain(files.copied())
        .chain(leaves.map(|leaf| single(leaf.place)))
        .chain(backups)
        .collect();
    runs.sort_by_key(|run| run.start);
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for run in runs {
        let start = u64::from(run.start.0) << geometry.cluster_size_bits;
        let end = start + geometry.clusters_to_bytes(run.len);
        match ranges.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => ranges.push(start..end),
        }
    }
    ranges
}

/// Group descriptors after which the device is flushed.
const GROUPS_PER_FLUSH: u32 = 4096;

/// Bytes at either end of the device that are cleared.
const END_BYTES: u64 = 1 << 20;
