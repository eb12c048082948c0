//! A report as Markdown, for the summary of a job on GitHub and whatever else shows it.

use std::fmt::Write as _;

use super::case::{Case, cases, columns, general};
use super::clean::{self, bounded};
use super::{ImageReport, RunReport, Verdict};
use crate::timestamp::to_seconds;

/// How much of one piece of evidence is written, in bytes.
const PIECE: usize = 8 * 1024;

/// The same, of a name or a message.
const INLINE: usize = 2048;

/// How large it may become before evidence is left out: GitHub refuses a summary of more than 1 MiB.
const WHOLE: usize = 700 * 1024;

/// Writes a report: a table of images and checks, then the evidence for what does not hold.
pub(super) fn render(report: &RunReport) -> String {
    let images: Vec<Vec<Case<'_>>> = report.images.iter().map(cases).collect();
    let run = &report.run;
    let mut text = format!("## postroj: {}\n\n", report.headline());
    table(&mut text, report, &images);
    // Writing to a string cannot fail, here and below.
    for skipped in &report.skipped {
        let (image, reason) = (escaped(&skipped.image), escaped(&skipped.reason));
        let _ = writeln!(text, "| {image} | left out: {reason} |");
    }
    let _ = writeln!(
        text,
        "\n<sub>postroj {} on Linux {}, {}, {:.1} s: <code>{}</code></sub>",
        escaped(run.version),
        escaped(&run.kernel),
        escaped(&to_seconds(run.started)),
        report.seconds.as_secs_f64(),
        escaped(&run.command()),
    );
    for (image, cases) in report.images.iter().zip(&images) {
        if image.verdict == Verdict::Passed {
            continue;
        }
        let details = details(image, cases);
        if text.len() + details.len() > WHOLE {
            text.push_str("\nThe evidence for more images is left out here for its size.\n");
            break;
        }
        text.push_str(&details);
    }
    text
}

fn table(text: &mut String, report: &RunReport, images: &[Vec<Case<'_>>]) {
    let columns = columns(images);
    text.push_str("| Image | Verdict |");
    for column in &columns {
        let _ = write!(text, " {} |", escaped(column));
    }
    text.push_str(" Time |\n|:--|:--|");
    text.push_str(&":-:|".repeat(columns.len()));
    text.push_str("--:|\n");
    for (image, cases) in report.images.iter().zip(images) {
        let name = escaped(&image.image);
        let _ = write!(text, "| {name} | {} |", image.verdict.words());
        for column in &columns {
            let case = cases.iter().find(|case| case.column == *column);
            let _ = write!(text, " {} |", case.map_or("", |case| sign(case.verdict)));
        }
        let _ = writeln!(text, " {:.1} s |", image.timings.total.as_secs_f64());
    }
}

fn sign(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "✅",
        Verdict::Failed => "❌",
        Verdict::Error => "⚠️",
    }
}

fn details(image: &ImageReport, cases: &[Case<'_>]) -> String {
    let mut text = format!(
        "\n<details><summary>{} <b>{}</b>: {}</summary>\n\n",
        sign(image.verdict),
        escaped(&image.image),
        image.verdict.words()
    );
    let bad = cases.iter().filter(|case| case.verdict != Verdict::Passed);
    for case in bad {
        let _ = writeln!(
            text,
            "- {} **{}**: {}",
            sign(case.verdict),
            escaped(&case.name),
            escaped(&case.message)
        );
    }
    text.push('\n');
    let specific = cases
        .iter()
        .flat_map(|case| case.evidence.iter().copied())
        .chain(general(image));
    let mut shown: Vec<*const super::Evidence> = Vec::new();
    for evidence in specific {
        // One piece may show why several checks fail.
        if shown.contains(&std::ptr::from_ref(evidence)) {
            continue;
        }
        shown.push(evidence);
        let _ = writeln!(
            text,
            "{}:\n\n{}",
            escaped(&evidence.title),
            fenced(&evidence.text)
        );
    }
    text.push_str("</details>\n");
    text
}

/// A block that no text can end: its fence is longer than all backticks in it (`CommonMark`, section
/// 4.5).
fn fenced(text: &str) -> String {
    let text = clean::lines(&bounded(text.trim_end(), PIECE));
    let longest = text
        .split(|c| c != '`')
        .map(str::len)
        .max()
        .unwrap_or_default();
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}text\n{text}\n{fence}\n")
}

/// Text that is text: an entity is never taken for what it stands for (`CommonMark`, section 2.5), not
/// for a table's bar, nor for HTML, a link or a mention.
fn escaped(text: &str) -> String {
    let text = bounded(text, INLINE);
    let lines: Vec<String> = text.lines().map(clean::line).collect();
    let text = lines.join(" ");
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            ' ' | '-' | ',' | '/' | '(' | ')' | '=' | ';' | '%' => escaped.push(character),
            // Unless it makes a link of what begins with www.
            '.' if !escaped.to_ascii_lowercase().ends_with("www") => escaped.push('.'),
            punctuation if punctuation.is_ascii_punctuation() => {
                let _ = write!(escaped, "&#{};", u32::from(punctuation));
            }
            character => escaped.push(character),
        }
    }
    escaped
}
