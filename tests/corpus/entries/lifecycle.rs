//! Packages whose life goes on after their installation.

use crate::entry::{Entry, SERVER, service, service_with};
use crate::support::Deb;

const SERVE: &str = "listen 127.0.0.1 8080 serve '200 OK'";

/// How long two boots may hold an entry up, beside the work.
const REBOOT: u32 = 5;

pub(super) fn entries() -> Vec<Entry> {
    [reboots(), upgrades(), removals(), purges()].concat()
}

/// A service as packages have it: enabled and started, stopped and forgotten.
fn usual(name: &str) -> Deb {
    service(name, SERVE).autostart(&format!("{name}.service"))
}

fn reboots() -> Vec<Entry> {
    let rebooted =
        |name: &'static str, what| Entry::new(name, what).arguments(["--lifecycle=install,reboot"]);
    vec![
        Entry::new("whole-life", "all phases, with a change of its configuration, and nothing is left")
            .package(usual("whole").version("2.0").conffile("etc/whole.conf", "a = 1\n"))
            .earlier(usual("whole").conffile("etc/whole.conf", "a = 1\n"))
            .unit("whole")
            .http()
            .arguments([
                "--lifecycle=install,reboot,upgrade,remove,purge",
                "--before-upgrade",
                "echo 'mine = 1' >> /etc/whole.conf",
                "--strict-purge",
            ])
            .waits(REBOOT),
        rebooted("reboots", "comes up by itself after a reboot")
            .package(
                service_with("back", "listen 127.0.0.1 8080 notify READY=1 serve '200 OK'", "Type=notify\nStateDirectory=back")
                    .autostart("back.service"),
            )
            .unit("back")
            .http()
            .waits(REBOOT),
        rebooted("reboots-on-disk", "the same, on a layer on the disk")
            .package(usual("back"))
            .unit("back")
            .http()
            .arguments(["--disk", "disk:1G"])
            .waits(REBOOT),
        rebooted("works-until-reboot", "needs a directory in /run that its postinst has made")
            .package(
                service("fleeting", &format!("unix /run/fleeting/socket {SERVE}"))
                    .postinst("mkdir -p /run/fleeting")
                    .autostart("fleeting.service"),
            )
            .unit("fleeting")
            .fails_after("reboot", "fleeting.service", "exit code 1")
            .shows("/run/fleeting/socket: No such file or directory")
            .waits(REBOOT),
        rebooted("needs-reboot", "does not start before the system was booted with it")
            .package(needs_reboot())
            .unit("impatient")
            .fails("impatient.service", "a condition of it does not hold"),
        rebooted("needs-reboot-and-has-it", "the same, and it is looked at after the reboot only")
            .package(needs_reboot())
            .check("unit:impatient,after=reboot")
            .check("http://localhost:8080/,after=reboot")
            .waits(REBOOT),
        rebooted("not-enabled", "started by its postinst, and not enabled")
            .package(
                service("today", SERVE).postinst("systemctl daemon-reload; systemctl start today"),
            )
            .unit("today")
            .http()
            .fails_after("reboot", "today.service", "disabled: nothing has started it")
            .fails_after("reboot", "http://localhost", "connection refused")
            .arguments(["--network-timeout", "2"])
            .waits(REBOOT),
        rebooted("reboot-is-the-end", "has the next boot shut the system down")
            .package(usual("fatal").unit(
                "fatal-off.service",
                "[Service]\nType=oneshot\nExecStart=/bin/systemctl poweroff --force\n[Install]\nWantedBy=multi-user.target\n",
            )
            .postinst("systemctl enable fatal-off.service"))
            .unit("fatal")
            .phase_fails("reboot", "ended by itself")
            .waits(2 * REBOOT),
    ]
}

/// Its condition is what only a boot makes (`!` in tmpfiles.d(5)).
fn needs_reboot() -> Deb {
    Deb::new("impatient")
        .unit(
            "impatient.service",
            &format!("[Unit]\nConditionPathExists=/run/impatient\n[Service]\nExecStart={SERVER} {SERVE}\n[Install]\nWantedBy=multi-user.target\n"),
        )
        .file("usr/lib/tmpfiles.d/impatient.conf", "d! /run/impatient 0755 root root -\n")
        .postinst("systemd-tmpfiles --create impatient.conf")
        .autostart("impatient.service")
}

fn upgrades() -> Vec<Entry> {
    let conf = |package: Deb, port: u16| {
        package
            .conffile("etc/web.conf", &format!("port = {port}\n"))
            .conffile("etc/web-more.conf", "b = 1\n")
    };
    let upgraded = |name: &'static str, what, new: Deb| {
        Entry::new(name, what)
            .package(new.version("2.0"))
            .earlier(conf(usual("web"), 80))
            .unit("web")
    };
    let edited = |entry: Entry| {
        let edit = "for file in web web-more; do echo 'user = www' >> /etc/$file.conf; done";
        entry.arguments(["--before-upgrade", edit])
    };
    vec![
        edited(upgraded(
            "upgrade-keeps-config",
            "one configuration file that is new, one that is not, both changed by the administrator",
            conf(usual("web"), 81),
        ))
        .http(),
        edited(upgraded(
            "upgrade-loses-config",
            "its postinst writes one configuration file anew, and removes another",
            conf(usual("web"), 80)
                .postinst("echo 'port = 82' > /etc/web.conf; rm -f /etc/web-more.conf"),
        ))
        .fails_after("upgrade", "/etc/web.conf", "the change is lost: \"user = www\"")
        .fails_after("upgrade", "/etc/web-more.conf", "the file is gone"),
        upgraded("upgrade-breaks", "its new version's service dies", {
            service("web", "say 'version two' exit 8").autostart("web.service")
        })
        .fails_after("upgrade", "web.service", "exit code 8")
        .shows("version two"),
        upgraded(
            "upgrade-stops",
            "its new version stops the service and does not start it",
            service("web", SERVE).script("preinst", "systemctl stop web"),
        )
        .fails_after("upgrade", "web.service", "inactive (dead)"),
        upgraded("upgrade-fails", "its new version's preinst fails", {
            usual("web").script(
                "preinst",
                "[ \"$1\" != upgrade ] || { echo 'not over that'; exit 3; }",
            )
        })
        .phase_fails("upgrade", "not over that"),
        upgraded(
            "upgrade-drops-unit",
            "its new version has no service any more",
            Deb::new("web").file("usr/share/web", "x\n"),
        )
        .fails_after("upgrade", "web.service", "there is no such unit"),
        Entry::new("earlier-fails", "what is to be upgraded does not install")
            .package(usual("web").version("2.0"))
            .earlier(usual("web").postinst("echo 'the old reason'; exit 1"))
            .unit("web")
            .untold("the version to upgrade from"),
    ]
}

