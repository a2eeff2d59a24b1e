//! See `fuzz_targets::wire::payload`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::wire::payload(data));
