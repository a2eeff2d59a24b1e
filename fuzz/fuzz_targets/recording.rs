//! See `fuzz_targets::recording::recording`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::recording::recording(data));
