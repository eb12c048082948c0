//! A report for people to read.

use std::fmt::Write as _;

use super::{ImageReport, Verdict};

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
    let marked = |passed| {
        if passed {
            (good, "ok")
        } else {
            (bad, "FAILED")
        }
    };
    for phase in &report.phases {
        let how = match (&phase.manager, &phase.error) {
            (_, Some(error)) => error.clone(),
            (Some(manager), None) => format!("installed with {manager}"),
            (None, None) => "installed".to_owned(),
        };
        line(
            marked(phase.passed),
            "package",
            &report.packages.join(" "),
            &printable(&how),
        );
    }
    for check in &report.checks {
        let mut what = printable(&check.outcome.observation);
        if let Some(who) = check.started_by {
            let _ = write!(what, ", started by {who}");
        }
        let mark = match check.error {
            Some(_) => (bad, "error"),
            None => marked(check.outcome.passed),
        };
        let target = check.title.as_ref().unwrap_or(&check.target);
        line(mark, check.kind, target, &what);
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
