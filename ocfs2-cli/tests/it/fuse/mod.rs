//! Mounted volumes, used through system calls. What is left is judged by the reference `fsck`.

mod attrs;
mod bed;
mod conformance;
mod data;
mod load;
mod names;
mod programs;
