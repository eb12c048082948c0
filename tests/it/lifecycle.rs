//! What becomes of packages after their installation.

mod upgrading;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::support::process::{Outcome, tool};
use crate::support::{Place, process};

const IMAGE: &str = "debian-bookworm";

/// A package with files and maintainer scripts, each a path or a name and its text.
struct Package<'a> {
    name: &'a str,
    version: &'a str,
    files: &'a [(&'a str, &'a str)],
    scripts: &'a [(&'a str, &'a str)],
}

impl Package<'_> {
    /// Builds it in the place's own directory; files in `/etc` are its configuration.
    fn build(&self, place: &Place) -> String {
        let tree = tempfile::tempdir_in(place.scratch()).expect("a temporary directory");
        let put = |path: &str, text: &str, mode: u32| {
            let path = tree.path().join(path.trim_start_matches('/'));
            fs::create_dir_all(path.parent().expect("a parent")).expect("create a directory");
            fs::write(&path, text).expect("write a file of the package");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set its mode");
        };
        fs::set_permissions(tree.path(), fs::Permissions::from_mode(0o755)).expect("set its mode");
        let control = format!(
            "Package: {}\nVersion: {}\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\nDescription: a test\n",
            self.name, self.version
        );
        put("DEBIAN/control", &control, 0o644);
        for (name, text) in self.scripts {
            let text = format!("#!/bin/sh\nset -e\n{text}\n");
            put(&format!("DEBIAN/{name}"), &text, 0o755);
        }
        let mut configuration = String::new();
        for (path, text) in self.files {
            put(path, text, 0o644);
            if path.starts_with("/etc/") {
                configuration.push_str(path);
                configuration.push('\n');
            }
        }
        put("DEBIAN/conffiles", &configuration, 0o644);
        let file = format!("{}_{}.deb", self.name, self.version);
        let package = place.scratch().join(file);
        let words: [&Path; 2] = [tree.path(), &package];
        let [tree, target] = words.map(|path| path.to_str().expect("UTF-8"));
        tool(
            "dpkg-deb",
            &["--build", "--root-owner-group", "-Zgzip", tree, target],
        );
        target.to_owned()
    }
}

/// A service as Debian packages have it: enabled and started by the package, stopped before it goes.
const STARTED: [(&str, &str); 3] = [
    (
        "postinst",
        "systemctl daemon-reload; systemctl enable --quiet tick; systemctl restart tick",
    ),
    ("prerm", "systemctl stop tick"),
    (
        "postrm",
        "if [ \"$1\" = purge ]; then rm -f /etc/systemd/system/multi-user.target.wants/tick.service; fi; systemctl daemon-reload",
    ),
];

const SLEEPER: &str =
    "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n";

fn tick(version: &'static str) -> Package<'static> {
    Package {
        name: "tick",
        version,
        files: &[
            ("/usr/lib/systemd/system/tick.service", SLEEPER),
            ("/etc/tick.conf", "interval=1\n"),
        ],
        scripts: &STARTED,
    }
}

fn run(place: &Place, image: &str, package: &str, arguments: &[&str]) -> Outcome {
    place
        .pkgprobe(image, ["--package", package, "--check-unit", "tick"])
        .args(arguments)
        .run()
}

/// The lines of the report, each the phase or the check and whether it is good.
fn lines(outcome: &Outcome) -> Vec<String> {
    let lines = outcome.stdout.lines().skip(1);
    let lines = lines.take_while(|line| !line.trim().is_empty());
    lines
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().take(2).collect();
            words.join(" ")
        })
        .collect()
}

fn whole_life(place: &Place) {
    let old = tick("1.0").build(place);
    let new = tick("2.0").build(place);
    let edit = "echo mine=1 >> /etc/tick.conf";
    let outcome = run(
        place,
        IMAGE,
        &new,
        &[
            "--lifecycle=install,reboot,upgrade,remove,purge",
            "--upgrade-from",
            &old,
            "--before-upgrade",
            edit,
            "--strict-purge",
        ],
    )
    .exits(0)
    .stdout_has("started by the boot")
    .stdout_has("/etc/tick.conf  the change is kept")
    .stdout_has("nothing is left behind");
    let gone = ["ok unit", "ok units", "ok process", "ok listener"];
    let mut expected = vec!["ok install", "ok unit", "ok reboot", "ok unit"];
    expected.extend(["ok upgrade", "ok unit", "ok config", "ok remove"]);
    expected.extend(gone);
    expected.push("ok purge");
    expected.extend(gone);
    expected.push("ok leftovers");
    assert_eq!(lines(&outcome), expected, "{outcome}");
}

#[test]
fn a_whole_life_directly() {
    whole_life(&Place::direct());
}

#[test]
fn a_whole_life_on_a_host_with_systemd() {
    whole_life(&Place::systemd(&[IMAGE]));
}

