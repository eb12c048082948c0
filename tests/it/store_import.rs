//! Files that cannot be imported: each is refused, and nothing of it stays.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::store::Shelf;
use crate::store_transfer::{import, scratch};
use crate::support::archive::gzip;
use crate::support::process::tool;
use crate::support::{oci, registry, tiny};

const NAME: [&str; 2] = ["--name", "localhost/x"];
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

#[track_caller]
fn refused(shelf: &Shelf, arguments: &[&str], words: &[&str]) {
    let mut outcome = shelf.run(&[&["import"], arguments].concat()).exits(2);
    for word in words {
        outcome = outcome.stderr_has(word);
    }
    assert_eq!(outcome.stderr.matches("error: ").count(), 1, "{outcome}");
    if shelf.state.exists() {
        for directory in ["layers", "images", "tmp"] {
            assert_eq!(shelf.names(directory), [""; 0], "{outcome}");
        }
    }
}

#[test]
fn a_name_is_needed_that_is_no_catalogues() {
    let shelf = Shelf::new();
    let tarball = tiny::tarball(shelf.place.scratch(), "tiny.tar", &[]);
    let tarball = tarball.to_str().expect("UTF-8");
    let refused = |arguments: &[&str], words: &[&str]| refused(&shelf, arguments, words);
    refused(
        &[tarball, "--name", "debian"],
        &["\"debian\"", "hint: --name localhost/debian"],
    );
    refused(&[tarball, "--name", "./x:1"], &["no name"]);
    refused(
        &[tarball],
        &["a name is needed", "hint: --name localhost/NAME"],
    );
}

#[test]
fn what_is_no_image_is_refused() {
    let shelf = Shelf::new();
    let text = scratch(&shelf, "text");
    fs::write(&text, "no archive at all").expect("write");
    for (path, words) in [
        ("/nonexistent", "/nonexistent: No such file"),
        ("/dev/null", "neither a file nor a directory"),
        (&text, "archive"),
    ] {
        refused(&shelf, &[&[path], &NAME[..]].concat(), &[path, words]);
    }
}

type Edit<'a> = &'a dyn Fn(&Path, &mut Value, &mut Value);

/// Adds a blob to a layout; gives its digest.
fn blob(root: &Path, bytes: &[u8]) -> String {
    let blobs = root.join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("a directory");
    let digest = registry::hex(bytes);
    fs::write(blobs.join(&digest), bytes).expect("write a blob");
    format!("sha256:{digest}")
}

fn archive() -> Vec<u8> {
    tiny::archive(&[("etc/x", b"1")])
}

/// An OCI layout of one small layer, whose config and manifest are changed before what refers to
/// them is written.
fn layout(root: &Path, edit: Edit<'_>) {
    if root.exists() {
        fs::remove_dir_all(root).expect("remove the last one");
    }
    let packed = gzip(&archive());
    let diff_id = format!("sha256:{}", registry::hex(&archive()));
    let mut config = json!({
        "os": "linux",
        "architecture": oci::architecture(),
        "rootfs": { "type": "layers", "diff_ids": [diff_id] },
    });
    let layer = blob(root, &packed);
    let mut manifest = json!({
        "schemaVersion": 2,
        "layers": [{ "mediaType": oci::GZIP, "digest": layer, "size": packed.len() }],
    });
    edit(root, &mut config, &mut manifest);
    if manifest["config"].is_null() {
        let config = config.to_string();
        let digest = blob(root, config.as_bytes());
        manifest["config"] = json!({ "mediaType": CONFIG, "digest": digest, "size": config.len() });
    }
    let manifest = manifest.to_string();
    let digest = blob(root, manifest.as_bytes());
    let index = json!({
        "schemaVersion": 2,
        "manifests": [{ "mediaType": oci::MANIFEST, "digest": digest, "size": manifest.len() }],
    });
    fs::write(root.join("index.json"), index.to_string()).expect("write the index");
    let version = r#"{"imageLayoutVersion":"1.0.0"}"#;
    fs::write(root.join("oci-layout"), version).expect("write the version");
}

#[test]
fn a_broken_layout_is_refused() {
    let shelf = Shelf::new();
    let root = shelf.place.scratch().join("broken");
    let text = root.to_str().expect("UTF-8").to_owned();
    let stem = registry::hex(&gzip(&archive()));
    let layer = |root: &Path| root.join("blobs/sha256").join(&stem);
    let edits: [(Edit<'_>, &str); 8] = [
        (
            &|root, _, _| {
                let mut bytes = fs::read(layer(root)).expect("a blob");
                let at = bytes.len() - 9;
                bytes[at] ^= 1;
                fs::write(layer(root), bytes).expect("write");
            },
            "layer sha256:",
        ),
        (
            &|root, _, _| {
                fs::remove_file(layer(root)).expect("remove");
            },
            "is not in it",
        ),
        (
            &|_, config, _| config["rootfs"]["diff_ids"][0] = format!("sha256:{stem}").into(),
            "has the diffID",
        ),
        (
            &|_, _, manifest| manifest["layers"][0]["digest"] = "sha256:../../../etc".into(),
            "is not a digest",
        ),
        (
            &|_, _, manifest| manifest["layers"][0]["size"] = 7.into(),
            "should have 7",
        ),
        (
            &|_, config, _| config["architecture"] = "pdp11".into(),
            "linux/pdp11",
        ),
        (
            &|_, _, manifest| manifest["layers"][0]["mediaType"] = "application/x-foreign".into(),
            "application/x-foreign",
        ),
        (
            // A link to a file of the host.
            &|root, _, manifest| {
                fs::write(root.join("../secret"), "{}").expect("write");
                let digest = registry::hex(b"{}");
                let link = root.join("blobs/sha256").join(&digest);
                std::os::unix::fs::symlink("../../../secret", link).expect("a link");
                let digest = format!("sha256:{digest}");
                manifest["config"] = json!({ "mediaType": CONFIG, "digest": digest, "size": 2 });
            },
            "broken",
        ),
    ];
    for (edit, word) in edits {
        layout(&root, edit);
        refused(&shelf, &[&[&*text], &NAME[..]].concat(), &[word]);
        let archive = scratch(&shelf, "broken.tar");
        tool("tar", &["-C", &text, "-cf", &archive, "."]);
        refused(&shelf, &[&[&*archive], &NAME[..]].concat(), &["broken.tar"]);
    }
    // Unbroken it is fine.
    layout(&root, &|_, _, _| {});
    import(&shelf, &text, "localhost/x");
}
