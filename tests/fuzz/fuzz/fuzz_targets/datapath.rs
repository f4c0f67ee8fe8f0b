#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| foghorn_fuzz::datapath(bytes));
