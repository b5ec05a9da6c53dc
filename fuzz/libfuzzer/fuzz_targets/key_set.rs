//! [`ravelin_fuzz::protect::key_set`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ravelin_fuzz::protect::key_set(data));
