//! [`ravelin_fuzz::store::store`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ravelin_fuzz::store::store(data));
