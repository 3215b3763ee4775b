//! Feature flags: the three sets, their names, and the levels that mkfs knows.
//!
//! Source: on-disk reference, sections 1.4 and 5.1.

use std::fmt;

use bitflags::bitflags;

use crate::error::Unsupported;

bitflags! {
    /// `s_feature_compat`: a reader that does not know a bit may ignore it.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct FeatureCompat: u32 {
        /// Backup superblocks exist.
        const BACKUP_SUPER = 0x0001;
        /// The feature words of the journal superblocks are meaningful.
        const STRICT_JOURNAL_SUPER = 0x0002;
        const _ = !0;
    }
}

bitflags! {
    /// `s_feature_incompat`: a reader that does not know a bit must refuse the volume.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct FeatureIncompat: u32 {
        /// The device holds a heartbeat region only, no file system.
        const HEARTBEAT_DEVICE = 0x0002;
        /// An offline resize was interrupted.
        const ABORTED_RESIZE = 0x0004;
        /// A single-node volume: no cluster locking.
        const LOCAL = 0x0008;
        /// Files may have holes.
        const SPARSE = 0x0010;
        /// A tunefs operation was interrupted; `s_tunefs_flag` says which.
        const ABORTED_TUNEFS = 0x0020;
        /// Small files and directories live in the dinode.
        const INLINE_DATA = 0x0040;
        /// `s_cluster_info` is valid and names a user-space cluster stack.
        const USERSPACE_STACK = 0x0080;
        /// 8-byte slot map records.
        const EXTENDED_SLOT_MAP = 0x0100;
        /// Extended attributes.
        const XATTR = 0x0200;
        /// Directories have a hashed index.
        const INDEXED_DIRS = 0x0400;
        /// Metadata blocks carry a CRC and an error-correcting code.
        const METAECC = 0x0800;
        /// Extents may be shared between files.
        const REFCOUNT = 0x1000;
        /// Suballocator groups may be made of several extents.
        const DISCONTIG_BG = 0x2000;
        /// `s_cluster_info` is valid for any stack, o2cb included.
        const CLUSTERINFO = 0x4000;
        /// Direct appends are guarded by orphan entries of their own.
        const APPEND_DIO = 0x8000;
        const _ = !0;
    }
}

bitflags! {
    /// `s_feature_ro_compat`: a reader that does not know a bit may read, and must not write.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct FeatureRoCompat: u32 {
        /// Extents may be allocated but unwritten.
        const UNWRITTEN = 0x0001;
        /// User quota files exist.
        const USRQUOTA = 0x0002;
        /// Group quota files exist.
        const GRPQUOTA = 0x0004;
        const _ = !0;
    }
}

bitflags! {
    /// `s_tunefs_flag`: what an interrupted tunefs was doing.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct TunefsFlags: u16 {
        /// A node slot was being removed.
        const REMOVE_SLOT = 0x0001;
        /// Directory trailers were being installed.
        const DIR_TRAILER = 0x0002;
        const _ = !0;
    }
}

/// The three feature words of a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Features {
    /// `s_feature_compat`.
    pub compat: FeatureCompat,
    /// `s_feature_incompat`.
    pub incompat: FeatureIncompat,
    /// `s_feature_ro_compat`.
    pub ro_compat: FeatureRoCompat,
}

/// One named feature: its command-line spelling and its bit.
#[derive(Clone, Copy, Debug)]
pub struct FeatureName {
    /// The spelling that `--fs-features` accepts and the tools print.
    pub name: &'static str,
    /// The bit, in its set.
    pub bits: Features,
    /// Whether mkfs and tunefs let a user set or clear it by name.
    pub settable: bool,
}

impl Features {
    /// No feature at all.
    pub const NONE: Features = Features {
        compat: FeatureCompat::empty(),
        incompat: FeatureIncompat::empty(),
        ro_compat: FeatureRoCompat::empty(),
    };

    /// Level `max-compat`: what the oldest drivers read.
    pub const MAX_COMPAT: Features = Features {
        compat: FeatureCompat::BACKUP_SUPER.union(FeatureCompat::STRICT_JOURNAL_SUPER),
        incompat: FeatureIncompat::empty(),
        ro_compat: FeatureRoCompat::empty(),
    };

    /// Level `default`.
    pub const DEFAULT: Features = Features {
        compat: Features::MAX_COMPAT.compat,
        incompat: FeatureIncompat::SPARSE
            .union(FeatureIncompat::EXTENDED_SLOT_MAP)
            .union(FeatureIncompat::INLINE_DATA)
            .union(FeatureIncompat::XATTR)
            .union(FeatureIncompat::INDEXED_DIRS)
            .union(FeatureIncompat::REFCOUNT)
            .union(FeatureIncompat::DISCONTIG_BG)
            .union(FeatureIncompat::APPEND_DIO),
        ro_compat: FeatureRoCompat::UNWRITTEN,
    };

