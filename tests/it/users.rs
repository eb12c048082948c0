//! Users of a container's own: who is who in it and outside, and whose the files are.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::archive::{Entry, Tar};
use crate::support::registry::hex;
use crate::support::{Deb, Place, image, process};

const IMAGE: &str = "debian-bookworm";

/// What holds in a container whoever its users are outside.
const INSIDE: &str = r#"
test "$(id -u):$(id -g)" = 0:0
for path in / /etc /etc/passwd /etc/hostname /etc/hosts /etc/machine-id /etc/resolv.conf /run /tmp \
    /var/cache/apt /var/cache/apt/archives /var/cache/postroj; do
    test "$(stat -c %u:%g $path)" = 0:0 || { echo "$path: $(stat -c %u:%g $path)"; exit 1; }
done
test "$(stat -c %u:%g:%a /etc/shadow)" = 0:42:640
test "$(stat -c %u:%a /usr/bin/su)" = 0:4755
# No file of the image is nobody's.
strays=$(find / -xdev -path /proc -prune -o -path /sys -prune -o \( -nouser -o -user nobody \) -print)
test -z "$strays" || { echo "$strays"; exit 1; }
# A pipe of the host's, opened by its name.
echo out >/dev/stdout
echo err >/dev/stderr
# What packages do.
touch /etc/passwd && chmod 600 /etc/passwd && chmod 644 /etc/passwd
mv /usr/share/doc /usr/share/doc.new
cp /bin/true /usr/bin/other && chown 65535:65534 /usr/bin/other && chmod 6755 /usr/bin/other
test "$(stat -c %u:%g:%a /usr/bin/other)" = 65535:65534:6755
mkfifo /var/fifo
mount -t tmpfs none /mnt
umount /mnt
"#;

/// What a service of the package may ask of systemd, namespaces above all.
fn unit(argument: &str) -> String {
    format!(
        "[Service]\nExecStart=/bin/sleep {argument}\nDynamicUser=yes\nStateDirectory=apart\nPrivateUsers=yes\n\
         ProtectSystem=strict\nPrivateTmp=yes\nPrivateDevices=yes\nProtectKernelTunables=yes\n\
         AmbientCapabilities=CAP_NET_BIND_SERVICE\n"
    )
}

/// A package with a service that is found from outside by its argument.
fn package(place: &Place, argument: &str) -> String {
    let file = Deb::new("apart")
        .unit("apart.service", &unit(argument))
        .unit(
            "apart-root.service",
            &format!("[Service]\nExecStart=/bin/sleep {argument}0\n"),
        )
        .postinst(INSIDE)
        .build(place.scratch(), &format!("users-{argument}.deb"));
    file.to_str().expect("UTF-8").to_owned()
}

/// Boots a container that stays, with such a package; gives its name and the number that its root has
/// outside.
#[track_caller]
fn root_outside(place: &Place, argument: &str, arguments: &[&str]) -> (String, u32) {
    let package = package(place, argument);
    let outcome = place
        .pkgprobe(IMAGE, ["--package", &package, "--keep"])
        .args(["--check-unit", "apart", "--check-unit", "apart-root"])
        .args(arguments)
        .run()
        .exits(0);
    let name = outcome.stderr.split_once("postroj stop ");
    let name = name.and_then(|(_, rest)| rest.split_whitespace().next());
    let name = name.expect("how it is ended").to_owned();
    (name, user_of(&format!("{argument}0")))
}

/// Who runs the one process with the argument, as this machine numbers users.
#[track_caller]
fn user_of(argument: &str) -> u32 {
    let ids = process::with_argument(argument);
    assert_eq!(
        ids.len(),
        1,
        "processes with the argument {argument}: {ids:?}"
    );
    let status = fs::read_to_string(format!("/proc/{}/status", ids[0])).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let user = line.and_then(|line| line.split_whitespace().next());
    user.expect("a user").parse().expect("a number")
}

