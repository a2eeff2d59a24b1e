//! See `fuzz_targets::step::step`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::step::step(data));
