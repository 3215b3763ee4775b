//! Writing committed blocks home, so that the log can do without the transactions that hold them.
//!
//! ```text
//! home blocks, sorted -> flush -> new start of the log in the superblock, forced -> their part of the ring is free
//! ```
//!
//! Neither step may be left out: a log that starts behind blocks that are not home loses them, and one whose start has
//! been overwritten loses everything.
//!
//! Source: on-disk reference, section 26.4; Linux 6.1 kernel behaviour for the order of writes.

use ocfs2_format::BlockNo;
use ocfs2_format::device::IoError;

use crate::JournalError;
use crate::io::BlockBatch;
use crate::journal::Shared;
use crate::sync::{Arc, lock, wait};
use crate::txn::Tid;

impl Shared {
    /// Writes home what the durable transactions up to this one hold, and lets the log start behind them.
    pub(crate) fn checkpoint(&self, through: Tid) -> Result<(), JournalError> {
        let mut state = self.lock();
        loop {
            if !state.logged.reaches_back_to(through) {
                return Ok(());
            }
            state.alive()?;
            if state.checkpointing.is_some() {
                state = wait(&self.changed, state);
                continue;
            }
            let through = through.min(state.durable);
            let images = state.logged.images_through(through);
            state.checkpointing = Some(through);
            drop(state);
            let unwinding = self.abort_if_unwinding();
            self.write_home(&images).map_err(|error| self.abort(error.into()))?;
            self.flush()?;
            let (start, sequence) = self.lock().tail_after(through);
            self.move_tail(start, sequence)?;
            drop(unwinding);
            state = self.lock();
            let blocks = state.logged.retire(through);
            state.space.free(blocks);
            state.checkpointing = None;
            self.changed.notify_all();
        }
    }

    fn write_home(&self, images: &[(BlockNo, Arc<[u8]>)]) -> Result<(), IoError> {
        let mut buffer = lock(&self.home_io);
        let mut batch = BlockBatch::new(&self.dev, self.geometry.block_size_bits, &mut buffer);
        for (block, image) in images {
            batch.room_for(*block)?.copy_from_slice(image);
        }
        batch.write()
    }
}
