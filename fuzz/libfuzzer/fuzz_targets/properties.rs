//! [`ravelin_fuzz::mqtt::properties`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ravelin_fuzz::mqtt::properties(data));
