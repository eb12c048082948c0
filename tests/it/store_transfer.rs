//! Images out of the store and into it again: `export` and `import`, with the tools of others on
//! the other side.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::store::Shelf;
use crate::support::archive::{Entry, Tar};
use crate::support::process::{run, tool};
use crate::support::{oci, tiny, tree};

/// An image with everything that an archive can hold, in layers that hide parts of each other.
fn layers() -> Vec<Vec<u8>> {
    let long = format!("{}/{}", "d".repeat(90), "n".repeat(120));
    let lower = Tar::bootable()
        .with(Entry::directory("etc").mode(0o751).owner(3, 4))
        .with(
            Entry::file("etc/kept", "kept")
                .mode(0o4755)
                .owner(70_000, 3_000_000),
        )
        .with(Entry::hard_link("etc/twin", "etc/kept"))
        .with(Entry::file("etc/gone", "gone"))
        .with(Entry::file("etc/changed", "lower"))
        .with(Entry::directory("opaque"))
        .with(Entry::file("opaque/lower", "lower"))
        .with(Entry::file("was/a/directory", ""))
        .with(Entry::symlink("etc/link", "../etc/kept"))
        .with(Entry::symlink("etc/far", "x".repeat(150)))
        .with(Entry::file(&long, "long"))
        .with(Entry::file(b"etc/\xff\n\x1b[31m", "odd"))
        .with(
            Entry::file("etc/capable", "x")
                .pax("SCHILY.xattr.user.note", b"a\nb=\xff")
                .pax(
                    "SCHILY.xattr.security.capability",
                    b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
                ),
        )
        .with(Entry::file("etc/late", "").pax("mtime", "1700000000.123456789"))
        .with(Entry::new(tar::EntryType::Fifo, "etc/fifo"))
        .with(
            Entry::new(tar::EntryType::Char, "etc/null").header(|header| {
                header.set_device_major(1).expect("a small number");
                header.set_device_minor(3).expect("a small number");
            }),
        );
    let upper = Tar::new()
        .with(Entry::file("etc/.wh.gone", ""))
        .with(Entry::file("etc/changed", "upper"))
        .with(Entry::file("opaque/.wh..wh..opq", ""))
        .with(Entry::file("opaque/upper", "upper"))
        .with(Entry::file(".wh.was", ""))
        .with(Entry::file("was", "now a file"));
    vec![lower.bytes(), upper.bytes()]
}

/// All that there is to tell of a tree, entry by entry.
fn listing(root: &Path) -> String {
    let script = "cd \"$1\" && find . -printf '%p %y %m %U %G %T@ %l %n\\n' | LC_ALL=C sort && \
        find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum -z | tr '\\0' '\\n' && \
        find . -print0 | LC_ALL=C sort -z | xargs -0 getfattr -h -d -m '^(user|security)\\.' -e hex --";
    let root = root.to_str().expect("UTF-8");
    let mut command = std::process::Command::new("sh");
    command.args(["-c", script, "sh", root]);
    run(command).exits(0).stdout
}

pub(crate) fn scratch(shelf: &Shelf, name: &str) -> String {
    let path = shelf.place.scratch().join(name);
    path.to_str().expect("UTF-8").to_owned()
}

/// Unpacks an archive with GNU tar.
fn unpacked(shelf: &Shelf, archive: &str, name: &str) -> PathBuf {
    let to = shelf.place.scratch().join(name);
    fs::create_dir(&to).expect("a directory");
    let to_text = to.to_str().expect("UTF-8");
    tool(
        "tar",
        &[
            "-xpf",
            archive,
            "-C",
            to_text,
            "--numeric-owner",
            "--xattrs",
            "--xattrs-include=*",
            "--warning=no-timestamp",
        ],
    );
    to
}

/// Mounts what the store has of an image, as a container would see it, and lists that.
fn seen(shelf: &Shelf, name: &str) -> String {
    let inspected = shelf.json(&["inspect", name]);
    let layers = inspected[0]["layers"].as_array().expect("layers");
    let roots: Vec<&str> = layers
        .iter()
        .rev()
        .map(|layer| layer["path"].as_str().expect("a path"))
        .collect();
    let at = shelf.place.scratch().join("seen");
    fs::create_dir_all(&at).expect("a mount point");
    let copy = shelf.place.scratch().join("copy");
    fs::create_dir_all(&copy).expect("a directory");
    // A single directory is no overlay: an empty one lies below it.
    let below = shelf.place.scratch().join("below");
    fs::create_dir_all(&below).expect("a directory");
    let options = format!("lowerdir={}:{}", roots.join(":"), below.display());
    let script = "mount -t overlay overlay -o \"$1\" \"$2\" && cp -a \"$2/.\" \"$3\"";
    tool(
        "unshare",
        &[
            "--mount",
            "sh",
            "-ec",
            script,
            "sh",
            &options,
            at.to_str().expect("UTF-8"),
            copy.to_str().expect("UTF-8"),
        ],
    );
    let listing = listing(&copy);
    fs::remove_dir_all(&copy).expect("remove the copy");
    listing
}

