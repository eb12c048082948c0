//! Root file systems of a few kilobytes: they hold what postroj looks for before it boots an image,
//! so that a pull of one is over at once, and none of it works.

use std::fs;
use std::path::{Path, PathBuf};

/// What makes postroj take a root for one that boots as it is.
const BOOTABLE: [&str; 4] = [
    "usr/lib/systemd/systemd",
    "usr/sbin/init",
    "usr/bin/dbus-daemon",
    "usr/lib/systemd/system/dbus.socket",
];

/// An archive of such a root, with these files besides: path and content.
pub(crate) fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |path: &str, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        archive
            .append_data(&mut header, path, content)
            .expect("write an archive in memory");
    };
    for path in BOOTABLE {
        add(path, b"#!/bin/false\n");
    }
    for (path, content) in files {
        add(path, content);
    }
    archive.into_inner().expect("end the archive")
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
