//! See `fuzz_targets::storage::log_records`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::storage::log_records(data));
