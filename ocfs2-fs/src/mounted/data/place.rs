//! One step of a write: clusters for a range, data on them, and the records that show both, in one transaction.
//!
//! Source: on-disk reference, sections 19.5, 19.8, 24.4 and 37.

use std::ops::Range;

use ocfs2_format::{ClusterNo, ExtentFlags, Geometry, InodeNo};
use ocfs2_journal::JournalError;

use super::device::{self, Payload, Transfer};
use super::map::{self, Map, Place, Run, clusters_of};
use super::times;
use crate::error::{Error, Result};
use crate::extent_tree::Extent;
use crate::inode::Inode;
use crate::meta::Blocks;
use crate::mounted::tree::{self, Intent, Root};
use crate::mounted::{Charge, ClusterRun, Core, LockSet, Need, Txn, refcount};

/// Bytes of one step: the transaction is open while they are written.
pub(crate) const STEP: u64 = 8 << 20;

/// Records that one step changes, as planned.
const CHANGES: u32 = 24;

/// Further records of one step, for free space in small pieces.
const SPARE_CHANGES: u32 = 8;

/// Longest record, in clusters.
pub(crate) const MAX_RECORD: u32 = u16::MAX as u32;

/// Bytes from which on it is worth visiting the allocator twice to write without its lock.
const WORTH_FLYING: u64 = 64 << 10;

/// What is left to write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece<'p> {
    pub(crate) payload: &'p Payload<'p>,
    /// Byte of the payload.
    pub(crate) at: u64,
    /// Byte of the file.
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

impl Piece<'_> {
    fn end(&self) -> u64 {
        self.offset + self.len
    }
}

/// Writes the first part of a piece. Returns how many bytes: at least one.
///
/// The locks of the file are held exclusively, its contents are not inline, and everything between its size and the piece
/// is as it has to be.
///
/// # Errors
/// [`Error::NoSpace`] and [`Error::QuotaExceeded`] when there is not even room for one cluster, [`Error::Corrupt`],
/// [`Error::Io`], the journal's. Then nothing was changed.
pub(crate) fn step(locks: &mut LockSet<'_>, number: InodeNo, piece: Piece<'_>) -> Result<u64> {
    let core = locks.core();
    let geometry = core.geometry();
    let (from, _) = clusters_of(geometry, piece.offset, piece.end());
    let mut clusters = STEP.div_ceil(geometry.cluster_size()).max(1);
    loop {
        let inode = core.read_inode(number)?;
        let plan = Plan::new(core, &inode, piece, clusters)?;
        let span = plan.end - from;
        let tried = if plan.is_shared {
            // The next round finds nothing shared.
            refcount::make_writable(locks, number, from as u32, span as u32).map(|()| None)
        } else if plan.changes == 0 {
            overwrite(locks, &inode, piece, &plan).map(Some)
        } else {
            match fly(locks, &inode, piece, &plan) {
                Ok(None) => place(locks, &inode, piece, &plan).map(Some),
                flown => flown,
            }
        };
        match tried {
            Ok(None) => {}
            Ok(Some(written)) => return Ok(written),
            // The last free clusters can be had too.
            Err(Error::NoSpace | Error::QuotaExceeded | Error::Journal(JournalError::HandleTooLarge { .. }))
                if span > 1 =>
            {
                clusters = span / 2;
            }
            Err(error) => return Err(error),
        }
    }
}

/// What a step will find.
#[derive(Debug)]
struct Plan {
    runs: Vec<Run>,
    /// Cluster that the step ends before.
    end: u64,
    /// Clusters to allocate.
    holes: u32,
    /// Records to insert and to change.
    changes: u32,
    is_shared: bool,
}

