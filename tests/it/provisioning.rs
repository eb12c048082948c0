//! Making images bootable, and what package managers download: kept, shared, and out of reach of
//! what is tested.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::support::http::{Answer, Server};
use crate::support::process::tool;
use crate::support::registry::hex;
use crate::support::{Deb, Place, tree};

/// The repositories are on the host's loopback device. What is kept of them is root's, whatever the
/// container's root is outside.
const NEAR: [&str; 4] = ["--network", "host", "--private-users", "yes"];

/// A copy of a tree, in links, with other files in places.
fn variant(place: &Place, tree: &Path, files: &[(&str, &str)]) -> PathBuf {
    let copy = tempfile::tempdir_in(place.scratch())
        .expect("a directory")
        .keep();
    let from = format!("{}/.", tree.display());
    tool("cp", &["-al", "--", &from, copy.to_str().expect("UTF-8")]);
    for (path, text) in files {
        let path = copy.join(path);
        fs::remove_file(&path).ok();
        fs::write(path, text).expect("write a file of the tree");
    }
    copy
}

/// An apt repository on a web server.
struct Repository {
    server: Server,
    /// Name, version, and the archive.
    packages: Vec<(String, String, Vec<u8>)>,
}

impl Repository {
    fn start() -> Self {
        Self {
            server: Server::start(),
            packages: Vec::new(),
        }
    }

    /// The content of sources.list. Nobody has signed it; that is not what is looked at.
    fn sources(&self) -> String {
        format!("deb [trusted=yes] {} ./\n", self.server.url("/debian"))
    }

    fn add(&mut self, place: &Place, name: &str, version: &str) {
        let file = Deb::new(name)
            .version(version)
            .service("/bin/sleep infinity")
            .build(place.scratch(), &format!("{name}.deb"));
        let archive = fs::read(file).expect("read the package");
        self.packages
            .push((name.to_owned(), version.to_owned(), archive));
        self.publish();
    }

    fn remove(&mut self, name: &str) {
        for (_, version, _) in self.packages.iter().filter(|package| package.0 == name) {
            let path = format!("/debian/./{name}_{version}.deb");
            self.server.put(&path, Answer::status(404));
        }
        self.packages.retain(|package| package.0 != name);
        self.publish();
    }

    fn publish(&self) {
        let mut index = String::new();
        for (name, version, archive) in &self.packages {
            let file = format!("./{name}_{version}.deb");
            let _ = write!(
                index,
                "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\n\
                 Filename: {file}\nSize: {}\nSHA256: {}\nDescription: a test\n\n",
                archive.len(),
                hex(archive)
            );
            self.server
                .put(&format!("/debian/{file}"), Answer::body(archive.clone()));
        }
        let release = format!(
            "SHA256:\n {} {} Packages\n",
            hex(index.as_bytes()),
            index.len()
        );
        self.server.put(
            "/debian/./Packages",
            Answer::body(index.into_bytes()).without_ranges(),
        );
        self.server.put(
            "/debian/./Release",
            Answer::body(release.into_bytes()).without_ranges(),
        );
    }

    fn asked_for(&self, end: &str) -> usize {
        let requests = self.server.requests();
        requests
            .iter()
            .filter(|request| request.path.ends_with(end))
            .count()
    }
}

/// Everything in a directory: paths, types, sizes, times and contents.
fn listing(directory: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(path) = pending.pop() {
        let found = fs::symlink_metadata(&path).expect("look at a file");
        let name = path.strip_prefix(directory).expect("below").display();
        let content = if found.is_file() {
            hex(&fs::read(&path).expect("read a file"))
        } else {
            String::new()
        };
        lines.push(format!(
            "{name} {:o} {}:{} {}.{} {content}",
            found.mode(),
            found.uid(),
            found.gid(),
            found.mtime(),
            found.mtime_nsec()
        ));
        if found.is_dir() {
            let entries = fs::read_dir(&path).expect("list a directory");
            pending.extend(entries.map(|entry| entry.expect("an entry").path()));
        }
    }
    lines.sort();
    lines
}

