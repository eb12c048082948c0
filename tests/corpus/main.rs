//! Never wrong: packages that are built here, each with a known verdict, on four Debian releases.
//!
//! A run of this test takes every entry of [`entries`] to one release, another one for each in
//! turn. With `--full` each is taken to all of them, `--runs` times over; `make test-full` does
//! that. Nothing is tried a second time, and no verdict but the known one is put up with.

#[expect(
    clippy::too_many_lines,
    reason = "entries are data, and no lines of code"
)]
mod entries;
mod entry;
mod run;
#[path = "../it/support/mod.rs"]
#[expect(dead_code, reason = "the other tests use the rest of it")]
mod support;
mod table;

use std::process::ExitCode;

/// What the command line asks for.
#[derive(Debug, Default)]
struct Options {
    /// Each entry on all releases, not on one.
    full: bool,
    /// How often.
    runs: usize,
    /// How many at once.
    jobs: usize,
    /// Where the table goes.
    rst: Option<String>,
    /// Which releases, if not all.
    releases: Vec<String>,
    /// Parts of the names of those entries that are taken, if not all are.
    names: Vec<String>,
    list: bool,
}

impl Options {
    /// Reads a command line. What cargo hands to every test and is not known here, is let pass.
    fn parse(arguments: impl Iterator<Item = String>) -> Self {
        let mut options = Self {
            runs: 1,
            // Much of a run is waiting, for a unit to settle or a time to pass.
            jobs: 2 * std::thread::available_parallelism().map_or(2, usize::from),
            ..Self::default()
        };
        let mut arguments = arguments.peekable();
        while let Some(argument) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .unwrap_or_else(|| panic!("{argument} needs a value"))
            };
            match argument.as_str() {
                "--full" => options.full = true,
                "--list" => options.list = true,
                "--runs" => options.runs = value().parse().expect("a number"),
                "--jobs" => options.jobs = value().parse().expect("a number"),
                "--rst" => options.rst = Some(value()),
                "--release" => options.releases.push(value()),
                name if !name.starts_with('-') => options.names.push(name.to_owned()),
                _ => {}
            }
        }
        options
    }
}

#[expect(clippy::print_stdout, reason = "it is its own test harness")]
fn main() -> ExitCode {
    let options = Options::parse(std::env::args().skip(1));
    let entries = entries::all();
    if options.list {
        for entry in &entries {
            println!("{}: test", entry.name);
        }
        return ExitCode::SUCCESS;
    }
    let chosen: Vec<_> = entries
        .into_iter()
        .filter(|entry| {
            options.names.is_empty() || options.names.iter().any(|part| entry.name.contains(part))
        })
        .collect();
    if chosen.is_empty() {
        return ExitCode::SUCCESS;
    }
    let mut all = Vec::new();
    for number in 1..=options.runs {
        let began = std::time::Instant::now();
        let plan = run::plan(&chosen, &options.releases, options.full);
        let results = run::all(&plan, options.jobs);
        let wrong = results.iter().filter(|result| result.is_wrong()).count();
        println!(
            "\ncorpus, run {number} of {}: {} entries, {} verdicts, {wrong} wrong, in {:.0} s\n",
            options.runs,
            chosen.len(),
            results.len(),
            began.elapsed().as_secs_f64()
        );
        all.push(results);
    }
    println!("{}", table::text(&all));
    if let Some(path) = &options.rst {
        std::fs::write(path, table::rst(&chosen, &all)).expect("write the table");
    }
    if all.iter().flatten().any(run::Result::is_wrong) {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
