//! [`ravelin_fuzz::node::proxy`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ravelin_fuzz::node::proxy(data));
