//! The answers in the form of the traditional o2info.

use std::fmt::Write as _;
use std::io::Write;

use ocfs2_format::FileKind;

use crate::text::{Clock, People, kind_name, permissions, printable};
use crate::ui::Ui;

use super::Operation;
use super::source::{FileInfo, FreeInfo, SlotInodes, Source, UsageInfo, VolumeInfo};

/// Shows the answer to one operation.
pub(super) fn operation(
    operation: Operation,
    source: &Source,
    info: &VolumeInfo,
    file: Option<&FileInfo>,
    ui: &mut Ui,
) -> anyhow::Result<()> {
    match operation {
        Operation::Features => {
            for line in wrapped("", &info.features) {
                writeln!(ui, "{line}")?;
            }
        }
        Operation::Volume => volume(info, ui)?,
        Operation::Mkfs => writeln!(ui, "{}", mkfs_options(source, info)?)?,
        Operation::FreeInodes => free_inodes(&source.free_inodes()?, ui)?,
        Operation::FreeSpace(kib) => free_space(&source.free_space(kib, info)?, info, ui)?,
        Operation::SpaceUsage => {
            if let Some(file) = file {
                let UsageInfo {
                    sectors,
                    shared,
                    unwritten,
                    holes,
                    ..
                } = file.usage;
                writeln!(
                    ui,
                    "Blocks: {sectors:<10} Shared: {shared:<10}\tUnwritten: {unwritten:<7} Holes: {holes:<6}"
                )?;
            }
        }
        Operation::File => {
            if let Some(file) = file {
                file_stat(file, info, ui)?;
            }
        }
    }
    Ok(())
}

/// The options of mkfs.ocfs2 that make such a volume.
pub(super) fn mkfs_options(source: &Source, info: &VolumeInfo) -> anyhow::Result<String> {
    let mut options = format!("-N {} ", info.node_slots);
    // Writing to a string cannot fail.
    if let Some(bytes) = source.journal_size()? {
        let _ = write!(options, "-J size={bytes} ");
    }
    let _ = write!(options, "-b {} -C {} ", info.block_size, info.cluster_size);
    let _ = write!(options, "--fs-features {} ", info.features.join(","));
    if info.label.is_empty() {
        options.push(' ');
    } else {
        let _ = write!(options, "-L {} ", printable(info.label.as_bytes()));
    }
    Ok(options)
}

/// Words in lines of at most 80 columns that begin with `head`; each word is followed by a blank.
fn wrapped(head: &str, words: &[&str]) -> Vec<String> {
    const COLUMNS: usize = 80;
    let mut lines = Vec::new();
    let mut line = head.to_owned();
    for word in words {
        if line.len() + word.len() + 1 > COLUMNS && line.len() > head.len() {
            lines.push(std::mem::replace(&mut line, head.to_owned()));
        }
        line.push_str(word);
        line.push(' ');
    }
    lines.push(line);
    lines
}

fn volume(info: &VolumeInfo, ui: &mut Ui) -> anyhow::Result<()> {
    writeln!(ui, "       Label: {}", printable(info.label.as_bytes()))?;
    writeln!(ui, "        UUID: {}", info.uuid)?;
    writeln!(ui, "  Block Size: {}", info.block_size)?;
    writeln!(ui, "Cluster Size: {}", info.cluster_size)?;
    writeln!(ui, "  Node Slots: {}", info.node_slots)?;
    for line in wrapped("    Features: ", &info.features) {
        writeln!(ui, "{line}")?;
    }
    Ok(())
}

fn free_inodes(slots: &[SlotInodes], ui: &mut Ui) -> anyhow::Result<()> {
    writeln!(ui, "Slot\t\tSpace\t\tFree")?;
    for SlotInodes { slot, total, free } in slots {
        writeln!(ui, "{slot:3}\t{total:13}\t{free:12}")?;
    }
    let sum = |field: fn(&SlotInodes) -> u64| slots.iter().map(field).fold(0, u64::saturating_add);
    writeln!(ui, "Total\t{:13}\t{:12}", sum(|slot| slot.total), sum(|slot| slot.free))?;
    Ok(())
}

