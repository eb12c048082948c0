//! The command line: bad input is refused with one line that names the thing, and nothing is started.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::support::process::Outcome;
use crate::support::{Place, place, process};

/// Runs postroj where nothing of it is yet, and looks whether it has begun anything.
#[track_caller]
fn refused(arguments: &[&str]) -> Outcome {
    let place = Place::direct();
    let store = place.scratch().join("store");
    let outcome = place
        .postroj(arguments)
        .env("POSTROJ_STATE_DIR", &store)
        .run()
        .exits(2);
    assert_eq!(outcome.stdout, "", "{outcome}");
    assert!(
        !store.join("layers").exists(),
        "something was started\n{outcome}"
    );
    outcome
}

#[test]
fn unknown_image_names_the_nearest() {
    refused(&["pkgprobe", "--image", "debian-bokworm"])
        .stderr_has("debian-bokworm")
        .stderr_has("debian-bookworm");
    refused(&["pull", "fedroa-37"]).stderr_has("fedora-37");
    // The hint for a registry's image of one word.
    refused(&["pull", "nginx"]).stderr_has("docker://nginx");
}

#[test]
fn a_file_without_a_directory_before_its_name() {
    let place = Place::direct();
    fs::create_dir(place.scratch().join("sub")).expect("create a directory");
    for name in ["root.tar", "sub/root.tar.gz"] {
        fs::write(place.scratch().join(name), "").expect("write a file");
        let mut command = Command::new(place::binary());
        command
            .current_dir(place.scratch())
            .env("POSTROJ_STATE_DIR", place.scratch().join("store"))
            .args(["pull", name]);
        process::run(command)
            .exits(2)
            .stderr_has(&format!("the file of that name is ./{name}"));
    }
}

#[test]
fn bad_references_urls_and_durations() {
    for image in [
        "debian:",
        "docker://",
        "docker.io/library/debian@sha256:12",
        "https://",
        "/nonexistent.tar",
        "UPPER/case:tag",
    ] {
        refused(&["pkgprobe", "--image", image]).stderr_has(image);
    }
    for url in [
        "localhost:80",
        "ftp://localhost/",
        "http://",
        "tcp://localhost",
        "tcp://localhost:0",
        "tcp://localhost:65536",
        "http://local host/",
    ] {
        refused(&[
            "pkgprobe",
            "--image",
            "debian-bookworm",
            "--check-network",
            url,
        ])
        .stderr_has(url);
    }
    for duration in [
        "",
        "soon",
        "-1",
        "5 apples",
        "1e400",
        "99999999999999999999h",
    ] {
        let argument = format!("--boot-timeout={duration}");
        refused(&["pkgprobe", "--image", "debian-bookworm", &argument])
            .stderr_has("--boot-timeout");
    }
    for unit in [
        "",
        "with space",
        "../../etc/passwd",
        "a/b",
        "x.nonsense-type/",
    ] {
        refused(&[
            "pkgprobe",
            "--image",
            "debian-bookworm",
            "--check-unit",
            unit,
        ])
        .stderr_has(&format!("unit {unit:?}"));
    }
    for package in [
        "",
        "/nonexistent/a.deb",
        "./not here.deb",
        "-o=Dpkg::x",
        "ftp://host/x.deb",
    ] {
        let argument = format!("--package={package}");
        refused(&["pkgprobe", "--image", "debian-bookworm", &argument]).stderr_has(package);
    }
    for machine in ["", "-x", "../x", "x/y"] {
        refused(&["stop", "--", machine]);
    }
    refused(&["pkgprobe"]).stderr_has("--image");
    refused(&["nonsense"]).stderr_has("nonsense");
    refused(&["completions", "tcsh-not"]).stderr_has("tcsh-not");
    refused(&["--color", "sometimes", "machines"]).stderr_has("sometimes");
    refused(&["pull"]);
    refused(&["pull", "--source", "floppy", "debian-bookworm"]).stderr_has("floppy");
}

