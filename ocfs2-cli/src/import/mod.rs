//! Copying into a volume: from this machine's files, from another volume or another place in the same one, from a tar
//! archive.
//!
//! A [`Source`] gives one object after the other, a directory before what is in it; [`Importer`] makes them below a
//! directory of a mounted volume. Everything is made in directories that were looked up by name, one component at a time and
//! without following symbolic links, so nothing that a source contains ends up anywhere else.

mod host;
mod measure;
mod mounted;
mod tar;
mod walk;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use ocfs2_format::{DynFeatures, FileKind, InodeNo};
use ocfs2_fs::{DeviceNumber, Error, FileSystem, Inode, NewInode, SetAttributes, SetTime, Timestamp};

use crate::edit::new_inode;
use crate::edit::owner::Owner;
use crate::target::{Target, join};
use crate::text::printable;
use crate::transfer::{Clobber, Counters, Effort, Event, Options};

pub(crate) use self::host::{HostTree, times_of};
pub(crate) use self::measure::measure;
pub(crate) use self::mounted::MountedTree;
pub(crate) use self::tar::TarSource;
pub(crate) use self::walk::Walk;

/// Bytes moved at once.
const STEP: usize = 1 << 20;

/// How often the caller hears of progress.
const TICK: Duration = Duration::from_millis(100);

/// Something to make.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    /// Where it belongs: names from the destination directory down. None is the destination directory itself.
    pub(crate) path: Vec<Vec<u8>>,
    /// Where it comes from, for messages.
    pub(crate) label: Vec<u8>,
    /// What it is.
    pub(crate) what: What,
    /// What it gets besides contents.
    pub(crate) attributes: Attributes,
    /// Equal for names of one file, in all sources; `None` where it has no other name.
    pub(crate) identity: Option<(u64, u64)>,
    /// The inode, if it comes from the volume that it goes to.
    pub(crate) own: Option<InodeNo>,
}

/// What an object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A directory.
    Directory,
    /// A regular file of this size; its contents follow.
    File(u64),
    /// A symbolic link.
    Symlink(Vec<u8>),
    /// A device, pipe or socket.
    Node(FileKind, DeviceNumber),
    /// Another name of what has this path below the destination directory.
    Link(Vec<Vec<u8>>),
}

/// What an object gets besides contents.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attributes {
    /// Permission bits.
    pub(crate) mode: u32,
    /// User.
    pub(crate) uid: u32,
    /// Group.
    pub(crate) gid: u32,
    /// Access and modification time.
    pub(crate) times: [Timestamp; 2],
    /// Full names and values of extended attributes, ACLs among them.
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Where objects come from.
pub(crate) trait Source {
    /// The next object; an error is about one that is left out.
    fn next(&mut self) -> Option<anyhow::Result<Object>>;

    /// The next piece of the contents of the file that came last: where it belongs, and how many bytes of `buf` it took.
    /// What no piece covers is a hole.
    fn read(&mut self, buf: &mut [u8]) -> anyhow::Result<Option<(u64, usize)>>;

    /// Bytes of contents of the file that came last, holes not counted; instead of reading them.
    fn data_bytes(&mut self) -> anyhow::Result<u64>;

    /// Leaves out what is below the directory that came last.
    fn skip(&mut self);
}

/// How to import, besides what copying in any direction has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Policy {
    /// Who owns everything, whoever owned the originals.
    pub(crate) owner: Owner,
    /// Remove files that have the name of something new, instead of writing into them.
    pub(crate) replace: bool,
    /// Nothing of the result depends on when and by whom it was made: access times are those of the last modification, and
    /// what no source describes is root's.
    pub(crate) reproducible: bool,
}

/// What hears what happens. An error of it ends the import.
type Tell<'a> = Box<dyn FnMut(Event, &Counters) -> anyhow::Result<()> + 'a>;

