#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::control::run(data));
