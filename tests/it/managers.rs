//! dnf, zypper and pacman, which no Debian image has of its own: the tools are the real ones, from
//! Debian's packages, and so are the repositories and the packages in them. What is made up is the
//! system around them, a Debian tree that says it is another: see [`tree::foreign`].

use std::path::Path;

use crate::support::process::Outcome;
use crate::support::{Place, tree};

/// From a version of the repository, which pacman does not have, and from a file to what the repository
/// has; what an administrator has changed in the meantime stays.
fn upgrades(id: &str, tree: &Path, pkgprobe: &dyn Fn(&[&str]) -> Outcome) {
    let file = if id == "arch" {
        "srv/pacman/waker-1.0-1-any.pkg.tar.gz"
    } else {
        "srv/rpm/noarch/waker-1.0-1.noarch.rpm"
    };
    let file = tree.join(file);
    let version = (id != "arch").then_some("1.0");
    for earlier in version.into_iter().chain(file.to_str()) {
        let outcome = pkgprobe(&[
            "--package=waker",
            "--check-unit=waker",
            "--check=package:waker,version=1.0,after=install",
            "--check=package:waker,version=2.0,after=upgrade",
            "--check=package:waker,installed=false,after=remove",
            "--check=package:greeter,installed=false",
            "--lifecycle=install,upgrade,remove",
            "--upgrade-from",
            earlier,
            "--before-upgrade=echo hour=7 >>/etc/waker.conf",
            "--check=file:/etc/waker.conf,contains=hour=7,after=upgrade",
        ]);
        // Nothing in the package stops its service, and that is all that is wrong.
        let outcome = outcome.exits(1).stdout_has("the change is kept");
        let lines = outcome.stdout.lines();
        let failed = lines.filter_map(|line| line.strip_prefix("  FAILED "));
        let kinds: Vec<&str> = failed.filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(kinds, ["unit", "process"], "{outcome}");
    }
}

fn installs(id: &str, file: &str) {
    let place = Place::direct();
    let tree = tree::foreign(id);
    let image = tree.to_str().expect("UTF-8");
    let store = place.scratch().join("store");
    let pkgprobe = |arguments: &[&str]| {
        place
            .pkgprobe(image, arguments)
            .env("POSTROJ_STATE_DIR", &store)
            .run()
    };
    // By name, with the dependency from the repository. Nothing in the package stops its service.
    let words = ["--package", "greeter", "--check-unit", "greeter"];
    pkgprobe(&[&words[..], &["--lifecycle=reboot,remove"]].concat())
        .exits(1)
        .stdout_has("started by the boot")
        .stdout_has("it is still active (running)");
    // From a file, which is removed by the package's name.
    let file = tree.join(file);
    let file = file.to_str().expect("UTF-8");
    pkgprobe(&[
        "--package",
        file,
        "--lifecycle=remove,purge",
        "--strict-purge",
        // A directory that none of the RPM packages says is its own.
        "--purge-ignore=/usr/share/greeter",
    ])
    .exits(0)
    .stdout_has("nothing is left behind");
    // The same version is no upgrade; pacman has no versions to begin with.
    let upgrade = pkgprobe(&[&words[..], &["--upgrade-from=1.0"]].concat()).exits(2);
    upgrade.stderr_has(if id == "arch" {
        "pacman cannot install an older version"
    } else {
        "had nothing to upgrade"
    });
    upgrades(id, &tree, &pkgprobe);
    // What the manager says of a name that it does not know is in the report.
    pkgprobe(&["--package", "no-such-package"])
        .exits(1)
        .stdout_has("no-such-package");
}

#[test]
fn dnf() {
    installs("fedora", "srv/rpm/noarch/greeter-1.0-1.noarch.rpm");
}

#[test]
fn zypper() {
    installs("opensuse-leap", "srv/rpm/noarch/greeter-1.0-1.noarch.rpm");
}

#[test]
fn pacman() {
    installs("arch", "srv/pacman/greeter-1.0-1-any.pkg.tar.gz");
}