/// Makes objects below a directory.
pub(crate) struct Importer<'a> {
    fs: FileSystem,
    base: Target,
    options: Options,
    policy: Policy,
    /// What objects are made with of which nothing is kept.
    new: NewInode,
    counters: Counters,
    tell: Tell<'a>,
    told: Instant,
    /// The directory in which the last object was made and those above, the destination directory first.
    dirs: Vec<Dir>,
    /// Files with several names, by their identity in the source.
    copied: HashMap<(u64, u64), InodeNo>,
    /// Directories that have their times, and lose them when something more comes into them.
    timed: HashMap<InodeNo, [Timestamp; 2]>,
    buf: Vec<u8>,
}

/// A directory of the volume in which things are made.
#[derive(Debug)]
struct Dir {
    name: Vec<u8>,
    inode: InodeNo,
    /// Times to set when it is full.
    times: Option<[Timestamp; 2]>,
}

impl<'a> Importer<'a> {
    /// Imports to the directory `base`.
    pub(crate) fn new(
        fs: FileSystem,
        base: Target,
        dir: InodeNo,
        options: Options,
        policy: Policy,
        tell: impl FnMut(Event, &Counters) -> anyhow::Result<()> + 'a,
    ) -> Self {
        Self {
            fs,
            base,
            options,
            policy,
            new: match policy.reproducible {
                true => NewInode {
                    umask: 0o022,
                    ..NewInode::with_mode(0)
                },
                false => new_inode(0),
            },
            counters: Counters::default(),
            tell: Box::new(tell),
            told: Instant::now(),
            dirs: vec![Dir {
                name: Vec::new(),
                inode: dir,
                times: None,
            }],
            copied: HashMap::new(),
            timed: HashMap::new(),
            buf: vec![0; STEP],
        }
    }

    /// Imports everything that a source gives. What cannot be made is told, and the rest goes on, unless the volume takes
    /// nothing more.
    pub(crate) fn take(&mut self, source: &mut dyn Source) -> anyhow::Result<()> {
        let outcome = self.take_all(source);
        let left = self.leave(0);
        outcome.and(left)
    }

    /// How much was imported so far.
    pub(crate) fn into_counters(self) -> Counters {
        self.counters
    }

    fn take_all(&mut self, source: &mut dyn Source) -> anyhow::Result<()> {
        while let Some(next) = source.next() {
            let made = match next {
                Ok(object) => match self.object(&object, source) {
                    Ok(made) => Ok((object, made)),
                    Err(error) => {
                        source.skip();
                        Err(error)
                    }
                },
                Err(error) => Err(error),
            };
            match made {
                Ok((object, true)) if self.options.verbose => {
                    let to = self.target(&object.path).to_bytes();
                    self.say(Event::Copied(object.label, to))?;
                }
                Ok(_) => {}
                Err(error) if is_final(&error) => return Err(error),
                Err(error) => self.say(Event::Problem(format!("{error:#}")))?,
            }
            self.tick()?;
        }
        Ok(())
    }

    fn say(&mut self, event: Event) -> anyhow::Result<()> {
        (self.tell)(event, &self.counters)
    }

    fn tick(&mut self) -> anyhow::Result<()> {
        if self.told.elapsed() >= TICK {
            self.told = Instant::now();
            self.say(Event::Tick)?;
        }
        Ok(())
    }

    /// A path below the destination, for messages.
    fn target(&self, path: &[Vec<u8>]) -> Target {
        Target {
            image: self.base.image.clone(),
            path: path.iter().fold(self.base.path.clone(), |path, name| join(&path, name)),
        }
    }

