//! Where everything on a new volume goes.
//!
//! The order in which things are placed is the one of the reference tool, so that volumes made with the same options
//! look the same.
//!
//! Source: on-disk reference, section 7.1.

use ocfs2_format::{BlockNo, ClusterNo, Features, Geometry, InodeNo, SlotNum, SystemFile};

use super::dirs;
use super::error::MkfsError;
use super::extents::Extents;
use super::index::IndexPlan;
use super::quota;
use super::sizing::Sizes;
use super::space::{Run, Space};

/// Places of everything on a volume.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) space: Space,
    /// The group of `global_inode_alloc`.
    pub(super) inode_group: Run,
    /// The system files in the order of their inodes.
    pub(super) files: Vec<PlacedFile>,
    pub(super) root: Directory,
    pub(super) system: Directory,
    /// Orphan directories by slot.
    pub(super) orphans: Vec<Directory>,
    /// The heartbeat region.
    pub(super) heartbeat: Run,
    /// Copies of the superblock.
    pub(super) backups: Vec<BlockNo>,
    /// Journals by slot.
    pub(super) journals: Vec<Extents>,
    /// Extent allocators by slot.
    pub(super) extent_alloc: Vec<Suballoc>,
    /// The allocator of slot 0 that lost+found is from.
    pub(super) inode_alloc: Suballoc,
    pub(super) slot_map: Option<Run>,
    /// Quota files: of users, then of groups, where wanted.
    pub(super) quotas: Vec<QuotaFiles>,
    pub(super) lost_found: Option<Directory>,
    /// Index of the system directory.
    pub(super) system_index: Option<IndexPlan>,
}

/// A system file and its inode.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlacedFile {
    pub(super) file: SystemFile,
    pub(super) slot: SlotNum,
    pub(super) inode: InodeNo,
}

/// A directory and where its entries are.
#[derive(Clone, Debug)]
pub(super) struct Directory {
    pub(super) inode: InodeNo,
    pub(super) parent: InodeNo,
    /// Its clusters; inline without any.
    pub(super) data: Option<Run>,
    /// Root of its index.
    pub(super) index: Option<MetaBlock>,
}

/// A block of slot 0's extent allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MetaBlock {
    pub(super) block: BlockNo,
    pub(super) group: BlockNo,
    pub(super) bit: u16,
}

/// An allocator of blocks: its groups, filled from the front.
#[derive(Clone, Debug, Default)]
pub(super) struct Suballoc {
    /// First cluster of each group, in the order in which they were added.
    pub(super) groups: Vec<ClusterNo>,
    /// Blocks in use besides the descriptors.
    pub(super) used: u32,
}

/// The quota files of users or of groups.
#[derive(Clone, Debug)]
pub(super) struct QuotaFiles {
    pub(super) global: Extents,
    /// By slot.
    pub(super) local: Vec<Extents>,
}

/// Blocks of the group that holds the inodes of the root and system directories and of all system files, with its
/// descriptor and some to spare.
pub(super) fn first_inodes(slots: u16) -> u32 {
    3 + 1 + 1 + 1 + 7 + 8 * u32::from(slots.max(32))
}

/// Blocks of a heartbeat region.
pub(super) const HEARTBEAT_BLOCKS: u64 = 256;

