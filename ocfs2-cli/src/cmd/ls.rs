//! `ocfs2 ls`: directories of a volume, as ls(1) lists them.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::io::Write;

use ocfs2_format::{DynFeatures, FileKind, InodeNo, XattrNamespace};
use ocfs2_fs::{DirEntry, Inode, Volume};
use serde::Serialize;

use crate::cmd::Run;
use crate::exit::Exit;
use crate::report::{InodeReport, PathReport};
use crate::target::{ImageArgs, Images, Target, join};
use crate::text::{Clock, People, human_size, permissions};
use crate::ui::{OutputArgs, Ui};

/// List directories of a volume without mounting it
///
/// Entries are sorted by name. A symbolic link named on the command line is followed, except with -d and -l.
#[derive(Debug, clap::Parser)]
#[command(
    disable_help_flag = true,
    after_help = "Examples:\n  ocfs2 ls disk.img\n  ocfs2 ls -lh disk.img:/var/log\n  ocfs2 ls -li disk.img://   (the system directory)"
)]
pub(crate) struct Args {
    /// Directories or files, as IMAGE:/path
    #[arg(required = true, value_name = "TARGET")]
    targets: Vec<Target>,
    /// Show type, permissions, links, owner, group, size and time of the last change
    #[arg(short = 'l', long)]
    long: bool,
    /// Show names that begin with a dot too
    #[arg(short, long)]
    all: bool,
    /// As --all, without . and ..
    #[arg(short = 'A', long)]
    almost_all: bool,
    /// List directories below directories too
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Show inode numbers
    #[arg(short, long)]
    inode: bool,
    /// Show sizes with units: 1.5K, 23M
    #[arg(short, long)]
    human_readable: bool,
    /// Show directories themselves, not what is in them
    #[arg(short, long)]
    directory: bool,
    /// Show owner and group as numbers (implies --long)
    #[arg(short, long)]
    numeric_uid_gid: bool,
    /// Show times in full (implies --long)
    #[arg(long)]
    full_time: bool,
    /// Mark directories (/), programs (*), links (@), fifos (|) and sockets (=)
    #[arg(short = 'F', long)]
    classify: bool,
    /// Show one name a line, even on a terminal
    #[arg(short = '1')]
    one: bool,
    /// Sort by time of the last change, newest first
    #[arg(short = 't')]
    by_time: bool,
    /// Sort by size, largest first
    #[arg(short = 'S', conflicts_with = "by_time")]
    by_size: bool,
    /// Do not sort: the order of the directory
    #[arg(short = 'U', conflicts_with_all = ["by_time", "by_size"])]
    unsorted: bool,
    /// Reverse the order
    #[arg(short, long)]
    reverse: bool,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: (),
    #[command(flatten)]
    image: ImageArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Run for Args {
    fn run(self, ui: &mut Ui) -> anyhow::Result<Exit> {
        let mut images = Images::new(self.image.clone());
        if ui.is_json() {
            ui.begin_list("entries")?;
        }
        let mut lister = Lister {
            args: &self,
            people: People::default(),
            clock: Clock::default(),
            first: true,
        };
        let mut files = Vec::new();
        let mut dirs = Vec::new();
        for target in &self.targets {
            let found = images.volume(target).and_then(|volume| {
                let inode = target.resolve(&volume, !(self.directory || self.is_long()))?;
                Ok((volume, inode))
            });
            match found {
                Err(error) => ui.problem(format_args!("{error:#}")),
                Ok((volume, inode)) if inode.kind() == FileKind::Directory && !self.directory => {
                    dirs.push((volume, target.clone(), inode));
                }
                Ok((volume, inode)) => {
                    let (number, kind) = (inode.number(), Some(inode.kind()));
                    let (name, path) = (target.to_bytes(), target.path.clone());
                    files.push((
                        volume,
                        Row {
                            name,
                            path,
                            number,
                            kind,
                            inode: Some(inode),
                            link: None,
                            acl: false,
                        },
                    ));
                }
            }
        }
        let headings = self.recursive || self.targets.len() > 1;
        if !files.is_empty() {
            let mut rows = Vec::new();
            for (volume, mut row) in files {
                lister.complete(&volume, &mut row, ui);
                rows.push(row);
            }
            lister.print(rows, None, ui)?;
        }
        for (volume, target, inode) in dirs {
            lister.directory(&volume, target, inode, headings, ui)?;
        }
        images.report_corrections(ui);
        Ok(Exit::OK)
    }
}

impl Args {
    fn is_long(&self) -> bool {
        self.long || self.numeric_uid_gid || self.full_time
    }

