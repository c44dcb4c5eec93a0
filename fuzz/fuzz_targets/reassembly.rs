#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wirewatt_fuzz::reassembly::run(data));
