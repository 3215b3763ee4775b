//! The format crate as its users see it.

mod device;
mod layout;
mod roundtrip;
mod sound;
