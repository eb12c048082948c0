//! The results as a table: for the terminal, and for the README.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::entry::{Entry, RELEASES, Verdict};
use crate::run::Result;

impl Verdict {
    /// In a few words.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Passed => "passes".to_owned(),
            Self::NotInstalled(text) => format!("does not install ({text})"),
            Self::Failed(checks) => {
                let checks: Vec<_> = checks
                    .iter()
                    .map(|(target, seen)| format!("{target}: {seen}"))
                    .collect();
                format!("fails ({})", checks.join("; "))
            }
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Passed => "passes",
            Self::NotInstalled(_) | Self::Failed(_) => "fails",
        }
    }
}

/// Entries by releases, all runs together.
pub(crate) fn text(runs: &[Vec<Result>]) -> String {
    let mut text = String::new();
    let names: BTreeSet<_> = runs.iter().flatten().map(|result| result.name).collect();
    let width = names.iter().map(|name| name.len()).max().unwrap_or(0);
    let _ = write!(text, "{:width$}", "");
    for release in RELEASES {
        let _ = write!(text, "  {release:>16}");
    }
    text.push('\n');
    for name in names {
        let _ = write!(text, "{name:width$}");
        for release in RELEASES {
            let _ = write!(text, "  {:>16}", cell(runs, name, release));
        }
        let _ = writeln!(text);
    }
    text
}

/// What was said, and how long it took on the average; WRONG if it was so once.
fn cell(runs: &[Vec<Result>], name: &str, release: &str) -> String {
    let here: Vec<_> = runs
        .iter()
        .flatten()
        .filter(|result| result.name == name && result.release == release)
        .collect();
    let Some(first) = here.first() else {
        return String::new();
    };
    let wrong = here.iter().find(|result| result.is_wrong());
    let count = u32::try_from(here.len()).unwrap_or(u32::MAX);
    let seconds: f64 = here.iter().map(|result| result.took.as_secs_f64()).sum();
    let seconds = seconds / f64::from(count);
    match wrong {
        Some(result) => format!("WRONG: {}", result.said),
        None => format!("{} {seconds:.1} s", first.said),
    }
}

/// The same as a list-table of reStructuredText.
pub(crate) fn rst(entries: &[Entry], runs: &[Vec<Result>]) -> String {
    let verdicts = runs.iter().flatten().count();
    let wrong = runs.iter().flatten().filter(|r| r.is_wrong()).count();
    let mut text = format!(
        "{} packages, {} runs, {verdicts} verdicts, {wrong} of them wrong.\n\n\
         .. list-table::\n   :header-rows: 1\n\n   * - package\n     - what it is\n     - true verdict\n",
        entries.len(),
        runs.len(),
    );
    for release in RELEASES {
        let _ = writeln!(text, "     - {release}");
    }
    for entry in entries {
        let _ = writeln!(
            text,
            "   * - {}\n     - {}\n     - {}",
            entry.name,
            entry.what,
            entry.verdict.word()
        );
        for release in RELEASES {
            let _ = writeln!(text, "     - {}", cell(runs, entry.name, release));
        }
    }
    text
}
