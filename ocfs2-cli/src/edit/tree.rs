//! Whole trees: doing something to everything in one, and removing it.

use ocfs2_format::{FileKind, InodeNo};
use ocfs2_fs::{DirPage, FileSystem, Inode};

use crate::target::Target;
use crate::transfer::MAX_DEPTH;

use super::Editor;

/// The names of a directory, but for `.` and `..`, sorted.
pub(crate) fn names(fs: &FileSystem, dir: InodeNo) -> ocfs2_fs::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    let mut position = Some(0);
    while let Some(from) = position {
        let DirPage { entries, next } = fs.read_dir_at(dir, from)?;
        let entries = entries.iter().filter(|entry| !entry.is_dot());
        names.extend(entries.map(|entry| entry.name().to_vec()));
        position = next;
    }
    names.sort_unstable();
    Ok(names)
}

/// A directory on the way down.
struct Level {
    target: Target,
    dir: InodeNo,
    /// What is still to be visited, the next one last.
    names: Vec<Vec<u8>>,
}

impl Level {
    fn open(fs: &FileSystem, target: Target, dir: InodeNo) -> anyhow::Result<Self> {
        let mut names = names(fs, dir).map_err(|error| target.failed(error))?;
        names.reverse();
        Ok(Level { target, dir, names })
    }
}

/// Does something to an object and, if it is a directory, to everything below it: to a directory before what is in it.
/// Symbolic links are not followed.
pub(crate) fn walk(
    editor: &mut Editor<'_>,
    fs: &FileSystem,
    top: &Target,
    inode: &Inode,
    mut visit: impl FnMut(&mut Editor<'_>, &Target, &Inode) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut levels: Vec<Level> = Vec::new();
    let mut next = Some((top.clone(), inode.clone()));
    loop {
        if let Some((target, inode)) = next.take() {
            let done = visit(editor, &target, &inode).and_then(|()| {
                if inode.kind() != FileKind::Directory {
                    return Ok(());
                }
                refuse_loop(&levels, &target, inode.number())?;
                levels.push(Level::open(fs, target, inode.number())?);
                Ok(())
            });
            if let Err(error) = done {
                editor.problem(&error);
            }
        }
        let Some(level) = levels.last_mut() else { return Ok(()) };
        let Some(name) = level.names.pop() else {
            levels.pop();
            continue;
        };
        let target = level.target.join(&name);
        match fs.lookup(level.dir, &name) {
            Ok(Some(inode)) => next = Some((target, inode)),
            Ok(None) => {}
            Err(error) => editor.problem(&target.failed(error)),
        }
    }
}

/// Removes a directory with everything in it: what is in a directory before the directory. What cannot be removed is
/// reported, and stays with the directories above it.
pub(crate) fn remove(
    editor: &mut Editor<'_>,
    fs: &FileSystem,
    target: &Target,
    parent: InodeNo,
    name: &[u8],
    inode: &Inode,
) -> anyhow::Result<()> {
    let mut levels = vec![Level::open(fs, target.clone(), inode.number())?];
    // Name of each level in the one above, and whether all in it could be removed.
    let mut above = vec![(name.to_vec(), true)];
    while let Some(level) = levels.last_mut() {
        let done = if let Some(name) = level.names.pop() {
            let (dir, target) = (level.dir, level.target.join(&name));
            match fs.lookup(dir, &name) {
                Ok(None) => continue,
                Ok(Some(inode)) if inode.kind() == FileKind::Directory => refuse_loop(&levels, &target, inode.number())
                    .and_then(|()| {
                        levels.push(Level::open(fs, target, inode.number())?);
                        above.push((name, true));
                        Ok(())
                    }),
                Ok(Some(_)) => fs
                    .unlink(dir, &name)
                    .map_err(|error| target.failed(error))
                    .and_then(|()| editor.report("removed", &target, None)),
                Err(error) => Err(target.failed(error)),
            }
        } else {
            let target = level.target.clone();
            levels.pop();
            let Some((name, is_empty)) = above.pop() else { break };
            let dir = levels.last().map_or(parent, |level| level.dir);
            if is_empty {
                fs.rmdir(dir, &name)
                    .map_err(|error| target.failed(error))
                    .and_then(|()| editor.report("removed", &target, None))
            } else {
                if let Some((_, is_empty)) = above.last_mut() {
                    *is_empty = false;
                }
                continue;
            }
        };
        if let Err(error) = done {
            editor.problem(&error);
            if let Some((_, is_empty)) = above.last_mut() {
                *is_empty = false;
            }
        }
    }
    Ok(())
}

/// Refuses what only a damaged volume has: a directory inside itself, or more of them inside each other than a path holds.
fn refuse_loop(levels: &[Level], target: &Target, dir: InodeNo) -> anyhow::Result<()> {
    if levels.len() >= MAX_DEPTH {
        anyhow::bail!("{target}: more than {MAX_DEPTH} directories inside each other");
    }
    if levels.iter().any(|level| level.dir == dir) {
        anyhow::bail!("{target}: the directory contains itself");
    }
    Ok(())
}
