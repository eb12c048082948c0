//! Reports of runs, as they are written in each format.

use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::pkgprobe::Phase;
use crate::probe::Outcome;

mod hostile;

/// What breaks out of one format or the other.
const HOSTILE: &str = "<script>alert(1)</script> ]]> --> \"' & \u{0}\u{8}\u{b}\u{1b}[31m\u{fffe}\u{202e} \
    # TODO | `` ``` ````\n...\n---\nnot ok 1\n1..0 # SKIP\n~~~\n</details></pre></textarea>\nBail out!\n\
    \\# \\ @user www.example.org https://example.org ![x](y) &lt; %s {{x}}\n\t tab\r\n  indented";

fn invocation() -> Invocation {
    let arguments = ["pkgprobe", "--image", "debian-*", "-p", "https://u:p@h/x"];
    Invocation {
        version: "1.2.3",
        host: "host".to_owned(),
        kernel: "6.1.0".to_owned(),
        ..Invocation::new(arguments.map(Into::into), UNIX_EPOCH)
    }
}

fn check(kind: &'static str, target: &str, passed: bool, observation: &str) -> CheckReport {
    CheckReport {
        phase: Phase::Install,
        kind,
        target: target.to_owned(),
        title: None,
        expected: None,
        outcome: Outcome {
            passed,
            observation: observation.to_owned(),
        },
        error: None,
        started_by: None,
        seconds: Duration::from_millis(1500),
    }
}

/// An image on which all is well.
fn good(image: &str) -> ImageReport {
    ImageReport {
        image: image.to_owned(),
        verdict: Verdict::Passed,
        machine: Some("postroj-x".to_owned()),
        systemd: Some("252.39-1~deb12u1".to_owned()),
        kept: false,
        packages: vec!["./web_1.0_all.deb".to_owned()],
        phases: vec![PhaseReport {
            phase: Phase::Install,
            packages: vec!["./web_1.0_all.deb".to_owned()],
            passed: true,
            manager: Some("apt-get".to_owned()),
            error: None,
            output: "Unpacking web\nSetting up web\n".to_owned(),
            seconds: Duration::from_millis(3200),
        }],
        checks: vec![
            check("unit", "web.service", true, "active (running)"),
            check("network", "tcp://localhost:80", true, "127.0.0.1:80"),
        ],
        leftovers: None,
        error: None,
        is_usage: false,
        hint: None,
        evidence: Vec::new(),
        timings: Timings {
            pull: Duration::from_millis(20),
            compose: Duration::from_millis(10),
            boot: Duration::from_millis(400),
            boot_steps: None,
            install: Duration::from_millis(3200),
            checks: Duration::from_millis(1500),
            teardown: Duration::from_millis(80),
            teardown_steps: None,
            total: Duration::from_millis(5200),
        },
    }
}

/// An image on which a check fails, with evidence for it.
fn failed(image: &str, text: &str) -> ImageReport {
    let mut report = good(image);
    report.verdict = Verdict::Failed;
    report.checks[0] = check("unit", "web.service", false, text);
    report.evidence = vec![
        Evidence::new(format!("systemctl status {text}"), text).about_checks(vec![0]),
        Evidence::new("what listens", "127.0.0.1:22 sshd"),
    ];
    report
}

/// An image that did not boot.
fn broken(image: &str, text: &str) -> ImageReport {
    let mut report = good(image);
    report.verdict = Verdict::Error;
    report.machine = None;
    report.systemd = None;
    report.phases.clear();
    report.checks.clear();
    report.error = Some(text.to_owned());
    report.hint = Some("postroj doctor".to_owned());
    report.evidence = vec![Evidence::new("the last of the container's console", text)];
    report
}

fn run(images: Vec<ImageReport>) -> RunReport {
    RunReport::new(invocation(), images, Duration::from_secs(9))
}

/// Three images, one of each verdict, with a text wherever a container can put one.
fn hostile(text: &str) -> RunReport {
    let mut report = run(vec![
        good("debian-bookworm"),
        failed("debian-trixie", text),
        broken(text, text),
    ]);
    report.images[1].packages = vec![text.to_owned()];
    report.images[1].phases[0].packages = vec![text.to_owned()];
    report.images[1].phases[0].output = text.to_owned();
    report.images[1].checks[1].target = text.to_owned();
    report
}

