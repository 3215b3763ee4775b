//! Commands that copy out of the volume: `dump` and `rdump`.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::Ordering;

use ocfs2_format::{Dinode, DynFeatures, FileKind};
use ocfs2_fs::inspect::Raw;
use rustix::fs::{Mode, OFlags};
use serde_json::json;

use super::failure::{Failure, Outcome, failed, text};
use super::out::Out;
use super::session::{Open, Session};
use super::volume::io_text;
use crate::extract::{Copier, Source};
use crate::target::Target;
use crate::transfer::{Clobber, Effort, Event, FileId, Options, Preserve};

/// `dump [-p] FILESPEC FILE`.
pub(super) fn dump(session: &mut Session, words: &[&[u8]], out: &mut Out<'_>) -> Outcome {
    let (keep, word, to) = match words {
        [b"-p", word, to, ..] => (true, word, to),
        [b"-p", ..] | [] | [_] => return Err(Failure::Usage),
        [word, to, ..] => (false, word, to),
    };
    let open = session.volume()?;
    let number = open.filespec(word)?;
    let dinode = open.read_dinode(number)?;
    let to = Path::new(OsStr::from_bytes(to));
    match dinode.kind() {
        Some(FileKind::Regular | FileKind::Symlink) => {}
        Some(FileKind::Directory) => return dump_directory(session, &dinode, to, out),
        _ => return Err(Failure::new("Not a regular file, directory or symbolic link")),
    }
    let Some(name) = to.file_name() else {
        return Err(Failure::Text(format!("Is a directory '{}'", to.display())));
    };
    let parent = to
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let preserve = Preserve {
        mode: keep,
        ownership: keep,
        timestamps: keep,
        ..Preserve::default()
    };
    let copier = copier(open, parent, false, preserve).map_err(|error| cannot(&error, to))?;
    run(session, copier, (word, number), Some(name.as_bytes()), false, out)
}

/// `rdump [-v] FILESPEC DIR`.
pub(super) fn rdump(session: &mut Session, words: &[&[u8]], out: &mut Out<'_>) -> Outcome {
    let (verbose, word, to) = match words {
        [b"-v", word, to, ..] => (true, word, to),
        [b"-v", ..] | [] | [_] => return Err(Failure::Usage),
        [word, to, ..] => (false, word, to),
    };
    let open = session.volume()?;
    let number = open.filespec(word)?;
    let to = Path::new(OsStr::from_bytes(to));
    let preserve = Preserve {
        mode: true,
        ownership: true,
        timestamps: true,
        links: true,
        xattr: Effort::None,
    };
    let copier = copier(open, to, true, preserve).map_err(|error| cannot(&error, to))?;
    // The contents of the root, and of directories without a name here, go into the destination itself.
    let name = last_component(word);
    let path = name.map_or_else(|| to.to_owned(), |name| to.join(OsStr::from_bytes(name)));
    if name.is_some() && path.symlink_metadata().is_ok() {
        return Err(Failure::Text(format!(
            "File exists while making directory {}",
            path.display()
        )));
    }
    if !out.is_json() {
        out.write_all(b"Copying to ")?;
        out.write_all(path.as_os_str().as_bytes())?;
        writeln!(out)?;
    }
    run(session, copier, (word, number), name, verbose, out)
}

/// A copier for one source of the open volume.
fn copier(open: &Open, dir: &Path, recursive: bool, preserve: Preserve) -> io::Result<Copier> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let base: OwnedFd = rustix::fs::open(dir, flags, Mode::empty())?;
    let image = FileId::of(&open.device)?;
    let options = Options {
        recursive,
        follow: false,
        preserve,
        clobber: Clobber::Force,
        verbose: true,
    };
    Ok(Copier::new(base, dir.to_owned(), vec![image], options))
}

fn run(
    session: &Session,
    mut copier: Copier,
    (word, number): (&[u8], ocfs2_format::InodeNo),
    name: Option<&[u8]>,
    verbose: bool,
    out: &mut Out<'_>,
) -> Outcome {
    let open = session.volume()?;
    let doing = format_args!("while reading inode {number}");
    let volume = open.inspector.volume().clone();
    let inode = volume.inode(number).map_err(|error| failed(&error, doing))?;
    let target = Target {
        image: open.device.clone(),
        path: word.to_vec(),
    };
    let source = Source { volume, target, inode };
    let command = out.command();
    let copied = copier.copy(source, name, |event, _| {
        match event {
            Event::Problem(problem) => session.problem(out, command, problem),
            Event::Copied(_, path) if verbose && !out.is_json() => {
                out.write_all(&path)?;
                writeln!(out)?;
            }
            _ => {}
        }
        Ok(())
    });
    copied.map_err(|error| match error.downcast::<io::Error>() {
        Ok(error) => Failure::Output(error),
        Err(error) => Failure::Text(format!("{error:#}")),
    })?;
    if out.is_json() {
        let counters = copier.counters();
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        out.document(json!({
            "inode": number.0,
            "files": count(&counters.files),
            "directories": count(&counters.directories),
            "symlinks": count(&counters.symlinks),
            "specials": count(&counters.specials),
            "hard_links": count(&counters.hard_links),
            "bytes": count(&counters.bytes),
        }))?;
    }
    Ok(())
}

/// The blocks of a directory as they are, in a file.
fn dump_directory(session: &Session, dir: &Raw<Dinode>, to: &Path, out: &mut Out<'_>) -> Outcome {
    let open = session.volume()?;
    let image = FileId::of(&open.device).map_err(|error| cannot(&error, &open.device))?;
    if FileId::of(to).is_ok_and(|to| to == image) {
        return Err(Failure::Text(format!(
            "'{}' is the image that is being read",
            to.display()
        )));
    }
    let mut file = File::create(to).map_err(|error| cannot(&error, to))?;
    let mut bytes = 0;
    if dir.dyn_features().contains(DynFeatures::INLINE_DATA) {
        file.write_all(dir.inline_bytes()).map_err(|error| cannot(&error, to))?;
        bytes = dir.inline_bytes().len() as u64;
    } else {
        for block in open.inspector.dir_blocks(dir) {
            match block {
                Ok(block) => {
                    let at = SeekFrom::Start(block.offset());
                    let written = file.seek(at).and_then(|_| file.write_all(block.block()));
                    written.map_err(|error| cannot(&error, to))?;
                    bytes = block.offset() + block.block().len() as u64;
                }
                Err(error) => session.problem(out, "dump", text(&error)),
            }
        }
    }
    if out.is_json() {
        out.document(json!({ "inode": dir.block().number().0, "bytes": bytes }))?;
    }
    Ok(())
}

fn cannot(error: &io::Error, path: &Path) -> Failure {
    Failure::Text(format!("{} '{}'", io_text(error), path.display()))
}

/// The last component of a path, or a word that is no path; `None` where it names nothing.
fn last_component(word: &[u8]) -> Option<&[u8]> {
    let name = word.rsplit(|&byte| byte == b'/').find(|name| !name.is_empty())?;
    (name != b"." && name != b"..").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::last_component;

    #[test]
    fn only_names_name_a_copy() {
        for (word, name) in [
            ("/a/b", Some("b")),
            ("b/", Some("b")),
            ("<5>", Some("<5>")),
            ("//slot_map", Some("slot_map")),
            ("/", None),
            ("//", None),
            (".", None),
            ("a/..", None),
        ] {
            assert_eq!(last_component(word.as_bytes()), name.map(str::as_bytes), "{word}");
        }
    }
}
