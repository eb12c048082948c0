//! How much of the host a container may use: each limit bites, and what it bites is shown.

use std::fs;
use std::time::{Duration, Instant};

use postroj::machine::SUPERVISE_COMMAND;

use crate::support::{Deb, Place, process};

const IMAGE: &str = "debian-bookworm";

/// Perl that takes 600 MB, and Perl that forks until it is refused.
fn greedy(place: &Place) -> String {
    let hog = "/usr/bin/perl -e 'for (1..600) { push @all, chr(65) x 1048576 } sleep 9'";
    let forks = "/usr/bin/perl -e 'for (;;) { last unless defined($$child = fork); \
                 $$child or sleep 600; $$made++ } print qq(refused after $$made: $$!\\\\n); exit 1'";
    let unit = |command: &str| format!("[Service]\nType=exec\nExecStart={command}\n");
    let package = Deb::new("greedy")
        .unit("hog.service", &unit(hog))
        // systemd would hold it to a limit of its own.
        .unit(
            "forks.service",
            &format!("{}TasksMax=infinity\n", unit(forks)),
        )
        .build(place.scratch(), "greedy.deb");
    package.to_str().expect("UTF-8").to_owned()
}

const LIMITS: [&str; 6] = ["--memory", "256M", "--cpus", "1.5", "--pids", "150"];

/// The hog first and alone: what was refused to the one is not to be the other's fault.
fn bite(place: &Place) {
    let package = greedy(place);
    for (unit, shown) in [
        ("hog", "KILL"),
        ("forks", "Resource temporarily unavailable"),
    ] {
        let run = place
            .pkgprobe(IMAGE, ["--package", &package, "--check-unit", unit])
            .args(["--settle", "20"])
            .args(LIMITS)
            .run()
            .exits(1)
            .stdout_has(shown);
        if unit == "forks" {
            // The script itself is shown first.
            let made = run.stdout.rsplit("refused after ").next();
            let made = made
                .and_then(|made| made.split(':').next())
                .expect("a count");
            let made: u32 = made.parse().expect("a number");
            assert!((50..150).contains(&made), "{made} processes\n{run}");
        }
    }
}

#[test]
fn each_bites_directly() {
    let place = Place::direct();
    bite(&place);
    let kept = place
        .pkgprobe(
            IMAGE,
            ["--check-unit", "systemd-journald", "--keep", "--json"],
        )
        .args(LIMITS)
        .run()
        .exits(0);
    let report: serde_json::Value = serde_json::from_str(&kept.stdout).expect("JSON");
    let machine = report["images"][0]["machine"].as_str().expect("a machine");
    let root = std::path::Path::new("/sys/fs/cgroup");
    let value = |controller: &str, v1: &str, v2: &str| {
        let own = |base: &std::path::Path| base.join("postroj").join(machine);
        let file = if root.join("cgroup.controllers").exists() {
            own(root).join(v2)
        } else {
            own(&root.join(controller)).join(v1)
        };
        let text = fs::read_to_string(&file);
        text.unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    };
    let memory = value("memory", "memory.limit_in_bytes", "memory.max");
    let processor = value("cpu", "cpu.cfs_quota_us", "cpu.max");
    let pids = value("pids", "pids.max", "pids.max");
    place.postroj(["stop", machine]).run().exits(0);
    assert_eq!(memory.trim(), (256 << 20).to_string());
    assert!(processor.starts_with("150000"), "{processor}");
    assert_eq!(pids.trim(), "150");
}

/// The host's systemd is told of them. Here, where it is in a container itself and leaves controllers of
/// version 1 alone, the supervisor keeps them.
#[test]
fn each_bites_on_a_host_with_systemd() {
    let place = Place::systemd(&[IMAGE]);
    bite(&place);
    place
        .pkgprobe(IMAGE, ["--check-unit", "systemd-journald", "--keep"])
        .args(LIMITS)
        .run()
        .exits(0);
    let show = "systemctl show postroj-debian-bookworm.service";
    place
        .nested()
        .expect("a nested host")
        .run(&["sh", "-c", show])
        .exits(0)
        .stdout_has("MemoryMax=268435456\n")
        .stdout_has("CPUQuotaPerSecUSec=1.500000s\n")
        .stdout_has("TasksMax=150\n");
    place
        .postroj(["stop", "postroj-debian-bookworm"])
        .run()
        .exits(0);
    assert_eq!(place.nested().map(limiting), Some(Vec::new()));
}

/// The cgroups of postroj's own in a nested host's hierarchies of version 1.
fn limiting(nested: &crate::support::nested::Nested) -> Vec<String> {
    let memory = nested.root().join("sys/fs/cgroup/memory/postroj");
    let entries = fs::read_dir(memory).into_iter().flatten().flatten();
    let directories = entries.filter(|entry| entry.path().is_dir());
    let names = directories.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.collect()
}

/// A package that writes 400 MB, to the disk and to memory that hold it or do not.
#[test]
fn what_is_written_is_bounded() {
    let place = Place::direct();
    let package = Deb::new("writes")
        .postinst("dd if=/dev/zero of=/var/lib/much bs=1M count=400")
        .build(place.scratch(), "writes.deb");
    let package = package.to_str().expect("UTF-8");
    for (disk, code) in [
        ("memory:300M", 1),
        ("disk:300M", 1),
        ("disk:800M", 0),
        ("800M", 0),
    ] {
        let run = place
            .pkgprobe(IMAGE, ["--package", package, "--disk", disk])
            .run()
            .exits(code);
        if code == 1 {
            run.stdout_has("no space is left on the container's disk");
        }
    }
}

/// The loop devices that there are on files of the store.
fn devices(place: &Place) -> Vec<String> {
    let state = place.state().display().to_string();
    let list = process::tool("losetup", &["--all"]);
    let lines = list.stdout.lines().filter(|line| line.contains(&state));
    lines.map(str::to_owned).collect()
}

/// What is on the disk has no name, and goes with the last process that sees it.
pub(crate) fn layer_on_the_disk_goes_with_a_killed_supervisor() {
    let place = Place::direct_alone();
    let before = place.look();
    let seconds = format!("{}701", std::process::id());
    let package = Deb::new("stays")
        .postinst(&format!("sleep {seconds}"))
        .build(place.scratch(), "stays.deb");
    let package = package.to_str().expect("UTF-8");
    let run = place
        .pkgprobe(IMAGE, ["--package", package, "--disk", "disk:1G"])
        .start();
    process::wait_for_argument(&seconds);
    assert_eq!(devices(&place).len(), 1, "{:?}", devices(&place));
    place.kill(SUPERVISE_COMMAND);
    run.wait().exits(3);
    let since = Instant::now();
    while !devices(&place).is_empty() {
        assert!(
            since.elapsed() < Duration::from_secs(5),
            "{:?}",
            devices(&place)
        );
        std::thread::yield_now();
    }
    place
        .pkgprobe(IMAGE, ["--check-unit", "systemd-journald"])
        .run()
        .exits(0);
    assert_eq!(place.look().since(&before), Vec::<String>::new());
}

#[test]
fn sizes_and_numbers_that_are_none() {
    let place = Place::direct();
    for (flag, value) in [
        ("--memory", "much"),
        ("--memory", "1K"),
        ("--cpus", "0"),
        ("--cpus", "-1"),
        ("--pids", "x"),
        ("--disk", "tape:1G"),
        ("--disk", "disk:"),
    ] {
        place
            .postroj(["pkgprobe", "--image", IMAGE, &format!("{flag}={value}")])
            .run()
            .exits(2)
            .stderr_has(flag);
    }
}