#[test]
fn the_layer_that_makes_an_image_bootable_is_reproducible() {
    let place = Place::direct();
    let image = tree::minimal();
    let image = image.to_str().expect("UTF-8");
    let pull = |store: &str, arguments: &[&str]| {
        place
            .postroj(["pull", image])
            .args(arguments)
            .env("POSTROJ_STATE_DIR", place.scratch().join(store))
            .run()
            .exits(0)
    };
    let layers = |store: &str| {
        let layers = place.scratch().join(store).join("layers");
        let entries = fs::read_dir(layers).expect("the layers");
        let mut paths: Vec<PathBuf> = entries
            .map(|entry| entry.expect("a layer").path())
            .collect();
        // Beside the tree itself.
        paths.retain(|path| {
            let record = fs::read_to_string(path.join("layer.json")).expect("a record");
            record.contains("recipe for")
        });
        paths
    };
    pull("one", &[])
        .stderr_has(": pulled")
        .stderr_has("it lacks");
    let one = layers("one");
    assert_eq!(one.len(), 1);
    // In another store, and made anew in the same one.
    pull("two", &[]).stderr_has("it lacks");
    let two = layers("two");
    assert_eq!(listing(&one[0].join("root")), listing(&two[0].join("root")));
    assert_eq!(one[0].file_name(), two[0].file_name());
    pull("one", &["--force"])
        .stderr_has("it lacks")
        .stderr_has(": up to date");
    assert_eq!(layers("one"), one);
    // What is cached by its inputs is not made again.
    let again = pull("one", &[]).stderr_has(": up to date");
    assert!(!again.stderr.contains("it lacks"), "{again}");

    // Nothing of the run is in it.
    for path in [
        "etc/resolv.conf",
        "var/log/dpkg.log",
        "var/lib/systemd/random-seed",
    ] {
        assert!(!one[0].join("root").join(path).exists(), "{path}");
    }
    let packages = one[0].join("root/var/cache/apt/archives");
    let left = fs::read_dir(packages).into_iter().flatten().count();
    assert_eq!(left, 0, "packages are left in the layer");
    let id = fs::read_to_string(one[0].join("root/etc/machine-id")).unwrap_or_default();
    assert_eq!(id, "");

    // A lock file holds the layer to its content, too.
    let lock = place.scratch().join("postroj.lock");
    let lock = lock.to_str().expect("UTF-8");
    pull("one", &["--lock", lock]);
    pull("two", &["--locked", lock]).stderr_has("in the store, as locked");
    let text = fs::read_to_string(lock).expect("the lock file");
    let line = text
        .lines()
        .find(|line| line.starts_with("provision"))
        .expect("the layer's content");
    let other = format!("provision = \"sha256:{}\"", hex(b"another"));
    fs::write(lock, text.replace(line, &other)).expect("write the lock file");
    place
        .postroj(["pull", image, "--locked", lock])
        .env("POSTROJ_STATE_DIR", place.scratch().join("two"))
        .run()
        .exits(3)
        .stderr_has("the layer that makes it bootable is not what was locked");
    assert_eq!(layers("two").len(), 1);
}

