//! Services, of every type, that come up and stay up.

use crate::entry::{Entry, SERVER, service, service_with};
use crate::support::Deb;

pub(super) fn entries() -> Vec<Entry> {
    [types(), starters(), listeners(), activated()].concat()
}

fn types() -> Vec<Entry> {
    let listen = "listen 127.0.0.1 8080";
    vec![
        Entry::new("simple", "Type=simple, started by its postinst")
            .package(
                service("simple", &format!("{listen} serve '200 OK'")).autostart("simple.service"),
            )
            .unit("simple")
            .http()
            .started_by("simple.service", "package"),
        Entry::new("simple-not-started", "Type=simple, started by nobody")
            .package(service("idler", &format!("{listen} serve '200 OK'")))
            .unit("idler")
            .http()
            .started_by("idler.service", "postroj"),
        Entry::new("exec", "Type=exec")
            .package(
                service_with("exec", &format!("{listen} serve '200 OK'"), "Type=exec")
                    .autostart("exec.service"),
            )
            .unit("exec")
            .http(),
        Entry::new("forking-pidfile", "Type=forking with a PID file")
            .package(
                service_with(
                    "forking",
                    &format!("{listen} fork /run/forking.pid serve '200 OK'"),
                    "Type=forking\nPIDFile=/run/forking.pid",
                )
                .autostart("forking.service"),
            )
            .unit("forking")
            .http(),
        Entry::new("forking-guessed", "Type=forking without a PID file")
            .package(
                service_with(
                    "forks",
                    &format!("{listen} fork - serve '200 OK'"),
                    "Type=forking",
                )
                .autostart("forks.service"),
            )
            .unit("forks")
            .http(),
        Entry::new("notify", "Type=notify, ready at once")
            .package(
                service_with(
                    "notify",
                    &format!("{listen} notify READY=1 serve '200 OK'"),
                    "Type=notify",
                )
                .autostart("notify.service"),
            )
            .unit("notify")
            .http(),
        Entry::new("notify-watchdog", "Type=notify that is watched, and well")
            .package(
                service_with(
                    "watched",
                    "notify READY=1 sleep 400 notify WATCHDOG=1 sleep 400 notify WATCHDOG=1 \
                     sleep 400 notify WATCHDOG=1 sleep 400 notify WATCHDOG=1 notify WATCHDOG_USEC=3600000000 idle",
                    "Type=notify\nWatchdogSec=2",
                )
                .autostart("watched.service"),
            )
            .unit("watched")
            .arguments(["--settle", "3"])
            .waits(3),
        Entry::new("dbus", "Type=dbus")
            .package(
                service_with(
                    "bussed",
                    "bus org.example.Corpus idle",
                    "Type=dbus\nBusName=org.example.Corpus",
                )
                .file(
                    "usr/share/dbus-1/system.d/org.example.Corpus.conf",
                    "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN\" \
                     \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n\
                     <busconfig><policy user=\"root\"><allow own=\"org.example.Corpus\"/></policy></busconfig>\n",
                )
                // As dbus' own documentation has it: the daemon need not have seen the file yet.
                .postinst("systemctl reload dbus")
                .autostart("bussed.service"),
            )
            .unit("bussed"),
        Entry::new("oneshot", "Type=oneshot that is done")
            .package(
                service_with("once", "say done exit 0", "Type=oneshot").autostart("once.service"),
            )
            .unit("once"),
        Entry::new("oneshot-not-started", "Type=oneshot, started by nobody")
            .package(service_with("later", "say done exit 0", "Type=oneshot"))
            .unit("later")
            .started_by("later.service", "postroj"),
        Entry::new("oneshot-remains", "Type=oneshot, RemainAfterExit=yes")
            .package(
                service_with(
                    "remains",
                    "say done exit 0",
                    "Type=oneshot\nRemainAfterExit=yes",
                )
                .autostart("remains.service"),
            )
            .unit("remains"),
        Entry::new("oneshot-several", "Type=oneshot with three commands of a second each")
            .package(
                service_with(
                    "several",
                    "sleep 1000",
                    &format!("ExecStart={SERVER} sleep 1000\nExecStart={SERVER} sleep 1000\nType=oneshot"),
                )
                .autostart("several.service"),
            )
            .unit("several")
            .waits(4),
        Entry::new("new-settings", "settings that older systemd does not know")
            .package(
                service_with(
                    "modern",
                    &format!("{listen} serve '200 OK'"),
                    "RestartSteps=5\nRestartMaxDelaySec=10\nSetCredential=a:b\nNoSuchSetting=1",
                )
                .autostart("modern.service"),
            )
            .unit("modern")
            .http(),
    ]
}

