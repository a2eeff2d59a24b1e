//! See `fuzz_targets::http2::http2`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::http2::http2(data));
