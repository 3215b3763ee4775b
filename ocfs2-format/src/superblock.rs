//! The superblock: the body of the dinode in block 2.
//!
//! Source: on-disk reference, sections 3 and 29.

use bitflags::bitflags;
use zerocopy::little_endian as le;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::dinode::{Dinode, InodeFlags};
use crate::error::{Corrupt, Structure, Violation};
use crate::features::{FeatureCompat, FeatureIncompat, FeatureRoCompat, Features};
use crate::geometry::Geometry;
use crate::prim::{BlockNo, Generation, InodeNo};
use crate::signature::Signature;

bitflags! {
    /// `ci_stackflags`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct StackFlags: u8 {
        /// The o2cb cluster uses global heartbeat.
        const GLOBAL_HEARTBEAT = 0x01;
        const _ = !0;
    }
}

/// Which cluster a volume belongs to (`ocfs2_cluster_info`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ClusterInfo {
    /// Stack name, four characters without a NUL: `o2cb`, `pcmk`, `cman`.
    pub ci_stack: [u8; 4],
    /// [`StackFlags`].
    pub ci_stackflags: u8,
    /// Reserved.
    pub ci_reserved1: u8,
    /// Reserved.
    pub ci_reserved2: u8,
    /// Reserved.
    pub ci_reserved3: u8,
    /// Cluster name, zero padded, not necessarily NUL terminated.
    pub ci_cluster: [u8; 16],
}
const _: () = assert!(size_of::<ClusterInfo>() == 24);

impl ClusterInfo {
    /// The stack's name, up to the first NUL.
    pub fn stack(&self) -> &[u8] {
        until_nul(&self.ci_stack)
    }

    /// The cluster's name, up to the first NUL.
    pub fn cluster(&self) -> &[u8] {
        until_nul(&self.ci_cluster)
    }

    /// The stack's flags.
    pub fn flags(&self) -> StackFlags {
        StackFlags::from_bits_retain(self.ci_stackflags)
    }
}

/// The superblock's own fields (`ocfs2_super_block`), at byte 0xC0 of its dinode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SuperBlock {
    /// Major revision: 0.
    pub s_major_rev_level: le::U16,
    /// Minor revision: 90.
    pub s_minor_rev_level: le::U16,
    /// Mounts since the last check; the 6.1 kernel never counts.
    pub s_mnt_count: le::U16,
    /// Mounts after which a check is due.
    pub s_max_mnt_count: le::U16,
    /// Bit 0: errors were seen.
    pub s_state: le::U16,
    /// Whether the last check left errors behind.
    pub s_errors: le::U16,
    /// Seconds between checks, 0 for none.
    pub s_checkinterval: le::U32,
    /// Time of the last check, seconds since 1970.
    pub s_lastcheck: le::U64,
    /// Operating system that made the volume: 0 for Linux.
    pub s_creator_os: le::U32,
    /// [`FeatureCompat`].
    pub s_feature_compat: le::U32,
    /// [`FeatureIncompat`].
    pub s_feature_incompat: le::U32,
    /// [`FeatureRoCompat`].
    pub s_feature_ro_compat: le::U32,
    /// Inode of the root directory.
    pub s_root_blkno: le::U64,
    /// Inode of the system directory.
    pub s_system_dir_blkno: le::U64,
    /// log2 of the block size.
    pub s_blocksize_bits: le::U32,
    /// log2 of the cluster size.
    pub s_clustersize_bits: le::U32,
    /// Node slots.
    pub s_max_slots: le::U16,
    /// [`TunefsFlags`](crate::TunefsFlags), with the aborted-tunefs feature.
    pub s_tunefs_flag: le::U16,
    /// Seed of the attribute name hash; 0 without xattr and indexed-dirs.
    pub s_uuid_hash: le::U32,
    /// Block of the first cluster group's descriptor.
    pub s_first_cluster_group: le::U64,
    /// Volume label, zero padded, not necessarily NUL terminated.
    pub s_label: [u8; 64],
    /// Volume UUID.
    pub s_uuid: [u8; 16],
    /// The volume's cluster, with the clusterinfo or userspace-stack feature.
    pub s_cluster_info: ClusterInfo,
    /// Bytes that attributes take in the body of an inode, with the xattr feature.
    pub s_xattr_inline_size: le::U16,
    /// Reserved.
    pub s_reserved0: le::U16,
    /// Seeds of the directory name hash, with the indexed-dirs feature.
    pub s_dx_seed: [le::U32; 3],
    /// Reserved.
    pub s_reserved2: [u8; 120],
}
const _: () = assert!(size_of::<SuperBlock>() == 320);

