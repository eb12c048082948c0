//! When a source is asked for an image, lock files, and pulls that leave the network alone.
//!
//! The images are too small to boot: what is looked at is what is fetched, and when.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::support::http::{Answer, Server};
use crate::support::process::{self, Outcome};
use crate::support::registry::hex;
use crate::support::{Deb, Place, tree};

/// A registry that serves `small/image:latest`.
struct Small {
    server: Server,
}

impl Small {
    fn start() -> Self {
        let small = Self {
            server: Server::start(),
        };
        small.server.put("/v2/", Answer::body("{}"));
        small
    }

    fn reference(&self) -> String {
        format!("docker://{}/small/image:latest", self.server.address())
    }

    /// Lets the tag stand for an image of these layers, each of one file; gives its digest.
    fn publish(&self, files: &[&str]) -> String {
        let layers: Vec<Vec<u8>> = std::iter::once(bootable())
            .chain(files.iter().map(|name| archive(&[(name, *name)])))
            .collect();
        let descriptor = |kind: &str, bytes: &[u8]| {
            let digest = format!("sha256:{}", hex(bytes));
            let path = format!("/v2/small/image/blobs/{digest}");
            self.server.put(&path, Answer::body(bytes));
            json!({
                "mediaType": format!("application/vnd.oci.image.{kind}"),
                "digest": digest,
                "size": bytes.len(),
            })
        };
        let architecture = if cfg!(target_arch = "aarch64") {
            "arm64"
        } else {
            "amd64"
        };
        let diff_ids: Vec<String> = layers
            .iter()
            .map(|layer| format!("sha256:{}", hex(layer)))
            .collect();
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("config.v1+json", config.to_string().as_bytes()),
            "layers": layers.iter().map(|layer| descriptor("layer.v1.tar", layer)).collect::<Vec<_>>(),
        })
        .to_string();
        let digest = format!("sha256:{}", hex(manifest.as_bytes()));
        for name in ["latest", &digest] {
            let path = format!("/v2/small/image/manifests/{name}");
            self.server.put(&path, Answer::body(manifest.as_bytes()));
        }
        digest
    }

    /// How often something was asked for, by the end of its path.
    fn asked_for(&self, end: &str) -> usize {
        let requests = self.server.requests();
        requests
            .iter()
            .filter(|request| request.path.ends_with(end))
            .count()
    }

    /// A registries.conf that lets the registry go without TLS.
    fn conf(&self, at: &Path) -> PathBuf {
        let path = at.join("small.conf");
        let text = format!(
            "[[registry]]\nlocation = \"{}\"\ninsecure = true\n",
            self.server.address()
        );
        fs::write(&path, text).expect("write registries.conf");
        path
    }
}

/// An archive of files.
fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        builder
            .append_data(&mut header, path, content.as_bytes())
            .expect("append to an archive");
    }
    builder.into_inner().expect("end an archive")
}

/// What postroj takes for a root that boots as it is, though nothing in it runs.
fn bootable() -> Vec<u8> {
    archive(&[
        ("usr/lib/systemd/systemd", ""),
        ("usr/sbin/init", ""),
        ("usr/bin/dbus-daemon", ""),
        ("usr/lib/systemd/system/dbus.socket", ""),
    ])
}

/// postroj with a store of its own.
fn own(place: &Place, conf: &Path, store: &str, arguments: &[&str]) -> Outcome {
    place
        .postroj(arguments)
        .env("POSTROJ_STATE_DIR", place.scratch().join(store))
        .env("CONTAINERS_REGISTRIES_CONF", conf)
        .run()
}

#[test]
fn a_tag_is_compared_with_the_registry() {
    let (place, small) = (Place::direct(), Small::start());
    let conf = small.conf(place.scratch());
    let run = |arguments: &[&str]| own(&place, &conf, "store", arguments);
    let (image, first) = (small.reference(), small.publish(&["one"]));
    run(&["pull", &image]).exits(0).stderr_has(": pulled");
    let blobs = || small.asked_for("") - small.asked_for("/latest");
    let before = blobs();
    run(&["pull", &image]).exits(0).stderr_has(": up to date");
    // Nothing is fetched for that but what says who there is and what is there.
    assert!(blobs() <= before + 2, "{:?}", small.server.requests());

    let second = small.publish(&["one", "two"]);
    assert_ne!(first, second);
    run(&["pull", &image])
        .exits(0)
        .stderr_has(": a newer one was pulled");
    let shared = hex(&archive(&[("one", "one")]));
    assert_eq!(small.asked_for(&shared), 1, "a layer was fetched twice");
    run(&["pull", &image]).exits(0).stderr_has(": up to date");

    // By digest, nobody is asked once it is there.
    let by_digest = image.replace(":latest", &format!("@{first}"));
    run(&["pull", &by_digest]).exits(0).stderr_has(": pulled");
    let before = small.server.requests().len();
    run(&["pull", &by_digest])
        .exits(0)
        .stderr_has(": up to date");
    assert_eq!(small.server.requests().len(), before);

    // --force asks for all that is not a layer.
    run(&["pull", "--force", &image])
        .exits(0)
        .stderr_has(": up to date");
    assert!(small.server.requests().len() > before);
}

