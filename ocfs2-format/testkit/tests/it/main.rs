//! The test support itself, against the oracles it wraps.

mod kernel;
mod tools;
