//! What unpacks is what umoci makes of the same image, entry by entry.

use std::collections::BTreeMap;
use std::fs;
use std::io::BufRead;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tar::EntryType;

use crate::support::archive::{Entry, Tar};
use crate::support::oci::{Client, Image, Layer};
use crate::support::process::tool;
use crate::support::registry::hex;

/// What one may know of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    mode: u32,
    owner: (u32, u32),
    time: (i64, i64),
    device: u64,
    /// The target of a link, or the digest of a file's content.
    content: String,
    attributes: Vec<(String, Vec<u8>)>,
    /// The first path, by name, that has the same inode.
    twin: PathBuf,
}

fn see(root: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut seen = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        let found = fs::symlink_metadata(&path).expect("a file");
        let kind = found.file_type();
        let content = if kind.is_symlink() {
            let target = fs::read_link(&path).expect("a link");
            target.as_os_str().as_bytes().escape_ascii().to_string()
        } else if kind.is_file() {
            hex(&fs::read(&path).expect("a file"))
        } else {
            String::new()
        };
        let mut names = vec![0; 1 << 16];
        let length = rustix::fs::llistxattr(&path, &mut names[..]).unwrap_or(0);
        let mut attributes: Vec<(String, Vec<u8>)> = names[..length]
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty())
            .map(|name| {
                let mut value = vec![0; 1 << 16];
                let length = rustix::fs::lgetxattr(&path, name, &mut value[..]).unwrap_or(0);
                value.truncate(length);
                (String::from_utf8_lossy(name).into_owned(), value)
            })
            .filter(|(name, _)| !name.starts_with("trusted.") && name != "security.selinux")
            .collect();
        attributes.sort();
        if found.is_dir() {
            let entries = fs::read_dir(&path).expect("a directory");
            pending.extend(entries.map(|entry| entry.expect("an entry").path()));
        }
        let relative = path.strip_prefix(root).expect("below the root").to_owned();
        let what = Seen {
            mode: found.mode(),
            owner: (found.uid(), found.gid()),
            time: (found.mtime(), found.mtime_nsec()),
            device: if kind.is_file() || kind.is_dir() || kind.is_symlink() {
                0
            } else {
                found.rdev()
            },
            content,
            attributes,
            twin: PathBuf::from(format!("{} {}", found.dev(), found.ino())),
        };
        seen.insert(relative, what);
    }
    let mut first = BTreeMap::new();
    for (path, what) in &mut seen {
        let twin = first
            .entry(what.twin.clone())
            .or_insert_with(|| path.clone());
        what.twin.clone_from(twin);
    }
    seen
}

/// The layers put together by overlayfs, in a mount namespace that ends with the value.
struct Composed {
    child: Child,
    at: PathBuf,
}

impl Composed {
    fn new(roots: &[PathBuf], at: &Path) -> Self {
        fs::create_dir(at).expect("create");
        let lowers: Vec<&str> = roots
            .iter()
            .rev()
            .map(|root| root.to_str().expect("UTF-8"))
            .collect();
        let script = "mount -t overlay overlay -o \"ro,lowerdir=$1\" \"$2\" && echo up && cat";
        let mut child = Command::new("unshare")
            .args([
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                script,
                "sh",
            ])
            .arg(lowers.join(":"))
            .arg(at)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare");
        let mut line = String::new();
        std::io::BufReader::new(child.stdout.take().expect("a pipe"))
            .read_line(&mut line)
            .expect("a line");
        assert_eq!(line, "up\n", "the overlay cannot be mounted");
        let at = PathBuf::from(format!("/proc/{}/root{}", child.id(), at.display()));
        Self { child, at }
    }
}

