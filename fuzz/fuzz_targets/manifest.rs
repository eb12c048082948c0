//! Any bytes as a manifest, an index or a config.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| postroj::image::fuzzing::documents(bytes));
