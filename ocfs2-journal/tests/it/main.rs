//! Journals made block by block, by hand, at random, and by the kernel.

mod damage;
mod dump;
mod kernel;
mod model;
mod overlay;
mod random;
mod replay;
mod scan;
mod writer;
