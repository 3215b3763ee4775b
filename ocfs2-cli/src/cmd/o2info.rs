//! `o2info`: what a volume, or a file on it, is like.

use std::fmt::Write as _;
use std::io::Write;

use anyhow::{Context, bail};
use ocfs2_format::{Features, FileKind, SlotNum, SystemFile};
use ocfs2_fs::{FileUsage, FreeSpace, Inode, Volume};
use serde::Serialize;

use crate::cmd::Run;
use crate::exit::Exit;
use crate::target::{ImageArgs, Images, Target};
use crate::text::{Clock, People, kind_name, permissions, printable};
use crate::ui::{OutputArgs, Ui, usage_error};

/// Show features, layout and free space of a volume, or the space use of a file on it
///
/// Operations may be combined; each runs in turn. Files are named as IMAGE:/path: the volume need not be mounted.
#[derive(Debug, clap::Parser)]
#[command(
    after_help = "Examples:\n  o2info --volinfo disk.img\n  o2info --freefrag 64 /dev/sdb1\n  \
                        o2info --filestat disk.img:/vm/root.qcow2"
)]
#[expect(clippy::struct_excessive_bools, reason = "each operation is a switch of its own")]
pub(crate) struct Args {
    /// Image file or device, or a file on it
    #[arg(value_name = "IMAGE[:/PATH]")]
    target: Target,
    /// Accepted for scripts; a volume that is not mounted has no cluster locks to take
    #[arg(short = 'C', long)]
    cluster_coherent: bool,
    /// List the features of the volume
    #[arg(long)]
    fs_features: bool,
    /// Show label, UUID, sizes, node slots and features
    #[arg(long)]
    volinfo: bool,
    /// Show the options of mkfs.ocfs2 that would make such a volume
    #[arg(long)]
    mkfs: bool,
    /// Show how many inodes each slot has free
    #[arg(long)]
    freeinode: bool,
    /// Show the pieces that the free space is in; counts aligned chunks of so many KiB too, 0 for none
    #[arg(long, value_name = "KIB")]
    freefrag: Option<u64>,
    /// Show the space that a file takes
    #[arg(long)]
    space_usage: bool,
    /// Show everything about a file
    #[arg(long)]
    filestat: bool,
    #[command(flatten)]
    image: ImageArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// The answers to all operations asked for.
#[derive(Debug, Default, Serialize)]
struct Report {
    #[serde(skip_serializing_if = "Option::is_none")]
    fs_features: Option<Vec<&'static str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    volinfo: Option<VolumeInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mkfs: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    freeinode: Option<Vec<SlotInodes>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    freefrag: Option<FreeReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    space_usage: Option<UsageReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filestat: Option<FileReport>,
}

#[derive(Debug, Serialize)]
struct VolumeInfo {
    label: String,
    uuid: String,
    block_size: usize,
    cluster_size: u64,
    node_slots: u16,
    features: Vec<&'static str>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct SlotInodes {
    slot: u16,
    total: u32,
    free: u32,
}

#[derive(Debug, Serialize)]
struct FreeReport {
    total_clusters: u64,
    free_clusters: u64,
    extents: u64,
    shortest_clusters: u64,
    longest_clusters: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    chunks: Option<ChunkReport>,
    histogram: Vec<ClassReport>,
}

#[derive(Debug, Serialize)]
struct ChunkReport {
    bytes: u64,
    total: u64,
    free: u64,
}

#[derive(Debug, Serialize)]
struct ClassReport {
    from_bytes: u64,
    extents: u64,
    clusters: u64,
}

#[derive(Debug, Serialize)]
struct UsageReport {
    sectors: u64,
    clusters: u64,
    extents: u64,
    shared: u64,
    unwritten: u64,
    holes: u64,
    xattr: u64,
    fragmentation: f64,
    score: f64,
}

#[derive(Debug, Serialize)]
struct FileReport {
    #[serde(flatten)]
    inode: crate::report::InodeReport,
    usage: UsageReport,
}

impl Run for Args {
    fn run(self, ui: &mut Ui) -> anyhow::Result<Exit> {
        if !self.asks_for_volume() && !self.asks_for_file() {
            return Err(usage_error("no operation asked for"));
        }
        let mut images = Images::new(self.image.clone());
        let volume = images.volume(&self.target)?;
        if let Some(kib) = self.freefrag {
            let cluster_kib = volume.geometry().cluster_size() >> 10;
            if kib != 0 && (!kib.is_power_of_two() || kib < cluster_kib) {
                ui.problem(format_args!(
                    "--freefrag: {kib} KiB is no chunk size: a power of two of at least {cluster_kib} KiB (a cluster) is"
                ));
                return Ok(Exit::from(255));
            }
        }
        let inode = if self.asks_for_file() {
            Some(self.file(&volume)?)
        } else {
            None
        };
        let context = || self.target.image.display().to_string();
        if ui.is_json() {
            ui.document(&self.report(&volume, inode.as_ref()).with_context(context)?)?;
        } else {
            self.print(&volume, inode.as_ref(), ui).with_context(context)?;
        }
        images.report_corrections(ui);
        Ok(Exit::OK)
    }
}

impl Args {
    fn asks_for_volume(&self) -> bool {
        self.fs_features || self.volinfo || self.mkfs || self.freeinode || self.freefrag.is_some()
    }

