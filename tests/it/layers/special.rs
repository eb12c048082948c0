//! Files that are more than files: devices, attributes that somebody obeys, signs of overlayfs.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use tar::EntryType;

use crate::support::archive::{Entry, Tar};
use crate::support::oci::{Client, Image};

fn attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 1000];
    let length = rustix::fs::lgetxattr(path, name, &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}

#[test]
fn what_overlayfs_obeys_is_not_taken_from_an_archive() {
    let client = Client::new();
    let mut directory = Entry::directory("d").pax("SCHILY.xattr.user.kept", "first");
    for name in ["opaque", "redirect", "metacopy", "origin"] {
        directory = directory
            .pax(format!("SCHILY.xattr.trusted.overlay.{name}"), "y")
            .pax(format!("SCHILY.xattr.user.overlay.{name}"), "y");
    }
    for name in [
        "security.selinux",
        "security.ima",
        "system.posix_acl_access",
    ] {
        directory = directory.pax(format!("SCHILY.xattr.{name}"), "y");
    }
    directory = directory.pax("SCHILY.xattr.user.kept", "last");
    // cap_net_raw=ep, revision 2.
    let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let roots = client.taken(Image::of(
        Tar::bootable()
            .with(Entry::new(EntryType::Char, "whiteout"))
            .with(directory)
            .with(Entry::file("capable", "x").pax("SCHILY.xattr.security.capability", capability)),
    ));
    assert!(!roots[0].join("whiteout").exists());
    let directory = roots[0].join("d");
    assert_eq!(
        attribute(&directory, "user.kept").as_deref(),
        Some(&b"last"[..])
    );
    for name in [
        "trusted.overlay.opaque",
        "trusted.overlay.redirect",
        "trusted.overlay.metacopy",
        "trusted.overlay.origin",
        "user.overlay.opaque",
        "user.overlay.redirect",
        "security.ima",
        "system.posix_acl_access",
    ] {
        assert_eq!(attribute(&directory, name), None, "{name}");
    }
    let capable = attribute(&roots[0].join("capable"), "security.capability");
    assert_eq!(capable.as_deref(), Some(&capability[..]));
}

#[test]
fn devices_are_what_they_are_and_out_of_reach() {
    let client = Client::new();
    let device = |kind, path: &str| {
        Entry::new(kind, path).header(|header| {
            header.set_device_major(8).expect("a small number");
            header.set_device_minor(1).expect("a small number");
        })
    };
    let roots = client.taken(Image::of(
        Tar::bootable()
            .with(device(EntryType::Block, "disk").mode(0o666))
            .with(device(EntryType::Char, "tape"))
            .with(Entry::new(EntryType::Fifo, "fifo").mode(0o600))
            .with(Entry::file("suid", "x").mode(0o4755).owner(0, 7)),
    ));
    let found = |name: &str| fs::symlink_metadata(roots[0].join(name)).expect(name);
    assert!(found("disk").file_type().is_block_device());
    assert!(found("tape").file_type().is_char_device());
    assert_eq!(found("disk").rdev(), rustix::fs::makedev(8, 1));
    assert_eq!(found("disk").mode() & 0o7777, 0o666);
    assert!(found("fifo").file_type().is_fifo());
    assert_eq!(
        (found("suid").mode() & 0o7777, found("suid").gid()),
        (0o4755, 7)
    );
    let store = fs::metadata(client.store()).expect("the store");
    assert_eq!(store.permissions().mode() & 0o7777, 0o700);
}

#[test]
fn files_that_we_look_at_do_not_hold_us_up() {
    let client = Client::new();
    let host = client.outside().join("os-release");
    fs::write(&host, "ID=debian\n").expect("write");
    let host = host.to_str().expect("UTF-8");
    let up = format!("{}{host}", "../".repeat(40));
    let huge = Entry::new(EntryType::Regular, "GNUSparseFile.0/x")
        .pax("GNU.sparse.major", "1")
        .pax("GNU.sparse.minor", "0")
        .pax("GNU.sparse.name", "etc/os-release")
        .pax("GNU.sparse.realsize", "10000000000");
    let mut map = b"0\n".to_vec();
    map.resize(512, 0);
    for (row, entry) in [
        ("a fifo", Entry::new(EntryType::Fifo, "etc/os-release")),
        ("a huge file", huge.content(map)),
        ("a link to the host", Entry::symlink("etc/os-release", host)),
        (
            "a link upwards to the host",
            Entry::symlink("etc/os-release", &up),
        ),
        (
            "a link to itself",
            Entry::symlink("etc/os-release", "os-release"),
        ),
        (
            "a link to a device",
            Entry::symlink("etc/os-release", "/dev/zero"),
        ),
    ] {
        // Without systemd it is asked for the family, which the host's file would tell.
        let image = Image::of(Tar::new().with(Entry::directory("etc")).with(entry));
        let put = image.put(&client.server, "repo/family", "tag");
        let outcome = client.pull(&put.reference);
        assert_eq!(outcome.code(), 3, "{row}\n{outcome}");
        outcome.stderr_has("is of no known family");
    }
}

#[test]
fn odd_names_are_kept_and_told_without_harm() {
    let client = Client::new();
    let names: [&[u8]; 4] = [
        b"new\nline",
        b"escape\x1b[31m",
        b"\xff\xfe",
        b"space and \"quotes\"",
    ];
    let tar = names.iter().fold(Tar::bootable(), |tar, name| {
        tar.with(Entry::file(name, "x").pax("path", name))
    });
    let roots = client.taken(Image::of(tar));
    for name in names {
        let name = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(name);
        assert!(roots[0].join(name).is_file(), "{}", name.display());
    }
    let bad = Entry::file("bad\n\x1b[31m\r/..", "x");
    let outcome = client.refused(
        "an odd name",
        Image::of(Tar::bootable().with(bad)),
        &["bad"],
    );
    assert!(!outcome.stderr.contains(['\x1b', '\r']), "{outcome}");
}