impl Layout {
    pub(super) fn new(geometry: &Geometry, sizes: &Sizes, features: Features) -> Result<Layout, MkfsError> {
        let mut first_error = None;
        for form in [SystemDirForm::Normal, SystemDirForm::Inline, SystemDirForm::Unindexed] {
            match Placing::new(geometry, sizes, features, form).all() {
                Ok(layout) => return Ok(layout),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        Err(first_error.unwrap_or(MkfsError::NoSpace {
            what: "anything",
            clusters: geometry.clusters,
        }))
    }

    /// The inode of a system file; `slot` matters for per-slot files only.
    pub(super) fn inode_of(&self, file: SystemFile, slot: SlotNum) -> Option<InodeNo> {
        let wanted = |placed: &&PlacedFile| placed.file == file && (!file.per_slot() || placed.slot == slot);
        self.files.iter().find(wanted).map(|placed| placed.inode)
    }
}

impl Suballoc {
    /// Groups with used blocks besides the descriptor, and how many of their bits are set, the descriptor's included.
    pub(super) fn used_bits(&self, group: usize, bits: u16) -> u16 {
        let room = u32::from(bits) - 1;
        let before = u32::try_from(group).unwrap_or(u32::MAX).saturating_mul(room);
        // At most `bits`.
        1 + self.used.saturating_sub(before).min(room) as u16
    }
}

/// What the system directory looks like.
///
/// An index takes a whole group of extent blocks. Where there is no room for one, on volumes of a few megabytes, the
/// directory does without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SystemDirForm {
    /// In blocks unless it fits in the inode by a generous estimate, and then indexed if directories are.
    Normal,
    /// In the inode.
    Inline,
    /// As `Normal`, but without an index: other tools miss it, and nothing depends on it.
    Unindexed,
}

/// The work of placing things.
struct Placing<'a> {
    geometry: &'a Geometry,
    sizes: &'a Sizes,
    features: Features,
    system_dir: SystemDirForm,
    space: Space,
    extent_alloc: Vec<Suballoc>,
}

impl<'a> Placing<'a> {
    fn new(geometry: &'a Geometry, sizes: &'a Sizes, features: Features, system_dir: SystemDirForm) -> Self {
        Placing {
            geometry,
            sizes,
            features,
            system_dir,
            space: Space::new(geometry),
            extent_alloc: vec![Suballoc::default(); sizes.slots.into()],
        }
    }

    fn all(mut self) -> Result<Layout, MkfsError> {
        let slots = self.sizes.slots;
        let heartbeat_only = slots == 0;
        let inode_group = self.take_blocks("the first inodes", first_inodes(slots).into())?;
        let first = self.geometry.cluster_to_block(inode_group.start);
        let (root, system) = (first.inode_behind(1), first.inode_behind(2));
        let files = system_files(slots, self.features, first);

        let root = self.directory(root, root, SMALL_DIR)?;
        let system = self.system_directory(system, &files)?;
        let heartbeat = self.take_blocks("the heartbeat region", HEARTBEAT_BLOCKS)?;
        let orphans = files.iter().filter(|placed| placed.file == SystemFile::OrphanDir);
        let mut orphans: Vec<Directory> = orphans
            .map(|placed| self.directory(placed.inode, system.inode, SMALL_DIR))
            .collect::<Result<_, _>>()?;
        let mut layout = Layout {
            space: self.space.clone(),
            inode_group,
            files,
            root,
            system,
            orphans: Vec::new(),
            heartbeat,
            backups: Vec::new(),
            journals: Vec::new(),
            extent_alloc: Vec::new(),
            inode_alloc: Suballoc::default(),
            slot_map: None,
            quotas: Vec::new(),
            lost_found: None,
            system_index: None,
        };
        if !heartbeat_only {
            layout.backups = self.backups()?;
            for _ in 0..slots {
                layout
                    .journals
                    .push(self.file("the journals", self.sizes.journal_clusters)?);
            }
            for slot in 0..slots {
                self.grow_extent_alloc(slot, self.sizes.extent_groups)?;
            }
            layout.slot_map = Some(self.take("the slot map", 1)?);
            layout.quotas = self.quotas(slots)?;
            self.add_index(&mut layout.root)?;
            for orphan in &mut orphans {
                self.add_index(orphan)?;
            }
            let inodes = self.take("the inodes of slot 0", self.sizes.suballoc_clusters.into())?;
            layout.inode_alloc = Suballoc {
                groups: vec![inodes.start],
                used: 1,
            };
            let inode = self.geometry.cluster_to_block(inodes.start).inode_behind(1);
            let mut lost_found = self.directory(inode, layout.root.inode, SMALL_DIR)?;
            self.add_index(&mut lost_found)?;
            layout.lost_found = Some(lost_found);
            if self.system_dir != SystemDirForm::Unindexed {
                self.add_index(&mut layout.system)?;
                layout.system_index = self.index_system_dir(&layout)?;
            }
        }
        layout.orphans = orphans;
        layout.extent_alloc = self.extent_alloc;
        layout.space = self.space;
        Ok(layout)
    }

