//! Archives that readers are known to read differently: what we see is what GNU tar lists, or the
//! layer is refused.

use std::fs;
use std::process::Command;

use tar::EntryType;

use crate::support::archive::{Entry, Tar};
use crate::support::oci::{Client, Image, Layer};
use crate::support::process;

/// The names that GNU tar lists, without those of the directories.
fn listed(client: &Client, archive: &[u8]) -> Vec<String> {
    let path = client.outside().join("listed.tar");
    fs::write(&path, archive).expect("write");
    let mut command = Command::new("tar");
    command.arg("-tf").arg(&path);
    let outcome = process::run(command);
    let mut names: Vec<String> = outcome
        .stdout
        .lines()
        .filter(|name| !name.ends_with('/'))
        .map(str::to_owned)
        .collect();
    names.sort();
    fs::remove_file(path).expect("remove");
    names
}

fn found(root: &std::path::Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a directory");
            pending.extend(entries.map(|entry| entry.expect("an entry").path()));
        } else {
            let path = path.strip_prefix(root).expect("below the root");
            names.push(path.to_str().expect("UTF-8").to_owned());
        }
    }
    names.sort();
    names
}

/// An entry that is the content of another, for who sees that one as empty.
fn smuggled() -> Vec<u8> {
    Tar::new().with(Entry::file("smuggled", "x")).without_end()
}

#[test]
fn the_listing_is_that_of_gnu_tar() {
    let client = Client::new();
    let size = smuggled().len();
    let inner = |entry: Entry| Tar::bootable().with(entry).raw(&smuggled());
    for (row, tar) in [
        (
            "a size in the extended header, none in the header",
            inner(Entry::new(EntryType::Regular, "outer").pax("size", size.to_string())),
        ),
        (
            "a size of nothing in the extended header",
            inner(
                Entry::new(EntryType::Regular, "outer")
                    .pax("size", "0")
                    .header(move |header| header.set_size(size as u64)),
            ),
        ),
        (
            "a size of an extended header, then a long name",
            Tar::bootable()
                .with(Entry::new(EntryType::XHeader, "pax").content(&b"10 size=2\n"[..]))
                .with(Entry::new(EntryType::GNULongName, "long").content(&b"name-of-it\0"[..]))
                .with(Entry::file("short", "12")),
        ),
        (
            "a hard link with a size",
            Tar::bootable()
                .with(Entry::file("target", "x"))
                .with(
                    Entry::hard_link("h", "target")
                        .header(move |header| header.set_size(size as u64)),
                )
                .raw(&smuggled()),
        ),
        (
            "one block of zeros, then more",
            Tar::bootable().raw(&[0; 512]).raw(&smuggled()),
        ),
    ] {
        let archive = tar.bytes();
        let roots = client.taken(Image::new().layer(Layer::gzip(&archive)));
        assert_eq!(found(&roots[0]), listed(&client, &archive), "{row}");
    }
}

#[test]
fn what_readers_disagree_about_is_refused() {
    let client = Client::new();
    let size = smuggled().len() as u64;
    let sized = |entry: Entry| entry.header(|header| header.set_size(size));
    let extended = || Entry::new(EntryType::XHeader, "pax").content(&b"15 comment=abc\n"[..]);
    let global = |record: &'static str| {
        Entry::new(EntryType::XGlobalHeader, "pax").content(record.as_bytes())
    };
    let with_smuggled = |entry: Entry| Tar::bootable().with(entry).raw(&smuggled());
    for (row, tar) in [
        (
            "a directory with content",
            with_smuggled(sized(Entry::directory("d"))),
        ),
        (
            "a link with content",
            with_smuggled(sized(Entry::symlink("l", "x"))),
        ),
        (
            "a fifo with content",
            with_smuggled(sized(Entry::new(EntryType::Fifo, "f"))),
        ),
        (
            "a hard link with content by its extended header",
            with_smuggled(Entry::hard_link("h", "usr/sbin/init").pax("size", size.to_string())),
        ),
        (
            "two extended headers",
            Tar::bootable()
                .with(extended())
                .with(extended())
                .with(Entry::file("x", "x")),
        ),
        (
            "an extended header and no entry",
            Tar::bootable().with(extended()),
        ),
        (
            "a global path",
            Tar::bootable()
                .with(global("10 path=x\n"))
                .with(Entry::file("y", "")),
        ),
        (
            "a record longer than the header",
            Tar::bootable()
                .with(Entry::new(EntryType::XHeader, "pax").content(&b"99 path=x\n"[..]))
                .with(Entry::file("y", "")),
        ),
        (
            "a record without an equals sign",
            Tar::bootable()
                .with(Entry::new(EntryType::XHeader, "pax").content(&b"8 pathx\n"[..]))
                .with(Entry::file("y", "")),
        ),
        (
            "a size that is negative",
            Tar::bootable().with(Entry::file("y", "").pax("size", "-1")),
        ),
    ] {
        let image = Image::new().layer(Layer::gzip(&tar.bytes()));
        client.refused(row, image, &["layer sha256:"]);
    }
}