    /// Whether the inode itself is shown or sorted by, and not just its name.
    fn needs_inode(&self, ui: &Ui) -> bool {
        ui.is_json() || self.is_long() || self.by_time || self.by_size || self.classify
    }
}

/// One line of a listing.
#[derive(Debug)]
struct Row {
    name: Vec<u8>,
    path: Vec<u8>,
    number: InodeNo,
    kind: Option<FileKind>,
    inode: Option<Inode>,
    /// Target of a symbolic link, where it is shown.
    link: Option<Vec<u8>>,
    /// Whether there is more to the permissions than the mode says.
    acl: bool,
}

#[derive(Debug, Serialize)]
struct Entry<'a> {
    #[serde(flatten)]
    path: PathReport,
    #[serde(flatten)]
    inode: Option<InodeReport>,
    /// For an inode that could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable: Option<&'a str>,
}

struct Lister<'a> {
    args: &'a Args,
    people: People,
    clock: Clock,
    first: bool,
}

impl Lister<'_> {
    /// Lists a directory, and with `-R` what is below it.
    fn directory(
        &mut self,
        volume: &Volume,
        target: Target,
        inode: Inode,
        headings: bool,
        ui: &mut Ui,
    ) -> anyhow::Result<()> {
        let mut seen = HashSet::from([inode.number()]);
        let mut todo = vec![(target, inode)];
        while let Some((target, dir)) = todo.pop() {
            let rows = self.read(volume, &target, &dir, ui);
            let below: Vec<(Vec<u8>, InodeNo)> = rows
                .iter()
                .filter(|row| {
                    self.args.recursive
                        && row.kind == Some(FileKind::Directory)
                        && row.name != b"."
                        && row.name != b".."
                })
                .map(|row| (row.name.clone(), row.number))
                .collect();
            self.print(rows, Some(&target).filter(|_| headings), ui)?;
            for (name, number) in below.into_iter().rev() {
                let target = target.join(&name);
                // A sound volume has every directory in one place.
                if !seen.insert(number) {
                    ui.problem(format_args!(
                        "{target}: inode {number} is listed already: directory loop"
                    ));
                    continue;
                }
                match volume.inode(number) {
                    Ok(inode) => todo.push((target, inode)),
                    Err(error) => ui.problem(format_args!("{target}: {error}")),
                }
            }
        }
        Ok(())
    }

    fn read(&self, volume: &Volume, target: &Target, dir: &Inode, ui: &mut Ui) -> Vec<Row> {
        let mut rows = Vec::new();
        let entries = match volume.entries(dir) {
            Ok(entries) => entries,
            Err(error) => {
                ui.problem(format_args!("{target}: {error}"));
                return rows;
            }
        };
        for entry in entries {
            match entry {
                Ok(entry) if self.is_shown(&entry) => {
                    let mut row = Row {
                        path: join(&target.path, entry.name()),
                        name: entry.name().to_vec(),
                        number: entry.inode(),
                        kind: entry.kind(),
                        inode: None,
                        link: None,
                        acl: false,
                    };
                    self.complete(volume, &mut row, ui);
                    rows.push(row);
                }
                Ok(_) => {}
                Err(error) => ui.problem(format_args!("{target}: {error}")),
            }
        }
        rows
    }

    fn is_shown(&self, entry: &DirEntry) -> bool {
        self.args.all || !entry.name().starts_with(b".") || (self.args.almost_all && !entry.is_dot())
    }

    /// Reads what is to be shown besides the name.
    fn complete(&self, volume: &Volume, row: &mut Row, ui: &mut Ui) {
        let wanted = self.args.needs_inode(ui) || (row.kind.is_none() && self.args.recursive);
        if row.inode.is_none() && wanted {
            match volume.inode(row.number) {
                Ok(inode) => row.inode = Some(inode),
                Err(error) => ui.problem(format_args!("{}: {error}", crate::text::printable(&row.path))),
            }
        }
        if let Some(inode) = &row.inode {
            row.kind = Some(inode.kind());
            row.acl = self.args.is_long() && has_acl(volume, inode);
            if inode.kind() == FileKind::Symlink && (self.args.is_long() || ui.is_json()) {
                match volume.link_target(inode) {
                    Ok(target) => row.link = Some(target),
                    Err(error) => ui.problem(format_args!("{}: {error}", crate::text::printable(&row.path))),
                }
            }
        }
    }

    fn print(&mut self, mut rows: Vec<Row>, heading: Option<&Target>, ui: &mut Ui) -> anyhow::Result<()> {
        self.sort(&mut rows);
        if ui.is_json() {
            for row in &rows {
                let inode = row
                    .inode
                    .as_ref()
                    .map(|inode| InodeReport::new(inode, &self.people, row.link.as_deref()));
                let unreadable = if inode.is_none() {
                    Some("the inode could not be read")
                } else {
                    None
                };
                ui.item(&Entry {
                    path: row.path.as_slice().into(),
                    inode,
                    unreadable,
                })?;
            }
            return Ok(());
        }
        if !std::mem::take(&mut self.first) && (heading.is_some() || !rows.is_empty()) {
            writeln!(ui)?;
        }
        if let Some(target) = heading {
            ui.name(&target.to_bytes())?;
            writeln!(ui, ":")?;
        }
        if self.args.is_long() {
            self.print_long(&rows, heading.is_some() || !rows.is_empty(), ui)
        } else {
            self.print_names(&rows, ui)
        }
    }

    fn sort(&self, rows: &mut [Row]) {
        let inode_key = |key: fn(&Inode) -> (i128, u64)| move |row: &Row| Reverse(row.inode.as_ref().map(key));
        if !self.args.unsorted {
            rows.sort_by(|a, b| a.name.cmp(&b.name));
        }
        if self.args.by_time {
            rows.sort_by_key(inode_key(|inode| {
                (inode.mtime().secs.into(), inode.mtime().nanos.into())
            }));
        } else if self.args.by_size {
            rows.sort_by_key(inode_key(|inode| (0, inode.size())));
        }
        if self.args.reverse {
            rows.reverse();
        }
    }

    fn print_names(&self, rows: &[Row], ui: &mut Ui) -> anyhow::Result<()> {
        let number_width = rows.iter().map(|row| row.number.to_string().len()).max().unwrap_or(0);
        let cell = |row: &Row| {
            let mut text = if self.args.inode {
                format!("{:>number_width$} ", row.number)
            } else {
                String::new()
            }
            .into_bytes();
            text.extend_from_slice(&row.name);
            text.extend_from_slice(self.mark(row).as_bytes());
            text
        };
        match ui.terminal_width().filter(|_| !self.args.one) {
            None => {
                for row in rows {
                    ui.name(&cell(row))?;
                    writeln!(ui)?;
                }
            }
            Some(width) => {
                let cells: Vec<String> = rows
                    .iter()
                    .map(|row| crate::text::printable(&cell(row)).into_owned())
                    .collect();
                write!(ui, "{}", columns(&cells, width))?;
            }
        }
        Ok(())
    }

    fn mark(&self, row: &Row) -> &'static str {
        match row.kind {
            _ if !self.args.classify => "",
            Some(FileKind::Directory) => "/",
            Some(FileKind::Symlink) => "@",
            Some(FileKind::Fifo) => "|",
            Some(FileKind::Socket) => "=",
            Some(FileKind::Regular) if row.inode.as_ref().is_some_and(|inode| inode.mode() & 0o111 != 0) => "*",
            _ => "",
        }
    }

    fn print_long(&self, rows: &[Row], total: bool, ui: &mut Ui) -> anyhow::Result<()> {
        if total {
            let sectors: u64 = rows
                .iter()
                .filter_map(|row| row.inode.as_ref())
                .map(Inode::sectors)
                .fold(0, u64::saturating_add);
            let total = if self.args.human_readable {
                human_size(sectors.saturating_mul(512))
            } else {
                (sectors / 2).to_string()
            };
            writeln!(ui, "total {total}")?;
        }
        let lines: Vec<[String; 7]> = rows.iter().map(|row| self.long_cells(row)).collect();
        let width = |column: usize| {
            lines
                .iter()
                .map(|cells| cells[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..7).map(width).collect();
        for (row, [number, mode, links, user, group, size, time]) in rows.iter().zip(&lines) {
            if self.args.inode {
                write!(ui, "{number:>0$} ", widths[0])?;
            }
            write!(
                ui,
                "{mode:<0$} {links:>1$} {user:<2$} {group:<3$} ",
                widths[1], widths[2], widths[3], widths[4]
            )?;
            write!(ui, "{size:>0$} {time:>1$} ", widths[5], widths[6])?;
            ui.name(&row.name)?;
            match &row.link {
                Some(target) => {
                    write!(ui, " -> ")?;
                    ui.name(target)?;
                }
                None => write!(ui, "{}", self.mark(row))?,
            }
            writeln!(ui)?;
        }
        Ok(())
    }

    fn long_cells(&self, row: &Row) -> [String; 7] {
        let number = row.number.to_string();
        let Some(inode) = &row.inode else {
            let unknown = || "?".to_owned();
            return [
                number,
                "??????????".to_owned(),
                unknown(),
                unknown(),
                unknown(),
                unknown(),
                unknown(),
            ];
        };
        let owner = |name: Option<String>, number: u32| {
            name.filter(|_| !self.args.numeric_uid_gid)
                .unwrap_or_else(|| number.to_string())
        };
        let size = match inode.device_number() {
            Some(device) => format!("{}, {}", device.major, device.minor),
            None if self.args.human_readable => human_size(inode.size()),
            None => inode.size().to_string(),
        };
        let time = if self.args.full_time {
            self.clock.full(inode.mtime())
        } else {
            self.clock.short(inode.mtime())
        };
        let more = if row.acl { "+" } else { "" };
        [
            number,
            format!("{}{more}", permissions(inode.kind(), inode.mode())),
            inode.links().to_string(),
            owner(self.people.user(inode.uid()), inode.uid()),
            owner(self.people.group(inode.gid()), inode.gid()),
            size,
            time,
        ]
    }
}

/// Whether an inode has an ACL. One that cannot be read is for `xattr` to report.
fn has_acl(volume: &Volume, inode: &Inode) -> bool {
    let has = |namespace| {
        volume
            .find_xattr(inode, namespace, b"")
            .is_ok_and(|found| found.is_some())
    };
    inode.dyn_features().contains(DynFeatures::HAS_XATTR)
        && (has(XattrNamespace::PosixAclAccess) || has(XattrNamespace::PosixAclDefault))
}

/// Cells in columns, filled downwards, as few lines as fit into `width`.
fn columns(cells: &[String], width: usize) -> String {
    const GAP: usize = 2;
    let widths: Vec<usize> = cells.iter().map(|cell| cell.chars().count()).collect();
    let column_widths = |lines: usize| -> Vec<usize> {
        widths
            .chunks(lines)
            .map(|column| column.iter().copied().max().unwrap_or(0))
            .collect()
    };
    let fits = |lines: &usize| {
        let columns = column_widths(*lines);
        columns.iter().sum::<usize>() + GAP * columns.len().saturating_sub(1) <= width
    };
    let lines = (1..=cells.len()).find(fits).unwrap_or(cells.len());
    let mut text = String::new();
    for line in 0..lines {
        let columns = column_widths(lines);
        for (column, column_width) in columns.iter().enumerate() {
            let Some(cell) = cells.get(column * lines + line) else {
                continue;
            };
            text.push_str(cell);
            if (column + 1) * lines + line < cells.len() {
                text.extend(std::iter::repeat_n(
                    ' ',
                    column_width + GAP - widths[column * lines + line],
                ));
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::columns;

    #[test]
    fn columns_are_filled_downwards_and_fit_the_width() {
        let cells: Vec<String> = ["a", "bb", "ccc", "d", "e"].map(str::to_owned).into();
        assert_eq!(columns(&cells, 80), "a  bb  ccc  d  e\n");
        assert_eq!(columns(&cells, 9), "a    d\nbb   e\nccc\n");
        assert_eq!(columns(&cells, 1), "a\nbb\nccc\nd\ne\n");
        assert_eq!(columns(&[], 80), "");
    }
}
