//! The `ocfs2` binary, run as a user runs it.

mod contract;
mod frame;
mod run;
