//! Pulling beside what a user would pick instead, from a registry on loopback, in turns: with the
//! page cache as the round before has left it (warm), and dropped before each command (cold).
//!
//! postroj's figures include the sync that makes what it pulled durable; the others' have none.

#![expect(clippy::print_stdout, reason = "a bench prints its result")]

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use image::Images;
use measure::{Figures, Run, median_of, table};
use support::{cache, place, process};

#[path = "pull/image.rs"]
mod image;
#[path = "pull/measure.rs"]
mod measure;
#[path = "../tests/it/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the bench needs a part of it")]
mod support;

const WARM_ROUNDS: usize = 5;
const COLD_ROUNDS: usize = 3;

/// Where the candidates write, on the disk: each run has a directory of its own, and all go at the
/// end. To remove one before the next run would slow that down: ext4 passes over the inodes of files
/// that were removed a moment ago, one by one.
struct Disk {
    directory: tempfile::TempDir,
    runs: Cell<u32>,
}

impl Disk {
    fn new() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("scratch-")
            .tempdir_in(cache::root());
        Self {
            directory: directory.expect("a directory on the disk"),
            runs: Cell::new(0),
        }
    }

    /// An empty directory.
    fn fresh(&self) -> PathBuf {
        self.runs.set(self.runs.get() + 1);
        let path = self.directory.path().join(self.runs.get().to_string());
        fs::create_dir(&path).expect("create a directory");
        path
    }
}

/// What makes a command line that writes below a directory.
type Line<'a> = Box<dyn Fn(&Path) -> String + 'a>;

fn main() {
    let images = Images::serve();
    let disk = Disk::new();
    for (title, rounds, cold) in [
        ("warm page cache", WARM_ROUNDS, false),
        ("page cache dropped", COLD_ROUNDS, true),
    ] {
        println!("\n=== {title}: medians of {rounds} rounds, in turns");
        one_layer(&images, &disk, rounds, cold);
        eight_layers(&images, &disk, rounds, cold);
        up_to_date(&images, &disk, rounds, cold);
    }
    floor(&images, &disk);
}

fn postroj(images: &Images, at: &Path, reference: &str) -> String {
    format!(
        "{} --quiet --state-dir {} --registries-conf {} pull {}/{reference}",
        place::binary().display(),
        at.join("store").display(),
        images.registries_conf().display(),
        images.address()
    )
}

fn podman(images: &Images, at: &Path, reference: &str) -> String {
    format!(
        "podman --root {} --runroot {} --storage-driver overlay pull --quiet --tls-verify=false {}/{reference}",
        at.join("storage").display(),
        at.join("run").display(),
        images.address()
    )
}

fn skopeo_and_umoci(images: &Images, at: &Path, reference: &str) -> String {
    format!(
        "skopeo copy --quiet --insecure-policy --src-tls-verify=false docker://{}/{reference} oci:{layout}:it \
         && umoci unpack --image {layout}:it {}",
        images.address(),
        at.join("bundle").display(),
        layout = at.join("layout").display(),
    )
}

/// A run with nothing on the disk.
fn fresh(disk: &Disk, cold: bool, line: &Line<'_>) -> Figures {
    let line = line(&disk.fresh());
    measure::settle(cold);
    Run::shell(&line).measure()
}

