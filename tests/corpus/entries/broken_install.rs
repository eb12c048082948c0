//! Packages that do not install.

use crate::entry::{Entry, SERVER, service, service_with};
use crate::support::Deb;

pub(super) fn entries() -> Vec<Entry> {
    [scripts(), questions(), relations(), files()].concat()
}

/// Time enough for a slow machine to come to the script that hangs.
const SHORT: [&str; 2] = ["--install-timeout", "20"];

fn scripts() -> Vec<Entry> {
    vec![
        Entry::new("postinst-fails", "its postinst fails")
            .package(service("fails", "idle").postinst("echo the reason for it >&2; exit 4"))
            .unit("fails")
            .not_installed("the reason for it"),
        Entry::new("preinst-fails", "its preinst fails")
            .package(service("fails", "idle").script("preinst", "echo not here; exit 1"))
            .not_installed("not here"),
        Entry::new("postinst-hangs", "its postinst does not end")
            .package(service("hangs", "idle").postinst("echo waiting; sleep 4711"))
            .arguments(SHORT)
            .not_installed("did not end within")
            .waits(20),
        Entry::new("postinst-hangs-hard", "the same, and it ignores signals")
            .package(
                service("hangs", "idle")
                    .postinst("trap '' TERM INT HUP; while :; do sleep 4711 || true; done"),
            )
            .arguments(SHORT)
            .not_installed("did not end within")
            .waits(20),
        Entry::new("postinst-crashes", "its postinst is killed")
            .package(service("crashes", "idle").postinst("kill -SEGV $$"))
            .not_installed("crashes"),
        Entry::new(
            "postinst-no-interpreter",
            "its postinst is for a shell that is not there",
        )
        .package(
            service("foreign", "idle").member("postinst", "#!/usr/bin/no-such-shell\nexit 0\n"),
        )
        .not_installed("foreign"),
        Entry::new(
            "postinst-command-missing",
            "its postinst uses a program that it does not depend on",
        )
        .package(service("assumes", "idle").postinst("no-such-program --now"))
        .not_installed("no-such-program"),
        Entry::new(
            "postinst-starts-in-vain",
            "its postinst needs its service to start, which dies",
        )
        .package(
            service_with("needs", "exit 3", "Type=notify")
                .postinst("systemctl daemon-reload; systemctl start needs"),
        )
        .not_installed("needs"),
    ]
}

fn questions() -> Vec<Entry> {
    let template = "Template: asks/who\nType: string\nDescription: Who?\n";
    vec![
        Entry::new("asks-with-read", "asks with read, and needs an answer")
            .package(service("asks", "idle").postinst("echo 'Who are you?'; read -r who; test -n \"$who\""))
            .not_installed("Who are you?"),
        Entry::new("asks-for-ever", "asks with read until there is an answer")
            .package(service("asks", "idle").postinst("while [ -z \"$who\" ]; do read -r who || sleep 0.2; done"))
            .arguments(SHORT)
            .not_installed("did not end within")
            .waits(20),
        Entry::new("asks-the-terminal", "asks on /dev/tty")
            .package(service("asks", "idle").postinst("read -r who </dev/tty"))
            .not_installed("asks"),
        Entry::new("asks-debconf", "a debconf question without a default, and it needs an answer")
            .package(
                service("asks", "idle")
                    .depends("debconf")
                    .member("templates", template)
                    .postinst(". /usr/share/debconf/confmodule\ndb_input critical asks/who || true\ndb_go || true\ndb_get asks/who\nif [ -z \"$RET\" ]; then echo 'nobody has answered' >&2; exit 1; fi"),
            )
            .not_installed("nobody has answered"),
        Entry::new("asks-debconf-for-ever", "a debconf question that is put until it is answered")
            .package(
                service("asks", "idle")
                    .depends("debconf")
                    .member("templates", template)
                    .postinst(". /usr/share/debconf/confmodule\nwhile :; do db_fset asks/who seen false; db_input critical asks/who || true; db_go || true; db_get asks/who; if [ -n \"$RET\" ]; then break; fi; sleep 0.2; done"),
            )
            .arguments(SHORT)
            .not_installed("did not end within")
            .waits(20),
        Entry::new("daemonises-under-debconf", "leaves a process behind that holds debconf's pipe")
            .package(
                service("holds", "idle")
                    .depends("debconf")
                    .member("templates", template)
                    .postinst(&format!(". /usr/share/debconf/confmodule\n{SERVER} idle &")),
            )
            .arguments(SHORT)
            .not_installed("did not end within")
            .waits(20),
    ]
}

fn relations() -> Vec<Entry> {
    vec![
        Entry::new("dependency-missing", "depends on what nobody has")
            .package(service("needy", "idle").depends("no-such-package-anywhere"))
            .not_installed("no-such-package-anywhere"),
        Entry::new(
            "dependency-too-new",
            "depends on a version that there is not yet",
        )
        .package(service("eager", "idle").depends("dbus (>= 999)"))
        .not_installed("dbus"),
        Entry::new("conflict", "conflicts with the other package of the run")
            .package(service("one", "idle").field("Conflicts", "other"))
            .package(service("other", "idle"))
            .not_installed("other"),
        Entry::new(
            "breaks-essential",
            "conflicts with what the system cannot do without",
        )
        .package(service("radical", "idle").field("Conflicts", "dpkg"))
        .not_installed("dpkg"),
        Entry::new("file-conflict", "has a file that is another package's")
            .package(service("thief", "idle").program("usr/bin/dpkg-query", "#!/bin/sh\n"))
            .not_installed("trying to overwrite"),
        Entry::new(
            "file-conflict-between",
            "two packages of the run have the same file",
        )
        .package(Deb::new("mine").file("usr/share/ours", "mine\n"))
        .package(Deb::new("yours").file("usr/share/ours", "yours\n"))
        .not_installed("trying to overwrite"),
        Entry::new("name-unknown", "a name that no repository has")
            .arguments(["--package", "no-such-package-anywhere"])
            .not_installed("no-such-package-anywhere"),
        Entry::new("wrong-architecture", "is for another processor")
            .package(service("alien", "idle").architecture("s390x"))
            .not_installed("alien"),
    ]
}

fn files() -> Vec<Entry> {
    vec![
        Entry::new("not-a-package", "a text file that is called .deb")
            .fake("text.deb", b"this is no package\n")
            .not_installed("text.deb"),
        Entry::new("empty-file", "an empty file that is called .deb")
            .fake("empty.deb", b"")
            .not_installed("empty.deb"),
        Entry::new("cut-package", "the first bytes of a package")
            .fake(
                "cut.deb",
                b"!<arch>\ndebian-binary   1700000000  0     0     100644  4         `\n2.0\ncontrol.tar.gz  17000",
            )
            .not_installed("cut.deb"),
    ]
}
