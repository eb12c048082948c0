//! Eight warm cycles in one run, two at a time, beside eight runs one after the other.

#![expect(clippy::print_stdout, reason = "a bench prints its result")]

use std::path::Path;
use std::time::{Duration, Instant};

use statistics::Spread;
use support::{Place, image, process};

mod statistics;
#[path = "../tests/it/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the bench needs a part of it")]
mod support;

const CYCLES: usize = 8;
const ROUNDS: usize = 9;
const WARM_UP: usize = 2;

/// What the ratio may be on two processors.
const AT_MOST: f64 = 0.60;

fn main() {
    // Alone: what else boots here would be measured too.
    let place = Place::direct_alone();
    let store = place.scratch().join("store");
    let archive = place.scratch().join("bookworm.tar");
    let archive = text(&archive);
    image::pulled("debian-bookworm");
    place
        .postroj(["export", "debian-bookworm", archive])
        .run()
        .exits(0);
    // Eight names for one image, which share its layers; a name that is there twice is tested once.
    let names: Vec<String> = (1..=CYCLES)
        .map(|n| format!("localhost/bookworm:{n}"))
        .collect();
    for name in &names {
        let import = place.postroj(["import", archive, "--name", name]);
        import.env("POSTROJ_STATE_DIR", &store).run().exits(0);
    }
    let run = |images: &str, jobs: &str| {
        let arguments = ["-q", "pkgprobe", "--image", images, "--jobs", jobs];
        let command = place
            .postroj(arguments)
            .args(["--check-unit", "systemd-journald"]);
        let command = command.env("POSTROJ_STATE_DIR", &store).command();
        process::run(command).exits(0);
    };
    let timed = |work: &dyn Fn()| {
        let started = Instant::now();
        work();
        started.elapsed()
    };
    let all = names.join(",");
    let mut separate = Vec::new();
    let mut together = Vec::new();
    for round in 0..WARM_UP + ROUNDS {
        let one_by_one = timed(&|| names.iter().for_each(|name| run(name, "1")));
        let two_at_a_time = timed(&|| run(&all, "2"));
        if round >= WARM_UP {
            separate.push(one_by_one);
            together.push(two_at_a_time);
        }
    }
    println!("{CYCLES} cycles, {ROUNDS} rounds in turns; seconds: median, quartiles");
    let tell = |name: &str, times: &[Duration]| {
        let spread = Spread::of(times);
        let [median, first, third] =
            [spread.median, spread.first, spread.third].map(|time| time.as_secs_f64());
        println!("{name:25} {median:7.3} {first:8.3} {third:8.3}");
        median
    };
    let separate = tell("one run after the other", &separate);
    let together = tell("one run with --jobs 2", &together);
    println!(
        "{:25} {:7.2}  (at most {AT_MOST:.2} on two processors)",
        "ratio",
        together / separate
    );
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}