    fn no_space(&self, what: &'static str) -> MkfsError {
        MkfsError::NoSpace {
            what,
            clusters: self.geometry.clusters,
        }
    }

    fn take(&mut self, what: &'static str, clusters: u32) -> Result<Run, MkfsError> {
        self.space.take(clusters).ok_or_else(|| self.no_space(what))
    }

    fn take_blocks(&mut self, what: &'static str, blocks: u64) -> Result<Run, MkfsError> {
        // At most some thousand blocks.
        let clusters = blocks.div_ceil(self.geometry.blocks_per_cluster().into()) as u32;
        self.take(what, clusters)
    }

    /// A directory with room for so many entries: inline where they fit, else with clusters of its own.
    fn directory(&mut self, inode: InodeNo, parent: InodeNo, entries: u32) -> Result<Directory, MkfsError> {
        let inline =
            self.features.inline_data() && entries * ENTRY_BUDGET <= self.geometry.max_inline_data(false).into();
        let data = match inline {
            true => None,
            false => {
                let per_block = self.geometry.block_size() as u32 / ENTRY_BUDGET;
                Some(self.take_blocks("the directories", entries.div_ceil(per_block).into())?)
            }
        };
        Ok(Directory {
            inode,
            parent,
            data,
            index: None,
        })
    }

    fn system_directory(&mut self, inode: InodeNo, files: &[PlacedFile]) -> Result<Directory, MkfsError> {
        if self.system_dir == SystemDirForm::Inline {
            let directory = Directory {
                inode,
                parent: inode,
                data: None,
                index: None,
            };
            let fits =
                dirs::bytes_of(&dirs::system_entries(&directory, files)) <= self.geometry.max_inline_data(false).into();
            return match self.features.inline_data() && fits {
                true => Ok(directory),
                false => Err(self.no_space("the system directory")),
            };
        }
        self.directory(inode, inode, 7 + 8 * u32::from(self.sizes.slots))
    }

    /// Gives a directory the root of an index, where it is to have one.
    fn add_index(&mut self, directory: &mut Directory) -> Result<(), MkfsError> {
        if directory.data.is_some() && self.features.indexed_dirs() {
            directory.index = Some(self.meta_block()?);
        }
        Ok(())
    }

    fn index_system_dir(&mut self, layout: &Layout) -> Result<Option<IndexPlan>, MkfsError> {
        const WHAT: &str = "the index of the system directory";
        let (Some(_), Some(data)) = (layout.system.index, layout.system.data) else {
            return Ok(None);
        };
        let blocks = dirs::pack(self.geometry, &dirs::system_entries(&layout.system, &layout.files));
        let mut plan = IndexPlan::new(self.geometry, &blocks, self.geometry.cluster_to_block(data.start));
        if plan.leaf_clusters.len() > self.geometry.extents_per_dx_root().into() {
            return Err(self.no_space(WHAT));
        }
        for cluster in &mut plan.leaf_clusters {
            cluster.place = self.space.take(1).ok_or_else(|| self.no_space(WHAT))?.start;
        }
        Ok(Some(plan))
    }

    fn backups(&mut self) -> Result<Vec<BlockNo>, MkfsError> {
        if !self.features.backup_super() {
            return Ok(Vec::new());
        }
        let blocks: Vec<BlockNo> = self.geometry.backup_blocks().collect();
        for &block in &blocks {
            let free = self
                .geometry
                .block_to_cluster(block)
                .is_some_and(|cluster| self.space.reserve(cluster));
            if !free {
                return Err(self.no_space("the backup superblocks"));
            }
        }
        Ok(blocks)
    }

    /// A file of so many clusters, in as few runs as there is room for.
    fn file(&mut self, what: &'static str, clusters: u32) -> Result<Extents, MkfsError> {
        let mut file = Extents::default();
        self.extend(what, &mut file, clusters)?;
        Ok(file)
    }

