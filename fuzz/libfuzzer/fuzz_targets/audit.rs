//! [`ravelin_fuzz::audit::audit`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ravelin_fuzz::audit::audit(data));