fn two_and_one_that_shares(place: &Place) {
    // The first container makes what the host keeps for all of them.
    place.pkgprobe(IMAGE, [""; 0]).run().exits(0);
    let before = place.look();
    // Both kinds of host may be tested at once, and this machine sees the processes of both.
    let host = u8::from(place.nested().is_some());
    let id = format!("{}{host}", std::process::id());
    let (one, first) = root_outside(place, &format!("{id}201"), &[]);
    let (two, second) = root_outside(place, &format!("{id}202"), &["--private-users", "yes"]);
    assert!(first >= 1 << 19 && second >= 1 << 19, "{first} {second}");
    assert!(first.abs_diff(second) >= 1 << 16, "{first} {second}");
    let dynamic = user_of(&format!("{id}201"));
    assert!((first + 1..first + 65536).contains(&dynamic), "{dynamic}");
    let shares = ["--private-users", "no"];
    let (three, third) = root_outside(place, &format!("{id}203"), &shares);
    assert_eq!(third, 0);
    for machine in [one, two, three] {
        place.postroj(["stop", &machine]).run().exits(0);
    }
    assert_eq!(place.look().since(&before), Vec::<String>::new());
    // What the containers had was mapped, not changed.
    place.postroj(["check"]).run().exits(0);
}

pub(crate) fn two_containers_and_one_that_shares_directly() {
    two_and_one_that_shares(&Place::direct_alone());
}

#[test]
fn two_containers_and_one_that_shares_on_a_host_with_systemd() {
    two_and_one_that_shares(&Place::systemd(&[IMAGE]));
}

#[test]
fn every_debian_gives_its_packages_the_same() {
    let place = Place::direct();
    for name in ["debian-bullseye", "debian-trixie", "debian-sid"] {
        let argument = format!("{}21{}", std::process::id(), name.len());
        // bullseye's image has no su.
        let script = INSIDE.replace("test \"$(stat -c %u:%a /usr/bin/su)\" = 0:4755\n", "");
        let package = Deb::new("apart")
            .unit("apart.service", &unit(&argument))
            .postinst(&script)
            .build(place.scratch(), &format!("{name}.deb"));
        place
            .pkgprobe(name, ["--check-unit", "apart", "--private-users", "yes"])
            .args([Path::new("--package"), &package])
            .run()
            .exits(0);
    }
}

/// An archive's attribute for the capability to open raw sockets, permitted and effective;
/// `linux/capability.h`, `struct vfs_cap_data`.
const NET_RAW: &[u8] = &[
    1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

/// The image with two layers on top: owners, set-id bits, attributes, a removal.
fn layered(place: &Place) -> String {
    let layout = place.scratch().join("layout");
    fs::create_dir(&layout).expect("create a directory");
    let layout_name = layout.to_str().expect("UTF-8");
    image::pulled(IMAGE);
    place.postroj(["export", IMAGE, layout_name]).run().exits(0);
    let cat = fs::read("/bin/cat").expect("read a program");
    let lower = Tar::new()
        .with(
            Entry::directory("srv/of-1000")
                .owner(1000, 1000)
                .mode(0o2750),
        )
        .with(
            Entry::file("srv/of-1000/set-id", "x")
                .owner(33, 8)
                .mode(0o6755),
        )
        .with(Entry::file("srv/of-1000/removed", "x").owner(7, 7))
        .with(Entry::symlink("srv/link", "of-1000").owner(12, 13));
    let upper = Tar::new()
        .with(
            Entry::directory("srv/of-1000")
                .owner(1001, 1000)
                .mode(0o2755),
        )
        .with(Entry::file("srv/of-1000/.wh.removed", ""))
        .with(
            Entry::file("srv/cat", cat)
                .mode(0o755)
                .pax("SCHILY.xattr.security.capability", NET_RAW),
        );
    add_layers(&layout, &[lower.bytes(), upper.bytes()]);
    place
        .postroj(["import", layout_name, "--name", "localhost/users-layers"])
        .env("POSTROJ_STATE_DIR", place.scratch().join("store"))
        .run()
        .exits(0);
    "localhost/users-layers".to_owned()
}

/// Adds layers to the one image of an OCI layout.
fn add_layers(layout: &Path, layers: &[Vec<u8>]) {
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().expect("a digest");
        layout.join("blobs").join(digest.replace(':', "/"))
    };
    let load = |path: &Path| -> Value {
        serde_json::from_slice(&fs::read(path).expect("read a document")).expect("JSON")
    };
    let save = |bytes: &[u8]| {
        let digest = hex(bytes);
        fs::write(layout.join("blobs/sha256").join(&digest), bytes).expect("write a blob");
        (format!("sha256:{digest}"), bytes.len())
    };
    let store = |document: &Value, descriptor: &mut Value| {
        let (digest, size) = save(document.to_string().as_bytes());
        descriptor["digest"] = digest.into();
        descriptor["size"] = size.into();
    };
    let mut index = load(&layout.join("index.json"));
    let mut manifest = load(&blob(&index["manifests"][0]));
    let mut config = load(&blob(&manifest["config"]));
    for layer in layers {
        let (digest, size) = save(layer);
        let ids = config["rootfs"]["diff_ids"].as_array_mut().expect("layers");
        ids.push(digest.clone().into());
        let descriptors = manifest["layers"].as_array_mut().expect("layers");
        descriptors.push(serde_json::json!({
            "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": size,
        }));
    }
    store(&config, &mut manifest["config"]);
    store(&manifest, &mut index["manifests"][0]);
    fs::write(layout.join("index.json"), index.to_string()).expect("write the index");
}