fn starters() -> Vec<Entry> {
    vec![
        Entry::new("slow-notify", "ready after 20 s")
            .package(service_with(
                "slow",
                "sleep 20000 listen 127.0.0.1 8080 notify READY=1 serve '200 OK'",
                "Type=notify",
            ))
            .unit("slow")
            .http()
            .waits(21),
        Entry::new("slow-notify-started", "ready after 20 s, and its postinst waits for that")
            .package(
                service_with(
                    "slow",
                    "sleep 20000 listen 127.0.0.1 8080 notify READY=1 serve '200 OK'",
                    "Type=notify",
                )
                .autostart("slow.service"),
            )
            .unit("slow")
            .http()
            .waits(21)
            .started_by("slow.service", "package"),
        Entry::new("slow-no-block", "ready after 20 s, begun with systemctl --no-block")
            .package(
                service_with(
                    "slow",
                    "sleep 20000 listen 127.0.0.1 8080 notify READY=1 serve '200 OK'",
                    "Type=notify",
                )
                .postinst("systemctl daemon-reload; systemctl --no-block start slow.service"),
            )
            .unit("slow")
            .http()
            .waits(21)
            .started_by("slow.service", "package"),
        Entry::new("slow-listener", "active at once, listens after 20 s, is given 30")
            .package(
                service(
                    "warm",
                    "sleep 20000 listen 127.0.0.1 8080 serve '200 OK'",
                )
                .autostart("warm.service"),
            )
            .unit("warm")
            .http()
            .arguments(["--network-timeout", "30"])
            .waits(20),
        Entry::new("slow-pre", "ExecStartPre= of 3 s, a pause after it")
            .package(
                service_with(
                    "prepared",
                    "listen 127.0.0.1 8080 serve '200 OK'",
                    &format!("ExecStartPre={SERVER} sleep 3000\nExecStartPost={SERVER} sleep 500"),
                )
                .autostart("prepared.service"),
            )
            .unit("prepared")
            .http()
            .waits(4),
        Entry::new("after-chain", "a chain of After= and Requires=")
            .package(
                Deb::new("chain")
                    .unit(
                        "chain-a.service",
                        &format!("[Unit]\nRequires=chain-b.service\nAfter=chain-b.service\n[Service]\nExecStart={SERVER} listen 127.0.0.1 8080 serve '200 OK'\n[Install]\nWantedBy=multi-user.target\n"),
                    )
                    .unit(
                        "chain-b.service",
                        &format!("[Unit]\nRequires=chain-c.service\nAfter=chain-c.service\n[Service]\nType=notify\nExecStart={SERVER} sleep 700 notify READY=1 idle\n"),
                    )
                    .unit(
                        "chain-c.service",
                        &format!("[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart={SERVER} sleep 700\n"),
                    ),
            )
            .unit("chain-a")
            .unit("chain-b")
            .unit("chain-c")
            .http(),
        Entry::new("target", "a target that wants two services")
            .package(
                Deb::new("group")
                    .unit("group.target", "[Unit]\nWants=group-a.service group-b.service\n[Install]\nWantedBy=multi-user.target\n")
                    .unit("group-a.service", &format!("[Unit]\nPartOf=group.target\n[Service]\nExecStart={SERVER} idle\n"))
                    .unit("group-b.service", &format!("[Unit]\nPartOf=group.target\n[Service]\nExecStart={SERVER} listen 127.0.0.1 8080 serve '200 OK'\n"))
                    .autostart("group.target"),
            )
            .unit("group.target")
            .unit("group-a")
            .unit("group-b")
            .http(),
        Entry::new("restart-unused", "Restart=on-failure that is never needed")
            .package(
                service_with(
                    "steady",
                    "listen 127.0.0.1 8080 serve '200 OK'",
                    "Restart=on-failure\nRestartSec=100ms",
                )
                .autostart("steady.service"),
            )
            .unit("steady")
            .http(),
        Entry::new("restarted-by-postinst", "restarted three times by its postinst")
            .package(
                service("thrice", "listen 127.0.0.1 8080 serve '200 OK'")
                    .autostart("thrice.service")
                    .postinst("systemctl restart thrice; systemctl restart thrice; systemctl restart thrice"),
            )
            .unit("thrice")
            .http()
            .started_by("thrice.service", "package"),
        Entry::new("dies-in-3s-unsettled", "dies after 3 s, and has to stay up for 1 s only")
            .package(service("brief", "sleep 3000 exit 3").autostart("brief.service"))
            .unit("brief"),
    ]
}

