//! Runs that are ended from outside, at several points: nothing of them stays.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use postroj::machine::SUPERVISE_COMMAND;

use crate::support::http::{Answer, Server};
use crate::support::place::Started;
use crate::support::process::DEADLINE;
use crate::support::{Deb, Place, process, tree};

/// How far a run has come when the signal meets it.
#[derive(Clone, Copy, Debug)]
enum Point {
    /// The image is half here.
    Pull,
    /// systemd-nspawn has been started.
    Boot,
    /// The package's file is half here.
    Fetch,
    /// The package's postinst runs.
    Install,
    /// A unit is being waited for.
    Check,
}

const POINTS: [Point; 5] = [
    Point::Pull,
    Point::Boot,
    Point::Fetch,
    Point::Install,
    Point::Check,
];

/// Starts a run and returns when it has come to `point`, where it stays.
fn run_to(place: &Place, point: Point, server: &Server) -> Started {
    // What the guest's processes sleep tells them from those of other runs.
    let seconds = format!("{}{:03}", std::process::id(), point as u32);
    let image = "debian-bookworm";
    match point {
        Point::Pull => {
            let path = format!("/{seconds}.tar.gz");
            let archive =
                std::fs::read(tree::archives().join("root.tar.gz")).expect("read the archive");
            let half = archive.len() / 2;
            let url = server.put(&path, Answer::body(archive).stall_at(half));
            let started = place.postroj(["pkgprobe", "--image", &url]).start();
            server.wait_for(&path);
            // The half is being unpacked when the signal comes; where exactly is left to chance.
            thread::sleep(Duration::from_millis(300));
            started
        }
        Point::Boot => {
            let started = place
                .pkgprobe(image, ["--check-unit", "systemd-journald"])
                .start();
            place.wait_for_argument("--boot");
            started
        }
        Point::Fetch => {
            let path = format!("/{seconds}.deb");
            let url = server.put(&path, Answer::body(vec![0; 100_000]).stall_at(1000));
            let started = place.pkgprobe(image, ["--package", &url]).start();
            server.wait_for(&path);
            started
        }
        Point::Install => {
            let package = Deb::new("stays")
                .postinst(&format!("sleep {seconds}"))
                .build(place.scratch(), "stays.deb");
            let started = place
                .pkgprobe(image, ["--package", package.to_str().expect("UTF-8")])
                .start();
            process::wait_for_argument(&seconds);
            started
        }
        Point::Check => {
            let unit = format!("[Service]\nType=oneshot\nExecStart=/bin/sleep {seconds}\n");
            let package = Deb::new("checks")
                .unit("checks.service", &unit)
                .build(place.scratch(), "checks.deb");
            let package = package.to_str().expect("UTF-8");
            let started = place
                .pkgprobe(
                    image,
                    [
                        "--package",
                        package,
                        "--check-unit",
                        "checks",
                        "--unit-timeout",
                        "5m",
                    ],
                )
                .start();
            process::wait_for_argument(&seconds);
            started
        }
    }
}

