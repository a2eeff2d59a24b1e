//! See `fuzz_targets::kv::records`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::kv::records(data));
