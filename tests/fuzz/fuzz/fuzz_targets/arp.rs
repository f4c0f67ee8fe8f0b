#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| foghorn_fuzz::arp(octets));