fn free_space(space: &FreeInfo, info: &VolumeInfo, ui: &mut Ui) -> anyhow::Result<()> {
    let kib = |clusters: u64| clusters.saturating_mul(info.cluster_size >> 10);
    let percent = |part: u64, whole: u64| {
        if whole == 0 {
            0.0
        } else {
            part as f64 * 100.0 / whole as f64
        }
    };
    writeln!(ui, "Blocksize: {} bytes", info.block_size)?;
    writeln!(ui, "Clustersize: {} bytes", info.cluster_size)?;
    writeln!(ui, "Total clusters: {}", space.total_clusters)?;
    let free = percent(space.free_clusters, space.total_clusters);
    writeln!(ui, "Free clusters: {} ({free:.1}%)\n", space.free_clusters)?;
    writeln!(ui, "Min. free extent: {} KB ", kib(space.shortest_clusters))?;
    writeln!(ui, "Max. free extent: {} KB", kib(space.longest_clusters))?;
    let average = space.free_clusters.checked_div(space.extents).unwrap_or(0);
    writeln!(ui, "Avg. free extent: {} KB\n", kib(average))?;
    if let Some(chunks) = space.chunks {
        writeln!(
            ui,
            "Chunksize: {} bytes ({} clusters)",
            chunks.bytes,
            chunks.bytes / info.cluster_size
        )?;
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
    for class in &space.histogram {
        let share = percent(class.clusters, space.free_clusters);
        let range = size_range(class.from_bytes);
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

/// Everything about a file, in the form of stat(1) with lines of our own.
fn file_stat(file: &FileInfo, info: &VolumeInfo, ui: &mut Ui) -> anyhow::Result<()> {
    let stat = &file.stat;
    let UsageInfo {
        sectors,
        clusters,
        extents,
        shared,
        unwritten,
        holes,
        xattr,
        fragmentation,
        score,
    } = file.usage;
    let mut name = printable(&stat.name).into_owned();
    if let Some(target) = &stat.link {
        let _ = write!(name, " -> {}", printable(target));
    }
    let kind = match stat.kind {
        FileKind::Regular if stat.size == 0 => "regular empty file",
        FileKind::Symlink if clusters == 0 => "fast symbolic link",
        kind => kind_name(kind),
    };
    writeln!(ui, "  File: {name}")?;
    writeln!(
        ui,
        "  Size: {:<10}\tBlocks: {sectors:<10} IO Block: {:<6} {kind}",
        stat.size, info.block_size
    )?;
    let device = stat.device;
    writeln!(
        ui,
        "Device: {device:x}h/{device}d\tInode: {:<11} Links: {}",
        stat.number, stat.links
    )?;
    writeln!(
        ui,
        " Frag%: {fragmentation:<10.2}\tClusters: {clusters:<8} Extents: {extents:<6} Score: {score:.0}"
    )?;
    writeln!(
        ui,
        "Shared: {shared:<10}\tUnwritten: {unwritten:<7} Holes: {holes:<8} Xattr: {xattr}"
    )?;
    let people = People::default();
    let owner = |id: u32, name: Option<String>| format!("{id:5}/{:>8}", name.unwrap_or_else(|| "UNKNOWN".to_owned()));
    writeln!(
        ui,
        "Access: ({:04o}/{})  Uid: ({})   Gid: ({})",
        stat.mode & 0o7777,
        permissions(stat.kind, stat.mode),
        owner(stat.uid, people.user(stat.uid)),
        owner(stat.gid, people.group(stat.gid))
    )?;
    let clock = Clock::default();
    for (what, time) in ["Access", "Modify", "Change"].into_iter().zip(stat.times) {
        writeln!(ui, "{what}: {}", clock.full(time))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{size_range, wrapped};

    #[test]
    fn ranges_name_the_largest_unit_that_divides_them() {
        assert_eq!(size_range(4096), "    4K...    8K-");
        assert_eq!(size_range(512 << 10), "  512K... 1024K-");
        assert_eq!(size_range(1 << 20), "    1M...    2M-");
        assert_eq!(size_range(1 << 40), "    1T...    2T-");
    }

    #[test]
    fn lines_have_at_most_80_columns_and_no_word_is_lost() {
        let words = ["x".repeat(30), "y".repeat(30), "z".repeat(90), "w".to_owned()];
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let lines = wrapped("head: ", &words);
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0].len(), 6 + 31 + 31);
        assert_eq!(lines.concat().replace("head: ", ""), words.join(" ") + " ");
    }
}
