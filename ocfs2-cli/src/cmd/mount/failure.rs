//! Why a mount failed, with the exit status that mount(8) promises for it.

use std::fmt::Display;
use std::io;

use crate::exit::Exit;
use crate::ui::Ui;

/// A mount, or an unmount, that did not come about.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Failure {
    exit: Exit,
    text: String,
}

/// Exit statuses of mount(8) beside [`Exit::OK`] and [`Exit::FAILED`], which stands for a wrong call or a lack of permission.
impl Exit {
    /// Out of memory, processes, or the like.
    pub(crate) const SYSTEM: Self = Self::of(2);
    /// A bug in this program.
    pub(crate) const INTERNAL: Self = Self::of(4);
    /// The user did not want to wait.
    pub(crate) const INTERRUPTED: Self = Self::of(8);
    /// The mount failed.
    pub(crate) const MOUNT: Self = Self::of(32);
}

impl Failure {
    /// A failure that ends the command with this status.
    pub(crate) fn new(exit: Exit, text: impl Display) -> Self {
        Self {
            exit,
            text: text.to_string(),
        }
    }

    /// The volume cannot be mounted.
    pub(crate) fn mount(text: impl Display) -> Self {
        Self::new(Exit::MOUNT, text)
    }

    /// The caller may not do this.
    pub(crate) fn denied(text: impl Display) -> Self {
        Self::new(Exit::FAILED, text)
    }

    /// The system refused something that belongs to a mount; what it says decides about the status.
    pub(crate) fn io(what: impl Display, error: &io::Error) -> Self {
        let exit = match error.kind() {
            io::ErrorKind::PermissionDenied => Exit::FAILED,
            io::ErrorKind::OutOfMemory => Exit::SYSTEM,
            _ => Exit::MOUNT,
        };
        Self::new(exit, format_args!("{what}: {error}"))
    }

    /// Ends a command that failed: with the status of a failure, or as any other error does.
    ///
    /// # Errors
    /// `error`, if it is no failure of this kind.
    pub(crate) fn report(error: anyhow::Error, ui: &mut Ui) -> anyhow::Result<Exit> {
        let Some(exit) = error.downcast_ref::<Failure>().map(|failure| failure.exit) else {
            return Err(error);
        };
        ui.problem(format_args!("{error:#}"));
        Ok(exit)
    }
}
