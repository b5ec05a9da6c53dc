//! [`ravelin_fuzz::protect::passwords`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ravelin_fuzz::protect::passwords(data));