    fn asks_for_file(&self) -> bool {
        self.space_usage || self.filestat
    }

    fn file(&self, volume: &Volume) -> anyhow::Result<Inode> {
        let inode = self.target.resolve(volume, false)?;
        match inode.kind() {
            FileKind::Regular | FileKind::Directory | FileKind::Symlink => Ok(inode),
            other => bail!("{}: a {} takes no space of its own", self.target, kind_name(other)),
        }
    }

    /// Clusters of a chunk.
    fn chunk(&self, volume: &Volume) -> Option<u64> {
        let kib = self.freefrag.filter(|&kib| kib != 0)?;
        Some((kib << 10) >> volume.geometry().cluster_size_bits)
    }

    fn report(&self, volume: &Volume, inode: Option<&Inode>) -> anyhow::Result<Report> {
        let geometry = volume.geometry();
        let features = || feature_names(geometry.features);
        let mut report = Report {
            fs_features: self.fs_features.then(features),
            volinfo: self.volinfo.then(|| VolumeInfo {
                label: String::from_utf8_lossy(volume.superblock().label()).into_owned(),
                uuid: volume.superblock().uuid_text(),
                block_size: geometry.block_size(),
                cluster_size: geometry.cluster_size(),
                node_slots: geometry.max_slots,
                features: features(),
            }),
            ..Report::default()
        };
        if self.mkfs {
            report.mkfs = Some(mkfs_options(volume)?.trim_end().to_owned());
        }
        if self.freeinode {
            report.freeinode = Some(free_inodes(volume)?);
        }
        if self.freefrag.is_some() {
            let space = volume.free_space(self.chunk(volume))?;
            report.freefrag = Some(FreeReport::new(&space, geometry.cluster_size()));
        }
        if let Some(inode) = inode {
            let usage = || Ok::<_, anyhow::Error>(UsageReport::new(volume, inode, &volume.file_usage(inode)?));
            if self.space_usage {
                report.space_usage = Some(usage()?);
            }
            if self.filestat {
                let target = if inode.kind() == FileKind::Symlink {
                    Some(volume.link_target(inode)?)
                } else {
                    None
                };
                let inode = crate::report::InodeReport::new(inode, &People::default(), target.as_deref());
                report.filestat = Some(FileReport { inode, usage: usage()? });
            }
        }
        Ok(report)
    }

    fn print(&self, volume: &Volume, inode: Option<&Inode>, ui: &mut Ui) -> anyhow::Result<()> {
        let geometry = volume.geometry();
        if self.fs_features {
            for line in wrapped("", geometry.features) {
                writeln!(ui, "{line}")?;
            }
        }
        if self.volinfo {
            writeln!(ui, "       Label: {}", printable(volume.superblock().label()))?;
            writeln!(ui, "        UUID: {}", volume.superblock().uuid_text())?;
            writeln!(ui, "  Block Size: {}", geometry.block_size())?;
            writeln!(ui, "Cluster Size: {}", geometry.cluster_size())?;
            writeln!(ui, "  Node Slots: {}", geometry.max_slots)?;
            for line in wrapped("    Features: ", geometry.features) {
                writeln!(ui, "{line}")?;
            }
        }
        if self.mkfs {
            writeln!(ui, "{}", mkfs_options(volume)?)?;
        }
        if self.freeinode {
            let slots = free_inodes(volume)?;
            writeln!(ui, "Slot\t\tSpace\t\tFree")?;
            for SlotInodes { slot, total, free } in &slots {
                writeln!(ui, "{slot:3}\t{total:13}\t{free:12}")?;
            }
            let total: u64 = slots.iter().map(|slot| u64::from(slot.total)).sum();
            let free: u64 = slots.iter().map(|slot| u64::from(slot.free)).sum();
            writeln!(ui, "Total\t{total:13}\t{free:12}")?;
        }
        if self.freefrag.is_some() {
            print_free_space(ui, volume, &volume.free_space(self.chunk(volume))?)?;
        }
        let Some(inode) = inode else { return Ok(()) };
        let usage = volume.file_usage(inode)?;
        if self.space_usage {
            let FileUsage {
                shared,
                unwritten,
                holes,
                ..
            } = usage;
            let sectors = inode.sectors();
            writeln!(
                ui,
                "Blocks: {sectors:<10} Shared: {shared:<10}\tUnwritten: {unwritten:<7} Holes: {holes:<6}"
            )?;
        }
        if self.filestat {
            self.print_file(ui, volume, inode, &usage)?;
        }
        Ok(())
    }

