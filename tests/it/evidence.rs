//! What a report shows of a run that failed.

use crate::support::{Deb, Place};

const IMAGE: &str = "debian-bookworm";

/// How often a text is in another.
fn times(text: &str, part: &str) -> usize {
    text.matches(part).count()
}

/// What one unit has said is shown with it, what has gone wrong elsewhere after it, each once; what had
/// gone wrong before the installation, and what is postroj's own, not at all.
#[test]
fn of_a_system_in_trouble() {
    let place = Place::direct();
    let unit = "[Service]\nExecStartPre=/bin/sh -c 'echo words before it'\n\
                ExecStart=/bin/sh -c 'echo \"<3>the words of an error\"; exit 3'\n";
    let other = "[Service]\nExecStart=/bin/sh -c 'echo words of the other; exit 4'\n\
                 SyslogIdentifier=other\n";
    let package = Deb::new("broken")
        .unit("broken.service", unit)
        .unit("other.service", other)
        .postinst(
            "systemctl daemon-reload; systemctl start --no-block other\n\
             logger --priority user.err words of nobody",
        )
        .build(place.scratch(), "broken.deb");
    let outcome = place
        .pkgprobe(IMAGE, ["--check-unit", "broken"])
        .args(["--check", "tcp:localhost:8097,timeout=100ms", "--package"])
        .args([package])
        .run()
        .exits(1);
    let said = &outcome.stdout;
    for title in [
        "  systemctl status broken.service:",
        "  what listens on TCP in the container:",
        "  units that have failed:\n    other.service: failed (failed), exit code 4",
        "  errors in the journal since the installation:",
    ] {
        assert_eq!(times(said, title), 1, "{title}: {outcome}");
    }
    for words in [
        "words before it\n",
        "the words of an error\n",
        "words of the other\n",
        "words of nobody\n",
    ] {
        // A command line shows some of them as well.
        let lines = said.lines().filter(|line| line.contains("postroj-debian"));
        let lines: Vec<&str> = lines.collect();
        assert_eq!(
            times(&(lines.join("\n") + "\n"), words),
            1,
            "{words}: {outcome}"
        );
    }
    assert!(said.contains("status=3/"), "{outcome}");
    assert_eq!(times(said, "postroj-run-"), 0, "{outcome}");
    // A system without trouble shows none.
    let outcome = place
        .pkgprobe(IMAGE, ["--check", "file:/nowhere"])
        .run()
        .exits(1);
    assert_eq!(times(&outcome.stdout, ":\n    "), 0, "{outcome}");
}

/// Why a service did not start is what one asks when a package does not install.
#[test]
fn of_an_installation_that_fails() {
    let place = Place::direct();
    let package = Deb::new("broken")
        .service("/bin/sh -c 'echo the last words; exit 3'")
        .postinst("systemctl daemon-reload; systemctl start broken; sleep 0.2; systemctl is-active broken")
        .build(place.scratch(), "broken.deb");
    let outcome = place
        .pkgprobe(IMAGE, ["--json", "--package"])
        .args([package])
        .run()
        .exits(1);
    let report: serde_json::Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    let evidence = report["images"][0]["evidence"]
        .as_array()
        .expect("evidence");
    let units = evidence
        .iter()
        .find(|piece| piece["title"] == "units that have failed")
        .unwrap_or_else(|| panic!("{report:#}"));
    assert_eq!(units["phase"], "install");
    let text = units["text"].as_str().expect("a text");
    assert!(
        text.starts_with("broken.service: failed (failed), exit code 3\n"),
        "{text}"
    );
    assert!(text.contains("the last words"), "{text}");
}

/// The journal is a step behind a process that has gone at once, and says of what it wrote only who it was.
#[test]
fn last_words_of_processes_that_are_gone_at_once() {
    let place = Place::direct();
    let units: Vec<String> = (0..10).map(|number| format!("quick{number}")).collect();
    let mut package = Deb::new("quick");
    for unit in &units {
        let text = format!("[Service]\nExecStart=/bin/sh -c 'echo last words of {unit}; exit 3'\n");
        package = package.unit(&format!("{unit}.service"), &text);
    }
    let package = package.build(place.scratch(), "quick.deb");
    let mut run = place.pkgprobe(IMAGE, ["--package"]).args([package]);
    for unit in &units {
        run = run.args(["--check-unit", unit]);
    }
    let outcome = run.run().exits(1);
    for unit in &units {
        let lines = outcome.stdout.lines();
        let said = lines.filter(|line| line.ends_with(&format!("]: last words of {unit}")));
        assert_eq!(said.count(), 1, "{unit}: {outcome}");
    }
}

#[test]
fn of_what_listens_on_udp() {
    let place = Place::direct();
    let serve = "/usr/bin/perl -e 'use IO::Socket; my @s = map { IO::Socket::INET->new(LocalPort => 5355, @$$_) or die } [Listen => 1], [Proto => \"udp\"]; sleep 1000'";
    let package = Deb::new("names")
        .service(serve)
        .build(place.scratch(), "names.deb");
    let package = format!("--package={}", package.display());
    let artifacts = place.scratch().join("artifacts");
    let into = format!("--artifacts={}", artifacts.display());
    let checks = [
        "--check=port:udp/5355",
        "--check=port:udp/53",
        "--check-unit=names",
        "--check-timeout=2",
    ];
    let arguments = [&package, &into].map(String::as_str).into_iter();
    let arguments: Vec<&str> = arguments.chain(checks).collect();
    let outcome = place.pkgprobe("debian-bookworm", arguments).run().exits(1);
    let shown =
        "what listens in the container:\n    0.0.0.0:5355 perl\n    udp 0.0.0.0:5355 perl\n";
    assert!(outcome.stdout.contains(shown), "{outcome}");
    let file = artifacts.join("debian-bookworm/listening.txt");
    let file = std::fs::read_to_string(file).expect("a file");
    assert_eq!(file, "0.0.0.0:5355 perl\nudp 0.0.0.0:5355 perl\n");
}
