//! OCFS2 volumes from Rust.
