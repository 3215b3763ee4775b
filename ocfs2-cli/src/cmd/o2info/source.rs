//! Where the answers come from: a volume that is read here, or the kernel that has it mounted.

use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use ocfs2_format::{Features, FileKind, SlotNum, SystemFile};
use ocfs2_fs::{FileUsage, Inode, Timestamp, Volume};
use serde::Serialize;

use crate::live::{Live, LiveExtent, LiveFreeSpace};
use crate::report::InodeReport;
use crate::target::Target;
use crate::text::{People, printable};

/// Something to ask.
#[derive(Debug)]
pub(super) enum Source {
    /// A volume, read here, and what in it the user named.
    Volume { volume: Volume, target: Target },
    /// The kernel, by a path on a mounted volume.
    Kernel { live: Live, path: PathBuf },
}

/// What a superblock says.
#[derive(Clone, Debug, Serialize)]
pub(super) struct VolumeInfo {
    pub(super) label: String,
    pub(super) uuid: String,
    pub(super) block_size: u64,
    pub(super) cluster_size: u64,
    pub(super) node_slots: u32,
    pub(super) features: Vec<&'static str>,
}

/// Inodes of a slot.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct SlotInodes {
    pub(super) slot: usize,
    pub(super) total: u64,
    pub(super) free: u64,
}

/// Free space in pieces.
#[derive(Clone, Debug, Serialize)]
pub(super) struct FreeInfo {
    pub(super) total_clusters: u64,
    pub(super) free_clusters: u64,
    pub(super) extents: u64,
    pub(super) shortest_clusters: u64,
    pub(super) longest_clusters: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) chunks: Option<ChunkInfo>,
    pub(super) histogram: Vec<ClassInfo>,
}

/// Aligned chunks of one length.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct ChunkInfo {
    pub(super) bytes: u64,
    pub(super) total: u64,
    pub(super) free: u64,
}

/// Free pieces of `from_bytes` to twice as much.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct ClassInfo {
    pub(super) from_bytes: u64,
    pub(super) extents: u64,
    pub(super) clusters: u64,
}

/// A file and the space it takes.
#[derive(Clone, Debug, Serialize)]
pub(super) struct FileInfo {
    #[serde(flatten)]
    inode: InodeReport,
    pub(super) usage: UsageInfo,
    #[serde(skip)]
    pub(super) stat: FileStat,
}

/// The space that a file takes; clusters where nothing else is said.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct UsageInfo {
    pub(super) sectors: u64,
    pub(super) clusters: u64,
    pub(super) extents: u64,
    pub(super) shared: u64,
    pub(super) unwritten: u64,
    pub(super) holes: u64,
    pub(super) xattr: u64,
    pub(super) fragmentation: f64,
    pub(super) score: f64,
}

/// What stat(2) says of a file.
#[derive(Clone, Debug)]
pub(super) struct FileStat {
    /// As the user named it.
    pub(super) name: Vec<u8>,
    pub(super) kind: FileKind,
    pub(super) mode: u32,
    pub(super) size: u64,
    pub(super) number: u64,
    pub(super) links: u64,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Last access, last change of the contents, last change of the inode.
    pub(super) times: [Timestamp; 3],
    /// Target of a symbolic link.
    pub(super) link: Option<Vec<u8>>,
    /// Number of the device that holds the volume; 0 for an image file.
    pub(super) device: u64,
}

impl FileInfo {
    pub(super) fn kind(&self) -> FileKind {
        self.stat.kind
    }

    pub(super) fn name(&self) -> String {
        printable(&self.stat.name).into_owned()
    }
}

impl Source {
    pub(super) fn volume_info(&self) -> anyhow::Result<VolumeInfo> {
        let text = |label: &[u8]| String::from_utf8_lossy(label).into_owned();
        Ok(match self {
            Self::Volume { volume, .. } => {
                let (geometry, superblock) = (volume.geometry(), volume.superblock());
                VolumeInfo {
                    label: text(superblock.label()),
                    uuid: superblock.uuid_text(),
                    block_size: geometry.block_size() as u64,
                    cluster_size: geometry.cluster_size(),
                    node_slots: geometry.max_slots.into(),
                    features: feature_names(geometry.features),
                }
            }
            Self::Kernel { live, .. } => VolumeInfo {
                label: text(&live.label()?),
                uuid: live.uuid()?,
                block_size: live.block_size()?.into(),
                cluster_size: live.cluster_size()?.into(),
                node_slots: live.max_slots()?,
                features: feature_names(live.features()?),
            },
        })
    }

