//! One command in a container (`true`, warm), beside podman and systemd-nspawn by itself, in turns.

#![expect(clippy::print_stdout, reason = "a bench prints its result")]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use installed::installed;
use statistics::Spread;
use support::{Place, image, process, tree};

mod installed;
mod statistics;
#[path = "../tests/it/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the bench needs a part of it")]
mod support;

const IMAGE: &str = "debian-bookworm";
const ROUNDS: usize = 21;
const WARM_UP: usize = 3;

/// One way to run the command.
struct Way {
    name: &'static str,
    command: Box<dyn Fn() -> Command>,
    /// How much of its time postroj may take, if that was promised.
    at_most: Option<f64>,
    times: Vec<Duration>,
}

impl Way {
    fn new(
        name: &'static str,
        at_most: Option<f64>,
        command: impl Fn() -> Command + 'static,
    ) -> Self {
        Self {
            name,
            command: Box::new(command),
            at_most,
            times: Vec::new(),
        }
    }
}

fn main() {
    // Alone: what else runs here would be measured too.
    let place = Place::direct_alone();
    image::pulled(IMAGE);
    let tree = tree::bootable();
    let podman = podman(&place, &tree);
    let state = place.state();
    let program = installed(place.scratch());
    let ours = move |options: &'static [&'static str]| {
        let mut command = Command::new(&program);
        command.arg("run").args(options).args([IMAGE, "true"]);
        command.env("POSTROJ_STATE_DIR", &state);
        command
    };
    let by_default = ours.clone();
    let mut ways = [
        Way::new("postroj run --network host", None, move || {
            ours(&["--network", "host"])
        }),
        Way::new("podman run --rm --network host", Some(1.0), move || {
            let mut command = podman.command();
            // What a container of this machine may not raise, and version 4 asks for.
            let limits = [
                "--ulimit",
                "nofile=1024:1024",
                "--ulimit",
                "nproc=4096:4096",
            ];
            command.args(["run", "--rm", "--network", "host"]);
            command.args(limits).args(["local/bookworm", "true"]);
            command
        }),
        Way::new("systemd-nspawn --as-pid2", Some(1.3), move || {
            let mut command = Command::new("systemd-nspawn");
            command.args(["--quiet", "--register=no", "--keep-unit", "--as-pid2"]);
            command.args(["--volatile=overlay", "--directory", text(&tree), "true"]);
            command
        }),
        Way::new("postroj run, with a network of its own", None, move || {
            by_default(&[])
        }),
    ];
    for round in 0..WARM_UP + ROUNDS {
        for way in &mut ways {
            let command = (way.command)();
            let began = Instant::now();
            process::run(command).exits(0);
            if round >= WARM_UP {
                way.times.push(began.elapsed());
            }
        }
    }
    println!("{ROUNDS} rounds each, in turns; seconds, with the first and the third quartile");
    let own = Spread::of(&ways[0].times).median;
    for way in &ways {
        let spread = Spread::of(&way.times);
        let [median, first, third] =
            [spread.median, spread.first, spread.third].map(|time| time.as_secs_f64());
        let most = way.at_most;
        let most = most.map_or_else(String::new, |most| format!("  (at most {most:.2})"));
        println!(
            "{:40} {median:6.3} {first:8.3} {third:6.3} {:8.2}{most}",
            way.name,
            own.as_secs_f64() / median
        );
    }
}

/// podman with a store of its own that has the image.
struct Podman {
    root: String,
    runroot: String,
}

impl Podman {
    fn command(&self) -> Command {
        let mut command = Command::new("podman");
        command.args(["--root", &self.root, "--runroot", &self.runroot]);
        // crun does without the hierarchies of a hybrid host.
        command.args(["--runtime", "runc", "--cgroup-manager", "cgroupfs"]);
        command
    }
}

fn podman(place: &Place, tree: &Path) -> Podman {
    let at = |name: &str| text(&place.scratch().join(name)).to_owned();
    let podman = Podman {
        root: at("podman"),
        runroot: at("podman-run"),
    };
    let archive = at("root.tar");
    process::tool("tar", &["-C", text(tree), "-cf", &archive, "."]);
    let mut import = podman.command();
    import.args(["import", "--quiet", &archive, "local/bookworm"]);
    process::run(import).exits(0);
    std::fs::remove_file(&archive).expect("remove the archive");
    podman
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}
