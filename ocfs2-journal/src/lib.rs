//! JBD2 as OCFS2 uses it.