#[test]
fn a_life_on_every_release() {
    let place = Place::direct();
    let package = tick("1.0").build(&place);
    for image in ["debian-bullseye", "debian-trixie", "debian-sid"] {
        run(
            &place,
            image,
            &package,
            &["--lifecycle=install,reboot,purge", "--strict-purge"],
        )
        .exits(0)
        .stdout_has("started by the boot")
        .stdout_has("nothing is left behind");
    }
}

/// What was made once, by the installation, is not there after a reboot.
#[test]
fn a_unit_that_does_not_survive_a_reboot() {
    let place = Place::direct();
    let unit = "[Service]\nExecStart=/bin/sh -c 'test -d /run/tick && exec sleep infinity'\n[Install]\nWantedBy=multi-user.target\n";
    let mut scripts = STARTED;
    let postinst = format!("mkdir -p /run/tick; {}", STARTED[0].1);
    scripts[0].1 = &postinst;
    let package = Package {
        files: &[("/usr/lib/systemd/system/tick.service", unit)],
        scripts: &scripts,
        ..tick("1.0")
    }
    .build(&place);
    let outcome = run(
        &place,
        IMAGE,
        &package,
        &["--lifecycle=install,reboot,remove"],
    )
    .exits(1);
    let expected = ["ok install", "ok unit", "ok reboot", "FAILED unit"];
    assert_eq!(lines(&outcome), expected, "{outcome}");
}

/// The package starts its service, and has nobody start it again.
#[test]
fn a_unit_that_is_not_enabled() {
    let place = Place::direct();
    let mut scripts = STARTED;
    scripts[0].1 = "systemctl daemon-reload; systemctl start tick";
    let package = Package {
        scripts: &scripts,
        ..tick("1.0")
    }
    .build(&place);
    run(&place, IMAGE, &package, &["--lifecycle=reboot"])
        .exits(1)
        .stdout_has("inactive (dead), disabled: nothing has started it");
    // One that postroj has enabled comes up.
    scripts[0].1 = "systemctl daemon-reload";
    let package = Package {
        scripts: &scripts,
        ..tick("1.1")
    }
    .build(&place);
    run(&place, IMAGE, &package, &["--lifecycle=reboot"])
        .exits(0)
        .stdout_has("started by postroj")
        .stdout_has("started by the boot");
}

/// The image reboots without the package, so it is the package's fault.
#[test]
fn a_package_with_which_the_system_does_not_come_back() {
    let place = Place::direct();
    let off = "[Service]\nType=oneshot\nExecStart=/bin/systemctl poweroff --force\n[Install]\nWantedBy=multi-user.target\n";
    let mut scripts = STARTED;
    let postinst = format!("{}; systemctl enable --quiet off", STARTED[0].1);
    scripts[0].1 = &postinst;
    let package = Package {
        files: &[
            ("/usr/lib/systemd/system/tick.service", SLEEPER),
            ("/usr/lib/systemd/system/off.service", off),
        ],
        scripts: &scripts,
        ..tick("1.0")
    }
    .build(&place);
    let outcome = run(&place, IMAGE, &package, &["--lifecycle=reboot"])
        .exits(1)
        .stdout_has("ended by itself")
        .stderr_has("reboot without the packages: done");
    let expected = ["ok install", "ok unit", "FAILED reboot"];
    assert_eq!(lines(&outcome), expected, "{outcome}");
}

#[test]
fn what_a_purge_leaves_behind() {
    let place = Place::direct();
    let mut scripts = STARTED;
    let postinst = format!(
        "useradd --system tick; mkdir -p /var/lib/tick; echo 1 > /var/lib/tick/data; ln -s /dev/null /etc/systemd/system/tock.service; {}",
        STARTED[0].1
    );
    scripts[0].1 = &postinst;
    let package = Package {
        scripts: &scripts,
        ..tick("1.0")
    }
    .build(&place);
    let life = "--lifecycle=install,remove,purge";
    let outcome = run(&place, IMAGE, &package, &[life, "--json"]).exits(0);
    let report: serde_json::Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    let expected = serde_json::json!({
        "files": ["/var/lib/tick", "/var/lib/tick/data"],
        "users": ["tick"],
        "groups": ["tick"],
        "units": ["/etc/systemd/system/tock.service"],
    });
    assert_eq!(report["images"][0]["leftovers"], expected);
    run(&place, IMAGE, &package, &[life, "--strict-purge"])
        .exits(1)
        .stdout_has("left behind: 2 files, 1 user, 1 group, 1 unit")
        .stdout_has("/var/lib/tick/data");
}