pub(crate) fn import(shelf: &Shelf, source: &str, name: &str) {
    shelf
        .run(&["import", source, "--name", name])
        .exits(0)
        .stderr_has(": imported");
}

#[test]
fn an_exported_archive_is_what_a_container_sees() {
    let shelf = Shelf::new();
    let layers = layers();
    let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    let name = shelf.serve("all", &layers).reference;
    shelf.run(&["pull", &name]).exits(0);
    let seen_first = seen(&shelf, &name);
    assert!(seen_first.contains("etc/twin") && !seen_first.contains("etc/gone"));

    let plain = scratch(&shelf, "all.tar");
    shelf.run(&["export", &name, &plain]).exits(0);
    let by_tar = listing(&unpacked(&shelf, &plain, "by-tar"));
    assert_eq!(by_tar, seen_first);
    // The same bytes again, whatever packs them.
    for (file, unpack) in [
        ("all.tar.gz", "gzip"),
        ("all.tgz", "gzip"),
        ("all.tar.xz", "xz"),
        ("all.tar.zst", "zstd"),
    ] {
        let packed = scratch(&shelf, file);
        shelf.run(&["export", &name, &packed]).exits(0);
        let script = format!("{unpack} -dc <\"$1\" | cmp - \"$2\"");
        tool("sh", &["-c", &script, "sh", &packed, &plain]);
        let name = format!("localhost/again:{}", file.replace('.', "-"));
        import(&shelf, &packed, &name);
        assert_eq!(seen(&shelf, &name), seen_first, "{file}");
    }
    import(&shelf, &plain, "localhost/plain");
    assert_eq!(seen(&shelf, "localhost/plain"), seen_first);
    let again = scratch(&shelf, "again.tar");
    shelf
        .run(&["export", "localhost/plain:latest", &again])
        .exits(0);
    assert!(fs::read(&again).expect("a file") == fs::read(&plain).expect("a file"));

    // And a tree, which a copy may come from.
    let directory = shelf.place.scratch().join("by-tar");
    import(&shelf, directory.to_str().expect("UTF-8"), "localhost/tree");
    assert_eq!(seen(&shelf, "localhost/tree"), seen_first);
    let left: Vec<String> = crate::store::names(shelf.place.scratch());
    assert!(
        left.iter().all(|name| !name.contains("partial")),
        "{left:?}"
    );
}

#[test]
fn holes_stay_holes() {
    let shelf = Shelf::new();
    let root = shelf.place.scratch().join("root");
    fs::create_dir(&root).expect("a directory");
    let tarball = tiny::tarball(shelf.place.scratch(), "tiny.tar", &[]);
    let (tarball, to) = (
        tarball.to_str().expect("UTF-8"),
        root.to_str().expect("UTF-8"),
    );
    tool("tar", &["-xf", tarball, "-C", to]);
    let sparse = root.join("etc/sparse");
    fs::create_dir_all(root.join("etc")).expect("a directory");
    let file = fs::File::create(&sparse).expect("a file");
    file.set_len(64 << 20).expect("a size");
    // More runs than fit into one header, and into one block after it.
    for at in 1..40 {
        let bytes = tiny::noise(at, 8192);
        std::os::unix::fs::FileExt::write_all_at(&file, &bytes, at * (1 << 20)).expect("write");
    }
    file.sync_all().expect("sync");
    import(&shelf, to, "localhost/sparse");
    let archive = scratch(&shelf, "sparse.tar");
    shelf
        .run(&["export", "localhost/sparse", &archive])
        .exits(0);
    let size = fs::metadata(&archive).expect("a file").len();
    assert!(size < 1 << 20, "the holes are written out: {size}");
    let by_tar = unpacked(&shelf, &archive, "by-tar").join("etc/sparse");
    import(&shelf, &archive, "localhost/again");
    let inspected = shelf.json(&["inspect", "localhost/again"]);
    let path = inspected[0]["layers"][0]["path"].as_str().expect("a path");
    let content = fs::read(&sparse).expect("a file");
    for found in [by_tar, Path::new(path).join("etc/sparse")] {
        assert!(
            fs::read(&found).expect("a file") == content,
            "{}",
            found.display()
        );
        let blocks = fs::metadata(&found).expect("a file").blocks();
        assert!(
            blocks * 512 < 2 << 20,
            "{}: {blocks} blocks",
            found.display()
        );
    }
}

