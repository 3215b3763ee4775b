//! Reading a log from its start to its end.
//!
//! Source: on-disk reference, sections 26.3 to 26.5; Linux 6.1 kernel behaviour for damaged logs.

use std::mem;
use std::ops::ControlFlow;

use ocfs2_format::jbd2::{
    BlockType, ChecksumVersion, CommitHeader, Header, Incompat, Sequence, Tag, TagFlags, V1Checksum,
};

use super::transaction::{Committed, Copy, Transaction};
use super::{End, Recovery};
use crate::io::LogReader;
use crate::{JournalError, Log, Redirects};

impl Log<'_> {
    /// Finds what has to be replayed. Reads control blocks, and copies only where they have checksums; writes nothing.
    ///
    /// A damaged log gives what can be trusted of it; [`Recovery::check`] tells.
    ///
    /// # Errors
    /// `Io` if a block of the log cannot be read.
    pub fn scan(&self) -> Result<Recovery, JournalError> {
        let sequence = self.ring.sequence;
        let Some(start) = self.ring.start else {
            return Ok(Recovery {
                redirects: Redirects::default(),
                damage: Vec::new(),
                first: sequence,
                next: sequence,
                transactions: 0,
                revoked: 0,
                end: End::Empty,
                end_block: None,
            });
        };
        let mut scan = Scan {
            log: self,
            reader: self.reader(),
            at: start,
            left: self.ring.end - start.min(self.ring.first),
            sequence,
            transaction: Transaction::default(),
            committed: Committed::default(),
            v1: (self.ring.format.checksum == ChecksumVersion::V1).then(V1Checksum::new),
            last_commit_sec: 0,
            interrupted: None,
        };
        let end = loop {
            if let ControlFlow::Break(end) = scan.step()? {
                break end;
            }
        };
        Ok(scan.finish(end))
    }
}

struct Scan<'l> {
    log: &'l Log<'l>,
    reader: LogReader<'l>,
    /// Journal block to look at next.
    at: u32,
    /// Blocks from there to where the log would meet its own start.
    left: u32,
    /// Transaction expected there.
    sequence: Sequence,
    transaction: Transaction,
    committed: Committed,
    /// Checksum of the transaction so far, in journals with checksums of version 1.
    v1: Option<V1Checksum>,
    /// Time of the last commit.
    last_commit_sec: u64,
    /// Where the log ends if no further commit block is found: a transaction that failed its checksum, and its commit
    /// block, in a journal with asynchronous commits.
    interrupted: Option<(Sequence, u32)>,
}

