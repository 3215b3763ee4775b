//! Journals made block by block, by hand, at random, and by the kernel.

mod bed;
mod crash;
mod damage;
mod dump;
mod faults;
mod kernel;
mod model;
mod overlay;
mod random;
mod replay;
mod scan;
mod threads;
mod write;
mod writer;
mod written;
