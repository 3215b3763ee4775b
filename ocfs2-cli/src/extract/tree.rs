//! One source, and the work that copying it is made of.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use ocfs2_format::{FileKind, InodeNo};
use ocfs2_fs::{Inode, Volume};
use rustix::fs::{self, FileType, Mode};

use crate::target::Target;
use crate::text::{kind_name, printable};
use crate::transfer::{Event, MAX_DEPTH};

use super::attrs::Attributes;
use super::dir::{Dir, Finish, Place};
use super::place::{self, Slot};
use super::queue::Queue;
use super::{Job, Message, data, lock};

/// Files that one thread takes at a time.
const BATCH: usize = 256;

/// One source.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) job: Arc<Job>,
    pub(super) volume: Volume,
    /// Where the source is in the volume.
    pub(super) target: Target,
    /// Its name in the destination; none when its contents go there.
    pub(super) top: Option<Vec<u8>>,
    /// Number of its image among those of all sources.
    pub(super) image: usize,
    /// Directories met.
    pub(super) seen: Mutex<HashSet<InodeNo>>,
}

/// Work for one thread.
#[derive(Debug)]
pub(super) struct Item {
    /// Where its result goes; the destination directory without one.
    pub(super) dir: Option<Arc<Dir>>,
    pub(super) work: Work,
}

#[derive(Debug)]
pub(super) enum Work {
    /// The source itself.
    Top(Box<Inode>),
    /// Names to copy.
    Batch(Vec<(Vec<u8>, InodeNo)>),
    /// What is in this directory.
    Fill(Box<Inode>),
}

impl Tree {
    pub(super) fn process(&self, item: Item, queue: &Queue<Item>, buf: &mut [u8]) {
        let dir = item.dir.as_ref();
        match item.work {
            Work::Top(inode) => {
                let name = self.top.clone().unwrap_or_default();
                self.object(dir, &name, &inode, queue, buf);
            }
            Work::Fill(inode) => {
                let Some(dir) = item.dir else { return };
                if let Err(error) = self.fill(&dir, &inode, queue) {
                    self.problem(dir.parent.as_ref(), &dir.name, error);
                }
            }
            Work::Batch(names) => {
                for (name, number) in names {
                    if self.job.stop.load(Ordering::Relaxed) {
                        return;
                    }
                    match self.volume.inode(number) {
                        Ok(inode) => self.object(dir, &name, &inode, queue, buf),
                        Err(error) => self.problem(dir, &name, error),
                    }
                }
            }
        }
    }

