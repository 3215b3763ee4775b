//! Why a command did not do what it was asked for, in the words that scripts look for.

use std::io;

use ocfs2_format::{Structure, Violation};
use ocfs2_fs::Error;

/// A command that failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The words behind the command make no sense.
    Usage,
    /// Anything else that the user should read.
    Text(String),
    /// The output cannot be written.
    Output(io::Error),
}

/// How a command ended.
pub(super) type Outcome = Result<(), Failure>;

impl Failure {
    /// A failure with a text of its own.
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// What went wrong while something was done.
pub(super) fn failed(error: &Error, doing: impl std::fmt::Display) -> Failure {
    Failure::Text(format!("{} {doing}", text(error)))
}

/// An error in the words of the reference, as far as it has some; otherwise in ours, which say more.
pub(super) fn text(error: &Error) -> String {
    let short = match error {
        Error::Corrupt(corrupt) => match (&corrupt.violation, corrupt.structure) {
            (Violation::OutsideVolume { .. }, Structure::Block) => "Invalid block number",
            (Violation::Signature { .. }, Structure::Dinode) => "Bad magic number in inode",
            (Violation::Signature { .. }, Structure::GroupDesc) => "Bad magic number in group descriptor",
            (Violation::Signature { .. }, Structure::ExtentBlock) => "Bad magic number in extent block",
            (Violation::Signature { .. }, Structure::XattrBlock) => "Bad magic number in xattr block",
            (Violation::Signature { .. }, Structure::RefcountBlock) => "Bad magic number in refcount block",
            (Violation::Signature { .. }, Structure::DxRoot | Structure::DxLeaf) => "OCFS2 directory corrupted",
            (Violation::Signature { .. }, Structure::Superblock) => "Bad magic number in superblock",
            (_, Structure::Superblock) => return format!("The OCFS2 superblock is corrupt ({error})"),
            _ => return error.to_string(),
        },
        Error::NotOcfs2 { .. } => "Bad magic number in superblock",
        Error::Unsupported(reason) => return format!("Unsupported feature(s) found ({reason})"),
        Error::NotFound(_) => "Directory entry not found",
        Error::NotADirectory(_) => "OCFS2 inode is not a directory",
        Error::WrongKind {
            wanted: "directory", ..
        } => "OCFS2 inode is not a directory",
        Error::SymlinkLoop(_) => "Too many symbolic links encountered",
        Error::NoSuchBackup { .. } => "Backup superblock not found",
        Error::Io(error) => return format!("I/O error on channel ({error})"),
        _ => return error.to_string(),
    };
    short.to_owned()
}
