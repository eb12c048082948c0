//! Images as a registry serves them, and as one that lies does; and postroj pulling them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Place;
use super::archive::{Tar, gzip};
use super::http::{Answer, Server};
use super::place::Postroj;
use super::process::Outcome;
use super::registry::hex;

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
pub(crate) const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(crate) const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// The architecture of this machine, as images name it.
pub(crate) fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    }
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(bytes))
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": digest(bytes), "size": bytes.len() })
}

/// A layer, what the manifest and the config say about it, and what is served for it.
#[derive(Clone)]
pub(crate) struct Layer {
    diff_id: String,
    descriptor: Value,
    answer: Answer,
}

impl Layer {
    /// The archive, compressed with gzip.
    pub(crate) fn gzip(archive: &[u8]) -> Self {
        Self::packed(archive, gzip(archive), GZIP)
    }

    /// The archive as it is.
    pub(crate) fn plain(archive: &[u8]) -> Self {
        Self::packed(archive, archive.to_owned(), TAR)
    }

    /// The archive, compressed somehow.
    pub(crate) fn packed(archive: &[u8], blob: Vec<u8>, media_type: &str) -> Self {
        Self {
            diff_id: digest(archive),
            descriptor: descriptor(media_type, &blob),
            answer: Answer::body(blob),
        }
    }

    /// The digest by which the manifest names it.
    pub(crate) fn digest(&self) -> String {
        self.descriptor["digest"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Has the manifest say something else: `size`, `digest`, `mediaType`, `urls`, …
    pub(crate) fn said(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.descriptor[key] = value.into();
        self
    }

    /// Has the config say something else.
    pub(crate) fn diff_id(mut self, digest: &str) -> Self {
        digest.clone_into(&mut self.diff_id);
        self
    }

    /// Has something else served.
    pub(crate) fn served(mut self, answer: Answer) -> Self {
        self.answer = answer;
        self
    }
}

type Edit = Box<dyn FnOnce(&mut Value)>;
type Serve = Box<dyn FnOnce(String) -> Answer>;

/// An image in the making.
#[derive(Default)]
pub(crate) struct Image {
    layers: Vec<Layer>,
    config: Vec<Edit>,
    manifest: Vec<Edit>,
    index: Option<Edit>,
    served_config: Option<Serve>,
}

/// Where an image was put.
pub(crate) struct Put {
    /// `127.0.0.1:PORT/repo:tag`
    pub(crate) reference: String,
    /// The digest of what the tag leads to.
    pub(crate) digest: String,
}

impl Image {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// An image of one layer, compressed with gzip.
    pub(crate) fn of(archive: Tar) -> Self {
        Self::new().layer(Layer::gzip(&archive.bytes()))
    }

    /// One more layer, on top.
    pub(crate) fn layer(mut self, layer: Layer) -> Self {
        self.layers.push(layer);
        self
    }

    /// Changes the config.
    pub(crate) fn config(mut self, edit: impl FnOnce(&mut Value) + 'static) -> Self {
        self.config.push(Box::new(edit));
        self
    }

    /// Has something else served for the config than what the manifest is about.
    pub(crate) fn served_config(mut self, serve: impl FnOnce(String) -> Answer + 'static) -> Self {
        self.served_config = Some(Box::new(serve));
        self
    }

    /// Changes the manifest.
    pub(crate) fn manifest(mut self, edit: impl FnOnce(&mut Value) + 'static) -> Self {
        self.manifest.push(Box::new(edit));
        self
    }

    /// Has the tag lead to an index of which the image is one entry; `edit` changes it.
    pub(crate) fn index(mut self, edit: impl FnOnce(&mut Value) + 'static) -> Self {
        self.index = Some(Box::new(edit));
        self
    }

    /// Has the server answer as a registry that holds the image.
    pub(crate) fn put(self, server: &Server, repository: &str, tag: &str) -> Put {
        let blob = |digest: &str, answer: Answer| {
            server.put(&format!("/v2/{repository}/blobs/{digest}"), answer);
        };
        let document = |asked: &str, media_type: &str, value: &Value| {
            let body = value.to_string();
            let answer = Answer::body(body.clone())
                .header("Content-Type", media_type)
                .header("Docker-Content-Digest", digest(body.as_bytes()));
            for name in [asked, &digest(body.as_bytes())] {
                server.put(
                    &format!("/v2/{repository}/manifests/{name}"),
                    answer.clone(),
                );
            }
            descriptor(media_type, body.as_bytes())
        };
        server.put("/v2/", Answer::body("{}"));

        let diff_ids: Vec<&str> = self.layers.iter().map(|layer| &*layer.diff_id).collect();
        let mut config = json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {},
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        for edit in self.config {
            edit(&mut config);
        }
        let config = config.to_string();
        let serve = self.served_config.unwrap_or_else(|| Box::new(Answer::body));
        blob(&digest(config.as_bytes()), serve(config.clone()));

        let layers: Vec<&Value> = self.layers.iter().map(|layer| &layer.descriptor).collect();
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(CONFIG, config.as_bytes()),
            "layers": layers,
        });
        for layer in &self.layers {
            blob(&layer.digest(), layer.answer.clone());
        }
        for edit in self.manifest {
            edit(&mut manifest);
        }
        let mut top = document(tag, MANIFEST, &manifest);
        if let Some(edit) = self.index {
            top["platform"] = json!({ "os": "linux", "architecture": architecture() });
            let mut index = json!({
                "schemaVersion": 2,
                "mediaType": INDEX,
                "manifests": [top],
            });
            edit(&mut index);
            top = document(tag, INDEX, &index);
        }
        Put {
            reference: format!("{}/{repository}:{tag}", server.address()),
            digest: top["digest"].as_str().unwrap_or_default().to_owned(),
        }
    }
}

