//! A container's network: what it reaches, what reaches it, and whom it does not disturb.

use std::net::{TcpListener, TcpStream};
use std::process::Command;

use crate::support::net::{self, Net, SERVER_4, SERVER_6, Versions};
use crate::support::{Deb, Place, deb, process};

const IMAGE: &str = "debian-bookworm";

const BOTH: Versions = Versions { v4: true, v6: true };

/// A container that was kept: its init, and its name.
struct Kept<'a> {
    place: &'a Place,
    machine: String,
    leader: u64,
}

impl<'a> Kept<'a> {
    /// Runs postroj under a wrapper with `--keep`, and finds the container that it says it has kept.
    #[track_caller]
    fn start(place: &'a Place, wrapper: &[String], arguments: &[&str]) -> Self {
        let outcome = place
            .pkgprobe(IMAGE, ["--keep", "--json"])
            .args(arguments)
            .under(wrapper)
            .run()
            .exits(0);
        let report: serde_json::Value = serde_json::from_str(&outcome.stdout).expect("JSON");
        let machine = report["images"][0]["machine"]
            .as_str()
            .expect("a machine")
            .to_owned();
        let record = place.runtime().join(&machine).join("record.json");
        let record = std::fs::read_to_string(record).expect("read the record");
        let record: serde_json::Value = serde_json::from_str(&record).expect("JSON");
        Self {
            place,
            leader: record["leader"].as_u64().expect("a process number"),
            machine,
        }
    }

    /// A line of shell among the container's files, in its network.
    #[track_caller]
    fn shell(&self, line: &str) -> process::Outcome {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.leader.to_string()])
            .args(["--mount", "--net", "--", "/bin/sh", "-c", line]);
        process::run(command)
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        let stop = self.place.postroj(["stop", &self.machine]).run();
        if !std::thread::panicking() {
            stop.exits(0);
        }
    }
}

/// Perl, which every Debian system has, in place of a web client.
fn get(host: &str, port: u16) -> String {
    format!(
        "perl -MIO::Socket::IP -e '$s = IO::Socket::IP->new(PeerHost => q({host}), PeerPort => {port}, Timeout => 3) or die qq($@\\n); \
         print $s qq(GET / HTTP/1.0\\r\\n\\r\\n); print <$s>'"
    )
}

/// The host's nameserver listens on the host alone, as systemd-resolved does.
#[test]
fn dual_stack_host_with_a_stub_resolver() {
    let place = Place::direct();
    let network = Net::new(BOTH);
    network.serve_web();
    network.serve_names_on_host("127.0.0.53");
    // The host's own business.
    net::serve_web(network.on_host(|| TcpListener::bind("127.0.0.1:8080").expect("bind")));
    let conf = "nameserver 127.0.0.53\noptions edns0 timeout:1\nsearch example\n";
    let wrapper = network.wrapper(place.scratch(), conf);
    let web_4 = format!("http://{SERVER_4}/");
    let web_6 = format!("http://[{SERVER_6}]/");
    let kept = Kept::start(
        &place,
        &wrapper,
        &[
            "--network",
            "nat",
            // Looked up by the host, whose nameserver no container reaches.
            "--check-network",
            "http://service.example/",
            "--check-network",
            &web_4,
            "--check-network",
            &web_6,
        ],
    );
    kept.shell("cat /etc/resolv.conf")
        .exits(0)
        .stdout_has("options edns0 timeout:1\nsearch example\n");
    let found = kept.shell("getent ahosts service").exits(0);
    assert!(found.stdout.contains(SERVER_4), "{found}");
    assert!(found.stdout.contains(SERVER_6), "{found}");
    kept.shell(&get("service.example", 80))
        .exits(0)
        .stdout_has("here");
    // Neither its own loopback device nor any address leads to the host's.
    for host in [
        "127.0.0.1",
        "localhost",
        SERVER_4,
        "198.51.100.2",
        "169.254.53.53",
    ] {
        let got = kept.shell(&get(host, 8080));
        assert_ne!(got.code(), 0, "{host} leads to the host's services\n{got}");
    }
}