/// skopeo reads what postroj writes, and postroj what skopeo writes: the image stays the same.
#[test]
fn round_trips_with_skopeo() {
    let shelf = Shelf::new();
    let layers = layers();
    let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    let put = layers
        .iter()
        .fold(oci::Image::new(), |image, layer| {
            image.layer(oci::Layer::gzip(layer))
        })
        .config(|config| {
            config["config"] = serde_json::json!({
                "Env": ["A=b c"], "Entrypoint": ["/x", "%n"], "Cmd": ["$y"],
                "WorkingDir": "/etc", "User": "3:4",
            });
        })
        .put(&shelf.server, "all", "tag");
    let name = put.reference.as_str();
    shelf.run(&["pull", name]).exits(0);
    let expected = seen(&shelf, name);
    let config = shelf.json(&["inspect", name])[0]["config"].clone();
    assert_eq!(config["entrypoint"], serde_json::json!(["/x", "%n"]));

    let layout = scratch(&shelf, "layout/");
    shelf.run(&["export", name, &layout]).exits(0);
    let copy = |from: &str, to: &str| {
        let policy = [
            "--insecure-policy",
            "copy",
            "--quiet",
            "--src-tls-verify=false",
        ];
        tool("skopeo", &[&policy[..], &[from, to]].concat());
    };
    let at = |name: &str| scratch(&shelf, name);
    let oci = format!("oci:{}", layout.trim_end_matches('/'));
    copy(
        &oci,
        &format!("docker-archive:{}:localhost/saved:1", at("saved.tar")),
    );
    copy(&oci, &format!("oci-archive:{}", at("archive.tar")));
    copy(&oci, &format!("dir:{}", at("dir")));
    // The layers as they are in the registry, by skopeo alone.
    let registry = format!("docker://{name}");
    copy(
        &registry,
        &format!("docker-archive:{}:localhost/direct:1", at("direct.tar")),
    );
    copy(&registry, &format!("oci:{}:localhost/laid:out", at("laid")));
    copy(&registry, &format!("oci-archive:{}", at("laid.tar")));
    for (from, to, tool) in [
        ("saved.tar", "saved.tar.gz", "gzip"),
        ("laid.tar", "laid.tar.zst", "zstd"),
    ] {
        let script = format!("{tool} -c <\"$1\" >\"$2\"");
        crate::support::process::tool("sh", &["-c", &script, "sh", &at(from), &at(to)]);
    }
    for (source, own_name) in [
        ("layout", None),
        ("saved.tar", Some("localhost/saved:1")),
        ("saved.tar.gz", Some("localhost/saved:1")),
        ("archive.tar", None),
        ("direct.tar", Some("localhost/direct:1")),
        ("laid", Some("localhost/laid:out")),
        ("laid.tar", None),
        ("laid.tar.zst", None),
    ] {
        let given = format!("localhost/given/{}", source.replace('.', "-"));
        import(&shelf, &at(source), &given);
        let given = format!("{given}:latest");
        assert_eq!(seen(&shelf, &given), expected, "{source}");
        let inspected = shelf.json(&["inspect", &given]);
        assert_eq!(inspected[0]["config"], config, "{source}");
        assert_eq!(inspected[0]["origin"], "import");
        if let Some(own) = own_name {
            shelf
                .run(&["import", &at(source)])
                .exits(0)
                .stderr_has(&format!("{own}: imported"));
            assert_eq!(seen(&shelf, own), expected, "{source}");
        }
    }
    // The layers that the registry has are shared with those from it.
    let layers = |name: &str| shelf.json(&["inspect", name])[0]["layers"].clone();
    assert_eq!(layers("localhost/laid:out"), layers(name));
    assert_eq!(layers("localhost/direct:1"), layers(name));
    // What postroj exports carries the image's name.
    let index = fs::read(Path::new(&at("layout")).join("index.json")).expect("an index");
    let index: Value = serde_json::from_slice(&index).expect("JSON");
    let annotations = &index["manifests"][0]["annotations"];
    assert_eq!(annotations["org.opencontainers.image.ref.name"], name);
}

