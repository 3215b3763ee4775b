//! `ocfs2 cp`: copying out of a volume, and into one.

mod into;

use std::cell::RefCell;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use anyhow::{Context, bail};
use ocfs2_format::FileKind;
use rustix::fs::{Mode, OFlags};
use serde::Serialize;

use crate::cmd::Run;
use crate::edit::MountArgs;
use crate::exit::Exit;
use crate::extract::{Copier, Source};
use crate::progress::Progress;
use crate::target::{ImageArgs, Images, Target, base_name};
use crate::text::{human_size, printable};
use crate::transfer::{Clobber, Counters, Effort, Event, FileId, Options, Preserve};
use crate::ui::{OutputArgs, Ui, usage_error};

/// Copy files and directories out of a volume or into one
///
/// Works as cp(1) does, without mounting the volume. Holes stay holes. Whatever names and links the volume holds, nothing
/// is written outside the destination: symbolic links below it are never followed.
///
/// With IMAGE:/path as the destination, copies go into that volume; sources can be files of this machine, of other volumes
/// and of the same one.
///
/// The contents of the root directory, and of a source that ends with /., go into the destination itself.
#[derive(Debug, clap::Parser)]
#[command(after_help = "Examples:
  ocfs2 cp disk.img:/etc/fstab .
  ocfs2 cp -r disk.img:/home disk.img:/srv rescued
  ocfs2 cp -a disk.img:/ everything
  ocfs2 cp -a ./htdocs disk.img:/srv/www
  ocfs2 cp -a old.img:/home new.img:/")]
pub(crate) struct Args {
    /// What to copy and where to; at least one of them as IMAGE:/path
    #[arg(required = true, value_name = "SOURCE")]
    paths: Vec<PathBuf>,
    /// Copy all sources into this directory
    #[arg(short = 't', long, value_name = "DIR", conflicts_with = "no_target_directory")]
    target_directory: Option<PathBuf>,
    /// Treat the destination as a name for the copy, not as a directory to put it into
    #[arg(short = 'T', long)]
    no_target_directory: bool,
    /// Copy directories and what is below them
    #[arg(short, long, short_alias = 'R')]
    recursive: bool,
    /// Keep everything: as -dr --preserve=all
    #[arg(short, long)]
    archive: bool,
    /// Keep permissions, owners and times: as --preserve=mode,ownership,timestamps
    #[arg(short = 'p')]
    preserve_default: bool,
    /// Keep these: mode, ownership, timestamps, links, xattr, all
    #[arg(long, value_name = "LIST", value_delimiter = ',', num_args = 0..=1, require_equals = true,
          default_missing_value = "mode,ownership,timestamps")]
    preserve: Vec<Attribute>,
    /// Do not keep these
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    no_preserve: Vec<Attribute>,
    /// Copy symbolic links as links, and keep hard links: as -P --preserve=links
    #[arg(short = 'd')]
    no_dereference_keep_links: bool,
    /// Never follow symbolic links (the default with -r)
    #[arg(short = 'P', long, overrides_with_all = ["dereference", "dereference_sources"])]
    no_dereference: bool,
    /// Always follow symbolic links, inside the volume (the default for sources without -r)
    #[arg(short = 'L', long, overrides_with_all = ["no_dereference", "dereference_sources"])]
    dereference: bool,
    /// Follow symbolic links that are sources
    #[arg(short = 'H', overrides_with_all = ["no_dereference", "dereference"])]
    dereference_sources: bool,
    /// Leave what is there in the destination as it is
    #[arg(short, long, overrides_with = "force")]
    no_clobber: bool,
    /// Remove what is there in the destination where it cannot be written into
    #[arg(short, long, overrides_with = "no_clobber")]
    force: bool,
    /// Say what is copied
    #[arg(short, long)]
    verbose: bool,
    /// Do not show progress
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    image: ImageArgs,
    #[command(flatten)]
    mount: MountArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Something that a copy can keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Attribute {
    Mode,
    Ownership,
    Timestamps,
    Links,
    Xattr,
    All,
}