    fn extend(&mut self, what: &'static str, file: &mut Extents, clusters: u32) -> Result<(), MkfsError> {
        let mut left = clusters;
        while left > 0 {
            let run = self.space.take_up_to(1, left).ok_or_else(|| self.no_space(what))?;
            left -= run.len;
            file.push(run);
            while file.leaf_blocks.len() < file.leaves_needed(self.geometry) {
                file.leaf_blocks.push(self.meta_block()?);
            }
        }
        while file.interior_blocks.len() < file.interior_needed(self.geometry) {
            file.interior_blocks.push(self.meta_block()?);
        }
        Ok(())
    }

    /// Adds `groups` groups to a slot's extent allocator.
    fn grow_extent_alloc(&mut self, slot: u16, groups: u32) -> Result<(), MkfsError> {
        let clusters = self.sizes.suballoc_clusters.into();
        let alloc = &mut self.extent_alloc[usize::from(slot)];
        self.space
            .take_many(clusters, groups, &mut |cluster| alloc.groups.push(cluster))
            .ok_or_else(|| self.no_space("the extent allocators"))
    }

    /// The next block of slot 0's extent allocator.
    fn meta_block(&mut self) -> Result<MetaBlock, MkfsError> {
        let bits = u32::from(self.sizes.suballoc_clusters) * self.geometry.blocks_per_cluster();
        let used = self.extent_alloc[0].used;
        let (group, bit) = (used / (bits - 1), 1 + used % (bits - 1));
        if self.extent_alloc[0].groups.len() <= group as usize {
            self.grow_extent_alloc(0, 1)?;
        }
        self.extent_alloc[0].used += 1;
        let group = self
            .geometry
            .cluster_to_block(self.extent_alloc[0].groups[group as usize]);
        // A group has at most 4 MiB in blocks of 512 bytes: the bit has 13 bits.
        Ok(MetaBlock {
            block: BlockNo(group.0 + u64::from(bit)),
            group,
            bit: bit as u16,
        })
    }

    fn quotas(&mut self, slots: u16) -> Result<Vec<QuotaFiles>, MkfsError> {
        const WHAT: &str = "the quota files";
        let wanted = usize::from(self.features.usrquota()) + usize::from(self.features.grpquota());
        let clusters = |blocks: u32| blocks.div_ceil(self.geometry.blocks_per_cluster());
        let (fresh, tree) = (
            clusters(quota::FRESH_BLOCKS),
            clusters(quota::global_blocks(self.geometry)),
        );
        let mut quotas = Vec::new();
        for _ in 0..wanted {
            let global = self.file(WHAT, fresh)?;
            let local = (0..slots).map(|_| self.file(WHAT, fresh)).collect::<Result<_, _>>()?;
            quotas.push(QuotaFiles { global, local });
        }
        for files in &mut quotas {
            self.extend(WHAT, &mut files.global, tree - fresh)?;
        }
        Ok(quotas)
    }
}

/// The system files in the order of their inodes, which follow the root and the system directory.
fn system_files(slots: u16, features: Features, group: BlockNo) -> Vec<PlacedFile> {
    let heartbeat_only = slots == 0;
    let wanted = SystemFile::all().filter(|&file| match heartbeat_only {
        true => matches!(
            file,
            SystemFile::GlobalInodeAlloc | SystemFile::Heartbeat | SystemFile::GlobalBitmap
        ),
        false => file.exists_with(features),
    });
    let all =
        wanted.flat_map(|file| (0..if file.per_slot() { slots } else { 1 }).map(move |slot| (file, SlotNum(slot))));
    (3..)
        .zip(all)
        .map(|(bit, (file, slot))| PlacedFile {
            file,
            slot,
            inode: group.inode_behind(bit),
        })
        .collect()
}

/// Bytes set aside for each entry of a directory.
const ENTRY_BUDGET: u32 = 52;

/// Entries that any other directory than the system directory has room for.
const SMALL_DIR: u32 = 3;

trait InodeBehind {
    fn inode_behind(self, blocks: u64) -> InodeNo;
}

impl InodeBehind for BlockNo {
    fn inode_behind(self, blocks: u64) -> InodeNo {
        InodeNo(self.0 + blocks)
    }
}
