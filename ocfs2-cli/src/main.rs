//! The `ocfs2` command: `ocfs2 VERB …`, or one of its traditional names (`mkfs.ocfs2`, `o2info`, …) by `argv[0]`.
//!
//! * [`dispatch`] finds the command to run and turns its outcome into an exit status.
//! * [`cmd`] holds the commands, a file each: options, one call into the library, the report.
//! * [`edit`] mounts volumes for the commands that change them; [`import`] copies into them.
//! * [`extract`] copies out of a volume, for `cp`.
//! * [`fuse`] shows a mounted volume as a directory of this machine.
//! * [`target`] is how a command names something inside a volume: `IMAGE:/path`.
//! * [`ui`] is where all output goes: results, JSON documents, complaints.

mod cmd;
mod dispatch;
mod edit;
mod exit;
mod extract;
mod fuse;
mod import;
mod live;
mod mounts;
mod progress;
mod report;
mod size;
mod target;
mod text;
mod transfer;
mod ui;

use std::process::ExitCode;

fn main() -> ExitCode {
    dispatch::main(std::env::args_os())
}
