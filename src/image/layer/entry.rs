//! From an entry of an archive to the operation that it stands for, or a refusal.

use super::archive::{Member, Sparse};
use super::{LayerError, Limits};

/// The longest path of an entry, as the kernel limits it.
const PATH_MAX: usize = 4095;
const NAME_MAX: usize = 255;
/// Deep enough for any package; shallow enough that a tree can be removed with a descriptor a level.
const DEPTH_MAX: usize = 256;
/// Past 2446 no file system of a usual host can say when.
const TIME_MAX: i64 = 0x3_7fff_ffff;

/// The metadata of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::image) struct Metadata {
    pub(in crate::image) mode: u32,
    pub(in crate::image) uid: u32,
    pub(in crate::image) gid: u32,
    pub(in crate::image) seconds: i64,
    pub(in crate::image) nanoseconds: u32,
    pub(in crate::image) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Metadata {
    /// The same without a time.
    pub(in crate::image) fn at_the_epoch(self) -> Self {
        Self {
            seconds: 0,
            nanoseconds: 0,
            ..self
        }
    }

    /// What a directory gets that nobody says anything about.
    pub(super) fn plain_directory() -> Self {
        Self {
            mode: 0o755,
            uid: 0,
            gid: 0,
            seconds: 0,
            nanoseconds: 0,
            xattrs: Vec::new(),
        }
    }
}

/// What an entry asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    Directory,
    File {
        size: u64,
        sparse: Option<Sparse>,
    },
    Symlink(Vec<u8>),
    HardLink(Vec<u8>),
    Character {
        major: u32,
        minor: u32,
    },
    Block {
        major: u32,
        minor: u32,
    },
    Fifo,
    /// Hides the path in the layers below.
    Whiteout,
    /// Hides what the layers below have in the directory.
    Opaque,
    /// Means nothing to us.
    Nothing,
}

/// An entry that has been looked at.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Operation {
    /// Normalised: no leading, trailing or double slash, no `.`; the root is empty.
    pub(super) path: Vec<u8>,
    pub(super) action: Action,
    pub(super) metadata: Metadata,
}

/// Looks at an entry.
pub(super) fn operation(
    member: Member,
    whiteouts: bool,
    limits: &Limits,
) -> Result<Operation, LayerError> {
    let raw = member.path.clone();
    let refuse = |reason: String| LayerError::Refused {
        path: raw.clone(),
        reason,
    };
    let path = normalise(&raw).map_err(&refuse)?;
    let metadata = metadata(&member).map_err(&refuse)?;
    let action = action(member, limits).map_err(&refuse)?;

    if path.is_empty() && !matches!(action, Action::Directory | Action::Nothing) {
        return Err(refuse(
            "the root of a layer can only be a directory".to_owned(),
        ));
    }
    let (path, action) = if whiteouts && action != Action::Nothing {
        whiteout(path, action).map_err(&refuse)?
    } else {
        (path, action)
    };
    Ok(Operation {
        path,
        action,
        metadata,
    })
}

fn action(member: Member, limits: &Limits) -> Result<Action, String> {
    use tar::EntryType;

    let header = &member.header;
    let device = || {
        let number = |field: std::io::Result<Option<u32>>| {
            field
                .map_err(|error| format!("a device without a number: {error}"))
                .map(Option::unwrap_or_default)
        };
        Ok::<_, String>((
            number(header.device_major())?,
            number(header.device_minor())?,
        ))
    };
    Ok(match header.entry_type() {
        // Archives older than POSIX have no type for directories.
        EntryType::Regular | EntryType::Continuous if member.path.ends_with(b"/") => {
            Action::Directory
        }
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            let sparse = member.sparse;
            let size = sparse.as_ref().map_or(member.size, |sparse| sparse.size);
            if size > limits.file {
                return Err(format!("a file of {size} bytes"));
            }
            Action::File { size, sparse }
        }
        EntryType::Directory => Action::Directory,
        EntryType::Symlink => Action::Symlink(link(member.link)?),
        EntryType::Link => {
            let target = link(member.link)?;
            if target.starts_with(b"/") {
                return Err("a hard link to an absolute path".to_owned());
            }
            let target = normalise(&target)
                .map_err(|reason| format!("a hard link whose target has {reason}"))?;
            Action::HardLink(target)
        }
        EntryType::Char => {
            let (major, minor) = device()?;
            if (major, minor) == (0, 0) {
                // To overlayfs this would be a whiteout.
                Action::Nothing
            } else {
                Action::Character { major, minor }
            }
        }
        EntryType::Block => {
            let (major, minor) = device()?;
            Action::Block { major, minor }
        }
        EntryType::Fifo => Action::Fifo,
        other => {
            return Err(format!(
                "unknown entry type '{}'",
                [other.as_byte()].escape_ascii()
            ));
        }
    })
}

fn link(target: Vec<u8>) -> Result<Vec<u8>, String> {
    match target.len() {
        0 => Err("a link to nothing".to_owned()),
        length if length > PATH_MAX => Err("a link longer than a path can be".to_owned()),
        _ if target.contains(&0) => Err("a link with a NUL byte".to_owned()),
        _ => Ok(target),
    }
}