    fn place<'a>(&'a self, dir: Option<&'a Arc<Dir>>, name: &'a [u8]) -> Place<'a> {
        Place {
            tree: self,
            dir: dir.map(|dir| &**dir),
            name,
        }
    }

    fn problem(&self, dir: Option<&Arc<Dir>>, name: &[u8], why: impl fmt::Display) {
        self.job.problem(format!("{}: {why}", self.place(dir, name)));
    }

    /// Copies one object to `name` in `dir`.
    fn object(&self, dir: Option<&Arc<Dir>>, name: &[u8], inode: &Inode, queue: &Queue<Item>, buf: &mut [u8]) {
        let followed;
        let inode = if self.job.options.follow && inode.kind() == FileKind::Symlink {
            match self.place(dir, name).source().resolve(&self.volume, true) {
                Ok(found) => {
                    followed = found;
                    &followed
                }
                Err(error) => return self.job.problem(format!("{error:#}")),
            }
        } else {
            inode
        };
        let copied = match inode.kind() {
            FileKind::Directory if self.job.options.recursive => self.directory(dir, name, inode, queue),
            FileKind::Directory => Err("is a directory (use -r to copy it)".to_owned()),
            kind => self.leaf(dir, name, inode, kind, buf),
        };
        match copied {
            Ok(true) if self.job.options.verbose => {
                let place = self.place(dir, name);
                self.job.send(Message::Event(Event::Copied(
                    place.source().to_bytes(),
                    place.destination(),
                )));
            }
            Ok(_) => {}
            Err(why) => self.problem(dir, name, why),
        }
    }

    /// Copies anything but a directory. Says whether there is something new; not so where it was to be left as it was.
    fn leaf(
        &self,
        dir: Option<&Arc<Dir>>,
        name: &[u8],
        inode: &Inode,
        kind: FileKind,
        buf: &mut [u8],
    ) -> Result<bool, String> {
        // Held until the first name exists, so that another thread finds it.
        let mut first = None;
        if self.job.options.preserve.links && inode.links() > 1 {
            let key = (self.image, inode.number());
            let copied = lock(&self.job.copied);
            match copied.get(&key).cloned() {
                None => first = Some((copied, key)),
                Some(other) => {
                    drop(copied);
                    let (clobber, images) = (self.job.options.clobber, &self.job.images);
                    match place::link(self.job.base.as_fd(), &other, self.fd(dir), name, clobber, images) {
                        Ok(made) => {
                            self.count(&self.job.counters.hard_links, made.into());
                            return Ok(made);
                        }
                        // Such as a directory that the caller may not enter any more. A second copy is better than none.
                        Err(error) => {
                            let why = format!("copied apart from {}: {error}", printable(&other));
                            self.problem(dir, name, why);
                        }
                    }
                }
            }
        }
        let remember = |first: Option<(MutexGuard<'_, HashMap<_, _>>, _)>| {
            if let Some((mut copied, key)) = first {
                copied.insert(key, self.place(dir, name).below_base());
            }
        };
        if kind == FileKind::Regular {
            let clobber = self.job.options.clobber;
            let mode = self.creation_mode(inode);
            let slot = place::file(self.fd(dir), name, mode, clobber, &self.job.images);
            match slot.map_err(|error| error.to_string())? {
                Slot::Kept => Ok(false),
                Slot::Open(out) => {
                    remember(first);
                    self.contents(dir, name, inode, &out, buf)?;
                    Ok(true)
                }
            }
        } else {
            let made = self.special(dir, name, inode, kind)?;
            if made {
                remember(first);
                self.attributes_at(dir, name, inode, kind)?;
            }
            Ok(made)
        }
    }

    fn contents(
        &self,
        dir: Option<&Arc<Dir>>,
        name: &[u8],
        inode: &Inode,
        out: &OwnedFd,
        buf: &mut [u8],
    ) -> Result<(), String> {
        let file = self
            .volume
            .open_inode(inode.clone())
            .map_err(|error| error.to_string())?;
        let copied = data::copy(&file, out.as_fd(), buf);
        self.count(&self.job.counters.files, 1);
        match copied {
            Ok(bytes) => self.count(&self.job.counters.bytes, bytes),
            // What there is gets its attributes all the same.
            Err(error) => self.problem(dir, name, error),
        }
        let preserve = &self.job.options.preserve;
        if !Attributes::is_plain(preserve) {
            let attributes = Attributes::read(&self.volume, inode, preserve).map_err(|error| error.to_string())?;
            let lost = attributes.apply(out.as_fd(), preserve);
            self.job.report_lost(&lost, || self.place(dir, name).to_string());
        }
        Ok(())
    }

    /// Makes a symbolic link, device, pipe or socket.
    fn special(&self, dir: Option<&Arc<Dir>>, name: &[u8], inode: &Inode, kind: FileKind) -> Result<bool, String> {
        let (clobber, images) = (self.job.options.clobber, &self.job.images);
        let (made, counter) = if kind == FileKind::Symlink {
            let target = self.volume.link_target(inode).map_err(|error| error.to_string())?;
            let make = |dir: BorrowedFd<'_>, name: &[u8]| fs::symlinkat(&*target, dir, name);
            (
                place::node(self.fd(dir), name, clobber, images, make),
                &self.job.counters.symlinks,
            )
        } else {
            let file_type = match kind {
                FileKind::CharDevice => FileType::CharacterDevice,
                FileKind::BlockDevice => FileType::BlockDevice,
                FileKind::Fifo => FileType::Fifo,
                _ => FileType::Socket,
            };
            let device = inode
                .device_number()
                .map_or(0, |number| fs::makedev(number.major, number.minor));
            let mode = self.creation_mode(inode);
            let make = |dir: BorrowedFd<'_>, name: &[u8]| fs::mknodat(dir, name, file_type, mode, device);
            (
                place::node(self.fd(dir), name, clobber, images, make),
                &self.job.counters.specials,
            )
        };
        let made = made.map_err(|error| format!("making a {}: {error}", kind_name(kind)))?;
        self.count(counter, made.into());
        Ok(made)
    }

    fn attributes_at(&self, dir: Option<&Arc<Dir>>, name: &[u8], inode: &Inode, kind: FileKind) -> Result<(), String> {
        let preserve = &self.job.options.preserve;
        if Attributes::is_plain(preserve) {
            return Ok(());
        }
        let attributes = Attributes::read(&self.volume, inode, preserve).map_err(|error| error.to_string())?;
        let lost = attributes.apply_at(self.fd(dir), name, kind, preserve);
        self.job.report_lost(&lost, || self.place(dir, name).to_string());
        Ok(())
    }

    /// Makes a directory and queues what is in it.
    fn directory(
        &self,
        parent: Option<&Arc<Dir>>,
        name: &[u8],
        inode: &Inode,
        queue: &Queue<Item>,
    ) -> Result<bool, String> {
        let depth = parent.map_or(0, |dir| dir.depth + 1);
        if depth > MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} directories inside each other"));
        }
        self.refuse_loop(parent, inode.number())?;
        let preserve = &self.job.options.preserve;
        let mode = Mode::from_raw_mode(inode.mode() & 0o777);
        let (fd, fresh) = if parent.is_none() && self.top.is_none() {
            (None, false)
        } else {
            // With an owner to be kept, nobody else may look in before it has that owner.
            let while_filling = if preserve.ownership {
                Mode::RWXU
            } else {
                mode | Mode::RWXU
            };
            let (fd, fresh) =
                place::directory(self.fd(parent), name, while_filling).map_err(|error| error.to_string())?;
            (Some(fd), fresh)
        };
        let finish = if !Attributes::is_plain(preserve) {
            let attributes = Attributes::read(&self.volume, inode, preserve).map_err(|error| error.to_string())?;
            Some(Finish::Keep(attributes))
        } else if fresh && !mode.contains(Mode::RWXU) {
            Some(Finish::Mode(mode & !self.job.umask))
        } else {
            None
        };
        self.count(&self.job.counters.directories, 1);
        let dir = Arc::new(Dir {
            job: self.job.clone(),
            fd,
            parent: parent.cloned(),
            name: name.to_vec(),
            number: inode.number(),
            depth,
            finish,
        });
        queue.push(Item {
            dir: Some(dir),
            work: Work::Fill(Box::new(inode.clone())),
        });
        Ok(true)
    }

    /// Refuses a directory that was met before. A sound volume has every directory in one place, so without this a damaged
    /// one could be copied for ever.
    fn refuse_loop(&self, parent: Option<&Arc<Dir>>, number: InodeNo) -> Result<(), String> {
        // Behind symbolic links, a directory may well be met twice; but not inside itself.
        let met = if self.job.options.follow {
            std::iter::successors(parent, |dir| dir.parent.as_ref()).any(|dir| dir.number == number)
        } else {
            !lock(&self.seen).insert(number)
        };
        if met {
            Err(format!("inode {number} is copied already: directory loop"))
        } else {
            Ok(())
        }
    }

    /// Reads a directory and queues what is in it: files first, then one directory after the other.
    fn fill(&self, dir: &Arc<Dir>, inode: &Inode, queue: &Queue<Item>) -> ocfs2_fs::Result<()> {
        let mut files = Vec::new();
        let mut dirs = Vec::new();
        let mut damage = Ok(());
        for entry in self.volume.entries(inode)? {
            match entry {
                Ok(entry) if entry.is_dot() => {}
                Ok(entry) => {
                    let list = if entry.kind() == Some(FileKind::Directory) {
                        &mut dirs
                    } else {
                        &mut files
                    };
                    list.push((entry.name().to_vec(), entry.inode()));
                }
                Err(error) => damage = Err(error),
            }
        }
        // In the order of the disk; the queue gives back last what it got first.
        files.sort_unstable_by_key(|&(_, number)| Reverse(number));
        dirs.sort_unstable_by_key(|&(_, number)| Reverse(number));
        let push = |batch| {
            queue.push(Item {
                dir: Some(dir.clone()),
                work: Work::Batch(batch),
            })
        };
        for name in dirs {
            push(vec![name]);
        }
        while !files.is_empty() {
            let mut batch = files.split_off(files.len().saturating_sub(BATCH));
            batch.reverse();
            push(batch);
        }
        damage
    }

    fn fd<'a>(&'a self, dir: Option<&'a Arc<Dir>>) -> BorrowedFd<'a> {
        dir.map_or(self.job.base.as_fd(), |dir| dir.fd().as_fd())
    }

    /// The permissions to make something with: narrower than wanted as long as its owner is not the one to be kept.
    fn creation_mode(&self, inode: &Inode) -> Mode {
        let mode = inode.mode() & 0o777;
        Mode::from_raw_mode(if self.job.options.preserve.ownership {
            (mode & 0o700) | 0o600
        } else {
            mode
        })
    }

    fn count(&self, counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Ordering::Relaxed);
    }
}
