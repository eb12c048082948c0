//! Layers that are small on the wire and large in whoever takes them.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::EntryType;

use crate::support::archive::{Entry, Tar};
use crate::support::oci::{Client, GZIP, Image, Layer, ZSTD};

#[test]
fn bombs_are_refused() {
    let client = Client::new();
    let mut archive = Tar::bootable().without_end();
    let file = Entry::new(EntryType::Regular, "bomb").header(|header| header.set_size(3 << 30));
    archive.extend(Tar::new().with(file).without_end());
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(&archive).expect("into memory");
    let zeros = vec![0; 1 << 20];
    for _ in 0..1100 {
        gzip.write_all(&zeros).expect("into memory");
    }
    let blob = gzip.finish().expect("into memory");
    assert!(blob.len() < 3 << 20);
    let layer = Layer::packed(b"whatever", blob, GZIP);
    client.refused(
        "gzip of zeros",
        Image::new().layer(layer),
        &["layer sha256:", "200 times its compressed size"],
    );

    // A frame without content that asks for a window of 2^(10+21) bytes.
    let frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 21 << 3, 1, 0, 0];
    let layer = Layer::packed(b"", frame, ZSTD);
    client.refused(
        "zstd with a window of 2 GiB",
        Image::new().layer(layer),
        &["layer sha256:", "archive is damaged"],
    );
}

#[test]
fn headers_have_a_limit() {
    let client = Client::new();
    let large = |kind: EntryType| {
        let header = Entry::new(kind, "long").header(|header| header.set_size(4 << 30));
        Image::of(Tar::bootable().with(header))
    };
    for (row, kind) in [
        ("a name of 4 GiB", EntryType::GNULongName),
        ("a link of 4 GiB", EntryType::GNULongLink),
        ("an extended header of 4 GiB", EntryType::XHeader),
        ("a global header of 4 GiB", EntryType::XGlobalHeader),
    ] {
        client.refused(row, large(kind), &["layer sha256:", "bytes of headers"]);
    }
    let of = |entry: Entry| Image::of(Tar::bootable().with(entry));
    let attributes = (0..1000).fold(Entry::file("x", ""), |entry, at| {
        entry.pax(format!("SCHILY.xattr.user.{at}"), "1")
    });
    client.refused("1,000 attributes", of(attributes), &["\"x\"", "attributes"]);
    let value = Entry::file("x", "").pax("SCHILY.xattr.user.x", vec![b'x'; 64 << 10]);
    client.refused(
        "an attribute of 64 KiB",
        of(value),
        &["\"x\"", "attributes"],
    );
}

#[test]
fn what_is_kept_in_mind_has_a_limit() {
    let client = Client::new();
    let part = "p".repeat(250);
    let long: String = (0..15).fold(String::new(), |path, _| format!("{path}{part}/"));
    let links = (0..8000).fold(Tar::bootable(), |tar, at| {
        tar.with(Entry::hard_link(
            format!("{long}{at}"),
            format!("{long}not-there"),
        ))
    });
    client.refused(
        "links that wait for a lower layer",
        Image::of(links),
        &["layer sha256:", "kept in mind"],
    );
}

/// The largest resident size of a command, as the kernel counts it, in bytes.
fn peak(client: &Client, reference: &str) -> u64 {
    let report = client.outside().join("time");
    let to = report.to_str().expect("UTF-8");
    client
        .pull_under(&["time", "-f", "%M", "-o", to], reference)
        .exits(0);
    let text = std::fs::read_to_string(&report).expect("the report");
    text.trim().parse::<u64>().expect("a number") * 1024
}

#[test]
fn a_pull_takes_less_than_100_mb_of_memory() {
    let client = Client::new();
    let noise: Vec<u8> = (0..40_u32 << 18)
        .flat_map(|at| (at.wrapping_mul(2_654_435_761) >> 7).to_le_bytes())
        .collect();
    let mut image = Image::new().layer(Layer::gzip(&Tar::bootable().bytes()));
    for at in 0..6 {
        let tar = (0..3000).fold(
            Tar::new().with(Entry::file(format!("{at}/large"), noise.clone())),
            |tar, file| tar.with(Entry::file(format!("{at}/many/{file}"), "x")),
        );
        let archive = tar.bytes();
        image = image.layer(match at % 3 {
            0 => Layer::plain(&archive),
            1 => Layer::gzip(&archive),
            _ => {
                let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("into memory");
                // What zstd takes at its usual levels, and 32 MiB once.
                let window = if at == 2 { 25 } else { 23 };
                encoder.window_log(window).expect("a window");
                encoder.write_all(&archive).expect("into memory");
                Layer::packed(&archive, encoder.finish().expect("into memory"), ZSTD)
            }
        });
    }
    let put = image.put(&client.server, "repo", "large");
    let peak = peak(&client, &put.reference);
    assert!(peak < 100_000_000, "{peak} bytes");
}