impl Scan<'_> {
    fn step(&mut self) -> Result<ControlFlow<End>, JournalError> {
        let at = self.at;
        if self.left == 0 {
            return Ok(ControlFlow::Break(End::FullCircle { at }));
        }
        let block = self.reader.block(at)?;
        let Some(header) = Header::of_block(block) else {
            return Ok(ControlFlow::Break(End::NoMagic { at }));
        };
        if header.sequence() != self.sequence {
            return Ok(ControlFlow::Break(End::OtherSequence {
                at,
                found: header.sequence(),
            }));
        }
        let block_type = header.block_type();
        self.advance();
        match block_type {
            BlockType::DESCRIPTOR => self.descriptor(at),
            BlockType::REVOKE => self.revoke(at),
            BlockType::COMMIT => self.commit(at),
            found => Ok(ControlFlow::Break(End::UnknownType { at, found })),
        }
    }

    fn descriptor(&mut self, at: u32) -> Result<ControlFlow<End>, JournalError> {
        let format = self.log.ring.format;
        let block = self.reader.block(at)?;
        self.transaction.is_suspect |= !format.is_intact(block);
        if let Some(v1) = &mut self.v1 {
            v1.update(block);
        }
        let tags: Vec<Tag> = format.tags(block).collect();
        for tag in tags {
            let copy_at = self.at;
            let Some(place) = self.log.map.block(copy_at).filter(|_| self.left != 0) else {
                return Ok(ControlFlow::Break(End::FullCircle { at }));
            };
            self.advance();
            let mut intact = true;
            if format.checksum != ChecksumVersion::None {
                let copy = self.reader.block(copy_at)?;
                if let Some(v1) = &mut self.v1 {
                    v1.update(copy);
                }
                intact = format.is_image_intact(&tag, self.sequence, copy);
            }
            let escaped = tag.flags.contains(TagFlags::ESCAPED);
            self.transaction.copies.push(Copy {
                home: tag.block,
                at: place,
                escaped,
                intact,
            });
        }
        Ok(ControlFlow::Continue(()))
    }

    fn revoke(&mut self, at: u32) -> Result<ControlFlow<End>, JournalError> {
        let format = self.log.ring.format;
        let block = self.reader.block(at)?;
        self.transaction.is_suspect |= !format.is_intact(block);
        if format.revoked(block).is_err() {
            self.transaction.bad_revoke.get_or_insert(at);
        }
        self.transaction.revokes.push(at);
        Ok(ControlFlow::Continue(()))
    }

    fn commit(&mut self, at: u32) -> Result<ControlFlow<End>, JournalError> {
        let format = self.log.ring.format;
        let transaction = mem::take(&mut self.transaction);
        let block = self.reader.block(at)?;
        let Some(commit) = CommitHeader::of_block(block) else {
            return Ok(ControlFlow::Break(End::NoMagic { at }));
        };
        let agrees = match self.v1.as_mut().map(mem::take) {
            Some(v1) => v1.agrees_with(commit),
            None => format.is_commit_intact(block),
        };
        let is_bad = transaction.is_suspect || !agrees;
        // Blocks of an earlier round that happen to continue the log are told by their time.
        let commit_sec = commit.h_commit_sec.get();
        if commit_sec < mem::replace(&mut self.last_commit_sec, commit_sec) && (is_bad || self.interrupted.is_some()) {
            return Ok(ControlFlow::Break(End::Stale { at }));
        }
        if let Some((_, at)) = self.interrupted {
            // A transaction that was cut short is the last one; this log goes on, so it is damaged there.
            return Ok(ControlFlow::Break(End::BadCommit { at }));
        }
        if transaction.is_suspect {
            return Ok(ControlFlow::Break(End::BadControl { at }));
        }
        if agrees {
            if let Some(at) = transaction.bad_revoke {
                return Ok(ControlFlow::Break(End::BadRevoke { at }));
            }
            self.merge(&transaction)?;
        } else if self.log.superblock.incompat().contains(Incompat::ASYNC_COMMIT) {
            self.interrupted = Some((self.sequence, at));
        } else {
            return Ok(ControlFlow::Break(End::BadCommit { at }));
        }
        self.sequence = self.sequence.next();
        Ok(ControlFlow::Continue(()))
    }

    fn merge(&mut self, transaction: &Transaction) -> Result<(), JournalError> {
        let Log {
            map, geometry, ring, ..
        } = self.log;
        self.committed.add(self.sequence, &transaction.copies, map, geometry);
        for &at in &transaction.revokes {
            if self.committed.is_empty() {
                break;
            }
            for home in ring.format.revoked(self.reader.block(at)?)? {
                self.committed.revoke(home);
            }
        }
        Ok(())
    }

    fn finish(self, end: End) -> Recovery {
        // Nothing but the missing rest of the log lies behind an interrupted transaction.
        let (next, end) = match self.interrupted {
            Some((sequence, at)) if !end.is_damage() => (sequence, End::Interrupted { at }),
            Some((sequence, _)) => (sequence, end),
            None => (self.sequence, end),
        };
        let (transactions, revoked) = (self.committed.transactions, self.committed.revoked);
        let (redirects, damage) = self.committed.finish();
        Recovery {
            redirects,
            damage,
            first: self.log.ring.sequence,
            next,
            transactions,
            revoked,
            end,
            end_block: end.at().and_then(|at| self.log.map.block(at)),
        }
    }

    fn advance(&mut self) {
        self.at = self.log.ring.next(self.at);
        self.left -= 1;
    }
}
