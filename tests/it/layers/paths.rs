//! Paths and links that lead where they must not.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tar::EntryType;

use crate::support::archive::{Entry, Tar};
use crate::support::oci::{Client, Image};

/// From a layer's root, while it is made, to the files of somebody else.
const OUT: &str = "../../../../outside";

fn image(entries: impl IntoIterator<Item = Entry>) -> Image {
    Image::of(entries.into_iter().fold(Tar::bootable(), Tar::with))
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn paths_that_lead_out_are_refused() {
    let client = Client::new();
    let out = client.outside();
    let victim = out.join("victim");
    let victim = victim.to_str().expect("UTF-8");
    let up = format!("a/../{OUT}/x");
    let rows: Vec<(&str, Vec<Entry>, &str)> = vec![
        ("a/../../x", vec![Entry::file(&up, "x")], &up),
        (
            "a link to a directory, then a file below it",
            vec![Entry::symlink("l", OUT), Entry::file("l/x", "x")],
            "l/x",
        ),
        (
            "an absolute link to a directory, then a file below it",
            vec![
                Entry::symlink("l", out.as_os_str().as_encoded_bytes()),
                Entry::file("l/x", "x"),
            ],
            "l/x",
        ),
        (
            "a link, a directory in its place, one below it that is a link again",
            vec![
                Entry::symlink("l", OUT),
                Entry::directory("l").mode(0o777),
                Entry::symlink("l/d", format!("../{OUT}")),
                Entry::file("l/d/e", "x"),
            ],
            "l/d/e",
        ),
        (
            "a whiteout through a link",
            vec![Entry::symlink("l", OUT), Entry::file("l/.wh.victim", "")],
            "l/victim",
        ),
        (
            "an opaque marker on a link",
            vec![Entry::symlink("l", OUT), Entry::file("l/.wh..wh..opq", "")],
            "\"l\"",
        ),
        ("the root as a link", vec![Entry::symlink("./", OUT)], "./"),
        (
            "the root as a link, by a dot",
            vec![Entry::symlink(".", OUT)],
            "\".\"",
        ),
        (
            "the root as a link, by a slash",
            vec![Entry::symlink("/", OUT)],
            "\"/\"",
        ),
        ("the root as a file", vec![Entry::file(".", "x")], "\".\""),
        (
            "a hard link to an absolute path",
            vec![Entry::hard_link("h", victim)],
            "\"h\"",
        ),
        (
            "a hard link upwards",
            vec![Entry::hard_link("h", format!("{OUT}/victim"))],
            "\"h\"",
        ),
        (
            "a hard link through a link",
            vec![Entry::symlink("l", OUT), Entry::hard_link("h", "l/victim")],
            "\"h\"",
        ),
        (
            "a hard link relative to the working directory",
            vec![Entry::hard_link("h", "Cargo.toml")],
            "\"h\"",
        ),
        (
            "a hard link to a directory",
            vec![Entry::hard_link("h", "usr")],
            "\"h\"",
        ),
        (
            "a hard link to itself",
            vec![Entry::hard_link("h", "h")],
            "\"h\"",
        ),
        (
            "a hard link to nothing",
            vec![Entry::hard_link("h", "nothing")],
            "\"h\"",
        ),
        (
            "a hard link to a later entry",
            vec![Entry::hard_link("h", "later"), Entry::file("later", "x")],
            "\"h\"",
        ),
        (
            "a file, then one below it",
            vec![Entry::file("a", ""), Entry::file("a/b", "")],
            "a/b",
        ),
        (
            "a directory that becomes a link, then one more file in it",
            vec![
                Entry::directory("d"),
                Entry::file("d/x", ""),
                Entry::symlink("d", OUT),
                Entry::file("d/y", ""),
            ],
            "d/y",
        ),
        (
            "a whiteout of no name",
            vec![Entry::file(".wh.", "")],
            ".wh.",
        ),
        (
            "a whiteout of the directory itself",
            vec![Entry::file("usr/.wh..", "")],
            "usr/.wh..",
        ),
        (
            "a whiteout of the one above",
            vec![Entry::file("usr/.wh...", "")],
            "usr/.wh...",
        ),
        (
            "a name of 256 bytes",
            vec![Entry::file("n".repeat(256), "")],
            "nnn",
        ),
        (
            "a depth of 5000",
            vec![Entry::file("d/".repeat(5000) + "x", "")],
            "d/d/d",
        ),
        (
            "an unknown kind of entry",
            vec![Entry::new(EntryType::new(b'?'), "q")],
            "\"q\"",
        ),
    ];
    for (row, entries, entry) in rows {
        client.refused(row, image(entries), &[entry, "layer sha256:"]);
    }
    assert!(!Path::new("/x").exists());
}

#[test]
fn paths_that_only_look_so_stay_below_the_root() {
    let client = Client::new();
    let roots = client.taken(image([
        Entry::file("/absolute", "1"),
        Entry::file("//double", "2"),
        Entry::file("./dot/./dots", "3"),
        Entry::symlink("passwd", "/etc/passwd").owner(7, 8),
        // Unlinked, not written through, whatever is there already.
        Entry::symlink("l", format!("{OUT}/victim")),
        Entry::file("l", "4").mode(0o4711),
        Entry::file("precious", "5"),
        Entry::hard_link("again", "precious"),
        Entry::file("again", "6"),
        Entry::symlink("m", OUT),
        Entry::directory("m").mode(0o700),
        Entry::file("m/inside", "7"),
        Entry::symlink("s", format!("{OUT}/victim")),
        Entry::hard_link("t", "s"),
        Entry::file("t", "8"),
    ]));
    let root = &roots[0];
    for (path, content) in [
        ("absolute", "1"),
        ("double", "2"),
        ("dot/dots", "3"),
        ("l", "4"),
        ("precious", "5"),
        ("again", "6"),
        ("m/inside", "7"),
        ("t", "8"),
    ] {
        let found = std::fs::symlink_metadata(root.join(path)).expect(path);
        assert!(found.is_file(), "{path}");
        let text = std::fs::read_to_string(root.join(path)).expect(path);
        assert_eq!(text, content, "{path}");
    }
    assert!(root.join("s").is_symlink());
    let link = std::fs::symlink_metadata(root.join("passwd")).expect("the link");
    assert_eq!((link.uid(), link.gid()), (7, 8));
    let mode = std::fs::metadata(root.join("l")).expect("l").mode();
    assert_eq!(mode & 0o7777, 0o4711);
}
