//! A survey: everything on a volume that the format gives a meaning, looked at once.
//!
//! A survey reads what no user asks for: system files, allocators, journals, indexes, inodes without a name. It reports
//! what it finds broken and goes on behind it; only a volume that cannot be opened cannot be surveyed. It is no fsck: it
//! judges structures one by one and against their neighbours, and does not add up who uses which cluster or name.
//!
//! However the bytes are arranged, a survey ends: a metadata block is entered once, whoever points to it, and a cluster of
//! data is read once. Its time is bounded by what the device holds, its memory by a few bits for each block visited and
//! eight bytes for each entry of the largest directory index.
//!
//! Source: on-disk reference, sections 1 to 30: the rules a reader can judge without the whole volume in view.

mod dir;
mod inode;
mod refcount;
mod system;
mod xattr;

use std::fmt;

use ocfs2_format::device::IoErrorKind;
use ocfs2_format::{BlockNo, Corrupt, FileKind, Geometry, InodeNo, Structure, Violation};
use roaring::{RoaringBitmap, RoaringTreemap};

use crate::error::Error;
use crate::inode::Inode;
use crate::meta::Correction;
use crate::volume::Volume;

/// Broken blocks of one file after which the rest of it is not looked at: a hostile volume may claim a device full of them.
const MAX_BROKEN: u32 = 1024;

/// What a survey looks at beyond metadata, and what it remembers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SurveyOptions {
    /// Bytes of file data to read at most: each allocated, written cluster once. 0, the default, reads none.
    pub data_bytes: u64,
    /// Inodes in use that no directory names are looked at as well. On by default.
    pub unnamed_inodes: bool,
    /// Lists every metadata block in [`SurveyReport::blocks`]. Off by default: the list takes 32 bytes for each.
    pub list_blocks: bool,
}

impl Default for SurveyOptions {
    fn default() -> Self {
        SurveyOptions {
            data_bytes: 0,
            unnamed_inodes: true,
            list_blocks: false,
        }
    }
}

/// Something that a survey found broken.
#[derive(Debug)]
pub struct Finding {
    /// The inode in which it was met, where there is one.
    pub inode: Option<InodeNo>,
    /// What is wrong, and where.
    pub error: Error,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.error, self.inode) {
            (Error::Corrupt(corrupt), _) if corrupt.at.inode.is_some() => write!(f, "{corrupt}"),
            (error, Some(inode)) => write!(f, "inode {inode}: {error}"),
            (error, None) => write!(f, "{error}"),
        }
    }
}

/// A metadata block that a survey visited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SurveyedBlock {
    /// The block; the first one of a bucket.
    pub block: BlockNo,
    /// Bytes of the structure: a block, or a bucket of attributes.
    pub len: usize,
    /// What it is.
    pub structure: Structure,
    /// Where its check field is, in a volume that has them.
    pub check_offset: usize,
    /// The inode that it belongs to: a file, a directory, an allocator. Blocks of refcount trees belong to the file in which
    /// they were met first.
    pub owner: InodeNo,
}

/// What a survey has seen.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SurveyReport {
    /// Inodes in use, system files included.
    pub inodes: u64,
    /// Directories among them.
    pub directories: u64,
    /// Names in directories, `.` and `..` included.
    pub names: u64,
    /// Extents of files and directories.
    pub extents: u64,
    /// Extended attributes.
    pub xattrs: u64,
    /// Blocks of metadata that were entered, a bucket counting as one.
    pub metadata_blocks: u64,
    /// Bytes of file data read.
    pub data_bytes: u64,
    /// How often the caller was told of something broken.
    pub findings: u64,
    /// Flipped bits that were put right in memory.
    pub corrections: Vec<Correction>,
    /// Every metadata block, with [`SurveyOptions::list_blocks`].
    pub blocks: Vec<SurveyedBlock>,
}

impl Volume {
    /// Looks at everything on the volume and calls `found` for each thing that is broken.
    ///
    /// Nothing ends a survey early; the report counts what was seen.
    pub fn survey(&self, options: &SurveyOptions, found: &mut dyn FnMut(Finding)) -> SurveyReport {
        let mut survey = Survey {
            volume: self,
            options,
            found,
            report: SurveyReport::default(),
            claimed: RoaringTreemap::new(),
            inodes: RoaringTreemap::new(),
            directories: RoaringTreemap::new(),
            clusters: RoaringBitmap::new(),
            refcount_roots: RoaringTreemap::new(),
        };
        survey.run();
        survey.report.corrections = self.corrections();
        survey.report
    }
}

