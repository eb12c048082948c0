//! `check`: what is not as it was is named, and `--repair` makes it so again.

use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use insta::assert_snapshot;

use crate::store::{Shelf, settled};
use crate::store_transfer::{import, scratch};
use crate::support::archive::{Entry, Tar};
use crate::support::process::tool;
use crate::support::{image, oci, tiny};

/// An image of two layers from the registry.
struct Sample {
    shelf: Shelf,
    name: String,
    layers: [Vec<u8>; 2],
    roots: Vec<PathBuf>,
}

impl Sample {
    fn new() -> Self {
        let shelf = Shelf::new();
        let layers = [
            tiny::archive(&[("etc/lower", &tiny::noise(1, 100_000))]),
            Tar::new()
                .with(Entry::file("etc/upper", tiny::noise(2, 100_000)))
                .with(Entry::file("etc/mode", "x"))
                .with(Entry::symlink("etc/link", "mode"))
                .with(Entry::file("etc/.wh.gone", ""))
                .bytes(),
        ];
        let name = shelf.serve("sample", &[&layers[0], &layers[1]]).reference;
        shelf.run(&["pull", &name]).exits(0);
        let mut sample = Self {
            shelf,
            name,
            layers,
            roots: Vec::new(),
        };
        sample.roots = sample.roots();
        sample.sound();
        sample
    }

    fn roots(&self) -> Vec<PathBuf> {
        let inspected = self.shelf.json(&["inspect", &self.name]);
        let layers = inspected[0]["layers"].as_array().expect("layers");
        let path = |layer: &serde_json::Value| layer["path"].as_str().expect("a path").into();
        layers.iter().map(path).collect()
    }

    #[track_caller]
    fn sound(&self) {
        self.shelf
            .run(&["check"])
            .exits(0)
            .stdout_has("2 layers: no problem");
    }

    /// How often each layer was asked for.
    fn downloads(&self) -> [usize; 2] {
        let requests = self.shelf.server.requests();
        [0, 1].map(|at| {
            let blob = oci::Layer::gzip(&self.layers[at]).digest();
            requests
                .iter()
                .filter(|request| request.path.ends_with(&blob))
                .count()
        })
    }

    /// Repairs, and sees that only the upper layer was fetched for it.
    #[track_caller]
    fn repaired(&self) {
        let before = self.downloads();
        self.shelf
            .run(&["check", "--repair"])
            .exits(0)
            .stdout_has(&format!("repaired: {}", self.name));
        self.sound();
        let after = self.downloads();
        assert_eq!(after, [before[0], before[1] + 1], "the good layer stays");
        assert_eq!(self.shelf.names("tmp"), [""; 0]);
    }
}

