//! Any bytes as a layer: it is unpacked or refused, what unpacks is what was listed, and nothing
//! outside of it changes.

#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

/// In memory where that can be had: a run makes files by the thousand.
static PLACE: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let parent = ["/dev/shm", "/tmp"].map(PathBuf::from);
    let parent = parent
        .iter()
        .find(|path| path.is_dir())
        .expect("a directory");
    let place = tempfile::tempdir_in(parent).expect("a directory");
    std::fs::create_dir(place.path().join("outside")).expect("a directory");
    std::fs::write(place.path().join("outside/victim"), "precious").expect("a file");
    place
});

/// The checksums that the headers would have to have, or no change would get past them.
fn mend(archive: &mut [u8]) {
    for block in archive.chunks_exact_mut(512) {
        if &block[257..262] == b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, archive)) = bytes.split_first() else {
        return;
    };
    let mut archive = archive.to_vec();
    if kind & 2 != 0 {
        mend(&mut archive);
    }
    let place = PLACE.path();
    let root = place.join("root");
    std::fs::create_dir(&root).expect("a directory");
    let differences = postroj::image::fuzzing::layer(&archive, kind & 1 != 0, &root);
    assert_eq!(differences, [""; 0]);
    std::fs::remove_dir_all(&root).expect("a tree that can be removed");
    let victim = std::fs::read(place.join("outside/victim")).expect("the file outside");
    assert_eq!(victim, b"precious");
    let around = std::fs::read_dir(place).expect("the place").count();
    assert_eq!(around, 1, "something was left outside of the root");
    let outside = std::fs::read_dir(place.join("outside")).expect("the place");
    assert_eq!(outside.count(), 1);
});
