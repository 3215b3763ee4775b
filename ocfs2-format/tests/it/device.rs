//! Block devices: one conformance suite for all, and what is special about each.

mod conformance;
mod file;
mod partition;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use ocfs2_format::device::{FileDevice, FileOptions, IoError, IoErrorKind};
use ocfs2_testkit::tools::Tool;
use tempfile::TempDir;

fn writable() -> FileOptions {
    FileOptions::new().writable(true)
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory for temporary files")
}

/// Said past the test harness, which swallows what passing tests print.
fn skipped(why: &str) {
    let thread = std::thread::current();
    let _ = writeln!(
        std::io::stderr(),
        "skipped: {why} ({})",
        thread.name().unwrap_or("unnamed test")
    );
}

/// Opens for direct I/O, or says that the place of temporary files has none.
fn open_direct(path: &Path) -> Option<FileDevice> {
    match FileDevice::open(path, &writable().direct(true)) {
        Ok(device) => Some(device),
        Err(IoError {
            kind: IoErrorKind::NoDirectIo,
            ..
        }) => {
            skipped("no direct I/O in the directory of temporary files");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// A block device over a file, gone when dropped.
struct LoopDevice(PathBuf);

impl LoopDevice {
    /// `None`, said aloud, where this machine or user has no loop devices.
    fn new(file: &Path, sector_size: u32) -> Option<LoopDevice> {
        let Some(losetup) = Tool::find("losetup") else {
            skipped("losetup not installed");
            return None;
        };
        let setup = losetup
            .args(["--find", "--show", "--sector-size", &sector_size.to_string()])
            .arg(file);
        // Another test may take the device between finding it and setting it up.
        let output = (0..5).map(|_| setup.run()).find(|output| output.status == 0);
        let Some(output) = output else {
            skipped("no loop devices");
            return None;
        };
        Some(LoopDevice(PathBuf::from(output.stdout.trim())))
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        if let Some(losetup) = Tool::find("losetup") {
            losetup.arg("--detach").arg(&self.0).run();
        }
    }
}
