//! What can be asked of an open file or directory by ioctl(2).
//!
//! The kernel passes on what describes its arguments in its number. What has pointers in its arguments, as all calls of
//! OCFS2's own have (`OCFS2_IOC_REFLINK`, `OCFS2_IOC_INFO`), does not get here.

use fuser::Errno;
use ocfs2_format::{InodeAttr, InodeNo};
use ocfs2_fs::FileSystem;

use super::errno::Refused;

/// A request that is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ioctl {
    /// The flags of lsattr(1).
    GetFlags,
    /// The flags of chattr(1).
    SetFlags(InodeAttr),
    /// The same flags as other numbers: the kernel asks for them before it sets any.
    GetExtended,
    /// Tell the device what is free in `len` bytes from `start`, in runs of at least `min_len`.
    Trim { start: u64, len: u64, min_len: u64 },
}

/// `FS_IOC_GETFLAGS`
const GET_FLAGS: u32 = 0x8008_6601;
/// `FS_IOC_SETFLAGS`
const SET_FLAGS: u32 = 0x4008_6602;
/// `FS_IOC_FSGETXATTR`
const GET_EXTENDED: u32 = 0x801C_581F;
/// `FITRIM`
const TRIM: u32 = 0xC018_5879;

/// Flags, and what `FS_IOC_FSGETXATTR` calls them.
const EXTENDED: [(InodeAttr, u32); 5] = [
    (InodeAttr::IMMUTABLE, 0x8),
    (InodeAttr::APPEND, 0x10),
    (InodeAttr::SYNC, 0x20),
    (InodeAttr::NOATIME, 0x40),
    (InodeAttr::NODUMP, 0x80),
];

impl Ioctl {
    /// Reads a request.
    ///
    /// # Errors
    /// ENOTTY for what is not known, EINVAL for arguments of the wrong size.
    pub(super) fn parse(command: u32, argument: &[u8]) -> Result<Ioctl, Refused> {
        match command {
            GET_FLAGS => Ok(Ioctl::GetFlags),
            SET_FLAGS => {
                let flags = argument.first_chunk().ok_or(Errno::EINVAL)?;
                Ok(Ioctl::SetFlags(InodeAttr::from_bits_retain(u32::from_le_bytes(*flags))))
            }
            GET_EXTENDED => Ok(Ioctl::GetExtended),
            TRIM => {
                let word = |index: usize| {
                    let bytes = argument.get(index * 8..).and_then(<[u8]>::first_chunk);
                    bytes.map(|bytes| u64::from_le_bytes(*bytes)).ok_or(Errno::EINVAL)
                };
                Ok(Ioctl::Trim {
                    start: word(0)?,
                    len: word(1)?,
                    min_len: word(2)?,
                })
            }
            _ => Err(Errno::ENOTTY.into()),
        }
    }

    /// Does what was asked. Returns what is copied back to the caller.
    ///
    /// # Errors
    /// The library's.
    pub(super) fn run(self, fs: &FileSystem, inode: InodeNo) -> Result<Vec<u8>, Refused> {
        match self {
            Ioctl::GetFlags => Ok(fs.inode(inode)?.attr().bits().to_le_bytes().to_vec()),
            Ioctl::GetExtended => {
                let flags = fs.inode(inode)?.attr();
                let known = EXTENDED.iter().filter(|(flag, _)| flags.contains(*flag));
                let word = known.fold(0u32, |word, (_, extended)| word | extended);
                let mut answer = word.to_le_bytes().to_vec();
                answer.resize(size_of::<u32>() * 7, 0);
                Ok(answer)
            }
            Ioctl::SetFlags(flags) => {
                fs.set_flags(inode, flags)?;
                Ok(Vec::new())
            }
            Ioctl::Trim { start, len, min_len } => {
                let trimmed = fs.trim(start..start.saturating_add(len), min_len)?;
                Ok([start, trimmed, min_len].map(u64::to_le_bytes).concat())
            }
        }
    }
}
