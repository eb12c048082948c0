//! The documents of a run, each read by what reads it elsewhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::support::process::{self, Outcome};
use crate::support::{Deb, Place};

const IMAGE: &str = "debian-bookworm";

/// What a unit says, and would do in a document that took it for more than text.
const HOSTILE: &str = "<script>document.title='taken over'</script> ]]> # TODO `a`|b";

/// The documents that a test asks for, in a directory of its own.
struct Documents(PathBuf);

impl Documents {
    fn at(place: &Place, name: &str) -> Self {
        let directory = place.scratch().join(name);
        fs::create_dir(&directory).expect("create");
        Self(directory)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("the document")
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text("report.json")).expect("JSON")
    }

    /// All of them, as arguments.
    fn arguments(&self) -> Vec<String> {
        let names = [
            ("json", "report.json"),
            ("junit", "report.xml"),
            ("tap", "report.tap"),
            ("markdown", "report.md"),
        ];
        names
            .iter()
            .map(|(format, name)| format!("--report={format}={}", self.path(name).display()))
            .collect()
    }
}

/// Holds an XML document to both descriptions of `JUnit`'s.
#[track_caller]
fn assert_valid_junit(document: &Path) {
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/schema");
    for schema in ["junit-ant.xsd", "junit-jenkins.xsd"] {
        let schema = schemas.join(schema);
        process::tool(
            "xmllint",
            &[
                "--noout",
                "--schema",
                schema.to_str().expect("UTF-8"),
                document.to_str().expect("UTF-8"),
            ],
        );
    }
}

/// What an `XPath` expression gives on a document.
#[track_caller]
fn xpath(document: &Path, expression: &str) -> String {
    let document = document.to_str().expect("UTF-8");
    let outcome = process::tool("xmllint", &["--xpath", expression, document]);
    outcome.stdout.trim().to_owned()
}

/// What `prove` makes of a document.
#[track_caller]
fn prove(document: &Path) -> Outcome {
    let mut command = Command::new("prove");
    command.args(["--exec", "cat", "--failures", "--comments"]);
    command.arg(document);
    process::run(command)
}

/// A package whose unit dies with a hostile word on its lips.
fn bad(place: &Place) -> PathBuf {
    let said = HOSTILE.replace('\'', "\"");
    let unit = "[Service]\nExecStart=/bin/cat /usr/lib/systemd/system/web.said /nowhere\n";
    Deb::new("web")
        .unit("web.service", unit)
        .unit("web.said", &format!("{said}\n"))
        .build(place.scratch(), "bad.deb")
}

#[test]
fn of_a_good_and_a_bad_package() {
    let place = Place::direct();
    let good = Deb::new("web")
        .service("/bin/sleep infinity")
        .build(place.scratch(), "good.deb");
    let documents = Documents::at(&place, "good");
    let check = ["--check-unit", "web", "--package"];
    place
        .pkgprobe(IMAGE, check)
        .args([&good])
        .args(documents.arguments())
        .run()
        .exits(0)
        .stdout_has("passed");
    assert_valid_junit(&documents.path("report.xml"));
    assert_eq!(
        xpath(&documents.path("report.xml"), "count(//testcase)"),
        "3"
    );
    prove(&documents.path("report.tap"))
        .exits(0)
        .stdout_has("Tests=3");
    let markdown = documents.text("report.md");
    assert!(
        markdown.starts_with("## postroj: passed on 1 image\n"),
        "{markdown}"
    );
    let json = documents.json();
    assert_eq!(json["verdict"], "passed");
    assert_eq!(json["run"]["arguments"][0], "pkgprobe");
    assert_eq!(
        json["run"]["kernel"],
        fs::read_to_string("/proc/sys/kernel/osrelease")
            .expect("read")
            .trim()
    );

    let bad = bad(&place);
    let documents = Documents::at(&place, "bad");
    place
        .pkgprobe(IMAGE, check)
        .args([&bad])
        .args(documents.arguments())
        .run()
        .exits(1);
    let xml = documents.path("report.xml");
    assert_valid_junit(&xml);
    assert_eq!(xpath(&xml, "count(//failure)"), "1");
    assert_eq!(xpath(&xml, "count(//error)"), "0");
    assert!(
        xpath(&xml, "string(//failure)").contains("]]> # TODO `a`|b"),
        "{}",
        documents.text("report.xml")
    );
    let proved = prove(&documents.path("report.tap"))
        .exits(1)
        .stdout_has("Failed 1/3 subtests")
        .stdout_has("Failed test:  3");
    assert!(!proved.stdout.contains("Parse errors"), "{proved}");
    let markdown = documents.text("report.md");
    assert!(markdown.contains("❌"), "{markdown}");
    assert_eq!(documents.json()["verdict"], "failed");
}

