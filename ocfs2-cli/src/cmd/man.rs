//! `ocfs2 man`: manual pages, from the same definitions as the options themselves.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use clap::Command;
use clap_mangen::Man;

use crate::cmd::{COMMANDS, Run};
use crate::dispatch::{SUITE, suite};
use crate::exit::Exit;
use crate::ui::Ui;

/// Write the manual pages of the suite and of the traditional names into a directory
#[derive(Debug, clap::Parser)]
pub(crate) struct Args {
    /// Directory for the pages, made if missing
    dir: PathBuf,
}

impl Run for Args {
    fn run(self, _ui: &mut Ui) -> anyhow::Result<Exit> {
        fs::create_dir_all(&self.dir).with_context(|| format!("making the directory '{}'", self.dir.display()))?;
        self.page(suite(), "1")?;
        for entry in COMMANDS {
            let command = entry.command();
            if !command.is_hide_set() {
                let name = format!("{SUITE}-{}", entry.verb);
                let called = format!("{SUITE} {}", entry.verb);
                self.page(
                    command
                        .version(env!("CARGO_PKG_VERSION"))
                        .display_name(name.clone())
                        .name(name)
                        .bin_name(called),
                    "1",
                )?;
            }
            for name in entry.traditional {
                self.page(name.command(entry), name.section)?;
            }
        }
        Ok(Exit::OK)
    }
}

impl Args {
    fn page(&self, command: Command, section: &str) -> anyhow::Result<()> {
        let path = self.dir.join(format!("{}.{section}", command.get_name()));
        let mut page = Vec::new();
        Man::new(command).section(section).manual("OCFS2").render(&mut page)?;
        fs::write(&path, page).with_context(|| format!("writing '{}'", path.display()))
    }
}