impl SuperBlock {
    /// Major revision that every volume has.
    pub const MAJOR_REV: u16 = 0;
    /// Minor revision that every volume has.
    pub const MINOR_REV: u16 = 90;
    /// Byte offset of these fields in their block.
    pub const OFFSET: usize = 0xC0;
    /// Largest number of node slots.
    pub const MAX_SLOTS: u16 = 255;

    /// The feature words.
    pub fn features(&self) -> Features {
        Features {
            compat: FeatureCompat::from_bits_retain(self.s_feature_compat.get()),
            incompat: FeatureIncompat::from_bits_retain(self.s_feature_incompat.get()),
            ro_compat: FeatureRoCompat::from_bits_retain(self.s_feature_ro_compat.get()),
        }
    }

    /// Sets the feature words.
    pub fn set_features(&mut self, features: Features) {
        self.s_feature_compat.set(features.compat.bits());
        self.s_feature_incompat.set(features.incompat.bits());
        self.s_feature_ro_compat.set(features.ro_compat.bits());
    }

    /// The label, up to the first NUL.
    pub fn label(&self) -> &[u8] {
        until_nul(&self.s_label)
    }

    /// The UUID as the tools print it: 32 upper-case hexadecimal digits.
    pub fn uuid_text(&self) -> String {
        self.s_uuid.iter().map(|byte| format!("{byte:02X}")).collect()
    }

    /// Inode of the root directory.
    pub fn root(&self) -> InodeNo {
        InodeNo(self.s_root_blkno.get())
    }

    /// Inode of the system directory.
    pub fn system_dir(&self) -> InodeNo {
        InodeNo(self.s_system_dir_blkno.get())
    }
}

/// Why a block is not the superblock of a volume that this library can read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SuperBlockError {
    /// The block is no superblock, or a damaged one.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// The volume is sound as far as it can be told, and needs something unknown here.
    #[error(transparent)]
    Unsupported(#[from] crate::error::Unsupported),
}