#[test]
fn a_flipped_bit_is_named_and_repaired() {
    let sample = Sample::new();
    let _settings = settled();
    let path = sample.roots[1].join("etc/upper");
    let modified = fs::metadata(&path).and_then(|found| found.modified());
    let mut byte = [0];
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(&path)
        .expect("a file");
    file.read_exact_at(&mut byte, 50_000).expect("a byte");
    byte[0] ^= 0x10;
    file.write_all_at(&byte, 50_000).expect("flip a bit");
    // As a disk does it: nothing else tells of it.
    file.set_modified(modified.expect("a time"))
        .expect("a time");
    drop(file);

    let shown = sample
        .shelf
        .shown(&["-q", "check"])
        .replace(&sample.name, "[image]");
    assert_snapshot!(shown, @r#"
    layer chain-[hex] of [image]: "/etc/upper" has other content
    --- stderr
    error: 1 problem found
    hint: postroj check --repair gets what is broken again
    --- exit code 3
    "#);
    // An image alone may be asked for, by any of its names.
    sample
        .shelf
        .run(&["check", &sample.name])
        .exits(3)
        .stdout_has("/etc/upper");
    sample.repaired();
}

#[test]
fn every_kind_of_damage_is_named() {
    let sample = Sample::new();
    let root = &sample.roots[1];
    let damages: [(&dyn Fn(), &str); 9] = [
        (
            &|| fs::remove_file(root.join("etc/mode")).expect("remove"),
            "\"/etc/mode\" ",
        ),
        (
            &|| fs::write(root.join("etc/new"), "").expect("write"),
            "\"/etc/new\" ",
        ),
        (
            &|| {
                let mode = fs::Permissions::from_mode(0o4755);
                fs::set_permissions(root.join("etc/mode"), mode).expect("a mode");
            },
            "\"/etc/mode\" ",
        ),
        (
            &|| {
                fs::remove_file(root.join("etc/link")).expect("remove");
                std::os::unix::fs::symlink("/etc/shadow", root.join("etc/link")).expect("a link");
            },
            "\"/etc/link\" ",
        ),
        (
            &|| {
                let path = root.join("etc/mode");
                tool(
                    "setfattr",
                    &["-n", "user.x", "-v", "y", path.to_str().expect("UTF-8")],
                );
            },
            "\"/etc/mode\" ",
        ),
        (
            &|| fs::remove_file(root.join("etc/gone")).expect("remove"),
            "\"/etc/gone\" ",
        ),
        (
            &|| fs::write(root.join("../content"), "").expect("write"),
            "listing",
        ),
        (
            &|| fs::write(root.join("../layer.json"), "{").expect("write"),
            "its record cannot be read",
        ),
        (&|| fs::remove_dir_all(root).expect("remove"), "is missing"),
    ];
    for (damage, words) in damages {
        damage();
        let outcome = sample.shelf.run(&["check"]).exits(3).stdout_has(words);
        let line = outcome.stdout.lines().next().unwrap_or_default();
        let named = line.starts_with("layer chain-") || line.starts_with("layer sha256-");
        assert!(
            named && line.contains(&format!(" of {}: ", sample.name)),
            "{outcome}"
        );
        sample.repaired();
    }
    fs::remove_dir_all(root.parent().expect("a layer")).expect("remove");
    sample
        .shelf
        .run(&["check"])
        .exits(3)
        .stdout_has("is missing");
    sample
        .shelf
        .run(&["images"])
        .exits(0)
        .stderr_has("1 of its layers are missing");
    sample.repaired();
}

#[test]
fn a_record_that_cannot_be_read_is_removed() {
    let sample = Sample::new();
    let record = sample
        .shelf
        .state
        .join("images")
        .join(&sample.shelf.names("images")[0]);
    fs::write(&record, "{").expect("write");
    sample
        .shelf
        .run(&["check"])
        .exits(3)
        .stdout_has(&format!("record {}: ", record.display()));
    sample
        .shelf
        .run(&["check", "--repair"])
        .exits(0)
        .stdout_has(&format!("removed: record {}", record.display()));
    assert_eq!(sample.shelf.names("images"), [""; 0]);
    sample.sound();
}

/// A registry that is gone, and a file that is: the image is clearly absent, not half there.
#[test]
fn what_cannot_be_repaired_is_told() {
    let sample = Sample::new();
    let shelf = &sample.shelf;
    fs::remove_file(sample.roots[1].join("etc/mode")).expect("remove");
    for layer in &sample.layers {
        let blob = oci::Layer::gzip(layer).digest();
        let path = format!("/v2/sample/blobs/{blob}");
        shelf
            .server
            .put(&path, crate::support::http::Answer::status(404));
    }
    shelf
        .run(&["check", "--repair"])
        .exits(3)
        .stdout_has(&format!("not repaired: {}: ", sample.name));
    shelf
        .run(&["images"])
        .exits(0)
        .stderr_has("1 of its layers are missing");
    shelf.run(&["check"]).exits(3).stdout_has("is missing");
    shelf.run(&["rmi", &sample.name]).exits(0);
    shelf
        .run(&["check"])
        .exits(0)
        .stdout_has("0 layers: no problem");

    let archive = tiny::tarball(shelf.place.scratch(), "own.tar", &[("etc/x", b"1")]);
    import(shelf, archive.to_str().expect("UTF-8"), "localhost/own");
    let inspected = shelf.json(&["inspect", "localhost/own"]);
    let root = inspected[0]["layers"][0]["path"]
        .as_str()
        .expect("a path")
        .to_owned();
    fs::write(Path::new(&root).join("etc/x"), "2").expect("write");
    // What was imported is imported again, from where it was.
    shelf
        .run(&["check", "--repair"])
        .exits(0)
        .stdout_has("repaired: localhost/own:latest");
    assert_eq!(
        fs::read(Path::new(&root).join("etc/x")).expect("a file"),
        b"1"
    );
    fs::write(Path::new(&root).join("etc/x"), "2").expect("write");
    fs::remove_file(scratch(shelf, "own.tar")).expect("remove");
    shelf
        .run(&["check", "--repair"])
        .exits(3)
        .stdout_has("not repaired: localhost/own:latest: ");
}

/// What a container runs on is not taken from under it, however broken.
#[test]
fn a_layer_in_use_is_not_repaired() {
    let shelf = Shelf::new();
    let name = "debian-bookworm";
    image::copy_store(&[name], &shelf.state);
    shelf
        .run(&["check", name])
        .exits(0)
        .stdout_has("no problem");
    let machine = shelf.keep(name);
    let inspected = shelf.json(&["inspect", name]);
    let root = inspected[0]["layers"][0]["path"].as_str().expect("a path");
    // The store is a copy by links: the file has to be another one.
    let path = Path::new(root).join("etc/debian_version");
    fs::remove_file(&path).expect("remove");
    fs::write(&path, "spoilt").expect("write");
    shelf
        .run(&["check", name])
        .exits(3)
        .stdout_has("\"/etc/debian_version\" ");
    shelf
        .run(&["check", "--repair", name])
        .exits(3)
        .stdout_has(&format!("it is in use by {}", machine.name));
    assert!(path.exists());
}