impl Plan {
    fn new(core: &Core, inode: &Inode, piece: Piece<'_>, clusters: u64) -> Result<Plan> {
        let (from, to) = clusters_of(core.geometry(), piece.offset, piece.end());
        let to = to.min(from + clusters);
        let mut plan = Plan {
            runs: Vec::new(),
            end: from,
            holes: 0,
            changes: 0,
            is_shared: false,
        };
        for run in Map::new(core, inode)?.runs(from, to) {
            let run = run?;
            if plan.changes == CHANGES {
                break;
            }
            plan.is_shared |= run.is_shared();
            plan.changes += u32::from(!run.is_plain());
            if run.is_hole() {
                // A step has far fewer clusters than 32 bits can count.
                plan.holes += (run.end - run.cpos) as u32;
            }
            plan.end = run.end;
            plan.runs.push(run);
        }
        Ok(plan)
    }
}

/// Writes over what is there; only times and size change.
fn overwrite(locks: &mut LockSet<'_>, inode: &Inode, piece: Piece<'_>, plan: &Plan) -> Result<u64> {
    let core = locks.core();
    let end = piece.end().min(plan.end << core.geometry().cluster_size_bits);
    for run in &plan.runs {
        if let Some(transfer) = transfer(run, piece.offset, piece.at, end, core.geometry()) {
            device::overwrite(core.device().as_ref(), piece.payload, transfer)?;
        }
    }
    if end > inode.size() || times::is_modification_due(inode, core.now(), locks.privileges) {
        let mut txn = locks.begin(1)?;
        finish(&mut txn, inode.number(), end)?;
        txn.commit()?;
    }
    Ok(end - piece.offset)
}

/// Writes to clusters that are allocated only then, so that nobody waits for an allocator because of the data. `None`, with
/// nothing changed, if they are better allocated before.
fn fly(locks: &mut LockSet<'_>, inode: &Inode, piece: Piece<'_>, plan: &Plan) -> Result<Option<u64>> {
    let core = locks.core();
    let geometry = *core.geometry();
    if geometry.clusters_to_bytes(plan.holes) < WORTH_FLYING {
        return Ok(None);
    }
    let (from, _) = clusters_of(&geometry, piece.offset, piece.end());
    let goal = map::goal(core, inode, from)?;
    let root = Root::Data(inode.number());
    let cost = tree::cost_from(core, root, from as u32, plan.changes + SPARE_CHANGES)?;
    let most = SPARE_CHANGES as usize;
    let Some(flight) = locks.take_off(inode.number(), goal, (plan.holes, most), cost.blocks)? else {
        return Ok(None);
    };
    let fresh = spread(plan, flight.runs(), &geometry);
    let end = piece.end().min(plan.end << geometry.cluster_size_bits);
    write_data(core, piece, plan, &fresh, end)?;

    let Some(credits) = locks.prepare_landing(cost.blocks)? else {
        return Ok(None);
    };
    let mut txn = locks.begin(cost.credits + 1 + credits)?;
    txn.land(&flight)?;
    for run in &fresh {
        let Some(extent) = run.extent() else { continue };
        let was_hole = plan
            .runs
            .iter()
            .any(|old| old.is_hole() && old.cpos <= run.cpos && run.end <= old.end);
        if was_hole {
            tree::insert(&mut txn, root, extent)?;
        } else {
            tree::replace(&mut txn, root, &[extent])?;
        }
    }
    finish(&mut txn, inode.number(), end)?;
    txn.commit()?;
    Ok(Some(end - piece.offset))
}

/// What a plan's runs that are not plain become, the holes with clusters from `clusters`, which are as many as they have.
fn spread(plan: &Plan, clusters: &[ClusterRun], geometry: &Geometry) -> Vec<Run> {
    let mut clusters = clusters.iter().copied();
    let mut left = clusters.next();
    let mut fresh = Vec::new();
    for run in plan.runs.iter().filter(|run| !run.is_plain()) {
        if !run.is_hole() {
            fresh.push(run.made_plain());
            continue;
        }
        let mut cpos = run.cpos;
        while let Some(from) = left.filter(|_| cpos < run.end) {
            let part = u64::from(from.clusters).min(run.end - cpos);
            fresh.push(Run {
                cpos,
                end: cpos + part,
                place: Place::Mapped {
                    blkno: geometry.cluster_to_block(from.start),
                    flags: ExtentFlags::empty(),
                },
            });
            cpos += part;
            // Not more than the run has.
            let part = part as u32;
            left = match from.clusters - part {
                0 => clusters.next(),
                clusters => Some(ClusterRun {
                    start: ClusterNo(from.start.0 + part),
                    clusters,
                }),
            };
        }
    }
    fresh
}

