//! Trees as sources: a directory and everything below it, names in order.

use crate::text::printable;
use crate::transfer::MAX_DEPTH;

use super::{Object, Source, What};

/// Something with directories.
pub(crate) trait Tree {
    /// What finds an object again.
    type Key;

    /// The object behind a key, whose path is filled in later.
    fn object(&mut self, key: &Self::Key) -> anyhow::Result<Object>;

    /// What tells a directory from all others, for loops.
    fn directory_id(&mut self, key: &Self::Key) -> anyhow::Result<(u64, u64)>;

    /// The names in a directory, in any order, and what finds them.
    fn children(&mut self, key: &Self::Key) -> anyhow::Result<Vec<(Vec<u8>, Self::Key)>>;

    /// Begins to read the contents of a file.
    fn open(&mut self, key: &Self::Key) -> anyhow::Result<()>;

    /// See [`Source::data_bytes`].
    fn data_bytes(&mut self) -> anyhow::Result<u64>;

    /// See [`Source::read`].
    fn read(&mut self, buf: &mut [u8]) -> anyhow::Result<Option<(u64, usize)>>;
}

/// A tree as a source.
#[derive(Debug)]
pub(crate) struct Walk<T: Tree> {
    tree: T,
    recursive: bool,
    /// What comes next, once a directory that came last has been opened or left out.
    start: Option<(Option<Vec<u8>>, T::Key)>,
    /// The directory that came last.
    pending: Option<T::Key>,
    /// Directories on the way down, and what is left in them, the next one last.
    levels: Vec<Level<T::Key>>,
    /// Names from the destination directory to the last object.
    path: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct Level<K> {
    id: (u64, u64),
    /// Components of the path of this directory.
    depth: usize,
    names: Vec<(Vec<u8>, K)>,
}

impl<T: Tree> Walk<T> {
    /// An object and, with `recursive`, everything below it. It is called `name` in the destination; without one, its
    /// contents go there.
    pub(crate) fn new(tree: T, key: T::Key, name: Option<Vec<u8>>, recursive: bool) -> Self {
        Self {
            tree,
            recursive,
            start: Some((name, key)),
            pending: None,
            levels: Vec::new(),
            path: Vec::new(),
        }
    }

    fn give(&mut self, key: T::Key) -> anyhow::Result<Object> {
        let mut object = self.tree.object(&key)?;
        object.path.clone_from(&self.path);
        match object.what {
            What::Directory if !self.recursive => {
                anyhow::bail!("{}: is a directory (use -r to copy it)", printable(&object.label));
            }
            What::Directory => self.pending = Some(key),
            What::File(_) => self.tree.open(&key)?,
            _ => {}
        }
        Ok(object)
    }

    /// Opens the directory that came last.
    fn descend(&mut self, key: &T::Key) -> anyhow::Result<()> {
        let id = self.tree.directory_id(key)?;
        let label =
            |walk: &mut Self| -> anyhow::Result<String> { Ok(printable(&walk.tree.object(key)?.label).into_owned()) };
        if self.levels.iter().any(|level| level.id == id) {
            anyhow::bail!("{}: the directory contains itself", label(self)?);
        }
        if self.levels.len() >= MAX_DEPTH {
            anyhow::bail!("{}: more than {MAX_DEPTH} directories inside each other", label(self)?);
        }
        let mut names = self.tree.children(key)?;
        names.sort_unstable_by(|(one, _), (other, _)| other.cmp(one));
        self.levels.push(Level {
            id,
            depth: self.path.len(),
            names,
        });
        Ok(())
    }
}

impl<T: Tree> Source for Walk<T> {
    fn next(&mut self) -> Option<anyhow::Result<Object>> {
        if let Some((name, key)) = self.start.take() {
            self.path.extend(name);
            return Some(self.give(key));
        }
        if let Some(key) = self.pending.take()
            && let Err(error) = self.descend(&key)
        {
            return Some(Err(error));
        }
        loop {
            let level = self.levels.last_mut()?;
            self.path.truncate(level.depth);
            let Some((name, key)) = level.names.pop() else {
                self.levels.pop();
                continue;
            };
            self.path.push(name);
            return Some(self.give(key));
        }
    }

    fn read(&mut self, buf: &mut [u8]) -> anyhow::Result<Option<(u64, usize)>> {
        self.tree.read(buf)
    }

    fn data_bytes(&mut self) -> anyhow::Result<u64> {
        self.tree.data_bytes()
    }

    fn skip(&mut self) {
        self.pending = None;
    }
}
