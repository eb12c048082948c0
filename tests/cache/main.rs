//! What the tests share, made before them, as many things at once as there are processors: else
//! those that need one thing would all wait for whoever makes it.
//!
//! Who names a test (`cargo test NAME`) does not wait for what that one may not need.

#[path = "../it/support/mod.rs"]
#[expect(
    dead_code,
    unused_imports,
    reason = "the other tests use the rest of it"
)]
mod support;

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use support::registry::Registry;
use support::{image, tree};

/// A name, and how it is made.
type Thing = (&'static str, fn());

/// What takes longest comes first, and what is made of something else after that.
const THINGS: [Thing; 9] = [
    ("trees of other families", || {
        for id in ["fedora", "opensuse-leap", "arch"] {
            tree::foreign(id);
        }
    }),
    ("a tree that boots, and its archives", || {
        tree::archives();
    }),
    ("a host with systemd", || {
        tree::host();
    }),
    ("debian-sid", || image::pulled("debian-sid")),
    ("debian-trixie", || image::pulled("debian-trixie")),
    ("debian-bookworm", || image::pulled("debian-bookworm")),
    ("debian-bullseye", || image::pulled("debian-bullseye")),
    ("a registry", || drop(Registry::with_debian())),
    ("repositories to bootstrap from", || {
        tree::repositories();
    }),
];

fn main() {
    let is_chosen = |argument: String| !argument.starts_with('-') || argument == "--list";
    if std::env::args().skip(1).any(is_chosen) {
        return;
    }
    let queue = Mutex::new(VecDeque::from(THINGS));
    let next = || {
        let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.pop_front()
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(thing) = next() {
                    make(thing);
                }
            });
        }
    });
}

#[expect(clippy::print_stdout, reason = "it is its own test harness")]
fn make((name, make): Thing) {
    let began = Instant::now();
    make();
    println!("{name}: {:.0} s", began.elapsed().as_secs_f64());
}