/// The network namespace goes with a container that reboots, and a new one is led out as the first was.
#[test]
fn way_out_after_a_reboot() {
    let place = Place::direct();
    let network = Net::new(BOTH);
    network.serve_web();
    network.serve_names(SERVER_4);
    let conf = format!("nameserver {SERVER_4}\n");
    let wrapper = network.wrapper(place.scratch(), &conf);
    let web_6 = format!("http://[{SERVER_6}]/");
    let kept = Kept::start(
        &place,
        &wrapper,
        &[
            "--network",
            "nat",
            "--lifecycle",
            "install,reboot",
            "--check-network",
            "http://service.example/",
            "--check-network",
            &web_6,
        ],
    );
    for host in ["service.example", SERVER_6] {
        kept.shell(&get(host, 80)).exits(0).stdout_has("here");
    }
}

#[test]
fn host_with_ipv4_only() {
    let place = Place::direct();
    let network = Net::new(Versions {
        v4: true,
        v6: false,
    });
    network.serve_web();
    network.serve_names(SERVER_4);
    let conf = format!("nameserver {SERVER_4}\n");
    let wrapper = network.wrapper(place.scratch(), &conf);
    let kept = Kept::start(&place, &wrapper, &["--network", "nat"]);
    kept.shell(&get("service.example", 80))
        .exits(0)
        .stdout_has("here");
}

#[test]
fn host_with_ipv6_only_and_a_stub_resolver() {
    let place = Place::direct();
    let network = Net::new(Versions {
        v4: false,
        v6: true,
    });
    network.serve_web();
    network.serve_names_on_host("::1");
    let wrapper = network.wrapper(place.scratch(), "nameserver ::1\n");
    let kept = Kept::start(&place, &wrapper, &["--network", "nat"]);
    kept.shell(&get("service.example", 80))
        .exits(0)
        .stdout_has("here");
}

#[test]
fn host_that_leads_nowhere() {
    let place = Place::direct();
    let network = Net::new(Versions {
        v4: false,
        v6: false,
    });
    let wrapper = network.wrapper(place.scratch(), "");
    let package = Deb::new("alone")
        .service(&deb::web_server(80, "204 No Content"))
        .build(place.scratch(), "alone.deb");
    let package = package.to_str().expect("UTF-8");
    place
        .pkgprobe(IMAGE, ["--package", package, "--check-unit", "alone"])
        .args(["--check-network", "http://localhost/"])
        .under(&wrapper)
        .run()
        .exits(0)
        .stderr_has("no default route");
}

/// A port that the host has, and that two containers have at once.
#[test]
fn one_port_for_everybody() {
    let place = Place::direct();
    let listener = TcpListener::bind("0.0.0.0:0").expect("bind");
    let port = listener.local_addr().expect("an address").port();
    net::serve_web(listener);
    let url = format!("http://localhost:{port}/");
    // What answers on the host's port does not answer for the container.
    place
        .pkgprobe(
            IMAGE,
            ["--check-network", &url, "--network-timeout", "500ms"],
        )
        .run()
        .exits(1)
        .stdout_has("refused");
    let runs = ["201 Created", "202 Accepted"].map(|status| {
        let name = format!("serves{}", &status[..3]);
        let package = Deb::new(&name)
            .service(&deb::web_server(port, status))
            .build(place.scratch(), &format!("{name}.deb"));
        let package = package.to_str().expect("UTF-8").to_owned();
        place
            .pkgprobe(IMAGE, ["--package", &package, "--check-unit", &name])
            .args(["--check-network", &url])
            .start()
    });
    for (run, status) in runs.into_iter().zip(["201", "202"]) {
        run.wait()
            .exits(0)
            .stdout_has(&format!("answers with status {status}"));
    }
}

