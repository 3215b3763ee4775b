//! The format crate as its users see it.

mod device;
mod golden;
mod layout;
mod roundtrip;
mod sound;
