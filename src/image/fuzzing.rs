//! What reads foreign bytes, for the targets below `fuzz/`; not part of the interface.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::layer::{Limits, Memory, Options, unpack, verify};
use super::reference::{Typed, parse};
use super::rootfs::Rootfs;

/// Unpacks an archive into the empty directory `root`; tells in what it differs from its listing.
pub fn layer(archive: &[u8], whiteouts: bool, root: &Path) -> Vec<String> {
    let options = Options {
        compression: None,
        whiteouts,
        limits: Limits {
            bytes: 16 << 20,
            file: 1 << 20,
            holes: 4 << 20,
            ..Limits::DEFAULT
        },
        memory: Memory::new(1 << 20),
    };
    let cancel = AtomicBool::new(false);
    let listing = tempfile(root);
    let listed = unpack(archive, root, &options, &cancel).and_then(|unpacked| {
        let lower = Rootfs::open(&[]).expect("no layers are no layers to open");
        unpacked.settle(&lower, &listing, &cancel)
    });
    let differences = listed.map(|listed| verify(root, &listing, &listed.digest, &cancel));
    let _ = std::fs::remove_file(&listing);
    match differences {
        Ok(found) => {
            let found = found.expect("what was just written can be read");
            found.iter().map(ToString::to_string).collect()
        }
        Err(error) => {
            assert!(!error.to_string().contains(char::is_control), "{error}");
            Vec::new()
        }
    }
}

fn tempfile(root: &Path) -> std::path::PathBuf {
    root.with_extension("content")
}

/// Reads a manifest, an index and a config.
pub fn documents(bytes: &[u8]) {
    super::oci::read_documents(bytes);
}

/// Reads a reference; panics if it is written as something that is read otherwise.
pub fn reference(text: &str) {
    let Ok(Typed::Meant(read)) = parse(text) else {
        return;
    };
    let name = read.machine_name();
    assert!(!name.is_empty() && name.len() <= 50, "{name:?}");
    let written = read.to_string();
    // A password is not written.
    if written.starts_with("http") && text.contains('@') {
        return;
    }
    match parse(&written) {
        Ok(Typed::Meant(again)) => assert_eq!(again, read, "{written:?}"),
        other => panic!("{written:?} is read as {other:?}"),
    }
}
