//! From one version to another, by files and within a repository.

use std::fmt::Write as _;

use super::*;
use crate::support::registry::hex;
use crate::support::tree;

#[test]
fn an_upgrade_that_loses_the_configuration() {
    let place = Place::direct();
    let old = tick("1.0").build(&place);
    let mut scripts = STARTED;
    let postinst = format!("echo interval=2 > /etc/tick.conf; {}", STARTED[0].1);
    scripts[0].1 = &postinst;
    let new = Package {
        scripts: &scripts,
        ..tick("2.0")
    }
    .build(&place);
    let arguments = [
        "--upgrade-from",
        &old,
        "--before-upgrade",
        "echo mine=1 >> /etc/tick.conf",
    ];
    let outcome = run(&place, IMAGE, &new, &arguments)
        .exits(1)
        .stdout_has("/etc/tick.conf  the change is lost: \"mine=1\"");
    let expected = [
        "ok install",
        "ok unit",
        "ok upgrade",
        "ok unit",
        "FAILED config",
    ];
    assert_eq!(lines(&outcome), expected, "{outcome}");
}

/// Each image has what is for it, as of packages.
#[test]
fn an_upgrade_from_what_is_for_the_image() {
    let place = Place::direct();
    let (old, new) = (tick("1.0").build(&place), tick("2.0").build(&place));
    fs::copy(old, place.scratch().join("old_bookworm.deb")).expect("copy a package");
    let scratch = place.scratch().display();
    let arguments = [
        format!("--upgrade-from=family=debian,{scratch}/old_{{codename}}.deb"),
        "--upgrade-from=family=redhat,./nosuch.rpm".to_owned(),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = run(&place, IMAGE, &new, &arguments).exits(0);
    let expected = ["ok install", "ok unit", "ok upgrade", "ok unit"];
    assert_eq!(lines(&outcome)[..4], expected, "{outcome}");
    run(&place, IMAGE, &new, &arguments[1..])
        .exits(2)
        .stderr_has("--upgrade-from: no package is for debian-bookworm");
}

/// A version comes from the repositories; none that is newer is no verdict on the package.
#[test]
fn an_upgrade_from_a_version_or_to_none() {
    let place = Place::direct();
    let package = tick("1.0").build(&place);
    run(&place, IMAGE, &package, &["--upgrade-from", "0.9"])
        .exits(3)
        .stderr_has("the version to upgrade from: apt-get did not install")
        .stdout_has("tick");
    run(&place, IMAGE, &package, &["--upgrade-from", &package])
        .exits(2)
        .stderr_has("had nothing to upgrade");
}

/// Of two versions in a repository, from the older to the newer.
#[test]
fn an_upgrade_within_a_repository() {
    let place = Place::direct();
    let tree = place.scratch().join("tree");
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let base = format!("{}/.", tree::bootable().display());
    fs::create_dir(&tree).expect("create a directory");
    tool("cp", &["-al", "--", &base, &text(&tree)]);
    let repository = tree.join("srv/repository");
    fs::create_dir_all(&repository).expect("create a directory");
    let mut index = String::new();
    for version in ["1.0", "2.0"] {
        let file = PathBuf::from(tick(version).build(&place));
        let name = file.file_name().and_then(|name| name.to_str());
        let name = name.expect("a name");
        let control = tool("dpkg-deb", &["--field", &text(&file)]).stdout;
        let content = fs::read(&file).expect("the package");
        fs::copy(&file, repository.join(name)).expect("copy the package");
        let (size, sum) = (content.len(), hex(&content));
        index.push_str(&control);
        writeln!(index, "Filename: ./{name}\nSize: {size}\nSHA256: {sum}\n").expect("a text");
    }
    fs::write(repository.join("Packages"), index).expect("write the index");
    let sources = tree.join("etc/apt/sources.list");
    // A link of the copy only.
    fs::remove_file(&sources).ok();
    let line = "deb [trusted=yes] file:/srv/repository ./\n";
    fs::write(&sources, line).expect("write the sources");
    let outcome = run(
        &place,
        &text(&tree),
        "tick",
        &[
            "--upgrade-from=1.0",
            "--lifecycle=install,upgrade,purge",
            "--before-upgrade=echo mine=1 >> /etc/tick.conf",
            "--check=package:tick,version=1.0,after=install",
            "--check=package:tick,version=2.0,after=upgrade",
            "--strict-purge",
        ],
    );
    outcome
        .exits(0)
        .stdout_has("tick 1.0  installed with apt-get")
        .stdout_has("the change is kept")
        .stdout_has("nothing is left behind");
    run(&place, &text(&tree), "tick", &["--upgrade-from=2.0"])
        .exits(2)
        .stderr_has("had nothing to upgrade");
}
