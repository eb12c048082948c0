//! Cycles in a row, all in one process: nothing is left behind, memory and open files stay flat.
//!
//! `make test` takes ten, `make test-full` two hundred (`--cycles 200`). What the process holds after
//! some cycles, when its pools are filled and its tables have grown, it has to hold after the last.

#![expect(clippy::print_stdout, reason = "it prints what it has found")]

#[path = "../it/support/mod.rs"]
#[expect(
    dead_code,
    unused_imports,
    reason = "the other tests use the rest of it"
)]
mod support;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use postroj::image::{Access, Catalogue, Images, PullOptions, PullPolicy, Reference};
use postroj::install::Fetcher;
use postroj::machine::{Isolation, Profile};
use postroj::matrix::{self, Observer, Pace, Resources};
use postroj::pkgprobe::{Keep, Lifecycle, Plan};
use postroj::probe::{Patience, ProbeFile};
use postroj::progress::{SharedProgress, Silent};
use postroj::report::{ImageReport, Invocation, Verdict};

use support::{Place, image, sweep};

/// The image.
const IMAGE: &str = "debian-bookworm";

/// How much more memory may be in use after the last cycle, in KiB: what an allocator keeps differs
/// from time to time, and grows less and less. A leak of as little as 12 KiB in each of 200 cycles is
/// more than that.
const MORE_MEMORY: u64 = 2048;

/// What the process holds.
#[derive(Debug, Clone, Copy)]
struct Held {
    /// `VmRSS` of proc(5), in KiB.
    memory: u64,
    files: usize,
    threads: usize,
}

impl Held {
    fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").expect("read the own status");
        let memory = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok())
            .expect("a line with VmRSS");
        let count = |path| fs::read_dir(path).expect("read the own directory").count();
        Self {
            memory,
            files: count("/proc/self/fd"),
            threads: count("/proc/self/task"),
        }
    }
}

/// The least that was held after each of some cycles: a thread that is about to end, or memory that is
/// about to be given back, is none that has come to stay.
fn least(held: &[Held]) -> Held {
    Held {
        memory: held.iter().map(|held| held.memory).min().unwrap_or(0),
        files: held.iter().map(|held| held.files).min().unwrap_or(0),
        threads: held.iter().map(|held| held.threads).min().unwrap_or(0),
    }
}

fn main() -> ExitCode {
    if let Some(code) = postroj::helper() {
        return ExitCode::from(u8::try_from(code).unwrap_or(1));
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let cycles = arguments
        .iter()
        .position(|argument| argument == "--cycles")
        .map_or(10, |at| {
            arguments[at + 1].parse().expect("a number of cycles")
        });
    soak(cycles)
}

fn soak(cycles: usize) -> ExitCode {
    let place = Place::direct_alone();
    image::pulled(IMAGE);
    let progress: SharedProgress = Arc::new(Silent);
    let catalogue = Catalogue::builtin().expect("the catalogue");
    let images = Images::open(
        &place.state(),
        catalogue,
        Access::default(),
        progress.clone(),
    );
    let resources = Resources {
        images: images.expect("the store"),
        fetcher: Fetcher::new(&place.scratch().join("downloads"), progress),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let look = || {
        sweep::look(
            Path::new("/"),
            Path::new("/proc/self/mountinfo"),
            &place.state(),
        )
    };
    // With this, what was made once is there: the runtime's threads, the directory of locks.
    runtime.block_on(cycle(&resources));
    let before = look();
    let mut held = Vec::new();
    let mut took = Vec::new();
    let mut wrong = Vec::new();
    let mut left_behind = 0;
    for number in 1..=cycles {
        let began = Instant::now();
        runtime.block_on(cycle(&resources));
        took.push(began.elapsed());
        held.push(Held::now());
        for left in look().since(&before) {
            left_behind += 1;
            wrong.push(format!("cycle {number} has left behind: {left}"));
        }
    }
    let settled = (cycles / 2).clamp(1, 20);
    let window = settled.div_ceil(2);
    let at = |cycle: usize| least(&held[cycle - window..cycle]);
    let (early, late) = (at(settled), at(cycles));
    if late.memory > early.memory + MORE_MEMORY {
        wrong.push("memory has grown".to_owned());
    }
    if late.files > early.files {
        wrong.push("more files are open".to_owned());
    }
    if late.threads > early.threads {
        wrong.push("there are more threads".to_owned());
    }
    took.sort();
    let median: Duration = took[took.len() / 2];
    println!(
        "{cycles} cycles in one process, {:.3} s each (median)",
        median.as_secs_f64()
    );
    for number in (settled..=cycles).step_by(settled) {
        let held = at(number);
        println!(
            "after cycle {number:4}: {:6} KiB of memory, {} open files, {} threads",
            held.memory, held.files, held.threads
        );
    }
    println!("left behind: {left_behind}");
    if wrong.is_empty() {
        return ExitCode::SUCCESS;
    }
    for line in &wrong {
        println!("FAILED: {line}");
    }
    ExitCode::FAILURE
}

/// One run as `postroj pkgprobe --check-unit systemd-journald` makes it, which has to pass.
async fn cycle(resources: &Resources) {
    let checks = "[[unit]]\nname = \"systemd-journald\"\n";
    let checks = ProbeFile::parse(Path::new("soak.toml"), checks).expect("a probe file");
    let plan = Plan {
        image: Reference::load(IMAGE).expect("an image"),
        pull: PullOptions {
            policy: PullPolicy::Never,
            ..PullOptions::default()
        },
        packages: Vec::new(),
        lifecycle: Lifecycle::new(&[]),
        checks: checks.checks.into_checks().expect("checks"),
        patience: Patience::default(),
        boot_timeout: Duration::from_secs(60),
        install_timeout: Duration::from_secs(60),
        timeout: None,
        isolation: Isolation::default(),
        profile: Profile::Trimmed,
        keep: Keep::Never,
        artifacts: None,
    };
    let pace = Pace {
        jobs: 1,
        fail_fast: false,
    };
    let nobody: Arc<dyn Observer> = Arc::new(Nobody);
    let invocation = Invocation::new([], SystemTime::now());
    let never = std::future::pending();
    let report = matrix::run(vec![plan], pace, resources, &nobody, invocation, never);
    let report = report.await.expect("a run that nobody interrupts");
    assert_eq!(report.verdict, Verdict::Passed, "{report:#?}");
}

/// Nobody sees how the images fare.
struct Nobody;

impl Observer for Nobody {
    fn begins(&self, _: usize) -> SharedProgress {
        Arc::new(Silent)
    }

    fn ended(&self, _: usize, _: &ImageReport) {}
}
