//! postroj killed at any moment, and many of it at once: the store stays sound.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::store::{Shelf, names};
use crate::support::archive::{Entry, Tar};
use crate::support::http::Answer;
use crate::support::{image, oci, process, tiny, tree};

/// The system calls by which the store changes hands: between them nothing is decided.
const STEPS: [&str; 8] = [
    "mkdir", "rename", "renameat", "unlink", "unlinkat", "flock", "fsync", "syncfs",
];

/// An image of three layers, the lowest of which makes it bootable.
struct Sample {
    layers: Vec<Vec<u8>>,
    files: BTreeMap<&'static str, Vec<u8>>,
}

impl Sample {
    fn new(seed: u64) -> Self {
        let files: BTreeMap<&str, Vec<u8>> = [("etc/one", 0), ("etc/two", 1), ("etc/three", 2)]
            .into_iter()
            .map(|(path, at)| (path, tiny::noise(seed + at, 200_000)))
            .collect();
        let layer = |path: &str| {
            Tar::new()
                .with(Entry::file(path, files[path].clone()))
                .bytes()
        };
        let layers = vec![
            tiny::archive(&[("etc/one", &files["etc/one"])]),
            layer("etc/two"),
            layer("etc/three"),
        ];
        Self { layers, files }
    }

    fn layers(&self) -> Vec<&[u8]> {
        self.layers.iter().map(Vec::as_slice).collect()
    }
}

/// Whether the store has the image; if it does, then all of it, as it is to be.
#[track_caller]
fn holds(shelf: &Shelf, name: &str, sample: &Sample) -> bool {
    let listed = shelf.json(&["images", "--json"]);
    let listed = listed.as_array().expect("a list");
    let Some(image) = listed.iter().find(|image| image["name"] == name) else {
        return false;
    };
    assert_eq!(image["missing_layers"].as_array().map(Vec::len), Some(0));
    let inspected = shelf.json(&["inspect", name]);
    let roots = inspected[0]["layers"].as_array().expect("layers");
    let roots: Vec<PathBuf> = roots
        .iter()
        .map(|layer| layer["path"].as_str().expect("a path").into())
        .collect();
    for (path, content) in &sample.files {
        let found = roots
            .iter()
            .rev()
            .find_map(|root| fs::read(root.join(path)).ok());
        assert!(found.as_ref() == Some(content), "{path} is damaged");
    }
    true
}

/// Everything works after a kill, and nothing of it is left in the end.
#[track_caller]
fn recovers(shelf: &Shelf, name: &str, sample: &Sample) {
    shelf.run(&["pull", name]).exits(0);
    assert!(holds(shelf, name, sample));
    shelf.run(&["gc"]).exits(0);
    assert_eq!(shelf.names("tmp"), [""; 0]);
    assert_eq!(shelf.names("layers").len(), 3);
    assert_eq!(shelf.names("images").len(), 1);
    shelf.run(&["gc"]).exits(0).stdout_has("0 kB freed");
    shelf.run(&["check"]).exits(0).stdout_has("no problem");
}

/// Runs postroj until a thread of it makes the system call `step` for the `at`th time, and kills it
/// before that is done; false if it came to its end before.
#[track_caller]
fn killed_at(shelf: &Shelf, step: &str, at: usize, arguments: &[&str]) -> bool {
    let mut command = Command::new("strace");
    command
        .args(["-f", "-qq", "-o", "/dev/null"])
        .args(["-e", &format!("trace={step}")])
        .args(["-e", &format!("inject={step}:signal=KILL:when={at}")])
        .args(shelf.words(arguments));
    let outcome = process::run(command);
    match outcome.code() {
        0 => false,
        137 => true,
        _ => panic!("neither killed nor well\n{outcome}"),
    }
}

/// Has `kill` kill postroj at each of the [`STEPS`], at every `stride`th time that it comes; `after`
/// looks at what is left. Returns how often it was killed.
fn at_every_step(
    stride: usize,
    kill: impl Fn(&str, usize) -> bool,
    mut after: impl FnMut(),
) -> usize {
    let mut kills = 0;
    for step in STEPS {
        let mut at = 1;
        while kill(step, at) {
            kills += 1;
            at += stride;
            after();
        }
        after();
    }
    kills
}

