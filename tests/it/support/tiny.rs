//! Images that are pulled at once: what postroj looks for before it boots one is there, empty.

use std::fs;
use std::path::{Path, PathBuf};

use super::archive::{Entry, Tar};

/// The archive of such a root, with these files besides: path and content.
pub(crate) fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let tar = files.iter().fold(Tar::bootable(), |tar, (path, content)| {
        tar.with(Entry::file(path, *content))
    });
    tar.bytes()
}

/// The same, as a file.
pub(crate) fn tarball(at: &Path, name: &str, files: &[(&str, &[u8])]) -> PathBuf {
    let path = at.join(name);
    fs::write(&path, archive(files)).expect("write an archive");
    path
}

/// Bytes that do not pack, the same for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        // Marsaglia's xorshift.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
