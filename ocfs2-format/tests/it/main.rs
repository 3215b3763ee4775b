//! The format crate as its users see it.

mod device;