/// The state of a survey.
struct Survey<'a> {
    volume: &'a Volume,
    options: &'a SurveyOptions,
    found: &'a mut dyn FnMut(Finding),
    report: SurveyReport,
    /// Metadata blocks that something owns.
    claimed: RoaringTreemap,
    /// Inodes that were visited, or whose visit failed.
    inodes: RoaringTreemap,
    /// Directories whose entries are still to be read.
    directories: RoaringTreemap,
    /// Clusters of data that something owns.
    clusters: RoaringBitmap,
    refcount_roots: RoaringTreemap,
}

impl Survey<'_> {
    fn run(&mut self) {
        self.superblocks();
        self.inode_at(self.volume.system_dir());
        if let Some(root) = self.inode_at(self.volume.root())
            && root.kind() != FileKind::Directory
        {
            let violation = Violation::Invalid {
                field: "s_root_blkno",
                found: root.number().0,
                why: "it leads to no directory",
            };
            self.note(
                Corrupt::new(Structure::Superblock, violation).at_block(Geometry::SUPER_BLOCK),
                None,
            );
        }
        self.named_directories();
        self.system_files();
        if self.options.unnamed_inodes && !self.geometry().features.heartbeat_device() {
            self.allocated_inodes();
            self.named_directories();
        }
    }

    /// Reads directories until all that were met have been read.
    fn named_directories(&mut self) {
        // In the order of their blocks, so that neighbours are read together.
        while let Some(number) = self.directories.min() {
            self.directories.remove(number);
            match self.volume.inode(InodeNo(number)) {
                Ok(dir) => self.directory(&dir),
                Err(error) => self.note(error, InodeNo(number)),
            }
        }
    }

    fn geometry(&self) -> &Geometry {
        self.volume.geometry()
    }

    /// Reports something broken.
    fn note(&mut self, error: impl Into<Error>, inode: impl Into<Option<InodeNo>>) {
        self.report.findings += 1;
        let inode = inode.into();
        (self.found)(Finding {
            inode,
            error: match inode {
                Some(inode) => error.into().in_inode(inode),
                None => error.into(),
            },
        });
    }

    /// Reports a rule of a structure that is broken at a block.
    fn note_at(&mut self, structure: Structure, at: BlockNo, inode: InodeNo, violation: Violation) {
        self.note(Corrupt::new(structure, violation).at_block(at), inode);
    }

    /// Takes a metadata block for its owner. `false`, and a finding, when it has one already.
    fn claim(&mut self, at: BlockNo, structure: Structure, check_offset: usize, owner: InodeNo) -> bool {
        if !self.geometry().contains(at) {
            // Reading it will say so.
            return true;
        }
        if !self.claimed.insert(at.0) {
            let violation = Violation::Claimed { found: at.0 };
            self.note(Corrupt::new(structure, violation), owner);
            return false;
        }
        self.list(at, structure, check_offset, self.geometry().block_size(), owner);
        true
    }

    /// [`claim`](Self::claim) for the blocks of a bucket of attributes.
    fn claim_bucket(&mut self, at: BlockNo, owner: InodeNo) -> bool {
        let blocks = u64::from(self.geometry().blocks_per_xattr_bucket());
        if !self.geometry().contains_run(at, blocks) {
            return true;
        }
        if self.claimed.insert_range(at.0..at.0 + blocks) != blocks {
            let violation = Violation::Claimed { found: at.0 };
            self.note(Corrupt::new(Structure::XattrBucket, violation), owner);
            return false;
        }
        self.list(at, Structure::XattrBucket, 8, Geometry::XATTR_BUCKET_SIZE, owner);
        true
    }

    fn list(&mut self, block: BlockNo, structure: Structure, check_offset: usize, len: usize, owner: InodeNo) {
        self.report.metadata_blocks += 1;
        if self.options.list_blocks {
            self.report.blocks.push(SurveyedBlock {
                block,
                len,
                structure,
                check_offset,
                owner,
            });
        }
    }

    /// How many of `blocks` blocks from `at` the device has. A finding when it lacks some.
    fn blocks_on_device(&mut self, at: BlockNo, blocks: u64, owner: &Inode) -> u64 {
        let geometry = *self.geometry();
        let device_len = self.volume.device().geometry().len;
        let there = (device_len >> geometry.block_size_bits)
            .saturating_sub(at.0)
            .min(blocks);
        if there < blocks {
            // Both inside the volume, whose length in bytes fits in 52 bits.
            let (offset, len) = (at.0 << geometry.block_size_bits, blocks << geometry.block_size_bits);
            let kind = IoErrorKind::OutOfRange { device_len };
            let op = ocfs2_format::device::IoOp::Read;
            self.note(
                ocfs2_format::device::IoError::new(op, offset, len, kind),
                owner.number(),
            );
        }
        there
    }
}
