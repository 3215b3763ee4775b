//! Directories of the destination that are being filled, and where in them something belongs.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use ocfs2_format::InodeNo;
use rustix::fs::{self, Mode};

use crate::target::{Target, join};
use crate::text::printable;

use super::Job;
use super::attrs::{Attributes, Lost};
use super::tree::Tree;

/// A directory of the destination that is being filled.
///
/// It gets its attributes when the last that was to be put into it lets go of it.
#[derive(Debug)]
pub(super) struct Dir {
    pub(super) job: Arc<Job>,
    /// `None` for the destination directory itself.
    pub(super) fd: Option<OwnedFd>,
    pub(super) parent: Option<Arc<Dir>>,
    pub(super) name: Vec<u8>,
    pub(super) number: InodeNo,
    pub(super) depth: usize,
    pub(super) finish: Option<Finish>,
}

/// What a directory gets when it is full.
#[derive(Debug)]
pub(super) enum Finish {
    /// What is kept of its source.
    Keep(Attributes),
    /// Permissions that were too narrow to fill it.
    Mode(Mode),
}

impl Dir {
    pub(super) fn fd(&self) -> &OwnedFd {
        self.fd.as_ref().unwrap_or(&self.job.base)
    }

    /// The names that lead here, from the source down.
    fn names(&self) -> Vec<&[u8]> {
        let mut names = Vec::with_capacity(self.depth + 1);
        let mut dir = Some(self);
        while let Some(at) = dir {
            names.push(at.name.as_slice());
            dir = at.parent.as_deref();
        }
        names.reverse();
        names
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        self.finish();
        // Letting go of the parent may be what it waited for, and so on up: a loop, since a deep tree would overflow the
        // stack.
        let mut parent = self.parent.take();
        while let Some(mut dir) = parent.and_then(Arc::into_inner) {
            dir.finish();
            parent = dir.parent.take();
        }
    }
}

impl Dir {
    fn finish(&mut self) {
        let Some(finish) = self.finish.take() else { return };
        let lost = match &finish {
            Finish::Keep(attributes) => attributes.apply(self.fd().as_fd(), &self.job.options.preserve),
            Finish::Mode(mode) => {
                let failed = fs::fchmod(self.fd(), *mode)
                    .err()
                    .map(|error| ("setting the permissions".into(), error.into()));
                Lost {
                    failures: failed.into_iter().collect(),
                    ..Lost::default()
                }
            }
        };
        self.job
            .report_lost(&lost, || printable(&self.job.destination(self.names())).into_owned());
    }
}

/// What is being copied, for messages.
pub(super) struct Place<'a> {
    pub(super) tree: &'a Tree,
    pub(super) dir: Option<&'a Dir>,
    pub(super) name: &'a [u8],
}

impl Place<'_> {
    /// The names from the source's own name down.
    fn names(&self) -> Vec<&[u8]> {
        let mut names = self.dir.map(Dir::names).unwrap_or_default();
        names.push(self.name);
        names
    }

    pub(super) fn source(&self) -> Target {
        let mut path = self.tree.target.path.clone();
        for name in self.names().into_iter().skip(1) {
            path = join(&path, name);
        }
        Target {
            image: self.tree.target.image.clone(),
            path,
        }
    }

    /// The path below the destination directory.
    pub(super) fn below_base(&self) -> Vec<u8> {
        let names: Vec<&[u8]> = self.names().into_iter().filter(|name| !name.is_empty()).collect();
        names.join(&b'/')
    }

    pub(super) fn destination(&self) -> Vec<u8> {
        self.tree.job.destination(self.names())
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.source().to_bytes()))
    }
}
