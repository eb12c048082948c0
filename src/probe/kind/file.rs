//! A file of a container is as it should be.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;

use async_trait::async_trait;
use rustix::fs::{OFlags, Stat};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::looking::Looking;
use super::owner::{Ids, groups, is_wanted, named, users};
use crate::probe::check::{ProbeError, Scene};
use crate::probe::retry::Look;
use crate::probe::value::{Mode, Scalar};

/// How much of a file is searched for texts.
const SEARCHED: u64 = 16 << 20;

keys! {
    /// A file, or something else that has a path, is there and as it should be.
    pub struct FileCheck with texts {
        /// Its absolute path in the container; symbolic links are followed unless it is to be one.
        pub path: String,
        /// Whether it has to be there; true if nothing is said.
        pub exists: Option<bool>,
        /// Whether the path leads on if a symbolic link is there, true if nothing is said; with false
        /// it is the link itself that is looked at, and only what it contains is the other's.
        pub follow: Option<bool>,
        /// What it has to be.
        #[serde(rename = "type")]
        pub kind: Option<FileType>,
        /// Its permissions in octal, as in "0644".
        pub mode: Option<Mode>,
        /// Its owner, by name or number.
        pub owner: Option<Scalar>,
        /// Its group, by name or number.
        pub group: Option<Scalar>,
        /// Its size in bytes.
        pub size: Option<u64>,
        /// Its least size in bytes.
        pub min_size: Option<u64>,
        /// Its greatest size in bytes.
        pub max_size: Option<u64>,
        /// The SHA-256 of its content, in hexadecimal.
        pub sha256: Option<String>,
        /// Where it leads to as a symbolic link.
        pub target: Option<String>,
    }
}

/// What has a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FileType {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A socket.
    Socket,
    /// A FIFO.
    Fifo,
    /// A block device.
    Block,
    /// A character device.
    Character,
}

impl FileType {
    fn of(stat: &Stat) -> Option<Self> {
        use rustix::fs::FileType as Raw;
        Some(match Raw::from_raw_mode(stat.st_mode) {
            Raw::RegularFile => Self::File,
            Raw::Directory => Self::Directory,
            Raw::Symlink => Self::Symlink,
            Raw::Socket => Self::Socket,
            Raw::Fifo => Self::Fifo,
            Raw::BlockDevice => Self::Block,
            Raw::CharacterDevice => Self::Character,
            Raw::Unknown => return None,
        })
    }

    fn words(self) -> &'static str {
        match self {
            Self::File => "a file",
            Self::Directory => "a directory",
            Self::Symlink => "a symbolic link",
            Self::Socket => "a socket",
            Self::Fifo => "a FIFO",
            Self::Block => "a block device",
            Self::Character => "a character device",
        }
    }
}

impl FileCheck {
    fn is_about_content(&self) -> bool {
        !self.texts().is_empty() || self.sha256.is_some()
    }

    /// Opens what the path leads to, or the link that it is. Reads nothing yet.
    fn find(&self, scene: Scene<'_>) -> Result<Option<OwnedFd>, ProbeError> {
        let is_link = self.kind == Some(FileType::Symlink) || self.target.is_some();
        let mut flags = OFlags::PATH;
        // A link is something too, wherever it leads.
        let is_unwanted = self.exists == Some(false) && self.follow != Some(true);
        if is_link || is_unwanted || self.follow == Some(false) {
            flags |= OFlags::NOFOLLOW;
        }
        let opened = scene
            .guest
            .root()
            .open_at(&self.path, flags, rustix::fs::Mode::empty());
        match opened {
            Ok(file) => Ok(Some(file)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(self.unreadable(error)),
        }
    }

    /// Whether the path, which leads to nothing, ends at a symbolic link.
    fn is_dangling(&self, scene: Scene<'_>) -> bool {
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let root = scene.guest.root();
        root.open_at(&self.path, flags, rustix::fs::Mode::empty())
            .is_ok()
    }

    fn unreadable(&self, source: io::Error) -> ProbeError {
        ProbeError::Unreadable {
            what: self.path.clone(),
            source,
        }
    }

    /// Compares what stat(2) tells.
    fn compare(
        &self,
        scene: Scene<'_>,
        stat: &Stat,
        seen: &mut Vec<String>,
        wrong: &mut Vec<String>,
    ) -> Result<(), ProbeError> {
        let mode = Mode(stat.st_mode & 0o7777);
        if let Some(expected) = self.mode {
            seen.push(format!("mode {mode}"));
            if mode != expected {
                wrong.push(format!("its mode is {mode}, not {expected}"));
            }
        }
        let ids = Ids::of(scene.guest.leader());
        if let Some(expected) = &self.owner {
            let names = users(scene.guest)?.into_iter();
            let names: HashMap<u32, String> = names.map(|user| (user.uid, user.name)).collect();
            let owner = ids.user(stat.st_uid);
            let shown = named(owner, &names);
            if !is_wanted(owner, &names, &expected.0) {
                wrong.push(format!("its owner is {shown}, not {expected}"));
            }
            seen.push(format!("owner {shown}"));
        }
        if let Some(expected) = &self.group {
            let names = groups(scene.guest)?.into_iter();
            let names: HashMap<u32, String> = names.map(|group| (group.gid, group.name)).collect();
            let group = ids.group(stat.st_gid);
            let shown = named(group, &names);
            if !is_wanted(group, &names, &expected.0) {
                wrong.push(format!("its group is {shown}, not {expected}"));
            }
            seen.push(format!("group {shown}"));
        }
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        let is_small = self.min_size.is_some_and(|least| size < least);
        let is_large = self.max_size.is_some_and(|most| size > most);
        if is_small || is_large || self.size.is_some_and(|exact| size != exact) {
            wrong.push(format!("its size is {size}"));
        }
        Ok(())
    }

    /// Compares what is in it; whether there was the time for that.
    async fn read(
        &self,
        scene: Scene<'_>,
        deadline: Instant,
        wrong: &mut Vec<String>,
    ) -> Result<bool, ProbeError> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = scene
            .guest
            .root()
            .open_at(&self.path, flags, rustix::fs::Mode::empty())
            .map_err(|error| self.unreadable(error))?;
        let mut file = File::from(file);
        let mut content = Vec::new();
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 64 * 1024];
        let mut is_whole = true;
        loop {
            let length = file
                .read(&mut buffer)
                .map_err(|error| self.unreadable(error))?;
            if length == 0 {
                break;
            }
            hash.update(&buffer[..length]);
            if (content.len() as u64) < SEARCHED {
                content.extend_from_slice(&buffer[..length]);
            } else {
                is_whole = false;
                if self.sha256.is_none() {
                    break;
                }
            }
            // The other checks go on meanwhile, and a file may have any length.
            tokio::task::yield_now().await;
            if Instant::now() >= deadline {
                return Ok(false);
            }
        }
        if let Some(expected) = &self.sha256 {
            let found = hash.finalize();
            let found = found.iter().fold(String::new(), |mut text, byte| {
                // Writing to a string cannot fail.
                let _ = write!(text, "{byte:02x}");
                text
            });
            if !found.eq_ignore_ascii_case(expected) {
                wrong.push(format!("its SHA-256 is {found}"));
            }
        }
        let text = String::from_utf8_lossy(&content);
        let texts = self.texts();
        let differences = if is_whole {
            Some(texts.differences("it", &text))
        } else {
            texts.differences_of_part("it", &text)
        };
        wrong.extend(differences.ok_or_else(|| {
            self.unreadable(io::Error::other(
                "it has more than 16 MiB, and only so much is searched",
            ))
        })?);
        Ok(true)
    }
}

