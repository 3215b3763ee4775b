//! Asking the kernel about a volume that it has mounted.
//!
//! Source: Linux 6.1 kernel behaviour: the INFO ioctl of ocfs2 and FIEMAP.

#![expect(unsafe_code, reason = "these ioctls have no safe wrapper elsewhere")]

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use ocfs2_format::{FeatureCompat, FeatureIncompat, FeatureRoCompat, Features};
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

/// `f_type` of a mounted ocfs2 volume in statfs(2).
const OCFS2_SUPER_MAGIC: u64 = 0x7461_636F;

/// A file or directory on a mounted volume.
#[derive(Debug)]
pub(crate) struct Live {
    file: File,
    /// Answer from what this node knows, without taking cluster locks.
    any_answer: bool,
}

/// Free space, as the kernel counts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LiveFreeSpace {
    /// Clusters of the volume.
    pub(crate) clusters: u32,
    /// Free ones.
    pub(crate) free_clusters: u32,
    /// Free runs.
    pub(crate) extents: u32,
    /// Clusters of the shortest free run.
    pub(crate) shortest: u32,
    /// Clusters of the longest free run.
    pub(crate) longest: u32,
    /// Free chunks of the length asked for.
    pub(crate) free_chunks: u32,
    /// Runs of 2^n to 2^(n+1) - 1 clusters, and their clusters.
    pub(crate) by_length: Vec<(u32, u32)>,
}

/// An extent that FIEMAP reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LiveExtent {
    /// First byte in the file.
    pub(crate) start: u64,
    /// Bytes.
    pub(crate) len: u64,
    /// `FIEMAP_EXTENT_*`.
    pub(crate) flags: u32,
}

impl LiveExtent {
    /// Allocated and not written.
    pub(crate) const UNWRITTEN: u32 = 0x800;
    /// In the inode.
    pub(crate) const INLINE: u32 = 0x200;
    /// Other files use it too.
    pub(crate) const SHARED: u32 = 0x2000;
    const LAST: u32 = 0x1;
}

impl Live {
    /// Opens a file or directory if it is on a mounted ocfs2 volume; `None` when it is elsewhere.
    ///
    /// # Errors
    /// What statfs(2) and open(2) say.
    pub(crate) fn open(path: &Path, coherent: bool) -> io::Result<Option<Self>> {
        if rustix::fs::statfs(path)?.f_type as u64 != OCFS2_SUPER_MAGIC {
            return Ok(None);
        }
        // A pipe would wait for its other end.
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, rustix::fs::Mode::empty())?;
        Ok(Some(Self {
            file: file.into(),
            any_answer: !coherent,
        }))
    }

    /// Bytes of a cluster.
    pub(crate) fn cluster_size(&self) -> io::Result<u32> {
        Ok(self.ask::<Word>(1, Word::new_zeroed())?.value)
    }

    /// Bytes of a block.
    pub(crate) fn block_size(&self) -> io::Result<u32> {
        Ok(self.ask::<Word>(2, Word::new_zeroed())?.value)
    }

    /// Node slots.
    pub(crate) fn max_slots(&self) -> io::Result<u32> {
        Ok(self.ask::<Word>(3, Word::new_zeroed())?.value)
    }

    /// The label, up to its first NUL.
    pub(crate) fn label(&self) -> io::Result<Vec<u8>> {
        let label = self.ask::<Label>(4, Label::new_zeroed())?.label;
        Ok(label.split(|&byte| byte == 0).next().unwrap_or_default().to_vec())
    }

    /// The UUID in 32 digits.
    pub(crate) fn uuid(&self) -> io::Result<String> {
        let text = self.ask::<Uuid>(5, Uuid::new_zeroed())?.text;
        let digits = text.split(|&byte| byte == 0).next().unwrap_or_default();
        Ok(String::from_utf8_lossy(digits).to_ascii_uppercase())
    }

    /// The features.
    pub(crate) fn features(&self) -> io::Result<Features> {
        let words = self.ask::<FeatureWords>(6, FeatureWords::new_zeroed())?;
        Ok(Features {
            compat: FeatureCompat::from_bits_retain(words.compat),
            incompat: FeatureIncompat::from_bits_retain(words.incompat),
            ro_compat: FeatureRoCompat::from_bits_retain(words.ro_compat),
        })
    }

    /// Bytes of a journal.
    pub(crate) fn journal_size(&self) -> io::Result<u64> {
        Ok(self.ask::<JournalSize>(7, JournalSize::new_zeroed())?.bytes)
    }

    /// Total and free inodes of each slot.
    pub(crate) fn free_inodes(&self) -> io::Result<Vec<(u64, u64)>> {
        let answer = self.ask::<FreeInodes>(8, FreeInodes::new_zeroed())?;
        Ok(answer
            .slots
            .iter()
            .take(answer.count as usize)
            .map(|slot| (slot.total, slot.free))
            .collect())
    }

    /// Free space in pieces, and the free chunks of so many clusters.
    pub(crate) fn free_space(&self, chunk_clusters: u32) -> io::Result<LiveFreeSpace> {
        let answer = self.ask::<FreeFragments>(
            9,
            FreeFragments {
                chunk_clusters,
                ..FreeFragments::new_zeroed()
            },
        )?;
        Ok(LiveFreeSpace {
            clusters: answer.clusters,
            free_clusters: answer.free_clusters,
            extents: answer.extents,
            shortest: answer.shortest,
            longest: answer.longest,
            free_chunks: answer.free_chunks,
            by_length: std::iter::zip(answer.run_counts, answer.run_clusters).collect(),
        })
    }

    /// The extents of the file.
    pub(crate) fn extents(&self) -> io::Result<Vec<LiveExtent>> {
        let mut extents = Vec::new();
        let mut start = 0;
        loop {
            let mut map = Fiemap {
                start,
                length: u64::MAX - start,
                extent_count: FIEMAP_BATCH as u32,
                ..Fiemap::new_zeroed()
            };
            // SAFETY: the kernel writes no more than `extent_count` extents behind the 32 bytes of the header, all inside
            // `map`, and any bytes are a valid `Fiemap`.
            unsafe { ioctl(self.file.as_fd(), Updater::<FS_IOC_FIEMAP, Fiemap>::new(&mut map))? };
            let batch = &map.extents[..FIEMAP_BATCH.min(map.mapped_extents as usize)];
            extents.extend(batch.iter().map(|extent| LiveExtent {
                start: extent.logical,
                len: extent.length,
                flags: extent.flags,
            }));
            match extents.last() {
                Some(last)
                    if !batch.is_empty()
                        && last.flags & LiveExtent::LAST == 0
                        && last.start.saturating_add(last.len) > start =>
                {
                    start = last.start.saturating_add(last.len);
                }
                _ => return Ok(extents),
            }
        }
    }

    /// Sends one request of the INFO ioctl.
    fn ask<T: FromBytes + IntoBytes + Immutable>(&self, code: u32, body: T) -> io::Result<T> {
        let flags = if self.any_answer { NON_COHERENT } else { 0 };
        let head = Head {
            magic: MAGIC,
            code,
            // Without what the alignment of `Request` adds at its end.
            size: (size_of::<Head>() + size_of::<T>()) as u32,
            flags,
        };
        let mut request = Request { head, body };
        let list = [std::ptr::from_mut(&mut request).expose_provenance() as u64];
        let mut info = Info {
            requests: list.as_ptr().expose_provenance() as u64,
            count: 1,
            pad: 0,
        };
        // SAFETY: `info` names a list of one pointer, to `request`, which nothing else uses meanwhile. The kernel writes
        // `head.size` bytes there at most, which is its size, and any bytes are a valid `Request<T>`.
        unsafe { ioctl(self.file.as_fd(), Updater::<OCFS2_IOC_INFO, Info>::new(&mut info))? };
        if request.head.flags & ERROR != 0 {
            return Err(io::Error::other(format!("the kernel could not answer request {code}")));
        }
        if request.head.flags & FILLED == 0 {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("the kernel does not know request {code}"),
            ));
        }
        Ok(request.body)
    }
}

