//! The `ocfs2` command.
fn main() {}
