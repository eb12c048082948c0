//! Packages that go for the system around them.

use crate::entry::{Entry, SERVER, service};

pub(super) fn entries() -> Vec<Entry> {
    let serve = "listen 127.0.0.1 8080 serve '200 OK'";
    vec![
        Entry::new("writes-outside", "writes to the host's kernel, and needs that to work")
            .package(service("outside", serve).postinst(
                "echo 1 > /proc/sys/kernel/panic",
            ))
            .not_installed("/proc/sys/kernel/panic"),
        Entry::new("writes-outside-to-disk", "makes a device of the host's disk, and needs that to work")
            .package(service("outside", serve).postinst("mknod /disk b 254 0; head -c 512 /disk >/dev/null"))
            .not_installed("/disk"),
        Entry::new("stops-dbus", "stops the system bus for good")
            .package(
                service("silence", serve)
                    .autostart("silence.service")
                    .postinst("systemctl mask --now dbus.socket dbus.service"),
            )
            .unit("silence")
            .http()
            .not_installed("system bus went away"),
        Entry::new("removes-dbus", "conflicts with the system bus, which is removed for it")
            .package(
                service("usurper", serve)
                    .field("Conflicts", "dbus")
                    .autostart("usurper.service"),
            )
            .unit("usurper")
            .http()
            .not_installed("system bus went away"),
        Entry::new("breaks-network", "its postinst takes down every interface but loopback's")
            .package(
                service("offline", serve)
                    .postinst(&format!("{SERVER} down -"))
                    .autostart("offline.service"),
            )
            .unit("offline")
            .http(),
        Entry::new("breaks-loopback", "its postinst takes down the loopback interface")
            .package(
                service("mute", serve)
                    .postinst(&format!("{SERVER} down lo"))
                    .autostart("mute.service"),
            )
            .unit("mute")
            .http()
            .fails("http://localhost", ""),
        Entry::new("crashes-pid-1", "its postinst crashes PID 1")
            .package(service("killer", serve).postinst("kill -SEGV 1; sleep 4711"))
            .unit("killer")
            .not_installed("the system went down"),
        Entry::new("powers-off", "its postinst shuts the system down")
            .package(service("sleepy", serve).postinst("systemctl poweroff; sleep 4711"))
            .unit("sleepy")
            // The shutdown ends apt-get first, which may be heard of before the system is gone.
            .not_installed(""),
        Entry::new("powers-off-hard", "its postinst ends the system at once")
            .package(service("drastic", serve).postinst("systemctl poweroff --force --force; sleep 4711"))
            .unit("drastic")
            .not_installed("the system went down"),
        Entry::new("kills-pid-1", "its postinst kills what it may")
            .package(service("berserk", serve).postinst("kill -KILL -1; sleep 4711"))
            .unit("berserk")
            .not_installed(""),
        Entry::new("removes-systemctl", "its postinst removes systemctl")
            .package(service("vandal", "exit 3").postinst("rm -f /bin/systemctl /usr/bin/systemctl"))
            .unit("vandal")
            .fails("vandal.service", "exit code 3"),
        Entry::new("stops-journald", "its postinst ends the journal")
            .package(
                service("hush", serve)
                    .postinst("systemctl mask --now systemd-journald.service systemd-journald.socket systemd-journald-dev-log.socket")
                    .autostart("hush.service"),
            )
            .unit("hush")
            .http(),
        Entry::new("dpkg-lock", "its postinst calls apt-get, which waits for itself")
            .package(service("recursive", serve).postinst("apt-get install -y no-such-package-anywhere"))
            .not_installed("recursive"),
    ]
}
