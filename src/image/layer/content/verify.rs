//! Comparing a directory with its listing.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{Describer, SIGNATURE, names, stat, unescape};
use crate::image::digest::{Digest, Hasher};

/// Longer than any line that is written.
const LINE_MAX: u64 = 1 << 20;

/// One way in which a layer is not what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The path below the layer's root; empty for the root.
    pub path: Vec<u8>,
    /// What is different, such as `has the mode 0755 and had 0644`.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"/{}\" {}", self.path.escape_ascii(), self.what)
    }
}

/// Reads the directory `root` again, all files included, and tells each difference from `listing`.
///
/// `digest` is the one that the listing had when it was written. A listing with another, or none
/// at all, is the one difference that is told then. Fails only when `cancel` is set, or when the
/// root or the listing cannot be read for a reason that says nothing about their content.
pub fn verify(
    root: &Path,
    listing: &Path,
    digest: &Digest,
    cancel: &AtomicBool,
) -> io::Result<Vec<Difference>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let of_the_root = |what: &str| {
        Ok(vec![Difference {
            path: Vec::new(),
            what: what.to_owned(),
        }])
    };
    let root = match rustix::fs::open(root, flags, Mode::empty()) {
        Ok(root) => root,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return of_the_root("is missing"),
        Err(error) => return Err(error.into()),
    };
    let mut file = match File::open(listing) {
        Ok(file) => BufReader::with_capacity(64 << 10, file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return of_the_root("has lost its listing");
        }
        Err(error) => return Err(error),
    };
    let mut verifier = Verifier {
        root,
        describer: Describer::new(cancel),
        last: None,
        seen: HashMap::new(),
        differences: Vec::new(),
    };
    let mut hasher = Hasher::new();
    let mut line = String::new();
    loop {
        line.clear();
        let outcome = file.by_ref().take(LINE_MAX).read_line(&mut line);
        match outcome {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidData => break,
            Err(error) => return Err(error),
        }
        hasher.update(line.as_bytes());
        if line != SIGNATURE && verifier.line(line.trim_end_matches('\n'))?.is_none() {
            break;
        }
    }
    if hasher.finish() != *digest {
        return of_the_root("has another listing than it had");
    }
    Ok(verifier.differences)
}

struct Verifier<'a> {
    root: OwnedFd,
    describer: Describer<'a>,
    /// The parent that was used last.
    last: Option<(Vec<u8>, OwnedFd)>,
    /// The names that were listed in each directory whose own line is still to come.
    seen: HashMap<Vec<u8>, HashSet<Vec<u8>>>,
    differences: Vec<Difference>,
}

impl Verifier<'_> {
    /// Compares one entry; nothing if the line is none.
    fn line(&mut self, line: &str) -> io::Result<Option<()>> {
        let Some((path, expected)) = line.split_once(' ') else {
            return Ok(None);
        };
        let path = match path.strip_prefix("./") {
            Some(path) => unescape(path),
            None if path == "." => Some(Vec::new()),
            None => None,
        };
        let Some(path) = path else {
            return Ok(None);
        };
        let at = path.iter().rposition(|byte| *byte == b'/');
        let (parent, name) = match at {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&b""[..], path.as_slice()),
        };
        if !path.is_empty() {
            self.seen
                .entry(parent.to_owned())
                .or_default()
                .insert(name.to_owned());
        }
        // What is missing with all that was in it is told once, by the line of the directory.
        if self.enter(parent)?.is_some() {
            let name = if path.is_empty() { b"." } else { name };
            let found = self.look(name, expected)?;
            self.differences
                .extend(found.into_iter().map(|what| Difference {
                    path: path.clone(),
                    what,
                }));
        }
        if expected.starts_with("type=dir ") {
            self.leave(&path)?;
        }
        Ok(Some(()))
    }

    /// Opens the directory, unless it is the one that is open.
    fn enter(&mut self, path: &[u8]) -> io::Result<Option<()>> {
        if self.last.as_ref().is_some_and(|(last, _)| last == path) {
            return Ok(Some(()));
        }
        match open_directory(self.root.as_fd(), path) {
            Ok(directory) => {
                self.last = Some((path.to_owned(), directory));
                Ok(Some(()))
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What is different about `name` in the directory that is open.
    fn look(&mut self, name: &[u8], expected: &str) -> io::Result<Vec<String>> {
        let Some((_, parent)) = &self.last else {
            return Ok(Vec::new());
        };
        let parent = parent.as_fd();
        let found = match stat(parent, name) {
            Ok(found) => found,
            Err(Errno::NOENT) => return Ok(vec!["is missing".to_owned()]),
            Err(error) => return Ok(vec![format!("cannot be read: {error}")]),
        };
        let mut line = String::new();
        let outcome = self
            .describer
            .describe(&mut line, (parent, name), &found, None);
        self.describer.go_on()?;
        Ok(match outcome {
            Ok(()) if line == expected => Vec::new(),
            Ok(()) => compare(expected, &line),
            // A bad block, say: that is what this is for.
            Err(error) => vec![format!("cannot be read: {error}")],
        })
    }

    /// Tells what is in a directory that was not listed, all that was having been seen.
    fn leave(&mut self, path: &[u8]) -> io::Result<()> {
        let listed = self.seen.remove(path).unwrap_or_default();
        let directory = match open_directory(self.root.as_fd(), path) {
            Ok(directory) => directory,
            // Told already.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for name in names(directory)? {
            let name = name?;
            if !listed.contains(&name) {
                let mut path = path.to_owned();
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend(name);
                self.differences.push(Difference {
                    path,
                    what: "was not there".to_owned(),
                });
            }
        }
        Ok(())
    }
}

fn open_directory(root: BorrowedFd<'_>, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)
}

/// Tells which keywords differ.
fn compare(expected: &str, found: &str) -> Vec<String> {
    let words = |line: &str| -> Vec<(String, String)> {
        line.split(' ')
            .filter_map(|word| word.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    };
    let (expected, found) = (words(expected), words(found));
    let value = |words: &[(String, String)], key: &str| {
        words
            .iter()
            .find(|(known, _)| known == key)
            .map(|(_, value)| value.clone())
    };
    let was = value(&expected, "type");
    let is = value(&found, "type");
    if was != is {
        let word = |kind: Option<String>| kind.unwrap_or_default();
        return vec![format!("is of the type {} and was {}", word(is), word(was))];
    }
    let mut differences = Vec::new();
    let resized = value(&expected, "size") != value(&found, "size");
    for (key, was) in &expected {
        let what = match (key.as_str(), value(&found, key)) {
            (_, Some(is)) if is == *was => continue,
            ("sha256digest", _) if resized => continue,
            ("sha256digest", _) => "has other content".to_owned(),
            (key, Some(is)) => match key.strip_prefix("xattr.") {
                Some(name) => format!("has another value of the attribute {name}"),
                None => format!("has the {} {is} and had {was}", title(key)),
            },
            (key, None) => format!("lacks {}", title(key)),
        };
        differences.push(what);
    }
    for (key, _) in &found {
        if value(&expected, key).is_none() {
            differences.push(format!("did not have {}", title(key)));
        }
    }
    differences
}

fn title(key: &str) -> String {
    match key {
        "uid" => "owner".to_owned(),
        "gid" => "group".to_owned(),
        "link" => "target".to_owned(),
        key => match key.strip_prefix("xattr.") {
            Some(name) => format!("the attribute {name}"),
            None => key.to_owned(),
        },
    }
}