    /// Makes an object. `false` if what is there was to stay as it is.
    fn object(&mut self, object: &Object, source: &mut dyn Source) -> anyhow::Result<bool> {
        let Some((name, above)) = object.path.split_last() else {
            if object.what != What::Directory {
                bail!("{}: the destination is a directory", printable(&object.label));
            }
            self.leave(1)?;
            let inode = self.dirs.first().map_or(self.fs.root(), |dir| dir.inode);
            let inode = self.fs.inode(inode).map_err(|error| self.base.failed(error))?;
            self.counters.directories.fetch_add(1, Ordering::Relaxed);
            self.attributes(&inode, object, false)?;
            return Ok(false);
        };
        self.enter(above)?;
        let dir = self.dirs.last().map_or(self.fs.root(), |dir| dir.inode);
        let target = self.target(&object.path);
        let taken = self.fs.lookup(dir, name).map_err(|error| target.failed(error))?;
        if object.what == What::Directory {
            return self.directory(object, dir, name, taken, &target).map(|()| true);
        }
        if taken.is_some() && self.options.clobber == Clobber::Keep {
            return Ok(false);
        }
        if let Some(taken) = &taken {
            if taken.kind() == FileKind::Directory {
                bail!("{target}: it is a directory in the destination");
            }
            if object.own == Some(taken.number()) {
                bail!("{target}: this is the file that is to be copied");
            }
        }
        let known = object.identity.filter(|_| self.options.preserve.links);
        let first = match &object.what {
            What::Link(path) => Some(self.find(path).with_context(|| target.to_string())?),
            _ => known.and_then(|identity| self.copied.get(&identity).copied()),
        };
        if let Some(first) = first {
            if taken.as_ref().is_some_and(|taken| taken.number() == first) {
                return Ok(true);
            }
            self.make_room(dir, name, taken.as_ref(), &target)?;
            match self.fs.link(first, dir, name) {
                Ok(_) => {
                    self.count(|counters| &counters.hard_links);
                    return Ok(true);
                }
                // A second copy is better than none.
                Err(Error::TooManyLinks(_)) if !matches!(object.what, What::Link(_)) => {
                    let inode = self.leaf(object, source, dir, name, None, &target)?;
                    self.copied.extend(known.map(|identity| (identity, inode)));
                    return Ok(true);
                }
                Err(error) => return Err(target.failed(error)),
            }
        }
        let inode = self.leaf(object, source, dir, name, taken, &target)?;
        self.copied.extend(known.map(|identity| (identity, inode)));
        Ok(true)
    }

    /// Makes a new file, link, device, pipe or socket, or writes into the file that is there.
    fn leaf(
        &mut self,
        object: &Object,
        source: &mut dyn Source,
        dir: InodeNo,
        name: &[u8],
        taken: Option<Inode>,
        target: &Target,
    ) -> anyhow::Result<InodeNo> {
        let failed = |error| target.failed(error);
        let new = self.new_inode(object);
        let inode = match &object.what {
            What::File(size) => {
                let inode = match taken {
                    Some(taken) if taken.kind() == FileKind::Regular && !self.policy.replace => {
                        let file = self.fs.use_inode(&taken).map_err(failed)?;
                        self.fs.set_len(&file, 0).map_err(failed)?;
                        file.end().map_err(failed)?;
                        taken
                    }
                    taken => {
                        self.require_clobber(taken.as_ref(), target)?;
                        self.make_room(dir, name, taken.as_ref(), target)?;
                        self.fs.create_file(dir, name, &new).map_err(failed)?
                    }
                };
                self.count(|counters| &counters.files);
                let copied = self.contents(&inode, *size, source, target);
                // What there is gets its attributes all the same.
                let attributes = self.attributes(&inode, object, true);
                copied.and(attributes)?;
                return Ok(inode.number());
            }
            What::Symlink(text) => {
                self.make_room(dir, name, taken.as_ref(), target)?;
                self.count(|counters| &counters.symlinks);
                self.fs.make_symlink(dir, name, text, &new)
            }
            What::Node(kind, device) => {
                self.make_room(dir, name, taken.as_ref(), target)?;
                self.count(|counters| &counters.specials);
                self.fs.make_node(dir, name, *kind, *device, &new)
            }
            What::Directory | What::Link(_) => bail!("{target}: this is no object of its own"),
        };
        let inode = inode.map_err(failed)?;
        self.attributes(&inode, object, true)?;
        Ok(inode.number())
    }