impl Drop for Composed {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A file with holes, as GNU tar packs it.
fn sparse(client: &Client) -> Vec<u8> {
    let directory = client.outside().join("packed");
    fs::create_dir(&directory).expect("create");
    let file = fs::File::create(directory.join("sparse")).expect("create");
    std::os::unix::fs::FileExt::write_all_at(&file, b"island", 1 << 20).expect("write");
    file.set_len(3 << 20).expect("grow");
    let archive = client.outside().join("packed.tar");
    let path = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    tool(
        "tar",
        &[
            "--sparse",
            "--format=pax",
            "--mtime=@1000000000",
            "-C",
            &path(&directory),
            "-cf",
            &path(&archive),
            "sparse",
        ],
    );
    fs::read(archive).expect("the archive")
}

fn image(client: &Client) -> Image {
    let long = format!("long/{}/{}", "d".repeat(120), "n".repeat(200));
    let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let base = Tar::bootable()
        .with(Entry::directory("./").mode(0o711).owner(3, 4))
        .with(Entry::directory("etc").mode(0o2750).owner(5, 6))
        .with(Entry::file("etc/inherits", "1").mode(0o640))
        .with(Entry::directory("etc/below").mode(0o700))
        .with(Entry::file("etc/below/x", "x").owner(1000, 1001))
        .with(Entry::file("etc/gone", "1"))
        .with(Entry::directory("etc/gone.d"))
        .with(Entry::file("etc/gone.d/x", "x"))
        .with(Entry::directory("opaque").mode(0o750))
        .with(Entry::file("opaque/old", "x"))
        .with(Entry::directory("opaque/dir"))
        .with(Entry::file("opaque/dir/old", "x"))
        .with(Entry::file("becomes/directory", "x"))
        .with(Entry::directory("becomes/file"))
        .with(Entry::file("becomes/file/x", "x"))
        .with(Entry::file("becomes/link", "x"))
        .with(Entry::directory("becomes/link-of-directory"))
        .with(Entry::file("becomes/link-of-directory/x", "x"))
        .with(Entry::symlink("becomes/file-of-link", "/etc/passwd"))
        .with(Entry::file("bin/su", "set-id").mode(0o4755).owner(0, 42))
        .with(Entry::file("bin/wall", "set-gid").mode(0o2755).owner(7, 5))
        .with(Entry::directory("tmp").mode(0o1777))
        .with(
            Entry::file("bin/ping", "capable")
                .mode(0o755)
                .owner(2, 3)
                .pax("SCHILY.xattr.security.capability", capability),
        )
        .with(
            Entry::file("noted", "x")
                .pax("SCHILY.xattr.user.note", b"\0binary\xff")
                .pax("SCHILY.xattr.user.empty", ""),
        )
        .with(Entry::file("times", "x").pax("mtime", "1234567890.123456789"))
        .with(Entry::symlink("link", "../../anywhere").owner(8, 9))
        .with(Entry::file("one", "linked"))
        .with(Entry::hard_link("two", "one"))
        .with(Entry::hard_link("bin/three", "two"))
        .with(Entry::hard_link("link-to-link", "link"))
        .with(Entry::file(&long, "long"))
        .with(Entry::symlink("long-link", format!("{long}/target")))
        .with(Entry::file(b"non-utf8-\xff\xfe", "x"))
        .with(Entry::file("line\nfeed", "x"))
        .with(Entry::new(EntryType::Fifo, "fifo").mode(0o622))
        .with(
            Entry::new(EntryType::Char, "null")
                .mode(0o666)
                .header(|header| {
                    header.set_device_major(1).expect("a small number");
                    header.set_device_minor(3).expect("a small number");
                }),
        )
        .with(
            Entry::new(EntryType::Block, "disk")
                .mode(0o660)
                .header(|header| {
                    header.set_device_major(8).expect("a small number");
                    header.set_device_minor(0).expect("a small number");
                }),
        )
        .with(Entry::file("empty", ""))
        .with(Entry::file("twice", "first").mode(0o600))
        .with(Entry::file("twice", "second").mode(0o644));
    let middle = Tar::new()
        // Only implied: etc and etc/below keep what the base says of them.
        .with(Entry::file("etc/below/y", "y"))
        .with(Entry::file("etc/.wh.gone", ""))
        .with(Entry::file("etc/.wh.gone.d", ""))
        .with(Entry::file("opaque/new", "x"))
        .with(Entry::file("opaque/.wh..wh..opq", ""))
        .with(Entry::file("opaque/dir/new", "x"))
        .with(Entry::directory("becomes/directory").mode(0o701))
        .with(Entry::file("becomes/directory/x", "x"))
        .with(Entry::file("becomes/file", "x"))
        .with(Entry::symlink("becomes/link", "x"))
        .with(Entry::symlink("becomes/link-of-directory", "x"))
        .with(Entry::file("becomes/file-of-link", "x"))
        .with(Entry::hard_link("across", "one"))
        .with(Entry::hard_link("bin/across-again", "across"))
        .with(Entry::directory("tmp").mode(0o1755));
    let top = Tar::new()
        .with(Entry::file("etc/gone", "again"))
        .with(Entry::directory("etc/gone.d").mode(0o711))
        .with(Entry::file("etc/gone.d/y", "y"))
        .with(Entry::file(".wh.noted", ""))
        .with(Entry::file(".wh.never-was", ""))
        .with(Entry::file("bin/su", "set-id again").mode(0o4755));
    // umoci of the distributions that we test on does not know zstd.
    Image::new()
        .layer(Layer::gzip(&base.bytes()))
        .layer(Layer::plain(&middle.bytes()))
        .layer(Layer::gzip(&sparse(client)))
        .layer(Layer::gzip(&top.bytes()))
}

#[test]
fn what_unpacks_is_what_umoci_unpacks() {
    let client = Client::new();
    let image = image(&client);
    let put = image.put(&client.server, "repo", "umoci");
    client.pull(&put.reference).exits(0);
    let roots = client.roots(&put.reference);
    let composed = Composed::new(&roots, &client.outside().join("composed"));
    let ours = see(&composed.at);

    let layout = client.outside().join("layout");
    let bundle = client.outside().join("bundle");
    let path = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    tool(
        "skopeo",
        &[
            "copy",
            "--quiet",
            "--insecure-policy",
            "--src-tls-verify=false",
            &format!("docker://{}", put.reference),
            &format!("oci:{}:it", path(&layout)),
        ],
    );
    tool(
        "umoci",
        &[
            "unpack",
            "--image",
            &format!("{}:it", path(&layout)),
            &path(&bundle),
        ],
    );
    let theirs = see(&bundle.join("rootfs"));

    let names = |seen: &BTreeMap<PathBuf, Seen>| seen.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&ours), names(&theirs));
    for (path, mut ours) in ours {
        let mut theirs = theirs[&path].clone();
        let name = path.to_str().unwrap_or_default();
        // What no entry and no lower layer says has the time of the unpacking with umoci, and 1970
        // with us, so that a layer is the same whenever it is unpacked.
        let unsaid = ["usr", "bin", "long", "becomes"].contains(&name)
            || name.starts_with("usr/") && ours.mode & 0o170_000 == 0o040_000
            || name.starts_with("long/") && ours.mode & 0o170_000 == 0o040_000;
        // An opaque marker says nothing about the directory that it is in, whose time umoci changes
        // by removing what is there; what is in it is new.
        let unsaid = unsaid || ["opaque", "opaque/dir"].contains(&name);
        // A root that is mounted anew for every machine has a time of its own.
        if unsaid || name.is_empty() {
            (ours.time, theirs.time) = ((0, 0), (0, 0));
        }
        // umoci unpacks all layers into one directory, in which a link across layers can be one:
        // with one lower directory a layer it is a copy of the file below.
        if ["across", "bin/across-again"].contains(&name) {
            let twin = if name == "across" { "one" } else { "across" };
            assert_eq!(ours.content, theirs.content, "{name}");
            (ours.twin, theirs.twin) = (twin.into(), twin.into());
        }
        if ["one", "two", "bin/three"].contains(&name) {
            theirs.twin.clone_from(&ours.twin);
        }
        assert_eq!(ours, theirs, "{name}");
    }
}
