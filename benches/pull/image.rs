//! The images that are pulled: a bootable Debian in one layer, and in eight.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::support::process::tool;
use super::support::registry::{Registry, hex};
use super::support::{cache, tree};

const LAYERS: usize = 8;

/// What an entry counts besides its content, in bytes.
const PER_ENTRY: u64 = 16 << 10;

/// A registry that serves them.
pub(super) struct Images {
    registry: Registry,
    layout: PathBuf,
    one: Value,
    conf: tempfile::TempDir,
}

impl Images {
    pub(super) fn serve() -> Self {
        let layout = cache::artefact("bench-layout-2", |at| write(at, &tree::bootable()));
        let data = cache::artefact("bench-registry-2", |data| {
            let registry = Registry::serve(data);
            for (tag, to) in [
                ("one", "one:1"),
                ("eight-1", "eight:1"),
                ("eight-2", "eight:2"),
            ] {
                tool(
                    "skopeo",
                    &[
                        "copy",
                        "--quiet",
                        "--insecure-policy",
                        "--dest-tls-verify=false",
                        &format!("oci:{}:{tag}", layout.display()),
                        &format!("docker://{}/bench/{to}", registry.address),
                    ],
                );
            }
        });
        let registry = Registry::serve(&data);
        let conf = tempfile::tempdir().expect("a temporary directory");
        let text = format!(
            "[[registry]]\nlocation = \"{}\"\ninsecure = true\n",
            registry.address
        );
        fs::write(conf.path().join("registries.conf"), text).expect("write registries.conf");
        let one = fs::read(layout.join("one.json")).expect("read the layer's descriptor");
        Self {
            registry,
            one: serde_json::from_slice(&one).expect("JSON"),
            layout,
            conf,
        }
    }

    pub(super) fn address(&self) -> &str {
        &self.registry.address
    }

    pub(super) fn registries_conf(&self) -> PathBuf {
        self.conf.path().join("registries.conf")
    }

    pub(super) fn layout(&self) -> &Path {
        &self.layout
    }

    /// Where the registry has the one layer of the first image.
    pub(super) fn blob_of_one(&self) -> String {
        format!(
            "http://{}/v2/bench/one/blobs/{}",
            self.address(),
            self.digest()
        )
    }

    pub(super) fn one_blob(&self) -> PathBuf {
        let digest = self.digest().replace(':', "/");
        self.layout.join("blobs").join(digest)
    }

    pub(super) fn one_bytes(&self) -> u64 {
        self.one["size"].as_u64().expect("a size")
    }

    pub(super) fn unpacked_bytes(&self) -> u64 {
        self.one["annotations"]["unpacked"]
            .as_u64()
            .expect("a size")
    }

    fn digest(&self) -> &str {
        self.one["digest"].as_str().expect("a digest")
    }
}

pub(super) fn inflate(blob: &[u8]) -> Vec<u8> {
    let mut archive = Vec::new();
    GzDecoder::new(blob)
        .read_to_end(&mut archive)
        .expect("inflate");
    archive
}

/// Writes an OCI layout with the three images.
fn write(layout: &Path, tree: &Path) {
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("create the layout");
    let layout_ = Layout { blobs };
    let paths = paths(tree);
    let one = layout_.layer(tree, &paths);
    fs::write(layout.join("one.json"), one.descriptor.to_string()).expect("write the descriptor");
    let mut eight: Vec<Layer> = split(tree, &paths)
        .iter()
        .map(|paths| layout_.layer(tree, paths))
        .collect();
    let first = layout_.image(&eight, "eight-1");
    // Another eighth layer: the old one less its last file.
    let mut last = split(tree, &paths).pop().expect("eight layers");
    last.pop();
    eight[LAYERS - 1] = layout_.layer(tree, &last);
    let second = layout_.image(&eight, "eight-2");
    let one = layout_.image(&[one], "one");
    let index = json!({ "schemaVersion": 2, "manifests": [one, first, second] });
    fs::write(layout.join("index.json"), index.to_string()).expect("write the index");
    fs::write(
        layout.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .expect("write the layout's version");
}

struct Layout {
    blobs: PathBuf,
}

struct Layer {
    descriptor: Value,
    diff_id: String,
}

impl Layout {
    fn put(&self, kind: &str, bytes: &[u8]) -> Value {
        let digest = hex(bytes);
        fs::write(self.blobs.join(&digest), bytes).expect("write a blob");
        json!({
            "mediaType": format!("application/vnd.oci.image.{kind}"),
            "digest": format!("sha256:{digest}"),
            "size": bytes.len(),
        })
    }

    fn layer(&self, tree: &Path, paths: &[String]) -> Layer {
        let list = tempfile::NamedTempFile::new().expect("a temporary file");
        fs::write(list.path(), paths.join("\0")).expect("write the list");
        let archive = tempfile::NamedTempFile::new_in(&self.blobs).expect("a temporary file");
        let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        tool(
            "tar",
            &[
                "--numeric-owner",
                "--xattrs",
                "--no-recursion",
                "--null",
                "-C",
                &text(tree),
                "-cf",
                &text(archive.path()),
                "-T",
                &text(list.path()),
            ],
        );
        let bytes = fs::read(archive.path()).expect("read the archive");
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        std::io::copy(&mut bytes.as_slice(), &mut gzip).expect("pack the layer");
        let mut descriptor = self.put("layer.v1.tar+gzip", &gzip.finish().expect("pack the layer"));
        descriptor["annotations"] = json!({ "unpacked": bytes.len() });
        Layer {
            descriptor,
            diff_id: format!("sha256:{}", hex(&bytes)),
        }
    }

    fn image(&self, layers: &[Layer], tag: &str) -> Value {
        let architecture = super::support::oci::architecture();
        let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let descriptors: Vec<Value> = layers
            .iter()
            .map(|layer| {
                let mut descriptor = layer.descriptor.clone();
                descriptor
                    .as_object_mut()
                    .expect("an object")
                    .remove("annotations");
                descriptor
            })
            .collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": self.put("config.v1+json", config.to_string().as_bytes()),
            "layers": descriptors,
        });
        let mut descriptor = self.put("manifest.v1+json", manifest.to_string().as_bytes());
        descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
        descriptor
    }
}

/// Everything in the tree, as `find` lists it: a directory before what is in it.
fn paths(tree: &Path) -> Vec<String> {
    let found = tool(
        "find",
        &[tree.to_str().expect("UTF-8"), "-printf", "./%P\\n"],
    );
    let mut paths: Vec<String> = found.stdout.lines().map(str::to_owned).collect();
    paths.sort();
    paths
}

/// Eight parts of about the same work, each with the directories that lead to what is in it.
fn split(tree: &Path, paths: &[String]) -> Vec<Vec<String>> {
    // To make a file takes as long as to write some of its content.
    let size = |path: &String| {
        let found = fs::symlink_metadata(tree.join(path)).expect("a file of the tree");
        PER_ENTRY + if found.is_file() { found.len() } else { 0 }
    };
    let total: u64 = paths.iter().map(size).sum();
    let mut parts: Vec<BTreeSet<String>> = vec![BTreeSet::new(); LAYERS];
    let mut passed = 0;
    for path in paths {
        let part = usize::try_from(passed * LAYERS as u64 / (total + 1)).expect("below eight");
        passed += size(path);
        let part = &mut parts[part];
        let ends = path.match_indices('/').map(|(at, _)| at).skip(1);
        part.insert("./".to_owned());
        part.extend(ends.map(|at| path[..at].to_owned()));
        part.insert(path.clone());
    }
    parts
        .into_iter()
        .map(|part| part.into_iter().collect())
        .collect()
}
