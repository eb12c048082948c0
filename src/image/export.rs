//! Images out of the store: as the archive of a root, or as an OCI layout of one layer.
//!
//! The same image gives the same bytes: entries come in the order of their names, and nothing in
//! them or around them is of this host or this moment.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use serde_json::json;

use super::archive::Archiver;
use super::compose::walk;
use super::digest::{Digest, Hashing};
use super::error::ImageError;
use super::images::Images;
use super::layer::blocking;
use super::platform::Platform;
use super::reference::OciReference;
use super::store::{ImageRecord, Stored};
use crate::progress::Step;

/// Why an image cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The name does not tell what is wanted.
    #[error(
        "{}: the name tells no format: .tar, .tar.gz, .tar.xz and .tar.zst are known, and a directory is one that is there or has a / at its end",
        path.display()
    )]
    Format {
        /// What was given.
        path: PathBuf,
    },
    /// There is something already.
    #[error("{}: the directory is not empty", path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// It cannot be made.
    #[error("{}: {source}", path.display())]
    Target {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It cannot be read from the store or written.
    #[error("cannot export to {}: {source}", path.display())]
    Copy {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// What an image is exported to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Archive(PathBuf, Packing),
    Layout(PathBuf),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    Plain,
    Gzip,
    Xz,
    Zstd,
}

impl Target {
    /// Tells by its name, and by what is there, what is wanted.
    fn of(path: &Path) -> Result<Self, ExportError> {
        let text = path.as_os_str().as_encoded_bytes();
        if path.is_dir() || text.ends_with(b"/") {
            return Ok(Self::Layout(path.to_owned()));
        }
        let endings: [(&[u8], Packing); 7] = [
            (b".tar", Packing::Plain),
            (b".tar.gz", Packing::Gzip),
            (b".tgz", Packing::Gzip),
            (b".tar.xz", Packing::Xz),
            (b".txz", Packing::Xz),
            (b".tar.zst", Packing::Zstd),
            (b".tzst", Packing::Zstd),
        ];
        let packing = endings.iter().find(|(ending, _)| text.ends_with(ending));
        match packing {
            Some((_, packing)) => Ok(Self::Archive(path.to_owned(), *packing)),
            None => Err(ExportError::Format {
                path: path.to_owned(),
            }),
        }
    }
}

impl Images {
    /// Writes an image of the store to a file, as the archive of its root, or to a directory, as
    /// an OCI layout; which of them is told by the name. What is written is complete or not there.
    pub async fn export(&self, image: &Stored, path: &Path) -> Result<(), ImageError> {
        let target = Target::of(path)?;
        let (lowers, _holds) = self.hold_stored(image).await?;
        let step = Step::start(
            self.progress(),
            format!("export {} to {}", image.record.name, path.display()),
            Some(image.record.bytes),
        );
        let record = image.record.clone();
        let exported = blocking(move |cancel| {
            let source = Source {
                lowers: &lowers,
                step: &step,
                cancelled: &|| cancel.load(Ordering::Relaxed),
            };
            match &target {
                Target::Archive(path, packing) => source.archive(path, *packing)?,
                Target::Layout(path) => source.layout(path, &record)?,
            }
            step.finish();
            Ok::<_, ExportError>(())
        });
        let wrap = |source| ExportError::Copy {
            path: path.to_owned(),
            source,
        };
        exported.await.map_err(wrap)??;
        Ok(())
    }
}

/// What is exported.
struct Source<'a> {
    lowers: &'a [PathBuf],
    step: &'a Step,
    cancelled: &'a dyn Fn() -> bool,
}