/// Whether an error means that there is nothing at a path.
pub(super) fn is_absent(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let absent = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP, Errno::NAMETOOLONG];
    Errno::from_io_error(error).is_some_and(|error| absent.contains(&error))
}

/// Whether a path can mean one thing only.
pub(super) fn validate_path(path: &str) -> Result<(), String> {
    if path.starts_with('/') && !path.contains('\0') {
        Ok(())
    } else {
        Err(format!("{path:?} is no absolute path"))
    }
}

#[async_trait]
impl Looking for FileCheck {
    fn target(&self) -> String {
        self.path.clone()
    }

    fn validate(&self) -> Result<(), String> {
        validate_path(&self.path)?;
        if let Some(digest) = &self.sha256
            && (digest.len() != 64 || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()))
        {
            return Err(format!("sha256: {digest:?} is not 64 hexadecimal digits"));
        }
        let asks = self.kind.is_some()
            || self.mode.is_some()
            || self.owner.is_some()
            || self.group.is_some()
            || self.size.or(self.min_size).or(self.max_size).is_some()
            || self.target.is_some()
            || self.is_about_content();
        if self.exists == Some(false) && asks {
            return Err("of a file that must not exist nothing else can be asked".to_owned());
        }
        Ok(())
    }

    async fn look(&self, scene: Scene<'_>, deadline: Instant) -> Result<Look, ProbeError> {
        let found = self.find(scene)?;
        let Some(file) = found else {
            return Ok(match self.exists {
                Some(false) => Look::Holds("it is not there".to_owned()),
                _ if self.is_dangling(scene) => {
                    Look::NotYet("it is a symbolic link that leads nowhere".to_owned())
                }
                _ => Look::NotYet("it is not there".to_owned()),
            });
        };
        let stat = rustix::fs::fstat(&file).map_err(|error| self.unreadable(error.into()))?;
        let kind = FileType::of(&stat);
        let mut seen = vec![kind.map_or("something strange", FileType::words).to_owned()];
        if self.exists == Some(false) {
            return Ok(Look::NotYet(format!("it is there, {}", seen.join(", "))));
        }
        let mut wrong = Vec::new();
        if let Some(expected) = self.kind
            && kind != Some(expected)
        {
            wrong.push(format!("it is {}, not {}", seen[0], expected.words()));
        }
        self.compare(scene, &stat, &mut seen, &mut wrong)?;
        if let Some(expected) = &self.target {
            let link = rustix::fs::readlinkat(&file, "", Vec::new());
            match link {
                Ok(link) if link.to_bytes() == expected.as_bytes() => {}
                Ok(link) => wrong.push(format!("it leads to {:?}", link.to_string_lossy())),
                Err(_) if self.kind.is_some() => {}
                Err(_) => wrong.push(format!("it is {}, not a symbolic link", seen[0])),
            }
        }
        if self.is_about_content() {
            let is_read = kind == Some(FileType::Symlink) && self.follow == Some(false);
            if kind == Some(FileType::File) || is_read {
                if !self.read(scene, deadline, &mut wrong).await? {
                    return Ok(Look::Cut("it was not read to its end in time".to_owned()));
                }
            } else if wrong.is_empty() {
                wrong.push(format!("it is {}, not a file", seen[0]));
            }
        }
        Ok(Look::at(&seen, &wrong))
    }
}
