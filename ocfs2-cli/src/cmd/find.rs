//! `ocfs2 find`: files that fulfil conditions.
//!
//! The words behind the starting points are an expression of find(1); [`expr`] reads and judges it.

mod expr;
mod pattern;

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ocfs2_format::FileKind;
use ocfs2_fs::{Inode, Volume};
use serde::Serialize;

use crate::cmd::Run;
use crate::exit::Exit;
use crate::report::{InodeReport, PathReport};
use crate::target::{ImageArgs, Images, Target};
use crate::text::{Clock, People, permissions};
use crate::ui::{OutputArgs, Ui, usage_error};

use self::expr::{Action, Expression};

/// Find files of a volume by name, type, size, time, owner and more
#[derive(Debug, clap::Parser)]
#[command(
    override_usage = "ocfs2 find [OPTIONS] <TARGET>... [EXPRESSION]",
    after_help = "\
Options come first, then targets, then the expression. Words of the expression, as in find(1):
  -name GLOB -iname GLOB      name, -iname in either case      -type bcdpfls  type, several with commas
  -path GLOB -ipath GLOB      path inside the volume           -size N[bcwkMG] size, rounded up
  -mtime N -atime N -ctime N  days ago                         -links N       hard links
  -mmin N -amin N -cmin N     minutes ago                      -inum N        inode number
  -newer TARGET               changed later than TARGET        -user U -uid N owner
  -perm MODE -MODE /MODE      mode in octal: is, all, any      -group G -gid N group
  -empty                      no bytes, or no entries          -true -false
  -maxdepth N -mindepth N     levels below the targets
N stands for exactly N, +N for more, -N for less.
  -print -print0 -ls          what to do (-print if nothing)   -prune -quit
  ! EXPR, -not EXPR, EXPR -a EXPR, EXPR EXPR, EXPR -o EXPR, ( EXPR )

Examples:
  ocfs2 find disk.img:/home -name '*.txt' -size +1M
  ocfs2 find --json disk.img -type f -mtime -7
  ocfs2 find disk.img:/log -name '*.gz' -print0 | xargs -0 -n 1 ocfs2 cat"
)]
pub(crate) struct Args {
    #[command(flatten)]
    image: ImageArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// Where to start, as IMAGE:/path, and the expression
    #[arg(
        required = true,
        value_name = "TARGET",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    words: Vec<OsString>,
}

/// A file that the walk met.
struct Found<'a> {
    volume: &'a Volume,
    target: &'a Target,
    path: &'a [u8],
    inode: &'a Inode,
}

/// What the walk does next.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    GoOn,
    Prune,
    Quit,
}

impl Run for Args {
    fn run(self, ui: &mut Ui) -> anyhow::Result<Exit> {
        let is_target = |word: &&OsString| !matches!(word.as_bytes(), [b'-', ..] | [b'('] | [b'!']);
        let targets: Vec<Target> = self
            .words
            .iter()
            .take_while(is_target)
            .map(|word| word.clone().into())
            .collect();
        if let (true, Some(word)) = (targets.is_empty(), self.words.first()) {
            return Err(usage_error(format_args!(
                "unexpected argument '{}' before the first target",
                word.display()
            )));
        }
        let mut images = Images::new(self.image);
        let people = People::default();
        let mut expression = Expression::parse(&self.words[targets.len()..], &people)?;
        expression.resolve(&mut |target| {
            let volume = images.volume(target)?;
            Ok(target.resolve(&volume, true)?.mtime())
        })?;
        let mut finder = Finder {
            expression: &expression,
            people,
            clock: Clock::default(),
        };
        if ui.is_json() {
            ui.begin_list("entries")?;
        }
        for target in &targets {
            match images.volume(target) {
                Err(error) => ui.problem(format_args!("{error:#}")),
                Ok(volume) => {
                    if finder.walk(&volume, target, ui)? == Next::Quit {
                        break;
                    }
                }
            }
        }
        images.report_corrections(ui);
        Ok(Exit::OK)
    }
}

#[derive(Debug, Serialize)]
struct Entry {
    #[serde(flatten)]
    path: PathReport,
    #[serde(flatten)]
    inode: InodeReport,
}

struct Finder<'a> {
    expression: &'a Expression,
    people: People,
    clock: Clock,
}

impl Finder<'_> {
    fn walk(&mut self, volume: &Volume, target: &Target, ui: &mut Ui) -> anyhow::Result<Next> {
        let start = match target.resolve(volume, false) {
            Ok(inode) => inode,
            Err(error) => {
                ui.problem(format_args!("{error:#}"));
                return Ok(Next::GoOn);
            }
        };
        let mut walk = volume.walk_inode(start, Path::new(OsStr::from_bytes(&target.path)));
        while let Some(step) = walk.next() {
            let entry = match step {
                Ok(entry) => entry,
                Err(error) => {
                    ui.problem(format_args!("{}:{error}", target.image.display()));
                    continue;
                }
            };
            let found = Found {
                volume,
                target,
                path: entry.path.as_os_str().as_bytes(),
                inode: &entry.inode,
            };
            let mut next = Next::GoOn;
            if entry.depth >= self.expression.min_depth {
                self.expression.judge(&found, self.clock.now(), &mut |action| {
                    next = match action {
                        Action::Prune => Next::Prune,
                        Action::Quit => Next::Quit,
                        action => return self.act(action, &found, ui),
                    };
                    Ok(())
                })?;
            }
            if next == Next::Quit {
                return Ok(next);
            }
            let is_dir = entry.inode.kind() == FileKind::Directory;
            if is_dir && (next == Next::Prune || entry.depth >= self.expression.max_depth) {
                walk.skip_directory();
            }
        }
        Ok(Next::GoOn)
    }

    fn act(&self, action: Action, found: &Found<'_>, ui: &mut Ui) -> anyhow::Result<()> {
        let shown = Target {
            image: found.target.image.clone(),
            path: found.path.to_vec(),
        }
        .to_bytes();
        let inode = found.inode;
        let link = if inode.kind() == FileKind::Symlink && (ui.is_json() || action == Action::Ls) {
            let target = found.volume.link_target(inode);
            target
                .inspect_err(|error| ui.problem(format_args!("{}: {error}", found.target)))
                .ok()
        } else {
            None
        };
        match action {
            _ if ui.is_json() => {
                let inode = InodeReport::new(inode, &self.people, link.as_deref());
                ui.item(&Entry {
                    path: found.path.into(),
                    inode,
                })?;
            }
            Action::Print => {
                ui.name(&shown)?;
                writeln!(ui)?;
            }
            Action::Print0 => {
                ui.write_all(&shown)?;
                ui.write_all(b"\0")?;
            }
            Action::Ls => {
                let name = |name: Option<String>, number: u32| name.unwrap_or_else(|| number.to_string());
                let size = match inode.device_number() {
                    Some(device) => format!("{}, {}", device.major, device.minor),
                    None => inode.size().to_string(),
                };
                write!(
                    ui,
                    "{:>9} {:>6} {} {:>3} {:<8} {:<8} {size:>8} {} ",
                    inode.number(),
                    inode.sectors().div_ceil(2),
                    permissions(inode.kind(), inode.mode()),
                    inode.links(),
                    name(self.people.user(inode.uid()), inode.uid()),
                    name(self.people.group(inode.gid()), inode.gid()),
                    self.clock.short(inode.mtime())
                )?;
                ui.name(&shown)?;
                if let Some(link) = link {
                    write!(ui, " -> ")?;
                    ui.name(&link)?;
                }
                writeln!(ui)?;
            }
            Action::Prune | Action::Quit => {}
        }
        Ok(())
    }
}
