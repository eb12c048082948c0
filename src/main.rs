//! postroj
fn main() {}
