//! The local alloc: a window of clusters that this slot has taken from the global bitmap to allocate from alone.
//!
//! Source: on-disk reference, section 14.

use ocfs2_format::{
    ClusterNo, Contents, Corrupt, Dinode, FileKind, Geometry, InodeNo, LocalAlloc, SlotNum, Structure, SystemFile,
    Violation,
};

use super::clusters::Search;
use super::flight::Flights;
use super::resv::Request;
use super::{ClusterRun, bits, lock, read_dinode};
use crate::alloc::free_runs;
use crate::error::{Error, Result};
use crate::inode::Inode;
use crate::meta::{BlockBuf, Blocks, view};
use crate::mounted::{Core, LockSet, Txn};

/// A window as its dinode has it.
#[derive(Clone, Debug)]
pub(super) struct Window {
    pub(super) start: ClusterNo,
    /// Clusters.
    pub(super) total: u16,
    /// Those of them that were taken.
    pub(super) used: u16,
    dinode: BlockBuf,
    /// The bitmap with further bits set.
    marked: Option<Vec<u8>>,
}

impl Window {
    pub(super) fn read(meta: &dyn Blocks, inode: InodeNo) -> Result<Window> {
        let block = read_dinode(meta, inode)?;
        let dinode = view::<Dinode>(&block);
        let Contents::LocalAlloc(local) = dinode.check(inode.block(), meta.geometry())? else {
            return Err(Error::WrongKind {
                inode,
                wanted: "local alloc",
            });
        };
        let counts = dinode.bitmap();
        // The check has compared both with the bits that `la_size` bytes have.
        let (total, used) = (counts.i_total.get() as u16, counts.i_used.get() as u16);
        Ok(Window {
            start: local.window_start(),
            total,
            used,
            marked: None,
            dinode: block,
        })
    }

    /// The window as it is for those who look for clusters: what others are writing to is taken.
    pub(super) fn without(mut self, flights: &Flights) -> Window {
        if !flights.is_empty() {
            let mut bitmap = self.bitmap().to_vec();
            self.used += flights.mark(self.start, self.total, &mut bitmap);
            self.marked = Some(bitmap);
        }
        self
    }

    /// One bit for each cluster of the window.
    pub(super) fn bitmap(&self) -> &[u8] {
        if let Some(marked) = &self.marked {
            return marked;
        }
        let local = view::<Dinode>(&self.dinode).local_alloc();
        &local.la_bitmap[..usize::from(self.total).div_ceil(8).min(local.la_bitmap.len())]
    }

    /// The bit of a cluster, if it lies in the window.
    pub(super) fn bit(&self, cluster: ClusterNo) -> Option<u16> {
        let bit = u16::try_from(cluster.0.checked_sub(self.start.0)?).ok()?;
        (bit < self.total).then_some(bit)
    }

    pub(super) fn free(&self) -> u32 {
        u32::from(self.total - self.used)
    }

    /// Where so many clusters are free next to each other: from `from` on, or else before.
    pub(super) fn find_run(&self, clusters: u32, from: u16) -> Option<u16> {
        let clusters = u16::try_from(clusters).ok()?;
        bits::find_run(self.bitmap(), self.total, from, clusters)
            .or_else(|| bits::find_run(self.bitmap(), self.total, 0, clusters))
    }
}

/// Clusters of a window, if nobody says otherwise.
fn default_clusters(geometry: &Geometry) -> u64 {
    let mib = |clusters: u64| (clusters << geometry.cluster_size_bits) >> 20;
    let slots = u64::from(geometry.max_slots).max(1);
    let small = (geometry.block_size_bits == 9 && geometry.cluster_size_bits <= 13)
        || (geometry.block_size_bits == 10 && geometry.cluster_size_bits == 12);
    let wanted_mib = if small {
        8
    } else {
        let group_mib = mib(geometry.clusters_per_group().into());
        let mut wanted = group_mib.saturating_sub(16) & !4;
        if group_mib > 512 {
            wanted = wanted.min(256);
        }
        while wanted > 256 {
            wanted /= 2;
        }
        wanted
    };
    let wanted_mib = wanted_mib.min(mib(u64::from(geometry.clusters) / slots));
    (wanted_mib << 20) >> geometry.cluster_size_bits
}

impl Core {
    pub(super) fn local_alloc_inode(&self) -> Result<InodeNo> {
        self.system.find(SystemFile::LocalAlloc, self.slot)
    }

    /// Clusters that a window should have; 0 if there are to be none.
    pub(super) fn window_clusters(&self) -> u32 {
        let geometry = self.geometry();
        let wanted = match self.options.local_alloc_mib {
            Some(mib) => (u64::from(mib) << 20) >> geometry.cluster_size_bits,
            None => default_clusters(geometry),
        };
        let limit = u64::from(geometry.local_alloc_bytes()) * 8;
        // At most 31 104 bits.
        wanted.min(limit).min(geometry.clusters_per_group().into()) as u32
    }

    /// How far ahead space is kept for an inode to grow into.
    pub(super) fn kept_for(&self, meta: &dyn Blocks, owner: InodeNo) -> u16 {
        let level = match Inode::read(meta, owner) {
            Ok(inode) if inode.kind() == FileKind::Directory => self.options.dir_reservation_level,
            _ => self.options.reservation_level,
        };
        if level == 0 { 0 } else { 4 << level.min(8) }
    }

    /// Clusters that a window must have to be worth it.
    fn least_window(&self) -> u32 {
        let geometry = self.geometry();
        ((1u64 << 20) >> geometry.cluster_size_bits).max(1) as u32
    }
}

