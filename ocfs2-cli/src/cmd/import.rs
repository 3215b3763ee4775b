//! `ocfs2 import`: puts a directory or a tar archive into a volume.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use ocfs2_format::FileKind;

use crate::cmd::Run;
use crate::cmd::cp::{Hearing, Report, note_lost};
use crate::edit::owner::Owner;
use crate::edit::{MountArgs, Mounts, new_inode, place};
use crate::exit::Exit;
use crate::import::{HostTree, Importer, Policy, Source, TarSource, Walk};
use crate::progress::Progress;
use crate::target::Target;
use crate::transfer::{Clobber, Effort, Options, Preserve};
use crate::ui::{OutputArgs, Ui};

/// Put the contents of a directory, or of a tar archive, into a directory of a volume
///
/// Keeps owners (by number), permissions, times, links, holes, extended attributes and access control lists. Files that
/// are there already are replaced. Names in an archive that lead out of the directory are refused, links there not
/// followed. Archives are read once, so that they may come through a pipe; compressed ones must be decompressed first.
#[derive(Debug, clap::Parser)]
#[command(after_help = "Examples:
  ocfs2 import rootfs/ disk.img:/
  ocfs2 import backup.tar disk.img:/srv
  zcat layer.tar.gz | ocfs2 import --owner root:root - disk.img:/layers/1")]
pub(crate) struct Args {
    /// Directory, tar archive, or - for an archive on standard input
    #[arg(value_name = "SOURCE")]
    source: PathBuf,
    /// Directory of the volume, as IMAGE:/path, made if missing
    #[arg(value_name = "TARGET")]
    target: Target,
    /// Give everything to this USER, USER:GROUP or :GROUP
    #[arg(long, value_name = "OWNER", value_parser = Owner::parse)]
    owner: Option<Owner>,
    /// Leave what is there already as it is
    #[arg(short, long)]
    no_clobber: bool,
    /// Say what is copied
    #[arg(short, long)]
    verbose: bool,
    /// Do not show progress
    #[arg(short, long)]
    quiet: bool,
    /// Work on the volume in partition N of the image or device
    #[arg(long, value_name = "N")]
    partition: Option<u32>,
    #[command(flatten)]
    mount: MountArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Everything, and attributes wherever the volume takes them.
pub(crate) const EVERYTHING: Options = Options {
    recursive: true,
    follow: false,
    preserve: Preserve {
        mode: true,
        ownership: true,
        timestamps: true,
        links: true,
        xattr: Effort::Try,
    },
    clobber: Clobber::Overwrite,
    verbose: false,
};

/// A directory or tar archive of this machine as a source.
pub(crate) fn source(path: &Path, options: Options) -> anyhow::Result<Box<dyn Source>> {
    /// For pipes; contents of files are read past it.
    const BUFFER_BYTES: usize = 64 << 10;
    let name = || path.display().to_string();
    if path.as_os_str() == "-" {
        let input = BufReader::with_capacity(BUFFER_BYTES, io::stdin());
        return Ok(Box::new(TarSource::new(Box::new(input), "standard input".to_owned())));
    }
    let found = std::fs::metadata(path).with_context(name)?;
    if found.is_dir() {
        let tree = HostTree::new(options);
        let key = tree.key(path, true);
        return Ok(Box::new(Walk::new(tree, key, None, true)));
    }
    let file: Box<dyn Read> = Box::new(File::open(path).with_context(name)?);
    let input = BufReader::with_capacity(BUFFER_BYTES, file);
    Ok(Box::new(TarSource::new(Box::new(input), name())))
}

impl Run for Args {
    fn run(self, ui: &mut Ui) -> anyhow::Result<Exit> {
        let options = Options {
            clobber: match self.no_clobber {
                true => Clobber::Keep,
                false => Clobber::Overwrite,
            },
            verbose: self.verbose,
            ..EVERYTHING
        };
        let mut source = source(&self.source, options)?;
        let mut mounts = Mounts::new(self.partition, &self.mount)?;
        let outcome = self.import(source.as_mut(), options, &mut mounts, ui);
        mounts.finish(outcome)?;
        Ok(Exit::OK)
    }
}

impl Args {
    fn import(
        &self,
        source: &mut dyn Source,
        options: Options,
        mounts: &mut Mounts,
        ui: &mut Ui,
    ) -> anyhow::Result<()> {
        let target = &self.target;
        let fs = mounts.mount(target)?;
        let dir = match place::found(&fs, target, true)? {
            Some(dir) if dir.kind() == FileKind::Directory => dir,
            Some(_) => bail!("{target}: not a directory"),
            None => {
                let (dir, name) = place::parent(&fs, target)?;
                let made = fs.make_dir(dir, &name, &new_inode(0o777));
                made.map_err(|error| target.failed(error))?
            }
        };
        let policy = Policy {
            owner: self.owner.unwrap_or_default(),
            replace: true,
            ..Policy::default()
        };
        let hearing = Hearing::new(ui, Progress::spinner(self.quiet || self.output.json));
        let hear = |event, counters: &_| hearing.hear(event, counters);
        let mut importer = Importer::new(fs, target.clone(), dir.number(), options, policy, hear);
        importer.take(source)?;
        let counters = importer.into_counters();
        let (ui, problems) = hearing.end();
        note_lost(&counters, self.quiet, ui);
        if ui.is_json() {
            let label = PathBuf::from(std::ffi::OsStr::from_bytes(&target.to_bytes()));
            ui.document(&Report::new(&label, &counters, problems))?;
        }
        Ok(())
    }
}