    /// Everything about a file, in the form of stat(1) with lines of our own.
    fn print_file(&self, ui: &mut Ui, volume: &Volume, inode: &Inode, usage: &FileUsage) -> anyhow::Result<()> {
        let mut name = printable(&self.target.to_bytes()).into_owned();
        let mut kind = kind_name(inode.kind()).to_owned();
        if inode.kind() == FileKind::Symlink {
            let _ = write!(name, " -> {}", printable(&volume.link_target(inode)?));
            kind = if inode.clusters() == 0 {
                "fast symbolic link"
            } else {
                "symbolic link"
            }
            .to_owned();
        }
        let people = People::default();
        let id = |id: u32, name: Option<String>| format!("{id:5}/{:>8}", name.unwrap_or_else(|| "UNKNOWN".to_owned()));
        let times = Clock::default();
        let geometry = volume.geometry();
        writeln!(ui, "  File: {name}")?;
        let (size, sectors, io) = (inode.size(), inode.sectors(), geometry.cluster_size());
        writeln!(ui, "  Size: {size:<10}\tBlocks: {sectors:<10} IO Block: {io:<6} {kind}")?;
        writeln!(ui, "Inode: {:<11} Links: {}", inode.number().0, inode.links())?;
        let FileUsage {
            clusters,
            extents,
            shared,
            unwritten,
            holes,
            xattr,
        } = *usage;
        let (frag, score) = (usage.fragmentation(), usage.score(geometry.cluster_size()));
        writeln!(
            ui,
            " Frag%: {frag:<10.2}\tClusters: {clusters:<8} Extents: {extents:<6} Score: {score:.0}"
        )?;
        writeln!(
            ui,
            "Shared: {shared:<10}\tUnwritten: {unwritten:<7} Holes: {holes:<8} Xattr: {xattr}"
        )?;
        let mode = inode.mode() & 0o7777;
        let (uid, gid) = (inode.uid(), inode.gid());
        writeln!(
            ui,
            "Access: ({mode:04o}/{})  Uid: ({})   Gid: ({})",
            permissions(inode.kind(), mode),
            id(uid, people.user(uid)),
            id(gid, people.group(gid))
        )?;
        for (what, time) in [
            ("Access", inode.atime()),
            ("Modify", inode.mtime()),
            ("Change", inode.ctime()),
        ] {
            writeln!(ui, "{what}: {}", times.full(time))?;
        }
        Ok(())
    }
}

/// Names of features, set by set, as o2info orders them.
fn feature_names(features: Features) -> Vec<&'static str> {
    let sets = [
        Features {
            compat: features.compat,
            ..Features::NONE
        },
        Features {
            incompat: features.incompat,
            ..Features::NONE
        },
        Features {
            ro_compat: features.ro_compat,
            ..Features::NONE
        },
    ];
    sets.into_iter().flat_map(Features::names).collect()
}

/// The features in lines of at most 80 columns that begin with `head`; each word is followed by a blank.
fn wrapped(head: &str, features: Features) -> Vec<String> {
    const COLUMNS: usize = 80;
    let mut lines = vec![head.to_owned()];
    for name in feature_names(features) {
        let last = lines.last().expect("there is always a line");
        if last.len() + name.len() + 1 > COLUMNS && last.len() > head.len() {
            lines.push(head.to_owned());
        }
        let last = lines.last_mut().expect("there is always a line");
        last.push_str(name);
        last.push(' ');
    }
    lines
}

/// The options of mkfs.ocfs2 that make such a volume.
fn mkfs_options(volume: &Volume) -> anyhow::Result<String> {
    let geometry = volume.geometry();
    let mut options = format!("-N {} ", geometry.max_slots);
    if !geometry.features.heartbeat_device() {
        let journal = volume.inode(volume.system_file(SystemFile::Journal, SlotNum(0))?)?;
        let _ = write!(options, "-J size={} ", journal.size());
    }
    let _ = write!(options, "-b {} -C {} ", geometry.block_size(), geometry.cluster_size());
    let _ = write!(options, "--fs-features {} ", feature_names(geometry.features).join(","));
    let label = volume.superblock().label();
    if !label.is_empty() {
        let _ = write!(options, "-L {} ", printable(label));
    }
    Ok(options)
}

