//! The commands, and the table that lists them.
//!
//! A command is a file with a clap-derived `Args` struct, whose doc comments are its help text, and an implementation of
//! [`Run`]. To add one: write the file, name it here, add a line to [`COMMANDS`]. Help, manual pages, completions and
//! links follow from that line.

mod cat;
mod chattr;
mod chmod;
mod chown;
mod completions;
mod cp;
mod debugfs;
mod df;
mod du;
mod fallocate;
mod find;
mod import;
mod links;
mod ln;
mod ls;
mod man;
mod mkdir;
mod mkfs;
mod mount;
mod mounted;
mod mv;
mod o2info;
mod reflink;
mod rm;
mod rmdir;
mod stat;
mod touch;
mod tree;
mod truncate;
mod umount;
mod xattr;

use std::ffi::OsStr;

use clap::{ArgMatches, Command, CommandFactory, FromArgMatches};

use crate::dispatch::SUITE;
use crate::exit::Exit;
use crate::ui::Ui;

/// What a command does with its parsed options.
pub(crate) trait Run: CommandFactory + FromArgMatches {
    /// Does the work. Results go to `ui`; an error is printed as `<program>: <text>` and ends with status 1.
    fn run(self, ui: &mut Ui) -> anyhow::Result<Exit>;
}

/// A name outside the suite by which a command is known, found by `argv[0]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traditional {
    /// Program name, such as `mkfs.ocfs2`.
    pub(crate) program: &'static str,
    /// Section of its manual page.
    pub(crate) section: &'static str,
}

impl Traditional {
    /// A program with its manual page in section 8, for the administrator.
    const fn admin(program: &'static str) -> Self {
        Self { program, section: "8" }
    }

    /// A program with its manual page in section 1, for everybody.
    const fn user(program: &'static str) -> Self {
        Self { program, section: "1" }
    }

    /// The command line when called by this name.
    pub(crate) fn command(&self, entry: &Entry) -> Command {
        let mut command = (entry.build)();
        // A usage that is written out, and not clap's, has the name of the suite in it.
        let usage = (entry.build)().render_usage().to_string();
        let called = format!("{SUITE} {}", entry.verb);
        if usage.contains(&called) {
            let usage = usage.trim_start_matches("Usage: ").replace(&called, self.program);
            command = command.override_usage(usage);
        }
        command
            .name(self.program)
            .bin_name(self.program)
            .version(env!("CARGO_PKG_VERSION"))
            .infer_long_args(true)
            .args_override_self(true)
            .hide(false)
    }
}

/// One command of the suite.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// Its name in `ocfs2 VERB`.
    pub(crate) verb: &'static str,
    /// Its names as a program of its own.
    pub(crate) traditional: &'static [Traditional],
    /// Exit status after a command line that makes no sense.
    pub(crate) usage_exit: Exit,
    /// Runs it.
    pub(crate) run: fn(&ArgMatches, &mut Ui) -> anyhow::Result<Exit>,
    build: fn() -> Command,
    hidden: bool,
}

impl Entry {
    const fn new<R: Run>(verb: &'static str) -> Self {
        Self {
            verb,
            traditional: &[],
            usage_exit: Exit::USAGE,
            run: run::<R>,
            build: R::command,
            hidden: false,
        }
    }

    /// Makes the command known as a program of its own, under each of these names.
    const fn known_as(mut self, names: &'static [Traditional]) -> Self {
        self.traditional = names;
        self
    }

    /// Sets the exit status of a command line that makes no sense.
    const fn usage_exit(mut self, exit: Exit) -> Self {
        self.usage_exit = exit;
        self
    }

    /// Leaves the command out of the help.
    const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    /// The command line as a verb of the suite.
    pub(crate) fn command(&self) -> Command {
        (self.build)()
            .name(self.verb)
            .args_override_self(true)
            .hide(self.hidden)
    }
}

fn run<R: Run>(matches: &ArgMatches, ui: &mut Ui) -> anyhow::Result<Exit> {
    R::from_arg_matches(matches)?.run(ui)
}

/// The command called `verb`.
pub(crate) fn find(verb: &str) -> Option<&'static Entry> {
    COMMANDS.iter().find(|entry| entry.verb == verb)
}

/// The command that has `program` as its traditional name.
pub(crate) fn find_program(program: &OsStr) -> Option<(&'static Entry, Traditional)> {
    let mut named = COMMANDS
        .iter()
        .flat_map(|entry| entry.traditional.iter().map(move |name| (entry, *name)));
    named.find(|(_, name)| program == name.program)
}

/// Every command, in the order of the help.
pub(crate) static COMMANDS: &[Entry] = &[
    Entry::new::<ls::Args>("ls"),
    Entry::new::<tree::Args>("tree"),
    Entry::new::<find::Args>("find"),
    Entry::new::<cat::Args>("cat"),
    Entry::new::<cp::Args>("cp"),
    Entry::new::<stat::Args>("stat"),
    Entry::new::<xattr::Args>("xattr"),
    Entry::new::<import::Args>("import"),
    Entry::new::<mkdir::Args>("mkdir"),
    Entry::new::<rm::Args>("rm"),
    Entry::new::<rmdir::Args>("rmdir"),
    Entry::new::<mv::Args>("mv"),
    Entry::new::<ln::Args>("ln"),
    Entry::new::<reflink::Args>("reflink"),
    Entry::new::<chmod::Args>("chmod"),
    Entry::new::<chown::Args>("chown"),
    Entry::new::<chattr::Args>("chattr"),
    Entry::new::<touch::Args>("touch"),
    Entry::new::<truncate::Args>("truncate"),
    Entry::new::<fallocate::Args>("fallocate"),
    Entry::new::<du::Args>("du"),
    Entry::new::<df::Args>("df"),
    Entry::new::<mkfs::Args>("mkfs")
        .known_as(&[Traditional::admin("mkfs.ocfs2")])
        .usage_exit(Exit::FAILED),
    Entry::new::<o2info::Args>("o2info")
        .known_as(&[Traditional::user("o2info")])
        .usage_exit(Exit::FAILED),
    Entry::new::<mounted::Args>("mounted")
        .known_as(&[Traditional::admin("mounted.ocfs2")])
        .usage_exit(Exit::FAILED),
    Entry::new::<mount::Args>("mount")
        .known_as(&[
            Traditional::admin("mount.ocfs2"),
            Traditional::admin("mount.fuse.ocfs2"),
        ])
        .usage_exit(Exit::FAILED),
    Entry::new::<umount::Args>("umount")
        .known_as(&[Traditional::admin("umount.fuse.ocfs2")])
        .usage_exit(Exit::FAILED),
    Entry::new::<debugfs::Args>("debugfs").known_as(&[Traditional::admin("debugfs.ocfs2")]),
    Entry::new::<links::Args>("links"),
    Entry::new::<man::Args>("man").hidden(),
    Entry::new::<completions::Args>("completions").hidden(),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::COMMANDS;

    #[test]
    fn every_command_line_is_consistent_under_each_of_its_names() {
        crate::dispatch::suite().debug_assert();
        for entry in COMMANDS {
            for name in entry.traditional {
                name.command(entry).debug_assert();
            }
        }
    }

    #[test]
    fn no_two_commands_share_a_name() {
        let names = COMMANDS.iter().flat_map(|entry| {
            let programs = entry.traditional.iter().map(|name| name.program);
            // o2info has no other name.
            programs.filter(|&program| program != entry.verb).chain([entry.verb])
        });
        let mut seen = BTreeSet::new();
        for name in names {
            assert!(seen.insert(name), "{name} appears twice");
        }
    }
}
