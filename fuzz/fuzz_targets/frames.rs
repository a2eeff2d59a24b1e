//! See `fuzz_targets::wire::frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::wire::frames(data));
