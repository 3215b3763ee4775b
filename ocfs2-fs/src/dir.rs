//! Reading directories: inline, block list, and lookups through the index.
//!
//! Source: on-disk reference, sections 17 and 18.

use ocfs2_format::{
    BlockNo, CharSign, Contents, Corrupt, DirEntries, DirTrailer, DxFlags, DxHash, DxLeaf, DxRoot, DynFeatures,
    FileKind, InodeNo, Structure, Violation,
};

use crate::error::{Error, Result};
use crate::extent_tree::{Extent, ExtentTree, Lookup, TreeKind};
use crate::inode::Inode;
use crate::meta::{BlockBuf, Blocks, Locality, view};

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    name: Vec<u8>,
    inode: InodeNo,
    kind: Option<FileKind>,
    position: u64,
}

impl DirEntry {
    fn of(entry: &ocfs2_format::DirEntry<'_>, offset: u64) -> DirEntry {
        DirEntry {
            name: entry.name.to_vec(),
            inode: entry.inode().unwrap_or_default(),
            kind: entry.kind(),
            position: offset + entry.offset as u64,
        }
    }

    pub(crate) fn new(name: Vec<u8>, inode: InodeNo, kind: Option<FileKind>, position: u64) -> DirEntry {
        DirEntry {
            name,
            inode,
            kind,
            position,
        }
    }

    /// The name: 1 to 255 bytes, none of them NUL or `/`.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// The inode it stands for.
    pub fn inode(&self) -> InodeNo {
        self.inode
    }

    /// The file type as the entry gives it; `None` when it gives none.
    pub fn kind(&self) -> Option<FileKind> {
        self.kind
    }

    /// Byte offset of the entry in the directory.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Where to go on reading the directory behind this entry.
    pub fn next_position(&self) -> u64 {
        // Entries never begin there, so this stays good when the entry's length changes.
        self.position + 1
    }

    /// Whether this is `.` or `..`.
    pub fn is_dot(&self) -> bool {
        self.name == b"." || self.name == b".."
    }
}

/// A logical block of a directory.
#[derive(Clone, Debug)]
pub(crate) struct DirBlock {
    pub(crate) at: BlockNo,
    /// Byte offset in the directory.
    pub(crate) offset: u64,
    pub(crate) bytes: BlockBuf,
    /// Bytes that entries tile: the block without its trailer.
    pub(crate) area: usize,
}

/// The blocks of a directory that is not inline, in order, each verified.
pub(crate) struct DirBlocks<'a> {
    meta: &'a dyn Blocks,
    dir: &'a Inode,
    index: u64,
    count: u64,
    extent: Option<Extent>,
    failed: bool,
}

impl<'a> DirBlocks<'a> {
    pub(crate) fn new(meta: &'a dyn Blocks, dir: &'a Inode) -> Self {
        let count = meta.geometry().blocks_for_bytes(dir.size());
        DirBlocks {
            meta,
            dir,
            index: 0,
            count,
            extent: None,
            failed: false,
        }
    }

    fn step(&mut self) -> Result<DirBlock> {
        let geometry = self.meta.geometry();
        let offset = self.index << geometry.block_size_bits;
        let fail = |structure, violation| {
            Err(Error::Corrupt(
                Corrupt::new(structure, violation)
                    .in_inode(self.dir.number())
                    .at_offset(offset),
            ))
        };
        let limit = geometry.blocks();
        if self.count > limit {
            return fail(
                Structure::Dinode,
                Violation::TooLarge {
                    field: "i_size",
                    found: self.dir.size(),
                    limit,
                },
            );
        }
        let per_cluster = u64::from(geometry.blocks_per_cluster());
        // At most `limit` blocks, so clusters fit in 32 bits.
        let cpos = (self.index / per_cluster) as u32;
        let extent = match self.extent {
            Some(extent) if u64::from(cpos) < extent.end() => extent,
            _ => match data_tree(self.meta, self.dir)?.lookup(cpos)? {
                Lookup::Extent(extent) => *self.extent.insert(extent),
                Lookup::Gap { .. } => {
                    return fail(Structure::DirBlock, Violation::Rule("a directory has no holes"));
                }
            },
        };
        let first = u64::from(extent.cpos) * per_cluster;
        let at = BlockNo(extent.blkno.0 + (self.index - first));
        self.index += 1;
        read_dir_block(self.meta, self.dir, at, offset)
    }
}

impl Iterator for DirBlocks<'_> {
    type Item = Result<DirBlock>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.index >= self.count {
            return None;
        }
        let block = self.step();
        self.failed = block.is_err();
        Some(block)
    }
}

