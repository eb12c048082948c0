//! Images that the host's package managers make: real dnf, zypper and pacman, from repositories that
//! the tests build with the real tools; see [`tree::repositories`].

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::support::place::Postroj;
use crate::support::process::{self, tool};
use crate::support::{Place, tree};

/// A catalogue of one image, `made`, in a configuration of its own.
struct Made {
    place: Place,
    config: PathBuf,
}

impl Made {
    fn new() -> Self {
        let place = Place::direct();
        let images = place.scratch().join("images");
        fs::create_dir(&images).expect("create");
        let config = place.scratch().join("config.toml");
        let text = format!("images_dir = \"{}\"\n", images.display());
        fs::write(&config, text).expect("write");
        Self { place, config }
    }

    fn describe(&self, family: &str, bootstrap: &str) {
        let text = format!(
            "name = \"made\"\ntitle = \"Made\"\nfamily = \"{family}\"\n\n[[source]]\n[source.bootstrap]\n{bootstrap}\n"
        );
        fs::write(self.place.scratch().join("images/made.toml"), text).expect("write");
    }

    fn postroj(&self, arguments: &[&str]) -> Postroj<'_> {
        self.place
            .postroj(["--config", self.config.to_str().expect("UTF-8")])
            .args(arguments)
            .env("POSTROJ_STATE_DIR", self.store())
    }

    fn store(&self) -> PathBuf {
        self.place.scratch().join("store")
    }

    /// A directory without `hidden`, for `PATH`: a host that has not installed it.
    fn path_without(&self, hidden: &[&str]) -> PathBuf {
        let bin = self.place.scratch().join("bin");
        fs::create_dir(&bin).expect("create");
        for directory in ["/usr/bin", "/usr/sbin", "/bin", "/sbin"] {
            for entry in fs::read_dir(directory).expect("list").flatten() {
                let name = entry.file_name();
                if !hidden.iter().any(|hidden| name == *hidden) {
                    std::os::unix::fs::symlink(entry.path(), bin.join(name)).ok();
                }
            }
        }
        bin
    }
}

fn rpm(packages: &str) -> String {
    let repository = tree::repositories().join("rpm");
    let repository = repository.display();
    format!(
        "packages = [{packages}]\nkeys = [\"{repository}/key.asc\"]\nrelease = \"1\"\n\
         [[source.bootstrap.repository]]\nname = \"made\"\nbaseurl = \"file://{repository}\"\n"
    )
}

fn pacman(packages: &str) -> String {
    let repository = tree::repositories().join("pacman");
    format!(
        "packages = [{packages}]\nunsigned = true\n\
         [[source.bootstrap.repository]]\nname = \"made\"\nserver = \"file://{}\"\n",
        repository.display()
    )
}

/// The root of the one layer that a bootstrap makes.
fn root(store: &Path) -> PathBuf {
    let mut layers = fs::read_dir(store.join("layers")).expect("the layers");
    let layer = layers.next().expect("a layer").expect("a layer");
    layer.path().join("root")
}

fn boots(made: &Made) {
    let probe = [
        "pkgprobe",
        "--image",
        "made",
        "--check-unit",
        "systemd-journald",
    ];
    made.postroj(&probe).run().exits(0);
}