#[test]
fn a_pull_killed_at_every_step() {
    let shelf = Shelf::new();
    let sample = Sample::new(10);
    let name = shelf.serve("killed", &sample.layers()).reference;
    let (mut complete, mut rounds) = (0, 0);
    let kills = at_every_step(
        1,
        |step, at| killed_at(&shelf, step, at, &["pull", &name]),
        || {
            shelf.run(&["check"]).exits(0);
            complete += usize::from(holds(&shelf, &name, &sample));
            rounds += 1;
            if rounds % 5 == 0 {
                recovers(&shelf, &name, &sample);
            }
            shelf.run(&["rmi", "--all"]).exits(0);
        },
    );
    assert!(kills > 20, "only {kills} steps were seen");
    assert!(
        complete > STEPS.len(),
        "no kill came after the image was there"
    );
    assert!(complete < rounds, "no kill came before the image was there");
    recovers(&shelf, &name, &sample);
}

#[test]
fn a_pull_killed_at_any_time() {
    let shelf = Shelf::new();
    let sample = Sample::new(20);
    let name = shelf.serve("killed", &sample.layers()).reference;
    let whole = shelf.run(&["pull", &name]).exits(0).took;
    shelf.run(&["rmi", &name]).exits(0);
    for at in 0..24 {
        let started = shelf.postroj(&["pull", &name]).start();
        thread::sleep(whole * at / 20);
        started.signal(Signal::KILL);
        started.running.reap();
        shelf.run(&["check"]).exits(0);
        if holds(&shelf, &name, &sample) && at % 2 == 0 {
            shelf.run(&["rmi", &name]).exits(0);
        }
    }
    recovers(&shelf, &name, &sample);
}

/// What is half there when the registry stalls goes with the next collection.
#[test]
fn a_pull_killed_in_mid_layer() {
    let shelf = Shelf::new();
    let sample = Sample::new(30);
    let layers = sample.layers().into_iter().map(oci::Layer::gzip);
    let put = |stalled: bool| {
        let layers = layers.clone().enumerate().map(|(at, layer)| {
            let blob = crate::support::archive::gzip(&sample.layers[at]);
            let half = blob.len() / 2;
            let answer = Answer::body(blob);
            layer.served(if stalled && at == 1 {
                answer.stall_at(half)
            } else {
                answer
            })
        });
        let image = layers.fold(oci::Image::new(), oci::Image::layer);
        image.put(&shelf.server, "stalls", "tag").reference
    };
    let name = put(true);
    let blob = oci::Layer::gzip(&sample.layers[1]).digest();
    let started = shelf.postroj(&["pull", &name]).start();
    shelf.server.wait_for(&format!("/v2/stalls/blobs/{blob}"));
    started.signal(Signal::KILL);
    started.running.reap();
    assert_ne!(shelf.names("tmp"), [""; 0]);
    assert!(!holds(&shelf, &name, &sample));
    shelf
        .run(&["gc", "--dry-run"])
        .exits(0)
        .stdout_has("left by a killed run");
    shelf
        .run(&["gc"])
        .exits(0)
        .stdout_has("left by a killed run");
    assert_eq!(shelf.names("tmp"), [""; 0]);
    put(false);
    recovers(&shelf, &name, &sample);
}

#[test]
fn a_collection_killed_at_every_step() {
    let shelf = Shelf::new();
    let sample = Sample::new(40);
    let name = shelf.serve("kept", &sample.layers()).reference;
    shelf.run(&["pull", &name]).exits(0);
    let other = Sample::new(50);
    let garbage = shelf.serve("garbage", &other.layers()).reference;
    let kills = at_every_step(
        2,
        |step, at| {
            // Layers that only the garbage has, which then lose their image.
            shelf.run(&["pull", &garbage]).exits(0);
            for record in shelf.names("images") {
                if record.contains("garbage") {
                    let record = shelf.state.join("images").join(record);
                    fs::remove_file(record).expect("remove a record");
                }
            }
            killed_at(&shelf, step, at, &["gc"])
        },
        || {
            shelf.run(&["check"]).exits(0);
            assert!(holds(&shelf, &name, &sample));
        },
    );
    assert!(kills > 10, "only {kills} steps were seen");
    recovers(&shelf, &name, &sample);
}

