//! A command's wall time, processor time and memory.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use super::support::process;

/// What one run took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    pub(super) wall: Duration,
    /// User and system time, its children's included.
    pub(super) cpu: Duration,
    /// The most memory of any one process, in kB.
    pub(super) memory: u64,
}

/// A command line to be measured.
pub(super) struct Run(String);

impl Run {
    pub(super) fn shell(line: &str) -> Self {
        Self(line.to_owned())
    }

    /// Runs it; it has to end well.
    pub(super) fn measure(&self) -> Figures {
        let report = tempfile::NamedTempFile::new().expect("a temporary file");
        let mut command = Command::new("/usr/bin/time");
        command
            .args(["--format", "%U %S %M", "--output"])
            .arg(report.path())
            .args(["sh", "-c", &self.0]);
        let started = Instant::now();
        process::run(command).exits(0);
        let wall = started.elapsed();
        let text = fs::read_to_string(report.path()).expect("the report of time(1)");
        let mut fields = text.split_whitespace();
        let mut seconds = || -> f64 {
            let field = fields.next().expect("a field");
            field.parse().expect("seconds")
        };
        let cpu = Duration::from_secs_f64(seconds() + seconds());
        let memory = fields.next().expect("a field").parse().expect("kB");
        Figures { wall, cpu, memory }
    }
}

pub(super) fn sh(line: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", line]);
    command
}

/// Lets the disk finish what the last run has left to it; then, for a cold run, drops the page cache.
pub(super) fn settle(cold: bool) {
    process::tool("sync", &[]);
    if cold {
        fs::write("/proc/sys/vm/drop_caches", "3").expect("drop the page cache");
    }
}

/// The median of each figure, and the most memory.
pub(super) fn median_of(runs: &[Figures]) -> Figures {
    let median = |figure: fn(&Figures) -> Duration| {
        let mut figures: Vec<Duration> = runs.iter().map(figure).collect();
        figures.sort();
        figures[figures.len() / 2]
    };
    Figures {
        wall: median(|run| run.wall),
        cpu: median(|run| run.cpu),
        memory: runs.iter().map(|run| run.memory).max().unwrap_or_default(),
    }
}

/// Prints the rows, and what the first is to each.
pub(super) fn table(title: &str, rows: &[(&str, Figures)]) {
    println!("\n{title}");
    println!(
        "{:34} {:>7} {:>7} {:>8} {:>12} {:>12}",
        "", "wall s", "cpu s", "peak MB", "wall, ratio", "cpu, ratio"
    );
    let own = rows[0].1;
    for (name, figures) in rows {
        println!(
            "{name:34} {:7.3} {:7.3} {:8} {:12.2} {:12.2}",
            figures.wall.as_secs_f64(),
            figures.cpu.as_secs_f64(),
            figures.memory / 1000,
            own.wall.as_secs_f64() / figures.wall.as_secs_f64(),
            own.cpu.as_secs_f64() / figures.cpu.as_secs_f64().max(0.001),
        );
    }
}
