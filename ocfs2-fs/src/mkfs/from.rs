//! Volumes that are made to hold something: how large they have to be, and making what filling left reproducible.
//!
//! Source: on-disk reference, sections 7, 9, 12 and 17.

use ocfs2_format::device::BlockDevice;

use super::blocks::Builder;
use super::error::MkfsError;
use super::options::MkfsOptions;
use super::plan::Plan;
use super::writer::Writer;

/// What a volume is to hold, as far as its size depends on it.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// Bytes of contents of each regular file, holes not counted.
    files: Vec<u64>,
    dirs: Vec<Names>,
    /// Symbolic links, devices and the like.
    others: u64,
    /// Bytes of names and values of each inode that has extended attributes.
    xattrs: Vec<u64>,
}

/// The names in a directory.
#[derive(Clone, Copy, Debug, Default)]
struct Names {
    count: u64,
    bytes: u64,
}

/// Bytes of a directory entry beside its name, with what aligns it.
const ENTRY_BYTES: u64 = 16;
/// Bytes of an entry in the index of a directory.
const INDEX_ENTRY_BYTES: u64 = 16;
/// Bytes of a dinode that hold no contents: its header, and the area of small attributes.
const DINODE_BYTES: u64 = 0xC0 + 0x100 + 8;
/// Attributes up to this size fit in the dinode.
const INLINE_XATTR_BYTES: u64 = 0x80;
/// Smallest device that is tried.
const LEAST_BYTES: u64 = 16 << 20;
/// Sizes are multiples of this.
const UNIT_BYTES: u64 = 1 << 20;

impl Contents {
    /// Nothing yet but the root directory, which is number 0.
    pub fn new() -> Contents {
        Contents {
            dirs: vec![Names::default()],
            ..Contents::default()
        }
    }

    /// Adds a directory. Returns its number.
    pub fn directory(&mut self) -> usize {
        self.dirs.push(Names::default());
        self.dirs.len() - 1
    }

    /// Adds a regular file with so many bytes of contents, holes not counted.
    pub fn file(&mut self, data_bytes: u64) {
        self.files.push(data_bytes);
    }

    /// Adds something that is neither file nor directory.
    pub fn other(&mut self) {
        self.others += 1;
    }

    /// Adds a name to the directory of that number.
    pub fn name(&mut self, directory: usize, name_bytes: usize) {
        if let Some(names) = self.dirs.get_mut(directory) {
            names.count += 1;
            names.bytes += name_bytes as u64 + ENTRY_BYTES;
        }
    }

    /// Adds the extended attributes of one of the above: bytes of names and values.
    pub fn xattrs(&mut self, bytes: u64) {
        self.xattrs.push(bytes);
    }

    /// Bytes of a device on which a volume made with these options can hold all of it, with a little to spare.
    ///
    /// # Errors
    /// Those of [`Plan::new`]: the options contradict each other, or there are no volumes of that size.
    pub fn device_bytes(&self, options: &MkfsOptions) -> Result<u64, MkfsError> {
        /// Far more steps than sizes take to settle: each is larger than the one before by what lacked.
        const STEPS: u32 = 64;
        let mut bytes = LEAST_BYTES;
        for _ in 0..STEPS {
            let plan = match Plan::new(bytes, options) {
                Ok(plan) => plan,
                // Journals and the like of a volume without contents take more than that.
                Err(_) if bytes < 1 << 32 => {
                    bytes *= 2;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let geometry = plan.geometry();
            let free = u64::from(geometry.clusters.saturating_sub(plan.used_clusters()));
            let needed = self.clusters(&plan);
            if needed <= free {
                return Ok(bytes);
            }
            let lacking = (needed - free).saturating_mul(geometry.cluster_size());
            bytes = bytes
                .saturating_add(lacking)
                .div_ceil(UNIT_BYTES)
                .saturating_mul(UNIT_BYTES);
        }
        Plan::new(bytes, options).map(|_| bytes)
    }

    /// Clusters that the contents take on a volume.
    fn clusters(&self, plan: &Plan) -> u64 {
        let geometry = plan.geometry();
        let (block, cluster) = (geometry.block_size() as u64, geometry.cluster_size());
        let inline = match geometry.features.inline_data() {
            true => block.saturating_sub(DINODE_BYTES),
            false => 0,
        };
        let in_clusters = |bytes: u64| bytes.div_ceil(cluster);
        let files: u64 = self
            .files
            .iter()
            .filter(|&&bytes| bytes > inline)
            .map(|&bytes| in_clusters(bytes))
            .sum();
        let (mut dirs, mut meta_blocks) = (0, 0);
        for names in self.dirs.iter().filter(|names| names.bytes > inline) {
            // Names do not cross blocks, and an index whose leaves split is half full at worst.
            dirs += in_clusters(names.bytes * 4 / 3) + in_clusters(names.count * INDEX_ENTRY_BYTES * 2) + 2;
            meta_blocks += 2;
        }
        let mut values = 0;
        for &bytes in self.xattrs.iter().filter(|&&bytes| bytes > INLINE_XATTR_BYTES) {
            meta_blocks += 1;
            if bytes > block / 2 {
                values += in_clusters(bytes * 2) + 1;
            }
        }
        // Extent records: files are in few pieces on an empty volume.
        meta_blocks += files / 1024;
        let inodes = self.files.len() as u64 + self.dirs.len() as u64 + self.others;
        let group = u64::from(plan.suballoc_clusters());
        // The first block of a group describes it.
        let group_blocks = (group * cluster / block).saturating_sub(1).max(1);
        let groups = inodes.div_ceil(group_blocks) + u64::div_ceil(meta_blocks, group_blocks) + 2;
        let needed = files + dirs + values + groups * group;
        needed + needed / 32 + in_clusters(4 << 20)
    }
}

/// Makes a volume that was made with a seed, filled and unmounted, the same whenever the same was done: the logs are empty
/// again, as they were when the volume was made.
///
/// # Errors
/// [`MkfsError::Io`].
pub fn settle(device: &dyn BlockDevice, plan: &Plan) -> Result<(), MkfsError> {
    let geometry = plan.geometry();
    for journal in &plan.layout().journals {
        for run in journal.runs() {
            let start = geometry.cluster_to_block(run.start).0 << geometry.block_size_bits;
            let len = geometry.clusters_to_bytes(run.len);
            device.write_zeroes(start..start + len)?;
        }
    }
    let mut writer = Writer::new(device, geometry);
    writer.stage(Builder::new(plan).journal_superblocks())?;
    writer.write_staged()?;
    Ok(device.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mkfs::MountMode;

    fn options() -> MkfsOptions {
        MkfsOptions {
            mount: MountMode::Local,
            ..MkfsOptions::default()
        }
    }

    #[test]
    fn more_contents_take_larger_devices() {
        let bytes = |files: usize, each: u64| {
            let mut contents = Contents::new();
            for _ in 0..files {
                contents.file(each);
                contents.name(0, 20);
            }
            contents.device_bytes(&options()).unwrap()
        };
        let empty = bytes(0, 0);
        assert!(empty <= 64 << 20, "{empty}");
        assert!(bytes(1000, 0) >= empty);
        let large = bytes(10, 100 << 20);
        assert!((1000 << 20..1300 << 20).contains(&large), "{large}");
        let many = bytes(100_000, 1000);
        assert!((400 << 20..1200 << 20).contains(&many), "{many}");
    }

    #[test]
    fn options_that_contradict_each_other_are_refused() {
        let mut options = options();
        options.slots = Some(0);
        assert!(Contents::new().device_bytes(&options).is_err());
    }
}
