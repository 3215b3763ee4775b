//! `ocfs2 stat`: an inode in full.

use std::fmt::Display;
use std::io::Write;

use anyhow::{Context, bail};
use ocfs2_format::FileKind;
use ocfs2_fs::{Inode, Volume};
use serde::Serialize;

use crate::cmd::Run;
use crate::exit::Exit;
use crate::report::{InodeReport, PathReport};
use crate::target::{ImageArgs, Images, Target};
use crate::text::{Clock, People, kind_name, permissions, printable};
use crate::ui::{OutputArgs, Ui};

/// Show everything about files of a volume
///
/// Symbolic links are shown themselves, not what they point to.
#[derive(Debug, clap::Parser)]
#[command(after_help = "\
Directives of --format:
  %a %A  permissions in octal, in words      %n %N  name, name quoted with link target
  %b %B  allocated blocks, their size        %o     cluster size
  %f %F  raw mode in hex, type in words      %s     size in bytes
  %g %G  group number, name                  %t %T  device major, minor in hex
  %u %U  owner number, name                  %x %X  last access: text, seconds
  %h     hard links                          %y %Y  last change of the contents
  %i     inode number                        %z %Z  last change of the inode

Examples:
  ocfs2 stat disk.img:/etc/fstab
  ocfs2 stat -L -c '%s %n' disk.img:/vmlinuz
  ocfs2 stat disk.img://global_bitmap   (a system file)")]
pub(crate) struct Args {
    /// Files, as IMAGE:/path
    #[arg(required = true, value_name = "TARGET")]
    targets: Vec<Target>,
    /// Follow symbolic links
    #[arg(short = 'L', long)]
    dereference: bool,
    /// Print this for each file instead, with a line end
    #[arg(short = 'c', long, conflicts_with = "json")]
    format: Option<String>,
    #[command(flatten)]
    image: ImageArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    path: PathReport,
    #[serde(flatten)]
    inode: InodeReport,
    generation: u32,
    clusters: u32,
    cluster_size: u64,
    extents: usize,
    flags: Vec<String>,
    features: Vec<String>,
    attributes: Vec<String>,
    xattrs: usize,
}

impl Run for Args {
    fn run(self, ui: &mut Ui) -> anyhow::Result<Exit> {
        let mut images = Images::new(self.image.clone());
        let (people, clock) = (People::default(), Clock::default());
        if ui.is_json() {
            ui.begin_list("files")?;
        }
        for target in &self.targets {
            let found = images.volume(target).and_then(|volume| {
                let inode = target.resolve(&volume, self.dereference)?;
                File::read(volume, target, inode)
            });
            match found {
                Err(error) => ui.problem(format_args!("{error:#}")),
                Ok(file) if ui.is_json() => ui.item(&file.report(&people))?,
                Ok(file) => match &self.format {
                    Some(format) => writeln!(ui, "{}", file.format(format, &people, &clock)?)?,
                    None => file.print(&people, &clock, ui)?,
                },
            }
        }
        images.report_corrections(ui);
        Ok(Exit::OK)
    }
}

/// Everything about one file.
struct File<'a> {
    target: &'a Target,
    volume: Volume,
    inode: Inode,
    link: Option<Vec<u8>>,
    extents: usize,
    xattrs: usize,
}

impl<'a> File<'a> {
    fn read(volume: Volume, target: &'a Target, inode: Inode) -> anyhow::Result<Self> {
        let context = || target.to_string();
        let link = (inode.kind() == FileKind::Symlink)
            .then(|| volume.link_target(&inode))
            .transpose()
            .with_context(context)?;
        let extents = volume.extents(&inode).with_context(context)?.len();
        let xattrs = volume.inode_xattrs(&inode).with_context(context)?.len();
        Ok(Self {
            target,
            volume,
            inode,
            link,
            extents,
            xattrs,
        })
    }

    fn flags(&self) -> [Vec<String>; 3] {
        [
            words(self.inode.flags().iter_names().map(|(name, _)| name)),
            words(self.inode.dyn_features().iter_names().map(|(name, _)| name)),
            words(self.inode.attr().iter_names().map(|(name, _)| name)),
        ]
    }

    fn report(&self, people: &People) -> Report {
        let [flags, features, attributes] = self.flags();
        Report {
            path: self.target.path.as_slice().into(),
            inode: InodeReport::new(&self.inode, people, self.link.as_deref()),
            generation: self.inode.generation().0,
            clusters: self.inode.clusters(),
            cluster_size: self.volume.geometry().cluster_size(),
            extents: self.extents,
            flags,
            features,
            attributes,
            xattrs: self.xattrs,
        }
    }

