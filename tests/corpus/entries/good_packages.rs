//! Packages that are good in other ways than by what their service does.

use crate::entry::{Entry, SERVER, service, service_with};
use crate::support::Deb;

const SERVE: &str = "listen 127.0.0.1 8080 serve '200 OK'";

pub(super) fn entries() -> Vec<Entry> {
    [contents(), users(), installations(), upheavals()].concat()
}

fn contents() -> Vec<Entry> {
    vec![
        Entry::new("no-service", "a program and no service")
            .package(Deb::new("tool").program("usr/bin/corpus-tool", "#!/bin/sh\necho hello\n")),
        Entry::new("empty-package", "nothing but a name").package(Deb::new("nothing-in-it")),
        Entry::new("odd-version", "an epoch, a tilde and a plus in its version")
            .package(service("odd-name", SERVE).version("3:1.0~rc1+git2-1").autostart("odd-name.service"))
            .http(),
        Entry::new("conffiles", "configuration files that its service reads")
            .package(
                service_with(
                    "configured",
                    "listen $ADDRESS 8080 serve '200 OK'",
                    "EnvironmentFile=/etc/default/configured\nEnvironmentFile=-/etc/default/absent",
                )
                .conffile("etc/default/configured", "ADDRESS=127.0.0.1\n")
                .conffile("etc/configured/more.conf", "key = value\n")
                .autostart("configured.service"),
            )
            .unit("configured")
            .http(),
        Entry::new("unit-in-etc", "its unit is a configuration file below /etc")
            .package(
                Deb::new("inetc")
                    .conffile(
                        "etc/systemd/system/inetc.service",
                        &format!("[Service]\nExecStart={SERVER} {SERVE}\n[Install]\nWantedBy=multi-user.target\n"),
                    )
                    .autostart("inetc.service"),
            )
            .unit("inetc")
            .http(),
        Entry::new("drop-in", "a unit that only a drop-in makes good")
            .package(
                service("patched", "exit 7")
                    .file(
                        "usr/lib/systemd/system/patched.service.d/fix.conf",
                        &format!("[Service]\nExecStart=\nExecStart={SERVER} {SERVE}\n"),
                    )
                    .autostart("patched.service"),
            )
            .unit("patched")
            .http(),
        Entry::new("tmpfiles", "its service needs a directory of tmpfiles.d")
            .package(
                service("scratchy", "unix /run/scratchy/socket serve '200 OK'")
                    .file("usr/lib/tmpfiles.d/scratchy.conf", "d /run/scratchy 0755 root root -\n")
                    .postinst("systemd-tmpfiles --create scratchy.conf")
                    .autostart("scratchy.service"),
            )
            .unit("scratchy"),
        Entry::new("large", "16 MB that do not compress")
            .package(service("large", SERVE).bulk("usr/share/large/data", 16 << 20).autostart("large.service"))
            .unit("large")
            .http(),
        Entry::new("hardened", "every lock that a unit may have")
            .package(
                service_with(
                    "hardened",
                    SERVE,
                    "ProtectSystem=strict\nProtectHome=yes\nPrivateTmp=yes\nPrivateDevices=yes\nNoNewPrivileges=yes\n\
                     ProtectKernelTunables=yes\nProtectKernelModules=yes\nProtectControlGroups=yes\n\
                     RestrictNamespaces=yes\nLockPersonality=yes\nMemoryDenyWriteExecute=yes\nRestrictRealtime=yes\n\
                     SystemCallFilter=@system-service\nSystemCallArchitectures=native\nCapabilityBoundingSet=\n\
                     RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
                )
                .autostart("hardened.service"),
            )
            .unit("hardened")
            .http(),
    ]
}

fn users() -> Vec<Entry> {
    vec![
        Entry::new("sysusers", "a user and a group by sysusers.d")
            .package(
                service_with(
                    "sysuser",
                    SERVE,
                    "User=sysuser\nGroup=sysgroup\nStateDirectory=sysuser",
                )
                .file(
                    "usr/lib/sysusers.d/sysuser.conf",
                    "g sysgroup -\nu sysuser - \"A user\"\nm sysuser sysgroup\n",
                )
                .postinst("systemd-sysusers sysuser.conf")
                .autostart("sysuser.service"),
            )
            .unit("sysuser")
            .http(),
        Entry::new("useradd", "a user by useradd")
            .package(
                service_with("useradd", SERVE, "User=_corpus")
                    .depends("passwd")
                    .postinst("getent passwd _corpus >/dev/null || useradd --system --user-group --no-create-home _corpus")
                    .autostart("useradd.service"),
            )
            .unit("useradd")
            .http(),
        Entry::new("adduser", "a user by adduser, which is a dependency from the repositories")
            .package(
                service_with("adduser-it", SERVE, "User=corpus-user")
                    .depends("adduser")
                    .postinst("adduser --system --group --no-create-home --quiet corpus-user")
                    .autostart("adduser-it.service"),
            )
            .unit("adduser-it")
            .http(),
        Entry::new("dynamic-user", "DynamicUser= with directories")
            .package(
                service_with(
                    "dynamic",
                    "touch /var/lib/dynamic/state touch /run/dynamic/x listen 127.0.0.1 8080 serve '200 OK'",
                    "DynamicUser=yes\nStateDirectory=dynamic\nRuntimeDirectory=dynamic\nCacheDirectory=dynamic",
                )
                .autostart("dynamic.service"),
            )
            .unit("dynamic")
            .http(),
        Entry::new("nobody", "a service of nobody's")
            .package(service_with("modest", SERVE, "User=nobody").autostart("modest.service"))
            .unit("modest")
            .http(),
    ]
}

