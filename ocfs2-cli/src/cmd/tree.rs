//! `ocfs2 tree`: what is below a directory, drawn as a tree.

use std::collections::HashSet;
use std::io::Write;

use ocfs2_format::{FileKind, InodeNo};
use ocfs2_fs::{Inode, Volume};
use serde::Serialize;

use crate::cmd::Run;
use crate::exit::Exit;
use crate::report::{InodeReport, PathReport};
use crate::target::{ImageArgs, Images, Target};
use crate::text::{People, human_size, printable};
use crate::ui::{OutputArgs, Ui};

/// Draw the tree of files and directories below a directory of a volume
#[derive(Debug, clap::Parser)]
#[command(
    disable_help_flag = true,
    after_help = "Examples:\n  ocfs2 tree disk.img\n  ocfs2 tree -L 2 -d disk.img:/home"
)]
pub(crate) struct Args {
    /// Directories, as IMAGE:/path
    #[arg(required = true, value_name = "TARGET")]
    targets: Vec<Target>,
    /// Show names that begin with a dot too
    #[arg(short, long)]
    all: bool,
    /// Show directories only
    #[arg(short, long)]
    dirs_only: bool,
    /// Go N levels down
    #[arg(short = 'L', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    level: Option<u32>,
    /// Show sizes in bytes
    #[arg(short, long)]
    size: bool,
    /// Show sizes with units: 1.5K, 23M
    #[arg(short, long)]
    human_readable: bool,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: (),
    #[command(flatten)]
    image: ImageArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Lines that are drawn before a name: for one with more below it, for the last, and the same for what is below them.
const BRANCH: [&str; 2] = ["├── ", "└── "];
const TRUNK: [&str; 2] = ["│   ", "    "];

/// A name that waits to be drawn.
#[derive(Debug)]
struct Node {
    name: Vec<u8>,
    number: InodeNo,
    kind: Option<FileKind>,
}

/// A directory that is being drawn.
struct Level {
    target: Target,
    /// Names to come, the next one last.
    nodes: Vec<Node>,
}

#[derive(Debug, Serialize)]
struct Entry {
    #[serde(flatten)]
    path: PathReport,
    depth: usize,
    #[serde(flatten)]
    inode: InodeReport,
}

impl Run for Args {
    fn run(self, ui: &mut Ui) -> anyhow::Result<Exit> {
        let mut images = Images::new(self.image.clone());
        let mut tree = Tree {
            args: &self,
            people: People::default(),
            directories: 0,
            files: 0,
        };
        if ui.is_json() {
            ui.begin_list("entries")?;
        }
        for target in &self.targets {
            let found = images.volume(target).and_then(|volume| {
                let inode = target.resolve(&volume, true)?;
                Ok((volume, inode))
            });
            match found {
                Ok((volume, inode)) => tree.draw(&volume, target, &inode, ui)?,
                Err(error) => ui.problem(format_args!("{error:#}")),
            }
        }
        if !ui.is_json() {
            let Tree { directories, files, .. } = tree;
            let word = |count, one, many| if count == 1 { one } else { many };
            write!(ui, "\n{directories} {}", word(directories, "directory", "directories"))?;
            if !self.dirs_only {
                write!(ui, ", {files} {}", word(files, "file", "files"))?;
            }
            writeln!(ui)?;
        }
        images.report_corrections(ui);
        Ok(Exit::OK)
    }
}

struct Tree<'a> {
    args: &'a Args,
    people: People,
    directories: u64,
    files: u64,
}

impl Tree<'_> {
    fn draw(&mut self, volume: &Volume, target: &Target, inode: &Inode, ui: &mut Ui) -> anyhow::Result<()> {
        self.line(volume, target, &target.to_bytes(), inode, 0, "", ui)?;
        if inode.kind() != FileKind::Directory {
            return Ok(());
        }
        let mut seen = HashSet::from([inode.number()]);
        let mut levels = vec![Level {
            target: target.clone(),
            nodes: self.nodes(volume, target, inode, ui),
        }];
        while let Some(level) = levels.last_mut() {
            let Some(node) = level.nodes.pop() else {
                levels.pop();
                continue;
            };
            let below = level.target.join(&node.name);
            let inode = match volume.inode(node.number) {
                Ok(inode) => inode,
                Err(error) => {
                    ui.problem(format_args!("{below}: {error}"));
                    continue;
                }
            };
            let last = |level: &Level| usize::from(level.nodes.is_empty());
            let (trunks, branch) = levels.split_at(levels.len() - 1);
            let mut lines: String = trunks.iter().map(|level| TRUNK[last(level)]).collect();
            lines.extend(branch.iter().map(|level| BRANCH[last(level)]));
            self.line(volume, &below, &node.name, &inode, levels.len(), &lines, ui)?;
            if inode.kind() != FileKind::Directory {
                self.files += 1;
                continue;
            }
            self.directories += 1;
            if self.args.level.is_some_and(|limit| levels.len() >= limit as usize) {
                continue;
            }
            // A sound volume has every directory in one place.
            if !seen.insert(inode.number()) {
                ui.problem(format_args!(
                    "{below}: inode {} was shown already: directory loop",
                    node.number
                ));
                continue;
            }
            let nodes = self.nodes(volume, &below, &inode, ui);
            levels.push(Level { target: below, nodes });
        }
        Ok(())
    }

    /// The names in a directory that are to be drawn, last first.
    fn nodes(&self, volume: &Volume, target: &Target, dir: &Inode, ui: &mut Ui) -> Vec<Node> {
        let mut nodes = Vec::new();
        match volume.entries(dir) {
            Err(error) => ui.problem(format_args!("{target}: {error}")),
            Ok(entries) => {
                for entry in entries {
                    match entry {
                        Ok(entry) if entry.is_dot() || (entry.name().starts_with(b".") && !self.args.all) => {}
                        Ok(entry) => {
                            nodes.push(Node {
                                name: entry.name().to_vec(),
                                number: entry.inode(),
                                kind: entry.kind(),
                            });
                        }
                        Err(error) => ui.problem(format_args!("{target}: {error}")),
                    }
                }
            }
        }
        nodes.retain(|node| !self.args.dirs_only || node.kind == Some(FileKind::Directory));
        nodes.sort_by(|a, b| b.name.cmp(&a.name));
        nodes
    }

    #[expect(clippy::too_many_arguments, reason = "what a line is made of")]
    fn line(
        &self,
        volume: &Volume,
        target: &Target,
        name: &[u8],
        inode: &Inode,
        depth: usize,
        lines: &str,
        ui: &mut Ui,
    ) -> anyhow::Result<()> {
        let link = match inode.kind() {
            FileKind::Symlink => volume
                .link_target(inode)
                .inspect_err(|error| ui.problem(format_args!("{target}: {error}")))
                .ok(),
            _ => None,
        };
        if ui.is_json() {
            let inode = InodeReport::new(inode, &self.people, link.as_deref());
            return ui.item(&Entry {
                path: target.path.as_slice().into(),
                depth,
                inode,
            });
        }
        write!(ui, "{lines}")?;
        if self.args.human_readable {
            write!(ui, "[{:>4}]  ", human_size(inode.size()))?;
        } else if self.args.size {
            write!(ui, "[{:>11}]  ", inode.size())?;
        }
        // Line ends in names would tear the drawing apart, on a terminal or not.
        write!(ui, "{}", printable(name))?;
        if let Some(link) = link {
            write!(ui, " -> {}", printable(&link))?;
        }
        writeln!(ui)?;
        Ok(())
    }
}
