//! Packages whose service takes the system away from under the checks: they are at fault, and the report
//! shows what is gone.

use std::path::{Path, PathBuf};

use crate::support::process::Outcome;
use crate::support::{Deb, Place};

const IMAGE: &str = "debian-bookworm";

/// A package with a service that comes up, does something a second later, and stays.
fn package(place: &Place, deed: &str) -> PathBuf {
    Deb::new("deed")
        .service(&format!("/bin/sh -c 'sleep 1; {deed}; exec sleep 4711'"))
        .build(place.scratch(), "deed.deb")
}

fn run(place: &Place, package: &Path, arguments: &[&str]) -> Outcome {
    place
        .pkgprobe(
            IMAGE,
            ["--settle", "3", "--check-unit", "deed", "--package"],
        )
        .args([package])
        .args(arguments)
        .run()
}

#[test]
fn crashed_init() {
    let place = Place::direct();
    let package = package(&place, "kill -SEGV 1");
    let artifacts = place.scratch().join("artifacts");
    let kept = format!("--artifacts={}", artifacts.display());
    let outcome = run(&place, &package, &[&kept])
        .exits(1)
        .stdout_has("the system went down while the packages were tested")
        .stdout_has("the last of the container's console:");
    // Nobody waits for the answers of a system that there is not any more.
    assert!(outcome.took.as_secs() < 30, "{outcome}");
    let missing = std::fs::read_to_string(artifacts.join(IMAGE).join("missing.txt"));
    let missing = missing.expect("what is missing");
    assert!(missing.contains("journal.txt: the container"), "{missing}");
    assert!(artifacts.join(IMAGE).join("console.txt").exists());
}

fn stopped_bus(place: &Place) {
    let package = package(place, "systemctl stop dbus.socket dbus.service");
    let outcome = run(place, &package, &["--report", "json=-"]).exits(1);
    let report: serde_json::Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    let image = &report["images"][0];
    assert_eq!(image["verdict"], "failed", "{report:#}");
    assert_eq!(image["error"], serde_json::Value::Null);
    let phase = &image["phases"][0];
    let error = phase["error"].as_str().expect("what happened");
    assert!(
        error.starts_with("the system no longer answers since the packages are there"),
        "{error}"
    );
    // What went well before is not forgotten.
    let output = phase["output"].as_str().expect("what apt-get wrote");
    assert!(output.contains("Setting up deed"), "{output}");
    let evidence = image["evidence"].as_array().expect("evidence");
    let text = |title: &str| {
        let about = evidence.iter().find(|piece| piece["title"] == title);
        let about = about.unwrap_or_else(|| panic!("{title} in {report:#}"));
        assert_eq!(about["phase"], "install");
        about["text"].as_str().expect("a text").to_owned()
    };
    let left = text("what is left of the container's system bus");
    assert!(left.contains("its daemon: no process"), "{left}");
    assert!(text("the last of the container's console").contains("Reached target"));
}

#[test]
fn stopped_bus_directly() {
    stopped_bus(&Place::direct());
}

#[test]
fn stopped_bus_on_a_host_with_systemd() {
    stopped_bus(&Place::systemd(&[IMAGE]));
}

/// Who connects is taken, and hears nothing.
#[test]
fn bus_that_does_not_answer() {
    let place = Place::direct();
    let deed = "for process in /proc/[0-9]*; do read name <$$process/comm; \
                [ $$name != dbus-daemon ] || kill -STOP $${process#/proc/}; done";
    run(&place, &package(&place, deed), &[])
        .exits(1)
        .stdout_has("the system no longer answers since the packages are there")
        .stdout_has("dbus-daemon: stopped");
}

/// One that comes back does no harm, and what the image does without packages says nothing about any.
#[test]
fn bus_that_comes_back() {
    let place = Place::direct();
    run(
        &place,
        &package(&place, "systemctl restart dbus.service"),
        &[],
    )
    .exits(0);
    let stop = "systemd-run --on-active=0.2 --timer-property=AccuracySec=1ms systemctl stop dbus.socket dbus.service";
    let check = format!("command:{stop}");
    place
        .pkgprobe(
            IMAGE,
            ["--check", &check, "--check", "command:sleep 2,timeout=60s"],
        )
        .run()
        .exits(3)
        .stderr_has("bus");
}

/// What a script has left running brings back no bus, and is not waited for until the time is up.
#[test]
fn bus_that_is_gone_and_a_process_that_stays() {
    let place = Place::direct();
    let package = Deb::new("stays")
        .postinst("sleep 4711 >/dev/null 2>&1 & systemctl mask --now dbus.socket dbus.service")
        .build(place.scratch(), "stays.deb");
    let outcome = place
        .pkgprobe(IMAGE, ["--install-timeout", "120", "--package"])
        .args([package])
        .run()
        .exits(1)
        .stdout_has("system bus went away meanwhile, and did not come back")
        .stdout_has("dbus.socket: masked");
    assert!(outcome.took.as_secs() < 60, "{outcome}");
}