/// Checks a superblock and takes the volume's geometry from it.
///
/// `at` is the block it was read from (2, or a backup's block), `dinode` the whole block. The check field is judged
/// elsewhere, because only the superblock says whether there is one.
///
/// # Errors
/// The first rule broken, in the order in which the kernel looks at them, or what the volume needs that is unknown here.
pub fn check_superblock(dinode: &Dinode, at: BlockNo) -> Result<Geometry, SuperBlockError> {
    let structure = Structure::Superblock;
    let fail = |violation| {
        Err(SuperBlockError::Corrupt(
            Corrupt::new(structure, violation).at_block(at),
        ))
    };
    dinode
        .i_signature
        .require(Signature::SUPER_BLOCK, structure)
        .map_err(|c| c.at_block(at))?;
    let block_size = dinode.as_bytes().len();
    let sb = dinode.super_block();

    let block_bits = sb.s_blocksize_bits.get();
    if block_bits != block_size.trailing_zeros() || !(9..=12).contains(&block_bits) {
        return fail(Violation::Unexpected {
            field: "s_blocksize_bits",
            found: block_bits.into(),
            expected: block_size.trailing_zeros().into(),
        });
    }
    let (major, minor) = (sb.s_major_rev_level.get(), sb.s_minor_rev_level.get());
    if (major, minor) != (SuperBlock::MAJOR_REV, SuperBlock::MINOR_REV) {
        return Err(crate::error::Unsupported::Revision { major, minor }.into());
    }
    if dinode.i_blkno.get() != at.0 {
        return fail(Violation::SelfBlock {
            found: dinode.i_blkno.get(),
        });
    }
    let cluster_bits = sb.s_clustersize_bits.get();
    if !(12..=20).contains(&cluster_bits) {
        return fail(Violation::Invalid {
            field: "s_clustersize_bits",
            found: cluster_bits.into(),
            why: "12 (4 KiB) to 20 (1 MiB) are possible",
        });
    }
    let features = sb.features();
    features.check_readable()?;
    let max_slots = sb.s_max_slots.get();
    if features.heartbeat_device() {
        // A heartbeat device has no slots and no root directory worth the name.
    } else if max_slots == 0 || max_slots > SuperBlock::MAX_SLOTS {
        return fail(Violation::Invalid {
            field: "s_max_slots",
            found: max_slots.into(),
            why: "1 to 255 are possible",
        });
    }
    if dinode.i_clusters.get() == 0 {
        return fail(Violation::Invalid {
            field: "i_clusters",
            found: 0,
            why: "a volume has clusters",
        });
    }
    let geometry = geometry_of(dinode, block_bits as u8, cluster_bits as u8);
    for (field, blkno) in [
        ("s_root_blkno", sb.s_root_blkno.get()),
        ("s_system_dir_blkno", sb.s_system_dir_blkno.get()),
        ("s_first_cluster_group", sb.s_first_cluster_group.get()),
    ] {
        if blkno <= Geometry::SUPER_BLOCK.0 {
            return fail(Violation::Invalid {
                field,
                found: blkno,
                why: "it must lie behind the superblock",
            });
        }
        if !geometry.contains(BlockNo(blkno)) {
            return fail(Violation::OutsideVolume {
                field,
                found: blkno,
                blocks: geometry.blocks(),
            });
        }
    }
    let inline = geometry.xattr_inline_size;
    if usize::from(inline) + 0xD0 > block_size && features.xattr() && block_size > 512 {
        let limit = (block_size - 0xD0) as u64;
        return fail(Violation::TooLarge {
            field: "s_xattr_inline_size",
            found: inline.into(),
            limit,
        });
    }
    if !dinode.flags().contains(InodeFlags::VALID | InodeFlags::SUPER_BLOCK) {
        return fail(Violation::Invalid {
            field: "i_flags",
            found: dinode.i_flags.get().into(),
            why: "a superblock is valid and says that it is one",
        });
    }
    Ok(geometry)
}

/// The geometry that a superblock claims, damaged or not: checked only as far as blocks can be addressed by it.
///
/// For programs that show what is there. Nothing else may trust the result; [`check_superblock`] is for that.
///
/// # Errors
/// When the signature is missing, block or cluster size are impossible, or the volume needs something unknown here.
pub fn claimed_geometry(dinode: &Dinode) -> Result<Geometry, SuperBlockError> {
    let structure = Structure::Superblock;
    dinode.i_signature.require(Signature::SUPER_BLOCK, structure)?;
    let sb = dinode.super_block();
    let expected = dinode.as_bytes().len().trailing_zeros();
    let block_bits = sb.s_blocksize_bits.get();
    if block_bits != expected || !(9..=12).contains(&block_bits) {
        let violation = Violation::Unexpected {
            field: "s_blocksize_bits",
            found: block_bits.into(),
            expected: expected.into(),
        };
        return Err(Corrupt::new(structure, violation).into());
    }
    let cluster_bits = sb.s_clustersize_bits.get();
    if !(12..=20).contains(&cluster_bits) {
        let violation = Violation::Invalid {
            field: "s_clustersize_bits",
            found: cluster_bits.into(),
            why: "12 (4 KiB) to 20 (1 MiB) are possible",
        };
        return Err(Corrupt::new(structure, violation).into());
    }
    sb.features().check_readable()?;
    Ok(geometry_of(dinode, block_bits as u8, cluster_bits as u8))
}

fn geometry_of(dinode: &Dinode, block_size_bits: u8, cluster_size_bits: u8) -> Geometry {
    let sb = dinode.super_block();
    Geometry {
        block_size_bits,
        cluster_size_bits,
        clusters: dinode.i_clusters.get(),
        features: sb.features(),
        generation: Generation(dinode.i_fs_generation.get()),
        max_slots: sb.s_max_slots.get(),
        xattr_inline_size: sb.s_xattr_inline_size.get(),
        uuid_hash: sb.s_uuid_hash.get(),
        dx_seed: sb.s_dx_seed.map(le::U32::get),
    }
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    &bytes[..end]
}
