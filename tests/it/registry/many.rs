//! Images of very many layers.

use std::fs;

use crate::support::Place;
use crate::support::archive::{Entry, Tar};
use crate::support::image;
use crate::support::oci::{Client, Image, Layer};
use crate::support::tiny;

/// The layers of an image on top of its first.
fn small(count: usize) -> impl Iterator<Item = Layer> {
    (0..count).map(|at| {
        let file = Entry::file(format!("srv/layer-{at}"), at.to_string());
        Layer::gzip(&Tar::new().with(file).bytes())
    })
}

#[test]
fn five_thousand_layers_are_refused() {
    let client = Client::new();
    let image = small(1).fold(Image::new(), Image::layer);
    let image = image.manifest(|manifest| {
        let layers = manifest["layers"].as_array_mut().expect("an array");
        let one = layers[0].clone();
        layers.resize(5000, one);
    });
    client.refused("5,000 layers", image, &["5000 layers"]);
    assert!(
        client
            .server
            .requests()
            .iter()
            .all(|request| !request.path.contains("/blobs/")),
        "something was fetched"
    );
}

/// The most memory that a process has had, in kB.
fn peak(id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn two_hundred_layers_take_little_memory() {
    let client = Client::new();
    // Large ones at the bottom, so that there is much under way at once.
    let large = (0..8).map(|seed| {
        let content = tiny::noise(seed, 4 << 20);
        Layer::gzip(
            &Tar::bootable()
                .with(Entry::file("content", content))
                .bytes(),
        )
    });
    let image = large.chain(small(192)).fold(Image::new(), Image::layer);
    let put = image.put(&client.server, "repo", "tag");
    let running = client.postroj(&["pull", &put.reference]).start().running;
    let mut most = 0;
    // One that has ended has no memory.
    while let Some(now) = peak(running.id()) {
        most = now;
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    running.wait().exits(0);
    assert!(most > 10_000 && most < 100_000, "{most} kB");
    let layers = client.record(&put.reference)["layers"].clone();
    assert_eq!(layers.as_array().map(Vec::len), Some(200));
}

#[test]
fn two_hundred_layers_boot() {
    image::pulled("debian-bookworm");
    let place = Place::direct();
    let archive = place.scratch().join("root.tar");
    let to = archive.to_str().expect("UTF-8");
    place
        .postroj(["export", "debian-bookworm", to])
        .run()
        .exits(0);
    let root = fs::read(&archive).expect("the root");
    fs::remove_file(&archive).expect("remove the archive");
    let client = Client::new();
    let image = std::iter::once(Layer::plain(&root))
        .chain(small(199))
        .fold(Image::new(), Image::layer);
    drop(root);
    let put = image.put(&client.server, "repo", "tag");
    client
        .postroj(&[
            "pkgprobe",
            "--image",
            &put.reference,
            "--check-unit",
            "systemd-journald",
        ])
        .run()
        .exits(0);
    let layers = client.record(&put.reference)["layers"].clone();
    assert_eq!(layers.as_array().map(Vec::len), Some(200));
}
