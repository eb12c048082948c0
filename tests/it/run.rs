//! `postroj run`: one command in a container of its own.

mod booted;
mod ending;

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::archive::{Entry, Tar};
use crate::support::oci::{Client, Image};
use crate::support::place::binary;
use crate::support::process::Outcome;
use crate::support::{Place, image, process};

const IMAGE: &str = "debian-bookworm";

/// A place directly on this host, with the image in its store.
fn directly() -> Place {
    image::pulled(IMAGE);
    Place::direct()
}

/// `postroj run` with these options, of a shell script.
fn script(place: &Place, options: &[&str], script: &str) -> Outcome {
    let words = ["run"].iter().chain(options);
    place
        .postroj(words.chain(&[IMAGE, "sh", "-c", script]))
        .run()
}

/// What a command's streams, its exit code and its surroundings have to be.
fn basics(place: &Place) {
    let outcome = script(
        place,
        &[],
        "echo out; echo err >&2; echo via >/dev/stdout; exit 3",
    );
    let outcome = outcome.exits(3);
    assert_eq!(
        (&*outcome.stdout, &*outcome.stderr),
        ("out\nvia\n", "err\n")
    );
    let echoed = place.postroj(["run", "-i", IMAGE, "cat"]).stdin("hello\n");
    assert_eq!(echoed.run().exits(0).stdout, "hello\n");
    // Nothing is read without -i.
    let silent = place.postroj(["run", IMAGE, "cat"]).stdin("hello\n");
    assert_eq!(silent.run().exits(0).stdout, "");
    script(place, &[], "kill -9 $$").exits(137);
    // It is given to nobody, although the command reads from it.
    let null = place.root().join("dev/null");
    assert_eq!(fs::metadata(null).expect("/dev/null").uid(), 0);
    place
        .postroj(["run", IMAGE, "nosuch"])
        .run()
        .exits(127)
        .stderr_has("nosuch");
    place
        .postroj(["run", IMAGE, "/etc/passwd"])
        .run()
        .exits(126)
        .stderr_has("/etc/passwd");
    let inside = script(
        place,
        &[
            "-h",
            "inside",
            "-u",
            "daemon",
            "-w",
            "/made/here",
            "-e",
            "A=b c",
        ],
        "hostname; id -un; pwd; echo $A $HOME; ls /proc | grep -c '^[0-9]*$'; tr '\\0' ' ' </proc/1/cmdline",
    );
    let inside = inside.exits(0).stdout;
    let lines: Vec<&str> = inside.lines().collect();
    assert_eq!(
        lines[..4],
        ["inside", "daemon", "/made/here", "b c /usr/sbin"]
    );
    let processes: usize = lines[4].parse().expect("a number");
    assert!(processes < 8, "it sees {processes} processes");
    assert!(lines[5].contains("__init"), "{}", lines[5]);
}

#[test]
fn a_command_and_its_streams_directly() {
    let place = directly();
    basics(&place);
    memory_runs_out(&place);
}

#[test]
fn a_command_and_its_streams_on_a_host_with_systemd() {
    let place = Place::systemd(&[IMAGE]);
    basics(&place);
    memory_runs_out(&place);
    cannot_be_limited(&place);
}

/// A systemd that runs in a container itself keeps no limits by version 1 controllers. Where postroj cannot
/// either, who asks for one is told.
fn cannot_be_limited(place: &Place) {
    let nested = place.nested().expect("a nested host");
    nested.remount_controllers("ro");
    for limit in [["-m", "300m"], ["--cpus", "0.5"], ["--pids-limit", "50"]] {
        script(place, &limit, "echo ran")
            .exits(125)
            .stderr_has("keeps no limits");
    }
}

fn memory_runs_out(place: &Place) {
    // What is not held to its limit here ends by itself, before it takes the host's memory.
    script(
        place,
        &["-m", "48m"],
        "exec head -c 400m /dev/zero | exec tail -n 1",
    )
    .stderr_has("for want of memory");
    place
        .postroj(["run", "-m", "48m", IMAGE, "tail", "/dev/zero"])
        .run()
        .exits(137)
        .stderr_has("for want of memory");
    // The command has enough; who does not is its child.
    script(
        place,
        &["-m", "48m"],
        "tail /dev/zero; echo still here; exit 4",
    )
    .exits(4)
    .stdout_has("still here")
    .stderr_has("for want of memory");
}

#[test]
fn bytes_come_through_as_they_are() {
    let place = directly();
    let noise = crate::support::tiny::noise(7, 8 << 20);
    let (input, output) = (place.scratch().join("in"), place.scratch().join("out"));
    fs::write(&input, &noise).expect("write a file");
    let status = place
        .postroj(["run", "-i", IMAGE, "cat"])
        .command()
        .stdin(fs::File::open(&input).expect("the file"))
        .stdout(fs::File::create(&output).expect("a file"))
        .status();
    assert!(status.expect("run postroj").success());
    assert!(
        fs::read(&output).expect("the output") == noise,
        "other bytes came out"
    );
    // Who reads no more ends who writes: no endless output is kept anywhere.
    let mut child = place
        .postroj(["run", IMAGE, "sh", "-c", "yes; echo $? >&2"])
        .command()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("run postroj");
    let mut some = [0; 4096];
    let mut reader = child.stdout.take().expect("a pipe");
    std::io::Read::read_exact(&mut reader, &mut some).expect("some output");
    drop(reader);
    let ended = child.wait_with_output().expect("its end");
    assert_eq!(ended.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "141\n");
}

