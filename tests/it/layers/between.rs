//! What one layer says about those below it.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use crate::support::archive::{Entry, Tar};
use crate::support::oci::{Client, Image, Layer};

fn layers(tars: impl IntoIterator<Item = Tar>) -> Image {
    tars.into_iter().fold(Image::new(), |image, tar| {
        image.layer(Layer::gzip(&tar.bytes()))
    })
}

fn is_whiteout(path: &Path) -> bool {
    fs::symlink_metadata(path)
        .is_ok_and(|found| found.file_type().is_char_device() && found.rdev() == 0)
}

fn is_opaque(path: &Path) -> bool {
    let mut value = [0; 8];
    rustix::fs::lgetxattr(path, "trusted.overlay.opaque", &mut value[..])
        .is_ok_and(|length| &value[..length] == b"y")
}

#[test]
fn a_root_that_is_only_implied_is_that_of_the_layer_below() {
    let client = Client::new();
    let roots = client.taken(layers([
        Tar::bootable().with(Entry::directory(".").mode(0o710).owner(1, 2)),
        Tar::new().with(Entry::file("x", "")),
    ]));
    let top = fs::metadata(roots.last().expect("layers")).expect("the root");
    assert_eq!((top.mode() & 0o7777, top.uid(), top.gid()), (0o710, 1, 2));
    // The usual root needs no layer for itself.
    let roots = client.taken(layers([
        Tar::bootable().with(Entry::directory(".").mode(0o755)),
        Tar::new().with(Entry::file("x", "")),
    ]));
    assert_eq!(roots.len(), 2);
}

#[test]
fn an_opaque_root_hides_all_layers_below() {
    let client = Client::new();
    let roots = client.taken(layers([
        Tar::new()
            .with(Entry::directory(".").mode(0o700))
            .with(Entry::file("hidden", "")),
        Tar::bootable().with(Entry::file(".wh..wh..opq", "")),
    ]));
    assert_eq!(roots.len(), 1);
    assert!(!roots[0].join("hidden").exists());
}

#[test]
fn whiteouts_do_not_depend_on_their_place() {
    let client = Client::new();
    let base = || {
        Tar::bootable()
            .with(Entry::file("gone", ""))
            .with(Entry::file("file", "below"))
            .with(Entry::file("dir/below", ""))
            .with(Entry::file("opaque/below", ""))
    };
    let marks = |tar: Tar| {
        tar.with(Entry::file(".wh.gone", ""))
            .with(Entry::file(".wh.file", ""))
            .with(Entry::file(".wh.dir", ""))
            .with(Entry::file("opaque/.wh..wh..opq", ""))
            .with(Entry::file("opaque/.wh.below", ""))
    };
    let content = |tar: Tar| {
        tar.with(Entry::file("file", "here"))
            .with(Entry::file("dir/here", ""))
            .with(Entry::file("opaque/here", ""))
    };
    for top in [content(marks(Tar::new())), marks(content(Tar::new()))] {
        let roots = client.taken(layers([base(), top]));
        let top = |name: &str| roots[1].join(name);
        assert!(is_whiteout(&top("gone")));
        assert_eq!(fs::read(top("file")).expect("the file"), b"here");
        assert!(is_opaque(&top("dir")) && top("dir/here").is_file());
        assert!(is_opaque(&top("opaque")) && top("opaque/here").is_file());
        // Nothing shows through an opaque directory, and overlayfs would list it.
        assert!(fs::symlink_metadata(top("opaque/below")).is_err());
    }
}

#[test]
fn a_directory_in_the_place_of_something_else_is_new() {
    let client = Client::new();
    let roots = client.taken(layers([
        Tar::bootable().with(Entry::file("d/below", "")),
        Tar::new()
            .with(Entry::file("d", ""))
            .with(Entry::directory("d").mode(0o700))
            .with(Entry::file("d/here", "")),
    ]));
    assert!(is_opaque(&roots[1].join("d")));
}

#[test]
fn a_hard_link_into_a_lower_layer_is_a_copy() {
    let client = Client::new();
    let roots = client.taken(layers([
        Tar::bootable().with(
            Entry::file("precious", "content")
                .mode(0o4711)
                .owner(3, 4)
                .pax("SCHILY.xattr.user.note", "kept"),
        ),
        Tar::new()
            .with(Entry::hard_link("copy", "precious"))
            .with(Entry::hard_link("again", "copy")),
    ]));
    let below = fs::metadata(roots[0].join("precious")).expect("the file");
    let copy = fs::metadata(roots[1].join("copy")).expect("the copy");
    assert_eq!(
        fs::read(roots[1].join("copy")).expect("the copy"),
        b"content"
    );
    assert_eq!(below.nlink(), 1);
    assert_eq!(copy.nlink(), 2);
    let told = |found: &fs::Metadata| (found.mode(), found.uid(), found.gid(), found.mtime());
    assert_eq!(told(&copy), told(&below));
    let mut value = [0; 8];
    let length = rustix::fs::lgetxattr(roots[1].join("copy"), "user.note", &mut value[..]);
    assert_eq!(&value[..length.expect("the attribute")], b"kept");

    let bad = layers([
        Tar::bootable(),
        Tar::new().with(Entry::hard_link("h", "usr")),
    ]);
    client.refused("a link to a directory below", bad, &["\"h\""]);
}

#[test]
fn many_links_that_wait_take_no_time() {
    let client = Client::new();
    let top = (0..10_000).fold(Tar::new(), |tar, at| {
        tar.with(Entry::hard_link(format!("h{at}"), "x"))
    });
    let started = std::time::Instant::now();
    let roots = client.taken(layers([
        Tar::bootable().with(Entry::file("x", "content")),
        top,
    ]));
    assert_eq!(fs::read_dir(&roots[1]).expect("the root").count(), 10_000);
    // Comparing each with each took minutes.
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}

#[test]
fn a_tarball_is_no_layer_although_its_bytes_are_the_same() {
    let client = Client::new();
    let archive = Tar::bootable()
        .with(Entry::file("etc/.wh.x", "a name like any other"))
        .bytes();
    let roots = client.taken(Image::new().layer(Layer::plain(&archive)));
    assert!(is_whiteout(&roots[0].join("etc/x")));
    let path = client.store().with_extension("tar");
    fs::write(&path, archive).expect("write");
    let path = path.to_str().expect("UTF-8");
    client.pull(path).exits(0);
    let roots = client.roots(path);
    assert!(roots[0].join("etc/.wh.x").is_file());
    assert!(!roots[0].join("etc/x").exists());
}
