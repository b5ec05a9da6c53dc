//! [`ravelin_fuzz::protect::scram_server`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ravelin_fuzz::protect::scram_server(data));