#[test]
fn a_removal_that_fails() {
    let place = Place::direct();
    let mut scripts = STARTED;
    scripts[1].1 = "echo I stay; exit 7";
    let package = Package {
        scripts: &scripts,
        ..tick("1.0")
    }
    .build(&place);
    let outcome = run(&place, IMAGE, &package, &["--lifecycle=remove,purge"])
        .exits(1)
        .stdout_has("apt-get did not remove the packages")
        .stdout_has("I stay");
    let expected = ["ok install", "ok unit", "FAILED remove"];
    assert_eq!(lines(&outcome), expected, "{outcome}");
}

/// Nobody stops the service, and a daemon has left it.
#[test]
fn what_runs_on_after_its_removal() {
    let place = Place::direct();
    let mut scripts = STARTED;
    scripts[1].1 = ":";
    let package = Package {
        scripts: &scripts,
        ..tick("1.0")
    }
    .build(&place);
    run(&place, IMAGE, &package, &["--lifecycle=remove"])
        .exits(1)
        .stdout_has("it is still active (running)")
        .stdout_has("sleep of tick.service still runs");
    // A child that outlives its service, with a port.
    let listen = "use IO::Socket::INET; $s = IO::Socket::INET->new(LocalPort => 7007, Listen => 1) or die; sleep 3600";
    let unit = "[Service]\nExecStart=/bin/sh -c 'setsid perl /usr/lib/tick & exec sleep infinity'\nKillMode=process\n[Install]\nWantedBy=multi-user.target\n";
    let package = Package {
        files: &[
            ("/usr/lib/systemd/system/tick.service", unit),
            ("/usr/lib/tick", listen),
        ],
        ..tick("1.1")
    }
    .build(&place);
    let port = ["--check-network", "tcp://localhost:7007"];
    run(
        &place,
        IMAGE,
        &package,
        &["--lifecycle=remove", port[0], port[1]],
    )
    .exits(1)
    .stdout_has("perl of tick.service still runs")
    .stdout_has("0.0.0.0:7007 perl still listens");
}

/// A daemon with a port, a user and a configuration that stays until a purge.
fn listening_tick(place: &Place) -> String {
    let listen = "use IO::Socket::INET; $s = IO::Socket::INET->new(LocalPort => 7008, Listen => 1) or die; sleep 3600";
    let unit =
        "[Service]\nExecStart=/usr/bin/perl /usr/lib/tick\n[Install]\nWantedBy=multi-user.target\n";
    let postinst = format!(
        "id tick >/dev/null 2>&1 || useradd --system tick; {}",
        STARTED[0].1
    );
    let postrm = format!(
        "{}; if [ \"$1\" = purge ]; then userdel tick; fi",
        STARTED[2].1
    );
    Package {
        files: &[
            ("/usr/lib/systemd/system/tick.service", unit),
            ("/usr/lib/tick", listen),
            ("/etc/tick.conf", "interval=1\n"),
        ],
        scripts: &[("postinst", &postinst), STARTED[1], ("postrm", &postrm)],
        ..tick("1.0")
    }
    .build(place)
}

/// Phase, kind and target of the checks that were asked for, each with whether it holds.
fn asked(outcome: &Outcome) -> Vec<String> {
    let report: serde_json::Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    let checks = report["images"][0]["checks"].as_array().expect("a list");
    let mine = checks.iter().filter(|check| check["title"] == "mine");
    mine.map(|check| {
        let word = |key: &str| check[key].as_str().unwrap_or_default().to_owned();
        let held = if check["passed"] == true {
            "ok"
        } else {
            "FAILED"
        };
        format!(
            "{} {} {}: {held}",
            word("phase"),
            word("kind"),
            word("target")
        )
    })
    .collect()
}

#[test]
fn checks_after_the_phases_that_they_name() {
    let place = Place::direct();
    let package = listening_tick(&place);
    let life = "--lifecycle=install,reboot,remove,purge";
    let checks = [
        "unit:tick,exists=false,after=remove",
        "unit:systemd-journald,after=remove",
        "port:7008",
        "port:7008,listening=false,after=remove",
        "file:/etc/tick.conf,after=remove",
        "file:/etc/tick.conf,exists=false,after=purge",
        "process:perl,running=false,after=remove",
        "user:tick,after=install,after=remove",
        "user:tick,exists=false,after=purge",
        "package:tick,installed=false,after=remove,after=purge",
    ];
    let checks = checks.map(|check| format!("--check={check},title=mine"));
    let mut arguments: Vec<&str> = vec![life, "--json"];
    arguments.extend(checks.iter().map(String::as_str));
    let outcome = run(&place, IMAGE, &package, &arguments).exits(0);
    assert_eq!(
        asked(&outcome),
        [
            "install port tcp/7008: ok",
            "install user tick: ok",
            "reboot port tcp/7008: ok",
            "remove unit tick.service: ok",
            "remove unit systemd-journald.service: ok",
            "remove port tcp/7008: ok",
            "remove file /etc/tick.conf: ok",
            "remove process perl: ok",
            "remove user tick: ok",
            "remove package tick: ok",
            "purge file /etc/tick.conf: ok",
            "purge user tick: ok",
            "purge package tick: ok",
        ],
        "{outcome}"
    );
}

