//! A host that has less room than a container may write.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::disk::{Disk, Kind};
use crate::support::place::binary;
use crate::support::{Deb, Place, image, process};

const IMAGE: &str = "debian-bookworm";

/// A store on a disk of 160 MB, which has its layers from elsewhere.
struct Host {
    place: Place,
    disk: Disk,
    state: PathBuf,
}

impl Host {
    fn new() -> Self {
        let place = Place::direct();
        image::pulled(IMAGE);
        let disk = Disk::new(place.scratch(), Kind::Memory(160 << 20));
        let state = disk.path.join("state");
        let script = "mkdir \"$2\" && cp -a \"$1/images\" \"$1/version\" \"$2\" && mkdir \"$2/layers\" && mount --bind \"$1/layers\" \"$2/layers\"";
        let (shared, own) = (text(&place.state()), text(&state));
        disk.run(["sh", "-c", script, "sh", &shared, &own]).exits(0);
        Self { place, disk, state }
    }

    /// Tests a package that writes 300 MB, and wants to know whether they have arrived.
    fn run(&self, limit: &str) -> process::Outcome {
        let package = Deb::new("writes")
            .postinst("dd if=/dev/zero of=/var/lib/much bs=1M count=300 conv=fsync")
            .build(self.place.scratch(), "writes.deb");
        let words = [
            "env".to_owned(),
            format!("POSTROJ_STATE_DIR={}", self.state.display()),
            format!(
                "POSTROJ_CACHE_DIR={}",
                text(&self.place.scratch().join("cache"))
            ),
            text(binary()),
            "pkgprobe".to_owned(),
            format!("--image={IMAGE}"),
            format!("--package={}", package.display()),
            format!("--disk={limit}"),
        ];
        process::run(self.disk.command(words))
    }

    /// Waits until the kernel has given back what a container had written, some time after its end.
    fn wait_for_room(&self) {
        let disk = self.disk.reach(&self.disk.path);
        let has_room = || {
            let space = rustix::fs::statvfs(&disk).expect("ask a disk");
            space.f_bfree * space.f_frsize > 120 << 20
        };
        process::wait_until(has_room, "none: the disk stays full");
    }
}

fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn whose_disk_is_full_is_told() {
    let host = Host::new();
    host.run("disk:600M")
        .exits(3)
        .stderr_has("the host's disk is full to which the container writes");
    host.wait_for_room();
    // What fills its own disk first is at fault, whatever the host has.
    host.run("disk:100M")
        .exits(1)
        .stdout_has("no space is left on the container's disk");
    host.wait_for_room();
    // In memory, the host's disk does not matter.
    host.run("memory:500M").exits(0);
}

/// How large the default is depends on this host: here it is one whose control group gives it 400 MB.
#[test]
fn whose_share_of_memory_is_full_is_told() {
    let place = Place::direct();
    let package = Deb::new("writes")
        .postinst("dd if=/dev/zero of=/var/lib/much bs=1M count=400")
        .build(place.scratch(), "writes.deb");
    let package = format!("--package={}", package.display());
    let limit = place.scratch().join("limit");
    fs::write(&limit, "419430400\n").expect("write a limit");
    let limited = "for file in memory.max memory/memory.limit_in_bytes; do \
            [ -e /sys/fs/cgroup/$file ] && mount --bind \"$0\" /sys/fs/cgroup/$file && exec \"$@\"; \
        done; echo this host has no such file >&2; exit 99";
    let words = ["unshare", "--mount", "sh", "-c", limited, &text(&limit)];
    let run = |arguments: &[&str]| place.pkgprobe(IMAGE, arguments).under(words).run();
    run(&[&package])
        .exits(3)
        .stderr_has("a share of the host's memory by default");
    run(&["--disk", "memory:200M", &package]).exits(1);
    run(&["--disk", "600M", &package]).exits(0);
}