#[test]
fn packages_are_downloaded_once() {
    let place = Place::direct();
    let mut repository = Repository::start();
    repository.add(&place, "first", "1");
    repository.add(&place, "second", "1");
    let sources = repository.sources();
    let image = variant(
        &place,
        &tree::bootable(),
        &[("etc/apt/sources.list", &sources)],
    );
    let image = image.to_str().expect("UTF-8");
    let store = place.scratch().join("store");
    let cache = place.scratch().join("own");
    let probe = |package: &str| {
        place
            .pkgprobe(image, ["--package", package, "--check-unit", package])
            .args(NEAR)
            .env("POSTROJ_STATE_DIR", &store)
            .env("POSTROJ_CACHE_DIR", &cache)
    };
    probe("first").run().exits(0);
    assert_eq!(repository.asked_for("first_1.deb"), 1);
    let asked = repository.server.requests().len();
    probe("first").run().exits(0);
    assert_eq!(
        repository.server.requests().len(),
        asked,
        "somebody was asked"
    );
    // Another one: its index is known.
    let index = repository.asked_for("/Release");
    probe("second").run().exits(0);
    assert_eq!(repository.asked_for("second_1.deb"), 1);
    assert_eq!(repository.asked_for("/Release"), index);
    // Without a network, what was downloaded will do, and nothing else.
    probe("first").args(["--offline"]).run().exits(0);
    probe("third")
        .args(["--offline"])
        .run()
        .exits(3)
        .stderr_has(
            "apt-get needs what is not in its cache, and --offline leaves the network alone",
        );

    // An index that has become wrong leads to no verdict of its own: a package that is new there, …
    repository.add(&place, "third", "1");
    probe("third").run().exits(0);
    // … one that has made way for a newer version, …
    repository.add(&place, "moving", "1");
    probe("absent").run().exits(1);
    repository.remove("moving");
    repository.add(&place, "moving", "2");
    let report = probe("moving").args(["--json"]).run().exits(0);
    assert!(report.stdout.contains("moving (2)"), "{report}");
    // … and one that has gone is the package's fault only if the repository says so.
    repository.remove("second");
    probe("fourth").run().exits(1).stdout_has("fourth");

    let kept = cache.join("packages");
    let others = tool(
        "find",
        &[kept.to_str().expect("UTF-8"), "!", "-user", "root"],
    );
    assert_eq!(others.stdout, "");
}

#[test]
fn containers_at_once_share_a_cache() {
    let place = Place::direct();
    let cache = place.scratch().join("own");
    let start = || {
        place
            .pkgprobe("debian-bookworm", ["--package", "media-types"])
            .env("POSTROJ_CACHE_DIR", &cache)
            .start()
    };
    let running: Vec<_> = (0..3).map(|_| start()).collect();
    for running in running {
        running.wait().exits(0);
    }
    place
        .pkgprobe("debian-bookworm", ["--package", "media-types", "--offline"])
        .env("POSTROJ_CACHE_DIR", &cache)
        .run()
        .exits(0);
}

#[test]
fn a_package_cannot_poison_the_cache() {
    let place = Place::direct();
    let cache = place.scratch().join("own");
    let probe = |arguments: &[&str]| {
        place
            .pkgprobe("debian-bookworm", arguments)
            .env("POSTROJ_CACHE_DIR", &cache)
            .run()
    };
    probe(&["--package", "media-types"]).exits(0);
    let packages = cache.join("packages");
    let before = listing(&packages);
    let archive = before
        .iter()
        .find_map(|line| {
            Some(line.split(' ').next()?.rsplit_once('/')?.1.to_owned())
                .filter(|name| name.ends_with("all.deb"))
        })
        .expect("the archive that was downloaded");
    // It writes over what the container sees of it: the archive, by a file of the same size, and the
    // index; then it does what a package manager does.
    let hostile = Deb::new("hostile")
        .depends("media-types")
        .service("/bin/sleep infinity")
        .postinst(&format!(
            "f=/var/cache/apt/archives/{archive}; test -f $f; s=$(stat -c %s $f); head -c $s /dev/zero >$f; \
             for f in /var/lib/apt/lists/*Packages; do echo bad >$f; done; sync; rm -rf /var/cache/apt/archives/*"
        ))
        .build(place.scratch(), "hostile.deb");
    let hostile = hostile.to_str().expect("UTF-8");
    probe(&["--package", hostile, "--check-unit", "hostile"]).exits(0);
    let strip = |lines: Vec<String>| -> Vec<String> {
        // The time of the lock's file tells when it was last used.
        let kept = |line: &String| line.contains(".deb ") || line.contains("Packages ");
        lines.into_iter().filter(kept).collect()
    };
    assert_eq!(strip(listing(&packages)), strip(before));
    probe(&["--package", "media-types", "--offline"]).exits(0);
}

