//! Real distributions: from systemd 247 to the newest, on both kinds of host.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::http::{Answer, Server};
use crate::support::registry::Registry;
use crate::support::{Deb, Place, process, tree};

/// Boots the image, asks for a unit of its own, then for a package from its repositories.
fn boots_and_installs(place: &Place, image: &str) {
    place
        .pkgprobe(image, ["--check-unit", "systemd-journald"])
        .run()
        .exits(0);
    place
        .pkgprobe(
            image,
            [
                "--package",
                "webfs",
                "--check-unit",
                "webfs",
                "--check-network",
                "http://localhost:8000",
            ],
        )
        .run()
        .exits(0);
}

#[test]
fn debian_bullseye() {
    boots_and_installs(&Place::direct(), "debian-bullseye");
}

#[test]
fn debian_bookworm() {
    boots_and_installs(&Place::direct(), "debian-bookworm");
}

#[test]
fn debian_trixie() {
    boots_and_installs(&Place::direct(), "debian-trixie");
}

#[test]
fn debian_sid() {
    boots_and_installs(&Place::direct(), "debian-sid");
}

#[test]
fn every_distribution_on_a_host_with_systemd() {
    let images = [
        "debian-bullseye",
        "debian-bookworm",
        "debian-trixie",
        "debian-sid",
    ];
    let place = Place::systemd(&images);
    for image in images {
        place
            .pkgprobe(image, ["--check-unit", "systemd-journald"])
            .run()
            .exits(0);
    }
    boots_and_installs(&place, "debian-bookworm");
}

#[test]
fn an_alias_means_the_same_image() {
    Place::direct()
        .pkgprobe("debian-12", ["--check-unit", "systemd-journald"])
        .run()
        .exits(0);
}

/// The registry is real, and so is the protocol; what it serves as Debian's image is a bootstrapped
/// tree, for Docker Hub is out of reach where this runs.
#[test]
fn debian_bookworm_from_a_registry() {
    let registry = Registry::with_debian();
    let place = Place::direct();
    let conf = registry.mirror_of_docker_io(place.scratch());
    let store = place.scratch().join("store");
    let postroj = |arguments: &[&str]| {
        place
            .postroj(arguments)
            .env("POSTROJ_STATE_DIR", &store)
            .env("CONTAINERS_REGISTRIES_CONF", &conf)
            .run()
    };
    postroj(&["pull", "--source", "oci", "debian-bookworm"]).exits(0);
    postroj(&[
        "pkgprobe",
        "--image",
        "debian-bookworm",
        "--check-unit",
        "systemd-journald",
    ])
    .exits(0);
    // The same image by its reference shares the layer with the name in the catalogue.
    let before = bytes(&store);
    postroj(&[
        "pkgprobe",
        "--image",
        "docker.io/library/debian:bookworm",
        "--check-unit",
        "systemd-journald",
    ])
    .exits(0);
    assert!(
        bytes(&store) < before + before / 2,
        "the layer is in the store twice"
    );
    // The registries.conf by its option, a registry that speaks no TLS by its own address.
    let conf = conf.to_str().expect("UTF-8");
    let address = format!("docker://{}/library/debian:bookworm", registry.address);
    let insecure = place.scratch().join("insecure.conf");
    fs::write(
        &insecure,
        format!(
            "[[registry]]\nlocation = \"{}\"\ninsecure = true\n",
            registry.address
        ),
    )
    .expect("write");
    postroj(&[
        "--registries-conf",
        conf,
        "pull",
        "--force",
        "debian-bookworm",
    ])
    .exits(0);
    let plain = |conf: &Path| {
        place
            .postroj(["pull", &address])
            .env("POSTROJ_STATE_DIR", &store)
            .env("CONTAINERS_REGISTRIES_CONF", conf)
            .run()
    };
    plain(Path::new(conf))
        .exits(3)
        .stderr_has(&registry.address);
    plain(&insecure).exits(0);
}

fn bytes(directory: &Path) -> u64 {
    let sizes = process::tool("du", &["-sb", directory.to_str().expect("UTF-8")]);
    sizes
        .stdout
        .split_whitespace()
        .next()
        .and_then(|bytes| bytes.parse().ok())
        .expect("a size")
}

#[test]
fn archives_and_directories_are_images() {
    let place = Place::direct();
    let archives = tree::archives();
    let mut images: Vec<PathBuf> = ["tar", "tar.gz", "tar.xz", "tar.zst"]
        .iter()
        .map(|kind| archives.join(format!("root.{kind}")))
        .collect();
    images.push(tree::bootable());
    for image in images {
        let store = tempfile::tempdir_in(place.scratch()).expect("a directory");
        place
            .pkgprobe(
                image.to_str().expect("UTF-8"),
                ["--check-unit", "systemd-journald"],
            )
            .env("POSTROJ_STATE_DIR", store.path())
            .run()
            .exits(0);
    }
}

/// systemd.nspawn(5): a file beside a container's root says what the container gets of the host.
#[test]
fn settings_of_nspawn_beside_and_in_an_image_have_no_effect() {
    let place = Place::direct();
    let image = place.scratch().join("settings");
    fs::create_dir(&image).expect("create a directory");
    let from = format!("{}/.", tree::bootable().display());
    process::tool("cp", &["-al", "--", &from, image.to_str().expect("UTF-8")]);
    let settings = "[Exec]\nEnvironment=HOSTS=1\n[Files]\nBind=/etc:/of-the-host\n";
    for path in [
        "settings.nspawn",
        "settings/root.nspawn",
        "settings/settings.nspawn",
        "settings/etc/systemd/nspawn/postroj-settings.nspawn",
    ] {
        let path = place.scratch().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("create a directory");
        fs::write(path, settings).expect("write the settings");
    }
    let package = Deb::new("looks")
        .postinst("test ! -e /of-the-host; if grep -q HOSTS=1 /proc/1/environ; then exit 1; fi")
        .build(place.scratch(), "looks.deb");
    place
        .pkgprobe(
            image.to_str().expect("UTF-8"),
            ["--package", package.to_str().expect("UTF-8")],
        )
        .env("POSTROJ_STATE_DIR", place.scratch().join("store"))
        .run()
        .exits(0);
}

#[test]
fn an_archive_by_url_is_an_image() {
    let place = Place::direct();
    let server = Server::start();
    let archive = fs::read(tree::archives().join("root.tar.zst")).expect("read the archive");
    let url = server.put("/images/root.tar.zst", Answer::body(archive));
    let store = place.scratch().join("store");
    place
        .pkgprobe(&url, ["--check-unit", "systemd-journald"])
        .env("POSTROJ_STATE_DIR", store)
        .run()
        .exits(0);
}
