//! The fields of the superblock.

use std::io::{self, Write};

use ocfs2_format::{StackFlags, SuperBlock, TunefsFlags};
use serde_json::{Value, json};

use super::{Local, set, set_text, words};

/// Words of `s_tunefs_flag`.
const TUNEFS: &[(u32, &str)] = &[
    (TunefsFlags::REMOVE_SLOT.bits() as u32, "remove-slot"),
    (TunefsFlags::DIR_TRAILER.bits() as u32, "dir-trailer"),
];

/// The superblock's own fields, without those it has as an inode.
pub(in super::super) fn fields(out: &mut dyn Write, sb: &SuperBlock, local: &Local) -> io::Result<()> {
    let features = sb.features();
    let [compat, incompat, ro_compat] = features.sets();
    writeln!(out, "\tRevision: {}.{}", sb.s_major_rev_level, sb.s_minor_rev_level)?;
    writeln!(
        out,
        "\tMount Count: {}   Max Mount Count: {}",
        sb.s_mnt_count, sb.s_max_mnt_count
    )?;
    writeln!(out, "\tState: {}   Errors: {}", sb.s_state, sb.s_errors)?;
    writeln!(
        out,
        "\tCheck Interval: {}   Last Check: {}",
        sb.s_checkinterval,
        local.ctime(sb.s_lastcheck.get())
    )?;
    writeln!(out, "\tCreator OS: {}", sb.s_creator_os)?;
    writeln!(out, "\tFeature Compat: {} {compat}", sb.s_feature_compat)?;
    writeln!(out, "\tFeature Incompat: {} {incompat}", sb.s_feature_incompat)?;
    let unfinished = words(sb.s_tunefs_flag.get().into(), TUNEFS);
    writeln!(
        out,
        "\tTunefs Incomplete: {} {}",
        sb.s_tunefs_flag,
        unfinished.trim_end()
    )?;
    writeln!(out, "\tFeature RO compat: {} {ro_compat}", sb.s_feature_ro_compat)?;
    writeln!(
        out,
        "\tRoot Blknum: {}   System Dir Blknum: {}",
        sb.s_root_blkno, sb.s_system_dir_blkno
    )?;
    writeln!(out, "\tFirst Cluster Group Blknum: {}", sb.s_first_cluster_group)?;
    writeln!(
        out,
        "\tBlock Size Bits: {}   Cluster Size Bits: {}",
        sb.s_blocksize_bits, sb.s_clustersize_bits
    )?;
    writeln!(out, "\tMax Node Slots: {}", sb.s_max_slots)?;
    writeln!(out, "\tExtended Attributes Inline Size: {}", sb.s_xattr_inline_size)?;
    out.write_all(b"\tLabel: ")?;
    out.write_all(sb.label())?;
    writeln!(out, "\n\tUUID: {}", sb.uuid_text())?;
    let hash = sb.s_uuid_hash.get();
    writeln!(out, "\tHash: {hash} ({hash:#x})")?;
    let [a, b, c] = sb.s_dx_seed.map(|seed| seed.get());
    writeln!(out, "\tDX Seeds: {a} {b} {c} ({a:#010x} {b:#010x} {c:#010x})")?;
    let cluster = &sb.s_cluster_info;
    if features.cluster_info() {
        out.write_all(b"\tCluster stack: ")?;
        out.write_all(cluster.stack())?;
        out.write_all(b"\n\tCluster name: ")?;
        out.write_all(cluster.cluster())?;
        writeln!(out)?;
    } else {
        writeln!(out, "\tCluster stack: classic o2cb")?;
    }
    let words = stack_words(cluster.flags());
    writeln!(out, "\tCluster flags: {} {words}", cluster.ci_stackflags)
}

/// The same in JSON.
pub(in super::super) fn fields_json(sb: &SuperBlock) -> Value {
    let mut object = json!({
        "s_major_rev_level": sb.s_major_rev_level.get(),
        "s_minor_rev_level": sb.s_minor_rev_level.get(),
        "s_mnt_count": sb.s_mnt_count.get(),
        "s_max_mnt_count": sb.s_max_mnt_count.get(),
        "s_state": sb.s_state.get(),
        "s_errors": sb.s_errors.get(),
        "s_checkinterval": sb.s_checkinterval.get(),
        "s_lastcheck": sb.s_lastcheck.get(),
        "s_creator_os": sb.s_creator_os.get(),
        "s_feature_compat": sb.s_feature_compat.get(),
        "s_feature_incompat": sb.s_feature_incompat.get(),
        "s_feature_ro_compat": sb.s_feature_ro_compat.get(),
        "features": sb.features().names().collect::<Vec<_>>(),
        "s_tunefs_flag": sb.s_tunefs_flag.get(),
        "s_root_blkno": sb.s_root_blkno.get(),
        "s_system_dir_blkno": sb.s_system_dir_blkno.get(),
        "s_first_cluster_group": sb.s_first_cluster_group.get(),
        "s_blocksize_bits": sb.s_blocksize_bits.get(),
        "s_clustersize_bits": sb.s_clustersize_bits.get(),
        "s_max_slots": sb.s_max_slots.get(),
        "s_xattr_inline_size": sb.s_xattr_inline_size.get(),
    });
    set_text(&mut object, "s_label", sb.label());
    set(&mut object, "s_uuid", sb.uuid_text());
    set(&mut object, "s_uuid_hash", sb.s_uuid_hash.get());
    set(&mut object, "s_dx_seed", sb.s_dx_seed.map(|seed| seed.get()).to_vec());
    if sb.features().cluster_info() {
        let mut cluster = json!({ "ci_stackflags": sb.s_cluster_info.ci_stackflags });
        set_text(&mut cluster, "ci_stack", sb.s_cluster_info.stack());
        set_text(&mut cluster, "ci_cluster", sb.s_cluster_info.cluster());
        set(&mut object, "s_cluster_info", cluster);
    }
    object
}

fn stack_words(flags: StackFlags) -> &'static str {
    if flags.contains(StackFlags::GLOBAL_HEARTBEAT) {
        "Globalheartbeat"
    } else {
        ""
    }
}
