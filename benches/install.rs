//! Installing nginx with what it depends on, all of it downloaded before, beside the same in a
//! container on disk that was made by hand; on a host whose PID 1 is systemd, in turns.

use std::path::Path;

use support::nested::Nested;
use support::{image, process, tree};
use turns::Candidate;

mod statistics;
#[path = "../tests/it/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the bench needs a part of it")]
mod support;
mod turns;

const IMAGE: &str = "debian-bookworm";
const ROUNDS: usize = 7;

fn main() {
    let host = Nested::boot();
    let store = host.scratch().join("store");
    std::fs::create_dir(&store).expect("create the store");
    image::copy_store(&[IMAGE], &store);
    let cache = host.scratch().join("cache");
    let filled = filled(&host);

    // Each round gets a copy of its own, as the one before has nginx.
    let boot = "systemd-run --quiet --collect --unit=raw-$n --service-type=notify --slice=machine.slice \
         --property=Delegate=yes --property=KillMode=mixed -- \
         systemd-nspawn --quiet --keep-unit --notify-ready=yes --settings=no --link-journal=no \
         --boot --machine=raw-$n --directory=/var/lib/postroj/copy";
    let install = "systemd-run --quiet --machine=raw-$n --wait --pipe --setenv=DEBIAN_FRONTEND=noninteractive \
         apt-get --quiet --yes --no-download install nginx </dev/null && \
         systemd-run --quiet --machine=raw-$n --wait --pipe systemctl is-active nginx";
    let mut candidates = [
        Candidate::new(
            "postroj",
            format!(
                "POSTROJ_STATE_DIR={} POSTROJ_CACHE_DIR={} \
                 postroj pkgprobe --image {IMAGE} --package nginx --check-unit nginx --settle 0",
                text(&store),
                text(&cache)
            ),
        ),
        Candidate {
            before: format!(
                "rm -rf /var/lib/postroj/copy; cp -a /var/lib/postroj/{} /var/lib/postroj/copy; sync -f /var/lib/postroj",
                text(filled.strip_prefix(&host.state).expect("below the state"))
            ),
            at_most: Some(0.60),
            ..Candidate::new(
                "raw systemd-nspawn on disk, apt-get",
                format!("{boot} && {install} && systemctl --quiet stop raw-$n"),
            )
        },
    ];
    turns::take(&host, ROUNDS, &mut candidates);
}

/// A tree whose package manager has downloaded what nginx needs.
fn filled(host: &Nested) -> std::path::PathBuf {
    let filled = host.state.join("filled");
    process::tool("cp", &["-a", "--", text(&tree::bootable()), text(&filled)]);
    host.run(&[
        "systemd-nspawn",
        "--quiet",
        "--register=no",
        "--settings=no",
        "--directory=/var/lib/postroj/filled",
        "sh",
        "-ec",
        "apt-get --quiet --option=Acquire::Check-Valid-Until=false update && \
         apt-get --quiet --yes --download-only install nginx",
    ])
    .exits(0);
    filled
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}
