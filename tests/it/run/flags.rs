//! What the options do that docker's and podman's users know.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

pub(super) fn are_kept(place: &Place) {
    environment(place);
    capabilities(place);
    devices(place);
    limits(place);
    networks(place);
    labels(place);
    terminal_alone(place);
    own_failures(place);
}

fn environment(place: &Place) {
    let file = place.scratch().join("some.env");
    fs::write(&file, "# a comment\nFROM_FILE=a b\nBOTH=file\nINHERITED\n").expect("write a file");
    let file = file.display().to_string();
    let options = ["--env-file", &file, "-e", "BOTH=option", "-e", "ALSO"];
    let shown = place
        .postroj(["run"].iter().chain(&options).chain(&[
            IMAGE,
            "sh",
            "-c",
            "echo $FROM_FILE,$BOTH,$INHERITED,$ALSO",
        ]))
        .env("INHERITED", "one")
        .env("ALSO", "two")
        .run();
    assert_eq!(shown.exits(0).stdout, "a b,option,one,two\n");
    // What is so anyhow, and when it is asked for as well.
    script(place, &["--rm", "--init", "--pull", "missing"], "exit 4").exits(4);
    script(place, &["--pull", "never"], "exit 5").exits(5);
}

const CAPABILITIES: &str = "sed -n 's/^CapEff:\\t//p; s/^CapBnd:\\t//p' /proc/self/status";

fn capabilities(place: &Place) {
    // NET_BIND_SERVICE is the tenth, from zero, in linux/capability.h, and SYS_TIME the twenty-fifth.
    let only = "0000000000000400";
    for options in [
        ["--cap-drop", "ALL", "--cap-add", "NET_BIND_SERVICE"],
        ["--cap-add", "cap_net_bind_service", "--cap-drop", "all"],
    ] {
        let shown = script(place, &options, CAPABILITIES).exits(0).stdout;
        assert_eq!(shown, format!("{only}\n{only}\n"));
    }
    let effective = |options: &[&str]| {
        let shown = script(place, options, CAPABILITIES).exits(0).stdout;
        u64::from_str_radix(shown.lines().next().expect("a line"), 16).expect("a number")
    };
    assert_eq!(effective(&[]) & 1 << 25, 0);
    assert_ne!(effective(&["--cap-add", "SYS_TIME"]) & 1 << 25, 0);
    // With users of its own it would have that for nothing.
    let users = "tr -s ' ' <\"/proc/self/uid_map\"";
    let hosts = script(place, &["--cap-add", "SYS_TIME"], users).exits(0);
    assert!(hosts.stdout.starts_with(" 0 0 "), "{hosts}");
    script(
        place,
        &["--cap-add", "SYS_TIME", "--private-users", "yes"],
        "true",
    )
    .exits(125)
    .stderr_has("--private-users yes would take the effect");
    let allowed = "sed -n 's/^Seccomp:\t//p' /proc/self/status; test -w /proc/sys/kernel/printk; echo $?; tr -s ' ' </proc/self/uid_map";
    let privileged = script(place, &["--privileged"], allowed).exits(0).stdout;
    assert!(
        privileged.ends_with("\n0\n 0 0 4294967295\n"),
        "{privileged}"
    );
    // A host that is a container itself has a filter of its own.
    assert_eq!(privileged.starts_with("0\n"), place.nested().is_none());
    let usual = script(place, &[], allowed).exits(0).stdout;
    assert!(usual.starts_with("2\n1\n"), "{usual}");
    let status = fs::read_to_string("/proc/self/status").expect("a status");
    let own = status
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:\t"));
    let own = u64::from_str_radix(own.expect("a line"), 16).expect("a number");
    assert_eq!(effective(&["--privileged"]), own);
    script(place, &["--privileged", "--private-users", "yes"], "true").exits(125);
}

fn devices(place: &Place) {
    let options = ["--device", "/dev/zero:/dev/mine"];
    let shown = script(
        place,
        &options,
        "test -c /dev/mine && head -c 3 /dev/mine | od -An -c",
    );
    assert_eq!(
        shown.exits(0).stdout.split_whitespace().collect::<Vec<_>>(),
        ["\\0"; 3]
    );
}

