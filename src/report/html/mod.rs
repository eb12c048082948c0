//! A report as a page that needs nothing else: it is opened from a file as well as from a server, on a
//! wide screen as on a narrow one.
//!
//! What a container says is escaped, and the page's policy lets no script run and no style apply but
//! those that are a part of it.

use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::case::{Case, cases, columns, general};
use super::clean::{self, bounded, markup};
use super::{ImageReport, RunReport, Verdict};
use crate::timestamp::to_seconds;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// How much of one piece of evidence is shown, in bytes.
const PIECE: usize = 64 * 1024;

/// Writes a report: a table of images and checks, each cell of which leads to its evidence; bars for
/// where the time went; and all that is known of each image.
pub(super) fn render(report: &RunReport) -> String {
    let images: Vec<Vec<Case<'_>>> = report.images.iter().map(cases).collect();
    let mut page = String::new();
    head(&mut page, report);
    table(&mut page, report, &images);
    bars(&mut page, report);
    page.push_str("<h2>Images</h2>\n");
    for (number, (image, cases)) in report.images.iter().zip(&images).enumerate() {
        details(&mut page, number, image, cases);
    }
    // Writing to a string cannot fail, here and below.
    let _ = write!(
        page,
        "</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    );
    page
}

fn head(page: &mut String, report: &RunReport) {
    let run = &report.run;
    let headline = report.headline();
    let _ = write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src '{}'; script-src '{}'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>postroj: {headline}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>postroj: <span class=\"{}\">{headline}</span></h1>\n\
         <p class=\"faint\">{} · {:.1} s · postroj {} on {}, Linux {}</p>\n<pre>{}</pre>\n",
        hash(STYLE),
        hash(SCRIPT),
        class(report.verdict),
        to_seconds(run.started),
        report.seconds.as_secs_f64(),
        line(run.version),
        line(&run.host),
        line(&run.kernel),
        line(&run.command()),
    );
}

