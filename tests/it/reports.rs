//! The documents of a run, each read by what reads it elsewhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::support::process::{self, Outcome};
use crate::support::{Deb, Place, image};

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
            ("html", "report.html"),
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

/// The document that a browser makes of a page, once its scripts have run; `fragment` is what follows
/// `#` in the address.
#[track_caller]
fn browse(page: &Path, fragment: &str) -> String {
    let profile = page.with_extension("profile");
    let mut command = Command::new("chromium");
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu"])
        // For a page that looks at another one.
        .arg("--allow-file-access-from-files")
        // So that timers have run, without waiting for them.
        .args(["--virtual-time-budget=5000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("file://{}#{fragment}", page.display()));
    let outcome = process::run(command).exits(0);
    assert!(outcome.stdout.contains("</html>"), "{outcome}");
    outcome.stdout
}

/// The page shown as wide as a telephone is: how much it is wider than that, and whether a tap on the
/// link to `id` opens what it leads to.
#[track_caller]
fn browse_on_a_phone(page: &Path, id: &str) -> String {
    let source = page
        .file_name()
        .and_then(|name| name.to_str())
        .expect("UTF-8");
    let wrapper = format!(
        r#"<!DOCTYPE html><html><body><iframe id="phone" width="360" height="740" frameborder="0"></iframe><script>
        const phone = document.getElementById("phone");
        phone.onload = () => {{
            const page = phone.contentDocument, told = document.body.dataset;
            const target = page.getElementById("{id}");
            told.excess = Math.max(0, page.scrollingElement.scrollWidth - 360);
            told.before = target.open;
            page.querySelector('a[href="@{id}"]').click();
            setTimeout(() => {{ told.after = target.open; told.seen = target.checkVisibility(); }}, 500);
        }};
        phone.src = "{source}";
        </script></body></html>"#
    )
    .replace("\"@i", "\"#i");
    let path = page.with_file_name("phone.html");
    fs::write(&path, wrapper).expect("write");
    let page = browse(&path, "");
    let start = page.find("<body").expect("a body");
    let end = page[start..].find('>').expect("a tag");
    page[start..start + end].to_owned()
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
    assert_page_works(&documents.path("report.html"));
    assert_eq!(documents.json()["verdict"], "failed");
}

/// One run, two images, every form of report and the artifacts: a good package whose purge leaves a file
/// behind on one image, a bad one on the other.
#[test]
fn of_two_images_in_every_form() {
    const OTHER: &str = "debian-trixie";
    let place = Place::direct();
    image::pulled(OTHER);
    let bad = bad(&place);
    let good = Deb::new("web")
        .service("/bin/sleep infinity")
        .autostart("web.service")
        .postinst("echo of the postinst >/etc/left")
        .build(place.scratch(), "good.deb");
    let documents = Documents::at(&place, "documents");
    let artifacts = documents.path("artifacts");
    place
        .pkgprobe(IMAGE, ["--image", OTHER, "--jobs", "2"])
        .args(["--check-unit", "web", "--lifecycle", "install,purge"])
        .args([format!("--package=image={IMAGE},{}", good.display())])
        .args([format!("--package=image={OTHER},{}", bad.display())])
        .args([format!("--artifacts={}", artifacts.display())])
        .args(documents.arguments())
        .run()
        .exits(1)
        .stdout_has("left   file     /etc/left");

    let json = documents.json();
    let images = json["images"].as_array().expect("images");
    let told: Vec<(&str, &str)> = images
        .iter()
        .filter_map(|image| Some((image["image"].as_str()?, image["verdict"].as_str()?)))
        .collect();
    assert_eq!(told, [(IMAGE, "passed"), (OTHER, "failed")]);
    assert_eq!(images[0]["leftovers"]["files"][0], "/etc/left");
    let titles = images[1]["evidence"].as_array().expect("evidence");
    assert_eq!(titles[0]["title"], "systemctl status web.service");

    let xml = documents.path("report.xml");
    assert_valid_junit(&xml);
    assert_eq!(xpath(&xml, "count(//testsuite)"), "2");
    assert_eq!(xpath(&xml, "count(//failure)"), "1");
    assert_eq!(xpath(&xml, "count(//error)"), "0");
    let proved = prove(&documents.path("report.tap"))
        .exits(1)
        .stdout_has("Failed 1/");
    assert!(!proved.stdout.contains("Parse errors"), "{proved}");
    let markdown = documents.text("report.md");
    assert!(
        markdown.starts_with("## postroj: failed on 1 of 2 images\n"),
        "{markdown}"
    );

    let page = browse(&documents.path("report.html"), "");
    assert_eq!(page.matches(r##"<a class="bad" href="#i1c"##).count(), 1);
    assert_eq!(page.matches(r#"<a class="bad""#).count(), 1, "{page}");
    assert_eq!(page.matches(r#"<rect class="install""#).count(), 2);
    let left = "<h3>what the packages have left behind</h3>\n<pre>file /etc/left</pre>";
    assert!(page.contains(left), "{page}");
    let phone = browse_on_a_phone(&documents.path("report.html"), "i0c0");
    assert!(phone.contains(r#"data-excess="0""#), "{phone}");

    for image in [IMAGE, OTHER] {
        let journal = fs::read_to_string(artifacts.join(image).join("journal.txt"));
        let journal = journal.expect("the journal");
        assert!(
            journal.contains(&format!("postroj-{image}")),
            "{journal:.500}"
        );
    }
    let status = artifacts.join(OTHER).join("units/web.service.status.txt");
    let status = fs::read_to_string(status).expect("the status");
    assert!(status.contains("document.title"), "{status}");
}

/// Looks at the page of a run with one image, whose boot and installation went well and whose unit
/// did not come up.
#[track_caller]
fn assert_page_works(page: &Path) {
    let seen = browse(page, "i0c1");
    assert!(
        seen.contains("<title>postroj: failed on 1 of 1 image</title>"),
        "{seen}"
    );
    let cell = r##"<a class="bad" href="#i0c2""##;
    assert_eq!(seen.matches(cell).count(), 1, "{seen}");
    // What failed is open by itself; what went well is when its address says so.
    for (id, is_open) in [("i0c0", false), ("i0c1", true), ("i0c2", true)] {
        let open = format!(r#"id="{id}" open"#);
        assert_eq!(seen.contains(&open), is_open, "{id}: {seen}");
    }
    assert!(seen.contains("&lt;script&gt;document.title"), "{seen}");
    for class in ["boot", "install", "checks"] {
        let bar = format!(r#"<rect class="{class}""#);
        assert_eq!(seen.matches(&bar).count(), 1, "{seen}");
    }
    // Even a script that had got into the page would not run.
    let text = fs::read_to_string(page).expect("the page");
    let taken = text.replace(
        "</main>",
        "<script>document.title='taken over'</script></main>",
    );
    assert_ne!(taken, text);
    let path = page.with_file_name("taken.html");
    fs::write(&path, taken).expect("write");
    assert!(!browse(&path, "").contains("<title>taken over"));
    let phone = browse_on_a_phone(page, "i0c0");
    for told in [
        r#"data-excess="0""#,
        r#"data-before="false""#,
        r#"data-after="true""#,
        r#"data-seen="true""#,
    ] {
        assert!(phone.contains(told), "{phone}");
    }
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
    assert_eq!(
        json["images"][0]["error"],
        "cut short: the run was interrupted"
    );
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

#[test]
fn times_of_each_step() {
    let place = Place::direct();
    let outcome = place
        .pkgprobe(IMAGE, ["--check-unit", "systemd-journald", "--json"])
        .run()
        .exits(0);
    let report: serde_json::Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    let timings = &report["images"][0]["timings"];
    let seconds = |value: &serde_json::Value| value.as_f64().expect("seconds");
    let steps = [
        (
            "boot",
            &["prepare", "nspawn", "guest", "connect", "bus"][..],
        ),
        ("teardown", &["kill", "die", "exit", "release", "clean"][..]),
    ];
    for (whole, parts) in steps {
        let of = &timings[format!("{whole}_steps")];
        let sum: f64 = parts.iter().map(|part| seconds(&of[*part])).sum();
        // The whole is rounded to milliseconds, and some of it is said and done around the parts.
        let rest = seconds(&timings[whole]) - sum;
        assert!((-0.002..0.1).contains(&rest), "{whole}: {timings:#}");
    }
    for part in ["prepare", "nspawn", "guest"] {
        assert!(
            seconds(&timings["boot_steps"][part]) > 0.0,
            "{part}: {timings:#}"
        );
    }
    assert!(seconds(&timings["teardown_steps"]["die"]) > 0.0);
}
