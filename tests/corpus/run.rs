//! Running entries, several at once, and holding what postroj says against what is true.

use std::collections::VecDeque;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::entry::{Entry, RELEASES, SERVER, Verdict};
use crate::support::process::Outcome;
use crate::support::{Place, process};

/// An entry on a release.
pub(crate) struct Task<'a> {
    entry: &'a Entry,
    release: &'static str,
}

/// What became of it.
pub(crate) struct Result {
    pub(crate) name: &'static str,
    pub(crate) release: &'static str,
    /// What postroj said, in a word.
    pub(crate) said: String,
    /// What is wrong with that.
    pub(crate) wrong: Vec<String>,
    pub(crate) took: Duration,
}

impl Result {
    pub(crate) fn is_wrong(&self) -> bool {
        !self.wrong.is_empty()
    }
}

/// Which entry goes to which release.
pub(crate) fn plan<'a>(entries: &'a [Entry], releases: &[String], full: bool) -> Vec<Task<'a>> {
    let chosen: Vec<_> = RELEASES
        .into_iter()
        .filter(|name| releases.is_empty() || releases.iter().any(|release| release == name))
        .collect();
    assert!(!chosen.is_empty(), "the releases are {RELEASES:?}");
    let mut tasks = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        let here = if full {
            chosen.clone()
        } else {
            vec![chosen[number % chosen.len()]]
        };
        for release in here {
            tasks.push(Task { entry, release });
        }
    }
    // Those that wait long go first, so that others do their work meanwhile.
    tasks.sort_by_key(|task| std::cmp::Reverse(task.entry.waits));
    tasks
}

/// Runs them all, in the order of the table.
pub(crate) fn all(tasks: &[Task<'_>], jobs: usize) -> Vec<Result> {
    let server = build_server();
    let queue: Mutex<VecDeque<&Task<'_>>> = Mutex::new(tasks.iter().collect());
    let (send, results) = mpsc::channel();
    let next = || {
        queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    };
    let mut results: Vec<Result> = thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            let (send, next, server) = (send.clone(), &next, &server);
            scope.spawn(move || {
                while let Some(task) = next() {
                    send.send(one(task, server)).ok();
                }
            });
        }
        drop(send);
        results.iter().inspect(tell).collect()
    });
    results.sort_by_key(|result| {
        let place = tasks.iter().position(|task| task.entry.name == result.name);
        (place, RELEASES.iter().position(|r| *r == result.release))
    });
    results
}

#[expect(clippy::print_stdout, reason = "it is its own test harness")]
fn tell(result: &Result) {
    let Result {
        name,
        release,
        said,
        took,
        ..
    } = result;
    let seconds = took.as_secs_f64();
    if result.is_wrong() {
        println!("WRONG {name} on {release}: {said} after {seconds:.1} s");
        for line in &result.wrong {
            println!("{line}");
        }
    } else {
        println!("right {name} on {release}: {said} after {seconds:.1} s");
    }
}

fn one(task: &Task<'_>, server: &Path) -> Result {
    let began = Instant::now();
    // What panics is a run that did not end, or a package that could not be built.
    let (said, wrong, took) = catch_unwind(AssertUnwindSafe(|| {
        let outcome = probe(task, server);
        let (said, wrong) = judge(task, &outcome);
        (said, wrong, outcome.took)
    }))
    .unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        let text = text.unwrap_or_else(|| "a panic".to_owned());
        ("nothing".to_owned(), vec![text], began.elapsed())
    });
    Result {
        name: task.entry.name,
        release: task.release,
        said,
        wrong,
        took,
    }
}

/// Compiles the server that packages run: one static program for all releases.
fn build_server() -> PathBuf {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/server.c");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("corpus-server");
    process::tool(
        "cc",
        &[
            "-static",
            "-O1",
            "-s",
            "-o",
            program.to_str().expect("UTF-8"),
            source,
        ],
    );
    program
}

