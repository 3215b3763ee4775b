//! Writing a transaction to the log.
//!
//! ```text
//! descriptors and images, wherever the ring has them -> flush -> commit block, forced -> durable
//! ```
//!
//! The flush covers file data too: what was written before a handle merged is durable before the commit block is.
//!
//! Source: on-disk reference, sections 25.4, 26.3 and 26.4; Linux 6.1 kernel behaviour for the order of writes.

use std::time::SystemTime;

use ocfs2_format::device::{AlignedBuf, BlockDevice, Durability, IoError};
use ocfs2_format::jbd2::{self, ChecksumVersion, CommitHeader, DescriptorWriter, RevokeWriter, TagRefused, V1Checksum};
use ocfs2_format::{BlockCheck, BlockNo};
use zerocopy::IntoBytes;

use crate::JournalError;
use crate::io::{BlockBatch, offset_of, write_bytes};
use crate::journal::Shared;
use crate::state::Committing;
use crate::sync::{Arc, lock, wait};
use crate::txn::{Tid, Transaction};

/// What writing to the log needs from one transaction to the next.
#[derive(Debug)]
pub(crate) struct LogIo {
    buffer: AlignedBuf,
    /// Time of the last commit. Replay tells old transactions by times that go backwards.
    last_commit_sec: u64,
}

impl LogIo {
    pub(crate) fn new(buffer: AlignedBuf) -> LogIo {
        LogIo {
            buffer,
            last_commit_sec: 0,
        }
    }
}

/// Blocks of a transaction as the log and their homes get them.
type Images = Vec<(BlockNo, Arc<[u8]>)>;

impl Shared {
    /// Makes the transactions up to this one durable. Whoever comes first writes; the others wait, and all that has
    /// merged meanwhile goes with the next one.
    pub(crate) fn commit(&self, through: Tid) -> Result<(), JournalError> {
        let mut state = self.lock();
        let through = through.min(state.running.tid);
        loop {
            if state.durable >= through {
                return Ok(());
            }
            state.alive()?;
            if state.committing.is_some() {
                state = wait(&self.changed, state);
                continue;
            }
            let Some(committing) = state.rotate() else {
                self.changed.notify_all();
                continue;
            };
            drop(state);
            let unwinding = self.abort_if_unwinding();
            let images = self.write_transaction(&committing)?;
            drop(unwinding);
            state = self.lock();
            state.committed(images);
            self.changed.notify_all();
            if state.is_filling_up() {
                self.wanted.notify_one();
            }
        }
    }

    fn write_transaction(&self, committing: &Committing) -> Result<Images, JournalError> {
        let fail = |error: IoError| self.abort(error.into());
        let Committing { transaction, place } = committing;
        let images = self.freeze(transaction);
        let mut io = lock(&self.log_io);
        let LogIo {
            buffer,
            last_commit_sec,
        } = &mut *io;
        self.start_log(place.start, place.sequence).map_err(fail)?;

        let mut writer = TransactionWriter {
            shared: self,
            batch: BlockBatch::new(&self.dev, self.geometry.block_size_bits, buffer),
            committing,
            at: place.start,
            v1: V1Checksum::new(),
        };
        writer.revokes().map_err(fail)?;
        writer.images(&images).map_err(fail)?;
        writer.batch.write().map_err(fail)?;
        self.flush()?;

        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        *last_commit_sec = now.as_secs().max(*last_commit_sec);
        let commit_block = writer.commit_block(*last_commit_sec, now.subsec_nanos());
        self.force(|| commit_block.write(&self.dev))?;
        Ok(images)
    }

    /// The images of a transaction, with their checks.
    fn freeze(&self, transaction: &Transaction) -> Images {
        let mut images: Images = transaction
            .blocks
            .iter()
            .map(|(&block, version)| (block, version.image.clone()))
            .collect();
        if !self.geometry.features.metaecc() {
            return images;
        }
        let versions: Vec<_> = transaction.blocks.values().collect();
        for at in 0..images.len() {
            let Some(check) = versions[at].check.filter(|_| versions[at].index == 0) else {
                continue;
            };
            let end = at + check.blocks() as usize;
            if check.blocks() == 1 {
                // Others may be reading the image, so this makes a copy.
                BlockCheck::set(Arc::make_mut(&mut images[at].1), check.offset());
            } else if let (Some(group), Some(members)) = (images.get_mut(at..end), versions.get(at..end)) {
                let first = group[0].0;
                let whole = (0..)
                    .zip(group.iter().zip(members))
                    .all(|(index, ((block, _), version))| {
                        first.checked_add(index) == Some(*block)
                            && version.check == Some(check)
                            && u64::from(version.index) == index
                    });
                // Where one of the blocks has become something else, so have the others, or they are free.
                if whole {
                    let mut bytes: Vec<u8> = group.iter().flat_map(|(_, image)| image.iter().copied()).collect();
                    BlockCheck::set(&mut bytes, check.offset());
                    for ((_, image), part) in group.iter_mut().zip(bytes.chunks(self.geometry.block_size())) {
                        *image = part.into();
                    }
                }
            }
        }
        images
    }
}

