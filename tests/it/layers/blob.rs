//! A layer as a blob: what the manifest and the config say of it, and how it is compressed.

use crate::support::archive::{Entry, Tar, gzip};
use crate::support::http::Answer;
use crate::support::oci::{Client, Image, Layer, ZSTD, digest};

fn small() -> Vec<u8> {
    Tar::bootable().with(Entry::file("etc/x", "x")).bytes()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).expect("into memory")
}

#[test]
fn each_compression_is_taken() {
    let client = Client::new();
    for layer in [
        Layer::plain(&small()),
        Layer::gzip(&small()),
        Layer::packed(&small(), zstd(&small()), ZSTD),
    ] {
        let roots = client.taken(Image::new().layer(layer));
        let content = std::fs::read(roots[0].join("etc/x")).expect("the file");
        assert_eq!(content, b"x");
        std::fs::remove_dir_all(client.store()).expect("remove the store");
    }
}

#[test]
fn an_index_leads_to_the_image() {
    let client = Client::new();
    let image = Image::of(Tar::bootable()).index(|index| {
        let mut other = index["manifests"][0].clone();
        other["platform"] = serde_json::json!({ "os": "linux", "architecture": "s390x" });
        index["manifests"]
            .as_array_mut()
            .expect("an array")
            .insert(0, other);
    });
    let put = image.put(&client.server, "repo", "tag");
    client.pull(&put.reference).exits(0);
    assert_eq!(client.record(&put.reference)["digest"], put.digest);
}

#[test]
fn a_blob_that_is_not_what_was_said_is_refused() {
    let client = Client::new();
    let good = || Layer::gzip(&small());
    let blob = gzip(&small());
    let length = blob.len();
    let mut flipped = blob.clone();
    flipped[length / 2] ^= 1;
    let mut longer = blob.clone();
    longer.extend([0; 512]);
    let name = good().digest();
    for (row, layer, words) in [
        (
            "other bytes",
            good().served(Answer::body(flipped)),
            [&*name],
        ),
        ("longer", good().served(Answer::body(longer)), [&name]),
        (
            "shorter",
            good().served(Answer::body(&blob[..length - 8])),
            [&name],
        ),
        ("larger than said", good().said("size", length - 1), [&name]),
        ("a negative size", good().said("size", -1), [&name]),
        (
            "another diffID",
            good().diff_id(&digest(b"other")),
            ["diffID"],
        ),
        (
            "a digest that is none",
            good().said("digest", "sha256:../../x"),
            ["sha256:../../x"],
        ),
    ] {
        client.refused(row, Image::new().layer(layer), &words);
    }
    client.refused(
        "two diff_ids for one layer",
        Image::new().layer(good()).config(|config| {
            let ids = config["rootfs"]["diff_ids"].as_array_mut();
            ids.expect("an array").push(digest(b"x").into());
        }),
        &["diff_ids"],
    );
    client.refused(
        "layers and manifests at once",
        Image::new()
            .layer(good())
            .manifest(|manifest| manifest["manifests"] = serde_json::json!([])),
        &["both layers and manifests"],
    );
}
