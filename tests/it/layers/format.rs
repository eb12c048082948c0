//! Archives that are malformed, cut off, or say two things at once.

use std::os::unix::fs::MetadataExt;

use crate::support::archive::{Entry, Tar, gzip};
use crate::support::oci::{Client, GZIP, Image, Layer};

#[test]
fn damaged_archives_are_refused() {
    let client = Client::new();
    let good = || Tar::bootable().with(Entry::file("x", "x".repeat(2000)));
    let whole = good().bytes();
    let mut checksum = whole.clone();
    checksum[3] ^= 1;
    for (row, archive) in [
        ("a wrong checksum of a header", &checksum[..]),
        ("cut off in a header", &whole[..700]),
        ("no archive at all", &b"root:x:0:0\n".repeat(100)),
    ] {
        let image = Image::new().layer(Layer::gzip(archive));
        client.refused(row, image, &["layer sha256:", "archive is damaged"]);
    }
    let image = Image::new().layer(Layer::gzip(&whole[..whole.len() - 2048]));
    client.refused(
        "cut off in a file",
        image,
        &["\"x\"", "the archive ends within it"],
    );
    for (row, cut) in [("gzip cut in its trailer", 4), ("gzip cut in its data", 40)] {
        let mut blob = gzip(&whole);
        blob.truncate(blob.len() - cut);
        let image = Image::new().layer(Layer::packed(&whole, blob, GZIP));
        client.refused(row, image, &["layer sha256:", "archive is damaged"]);
    }
}

#[test]
fn what_gnu_tar_takes_is_taken() {
    let client = Client::new();
    let good = || Tar::bootable().with(Entry::file("x", "x"));
    let mut padded = good().bytes();
    padded.resize(padded.len() + 10_240, 0);
    let mut garbage = good().bytes();
    garbage.extend([7; 700]);
    for archive in [good().without_end(), padded, garbage] {
        let roots = client.taken(Image::new().layer(Layer::gzip(&archive)));
        assert_eq!(std::fs::read(roots[0].join("x")).expect("the file"), b"x");
    }
    let whole = good().bytes();
    let mut members = gzip(&whole[..1000]);
    members.extend(gzip(&whole[1000..]));
    members.extend([0; 100]);
    client.taken(Image::new().layer(Layer::packed(&whole, members, GZIP)));
}

#[test]
fn bad_numbers_are_refused_and_times_are_clamped() {
    let client = Client::new();
    let image = |entry: Entry| Image::of(Tar::bootable().with(entry));
    let base_256 = |value: [u8; 8]| {
        move |field: &mut [u8]| {
            let at = field.len() - 8;
            field[..at].fill(0);
            field[at..].copy_from_slice(&value);
            field[0] |= 0x80;
        }
    };
    let large = base_256((1_u64 << 32).to_be_bytes());
    client.refused(
        "uid 2^32",
        image(Entry::file("u", "").header(|header| large(&mut header.as_old_mut().uid))),
        &["\"u\"", "uid 4294967296"],
    );
    for (row, key, value) in [
        ("a PAX uid of 2^32", "uid", "4294967296"),
        ("a PAX uid that means no change", "uid", "4294967295"),
        ("a PAX gid that is no number", "gid", "root"),
        ("a PAX time that is none", "mtime", "soon"),
    ] {
        client.refused(
            row,
            image(Entry::file("u", "").pax(key, value)),
            &["\"u\"", key],
        );
    }
    let roots = client.taken(Image::of(
        Tar::bootable()
            .with(Entry::file("before", "").pax("mtime", "-1"))
            .with(Entry::file("after", "").pax("mtime", "9223372036854775808"))
            .with(Entry::file("bits", "").mode(0o1_707_777)),
    ));
    let found = |name: &str| std::fs::metadata(roots[0].join(name)).expect("the file");
    assert_eq!(found("before").mtime(), 0);
    assert!(found("after").mtime() > 4_000_000_000);
    assert_eq!(found("bits").mode(), 0o107_777);
}