/// Builds the packages and runs postroj over them.
fn probe(task: &Task<'_>, server: &Path) -> Outcome {
    let place = Place::direct();
    let mut arguments = Vec::new();
    for (number, package) in task.entry.packages.iter().enumerate() {
        let mut package = package.clone();
        if package.holds(SERVER) {
            // A path of the package's own, for two packages may not have the same.
            let path = format!("{SERVER}-{}", package.name());
            package = package
                .set(SERVER, &path)
                .binary(path.trim_start_matches('/'), server);
        }
        let file = package.build(place.scratch(), &format!("{number}-{}.deb", package.name()));
        arguments.extend(["--package".to_owned(), file.display().to_string()]);
    }
    for (name, content) in &task.entry.fakes {
        let file = place.scratch().join(name);
        fs::write(&file, content).expect("write a file");
        arguments.extend(["--package".to_owned(), file.display().to_string()]);
    }
    arguments.extend(task.entry.arguments.iter().cloned());
    arguments.push("--json".to_owned());
    let image = format!("debian-{}", task.release);
    place.pkgprobe(&image, arguments).run()
}

/// What was said, in a word, and what is wrong with it.
fn judge(task: &Task<'_>, outcome: &Outcome) -> (String, Vec<String>) {
    let expected = task.entry.verdict_on(task.release);
    let report: Value = serde_json::from_str(&outcome.stdout).unwrap_or_default();
    let report = &report["images"][0];
    let said = match outcome.code() {
        0 => "passed".to_owned(),
        1 => "failed".to_owned(),
        3 => "no verdict".to_owned(),
        code => format!("exit code {code}"),
    };
    let mut wrong = differences(expected, &said, report);
    if wrong.is_empty() && *expected != Verdict::Passed {
        let evidence = report["evidence"].to_string();
        for text in &task.entry.shows {
            if !evidence.contains(text) {
                wrong.push(format!("the evidence lacks {text:?}"));
            }
        }
    }
    if wrong.is_empty() {
        for (unit, who) in &task.entry.started {
            let check = checks(report).find(|check| check["target"] == *unit);
            let by = check.map_or(&Value::Null, |check| &check["started_by"]);
            if by != *who {
                wrong.push(format!("{unit} was started by {by}, not by {who:?}"));
            }
        }
    }
    if !wrong.is_empty() {
        let entry = task.entry;
        wrong.insert(0, format!("  {}: {}", entry.what, expected.words()));
        wrong.push(outcome.to_string());
    }
    (said, wrong)
}

fn checks(report: &Value) -> impl Iterator<Item = &Value> {
    report["checks"].as_array().into_iter().flatten()
}

fn differences(expected: &Verdict, said: &str, report: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let word = match expected {
        Verdict::Passed => "passed",
        Verdict::NotInstalled(_) | Verdict::Failed(_) => "failed",
    };
    if said != word {
        wrong.push(format!("it said {said:?}, and {word:?} is true"));
        return wrong;
    }
    if let Verdict::NotInstalled(text) = expected {
        let failed = report["phases"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|phase| phase["phase"] == "install" && phase["passed"] == Value::Bool(false));
        if !failed.is_some_and(|phase| phase.to_string().contains(text)) {
            wrong.push(format!("the installation did not fail with {text:?}"));
        }
    }
    if let Verdict::Failed(failing) = expected {
        for check in checks(report) {
            let target = check["target"].as_str().unwrap_or_default();
            let seen = check["observation"].as_str().unwrap_or_default();
            let known = failing.iter().find(|(start, _)| target.starts_with(start));
            match (known, check["passed"] == Value::Bool(true)) {
                (None, true) => {}
                (None, false) => wrong.push(format!("{target} failed: {seen}")),
                (Some(_), true) => wrong.push(format!("{target} held: {seen}")),
                (Some((_, text)), false) if seen.contains(text) => {}
                (Some((_, text)), false) => {
                    wrong.push(format!("{target}: {seen:?} lacks {text:?}"));
                }
            }
        }
        for (start, _) in failing {
            let has = |check: &Value| {
                check["target"]
                    .as_str()
                    .is_some_and(|target| target.starts_with(start))
            };
            if !checks(report).any(has) {
                wrong.push(format!("there is no check of {start}"));
            }
        }
    }
    wrong
}