#[test]
fn pkgprobe_asks_when_it_is_told_to() {
    let (place, small) = (Place::direct(), Small::start());
    let conf = small.conf(place.scratch());
    let image = small.reference();
    small.publish(&[]);
    // It has no init that runs: there is no verdict, and that is not what is looked at.
    let probe = |pull: &str| {
        let arguments = ["pkgprobe", "--image", &image, "--pull", pull];
        own(&place, &conf, "store", &arguments).exits(3)
    };
    probe("never").stderr_has("is not in the store");
    assert_eq!(small.server.requests().len(), 0);
    probe("missing");
    let pulled = small.server.requests().len();
    assert!(pulled > 0);
    probe("missing");
    probe("never");
    assert_eq!(small.server.requests().len(), pulled);
    small.publish(&["new"]);
    probe("always");
    let new = hex(&archive(&[("new", "new")]));
    assert_eq!(small.asked_for(&new), 1);
    let default = ["pkgprobe", "--image", &image];
    let before = small.server.requests().len();
    own(&place, &conf, "store", &default).exits(3);
    assert_eq!(small.server.requests().len(), before);
}

#[test]
fn tarballs_are_compared_with_what_there_is() {
    let place = Place::direct();
    let server = Server::start();
    let nothing = place.scratch().join("none.conf");
    fs::write(&nothing, "").expect("write");
    let run = |image: &str| own(&place, &nothing, "store", &["pull", image]).exits(0);
    let url = server.put("/root.tar", Answer::body(bootable()));
    run(&url).stderr_has(": pulled");
    run(&url).stderr_has(": up to date");
    let mut longer = bootable();
    longer.extend([0; 1024]);
    server.put("/root.tar", Answer::body(longer));
    run(&url).stderr_has(": a newer one was pulled");
    run(&url).stderr_has(": up to date");

    let file = place.scratch().join("root.tar");
    fs::write(&file, bootable()).expect("write");
    let path = file.to_str().expect("UTF-8");
    run(path).stderr_has(": pulled");
    run(path).stderr_has(": up to date");
    let mut longer = bootable();
    longer.extend([0; 512]);
    fs::write(&file, longer).expect("write");
    run(path).stderr_has(": a newer one was pulled");
}

#[test]
fn a_lock_file_repeats_a_pull() {
    let (place, small) = (Place::direct(), Small::start());
    let conf = small.conf(place.scratch());
    let image = small.reference();
    let run = |store: &str, arguments: &[&str]| own(&place, &conf, store, arguments);
    let file = place.scratch().join("postroj.lock");
    let lock = file.to_str().expect("UTF-8");
    let first = small.publish(&["one"]);
    run("one", &["pull", "--lock", lock, &image]).exits(0);
    let text = fs::read_to_string(&file).expect("the lock file");
    assert!(text.contains(&first), "{text}");
    let second = small.publish(&["two"]);

    // Here and elsewhere, the tag stands for what was locked.
    run("one", &["pull", "--locked", lock, &image])
        .exits(0)
        .stderr_has("in the store, as locked");
    run("other", &["pull", &image]).exits(0);
    run("other", &["pull", "--locked", lock, &image])
        .exits(0)
        .stderr_has(": a newer one was pulled");
    let records = || {
        let images = place.scratch().join("other/images");
        let entries = fs::read_dir(images).expect("the records");
        let texts: Vec<String> = entries
            .map(|entry| fs::read_to_string(entry.expect("an entry").path()).expect("a record"))
            .collect();
        texts.concat()
    };
    assert!(records().contains(&first) && !records().contains(&second));
    let before = small.server.requests().len();
    run("other", &["pull", "--locked", lock, &image]).exits(0);
    assert_eq!(small.server.requests().len(), before);
    // pkgprobe takes it too; there is no verdict on an image without an init.
    run("third", &["pkgprobe", "--locked", lock, "--image", &image])
        .exits(3)
        .stderr_has("boot");

    // A name that is not in it is refused before anything is done, and so is a file that is none.
    let missing = ["pull", "--locked", lock, "debian-bookworm"];
    run("other", &missing)
        .exits(2)
        .stderr_has(&format!("hint: postroj pull --lock {lock} debian-bookworm"));
    let missing = ["pkgprobe", "--locked", lock, "--image", "debian-bookworm"];
    run("other", &missing).exits(2);
    fs::write(&file, "version = 2\n").expect("write");
    run("other", &["pull", "--locked", lock, &image])
        .exits(2)
        .stderr_has("its version is 2");
    fs::remove_file(&file).expect("remove");
    run("other", &["pull", "--locked", lock, &image])
        .exits(2)
        .stderr_has("hint: `postroj pull --lock");

    // What a web server has is compared, for it cannot be asked for by digest.
    let server = Server::start();
    let url = server.put("/root.tar", Answer::body(bootable()));
    run("one", &["pull", "--lock", lock, &url]).exits(0);
    let mut other = bootable();
    other.extend([0; 1024]);
    server.put("/root.tar", Answer::body(other));
    run("one", &["pull", "--locked", lock, &url]).exits(0);
    run("third", &["pull", "--locked", lock, &url])
        .exits(3)
        .stderr_has("digest");
}