    /// Bytes of a journal; none on a heartbeat device.
    pub(super) fn journal_size(&self) -> anyhow::Result<Option<u64>> {
        match self {
            Self::Volume { volume, .. } if volume.geometry().features.heartbeat_device() => Ok(None),
            Self::Volume { volume, .. } => Ok(Some(
                volume
                    .inode(volume.system_file(SystemFile::Journal, SlotNum(0))?)?
                    .size(),
            )),
            Self::Kernel { live, .. } => Ok(Some(live.journal_size()?)),
        }
    }

    pub(super) fn free_inodes(&self) -> anyhow::Result<Vec<SlotInodes>> {
        match self {
            Self::Volume { volume, .. } => volume
                .slots()
                .map(|slot| {
                    let counts = volume.allocator(&volume.inode(volume.system_file(SystemFile::InodeAlloc, slot)?)?)?;
                    Ok(SlotInodes {
                        slot: slot.0.into(),
                        total: counts.total.into(),
                        free: counts.free().into(),
                    })
                })
                .collect(),
            Self::Kernel { live, .. } => {
                let slots = live.free_inodes()?.into_iter().enumerate();
                Ok(slots
                    .map(|(slot, (total, free))| SlotInodes { slot, total, free })
                    .collect())
            }
        }
    }

    /// Free space, and with `kib` other than 0 the aligned chunks of that length.
    pub(super) fn free_space(&self, kib: u64, info: &VolumeInfo) -> anyhow::Result<FreeInfo> {
        let chunk = (kib != 0).then(|| (kib << 10) / info.cluster_size);
        match self {
            Self::Volume { volume, .. } => Ok(FreeInfo::of_volume(&volume.free_space(chunk)?, info)),
            Self::Kernel { live, .. } => {
                let clusters = u32::try_from(chunk.unwrap_or(1)).unwrap_or(u32::MAX);
                let space = live
                    .free_space(clusters)
                    .context("counting free chunks of this length")?;
                Ok(FreeInfo::of_kernel(&space, chunk, info))
            }
        }
    }

    /// The file that the user named; a symbolic link itself.
    pub(super) fn file(&self) -> anyhow::Result<FileInfo> {
        match self {
            Self::Volume { volume, target } => {
                let inode = target.resolve(volume, false)?;
                FileInfo::of_inode(volume, target, &inode).with_context(|| target.to_string())
            }
            Self::Kernel { live, path } => FileInfo::of_path(live, path).with_context(|| path.display().to_string()),
        }
    }
}

/// Names of features, set by set, as o2info orders them.
fn feature_names(features: Features) -> Vec<&'static str> {
    features.sets().into_iter().flat_map(Features::names).collect()
}

impl FreeInfo {
    fn of_volume(space: &ocfs2_fs::FreeSpace, info: &VolumeInfo) -> Self {
        let classes = space.by_length.iter().map(|class| (class.extents, class.clusters));
        Self {
            total_clusters: space.total_clusters,
            free_clusters: space.free_clusters,
            extents: space.extents,
            shortest_clusters: space.shortest,
            longest_clusters: space.longest,
            chunks: space.chunks.map(|chunks| ChunkInfo {
                bytes: chunks.clusters.saturating_mul(info.cluster_size),
                total: chunks.total,
                free: chunks.free,
            }),
            histogram: histogram(classes, info),
        }
    }

    fn of_kernel(space: &LiveFreeSpace, chunk: Option<u64>, info: &VolumeInfo) -> Self {
        let classes = space
            .by_length
            .iter()
            .map(|&(extents, clusters)| (extents.into(), clusters.into()));
        Self {
            total_clusters: space.clusters.into(),
            free_clusters: space.free_clusters.into(),
            extents: space.extents.into(),
            // Of no run at all, the kernel leaves the shortest at its largest number.
            shortest_clusters: if space.extents == 0 { 0 } else { space.shortest.into() },
            longest_clusters: space.longest.into(),
            chunks: chunk.map(|clusters| ChunkInfo {
                bytes: clusters.saturating_mul(info.cluster_size),
                total: u64::from(space.clusters).div_ceil(clusters),
                free: space.free_chunks.into(),
            }),
            histogram: histogram(classes, info),
        }
    }
}

fn histogram(classes: impl Iterator<Item = (u64, u64)>, info: &VolumeInfo) -> Vec<ClassInfo> {
    let classes = (0..).zip(classes).filter(|(_, (extents, _))| *extents != 0);
    classes
        .map(|(power, (extents, clusters))| ClassInfo {
            from_bytes: info.cluster_size << power,
            extents,
            clusters,
        })
        .collect()
}

