//! From `argv` to a command, and from its outcome to an exit status.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ArgMatches, Command};

use crate::cmd::{self, Entry};
use crate::exit::Exit;
use crate::ui::{self, Ui};

/// The name of the suite and of its binary.
pub(crate) const SUITE: &str = "ocfs2";

/// Runs the command that `args` (with `argv[0]`) asks for.
pub(crate) fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    let called_as = args
        .first()
        .and_then(|arg0| Path::new(arg0).file_name())
        .unwrap_or(OsStr::new(SUITE));
    let exit = match cmd::find_program(called_as) {
        Some((entry, name)) => match name.command(entry).try_get_matches_from(&args) {
            Ok(matches) => run(entry, name.program.to_owned(), &matches),
            Err(error) => usage(name.program, entry.usage_exit, &error),
        },
        None => match suite().try_get_matches_from(&args) {
            Ok(matches) => match matches
                .subcommand()
                .and_then(|(verb, sub)| Some((cmd::find(verb)?, sub)))
            {
                Some((entry, sub)) => run(entry, format!("{SUITE} {}", entry.verb), sub),
                None => unreachable!("clap asks for a subcommand and knows no others"),
            },
            Err(error) => {
                let entry = args.get(1).and_then(|arg| arg.to_str()).and_then(cmd::find);
                let program = entry.map_or(SUITE.to_owned(), |entry| format!("{SUITE} {}", entry.verb));
                usage(&program, entry.map_or(Exit::USAGE, |entry| entry.usage_exit), &error)
            }
        },
    };
    exit.into()
}

/// The command line of the whole suite.
pub(crate) fn suite() -> Command {
    Command::new(SUITE)
        .about("Work with OCFS2 volumes, on devices and in image files, mounted or not")
        .version(env!("CARGO_PKG_VERSION"))
        .propagate_version(true)
        .infer_long_args(true)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .after_help(
            "Commands that take a path inside a volume write it IMAGE:/path; IMAGE alone is the root directory.\n\
             'ocfs2 help VERB' describes a command.",
        )
        .subcommands(cmd::COMMANDS.iter().map(Entry::command))
}

/// Runs one command and reports its error, if any.
fn run(entry: &Entry, program: String, matches: &ArgMatches) -> Exit {
    let mut ui = Ui::new(program, matches);
    let outcome = (entry.run)(matches, &mut ui);
    ui.finish(outcome, entry.usage_exit)
}

/// Shows what clap has to say: help and version on stdout, a mistake on stderr in the form of every other error.
fn usage(program: &str, usage_exit: Exit, error: &clap::Error) -> Exit {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // Nothing can be done about a stdout that does not take the text.
            let _ = error.print();
            if !error.render().to_string().ends_with('\n') {
                let _ = writeln!(io::stdout());
            }
            Exit::OK
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            usage_exit
        }
        _ => {
            let text = error.render().to_string();
            ui::complain(program, text.strip_prefix("error: ").unwrap_or(&text).trim_end());
            usage_exit
        }
    }
}
