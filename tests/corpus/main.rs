//! Never wrong: packages that are built here, each with a known verdict, on four Debian releases.
//!
//! A run of this test takes some of the [`entries`], of every kind, to one release each, another one
//! for each in turn ([`run::choice`]). With `--full` all are taken to all of them, `--runs` times over;
//! `make test-full` does that. Nothing is tried a second time, and no verdict but the known one is put
//! up with.

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
    /// All entries, each on all releases.
    full: bool,
    /// How often.
    runs: usize,
    /// How many at once.
    jobs: usize,
    /// Where the table goes.
    rst: Option<String>,
    /// What earlier runs have told, to make a table of without a run.
    logs: Vec<String>,
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
                "--log" => options.logs.push(value()),
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
    if !options.logs.is_empty() {
        let logs = options.logs.iter();
        let told = logs.map(|path| std::fs::read_to_string(path).expect("read what was told"));
        let results: Vec<_> = told.flat_map(|told| table::read(&told, &entries)).collect();
        println!("{}", table::page(&entries, &results));
        return ExitCode::SUCCESS;
    }
    let is_named = !options.names.is_empty();
    let chosen: Vec<_> = if is_named || options.full {
        let is_meant = |entry: &entry::Entry| {
            !is_named || options.names.iter().any(|part| entry.name.contains(part))
        };
        entries.into_iter().filter(is_meant).collect()
    } else {
        run::choice(entries)
    };
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
        all.extend(results);
    }
    println!("{}", table::text(&all));
    if let Some(path) = &options.rst {
        std::fs::write(path, table::page(&chosen, &all)).expect("write the table");
    }
    if all.iter().any(run::Result::is_wrong) {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