#[test]
fn cases_have_the_verdict_of_their_image() {
    let verdicts = |image: &ImageReport| -> Vec<(String, Verdict)> {
        let cases = case::cases(image).into_iter();
        cases.map(|case| (case.name, case.verdict)).collect()
    };
    assert_eq!(
        verdicts(&good("x"))
            .iter()
            .map(|(name, _)| name.as_str())
            .collect::<Vec<_>>(),
        [
            "boot",
            "install ./web_1.0_all.deb",
            "unit web.service",
            "network tcp://localhost:80"
        ]
    );
    assert_eq!(
        verdicts(&broken("x", "no")),
        [("boot".to_owned(), Verdict::Error)]
    );
    // The boot and the checks were fine, and then the container went away.
    let mut died = good("x");
    died.verdict = Verdict::Error;
    died.error = Some("the container died".to_owned());
    assert_eq!(
        verdicts(&died).last(),
        Some(&("run".to_owned(), Verdict::Error))
    );
    // A repository that could not be reached is nobody's failure.
    let mut unreachable = good("x");
    unreachable.verdict = Verdict::Error;
    unreachable.error = Some("no network".to_owned());
    unreachable.checks.clear();
    unreachable.phases[0].passed = false;
    unreachable.phases[0].error = Some("no network".to_owned());
    let ends = verdicts(&unreachable);
    assert_eq!(ends.len(), 2);
    assert_eq!(ends[1].1, Verdict::Error);
}

#[test]
fn columns_of_all_images_keep_their_order() {
    let mut other = good("b");
    other
        .checks
        .insert(1, check("unit", "more.service", true, ""));
    let (first, second) = (good("a"), other);
    let columns = case::columns(&[case::cases(&first), case::cases(&second)]);
    assert_eq!(
        columns,
        [
            "boot",
            "install",
            "unit web.service",
            "unit more.service",
            "network tcp://localhost:80"
        ]
    );
}

