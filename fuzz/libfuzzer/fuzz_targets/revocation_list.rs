//! [`ravelin_fuzz::protect::revocation_list`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ravelin_fuzz::protect::revocation_list(data));
