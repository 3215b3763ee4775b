//! Tests of the mounted file system: what it writes is judged by fsck.ocfs2, by the kernel, and by reading it back.

mod acl;
mod attrs;
mod bed;
mod both_ways;
mod crash;
mod data;
mod data_crash;
mod data_kernel;
mod data_model;
mod dirs;
mod extents_kernel;
mod faults;
mod locks;
mod model;
mod mount;
mod names;
#[path = "../it/observe.rs"]
mod observe;
mod orphans;
mod quota;
mod refcount;
mod scale;
mod space;
mod xattr;
