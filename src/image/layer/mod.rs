//! One layer: from the bytes of an archive to a directory that overlayfs can use as a lower one.
//!
//! ```text
//! bytes → sha256 (blob) → inflate → sha256 (diffID) ┆ archive → entry → operation → files
//!                                                   ┆                    sha256 (each file) ↘
//!                                                   ┆              settle: directories → content
//! ```
//!
//! Everything streams; the memory used is bounded whatever comes in (`Memory`, `Limits`). The work
//! is done on two threads (`Job`, `pipeline`), which a socket or a child process feeds through a
//! bounded channel.
//!
//! An archive is hostile until it is a directory. An entry is validated into an operation first
//! (`entry`); operations are carried out only relative to descriptors below the layer's root
//! (`tree`), where no symbolic link is ever followed. Where one path comes more than once, the
//! last entry wins, by unlinking what is there; a directory stays and takes the new metadata. An
//! entry below something that is not a directory is refused.
//!
//! What overlayfs would take as its own signs (character devices 0:0, `trusted.overlay.*`) is
//! never taken from an archive: only the whiteouts of the image specification become such signs.

mod archive;
mod content;
mod copy;
mod entry;
mod inflate;
mod job;
mod metadata;
#[cfg(test)]
mod model;
mod notes;
mod pax;
mod pipeline;
mod settle;
mod tree;
mod unpack;
mod write;

use std::io;

use serde::{Deserialize, Serialize};

pub use content::{Difference, verify};
pub(super) use content::{Listed, record};
pub(super) use copy::copy_tree;
pub(super) use entry::{Metadata, is_wanted_xattr, normalise};
pub use inflate::Compression;
pub(super) use inflate::inflate;
pub(super) use job::{Feed, Job, blocking};
pub(super) use metadata::{apply, metadata_of};
pub use notes::Memory;
pub(super) use tree::remove_at;
pub(super) use unpack::{Unpacked, unpack};

use super::digest::Digest;

/// How much one layer may take before it is refused.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of the archive, uncompressed.
    pub bytes: u64,
    /// Entries in the archive.
    pub entries: u64,
    /// How many times larger than the compressed bytes the archive may be, once past 1 GiB.
    pub ratio: u64,
    /// Apparent size of one file.
    pub file: u64,
    /// What the sparse files may seem to have beyond what is stored of them.
    pub holes: u64,
}

impl Limits {
    /// More than any distribution needs.
    pub const DEFAULT: Self = Self {
        bytes: 64 << 30,
        entries: 1_000_000,
        ratio: 200,
        file: 64 << 30,
        holes: 16 << 30,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// How an archive is to be read.
#[derive(Debug, Clone)]
pub struct Options {
    /// How it is compressed; `None` tells it by its first bytes.
    pub compression: Option<Compression>,
    /// Whether `.wh.` names are whiteouts, as they are in the layers of images.
    pub whiteouts: bool,
    /// What is too much.
    pub limits: Limits,
    /// What may be kept in mind; layers of one image share it.
    pub memory: Memory,
}

/// What is known about the archive once it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Archive {
    /// The digest of the bytes as they came.
    pub blob: Digest,
    /// How many those were.
    pub blob_bytes: u64,
    /// The digest of the uncompressed archive.
    pub diff_id: Digest,
}

/// What a layer says of the root itself, for which overlayfs takes the topmost layer's word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Root {
    /// Nothing: it has the metadata of the one below.
    pub implied: bool,
    /// Nothing of the layers below shows.
    pub opaque: bool,
}

/// Why an archive is not a layer.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The archive cannot be read.
    #[error("the archive is damaged, cut off, or none: {}", one_line(source))]
    Archive {
        /// What the decompressor or the parser says.
        source: io::Error,
    },
    /// An entry must not or cannot be unpacked.
    #[error("entry \"{}\" is refused: {}", path.escape_ascii(), plain(reason))]
    Refused {
        /// The path as it stands in the archive.
        path: Vec<u8>,
        /// Why.
        reason: String,
    },
    /// The archive is more than a layer may be.
    #[error("the archive has more than {limit}")]
    TooLarge {
        /// What there is too much of, and how much is allowed.
        limit: String,
    },
    /// The host cannot write the entry.
    #[error("cannot write \"{}\": {source}", path.escape_ascii())]
    Write {
        /// The path below the layer's root.
        path: Vec<u8>,
        /// Why not.
        source: io::Error,
    },
    /// The unpacking was ended from outside.
    #[error("interrupted")]
    Interrupted,
}

impl LayerError {
    /// Whether the disk is full.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Write { source, .. } if is_full(source))
    }

    fn refused(path: &[u8], reason: impl Into<String>) -> Self {
        Self::Refused {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }

    fn write(path: &[u8], source: impl Into<io::Error>) -> Self {
        Self::Write {
            path: path.to_owned(),
            source: source.into(),
        }
    }
}

/// The text without control characters, which a parser may have quoted.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            plain.extend(character.escape_debug());
        } else {
            plain.push(character);
        }
    }
    plain
}

/// The parser quotes what it could not read: cut that short, and leave no control character in it.
fn one_line(error: &io::Error) -> String {
    let text = error.to_string();
    let start: String = text.chars().take(80).collect();
    let end = if start.len() < text.len() { "…" } else { "" };
    format!("{}{end}", start.escape_debug())
}

/// Whether an error means that no space is left.
pub(in crate::image) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