/// Writes a piece up to the byte `end` of the file: over what is there, and into clusters that hold something old.
fn write_data(core: &Core, piece: Piece<'_>, plan: &Plan, fresh: &[Run], end: u64) -> Result<()> {
    let (device, geometry) = (core.device().as_ref(), core.geometry());
    for run in plan.runs.iter().filter(|run| run.is_plain()) {
        if let Some(transfer) = transfer(run, piece.offset, piece.at, end, geometry) {
            device::overwrite(device, piece.payload, transfer)?;
        }
    }
    for run in fresh {
        if let Some(transfer) = transfer(run, piece.offset, piece.at, end, geometry) {
            device::fill(device, piece.payload, transfer, device_range(run, geometry))?;
        }
    }
    Ok(())
}

/// Allocates, converts, writes.
fn place(locks: &mut LockSet<'_>, inode: &Inode, piece: Piece<'_>, plan: &Plan) -> Result<u64> {
    let core = locks.core();
    let geometry = *core.geometry();
    let (from, _) = clusters_of(&geometry, piece.offset, piece.end());
    let goal = map::goal(core, inode, from)?;
    let root = Root::Data(inode.number());
    let mut changes = plan.changes + SPARE_CHANGES.min(plan.holes);
    let mut ready = None;
    let cost = if plan.end - from == 1 {
        // The least that can be done can be done in trees of any size.
        changes = 1;
        let intent = match plan.holes {
            0 => Intent::Change,
            _ => Intent::Insert,
        };
        ready.insert(tree::ready(locks, root, from as u32, 1, intent)?).cost
    } else {
        tree::cost_from(core, root, from as u32, changes)?
    };
    let mut credits = cost.credits + 1;
    credits += locks.quota(inode.uid(), inode.gid())?;
    credits += locks.reserve(Need {
        clusters: plan.holes,
        blocks: cost.blocks,
        ..Need::default()
    })?;
    let mut txn = locks.begin(credits)?;
    if let Some(ready) = ready {
        ready.begin(&mut txn);
    }
    let mut placing = Placing {
        txn: &mut txn,
        inode: inode.number(),
        goal,
        changes,
        fresh: Vec::new(),
        allocated: 0,
    };
    let mut placed = from;
    for run in &plan.runs {
        placed = placing.run(run, &geometry)?;
        if placed < run.end {
            break;
        }
    }
    let Placing { fresh, allocated, .. } = placing;
    let end = piece.end().min(placed << geometry.cluster_size_bits);
    let bytes = geometry.clusters_to_bytes(allocated) as i64;
    txn.charge(inode.uid(), inode.gid(), Charge { bytes, inodes: 0 })?;

    // The data is on the device before the transaction that shows it commits.
    write_data(core, piece, plan, &fresh, end)?;
    finish(&mut txn, inode.number(), end)?;
    txn.commit()?;
    if let Some(ready) = ready {
        ready.end(locks)?;
    }
    Ok(end - piece.offset)
}

/// The changes of records in one step.
struct Placing<'a, 't> {
    txn: &'a mut Txn<'t>,
    inode: InodeNo,
    /// Where the next cluster would best be.
    goal: Option<ClusterNo>,
    /// Records that may still be changed.
    changes: u32,
    /// Runs whose clusters hold something old.
    fresh: Vec<Run>,
    allocated: u32,
}

