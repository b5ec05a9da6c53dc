//! [`ravelin_fuzz::identify::inventory_record`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ravelin_fuzz::identify::inventory_record(data));
