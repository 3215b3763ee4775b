//! The ways to have a mounted directory that are compared.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;

/// One way to have a mounted directory.
#[derive(Clone, Copy)]
pub(crate) enum Contestant {
    Ours,
    Passthrough,
    Fuse2fs,
}

impl Contestant {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Passthrough => "passthrough",
            Self::Fuse2fs => "fuse2fs",
        }
    }

    /// Makes an empty file system.
    pub(crate) fn format(self, store: &Path, mib: u64) -> Result<()> {
        let _ = fs::remove_file(store);
        let _ = fs::remove_dir_all(store);
        match self {
            Self::Passthrough => fs::create_dir(store)?,
            Self::Ours => {
                File::create(store)?.set_len(mib << 20)?;
                run(Command::new(env!("CARGO_BIN_EXE_ocfs2"))
                    .args(["mkfs", "-q", "-M", "local"])
                    .arg(store))?;
            }
            Self::Fuse2fs => {
                File::create(store)?.set_len(mib << 20)?;
                run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(store))?;
            }
        }
        Ok(())
    }

    pub(crate) fn mount(self, store: &Path, dir: &Path) -> Result<Mounted> {
        let mut command = match self {
            Self::Ours => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_ocfs2"));
                command.args(["mount", "--foreground"]).arg(store).arg(dir);
                command
            }
            Self::Fuse2fs => {
                let mut command = Command::new("fuse2fs");
                // As ours and the passthrough: for everybody, with permissions checked by the kernel.
                command
                    .args(["-f", "-o", "allow_other,default_permissions"])
                    .arg(store)
                    .arg(dir);
                command
            }
            Self::Passthrough => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("passthrough").arg(store).arg(dir);
                command
            }
        };
        let before = fs::metadata(dir)?.dev();
        let mut server = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let end = Instant::now() + Duration::from_secs(20);
        while fs::metadata(dir)?.dev() == before {
            if server.try_wait()?.is_some() || Instant::now() > end {
                let _ = server.kill();
                return Err(format!("{command:?} does not mount").into());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(Mounted {
            server,
            dir: dir.to_owned(),
        })
    }
}

/// A directory that is mounted.
pub(crate) struct Mounted {
    server: Child,
    dir: PathBuf,
}

impl Mounted {
    /// Unmounts, and waits until everything is where it belongs.
    pub(crate) fn end(mut self) -> Result<()> {
        run(Command::new("umount").arg(&self.dir))?;
        self.server.wait()?;
        Ok(())
    }
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status()?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {status}").into()),
    }
}
