//! The inodes that the kernel knows.
//!
//! Every inode number that a reply hands to the kernel counts, until the kernel says how many of them it has forgotten.
//! Until the last, the inode is in use: it stays, also without a name.

use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::HashMap;
use fuser::{Errno, INodeNo};
use ocfs2_format::{Generation, InodeNo};
use ocfs2_fs::{FileSystem, Inode, InodeUse};

use super::errno::Refused;

/// An inode that the kernel knows.
#[derive(Debug)]
struct Known {
    used: Arc<InodeUse>,
    lookups: u64,
    /// How often it is open.
    opens: u64,
}

/// Which inodes the kernel knows, and how often it was told.
#[derive(Debug)]
pub(super) struct Inodes {
    shards: [Mutex<HashMap<InodeNo, Known>>; Self::SHARDS],
    root: InodeNo,
}

impl Inodes {
    /// Requests of one directory meet in few of them.
    const SHARDS: usize = 64;

    pub(super) fn new(root: InodeNo) -> Inodes {
        Inodes {
            shards: std::array::from_fn(|_| Mutex::default()),
            root,
        }
    }

    /// The inode that a request is about. The kernel calls the root directory 1, which is no inode's number.
    pub(super) fn number(&self, node: INodeNo) -> InodeNo {
        match node {
            INodeNo::ROOT => self.root,
            INodeNo(number) => InodeNo(number),
        }
    }

    fn shard(&self, number: InodeNo) -> MutexGuard<'_, HashMap<InodeNo, Known>> {
        // Inodes made one after the other have numbers one after the other, at whatever distance.
        let hash = number.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 58;
        self.shards[hash as usize % Self::SHARDS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The use of an inode that the kernel knows.
    ///
    /// # Errors
    /// ESTALE for one that it does not: a handle from another mount.
    pub(super) fn used(&self, node: INodeNo) -> Result<Arc<InodeUse>, Refused> {
        let shard = self.shard(self.number(node));
        let known = shard.get(&self.number(node)).ok_or(Errno::ESTALE)?;
        Ok(known.used.clone())
    }

    /// Counts one reply that hands an inode to the kernel.
    ///
    /// # Errors
    /// ESTALE when it has been deleted meanwhile.
    pub(super) fn hand_out(&self, fs: &FileSystem, inode: &Inode) -> Result<(), Refused> {
        let number = inode.number();
        if let Some(known) = self.shard(number).get_mut(&number)
            && known.used.generation() == inode.generation()
        {
            known.lookups += 1;
            return Ok(());
        }
        // Looks at the inode under its lock, so not with the shard locked.
        let used = Arc::new(fs.use_inode(inode)?);
        let known = Known {
            used,
            lookups: 1,
            opens: 0,
        };
        let spare = match self.shard(number).entry(number) {
            Entry::Vacant(free) => {
                free.insert(known);
                None
            }
            Entry::Occupied(mut taken) => {
                taken.get_mut().lookups += 1;
                Some(known)
            }
        };
        drop(spare);
        Ok(())
    }

    /// Counts one reply that opens a file.
    pub(super) fn opened(&self, node: INodeNo) {
        let number = self.number(node);
        if let Some(known) = self.shard(number).get_mut(&number) {
            known.opens += 1;
        }
    }

    /// Takes back what [`opened`](Self::opened) counted.
    pub(super) fn released(&self, node: INodeNo) {
        let number = self.number(node);
        if let Some(known) = self.shard(number).get_mut(&number) {
            known.opens = known.opens.saturating_sub(1);
        }
    }

    /// Of an inode that the kernel knows the generation, and whether it is open.
    pub(super) fn state(&self, number: InodeNo) -> Option<(Generation, bool)> {
        let shard = self.shard(number);
        let known = shard.get(&number)?;
        Some((known.used.generation(), known.opens > 0))
    }

    /// Takes back what an answer counted that did not reach the kernel, or what the kernel has forgotten. With the last,
    /// an inode without a name is deleted.
    pub(super) fn forget(&self, node: INodeNo, lookups: u64) {
        let number = self.number(node);
        let mut shard = self.shard(number);
        let Entry::Occupied(mut known) = shard.entry(number) else {
            return;
        };
        known.get_mut().lookups = known.get().lookups.saturating_sub(lookups);
        let ended = (known.get().lookups == 0).then(|| known.remove());
        drop(shard);
        drop(ended);
    }

    /// Forgets everything: the kernel is gone.
    pub(super) fn forget_all(&self) {
        for shard in &self.shards {
            let all = std::mem::take(&mut *shard.lock().unwrap_or_else(PoisonError::into_inner));
            drop(all);
        }
    }
}
