//! [`ravelin_fuzz::protect::access_rules`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ravelin_fuzz::protect::access_rules(data));
