//! Every block of a journal file, as what it looks like.
//!
//! A dump looks at each block by itself, whatever the log says: old transactions are shown like the current ones, and
//! copies by their own signature.
//!
//! Source: on-disk reference, sections 1.1 and 26.3.

use std::iter::FusedIterator;

use ocfs2_format::device::BlockDevice;
use ocfs2_format::jbd2::{
    BlockType, ChecksumVersion, CommitHeader, Compat, Format, Header, Incompat, RevokeHeader, Superblock, Tag,
};
use ocfs2_format::{BlockNo, Corrupt, Geometry, Signature};
use zerocopy::FromBytes;

use crate::io::LogReader;
use crate::log::read_superblock;
use crate::{JournalError, LogMap};

/// What one block of a journal looks like, or several alike.
#[derive(Clone, Debug)]
pub struct LogEntry {
    /// First block, counted from the start of the journal file.
    pub first: u32,
    /// Last block; the same but for [`LogItem::Unknown`].
    pub last: u32,
    /// What it is.
    pub item: LogItem,
}

/// Kinds of blocks in a journal.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LogItem {
    /// The superblock, always block 0, as stored; not necessarily a valid one.
    Superblock(Box<Superblock>),
    /// Tags for the copies that follow.
    Descriptor {
        /// Its header.
        header: Header,
        /// The tags.
        tags: Vec<Tag>,
        /// Its checksum is right, or there is none.
        intact: bool,
    },
    /// The end of a transaction.
    Commit {
        /// Its header.
        header: CommitHeader,
        /// Its own checksum is right, or there is none.
        intact: bool,
    },
    /// Blocks taken back.
    Revoke {
        /// Its header.
        header: Header,
        /// Bytes in use (`r_count`).
        count: u32,
        /// The numbers of the blocks, or why they cannot be told.
        blocks: Result<Vec<BlockNo>, Corrupt>,
        /// Its checksum is right, or there is none.
        intact: bool,
    },
    /// A control block of another kind.
    Control(Header),
    /// A block that begins with the signature of a volume's metadata: most likely a copy.
    Metadata {
        /// The signature.
        signature: Signature,
        /// The block as stored.
        bytes: Box<[u8]>,
    },
    /// Blocks that do not say what they are.
    Unknown,
}

/// Goes through a journal file from its first block to its last. Ends after an error.
#[derive(Debug)]
pub struct LogDump<'a> {
    reader: LogReader<'a>,
    superblock: Superblock,
    format: Format,
    next: u32,
    end: u32,
    /// The entry behind a run of unknown blocks that has been handed out.
    behind: Option<Result<LogEntry, JournalError>>,
}

impl<'a> LogDump<'a> {
    /// The journal in the file that `map` describes. A superblock that [`Log::open`](crate::Log::open) refuses is no
    /// obstacle; its feature words are taken as they are.
    ///
    /// # Errors
    /// `Io` if the superblock cannot be read.
    pub fn new(dev: &'a dyn BlockDevice, map: &'a LogMap, geometry: &Geometry) -> Result<LogDump<'a>, JournalError> {
        let superblock = read_superblock(dev, map, geometry.block_size_bits)?;
        Ok(LogDump {
            reader: LogReader::new(dev, map, geometry.block_size_bits, map.blocks()),
            superblock,
            format: format_of(&superblock, geometry),
            next: 0,
            end: u32::try_from(map.blocks()).unwrap_or(u32::MAX),
            behind: None,
        })
    }

    fn item(&mut self, n: u32) -> Result<LogItem, JournalError> {
        if n == 0 {
            return Ok(LogItem::Superblock(Box::new(self.superblock)));
        }
        let block = self.reader.block(n)?;
        let Some(&header) = Header::of_block(block) else {
            return Ok(match block.first_chunk().map(|&bytes| Signature(bytes)) {
                Some(signature) if METADATA.contains(&signature) => LogItem::Metadata {
                    signature,
                    bytes: block.into(),
                },
                _ => LogItem::Unknown,
            });
        };
        Ok(match (header.block_type(), CommitHeader::of_block(block)) {
            (BlockType::DESCRIPTOR, _) => LogItem::Descriptor {
                header,
                tags: self.format.tags(block).collect(),
                intact: self.format.is_intact(block),
            },
            (BlockType::REVOKE, _) => LogItem::Revoke {
                header,
                count: RevokeHeader::ref_from_prefix(block).map_or(0, |(revoke, _)| revoke.r_count.get()),
                blocks: self.format.revoked(block).map(Iterator::collect),
                intact: self.format.is_intact(block),
            },
            (BlockType::COMMIT, Some(&header)) => LogItem::Commit {
                header,
                intact: self.format.is_commit_intact(block),
            },
            _ => LogItem::Control(header),
        })
    }
}

impl Iterator for LogDump<'_> {
    type Item = Result<LogEntry, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(behind) = self.behind.take() {
            return Some(behind);
        }
        let first = self.next;
        while self.next < self.end {
            let n = self.next;
            self.next += 1;
            let entry = match self.item(n) {
                Ok(LogItem::Unknown) => continue,
                Ok(item) => Ok(LogEntry {
                    first: n,
                    last: n,
                    item,
                }),
                Err(error) => {
                    self.next = self.end;
                    Err(error)
                }
            };
            if n == first {
                return Some(entry);
            }
            self.behind = Some(entry);
            return Some(Ok(LogEntry {
                first,
                last: n - 1,
                item: LogItem::Unknown,
            }));
        }
        (first < self.end).then(|| {
            Ok(LogEntry {
                first,
                last: self.end - 1,
                item: LogItem::Unknown,
            })
        })
    }
}

impl FusedIterator for LogDump<'_> {}

/// The format that the feature words of a superblock amount to, contradictory or not.
fn format_of(superblock: &Superblock, geometry: &Geometry) -> Format {
    let incompat = superblock.incompat();
    let checksum = if incompat.contains(Incompat::CSUM_V3) {
        ChecksumVersion::V3
    } else if incompat.contains(Incompat::CSUM_V2) {
        ChecksumVersion::V2
    } else if superblock.compat().contains(Compat::CHECKSUM) {
        ChecksumVersion::V1
    } else {
        ChecksumVersion::None
    };
    Format {
        block_size: 1 << geometry.block_size_bits,
        wide: incompat.contains(Incompat::BIT64),
        checksum,
        seed: Format::seed_of(&superblock.s_uuid),
    }
}

/// Signatures that copies begin with.
const METADATA: [Signature; 8] = [
    Signature::SUPER_BLOCK,
    Signature::INODE,
    Signature::EXTENT_BLOCK,
    Signature::GROUP_DESC,
    Signature::XATTR_BLOCK,
    Signature::REFCOUNT_BLOCK,
    Signature::DX_ROOT,
    Signature::DX_LEAF,
];
