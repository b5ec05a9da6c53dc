//! [`ravelin_fuzz::node::firewall_request`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ravelin_fuzz::node::firewall_request(data));
