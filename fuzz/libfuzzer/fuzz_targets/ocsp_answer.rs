//! [`ravelin_fuzz::protect::ocsp_answer`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ravelin_fuzz::protect::ocsp_answer(data));
