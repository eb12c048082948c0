//! A line for each image of a run.

use std::fmt::Write as _;

use super::{ImageReport, Palette, RunReport, Verdict, printable};
use crate::pkgprobe::Phase;

/// How wide the column of the images gets, in characters.
const NAME: usize = 48;

/// How much is shown of what was wrong, in characters.
const WHAT: usize = 100;

impl ImageReport {
    /// The first thing that was not as it has to be, in one line.
    pub fn first_failure(&self) -> Option<String> {
        let phase = self.phases.iter().find(|phase| !phase.passed);
        let check = self
            .checks
            .iter()
            .find(|check| check.verdict() == Verdict::Failed);
        let text = match (&self.error, phase, check) {
            (Some(error), ..) => error.clone(),
            (None, Some(phase), _) => {
                let error = phase.error.as_deref().unwrap_or("failed");
                format!("{}: {error}", phase.phase)
            }
            (None, None, Some(check)) => {
                let what = format!(
                    "{} {}: {}",
                    check.kind, check.target, check.outcome.observation
                );
                match check.phase {
                    Phase::Install => what,
                    later => format!("{later}: {what}"),
                }
            }
            (None, None, None) => return None,
        };
        Some(printable(text.lines().next().unwrap_or_default()))
    }
}

/// Writes a line for each image: the verdict, how long it took, and the first thing that was wrong.
pub fn table(report: &RunReport, palette: Palette) -> String {
    let names: Vec<String> = report
        .images
        .iter()
        .map(|image| shortened(&printable(&image.image), NAME))
        .collect();
    let skipped = report
        .skipped
        .iter()
        .map(|skipped| skipped.image.len().min(NAME));
    let lengths = names.iter().map(|name| name.chars().count());
    let wide = lengths
        .chain(skipped)
        .chain(["IMAGE".len()])
        .max()
        .unwrap_or_default();
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{:<wide$}  {:<10}  {:>8}  FIRST FAILURE",
        "IMAGE", "VERDICT", "TIME"
    );
    for (image, name) in report.images.iter().zip(names) {
        let (mark, word) = match image.verdict {
            Verdict::Passed => (palette.good, "passed"),
            Verdict::Failed => (palette.bad, "FAILED"),
            Verdict::Error => (palette.bad, "no verdict"),
        };
        let seconds = image.timings.total.as_secs_f64();
        let what = image.first_failure().unwrap_or_default();
        let line = format!(
            "{name:<wide$}  {mark}{word:<10}{}  {seconds:>6.1} s  {}",
            palette.reset,
            cut(&what, WHAT)
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    for skipped in &report.skipped {
        let name = shortened(&printable(&skipped.image), NAME);
        let reason = cut(&printable(&skipped.reason), WHAT);
        let _ = writeln!(
            text,
            "{name:<wide$}  {:<10}  {:>8}  {reason}",
            "left out", ""
        );
    }
    let count = |verdict| {
        report
            .images
            .iter()
            .filter(|image| image.verdict == verdict)
            .count()
    };
    let _ = writeln!(
        text,
        "{} passed, {} failed, {} without a verdict, in {:.1} s",
        count(Verdict::Passed),
        count(Verdict::Failed),
        count(Verdict::Error),
        report.seconds.as_secs_f64()
    );
    text
}

/// A text of at most so many characters, the last of which says that there are more.
pub fn cut(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    let kept = text.chars().take(length.saturating_sub(1));
    kept.chain(['…']).collect()
}

/// The same for an image's name: of a path, the end tells more than the beginning.
pub fn shortened(name: &str, length: usize) -> String {
    let count = name.chars().count();
    if count <= length || !name.contains('/') {
        return cut(name, length);
    }
    let kept = name.chars().skip(count + 1 - length.max(1));
    ['…'].into_iter().chain(kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_where_they_tell_least() {
        assert_eq!(cut("debian", 6), "debian");
        assert_eq!(cut("debian-bookworm", 6), "debia…");
        assert_eq!(shortened("/var/lib/trees/fedora", 7), "…fedora");
        assert_eq!(shortened("debian-bookworm", 7), "debian…");
    }
}