/// postroj with a store of its own, and a registry that holds what a test puts there.
pub(crate) struct Client {
    place: Place,
    pub(crate) server: Server,
}

impl Client {
    pub(crate) fn new() -> Self {
        Self::on(Place::direct())
    }

    /// On any kind of host, which has this machine's network.
    pub(crate) fn on(place: Place) -> Self {
        let client = Self {
            place,
            server: Server::start(),
        };
        let text = format!(
            "[[registry]]\nlocation = \"{}\"\ninsecure = true\n",
            client.server.address()
        );
        fs::write(client.conf(), text).expect("write registries.conf");
        let outside = client.outside();
        fs::create_dir_all(outside.join("directory")).expect("create a directory");
        fs::write(outside.join("victim"), "precious").expect("write a file");
        client
    }

    /// The registries.conf, which lets the registry go without TLS.
    pub(crate) fn conf(&self) -> PathBuf {
        self.place.scratch().join("registries.conf")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.place.scratch().join("store")
    }

    /// Files of somebody else: from a layer's root, while it is made, `../../../../outside`.
    pub(crate) fn outside(&self) -> PathBuf {
        self.place.scratch().join("outside")
    }

    /// `postroj pull`, with this client's registry and store.
    pub(crate) fn pull(&self, reference: &str) -> Outcome {
        self.pull_under(&[], reference)
    }

    /// The same, run by another command.
    pub(crate) fn pull_under(&self, wrapper: &[&str], reference: &str) -> Outcome {
        self.postroj(&["pull", reference]).under(wrapper).run()
    }