#[track_caller]
fn assert_gone(left: &dyn Fn() -> Vec<String>, patience: Duration, what: &str) {
    let since = Instant::now();
    loop {
        let left = left();
        if left.is_empty() {
            return;
        }
        assert!(
            since.elapsed() < patience,
            "{what} left behind:\n{}",
            left.join("\n")
        );
        thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until nothing is left, for as long as the spec allows.
#[track_caller]
fn assert_clean(
    place: &Place,
    before: &crate::support::sweep::Findings,
    patience: Duration,
    what: &str,
) {
    assert_gone(&|| place.look().since(before), patience, what);
}

/// A run first, so that what stays on purpose (a cache, a lock's file) is there before.
fn warm_up(place: &Place) {
    place
        .pkgprobe("debian-bookworm", ["--check-unit", "systemd-journald"])
        .run()
        .exits(0);
    let server = Server::start();
    let started = run_to(place, Point::Fetch, &server);
    started.signal(Signal::INT);
    started.wait();
}

/// One that uses containers and the store: it clears up in both.
fn next_command(place: &Place) {
    place
        .pkgprobe("debian-bookworm", ["--check-unit", "systemd-journald"])
        .run()
        .exits(0);
}

/// What postroj is told, it carries out before it ends: nothing is left then.
fn torn_down(place: &Place, signal: Signal, code: i32) {
    warm_up(place);
    let server = Server::start();
    for point in POINTS {
        let before = place.look();
        let started = run_to(place, point, &server);
        started.signal(signal);
        let outcome = started.wait().exits(code);
        assert!(outcome.took < Duration::from_secs(60), "{outcome}");
        // The kernel is a little late with a killed process's entry.
        assert_clean(
            place,
            &before,
            Duration::from_millis(500),
            &format!("{signal:?} at {point:?}"),
        );
    }
}

pub(crate) fn interrupted_directly() {
    torn_down(&Place::direct_alone(), Signal::INT, 130);
}

pub(crate) fn terminated_directly() {
    torn_down(&Place::direct_alone(), Signal::TERM, 143);
}

#[test]
fn interrupted_on_a_host_with_systemd() {
    torn_down(&Place::systemd(&["debian-bookworm"]), Signal::INT, 130);
}

#[test]
fn terminated_on_a_host_with_systemd() {
    torn_down(&Place::systemd(&["debian-bookworm"]), Signal::TERM, 143);
}

#[test]
fn killed_on_a_host_with_systemd() {
    let place = Place::systemd(&["debian-bookworm"]);
    warm_up(&place);
    let server = Server::start();
    for point in POINTS {
        let before = place.look();
        let started = run_to(&place, point, &server);
        started.signal(Signal::KILL);
        started.running.reap();
        let left = || place.look().without_store().since(&before);
        assert_gone(
            &left,
            Duration::from_secs(5),
            &format!("SIGKILL at {point:?}"),
        );
        next_command(&place);
        assert_clean(
            &place,
            &before,
            Duration::from_millis(500),
            &format!("SIGKILL at {point:?} and a run"),
        );
    }
}

/// Between the steps that have a name, there are those in which a container comes about: from the
/// first sign of it on, at ever later moments.
#[test]
fn killed_while_a_container_comes_about_on_a_host_with_systemd() {
    let place = Place::systemd(&["debian-bookworm"]);
    warm_up(&place);
    let before = place.look();
    for moment in 0..16 {
        let started = place
            .pkgprobe("debian-bookworm", ["--check-unit", "systemd-journald"])
            .start();
        let since = Instant::now();
        while !place.runtime().exists() {
            assert!(since.elapsed() < DEADLINE, "no container comes about");
        }
        thread::sleep(Duration::from_millis(moment * moment));
        started.signal(Signal::KILL);
        started.running.reap();
        let left = || place.look().without_store().since(&before);
        let what = format!("SIGKILL {} ms after the first sign", moment * moment);
        assert_gone(&left, Duration::from_secs(5), &what);
    }
}

pub(crate) fn killed_directly() {
    let place = Place::direct_alone();
    warm_up(&place);
    let server = Server::start();
    for point in POINTS {
        let before = place.look();
        let started = run_to(&place, point, &server);
        started.signal(Signal::KILL);
        started.running.reap();
        next_command(&place);
        assert_clean(
            &place,
            &before,
            Duration::from_millis(500),
            &format!("SIGKILL at {point:?} and the next command"),
        );
    }
}

/// The supervisor of a container is the one process that could leave a mount or a cgroup.
fn supervisor_killed(place: &Place) {
    warm_up(place);
    let server = Server::start();
    let before = place.look();
    let started = run_to(place, Point::Install, &server);
    place.kill(SUPERVISE_COMMAND);
    started.wait().exits(3);
    // Mounts and processes: the empty cgroups and directories that systemd-nspawn had made go with
    // a later command, when whoever reaps orphans here has buried it.
    let left = || {
        let mut left = place.look().since(&before);
        left.retain(|line| line.starts_with("mount ") || line.starts_with("process "));
        left
    };
    assert_gone(&left, Duration::from_secs(5), "SIGKILL to the supervisor");
}

pub(crate) fn supervisor_killed_directly() {
    supervisor_killed(&Place::direct_alone());
}

#[test]
fn supervisor_killed_on_a_host_with_systemd() {
    supervisor_killed(&Place::systemd(&["debian-bookworm"]));
}

#[test]
fn good_and_bad_runs_leave_nothing() {
    // One at a time: the first wants the machine for itself.
    let kinds: [fn() -> Place; 2] = [Place::direct_alone, || Place::systemd(&["debian-bookworm"])];
    for kind in kinds {
        let place = kind();
        warm_up(&place);
        let before = place.look();
        place
            .pkgprobe("debian-bookworm", ["--check-unit", "systemd-journald"])
            .run()
            .exits(0);
        assert_clean(&place, &before, Duration::from_millis(500), "a good run");
        place
            .pkgprobe("debian-bookworm", ["--check-unit", "nosuch"])
            .run()
            .exits(1);
        assert_clean(&place, &before, Duration::from_millis(500), "a bad verdict");
        place
            .pkgprobe("debian-bookworm", ["--boot-timeout", "10ms"])
            .run()
            .exits(3);
        assert_clean(
            &place,
            &before,
            Duration::from_millis(500),
            "a boot that took too long",
        );
    }
}
