//! What every command owes its user, whatever it does.

use crate::run::ocfs2;

/// The verbs in the help of the suite.
fn verbs() -> Vec<String> {
    let help = ocfs2(["--help"]).ok();
    let commands = help
        .split("Commands:\n")
        .nth(1)
        .and_then(|rest| rest.split("\n\n").next())
        .expect("a list of commands");
    let first_words = commands
        .lines()
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next());
    first_words.filter(|verb| *verb != "help").map(str::to_owned).collect()
}

#[test]
fn help_names_the_command_and_its_options() {
    let verbs = verbs();
    assert!(verbs.contains(&"links".to_owned()), "{verbs:?}");
    for verb in verbs {
        let help = ocfs2([&verb, "--help"]).ok();
        assert!(
            help.contains(&format!("Usage: ocfs2 {verb}")) && help.contains("Options:"),
            "{help}"
        );
    }
}

#[test]
fn version_names_the_release() {
    for verb in verbs() {
        let text = ocfs2([&verb, "--version"]).ok();
        assert!(text.contains(env!("CARGO_PKG_VERSION")), "{text}");
    }
}

#[test]
fn an_unknown_option_is_a_usage_error_that_names_it() {
    for verb in verbs() {
        let said = ocfs2([verb.as_str(), "--no-such-option"]);
        assert!(matches!(said.status, 1 | 2 | 16), "{verb}: {said:?}");
        assert!(said.stdout.is_empty(), "{verb}: {said:?}");
        assert!(said.stderr.starts_with(&format!("ocfs2 {verb}: ")), "{verb}: {said:?}");
        assert!(said.stderr.contains("--no-such-option"), "{verb}: {said:?}");
    }
}