fn installations() -> Vec<Entry> {
    vec![
        Entry::new("two-packages", "two packages, one depends on the other")
            .package(service("front", SERVE).depends("back (>= 2.0)").autostart("front.service"))
            .package(service("back", "idle").version("2.0").autostart("back.service"))
            .unit("front")
            .unit("back")
            .http(),
        Entry::new("virtual", "depends on what another package provides")
            .package(service("user-of-it", SERVE).depends("corpus-virtual").autostart("user-of-it.service"))
            .package(Deb::new("provider").field("Provides", "corpus-virtual"))
            .unit("user-of-it")
            .http(),
        Entry::new("pre-depends", "Pre-Depends on another package")
            .package(
                service("strict", SERVE)
                    .field("Pre-Depends", "firstly")
                    .script("preinst", "test -e /usr/share/firstly")
                    .autostart("strict.service"),
            )
            .package(Deb::new("firstly").file("usr/share/firstly", "x\n"))
            .unit("strict")
            .http(),
        Entry::new("long-postinst", "a postinst of 20 s")
            .package(
                service("patient", SERVE)
                    .postinst("sleep 20")
                    .autostart("patient.service"),
            )
            .unit("patient")
            .http()
            .waits(20),
        Entry::new("loud-postinst", "a postinst that writes 4 MB, not all of it text")
            .package(
                service("loud", SERVE)
                    .postinst("head -c 3000000 /dev/zero | tr '\\0' x; echo; head -c 1000000 /dev/urandom; printf '\\033[2J\\033]0;title\\007'")
                    .autostart("loud.service"),
            )
            .unit("loud")
            .http(),
        Entry::new("invoke-rc.d", "started by invoke-rc.d")
            .package(
                service("byinvoke", SERVE)
                    .postinst("systemctl daemon-reload; systemctl enable byinvoke.service; invoke-rc.d byinvoke start"),
            )
            .unit("byinvoke")
            .http()
            .started_by("byinvoke.service", "package"),
        Entry::new("enabled-not-started", "enabled by its postinst, and not started")
            .package(
                service("tomorrow", SERVE)
                    .postinst("deb-systemd-helper enable tomorrow.service"),
            )
            .unit("tomorrow")
            .http()
            .started_by("tomorrow.service", "postroj"),
        Entry::new("policy", "a debconf question that has a default")
            .package(
                service("polite", SERVE)
                    .depends("debconf")
                    .member("templates", "Template: polite/level\nType: string\nDefault: 3\nDescription: How polite?\n")
                    .script("config", ". /usr/share/debconf/confmodule\ndb_input high polite/level || true\ndb_go || true")
                    .postinst(". /usr/share/debconf/confmodule\ndb_get polite/level\ntest \"$RET\" = 3\ndb_stop")
                    .autostart("polite.service"),
            )
            .unit("polite")
            .http(),
        Entry::new("asks-and-copes", "asks with read, and takes no answer for one")
            .package(
                service("shy", SERVE)
                    .postinst("echo 'Really?'; read -r answer || answer=yes; test \"$answer\" = yes")
                    .autostart("shy.service"),
            )
            .unit("shy")
            .http(),
        Entry::new("daemonises", "its postinst leaves a process behind that holds the output")
            .package(
                service("leaves", SERVE)
                    .postinst(&format!("{SERVER} idle &"))
                    .autostart("leaves.service"),
            )
            .unit("leaves")
            .http(),
        Entry::new("daemonises-deeply", "the same, in a session of its own, and it goes on writing")
            .package(
                service("chatters", SERVE)
                    .postinst("setsid sh -c 'while echo noise; do sleep 0.05; done' &")
                    .autostart("chatters.service"),
            )
            .unit("chatters")
            .http(),
    ]
}

/// What shakes the system, and leaves it whole.
fn upheavals() -> Vec<Entry> {
    let shaken = |name: &'static str, what, script: &str| {
        Entry::new(name, what)
            .package(
                service(name, SERVE)
                    .postinst(script)
                    .autostart(&format!("{name}.service")),
            )
            .unit(name)
            .http()
    };
    vec![
        shaken(
            "reexec",
            "has PID 1 execute itself anew",
            "systemctl daemon-reexec",
        ),
        shaken(
            "reloads",
            "has PID 1 reload twenty times",
            "for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do systemctl daemon-reload; done",
        ),
        shaken(
            "restarts-journald",
            "restarts the journal",
            "systemctl restart systemd-journald",
        ),
        shaken(
            "restarts-dbus",
            "restarts the system bus",
            "systemctl restart dbus.service",
        ),
        shaken(
            "kills-dbus",
            "kills the system bus, which systemd starts again",
            "systemctl kill --signal=KILL dbus.service",
        ),
        shaken(
            "removes-bus-socket",
            "removes the file of the bus' socket",
            "rm -f /run/dbus/system_bus_socket",
        ),
        shaken(
            "many-units",
            "makes three hundred units and reloads",
            "mkdir -p /run/systemd/system; for n in $(seq 300); do printf '[Service]\\nType=oneshot\\nRemainAfterExit=yes\\nExecStart=/bin/true\\n' > /run/systemd/system/crowd-$n.service; done; systemctl daemon-reload; systemctl start 'crowd-1.service' 'crowd-2.service' $(seq -f 'crowd-%g.service' 300)",
        ),
    ]
}
