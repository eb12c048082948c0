//! The warm cycle of a run (boot, ask for a unit, tear down) beside what a user would pick instead,
//! on a host whose PID 1 is systemd, one after the other in turns.

#![expect(clippy::print_stdout, reason = "a bench prints its result")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use support::nested::Nested;
use support::{cache, image, process, tree};

#[path = "../tests/it/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the bench needs a part of it")]
mod support;

const IMAGE: &str = "debian-bookworm";
const ROUNDS: usize = 15;
const WARM_UP: usize = 2;

struct Candidate {
    name: &'static str,
    /// Shell, with `$n` the number of the round.
    line: String,
    /// What has to have happened before the next one is measured; not measured itself.
    after: &'static str,
    times: Vec<Duration>,
}

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
        Candidate {
            name: "postroj",
            line: format!(
                "POSTROJ_STATE_DIR={} postroj pkgprobe --image {IMAGE} --check-unit systemd-journald",
                store.display()
            ),
            after: "true",
            times: Vec::new(),
        },
        Candidate {
            name: "raw systemd-nspawn, systemd-run, machinectl",
            line: raw.clone(),
            after: "while systemctl --quiet is-active raw-$n; do sleep 0.05; done",
            times: Vec::new(),
        },
        Candidate {
            name: "the same, until the machine is gone",
            line: format!("{raw} && systemctl --quiet stop raw-$n").replace("raw-", "gone-"),
            after: "true",
            times: Vec::new(),
        },
        Candidate {
            name: "Python postroj (racker 0.4.0)",
            line: format!(
                "{} pkgprobe --image {IMAGE} --check-unit systemd-journald",
                python.display()
            ),
            after: "true",
            times: Vec::new(),
        },
    ];
    for round in 0..WARM_UP + ROUNDS {
        for candidate in &mut candidates {
            let time = candidate.measure(&host, round);
            if round >= WARM_UP {
                candidate.times.push(time);
            }
        }
    }

    let own = median(&candidates[0].times);
    println!("{ROUNDS} rounds each, in turns; seconds");
    println!(
        "{:45} {:>7} {:>7} {:>7} {:>16}",
        "", "median", "least", "most", "postroj to this"
    );
    for candidate in &candidates {
        let median = median(&candidate.times);
        let least = candidate.times.iter().min().copied().unwrap_or_default();
        let most = candidate.times.iter().max().copied().unwrap_or_default();
        println!(
            "{:45} {:7.3} {:7.3} {:7.3} {:16.2}",
            candidate.name,
            median.as_secs_f64(),
            least.as_secs_f64(),
            most.as_secs_f64(),
            own.as_secs_f64() / median.as_secs_f64()
        );
    }
}

impl Candidate {
    /// Runs it once, timed inside the host: how it is got in there does not count.
    fn measure(&self, host: &Nested, round: usize) -> Duration {
        let script = format!(
            "n={round}; exec 3>&1 >/dev/null; a=$(date +%s%N); {{ {}; }} >&2; rc=$?; b=$(date +%s%N); echo $((b - a)) >&3; {}; exit $rc",
            self.line, self.after
        );
        let outcome = host.run(&["sh", "-c", &script]).exits(0);
        Duration::from_nanos(outcome.stdout.trim().parse().expect("nanoseconds"))
    }
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times[times.len() / 2]
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
