//! Quota files of a new volume: nothing is limited, and only the root directory is accounted for.
//!
//! Source: on-disk reference, section 30.

use ocfs2_format::Geometry;
use ocfs2_format::quota::{
    FileHeader, GlobalEntry, GlobalHead, GlobalInfo, LeafHeader, LocalFlags, LocalHead, LocalInfo, QuotaGeometry,
    QuotaKind,
};
use zerocopy::{FromZeros, IntoBytes};

/// Blocks of a quota file before anything is accounted in it: header and tree root, or header and first chunk.
pub(super) const FRESH_BLOCKS: u32 = 2;

/// Blocks of a global quota file with one entry: header, a block per level of the tree, and the leaf.
pub(super) fn global_blocks(geometry: &Geometry) -> u32 {
    2 + QuotaGeometry::new(geometry).depth()
}

/// The blocks of a global quota file in which id 0 has the root directory, which takes `root_bytes` bytes.
pub(super) fn global_file(geometry: &Geometry, kind: QuotaKind, root_bytes: u64) -> Vec<Vec<u8>> {
    let count = global_blocks(geometry);
    let leaf = count - 1;
    let head = GlobalHead {
        header: FileHeader::new(kind.global_magic()),
        info: GlobalInfo {
            dqi_bgrace: GRACE_SECONDS.into(),
            dqi_igrace: GRACE_SECONDS.into(),
            dqi_syncms: SYNC_MS.into(),
            dqi_blocks: count.into(),
            dqi_free_blk: 0.into(),
            dqi_free_entry: leaf.into(),
        },
    };
    let mut blocks = vec![block(geometry, head.as_bytes())];
    // Id 0 is in the first place of every level, which leads to the next block.
    blocks.extend((QuotaGeometry::ROOT_BLOCK..leaf).map(|level| block(geometry, &(level + 1).to_le_bytes())));
    let mut header = LeafHeader::new_zeroed();
    header.dqdh_entries.set(1);
    let mut entry = GlobalEntry::new_zeroed();
    entry.dqb_curinodes.set(1);
    entry.dqb_curspace.set(root_bytes);
    blocks.push(block(geometry, &[header.as_bytes(), entry.as_bytes()].concat()));
    blocks
}

/// The blocks of a local quota file.
pub(super) fn local_file(geometry: &Geometry, kind: QuotaKind) -> Vec<Vec<u8>> {
    let head = LocalHead {
        header: FileHeader::new(kind.local_magic()),
        info: LocalInfo {
            dqi_flags: LocalFlags::CLEAN.bits().into(),
            dqi_chunks: 1.into(),
            dqi_blocks: FRESH_BLOCKS.into(),
        },
    };
    vec![block(geometry, head.as_bytes()), block(geometry, &[])]
}

fn block(geometry: &Geometry, start: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; geometry.block_size()];
    bytes[..start.len()].copy_from_slice(start);
    bytes
}

/// Time that a soft limit may be exceeded.
const GRACE_SECONDS: u32 = 7 * 24 * 60 * 60;

/// Time between two syncs of the local files.
const SYNC_MS: u32 = 10_000;
