//! See `fuzz_targets::archive::node_archive`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::archive::node_archive(data));
