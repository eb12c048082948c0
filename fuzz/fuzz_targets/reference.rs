//! Any text as a reference: what is read is written so that it is read as the same again.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| postroj::image::fuzzing::reference(text));