/// Reads the whiteouts of the [image specification](https://github.com/opencontainers/image-spec/blob/main/layer.md#whiteouts).
fn whiteout(path: Vec<u8>, action: Action) -> Result<(Vec<u8>, Action), String> {
    let start = path
        .iter()
        .rposition(|byte| *byte == b'/')
        .map_or(0, |at| at + 1);
    for parent in path.split(|byte| *byte == b'/').rev().skip(1) {
        if parent.starts_with(b".wh..wh.") {
            return Ok((path, Action::Nothing));
        }
        if parent.starts_with(b".wh.") {
            return Err("it lies below a whiteout".to_owned());
        }
    }
    let Some(hidden) = path[start..].strip_prefix(b".wh.") else {
        return Ok((path, action));
    };
    let parent = &path[..start.saturating_sub(1)];
    match hidden {
        b".wh..opq" => Ok((parent.to_owned(), Action::Opaque)),
        // What aufs kept for itself; docker passes it over as well.
        _ if hidden.starts_with(b".wh.") => Ok((path, Action::Nothing)),
        b"" | b"." | b".." => Err("a whiteout of no name".to_owned()),
        name => {
            let mut target = path[..start].to_owned();
            target.extend_from_slice(name);
            Ok((target, Action::Whiteout))
        }
    }
}

fn metadata(member: &Member) -> Result<Metadata, String> {
    let (header, pax) = (&member.header, &member.pax);
    let id = |name: &str, stated: Option<u64>, own: std::io::Result<u64>| {
        let id = match stated {
            Some(id) => id,
            None => own.map_err(|error| format!("no valid {name}: {error}"))?,
        };
        // The last one means "no change" to the system calls.
        match u32::try_from(id) {
            Ok(id) if id != u32::MAX => Ok(id),
            _ => Err(format!("{name} {id} is out of range")),
        }
    };
    let (seconds, nanoseconds) = match pax.mtime {
        Some(time) => time,
        None => (
            header
                .mtime()
                .map(|time| i64::try_from(time).unwrap_or(i64::MAX))
                .unwrap_or_default(),
            0,
        ),
    };
    Ok(Metadata {
        mode: header
            .mode()
            .map_err(|error| format!("no valid mode: {error}"))?
            & 0o7777,
        uid: id("uid", pax.uid, header.uid())?,
        gid: id("gid", pax.gid, header.gid())?,
        // A negative time in base-256 reads as one past the maximum: both ends are clamped.
        seconds: seconds.clamp(0, TIME_MAX),
        nanoseconds,
        xattrs: pax.xattrs.clone(),
    })
}

/// Whether a layer may set this attribute.
pub(in crate::image) fn is_wanted_xattr(name: &[u8]) -> bool {
    name == b"security.capability"
        || (name.starts_with(b"user.")
            && name.len() > 5
            && name.len() <= NAME_MAX
            && !name.starts_with(b"user.overlay.")
            && !name.contains(&0))
}

/// The path without `.`, and without slashes that mean nothing.
pub(in crate::image) fn normalise(raw: &[u8]) -> Result<Vec<u8>, String> {
    let mut path = Vec::with_capacity(raw.len());
    let mut depth = 0;
    for name in raw.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => continue,
            b".." => return Err("a path with ..".to_owned()),
            name if name.contains(&0) => return Err("a path with a NUL byte".to_owned()),
            name if name.len() > NAME_MAX => {
                return Err(format!("a name of {} bytes", name.len()));
            }
            _ => {}
        }
        depth += 1;
        if depth > DEPTH_MAX {
            return Err(format!("a path of more than {DEPTH_MAX} directories"));
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
    }
    if path.len() > PATH_MAX {
        return Err(format!("a path of {} bytes", path.len()));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_normalised_or_refused() {
        assert_eq!(normalise(b"/etc//./x/").unwrap(), b"etc/x");
        assert_eq!(normalise(b"./").unwrap(), b"");
        assert!(normalise(b"a/../b").is_err());
        assert!(normalise(b"a\0b").is_err());
        assert!(normalise(&[b'a'; 256]).is_err());
        assert!(normalise(&b"a/".repeat(5000)).is_err());
    }

    #[test]
    fn whiteouts_are_read() {
        let read = |path: &str| whiteout(path.as_bytes().to_owned(), Action::Fifo);
        assert_eq!(read("a/b").unwrap(), (b"a/b".to_vec(), Action::Fifo));
        assert_eq!(
            read("a/.wh.b").unwrap(),
            (b"a/b".to_vec(), Action::Whiteout)
        );
        assert_eq!(read(".wh.b").unwrap(), (b"b".to_vec(), Action::Whiteout));
        assert_eq!(
            read("a/.wh..wh..opq").unwrap(),
            (b"a".to_vec(), Action::Opaque)
        );
        assert_eq!(
            read(".wh..wh..opq").unwrap(),
            (b"".to_vec(), Action::Opaque)
        );
        assert_eq!(read(".wh..wh.plnk").unwrap().1, Action::Nothing);
        for bad in [".wh.", ".wh..", ".wh...", "a/.wh.", ".wh.a/b"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_some_attributes_are_wanted() {
        assert!(is_wanted_xattr(b"security.capability"));
        assert!(is_wanted_xattr(b"user.x"));
        for bad in [
            &b"trusted.overlay.opaque"[..],
            b"user.overlay.opaque",
            b"security.selinux",
            b"system.posix_acl_access",
            b"user.",
        ] {
            assert!(!is_wanted_xattr(bad), "{}", bad.escape_ascii());
        }
    }
}