/// Reads a directory block and checks its trailer, where it has one.
pub(crate) fn read_dir_block(meta: &dyn Blocks, dir: &Inode, at: BlockNo, offset: u64) -> Result<DirBlock> {
    let geometry = meta.geometry();
    let place = |error: Error| error.in_inode(dir.number());
    let indexed = dir.dyn_features().contains(DynFeatures::INDEXED_DIR);
    let bytes = meta.verified_tail(at, Structure::DirBlock).map_err(place)?;
    let mut area = geometry.block_size();
    if geometry.has_dir_trailer(indexed) {
        let trailer = DirTrailer::of_block(&bytes).expect("a block is longer than a trailer");
        trailer.check(at, dir.number(), geometry)?;
        area -= DirTrailer::SIZE;
    }
    Ok(DirBlock {
        at,
        offset,
        bytes,
        area,
    })
}

/// The extent tree of a file or directory that has one.
pub(crate) fn data_tree<'a>(meta: &'a dyn Blocks, inode: &'a Inode) -> Result<ExtentTree<'a>> {
    match inode.contents() {
        Contents::Extents(root) => Ok(ExtentTree {
            meta,
            root,
            kind: TreeKind::Data,
            owner: inode.number(),
        }),
        _ => Err(Error::WrongKind {
            inode: inode.number(),
            wanted: "file with extents",
        }),
    }
}

/// Fails unless the inode is a directory.
pub(crate) fn require_dir(inode: &Inode) -> Result<()> {
    if inode.kind() == FileKind::Directory {
        return Ok(());
    }
    Err(Error::WrongKind {
        inode: inode.number(),
        wanted: "directory",
    })
}

/// Reads a directory piece by piece; holds one block at a time.
#[derive(Debug)]
pub(crate) struct DirReader {
    dir: Inode,
    next_block: u64,
    done: bool,
}

impl DirReader {
    pub(crate) fn new(dir: Inode) -> Result<Self> {
        require_dir(&dir)?;
        Ok(DirReader {
            dir,
            next_block: 0,
            done: false,
        })
    }

    /// The entries of the next block, unused ones left out; `None` at the end. An error ends the directory.
    pub(crate) fn next_batch(&mut self, meta: &dyn Blocks) -> Option<Result<Vec<DirEntry>>> {
        if self.done {
            return None;
        }
        if let Contents::Inline(area) = self.dir.contents() {
            self.done = true;
            return Some(parse_entries(area, 0, self.dir.number().block(), self.dir.number()));
        }
        let mut blocks = DirBlocks::new(meta, &self.dir);
        blocks.index = self.next_block;
        let block = match blocks.next() {
            None => {
                self.done = true;
                return None;
            }
            Some(Err(error)) => {
                self.done = true;
                return Some(Err(error));
            }
            Some(Ok(block)) => block,
        };
        self.next_block += 1;
        let area = &block.bytes[..block.area];
        Some(parse_entries(area, block.offset, block.at, self.dir.number()))
    }
}

/// The entries that begin at a position or behind it, up to the end of the first block that has any, and where to go on;
/// `None` at the end of the directory.
pub(crate) fn entries_from(meta: &dyn Blocks, dir: &Inode, position: u64) -> Result<(Vec<DirEntry>, Option<u64>)> {
    let behind = |mut entries: Vec<DirEntry>| {
        entries.retain(|entry| entry.position >= position);
        entries
    };
    if let Contents::Inline(area) = dir.contents() {
        let entries = parse_entries(area, 0, dir.number().block(), dir.number())?;
        return Ok((behind(entries), None));
    }
    let mut blocks = DirBlocks::new(meta, dir);
    blocks.index = position >> meta.geometry().block_size_bits;
    while let Some(block) = blocks.next().transpose()? {
        let area = &block.bytes[..block.area];
        let entries = behind(parse_entries(area, block.offset, block.at, dir.number())?);
        if !entries.is_empty() {
            let end = block.offset + meta.geometry().block_size() as u64;
            return Ok((entries, (blocks.index < blocks.count).then_some(end)));
        }
    }
    Ok((Vec::new(), None))
}

/// The used entries of an area.
pub(crate) fn parse_entries(area: &[u8], offset: u64, at: BlockNo, dir: InodeNo) -> Result<Vec<DirEntry>> {
    used_entries(area, offset, at, dir)
        .map(|entry| Ok(DirEntry::of(&entry?, offset)))
        .collect()
}

/// The entry of a name in an area. What is behind it is not looked at.
pub(crate) fn find_entry(area: &[u8], offset: u64, at: BlockNo, dir: InodeNo, name: &[u8]) -> Result<Option<DirEntry>> {
    for entry in used_entries(area, offset, at, dir) {
        let entry = entry?;
        if entry.name == name {
            return Ok(Some(DirEntry::of(&entry, offset)));
        }
    }
    Ok(None)
}

fn used_entries(
    area: &[u8],
    offset: u64,
    at: BlockNo,
    dir: InodeNo,
) -> impl Iterator<Item = Result<ocfs2_format::DirEntry<'_>>> {
    DirEntries::new(area)
        .map(move |entry| entry.map_err(|corrupt| corrupt.at_block(at).in_inode(dir).at_offset(offset).into()))
        .filter(|entry| entry.as_ref().map_or(true, |entry| entry.inode().is_some()))
}