#[test]
fn owners_of_every_layer_are_mapped() {
    let place = Place::direct();
    let image = layered(&place);
    let package = Deb::new("users-layers")
        .postinst(
            r#"
check() { test "$(stat -c %u:%g:%a "$1")" = "$2" || { echo "$1: $(stat -c %u:%g:%a "$1")"; exit 1; }; }
check /srv/of-1000 1001:1000:2755
check /srv/of-1000/set-id 33:8:6755
check /srv/link 12:13:777
check /srv/cat 0:0:755
test ! -e /srv/of-1000/removed
# Copied up by overlayfs, the owner stays.
touch /srv/of-1000/set-id && check /srv/of-1000/set-id 33:8:6755
# A capability in a file works, in a layer as well as set here.
perl -e '$( = $) = 1; $< = $> = 1; exec @ARGV' /srv/cat /proc/self/status | grep -E '^CapEff:\s+0+2000$'
"#,
        )
        .build(place.scratch(), "users-layers.deb");
    let store = place.scratch().join("store");
    place
        .pkgprobe(&image, ["--private-users", "yes"])
        .args([Path::new("--package"), &package])
        .env("POSTROJ_STATE_DIR", &store)
        .run()
        .exits(0);
    place
        .postroj(["check"])
        .env("POSTROJ_STATE_DIR", &store)
        .run()
        .exits(0);
}

/// overlayfs is a file system that has no id-mapped mounts.
#[test]
fn file_system_that_cannot_map() {
    let place = Place::direct();
    image::pulled(IMAGE);
    let at = |name: &str| {
        let path = place.scratch().join(name);
        fs::create_dir(&path).expect("create a directory");
        path
    };
    let (upper, work, store) = (at("upper"), at("work"), at("merged"));
    let mount = format!(
        "mount -t overlay -o lowerdir={},upperdir={},workdir={} none {} && exec \"$@\"",
        place.state().display(),
        upper.display(),
        work.display(),
        store.display()
    );
    let run = |arguments: &[&str]| {
        place
            .pkgprobe(IMAGE, ["--offline", "--check-unit", "systemd-journald"])
            .args(arguments)
            .env("POSTROJ_STATE_DIR", &store)
            .under(["unshare", "--mount", "sh", "-c", &mount, "sh"])
            .run()
    };
    run(&[]).exits(0).stderr_has("its root is this host's root");
    run(&["--private-users", "yes"])
        .exits(3)
        .stderr_has("cannot give the container users of its own")
        .stderr_has("--private-users no");
    let outcome = run(&["--private-users", "no"]).exits(0);
    assert!(!outcome.stderr.contains("this host's root"), "{outcome}");
}
