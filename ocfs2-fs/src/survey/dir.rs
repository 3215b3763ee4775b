//! Surveying directories: their blocks, their entries, and the index over them.

use ocfs2_format::{
    BlockNo, CharSign, Contents, Corrupt, DirTrailer, DxEntry, DxFlags, DxHash, DxLeaf, DxRoot, FileKind, InodeNo,
    Structure, Violation,
};
use roaring::RoaringTreemap;

use super::inode::TreeTotals;
use super::{MAX_BROKEN, Survey};
use crate::dir::{self, DirBlock, DirEntry};
use crate::extent_tree::Extent;
use crate::inode::Inode;
use crate::meta::view;

/// What has to agree between a directory and its index.
struct Names {
    /// A hash of each index entry, sorted: name hash and block. `None` without an index.
    index: Option<Vec<u64>>,
    /// Names met so far.
    count: u64,
    /// The sum of their hashes: those of the index may not be a different choice of the same ones.
    sum: u64,
    /// The first name that the index lacks.
    lost: Option<BlockNo>,
    /// Blocks that could not be read.
    broken: u32,
}

impl Survey<'_> {
    /// Reads the entries of a directory and visits what they name.
    pub(super) fn directory(&mut self, dir: &Inode) {
        self.report.directories += 1;
        let mut names = Names {
            index: self.index(dir),
            count: 0,
            sum: 0,
            lost: None,
            broken: 0,
        };
        if let Contents::Inline(area) = dir.contents() {
            let at = dir.number().block();
            match dir::parse_entries(area, 0, at, dir.number()) {
                Ok(entries) => self.entries(dir, at, &entries, &mut names),
                Err(error) => {
                    names.broken += 1;
                    self.note(error, dir.number());
                }
            }
        } else {
            self.directory_blocks(dir, &mut names);
        }
        self.compare_with_index(dir, &names);
    }

    fn directory_blocks(&mut self, dir: &Inode, names: &mut Names) {
        let geometry = *self.geometry();
        let count = geometry.blocks_for_bytes(dir.size());
        let mut next = 0;
        self.data_extents(dir, &mut |survey, extent| {
            let first = geometry.clusters_to_blocks(extent.cpos);
            if first != next && first < count {
                let violation = Violation::Rule("a directory has no holes");
                let corrupt = Corrupt::new(Structure::DirBlock, violation);
                survey.note(corrupt.at_offset(next << geometry.block_size_bits), dir.number());
            }
            let blocks = geometry.clusters_to_blocks(extent.clusters);
            next = first + blocks;
            survey.claim_clusters(dir.number(), extent);
            let used = count.saturating_sub(first).min(blocks);
            for index in 0..survey.blocks_on_device(extent.blkno, used, dir) {
                if names.broken >= MAX_BROKEN {
                    return;
                }
                survey.directory_block(dir, BlockNo(extent.blkno.0 + index), first + index, names);
            }
        });
        if next < count {
            let violation = Violation::TooLarge {
                field: "i_size",
                found: dir.size(),
                limit: next.saturating_mul(geometry.block_size() as u64),
            };
            self.note_at(Structure::Dinode, dir.number().block(), dir.number(), violation);
        }
    }

    fn directory_block(&mut self, dir: &Inode, at: BlockNo, index: u64, names: &mut Names) {
        let geometry = *self.geometry();
        let check = DirTrailer::check_offset(geometry.block_size());
        if !self.claim(at, Structure::DirBlock, check, dir.number()) {
            names.broken += 1;
            return;
        }
        let offset = index << geometry.block_size_bits;
        let entries = dir::read_dir_block(self.volume.meta(), dir, at, offset)
            .and_then(|block: DirBlock| dir::parse_entries(&block.bytes[..block.area], offset, at, dir.number()));
        match entries {
            Ok(entries) => self.entries(dir, at, &entries, names),
            Err(error) => {
                names.broken += 1;
                self.note(error, dir.number());
            }
        }
    }

    fn entries(&mut self, dir: &Inode, at: BlockNo, entries: &[DirEntry], names: &mut Names) {
        self.report.names += entries.len() as u64;
        for entry in entries {
            self.dots(dir, at, entry, names.count);
            names.count += 1;
            if let Some(index) = &names.index {
                match self.index_key_of(index, entry, at) {
                    Some(key) => names.sum = names.sum.wrapping_add(key),
                    None => _ = names.lost.get_or_insert(at),
                }
            }
            if entry.is_dot() {
                continue;
            }
            let Some(inode) = self.inode_at(entry.inode()) else {
                continue;
            };
            if entry.kind() != Some(inode.kind()) {
                let violation = Violation::Unexpected {
                    field: "file_type",
                    found: entry.kind().map_or(0, FileKind::dirent_type).into(),
                    expected: inode.kind().dirent_type().into(),
                };
                let corrupt = Corrupt::new(Structure::DirBlock, violation).at_block(at);
                self.note(corrupt.at_offset(entry.position()), dir.number());
            }
        }
    }

    /// `.` comes first and means the directory itself, `..` second, and neither comes again.
    fn dots(&mut self, dir: &Inode, at: BlockNo, entry: &DirEntry, index: u64) {
        let expected: Option<&[u8]> = match index {
            0 => Some(b"."),
            1 => Some(b".."),
            _ => None,
        };
        let rule = match expected {
            Some(name) if entry.name() != name => "the first two entries of a directory are . and ..",
            None if entry.is_dot() => ". and .. come once",
            Some(b".") if entry.inode() != dir.number() => ". leads to another inode",
            _ => return,
        };
        let corrupt = Corrupt::new(Structure::DirBlock, Violation::Rule(rule)).at_block(at);
        self.note(corrupt.at_offset(entry.position()), dir.number());
    }

    /// The hash by which the index knows an entry.
    fn index_key_of(&self, index: &[u64], entry: &DirEntry, at: BlockNo) -> Option<u64> {
        [CharSign::Signed, CharSign::Unsigned]
            .map(|sign| index_key(DxHash::of(entry.name(), &self.geometry().dx_seed, sign), at))
            .into_iter()
            .find(|key| index.binary_search(key).is_ok())
    }

    fn compare_with_index(&mut self, dir: &Inode, names: &Names) {
        let (Some(index), Some(root)) = (&names.index, dir.dx_root()) else {
            return;
        };
        if let Some(at) = names.lost {
            let violation = Violation::Rule("the index has no entry for a name in this block");
            self.note_at(Structure::DirBlock, at, dir.number(), violation);
        } else if names.broken == 0 && index.len() as u64 != names.count {
            let violation = Violation::Unexpected {
                field: "dr_num_entries",
                found: index.len() as u64,
                expected: names.count,
            };
            self.note_at(Structure::DxRoot, root, dir.number(), violation);
        } else if names.broken == 0 && index.iter().fold(0u64, |sum, &key| sum.wrapping_add(key)) != names.sum {
            let violation = Violation::Rule("the index has an entry for no name");
            self.note_at(Structure::DxRoot, root, dir.number(), violation);
        }
    }

    /// Visits the index of a directory. `None` when there is none or parts of it are broken.
    fn index(&mut self, dir: &Inode) -> Option<Vec<u64>> {
        let (at, number) = (dir.dx_root()?, dir.number());
        if !self.claim(at, Structure::DxRoot, DxRoot::CHECK_OFFSET, number) {
            return None;
        }
        let block = match dir::read_dx_root(self.volume.meta(), number, at) {
            Ok(block) => block,
            Err(error) => {
                self.note(error, number);
                return None;
            }
        };
        let root = view::<DxRoot>(&block);
        self.free_list(dir, root);
        let mut keys = Vec::new();
        let mut sound = true;
        if root.flags().contains(DxFlags::INLINE) {
            collect(&mut keys, root.entries().entries());
        } else {
            sound = self.index_leaves(dir, at, root, &mut keys);
        }
        let expectations = [
            ("dr_dir_blkno", root.dr_dir_blkno.get(), number.0),
            ("dr_num_entries", root.dr_num_entries.get().into(), keys.len() as u64),
        ];
        for (field, found, expected) in expectations {
            if found != expected && (sound || field == "dr_dir_blkno") {
                let violation = Violation::Unexpected { field, found, expected };
                self.note_at(Structure::DxRoot, at, number, violation);
            }
        }
        keys.sort_unstable();
        sound.then_some(keys)
    }

    /// Visits the leaves of an index. Whether all were sound.
    fn index_leaves(&mut self, dir: &Inode, at: BlockNo, root: &DxRoot, keys: &mut Vec<u64>) -> bool {
        let number = dir.number();
        let volume = self.volume;
        let tree = dir::dx_tree(volume.meta(), number, root);
        let totals = TreeTotals {
            structure: Structure::DxRoot,
            at,
            clusters: Some(("dr_clusters", root.dr_clusters.get())),
            last_leaf: ("dr_last_eb_blk", root.dr_last_eb_blk.get()),
        };
        let before = self.report.findings;
        let mut broken = 0;
        let mut highest = 0;
        self.tree(&tree, &totals, &mut |survey, extent| {
            if highest > extent.cpos {
                let violation = Violation::Order {
                    field: "dx_major_hash",
                    index: 0,
                    found: highest.into(),
                    previous: extent.cpos.into(),
                };
                survey.note(Corrupt::new(Structure::DxLeaf, violation), number);
            }
            survey.claim_clusters(number, extent);
            let blocks = survey.geometry().clusters_to_blocks(extent.clusters);
            for index in 0..survey.blocks_on_device(extent.blkno, blocks, dir) {
                if broken >= MAX_BROKEN {
                    return;
                }
                let leaf = BlockNo(extent.blkno.0 + index);
                match survey.index_leaf(number, extent, leaf, keys) {
                    Some(hash) => highest = highest.max(hash),
                    None => broken += 1,
                }
            }
        });
        self.report.findings == before
    }

    /// Visits one leaf and returns the highest hash in it.
    fn index_leaf(&mut self, dir: InodeNo, extent: &Extent, at: BlockNo, keys: &mut Vec<u64>) -> Option<u32> {
        if !self.claim(at, Structure::DxLeaf, DxLeaf::CHECK_OFFSET, dir) {
            return None;
        }
        let volume = self.volume;
        let block = match dir::read_dx_leaf(volume.meta(), dir, at) {
            Ok(block) => block,
            Err(error) => {
                self.note(error, dir);
                return None;
            }
        };
        let entries = view::<DxLeaf>(&block).entries().entries();
        let misplaced = entries.iter().find(|entry| {
            let hash = hash_of(entry);
            hash.major < extent.cpos || dir::dx_leaf_block(volume.meta(), extent, hash) != at
        });
        if let Some(entry) = misplaced {
            let violation = Violation::Invalid {
                field: "dx_major_hash",
                found: entry.dx_major_hash.get().into(),
                why: "the hash belongs into another leaf",
            };
            self.note_at(Structure::DxLeaf, at, dir, violation);
        }
        collect(keys, entries);
        Some(entries.iter().map(|entry| entry.dx_major_hash.get()).max().unwrap_or(0))
    }

    /// Follows the list of directory blocks with room.
    fn free_list(&mut self, dir: &Inode, root: &DxRoot) {
        let mut seen = RoaringTreemap::new();
        let mut next = root.dr_free_blk.get();
        while next != 0 {
            if !seen.insert(next) {
                let violation = Violation::Loop {
                    field: "db_free_next",
                    found: next,
                };
                self.note(Corrupt::new(Structure::DirTrailer, violation), dir.number());
                return;
            }
            let block = match dir::read_dir_block(self.volume.meta(), dir, BlockNo(next), 0) {
                Ok(block) => block,
                Err(error) => return self.note(error, dir.number()),
            };
            next = DirTrailer::of_block(&block.bytes).map_or(0, |trailer| trailer.db_free_next.get());
        }
    }
}

fn hash_of(entry: &DxEntry) -> DxHash {
    DxHash {
        major: entry.dx_major_hash.get(),
        minor: entry.dx_minor_hash.get(),
    }
}

fn collect(keys: &mut Vec<u64>, entries: &[DxEntry]) {
    keys.extend(
        entries
            .iter()
            .map(|entry| index_key(hash_of(entry), BlockNo(entry.dx_dirent_blk.get()))),
    );
}

/// One number for a name hash and a block, for comparison: different pairs may share it, as names may share a hash.
fn index_key(hash: DxHash, at: BlockNo) -> u64 {
    let name = u64::from(hash.major) << 32 | u64::from(hash.minor);
    // An odd factor spreads neighbouring blocks over all bits.
    name ^ at.0.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}