    fn print(&self, people: &People, clock: &Clock, ui: &mut Ui) -> anyhow::Result<()> {
        let inode = &self.inode;
        write!(ui, "  File: ")?;
        ui.name(&self.target.to_bytes())?;
        if let Some(link) = &self.link {
            write!(ui, " -> ")?;
            ui.name(link)?;
        }
        writeln!(ui)?;
        let kind = match inode.kind() {
            FileKind::Regular if inode.size() == 0 => "regular empty file",
            kind => kind_name(kind),
        };
        let cluster = self.volume.geometry().cluster_size();
        writeln!(
            ui,
            "  Size: {:<15} Blocks: {:<10} Cluster size: {cluster:<7} {kind}",
            inode.size(),
            inode.sectors()
        )?;
        write!(
            ui,
            " Inode: {:<15} Links: {:<11} Generation: {}",
            inode.number(),
            inode.links(),
            inode.generation()
        )?;
        match inode.device_number() {
            Some(device) => writeln!(ui, "  Device type: {},{}", device.major, device.minor)?,
            None => writeln!(ui)?,
        }
        let name = |name: Option<String>| name.unwrap_or_else(|| "UNKNOWN".to_owned());
        let mode = permissions(inode.kind(), inode.mode());
        let (user, group) = (name(people.user(inode.uid())), name(people.group(inode.gid())));
        writeln!(
            ui,
            "Access: ({:04o}/{mode})  Uid: ({:>5}/{user:>8})   Gid: ({:>5}/{group:>8})",
            inode.mode() & 0o7777,
            inode.uid(),
            inode.gid()
        )?;
        for (what, time) in [
            ("Access", inode.atime()),
            ("Modify", inode.mtime()),
            ("Change", inode.ctime()),
        ] {
            writeln!(ui, "{what}: {}", clock.full(time))?;
        }
        writeln!(
            ui,
            "Clusters: {:<12} Extents: {:<9} Attributes: {}",
            inode.clusters(),
            self.extents,
            self.xattrs
        )?;
        let [flags, features, attributes] = self.flags();
        for (what, words) in [("Flags", flags), ("Features", features), ("Chattr", attributes)] {
            if !words.is_empty() {
                writeln!(ui, "{what}: {}", words.join(" "))?;
            }
        }
        Ok(())
    }

    /// The directives of stat(1) that have a meaning here.
    fn format(&self, format: &str, people: &People, clock: &Clock) -> anyhow::Result<String> {
        let inode = &self.inode;
        let device = inode.device_number();
        let name = self.target.to_bytes();
        let mut text = String::new();
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                text.push(c);
                continue;
            }
            let quoted = |name: &[u8]| format!("'{}'", printable(name));
            let unnamed = || "UNKNOWN".to_owned();
            let value: Box<dyn Display> = match chars.next() {
                Some('%') => Box::new('%'),
                Some('a') => Box::new(format!("{:o}", inode.mode() & 0o7777)),
                Some('A') => Box::new(permissions(inode.kind(), inode.mode())),
                Some('b') => Box::new(inode.sectors()),
                Some('B') => Box::new(512),
                Some('f') => Box::new(format!("{:x}", inode.mode())),
                Some('F') => Box::new(kind_name(inode.kind())),
                Some('g') => Box::new(inode.gid()),
                Some('G') => Box::new(people.group(inode.gid()).unwrap_or_else(unnamed)),
                Some('h') => Box::new(inode.links()),
                Some('i') => Box::new(inode.number()),
                Some('n') => Box::new(printable(&name)),
                Some('N') => Box::new(match &self.link {
                    Some(link) => format!("{} -> {}", quoted(&name), quoted(link)),
                    None => quoted(&name),
                }),
                Some('o') => Box::new(self.volume.geometry().cluster_size()),
                Some('s') => Box::new(inode.size()),
                Some('t') => Box::new(format!("{:x}", device.map_or(0, |device| device.major))),
                Some('T') => Box::new(format!("{:x}", device.map_or(0, |device| device.minor))),
                Some('u') => Box::new(inode.uid()),
                Some('U') => Box::new(people.user(inode.uid()).unwrap_or_else(unnamed)),
                Some('x') => Box::new(clock.full(inode.atime())),
                Some('X') => Box::new(inode.atime().secs),
                Some('y') => Box::new(clock.full(inode.mtime())),
                Some('Y') => Box::new(inode.mtime().secs),
                Some('z') => Box::new(clock.full(inode.ctime())),
                Some('Z') => Box::new(inode.ctime().secs),
                Some(other) => bail!("'%{other}' is no directive of --format"),
                None => bail!("--format ends with a single %"),
            };
            text.push_str(&value.to_string());
        }
        Ok(text)
    }
}

/// Flag names as words: `INLINE_DATA` becomes `inline-data`.
fn words<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    names.map(|name| name.to_ascii_lowercase().replace('_', "-")).collect()
}
