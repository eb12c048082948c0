//! The warm cycle of a run (boot, ask for a unit, tear down) beside what a user would pick instead,
//! on a host whose PID 1 is systemd, one after the other in turns.

use std::path::{Path, PathBuf};

use support::nested::Nested;
use support::{cache, image, process, tree};
use turns::Candidate;

#[path = "../tests/it/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the bench needs a part of it")]
mod support;
mod turns;

const IMAGE: &str = "debian-bookworm";
const ROUNDS: usize = 15;

fn main() {
    // `cargo test --benches` and `cargo bench` say what they want; there is one thing to have.
    let python = python_postroj();
    let host = Nested::boot_tree(&host_with_python());
    // The Python postroj has its images below /var/lib/postroj, which is `host.state`; ours has its
    // store beside it, on the same file system.
    let images = host.state.join("images");
    std::fs::create_dir(&images).expect("create the directory of images");
    process::tool(
        "cp",
        &[
            "-al",
            "--",
            text(&tree::bootable()),
            text(&images.join(IMAGE)),
        ],
    );
    let store = host.scratch().join("store");
    std::fs::create_dir(&store).expect("create the store");
    image::copy_store(&[IMAGE], &store);

    let raw = format!(
        "systemd-run --quiet --collect --unit=raw-$n --service-type=notify --slice=machine.slice \
         --property=Delegate=yes --property=KillMode=mixed -- \
         systemd-nspawn --quiet --keep-unit --notify-ready=yes --settings=no --link-journal=no \
         --boot --volatile=overlay --machine=raw-$n --directory=/var/lib/postroj/images/{IMAGE} && \
         systemd-run --quiet --machine=raw-$n --wait true && machinectl terminate raw-$n"
    );
    let mut candidates = [
        Candidate::new(
            "postroj",
            format!(
                "POSTROJ_STATE_DIR={} postroj pkgprobe --image {IMAGE} --check-unit systemd-journald",
                store.display()
            ),
        ),
        Candidate {
            after: "while systemctl --quiet is-active raw-$n; do sleep 0.05; done".to_owned(),
            ..Candidate::new("raw systemd-nspawn, systemd-run, machinectl", raw.clone())
        },
        Candidate::new(
            "the same, until the machine is gone",
            format!("{raw} && systemctl --quiet stop raw-$n").replace("raw-", "gone-"),
        ),
        Candidate::new(
            "Python postroj (racker 0.4.0)",
            format!(
                "{} pkgprobe --image {IMAGE} --check-unit systemd-journald",
                python.display()
            ),
        ),
    ];
    turns::take(&host, ROUNDS, &mut candidates);
}

/// A host as the tests have it, and Python.
fn host_with_python() -> PathBuf {
    cache::artefact("tree-python-1", |at| {
        tree::bootstrap(
            at,
            "systemd-sysv,dbus,systemd-container,libnss-mymachines,python3,ca-certificates",
        );
    })
}

/// The command of the Python postroj, from the Python package index, in an environment of its own.
fn python_postroj() -> PathBuf {
    // Made where it stays: the scripts in it name their interpreter by its whole path.
    let environment = cache::root().join("racker-0.4.0");
    let _lock = cache::Lock::exclusive("racker");
    let command = environment.join("bin/postroj");
    if !command.exists() {
        process::tool(
            "/usr/bin/python3",
            &["-m", "venv", "--clear", text(&environment)],
        );
        process::tool(
            text(&environment.join("bin/pip")),
            &["install", "--quiet", "racker==0.4.0"],
        );
    }
    command
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}