fn one_layer(images: &Images, disk: &Disk, rounds: usize, cold: bool) {
    let candidates: [(&str, Line<'_>); 5] = [
        (
            "postroj pull",
            Box::new(|at| postroj(images, at, "bench/one:1")),
        ),
        (
            "skopeo copy, umoci unpack",
            Box::new(|at| skopeo_and_umoci(images, at, "bench/one:1")),
        ),
        (
            "podman pull",
            Box::new(|at| podman(images, at, "bench/one:1")),
        ),
        (
            "curl | tar -xz",
            Box::new(|at| {
                format!(
                    "curl -sSf {} | tar -xz --numeric-owner --xattrs -p -C {}",
                    images.blob_of_one(),
                    at.display()
                )
            }),
        ),
        (
            "umoci unpack alone",
            Box::new(|at| {
                format!(
                    "umoci unpack --image {}:one {}",
                    images.layout().display(),
                    at.join("bundle").display()
                )
            }),
        ),
    ];
    let mut figures: Vec<Vec<Figures>> = vec![Vec::new(); candidates.len() + 1];
    for _ in 0..rounds {
        for (at, (_, line)) in candidates.iter().enumerate() {
            figures[at].push(fresh(disk, cold, line));
        }
        figures[candidates.len()].push(compose(images, &disk.fresh(), cold));
    }
    let mut rows: Vec<(&str, Figures)> = candidates
        .iter()
        .zip(&figures)
        .map(|((name, _), figures)| (*name, median_of(figures)))
        .collect();
    let composed = median_of(&figures[candidates.len()]);
    let unpacked = rows[4].1;
    rows.truncate(4);
    table(
        &format!(
            "one gzip layer of {} MB, {} MB unpacked",
            images.one_bytes() / 1_000_000,
            images.unpacked_bytes() / 1_000_000
        ),
        &rows,
    );
    println!(
        "{:34} {:7.3} s, umoci unpack {:.3} s: {:.4}",
        "root ready to boot (compose)",
        composed.wall.as_secs_f64(),
        unpacked.wall.as_secs_f64(),
        composed.wall.as_secs_f64() / unpacked.wall.as_secs_f64()
    );
}

/// How long the root of an image that is in the store takes to be put together, as a run tells it.
fn compose(images: &Images, at: &Path, cold: bool) -> Figures {
    Run::shell(&postroj(images, at, "bench/one:1")).measure();
    measure::settle(cold);
    let line = format!(
        "{} --quiet --state-dir {} --registries-conf {} pkgprobe --json --image {}/bench/one:1",
        place::binary().display(),
        at.join("store").display(),
        images.registries_conf().display(),
        images.address()
    );
    let outcome = process::run(measure::sh(&line)).exits(0);
    let report: serde_json::Value = serde_json::from_str(&outcome.stdout).expect("a report");
    let seconds = report["images"][0]["timings"]["compose"]
        .as_f64()
        .expect("seconds");
    Figures {
        wall: Duration::from_secs_f64(seconds),
        ..Figures::default()
    }
}

fn eight_layers(images: &Images, disk: &Disk, rounds: usize, cold: bool) {
    let podman: Line<'_> = Box::new(|at| podman(images, at, "bench/eight:1"));
    let mut figures: [Vec<Figures>; 3] = Default::default();
    for _ in 0..rounds {
        figures[1].push(fresh(disk, cold, &podman));
        let at = disk.fresh();
        measure::settle(cold);
        figures[0].push(Run::shell(&postroj(images, &at, "bench/eight:1")).measure());
        // Its first seven layers are there now.
        measure::settle(cold);
        figures[2].push(Run::shell(&postroj(images, &at, "bench/eight:2")).measure());
    }
    let [first, podman, second] = figures.map(|figures| median_of(&figures));
    table(
        "eight gzip layers of the same size together",
        &[("postroj pull", first), ("podman pull", podman)],
    );
    table(
        "a second image that shares seven of eight layers",
        &[("postroj pull", second), ("the first image", first)],
    );
}

fn up_to_date(images: &Images, disk: &Disk, rounds: usize, cold: bool) {
    let pull = postroj(images, &disk.fresh(), "bench/one:1");
    let inspect = format!(
        "skopeo inspect --tls-verify=false docker://{}/bench/one:1",
        images.address()
    );
    Run::shell(&pull).measure();
    let mut figures: [Vec<Figures>; 2] = Default::default();
    for _ in 0..rounds.max(5) {
        for (figures, line) in figures.iter_mut().zip([&pull, &inspect]) {
            measure::settle(cold);
            figures.push(Run::shell(line).measure());
        }
    }
    let [pull, inspect] = figures.map(|figures| median_of(&figures));
    table(
        "an image that is up to date",
        &[("postroj pull", pull), ("skopeo inspect", inspect)],
    );
}

/// What this machine takes for each part of the work alone, one core and the disk.
fn floor(images: &Images, disk: &Disk) {
    println!("\n=== the parts of the work alone (one layer; seconds)");
    let blob = fs::read(images.one_blob()).expect("read the layer");
    let timed = |name: &str, work: &mut dyn FnMut()| {
        let started = Instant::now();
        work();
        println!("{name:34} {:7.3}", started.elapsed().as_secs_f64());
    };
    let mut archive = Vec::new();
    timed("inflate, in memory", &mut || {
        archive = image::inflate(&blob);
    });
    timed("sha256 of the blob", &mut || {
        std::hint::black_box(support::registry::hex(&blob));
    });
    timed("sha256 of the archive", &mut || {
        std::hint::black_box(support::registry::hex(&archive));
    });
    let tar = disk.fresh().join("layer.tar");
    fs::write(&tar, &archive).expect("write the archive");
    measure::settle(false);
    let root = disk.fresh();
    timed("tar -x of the archive", &mut || {
        extract(&tar, &root);
    });
    timed("syncfs after it", &mut || {
        process::tool("sync", &["-f", text(&root)]);
    });
}

fn extract(archive: &Path, to: &Path) {
    process::tool(
        "tar",
        &[
            "-x",
            "--numeric-owner",
            "-p",
            "-f",
            text(archive),
            "-C",
            text(to),
        ],
    );
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}
