//! [`ravelin_fuzz::identify::devices_csv`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ravelin_fuzz::identify::devices_csv(data));