/// What was copied.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    destination: String,
    files: u64,
    directories: u64,
    symlinks: u64,
    specials: u64,
    hard_links: u64,
    bytes: u64,
    problems: Vec<String>,
}

/// Where copies go.
struct Destination {
    dir: OwnedFd,
    label: PathBuf,
    /// Name of the only copy; none when every copy keeps its own.
    name: Option<Vec<u8>>,
}

impl Run for Args {
    fn run(self, ui: &mut Ui) -> anyhow::Result<Exit> {
        let mut sources = self.paths.clone();
        let to = match &self.target_directory {
            Some(dir) => dir.clone(),
            None => match sources.pop() {
                Some(last) if !sources.is_empty() => last,
                _ => return Err(usage_error("a destination is needed behind the sources")),
            },
        };
        if self.no_target_directory && sources.len() > 1 {
            return Err(usage_error("--no-target-directory takes one source"));
        }
        if let Some(target) = Target::inside(to.as_os_str()) {
            return into::copy(&self, &sources, &target, ui);
        }
        let mut images = Images::new(self.image.clone());
        let mut problems = Vec::new();
        let mut found = Vec::new();
        for path in &sources {
            match self.find(&mut images, &Target::from(path.clone().into_os_string())) {
                Ok(source) => found.push(source),
                Err(error) => problem(ui, &mut problems, format!("{error:#}")),
            }
        }
        if let ([source], 1) = (found.as_slice(), sources.len())
            && let Some(out) = self.stream(source, &to)?
        {
            return copy_to_stream(source, out, &to, ui);
        }
        let options = self.options();
        let (mut copied, mut label) = (None, to.clone());
        if let Some(first) = found.first() {
            let destination = self.destination(first, &to, sources.len() > 1)?;
            label.clone_from(&destination.label);
            let images = found
                .iter()
                .map(|source| FileId::of(&source.target.image))
                .collect::<Result<_, _>>()?;
            let mut copier = Copier::new(destination.dir, destination.label, images, options);
            let progress = Progress::spinner(self.quiet || ui.is_json());
            let hearing = Hearing::new(ui, progress);
            for source in found {
                // The root, and `dir/.`, name a directory by what is in it.
                let contents = matches!(base_name(&source.target.path), b"" | b"." | b"..");
                let name = match &destination.name {
                    Some(name) => Some(name.clone()),
                    None if contents => None,
                    None => Some(base_name(&source.target.path).to_vec()),
                };
                copier.copy(source, name.as_deref(), |event, counters| hearing.hear(event, counters))?;
            }
            problems.extend(hearing.end().1);
            copied = Some(copier);
        }
        let counters = copied.as_ref().map(Copier::counters);
        if let Some(counters) = counters {
            note_lost(counters, self.quiet, ui);
        }
        if ui.is_json() {
            ui.document(&Report::new(&label, counters.unwrap_or(&Counters::default()), problems))?;
        }
        images.report_corrections(ui);
        Ok(Exit::OK)
    }
}

impl Args {
    fn options(&self) -> Options {
        let mut lists = self.preserve.clone();
        if self.preserve_default {
            lists.extend([Attribute::Mode, Attribute::Ownership, Attribute::Timestamps]);
        }
        if self.no_dereference_keep_links {
            lists.push(Attribute::Links);
        }
        let wanted = |attribute| {
            !self.no_preserve.contains(&attribute)
                && !self.no_preserve.contains(&Attribute::All)
                && (self.archive || lists.contains(&attribute) || lists.contains(&Attribute::All))
        };
        Options {
            recursive: self.recursive || self.archive,
            follow: self.dereference,
            preserve: Preserve {
                mode: wanted(Attribute::Mode),
                ownership: wanted(Attribute::Ownership),
                timestamps: wanted(Attribute::Timestamps),
                links: wanted(Attribute::Links),
                xattr: match wanted(Attribute::Xattr) {
                    false => Effort::None,
                    true if lists.contains(&Attribute::Xattr) => Effort::Must,
                    true => Effort::Try,
                },
            },
            clobber: match (self.no_clobber, self.force) {
                (true, _) => Clobber::Keep,
                (_, true) => Clobber::Force,
                _ => Clobber::Overwrite,
            },
            verbose: self.verbose,
        }
    }

