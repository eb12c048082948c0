//! Manifests, indexes and configs: read, checked, and nothing taken on trust.
//!
//! The formats are those of the [OCI image specification](https://github.com/opencontainers/image-spec)
//! and of Docker's image manifest version 2, schema 2.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::OciError;
use crate::image::digest::Digest;
use crate::image::layer::Compression;
use crate::image::platform::Platform;

/// The most that a manifest or a config may have.
pub(super) const DOCUMENT_MAX: u64 = 4 << 20;
/// overlayfs takes 500 lower directories.
pub(super) const LAYERS_MAX: usize = 400;

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// What we ask a registry for.
pub(super) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// A blob that a document refers to, once its digest and size are known to make sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Blob {
    pub(super) digest: Digest,
    pub(super) size: u64,
}

/// A layer as the manifest lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LayerBlob {
    pub(super) blob: Blob,
    pub(super) compression: Compression,
}

/// What a registry may answer for a reference.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Document {
    Image {
        config: Blob,
        layers: Vec<LayerBlob>,
    },
    Index(Vec<Choice>),
}

/// An image of an index.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) blob: Blob,
    platform: RawPlatform,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDocument {
    schema_version: i64,
    media_type: Option<String>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
    manifests: Option<Vec<RawDescriptor>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    media_type: String,
    digest: String,
    size: i64,
    platform: Option<RawPlatform>,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
struct RawPlatform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: String,
}

/// Reads the answer to a request for a manifest.
pub(super) fn parse(body: &[u8], content_type: Option<&str>) -> Result<Document, OciError> {
    let malformed = |reason: String| OciError::Malformed {
        what: "manifest",
        reason,
    };
    let raw: RawDocument =
        serde_json::from_slice(body).map_err(|error| malformed(error.to_string()))?;
    if raw.schema_version != 2 {
        return Err(malformed(format!(
            "schema version {} is not supported",
            raw.schema_version
        )));
    }
    let declared = content_type
        .map(|text| text.split(';').next().unwrap_or(text).trim())
        .filter(|text| text.starts_with("application/vnd."));
    if let (Some(declared), Some(own)) = (declared, &raw.media_type)
        && declared != own
    {
        return Err(malformed(format!(
            "it is served as {declared} and says it is {own}"
        )));
    }
    let kind = raw.media_type.as_deref().or(declared);
    match (raw.layers, raw.manifests) {
        (Some(_), Some(_)) => Err(malformed("it has both layers and manifests".to_owned())),
        (None, Some(manifests)) if matches!(kind, None | Some(OCI_INDEX | DOCKER_INDEX)) => {
            let choices = manifests.into_iter().map(choice);
            Ok(Document::Index(choices.collect::<Result<_, _>>()?))
        }
        (Some(layers), None) if matches!(kind, None | Some(OCI_MANIFEST | DOCKER_MANIFEST)) => {
            if layers.is_empty() || layers.len() > LAYERS_MAX {
                return Err(malformed(format!(
                    "it has {} layers; 1 to {LAYERS_MAX} are supported",
                    layers.len()
                )));
            }
            let config = raw
                .config
                .ok_or_else(|| malformed("it has no config".to_owned()))?;
            let layers = layers.iter().map(layer).collect::<Result<_, _>>()?;
            let config = blob(&config)?;
            if config.size > DOCUMENT_MAX {
                return Err(malformed(format!("its config has {} bytes", config.size)));
            }
            Ok(Document::Image { config, layers })
        }
        _ => Err(malformed(format!(
            "it is no image and no index (media type {})",
            kind.unwrap_or("none")
        ))),
    }
}

fn blob(raw: &RawDescriptor) -> Result<Blob, OciError> {
    let digest = Digest::parse(&raw.digest).map_err(|error| OciError::Malformed {
        what: "manifest",
        reason: error.to_string(),
    })?;
    let size = u64::try_from(raw.size).map_err(|_| OciError::Malformed {
        what: "manifest",
        reason: format!("{digest} has a size of {}", raw.size),
    })?;
    Ok(Blob { digest, size })
}

fn choice(raw: RawDescriptor) -> Result<Choice, OciError> {
    let blob = blob(&raw)?;
    let platform = raw.platform.unwrap_or_default();
    Ok(Choice { blob, platform })
}

impl fmt::Display for RawPlatform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() {
            Ok(())
        } else {
            write!(f, "/{}", self.variant)
        }
    }
}

