//! Packages that are given little of the host, and those that want more than they are given.

use crate::entry::{Entry, SERVER, service, service_with};

const SERVE: &str = "listen 127.0.0.1 8080 serve '200 OK'";

pub(super) fn entries() -> Vec<Entry> {
    [memory(), disk(), processes()].concat()
}

fn memory() -> Vec<Entry> {
    // The package managers of some releases take 200 MB for themselves when they read new lists.
    let small = ["--memory", "512M"];
    vec![
        Entry::new("memory-enough", "64 MB of 512")
            .package(service("modest", &format!("eat 64 {SERVE}")).autostart("modest.service"))
            .unit("modest")
            .http()
            .arguments(small),
        Entry::new("memory-out", "takes more memory than the container has")
            // Started by postroj: beside it, the kernel might choose the package manager to kill.
            .package(service("greedy", "eat 1024 idle"))
            .unit("greedy")
            .arguments(small)
            .arguments(["--settle", "10"])
            .fails("greedy.service", "signal 9")
            .waits(3),
        Entry::new("memory-out-in-postinst", "the same, and it is its postinst")
            .package(service("greedy", "idle").postinst(&format!("{SERVER} eat 1024")))
            .unit("greedy")
            .arguments(small)
            .not_installed("greedy")
            .waits(3),
    ]
}

fn disk() -> Vec<Entry> {
    let fills = |name: &'static str, what, disk: &'static str| {
        Entry::new(name, what)
            .package(service("fills", "idle").postinst(&format!("{SERVER} fill /var/lib/much 400")))
            .unit("fills")
            .arguments(["--disk", disk])
    };
    let full = |entry: Entry| {
        entry
            .not_installed("no space is left")
            .shows("No space left on device")
    };
    vec![
        fills("disk-enough", "writes 400 MB, and there are 600", "600M"),
        full(fills(
            "disk-full",
            "writes 400 MB, and there are 300",
            "300M",
        )),
        full(fills(
            "disk-full-on-disk",
            "the same, on the disk and not in memory",
            "disk:300M",
        )),
        Entry::new("disk-too-small", "is larger than the container's disk")
            .package(service("large", SERVE).bulk("usr/share/large/data", 48 << 20))
            .unit("large")
            .arguments(["--disk", "40M"])
            .not_installed("no space is left"),
        // It would hold what the repositories have to say, if that were asked for first. dpkg makes
        // room again.
        Entry::new("disk-unpacked", "is larger than that when it is unpacked")
            .package(service("large", SERVE).bulk("usr/share/large/data", 130 << 20))
            .unit("large")
            .arguments(["--disk", "240M"])
            .not_installed("No space left on device"),
        Entry::new(
            "disk-full-by-service",
            "its service fills the disk, and dies of it",
        )
        .package(service("writer", "fill /var/lib/writer 400 idle").autostart("writer.service"))
        .unit("writer")
        .arguments(["--disk", "300M", "--settle", "10"])
        .fails("writer.service", "exit code 1")
        .shows("/var/lib/writer: No space left on device")
        .shows("300 MiB"),
    ]
}

fn processes() -> Vec<Entry> {
    vec![
        Entry::new("pids-enough", "50 processes, and there may be 150")
            .package(service("crowd", &format!("spawn 50 {SERVE}")).autostart("crowd.service"))
            .unit("crowd")
            .http()
            .arguments(["--pids", "150"]),
        Entry::new("pids-out", "wants a thousand processes of 150")
            // systemd would hold it to a limit of its own. Started by the package, it would leave no
            // process for the package manager either, sometimes.
            .package(service_with(
                "crowd",
                "spawn 1000 idle",
                "TasksMax=infinity",
            ))
            .unit("crowd")
            .arguments(["--pids", "150", "--settle", "5"])
            .fails("crowd.service", "exit code 1")
            .shows("fork: Resource temporarily unavailable"),
        Entry::new("slow-processor", "a third of a processor")
            .package(service("slow-lane", SERVE).autostart("slow-lane.service"))
            .unit("slow-lane")
            .http()
            .arguments(["--cpus", "0.33"])
            .waits(8),
    ]
}