    /// Whether a file may take the place of what is there.
    fn require_clobber(&self, taken: Option<&Inode>, target: &Target) -> anyhow::Result<()> {
        let Some(taken) = taken else { return Ok(()) };
        if self.policy.replace || self.options.clobber == Clobber::Force {
            return Ok(());
        }
        match taken.kind() {
            FileKind::Symlink => bail!("{target}: not writing through a symbolic link in the destination"),
            _ => bail!("{target}: not writing into a special file in the destination"),
        }
    }

    fn make_room(&self, dir: InodeNo, name: &[u8], taken: Option<&Inode>, target: &Target) -> anyhow::Result<()> {
        if taken.is_some() {
            self.fs.unlink(dir, name).map_err(|error| target.failed(error))?;
        }
        Ok(())
    }

    fn contents(&mut self, inode: &Inode, size: u64, source: &mut dyn Source, target: &Target) -> anyhow::Result<()> {
        let failed = |error| target.failed(error);
        let file = self.fs.use_inode(inode).map_err(failed)?;
        let mut end = 0;
        let mut buf = std::mem::take(&mut self.buf);
        let copied = loop {
            let piece = match source.read(&mut buf) {
                Ok(Some(piece)) => piece,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            };
            let (offset, len) = piece;
            let mut done = 0;
            let written = loop {
                if done == len {
                    break Ok(());
                }
                match self.fs.write_at(&file, offset + done as u64, &buf[done..len]) {
                    Ok(0) => break Err(target.failed(Error::NoSpace)),
                    Ok(written) => done += written,
                    Err(error) => break Err(failed(error)),
                }
            };
            self.counters.bytes.fetch_add(done as u64, Ordering::Relaxed);
            end = offset + done as u64;
            if let Err(error) = written.and_then(|()| self.tick()) {
                break Err(error);
            }
        };
        self.buf = buf;
        copied?;
        if end < size {
            self.fs.set_len(&file, size).map_err(failed)?;
        }
        file.end().map_err(failed)
    }

    /// Makes a directory, or goes into the one that is there.
    fn directory(
        &mut self,
        object: &Object,
        dir: InodeNo,
        name: &[u8],
        taken: Option<Inode>,
        target: &Target,
    ) -> anyhow::Result<()> {
        let taken = match taken {
            Some(taken) if taken.kind() == FileKind::Directory => Some(taken),
            Some(taken) if self.policy.replace => {
                self.make_room(dir, name, Some(&taken), target)?;
                None
            }
            Some(_) => bail!("{target}: what is there in the destination is no directory"),
            None => None,
        };
        let is_new = taken.is_none();
        let inode = match taken {
            Some(taken) => taken,
            None => {
                let made = self.fs.make_dir(dir, name, &self.new_inode(object));
                made.map_err(|error| target.failed(error))?
            }
        };
        self.count(|counters| &counters.directories);
        self.dirs.push(Dir {
            name: name.to_vec(),
            inode: inode.number(),
            times: None,
        });
        self.attributes(&inode, object, is_new)
    }

    /// What an object is made with.
    fn new_inode(&self, object: &Object) -> NewInode {
        let (attributes, preserve) = (&object.attributes, &self.options.preserve);
        let owner = self.owner_of(attributes);
        NewInode {
            // Somebody else's privileges are not for the caller.
            mode: match preserve.mode {
                true => attributes.mode & 0o7777,
                false => attributes.mode & 0o777,
            },
            umask: if preserve.mode { 0 } else { self.new.umask },
            uid: owner.uid.unwrap_or(self.new.uid),
            gid: owner.gid.unwrap_or(self.new.gid),
            time: preserve.timestamps.then(|| self.times_of(attributes)[1]),
        }
    }

