//! [`ravelin_fuzz::replay::capture`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ravelin_fuzz::replay::capture(data));