    /// Level `max-features`.
    pub const MAX_FEATURES: Features = Features {
        compat: Features::DEFAULT.compat,
        incompat: Features::DEFAULT.incompat.union(FeatureIncompat::METAECC),
        ro_compat: FeatureRoCompat::UNWRITTEN
            .union(FeatureRoCompat::USRQUOTA)
            .union(FeatureRoCompat::GRPQUOTA),
    };

    /// The features whose names are known, in the order in which the tools print them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        FEATURE_NAMES
            .iter()
            .filter(move |f| self.contains(f.bits))
            .map(|f| f.name)
    }

    /// The compatible, the incompatible and the read-only compatible features, each alone.
    pub fn sets(self) -> [Features; 3] {
        let compat = Features {
            compat: self.compat,
            ..Features::NONE
        };
        let incompat = Features {
            incompat: self.incompat,
            ..Features::NONE
        };
        let ro_compat = Features {
            ro_compat: self.ro_compat,
            ..Features::NONE
        };
        [compat, incompat, ro_compat]
    }

    /// Whether every bit of `other` is set here.
    pub fn contains(self, other: Features) -> bool {
        self.compat.contains(other.compat)
            && self.incompat.contains(other.incompat)
            && self.ro_compat.contains(other.ro_compat)
    }

    /// The bits of both.
    #[must_use]
    pub fn union(self, other: Features) -> Features {
        Features {
            compat: self.compat | other.compat,
            incompat: self.incompat | other.incompat,
            ro_compat: self.ro_compat | other.ro_compat,
        }
    }

    /// The bits of `self` that are not in `other`.
    #[must_use]
    pub fn difference(self, other: Features) -> Features {
        Features {
            compat: self.compat.difference(other.compat),
            incompat: self.incompat.difference(other.incompat),
            ro_compat: self.ro_compat.difference(other.ro_compat),
        }
    }

    /// Whether files may have holes.
    pub fn sparse(self) -> bool {
        self.incompat.contains(FeatureIncompat::SPARSE)
    }

    /// Extents may be allocated and unwritten.
    pub fn unwritten(self) -> bool {
        self.ro_compat.contains(FeatureRoCompat::UNWRITTEN)
    }

    /// Whether metadata blocks carry check fields.
    pub fn metaecc(self) -> bool {
        self.incompat.contains(FeatureIncompat::METAECC)
    }

    /// Whether small files and directories may live in the dinode.
    pub fn inline_data(self) -> bool {
        self.incompat.contains(FeatureIncompat::INLINE_DATA)
    }

    /// Whether inodes may have extended attributes.
    pub fn xattr(self) -> bool {
        self.incompat.contains(FeatureIncompat::XATTR)
    }

    /// Whether new directories get a hashed index.
    pub fn indexed_dirs(self) -> bool {
        self.incompat.contains(FeatureIncompat::INDEXED_DIRS)
    }

    /// Whether extents may be shared between files.
    pub fn refcount(self) -> bool {
        self.incompat.contains(FeatureIncompat::REFCOUNT)
    }

    /// Whether suballocator groups may be made of several extents.
    pub fn discontig_bg(self) -> bool {
        self.incompat.contains(FeatureIncompat::DISCONTIG_BG)
    }

    /// Whether slot map records have 8 bytes.
    pub fn extended_slot_map(self) -> bool {
        self.incompat.contains(FeatureIncompat::EXTENDED_SLOT_MAP)
    }

    /// Whether the volume is for one node only.
    pub fn local(self) -> bool {
        self.incompat.contains(FeatureIncompat::LOCAL)
    }

    /// Whether the device holds a heartbeat region only.
    pub fn heartbeat_device(self) -> bool {
        self.incompat.contains(FeatureIncompat::HEARTBEAT_DEVICE)
    }

    /// Whether `s_cluster_info` is valid.
    pub fn cluster_info(self) -> bool {
        self.incompat
            .intersects(FeatureIncompat::USERSPACE_STACK | FeatureIncompat::CLUSTERINFO)
    }

    /// Whether backup superblocks exist.
    pub fn backup_super(self) -> bool {
        self.compat.contains(FeatureCompat::BACKUP_SUPER)
    }

    /// Whether user quota files exist.
    pub fn usrquota(self) -> bool {
        self.ro_compat.contains(FeatureRoCompat::USRQUOTA)
    }

    /// Whether group quota files exist.
    pub fn grpquota(self) -> bool {
        self.ro_compat.contains(FeatureRoCompat::GRPQUOTA)
    }

    /// Fails when the volume needs something that this library does not know even for reading.
    ///
    /// # Errors
    /// [`Unsupported::IncompatFeatures`] with the unknown bits.
    pub fn check_readable(self) -> Result<(), Unsupported> {
        let unknown = self.incompat.difference(KNOWN.incompat);
        if unknown.is_empty() {
            Ok(())
        } else {
            Err(Unsupported::IncompatFeatures(unknown.bits()))
        }
    }

    /// Fails when the volume needs something that this library does not know, for reading or for writing.
    ///
    /// # Errors
    /// As [`check_readable`](Self::check_readable), [`Unsupported::RoCompatFeatures`] with the unknown bits.
    pub fn check_writable(self) -> Result<(), Unsupported> {
        self.check_readable()?;
        let unknown = self.ro_compat.difference(KNOWN.ro_compat);
        if unknown.is_empty() {
            Ok(())
        } else {
            Err(Unsupported::RoCompatFeatures(unknown.bits()))
        }
    }

    /// The bits that have no name here.
    #[must_use]
    pub fn unknown(self) -> Features {
        self.difference(KNOWN)
    }
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, name) in self.names().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}

