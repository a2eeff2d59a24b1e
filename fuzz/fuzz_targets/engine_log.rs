//! See `fuzz_targets::engine::engine_log`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::engine::engine_log(data));