impl Source<'_> {
    fn archive(&self, path: &Path, packing: Packing) -> Result<(), ExportError> {
        let target = |source| ExportError::Target {
            path: path.to_owned(),
            source,
        };
        let copy = |source| ExportError::Copy {
            path: path.to_owned(),
            source,
        };
        let directory = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let (partial, file) = Partial::file(directory, path).map_err(target)?;
        let out = BufWriter::with_capacity(1 << 20, &file);
        let written = match packing {
            Packing::Plain => self.write(out).and_then(|mut out| out.flush()),
            Packing::Gzip => self.write(gzip(out)).and_then(|out| out.finish()?.flush()),
            Packing::Xz => self
                .write(liblzma::write::XzEncoder::new(out, 6))
                .and_then(|out| out.finish()?.flush()),
            Packing::Zstd => zstd::stream::write::Encoder::new(out, 0)
                .and_then(|out| self.write(out))
                .and_then(|out| out.finish()?.flush()),
        };
        written.and_then(|()| file.sync_all()).map_err(copy)?;
        partial.publish(path).map_err(target)
    }

    fn layout(&self, path: &Path, record: &ImageRecord) -> Result<(), ExportError> {
        let target = |source| ExportError::Target {
            path: path.to_owned(),
            source,
        };
        if let Ok(mut entries) = fs::read_dir(path)
            && entries.next().is_some()
        {
            return Err(ExportError::NotEmpty {
                path: path.to_owned(),
            });
        }
        // `x/` and `x` are one place.
        let path: PathBuf = path.components().collect();
        let directory = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let partial = Partial::directory(directory, &path).map_err(target)?;
        self.write_layout(&partial.path, record)
            .map_err(|source| ExportError::Copy {
                path: path.clone(),
                source,
            })?;
        partial.publish(&path).map_err(target)
    }

    /// See the [specification](https://github.com/opencontainers/image-spec/blob/main/image-layout.md).
    fn write_layout(&self, at: &Path, record: &ImageRecord) -> io::Result<()> {
        let blobs = at.join("blobs/sha256");
        fs::create_dir_all(&blobs)?;
        let put = |text: String| -> io::Result<(Digest, u64)> {
            let digest = Digest::of(&text);
            fs::write(blobs.join(digest.hex()), &text)?;
            Ok((digest, text.len() as u64))
        };
        let descriptor = |kind: &str, (digest, size): (Digest, u64)| {
            json!({
                "mediaType": format!("application/vnd.oci.image.{kind}"),
                "digest": digest.to_string(),
                "size": size,
            })
        };
        let partial = blobs.join("partial");
        let file = BufWriter::with_capacity(1 << 20, File::create(&partial)?);
        let packed = self.write(Hashing::new(gzip(Hashing::new(file))))?;
        let (gzip, (diff_id, _)) = packed.into_parts();
        let (mut file, (digest, size)) = gzip.finish()?.into_parts();
        file.flush()?;
        fs::rename(&partial, blobs.join(digest.hex()))?;
        let platform = record.platform.clone().unwrap_or_else(Platform::native);
        let (os, architecture) = platform.parts();
        let config = &record.config;
        let mut config = json!({
            "architecture": architecture,
            "os": os,
            "config": {
                "Env": config.env,
                "Entrypoint": config.entrypoint,
                "Cmd": config.cmd,
                "WorkingDir": config.working_dir,
                "User": config.user,
                "StopSignal": config.stop_signal,
                "Labels": config.labels,
            },
            "rootfs": { "type": "layers", "diff_ids": [diff_id.to_string()] },
            "history": [{ "created_by": "postroj export", "comment": record.name }],
        });
        if let Some(variant) = platform.variant() {
            config["variant"] = json!(variant);
        }
        let config = put(config.to_string())?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("config.v1+json", config),
            "layers": [descriptor("layer.v1.tar+gzip", (digest, size))],
        });
        let mut manifest = descriptor("manifest.v1+json", put(manifest.to_string())?);
        manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": tag(record) });
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [manifest],
        });
        fs::write(at.join("index.json"), index.to_string())?;
        fs::write(at.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        let file = File::open(at)?;
        Ok(rustix::fs::syncfs(&file)?)
    }

    /// Writes the archive of the root; gives what it was written to.
    fn write<W: Write>(&self, out: W) -> io::Result<W> {
        let mut archiver = Archiver::new(out);
        walk(self.lowers, &mut |node| {
            if (self.cancelled)() {
                return Err(io::Error::other("interrupted"));
            }
            archiver.add(node).map_err(|error| {
                let path = node.path.escape_ascii();
                io::Error::new(error.kind(), format!("{path}: {error}"))
            })?;
            if node.kind() == rustix::fs::FileType::RegularFile {
                self.step
                    .advance(u64::try_from(node.stat.st_size).unwrap_or_default());
            }
            Ok(())
        })?;
        archiver.finish()
    }
}

/// A gzip stream without name and time, whose header is the same on every host.
fn gzip<W: Write>(out: W) -> flate2::write::GzEncoder<W> {
    flate2::GzBuilder::new()
        .operating_system(255)
        .write(out, flate2::Compression::default())
}

/// The name that the layout gives the image: a full one, as podman has them.
fn tag(record: &ImageRecord) -> String {
    let reference = record
        .name
        .contains('/')
        .then(|| OciReference::parse(&record.name).ok())
        .flatten();
    match reference {
        Some(OciReference {
            registry,
            repository,
            tag: Some(tag),
            ..
        }) => format!("{registry}/{repository}:{tag}"),
        _ => format!("localhost/{}:latest", record.machine_name),
    }
}

/// Something that is not there unless it is complete.
struct Partial {
    path: PathBuf,
}

impl Partial {
    fn name(directory: &Path, target: &Path) -> PathBuf {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        directory.join(format!(".{name}.{}.partial", std::process::id()))
    }

    fn file(directory: &Path, target: &Path) -> io::Result<(Self, File)> {
        let path = Self::name(directory, target);
        let file = File::create(&path)?;
        Ok((Self { path }, file))
    }

    fn directory(directory: &Path, target: &Path) -> io::Result<Self> {
        let path = Self::name(directory, target);
        fs::create_dir(&path)?;
        Ok(Self { path })
    }

    fn publish(self, target: &Path) -> io::Result<()> {
        fs::rename(&self.path, target)?;
        std::mem::forget(self);
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path).or_else(|_| fs::remove_dir_all(&self.path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_tells_the_format() {
        let of = |text: &str| Target::of(Path::new(text)).ok();
        let archive = |text: &str, packing| Some(Target::Archive(text.into(), packing));
        assert_eq!(of("x.tar"), archive("x.tar", Packing::Plain));
        assert_eq!(of("a/x.tgz"), archive("a/x.tgz", Packing::Gzip));
        assert_eq!(of("x.tar.zst"), archive("x.tar.zst", Packing::Zstd));
        assert_eq!(of("nowhere/"), Some(Target::Layout("nowhere/".into())));
        assert_eq!(of("/"), Some(Target::Layout("/".into())));
        assert_eq!(of("x"), None);
        assert_eq!(of("x.zip"), None);
    }
}
