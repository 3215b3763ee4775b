//! A tour of the library: makes a volume in memory, opens it, and shows what is there.
//!
//!     cargo run --release --example tour            # a new 2 GiB volume in memory
//!     cargo run --release --example tour -- san.img # the same look at a volume of yours; nothing is written

use std::error::Error;
use std::sync::Arc;

use ocfs2_format::device::{self, BlockDevice, FileOptions, MemDevice};
use ocfs2_format::{FileKind, SlotNum, SystemFile};
use ocfs2_fs::mkfs::{self, MkfsOptions, MountMode, Plan};
use ocfs2_fs::{OpenOptions, Volume};

fn main() -> Result<(), Box<dyn Error>> {
    let device = match std::env::args_os().nth(1) {
        Some(path) => device::open(path, &FileOptions::new(), None)?,
        None => new_volume()?,
    };
    let volume = Volume::open(device, &OpenOptions::default())?;

    let geometry = volume.geometry();
    println!("label      {}", volume.superblock().label().escape_ascii());
    println!("uuid       {}", volume.superblock().uuid_text());
    println!("features   {}", geometry.features);
    println!(
        "size       {} MiB in {} clusters of {} KiB, blocks of {} bytes",
        geometry.bytes() >> 20,
        geometry.clusters,
        geometry.cluster_size() >> 10,
        geometry.block_size()
    );
    let space = volume.space()?;
    println!("in use     {} of {} clusters", space.used, space.total);
    let groups = volume
        .groups(&volume.global_bitmap()?)?
        .collect::<Result<Vec<_>, _>>()?;
    let longest = groups
        .iter()
        .flat_map(|group| group.free_runs())
        .map(|(_, len)| len)
        .max();
    println!(
        "groups     {}, longest free run {} clusters",
        groups.len(),
        longest.unwrap_or(0)
    );

    println!("\nslots");
    let nodes = volume.slot_map()?;
    for journal in volume.journals()? {
        let state = if journal.dirty { "dirty" } else { "clean" };
        let node = nodes
            .node(journal.slot)
            .map_or("free".to_owned(), |node| format!("node {node}"));
        println!(
            "  {}: {node}, journal of {} MiB, {state}",
            journal.slot,
            journal.size >> 20
        );
    }

    println!("\nsystem directory");
    for file in SystemFile::all().filter(|file| file.exists_with(geometry.features)) {
        let inode = volume.inode(volume.system_file(file, SlotNum(0))?)?;
        println!(
            "  {:<20} inode {:<6} {:>12} bytes",
            file.name(SlotNum(0)),
            inode.number(),
            inode.size()
        );
    }

    println!("\nfiles");
    for entry in volume.walk("/")? {
        let entry = entry?;
        let slash = if entry.depth > 0 && entry.inode.kind() == FileKind::Directory {
            "/"
        } else {
            ""
        };
        println!(
            "  {:o} {:>12} {}{slash}",
            entry.inode.mode(),
            entry.inode.size(),
            entry.path.display()
        );
    }
    Ok(())
}

/// A volume in memory: 2 GiB long, and as large as what mkfs writes to it.
fn new_volume() -> Result<Arc<dyn BlockDevice>, Box<dyn Error>> {
    let device = MemDevice::new(2 << 30);
    let mut options = MkfsOptions::default();
    options.mount = MountMode::Local;
    options.label = "tour".into();
    let plan = Plan::new(device.geometry().len, &options)?;
    mkfs::format(&device, &plan, &mut |_| {})?;
    println!(
        "made a volume of {} MiB; {} KiB of it written\n",
        plan.geometry().bytes() >> 20,
        device.allocated() >> 10
    );
    Ok(Arc::new(device))
}