fn removals() -> Vec<Entry> {
    let removed =
        |name: &'static str, what| Entry::new(name, what).arguments(["--lifecycle=remove"]);
    vec![
        removed("remove-fails", "its prerm fails")
            .package(usual("clings").script("prerm", "echo 'I stay'; exit 7"))
            .unit("clings")
            .phase_fails("remove", "I stay"),
        removed("runs-on", "nobody stops its service")
            .package(
                service("undead", SERVE)
                    .postinst("systemctl daemon-reload; systemctl enable --now undead"),
            )
            .unit("undead")
            .http()
            .fails_after(
                "remove",
                "unit undead.service",
                "it is still active (running)",
            )
            .fails_after("remove", "process", "undead.service still runs")
            .fails_after("remove", "listener", "127.0.0.1:8080"),
        removed(
            "child-runs-on",
            "its service leaves a child behind, with the port",
        )
        .package(
            service_with(
                "parent",
                "idle",
                &format!(
                    "ExecStartPre={SERVER} {} fork - serve '200 OK'\nKillMode=process",
                    "listen 127.0.0.1 8080"
                ),
            )
            .autostart("parent.service"),
        )
        .unit("parent")
        .http()
        .fails_after("remove", "process", "parent.service still runs")
        .fails_after("remove", "listener", "127.0.0.1:8080"),
        removed("script-runs-on", "its postinst has left a process behind")
            .package(usual("litters").postinst(&format!("{SERVER} idle &")))
            .unit("litters")
            .fails_after("remove", "process", "a maintainer script still runs"),
        removed("stops-slowly", "its service takes 2 s to stop")
            .package(
                service_with("slowly", SERVE, &format!("ExecStop={SERVER} sleep 2000"))
                    .autostart("slowly.service"),
            )
            .unit("slowly")
            .http()
            .waits(2),
    ]
}

fn purges() -> Vec<Entry> {
    let purged = |name: &'static str, what, package: Deb| {
        Entry::new(name, what)
            .package(package)
            .unit("litter")
            .arguments(["--lifecycle=remove,purge"])
    };
    let strict = |entry: Entry| entry.arguments(["--strict-purge"]);
    let files =
        |package: Deb| package.postinst("mkdir -p /var/lib/litter; echo 1 > /var/lib/litter/data");
    let user = |package: Deb| {
        package
            .depends("passwd")
            .postinst("useradd --system --user-group litter-user")
    };
    let unit = |package: Deb| {
        package.postinst(
            "printf '[Service]\\nExecStart=/bin/true\\n' > /etc/systemd/system/litter-more.service",
        )
    };
    let left = "/etc/systemd/system/litter-more.service";
    vec![
        purged(
            "leaves-all",
            "leaves files, a user and a unit behind, and may",
            unit(user(files(usual("litter")))),
        )
        .leaves("/var/lib/litter/data")
        .leaves("litter-user")
        .leaves(left),
        strict(purged(
            "leaves-files",
            "leaves files behind, and may not",
            files(usual("litter")),
        ))
        .fails_after("purge", "leftovers", "left behind: 2 files")
        .leaves("/var/lib/litter/data"),
        strict(purged(
            "leaves-files-excepted",
            "leaves files behind that are excepted",
            files(usual("litter")),
        ))
        .arguments(["--purge-ignore", "/var/lib/litter"]),
        strict(purged(
            "leaves-nothing",
            "its postrm removes what its postinst has made",
            files(usual("litter")).script(
                "postrm",
                "if [ \"$1\" = purge ]; then rm -r /var/lib/litter; fi",
            ),
        )),
        strict(purged(
            "leaves-user",
            "leaves a user and a group behind, and may not",
            user(usual("litter")),
        ))
        .fails_after("purge", "leftovers", "1 user, 1 group")
        .leaves("litter-user"),
        strict(purged(
            "leaves-unit",
            "leaves a unit behind, and may not",
            unit(usual("litter")),
        ))
        .fails_after("purge", "leftovers", "1 unit")
        .leaves(left),
        purged(
            "leaves-log",
            "leaves a file behind that is asked for by name",
            usual("litter").postinst("echo started > /var/log/litter.log"),
        )
        .check("file:/var/log/litter.log,exists=false,after=purge")
        .fails_after("purge", "file /var/log/litter.log", "it is there"),
        purged(
            "purge-fails",
            "its postrm fails when it is purged",
            usual("litter").script(
                "postrm",
                "if [ \"$1\" = purge ]; then echo never; exit 5; fi",
            ),
        )
        .phase_fails("purge", "never"),
    ]
}