#[test]
fn a_removal_killed_at_every_step() {
    let shelf = Shelf::new();
    let sample = Sample::new(41);
    let name = shelf.serve("kept", &sample.layers()).reference;
    shelf.run(&["pull", &name]).exits(0);
    let other = Sample::new(51);
    let going = shelf.serve("going", &other.layers()).reference;
    let kills = at_every_step(
        2,
        |step, at| {
            shelf.run(&["pull", &going]).exits(0);
            assert!(holds(&shelf, &going, &other));
            killed_at(&shelf, step, at, &["rmi", &going])
        },
        || {
            assert!(holds(&shelf, &name, &sample));
            // There whole, or not there.
            shelf.run(&["check"]).exits(0);
            holds(&shelf, &going, &other);
        },
    );
    assert!(kills > 10, "only {kills} steps were seen");
    shelf.run(&["pull", &going]).exits(0);
    shelf.run(&["rmi", &going]).exits(0);
    recovers(&shelf, &name, &sample);
}

/// What a killed run has left may be large: a signal does not wait for its removal.
#[test]
fn a_sweep_ends_when_it_is_told_to() {
    let shelf = Shelf::new();
    let sample = Sample::new(55);
    let name = shelf.serve("swept", &sample.layers()).reference;
    let left = shelf.state.join("tmp/left/root");
    fs::create_dir_all(&left).expect("make a leftover");
    for at in 0..400 {
        fs::write(left.join(at.to_string()), "").expect("make a leftover");
    }
    // Twenty seconds, were it to be waited for; strace stays in the background with -D.
    let mut command = Command::new("strace");
    command
        .args(["-D", "-f", "-qq", "-o", "/dev/null"])
        .args(["-e", "trace=unlinkat"])
        .args(["-e", "inject=unlinkat:delay_enter=50000"])
        .args(shelf.words(&["pull", &name]));
    let running = process::Running::start(command);
    process::wait_until(|| names(&left).len() < 400, "a sweep");
    running.signal(Signal::INT);
    let outcome = running.wait().exits(130);
    assert!(outcome.took < Duration::from_secs(10), "{outcome}");
    assert!(names(&left).len() > 100, "all was swept");
    recovers(&shelf, &name, &sample);
}

/// A package manager that does not come to its end, in a tree of Debian's.
#[test]
fn a_provisioning_killed() {
    let shelf = Shelf::new();
    let root = shelf.place.scratch().join("root");
    fs::create_dir(&root).expect("a directory");
    let from = format!("{}/.", tree::minimal().display());
    process::tool("cp", &["-al", "--", &from, root.to_str().expect("UTF-8")]);
    let seconds = format!("{}404", std::process::id());
    let apt = root.join("usr/bin/apt-get");
    fs::remove_file(&apt).expect("the copy's link");
    fs::write(&apt, format!("#!/bin/sh\nexec sleep {seconds}\n")).expect("write a script");
    process::tool("chmod", &["0755", apt.to_str().expect("UTF-8")]);
    let name = root.to_str().expect("UTF-8");

    let started = shelf.postroj(&["pull", name]).start();
    process::wait_for_argument(&seconds);
    started.signal(Signal::KILL);
    started.running.reap();
    // The container goes by itself, and what it wrote with the next collection.
    process::wait_until(|| process::with_argument(&seconds).is_empty(), &seconds);
    shelf.run(&["images"]).exits(0).stdout_has("0 images");
    shelf.run(&["check"]).exits(0);
    process::wait_until(
        || {
            shelf.run(&["gc"]).exits(0);
            shelf.names("tmp").is_empty()
        },
        "the leftovers",
    );
    assert_eq!(shelf.names("layers"), [""; 0], "nothing had been promised");
}

#[test]
fn a_boot_killed() {
    let shelf = Shelf::new();
    let name = "debian-bookworm";
    image::copy_store(&[name], &shelf.state);
    let layers = shelf.names("layers");
    let arguments = ["pkgprobe", "--image", name, "--check-unit", "dbus"];
    let whole = shelf.run(&arguments).exits(0).took;
    for at in 1..=4 {
        let started = shelf.postroj(&arguments).start();
        thread::sleep(whole * at / 5);
        started.signal(Signal::KILL);
        started.running.reap();
        shelf.run(&["check"]).exits(0);
    }
    shelf.run(&arguments).exits(0);
    shelf.run(&["gc"]).exits(0);
    let inspected = shelf.json(&["inspect", name]);
    for layer in inspected[0]["layers"].as_array().expect("layers") {
        let id = layer["id"].as_str().expect("a name").to_owned();
        assert!(layers.contains(&id));
    }
    shelf.run(&arguments).exits(0);
}

