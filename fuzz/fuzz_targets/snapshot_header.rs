//! See `fuzz_targets::wire::snapshot_header`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::wire::snapshot_header(data));
