//! The per-slot helpers of the cluster bitmap: local alloc and truncate log.
//!
//! Source: on-disk reference, sections 14 and 15.

use zerocopy::little_endian as le;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::dinode::BitmapCounts;
use crate::error::{Corrupt, Structure, Violation};
use crate::geometry::Geometry;
use crate::prim::ClusterNo;

/// A window of clusters that a slot has taken from the global bitmap (`ocfs2_local_alloc`).
#[derive(Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct LocalAlloc {
    /// First cluster of the window, 0 without one.
    pub la_bm_off: le::U32,
    /// Bytes of bitmap that there is room for.
    pub la_size: le::U16,
    /// Reserved.
    pub la_reserved1: le::U16,
    /// Reserved.
    pub la_reserved2: le::U64,
    /// Bit n is cluster `la_bm_off + n`; 1 means in use.
    pub la_bitmap: [u8],
}

impl LocalAlloc {
    /// The local alloc at the start of `bytes`, with all of them. `None` for fewer than 16.
    pub fn view(bytes: &[u8]) -> Option<&Self> {
        Self::ref_from_bytes(bytes).ok()
    }

    /// As [`view`](Self::view), to be changed.
    pub fn view_mut(bytes: &mut [u8]) -> Option<&mut Self> {
        Self::mut_from_bytes(bytes).ok()
    }

    /// First cluster of the window.
    pub fn window_start(&self) -> ClusterNo {
        ClusterNo(self.la_bm_off.get())
    }

    /// Checks size and window against the counts in the dinode.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn check(&self, counts: &BitmapCounts, geometry: &Geometry) -> Result<(), Corrupt> {
        let fail = |violation| Err(Corrupt::new(Structure::LocalAlloc, violation));
        let (size, limit) = (self.la_size.get(), geometry.local_alloc_bytes());
        if size == 0 || size > limit {
            return fail(Violation::TooLarge {
                field: "la_size",
                found: size.into(),
                limit: limit.into(),
            });
        }
        let (used, total) = (counts.i_used.get(), counts.i_total.get());
        if u64::from(total) > u64::from(size) * 8 {
            return fail(Violation::TooLarge {
                field: "i_total",
                found: total.into(),
                limit: u64::from(size) * 8,
            });
        }
        if used > total {
            return fail(Violation::TooLarge {
                field: "i_used",
                found: used.into(),
                limit: total.into(),
            });
        }
        let end = u64::from(self.la_bm_off.get()) + u64::from(total);
        if end > u64::from(geometry.clusters) {
            return fail(Violation::TooLarge {
                field: "la_bm_off",
                found: end,
                limit: geometry.clusters.into(),
            });
        }
        // `total` fits in 16 bits: la_size is at most a block.
        let ones = crate::chain::count_ones(&self.la_bitmap, total as u16);
        if ones != used {
            return fail(Violation::Unexpected {
                field: "i_used",
                found: used.into(),
                expected: ones.into(),
            });
        }
        Ok(())
    }
}

/// A run of freed clusters that waits in a truncate log (`ocfs2_truncate_rec`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct TruncateRec {
    /// First cluster; 0 means the record is to be skipped.
    pub t_start: le::U32,
    /// Clusters.
    pub t_clusters: le::U32,
}
const _: () = assert!(size_of::<TruncateRec>() == 8);

/// Clusters that are freed and not yet back in the global bitmap (`ocfs2_truncate_log`).
#[derive(Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct TruncateLog {
    /// Records that there is room for.
    pub tl_count: le::U16,
    /// Records in use.
    pub tl_used: le::U16,
    /// Reserved.
    pub tl_reserved1: le::U32,
    /// The records, oldest first.
    pub tl_recs: [TruncateRec],
}

impl TruncateLog {
    const HEADER: usize = 8;

    /// The log at the start of `bytes`, with as many whole records as fit. `None` for fewer than 8 bytes.
    pub fn view(bytes: &[u8]) -> Option<&Self> {
        let records = bytes.len().checked_sub(Self::HEADER)? / size_of::<TruncateRec>();
        Self::ref_from_bytes(bytes.get(..Self::HEADER + records * size_of::<TruncateRec>())?).ok()
    }

    /// As [`view`](Self::view), to be changed.
    pub fn view_mut(bytes: &mut [u8]) -> Option<&mut Self> {
        let records = bytes.len().checked_sub(Self::HEADER)? / size_of::<TruncateRec>();
        Self::mut_from_bytes(bytes.get_mut(..Self::HEADER + records * size_of::<TruncateRec>())?).ok()
    }

    /// The records in use: never more than are there, whatever the header claims.
    pub fn records(&self) -> &[TruncateRec] {
        let used = usize::from(self.tl_used.get()).min(self.tl_recs.len());
        &self.tl_recs[..used]
    }

    /// Checks counts and runs.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn check(&self, geometry: &Geometry) -> Result<(), Corrupt> {
        let fail = |violation| Err(Corrupt::new(Structure::TruncateLog, violation));
        let (count, used, limit) = (self.tl_count.get(), self.tl_used.get(), geometry.truncate_log_recs());
        if count == 0 || count > limit {
            return fail(Violation::TooLarge {
                field: "tl_count",
                found: count.into(),
                limit: limit.into(),
            });
        }
        if used > count {
            return fail(Violation::TooLarge {
                field: "tl_used",
                found: used.into(),
                limit: count.into(),
            });
        }
        for rec in self.records() {
            let end = u64::from(rec.t_start.get()) + u64::from(rec.t_clusters.get());
            if end > u64::from(geometry.clusters) {
                return fail(Violation::TooLarge {
                    field: "t_start",
                    found: end,
                    limit: geometry.clusters.into(),
                });
            }
        }
        Ok(())
    }
}
