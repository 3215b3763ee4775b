//! Volumes that are damaged, or made to do harm: they are read right, or refused with an error that names the place.

mod base;
mod bombs;
mod corruptions;
mod forge;
mod images;
mod metaecc;
mod mutate;
mod writes;
