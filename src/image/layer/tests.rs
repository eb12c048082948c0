//! Archives built in memory, good and hostile, unpacked for real below a temporary directory.

use std::fmt::Write as _;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::image::layer::Memory;
use crate::image::rootfs::Rootfs;

/// An archive in the making.
struct Builder(tar::Builder<Vec<u8>>);

impl Builder {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    /// An entry whose path is written as it is, however bad.
    fn raw(mut self, path: &str, kind: tar::EntryType, link: &str, content: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        let name = &mut header.as_old_mut().name;
        name[..path.len()].copy_from_slice(path.as_bytes());
        let target = &mut header.as_old_mut().linkname;
        target[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(if kind.is_dir() { 0o750 } else { 0o640 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_size(content.len() as u64);
        header.set_device_major(0).unwrap();
        header.set_device_minor(0).unwrap();
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    fn pax(mut self, records: &[(&str, &[u8])]) -> Self {
        self.0
            .append_pax_extensions(records.iter().copied())
            .unwrap();
        self
    }

    fn file(self, path: &str, content: &str) -> Self {
        self.raw(path, tar::EntryType::Regular, "", content.as_bytes())
    }

    fn directory(self, path: &str) -> Self {
        self.raw(path, tar::EntryType::Directory, "", b"")
    }

    fn symlink(self, path: &str, target: &str) -> Self {
        self.raw(path, tar::EntryType::Symlink, target, b"")
    }

    fn hard_link(self, path: &str, target: &str) -> Self {
        self.raw(path, tar::EntryType::Link, target, b"")
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// A layer's root, with a neighbour that must not change.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("root")).unwrap();
        std::fs::create_dir(directory.path().join("outside")).unwrap();
        std::fs::write(directory.path().join("outside/victim"), "precious").unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("root").join(name)
    }

    fn unpack(&self, archive: &[u8], limits: Limits) -> Result<Unpacked, LayerError> {
        let options = Options {
            compression: None,
            whiteouts: true,
            limits,
            memory: Memory::default(),
        };
        unpack(archive, &self.path(""), &options, &AtomicBool::new(false))
    }

    fn settle(&self, builder: Builder, lowers: &[PathBuf]) -> Result<(), LayerError> {
        let unpacked = self.unpack(&builder.bytes(), Limits::DEFAULT)?;
        self.complete(unpacked, lowers)
    }

    fn complete(&self, unpacked: Unpacked, lowers: &[PathBuf]) -> Result<(), LayerError> {
        let lower = Rootfs::open(lowers).unwrap();
        let listing = self.directory.path().join("content");
        let _ = std::fs::remove_file(&listing);
        let cancel = AtomicBool::new(false);
        let root = self.path("");
        let listed = unpacked.settle(&lower, &listing, &cancel)?;
        let differences = crate::image::layer::verify(&root, &listing, &listed.digest, &cancel);
        assert_eq!(differences.unwrap(), []);
        std::fs::remove_file(listing).unwrap();
        Ok(())
    }

    /// What is outside of the root: names, inodes, modes and content.
    fn outside(&self) -> String {
        let mut text = String::new();
        for name in ["", "outside", "outside/victim"] {
            let path = self.directory.path().join(name);
            let metadata = std::fs::symlink_metadata(&path).unwrap();
            let content = std::fs::read_to_string(&path).unwrap_or_default();
            let nlink = if name == "outside/victim" {
                metadata.nlink()
            } else {
                0
            };
            let _ = write!(
                text,
                "{name} {} {:o} {nlink} {content} ",
                metadata.ino(),
                metadata.mode()
            );
        }
        let count = |path: PathBuf| std::fs::read_dir(path).unwrap().count();
        let (all, outside) = (
            count(self.directory.path().to_owned()),
            count(self.directory.path().join("outside")),
        );
        format!("{text}{all} {outside}")
    }
}

fn is_whiteout(path: PathBuf) -> bool {
    std::fs::symlink_metadata(path)
        .is_ok_and(|found| found.file_type().is_char_device() && found.rdev() == 0)
}

fn is_opaque(path: PathBuf) -> bool {
    let directory = std::fs::File::open(path).unwrap();
    let mut value = [0_u8; 8];
    rustix::fs::fgetxattr(&directory, "trusted.overlay.opaque", &mut value[..])
        .is_ok_and(|length| &value[..length] == b"y")
}

#[test]
fn files_and_metadata_arrive() {
    let place = Place::new();
    let archive = Builder::new()
        .directory("./")
        .directory("etc/")
        .file("/etc/x", "content")
        .hard_link("etc/y", "etc/x")
        .symlink("etc/z", "../../../outside")
        .raw("fifo", tar::EntryType::Fifo, "", b"");
    place.settle(archive, &[]).unwrap();
    assert_eq!(std::fs::read(place.path("etc/x")).unwrap(), b"content");
    let found = std::fs::metadata(place.path("etc/y")).unwrap();
    assert_eq!(
        (found.nlink(), found.mode() & 0o7777, found.mtime()),
        (2, 0o640, 1_000_000_000)
    );
    let etc = std::fs::metadata(place.path("etc")).unwrap();
    assert_eq!((etc.mode() & 0o7777, etc.mtime()), (0o750, 1_000_000_000));
    assert!(
        place
            .path("fifo")
            .symlink_metadata()
            .unwrap()
            .file_type()
            .is_fifo()
    );
}

#[test]
fn hostile_entries_are_refused_and_change_nothing_outside() {
    use tar::EntryType;

    let new = Builder::new;
    let cases = [
        new().file("a/../../outside/x", ""),
        new().symlink("l", "../outside").file("l/x", ""),
        new()
            .symlink("l", "../outside")
            .directory("l/d")
            .file("l/d/e", ""),
        new().symlink("l", "../outside").file("l/.wh.victim", ""),
        new().symlink("l", "../outside").file("l/.wh..wh..opq", ""),
        new().symlink(".", "../outside"),
        new().file("/", "x"),
        new().file("./", "x").symlink("./", "x"),
        new().hard_link("x", "/etc/passwd"),
        new().hard_link("x", "../outside/victim"),
        new().hard_link("x", "x"),
        new().hard_link("x", "nothing"),
        new().directory("d").hard_link("x", "d"),
        new().hard_link("x", "later").file("later", ""),
        new().symlink("l", "../outside").hard_link("x", "l/victim"),
        new().file("a", "").file("a/b", ""),
        new().file(".wh.", ""),
        new().file(".wh..", ""),
        new().file(".wh...", ""),
        new().raw("x", EntryType::new(b'?'), "", b""),
        new()
            .pax(&[("SCHILY.xattr.user.x", &vec![b'x'; 20 << 10])])
            .file("x", ""),
        new().pax(&[("uid", b"4294967296")]).file("x", ""),
        new().pax(&[("uid", b"4294967295")]).file("x", ""),
        new().pax(&[("mtime", b"soon")]).file("x", ""),
    ];
    for (at, case) in cases.into_iter().enumerate() {
        let place = Place::new();
        let before = place.outside();
        let outcome = place.settle(case, &[]);
        // An old header's path that ends in a slash is a directory, and so a fine root.
        if at != 6 {
            assert!(outcome.is_err(), "case {at}");
        }
        assert_eq!(place.outside(), before, "case {at}");
    }
}

#[test]
fn a_link_that_is_replaced_is_unlinked_and_not_written_through() {
    let place = Place::new();
    let before = place.outside();
    let archive = Builder::new()
        .file("kept", "kept")
        .hard_link("x", "kept")
        .file("x", "new")
        .symlink("l", "../outside/victim")
        .file("l", "new")
        .symlink("m", "../outside")
        .directory("m")
        .file("m/y", "");
    place.settle(archive, &[]).unwrap();
    assert_eq!(std::fs::read(place.path("kept")).unwrap(), b"kept");
    assert_eq!(std::fs::read(place.path("x")).unwrap(), b"new");
    assert_eq!(std::fs::read(place.path("l")).unwrap(), b"new");
    assert!(place.path("m/y").is_file());
    assert_eq!(place.outside(), before);
}

#[test]
fn a_directory_may_be_replaced_by_a_link() {
    let place = Place::new();
    let before = place.outside();
    let archive = Builder::new()
        .directory("d")
        .file("d/x", "")
        .symlink("d", "../outside");
    place.settle(archive, &[]).unwrap();
    assert!(place.path("d").is_symlink());
    assert_eq!(place.outside(), before);
}

#[test]
fn whiteouts_do_not_depend_on_their_place() {
    for first in [true, false] {
        let place = Place::new();
        let whiteouts = |builder: Builder| {
            builder
                .file(".wh.gone", "")
                .file(".wh.file", "")
                .file(".wh.directory", "")
                .file("opaque/.wh..wh..opq", "")
                .file("opaque/.wh.inside", "")
        };
        let content = |builder: Builder| {
            builder
                .file("file", "x")
                .directory("directory")
                .directory("opaque")
                .file("opaque/kept", "x")
        };
        let archive = if first {
            content(whiteouts(Builder::new()))
        } else {
            whiteouts(content(Builder::new()))
        };
        place.settle(archive, &[]).unwrap();
        assert!(is_whiteout(place.path("gone")));
        assert!(place.path("file").is_file());
        assert!(is_opaque(place.path("directory")));
        assert!(is_opaque(place.path("opaque")));
        assert!(place.path("opaque/kept").is_file());
        assert!(!place.path("opaque/inside").exists());
        assert!(!place.path("opaque/.wh.inside").exists());
    }
}

#[test]
fn what_overlayfs_would_obey_is_dropped() {
    let place = Place::new();
    let archive = Builder::new()
        .raw("whiteout", tar::EntryType::Char, "", b"")
        .pax(&[
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
            ("SCHILY.xattr.user.overlay.opaque", b"y"),
            ("SCHILY.xattr.user.kept", b"1"),
            ("SCHILY.xattr.user.kept", b"2"),
        ])
        .directory("d");
    place.settle(archive, &[]).unwrap();
    assert!(!is_whiteout(place.path("whiteout")));
    assert!(!is_opaque(place.path("d")));
    let directory = std::fs::File::open(place.path("d")).unwrap();
    let kept = crate::image::rootfs::xattrs(std::os::fd::AsFd::as_fd(&directory)).unwrap();
    let kept: Vec<_> = kept
        .iter()
        .filter(|(name, _)| !name.starts_with(b"security."))
        .collect();
    assert_eq!(kept, [&(b"user.kept".to_vec(), b"2".to_vec())]);
}

#[test]
fn a_layer_takes_from_the_one_below_what_it_only_refers_to() {
    let lower = Place::new();
    let archive = Builder::new()
        .directory("usr")
        .directory("usr/lib")
        .file("usr/lib/a", "below");
    lower.settle(archive, &[]).unwrap();
    std::fs::set_permissions(
        lower.path("usr/lib"),
        std::fs::Permissions::from_mode(0o2711),
    )
    .unwrap();

    let upper = Place::new();
    let archive = Builder::new()
        .file("usr/lib/b", "")
        .hard_link("usr/lib/c", "usr/lib/a")
        .hard_link("usr/lib/d", "usr/lib/c")
        .bytes();
    let unpacked = upper.unpack(&archive, Limits::DEFAULT).unwrap();
    assert!(unpacked.needs_lower());
    upper.complete(unpacked, &[lower.path("")]).unwrap();
    let mode = |place: &Place, name| std::fs::metadata(place.path(name)).unwrap().mode() & 0o7777;
    assert_eq!(mode(&upper, "usr/lib"), 0o2711);
    assert_eq!(mode(&upper, "usr"), 0o750);
    let copy = std::fs::metadata(upper.path("usr/lib/c")).unwrap();
    assert_eq!((copy.nlink(), copy.mode() & 0o7777), (2, 0o640));
    assert_eq!(std::fs::read(upper.path("usr/lib/d")).unwrap(), b"below");
}

#[test]
fn limits_hold() {
    let small = Limits {
        bytes: 1 << 20,
        entries: 10,
        ratio: 200,
        file: 1000,
        holes: 1000,
    };
    let place = Place::new();
    let many = (0..11).fold(Builder::new(), |builder, at| {
        builder.file(&format!("{at}"), "")
    });
    let outcome = place.unpack(&many.bytes(), small);
    assert!(matches!(outcome, Err(LayerError::TooLarge { .. })));
    let outcome = place.unpack(&Builder::new().file("x", &"x".repeat(1001)).bytes(), small);
    assert!(matches!(outcome, Err(LayerError::Refused { .. })));
    let mut zeros = Builder::new().file("x", "").bytes();
    zeros.resize(2 << 20, 0);
    let outcome = place.unpack(&zeros, small);
    assert!(matches!(outcome, Err(LayerError::TooLarge { .. })));
    let long = Builder::new().raw("x", tar::EntryType::GNULongName, "", &vec![b'x'; 2 << 20]);
    let outcome = place.unpack(&long.file("y", "").bytes(), Limits::DEFAULT);
    assert!(matches!(outcome, Err(LayerError::TooLarge { .. })));
}

#[test]
fn what_is_no_archive_is_refused_in_one_line() {
    for bytes in [
        &b"root:x:0:0\nbin:x:1:1\n".repeat(100)[..],
        &[7; 5000],
        b"x",
    ] {
        let place = Place::new();
        let Err(error) = place.unpack(bytes, Limits::DEFAULT) else {
            panic!("{bytes:?} was taken");
        };
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

#[test]
fn a_cut_archive_is_refused() {
    let whole = Builder::new().file("x", &"x".repeat(2000)).bytes();
    for length in [100, 512, 700, 2000] {
        let place = Place::new();
        assert!(
            place.unpack(&whole[..length], Limits::DEFAULT).is_err(),
            "{length}"
        );
    }
}

#[test]
fn asked_to_end_it_ends() {
    let place = Place::new();
    let archive = Builder::new().file("x", "").bytes();
    let options = Options {
        compression: None,
        whiteouts: true,
        limits: Limits::DEFAULT,
        memory: Memory::default(),
    };
    let cancel = AtomicBool::new(true);
    let outcome = unpack(&archive[..], &place.path(""), &options, &cancel);
    assert!(matches!(outcome, Err(LayerError::Interrupted)));
}

fn any_path() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "a",
        "b",
        "..",
        ".",
        "",
        ".wh.a",
        ".wh..wh..opq",
        "outside",
    ]);
    prop::collection::vec(part, 0..4).prop_map(|parts| parts.join("/"))
}

fn any_target() -> impl Strategy<Value = String> {
    prop_oneof![
        any_path(),
        Just("../outside".to_owned()),
        Just("../outside/victim".to_owned()),
        Just("/tmp".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_outside_ever_changes(
        entries in prop::collection::vec((0..6_u8, any_path(), any_target()), 1..12),
    ) {
        let place = Place::new();
        let before = place.outside();
        let archive = entries.iter().fold(Builder::new(), |builder, (kind, path, target)| {
            match kind {
                0 | 1 => builder.file(path, "content"),
                2 => builder.directory(path),
                3 => builder.symlink(path, target),
                4 => builder.hard_link(path, target),
                _ => builder.raw(path, tar::EntryType::Fifo, "", b""),
            }
        });
        let _ = place.settle(archive, &[place.directory.path().join("outside")]);
        prop_assert_eq!(place.outside(), before);
    }
}