#[test]
fn an_image_for_another_machine_stays_one() {
    let shelf = Shelf::new();
    // What the processor runs besides: others are refused.
    let other = if cfg!(target_arch = "aarch64") {
        "arm"
    } else {
        "386"
    };
    let platform = format!("linux/{other}");
    let name = oci::Image::new()
        .layer(oci::Layer::gzip(&tiny::archive(&[])))
        .config(move |config| config["architecture"] = other.into())
        .put(&shelf.server, "foreign", "tag")
        .reference;
    shelf
        .run(&["pull", "--platform", &platform, &name])
        .exits(0);
    assert_eq!(
        shelf.json(&["inspect", &name])[0]["platform"],
        platform.as_str()
    );
    let layout = scratch(&shelf, "layout");
    shelf
        .run(&["export", &name, &format!("{layout}/")])
        .exits(0);
    let inspected = tool("skopeo", &["inspect", "--config", &format!("oci:{layout}")]);
    let config: Value = serde_json::from_str(&inspected.stdout).expect("JSON");
    assert_eq!(config["architecture"], other);
    // This machine cannot take it for one of its own.
    shelf
        .run(&["import", &layout])
        .exits(2)
        .stderr_has(&platform);
    // What is broken is had again for that machine.
    let inspected = shelf.json(&["inspect", &name]);
    let root = inspected[0]["layers"][0]["path"].as_str().expect("a path");
    fs::write(Path::new(root).join("new"), "").expect("write");
    shelf.run(&["check", "--repair"]).exits(0);
    assert_eq!(
        shelf.json(&["inspect", &name])[0]["platform"],
        platform.as_str()
    );
}

/// A root of Debian's, imported and booted under its name, without a registry.
#[test]
fn an_imported_image_boots() {
    let shelf = Shelf::new();
    let archive = tree::archives().join("root.tar.gz");
    import(
        &shelf,
        archive.to_str().expect("UTF-8"),
        "localhost/debian:12",
    );
    let check = ["--check-unit", "systemd-journald"];
    shelf
        .postroj(&["pkgprobe", "--image", "localhost/debian:12"])
        .args(check)
        .run()
        .exits(0);
    shelf
        .run(&["pull", "localhost/debian:12"])
        .exits(0)
        .stderr_has("localhost/debian:12: in the store, as imported");
    shelf
        .run(&["pull", "--force", "localhost/debian:12"])
        .exits(2)
        .stderr_has("was imported from")
        .stderr_has("hint: postroj import ");
    let out = scratch(&shelf, "debian.tar");
    shelf.run(&["export", "localhost/debian:12", &out]).exits(0);
    let exported = listing(&unpacked(&shelf, &out, "exported"));
    let original = listing(&unpacked(
        &shelf,
        archive.to_str().expect("UTF-8"),
        "original",
    ));
    assert!(exported == original, "the root has changed on its way");
}

#[test]
fn what_cannot_be_exported_to_is_refused() {
    let shelf = Shelf::new();
    let image = shelf.pull_tarball("image.tar", &[("etc/x", b"1")]);
    let full = scratch(&shelf, "full");
    fs::create_dir(&full).expect("a directory");
    fs::write(Path::new(&full).join("x"), "").expect("write");
    let refused = |target: &str, words: &str| {
        shelf
            .run(&["export", &image, target])
            .exits(2)
            .stderr_has(words);
    };
    refused(&full, "the directory is not empty");
    refused(&scratch(&shelf, "x.zip"), "the name tells no format");
    refused(
        &scratch(&shelf, "nowhere/x.tar"),
        "No such file or directory",
    );
    refused(&scratch(&shelf, "nowhere/x/"), "No such file or directory");
    shelf
        .run(&["export", "localhost/x", "x.tar"])
        .exits(2)
        .stderr_has("no image localhost/x");
    // An empty directory is as good as none, and a file is replaced.
    let empty = scratch(&shelf, "empty");
    fs::create_dir(&empty).expect("a directory");
    shelf.run(&["export", &image, &empty]).exits(0);
    assert!(Path::new(&empty).join("oci-layout").exists());
    let file = scratch(&shelf, "x.tar");
    fs::write(&file, "old").expect("write");
    shelf.run(&["export", &image, &file]).exits(0);
    tool("tar", &["-tf", &file]);
}
