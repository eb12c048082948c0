//! Debian root trees that the tests make themselves: what they boot as a host, push to a registry,
//! or hand to postroj as an image of the user's own.

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::cache;
use super::process::tool;

/// A machine as people have it: systemd is PID 1, containers are registered with machined.
pub(crate) fn host() -> PathBuf {
    cache::artefact("tree-host-2", |tree| {
        bootstrap(
            tree,
            "systemd-sysv,dbus,systemd-container,libnss-mymachines,mmdebstrap,ca-certificates,passt",
        );
    })
}

/// A container's tree that boots.
pub(crate) fn bootable() -> PathBuf {
    let packages = "systemd-sysv,dbus,ca-certificates";
    packed("bootable-2", "bootable", packages).join("bootable")
}

/// What a registry's `debian:bookworm` holds: no systemd, no dbus.
pub(crate) fn minimal() -> PathBuf {
    packed_minimal().join("minimal")
}

/// The minimal tree as an archive.
pub(crate) fn minimal_archive() -> PathBuf {
    packed_minimal().join("root.tar")
}

fn packed_minimal() -> PathBuf {
    packed("minimal-2", "minimal", "ca-certificates")
}

/// The artefact `name`: a tree in the directory `tree`, and an archive of it. That is made here, for tar takes exception to a file that gets another link
/// meanwhile, and there are tests which link to all of a tree.
fn packed(name: &str, tree: &str, packages: &str) -> PathBuf {
    cache::artefact(name, |at| {
        let tree = at.join(tree);
        bootstrap(&tree, packages);
        let archive = at.join("root.tar");
        let options = ["--numeric-owner", "--xattrs"];
        let what = ["-C", text(&tree), "-cf", text(&archive), "."];
        tool("tar", &[&options[..], &what].concat());
    })
}

/// The bootable tree as an archive: `root.tar`, and packed as `.gz`, `.xz` and `.zst`.
pub(crate) fn archives() -> PathBuf {
    let tree = bootable();
    cache::artefact("archives-2", |at| {
        let plain = at.join("root.tar");
        fs::hard_link(tree.with_file_name("root.tar"), &plain).expect("link the archive");
        let open = || fs::File::open(&plain).expect("open the archive");
        let create = |name: &str| fs::File::create(at.join(name)).expect("create an archive");
        let mut gzip =
            flate2::write::GzEncoder::new(create("root.tar.gz"), flate2::Compression::fast());
        io::copy(&mut open(), &mut gzip)
            .and_then(|_| gzip.finish())
            .expect("pack with gzip");
        let mut xz = liblzma::write::XzEncoder::new(create("root.tar.xz"), 0);
        io::copy(&mut open(), &mut xz)
            .and_then(|_| xz.finish())
            .expect("pack with xz");
        zstd::stream::copy_encode(open(), create("root.tar.zst"), 1).expect("pack with zstd");
    })
}

/// Debian with the package managers of the other families and a repository for each of them, as a
/// system that says it is `id` and has no `apt-get`.
///
/// What these trees can tell: that postroj drives the real `dnf`, `zypper` and `pacman`, from real
/// repositories with dependencies, to the right end. What they cannot: how a Fedora, openSUSE or
/// Arch system boots, and what its own packages' scripts do.
pub(crate) fn foreign(id: &str) -> PathBuf {
    let all = cache::artefact("tree-managers-4", |tree| {
        bootstrap(
            tree,
            "systemd-sysv,dbus,dnf,zypper,pacman-package-manager,makepkg,rpm,createrepo-c,fakeroot,libarchive-tools,binutils",
        );
        fs::write(
            tree.join("repositories.sh"),
            include_str!("repositories.sh"),
        )
        .expect("write the script");
        let enter = r#"mount --rbind /dev "$1/dev"; mount -t proc proc "$1/proc"; exec chroot "$1" sh -eu /repositories.sh"#;
        tool(
            "unshare",
            &["--mount", "sh", "-euc", enter, "enter", text(tree)],
        );
    });
    cache::artefact(&format!("tree-{id}-4"), |tree| {
        tool(
            "cp",
            &["-al", "--", &format!("{}/.", all.display()), text(tree)],
        );
        for path in [
            "etc/os-release",
            "usr/lib/os-release",
            "etc/debian_version",
            "usr/bin/apt-get",
        ] {
            // The links of the copy only.
            fs::remove_file(tree.join(path)).expect("remove a file of Debian's");
        }
        let release = format!("ID={id}\nNAME={id}\nPRETTY_NAME={id}\nVERSION_ID=1\n");
        fs::write(tree.join("usr/lib/os-release"), release).expect("write os-release");
        std::os::unix::fs::symlink("../usr/lib/os-release", tree.join("etc/os-release"))
            .expect("link os-release");
    })
}

/// Repositories of packages that a system can be bootstrapped from: `rpm`, with the key in `key.asc`,
/// and `pacman`, which is called `made`.
///
/// What they can tell: that postroj drives the real dnf, zypper and pacman to a root that boots.
/// What they cannot: whether the addresses and packages in the catalogue are right.
pub(crate) fn repositories() -> PathBuf {
    let tree = bootable();
    cache::artefact("bootstrap-repositories-2", |at| {
        let script = at.join("bootstrap.sh");
        fs::write(&script, include_str!("bootstrap.sh")).expect("write the script");
        tool("sh", &[text(&script), text(&tree), text(at)]);
    })
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// Debian 12 with `packages`, separated by commas.
pub(crate) fn bootstrap(tree: &Path, packages: &str) {
    tool(
        "mmdebstrap",
        &[
            "--quiet",
            "--variant=minbase",
            &format!("--include={packages}"),
            // A mirror's snapshot may be older than its Release file wants to be.
            "--aptopt=Acquire::Check-Valid-Until \"false\"",
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-exclude=/usr/share/man/*",
            "bookworm",
            text(tree),
        ],
    );
}