#[test]
fn of_a_run_without_a_verdict() {
    let place = Place::direct();
    let documents = Documents::at(&place, "documents");
    place
        .pkgprobe(IMAGE, ["--boot-timeout", "10ms"])
        .args(documents.arguments())
        .run()
        .exits(3);
    let xml = documents.path("report.xml");
    assert_valid_junit(&xml);
    assert_eq!(xpath(&xml, "count(//error)"), "1");
    assert_eq!(xpath(&xml, "count(//failure)"), "0");
    prove(&documents.path("report.tap"))
        .exits(1)
        .stdout_has("Failed 1/1 subtests");
    assert!(documents.text("report.md").contains("no verdict"));
}

#[test]
fn of_a_run_that_is_interrupted() {
    let place = Place::direct();
    let documents = Documents::at(&place, "documents");
    let seconds = format!("{}777", std::process::id());
    let package = Deb::new("stays")
        .postinst(&format!("sleep {seconds}"))
        .build(place.scratch(), "stays.deb");
    let started = place
        .pkgprobe(IMAGE, ["--package"])
        .args([package])
        .args(documents.arguments())
        .start();
    process::wait_for_argument(&seconds);
    started.signal(Signal::INT);
    started.wait().exits(130);
    let json = documents.json();
    assert_eq!(json["verdict"], "error");
    assert_eq!(json["images"][0]["error"], "interrupted");
    assert_valid_junit(&documents.path("report.xml"));
    prove(&documents.path("report.tap"))
        .exits(1)
        .stdout_has("Failed 1/2 subtests");
}

/// Where documents go: the text gives way on standard output, a file is replaced, a step's summary is
/// added to; what cannot be written is found out before there is a container.
#[test]
fn where_they_are_written() {
    let place = Place::direct();
    let documents = Documents::at(&place, "documents");
    let summary = documents.path("summary");
    fs::write(&summary, "of the step before\n").expect("write");
    fs::write(documents.path("report.json"), "of the run before").expect("write");
    let outcome = place
        .pkgprobe(IMAGE, ["--report", "tap=-", "--report"])
        .args([format!("markdown={}", summary.display())])
        .args(["--report".to_owned()])
        .args([format!("json={}", documents.path("report.json").display())])
        .args(["--report", "junit=/dev/null"])
        .env("GITHUB_STEP_SUMMARY", &summary)
        .run()
        .exits(0);
    assert!(outcome.stdout.starts_with("TAP version 13\n"), "{outcome}");
    assert!(!outcome.stdout.contains('\x1b'), "{outcome}");
    assert!(
        documents
            .text("summary")
            .starts_with("of the step before\n## postroj"),
    );
    assert_eq!(documents.json()["verdict"], "passed");
    assert_eq!(fs::read_dir(&documents.0).expect("list").count(), 2);

    for (report, said) in [
        ("tap=/nowhere/report", "/nowhere/report cannot be written"),
        ("tap=/", "cannot be written"),
        ("tap", "names no file"),
        ("yaml=x", "choose json, junit, tap"),
    ] {
        place
            .postroj(["pkgprobe", "--image", IMAGE, "--report", report])
            .env("POSTROJ_STATE_DIR", documents.path("no-store"))
            .run()
            .exits(2)
            .stderr_has(said);
    }
    place
        .postroj(["pkgprobe", "--image", IMAGE, "--json", "--report", "tap=-"])
        .run()
        .exits(2)
        .stderr_has("cannot both be written to standard output");
    assert!(!documents.path("no-store").exists());
}