/// A program that needs nothing but the kernel.
fn static_program(place: &Place, body: &str) -> Vec<u8> {
    let (source, program) = (place.scratch().join("it.c"), place.scratch().join("it"));
    let text = format!(
        "#include <stdio.h>\n#include <stdlib.h>\n#include <unistd.h>\nint main(int argc, char **argv) {{ {body} }}\n"
    );
    fs::write(&source, text).expect("write the source");
    let paths = [program.to_str(), source.to_str()].map(|path| path.expect("UTF-8"));
    process::tool("cc", &["-static", "-O1", "-s", "-o", paths[0], paths[1]]);
    fs::read(program).expect("the program")
}

#[test]
fn an_image_of_one_static_file_runs_as_its_config_says() {
    let client = Client::new();
    let place = directly();
    let program = static_program(
        &place,
        r#"char d[99]; for (int i = 1; i < argc; i++) printf("%s ", argv[i]);
           printf("%s %s %d %d\n", getenv("GREETING"), getcwd(d, 99), getuid(), getgid()); return argc;"#,
    );
    let archive = Tar::new().with(Entry::file("hello", program).mode(0o755));
    let image = Image::of(archive).config(|config| {
        config["config"] = serde_json::json!({
            "Entrypoint": ["/hello"],
            "Cmd": ["from", "config"],
            "Env": ["GREETING=hi"],
            "WorkingDir": "/work",
            "User": "1234:5",
            "Labels": {"made": "by hand"},
        });
    });
    let put = image.put(&client.server, "repo/hello", "latest");
    let run = |words: &[&str]| {
        let words: Vec<&str> = ["run"].iter().chain(words).copied().collect();
        client.postroj(&words).run()
    };
    assert_eq!(
        run(&[&put.reference]).exits(3).stdout,
        "from config hi /work 1234 5\n"
    );
    let with = run(&[
        "-e",
        "GREETING=ho",
        "-u",
        "0",
        "-w",
        "/",
        &put.reference,
        "one",
    ]);
    assert_eq!(with.exits(2).stdout, "one ho / 0 0\n");
    let other = run(&["--entrypoint", "/hello", &put.reference]);
    assert_eq!(other.exits(1).stdout, "hi /work 1234 5\n");
    run(&["--entrypoint", "", &put.reference])
        .exits(125)
        .stderr_has("names no command");
    let inspected = client.postroj(&["inspect", &put.reference]).run().exits(0);
    assert!(inspected.stdout.contains("\"made\": \"by hand\""));
}

#[test]
fn an_image_that_was_run_boots_later() {
    let place = Place::direct();
    let state = place.scratch().join("state");
    let tree = crate::support::tree::bootable();
    let postroj = |words: &[&str]| place.postroj(words).env("POSTROJ_STATE_DIR", &state).run();
    let tree = tree.to_str().expect("UTF-8");
    postroj(&["run", tree, "true"]).exits(0);
    postroj(&[
        "pkgprobe",
        "--image",
        tree,
        "--check-unit",
        "systemd-journald",
    ])
    .exits(0);
    postroj(&["run", tree, "test", "!", "-e", "/run/systemd/system"]).exits(0);
}