    /// The owner that an object must have.
    fn owner_of(&self, attributes: &Attributes) -> Owner {
        let kept = |id| self.options.preserve.ownership.then_some(id);
        Owner {
            uid: self.policy.owner.uid.or(kept(attributes.uid)),
            gid: self.policy.owner.gid.or(kept(attributes.gid)),
        }
    }

    fn times_of(&self, attributes: &Attributes) -> [Timestamp; 2] {
        let [atime, mtime] = attributes.times;
        [if self.policy.reproducible { mtime } else { atime }, mtime]
    }

    /// Gives an object what is kept of its source: the owner first, since a new owner takes privileges away; times last,
    /// since everything else changes them. Directories get their times when they are full.
    fn attributes(&mut self, inode: &Inode, object: &Object, is_new: bool) -> anyhow::Result<()> {
        let preserve = self.options.preserve;
        let attributes = &object.attributes;
        let target = self.target(&object.path);
        let failed = |error| target.failed(error);
        let number = inode.number();
        let owner = self.owner_of(attributes);
        let is_other = |wanted: Option<u32>, is: u32| wanted.is_some_and(|wanted| wanted != is);
        if is_other(owner.uid, inode.uid()) || is_other(owner.gid, inode.gid()) {
            let change = SetAttributes {
                uid: owner.uid,
                gid: owner.gid,
                ..SetAttributes::default()
            };
            self.fs.set_attributes(number, &change).map_err(failed)?;
        }
        if preserve.mode && inode.dyn_features().contains(DynFeatures::HAS_XATTR) {
            for acl in ACLS {
                self.drop_xattr(number, acl).map_err(failed)?;
            }
        }
        let mut lost = false;
        for (name, value) in &attributes.xattrs {
            let is_acl = ACLS.contains(&name.as_slice());
            let effort = match is_acl {
                true if preserve.mode => Effort::Must,
                true => Effort::None,
                false => preserve.xattr,
            };
            if effort == Effort::None {
                continue;
            }
            match self.fs.set_xattr(number, name, value, ocfs2_fs::XattrMode::Set) {
                Ok(()) => {}
                Err(error) if effort == Effort::Try && is_untaken(&error) => lost = true,
                Err(error) => {
                    return Err(failed(error)).with_context(|| format!("keeping the attribute {}", printable(name)));
                }
            }
        }
        self.counters.xattrs_lost.fetch_add(lost.into(), Ordering::Relaxed);
        let times = preserve.timestamps.then(|| self.times_of(attributes));
        let is_dir = object.what == What::Directory;
        if is_dir && let Some(dir) = self.dirs.last_mut() {
            dir.times = times;
        }
        let keeps_mode = preserve.mode && !matches!(object.what, What::Symlink(_));
        // A new directory without attributes has its mode already; writing to a file may have changed it.
        let is_settled = is_dir && is_new && attributes.xattrs.is_empty() && inode.mode() & 0o7777 == attributes.mode;
        let times = times.filter(|_| !is_dir);
        let change = SetAttributes {
            mode: (keeps_mode && !is_settled).then_some(attributes.mode),
            atime: times.map(|[atime, _]| SetTime::At(atime)),
            mtime: times.map(|[_, mtime]| SetTime::At(mtime)),
            ..SetAttributes::default()
        };
        if change != SetAttributes::default() {
            self.fs.set_attributes(number, &change).map_err(failed)?;
        }
        Ok(())
    }

    fn drop_xattr(&self, inode: InodeNo, name: &[u8]) -> ocfs2_fs::Result<()> {
        match self.fs.remove_xattr(inode, name) {
            Err(Error::NoSuchXattr { .. } | Error::UnknownXattr { .. } | Error::NoFeature { .. }) => Ok(()),
            removed => removed,
        }
    }

