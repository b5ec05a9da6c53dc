//! [`ravelin_fuzz::directory::directory_commands`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ravelin_fuzz::directory::directory_commands(data));
