//! Inodes.

use std::io::{self, Write};

use ocfs2_format::{Dinode, DynFeatures, FileKind, Geometry, InodeFlags, JournalFlags, SlotNum};
use ocfs2_fs::inspect::Raw;
use serde_json::{Value, json};

use super::{Local, check, check_json, extents, set, set_text, superblock, words};

/// Words for `i_flags`.
const FLAGS: &[(u32, &str)] = &[
    (0x0001, "Valid"),
    (0x0002, "Unused2"),
    (0x0004, "Orphan"),
    (0x0008, "Unused3"),
    (0x0010, "System"),
    (0x0020, "Superblock"),
    (0x0040, "Localalloc"),
    (0x0080, "Allocbitmap"),
    (0x0100, "Journal"),
    (0x0200, "Heartbeat"),
    (0x0400, "Chain"),
    (0x0800, "Dealloc"),
];

/// Words for `i_dyn_features`.
const DYN_FEATURES: &[(u32, &str)] = &[
    (0x01, "InlineData"),
    (0x02, "HasXattr"),
    (0x04, "InlineXattr"),
    (0x08, "IndexedDir"),
    (0x10, "Refcounted"),
];

/// Which part of an inode holds its contents, going by its flags alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Arm {
    SuperBlock,
    LocalAlloc,
    Chains,
    TruncateLog,
    Inline,
    FastSymlink,
    Extents,
}

impl Arm {
    /// The arm of an inode. Never fails: what is no other is a list of extents.
    pub(in super::super) fn of(dinode: &Dinode) -> Self {
        let flags = dinode.flags();
        if flags.contains(InodeFlags::SUPER_BLOCK) {
            Self::SuperBlock
        } else if flags.contains(InodeFlags::LOCAL_ALLOC) {
            Self::LocalAlloc
        } else if flags.contains(InodeFlags::CHAIN) {
            Self::Chains
        } else if flags.contains(InodeFlags::DEALLOC) {
            Self::TruncateLog
        } else if dinode.dyn_features().contains(DynFeatures::INLINE_DATA) {
            Self::Inline
        } else if dinode.kind() == Some(FileKind::Symlink) && dinode.i_clusters.get() == 0 {
            Self::FastSymlink
        } else {
            Self::Extents
        }
    }
}

/// Everything that all inodes have.
pub(in super::super) fn fields(
    out: &mut dyn Write,
    dinode: &Raw<Dinode>,
    geometry: &Geometry,
    local: &Local,
) -> io::Result<()> {
    let generation = dinode.i_generation.get();
    writeln!(
        out,
        "\tInode: {}   Mode: 0{:o}   Generation: {generation} ({generation:#x})",
        dinode.i_blkno,
        // The reference shows no other bits; `ls -l` does.
        dinode.i_mode.get() & 0o777
    )?;
    let generation = dinode.i_fs_generation.get();
    writeln!(out, "\tFS Generation: {generation} ({generation:#x})")?;
    check(out, &dinode.i_check, dinode.check_state(geometry))?;
    writeln!(
        out,
        "\tType: {}   Attr: {:#x}   Flags: {}",
        type_name(dinode),
        dinode.i_attr.get(),
        words(dinode.i_flags.get(), FLAGS)
    )?;
    let features = dinode.i_dyn_features.get();
    writeln!(
        out,
        "\tDynamic Features: ({features:#x}) {}",
        words(features.into(), DYN_FEATURES)
    )?;
    if dinode.dyn_features().contains(DynFeatures::HAS_XATTR) {
        writeln!(
            out,
            "\tExtended Attributes Block: {}  Extended Attributes Inline Size: {}",
            dinode.i_xattr_loc, dinode.i_xattr_inline_size
        )?;
    }
    let (uid, gid) = (dinode.i_uid.get(), dinode.i_gid.get());
    writeln!(
        out,
        "\tUser: {} ({})   Group: {} ({})   Size: {}",
        // The reference prints these as signed numbers.
        uid.cast_signed(),
        local.user(uid),
        gid.cast_signed(),
        local.group(gid),
        dinode.i_size
    )?;
    writeln!(out, "\tLinks: {}   Clusters: {}", dinode.links(), dinode.i_clusters)?;
    for (name, seconds, nanos) in [
        ("ctime", dinode.i_ctime.get(), dinode.i_ctime_nsec.get()),
        ("atime", dinode.i_atime.get(), dinode.i_atime_nsec.get()),
        ("mtime", dinode.i_mtime.get(), dinode.i_mtime_nsec.get()),
    ] {
        let start = local.time(seconds, "%a %b %e %H:%M:%S");
        let year = local.time(seconds, "%Y");
        // The reference does not pad the fraction; the hexadecimal number is the one to use.
        writeln!(out, "\t{name}: {seconds:#x} {nanos:#x} -- {start}.{nanos} {year}")?;
    }
    let dtime = dinode.i_dtime.get();
    writeln!(out, "\tdtime: {dtime:#x} -- {}", local.ctime(dtime))?;
    writeln!(out, "\tRefcount Block: {}", dinode.i_refcount_loc)?;
    writeln!(
        out,
        "\tLast Extblk: {}   Orphan Slot: {}",
        dinode.i_last_eb_blk, dinode.i_orphaned_slot
    )?;
    let slot = match SlotNum(dinode.i_suballoc_slot.get()) {
        SlotNum::INVALID => "Global".to_owned(),
        slot => slot.to_string(),
    };
    write!(
        out,
        "\tSub Alloc Slot: {slot}   Sub Alloc Bit: {}",
        dinode.i_suballoc_bit
    )?;
    if dinode.i_suballoc_loc.get() != 0 {
        write!(out, "   Sub Alloc Group {}", dinode.i_suballoc_loc)?;
    }
    writeln!(out)?;
    if dinode.flags().contains(InodeFlags::JOURNAL) {
        let journal = dinode.journal();
        let dirty = JournalFlags::from_bits_retain(journal.ij_flags.get()).contains(JournalFlags::DIRTY);
        writeln!(out, "\tJournal Flags: {}", if dirty { "Dirty " } else { "" })?;
        writeln!(out, "\tRecovery Generation: {}", journal.ij_recovery_generation)?;
    }
    if dinode.flags().contains(InodeFlags::BITMAP) {
        let counts = dinode.bitmap();
        let (total, used) = (counts.i_total.get(), counts.i_used.get());
        let free = total.wrapping_sub(used);
        writeln!(out, "\tBitmap Total: {total}   Used: {used}   Free: {free}")?;
    }
    if dinode.dyn_features().contains(DynFeatures::INLINE_DATA) {
        writeln!(out, "\tInline Data Max: {}", dinode.inline_data().id_count)?;
    }
    if dinode.dyn_features().contains(DynFeatures::INDEXED_DIR) {
        writeln!(out, "\tIndexed Tree Root: {}", dinode.i_dx_root)?;
    }
    Ok(())
}