/// Writes one transaction.
struct TransactionWriter<'a> {
    shared: &'a Shared,
    batch: BlockBatch<'a>,
    committing: &'a Committing,
    /// Journal block to write next.
    at: u32,
    v1: V1Checksum,
}

impl TransactionWriter<'_> {
    fn revokes(&mut self) -> Result<(), IoError> {
        let (format, sequence) = (self.shared.ring.format, self.committing.place.sequence);
        let revokes: Vec<BlockNo> = self.committing.transaction.revokes.iter().copied().collect();
        for blocks in revokes.chunks(self.shared.costs.revokes_per_block()) {
            let into = self.shared.log_block(self.at);
            self.at = self.shared.ring.next(self.at);
            let mut writer = RevokeWriter::new(format, sequence, self.batch.room_for(into)?);
            for &block in blocks {
                taken(writer.push(block));
            }
            writer.finish();
        }
        Ok(())
    }

    fn images(&mut self, images: &[(BlockNo, Arc<[u8]>)]) -> Result<(), IoError> {
        let format = self.shared.ring.format;
        let sequence = self.committing.place.sequence;
        let mut descriptor = vec![0; self.shared.geometry.block_size()];
        let mut stored = descriptor.clone();
        for images in images.chunks(self.shared.costs.tags_per_descriptor()) {
            let mut writer = DescriptorWriter::new(format, sequence, &mut descriptor);
            for (block, image) in images {
                let escaped = jbd2::Header::of_block(image).is_some();
                let image = if escaped {
                    stored.copy_from_slice(image);
                    jbd2::escape(&mut stored);
                    &stored
                } else {
                    &**image
                };
                taken(writer.push(*block, escaped, format.tag_checksum(sequence, image)));
            }
            writer.finish();
            self.put(&descriptor, false)?;
            for (_, image) in images {
                self.put(image, true)?;
            }
        }
        Ok(())
    }

    /// The next block of the transaction, escaped if it is an image.
    fn put(&mut self, bytes: &[u8], is_image: bool) -> Result<(), IoError> {
        let block = self.shared.log_block(self.at);
        self.at = self.shared.ring.next(self.at);
        let into = self.batch.room_for(block)?;
        into.copy_from_slice(bytes);
        if is_image {
            jbd2::escape(into);
        }
        if self.shared.ring.format.checksum == ChecksumVersion::V1 {
            self.v1.update(into);
        }
        Ok(())
    }

    /// The end of the transaction, which makes it durable once it is written.
    fn commit_block(&self, sec: u64, nsec: u32) -> CommitBlock {
        let Shared {
            dev, geometry, ring, ..
        } = self.shared;
        let place = self.committing.place;
        assert!(
            self.at == ring.advance(place.start, place.blocks - 1),
            "the transaction takes as much of the log as was set aside for it"
        );
        let mut commit = CommitHeader::new(place.sequence, sec, nsec);
        if ring.format.checksum == ChecksumVersion::V1 {
            self.v1.store(&mut commit);
        }
        let mut bytes = AlignedBuf::for_device(dev.geometry(), geometry.block_size());
        bytes[..commit.as_bytes().len()].copy_from_slice(commit.as_bytes());
        ring.format.seal_commit(&mut bytes);
        CommitBlock {
            at: self.shared.log_block(self.at),
            block_size_bits: geometry.block_size_bits,
            bytes,
        }
    }
}

/// A commit block, ready to be written.
struct CommitBlock {
    at: BlockNo,
    block_size_bits: u8,
    bytes: AlignedBuf,
}

impl CommitBlock {
    fn write(&self, dev: &dyn BlockDevice) -> Result<(), IoError> {
        let offset = offset_of(self.at, self.block_size_bits, dev)?;
        write_bytes(dev, offset, &self.bytes, Durability::ForceUnitAccess)
    }
}

/// Control blocks get as many entries as they have room for, of blocks that the journal can name.
fn taken(pushed: Result<(), TagRefused>) {
    assert!(pushed.is_ok(), "a control block refuses an entry: {pushed:?}");
}
