//! Generators that would find nothing to do in an image; systemd.generator(7).
//!
//! Each is a program that systemd runs before it starts anything, and waits for. What one of them
//! looks at can be looked at from outside in a fraction of the time.

use super::rootfs::Rootfs;

/// The most that is read of a file to find out; what is longer is the generator's.
const LIMIT: u64 = 64 << 10;

/// Where a distribution has its units.
const UNITS: [&str; 2] = ["usr/lib/systemd/system", "lib/systemd/system"];

/// The names of the generators that have nothing to do in the image.
pub(super) fn idle(root: &Rootfs) -> Vec<&'static str> {
    let looks = [
        ("systemd-fstab-generator", has_no_mounts(root)),
        ("systemd-rc-local-generator", has_no_rc_local(root)),
        ("systemd-sysv-generator", has_no_scripts(root)),
    ];
    looks
        .into_iter()
        .filter_map(|(name, is_idle)| is_idle.then_some(name))
        .collect()
}

/// systemd-fstab-generator(8): what it makes comes from `/etc/fstab`, and from the kernel's command
/// line, which in a container is not its own.
fn has_no_mounts(root: &Rootfs) -> bool {
    if !root.exists("etc/fstab") {
        return true;
    }
    root.read("etc/fstab", LIMIT).is_ok_and(|text| {
        String::from_utf8_lossy(&text)
            .lines()
            .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
    })
}

/// systemd-rc-local-generator(8).
fn has_no_rc_local(root: &Rootfs) -> bool {
    !root.exists("etc/rc.local") && !root.exists("etc/rc.d/rc.local")
}

/// systemd-sysv-generator(8): a script counts unless there is a unit of its name.
fn has_no_scripts(root: &Rootfs) -> bool {
    ["etc/init.d", "etc/rc.d/init.d"]
        .into_iter()
        .flat_map(|directory| root.names(directory))
        .filter(|name| !name.starts_with('.'))
        .all(|name| {
            let name = name.strip_suffix(".sh").unwrap_or(&name);
            UNITS
                .iter()
                .any(|directory| root.has_entry(directory, &format!("{name}.service")))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generator_is_idle_until_there_is_something_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let root = Rootfs::open(directory.path()).unwrap();
        root.replace("usr/lib/systemd/system", "dbus.service", b"")
            .unwrap();
        let masked = ["hwclock.service".to_owned()];
        root.link_each("usr/lib/systemd/system", &masked, "/dev/null")
            .unwrap();
        root.replace("etc", "fstab", b"# nothing\n\n").unwrap();
        root.replace("etc/init.d", "dbus", b"").unwrap();
        root.replace("etc/init.d", "hwclock.sh", b"").unwrap();
        assert_eq!(idle(&root).len(), 3);

        root.replace("etc", "fstab", b"tmpfs /x tmpfs defaults 0 0\n")
            .unwrap();
        root.replace("etc", "rc.local", b"").unwrap();
        root.replace("etc/init.d", "old", b"").unwrap();
        assert_eq!(idle(&root), [""; 0]);
    }
}
