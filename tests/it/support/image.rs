//! postroj's own store in the cache, filled by postroj itself, once.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex, PoisonError};

use super::process::{self, tool};
use super::{cache, place, registry};

/// The store that tests on this machine share. A change to what makes images, or to the catalogue,
/// starts a new one; `POSTROJ_TEST_STORE` names one to go on with all the same, while developing.
pub(crate) fn store() -> PathBuf {
    static STORE: LazyLock<PathBuf> = LazyLock::new(|| {
        if let Some(store) = std::env::var_os("POSTROJ_TEST_STORE") {
            return store.into();
        }
        let source = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut sources = Vec::new();
        for directory in ["src/image", "images"] {
            collect(&source.join(directory), &mut sources);
        }
        let store = cache::root().join(format!("store-{}", &registry::hex(&sources)[..12]));
        fs::create_dir_all(&store).expect("create the store");
        cache::touch(&store);
        cache::prune();
        store
    });
    STORE.clone()
}

fn collect(path: &Path, sources: &mut Vec<u8>) {
    if path.is_dir() {
        let entries = fs::read_dir(path).expect("read the source");
        let mut entries: Vec<PathBuf> = entries
            .map(|entry| entry.expect("an entry").path())
            .collect();
        entries.sort();
        for entry in entries {
            collect(&entry, sources);
        }
    } else if let Ok(bytes) = fs::read(path) {
        sources.extend(bytes);
    }
}

/// Sees to it that the store holds the image, from Debian's mirror: no registry is asked, as none
/// can be reached on many machines where this runs.
#[track_caller]
pub(crate) fn pulled(name: &str) {
    static PULLED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let pulled = || PULLED.lock().unwrap_or_else(PoisonError::into_inner);
    if pulled().contains(name) {
        return;
    }
    let _use = cache::Lock::shared("pull");
    let _lock = cache::Lock::exclusive(&format!("pull-{name}"));
    let mut command = Command::new(place::binary());
    command
        .args(["pull", "--source", "bootstrap", name])
        .env("POSTROJ_STATE_DIR", store());
    process::run(command).exits(0);
    pulled().insert(name.to_owned());
}

/// Copies the store, with links in place of copies, for a host of its own.
pub(crate) fn copy_store(images: &[&str], to: &Path) {
    for image in images {
        pulled(image);
    }
    if !images.is_empty() {
        // Nobody may be making something in it meanwhile.
        let _lock = cache::Lock::exclusive("pull");
        tool(
            "cp",
            &[
                "-al",
                "--",
                &format!("{}/.", store().display()),
                to.to_str().expect("UTF-8"),
            ],
        );
    }
}

/// A `registries.conf` by which docker.io cannot be reached.
pub(crate) fn no_registry(at: &Path) -> PathBuf {
    // Port 1 of loopback: nothing listens there.
    registry::mirror(at, "127.0.0.1:1")
}