/// The repositories are those of [`tree::foreign`], on a web server: what is local is not cached.
fn managers_cache(id: &str, config: &str, root: &str, corrupt: &str) {
    let place = Place::direct();
    let foreign = tree::foreign(id);
    let server = Server::start();
    let mut pending = vec![foreign.join(root)];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("list the repository");
            pending.extend(entries.map(|entry| entry.expect("an entry").path()));
        } else {
            let name = path.strip_prefix(&foreign).expect("below");
            let content = fs::read(&path).expect("read the repository");
            server.put(&format!("/{}", name.display()), Answer::body(content));
        }
    }
    let text = fs::read_to_string(foreign.join(config)).expect("the configuration");
    let address = server.url("");
    let text = text.replace("file://", &address);
    let image = variant(&place, &foreign, &[(config, &text)]);
    let image = image.to_str().expect("UTF-8");
    let cache = place.scratch().join("own");
    let probe = |arguments: &[&str]| {
        place
            .pkgprobe(image, ["--package", "greeter", "--check-unit", "greeter"])
            .args(NEAR)
            .args(arguments)
            .env("POSTROJ_STATE_DIR", place.scratch().join("store"))
            .env("POSTROJ_CACHE_DIR", &cache)
            .run()
    };
    probe(&[]).exits(0);
    let asked = server.requests();
    let packages = |requests: &[crate::support::http::Request]| {
        requests
            .iter()
            .filter(|request| request.path.contains("/greeter-") && !request.path.contains(".sig"))
            .count()
    };
    assert!(packages(&asked) >= 2, "{asked:?}");
    probe(&[]).exits(0);
    assert_eq!(
        packages(&server.requests()),
        packages(&asked),
        "fetched again"
    );
    probe(&["--offline"]).exits(0);

    // The managers check what they take from there: bytes that have changed are not installed.
    let damage = format!(
        "find {} -name '{corrupt}' | while read f; do s=$(stat -c %s \"$f\"); t=$(stat -c %Y \"$f\"); head -c $s /dev/zero >\"$f\"; touch -d @$t \"$f\"; done",
        cache.join("packages").display()
    );
    tool("sh", &["-euc", &damage]);
    probe(&["--offline"]).exits(3);
    probe(&[]).exits(0);
}

#[test]
fn dnf_keeps_what_it_downloads() {
    managers_cache(
        "fedora",
        "etc/yum.repos.d/local.repo",
        "srv/rpm",
        "greeter-*.rpm",
    );
}

#[test]
fn zypper_keeps_what_it_downloads() {
    managers_cache(
        "opensuse-leap",
        "etc/zypp/repos.d/local.repo",
        "srv/rpm",
        "greeter-*.rpm",
    );
}

#[test]
fn pacman_keeps_what_it_downloads() {
    managers_cache(
        "arch",
        "etc/pacman.conf",
        "srv/pacman",
        "greeter-*.pkg.tar.gz",
    );
}

#[test]
fn zypper_news_are_no_failures() {
    // The code is zypper's own for "a restart of the package manager is wanted".
    let place = Place::direct();
    let foreign = tree::foreign("opensuse-leap");
    let wrapper = "#!/bin/sh\n/usr/bin/zypper.real \"$@\" || exit\ncase \" $* \" in *' install '*) exit 103 ;; esac\n";
    let image = variant(&place, &foreign, &[]);
    let zypper = image.join("usr/bin/zypper");
    fs::rename(&zypper, image.join("usr/bin/zypper.real")).expect("rename");
    fs::write(&zypper, wrapper).expect("write");
    tool("chmod", &["755", zypper.to_str().expect("UTF-8")]);
    let image = image.to_str().expect("UTF-8");
    place
        .pkgprobe(image, ["--package", "greeter", "--check-unit", "greeter"])
        .env("POSTROJ_STATE_DIR", place.scratch().join("store"))
        .run()
        .exits(0);
}