#[test]
fn markdown_of_three_images() {
    insta::assert_snapshot!(Format::Markdown.render(&hostile("a|b\n```\n<b>*x*</b>")), @"
    ## postroj: failed on 1 of 3 images, no verdict on 1

    | Image | Verdict | boot | install | unit web.service | network a&#124;b &#96;&#96;&#96; &#60;b&#62;&#42;x&#42;&#60;/b&#62; | network tcp&#58;//localhost&#58;80 | Time |
    |:--|:--|:-:|:-:|:-:|:-:|:-:|--:|
    | debian-bookworm | passed | ✅ | ✅ | ✅ |  | ✅ | 5.2 s |
    | debian-trixie | failed | ✅ | ✅ | ❌ | ✅ |  | 5.2 s |
    | a&#124;b &#96;&#96;&#96; &#60;b&#62;&#42;x&#42;&#60;/b&#62; | no verdict | ⚠️ |  |  |  |  | 5.2 s |

    <sub>postroj 1.2.3 on Linux 6.1.0, 1970-01-01T00&#58;00&#58;00Z, 9.0 s: <code>postroj pkgprobe --image debian-&#42; -p https&#58;//h/x</code></sub>

    <details><summary>❌ <b>debian-trixie</b>: failed</summary>

    - ❌ **unit web.service**: a&#124;b &#96;&#96;&#96; &#60;b&#62;&#42;x&#42;&#60;/b&#62;

    systemctl status a&#124;b &#96;&#96;&#96; &#60;b&#62;&#42;x&#42;&#60;/b&#62;:

    ````text
    a|b
    ```
    <b>*x*</b>
    ````

    what listens:

    ```text
    127.0.0.1:22 sshd
    ```

    </details>

    <details><summary>⚠️ <b>a&#124;b &#96;&#96;&#96; &#60;b&#62;&#42;x&#42;&#60;/b&#62;</b>: no verdict</summary>

    - ⚠️ **boot**: a&#124;b &#96;&#96;&#96; &#60;b&#62;&#42;x&#42;&#60;/b&#62;; postroj doctor

    the last of the container&#39;s console:

    ````text
    a|b
    ```
    <b>*x*</b>
    ````

    </details>
    ");
}

#[test]
fn tap_of_three_images() {
    insta::assert_snapshot!(Format::Tap.render(&hostile("a \"b\" # TODO \\\nnot ok 7")), @r#"
    TAP version 13
    1..9
    # postroj 1.2.3 on Linux 6.1.0, 1970-01-01T00:00:00Z
    # postroj pkgprobe --image debian-* -p https://h/x
    ok 1 - debian-bookworm: boot
    ok 2 - debian-bookworm: install ./web_1.0_all.deb
    ok 3 - debian-bookworm: unit web.service
    ok 4 - debian-bookworm: network tcp://localhost:80
    # debian-bookworm: passed in 5.2 s
    ok 5 - debian-trixie: boot
    ok 6 - debian-trixie: install a "b" \# TODO \\ not ok 7
    not ok 7 - debian-trixie: unit web.service
      ---
      verdict: failed
      seconds: 1.500
      message:
        - "a \"b\" # TODO \\"
        - "not ok 7"
      x_systemctl_status_a__b____TODO___not_ok_7:
        - "a \"b\" # TODO \\"
        - "not ok 7"
      ...
    ok 8 - debian-trixie: network a "b" \# TODO \\ not ok 7
    # debian-trixie: failed in 5.2 s
    not ok 9 - a "b" \# TODO \\ not ok 7: boot
      ---
      verdict: error
      seconds: 5.200
      message:
        - "a \"b\" # TODO \\"
        - "not ok 7; postroj doctor"
      x_the_last_of_the_container_s_console:
        - "a \"b\" # TODO \\"
        - "not ok 7"
      ...
    # a "b" # TODO \ not ok 7: no verdict in 5.2 s
    "#);
}

#[test]
fn images_that_are_left_out_are_named() {
    let mut report = run(vec![good("debian-bookworm")]);
    report.skipped = vec![Skipped {
        image: "old # one".to_owned(),
        reason: "<its> systemd is too old".to_owned(),
    }];
    let tap = Format::Tap.render(&report);
    assert!(tap.contains("\n1..5\n"), "{tap}");
    assert!(
        tap.ends_with("ok 5 - old \\# one # SKIP <its> systemd is too old\n"),
        "{tap}"
    );
    for (format, line) in [
        (
            Format::Markdown,
            "| old &#35; one | left out: &#60;its&#62; systemd is too old |\n",
        ),
        (
            Format::Html,
            "<p>old # one: left out, &lt;its&gt; systemd is too old</p>\n",
        ),
    ] {
        let text = format.render(&report);
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn junit_of_three_images() {
    insta::assert_snapshot!(Format::Junit.render(&hostile("<a> ]]> \u{1b}[1mb\u{1b}[0m\u{0}\n&")), @r#"
    <?xml version="1.0" encoding="UTF-8"?>
    <testsuites>
      <testsuite id="0" package="postroj" name="debian-bookworm" timestamp="1970-01-01T00:00:00" hostname="host" tests="4" failures="0" errors="0" skipped="0" time="5.200">
        <properties>
          <property name="postroj.version" value="1.2.3"/>
          <property name="postroj.command" value="postroj pkgprobe --image debian-* -p https://h/x"/>
          <property name="host.kernel" value="6.1.0"/>
          <property name="image" value="debian-bookworm"/>
          <property name="packages" value="./web_1.0_all.deb"/>
          <property name="verdict" value="passed"/>
          <property name="systemd.version" value="252.39-1~deb12u1"/>
        </properties>
        <testcase classname="debian-bookworm" name="boot" time="0.400"/>
        <testcase classname="debian-bookworm" name="install ./web_1.0_all.deb" time="3.200"/>
        <testcase classname="debian-bookworm" name="unit web.service" time="1.500"/>
        <testcase classname="debian-bookworm" name="network tcp://localhost:80" time="1.500"/>
        <system-out>--- install
    Unpacking web
    Setting up web
    </system-out>
        <system-err></system-err>
      </testsuite>
      <testsuite id="1" package="postroj" name="debian-trixie" timestamp="1970-01-01T00:00:00" hostname="host" tests="4" failures="1" errors="0" skipped="0" time="5.200">
        <properties>
          <property name="postroj.version" value="1.2.3"/>
          <property name="postroj.command" value="postroj pkgprobe --image debian-* -p https://h/x"/>
          <property name="host.kernel" value="6.1.0"/>
          <property name="image" value="debian-trixie"/>
          <property name="packages" value="&lt;a&gt; ]]&gt; b\u{0} &amp;"/>
          <property name="verdict" value="failed"/>
          <property name="systemd.version" value="252.39-1~deb12u1"/>
        </properties>
        <testcase classname="debian-trixie" name="boot" time="0.400"/>
        <testcase classname="debian-trixie" name="install &lt;a&gt; ]]&gt; b\u{0} &amp;" time="3.200"/>
        <testcase classname="debian-trixie" name="unit web.service" time="1.500">
          <failure type="failed" message="&lt;a&gt; ]]&gt; b\u{0} &amp;">&lt;a&gt; ]]&gt; b\u{0}
    &amp;
    --- systemctl status &lt;a&gt; ]]&gt; b\u{0}\n&amp;
    &lt;a&gt; ]]&gt; b\u{0}
    &amp;
    </failure>
        </testcase>
        <testcase classname="debian-trixie" name="network &lt;a&gt; ]]&gt; b\u{0} &amp;" time="1.500"/>
        <system-out>--- install
    &lt;a&gt; ]]&gt; b\u{0}
    &amp;
    --- what listens
    127.0.0.1:22 sshd
    </system-out>
        <system-err></system-err>
      </testsuite>
      <testsuite id="2" package="postroj" name="&lt;a&gt; ]]&gt; b\u{0} &amp;" timestamp="1970-01-01T00:00:00" hostname="host" tests="1" failures="0" errors="1" skipped="0" time="5.200">
        <properties>
          <property name="postroj.version" value="1.2.3"/>
          <property name="postroj.command" value="postroj pkgprobe --image debian-* -p https://h/x"/>
          <property name="host.kernel" value="6.1.0"/>
          <property name="image" value="&lt;a&gt; ]]&gt; b\u{0} &amp;"/>
          <property name="packages" value="./web_1.0_all.deb"/>
          <property name="verdict" value="error"/>
        </properties>
        <testcase classname="&lt;a&gt; ]]&gt; b\u{0} &amp;" name="boot" time="5.200">
          <error type="no verdict" message="&lt;a&gt; ]]&gt; b\u{0} &amp;; postroj doctor">&lt;a&gt; ]]&gt; b\u{0}
    &amp;; postroj doctor
    --- the last of the container&#39;s console
    &lt;a&gt; ]]&gt; b\u{0}
    &amp;
    </error>
        </testcase>
        <system-out>--- the last of the container&#39;s console
    &lt;a&gt; ]]&gt; b\u{0}
    &amp;
    </system-out>
        <system-err>&lt;a&gt; ]]&gt; b\u{0}
    &amp;</system-err>
      </testsuite>
    </testsuites>
    "#);
}

