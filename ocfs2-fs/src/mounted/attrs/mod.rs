//! Attributes of inodes: modes, owners, times, flags, extended attributes and ACLs.
//!
//! ```text
//! ops       FileSystem's methods: locks, transactions
//! set       modes, owners, times, flags of chattr
//! access    who may do what
//! acl       what ACLs mean: equivalent modes, masks, inheritance
//! inherit   attributes that an inode is born with
//! store     where an attribute goes: dinode, block, tree of buckets
//! area      bytes of an area of attributes
//! copy      giving an inode the attributes of another
//! index     the tree of buckets
//! value     values in clusters of their own
//! wipe      taking all attributes from an inode that is deleted
//! ```
//!
//! Source: on-disk reference, sections 8, 9, 22, 23 and 37.

mod access;
mod acl;
mod area;
mod copy;
mod index;
mod inherit;
mod ops;
mod set;
mod store;
mod value;
mod wipe;

pub use access::{Caller, MAY_EXECUTE, MAY_READ, MAY_WRITE};
pub use acl::AclKind;
pub use ops::XattrMode;
pub use set::{SetAttributes, SetTime};

pub(crate) use copy::{copy_all, outside_values, value_root};
pub(crate) use inherit::{Inherited, apply_inherited, inherit};
pub(crate) use ops::drop_capability;
pub(crate) use wipe::remove_all;
