//! The results as tables: for the terminal, and for the documentation.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use crate::entry::{Entry, RELEASES, Verdict};
use crate::run::Result;

impl Verdict {
    /// In a few words.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Passed => "passes".to_owned(),
            Self::NotInstalled(text) => format!("does not install ({text})"),
            Self::PhaseFailed(phase, text) => format!("fails at {phase} ({text})"),
            Self::Failed(checks) => {
                let checks: Vec<_> = checks
                    .iter()
                    .map(|failing| format!("{}: {}", failing.target, failing.seen))
                    .collect();
                format!("fails ({})", checks.join("; "))
            }
            Self::Untold(text) => format!("no verdict ({text})"),
        }
    }

    /// As postroj says it.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::NotInstalled(_) | Self::PhaseFailed(..) | Self::Failed(_) => "failed",
            Self::Untold(_) => "no verdict",
        }
    }
}

/// Entries by releases, all runs together.
pub(crate) fn text(results: &[Result]) -> String {
    let mut text = String::new();
    let names: BTreeSet<_> = results.iter().map(|result| result.name).collect();
    let width = names.iter().map(|name| name.len()).max().unwrap_or(0);
    let _ = write!(text, "{:width$}", "");
    for release in RELEASES {
        let _ = write!(text, "  {release:>16}");
    }
    text.push('\n');
    for name in names {
        let _ = write!(text, "{name:width$}");
        for release in RELEASES {
            let _ = write!(text, "  {:>16}", cell(results, name, release));
        }
        let _ = writeln!(text);
    }
    text
}

/// What was said, and how long it took on the average; WRONG if it was so once.
fn cell(results: &[Result], name: &str, release: &str) -> String {
    let here: Vec<_> = results
        .iter()
        .filter(|result| result.name == name && result.release == release)
        .collect();
    let Some(first) = here.first() else {
        return String::new();
    };
    if let Some(result) = here.iter().find(|result| result.is_wrong()) {
        return format!("WRONG: {}", result.said);
    }
    let took: Duration = here.iter().map(|result| result.took).sum();
    let count = u32::try_from(here.len()).unwrap_or(u32::MAX);
    let times = if count == 1 {
        String::new()
    } else {
        format!(" {count} times,")
    };
    let seconds = (took / count).as_secs_f64();
    format!("{}{times} {seconds:.1} s", first.said)
}

/// A page of reStructuredText: how many were right in each group, then each entry.
pub(crate) fn page(entries: &[Entry], results: &[Result]) -> String {
    let wrong = results.iter().filter(|result| result.is_wrong()).count();
    let mut page = format!(
        "{} packages, {} verdicts, {wrong} of them wrong.\n\n",
        entries.len(),
        results.len()
    );
    let mut groups: Vec<&str> = entries.iter().map(|entry| entry.group).collect();
    groups.dedup();
    page.push_str(
        ".. list-table::\n   :header-rows: 1\n\n   * - Packages\n     - How many\n     - Verdicts that are right\n",
    );
    for release in RELEASES {
        let _ = writeln!(page, "     - {release}");
    }
    for group in &groups {
        let count = entries.iter().filter(|entry| entry.group == *group).count();
        let of_group = |release: Option<&str>| {
            let all: Vec<_> = results
                .iter()
                .filter(|result| release.is_none_or(|release| result.release == release))
                .filter(|result| {
                    let entry = entries.iter().find(|entry| entry.name == result.name);
                    entry.is_some_and(|entry| entry.group == *group)
                })
                .collect();
            let right = all.iter().filter(|result| !result.is_wrong()).count();
            format!("{right} of {}", all.len())
        };
        let _ = writeln!(
            page,
            "   * - {group}\n     - {count}\n     - {}",
            of_group(None)
        );
        for release in RELEASES {
            let _ = writeln!(page, "     - {}", of_group(Some(release)));
        }
    }
    for group in groups {
        let _ = write!(page, "\n{group}\n{}\n\n", "-".repeat(group.len()));
        page.push_str(".. list-table::\n   :header-rows: 1\n\n   * - Package\n     - What it is\n     - True verdict\n");
        for release in RELEASES {
            let _ = writeln!(page, "     - {release}");
        }
        for entry in entries.iter().filter(|entry| entry.group == group) {
            let Entry { name, what, .. } = entry;
            let word = entry.verdict.word();
            let _ = writeln!(page, "   * - {name}\n     - {what}\n     - {word}");
            for release in RELEASES {
                let _ = writeln!(page, "     - {}", cell(results, name, release));
            }
        }
    }
    page
}

/// Reads the results back that a run has told.
pub(crate) fn read(told: &str, entries: &[Entry]) -> Vec<Result> {
    let line = |line: &str| {
        let (is_right, rest) = match line.split_once(' ')? {
            ("right", rest) => (true, rest),
            ("WRONG", rest) => (false, rest),
            _ => return None,
        };
        let (name, rest) = rest.split_once(" on ")?;
        let (release, rest) = rest.split_once(": ")?;
        let (said, rest) = rest.split_once(" after ")?;
        let seconds = rest.strip_suffix(" s")?.parse().ok()?;
        Some(Result {
            name: entries.iter().find(|entry| entry.name == name)?.name,
            release: RELEASES.into_iter().find(|known| *known == release)?,
            said: said.to_owned(),
            wrong: (!is_right).then(|| line.to_owned()).into_iter().collect(),
            took: Duration::from_secs_f64(seconds),
        })
    };
    told.lines().filter_map(line).collect()
}