#[test]
fn eight_pulls_of_one_image_are_one_download() {
    let shelf = Shelf::new();
    let sample = Sample::new(60);
    let put = shelf.serve("asked", &sample.layers());
    let pulls: Vec<_> = (0..8)
        .map(|_| shelf.postroj(&["pull", &put.reference]).start())
        .collect();
    for pull in pulls {
        pull.wait().exits(0);
    }
    assert!(holds(&shelf, &put.reference, &sample));
    let requests = shelf.server.requests();
    for layer in &sample.layers {
        let path = format!("/v2/asked/blobs/{}", oci::Layer::gzip(layer).digest());
        let asked = requests.iter().filter(|request| request.path == path);
        assert_eq!(asked.count(), 1, "{path}");
    }
    assert_eq!(shelf.names("tmp"), [""; 0]);
}

/// Different images that have layers in common: each layer is fetched once, and nobody waits for
/// another in a circle.
#[test]
fn eight_images_share_their_downloads() {
    let shelf = Shelf::new();
    let sample = Sample::new(70);
    let [one, two, three] = &sample.layers()[..] else {
        panic!("three layers");
    };
    let names: Vec<String> = (0..8)
        .map(|at| {
            let layers = if at % 2 == 0 {
                [*one, *two, *three]
            } else {
                [*one, *three, *two]
            };
            shelf.serve(&format!("shared{at}"), &layers).reference
        })
        .collect();
    let pulls: Vec<_> = names
        .iter()
        .map(|name| shelf.postroj(&["pull", name]).start())
        .collect();
    for pull in pulls {
        pull.wait().exits(0);
    }
    for name in &names {
        assert!(holds(&shelf, name, &sample));
    }
    let blob = oci::Layer::gzip(one).digest();
    let asked = shelf.server.requests().into_iter();
    let asked = asked.filter(|request| request.path.ends_with(&blob));
    assert_eq!(asked.count(), 1);
}

#[test]
fn pulls_removals_and_collections_at_once() {
    let shelf = Shelf::new();
    let sample = Sample::new(80);
    let one = shelf.serve("one", &sample.layers()).reference;
    let two = shelf.serve("two", &sample.layers()[..2]).reference;
    let over = AtomicBool::new(false);
    let repeat = |work: &dyn Fn()| {
        let mut times = 0;
        while !over.load(Ordering::Relaxed) {
            work();
            times += 1;
        }
        assert!(times > 2, "only {times} rounds");
    };
    thread::scope(|scope| {
        for name in [&one, &one, &two] {
            scope.spawn(|| repeat(&|| drop(shelf.run(&["pull", name]).exits(0))));
        }
        for name in [&one, &two] {
            scope.spawn(|| {
                repeat(&|| {
                    let outcome = shelf.run(&["rmi", name]);
                    // It may just have been removed.
                    let gone = outcome.code() == 2 && outcome.stderr.contains("there is no image");
                    assert!(outcome.code() == 0 || gone, "{outcome}");
                });
            });
        }
        scope.spawn(|| repeat(&|| drop(shelf.run(&["gc"]).exits(0))));
        scope.spawn(|| repeat(&|| drop(shelf.run(&["check"]).exits(0))));
        thread::sleep(Duration::from_secs(4));
        over.store(true, Ordering::Relaxed);
    });
    shelf.run(&["check"]).exits(0);
    shelf.run(&["pull", &two]).exits(0);
    recovers_two(&shelf, &one, &two, &sample);
}

#[track_caller]
fn recovers_two(shelf: &Shelf, one: &str, two: &str, sample: &Sample) {
    shelf.run(&["pull", one]).exits(0);
    assert!(holds(shelf, one, sample));
    shelf.run(&["rmi", one]).exits(0);
    shelf.run(&["gc"]).exits(0);
    assert_eq!(names(&shelf.state.join("layers")).len(), 2);
    shelf.run(&["rmi", two]).exits(0);
    assert_eq!(shelf.names("layers"), [""; 0]);
}
