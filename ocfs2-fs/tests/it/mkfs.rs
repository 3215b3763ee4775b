//! Volumes made here: sound by our own survey, equal to the reference tool's, clean to its fsck.

mod blocks;
mod dry_run;
mod interrupted;
mod matrix;
mod mounted;
mod spec;