#[test]
fn with_dnf() {
    let made = Made::new();
    made.describe("redhat", &rpm("\"system\""));
    let pull = |arguments: &[&str]| {
        let mut line = vec!["pull", "made"];
        line.extend(arguments);
        made.postroj(&line).run()
    };
    pull(&[]).exits(0).stderr_has("made: pulled");
    let root = root(&made.store());
    let release = fs::read_to_string(root.join("usr/lib/os-release")).expect("os-release");
    assert!(
        release.contains("Made for a test"),
        "the dependency is missing"
    );
    for path in ["var/cache/dnf", "dev", "proc", "root/.rpmdb"] {
        let left = fs::read_dir(root.join(path)).into_iter().flatten().count();
        assert_eq!(left, 0, "{path} is not empty");
    }
    // The host's rpm reads what is there for the distribution's own.
    let database = format!("--dbpath={}/usr/lib/sysimage/rpm", root.display());
    tool("rpm", &[&database, "-q", "system"]).stdout_has("system-1-1");
    boots(&made);

    // It is up to date until its recipe changes, which then takes effect by itself.
    pull(&[]).exits(0).stderr_has("made: up to date");
    let lock = made.place.scratch().join("postroj.lock");
    let lock = lock.to_str().expect("UTF-8");
    pull(&["--lock", lock]).exits(0);
    pull(&["--locked", lock]).exits(0).stderr_has("as locked");
    made.describe("redhat", &rpm("\"system\", \"system-later\""));
    pull(&["--offline"])
        .exits(3)
        .stderr_has("--offline leaves the network alone");
    pull(&[])
        .exits(0)
        .stderr_has("made: a newer one was pulled");
    // What was locked cannot be had any more, and is not replaced in silence.
    pull(&["--locked", lock])
        .exits(3)
        .stderr_has("made: it is not what was locked");
    pull(&[]).exits(0).stderr_has("made: up to date");

    // A package that nobody has signed is refused, and so is one that there is not.
    let unknown = rpm("\"system\"").replace("key.asc", "repodata/repomd.xml");
    made.describe("redhat", &unknown);
    pull(&[]).exits(3).stderr_has("dnf system failed");
    made.describe("redhat", &rpm("\"no-such-package\""));
    pull(&[]).exits(3).stderr_has("no-such-package");
}

#[test]
fn with_zypper() {
    let made = Made::new();
    made.describe("suse", &rpm("\"system\""));
    let path = made.path_without(&["dnf", "dnf5", "yum"]);
    let pull = || made.postroj(&["pull", "made"]).env("PATH", &path).run();
    pull().exits(0).stderr_has("made: pulled");
    boots(&made);
    let unknown = rpm("\"system\"").replace("key.asc", "repodata/repomd.xml");
    made.describe("suse", &unknown);
    pull().exits(3).stderr_has("zypper system failed");
    made.describe("suse", &rpm("\"no-such-package\""));
    pull().exits(3).stderr_has("zypper no-such-package failed");
    // A metalink is for dnf.
    made.describe(
        "suse",
        &rpm("\"system\"").replace("baseurl = \"file://", "metalink = \"file://"),
    );
    pull()
        .exits(3)
        .stderr_has("dnf is not installed")
        .stderr_has("hint: ");
}

#[test]
fn with_pacman() {
    let made = Made::new();
    made.describe("arch", &pacman("\"system\""));
    made.postroj(&["pull", "made"])
        .run()
        .exits(0)
        .stderr_has("made: pulled");
    let root = root(&made.store());
    assert!(
        root.join("var/lib/pacman/local/system-release-1-1/desc")
            .exists()
    );
    boots(&made);
    // Who wants signatures does not get what has none.
    let signed = pacman("\"system\"").replace("unsigned = true", "keyring = \"archlinux\"");
    made.describe("arch", &signed);
    made.postroj(&["pull", "made"])
        .run()
        .exits(3)
        .stderr_has("pacman system failed");
}

#[test]
fn a_killed_bootstrap_leaves_nothing() {
    let made = Made::new();
    made.describe("redhat", &rpm("\"system-slow\""));
    let mounts = || {
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("the mounts");
        let scratch = made.place.scratch().display().to_string();
        mounts
            .lines()
            .filter(|line| line.contains(&scratch))
            .count()
    };
    for signal in [Signal::KILL, Signal::TERM] {
        let running = made.postroj(&["pull", "made"]).start();
        // In the script of a package.
        process::wait_for_argument("4711");
        running.signal(signal);
        running.wait();
        process::wait_until(|| process::with_argument("4711").is_empty(), "none");
        assert_eq!(mounts(), 0);
    }
    made.describe("redhat", &rpm("\"system\""));
    made.postroj(&["pull", "made"]).run().exits(0);
    let left = fs::read_dir(made.store().join("tmp")).expect("the scratch directories");
    assert_eq!(left.count(), 0);
}