    /// Goes to the directory of that path, and makes what is missing on the way.
    fn enter(&mut self, path: &[Vec<u8>]) -> anyhow::Result<()> {
        let inside = self.dirs.iter().skip(1);
        let common = inside.zip(path).take_while(|(dir, name)| dir.name == **name).count();
        self.leave(common + 1)?;
        for depth in common..path.len() {
            let (name, target) = (&path[depth], self.target(&path[..=depth]));
            let failed = |error| target.failed(error);
            let dir = self.dirs.last().map_or(self.fs.root(), |dir| dir.inode);
            let inode = match self.fs.lookup(dir, name).map_err(failed)? {
                Some(found) if found.kind() == FileKind::Directory => found,
                Some(_) => bail!("{target}: what is there in the destination is no directory"),
                None => {
                    let new = NewInode {
                        mode: 0o777,
                        ..self.new
                    };
                    self.fs.make_dir(dir, name, &new).map_err(failed)?
                }
            };
            self.dirs.push(Dir {
                name: name.clone(),
                inode: inode.number(),
                times: self.timed.get(&inode.number()).copied(),
            });
        }
        Ok(())
    }

    /// Leaves all directories but the first `keep`, and gives them their times.
    fn leave(&mut self, keep: usize) -> anyhow::Result<()> {
        while self.dirs.len() > keep.max(1) {
            let path: Vec<Vec<u8>> = self.dirs.iter().skip(1).map(|dir| dir.name.clone()).collect();
            if let Some(dir) = self.dirs.pop() {
                self.set_times(&dir, &path)?;
            }
        }
        if keep == 0
            && let Some(base) = self.dirs.first_mut()
        {
            let dir = Dir {
                name: Vec::new(),
                inode: base.inode,
                times: base.times.take(),
            };
            self.set_times(&dir, &[])?;
        }
        Ok(())
    }

    fn set_times(&mut self, dir: &Dir, path: &[Vec<u8>]) -> anyhow::Result<()> {
        let Some(times) = dir.times else { return Ok(()) };
        self.timed.insert(dir.inode, times);
        let change = SetAttributes {
            atime: Some(SetTime::At(times[0])),
            mtime: Some(SetTime::At(times[1])),
            ..SetAttributes::default()
        };
        match self.fs.set_attributes(dir.inode, &change) {
            Ok(_) => Ok(()),
            Err(error) => {
                let error = self.target(path).failed(error);
                if is_final(&error) {
                    return Err(error);
                }
                self.say(Event::Problem(format!("{error:#}")))
            }
        }
    }

    /// What has a path below the destination directory; symbolic links are not followed.
    fn find(&self, path: &[Vec<u8>]) -> anyhow::Result<InodeNo> {
        let mut at = self.dirs.first().map_or(self.fs.root(), |dir| dir.inode);
        for (depth, name) in path.iter().enumerate() {
            let target = self.target(&path[..=depth]);
            let found = self.fs.lookup(at, name).map_err(|error| match error {
                Error::WrongKind { .. } => anyhow::anyhow!("{target}: not below a directory"),
                other => target.failed(other),
            })?;
            at = match found {
                Some(inode) => inode.number(),
                None => bail!("{target}: no such file or directory"),
            };
        }
        Ok(at)
    }

    fn count(&self, counter: impl Fn(&Counters) -> &AtomicU64) {
        counter(&self.counters).fetch_add(1, Ordering::Relaxed);
    }
}

/// Names of the attributes that hold ACLs.
const ACLS: [&[u8]; 2] = [b"system.posix_acl_access", b"system.posix_acl_default"];

/// Whether the volume does not take attributes of that name, or not on such an object.
fn is_untaken(error: &Error) -> bool {
    matches!(
        error,
        Error::NoFeature { .. } | Error::UnknownXattr { .. } | Error::NotPermitted { .. }
    )
}

/// Whether nothing more can be made after this error.
pub(crate) fn is_final(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref::<Error>(),
        Some(Error::NoSpace | Error::ReadOnly | Error::Journal(_) | Error::Lock(_))
    )
}
