//! Verdicts that are not good: the exit code says whose fault it is, the report shows why.

use std::process::Command;

use crate::support::http::{Answer, Server};
use crate::support::{Deb, Place, deb, image, place, process};

const IMAGE: &str = "debian-bookworm";

fn path(path: &std::path::Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn unit_that_does_not_exist() {
    Place::direct()
        .pkgprobe(IMAGE, ["--check-unit", "nosuch"])
        .run()
        .exits(1)
        .stdout_has("nosuch");
}

#[test]
fn port_that_nobody_listens_on() {
    Place::direct()
        .pkgprobe(
            IMAGE,
            [
                "--check-network",
                "tcp://localhost:8097",
                "--network-timeout",
                "500ms",
            ],
        )
        .run()
        .exits(1)
        .stdout_has("refused");
}

#[test]
fn unit_that_dies_after_half_a_second() {
    let place = Place::direct();
    let package = Deb::new("dies")
        .service("/bin/sh -c 'sleep 0.5; echo the last words; exit 3'")
        .build(place.scratch(), "dies.deb");
    place
        .pkgprobe(IMAGE, ["--package", path(&package), "--check-unit", "dies"])
        .run()
        .exits(1)
        .stdout_has("the last words");
}

#[test]
fn unit_that_restarts_over_and_over() {
    let place = Place::direct();
    let unit = "[Service]\nExecStart=/bin/sleep 0.3\nRestart=always\nRestartSec=100ms\nStartLimitIntervalSec=0\n";
    let package = Deb::new("flaps")
        .unit("flaps.service", unit)
        .build(place.scratch(), "flaps.deb");
    place
        .pkgprobe(
            IMAGE,
            ["--package", path(&package), "--check-unit", "flaps"],
        )
        .run()
        .exits(1)
        .stdout_has("flaps");
}

#[test]
fn unit_that_never_gets_ready() {
    let place = Place::direct();
    let unit = "[Service]\nType=notify\nExecStart=/bin/sleep infinity\nTimeoutStartSec=infinity\n";
    let package = Deb::new("waits")
        .unit("waits.service", unit)
        .build(place.scratch(), "waits.deb");
    place
        .pkgprobe(
            IMAGE,
            [
                "--package",
                path(&package),
                "--check-unit",
                "waits",
                "--unit-timeout",
                "2",
            ],
        )
        .run()
        .exits(1)
        .stdout_has("activating");
}

#[test]
fn failing_postinst_shows_what_it_said() {
    let place = Place::direct();
    let package = Deb::new("fails")
        .postinst("echo the reason for it >&2; exit 4")
        .build(place.scratch(), "fails.deb");
    place
        .pkgprobe(IMAGE, ["--package", path(&package)])
        .run()
        .exits(1)
        .stdout_has("the reason for it");
}

#[test]
fn postinst_that_hangs_is_ended() {
    let place = Place::direct();
    let package = Deb::new("hangs")
        .postinst("sleep 4710")
        .build(place.scratch(), "hangs.deb");
    let outcome = place
        .pkgprobe(
            IMAGE,
            ["--package", path(&package), "--install-timeout", "15"],
        )
        .run()
        .exits(1);
    assert!(outcome.took.as_secs() < 60, "{outcome}");
}

#[test]
fn dependency_that_nobody_has() {
    let place = Place::direct();
    let package = Deb::new("needy")
        .depends("no-such-package-anywhere")
        .build(place.scratch(), "needy.deb");
    place
        .pkgprobe(IMAGE, ["--package", path(&package)])
        .run()
        .exits(1)
        .stdout_has("no-such-package-anywhere");
}

#[test]
fn name_that_no_repository_knows() {
    let place = Place::direct();
    place
        .pkgprobe(IMAGE, ["--package", "no-such-package-anywhere"])
        .run()
        .exits(1)
        .stdout_has("no-such-package-anywhere");
}

#[test]
fn corrupt_package() {
    let place = Place::direct();
    let package = Deb::new("corrupt")
        .service("/bin/sleep infinity")
        .build(place.scratch(), "corrupt.deb");
    let mut bytes = std::fs::read(&package).expect("read");
    let middle = bytes.len() / 2;
    bytes.truncate(middle);
    std::fs::write(&package, bytes).expect("write");
    place
        .pkgprobe(IMAGE, ["--package", path(&package)])
        .run()
        .exits(1);
}

fn answering(place: &Place, port: u16, status: &str) -> process::Outcome {
    let package = Deb::new("answers")
        .service(&deb::web_server(port, status))
        .build(place.scratch(), "answers.deb");
    let url = format!("http://localhost:{port}/");
    place
        .pkgprobe(
            IMAGE,
            [
                "--package",
                path(&package),
                "--check-unit",
                "answers",
                "--check-network",
                &url,
                "--network-timeout",
                "2",
            ],
        )
        .run()
}

#[test]
fn http_statuses() {
    let place = Place::direct();
    answering(&place, 8096, "500 Oops")
        .exits(1)
        .stdout_has("500");
    answering(&place, 8096, "404 Not Found")
        .exits(1)
        .stdout_has("404");
    answering(&place, 8096, "302 Found").exits(0);
}

#[test]
fn package_url_that_is_gone() {
    let place = Place::direct();
    let server = Server::start();
    let outcome = place
        .pkgprobe(IMAGE, ["--package", &server.url("/gone.deb")])
        .run()
        .exits(3);
    assert!(
        outcome.stderr.contains("404") && outcome.stderr.contains("/gone.deb"),
        "{outcome}"
    );
}

#[test]
fn package_that_never_arrives_whole() {
    let place = Place::direct();
    let server = Server::start();
    let url = server.put(
        "/short.deb",
        Answer::body(vec![0; 5000]).without_ranges().cut_at(10),
    );
    place
        .pkgprobe(IMAGE, ["--package", &url])
        .run()
        .exits(3)
        .stderr_has("/short.deb");
}

#[test]
fn boot_that_takes_too_long() {
    let place = Place::direct();
    place
        .pkgprobe(IMAGE, ["--boot-timeout", "10ms"])
        .run()
        .exits(3)
        .stderr_has("boot");
}

#[test]
fn unreachable_registry() {
    let place = Place::direct();
    let conf = image::no_registry(place.scratch());
    place
        .postroj(["pull", "--source", "oci", "debian-bookworm"])
        .env("CONTAINERS_REGISTRIES_CONF", conf)
        .env("POSTROJ_STATE_DIR", place.scratch().join("store"))
        .run()
        .exits(3)
        .stderr_has("127.0.0.1:1");
}

/// The store is on a file system of 40 MB, in a mount namespace of its own.
#[test]
fn full_disk() {
    let place = Place::direct();
    let store = place.scratch().join("store");
    std::fs::create_dir(&store).expect("create");
    let mut command = Command::new("unshare");
    command
        .args([
            "--mount",
            "sh",
            "-euc",
            r#"mount -t tmpfs -o size=40m full "$1"; "$2" --state-dir "$1" pull "$3"; "#,
            "sh",
        ])
        .args([
            store.as_path(),
            place::binary(),
            &crate::support::tree::minimal(),
        ]);
    process::run(command).exits(3).stderr_has("space");
}

#[test]
fn evidence_of_a_failed_unit_is_in_the_json_too() {
    let place = Place::direct();
    let package = Deb::new("broken")
        .service("/bin/sh -c 'echo the last words; exit 3'")
        .build(place.scratch(), "broken.deb");
    let outcome = place
        .pkgprobe(
            IMAGE,
            [
                "--package",
                path(&package),
                "--check-unit",
                "broken",
                "--json",
            ],
        )
        .run()
        .exits(1);
    let report: serde_json::Value =
        serde_json::from_str(&outcome.stdout).expect("JSON and nothing else");
    assert!(report.to_string().contains("the last words"), "{report}");
}

/// A bus lets a connection wait for so many answers and no more.
#[test]
fn many_units_at_once() {
    let place = Place::direct();
    let checks = |most: usize| -> Vec<String> {
        let names = (0..most).map(|number| format!("nosuch{number}"));
        names
            .flat_map(|name| ["--check-unit".to_owned(), name])
            .collect()
    };
    // With the commands for the evidence, systemd has to let go of some 600 units.
    let outcome = place.pkgprobe("debian-bookworm", checks(200)).run();
    let outcome = outcome.exits(1);
    let said = outcome.stdout.matches("there is no such unit").count();
    assert!(said >= 200, "{outcome}");
    place
        .pkgprobe("debian-bookworm", checks(401))
        .run()
        .exits(3)
        .stderr_has("more than 400 units are to be checked in one container");
}

/// What no test of a package needs is started all the same where that is asked for.
#[test]
fn a_full_boot_starts_what_a_trimmed_one_leaves_out() {
    let place = Place::direct();
    let check = "--check=command:systemctl is-active apt-daily.timer";
    let found = |boot: &str| {
        place
            .pkgprobe("debian-bookworm", ["--boot", boot, check])
            .run()
    };
    found("full").exits(0);
    found("trimmed").exits(1);
}
