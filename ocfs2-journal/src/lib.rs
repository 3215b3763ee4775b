//! JBD2 as OCFS2 uses it. Knows blocks, not files.
//!
//! A node that changes metadata writes the new blocks to its journal first. After a crash the journal holds blocks that
//! never reached their homes; reading the volume correctly means reading those instead.
//!
//! ```text
//! journal file -> LogMap -> Log::open -> Log::scan -> Recovery -+-> Overlay       read as if replayed, nothing written
//!                                   \                           '-> Log::replay   write every block home
//!                                    '-> LogDump                    every block of the file, classified
//! ```
//!
//! The one who calls decides whether a journal counts at all: only the inode that holds it knows if it is dirty.
//!
//! A [`Journal`] is the writing side: handles stage private copies of blocks, transactions take them to the log together,
//! and checkpoints from there to their homes.
//!
//! ```text
//! begin -> Handle -- commit --> running transaction -> log -> home
//!            '-- drop: undone        '-- commit ---------'     |
//!                                                 checkpoint --'
//! ```
//!
//! ```
//! use std::sync::Arc;
//! use ocfs2_format::{BlockNo, device::{BlockDevice, MemDevice}};
//! use ocfs2_journal::{CheckAt, Journal, JournalOptions};
//! # use ocfs2_format::jbd2::Superblock;
//! # use zerocopy::IntoBytes;
//! # let mut bytes = vec![0; 1024 * 512];
//! # bytes[..1024].copy_from_slice(Superblock::new(512, 1024, [7; 16], false).as_bytes());
//! # let ocfs2_journal::fuzz::Volume { device, map, geometry } = ocfs2_journal::fuzz::Volume::new(&bytes, 9, 512);
//! # let device = Arc::new(device);
//! # let inode_block = BlockNo(5);
//! let journal = Journal::open(device, map, geometry, &JournalOptions::default())?;
//! let mut handle = journal.begin(1)?;
//! let inode = handle.modify(inode_block, Some(CheckAt::block(0x80)))?;
//! inode[0x20] = 7;
//! let tid = handle.commit()?;
//! assert_eq!(journal.newest(inode_block).unwrap()[0x20], 7);
//! journal.commit_and_wait(tid)?;
//! journal.close()?;
//! # Ok::<(), ocfs2_journal::JournalError>(())
//! ```
//!
//! Source: on-disk reference, sections 26 (Journals) and 37 (What changes together); Linux 6.1 kernel behaviour where a log
//! is damaged, and for the order of writes.

#![forbid(unsafe_code)]

mod checkpoint;
mod commit;
mod dump;
mod error;
#[doc(hidden)]
pub mod fuzz;
mod io;
mod journal;
mod log;
mod logged;
mod map;
mod overlay;
mod redirects;
mod replay;
mod space;
mod state;
mod sync;
mod tail;
mod txn;
mod worker;

pub use dump::{LogDump, LogEntry, LogItem};
pub use error::JournalError;
pub use journal::{Journal, JournalOptions, LogUsage};
pub use log::Log;
pub use map::{LogMap, LogRun};
pub use overlay::Overlay;
pub use redirects::{LogCopy, Redirects};
pub use replay::{Damage, DamageKind, End, Recovery};
pub use txn::{CheckAt, Handle, Tid};
