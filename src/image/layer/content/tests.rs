//! A tree on the disk, listed, changed in every way, and compared.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, XattrFlags};

use super::*;

struct Place {
    directory: tempfile::TempDir,
    listed: Listed,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        fs::create_dir_all(root.join("etc/empty")).unwrap();
        fs::create_dir_all(root.join("opaque")).unwrap();
        fs::write(root.join("etc/file"), "content").unwrap();
        fs::hard_link(root.join("etc/file"), root.join("etc/again")).unwrap();
        fs::write(root.join("etc/sp ace=#\\\n\u{fc}"), "odd").unwrap();
        symlink("../etc/sp ace", root.join("link")).unwrap();
        let node = |name: &str, kind, device| {
            rustix::fs::mknodat(
                CWD,
                root.join(name),
                kind,
                Mode::from_raw_mode(0o600),
                device,
            )
            .unwrap();
        };
        node("whiteout", FileType::CharacterDevice, 0);
        node("disk", FileType::BlockDevice, rustix::fs::makedev(8, 1));
        node("fifo", FileType::Fifo, 0);
        let set = |name: &str, key: &str, value: &[u8]| {
            let file = fs::File::open(root.join(name)).unwrap();
            rustix::fs::fsetxattr(&file, key, value, XattrFlags::empty()).unwrap();
        };
        set("opaque", "trusted.overlay.opaque", b"y");
        set("etc/file", "user.note", b"\0\xff");
        let listed = record(
            &root,
            &directory.path().join("content"),
            &AtomicBool::new(false),
        )
        .unwrap();
        Self { directory, listed }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("root").join(name)
    }

    fn listing(&self) -> PathBuf {
        self.directory.path().join("content")
    }

    fn differences(&self) -> Vec<String> {
        let cancel = AtomicBool::new(false);
        let found = verify(
            &self.path(""),
            &self.listing(),
            &self.listed.digest,
            &cancel,
        )
        .unwrap();
        let mut found: Vec<String> = found.iter().map(ToString::to_string).collect();
        found.sort();
        found
    }
}

/// Puts a file's and its directory's times back, as a bad disk would not have changed them.
fn quietly(path: &Path, change: impl FnOnce(&Path)) {
    let parent = path.parent().unwrap().to_owned();
    let times: Vec<_> = [path, &parent]
        .iter()
        .map(|path| fs::symlink_metadata(path).and_then(|found| found.modified()))
        .collect();
    change(path);
    for (path, time) in [path, &parent].iter().zip(times) {
        // Opening a fifo would wait for somebody at its other end.
        let plain = fs::metadata(path).is_ok_and(|found| found.is_file() || found.is_dir());
        if let (true, Ok(time)) = (plain, time) {
            fs::File::open(path).unwrap().set_modified(time).unwrap();
        }
    }
}

#[test]
fn an_untouched_tree_has_no_differences() {
    let place = Place::new();
    assert_eq!(place.differences(), Vec::<String>::new());
    assert_eq!(place.listed.entries, 10);
    assert_eq!(place.listed.bytes, 17);
}

#[test]
fn the_listing_is_mtree() {
    let place = Place::new();
    let text = fs::read_to_string(place.listing()).unwrap();
    assert!(text.starts_with("#mtree\n"));
    let line = |start: &str| {
        let line = text.lines().find(|line| line.starts_with(start));
        line.unwrap_or_else(|| panic!("no {start} in {text}"))
    };
    let file = line("./etc/file ");
    let found = fs::metadata(place.path("etc/file")).unwrap();
    let expected = format!(
        "./etc/file type=file mode={:04o} uid=0 gid=0 time={}.{:09} size=7 \
         xattr.user.note=AP8= \
         sha256digest=ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73",
        found.mode() & 0o7777,
        found.mtime(),
        found.mtime_nsec()
    );
    assert_eq!(file, expected);
    line("./etc/sp\\040ace\\075\\043\\134\\012\\303\\274 type=file ");
    assert!(line("./link ").ends_with(" link=../etc/sp\\040ace"));
    assert!(line("./whiteout ").contains(" device=native,0,0"));
    assert!(line("./disk ").contains(" device=native,8,1"));
    assert!(line("./opaque ").ends_with(" xattr.trusted.overlay.opaque=eQ=="));
    assert!(text.lines().last().unwrap().starts_with(". type=dir "));
}

