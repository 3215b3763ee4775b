//! Tests of the file-system crate against golden images, the reference tools and the real kernel.

mod corpus;
mod hostile;
mod live;
mod mkfs;
mod observe;
mod reading;
mod survey;
