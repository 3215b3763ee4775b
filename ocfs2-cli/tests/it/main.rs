//! The `ocfs2` binary, run as a user runs it.

mod contract;
mod copy;
mod debugfs;
mod edit;
mod find;
mod frame;
mod fuse;
mod import;
mod inspect;
mod links;
mod mkfs;
mod mount;
mod o2info;
mod run;