#[test]
fn what_is_shown_of_the_host() {
    let place = directly();
    let shared = place.scratch().join("shared");
    fs::create_dir(&shared).expect("make a directory");
    let volume = format!("{}:/vol", shared.display());
    let read_only = format!("type=bind,source={},target=/ro,readonly", shared.display());
    let outcome = script(
        &place,
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
        &place,
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

#[test]
fn what_a_command_may_do() {
    let place = directly();
    let bounding = "grep -E 'CapBnd|CapInh' /proc/self/status | cut -f2";
    let none = "0000000000000000";
    let dropped = script(&place, &["--cap-drop", "ALL"], bounding)
        .exits(0)
        .stdout;
    assert_eq!(dropped, format!("{none}\n{none}\n"));
    let usual = script(&place, &[], bounding).exits(0).stdout;
    assert!(
        usual.starts_with(none) && !usual.ends_with(&format!("{none}\n")),
        "{usual}"
    );
    // Setting the clock is what systemd-nspawn lets nobody do.
    let clock = "date -s @1 >/dev/null 2>&1 && echo set || echo refused";
    assert_eq!(script(&place, &[], clock).exits(0).stdout, "refused\n");
    script(
        &place,
        &["--privileged"],
        "test -w /proc/sys/kernel/hostname; id -u",
    )
    .exits(0);
    let users = "cut -c1-20 /proc/self/uid_map | tr -s ' '";
    assert_ne!(
        script(&place, &[], users).stdout,
        script(&place, &["--privileged"], users).stdout
    );
    script(
        &place,
        &["--pids-limit", "5"],
        "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait",
    )
    .stderr_has("fork");
}

#[test]
fn processors_are_shared_out() {
    let place = directly();
    // Nor can the command have others by asking for them.
    let widen = "taskset -pc 0-1 $$ >/dev/null; grep Cpus_allowed_list /proc/self/status | cut -f2";
    let outcome = script(&place, &["--cpuset-cpus", "0"], widen);
    assert_eq!(outcome.exits(0).stdout, "0\n");
    assert_eq!(script(&place, &[], widen).exits(0).stdout, "0-1\n");
    let burn = "end=$(($(date +%s) + 6)); n=0; while [ $(date +%s) -lt $end ]; do n=$((n + 1)); done; times";
    // Both on one processor, whatever else this machine has to do: who has a quarter gets a fifth.
    let start = |shares| {
        place
            .postroj([
                "run",
                "-c",
                shares,
                "--cpuset-cpus",
                "0",
                IMAGE,
                "sh",
                "-c",
                burn,
            ])
            .start()
    };
    let (small, large) = (start("256"), start("1024"));
    let time = |outcome: Outcome| {
        let text = outcome.exits(0).stdout;
        let seconds = |part: &str| {
            let (minutes, seconds) = part.trim_end_matches('s').split_once('m').expect("a time");
            minutes.parse::<f64>().expect("minutes") * 60.0
                + seconds.parse::<f64>().expect("seconds")
        };
        text.split_whitespace().map(seconds).sum::<f64>()
    };
    let (small, large) = (time(small.wait()), time(large.wait()));
    let share = small / (small + large);
    assert!(
        (0.10..0.35).contains(&share),
        "{small} s and {large} s: {share}"
    );
}

#[test]
fn ports_lead_in() {
    let place = directly();
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
fn fifty_at_once() {
    let place = directly();
    let started: Vec<_> = (0..50)
        .map(|number: u32| {
            let number = number.to_string();
            let run = place.postroj(["run", "--network", "none", IMAGE, "echo", &number]);
            (number, run.start())
        })
        .collect();
    for (number, started) in started {
        assert_eq!(started.wait().exits(0).stdout, format!("{number}\n"));
    }
}

/// The example of the library's documentation.
#[test]
fn by_the_library() {
    let place = directly();
    let example = binary().with_file_name("examples/command");
    assert!(example.exists(), "cargo build --examples makes it");
    let mut command = Command::new(example);
    command.arg(place.state());
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("the release");
    assert_eq!(process::run(command).exits(0).stdout, release);
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name() {
    let place = Place::direct();
    let file = place.scratch().join("bad.env");
    fs::write(&file, "# fine\nA=1\n=2\n").expect("write a file");
    let file: PathBuf = file;
    let file = file.to_str().expect("UTF-8");
    for (options, said) in [
        (&["--bogus"][..], "--bogus"),
        (&["-v", "named:/x"], "volume with a name"),
        (&["-v", "/:/x:z"], "z is not supported"),
        (
            &["--mount", "type=volume,target=/x"],
            "type=volume is not supported",
        ),
        (
            &[
                "--mount",
                "type=bind,source=/,target=/x,bind-propagation=shared",
            ],
            "bind-propagation",
        ),
        (&["--cap-add", "EVERYTHING"], "EVERYTHING"),
        (
            &["--device", "/dev/null:/dev/null:r"],
            "permissions are not supported",
        ),
        (&["-p", "80"], "HOST:CONTAINER"),
        (&["--network", "bridge"], "bridge"),
        (&["--cpuset-cpus", "3-1"], "3-1"),
        (&["--env-file", file], "line 3"),
        (&["-w", "relative"], "absolute"),
        (&["--memory-swap", "1g"], "--memory"),
    ] {
        let words = ["run"].iter().chain(options);
        let outcome = place.postroj(words.chain(&[IMAGE, "true"])).run();
        outcome.exits(125).stderr_has(said);
    }
    place
        .postroj(["run", "debian-bokworm", "true"])
        .run()
        .exits(125)
        .stderr_has("debian-bookworm");
    place.postroj(["run"]).run().exits(125);
    let help = place.postroj(["run", "--help"]).run().exits(0);
    assert!(help.stdout.contains("Usage: postroj run"));
    let name = format!("named{}", std::process::id());
    let argument = format!("{}401", std::process::id());
    image::pulled(IMAGE);
    let sleep = format!("exec sleep {argument}");
    let first = place
        .postroj(["run", "--name", &name, IMAGE, "sh", "-c", &sleep])
        .start();
    process::wait_for_argument(&argument);
    place
        .postroj(["run", "--name", &name, IMAGE, "true"])
        .run()
        .exits(125)
        .stderr_has("already");
    first.signal(Signal::TERM);
    first.wait().exits(143);
}
