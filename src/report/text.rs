//! A report for people to read.

use std::fmt::Write as _;

use super::{ImageReport, Verdict};
use crate::pkgprobe::Phase;

/// How many leftovers of a kind are shown.
const SHOWN_LEFTOVERS: usize = 20;

/// How the words of a verdict are marked; empty strings where nothing is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Palette {
    /// Before what is good.
    pub good: &'static str,
    /// Before what is bad.
    pub bad: &'static str,
    /// Before what matters less.
    pub faint: &'static str,
    /// After each of them.
    pub reset: &'static str,
}

impl Palette {
    /// The colours that terminals have (ECMA-48, SGR).
    pub const COLOURED: Self = Self {
        good: "\u{1b}[32m",
        bad: "\u{1b}[31m",
        faint: "\u{1b}[2m",
        reset: "\u{1b}[0m",
    };
}

impl Palette {
    /// How a line is marked that says what is good or bad, and the word for it.
    fn mark(self, passed: bool) -> (&'static str, &'static str) {
        if passed {
            (self.good, "ok")
        } else {
            (self.bad, "FAILED")
        }
    }
}

/// Writes a report as text: the verdict, what was done, and the evidence if it is bad.
pub fn render(report: &ImageReport, palette: Palette) -> String {
    let mut text = String::new();
    let Palette {
        good,
        bad,
        faint,
        reset,
    } = palette;
    let mut line = |(mark, word): (&str, &str), kind: &str, target: &str, what: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "  {mark}{word:<6}{reset} {kind:<8} {}  {what}",
            printable(target)
        );
    };
    let marked = |passed| palette.mark(passed);
    // What a run without packages has checked comes after no phase's report.
    let mut shown = 0;
    let is_installation_only =
        matches!(report.phases.as_slice(), [only] if only.phase == Phase::Install);
    for (number, phase) in report.phases.iter().enumerate() {
        let how = match (&phase.manager, &phase.error) {
            (_, Some(error)) => error.clone(),
            (Some(manager), None) => format!("{} with {manager}", phase.phase.done()),
            (None, None) => phase.phase.done().to_owned(),
        };
        if number == 0 {
            shown = show_checks(report, |of| of < phase.phase, palette, &mut line);
        }
        let kind = if is_installation_only {
            "package"
        } else {
            phase.phase.name()
        };
        line(
            marked(phase.passed),
            kind,
            &phase.packages.join(" "),
            &printable(&how),
        );
        shown += show_checks(report, |of| of == phase.phase, palette, &mut line);
    }
    if shown < report.checks.len() {
        show_checks(report, |_| true, palette, &mut line);
    }
    if let Some(leftovers) = &report.leftovers {
        for (kind, _, names) in leftovers.kinds() {
            for name in names.iter().take(SHOWN_LEFTOVERS) {
                let _ = writeln!(
                    text,
                    "  {faint}{:<6}{reset} {kind:<8} {}",
                    "left",
                    printable(name)
                );
            }
            if let Some(more @ 1..) = names.len().checked_sub(SHOWN_LEFTOVERS) {
                let _ = writeln!(
                    text,
                    "  {faint}{:<6}{reset} {kind:<8} and {more} more",
                    "left"
                );
            }
        }
    }
    for evidence in &report.evidence {
        let _ = writeln!(text, "\n  {faint}{}:{reset}", evidence.title);
        for line in evidence.text.trim_end().lines() {
            let _ = writeln!(text, "    {}", printable(line));
        }
    }
    let total = report.timings.total.as_secs_f64();
    let image = printable(&report.image);
    let verdict = match report.verdict {
        Verdict::Passed => format!("{good}passed{reset}"),
        Verdict::Failed => format!("{bad}FAILED{reset}"),
        Verdict::Error => format!("{bad}no verdict{reset}"),
    };
    format!("{image}: {verdict} in {total:.1} s\n{text}")
}

/// Writes a line for each check of the phases that are wanted; gives how many.
fn show_checks(
    report: &ImageReport,
    is_wanted: impl Fn(Phase) -> bool,
    palette: Palette,
    line: &mut impl FnMut((&str, &str), &str, &str, &str),
) -> usize {
    let wanted = report.checks.iter().filter(|check| is_wanted(check.phase));
    let mut count = 0;
    for check in wanted {
        let mut what = printable(&check.outcome.observation);
        if let Some(who) = check.started_by {
            let _ = write!(what, ", started by {who}");
        }
        let mark = match check.error {
            Some(_) => (palette.bad, "error"),
            None => palette.mark(check.outcome.passed),
        };
        let target = check.title.as_ref().unwrap_or(&check.target);
        line(mark, check.kind, target, &what);
        count += 1;
    }
    count
}

/// What comes out of a container may hold escape sequences: on a terminal they are commands.
pub fn printable(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            // A colour or cursor sequence goes as a whole.
            '\u{1b}' if characters.peek() == Some(&'[') => {
                characters.next();
                // Parameters, up to and with the letter that says what it does.
                let _ = characters.find(|c| ('\u{40}'..='\u{7e}').contains(c));
            }
            '\t' => clean.push_str("    "),
            '\r' => {}
            control if control.is_control() => {
                let _ = write!(clean, "{}", control.escape_default());
            }
            character => clean.push(character),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_commands_a_terminal_gets_through() {
        assert_eq!(printable("\u{1b}[0;32mOK\u{1b}[0m"), "OK");
        assert_eq!(
            printable("a\u{1b}]0;title\u{7}b"),
            "a\\u{1b}]0;title\\u{7}b"
        );
        assert_eq!(printable("a\tb\rc"), "a    bc");
        assert_eq!(printable("\u{1b}["), "");
    }
}