impl Placing<'_, '_> {
    /// Makes a run plain. Returns up to where that was possible.
    fn run(&mut self, run: &Run, geometry: &Geometry) -> Result<u64> {
        if run.is_hole() {
            return self.hole(run);
        }
        let plain = run.made_plain();
        let Some(extent) = plain.extent() else {
            return Ok(run.cpos);
        };
        if !run.is_plain() {
            if self.changes == 0 {
                return Ok(run.cpos);
            }
            self.changes -= 1;
            tree::replace(self.txn, Root::Data(self.inode), &[extent])?;
            self.fresh.push(plain);
        }
        self.goal = behind(&extent, geometry);
        Ok(run.end)
    }

    fn hole(&mut self, run: &Run) -> Result<u64> {
        let mut cpos = run.cpos;
        while cpos < run.end && self.changes > 0 {
            self.changes -= 1;
            // A hole of a step has far fewer clusters than 32 bits can count.
            let max = MAX_RECORD.min((run.end - cpos) as u32);
            let extent = allocate(
                self.txn,
                self.inode,
                &mut self.goal,
                cpos as u32,
                max,
                ExtentFlags::empty(),
            )?;
            self.allocated += extent.clusters;
            self.fresh.push(Run {
                cpos,
                end: extent.end(),
                place: Place::Mapped {
                    blkno: extent.blkno,
                    flags: extent.flags,
                },
            });
            cpos = extent.end();
        }
        Ok(cpos)
    }
}

/// Allocates up to `max` clusters in one run and puts them at `cpos` of a file.
///
/// # Errors
/// [`Error::NoSpace`], [`Error::Corrupt`], the journal's.
pub(crate) fn allocate(
    txn: &mut Txn<'_>,
    inode: InodeNo,
    goal: &mut Option<ClusterNo>,
    cpos: u32,
    max: u32,
    flags: ExtentFlags,
) -> Result<Extent> {
    let got = txn.alloc_clusters(inode, *goal, 1, max)?;
    let geometry = *txn.core().geometry();
    let extent = Extent {
        cpos,
        clusters: got.clusters,
        blkno: geometry.cluster_to_block(got.start),
        flags,
    };
    tree::insert(txn, Root::Data(inode), extent)?;
    *goal = behind(&extent, &geometry);
    Ok(extent)
}

fn behind(extent: &Extent, geometry: &Geometry) -> Option<ClusterNo> {
    let next = extent.blkno.checked_add(geometry.clusters_to_blocks(extent.clusters))?;
    geometry.block_to_cluster(next)
}

/// Size, times and mode of a file that was written up to `end`.
fn finish(txn: &mut Txn<'_>, inode: InodeNo, end: u64) -> Result<()> {
    let (now, privileges) = (txn.now(), txn.privileges());
    let dinode = txn.dinode(inode)?;
    if dinode.i_size.get() < end {
        dinode.i_size.set(end);
    }
    times::modified(dinode, now, privileges);
    Ok(())
}

/// What of the bytes of a file from `offset` to `end`, which are those of a payload from `at` on, lies in a run.
pub(crate) fn transfer(run: &Run, offset: u64, at: u64, end: u64, geometry: &Geometry) -> Option<Transfer> {
    let start = offset.max(run.cpos << geometry.cluster_size_bits);
    let stop = end.min(run.end << geometry.cluster_size_bits);
    let on_device = run.device_offset(start, geometry)?;
    (start < stop).then(|| Transfer {
        at: at + (start - offset),
        len: stop - start,
        offset: on_device,
    })
}

/// Bytes of the device that a mapped run takes; nothing for a hole.
pub(crate) fn device_range(run: &Run, geometry: &Geometry) -> Range<u64> {
    let start = run.cpos << geometry.cluster_size_bits;
    match run.device_offset(start, geometry) {
        Some(at) => at..at + ((run.end - run.cpos) << geometry.cluster_size_bits),
        None => 0..0,
    }
}