fn listeners() -> Vec<Entry> {
    let at = |name: &'static str, what, address: &str| {
        Entry::new(name, what)
            .package(
                service(name, &format!("listen {address} 8080 serve '200 OK'"))
                    .autostart(&format!("{name}.service")),
            )
            .unit(name)
    };
    vec![
        at("dual-stack", "one socket for IPv4 and IPv6", "*")
            .network("http://127.0.0.1:8080/")
            .network("http://[::1]:8080/"),
        at("ipv6-only", "IPv6 alone", "::1")
            .http()
            .network("tcp://[::1]:8080"),
        at("ipv4-only", "IPv4 alone, on every address", "0.0.0.0")
            .http()
            .network("tcp://127.0.0.1:8080"),
        at(
            "loopback-2",
            "127.0.0.2, which is what is asked for",
            "127.0.0.2",
        )
        .network("http://127.0.0.2:8080/"),
        Entry::new("unix-only", "a Unix socket and no port")
            .package(
                service("local", "unix /run/local.sock serve '200 OK'").autostart("local.service"),
            )
            .unit("local"),
        Entry::new("redirects-once", "answers 302, which is below 400")
            .package(
                service("moved", "listen 127.0.0.1 8080 redirect /elsewhere")
                    .autostart("moved.service"),
            )
            .unit("moved")
            .http(),
        Entry::new("no-content", "answers 204")
            .package(
                service("nothing", "listen 127.0.0.1 8080 serve '204 No Content'")
                    .autostart("nothing.service"),
            )
            .http(),
        Entry::new("garbage-on-tcp", "speaks no HTTP, and need not")
            .package(
                service("gibberish", "listen 127.0.0.1 8080 garbage")
                    .autostart("gibberish.service"),
            )
            .network("tcp://localhost:8080"),
    ]
}

