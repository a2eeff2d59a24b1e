//! See `fuzz_targets::storage::snapshot_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::storage::snapshot_file(data));
