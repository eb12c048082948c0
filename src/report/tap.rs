//! A report in the Test Anything Protocol, version 13: what `prove` reads.

use std::fmt::Write as _;

use super::case::{Case, cases};
use super::clean::{self, bounded};
use super::{RunReport, Verdict};
use crate::timestamp::to_seconds;

/// How much of one piece of evidence is written, in bytes.
const PIECE: usize = 16 * 1024;

/// Writes a report: one test point for each phase and check on each image. One that is `not ok` has
/// diagnostics in YAML, which say whether it failed or has no verdict, and show why.
pub(super) fn render(report: &RunReport) -> String {
    let images: Vec<_> = report
        .images
        .iter()
        .map(|image| (image, cases(image)))
        .collect();
    let count: usize = images.iter().map(|(_, cases)| cases.len()).sum();
    let count = count + report.skipped.len();
    let run = &report.run;
    let mut tap = format!("TAP version 13\n1..{count}\n");
    comment(
        &mut tap,
        &format!(
            "postroj {} on Linux {}, {}",
            run.version,
            run.kernel,
            to_seconds(run.started)
        ),
    );
    comment(&mut tap, &run.command());
    let mut number = 0;
    for (image, cases) in &images {
        for case in cases {
            number += 1;
            let ok = if case.verdict == Verdict::Passed {
                "ok"
            } else {
                "not ok"
            };
            let what = format!("{}: {}", image.image, case.name);
            // Writing to a string cannot fail, here and below.
            let _ = writeln!(tap, "{ok} {number} - {}", description(&what));
            if case.verdict != Verdict::Passed {
                diagnostics(&mut tap, case);
            }
        }
        comment(
            &mut tap,
            &format!(
                "{}: {} in {:.1} s",
                image.image,
                image.verdict.words(),
                image.timings.total.as_secs_f64()
            ),
        );
    }
    for skipped in &report.skipped {
        number += 1;
        let (image, reason) = (description(&skipped.image), description(&skipped.reason));
        let _ = writeln!(tap, "ok {number} - {image} # SKIP {reason}");
    }
    tap
}

fn diagnostics(tap: &mut String, case: &Case<'_>) {
    tap.push_str("  ---\n");
    let _ = writeln!(tap, "  verdict: {}", case.verdict.name());
    let _ = writeln!(tap, "  seconds: {:.3}", case.seconds.as_secs_f64());
    sequence(tap, "message", &case.message);
    for evidence in &case.evidence {
        sequence(tap, &key(&evidence.title), &evidence.text);
    }
    tap.push_str("  ...\n");
}

/// A text as a list of its lines. Perl's reader of YAML knows quoted strings of one line, and no
/// literal block that begins with a space.
fn sequence(tap: &mut String, key: &str, text: &str) {
    if text.trim().is_empty() {
        return;
    }
    let _ = writeln!(tap, "  {key}:");
    for line in bounded(text, PIECE).lines() {
        let _ = writeln!(tap, "    - {}", quoted(&clean::line(line)));
    }
}

/// A key of YAML that every reader takes as it is, and that is none of the protocol's own.
fn key(title: &str) -> String {
    let word = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let plain: String = title.chars().take(80).map(word).collect();
    format!("x_{}", plain.trim_matches('_'))
}

fn quoted(line: &str) -> String {
    format!("\"{}\"", line.replace('\\', "\\\\").replace('"', "\\\""))
}

/// What follows a test point's number: a `#` would begin a directive, such as `# SKIP`.
fn description(text: &str) -> String {
    one_line(text).replace('\\', "\\\\").replace('#', "\\#")
}

fn comment(tap: &mut String, text: &str) {
    let _ = writeln!(tap, "# {}", one_line(text));
}

fn one_line(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(clean::line).collect();
    lines.join(" ")
}