/// Every address of the network that a process and its children have tried to reach.
fn connections(place: &Place, store: &Path, arguments: &[&str]) -> (Outcome, Vec<String>) {
    let log = place.scratch().join("strace");
    let mut command = Command::new("strace");
    command
        .args(["--follow-forks", "--trace=network", "--quiet=all"])
        .arg("--output")
        .arg(&log)
        .arg(crate::support::place::binary())
        .args(arguments)
        .env("POSTROJ_STATE_DIR", store)
        .env("POSTROJ_CACHE_DIR", place.scratch().join("cache"));
    let outcome = process::run(command);
    let log = fs::read_to_string(&log).expect("what strace has seen");
    let reached = log
        .lines()
        .filter(|line| line.contains("AF_INET"))
        .map(str::to_owned)
        .collect();
    (outcome, reached)
}

#[test]
fn offline_nothing_is_connected() {
    let place = Place::direct();
    let store = place.scratch().join("store");
    for image in [
        "debian-bookworm",
        "docker.io/library/debian:bookworm",
        "http://127.0.0.1:1/root.tar",
    ] {
        let (outcome, reached) = connections(&place, &store, &["pull", "--offline", image]);
        outcome
            .exits(3)
            .stderr_has("the image is not in the store, and --offline leaves the network alone")
            .stderr_has("hint: ");
        assert_eq!(reached, Vec::<String>::new(), "{image}");
    }
    // The counterpart: without it somebody is asked, and that shows.
    let (outcome, reached) = connections(&place, &store, &["pull", "http://127.0.0.1:1/root.tar"]);
    outcome.exits(3);
    assert!(!reached.is_empty());

    // What is on this host is taken.
    let file = place.scratch().join("root.tar");
    fs::write(&file, bootable()).expect("write");
    let path = file.to_str().expect("UTF-8");
    let (outcome, reached) = connections(&place, &store, &["pull", "--offline", path]);
    outcome.exits(0).stderr_has(": pulled");
    assert_eq!(reached, Vec::<String>::new());
    // What would have to be installed in it is not.
    let minimal = tree::minimal();
    let minimal = minimal.to_str().expect("UTF-8");
    let (outcome, _) = connections(&place, &store, &["pull", "--offline", minimal]);
    outcome
        .exits(3)
        .stderr_has("the image lacks systemd, which comes from its distribution's repositories");
}

#[test]
fn offline_without_any_network() {
    let place = Place::direct();
    let image = "debian-bookworm";
    // Puts the image into the store.
    place.pkgprobe(image, [""; 0]).run().exits(0);
    let offline = |arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command
            .arg("--net")
            .arg(crate::support::place::binary())
            .args(arguments)
            .env("POSTROJ_OFFLINE", "true")
            .env("POSTROJ_STATE_DIR", place.state())
            .env("POSTROJ_CACHE_DIR", place.scratch().join("cache"));
        process::run(command)
    };
    offline(&["pull", image])
        .exits(0)
        .stderr_has(&format!("{image}: up to date"));
    offline(&[
        "pkgprobe",
        "--image",
        image,
        "--check-unit",
        "systemd-journald",
    ])
    .exits(0);
    // Nor has the container one: what a package tries to reach is not there.
    let server = Server::start();
    let address = server.address().to_string();
    let script = format!(
        "perl -MIO::Socket::INET -e 'exit(IO::Socket::INET->new(PeerAddr => q({address})) ? 0 : 1)'"
    );
    let reaching = Deb::new("reaching")
        .postinst(&script)
        .build(place.scratch(), "reaching.deb");
    let reaching = reaching.to_str().expect("UTF-8");
    let install = ["--package", reaching];
    // The server is on this machine's loopback device.
    place
        .pkgprobe(image, install)
        .args(["--network", "host"])
        .run()
        .exits(0);
    place
        .pkgprobe(image, install)
        .args(["--offline"])
        .run()
        .exits(1);

    let url = "http://127.0.0.1:1/package.deb";
    offline(&["pkgprobe", "--image", image, "--package", url])
        .exits(3)
        .stderr_has("package.deb is not in the cache, and --offline leaves the network alone");
}

#[test]
fn an_image_error_has_one_exit_code() {
    let place = Place::direct();
    let file = place.scratch().join("none.tar");
    fs::write(&file, "no archive at all").expect("write");
    let path = file.to_str().expect("UTF-8");
    let store = place.scratch().join("store");
    for arguments in [&["pull", path][..], &["pkgprobe", "--image", path]] {
        place
            .postroj(arguments)
            .env("POSTROJ_STATE_DIR", &store)
            .run()
            .exits(2);
    }
}