/// The contents of an inode, as far as they are in its block.
pub(in super::super) fn contents(out: &mut dyn Write, dinode: &Dinode) -> io::Result<()> {
    match Arm::of(dinode) {
        Arm::SuperBlock | Arm::Inline => Ok(()),
        Arm::LocalAlloc => {
            let local = dinode.local_alloc();
            writeln!(
                out,
                "\tLocal Bitmap Offset: {}   Size: {}",
                local.la_bm_off, local.la_size
            )
        }
        Arm::Chains => {
            let list = dinode.chain_list();
            writeln!(
                out,
                "\tClusters per Group: {}   Bits per Cluster: {}",
                list.cl_cpg, list.cl_bpc
            )?;
            writeln!(
                out,
                "\tCount: {}   Next Free Rec: {}",
                list.cl_count, list.cl_next_free_rec
            )?;
            if list.cl_next_free_rec.get() == 0 {
                return Ok(());
            }
            writeln!(out, "\t##   {:<10}   {:<10}   {:<10}   Block#", "Total", "Used", "Free")?;
            for (index, rec) in list.chains().iter().enumerate() {
                let (total, free) = (rec.c_total.get(), rec.c_free.get());
                let used = total.wrapping_sub(free);
                writeln!(
                    out,
                    "\t{index:<2}   {total:<10}   {used:<10}   {free:<10}   {}",
                    rec.c_blkno
                )?;
            }
            Ok(())
        }
        Arm::TruncateLog => {
            let log = dinode.truncate_log();
            writeln!(out, "\tTotal Records: {}   Used: {}", log.tl_count, log.tl_used)?;
            writeln!(out, "\t##   {:<10}   {:<10}", "Start Cluster", "Num Clusters")?;
            for (index, rec) in log.records().iter().enumerate() {
                let (start, clusters) = (rec.t_start.get(), rec.t_clusters.get());
                writeln!(out, "\t{index:<2}   {start:<10}   {clusters:<10}")?;
            }
            Ok(())
        }
        Arm::FastSymlink => {
            out.write_all(b"\tFast Symlink Destination: ")?;
            out.write_all(link_target(dinode))?;
            writeln!(out)
        }
        Arm::Extents => extents::list(out, dinode.extent_list()),
    }
}

