//! The warm cycle of a run (boot, ask for a unit, tear down) beside what a user would pick instead,
//! on a host whose PID 1 is systemd, one after the other in turns; and where the time of a run goes.

#![expect(clippy::print_stdout, reason = "a bench prints its result")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use installed::installed;
use serde_json::Value;
use statistics::Spread;
use support::nested::Nested;
use support::{cache, image, process, tree};
use turns::Candidate;

mod installed;
mod statistics;
#[path = "../tests/it/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the bench needs a part of it")]
mod support;
mod turns;

const IMAGE: &str = "debian-bookworm";
const ROUNDS: usize = 15;

/// What a run may cost beyond systemd-nspawn and the system in the container.
const OWN_AT_MOST: Duration = Duration::from_millis(30);

/// The parts of a run that `timings` of its report has, and what of them is not postroj's.
const PARTS: [(&str, &str, bool); 10] = [
    ("boot_steps", "prepare", true),
    ("boot_steps", "nspawn", false),
    ("boot_steps", "guest", false),
    ("boot_steps", "connect", true),
    ("boot_steps", "bus", false),
    ("teardown_steps", "kill", true),
    ("teardown_steps", "die", false),
    ("teardown_steps", "exit", false),
    ("teardown_steps", "release", false),
    ("teardown_steps", "clean", true),
];

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
                "POSTROJ_STATE_DIR={} {} pkgprobe --image {IMAGE} --check-unit systemd-journald --json",
                store.display(),
                installed(host.scratch()).display()
            ),
        ),
        Candidate {
            at_most: Some(0.60),
            after: "while systemctl --quiet is-active raw-$n; do sleep 0.05; done".to_owned(),
            ..Candidate::new("raw systemd-nspawn, systemd-run, machinectl", raw.clone())
        },
        Candidate::new(
            "the same, until the machine is gone",
            format!("{raw} && systemctl --quiet stop raw-$n").replace("raw-", "gone-"),
        ),
        Candidate {
            at_most: Some(0.30),
            ..Candidate::new(
                "Python postroj (racker 0.4.0)",
                format!(
                    "{} pkgprobe --image {IMAGE} --check-unit systemd-journald",
                    python.display()
                ),
            )
        },
    ];
    turns::take(&host, ROUNDS, &mut candidates);
    tell_parts(&candidates[0]);
}

/// Tells where the time of the runs has gone, and what they have cost beyond systemd-nspawn and the
/// system in the container. The unit that is checked is there: nothing has to be waited for.
fn tell_parts(runs: &Candidate) {
    let reports: Vec<Value> = runs
        .outputs
        .iter()
        .map(|output| serde_json::from_str(output).expect("a report"))
        .collect();
    let part = |report: &Value, of: &str, name: &str| {
        let seconds = report["images"][0]["timings"][of][name].as_f64();
        Duration::from_secs_f64(seconds.unwrap_or_else(|| panic!("{of}.{name} in {report}")))
    };
    let tell = |name: &str, times: &[Duration]| {
        let spread = Spread::of(times);
        let [median, first, third] =
            [spread.median, spread.first, spread.third].map(|time| time.as_secs_f64() * 1000.0);
        println!("{name:45} {median:7.1} {first:8.1} {third:8.1}");
        spread
    };
    println!("\nwhere the time of postroj goes; milliseconds, with quartiles");
    for (of, name, _) in PARTS {
        let times: Vec<Duration> = reports.iter().map(|it| part(it, of, name)).collect();
        tell(&format!("{of}.{name}"), &times);
    }
    let own: Vec<Duration> = reports
        .iter()
        .zip(&runs.times)
        .map(|(report, whole)| {
            let others = PARTS.iter().filter(|(_, _, is_own)| !is_own);
            let others: Duration = others.map(|(of, name, _)| part(report, of, name)).sum();
            whole.saturating_sub(others)
        })
        .collect();
    let spread = tell("all but nspawn, guest, bus, die, exit, release", &own);
    println!(
        "own cost: {:.1} ms (at most {} ms)",
        spread.median.as_secs_f64() * 1000.0,
        OWN_AT_MOST.as_millis()
    );
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
