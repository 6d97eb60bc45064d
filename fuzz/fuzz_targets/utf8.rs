#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::utf8::run(data));