/// What does not hold ends the life there, as after any phase.
#[test]
fn a_check_after_a_removal_that_fails() {
    let place = Place::direct();
    let package = listening_tick(&place);
    let probe = place.scratch().join("probe.toml");
    let text = "[[file]]\ntitle = 'mine'\npath = '/etc/tick.conf'\nexists = false\n\
        timeout = '300ms'\nafter = ['remove']\n\n\
        [[user]]\ntitle = 'mine'\nname = 'tick'\nexists = false\nafter = 'purge'\n";
    std::fs::write(&probe, text).expect("write");
    let probe = format!("--probe={}", probe.display());
    let arguments = ["--lifecycle=install,remove,purge", "--json", &probe];
    let outcome = run(&place, IMAGE, &package, &arguments)
        .exits(1)
        .stdout_has("it is there, a file");
    assert_eq!(asked(&outcome), ["remove file /etc/tick.conf: FAILED"]);
    // A run without these phases has other things to do, and says so.
    run(&place, IMAGE, &package, &["--json", &probe])
        .exits(0)
        .stderr_has("check file /etc/tick.conf: it is made after remove, which --lifecycle does not have: it is left out")
        .stderr_has("check user tick: it is made after purge");
    // Whoever types it for such a run is mistaken.
    let typed = "--check=file:/x,exists=false,after=reboot,after=purge";
    run(&place, IMAGE, &package, &["--lifecycle=remove", typed])
        .exits(2)
        .stderr_has(
            "check file /x: it is made after reboot and purge, which --lifecycle does not have",
        );
}

/// A service that takes its time to stop holds the reboot up: that is when postroj goes.
fn ended_while_rebooting(place: &Place, signal: Signal, code: i32) {
    // The first container makes what the host keeps for all of them.
    let checked = ["--check-unit", "systemd-journald"];
    place.pkgprobe(IMAGE, checked).run().exits(0);
    let before = place.look();
    let seconds = format!("{}707", std::process::id());
    let unit = format!(
        "[Service]\nExecStart=/bin/sleep infinity\nExecStop=/bin/sleep {seconds}\nTimeoutStopSec=infinity\n[Install]\nWantedBy=multi-user.target\n"
    );
    let package = Package {
        files: &[("/usr/lib/systemd/system/tick.service", &unit)],
        ..tick("1.0")
    }
    .build(place);
    let words = ["--package", &package, "--check-unit", "tick"];
    let started = place
        .pkgprobe(IMAGE, words)
        .args(["--lifecycle=reboot"])
        .start();
    process::wait_for_argument(&seconds);
    started.signal(signal);
    started.wait().exits(code);
    process::wait_until(|| place.look().since(&before).is_empty(), "nothing is left");
}

pub(crate) fn an_end_while_rebooting() {
    let place = Place::direct_alone();
    ended_while_rebooting(&place, Signal::KILL, 137);
    ended_while_rebooting(&place, Signal::TERM, 143);
}

#[test]
fn an_end_while_rebooting_on_a_host_with_systemd() {
    ended_while_rebooting(&Place::systemd(&[IMAGE]), Signal::KILL, 137);
}

#[test]
fn what_makes_no_life_is_refused() {
    let place = Place::direct();
    let package: PathBuf = tick("1.0").build(&place).into();
    let package = package.to_str().expect("UTF-8");
    let refused: [(&[&str], &str); 7] = [
        (&["--lifecycle=upgrade"], "an upgrade needs --upgrade-from"),
        (
            &["--lifecycle=remove", "--upgrade-from=1"],
            "--upgrade-from is for an upgrade",
        ),
        (
            &["--before-upgrade=true"],
            "--before-upgrade is for an upgrade",
        ),
        (&["--strict-purge"], "--strict-purge is for a purge"),
        (&["--lifecycle=nap"], "nap"),
        (
            &["--upgrade-from=1", "--upgrade-from=2"],
            "a version goes for all packages",
        ),
        (&["--upgrade-from=./none.deb"], "none.deb"),
    ];
    for (arguments, says) in refused {
        let words = ["pkgprobe", "--image", IMAGE, "--package", package];
        place
            .postroj(words)
            .args(arguments)
            .run()
            .exits(2)
            .stderr_has(says);
    }
    let words = ["pkgprobe", "--image", IMAGE, "--lifecycle=purge"];
    place
        .postroj(words)
        .run()
        .exits(2)
        .stderr_has("--lifecycle purge needs a --package");
}
