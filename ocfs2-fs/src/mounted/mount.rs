//! Mounting and unmounting.
//!
//! Source: on-disk reference, sections 26.6, 27 and 34; cluster reference, sections 8.2 and 8.3.

use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use ocfs2_format::device::BlockDevice;
use ocfs2_format::{NodeNum, SlotNum};
use ocfs2_journal::JournalError;

use super::locks::{CheckedLocks, LocalLocks, Locks, TouchJudge};
use super::node_state::NodeState;
use super::orphans;
use super::{Core, FileSystem, HomeDevice, MountOptions};
use crate::error::{Error, Result};
use crate::journals;
use crate::meta::{Blocks, Meta};
use crate::superblock::{self, FoundSuper};
use crate::system::{SystemFiles, heartbeats};
use crate::volume::OpenOptions;

/// Node number of a volume that is mounted without a cluster.
const LOCAL_NODE: NodeNum = NodeNum(0);

/// How long a heartbeat region is watched: living nodes beat every two seconds.
const WATCH: Duration = Duration::from_secs(5);

impl FileSystem {
    /// Mounts the volume on a device: takes a slot, recovers what crashed nodes left, and begins a journal.
    ///
    /// Mounted [read-only](MountOptions::read_only), nothing is written: dirty journals are replayed in memory.
    ///
    /// The device should be opened [exclusively](ocfs2_format::device::FileOptions::exclusive): the slot map of a volume
    /// without a cluster does not tell a mount that lives from one that crashed.
    ///
    /// # Errors
    /// Those of [`Volume::open`](crate::Volume::open), [`Error::Unsupported`] for features that cannot be written,
    /// [`Error::Busy`] when nodes of a cluster use the volume, [`Error::NoSlot`].
    pub fn mount(device: Arc<dyn BlockDevice>, options: &MountOptions) -> Result<FileSystem> {
        Self::mount_with(device, options, Arc::new(LocalLocks::new()))
    }

    /// As [`mount`](Self::mount), with a log of the locks under which blocks are looked at and changed, which `judge` gets
    /// to see when the volume has been unmounted: for tests.
    ///
    /// # Errors
    /// As [`mount`](Self::mount).
    #[doc(hidden)]
    pub fn mount_checked(
        device: Arc<dyn BlockDevice>,
        options: &MountOptions,
        judge: TouchJudge,
    ) -> Result<FileSystem> {
        Self::mount_with(device, options, Arc::new(CheckedLocks::new(judge)))
    }

    fn mount_with(device: Arc<dyn BlockDevice>, options: &MountOptions, locks: Arc<dyn Locks>) -> Result<FileSystem> {
        let superblock = superblock::find_primary(device.as_ref())?;
        if options.read_only {
            return Self::mount_read_only(device, superblock, options);
        }
        let features = superblock.geometry.features;
        features.check_writable()?;
        if features.heartbeat_device() {
            let why = "a heartbeat device holds no files";
            return Err(Error::InvalidArgument { why });
        }
        let home = Arc::new(Meta::new(device, superblock.geometry, &open_options(options)));
        let device = Arc::new(HomeDevice::new(home.clone()));
        let system = open_system(&home, &superblock, options)?;
        let state = NodeState {
            home: &home,
            device: device.as_ref(),
            system: &system,
        };
        if !features.local() {
            require_dead_cluster(&state, options)?;
        }
        let slot = state.take_slot(LOCAL_NODE, options.preferred_slot)?;
        let crashed = state.replay_journals()?;
        // Replay may have moved what the system directory says.
        home.invalidate();
        let system = open_system(&home, &superblock, options)?;
        let state = NodeState {
            home: &home,
            device: device.as_ref(),
            system: &system,
        };
        let journal = state.open_journal(slot, &device, options)?;
        let first_generation = options.first_generation.or_else(|| getrandom::u32().ok());
        let core = Core {
            home,
            home_device: device,
            journal: Some(journal),
            locks,
            system,
            options: options.clone(),
            slot,
            superblock,
            room_hints: Default::default(),
            nameless: Default::default(),
            next_generation: AtomicU32::new(first_generation.unwrap_or(1)),
            space: Mutex::default(),
            landed: Default::default(),
            chores: Default::default(),
            delayed: Default::default(),
            changes: Default::default(),
        };
        core.recover(&crashed)?;
        core.empty_orphan_dirs();
        let fs = FileSystem::new(core);
        if let Some(interval) = options.commit_interval {
            let started = fs.core.chores.start(Arc::downgrade(&fs.core), interval);
            started.map_err(JournalError::Thread)?;
        }
        Ok(fs)
    }

