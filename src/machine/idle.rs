//! Units of the early boot that would find nothing to do in an image.
//!
//! Each runs a program that reads a handful of directories while the boot waits. What is in those can
//! be looked at from outside in a fraction of the time.

use super::rootfs::Rootfs;

/// The most that is read of a file to find out; what is longer is the unit's.
const LIMIT: u64 = 64 << 10;

/// Sets kernel parameters; systemd-sysctl.service(8).
const SYSCTL: &str = "systemd-sysctl.service";

/// Make and own what is below `/dev`; systemd-tmpfiles-setup-dev.service(8).
const DEVICES: [&str; 2] = [
    "systemd-tmpfiles-setup-dev.service",
    "systemd-tmpfiles-setup-dev-early.service",
];

/// The units that have nothing to do in the image.
pub(super) fn units(root: &Rootfs) -> Vec<&'static str> {
    let mut idle = Vec::new();
    if every_line(root, "sysctl.d", sets_nothing) {
        idle.push(SYSCTL);
    }
    if every_line(root, "tmpfiles.d", is_elsewhere) {
        idle.extend(DEVICES);
    }
    idle
}

/// Whether something holds for every line of a kind of configuration but for comments.
fn every_line(root: &Rootfs, kind: &str, holds: fn(&str) -> bool) -> bool {
    ["usr/lib", "usr/local/lib", "lib", "etc"]
        .into_iter()
        .map(|parent| format!("{parent}/{kind}"))
        .all(|directory| {
            let names = root.names(&directory).into_iter();
            let mut files = names.filter(|name| name.strip_suffix(".conf").is_some());
            files.all(|name| {
                let text = root.read(format!("{directory}/{name}"), LIMIT);
                text.is_ok_and(|text| {
                    let text = String::from_utf8_lossy(&text);
                    let lines = text.lines().map(str::trim);
                    let mut lines =
                        lines.filter(|line| !line.is_empty() && !line.starts_with(['#', ';']));
                    lines.all(holds)
                })
            })
        })
}

/// Whether a line of sysctl.d(5) is about what no container can write: in `/proc/sys`, that is all but
/// `net`.
fn sets_nothing(line: &str) -> bool {
    let key = line.trim_start_matches('-').trim_start();
    let end = key.find(['.', '/', '=']).unwrap_or(key.len());
    let first = key[..end].trim();
    // A pattern may be about anything.
    !first.is_empty() && first != "net" && !first.contains(['*', '?', '['])
}

/// Whether a line of tmpfiles.d(5) is about a path outside of `/dev`.
fn is_elsewhere(line: &str) -> bool {
    let Some(path) = line.split_ascii_whitespace().nth(1) else {
        return false;
    };
    path.starts_with('/') && !path.starts_with("/dev")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_idle_until_there_is_something_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let root = Rootfs::open(directory.path()).unwrap();
        let sysctl = b"# nothing\n; of use\n\nkernel.pid_max = 4194304\n-fs/inotify/x = 1\n";
        root.replace("usr/lib/sysctl.d", "50-a.conf", sysctl)
            .unwrap();
        root.replace("usr/lib/tmpfiles.d", "a.conf", b"d /run/a 0755 - - -\n")
            .unwrap();
        assert_eq!(units(&root).len(), 3);

        root.replace("etc/sysctl.d", "README", b"net.ipv4.ip_forward = 1\n")
            .unwrap();
        assert_eq!(units(&root).len(), 3, "that is no configuration");
        root.replace("etc/sysctl.d", "b.conf", b"- net.ipv4.ip_forward = 1\n")
            .unwrap();
        assert_eq!(units(&root), DEVICES);
        root.replace("etc/tmpfiles.d", "b.conf", b"z /dev/fuse 0666\n")
            .unwrap();
        assert_eq!(units(&root), [""; 0]);
    }

    #[test]
    fn what_is_not_understood_is_the_units() {
        for line in ["net/core/somaxconn=1", "*.forwarding = 1", "= 1", "n?t.x=1"] {
            assert!(!sets_nothing(line), "{line}");
        }
        for line in ["w \"/dev/x\" -", "z %t/x", "d"] {
            assert!(!is_elsewhere(line), "{line}");
        }
    }
}
