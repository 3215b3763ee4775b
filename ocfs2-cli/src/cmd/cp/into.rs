//! Copying into a volume: from this machine, from another volume, or inside it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use anyhow::{Context, bail};
use ocfs2_format::FileKind;
use ocfs2_fs::{FileSystem, Inode};

use crate::edit::{Mounts, place};
use crate::exit::Exit;
use crate::import::{HostTree, Importer, MountedTree, Policy, Source, Walk};
use crate::progress::Progress;
use crate::target::{Target, base_name};
use crate::transfer::FileId;
use crate::ui::Ui;

use super::{Args, Hearing, Report};

/// Where copies go.
struct Destination {
    /// The directory.
    base: Target,
    dir: Inode,
    /// Name of the only copy; none when every copy keeps its own.
    name: Option<Vec<u8>>,
}

/// Copies sources to a destination in an image.
pub(super) fn copy(args: &Args, sources: &[PathBuf], to: &Target, ui: &mut Ui) -> anyhow::Result<Exit> {
    let mut writing = Mounts::new(args.image.partition(), &args.mount)?;
    let mut reading = Mounts::for_reading(args.image.partition(), &args.mount)?;
    let outcome = copy_all(args, sources, to, &mut writing, &mut reading, ui);
    let outcome = reading.finish(outcome);
    writing.finish(outcome)?;
    Ok(Exit::OK)
}

fn copy_all(
    args: &Args,
    sources: &[PathBuf],
    to: &Target,
    writing: &mut Mounts,
    reading: &mut Mounts,
    ui: &mut Ui,
) -> anyhow::Result<()> {
    let fs = writing.mount(to)?;
    let destination = args.destination_in(&fs, to, sources.len() > 1)?;
    let options = args.options();
    let follow = args.follows_sources();
    let progress = Progress::spinner(args.quiet || ui.is_json());
    let hearing = Hearing::new(ui, progress);
    let mut importer = Importer::new(
        fs.clone(),
        destination.base.clone(),
        destination.dir.number(),
        options,
        Policy::default(),
        |event, counters| hearing.hear(event, counters),
    );
    for path in sources {
        let name_for = |path: &[u8]| match (&destination.name, base_name(path)) {
            (Some(name), _) => Some(name.clone()),
            // The root, and `dir/.`, name a directory by what is in it.
            (None, b"" | b"." | b"..") => None,
            (None, name) => Some(name.to_vec()),
        };
        let source: anyhow::Result<Box<dyn Source>> = match Target::inside(path.as_os_str()) {
            None => {
                let tree = HostTree::new(options);
                let key = tree.key(path, follow);
                let name = name_for(path.as_os_str().as_bytes());
                Ok(Box::new(Walk::new(tree, key, name, options.recursive)))
            }
            Some(source) => open(&source, writing, reading).and_then(|(from, is_own, volume)| {
                let inode = source.find_in(&from, follow)?;
                if is_own && inode.kind() == FileKind::Directory {
                    refuse_inside_itself(&fs, &source, &inode, &destination.dir)?;
                }
                let tree = MountedTree::new(from, options, is_own, volume);
                let key = tree.key(&source, follow);
                let walk = Walk::new(tree, key, name_for(&source.path), options.recursive);
                Ok(Box::new(walk) as Box<dyn Source>)
            }),
        };
        match source {
            Ok(mut source) => importer.take(source.as_mut())?,
            Err(error) => hearing.problem(format!("{error:#}")),
        }
    }
    let counters = importer.into_counters();
    let (ui, problems) = hearing.end();
    super::note_lost(&counters, args.quiet, ui);
    if ui.is_json() {
        let label = PathBuf::from(OsStr::from_bytes(&destination.base.to_bytes()));
        ui.document(&Report::new(&label, &counters, problems))?;
    }
    Ok(())
}

/// The volume of a source; whether it is the one that is copied to; and a number that tells it from other volumes.
fn open(source: &Target, writing: &Mounts, reading: &mut Mounts) -> anyhow::Result<(FileSystem, bool, u64)> {
    /// Above the numbers of this machine's devices.
    const VOLUMES: u64 = 1 << 63;
    source.mounted_path()?;
    let id = FileId::of(&source.image).with_context(|| source.image.display().to_string())?;
    if let Some(fs) = writing.mounted(id) {
        return Ok((fs, true, VOLUMES));
    }
    let fs = reading.mount(source)?;
    Ok((fs, false, VOLUMES + 1 + reading.index(id)))
}

/// Refuses to copy a directory to a place inside it, which would never end.
fn refuse_inside_itself(fs: &FileSystem, source: &Target, inode: &Inode, to: &Inode) -> anyhow::Result<()> {
    let mut at = to.number();
    for _ in 0..crate::transfer::MAX_DEPTH {
        if at == inode.number() {
            bail!("{source}: a directory cannot be copied into itself");
        }
        let above = fs.lookup(at, b"..").map_err(|error| source.failed(error))?;
        match above {
            Some(above) if above.number() != at => at = above.number(),
            _ => break,
        }
    }
    Ok(())
}

impl Args {
    /// The directory that copies go into, in a mounted volume.
    fn destination_in(&self, fs: &FileSystem, to: &Target, several: bool) -> anyhow::Result<Destination> {
        let must_be_dir = several || self.target_directory.is_some();
        let found = place::found(fs, to, true)?;
        if let Some(dir) = found.filter(|inode| inode.kind() == FileKind::Directory)
            && !self.no_target_directory
        {
            return Ok(Destination {
                base: to.clone(),
                dir,
                name: None,
            });
        }
        if must_be_dir {
            bail!("{to}: not a directory");
        }
        let name = match to.base_name() {
            // With --no-target-directory.
            b"" | b"." | b".." => {
                let dir = to.find_in(fs, true)?;
                return Ok(Destination {
                    base: to.clone(),
                    dir,
                    name: None,
                });
            }
            name => name.to_vec(),
        };
        let end = to.path.iter().rposition(|&byte| byte != b'/').map_or(0, |at| at + 1);
        let above = end.saturating_sub(name.len());
        let base = Target {
            image: to.image.clone(),
            path: if above == 0 {
                b"/".to_vec()
            } else {
                to.path[..above].to_vec()
            },
        };
        let dir = base.find_in(fs, true)?;
        if dir.kind() != FileKind::Directory {
            bail!("{base}: not a directory");
        }
        Ok(Destination {
            base,
            dir,
            name: Some(name),
        })
    }
}
