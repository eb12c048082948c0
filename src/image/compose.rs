//! A walk over the root that overlayfs would compose of layers, without mounting it.
//!
//! See the kernel's [documentation](https://docs.kernel.org/filesystems/overlayfs.html): directories
//! are merged, the topmost one's metadata counts, a whiteout hides what lies below it, an opaque
//! directory all that lower ones hold. Layers in the store have no redirects and no bare metadata.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};

use super::rootfs::is_opaque;

/// Something in the root.
pub(super) struct Node<'a> {
    /// Its path below the root; empty for the root itself.
    pub(super) path: &'a [u8],
    /// The layer that it is in, counted from the topmost.
    pub(super) layer: usize,
    /// The directory of that layer that it is in.
    parent: BorrowedFd<'a>,
    /// Its name there.
    name: &'a [u8],
    pub(super) stat: Stat,
}

impl Node<'_> {
    pub(super) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// Opens a regular file or a directory.
    pub(super) fn open(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(
            self.parent,
            self.name,
            flags,
            Mode::empty(),
        )?)
    }

    /// The target of a symbolic link.
    pub(super) fn read_link(&self) -> io::Result<Vec<u8>> {
        super::rootfs::read_link_at(self.parent, self.name)
    }
}

/// Visits everything in the root, each directory before what is in it and that in the order of its
/// names. The layers come topmost first.
pub(super) fn walk(
    layers: &[PathBuf],
    visit: &mut dyn FnMut(&Node<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let mut parts = Vec::new();
    for (layer, path) in layers.iter().enumerate() {
        let directory = open_directory(CWD, path.as_os_str().as_encoded_bytes())?;
        let opaque = is_opaque(directory.as_fd())?;
        parts.push(Part { layer, directory });
        if opaque {
            break;
        }
    }
    let Some(top) = parts.first() else {
        return Err(io::Error::other("the image has no layer"));
    };
    let stat = rustix::fs::fstat(&top.directory)?;
    visit(&Node {
        path: b"",
        layer: top.layer,
        parent: top.directory.as_fd(),
        name: b".",
        stat,
    })?;
    directory(&mut Vec::new(), &parts, visit)
}

/// One layer's part of a directory.
struct Part {
    layer: usize,
    directory: OwnedFd,
}

/// Visits what is in a directory, whose parts come topmost first.
fn directory(
    path: &mut Vec<u8>,
    parts: &[Part],
    visit: &mut dyn FnMut(&Node<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let mut names: BTreeMap<Vec<u8>, Vec<&Part>> = BTreeMap::new();
    for part in parts {
        for entry in rustix::fs::Dir::read_from(&part.directory)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.entry(name.to_owned()).or_default().push(part);
            }
        }
    }
    let length = path.len();
    for (name, parts) in names {
        path.truncate(length);
        if length > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(&name);
        let Some(top) = parts.first() else { continue };
        let stat = stat(top, &name)?;
        if is_whiteout(&stat) {
            continue;
        }
        visit(&Node {
            path,
            layer: top.layer,
            parent: top.directory.as_fd(),
            name: &name,
            stat,
        })?;
        if is_directory(&stat) {
            let below = merged(&parts, &name)?;
            directory(path, &below, visit)?;
        }
    }
    path.truncate(length);
    Ok(())
}

/// The parts that the directory `name` has.
fn merged(parents: &[&Part], name: &[u8]) -> io::Result<Vec<Part>> {
    let mut parts = Vec::new();
    for parent in parents {
        let stat = stat(parent, name)?;
        if !is_directory(&stat) {
            break;
        }
        let directory = open_directory(parent.directory.as_fd(), name)?;
        let opaque = is_opaque(directory.as_fd())?;
        parts.push(Part {
            layer: parent.layer,
            directory,
        });
        if opaque {
            break;
        }
    }
    Ok(parts)
}

fn stat(part: &Part, name: &[u8]) -> io::Result<Stat> {
    Ok(rustix::fs::statat(
        &part.directory,
        name,
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

fn open_directory(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn write(root: &Path, path: &str, content: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn whiteout(root: &Path, path: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let kind = FileType::CharacterDevice;
        rustix::fs::mknodat(CWD, path, kind, Mode::empty(), 0).unwrap();
    }

    fn opaque(path: &Path) {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(path, "trusted.overlay.opaque", b"y", flags).unwrap();
    }

    #[test]
    fn layers_are_merged_as_overlayfs_does() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let (top, middle, bottom) = (at("top"), at("middle"), at("bottom"));
        for path in ["a/x", "a/y", "gone/x", "file", "opaque/low", "back/low"] {
            write(&bottom, path, "bottom");
        }
        write(&middle, "a/x", "middle");
        write(&middle, "file/now/a/directory", "middle");
        whiteout(&middle, "gone");
        write(&middle, "opaque/middle", "middle");
        opaque(&middle.join("opaque"));
        whiteout(&middle, "back");
        write(&top, "opaque/top", "top");
        write(&top, "back/top", "top");
        whiteout(&top, "a/y");
        let mut found = Vec::new();
        walk(&[top, middle, bottom], &mut |node| {
            found.push((String::from_utf8_lossy(node.path).into_owned(), node.layer));
            Ok(())
        })
        .unwrap();
        let found: Vec<(&str, usize)> = found
            .iter()
            .map(|(path, layer)| (path.as_str(), *layer))
            .collect();
        assert_eq!(
            found,
            [
                ("", 0),
                ("a", 0),
                ("a/x", 1),
                ("back", 0),
                ("back/top", 0),
                ("file", 1),
                ("file/now", 1),
                ("file/now/a", 1),
                ("file/now/a/directory", 1),
                ("opaque", 0),
                ("opaque/middle", 1),
                ("opaque/top", 0),
            ]
        );
    }
}