fn layer(raw: &RawDescriptor) -> Result<LayerBlob, OciError> {
    let blob = blob(raw)?;
    let compression = match raw.media_type.as_str() {
        "application/vnd.oci.image.layer.v1.tar"
        | "application/vnd.docker.image.rootfs.diff.tar" => Compression::Plain,
        "application/vnd.oci.image.layer.v1.tar+gzip"
        | "application/vnd.docker.image.rootfs.diff.tar.gzip" => Compression::Gzip,
        "application/vnd.oci.image.layer.v1.tar+zstd"
        | "application/vnd.docker.image.rootfs.diff.tar.zstd" => Compression::Zstd,
        // Foreign layers name other servers, encrypted ones need keys: neither is for us.
        other => {
            return Err(OciError::LayerType {
                layer: blob.digest,
                media_type: other.chars().take(200).collect(),
            });
        }
    };
    Ok(LayerBlob { blob, compression })
}

/// The image of an index that fits a platform best.
pub(super) fn choose(choices: Vec<Choice>, wanted: &Platform) -> Result<Blob, OciError> {
    let distance = |choice: &Choice| {
        let RawPlatform {
            os,
            architecture,
            variant,
        } = &choice.platform;
        wanted.distance(os, architecture, variant)
    };
    let fitting = choices.iter().enumerate();
    let best = fitting
        .filter_map(|(at, choice)| Some((distance(choice)?, at)))
        .min();
    if let Some((_, at)) = best {
        let mut choices = choices;
        return Ok(choices.swap_remove(at).blob);
    }
    // Attestations are listed as unknown/unknown, and what has no platform as /.
    let mut platforms: Vec<String> = choices
        .into_iter()
        .map(|choice| choice.platform.to_string())
        .filter(|platform| !["/", "unknown/unknown"].contains(&platform.as_str()))
        .map(|platform| platform.escape_default().take(100).collect())
        .collect();
    platforms.dedup();
    platforms.truncate(20);
    Err(OciError::Platform {
        wanted: wanted.clone(),
        available: if platforms.is_empty() {
            "nothing".to_owned()
        } else {
            platforms.join(", ")
        },
    })
}

/// What the config of an image says about running it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// `NAME=VALUE`
    #[serde(alias = "Env")]
    pub env: Vec<String>,
    /// The command that `cmd` is given to.
    #[serde(alias = "Entrypoint")]
    pub entrypoint: Vec<String>,
    /// The command, or the arguments of the entry point.
    #[serde(alias = "Cmd")]
    pub cmd: Vec<String>,
    /// Where it is run.
    #[serde(alias = "WorkingDir")]
    pub working_dir: String,
    /// As whom it is run.
    #[serde(alias = "User")]
    pub user: String,
    /// The signal that asks it to end; SIGTERM if nothing is said.
    #[serde(alias = "StopSignal")]
    pub stop_signal: String,
    /// What is said about the image.
    #[serde(alias = "Labels")]
    pub labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct RawConfig {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    config: Option<RawImageConfig>,
    rootfs: RawRootfs,
}

/// Fields are `null` as often as they are missing.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct RawImageConfig {
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
    user: Option<String>,
    stop_signal: Option<String>,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct RawRootfs {
    #[serde(rename = "type")]
    kind: String,
    diff_ids: Vec<String>,
}