impl LockSet<'_> {
    /// Gives the window back and opens another with as many clusters as there are together. `false` if there is no good
    /// place for one. Local alloc and global bitmap are locked.
    pub(super) fn move_window(&mut self) -> Result<bool> {
        let core = self.core();
        let (wanted, least) = (core.window_clusters(), core.least_window());
        if wanted < least || lock(&core.space).window_is_off {
            return Ok(false);
        }
        let mut txn = self.begin(Txn::MOVE_WINDOW_CREDITS)?;
        let goal = Window::read(&txn, core.local_alloc_inode()?)?;
        txn.return_window(core.slot)?;
        let search = Search {
            goal: (goal.total > 0).then(|| ClusterNo(goal.start.0 + u32::from(goal.total))),
            min: least,
            max: wanted,
            below: None,
            thorough: false,
        };
        let Some(found) = core.find_clusters(&txn, &search)? else {
            drop(txn);
            lock(&core.space).window_is_off = true;
            return Ok(false);
        };
        let run = txn.take_found(&found)?;
        let dinode = txn.dinode(core.local_alloc_inode()?)?;
        dinode.bitmap_mut().i_total.set(run.clusters);
        dinode.local_alloc_mut().la_bm_off.set(run.start.0);
        txn.commit()?;
        Ok(true)
    }

    /// Gives the window back. Local alloc and global bitmap are locked.
    pub(super) fn close_window(&mut self) -> Result<()> {
        let core = self.core();
        if Window::read(core, core.local_alloc_inode()?)?.total == 0 {
            return Ok(());
        }
        let mut txn = self.begin(Txn::MOVE_WINDOW_CREDITS)?;
        txn.return_window(core.slot)?;
        txn.commit()?;
        Ok(())
    }
}

impl Txn<'_> {
    /// The local alloc, the bitmap's dinode, and the groups of the old window and the new one. A window that some other
    /// driver opened may lie in two groups.
    pub(super) const MOVE_WINDOW_CREDITS: u32 = 6;

    /// Clears in the global bitmap what nobody has taken from a slot's window, and leaves no window.
    pub(super) fn return_window(&mut self, slot: SlotNum) -> Result<()> {
        let inode = self.core().system.find(SystemFile::LocalAlloc, slot)?;
        let window = Window::read(self, inode)?;
        for (bit, len) in free_runs(window.bitmap(), window.total) {
            self.return_clusters(ClusterNo(window.start.0 + u32::from(bit)), len.into())?;
        }
        let dinode = self.dinode(inode)?;
        dinode.bitmap_mut().i_total.set(0);
        dinode.bitmap_mut().i_used.set(0);
        let local = dinode.local_alloc_mut();
        local.la_bm_off.set(0);
        local.la_bitmap.fill(0);
        Ok(())
    }

    /// Takes clusters from the window; `None` if it has not as many together.
    pub(super) fn alloc_from_window(
        &mut self,
        owner: InodeNo,
        goal: Option<ClusterNo>,
        min: u32,
        max: u32,
    ) -> Result<Option<ClusterRun>> {
        let core = self.core();
        let window = Window::read(self, core.local_alloc_inode()?)?.without(&lock(&core.space).flights);
        let Ok(min) = u16::try_from(min) else {
            return Ok(None);
        };
        if window.free() < u32::from(min.max(1)) {
            return Ok(None);
        }
        let request = Request {
            owner,
            goal: goal.and_then(|goal| window.bit(goal)),
            min,
            max: u16::try_from(max).unwrap_or(u16::MAX),
            keep: core.kept_for(self, owner),
            align: core.alignment(max),
        };
        let run = {
            let mut state = lock(&core.space);
            state.reservations.enter(window.start, window.total);
            state.reservations.find(window.bitmap(), &request)
        };
        let Some(run) = run else {
            return Ok(None);
        };
        self.take_from_window(run)?;
        Ok(Some(ClusterRun {
            start: ClusterNo(window.start.0 + u32::from(run.0)),
            clusters: run.1.into(),
        }))
    }

    /// Sets clear bits of the window.
    pub(super) fn take_from_window(&mut self, run: bits::BitRun) -> Result<()> {
        let inode = self.core().local_alloc_inode()?;
        let dinode = self.dinode(inode)?;
        let used = dinode.bitmap().i_used.get() + u32::from(run.1);
        dinode.bitmap_mut().i_used.set(used);
        let local: &mut LocalAlloc = dinode.local_alloc_mut();
        if !bits::flip(&mut local.la_bitmap, run, true) {
            let violation = Violation::Rule("the bits to be taken from the window are not all free");
            return Err(Corrupt::new(Structure::LocalAlloc, violation).in_inode(inode).into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mkfs::{MkfsOptions, MountMode, Plan};

    fn clusters(bytes: u64, block: u32, cluster: u32, slots: u16) -> u64 {
        let options = MkfsOptions {
            mount: MountMode::Local,
            block_size: Some(block),
            cluster_size: Some(cluster),
            slots: Some(slots),
            ..MkfsOptions::default()
        };
        default_clusters(Plan::new(bytes, &options).unwrap().geometry())
    }

    #[test]
    fn the_size_of_a_window_is_that_of_the_kernel_driver() {
        // The example of the on-disk reference: 106 MiB in groups of 126 MiB.
        assert_eq!(clusters(1 << 30, 4096, 4096, 2), 27136);
        assert_eq!(clusters(1 << 30, 512, 4096, 2), 2048);
        assert_eq!(clusters(8 << 30, 4096, 1 << 20, 1), 256);
        assert_eq!(clusters(64 << 20, 4096, 4096, 2), 32 * 256);
    }
}
