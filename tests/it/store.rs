//! What is done with images that are there: `images`, `inspect`, `rmi`, `gc`.

use std::fs;
use std::path::{Path, PathBuf};

use insta::assert_snapshot;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::archive::gzip;
use crate::support::http::{Answer, Server};
use crate::support::oci::Put;
use crate::support::place::{Postroj, binary};
use crate::support::process::Outcome;
use crate::support::{Place, image, oci, tiny};

/// A store of the test's own, and a registry to fill it from.
pub(crate) struct Shelf {
    pub(crate) place: Place,
    pub(crate) state: PathBuf,
    pub(crate) server: Server,
}

impl Shelf {
    pub(crate) fn new() -> Self {
        let place = Place::direct();
        let state = place.scratch().join("state");
        let server = Server::start();
        let conf = format!(
            "[[registry]]\nlocation = \"{}\"\ninsecure = true\n",
            server.address()
        );
        fs::write(place.scratch().join("registries.conf"), conf).expect("write registries.conf");
        Self {
            place,
            state,
            server,
        }
    }

    pub(crate) fn postroj(&self, arguments: &[&str]) -> Postroj<'_> {
        self.place
            .postroj(arguments)
            .env("POSTROJ_STATE_DIR", &self.state)
            .env("CONTAINERS_REGISTRIES_CONF", self.conf())
    }

    fn conf(&self) -> PathBuf {
        self.place.scratch().join("registries.conf")
    }

    /// The same command line for another program to start.
    pub(crate) fn words(&self, arguments: &[&str]) -> Vec<String> {
        let mut words = vec![
            "env".to_owned(),
            format!("POSTROJ_STATE_DIR={}", self.state.display()),
            format!("CONTAINERS_REGISTRIES_CONF={}", self.conf().display()),
            binary().display().to_string(),
        ];
        words.extend(arguments.iter().map(|word| (*word).to_owned()));
        words
    }

    /// Has the registry serve an image of these layers, each an archive.
    pub(crate) fn serve(&self, repository: &str, layers: &[&[u8]]) -> Put {
        let image = layers.iter().fold(oci::Image::new(), |image, layer| {
            image.layer(oci::Layer::gzip(layer))
        });
        image.put(&self.server, repository, "tag")
    }

    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        self.postroj(arguments).run()
    }

    /// Makes a tarball and pulls it; returns the image's name.
    #[track_caller]
    pub(crate) fn pull_tarball(&self, name: &str, files: &[(&str, &[u8])]) -> String {
        let path = tiny::tarball(self.place.scratch(), name, files);
        let name = path.to_str().expect("UTF-8").to_owned();
        self.run(&["pull", &name]).exits(0);
        name
    }

    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let outcome = self.run(arguments).exits(0);
        serde_json::from_str(&outcome.stdout).expect("JSON")
    }

    /// Boots an image and keeps the container.
    #[track_caller]
    pub(crate) fn keep(&self, image: &str) -> Up<'_> {
        let arguments = [
            "pkgprobe",
            "--image",
            image,
            "--keep",
            "--check-unit",
            "dbus",
        ];
        let outcome = self.run(&arguments).exits(0);
        let line = outcome
            .stderr
            .lines()
            .find(|line| line.contains(" stays up"));
        let name = line.and_then(|line| line.split(' ').next());
        Up {
            shelf: self,
            name: name.expect("a machine").to_owned(),
        }
    }

    /// The names in one of the store's directories.
    pub(crate) fn names(&self, directory: &str) -> Vec<String> {
        names(&self.state.join(directory))
    }

    /// Standard output and standard error, without what differs from run to run.
    #[track_caller]
    pub(crate) fn shown(&self, arguments: &[&str]) -> String {
        let outcome = self.run(arguments);
        // Other tests beside this one may leave a container for the next `gc`.
        let lines = outcome.stdout.split_inclusive('\n');
        let lines = lines.filter(|line| !line.contains("what is left of the container"));
        let text = format!(
            "{}--- stderr\n{}--- exit code {}",
            lines.collect::<String>(),
            outcome.stderr,
            outcome.code()
        );
        text.replace(self.place.scratch().to_str().expect("UTF-8"), "[scratch]")
    }
}

pub(crate) fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .expect("a directory of the store")
        .map(|entry| entry.expect("an entry").file_name().display().to_string())
        .collect();
    names.sort();
    names
}

/// Replaces ages, digests and the padding that the scratch directory's name makes.
pub(crate) fn settled() -> insta::internals::SettingsBindDropGuard {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"\b\d+ s ", "[age] ");
    settings.add_filter(r"[0-9a-f]{12,64}", "[hex]");
    settings.add_filter(r"  +", "  ");
    // How large the blocks of the disk are.
    settings.add_filter(r"\b[1-9]\d* kB", "[kB]");
    settings.bind_to_scope()
}

