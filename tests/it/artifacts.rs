//! What is kept of a container for whoever wants to look closer.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::support::{Deb, Place};

const IMAGE: &str = "debian-bookworm";

fn text(directory: &Path, file: &str) -> String {
    let path = directory.join(file);
    assert_eq!(fs::metadata(&path).expect("the artifact").uid(), 0);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn of_a_service_that_fails() {
    let place = Place::direct();
    let package = Deb::new("broken")
        .service("/bin/sh -c 'echo the last words; exit 3'")
        .build(place.scratch(), "broken.deb");
    let artifacts = place.scratch().join("new/artifacts");
    place
        .pkgprobe(IMAGE, ["--check-unit", "broken", "--package"])
        .args([&package])
        .args(["--artifacts".as_ref(), artifacts.as_os_str()])
        .run()
        .exits(1);
    let at = artifacts.join(IMAGE);
    // What could not be had says so itself.
    let missing = text(&at, "missing.txt");
    assert_eq!(
        missing,
        "coredumps.txt: the image has no /usr/bin/coredumpctl\n"
    );
    let export = text(&at, "journal.export");
    assert!(export.starts_with("__CURSOR="), "{export:.200}");
    assert!(export.contains("\nMESSAGE=the last words\n"));
    assert!(text(&at, "journal.txt").contains("the last words"));
    assert!(text(&at, "units/broken.service.txt").contains("ExecStart="));
    assert!(text(&at, "units/broken.service.status.txt").contains("status=3"));
    assert!(text(&at, "failed-units.txt").contains("broken.service"));
    assert!(text(&at, "boot.svg").contains("<svg "));
    assert!(text(&at, "boot.txt").contains("systemd-journald.service"));
    assert_eq!(text(&at, "packages.diff"), "+ii  broken 1.0\n");
    assert!(text(&at, "packages.before.txt").contains("ii  systemd "));
    assert!(text(&at, "packages.txt").contains("ii  broken 1.0"));
    assert!(text(&at, "package-manager.log").contains("Setting up broken"));
    assert!(!at.join("coredumps.txt").exists());
}

/// What an image lacks, a unit that there is not, and a file that cannot be written are named.
#[test]
fn what_cannot_be_had() {
    let place = Place::direct();
    let artifacts = place.scratch().join("artifacts");
    let at = artifacts.join(IMAGE);
    fs::create_dir_all(at.join("boot.svg")).expect("create a directory in the file's place");
    place
        .pkgprobe(IMAGE, ["-v", "--check-unit", "nosuch", "--artifacts"])
        .args([&artifacts])
        .run()
        .exits(1)
        .stderr_has("an artifact is missing file=\"boot.svg\"")
        .stderr_has("WARN postroj::pkgprobe::artifacts: an artifact is not written");
    let missing = text(&at, "missing.txt");
    let lines: Vec<&str> = missing.lines().collect();
    let expected = [
        "boot.svg: Is a directory (os error 21)",
        "coredumps.txt: the image has no /usr/bin/coredumpctl",
        "units/nosuch.service.status.txt: /bin/systemctl ended with exit code 4: Unit nosuch.service could not be found.",
        "units/nosuch.service.txt: /bin/systemctl ended with exit code 1: No files found for nosuch.service.",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn directory_that_cannot_be_made() {
    let place = Place::direct();
    place
        .postroj(["pkgprobe", "--image", IMAGE, "--artifacts", "/dev/null/x"])
        .env("POSTROJ_STATE_DIR", place.scratch().join("no-store"))
        .run()
        .exits(2)
        .stderr_has("--artifacts /dev/null/x cannot be made");
    assert!(!place.scratch().join("no-store").exists());
}

#[test]
fn core_dumps_come_along() {
    let place = Place::direct();
    let package = Deb::new("crashes")
        .unit(
            "crashes.service",
            "[Service]\nLimitCORE=infinity\nExecStart=/bin/sh -c 'kill -SEGV $$$$'\n",
        )
        // As systemd-coredump would have it.
        .file("var/lib/systemd/coredump/core.test.0.zst", "its memory")
        .build(place.scratch(), "crashes.deb");
    let artifacts = place.scratch().join("artifacts");
    place
        .pkgprobe(IMAGE, ["--check-unit", "crashes", "--package"])
        .args([&package])
        .args(["--artifacts".as_ref(), artifacts.as_os_str()])
        .run()
        .exits(1);
    let at = artifacts.join(IMAGE).join("coredumps");
    assert_eq!(text(&at, "core.test.0.zst"), "its memory");
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").expect("the pattern");
    // Another pattern leads out of the container: that is the host's.
    if pattern.trim() == "core" {
        let names: Vec<_> = fs::read_dir(&at)
            .expect("the directory")
            .flatten()
            .collect();
        let core = names.iter().find(|entry| {
            let name = entry.file_name().into_string().expect("UTF-8");
            name == "core" || name[5..].parse::<u32>().is_ok()
        });
        let core = fs::read(core.expect("the kernel's own").path()).expect("the core");
        assert_eq!(&core[..4], b"\x7fELF");
    }
}
