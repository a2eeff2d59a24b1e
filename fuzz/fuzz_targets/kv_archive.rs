//! See `fuzz_targets::kv::archive`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::kv::archive(data));