    /// Whether symbolic links named as sources are followed.
    fn follows_sources(&self) -> bool {
        let keep_links = self.no_dereference || self.no_dereference_keep_links || self.recursive || self.archive;
        self.dereference || self.dereference_sources || !keep_links
    }

    fn find(&self, images: &mut Images, target: &Target) -> anyhow::Result<Source> {
        let volume = images.volume(target)?;
        let inode = target.resolve(&volume, self.follows_sources())?;
        Ok(Source {
            volume,
            target: target.clone(),
            inode,
        })
    }

    /// The destination as a stream, where a single file is copied onto a device, a pipe, or through a link that the user
    /// named.
    fn stream(&self, source: &Source, to: &Path) -> anyhow::Result<Option<std::fs::File>> {
        let Ok(found) = std::fs::symlink_metadata(to) else {
            return Ok(None);
        };
        let reached = if found.is_symlink() {
            std::fs::metadata(to).ok()
        } else {
            Some(found.clone())
        };
        let stream = reached.is_some_and(|reached| {
            let kind = reached.file_type();
            kind.is_char_device() || kind.is_block_device() || kind.is_fifo() || (found.is_symlink() && kind.is_file())
        });
        if !stream || source.inode.kind() != FileKind::Regular || self.no_clobber {
            return Ok(None);
        }
        let context = || format!("opening '{}'", to.display());
        if FileId::of(to).with_context(context)? == FileId::of(&source.target.image).with_context(context)? {
            bail!("'{}' is the image that is being read", to.display());
        }
        Ok(Some(
            std::fs::File::options()
                .write(true)
                .truncate(true)
                .open(to)
                .with_context(context)?,
        ))
    }

    /// Opens the directory that copies go into, making it for the contents of a directory.
    fn destination(&self, first: &Source, to: &Path, several: bool) -> anyhow::Result<Destination> {
        let open = |path: &Path| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, Mode::empty()).map_err(std::io::Error::from)
        };
        let must_be_dir = several || self.target_directory.is_some();
        if must_be_dir || (to.is_dir() && !self.no_target_directory) {
            let dir = open(to).with_context(|| format!("opening the directory '{}'", to.display()))?;
            return Ok(Destination {
                dir,
                label: to.to_owned(),
                name: None,
            });
        }
        let Some(name) = to.file_name() else {
            // Such as `..` or `/` with --no-target-directory.
            let dir = open(to).with_context(|| format!("opening the directory '{}'", to.display()))?;
            return Ok(Destination {
                dir,
                label: to.to_owned(),
                name: None,
            });
        };
        if to.as_os_str().as_bytes().ends_with(b"/") && first.inode.kind() != FileKind::Directory {
            bail!("'{}' is not a directory", to.display());
        }
        let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
        let dir = open(parent.unwrap_or(Path::new(".")))
            .with_context(|| format!("opening the directory '{}'", parent.unwrap_or(Path::new(".")).display()))?;
        let label = parent.map(Path::to_owned).unwrap_or_default();
        Ok(Destination {
            dir,
            label,
            name: Some(name.as_bytes().to_vec()),
        })
    }
}

/// Tells how many objects lost something that was to be kept where possible.
pub(crate) fn note_lost(counters: &Counters, quiet: bool, ui: &mut Ui) {
    let notes = [
        (&counters.owners_lost, "owner not kept: only root may give files away"),
        (
            &counters.xattrs_lost,
            "extended attributes not kept: the destination does not take them",
        ),
    ];
    for (counter, what) in notes {
        let count = counter.load(Ordering::Relaxed);
        if count > 0 && !quiet {
            ui.note(format_args!("{count} objects: {what}"));
        }
    }
}

