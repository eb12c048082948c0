//! Debian's `docker-registry` on a free port of loopback, with its contents in the cache.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::process::tool;
use super::tls::Authority;
use super::{cache, tree};

/// `alice`, whose password is `s3cr3t-pass+word`, by bcrypt: the registry takes nothing else.
const HTPASSWD: &str = "alice:$2b$05$abcdefghijklmnopqrstuupj9JqCxaEUd1AFhnWtjUs/8kxx179/G\n";

/// Up until dropped.
pub(crate) struct Registry {
    child: Child,
    /// `127.0.0.1:PORT`
    pub(crate) address: String,
}

impl Registry {
    /// One that holds `library/debian:bookworm` (and `bookworm-slim`, the same).
    pub(crate) fn with_debian() -> Self {
        let data = cache::artefact("registry-2", |data| {
            let layout = tempfile::tempdir_in(cache::root()).expect("a temporary directory");
            write_layout(layout.path(), &tree::minimal_archive());
            let registry = Self::serve(data);
            for tag in ["bookworm", "bookworm-slim"] {
                tool(
                    "skopeo",
                    &[
                        "copy",
                        "--quiet",
                        "--insecure-policy",
                        "--dest-tls-verify=false",
                        &format!("oci:{}:it", layout.path().display()),
                        &format!("docker://{}/library/debian:{tag}", registry.address),
                    ],
                );
            }
        });
        Self::serve(&data)
    }

    /// An empty one with TLS, for whoever has the password of `alice`; with `clients`, for whoever has a
    /// certificate of the authority too.
    pub(crate) fn secured(data: &Path, authority: &Authority, clients: bool) -> Self {
        let passwords = data.join("htpasswd");
        fs::write(&passwords, HTPASSWD).expect("write the passwords");
        let mut tls = json!({
            "certificate": authority.path("server.cert"),
            "key": authority.path("server.key"),
        });
        if clients {
            tls["clientcas"] = json!([authority.path("ca.crt")]);
        }
        Self::serve_as(data, |config| {
            config["http"]["tls"] = tls;
            config["auth"] = json!({ "htpasswd": { "realm": "tests", "path": passwords } });
        })
    }

    pub(crate) fn serve(data: &Path) -> Self {
        Self::serve_as(data, |_| ())
    }

    fn serve_as(data: &Path, edit: impl FnOnce(&mut Value)) -> Self {
        let mut command = Command::new("docker-registry");
        let config = tempfile::Builder::new()
            .suffix(".yml")
            .tempfile()
            .expect("a temporary file");
        let mut text = json!({
            "version": "0.1",
            "log": { "level": "info" },
            "storage": { "filesystem": { "rootdirectory": data } },
            "http": { "addr": "127.0.0.1:0" },
        });
        edit(&mut text);
        fs::write(config.path(), text.to_string()).expect("write the registry's configuration");
        command
            .arg("serve")
            .arg(config.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| {
            panic!("docker-registry: {error}; `make packages` installs it")
        });
        // It tells the port that it got in its log.
        let mut log = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert!(
                log.read_line(&mut line).expect("the registry's log") > 0,
                "docker-registry has ended"
            );
            if let Some((_, rest)) = line.split_once("listening on ") {
                break rest
                    .split(|c: char| !(c.is_ascii_digit() || ".:".contains(c)))
                    .next()
                    .unwrap_or_default()
                    .to_owned();
            }
        };
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { child, address }
    }

    /// A `registries.conf` by which this registry stands in for docker.io.
    pub(crate) fn mirror_of_docker_io(&self, at: &Path) -> PathBuf {
        mirror(at, &self.address)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A `registries.conf` by which docker.io is asked for at `address`, unencrypted.
pub(crate) fn mirror(at: &Path, address: &str) -> PathBuf {
    let path = at.join("registries.conf");
    let text = format!(
        "[[registry]]\nlocation = \"docker.io\"\n\n[[registry.mirror]]\nlocation = \"{address}\"\ninsecure = true\n"
    );
    fs::write(&path, text).expect("write registries.conf");
    path
}

/// An OCI layout of one layer, the archive, with the tag `it`.
fn write_layout(layout: &Path, archive: &Path) {
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("create the layout");
    let bytes = fs::read(archive).expect("read the layer");
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    std::io::copy(&mut bytes.as_slice(), &mut gzip).expect("pack the layer");

    let put = |bytes: &[u8]| -> (String, usize) {
        let digest = hex(bytes);
        fs::write(blobs.join(&digest), bytes).expect("write a blob");
        (format!("sha256:{digest}"), bytes.len())
    };
    let descriptor = |kind: &str, (digest, size): (String, usize)| -> Value {
        json!({ "mediaType": format!("application/vnd.oci.image.{kind}"), "digest": digest, "size": size })
    };
    let layer = descriptor(
        "layer.v1.tar+gzip",
        put(&gzip.finish().expect("pack the layer")),
    );
    let architecture = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    };
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "config": { "Cmd": ["bash"] },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", hex(&bytes))] },
    });
    let config = descriptor("config.v1+json", put(config.to_string().as_bytes()));
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": [layer],
    });
    let mut manifest = descriptor("manifest.v1+json", put(manifest.to_string().as_bytes()));
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": "it" });
    fs::write(
        layout.join("index.json"),
        json!({ "schemaVersion": 2, "manifests": [manifest] }).to_string(),
    )
    .expect("write the index");
    fs::write(
        layout.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .expect("write the layout's version");
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