#[test]
fn json_says_which_run_it_was() {
    let json: serde_json::Value =
        serde_json::from_str(&Format::Json.render(&hostile(HOSTILE))).expect("JSON");
    assert_eq!(json["format"], 2);
    assert_eq!(json["run"]["started"], "1970-01-01T00:00:00Z");
    assert_eq!(json["run"]["arguments"][4], "https://h/x");
    assert_eq!(json["images"][1]["evidence"][0]["text"], HOSTILE);
    assert_eq!(json["images"][1]["evidence"][0]["checks"][0], 0);
    assert_eq!(json["images"][2]["verdict"], "error");
}

#[test]
fn the_page_names_what_is_left_behind() {
    let leftovers = super::Leftovers {
        files: vec!["/etc/web".to_owned(), "/var/<web>".to_owned()],
        users: vec!["web".to_owned()],
        ..super::Leftovers::default()
    };
    let image = ImageReport {
        leftovers: Some(leftovers),
        ..good("a")
    };
    let page = Format::Html.render(&run(vec![image]));
    let shown = "<h3>what the packages have left behind</h3>\n\
                 <pre>\nfile /etc/web\nfile /var/&lt;web&gt;\nuser web</pre>";
    assert!(page.contains(shown), "{page}");
    let page = Format::Html.render(&run(vec![good("a")]));
    assert!(!page.contains("left behind"), "{page}");
}

#[test]
fn evidence_is_bounded_in_every_document() {
    let long = "x".repeat(1 << 20);
    let mut report = hostile("short");
    report.images[1].evidence = vec![Evidence::new("long", &long).about_checks(vec![0])];
    report.images[1].phases[0].output = "y".repeat(1 << 20);
    for format in [Format::Junit, Format::Tap, Format::Html, Format::Markdown] {
        let length = format.render(&report).len();
        assert!(length < 512 * 1024, "{format}: {length}");
    }
    // GitHub takes no more than that, however many images there are.
    let many: Vec<ImageReport> = (0..200)
        .map(|number| failed(&format!("image-{number}"), &long))
        .collect();
    assert!(Format::Markdown.render(&run(many)).len() < 1024 * 1024);
}
