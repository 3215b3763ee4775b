//! The test support itself, against the oracles it wraps.

mod golden;
mod kernel;
mod tools;
