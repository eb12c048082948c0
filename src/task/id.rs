//! The ids of tasks.

use std::io;

/// How much of an id is shown.
const SHORT: usize = 12;

/// A new one: 128 random bits, so that there was none like it and will be none; random(4).
pub(super) fn new() -> io::Result<String> {
    let mut bytes = [0_u8; 16];
    let mut filled = 0;
    while filled < bytes.len() {
        let flags = rustix::rand::GetRandomFlags::empty();
        filled += rustix::rand::getrandom(&mut bytes[filled..], flags)?;
    }
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

/// The beginning of an id.
pub(super) fn short(id: &str) -> &str {
    id.get(..SHORT).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ() {
        let [one, two] = [new().unwrap(), new().unwrap()];
        assert_ne!(one, two);
        assert_eq!((one.len(), short(&one).len()), (32, SHORT));
        assert!(one.starts_with(short(&one)));
    }
}
