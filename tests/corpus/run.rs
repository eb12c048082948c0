//! Running entries, several at once, and holding what postroj says against what is true.

use std::collections::VecDeque;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::entry::{Entry, Failing, RELEASES, SERVER, Verdict};
use crate::support::process::Outcome;
use crate::support::{Deb, Place, process};

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

/// What waits longer than so many seconds is for full runs only.
const LONG: u32 = 10;

/// Of each group, one entry of so many is in the choice.
const CHOICE: usize = 2;

/// The entries of a run that is not full: of each group every other one, but for those that wait
/// long. The choice is always the same, so that what fails today has not passed yesterday by chance.
pub(crate) fn choice(entries: Vec<Entry>) -> Vec<Entry> {
    let mut last = ("", 0);
    let mut chosen = Vec::new();
    for entry in entries {
        if entry.group != last.0 {
            last = (entry.group, 0);
        }
        if entry.waits < LONG {
            if last.1 % CHOICE == 0 {
                chosen.push(entry);
            }
            last.1 += 1;
        }
    }
    chosen
}

/// Which entry goes to which release: to all of them, or each to another one in turn.
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
    // Those that wait long are at one end.
    tasks.sort_by_key(|task| std::cmp::Reverse(task.entry.waits));
    tasks
}

/// Runs them all, in the order of the table.
pub(crate) fn all(tasks: &[Task<'_>], jobs: usize) -> Vec<Result> {
    let server = build_server();
    let queue: Mutex<VecDeque<&Task<'_>>> = Mutex::new(tasks.iter().collect());
    let (send, results) = mpsc::channel();
    // Half of the jobs take what waits longest, the others what has the most to do: so neither the
    // processors nor the clock are waited for.
    let next = |number: usize| {
        let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
        if number.is_multiple_of(2) {
            queue.pop_front()
        } else {
            queue.pop_back()
        }
    };
    let mut results: Vec<Result> = thread::scope(|scope| {
        for number in 0..jobs.max(1) {
            let (send, next, server) = (send.clone(), &next, &server);
            scope.spawn(move || {
                while let Some(task) = next(number) {
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
    let groups = [
        ("--package", &task.entry.packages),
        ("--upgrade-from", &task.entry.earlier),
    ];
    for (option, packages) in groups {
        for (number, package) in packages.iter().enumerate() {
            let file = build(&place, server, package, &format!("{option}-{number}"));
            arguments.extend([option.to_owned(), file.display().to_string()]);
        }
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

/// Builds a package, with the server if it needs that.
fn build(place: &Place, server: &Path, package: &Deb, name: &str) -> PathBuf {
    let mut package = package.clone();
    if package.holds(SERVER) {
        // A path of the package's own, for two packages may not have the same.
        let path = format!("{SERVER}-{}", package.name());
        package = package
            .set(SERVER, &path)
            .binary(path.trim_start_matches('/'), server);
    }
    let file = format!("{}-{}.deb", name.trim_start_matches('-'), package.name());
    package.build(place.scratch(), &file)
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
    if wrong.is_empty() {
        let is_bad = *expected != Verdict::Passed;
        let shows = task.entry.shows.iter().filter(|_| is_bad);
        wrong.extend(lacking("evidence", report, shows));
        wrong.extend(lacking("leftovers", report, task.entry.leaves.iter()));
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

/// What a field of the report ought to hold, and does not.
fn lacking<'a>(
    field: &str,
    report: &Value,
    texts: impl Iterator<Item = &'a &'static str>,
) -> Vec<String> {
    let held = report[field].to_string();
    texts
        .filter(|text| !held.contains(**text))
        .map(|text| format!("the {field} lack {text:?}"))
        .collect()
}

fn differences(expected: &Verdict, said: &str, report: &Value) -> Vec<String> {
    let word = expected.word();
    if said != word {
        return vec![format!("it said {said:?}, and {word:?} is true")];
    }
    match expected {
        Verdict::Passed => Vec::new(),
        Verdict::NotInstalled(text) => phase_differences("install", text, report),
        Verdict::PhaseFailed(phase, text) => phase_differences(phase, text, report),
        Verdict::Failed(failing) => check_differences(failing, report),
        Verdict::Untold(text) if report["error"].to_string().contains(text) => Vec::new(),
        Verdict::Untold(text) => vec![format!("{} lacks {text:?}", report["error"])],
    }
}

/// Whether the phase has failed as it should, and the checks before it hold.
fn phase_differences(name: &str, text: &str, report: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let failed = report["phases"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|phase| phase["passed"] == Value::Bool(false));
    if !failed.is_some_and(|phase| phase["phase"] == name && phase.to_string().contains(text)) {
        wrong.push(format!("the phase {name} did not fail with {text:?}"));
    }
    wrong.extend(check_differences(&[], report));
    wrong
}

/// Whether these checks have failed, and no others.
fn check_differences(failing: &[Failing], report: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let is_meant = |failing: &Failing, check: &Value| {
        let target = check["target"].as_str().unwrap_or_default();
        let kind = check["kind"].as_str().unwrap_or_default();
        check["phase"] == failing.phase
            && (target.starts_with(failing.target)
                || format!("{kind} {target}").starts_with(failing.target))
    };
    for check in checks(report) {
        let what = format!("{} {}", check["kind"], check["target"]);
        let seen = check["observation"].as_str().unwrap_or_default();
        let known = failing.iter().find(|failing| is_meant(failing, check));
        match (known, check["passed"] == Value::Bool(true)) {
            (None, true) => {}
            (None, false) => wrong.push(format!("{what} failed: {seen}")),
            (Some(_), true) => wrong.push(format!("{what} held: {seen}")),
            (Some(failing), false) if seen.contains(failing.seen) => {}
            (Some(failing), false) => {
                wrong.push(format!("{what}: {seen:?} lacks {:?}", failing.seen));
            }
        }
    }
    for one in failing {
        if !checks(report).any(|check| is_meant(one, check)) {
            let Failing { phase, target, .. } = one;
            wrong.push(format!("there is no check of {target} after {phase}"));
        }
    }
    wrong
}