/// Reads a config; returns it with the diffIDs of the layers, of which there must be `layers`.
pub(super) fn parse_config(
    body: &[u8],
    layers: usize,
    wanted: &Platform,
) -> Result<(ImageConfig, Vec<Digest>), OciError> {
    let malformed = |reason: String| OciError::Malformed {
        what: "config",
        reason,
    };
    let raw: RawConfig =
        serde_json::from_slice(body).map_err(|error| malformed(error.to_string()))?;
    if raw.rootfs.kind != "layers" {
        return Err(malformed(
            "its root file system is not made of layers".to_owned(),
        ));
    }
    if raw.rootfs.diff_ids.len() != layers {
        return Err(malformed(format!(
            "it has {} diff_ids for {layers} layers",
            raw.rootfs.diff_ids.len()
        )));
    }
    let has_none = raw.os.is_empty() && raw.architecture.is_empty();
    // The variant is the index's to tell: configs leave it out as often as not.
    let fits = Platform::from_parts(&raw.os, &raw.architecture)
        .is_some_and(|platform| platform.parts() == wanted.parts());
    if !has_none && !fits {
        let platform = format!("{}/{}", raw.os, raw.architecture);
        return Err(OciError::Platform {
            wanted: wanted.clone(),
            available: platform.escape_default().take(100).collect(),
        });
    }
    let ids = raw.rootfs.diff_ids.iter().map(|text| Digest::parse(text));
    let ids = ids
        .collect::<Result<_, _>>()
        .map_err(|error| malformed(error.to_string()))?;
    let raw = raw.config.unwrap_or_default();
    let config = ImageConfig {
        env: raw.env.unwrap_or_default(),
        entrypoint: raw.entrypoint.unwrap_or_default(),
        cmd: raw.cmd.unwrap_or_default(),
        working_dir: raw.working_dir.unwrap_or_default(),
        user: raw.user.unwrap_or_default(),
        stop_signal: raw.stop_signal.unwrap_or_default(),
        labels: raw.labels.unwrap_or_default(),
    };
    let texts = config
        .env
        .iter()
        .chain(&config.entrypoint)
        .chain(&config.cmd);
    if texts
        .chain([&config.working_dir, &config.user])
        .any(|text| text.contains('\0'))
    {
        return Err(malformed("a text in it has a NUL byte".to_owned()));
    }
    Ok((config, ids))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest() -> String {
        Digest::of("x").to_string()
    }

    fn image(layer_type: &str, size: &str) -> String {
        let digest = digest();
        format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"x","digest":"{digest}","size":2}},
               "layers":[{{"mediaType":"{layer_type}","digest":"{digest}","size":{size}}}]}}"#
        )
    }

    #[test]
    fn an_image_is_read() {
        let text = image("application/vnd.oci.image.layer.v1.tar+gzip", "7");
        let Document::Image { config, layers } =
            parse(text.as_bytes(), Some(OCI_MANIFEST)).unwrap()
        else {
            panic!("an index");
        };
        assert_eq!(config.size, 2);
        assert_eq!(layers[0].compression, Compression::Gzip);
        assert_eq!(layers[0].blob.size, 7);
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
        let good = image(gzip, "7");
        for (text, content_type) in [
            ("{}".to_owned(), None),
            (good.replace(":2,\"config", ":1,\"config"), None),
            (image(gzip, "-1"), None),
            (good.replace("sha256:", "md5:"), None),
            (good.replace(&digest(), "sha256:../../x"), None),
            (good.replace("\"layers\"", "\"manifests\":[],\"layers\""), None),
            (good.clone(), Some(OCI_INDEX)),
            (
                good.replace("{\"schemaVersion\"", "{\"mediaType\":\"application/vnd.docker.distribution.manifest.v2+json\",\"schemaVersion\""),
                Some(OCI_MANIFEST),
            ),
            (
                image("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "7"),
                None,
            ),
            (image("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", "7"), None),
        ] {
            assert!(parse(text.as_bytes(), content_type).is_err(), "{text}");
        }
    }

    #[test]
    fn the_native_platform_is_chosen_or_the_others_are_listed() {
        let choice = |os: &str, architecture: &str, variant: &str| Choice {
            blob: Blob {
                digest: Digest::of(format!("{os} {architecture} {variant}")),
                size: 1,
            },
            platform: RawPlatform {
                os: os.to_owned(),
                architecture: architecture.to_owned(),
                variant: variant.to_owned(),
            },
        };
        let all = || {
            vec![
                choice("unknown", "unknown", ""),
                choice("linux", "arm64", "v9"),
                choice("linux", "arm64", "v8"),
                choice("linux", "s390x", ""),
            ]
        };
        let chosen = |wanted: &str| choose(all(), &wanted.parse().unwrap());
        assert_eq!(
            chosen("linux/arm64").unwrap().digest,
            Digest::of("linux arm64 v8")
        );
        assert_eq!(
            chosen("linux/arm64/v9").unwrap().digest,
            Digest::of("linux arm64 v9")
        );
        let error = chosen("linux/arm").unwrap_err().to_string();
        assert_eq!(
            error,
            "there is no image for linux/arm, only for linux/arm64/v9, linux/arm64/v8, linux/s390x"
        );
    }

    #[test]
    fn a_config_must_fit_its_manifest() {
        let digest = digest();
        let text = format!(
            r#"{{"os":"linux","architecture":"amd64","config":{{"Env":["A=b"],"Cmd":null}},
               "rootfs":{{"type":"layers","diff_ids":["{digest}"]}}}}"#
        );
        let (amd64, arm64) = (
            "linux/amd64".parse().unwrap(),
            "linux/arm64".parse().unwrap(),
        );
        let (config, ids) = parse_config(text.as_bytes(), 1, &amd64).unwrap();
        assert_eq!(config.env, ["A=b"]);
        assert_eq!(ids, [Digest::of("x")]);
        assert!(parse_config(text.as_bytes(), 2, &amd64).is_err());
        assert!(parse_config(text.as_bytes(), 1, &arm64).is_err());
        let nul = text.replace("A=b", "A=\\u0000");
        assert!(parse_config(nul.as_bytes(), 1, &amd64).is_err());
    }
}
