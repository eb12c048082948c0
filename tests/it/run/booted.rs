//! One command with the image's system around it.

use super::*;

/// The same command with the image's system around it.
fn booted(place: &Place) {
    let boot = |options: &[&str], text: &str| {
        let options = [&["--boot"], options].concat();
        script(place, &options, text)
    };
    let text = "cat; systemctl is-system-running --wait; echo err >&2; \
        cat /proc/1/comm; systemctl is-active systemd-journald; exit 7";
    let outcome = place
        .postroj(["run", "-i", "--boot", IMAGE, "sh", "-c", text])
        .stdin("first\n")
        .run()
        .exits(7);
    assert_eq!(outcome.stdout, "first\nrunning\nsystemd\nactive\n");
    assert_eq!(outcome.stderr.lines().last(), Some("err"), "{outcome}");
    // It is a transient unit, and what the command line says of a command holds.
    boot(&[], "cat /proc/self/cgroup")
        .exits(0)
        .stdout_has("postroj-run-");
    let outcome = boot(
        &[
            "-u",
            "www-data:staff",
            "-w",
            "/srv",
            "-e",
            "A=1",
            "-h",
            "there",
        ],
        "id -un; id -gn; pwd; echo $A; hostname; echo $HOME",
    );
    assert_eq!(
        outcome.exits(0).stdout,
        "www-data\nstaff\n/srv\n1\nthere\n/var/www\n"
    );
    boot(&[], "kill -KILL $$").exits(137);
    // The command has none; the system has what it needs.
    let none = ["--cap-drop", "ALL"];
    let outcome = boot(
        &none,
        "grep CapEff: /proc/self/status; systemctl is-active dbus",
    );
    assert_eq!(
        outcome.exits(0).stdout,
        "CapEff:\t0000000000000000\nactive\n"
    );
    place
        .postroj(["run", "--boot", IMAGE, "/no/such"])
        .run()
        .exits(127)
        .stderr_has("/no/such");
    boot(&["--boot-timeout", "10ms"], "true")
        .exits(125)
        .stderr_has("did not boot within");
    boot(&["--timeout", "1s", "--stop-timeout", "0"], "sleep 100").exits(124);
}

pub(crate) fn with_a_system_around_it() {
    let place = Place::direct_alone();
    image::pulled(IMAGE);
    let before = place.look();
    booted(&place);
    let memory = ["--boot", "-m", "300m"];
    script(
        &place,
        &memory,
        "head -c 600m /dev/zero | tail -n 1 | wc -c; exit 3",
    )
    .stderr_has("for want of memory");
    let argument = format!("{}.5", 8_000_000 + std::process::id());
    let started = place
        .postroj(["run", "--boot", IMAGE, "sleep", &argument])
        .start();
    process::wait_until(|| process::with_argument(&argument).len() > 1, &argument);
    started.signal(Signal::TERM);
    started.wait().exits(143);
    process::wait_until(|| place.look().since(&before).is_empty(), "nothing is left");
}

#[test]
fn with_a_system_around_it_on_a_host_with_systemd() {
    booted(&Place::systemd(&[IMAGE]));
}
