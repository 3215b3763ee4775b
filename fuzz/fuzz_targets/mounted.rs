#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ocfs2_fs::fuzz::mounted(bytes));
