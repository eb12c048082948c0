//! Containers that stay, and several at once.

use rustix::process::Signal;

use crate::support::place::Started;
use crate::support::{Deb, Place, process};

const IMAGE: &str = "debian-bookworm";

/// A run that stays in its package's postinst.
fn staying(place: &Place, seconds: &str) -> Started {
    let package = Deb::new("stays")
        .postinst(&format!("sleep {seconds}"))
        .build(place.scratch(), "stays.deb");
    let started = place
        .pkgprobe(IMAGE, ["--package", package.to_str().expect("UTF-8")])
        .start();
    process::wait_for_argument(seconds);
    started
}

fn names(place: &Place) -> Vec<String> {
    let outcome = place.postroj(["machines"]).run().exits(0);
    outcome
        .stdout
        .split_whitespace()
        .filter(|word| word.starts_with("postroj-"))
        .map(str::to_owned)
        .collect()
}

/// Needs the machine for itself: the names are what it is about.
fn clash(place: &Place) {
    let first = staying(place, &format!("{}101", std::process::id()));
    assert_eq!(names(place), ["postroj-debian-bookworm"]);
    let second = staying(place, &format!("{}102", std::process::id()));
    let mut both = names(place);
    both.sort();
    assert_eq!(
        both,
        ["postroj-debian-bookworm", "postroj-debian-bookworm-2"]
    );
    // The end of one is not the other's.
    first.signal(Signal::INT);
    first.wait().exits(130);
    assert_eq!(names(place), ["postroj-debian-bookworm-2"]);
    second.signal(Signal::TERM);
    second.wait().exits(143);
    assert_eq!(names(place), Vec::<String>::new());
}

pub(crate) fn second_of_a_name_directly() {
    clash(&Place::direct_alone());
}

#[test]
fn second_of_a_name_on_a_host_with_systemd() {
    clash(&Place::systemd(&[IMAGE]));
}

fn keep(place: &Place) {
    // The first container makes what the host keeps for all of them.
    place
        .pkgprobe(IMAGE, ["--check-unit", "systemd-journald"])
        .run()
        .exits(0);
    let before = place.look();
    let outcome = place
        .pkgprobe(IMAGE, ["--check-unit", "systemd-journald", "--keep"])
        .run()
        .exits(0);
    let name = names(place).pop().expect("the machine is up");
    // How to get in, and how to end it.
    for command in ["shell", "stop"] {
        let line = format!("postroj {command} {name}");
        assert!(
            outcome.stderr.contains(&line) || outcome.stdout.contains(&line),
            "{line}\n{outcome}"
        );
    }
    place.postroj(["stop", &name]).run().exits(0);
    assert_eq!(names(place), Vec::<String>::new());
    let left = place.look().since(&before);
    assert_eq!(left, Vec::<String>::new());
}

pub(crate) fn kept_machine_directly() {
    keep(&Place::direct_alone());
}

#[test]
fn kept_machine_on_a_host_with_systemd() {
    keep(&Place::systemd(&[IMAGE]));
}

#[test]
fn machined_knows_the_machine() {
    let place = Place::systemd(&[IMAGE]);
    place
        .pkgprobe(IMAGE, ["--check-unit", "systemd-journald", "--keep"])
        .run()
        .exits(0);
    let host = place.nested().expect("a nested host");
    host.run(&["machinectl", "show", "postroj-debian-bookworm"])
        .exits(0)
        .stdout_has("State=running");
    host.run(&["machinectl", "list-images"])
        .exits(0)
        .stdout_has("No images");
    place
        .postroj(["stop", "postroj-debian-bookworm"])
        .run()
        .exits(0);
    host.run(&["machinectl", "list"])
        .exits(0)
        .stdout_has("No machines");
}

/// `script` of util-linux gives the shell a terminal, as a person's has one.
pub(crate) fn shell_in_a_kept_machine() {
    let place = Place::direct_alone();
    place
        .pkgprobe(IMAGE, ["--check-unit", "systemd-journald", "--keep"])
        .run()
        .exits(0);
    let name = names(&place).pop().expect("the machine is up");
    let line = format!("{} shell {name}", crate::support::place::binary().display());
    let mut command = std::process::Command::new("sh");
    let typed = r#"(echo 'echo "in: $(cat /proc/1/comm) $(tty)"; exit'; sleep 3) | script -qec "$1" /dev/null"#;
    command
        .args(["-c", typed, "sh", &line])
        .env("POSTROJ_STATE_DIR", place.state());
    let outcome = process::run(command);
    place.postroj(["stop", &name]).run().exits(0);
    outcome.exits(0).stdout_has("in: systemd /dev/pts/");
}

#[test]
fn machine_that_is_not_there() {
    let place = Place::direct();
    place
        .postroj(["stop", "postroj-nowhere"])
        .run()
        .exits(2)
        .stderr_has("postroj-nowhere");
    place
        .postroj(["shell", "postroj-nowhere"])
        .run()
        .exits(2)
        .stderr_has("postroj-nowhere");
}
