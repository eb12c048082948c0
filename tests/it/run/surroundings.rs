//! What a command sees of the host, and what it may do there.

use super::*;

pub(super) fn shows_of_the_host(place: &Place) {
    let shared = place.scratch().join("shared");
    fs::create_dir(&shared).expect("make a directory");
    let volume = format!("{}:/vol", shared.display());
    let read_only = format!("type=bind,source={},target=/ro,readonly", shared.display());
    let outcome = script(
        place,
        &[
            "-v",
            &volume,
            "--mount",
            &read_only,
            "--tmpfs",
            "/t:size=1m",
            "--read-only",
        ],
        "echo x >/vol/file; cat /ro/file; echo y >/ro/file; touch /t/file && echo made; touch /file; true",
    );
    let outcome = outcome.exits(0);
    assert_eq!(outcome.stdout, "x\nmade\n");
    assert_eq!(
        outcome.stderr.matches("Read-only file system").count(),
        2,
        "{outcome}"
    );
    // It is root's on this host, although the container's root is not.
    assert_eq!(
        fs::metadata(shared.join("file")).expect("the file").uid(),
        0
    );
    let names = script(
        place,
        &["--add-host", "db:10.1.2.3", "--dns", "10.9.9.9", "-h", "me"],
        "getent hosts db; getent hosts me; cat /etc/resolv.conf",
    );
    let names = names.exits(0).stdout;
    assert!(
        names.contains("10.1.2.3") && names.contains("127.0.1.1"),
        "{names}"
    );
    assert!(names.ends_with("nameserver 10.9.9.9\n"), "{names}");
}

pub(super) fn may_do(place: &Place) {
    let bounding = "grep -E 'CapBnd|CapInh' /proc/self/status | cut -f2";
    let none = "0000000000000000";
    let dropped = script(place, &["--cap-drop", "ALL"], bounding)
        .exits(0)
        .stdout;
    assert_eq!(dropped, format!("{none}\n{none}\n"));
    let usual = script(place, &[], bounding).exits(0).stdout;
    assert!(
        usual.starts_with(none) && !usual.ends_with(&format!("{none}\n")),
        "{usual}"
    );
    // Setting the clock is what systemd-nspawn lets nobody do.
    let clock = "date -s @1 >/dev/null 2>&1 && echo set || echo refused";
    assert_eq!(script(place, &[], clock).exits(0).stdout, "refused\n");
    script(
        place,
        &["--pids-limit", "5"],
        "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait",
    )
    .stderr_has("fork");
}

pub(super) fn shares_processors(place: &Place) {
    // Nor can the command have others by asking for them.
    let widen = "taskset -pc 0-1 $$ >/dev/null; grep Cpus_allowed_list /proc/self/status | cut -f2";
    let outcome = script(place, &["--cpuset-cpus", "0"], widen);
    assert_eq!(outcome.exits(0).stdout, "0\n");
    assert_eq!(script(place, &[], widen).exits(0).stdout, "0-1\n");
    // Both at the same time and on one processor, whatever else this machine has to do: who has a quarter of
    // the other's shares gets a fifth.
    let meeting = place.scratch().join("meeting");
    fs::create_dir(&meeting).expect("make a directory");
    let volume = format!("{}:/meeting", meeting.display());
    let burn = "touch /meeting/$$-$(hostname); until [ $(ls /meeting | wc -l) = 2 ]; do sleep 0.05; done; \
        end=$(($(date +%s) + 6)); while [ $(date +%s) -lt $end ]; do :; done; times";
    let start = |shares| {
        place
            .postroj([
                "run",
                "-c",
                shares,
                "--cpuset-cpus",
                "0",
                "-v",
                &volume,
                IMAGE,
                "sh",
                "-c",
                burn,
            ])
            .start()
    };
    let (small, large) = (start("256"), start("1024"));
    let time = |outcome: Outcome| flags::seconds(&outcome.exits(0).stdout);
    let (small, large) = (time(small.wait()), time(large.wait()));
    let share = small / (small + large);
    assert!(
        (0.10..0.35).contains(&share),
        "{small} s and {large} s: {share}"
    );
}

pub(super) fn leads_in(place: &Place) {
    let serve = "use IO::Socket; my $s = IO::Socket::INET->new(LocalPort => 80, Listen => 1) or die; $| = 1; print \"up\\n\"; while (my $c = $s->accept) { <$c>; print $c \"from inside\\n\"; close $c }";
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let number = port.local_addr().expect("its number").port();
    drop(port);
    let publish = format!("127.0.0.1:{number}:80");
    let started = place
        .postroj([
            "run",
            "--network",
            "nat",
            "-p",
            &publish,
            IMAGE,
            "perl",
            "-e",
            serve,
        ])
        .start();
    let asked = || {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", number)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        std::io::Write::write_all(&mut stream, b"?\n").ok()?;
        let mut text = String::new();
        std::io::Read::read_to_string(&mut stream, &mut text).ok()?;
        (text == "from inside\n").then_some(())
    };
    process::wait_until(|| asked().is_some(), "an answer through the port");
    started.signal(Signal::TERM);
    started.wait().exits(143);
    place
        .postroj(["run", "--network", "host", "-p", "81:80", IMAGE, "true"])
        .run()
        .exits(125)
        .stderr_has("ports lead into a network of its own only");
}

#[test]
fn what_is_shown_of_the_host() {
    shows_of_the_host(&directly());
}

#[test]
fn what_a_command_may_do() {
    may_do(&directly());
}

#[test]
fn processors_are_shared_out() {
    shares_processors(&directly());
}

#[test]
fn ports_lead_in() {
    leads_in(&directly());
}
