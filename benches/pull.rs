//! Pulling beside what a user would pick instead, from a registry on loopback, in turns: with the
//! page cache as the round before has left it (warm), and dropped before each command (cold).
//!
//! postroj's figures include the sync that makes what it pulled durable; the others' have none.

#![expect(clippy::print_stdout, reason = "a bench prints its result")]

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

/// Where the candidates write: on the disk, and empty before each run.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("scratch-")
            .tempdir_in(cache::root());
        Self(directory.expect("a directory on the disk"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn clear(&self) {
        for entry in fs::read_dir(self.0.path()).expect("read the directory") {
            let path = entry.expect("an entry").path();
            fs::remove_dir_all(&path).expect("clear the disk");
        }
    }
}

fn main() {
    let images = Images::serve();
    for (title, rounds, cold) in [
        ("warm page cache", WARM_ROUNDS, false),
        ("page cache dropped", COLD_ROUNDS, true),
    ] {
        println!("\n=== {title}: medians of {rounds} rounds, in turns");
        one_layer(&images, rounds, cold);
        eight_layers(&images, rounds, cold);
        up_to_date(&images, rounds, cold);
    }
    floor(&images);
}

fn postroj(images: &Images, disk: &Disk, reference: &str) -> String {
    format!(
        "{} --quiet --state-dir {} --registries-conf {} pull {}/{reference}",
        place::binary().display(),
        disk.path("store").display(),
        images.registries_conf().display(),
        images.address()
    )
}

fn podman(images: &Images, disk: &Disk, reference: &str) -> String {
    format!(
        "podman --root {} --runroot {} --storage-driver overlay pull --quiet --tls-verify=false {}/{reference}",
        disk.path("storage").display(),
        disk.path("run").display(),
        images.address()
    )
}

fn skopeo_and_umoci(images: &Images, disk: &Disk, reference: &str) -> String {
    format!(
        "skopeo copy --quiet --insecure-policy --src-tls-verify=false docker://{}/{reference} oci:{layout}:it \
         && umoci unpack --image {layout}:it {}",
        images.address(),
        disk.path("bundle").display(),
        layout = disk.path("layout").display(),
    )
}

/// A run with nothing on the disk.
fn fresh(disk: &Disk, cold: bool, line: &str) -> Figures {
    disk.clear();
    measure::settle(cold);
    Run::shell(line).measure()
}

fn one_layer(images: &Images, rounds: usize, cold: bool) {
    let disk = Disk::new();
    let root = disk.path("root");
    let curl = format!(
        "mkdir {root} && curl -sSf {} | tar -xz --numeric-owner --xattrs -p -C {root}",
        images.blob_of_one(),
        root = root.display()
    );
    let unpack = format!(
        "umoci unpack --image {}:one {}",
        images.layout().display(),
        disk.path("bundle").display()
    );
    let candidates = [
        ("postroj pull", postroj(images, &disk, "bench/one:1")),
        (
            "skopeo copy, umoci unpack",
            skopeo_and_umoci(images, &disk, "bench/one:1"),
        ),
        ("podman pull", podman(images, &disk, "bench/one:1")),
        ("curl | tar -xz", curl),
        ("umoci unpack alone", unpack),
    ];
    let mut figures: Vec<Vec<Figures>> = vec![Vec::new(); candidates.len() + 1];
    for _ in 0..rounds {
        for (at, (_, line)) in candidates.iter().enumerate() {
            figures[at].push(fresh(&disk, cold, line));
        }
        disk.clear();
        figures[candidates.len()].push(compose(images, &disk, cold));
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
fn compose(images: &Images, disk: &Disk, cold: bool) -> Figures {
    Run::shell(&postroj(images, disk, "bench/one:1")).measure();
    measure::settle(cold);
    let line = format!(
        "{} --quiet --state-dir {} --registries-conf {} pkgprobe --json --image {}/bench/one:1",
        place::binary().display(),
        disk.path("store").display(),
        images.registries_conf().display(),
        images.address()
    );
    let outcome = process::run(measure::sh(&line)).exits(0);
    let report: serde_json::Value = serde_json::from_str(&outcome.stdout).expect("a report");
    let seconds = report["timings"]["compose"].as_f64().expect("seconds");
    Figures {
        wall: Duration::from_secs_f64(seconds),
        ..Figures::default()
    }
}

fn eight_layers(images: &Images, rounds: usize, cold: bool) {
    let disk = Disk::new();
    let names = ["postroj pull", "podman pull"];
    let lines = [
        postroj(images, &disk, "bench/eight:1"),
        podman(images, &disk, "bench/eight:1"),
    ];
    let sharing = postroj(images, &disk, "bench/eight:2");
    let mut figures: [Vec<Figures>; 3] = Default::default();
    for _ in 0..rounds {
        figures[1].push(fresh(&disk, cold, &lines[1]));
        figures[0].push(fresh(&disk, cold, &lines[0]));
        // Its first seven layers are there now.
        measure::settle(cold);
        figures[2].push(Run::shell(&sharing).measure());
    }
    let [first, podman, second] = figures.map(|figures| median_of(&figures));
    table(
        "eight gzip layers of the same size together",
        &[(names[0], first), (names[1], podman)],
    );
    table(
        "a second image that shares seven of eight layers",
        &[("postroj pull", second), ("the first image", first)],
    );
}

fn up_to_date(images: &Images, rounds: usize, cold: bool) {
    let disk = Disk::new();
    let pull = postroj(images, &disk, "bench/one:1");
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
fn floor(images: &Images) {
    let disk = Disk::new();
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
    let plain = disk.path("archive");
    fs::create_dir(&plain).expect("create a directory");
    let tar = plain.join("layer.tar");
    fs::write(&tar, &archive).expect("write the archive");
    measure::settle(false);
    let root = disk.path("root");
    fs::create_dir(&root).expect("create a directory");
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
