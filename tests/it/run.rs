//! `postroj run`: one command in a container of its own.

pub(crate) mod booted;
pub(crate) mod ending;
pub(crate) mod flags;
mod surroundings;

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::archive::{Entry, Tar};
use crate::support::oci::{Client, Image};
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
    bytes(&place);
    surroundings::shows_of_the_host(&place);
    surroundings::may_do(&place);
    surroundings::shares_processors(&place);
    surroundings::leads_in(&place);
    ending::by_signals_and_times(&place);
    ending::terminal(&place);
    ending::killed(&place);
    many_at_once(&place);
    flags::are_kept(&place);
    library(&place);
    refused(&place);
    cannot_be_limited(&place);
    let client = Client::on(place);
    one_static_file(&client);
    crate::task::ending::stop_signal(&client);
    crate::chain::pulls(&client);
}

/// A systemd that runs in a container itself keeps no limits by version 1 controllers. Where postroj cannot
/// either, who asks for one is told.
fn cannot_be_limited(place: &Place) {
    let nested = place.nested().expect("a nested host");
    nested.remount_controllers("ro");
    for limit in [["-m", "300m"], ["--cpus", "0.5"], ["--pids-limit", "50"]] {
        script(place, &limit, "echo ran")
            .exits(125)
            .stderr_has("does not keep the limits");
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
    bytes(&directly());
}

fn bytes(place: &Place) {
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
    // Nor is anything overwritten that others write into the same file meanwhile.
    let line = format!(
        "{{ $POSTROJ run {IMAGE} sh -c 'sleep 3; echo in' & sleep 1; echo meanwhile; wait; echo end; }} >{0}; cat {0}",
        place.scratch().join("written").display()
    );
    let shared = process::run(place.shell(&line)).exits(0);
    assert_eq!(shared.stdout, "meanwhile\nin\nend\n");
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
pub(crate) fn static_program(body: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (source, program) = (directory.path().join("it.c"), directory.path().join("it"));
    let text = format!(
        "#include <pthread.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <unistd.h>\nint main(int argc, char **argv) {{ {body} }}\n"
    );
    fs::write(&source, text).expect("write the source");
    let paths = [program.to_str(), source.to_str()].map(|path| path.expect("UTF-8"));
    process::tool("cc", &["-static", "-O1", "-s", "-o", paths[0], paths[1]]);
    fs::read(program).expect("the program")
}

#[test]
fn an_image_of_one_static_file_runs_as_its_config_says() {
    one_static_file(&Client::new());
}

fn one_static_file(client: &Client) {
    let program = static_program(
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
fn fifty_at_once() {
    many_at_once(&directly());
}

fn many_at_once(place: &Place) {
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

#[test]
fn by_the_library() {
    library(&directly());
}

/// The examples of the library's documentation.
fn library(place: &Place) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("the release");
    assert_eq!(place.example("command").exits(0).stdout, release);
    place.example("machine").exits(0);
    place.example("chain").exits(0);
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name() {
    refused(&directly());
}

fn refused(place: &Place) {
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