/// What a container serves is not there on the host.
#[test]
fn nothing_leads_in() {
    let place = Place::direct();
    // Free on the host for as long as nobody is given it: the ephemeral range is elsewhere.
    let port = 1007;
    let package = Deb::new("hidden")
        .service(&deb::web_server(port, "200 OK"))
        .build(place.scratch(), "hidden.deb");
    let package = package.to_str().expect("UTF-8").to_owned();
    let url = format!("http://localhost:{port}/");
    let kept = Kept::start(
        &place,
        &[],
        &[
            "--package",
            &package,
            "--check-unit",
            "hidden",
            "--check-network",
            &url,
        ],
    );
    // pasta looks for ports to forward once a second if it is let.
    kept.shell(&format!("sleep 1.5; {}", get("localhost", port)))
        .exits(0)
        .stdout_has("200 OK");
    let refused = TcpStream::connect(("127.0.0.1", port)).expect_err("it leads in");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn host_without_pasta() {
    let place = Place::direct();
    let script = r#"mount --bind /dev/null "$(command -v pasta)" && exec "$@""#;
    let wrapper = ["unshare", "--mount", "sh", "-c", script, "sh"];
    let arguments = ["--check-unit", "systemd-journald"];
    place
        .pkgprobe(IMAGE, arguments)
        .under(wrapper)
        .run()
        .exits(0)
        .stderr_has("pasta is not installed: the container shares the host's network");
    place
        .pkgprobe(IMAGE, arguments)
        .args(["--network", "nat"])
        .under(wrapper)
        .run()
        .exits(3)
        .stderr_has("install passt");
    place
        .postroj(["doctor"])
        .under(wrapper)
        .run()
        .stdout_has("install passt");
    // It is not missed where it is not wanted.
    for network in ["host", "none"] {
        let outcome = place
            .pkgprobe(IMAGE, arguments)
            .args(["--network", network])
            .under(wrapper)
            .run()
            .exits(0);
        assert!(!outcome.stderr.contains("pasta"), "{outcome}");
    }
}

/// Without its network a container would be found at fault for what it is not.
fn pasta_killed(place: &Place) {
    let arguments = [
        "--check-network",
        "tcp://localhost:9",
        "--network-timeout",
        "2m",
    ];
    let run = place.pkgprobe(IMAGE, arguments).start();
    let machines = place.runtime();
    let namespace = || {
        // Only its own has been recorded: this test has the machine for itself.
        let mut there = std::fs::read_dir(&machines).ok()?.flatten();
        let machine = there.find(|machine| machine.path().join("record.json").exists())?;
        Some(format!(
            "/run/user/0/netns/{}.net",
            machine.file_name().display()
        ))
    };
    process::wait_until(|| namespace().is_some(), "--boot");
    place.kill(&namespace().expect("the machine is up"));
    let outcome = run.wait().exits(3).stderr_has("pasta");
    assert!(outcome.took.as_secs() < 100, "{outcome}");
}

pub(crate) fn pasta_killed_directly() {
    pasta_killed(&Place::direct_alone());
}

/// The same on a host with systemd, with what goes well there.
#[test]
fn network_on_a_host_with_systemd() {
    let place = Place::systemd(&[IMAGE]);
    let before = place.look();
    let run = place
        .pkgprobe(IMAGE, ["--network", "nat"])
        .args([
            "--check-network",
            "tcp://localhost:9",
            "--network-timeout",
            "1",
        ])
        .run()
        .exits(1);
    assert!(!run.stderr.contains("pasta"), "{run}");
    pasta_killed(&place);
    let left = place.look().since(&before);
    assert!(!left.iter().any(|line| line.contains("pass")), "{left:?}");
    let run = place
        .pkgprobe(IMAGE, ["--check-unit", "systemd-journald", "--keep"])
        .run()
        .exits(0);
    assert!(!run.stderr.contains("pasta"), "{run}");
    let host = place.nested().expect("a nested host");
    let cgroups = "for at in /proc/[0-9]*; do grep -q 'netns/[p]ostroj-debian-bookworm.net' $at/cmdline && cat $at/cgroup; done";
    host.run(&["sh", "-c", cgroups])
        .stdout_has("postroj-debian-bookworm.service");
    place
        .postroj(["stop", "postroj-debian-bookworm"])
        .run()
        .exits(0);
}

/// That this host cannot look a name up says nothing of the package.
#[test]
fn a_host_without_a_nameserver() {
    let place = Place::direct();
    let conf = place.scratch().join("resolv.conf");
    std::fs::write(
        &conf,
        "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
    )
    .expect("write");
    let conf = conf.display().to_string();
    let script = "mount --bind \"$0\" \"$(realpath /etc/resolv.conf)\" && exec \"$@\"";
    let words = ["unshare", "--mount", "sh", "-c", script, &conf];
    let url = "http://service.example/";
    let arguments = ["--network-timeout=2", "--check-network", url];
    let run = place.pkgprobe(IMAGE, arguments).under(words).run();
    run.exits(3)
        .stdout_has("no nameserver of this host says anything");
}
