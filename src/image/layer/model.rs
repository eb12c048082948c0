//! Any sequence of entries unpacks to what a model of a few lines says, or is refused by both.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use proptest::prelude::*;

use super::*;
use crate::image::rootfs::Rootfs;

/// An entry: what it is, where, and its content, its target or its mode.
#[derive(Debug, Clone)]
enum Entry {
    File(String, u8),
    Directory(String, u32),
    Symlink(String, String),
    Link(String, String),
    Fifo(String),
}

/// What is at a path; files are numbered, so that two names of one can be told from two files.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    File(usize, u8),
    Directory(u32),
    Symlink(usize, String),
    Fifo(usize),
}

type Model = BTreeMap<String, Node>;

/// What the entries amount to; nothing if one of them has to be refused.
fn model(entries: &[Entry]) -> Option<Model> {
    let mut tree = Model::from([(String::new(), Node::Directory(0o755))]);
    let mut waiting: Vec<String> = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        let (Entry::File(path, _)
        | Entry::Directory(path, _)
        | Entry::Symlink(path, _)
        | Entry::Link(path, _)
        | Entry::Fifo(path)) = entry;
        let path = clean(path)?;
        if path.is_empty() && !matches!(entry, Entry::Directory(..)) {
            return None;
        }
        let below = format!("{path}/");
        if let Entry::Link(_, target) = entry {
            let target = clean(target)?;
            match tree.get(&target) {
                _ if target == path => return None,
                Some(Node::Directory(_)) => return None,
                None => {
                    waiting.push(path);
                    continue;
                }
                // The directory with the target in it would go first.
                Some(_) if target.starts_with(&below) => return None,
                Some(_) => {}
            }
        }
        for (at, _) in path.match_indices('/') {
            let parent = &path[..at];
            match tree.get(parent) {
                Some(Node::Directory(_)) => {}
                Some(_) => return None,
                None => {
                    tree.insert(parent.to_owned(), Node::Directory(0o755));
                }
            }
        }
        waiting.retain(|waiting| *waiting != path && !waiting.starts_with(&below));
        let node = match entry {
            Entry::File(_, content) => Node::File(number, *content),
            Entry::Directory(_, mode) => {
                tree.insert(path, Node::Directory(*mode));
                continue;
            }
            Entry::Symlink(_, target) => Node::Symlink(number, target.clone()),
            Entry::Link(_, target) => tree[&clean(target)?].clone(),
            Entry::Fifo(_) => Node::Fifo(number),
        };
        tree.retain(|known, _| !known.starts_with(&below));
        tree.insert(path, node);
    }
    waiting.is_empty().then_some(tree)
}

fn clean(path: &str) -> Option<String> {
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    (!parts.contains(&"..")).then(|| parts.join("/"))
}

/// What is on the disk; the first name of a file numbers it.
fn found(root: &Path) -> Model {
    let mut tree = Model::new();
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        let stat = std::fs::symlink_metadata(&path).unwrap();
        let inode = usize::try_from(stat.ino()).unwrap();
        let kind = stat.file_type();
        let node = if kind.is_dir() {
            let entries = std::fs::read_dir(&path).unwrap();
            pending.extend(entries.map(|entry| entry.unwrap().path()));
            Node::Directory(stat.mode() & 0o7777)
        } else if kind.is_symlink() {
            let target = std::fs::read_link(&path).unwrap();
            Node::Symlink(inode, target.to_str().unwrap().to_owned())
        } else if kind.is_fifo() {
            Node::Fifo(inode)
        } else {
            Node::File(inode, std::fs::read(&path).unwrap()[0])
        };
        let name = path.strip_prefix(root).unwrap().to_str().unwrap();
        tree.insert(name.to_owned(), node);
    }
    tree
}

/// Numbers files by the order of their first names.
fn renumbered(mut tree: Model) -> Model {
    let mut numbers = BTreeMap::new();
    for node in tree.values_mut() {
        if let Node::File(number, _) | Node::Symlink(number, _) | Node::Fifo(number) = node {
            let next = numbers.len();
            *number = *numbers.entry(*number).or_insert(next);
        }
    }
    tree
}

fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for entry in entries {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_size(0);
        let mut content = Vec::new();
        let mut target = "";
        let (path, kind) = match entry {
            Entry::File(path, byte) => {
                content = vec![*byte; usize::from(*byte) * 7 + 1];
                (path, tar::EntryType::Regular)
            }
            Entry::Directory(path, mode) => {
                header.set_mode(*mode);
                (path, tar::EntryType::Directory)
            }
            Entry::Symlink(path, to) => {
                target = to;
                (path, tar::EntryType::Symlink)
            }
            Entry::Link(path, to) => {
                target = to;
                (path, tar::EntryType::Link)
            }
            Entry::Fifo(path) => (path, tar::EntryType::Fifo),
        };
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn any_path() -> impl Strategy<Value = String> {
    // Few names, so that they meet.
    let part = prop::sample::select(vec!["a", "b", "c", "a", "b", ".", ".wh.a"]);
    prop::collection::vec(part, 1..4).prop_map(|parts| parts.join("/"))
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let mode = prop::sample::select(vec![0o755_u32, 0o700, 0o2775, 0o1777, 0o0]);
    prop_oneof![
        3 => (any_path(), 1..200_u8).prop_map(|(path, byte)| Entry::File(path, byte)),
        2 => (any_path(), mode).prop_map(|(path, mode)| Entry::Directory(path, mode)),
        1 => (any_path(), any_path()).prop_map(|(path, target)| Entry::Symlink(path, target)),
        2 => (any_path(), any_path()).prop_map(|(path, target)| Entry::Link(path, target)),
        1 => any_path().prop_map(Entry::Fifo),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_unpacks_is_what_the_model_says(entries in prop::collection::vec(any_entry(), 1..10)) {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        std::fs::create_dir(&root).unwrap();
        let options = Options {
            compression: None,
            whiteouts: false,
            limits: Limits::DEFAULT,
            memory: Memory::default(),
        };
        let cancel = AtomicBool::new(false);
        let listing = directory.path().join("content");
        let lower = Rootfs::open(&[]).unwrap();
        let listed = unpack(&archive(&entries)[..], &root, &options, &cancel)
            .and_then(|unpacked| unpacked.settle(&lower, &listing, &cancel));
        match (listed, model(&entries)) {
            (Ok(listed), Some(expected)) => {
                prop_assert_eq!(renumbered(found(&root)), renumbered(expected));
                let differences = verify(&root, &listing, &listed.digest, &cancel).unwrap();
                prop_assert_eq!(differences, []);
            }
            (Err(_), None) => {}
            (Ok(_), None) => prop_assert!(false, "taken, which the model refuses"),
            (Err(error), Some(_)) => prop_assert!(false, "refused: {}", error),
        }
    }
}