impl FeatureName {
    /// The feature that `name` spells, without a `no` prefix.
    pub fn find(name: &str) -> Option<&'static FeatureName> {
        FEATURE_NAMES.iter().find(|f| f.name == name)
    }
}

const KNOWN: Features = {
    let mut known = Features::NONE;
    let mut i = 0;
    while i < FEATURE_NAMES.len() {
        let bits = FEATURE_NAMES[i].bits;
        known = Features {
            compat: known.compat.union(bits.compat),
            incompat: known.incompat.union(bits.incompat),
            ro_compat: known.ro_compat.union(bits.ro_compat),
        };
        i += 1;
    }
    known
};

/// Every named feature, in the order in which the tools print them.
pub const FEATURE_NAMES: &[FeatureName] = &[
    incompat("heartbeat-device", FeatureIncompat::HEARTBEAT_DEVICE, false),
    incompat("aborted-resize", FeatureIncompat::ABORTED_RESIZE, false),
    incompat("local", FeatureIncompat::LOCAL, true),
    incompat("sparse", FeatureIncompat::SPARSE, true),
    incompat("extended-slotmap", FeatureIncompat::EXTENDED_SLOT_MAP, true),
    incompat("aborted-tunefs", FeatureIncompat::ABORTED_TUNEFS, false),
    incompat("userspace-stack", FeatureIncompat::USERSPACE_STACK, false),
    compat("backup-super", FeatureCompat::BACKUP_SUPER, true),
    ro_compat("unwritten", FeatureRoCompat::UNWRITTEN),
    incompat("inline-data", FeatureIncompat::INLINE_DATA, true),
    compat("strict-journal-super", FeatureCompat::STRICT_JOURNAL_SUPER, false),
    incompat("metaecc", FeatureIncompat::METAECC, true),
    incompat("xattr", FeatureIncompat::XATTR, true),
    incompat("indexed-dirs", FeatureIncompat::INDEXED_DIRS, true),
    ro_compat("usrquota", FeatureRoCompat::USRQUOTA),
    ro_compat("grpquota", FeatureRoCompat::GRPQUOTA),
    incompat("refcount", FeatureIncompat::REFCOUNT, true),
    incompat("discontig-bg", FeatureIncompat::DISCONTIG_BG, true),
    incompat("clusterinfo", FeatureIncompat::CLUSTERINFO, true),
    incompat("append-dio", FeatureIncompat::APPEND_DIO, true),
];

const fn incompat(name: &'static str, bit: FeatureIncompat, settable: bool) -> FeatureName {
    FeatureName {
        name,
        bits: Features {
            incompat: bit,
            ..Features::NONE
        },
        settable,
    }
}

const fn compat(name: &'static str, bit: FeatureCompat, settable: bool) -> FeatureName {
    FeatureName {
        name,
        bits: Features {
            compat: bit,
            ..Features::NONE
        },
        settable,
    }
}

const fn ro_compat(name: &'static str, bit: FeatureRoCompat) -> FeatureName {
    FeatureName {
        name,
        bits: Features {
            ro_compat: bit,
            ..Features::NONE
        },
        settable: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_level_prints_as_the_tools_print_it() {
        assert_eq!(
            Features::DEFAULT.to_string(),
            "sparse extended-slotmap backup-super unwritten inline-data strict-journal-super xattr indexed-dirs \
             refcount discontig-bg append-dio"
        );
    }

    #[test]
    fn unknown_incompat_bit_is_refused_and_named() {
        let features = Features {
            incompat: FeatureIncompat::from_bits_retain(0x0001_0010),
            ..Features::NONE
        };
        assert_eq!(
            features.check_readable(),
            Err(Unsupported::IncompatFeatures(0x0001_0000))
        );
    }
}