#[test]
fn each_change_is_named() {
    type Change = fn(&Path);
    let rows: [(&str, Change, &str); 11] = [
        (
            "etc/empty",
            |path| fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap(),
            "\"/etc/empty\" has the mode 0700 and had 0755",
        ),
        (
            "etc/file",
            |path| fs::write(path, "cOntent").unwrap(),
            "\"/etc/file\" has other content",
        ),
        (
            "etc/file",
            |path| fs::write(path, "longer content").unwrap(),
            "\"/etc/file\" has the size 14 and had 7",
        ),
        (
            "etc/file",
            |path| {
                let file = fs::File::open(path).unwrap();
                rustix::fs::fremovexattr(&file, "user.note").unwrap();
            },
            "\"/etc/file\" lacks the attribute user.note",
        ),
        (
            "etc/more",
            |path| fs::write(path, "").unwrap(),
            "\"/etc/more\" was not there",
        ),
        (
            "etc/empty",
            |path| fs::remove_dir(path).unwrap(),
            "\"/etc/empty\" is missing",
        ),
        (
            "link",
            |path| {
                fs::remove_file(path).unwrap();
                fs::write(path, "").unwrap();
            },
            "\"/link\" is of the type file and was link",
        ),
        (
            "whiteout",
            |path| fs::remove_file(path).unwrap(),
            "\"/whiteout\" is missing",
        ),
        (
            "opaque",
            |path| {
                let file = fs::File::open(path).unwrap();
                rustix::fs::fremovexattr(&file, "trusted.overlay.opaque").unwrap();
            },
            "\"/opaque\" lacks the attribute trusted.overlay.opaque",
        ),
        (
            "fifo",
            |path| {
                let owner = Some(rustix::fs::Uid::from_raw(7));
                rustix::fs::chown(path, owner, None).unwrap();
            },
            "\"/fifo\" has the owner 7 and had 0",
        ),
        (
            "etc/empty",
            |path| {
                let file = fs::File::open(path).unwrap();
                let value = b"y".as_slice();
                rustix::fs::fsetxattr(&file, "trusted.overlay.opaque", value, XattrFlags::empty())
                    .unwrap();
            },
            "\"/etc/empty\" did not have the attribute trusted.overlay.opaque",
        ),
    ];
    for (name, change, told) in rows {
        let place = Place::new();
        quietly(&place.path(name), change);
        let found: Vec<String> = place
            .differences()
            .into_iter()
            // The second name of the file has changed as well, and links have no time to put back.
            .filter(|line| !line.contains("/etc/again") && !line.contains(" time "))
            .collect();
        assert_eq!(found, [told], "{name}");
    }
}

#[test]
fn a_directory_that_is_gone_is_one_difference() {
    let place = Place::new();
    quietly(&place.path("etc"), |path| fs::remove_dir_all(path).unwrap());
    assert_eq!(place.differences(), ["\"/etc\" is missing"]);
}

#[test]
fn a_listing_is_not_trusted_blindly() {
    let place = Place::new();
    let text = fs::read_to_string(place.listing()).unwrap();
    for other in [
        text.replace("mode=0644", "mode=0600"),
        text[..100].to_owned(),
        String::new(),
    ] {
        fs::write(place.listing(), other).unwrap();
        assert_eq!(
            place.differences(),
            ["\"/\" has another listing than it had"]
        );
    }
    fs::remove_file(place.listing()).unwrap();
    assert_eq!(place.differences(), ["\"/\" has lost its listing"]);
    fs::remove_dir_all(place.path("")).unwrap();
    assert_eq!(place.differences(), ["\"/\" is missing"]);
}

#[test]
fn asked_to_end_it_ends() {
    let place = Place::new();
    let cancel = AtomicBool::new(true);
    assert!(
        verify(
            &place.path(""),
            &place.listing(),
            &place.listed.digest,
            &cancel
        )
        .is_err()
    );
}
