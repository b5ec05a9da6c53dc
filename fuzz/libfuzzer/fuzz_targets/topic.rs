//! [`ravelin_fuzz::mqtt::topic`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ravelin_fuzz::mqtt::topic(data));
