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
//! Source: on-disk reference, section 26 (Journals); Linux 6.1 kernel behaviour where a log is damaged.

#![forbid(unsafe_code)]

mod dump;
mod error;
#[doc(hidden)]
pub mod fuzz;
mod io;
mod log;
mod map;
mod overlay;
mod redirects;
mod replay;

pub use dump::{LogDump, LogEntry, LogItem};
pub use error::JournalError;
pub use log::Log;
pub use map::{LogMap, LogRun};
pub use overlay::Overlay;
pub use redirects::{LogCopy, Redirects};
pub use replay::{Damage, DamageKind, End, Recovery};
