//! The program as its users have it.

use std::path::{Path, PathBuf};

use crate::support::place;

/// Copies the program to a directory, as `make install` does. A linker writes its output here and there, and
/// what it has written lies in the page cache in pieces: a program that is executed from there takes 2 ms
/// longer.
pub(crate) fn installed(directory: &Path) -> PathBuf {
    let copy = directory.join("postroj");
    std::fs::copy(place::binary(), &copy).expect("copy the program");
    copy
}
