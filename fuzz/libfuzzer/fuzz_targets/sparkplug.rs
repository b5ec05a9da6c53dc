//! [`ravelin_fuzz::identify::sparkplug`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ravelin_fuzz::identify::sparkplug(data));