impl UsageInfo {
    fn new(sectors: u64, cluster_size: u64, usage: &FileUsage) -> Self {
        let FileUsage {
            clusters,
            extents,
            shared,
            unwritten,
            holes,
            xattr,
        } = *usage;
        let (fragmentation, score) = (usage.fragmentation(), usage.score(cluster_size));
        Self {
            sectors,
            clusters,
            extents,
            shared,
            unwritten,
            holes,
            xattr,
            fragmentation,
            score,
        }
    }
}

impl FileInfo {
    fn of_inode(volume: &Volume, target: &Target, inode: &Inode) -> anyhow::Result<Self> {
        let link = (inode.kind() == FileKind::Symlink)
            .then(|| volume.link_target(inode))
            .transpose()?;
        let usage = volume.file_usage(inode)?;
        let device = std::fs::metadata(&target.image).map_or(0, |image| image.rdev());
        Ok(Self {
            inode: InodeReport::new(inode, &People::default(), link.as_deref()),
            usage: UsageInfo::new(inode.sectors(), volume.geometry().cluster_size(), &usage),
            stat: FileStat {
                name: target.to_bytes(),
                kind: inode.kind(),
                mode: inode.mode(),
                size: inode.size(),
                number: inode.number().0,
                links: inode.links().into(),
                uid: inode.uid(),
                gid: inode.gid(),
                times: [inode.atime(), inode.mtime(), inode.ctime()],
                link,
                device,
            },
        })
    }

    fn of_path(live: &Live, path: &Path) -> anyhow::Result<Self> {
        let found = std::fs::symlink_metadata(path)?;
        let link = found.is_symlink().then(|| std::fs::read_link(path)).transpose()?;
        let link = link.map(|link| link.as_os_str().as_bytes().to_vec());
        let cluster_size = u64::from(live.cluster_size()?);
        // FIEMAP of what a link points to says nothing about the link.
        let extents = if found.is_file() || found.is_dir() {
            live.extents()?
        } else {
            Vec::new()
        };
        let usage = usage(&extents, &found, cluster_size);
        let time = |secs, nanos: i64| Timestamp {
            secs,
            nanos: nanos as u32,
        };
        let stat = FileStat {
            name: path.as_os_str().as_bytes().to_vec(),
            kind: kind(&found),
            mode: found.mode(),
            size: found.len(),
            number: found.ino(),
            links: found.nlink(),
            uid: found.uid(),
            gid: found.gid(),
            times: [
                time(found.atime(), found.atime_nsec()),
                time(found.mtime(), found.mtime_nsec()),
                time(found.ctime(), found.ctime_nsec()),
            ],
            link,
            device: found.dev(),
        };
        Ok(Self {
            inode: InodeReport::of_host(&found, stat.kind, stat.times, &People::default(), stat.link.as_deref()),
            usage: UsageInfo::new(found.blocks(), cluster_size, &usage),
            stat,
        })
    }
}

fn usage(extents: &[LiveExtent], found: &Metadata, cluster_size: u64) -> FileUsage {
    let mut usage = FileUsage {
        extents: extents.len() as u64,
        ..FileUsage::default()
    };
    let mut next = 0;
    for extent in extents.iter().filter(|extent| extent.flags & LiveExtent::INLINE == 0) {
        let clusters = extent.len / cluster_size;
        usage.clusters += clusters;
        usage.holes += extent.start.saturating_sub(next) / cluster_size;
        next = extent.start.saturating_add(extent.len);
        if extent.flags & LiveExtent::UNWRITTEN != 0 {
            usage.unwritten += clusters;
        }
        if extent.flags & LiveExtent::SHARED != 0 {
            usage.shared += clusters;
        }
    }
    let inline = extents.iter().any(|extent| extent.flags & LiveExtent::INLINE != 0);
    if found.is_file() && !inline {
        usage.holes += found.len().saturating_sub(next).div_ceil(cluster_size);
    }
    usage
}

fn kind(found: &Metadata) -> FileKind {
    match found.file_type() {
        kind if kind.is_file() => FileKind::Regular,
        kind if kind.is_dir() => FileKind::Directory,
        kind if kind.is_symlink() => FileKind::Symlink,
        kind if kind.is_char_device() => FileKind::CharDevice,
        kind if kind.is_block_device() => FileKind::BlockDevice,
        kind if kind.is_fifo() => FileKind::Fifo,
        _ => FileKind::Socket,
    }
}