/// The seconds in what a shell's `times` tells, or in a line of it.
pub(crate) fn seconds(times: &str) -> f64 {
    let seconds = |part: &str| {
        let (minutes, seconds) = part.trim_end_matches('s').split_once('m').expect("a time");
        minutes.parse::<f64>().expect("minutes") * 60.0 + seconds.parse::<f64>().expect("seconds")
    };
    times.split_whitespace().map(seconds).sum()
}

fn limits(place: &Place) {
    script(place, &["-m", "100m", "--memory-swap", "100m"], "exit 6").exits(6);
    script(place, &["-m", "100m", "--memory-swap", "50m"], "true")
        .exits(125)
        .stderr_has("--memory-swap is memory and swap together");
    // What the shell's children have taken is the second line; in a pipeline, times would tell of a shell without any.
    let burnt = script(
        place,
        &["--cpus", "0.2"],
        "timeout 4 sh -c 'while :; do :; done'; times",
    );
    let burnt = seconds(burnt.exits(0).stdout.lines().nth(1).unwrap_or_default());
    // A fifth of four seconds, and what the kernel counts beyond that.
    assert!((0.4..2.0).contains(&burnt), "{burnt} s");
    let many = "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait; echo all";
    for number in ["0", "-1"] {
        let outcome = script(place, &["--pids-limit", number], many);
        assert_eq!(outcome.exits(0).stdout, "all\n");
    }
}

fn networks(place: &Place) {
    let own = fs::read_link("/proc/self/ns/net").expect("a network");
    let network = |options: &[&str]| {
        let shown = script(place, options, "readlink /proc/self/ns/net").exits(0);
        PathBuf::from(shown.stdout.trim_end())
    };
    assert_eq!(network(&["--network", "host"]), own);
    assert_ne!(network(&[]), own);
    let free = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let number = free.local_addr().expect("its number").port();
    drop(free);
    let publish = format!("127.0.0.1:{number}:5000/udp");
    let take = "use IO::Socket; my $s = IO::Socket::INET->new(LocalPort => 5000, Proto => 'udp') or die; $s->recv(my $m, 99); print \"got $m\\n\"";
    let words = ["run", "-p", &publish, IMAGE, "perl", "-e", take];
    let started = place.postroj(words).start();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            while !over.load(Ordering::Relaxed) {
                // Until somebody is there, it may be refused.
                let _ = socket.send_to(b"it", ("127.0.0.1", number));
                thread::sleep(Duration::from_millis(100));
            }
        });
        let ended = started.wait();
        over.store(true, Ordering::Relaxed);
        assert_eq!(ended.exits(0).stdout, "got it\n");
    });
}

/// Whoever lists containers finds them.
fn labels(place: &Place) {
    let name = format!("labelled{}", std::process::id());
    let argument = format!("{}402", std::process::id());
    let words = [
        "run", "--name", &name, "--label", "of=who", "-l", "bare", IMAGE, "sleep", &argument,
    ];
    let started = place.postroj(words).start();
    place.wait_for_argument(&argument);
    let record = place.runtime().join(format!("postroj-{name}/record.json"));
    process::wait_until(|| record.exists(), "a record");
    let record = fs::read_to_string(record).expect("its record");
    let record: serde_json::Value = serde_json::from_str(&record).expect("JSON");
    assert_eq!(
        record["labels"],
        serde_json::json!({"of": "who", "bare": ""})
    );
    started.signal(Signal::TERM);
    started.wait().exits(143);
}

/// A terminal without `-i` shows, and reads nothing that is for others.
fn terminal_alone(place: &Place) {
    let line = format!(
        "printf 'one\\ntwo\\n' | {{ $POSTROJ run -t {IMAGE} sh -c 'tty; echo shown'; cat; }}"
    );
    let outcome = process::run(place.shell(&line)).exits(0);
    assert_eq!(outcome.stdout, "/dev/pts/0\r\nshown\r\none\ntwo\n");
}

/// Whatever is postroj's own fault has one exit code.
fn own_failures(place: &Place) {
    let file = place.scratch().join("broken.toml");
    fs::write(&file, "nosuch = 1\n").expect("write a file");
    let broken = place.postroj(["run", IMAGE, "true"]);
    broken.env("POSTROJ_CONFIG", &file).run().exits(125);
}

#[test]
fn options_are_kept() {
    are_kept(&directly());
}
