//! Serving in the background: this program starts itself once more, and leaves when the second one is ready.
//!
//! The two share a pipe, the standard output of the second, which sends a line when the directory can be used. An end of the
//! pipe without it means that there is no mount; the second has said why on the stderr that it shares until then, and its
//! status becomes ours. A fork would do without starting anew, but a forked process may not have threads before, nor call much.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::failure::Failure;
use super::serve::Mounted;
use crate::exit::Exit;

/// Set for the process in the background.
const MARK: &str = "OCFS2_MOUNT_IN_BACKGROUND";

/// Whether this process is the one in the background.
pub(crate) fn is_background() -> bool {
    // Whoever sets it and keeps a terminal at stdout wants something else.
    std::env::var_os(MARK).is_some() && !std::io::IsTerminal::is_terminal(&std::io::stdout())
}

/// Starts this program again with the same arguments, and waits until it serves.
///
/// # Errors
/// When it cannot be started. A mount that fails is a status.
pub(crate) fn start() -> anyhow::Result<Result<Mounted, Exit>> {
    let mut args = std::env::args_os();
    let mut command = Command::new("/proc/self/exe");
    if let Some(name) = args.next() {
        command.arg0(name);
    }
    // ^C ends the mount, and this process says so.
    signal_hook::flag::register(SIGINT, Arc::new(AtomicBool::new(false)))
        .map_err(|error| Failure::new(Exit::SYSTEM, format_args!("watching for signals: {error}")))?;
    let mut child = command
        .args(args)
        .env(MARK, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| Failure::new(Exit::SYSTEM, format_args!("starting in the background: {error}")))?;
    let mut line = String::new();
    if let Some(pipe) = child.stdout.take() {
        // What cannot be read is no message.
        let _ = BufReader::new(pipe).read_line(&mut line);
    }
    if let Ok(mounted) = serde_json::from_str(&line) {
        return Ok(Ok(mounted));
    }
    let status = child
        .wait()
        .map_err(|error| Failure::new(Exit::SYSTEM, format_args!("waiting for the mount: {error}")))?;
    Ok(Err(match (status.code(), status.signal()) {
        // No mount, and no complaint: that cannot be.
        (Some(0), _) => Exit::INTERNAL,
        (Some(code), _) => u8::try_from(code).map_or(Exit::INTERNAL, Exit::from),
        (None, Some(SIGINT | SIGTERM | SIGHUP)) => Exit::INTERRUPTED,
        _ => Exit::INTERNAL,
    }))
}

/// Cuts this process loose from whoever started it, and tells the waiting one that the directory can be used.
///
/// # Errors
/// Those of the system.
pub(crate) fn ready(mounted: &Mounted) -> anyhow::Result<()> {
    // Fails for the leader of a group, who has no terminal to lose then either.
    let _ = rustix::process::setsid();
    rustix::process::chdir("/")?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    super::log::detach();
    let mut waiting = File::from(rustix::stdio::stdout().try_clone_to_owned()?);
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    let mut line = serde_json::to_vec(mounted)?;
    line.push(b'\n');
    // Fails when nobody waits any more: whoever started this was interrupted, and the mount with it.
    Ok(waiting.write_all(&line)?)
}