fn free_inodes(volume: &Volume) -> anyhow::Result<Vec<SlotInodes>> {
    let slot_inodes = |slot: SlotNum| {
        let counts = volume.allocator(&volume.inode(volume.system_file(SystemFile::InodeAlloc, slot)?)?)?;
        Ok(SlotInodes {
            slot: slot.0,
            total: counts.total,
            free: counts.free(),
        })
    };
    volume.slots().map(slot_inodes).collect()
}

fn print_free_space(ui: &mut Ui, volume: &Volume, space: &FreeSpace) -> anyhow::Result<()> {
    let geometry = volume.geometry();
    let kib = |clusters: u64| clusters * (geometry.cluster_size() >> 10);
    let percent = |part: u64, whole: u64| {
        if whole == 0 {
            0.0
        } else {
            part as f64 * 100.0 / whole as f64
        }
    };
    writeln!(ui, "Blocksize: {} bytes", geometry.block_size())?;
    writeln!(ui, "Clustersize: {} bytes", geometry.cluster_size())?;
    writeln!(ui, "Total clusters: {}", space.total_clusters)?;
    let free = percent(space.free_clusters, space.total_clusters);
    writeln!(ui, "Free clusters: {} ({free:.1}%)\n", space.free_clusters)?;
    writeln!(ui, "Min. free extent: {} KB ", kib(space.shortest))?;
    writeln!(ui, "Max. free extent: {} KB", kib(space.longest))?;
    writeln!(
        ui,
        "Avg. free extent: {} KB\n",
        kib(space.free_clusters.checked_div(space.extents).unwrap_or(0))
    )?;
    if let Some(chunks) = space.chunks {
        let bytes = chunks.clusters << geometry.cluster_size_bits;
        writeln!(ui, "Chunksize: {bytes} bytes ({} clusters)", chunks.clusters)?;
        writeln!(ui, "Total chunks: {}", chunks.total)?;
        writeln!(
            ui,
            "Free chunks: {} ({:.1}%)\n",
            chunks.free,
            percent(chunks.free, chunks.total)
        )?;
    }
    writeln!(ui, "HISTOGRAM OF FREE EXTENT SIZES:")?;
    writeln!(ui, "Extent Size Range :  Free extents  Free Clusters  Percent")?;
    for (power, class) in (0..).zip(&space.by_length).filter(|(_, class)| class.extents != 0) {
        let from = geometry.cluster_size() << power;
        let range = size_range(from);
        let share = percent(class.clusters, space.free_clusters);
        writeln!(
            ui,
            "{range}  :  {:12}  {:12}  {share:6.2}%",
            class.extents, class.clusters
        )?;
    }
    Ok(())
}

/// The sizes from a power of two to the next, in the largest unit that the lower one is a multiple of.
fn size_range(from: u64) -> String {
    let (unit, shift) = match from.trailing_zeros() {
        40.. => ('T', 40),
        30.. => ('G', 30),
        20.. => ('M', 20),
        _ => ('K', 10),
    };
    let lower = from >> shift;
    format!("{lower:>5}{unit}...{:>5}{unit}-", lower << 1)
}

impl FreeReport {
    fn new(space: &FreeSpace, cluster_size: u64) -> Self {
        Self {
            total_clusters: space.total_clusters,
            free_clusters: space.free_clusters,
            extents: space.extents,
            shortest_clusters: space.shortest,
            longest_clusters: space.longest,
            chunks: space.chunks.map(|chunks| ChunkReport {
                bytes: chunks.clusters * cluster_size,
                total: chunks.total,
                free: chunks.free,
            }),
            histogram: (0..)
                .zip(&space.by_length)
                .filter(|(_, class)| class.extents != 0)
                .map(|(power, class)| ClassReport {
                    from_bytes: cluster_size << power,
                    extents: class.extents,
                    clusters: class.clusters,
                })
                .collect(),
        }
    }
}

impl UsageReport {
    fn new(volume: &Volume, inode: &Inode, usage: &FileUsage) -> Self {
        let FileUsage {
            clusters,
            extents,
            shared,
            unwritten,
            holes,
            xattr,
        } = *usage;
        Self {
            sectors: inode.sectors(),
            clusters,
            extents,
            shared,
            unwritten,
            holes,
            xattr,
            fragmentation: usage.fragmentation(),
            score: usage.score(volume.geometry().cluster_size()),
        }
    }
}