/// Hears what happens while something is copied, and passes it on.
pub(crate) struct Hearing<'a> {
    state: RefCell<(&'a mut Ui, Vec<String>)>,
    progress: Progress,
}

impl<'a> Hearing<'a> {
    /// Shows progress on a line, and everything else as it comes.
    pub(crate) fn new(ui: &'a mut Ui, progress: Progress) -> Self {
        Self {
            state: RefCell::new((ui, Vec::new())),
            progress,
        }
    }

    /// Passes an event on.
    pub(crate) fn hear(&self, event: Event, counters: &Counters) -> anyhow::Result<()> {
        match event {
            Event::Tick => self.progress.show(state(counters)),
            Event::Problem(text) => self.problem(text),
            Event::Copied(from, to) => {
                let ui = &mut *self.state.borrow_mut().0;
                if !ui.is_json() {
                    self.progress.suspend(|| copied(ui, &from, &to))?;
                }
            }
        }
        Ok(())
    }

    /// Tells about something that was not copied, or not all of it.
    pub(crate) fn problem(&self, text: String) {
        let (ui, problems) = &mut *self.state.borrow_mut();
        self.progress.suspend(|| problem(ui, problems, text));
    }

    /// Gives back what was lent, and the problems for a report.
    pub(crate) fn end(self) -> (&'a mut Ui, Vec<String>) {
        self.state.into_inner()
    }
}

fn copied(ui: &mut Ui, from: &[u8], to: &[u8]) -> anyhow::Result<()> {
    write!(ui, "'")?;
    ui.name(from)?;
    write!(ui, "' -> '")?;
    ui.name(to)?;
    writeln!(ui, "'")?;
    Ok(())
}

fn problem(ui: &mut Ui, problems: &mut Vec<String>, text: String) {
    ui.problem(&text);
    if ui.is_json() {
        problems.push(text);
    }
}

/// Writes one file, holes as zeros, to something that cannot have them.
fn copy_to_stream(source: &Source, mut out: std::fs::File, to: &Path, ui: &mut Ui) -> anyhow::Result<Exit> {
    let file = source
        .volume
        .open_inode(source.inode.clone())
        .with_context(|| source.target.to_string())?;
    let mut buf = vec![0; 1 << 20];
    let mut offset = 0;
    loop {
        let read = file
            .read_at(offset, &mut buf)
            .with_context(|| source.target.to_string())?;
        if read == 0 {
            break;
        }
        out.write_all(&buf[..read])
            .with_context(|| format!("writing '{}'", to.display()))?;
        offset += read as u64;
    }
    if ui.is_json() {
        let counters = Counters::default();
        counters.files.store(1, Ordering::Relaxed);
        counters.bytes.store(offset, Ordering::Relaxed);
        ui.document(&Report::new(to, &counters, Vec::new()))?;
    }
    Ok(Exit::OK)
}

impl Report {
    /// What the counters say.
    pub(crate) fn new(destination: &Path, counters: &Counters, problems: Vec<String>) -> Self {
        Self {
            destination: printable(destination.as_os_str().as_bytes()).into_owned(),
            files: counters.files.load(Ordering::Relaxed),
            directories: counters.directories.load(Ordering::Relaxed),
            symlinks: counters.symlinks.load(Ordering::Relaxed),
            specials: counters.specials.load(Ordering::Relaxed),
            hard_links: counters.hard_links.load(Ordering::Relaxed),
            bytes: counters.bytes.load(Ordering::Relaxed),
            problems,
        }
    }
}

fn state(counters: &Counters) -> String {
    let files = counters.files.load(Ordering::Relaxed);
    format!("{files} files, {}", human_size(counters.bytes.load(Ordering::Relaxed)))
}
