//! Replay as the kernel driver does it, in three passes over a journal in memory: what [`Log::scan`] must agree with.
//!
//! [`Log::scan`]: ocfs2_journal::Log::scan

use std::collections::BTreeMap;

use ocfs2_format::jbd2::{
    self, BlockType, ChecksumVersion, CommitHeader, Header, Incompat, Ring, Sequence, Superblock, Tag, TagFlags,
    V1Checksum,
};
use ocfs2_format::{BlockNo, Geometry};
use ocfs2_journal::LogMap;
use ocfs2_journal::fuzz::Volume;
use zerocopy::FromBytes;

/// What replay of a journal comes to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The blocks written, with their contents.
    pub(crate) blocks: BTreeMap<u64, Vec<u8>>,
    /// The log is damaged.
    pub(crate) failed: bool,
}

/// A control block of a transaction, and the copies behind it.
struct Control {
    at: u32,
    block_type: BlockType,
    copies: Vec<(Tag, u32)>,
}

struct Model<'a> {
    journal: &'a [u8],
    map: &'a LogMap,
    geometry: &'a Geometry,
    superblock: &'a Superblock,
    ring: Ring,
}

/// Replays the journal of `volume`, given by itself too; `None` if its superblock is not accepted.
pub(crate) fn replay(volume: &Volume, journal: &[u8]) -> Option<Outcome> {
    let (superblock, _) = Superblock::ref_from_prefix(journal).ok()?;
    let Volume { map, geometry, .. } = volume;
    let ring = superblock.check(1 << geometry.block_size_bits, map.blocks()).ok()?;
    let model = Model {
        journal,
        map,
        geometry,
        superblock,
        ring,
    };
    Some(model.replay())
}

impl Model<'_> {
    fn block(&self, n: u32) -> &[u8] {
        let size = self.geometry.block_size();
        &self.journal[n as usize * size..][..size]
    }

    /// The transactions that have a commit block, whatever is in their blocks.
    fn transactions(&self) -> Vec<Vec<Control>> {
        let Some(mut at) = self.ring.start else {
            return Vec::new();
        };
        let mut left = self.ring.end - at.min(self.ring.first);
        let mut transactions = Vec::new();
        let mut open = Vec::new();
        while left > 0 {
            let block = self.block(at);
            let expected = self.ring.sequence.0.wrapping_add(transactions.len() as u32);
            let Some(header) = Header::of_block(block).filter(|header| header.sequence().0 == expected) else {
                break;
            };
            let block_type = header.block_type();
            let tags: Vec<Tag> = match block_type {
                BlockType::DESCRIPTOR => self.ring.format.tags(block).collect(),
                BlockType::COMMIT | BlockType::REVOKE => Vec::new(),
                _ => break,
            };
            let Some(rest) = left.checked_sub(1 + tags.len() as u32) else {
                break;
            };
            left = rest;
            let copies = tags
                .into_iter()
                .zip(1..)
                .map(|(tag, n)| (tag, self.ring.advance(at, n)))
                .collect::<Vec<_>>();
            let next = self.ring.advance(at, 1 + copies.len() as u32);
            open.push(Control { at, block_type, copies });
            at = next;
            if block_type == BlockType::COMMIT {
                transactions.push(std::mem::take(&mut open));
            }
        }
        transactions
    }

    /// How many of the transactions count, and whether the log is damaged behind them.
    fn end(&self, transactions: &[Vec<Control>]) -> (usize, bool) {
        let format = &self.ring.format;
        let commit_of = |controls: &[Control]| {
            let at = controls.last().unwrap().at;
            (at, *CommitHeader::of_block(self.block(at)).unwrap())
        };
        let mut time = 0;
        for (n, controls) in transactions.iter().enumerate() {
            let (at, commit) = commit_of(controls);
            let suspect = controls
                .iter()
                .filter(|control| control.block_type != BlockType::COMMIT)
                .any(|control| !format.is_intact(self.block(control.at)));
            let mut v1 = V1Checksum::new();
            for control in controls
                .iter()
                .filter(|control| control.block_type == BlockType::DESCRIPTOR)
            {
                v1.update(self.block(control.at));
                control.copies.iter().for_each(|&(_, at)| v1.update(self.block(at)));
            }
            let agrees = match format.checksum {
                ChecksumVersion::V1 => v1.agrees_with(&commit),
                _ => format.is_commit_intact(self.block(at)),
            };
            let stale = commit.h_commit_sec.get() < time;
            time = commit.h_commit_sec.get();
            if suspect || !agrees {
                let asynchronous = self.superblock.incompat().contains(Incompat::ASYNC_COMMIT);
                let followed = match transactions.get(n + 1) {
                    Some(next) => commit_of(next).1.h_commit_sec.get() >= time,
                    None => false,
                };
                return (n, !stale && (suspect || !asynchronous || followed));
            }
            let overflows = |control: &Control| {
                control.block_type == BlockType::REVOKE && format.revoked(self.block(control.at)).is_err()
            };
            if controls.iter().any(overflows) {
                return (n, true);
            }
        }
        (transactions.len(), false)
    }

    fn replay(&self) -> Outcome {
        let transactions = self.transactions();
        let (count, mut failed) = self.end(&transactions);
        let controls = || {
            (0..count)
                .zip(&transactions)
                .flat_map(|(n, controls)| controls.iter().map(move |c| (n, c)))
        };

        let mut revoked = BTreeMap::new();
        for (n, control) in controls().filter(|(_, control)| control.block_type == BlockType::REVOKE) {
            for home in self.ring.format.revoked(self.block(control.at)).unwrap() {
                revoked.insert(home, n);
            }
        }

        let mut blocks = BTreeMap::new();
        for (n, control) in controls() {
            let sequence = Sequence(self.ring.sequence.0.wrapping_add(n as u32));
            for (tag, at) in &control.copies {
                if revoked.get(&tag.block).is_some_and(|&by| by >= n) {
                    continue;
                }
                let mut image = self.block(*at).to_vec();
                if !self.may_hold(tag.block) || !self.ring.format.is_image_intact(tag, sequence, &image) {
                    failed = true;
                    continue;
                }
                if tag.flags.contains(TagFlags::ESCAPED) {
                    jbd2::unescape(&mut image);
                }
                blocks.insert(tag.block.0, image);
            }
        }
        Outcome { blocks, failed }
    }

    fn may_hold(&self, home: BlockNo) -> bool {
        home.0 > 2 && home.0 < self.geometry.blocks() && !self.map.holds(home)
    }
}
