//! Sparse files in all of GNU tar's formats, and maps that are made to do harm.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tar::EntryType;

use crate::support::archive::{Entry, Tar};
use crate::support::oci::{Client, Image, Layer};
use crate::support::process::tool;

/// A file of 8 MiB with three islands in it, the last at its end, and one that ends in a hole.
fn make_files(directory: &Path) {
    let file = fs::File::create(directory.join("islands")).expect("create");
    let write = |bytes: &[u8], at: u64| {
        std::os::unix::fs::FileExt::write_all_at(&file, bytes, at).expect("write");
    };
    write(b"first", 0);
    write(&[7; 10_000], 3 << 20);
    write(b"last", (8 << 20) - 4);
    let file = fs::File::create(directory.join("hole")).expect("create");
    file.set_len(5 << 20).expect("grow");
    let many = fs::File::create(directory.join("many")).expect("create");
    for at in 0..30 {
        std::os::unix::fs::FileExt::write_all_at(&many, b"x", at << 16).expect("write");
    }
}

#[test]
fn sparse_files_of_gnu_tar_keep_their_holes() {
    let client = Client::new();
    let source = client.outside().join("sparse");
    fs::create_dir(&source).expect("create");
    make_files(&source);
    let archive = client.outside().join("sparse.tar");
    let path = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    for format in [
        &["--format=gnu"][..],
        &["--format=pax", "--sparse-version=0.0"],
        &["--format=pax", "--sparse-version=0.1"],
        &["--format=pax", "--sparse-version=1.0"],
    ] {
        let (archive_path, source_path) = (path(&archive), path(&source));
        let mut arguments = vec!["--sparse"];
        arguments.extend(format);
        arguments.extend(["-C", &source_path, "-cf", &archive_path, "."]);
        tool("tar", &arguments);
        // What makes the image bootable comes in a layer of its own.
        let bytes = fs::read(&archive).expect("the archive");
        assert!(bytes.len() < 1 << 20, "{format:?}: not sparse");
        let image = Image::new()
            .layer(Layer::gzip(&Tar::bootable().bytes()))
            .layer(Layer::gzip(&bytes));
        let roots = client.taken(image);
        for name in ["islands", "hole", "many"] {
            let unpacked = roots[1].join(name);
            let expected = fs::read(source.join(name)).expect("the source");
            assert!(
                fs::read(&unpacked).expect(name) == expected,
                "{format:?}: {name} has other content"
            );
            let found = fs::metadata(&unpacked).expect(name);
            assert!(
                found.blocks() * 512 < 1 << 20,
                "{format:?}: the holes of {name} were filled"
            );
        }
    }
}

/// A file in the PAX format of version 1.0, whose map is in front of its content.
fn mapped(map: &str, size: &str) -> Entry {
    let mut content = map.as_bytes().to_vec();
    content.resize(content.len().next_multiple_of(512), 0);
    Entry::file("GNUSparseFile.0/s", content)
        .pax("GNU.sparse.major", "1")
        .pax("GNU.sparse.minor", "0")
        .pax("GNU.sparse.name", "s")
        .pax("GNU.sparse.realsize", size)
}

#[test]
fn maps_that_make_no_sense_are_refused() {
    let client = Client::new();
    let image = |entry: Entry| Image::of(Tar::bootable().with(entry));
    let old = |size: u64, regions: &[(u64, u64)], content: &[u8]| {
        let regions = regions.to_vec();
        Entry::file("s", content)
            .header(|header| header.set_entry_type(EntryType::GNUSparse))
            .header(move |header| {
                let gnu = header.as_gnu_mut().expect("a GNU header");
                let octal = |field: &mut [u8], value: u64| {
                    let text = format!("{value:011o}\0");
                    field.copy_from_slice(text.as_bytes());
                };
                octal(&mut gnu.realsize, size);
                for (field, (offset, length)) in gnu.sparse.iter_mut().zip(regions) {
                    octal(&mut field.offset, offset);
                    octal(&mut field.numbytes, length);
                }
            })
    };
    for (row, entry) in [
        ("8 EiB apparent", mapped("1\n0\n0\n", "9223372036854775808")),
        ("a million regions", mapped("1000000\n0\n1\n", "10000000")),
        ("a map that is not there", mapped("100\n0\n1\n", "100")),
        ("a map of letters", mapped("one\n0\n1\n", "100")),
        ("a region past the end", mapped("1\n90\n20\n", "100")),
        ("less content than regions", mapped("1\n0\n50\n", "100")),
        (
            "regions out of order",
            old(1000, &[(512, 4), (0, 4)], b"12345678"),
        ),
        (
            "regions that overlap",
            old(1000, &[(0, 4), (2, 4)], b"12345678"),
        ),
        (
            "more content than regions",
            old(1000, &[(0, 4)], b"12345678"),
        ),
        (
            "an offset without a length",
            Entry::file("s", "x")
                .pax("GNU.sparse.size", "10")
                .pax("GNU.sparse.offset", "0")
                .pax("GNU.sparse.offset", "1"),
        ),
        (
            "an odd map",
            Entry::file("s", "x")
                .pax("GNU.sparse.size", "10")
                .pax("GNU.sparse.map", "0,1,5"),
        ),
        (
            "a version to come",
            Entry::file("s", "x")
                .pax("GNU.sparse.major", "2")
                .pax("GNU.sparse.realsize", "1"),
        ),
        (
            "the map of a link",
            Entry::symlink("s", "x").pax("GNU.sparse.map", "0,1"),
        ),
    ] {
        client.refused(row, image(entry), &["\"s\"", "layer sha256:"]);
    }
    client.refused(
        "17 GiB of holes in all",
        Image::of((0..17).fold(Tar::bootable(), |tar, _| {
            tar.with(mapped("0\n", "1073741824"))
        })),
        &["bytes of holes"],
    );
}