const OCFS2_IOC_INFO: Opcode = opcode::read::<Info>(b'o', 5);
const FS_IOC_FIEMAP: Opcode = opcode::read_write::<[u8; 32]>(b'f', 11);

const MAGIC: u32 = 0x4F32_494E;
const NON_COHERENT: u32 = 0x1;
const FILLED: u32 = 0x4000_0000;
const ERROR: u32 = 0x8000_0000;

/// Slots in an answer about inodes.
const MAX_SLOTS: usize = 255;

/// Extents fetched at once.
const FIEMAP_BATCH: usize = 128;

/// `ocfs2_info`.
#[repr(C)]
struct Info {
    requests: u64,
    count: u32,
    pad: u32,
}

/// `ocfs2_info_request` and what follows it.
#[repr(C, align(8))]
struct Request<T> {
    head: Head,
    body: T,
}

#[repr(C)]
struct Head {
    magic: u32,
    code: u32,
    size: u32,
    flags: u32,
}

#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Word {
    value: u32,
    pad: u32,
}

#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Label {
    label: [u8; 64],
}

#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Uuid {
    text: [u8; 33],
}

#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct FeatureWords {
    compat: u32,
    incompat: u32,
    ro_compat: u32,
    pad: u32,
}

#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct JournalSize {
    bytes: u64,
}

#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct SlotInodes {
    total: u64,
    free: u64,
}

#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct FreeInodes {
    slots: [SlotInodes; MAX_SLOTS],
    count: u32,
    pad: u32,
}

#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct FreeFragments {
    run_counts: [u32; 32],
    run_clusters: [u32; 32],
    clusters: u32,
    free_clusters: u32,
    free_chunks: u32,
    extents: u32,
    shortest: u32,
    longest: u32,
    average: u32,
    pad: u32,
    chunk_clusters: u32,
    chunk_pad: u32,
}

/// `fiemap` with its extents.
#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Fiemap {
    start: u64,
    length: u64,
    flags: u32,
    mapped_extents: u32,
    extent_count: u32,
    reserved: u32,
    extents: [FiemapExtent; FIEMAP_BATCH],
}

#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct FiemapExtent {
    logical: u64,
    physical: u64,
    length: u64,
    reserved64: [u64; 2],
    flags: u32,
    reserved: [u32; 3],
}

const _: () = assert!(size_of::<Info>() == 16);
const _: () = assert!(size_of::<Request<Word>>() == 24);
const _: () = assert!(size_of::<Uuid>() == 33);
const _: () = assert!(size_of::<Request<FreeInodes>>() == 4104);
const _: () = assert!(size_of::<Request<FreeFragments>>() == 312);
const _: () = assert!(size_of::<FiemapExtent>() == 56);
