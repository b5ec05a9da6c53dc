//! [`ravelin_fuzz::directory::directory_import`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ravelin_fuzz::directory::directory_import(data));