/// Finds a name, through the index where the directory has one.
pub(crate) fn lookup(meta: &dyn Blocks, dir: &Inode, name: &[u8]) -> Result<Option<DirEntry>> {
    require_dir(dir)?;
    match dir.dx_root() {
        Some(root) => lookup_indexed(meta, dir, root, name),
        None => lookup_linear(meta, dir, name),
    }
}

/// Finds a name by reading the directory from its start.
pub(crate) fn lookup_linear(meta: &dyn Blocks, dir: &Inode, name: &[u8]) -> Result<Option<DirEntry>> {
    require_dir(dir)?;
    if let Contents::Inline(area) = dir.contents() {
        return find_entry(area, 0, dir.number().block(), dir.number(), name);
    }
    for block in DirBlocks::new(meta, dir) {
        let block = block?;
        let area = &block.bytes[..block.area];
        if let Some(entry) = find_entry(area, block.offset, block.at, dir.number(), name)? {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

/// The root of a directory's index, checked.
pub(crate) fn read_dx_root(meta: &dyn Blocks, dir: InodeNo, at: BlockNo) -> Result<BlockBuf> {
    let place = |error: Error| error.in_inode(dir);
    let block = meta
        .verified(at, Structure::DxRoot, DxRoot::CHECK_OFFSET, Locality::Clustered)
        .map_err(place)?;
    view::<DxRoot>(&block)
        .check(at, meta.geometry())
        .map_err(|corrupt| corrupt.in_inode(dir))?;
    Ok(block)
}

/// A leaf of a directory's index, checked.
pub(crate) fn read_dx_leaf(meta: &dyn Blocks, dir: InodeNo, at: BlockNo) -> Result<BlockBuf> {
    let place = |error: Error| error.in_inode(dir);
    let block = meta
        .verified(at, Structure::DxLeaf, DxLeaf::CHECK_OFFSET, Locality::Clustered)
        .map_err(place)?;
    view::<DxLeaf>(&block)
        .check(at, meta.geometry())
        .map_err(|corrupt| corrupt.in_inode(dir))?;
    Ok(block)
}

/// The extents of an index that is not inline.
pub(crate) fn dx_tree<'a>(meta: &'a dyn Blocks, dir: InodeNo, root: &'a DxRoot) -> ExtentTree<'a> {
    ExtentTree {
        meta,
        root: root.list(),
        kind: TreeKind::Hash,
        owner: dir,
    }
}

fn lookup_indexed(meta: &dyn Blocks, dir: &Inode, root: BlockNo, name: &[u8]) -> Result<Option<DirEntry>> {
    let root = read_dx_root(meta, dir.number(), root)?;
    let seed = &meta.geometry().dx_seed;
    let signed = DxHash::of(name, seed, CharSign::Signed);
    if let Some(entry) = lookup_hash(meta, dir, view(&root), signed, name)? {
        return Ok(Some(entry));
    }
    // Kernels since 6.2, and those of other architectures, hash bytes above 0x7F as unsigned.
    let unsigned = DxHash::of(name, seed, CharSign::Unsigned);
    if unsigned == signed {
        return Ok(None);
    }
    lookup_hash(meta, dir, view(&root), unsigned, name)
}

fn lookup_hash(meta: &dyn Blocks, dir: &Inode, root: &DxRoot, hash: DxHash, name: &[u8]) -> Result<Option<DirEntry>> {
    let leaf;
    let entries = if root.flags().contains(DxFlags::INLINE) {
        root.entries()
    } else {
        let extent = match dx_tree(meta, dir.number(), root).lookup(hash.major)? {
            Lookup::Extent(extent) => extent,
            Lookup::Gap { .. } => {
                let violation = Violation::Rule("the index covers every hash from 0");
                return Err(Corrupt::new(Structure::DxRoot, violation).in_inode(dir.number()).into());
            }
        };
        leaf = read_dx_leaf(meta, dir.number(), dx_leaf_block(meta, &extent, hash))?;
        view::<DxLeaf>(&leaf).entries()
    };
    let mut searched = None;
    for entry in entries.entries() {
        if (entry.dx_major_hash.get(), entry.dx_minor_hash.get()) != (hash.major, hash.minor) {
            continue;
        }
        let at = BlockNo(entry.dx_dirent_blk.get());
        if searched == Some(at) {
            continue;
        }
        searched = Some(at);
        let block = read_dir_block(meta, dir, at, 0)?;
        if let Some(entry) = find_entry(&block.bytes[..block.area], 0, at, dir.number(), name)? {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

/// The leaf block that a hash falls into.
pub(crate) fn dx_leaf_block(meta: &dyn Blocks, extent: &Extent, hash: DxHash) -> BlockNo {
    let geometry = meta.geometry();
    // Records may have merged, and a hash beyond their last cluster belongs to it. `clusters` is not 0 in a record.
    let cluster = (hash.major - extent.cpos).min(extent.clusters - 1);
    let leaf = hash.minor & (geometry.blocks_per_cluster() - 1);
    BlockNo(extent.blkno.0 + geometry.clusters_to_blocks(cluster) + u64::from(leaf))
}