fn table(page: &mut String, report: &RunReport, images: &[Vec<Case<'_>>]) {
    let columns = columns(images);
    page.push_str(
        "<h2>Results</h2>\n<div class=\"scroll\" tabindex=\"0\">\n<table>\n<thead><tr>\
         <th scope=\"col\">Image</th>",
    );
    for column in &columns {
        let _ = write!(page, "<th scope=\"col\"><span>{}</span></th>", line(column));
    }
    page.push_str("<th scope=\"col\">Time</th></tr></thead>\n<tbody>\n");
    for (number, (image, cases)) in report.images.iter().zip(images).enumerate() {
        let _ = write!(
            page,
            "<tr><th scope=\"row\"><a href=\"#i{number}\">{}</a></th>",
            line(&image.image)
        );
        for column in &columns {
            match cases.iter().position(|case| case.column == *column) {
                Some(at) => cell(page, number, at, &cases[at]),
                None => page.push_str("<td></td>"),
            }
        }
        let total = seconds(image.timings.total);
        let _ = writeln!(page, "<td class=\"time\">{total}</td></tr>");
    }
    page.push_str("</tbody>\n</table>\n</div>\n");
    for skipped in &report.skipped {
        let (image, reason) = (line(&skipped.image), line(&skipped.reason));
        let _ = writeln!(page, "<p>{image}: left out, {reason}</p>");
    }
}

fn cell(page: &mut String, image: usize, number: usize, case: &Case<'_>) {
    let _ = write!(
        page,
        "<td class=\"cell\"><a class=\"{}\" href=\"#i{image}c{number}\" title=\"{}\">{}\
         <span class=\"hidden\"> {}</span></a></td>",
        class(case.verdict),
        line(&case.message),
        sign(case.verdict),
        case.verdict.words(),
    );
}

/// The steps of a run, in order, as bars show them.
fn steps(image: &ImageReport) -> [(&'static str, Duration); 5] {
    let of = image.timings;
    [
        ("pull", of.pull),
        ("boot", of.boot),
        ("install", of.install),
        ("checks", of.checks),
        ("teardown", of.teardown),
    ]
}

/// A bar for each image, all of one scale.
fn bars(page: &mut String, report: &RunReport) {
    /// The longest, in the units of the drawing.
    const WIDTH: f64 = 1000.0;
    let sum = |image: &ImageReport| steps(image).iter().map(|(_, took)| *took).sum();
    let longest: Duration = report.images.iter().map(sum).max().unwrap_or_default();
    let scale = WIDTH / longest.as_secs_f64().max(0.001);
    page.push_str("<h2>Times</h2>\n<div class=\"bars\">\n");
    for image in &report.images {
        let name = line(&image.image);
        let told = steps(image).map(|(step, took)| format!("{step} {}", seconds(took)));
        let _ = write!(
            page,
            "<span>{name}</span><svg viewBox=\"0 0 {WIDTH} 10\" preserveAspectRatio=\"none\" \
             role=\"img\" aria-label=\"{}\">",
            told.join(", ")
        );
        let mut at = 0.0;
        for ((step, took), told) in steps(image).into_iter().zip(told) {
            let width = took.as_secs_f64() * scale;
            let _ = write!(
                page,
                "<rect class=\"{step}\" x=\"{at:.1}\" width=\"{width:.1}\" height=\"10\">\
                 <title>{told}</title></rect>",
            );
            at += width;
        }
        let _ = writeln!(
            page,
            "</svg><span>boot {} · install {}</span>",
            seconds(image.timings.boot),
            seconds(image.timings.install)
        );
    }
    page.push_str("</div>\n<ul class=\"legend\">");
    for step in ["pull", "boot", "install", "checks", "teardown"] {
        let _ = write!(page, "<li><i class=\"{step}\"></i>{step}</li>");
    }
    page.push_str("</ul>\n");
}

fn details(page: &mut String, number: usize, image: &ImageReport, cases: &[Case<'_>]) {
    let _ = write!(
        page,
        "<details class=\"image\" id=\"i{number}\"{}><summary>{}: <span class=\"{}\">{}</span> \
         in {}</summary>\n<div class=\"inside\">\n",
        open(image.verdict),
        line(&image.image),
        class(image.verdict),
        image.verdict.words(),
        seconds(image.timings.total),
    );
    if let Some(error) = &image.error {
        let _ = writeln!(page, "<p class=\"none\">{}</p>", line(error));
    }
    if let Some(hint) = &image.hint {
        let _ = writeln!(page, "<p class=\"faint\">{}</p>", line(hint));
    }
    if let (true, Some(machine)) = (image.kept, &image.machine) {
        let machine = line(machine);
        let _ = writeln!(page, "<p class=\"faint\">kept as {machine}</p>");
    }
    for (at, case) in cases.iter().enumerate() {
        let _ = write!(
            page,
            "<details class=\"case\" id=\"i{number}c{at}\"{}><summary><span class=\"{}\">{}</span> \
             {}</summary>\n<div class=\"inside\">\n<p>{}</p>\n<p class=\"faint\">{}, {}</p>\n",
            open(case.verdict),
            class(case.verdict),
            sign(case.verdict),
            line(&case.name),
            line(&case.message),
            case.verdict.words(),
            seconds(case.seconds),
        );
        for evidence in &case.evidence {
            piece(page, &evidence.title, &evidence.text);
        }
        piece(page, "what the package manager wrote", case.output);
        page.push_str("</div>\n</details>\n");
    }
    if let Some(leftovers) = &image.leftovers {
        let kinds = leftovers.kinds();
        let left = kinds.iter().flat_map(|(kind, _, names)| {
            let names = names.iter();
            names.map(move |name| format!("{kind} {}\n", clean::line(name)))
        });
        piece(
            page,
            "what the packages have left behind",
            &left.collect::<String>(),
        );
    }
    let is_told = |evidence| {
        let mut told = cases.iter().flat_map(|case| case.evidence.iter());
        told.any(|told| std::ptr::eq(*told, evidence))
    };
    for evidence in general(image).filter(|evidence| !is_told(*evidence)) {
        piece(page, &evidence.title, &evidence.text);
    }
    page.push_str("</div>\n</details>\n");
}

fn piece(page: &mut String, title: &str, text: &str) {
    if text.trim().is_empty() {
        return;
    }
    let text = bounded(text.trim_end(), PIECE);
    let text = markup(&clean::lines(&text));
    // A line end right after the tag is no part of the text.
    let _ = writeln!(page, "<h3>{}</h3>\n<pre>\n{text}</pre>", line(title));
}

/// What is not as it should be is unfolded.
fn open(verdict: Verdict) -> &'static str {
    if verdict == Verdict::Passed {
        ""
    } else {
        " open"
    }
}

fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "good",
        Verdict::Failed => "bad",
        Verdict::Error => "none",
    }
}

fn sign(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "✓",
        Verdict::Failed => "✗",
        Verdict::Error => "?",
    }
}

fn line(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(clean::line).collect();
    markup(&lines.join(" "))
}

fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 10.0 {
        format!("{seconds:.2} s")
    } else {
        format!("{seconds:.1} s")
    }
}

/// The hash by which a policy lets an inline script or style pass (Content Security Policy,
/// "hash-source").
fn hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text)))
}
