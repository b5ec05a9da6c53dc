//! [`ravelin_fuzz::broker::broker_restore`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ravelin_fuzz::broker::broker_restore(data));
