//! Test support for the workspace: the real kernel, the reference tools, golden images.
