//! A report as `JUnit`'s XML, which CI systems collect.
//!
//! There are several schemas of it and no standard. What is written here is what they have in common:
//! it is valid by that of Apache Ant's task, in which `testsuites` has no attributes and a `testcase`
//! holds nothing but a failure or an error, and by that of the xUnit plugin of Jenkins.

use std::fmt::Write as _;
use std::time::Duration;

use super::case::{Case, Count, cases, general};
use super::clean::{self, bounded, markup};
use super::{Evidence, ImageReport, RunReport, Verdict};
use crate::timestamp::to_seconds;

/// How much of one piece of evidence is written, in bytes.
const PIECE: usize = 64 * 1024;

/// Writes a report: a suite for each image, a case for each phase and check. A `failure` is the
/// package's, an `error` means that there is no verdict.
pub(super) fn render(report: &RunReport) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for (number, image) in report.images.iter().enumerate() {
        suite(&mut xml, report, image, number);
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn suite(xml: &mut String, report: &RunReport, image: &ImageReport, number: usize) {
    let cases = cases(image);
    let count = Count::of(&cases);
    let name = attribute(&image.image);
    // Ant's schema wants it in UTC and without saying so.
    let started = to_seconds(report.run.started);
    let started = started.trim_end_matches('Z');
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(
        xml,
        "  <testsuite id=\"{number}\" package=\"postroj\" name=\"{name}\" timestamp=\"{started}\" \
         hostname=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"0\" time=\"{}\">",
        attribute(non_empty(&report.run.host, "localhost")),
        count.all,
        count.failed,
        count.errors,
        seconds(image.timings.total),
    );
    properties(xml, report, image);
    for case in &cases {
        testcase(xml, &image.image, case);
    }
    let mut out = String::new();
    for phase in &image.phases {
        piece(&mut out, &phase.phase.to_string(), &phase.output);
    }
    for evidence in general(image) {
        piece(&mut out, &evidence.title, &evidence.text);
    }
    let _ = writeln!(xml, "    <system-out>{}</system-out>", markup(&out));
    let problem = image.error.as_deref().unwrap_or_default();
    let problem = markup(&clean::lines(problem));
    let _ = writeln!(xml, "    <system-err>{problem}</system-err>");
    xml.push_str("  </testsuite>\n");
}

fn properties(xml: &mut String, report: &RunReport, image: &ImageReport) {
    let run = &report.run;
    let packages = image.packages.join(" ");
    let verdict = image.verdict.name();
    let command = run.command();
    let mut all = vec![
        ("postroj.version", run.version),
        ("postroj.command", &command),
        ("host.kernel", &run.kernel),
        ("image", &image.image),
        ("packages", &packages),
        ("verdict", verdict),
    ];
    if let Some(systemd) = &image.systemd {
        all.push(("systemd.version", systemd));
    }
    xml.push_str("    <properties>\n");
    for (name, value) in all {
        let value = attribute(value);
        let _ = writeln!(xml, "      <property name=\"{name}\" value=\"{value}\"/>");
    }
    xml.push_str("    </properties>\n");
}

fn testcase(xml: &mut String, image: &str, case: &Case<'_>) {
    let _ = write!(
        xml,
        "    <testcase classname=\"{}\" name=\"{}\" time=\"{}\"",
        attribute(image),
        attribute(&case.name),
        seconds(case.seconds),
    );
    let (element, kind) = match case.verdict {
        Verdict::Passed => {
            xml.push_str("/>\n");
            return;
        }
        Verdict::Failed => ("failure", "failed"),
        Verdict::Error => ("error", "no verdict"),
    };
    let mut text = format!("{}\n", clean::lines(&case.message));
    for Evidence {
        title, text: of, ..
    } in &case.evidence
    {
        piece(&mut text, title, of);
    }
    let _ = writeln!(
        xml,
        ">\n      <{element} type=\"{kind}\" message=\"{}\">{}</{element}>\n    </testcase>",
        attribute(&case.message),
        markup(&text),
    );
}

fn piece(out: &mut String, title: &str, text: &str) {
    if text.is_empty() {
        return;
    }
    let text = bounded(text, PIECE);
    let _ = writeln!(out, "--- {}\n{}", clean::line(title), clean::lines(&text));
}

/// A value of one line: a parser makes spaces of line ends in attributes.
fn attribute(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(clean::line).collect();
    markup(non_empty(&lines.join(" "), "-"))
}

fn non_empty<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.trim().is_empty() {
        otherwise
    } else {
        text
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.3}", duration.as_secs_f64())
}