    fn mount_read_only(
        device: Arc<dyn BlockDevice>,
        superblock: FoundSuper,
        options: &MountOptions,
    ) -> Result<FileSystem> {
        superblock.geometry.features.check_readable()?;
        let mut home = Meta::new(device, superblock.geometry, &open_options(options));
        let mut system = open_system(&home, &superblock, options)?;
        if let Some(replayed) = journals::replay_in_memory(&home, &system)?.device {
            home = Meta::new(replayed, superblock.geometry, &open_options(options));
            system = open_system(&home, &superblock, options)?;
        }
        let home = Arc::new(home);
        let core = Core {
            home_device: Arc::new(HomeDevice::new(home.clone())),
            home,
            journal: None,
            locks: Arc::new(LocalLocks::new()),
            system,
            options: options.clone(),
            slot: SlotNum::INVALID,
            superblock,
            room_hints: Default::default(),
            nameless: Default::default(),
            next_generation: AtomicU32::new(0),
            space: Mutex::default(),
            landed: Default::default(),
            chores: Default::default(),
            delayed: Default::default(),
            changes: Default::default(),
        };
        Ok(FileSystem::new(core))
    }

    /// Makes everything durable that has been done so far.
    ///
    /// # Errors
    /// The journal's; those of writes that waited for others, as [`write_at`](Self::write_at) has them.
    pub fn sync(&self) -> Result<()> {
        let settled = self.core.settled(None);
        self.core.sync()?;
        settled
    }

    /// Ends the mount: everything is written home, and the volume is clean. Other clones cannot write from here on.
    ///
    /// # Errors
    /// The journal's. What was durable stays so, and the next mount recovers it.
    pub fn unmount(self) -> Result<()> {
        let core = &self.core;
        let Some(journal) = &core.journal else { return Ok(()) };
        core.chores.stop();
        let settled = core.settled(None);
        core.release_space()?;
        journal.close()?;
        let state = core.node_state();
        state.write_slot(core.slot, None)?;
        state.set_dirty(core.slot, false, false)?;
        core.home_device.flush()?;
        core.locks.ended();
        settled
    }
}

impl Core {
    /// Makes everything durable. Nothing has changed on a mount without a journal.
    ///
    /// # Errors
    /// The journal's.
    pub(super) fn sync(&self) -> Result<()> {
        match &self.journal {
            Some(journal) => {
                self.settle();
                Ok(journal.sync()?)
            }
            None => Ok(()),
        }
    }

    pub(super) fn node_state(&self) -> NodeState<'_> {
        NodeState {
            home: &self.home,
            device: self.home_device.as_ref(),
            system: &self.system,
        }
    }

    /// Cleans up behind nodes that crashed, whose journals have been replayed. A slot's journal stays dirty until that is
    /// durable, so that a crash in the middle begins it again.
    fn recover(&self, crashed: &[SlotNum]) -> Result<()> {
        for &slot in crashed {
            self.recover_slot_space(slot)?;
        }
        self.require_no_window()?;
        for &slot in crashed {
            self.recover_slot_quota(slot)?;
        }
        if !crashed.contains(&self.slot) {
            self.recover_slot_quota(self.slot)?;
        }
        self.journal()?.sync()?;
        for &slot in crashed {
            // Ours is in use by now.
            self.node_state().set_dirty(slot, slot == self.slot, true)?;
        }
        Ok(self.home_device.flush()?)
    }

    /// Deletes what crashed nodes, or users at the last unmount, have left without a name. No other node is there, so
    /// every slot's orphan directory is ours to look into.
    fn empty_orphan_dirs(&self) {
        for slot in (0..self.home.geometry().max_slots).map(SlotNum) {
            // What cannot be deleted stays where it is, for fsck if it is damaged; it keeps nobody from the volume.
            let _ = orphans::empty_slot(self, slot);
        }
    }
}

fn open_options(options: &MountOptions) -> OpenOptions {
    OpenOptions {
        cache_bytes: options.cache_bytes,
        ..OpenOptions::default()
    }
}

fn open_system(home: &Meta, superblock: &FoundSuper, options: &MountOptions) -> Result<SystemFiles> {
    let dir = superblock.dinode().super_block().system_dir();
    SystemFiles::open(home, dir, &open_options(options))
}

/// Fails while nodes of the volume's cluster may be alive.
fn require_dead_cluster(state: &NodeState<'_>, options: &MountOptions) -> Result<()> {
    if !options.no_cluster {
        let why =
            "the volume was made for a cluster; mount it without one (nocluster) only if no node uses it".to_owned();
        return Err(Error::Busy { why });
    }
    let before = heartbeats(state.home.as_ref(), state.system)?;
    if before.is_empty() {
        return Ok(());
    }
    thread::sleep(WATCH);
    let after = heartbeats(state.home.as_ref(), state.system)?;
    match after.iter().find(|beat| !before.contains(beat)) {
        None => Ok(()),
        Some(beat) => Err(Error::Busy {
            why: format!("node {} is alive: its heartbeat moves", beat.node),
        }),
    }
}
