//! `ocfs2 links`: the traditional names, as symbolic links to this program.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Serialize;

use crate::cmd::{COMMANDS, Run};
use crate::exit::Exit;
use crate::ui::{OutputArgs, Ui};

/// Make symbolic links with the traditional names (mkfs.ocfs2, debugfs.ocfs2, …) to this program
///
/// Nothing is changed when one of the names belongs to something else, unless --force is given.
#[derive(Debug, clap::Parser)]
#[command(after_help = "Examples:\n  ocfs2 links /usr/local/sbin\n  ocfs2 links --force --dry-run /sbin")]
pub(crate) struct Args {
    /// Directory for the links
    dir: PathBuf,
    /// Replace files and links of these names that are not ours
    #[arg(short, long)]
    force: bool,
    /// Say what would be done, and do nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// What is done about a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    /// It is free.
    Make,
    /// It is our link already.
    Keep,
    /// It is something else, and the user said so.
    Replace,
}

#[derive(Debug, Serialize)]
struct Link {
    name: &'static str,
    target: PathBuf,
    action: Action,
}

#[derive(Debug, Serialize)]
struct Report {
    links: Vec<Link>,
}

impl Run for Args {
    fn run(self, ui: &mut Ui) -> anyhow::Result<Exit> {
        let target = target(&self.dir)?;
        let mut links = Vec::new();
        for name in COMMANDS.iter().flat_map(|entry| entry.traditional) {
            let action = self.plan(&self.dir.join(name.program), &target)?;
            links.push(Link {
                name: name.program,
                target: target.clone(),
                action,
            });
        }
        for link in links.iter().filter(|link| link.action != Action::Keep && !self.dry_run) {
            let path = self.dir.join(link.name);
            make(&path, &target, link.action).with_context(|| format!("making the link '{}'", path.display()))?;
        }
        if ui.is_json() {
            ui.document(&Report { links })?;
        } else {
            for link in &links {
                writeln!(
                    ui,
                    "{} -> {}",
                    self.dir.join(link.name).display(),
                    link.target.display()
                )?;
            }
        }
        Ok(Exit::OK)
    }
}

impl Args {
    fn plan(&self, path: &Path, target: &Path) -> anyhow::Result<Action> {
        let found = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Action::Make),
            Err(error) => return Err(error).with_context(|| format!("looking at '{}'", path.display())),
            Ok(found) => found,
        };
        if found.is_symlink() && fs::read_link(path).is_ok_and(|old| old == target) {
            return Ok(Action::Keep);
        }
        if found.is_dir() {
            bail!("'{}' is a directory", path.display());
        }
        if !self.force {
            bail!(
                "'{}' exists and is not a link to this program (use --force to replace it)",
                path.display()
            );
        }
        Ok(Action::Replace)
    }
}

/// Where the links point: the plain file name when they are made beside the program, so that both may move together.
fn target(dir: &Path) -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()
        .and_then(|path| path.canonicalize())
        .context("finding this program's own path")?;
    let dir = dir
        .canonicalize()
        .with_context(|| format!("opening the directory '{}'", dir.display()))?;
    Ok(match program.file_name() {
        Some(name) if program.parent() == Some(&dir) => name.into(),
        _ => program,
    })
}

fn make(path: &Path, target: &Path, action: Action) -> io::Result<()> {
    if action != Action::Replace {
        return symlink(target, path);
    }
    // The name is never missing: a fresh link takes its place in one step.
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!(".{}", std::process::id()));
    symlink(target, &fresh)?;
    fs::rename(&fresh, path).inspect_err(|_| {
        let _ = fs::remove_file(&fresh);
    })
}