#[test]
fn files_that_cannot_be_used() {
    let place = Place::direct();
    let file = |name: &str, text: &str| {
        let path = place.scratch().join(name);
        fs::write(&path, text).expect("write");
        path.to_str().expect("UTF-8").to_owned()
    };
    let malformed = file("malformed.toml", "state-dir = \n");
    refused(&["--config", &malformed, "list-images"]).stderr_has("malformed.toml");
    let unknown = file("unknown.toml", "no-such-setting = 1\n");
    refused(&["--config", &unknown, "list-images"]).stderr_has("no-such-setting");
    refused(&["--config", "/nonexistent/config.toml", "list-images"])
        .stderr_has("/nonexistent/config.toml");
    let conf = file("registries.conf", "[[registry]\n");
    refused(&[
        "--registries-conf",
        &conf,
        "pull",
        "docker.io/library/debian:bookworm",
    ])
    .stderr_has("registries.conf");
    refused(&[
        "--registries-conf",
        "/nonexistent/registries.conf",
        "pull",
        "docker.io/library/debian:bookworm",
    ])
    .stderr_has("/nonexistent/registries.conf");
    let directory = place.scratch().to_str().expect("UTF-8");
    refused(&[
        "pkgprobe",
        "--image",
        "debian-bookworm",
        "--package",
        directory,
    ])
    .stderr_has(directory);
    let text = file("not-a-tarball.tar", "this is no tarball");
    let outcome = place
        .postroj(["pull", &text])
        .env("POSTROJ_STATE_DIR", place.scratch().join("store"))
        .run();
    assert!([2, 3].contains(&outcome.code()), "{outcome}");
    outcome.stderr_has("not-a-tarball.tar");
    // An empty directory is no root file system.
    let empty = place.scratch().join("empty");
    fs::create_dir(&empty).expect("create");
    let outcome = place
        .postroj(["pull", empty.to_str().expect("UTF-8")])
        .env("POSTROJ_STATE_DIR", place.scratch().join("store"))
        .run();
    assert!([2, 3].contains(&outcome.code()), "{outcome}");
    outcome.stderr_has("empty");
}

#[test]
fn not_root() {
    let place = Place::direct();
    // The build's directories may be closed to others.
    let binary = place.scratch().join("postroj");
    fs::copy(place::binary(), &binary).expect("copy the binary");
    fs::set_permissions(place.scratch(), fs::Permissions::from_mode(0o755))
        .expect("open the directory");
    let nobody = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&binary)
            .args(arguments)
            .env("HOME", place.scratch());
        process::run(command)
    };
    nobody(&["pkgprobe", "--image", "debian-bookworm"])
        .exits(3)
        .stderr_has("root");
    nobody(&["pull", "debian-bookworm"])
        .exits(3)
        .stderr_has("root");
    nobody(&["list-images"])
        .exits(0)
        .stdout_has("debian-bookworm");
    nobody(&["--help"]).exits(0);
    nobody(&["completions", "bash"]).exits(0);
}

#[test]
fn no_systemd_nspawn() {
    let place = Place::direct();
    let path = place.scratch().join("bin");
    fs::create_dir(&path).expect("create");
    place
        .pkgprobe("debian-bookworm", ["--check-unit", "systemd-journald"])
        .env("PATH", &path)
        .run()
        .exits(3)
        .stderr_has("systemd-container");
}

#[test]
fn too_old_systemd_nspawn() {
    let place = Place::direct();
    let path = place.scratch().join("bin");
    fs::create_dir(&path).expect("create");
    let old = path.join("systemd-nspawn");
    fs::write(&old, "#!/bin/sh\necho 'systemd 219'\n").expect("write");
    fs::set_permissions(&old, fs::Permissions::from_mode(0o755)).expect("set the mode");
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", path.display());
    place
        .pkgprobe("debian-bookworm", ["--check-unit", "systemd-journald"])
        .env("PATH", path)
        .run()
        .exits(3)
        .stderr_has("219")
        .stderr_has("247");
}

#[test]
fn list_images_as_json() {
    let outcome = Place::direct()
        .postroj(["list-images", "--json"])
        .run()
        .exits(0);
    let list: serde_json::Value =
        serde_json::from_str(&outcome.stdout).expect("JSON and nothing else");
    assert!(list.to_string().contains("\"debian-bookworm\""), "{list}");
}

#[test]
fn completions_and_man_pages() {
    let place = Place::direct();
    for shell in ["bash", "zsh", "fish"] {
        place
            .postroj(["completions", shell])
            .run()
            .exits(0)
            .stdout_has("pkgprobe");
    }
    place.postroj(["man"]).run().exits(0).stdout_has(".TH");
    let directory = place.scratch().join("man");
    fs::create_dir(&directory).expect("create");
    place
        .postroj(["man", directory.to_str().expect("UTF-8")])
        .run()
        .exits(0);
    assert!(directory.join("postroj.1").exists());
    assert!(directory.join("postroj-pkgprobe.1").exists());
}

#[test]
fn doctor_knows_this_machine() {
    let outcome = Place::direct().postroj(["doctor"]).run();
    assert!([0, 3].contains(&outcome.code()), "{outcome}");
    outcome.stdout_has("nspawn");
}