#[test]
fn images_share_layers() {
    let shelf = Shelf::new();
    let _settings = settled();
    assert_snapshot!(shelf.shown(&["images"]), @"
    NAME  ORIGIN  DIGEST  AGE  SHARED  OWN  SIZE
    0 images in 0 layers: 0 kB
    --- stderr
    --- exit code 0
    ");
    let big = tiny::noise(1, 2_000_000);
    let one = shelf.pull_tarball("one.tar", &[("etc/big", &big)]);
    shelf.pull_tarball("other.tar", &[("etc/other", &big[..1_000_000])]);
    // The same archive under another name is the same layer.
    shelf.pull_tarball("twin.tar", &[("etc/big", &big)]);
    assert_snapshot!(shelf.shown(&["images"]), @"
    NAME  ORIGIN  DIGEST  AGE  SHARED  OWN  SIZE
    [scratch]/one.tar  tarball  [hex]  [age]  2 MB  0 kB  2 MB
    [scratch]/other.tar  tarball  [hex]  [age]  0 kB  1 MB  1 MB
    [scratch]/twin.tar  tarball  [hex]  [age]  2 MB  0 kB  2 MB
    3 images in 2 layers: 3 MB
    --- stderr
    --- exit code 0
    ");

    let listed = shelf.json(&["images", "--json"]);
    let sizes = |at: usize| {
        let field = |name: &str| listed[at][name].as_u64().expect("a number");
        (field("size"), field("shared_size"), field("own_size"))
    };
    let size = 2_000_000;
    assert_eq!(sizes(0), (size, size, 0));
    assert_eq!(sizes(1), (size - 1_000_000, 0, size - 1_000_000));
    assert_eq!(sizes(2), (size, size, 0));
    assert_eq!(listed[0]["name"], one.as_str());
    assert_eq!(listed[0]["layers"], listed[2]["layers"]);

    let inspected = shelf.json(&["inspect", &one]);
    let layer = &inspected[0]["layers"][0];
    assert_eq!(layer["id"], listed[0]["layers"][0]);
    assert_eq!(layer["size"], size);
    assert_eq!(layer["shared"], true);
    assert_eq!(layer["missing"], false);
    let path = Path::new(layer["path"].as_str().expect("a path"));
    assert_eq!(fs::read(path.join("etc/big")).expect("a file"), big);
}

#[test]
fn an_image_is_removed_with_what_only_it_had() {
    let shelf = Shelf::new();
    let _settings = settled();
    let one = shelf.pull_tarball("one.tar", &[("etc/x", b"1")]);
    let twin = shelf.pull_tarball("twin.tar", &[("etc/x", b"1")]);
    let other = shelf.pull_tarball("other.tar", &[("etc/x", b"2")]);
    assert_eq!(shelf.names("layers").len(), 2);

    // One wrong name, and nothing is done.
    assert_snapshot!(shelf.shown(&["rmi", &one, "debian-bookworm"]), @"
    --- stderr
    error: there is no image debian-bookworm in the store
    hint: `postroj images` lists those that are
    --- exit code 2
    ");
    assert_eq!(shelf.names("images").len(), 3);

    // A name that leads to nothing any more still names the image.
    fs::remove_file(&one).expect("remove the tarball");
    assert_snapshot!(shelf.shown(&["rmi", &one]), @"
    [scratch]/one.tar: removed
    --- stderr
    --- exit code 0
    ");
    assert_eq!(shelf.names("layers").len(), 2, "the twin has the layer");
    assert_snapshot!(shelf.shown(&["rmi", &twin, &twin]), @"
    [scratch]/twin.tar: removed, with 1 layer that no other image has: [kB] freed
    --- stderr
    --- exit code 0
    ");
    assert_eq!(shelf.names("layers").len(), 1);
    assert_snapshot!(shelf.shown(&["inspect", &twin]), @"
    --- stderr
    error: there is no image [scratch]/twin.tar in the store
    hint: `postroj images` lists those that are
    --- exit code 2
    ");

    shelf.pull_tarball("more.tar", &[("etc/x", b"3")]);
    shelf.run(&["rmi", "--all"]).exits(0).stdout_has(&other);
    for directory in ["layers", "images", "tmp"] {
        assert_eq!(shelf.names(directory), [""; 0], "{directory}");
    }
    shelf.run(&["rmi"]).exits(2);
}

#[test]
fn garbage_is_collected() {
    let shelf = Shelf::new();
    let _settings = settled();
    let image = shelf.pull_tarball("image.tar", &[("etc/x", b"1")]);
    shelf.pull_tarball("gone.tar", &[("etc/x", &tiny::noise(1, 3_000_000))]);
    // The names are in the order of the images'.
    let records = shelf.names("images");
    let gone = records.iter().find(|name| name.starts_with("gone"));
    fs::remove_file(shelf.state.join("images").join(gone.expect("a record"))).expect("remove");
    let left = shelf.state.join("tmp/0123456789abcdef/root/etc");
    fs::create_dir_all(&left).expect("make a leftover");
    fs::write(left.join("x"), vec![7; 1_000_000]).expect("make a leftover");

    let cut = shelf
        .place
        .scratch()
        .join("cache/downloads/0123456789abcdef");
    fs::create_dir_all(&cut).expect("make a download");
    fs::write(cut.join("partial"), vec![7; 1_000_000]).expect("make a download");

    assert_snapshot!(shelf.shown(&["gc", "--dry-run"]), @"
    would go: [scratch]/cache/downloads/[hex]/partial, a download that was cut: 1 MB
    would go: [scratch]/state/tmp/[hex], left by a killed run: 1 MB
    would go: layer derived-[hex] of [scratch]/gone.tar: 3 MB
    5 MB would be free
    --- stderr
    --- exit code 0
    ");
    assert!(left.exists());
    assert_eq!(shelf.names("layers").len(), 2);
    assert_snapshot!(shelf.shown(&["gc"]), @"
    removed: [scratch]/cache/downloads/[hex]/partial, a download that was cut: 1 MB
    removed: [scratch]/state/tmp/[hex], left by a killed run: 1 MB
    removed: layer derived-[hex] of [scratch]/gone.tar: 3 MB
    5 MB freed
    --- stderr
    --- exit code 0
    ");
    assert_eq!(shelf.names("tmp"), [""; 0]);
    assert_eq!(shelf.names("layers").len(), 1);
    assert_eq!(names(&cut), [""; 0]);
    assert_snapshot!(shelf.shown(&["gc"]), @"
    0 kB freed
    --- stderr
    --- exit code 0
    ");
    let path = fs::canonicalize(&image).expect("the tarball");
    shelf
        .run(&["inspect", path.to_str().expect("UTF-8")])
        .exits(0);
}

/// Of a record that cannot be read it is not known which layers it needs.
#[test]
fn an_unreadable_record_keeps_the_layers() {
    let shelf = Shelf::new();
    let _settings = settled();
    let image = shelf.pull_tarball("image.tar", &[("etc/x", b"1")]);
    let good = shelf.pull_tarball("good.tar", &[("etc/x", b"2")]);
    let records = shelf.names("images");
    let record = records.iter().find(|name| name.starts_with("image"));
    let record = shelf.state.join("images").join(record.expect("a record"));
    fs::write(&record, "{").expect("spoil the record");
    assert_snapshot!(shelf.shown(&["gc"]), @"
    0 kB freed
    --- stderr
    error: no layer was removed: store: [scratch]/state/images/image-[hex].json: EOF while parsing an object at line 1 column 1
    hint: `postroj check --repair` removes a record that cannot be read
    --- exit code 3
    ");
    assert_eq!(shelf.names("layers").len(), 2);
    shelf
        .run(&["images"])
        .exits(0)
        .stdout_has(&good)
        .stderr_has("image");
    shelf.run(&["rmi", &good]).exits(0);
    assert_eq!(
        shelf.names("layers").len(),
        2,
        "{:?}",
        shelf.names("layers")
    );
    // To ask for the image is to have it again.
    shelf.run(&["pull", &image]).exits(0);
    shelf.run(&["gc"]).exits(0).stdout_has("removed: layer");
    assert_eq!(shelf.names("layers").len(), 1);
}

/// What another postroj is about to use stays as well, although the image that had it goes.
#[test]
fn what_a_pull_needs_stays() {
    let shelf = Shelf::new();
    let lower = tiny::archive(&[("etc/x", b"1")]);
    let upper = tiny::archive(&[("etc/y", &tiny::noise(1, 100_000))]);
    let one = shelf.serve("one", &[&lower]).reference;
    shelf.run(&["pull", &one]).exits(0);
    let layers = shelf.names("layers");
    let blob = oci::Layer::gzip(&upper);
    let path = format!("/v2/two/blobs/{}", blob.digest());
    let answer = Answer::body(gzip(&upper)).stall_at(50_000);
    let two = oci::Image::new()
        .layer(oci::Layer::gzip(&lower))
        .layer(blob.served(answer))
        .put(&shelf.server, "two", "tag")
        .reference;
    let pull = shelf.postroj(&["pull", &two]).start();
    shelf.server.wait_for(&path);
    shelf
        .run(&["rmi", &one])
        .exits(0)
        .stdout_has("1 layer in use, for `postroj gc` to remove later");
    shelf
        .run(&["gc"])
        .exits(0)
        .stderr_has("stays: no image has it, but another postroj uses it");
    assert_eq!(shelf.names("layers"), layers);
    pull.signal(Signal::INT);
    pull.wait().exits(130);
    shelf.run(&["gc"]).exits(0).stdout_has("removed: layer");
    assert_eq!(shelf.names("layers"), [""; 0]);
}

/// The container's supervisor is a unit of the host's systemd there, and knows of the store all the
/// same.
#[test]
fn what_a_container_runs_on_stays_on_a_host_with_systemd() {
    let name = "debian-bookworm";
    let place = Place::systemd(&[name]);
    // The store is a copy of one in which other tests make images at this moment.
    place.postroj(["gc"]).run().exits(0);
    let keep = [
        "pkgprobe",
        "--image",
        name,
        "--keep",
        "--check-unit",
        "dbus",
    ];
    place.postroj(keep).run().exits(0);
    let used = "is in use by postroj-debian-bookworm";
    place.postroj(["rmi", name]).run().exits(3).stderr_has(used);
    place
        .postroj(["gc"])
        .run()
        .exits(0)
        .stdout_has("0 kB freed");
    place.postroj(["stop", "--all"]).run().exits(0);
    place
        .postroj(["rmi", name])
        .run()
        .exits(0)
        .stdout_has("removed");
}

#[test]
fn what_a_container_runs_on_stays() {
    let shelf = Shelf::new();
    let name = "debian-bookworm";
    image::copy_store(&[name], &shelf.state);
    let up = shelf.keep(name);
    let machine = &up.name;

    shelf
        .run(&["rmi", name])
        .exits(3)
        .stderr_has(&format!("error: {name} is in use by {machine}"))
        .stderr_has(&format!("hint: end it first: postroj stop {machine}"));
    // Even if the image is no longer known, its layers stay where they are.
    for record in shelf.names("images") {
        fs::remove_file(shelf.state.join("images").join(record)).expect("remove the records");
    }
    let layers = shelf.names("layers");
    shelf
        .run(&["gc"])
        .exits(0)
        .stderr_has(&format!("but {machine} uses it"));
    assert!(!layers.is_empty());
    for layer in &layers {
        let used = shelf.names("layers").contains(layer);
        let root = shelf.state.join("layers").join(layer).join("root");
        assert_eq!(used, root.join("etc").exists(), "{layer} is half removed");
    }
    assert!(!shelf.names("layers").is_empty());
    drop(up);
    shelf.run(&["gc"]).exits(0).stdout_has("removed: layer");
    assert_eq!(shelf.names("layers"), [""; 0]);
}

/// A kept container, which must not survive a test that fails.
pub(crate) struct Up<'a> {
    shelf: &'a Shelf,
    pub(crate) name: String,
}

impl Drop for Up<'_> {
    fn drop(&mut self) {
        self.shelf.run(&["stop", &self.name]);
    }
}

#[test]
fn a_store_of_a_later_version_is_left_alone() {
    let shelf = Shelf::new();
    let image = shelf.pull_tarball("image.tar", &[("etc/x", b"1")]);
    fs::write(shelf.state.join("version"), "2\n").expect("write the version");
    // What a later version may do without, and this one would make.
    fs::remove_dir(shelf.state.join("tmp")).expect("remove tmp");
    let look = || {
        let mut command = std::process::Command::new("find");
        command
            .arg(&shelf.state)
            .args(["-printf", "%p %s %m %T@ %C@\n"]);
        crate::support::process::run(command).exits(0).stdout
    };
    let before = look();
    let out = shelf.place.scratch().join("out.tar");
    let out = out.to_str().expect("UTF-8");
    for arguments in [
        &["images"][..],
        &["list-images"],
        &["inspect", &image],
        &["rmi", &image],
        &["rmi", "--all"],
        &["gc"],
        &["check"],
        &["check", "--repair"],
        &["export", &image, out],
        &["import", &image, "--name", "localhost/x"],
        &["pull", &image],
        &["pkgprobe", "--image", &image, "--check-unit", "x"],
    ] {
        shelf
            .run(arguments)
            .exits(3)
            .stderr_has("has format 2; this postroj knows formats up to 1");
        assert_eq!(look(), before, "{arguments:?} has touched the store");
    }
    assert!(!Path::new(out).exists());
}