    /// Any command, with this client's registry and store, and a home where nobody has put anything.
    pub(crate) fn postroj(&self, arguments: &[&str]) -> Postroj<'_> {
        self.place
            .postroj(arguments)
            .env("POSTROJ_STATE_DIR", self.store())
            .env("CONTAINERS_REGISTRIES_CONF", self.conf())
            .env("HOME", self.home())
            .env("XDG_CONFIG_HOME", self.home().join(".config"))
            .env("XDG_RUNTIME_DIR", self.home().join("run"))
    }

    /// The home of whoever runs postroj.
    pub(crate) fn home(&self) -> PathBuf {
        self.place.scratch().join("home")
    }

    /// Pulls an image that is good; returns the roots of its layers, bottom first.
    #[track_caller]
    pub(crate) fn taken(&self, image: Image) -> Vec<PathBuf> {
        let put = image.put(&self.server, "repo/good", "tag");
        let outside = listing(&self.outside());
        self.pull(&put.reference).exits(0);
        assert_eq!(listing(&self.outside()), outside, "outside of the store");
        self.roots(&put.reference)
    }

    /// The roots of an image's layers, bottom first.
    #[track_caller]
    pub(crate) fn roots(&self, reference: &str) -> Vec<PathBuf> {
        self.record(reference)["layers"]
            .as_array()
            .expect("layers")
            .iter()
            .map(|id| {
                let id = id.as_str().expect("a name");
                self.store().join("layers").join(id).join("root")
            })
            .collect()
    }

    /// What the store knows about an image.
    #[track_caller]
    pub(crate) fn record(&self, reference: &str) -> Value {
        fs::read_dir(self.store().join("images"))
            .expect("the store")
            .filter_map(|entry| {
                let text = fs::read(entry.ok()?.path()).ok()?;
                serde_json::from_slice::<Value>(&text).ok()
            })
            .find(|record| record["name"] == reference)
            .unwrap_or_else(|| panic!("{reference} is not in the store"))
    }

    /// Pulls an image that must be refused: for want of a verdict, in one line that names it and
    /// says all of `words`, and without a trace in the store or outside of it. `row` tells which
    /// one it was when it is not.
    #[track_caller]
    pub(crate) fn refused(&self, row: &str, image: Image, words: &[&str]) -> Outcome {
        let put = image.put(&self.server, "repo/bad", "tag");
        self.refused_put(row, &put, words)
    }

    /// The same, of an image that was put already.
    #[track_caller]
    pub(crate) fn refused_put(&self, row: &str, put: &Put, words: &[&str]) -> Outcome {
        let before = (listing(&self.outside()), self.held());
        let outcome = self.pull(&put.reference);
        assert_eq!(outcome.code(), 3, "{row}: wrong exit code\n{outcome}");
        let line = outcome
            .stderr
            .lines()
            .find(|line| line.starts_with("error: "))
            .unwrap_or_else(|| panic!("{row}: no error is told\n{outcome}"));
        for word in [&*put.reference].iter().chain(words) {
            assert!(
                line.contains(word),
                "{row}: the error lacks {word:?}\n{outcome}"
            );
        }
        assert!(!outcome.stderr.contains("panicked"), "{row}\n{outcome}");
        let after = (listing(&self.outside()), self.held());
        assert_eq!(after, before, "{row}: outside, and in the store\n{outcome}");
        let left = fs::read_dir(self.store().join("tmp"));
        let left: Vec<_> = left.into_iter().flatten().flatten().collect();
        assert!(
            left.is_empty(),
            "{row}: left in the store: {left:?}\n{outcome}"
        );
        outcome
    }

    /// The names of the layers and images in the store.
    fn held(&self) -> Vec<PathBuf> {
        let mut held: Vec<PathBuf> = ["layers", "images"]
            .iter()
            .filter_map(|name| fs::read_dir(self.store().join(name)).ok())
            .flatten()
            .map(|entry| entry.expect("an entry").path())
            .collect();
        held.sort();
        held
    }
}

/// All that can be told about what is in a directory, content included.
fn listing(directory: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(path) = pending.pop() {
        let found = fs::symlink_metadata(&path).expect("a file");
        let content = if found.is_file() {
            fs::read(&path).expect("a file")
        } else {
            Vec::new()
        };
        lines.push(format!(
            "{} {} {:o} {}:{} {} {}.{:09} {}",
            path.display(),
            found.ino(),
            found.mode(),
            found.uid(),
            found.gid(),
            found.nlink(),
            found.ctime(),
            found.ctime_nsec(),
            content.escape_ascii()
        ));
        if found.is_dir() {
            let entries = fs::read_dir(&path).expect("a directory");
            pending.extend(entries.map(|entry| entry.expect("an entry").path()));
        }
    }
    lines.sort();
    lines
}
