//! `ocfs2 completions`: shell completions, from the same definitions as the options themselves.

use std::io::Write;

use clap_complete::Shell;

use crate::cmd::{Run, find_program};
use crate::dispatch::{SUITE, suite};
use crate::exit::Exit;
use crate::ui::Ui;

/// Print the completion script of a shell
#[derive(Debug, clap::Parser)]
pub(crate) struct Args {
    /// Shell to complete for
    shell: Shell,
    /// Program to complete: ocfs2 itself, or one of its traditional names
    #[arg(default_value = SUITE)]
    program: String,
}

impl Run for Args {
    fn run(self, ui: &mut Ui) -> anyhow::Result<Exit> {
        let mut command = if self.program == SUITE {
            suite()
        } else {
            let (entry, name) = find_program(self.program.as_ref())
                .ok_or_else(|| anyhow::anyhow!("'{}' is not one of our programs", self.program))?;
            name.command(entry)
        };
        // The generator panics when it cannot write, so it writes to memory.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, &self.program, &mut script);
        ui.write_all(&script)?;
        Ok(Exit::OK)
    }
}