fn activated() -> Vec<Entry> {
    let socket = |listen: &str, more: &str| {
        format!("[Socket]\nListenStream={listen}\n{more}\n[Install]\nWantedBy=sockets.target\n")
    };
    vec![
        Entry::new("socket", "socket-activated, the service comes with the first connection")
            .package(
                Deb::new("woken")
                    .unit("woken.socket", &socket("127.0.0.1:8080", ""))
                    .unit("woken.service", &format!("[Service]\nExecStart={SERVER} inherit serve '200 OK'\n"))
                    .autostart("woken.socket"),
            )
            .unit("woken.socket")
            .http()
            .started_by("woken.socket", "package"),
        Entry::new("socket-not-started", "socket-activated, started by nobody")
            .package(
                Deb::new("asleep")
                    .unit("asleep.socket", &socket("127.0.0.1:8080", ""))
                    .unit("asleep.service", &format!("[Service]\nExecStart={SERVER} inherit serve '200 OK'\n")),
            )
            .unit("asleep.socket")
            .http()
            .started_by("asleep.socket", "postroj"),
        Entry::new("socket-accept", "Accept=yes, a service for each connection")
            .package(
                Deb::new("each")
                    .unit("each.socket", &socket("127.0.0.1:8080", "Accept=yes"))
                    .unit("each@.service", &format!("[Service]\nExecStart={SERVER} connection serve '200 OK'\nStandardInput=socket\n"))
                    .autostart("each.socket"),
            )
            .unit("each.socket")
            .http(),
        Entry::new("timer", "a timer that is not due for a day")
            .package(
                Deb::new("daily")
                    .unit("daily.timer", "[Timer]\nOnCalendar=daily\nPersistent=true\n[Install]\nWantedBy=timers.target\n")
                    .unit("daily.service", &format!("[Service]\nType=oneshot\nExecStart={SERVER} exit 0\n"))
                    .autostart("daily.timer"),
            )
            .unit("daily.timer"),
        Entry::new("timer-soon", "a timer, and the oneshot that it starts after a second")
            .package(
                Deb::new("soon")
                    .unit("soon.timer", "[Timer]\nOnActiveSec=1\nAccuracySec=100ms\n[Install]\nWantedBy=timers.target\n")
                    .unit("soon.service", &format!("[Service]\nType=oneshot\nExecStart={SERVER} exit 0\n"))
                    .autostart("soon.timer"),
            )
            .unit("soon.timer")
            .unit("soon.service"),
        Entry::new("path-unit", "a path unit")
            .package(
                Deb::new("watcher")
                    .unit("watcher.path", "[Path]\nPathExists=/run/watcher.flag\n[Install]\nWantedBy=multi-user.target\n")
                    .unit("watcher.service", &format!("[Service]\nExecStart={SERVER} listen 127.0.0.1 8080 serve '200 OK'\n"))
                    .autostart("watcher.path")
                    .postinst("touch /run/watcher.flag"),
            )
            .unit("watcher.path")
            .unit("watcher.service")
            .http(),
        Entry::new("mount-unit", "a mount unit, and a service that needs it")
            .package(
                Deb::new("mounted")
                    .unit("srv-mounted.mount", "[Mount]\nWhat=tmpfs\nWhere=/srv/mounted\nType=tmpfs\n[Install]\nWantedBy=multi-user.target\n")
                    .unit("mounted.service", &format!("[Unit]\nRequiresMountsFor=/srv/mounted/x\n[Service]\nExecStart={SERVER} touch /srv/mounted/x idle\n[Install]\nWantedBy=multi-user.target\n"))
                    .autostart("mounted.service"),
            )
            .unit("srv-mounted.mount")
            .unit("mounted"),
        Entry::new("instance", "an instance of a template, started by its postinst")
            .package(
                Deb::new("many")
                    .unit("many@.service", &format!("[Service]\nExecStart={SERVER} say %i listen 127.0.0.1 8080 serve '200 OK'\n[Install]\nWantedBy=multi-user.target\n"))
                    .postinst("systemctl daemon-reload; systemctl enable --now many@main.service"),
            )
            .unit("many@main")
            .http()
            .started_by("many@main.service", "package"),
        Entry::new("instance-not-started", "an instance with an escaped name, started by nobody")
            .package(
                Deb::new("wide")
                    .unit("wide@.service", &format!("[Service]\nExecStart={SERVER} say %I listen 127.0.0.1 8080 serve '200 OK'\n[Install]\nWantedBy=multi-user.target\n")),
            )
            .unit(r"wide@a-b\x2dc.service")
            .http(),
        Entry::new("alias", "asked for by its alias")
            .package(
                Deb::new("formal")
                    .unit("formal.service", &format!("[Service]\nExecStart={SERVER} listen 127.0.0.1 8080 serve '200 OK'\n[Install]\nWantedBy=multi-user.target\nAlias=casual.service\n"))
                    .autostart("formal.service"),
            )
            .unit("casual")
            .unit("formal")
            .http(),
    ]
}