/// An inode in JSON, with its contents as far as they are in its block.
pub(in super::super) fn json(dinode: &Raw<Dinode>, geometry: &Geometry, local: &Local) -> Value {
    let (uid, gid) = (dinode.i_uid.get(), dinode.i_gid.get());
    let mut object = json!({
        "i_blkno": dinode.i_blkno.get(),
        "type": type_name(dinode),
        "i_mode": dinode.i_mode.get(),
        "i_generation": dinode.i_generation.get(),
        "i_fs_generation": dinode.i_fs_generation.get(),
        "i_check": check_json(&dinode.i_check, dinode.check_state(geometry)),
        "i_attr": dinode.i_attr.get(),
        "i_flags": dinode.i_flags.get(),
        "flags": word_list(dinode.i_flags.get(), FLAGS),
        "i_dyn_features": dinode.i_dyn_features.get(),
        "dyn_features": word_list(dinode.i_dyn_features.get().into(), DYN_FEATURES),
        "i_xattr_loc": dinode.i_xattr_loc.get(),
        "i_xattr_inline_size": dinode.i_xattr_inline_size.get(),
        "i_uid": uid,
        "user": local.user(uid),
        "i_gid": gid,
        "group": local.group(gid),
        "i_size": dinode.i_size.get(),
        "links": dinode.links(),
        "i_clusters": dinode.i_clusters.get(),
        "i_ctime": dinode.i_ctime.get().cast_signed(),
        "i_ctime_nsec": dinode.i_ctime_nsec.get(),
        "i_atime": dinode.i_atime.get().cast_signed(),
        "i_atime_nsec": dinode.i_atime_nsec.get(),
        "i_mtime": dinode.i_mtime.get().cast_signed(),
        "i_mtime_nsec": dinode.i_mtime_nsec.get(),
        "i_dtime": dinode.i_dtime.get().cast_signed(),
        "i_refcount_loc": dinode.i_refcount_loc.get(),
        "i_last_eb_blk": dinode.i_last_eb_blk.get(),
        "i_orphaned_slot": dinode.i_orphaned_slot.get(),
        "i_suballoc_slot": dinode.i_suballoc_slot.get(),
        "i_suballoc_bit": dinode.i_suballoc_bit.get(),
        "i_suballoc_loc": dinode.i_suballoc_loc.get(),
        "i_dx_root": dinode.i_dx_root.get(),
    });
    if dinode.kind().is_some_and(FileKind::is_device) {
        set(&mut object, "i_rdev", dinode.rdev());
    }
    if dinode.flags().contains(InodeFlags::JOURNAL) {
        let journal = dinode.journal();
        set(&mut object, "ij_flags", journal.ij_flags.get());
        set(
            &mut object,
            "ij_recovery_generation",
            journal.ij_recovery_generation.get(),
        );
    }
    if dinode.flags().contains(InodeFlags::BITMAP) {
        set(&mut object, "i_total", dinode.bitmap().i_total.get());
        set(&mut object, "i_used", dinode.bitmap().i_used.get());
    }
    set_contents(&mut object, dinode);
    object
}

fn set_contents(object: &mut Value, dinode: &Dinode) {
    match Arm::of(dinode) {
        Arm::SuperBlock => set(object, "super", superblock::fields_json(dinode.super_block())),
        Arm::LocalAlloc => {
            let local = dinode.local_alloc();
            let value = json!({ "la_bm_off": local.la_bm_off.get(), "la_size": local.la_size.get() });
            set(object, "local_alloc", value);
        }
        Arm::Chains => {
            let list = dinode.chain_list();
            let chains = list.chains().iter().map(
                |rec| json!({ "c_total": rec.c_total.get(), "c_free": rec.c_free.get(), "c_blkno": rec.c_blkno.get() }),
            );
            let value = json!({
                "cl_cpg": list.cl_cpg.get(),
                "cl_bpc": list.cl_bpc.get(),
                "cl_count": list.cl_count.get(),
                "cl_next_free_rec": list.cl_next_free_rec.get(),
                "cl_recs": chains.collect::<Vec<_>>(),
            });
            set(object, "chain_list", value);
        }
        Arm::TruncateLog => {
            let log = dinode.truncate_log();
            let records = log.records().iter();
            let records =
                records.map(|rec| json!({ "t_start": rec.t_start.get(), "t_clusters": rec.t_clusters.get() }));
            let value = json!({
                "tl_count": log.tl_count.get(),
                "tl_used": log.tl_used.get(),
                "tl_recs": records.collect::<Vec<_>>(),
            });
            set(object, "truncate_log", value);
        }
        Arm::Inline => set(object, "id_count", dinode.inline_data().id_count.get()),
        Arm::FastSymlink => set_text(object, "target", link_target(dinode)),
        Arm::Extents => set(object, "extent_list", extents::list_json(dinode.extent_list())),
    }
}

fn word_list(bits: u32, names: &'static [(u32, &'static str)]) -> Vec<&'static str> {
    names
        .iter()
        .filter(|(bit, _)| bits & bit != 0)
        .map(|(_, name)| *name)
        .collect()
}

fn type_name(dinode: &Dinode) -> &'static str {
    match dinode.kind() {
        Some(FileKind::Regular) => "Regular",
        Some(FileKind::Directory) => "Directory",
        Some(FileKind::CharDevice) => "Char Device",
        Some(FileKind::BlockDevice) => "Block Device",
        Some(FileKind::Fifo) => "FIFO",
        Some(FileKind::Symlink) => "Symbolic Link",
        Some(FileKind::Socket) => "Socket",
        None => "Unknown",
    }
}

/// The target of a fast symlink, up to its NUL or the end of the block.
fn link_target(dinode: &Dinode) -> &[u8] {
    let area = dinode.symlink_area();
    let end = area.iter().position(|&byte| byte == 0).unwrap_or(area.len());
    &area[..end]
}
