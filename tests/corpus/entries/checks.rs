//! Packages on which more is asked than that a unit is up and an address answers.

use crate::entry::{Entry, SERVER, service, service_with};
use crate::support::Deb;

const SERVE: &str = "listen 127.0.0.1 8080 serve '200 OK'";

pub(super) fn entries() -> Vec<Entry> {
    [autostart(), ports(), http(), journal(), units(), others()].concat()
}

fn started(name: &str, script: &str) -> Deb {
    service(name, script).autostart(&format!("{name}.service"))
}

fn autostart() -> Vec<Entry> {
    let expected = |name: &'static str, what, package: Deb| {
        Entry::new(name, what)
            .package(package)
            .unit("auto")
            .arguments(["--expect-autostart"])
    };
    let preset = |package: Deb| {
        package.file(
            "usr/lib/systemd/system-preset/50-auto.preset",
            "disable auto.service\n",
        )
    };
    let enable = "systemctl daemon-reload; systemctl enable auto.service";
    vec![
        expected(
            "autostart",
            "is enabled and started by itself, as the preset has it",
            started("auto", SERVE),
        )
        .check("unit:auto,enabled=true,restarts=0,result=success")
        .http(),
        expected(
            "autostart-not-started",
            "is neither started nor enabled, against the preset",
            service("auto", SERVE),
        )
        .fails(
            "auto.service",
            "the package has not started it, and the distribution's preset is enabled",
        ),
        expected(
            "autostart-enabled-only",
            "is enabled and not started, against the preset",
            service("auto", SERVE).postinst(enable),
        )
        .fails("auto.service", "the package has not started it"),
        expected(
            "autostart-disabled",
            "is not started, and a preset disables it",
            preset(service("auto", SERVE)),
        )
        .http()
        .started_by("auto.service", "postroj"),
        expected(
            "autostart-against-preset",
            "is started by itself, and a preset disables it",
            preset(service("auto", SERVE)).postinst(&format!("{enable}; systemctl start auto")),
        )
        .fails("auto.service", "preset is disabled"),
        Entry::new(
            "autostart-unwanted",
            "is started by itself, and was not to be",
        )
        .package(started("auto", SERVE))
        .unit("auto")
        .arguments(["--expect-autostart=no"])
        .fails("auto.service", "the package has started it by itself"),
        Entry::new(
            "unit-not-enabled",
            "is started, and not enabled, which it was to be",
        )
        .package(
            service("fickle", SERVE)
                .postinst("systemctl daemon-reload; systemctl start fickle.service"),
        )
        .check("unit:fickle,enabled=true")
        .fails("fickle.service", "disabled"),
        Entry::new("unit-restarted", "was restarted once, and may have been")
            .package(
                service_with(
                    "second",
                    &format!("once /run/second 1 {SERVE}"),
                    "Restart=on-failure\nRestartSec=200ms",
                )
                .autostart("second.service"),
            )
            .check("unit:second,restarts=1")
            .http(),
    ]
}

fn ports() -> Vec<Entry> {
    let two = |name: &'static str, what| {
        Entry::new(name, what)
            .package(started("owner", SERVE))
            .package(started("bystander", "listen 127.0.0.1 8081 serve '200 OK'").depends("owner"))
            .unit("owner")
            .unit("bystander")
    };
    vec![
        two("port-owner", "each port is its unit's")
            .check("port:tcp/8080,unit=owner")
            .check("port:8081,unit=bystander,address=127.0.0.1")
            .check("port:8082,listening=false"),
        two(
            "port-of-another",
            "a port is served by the wrong unit, another one where none may be, a third by TCP for UDP",
        )
        .check("port:tcp/8080,unit=bystander")
        .check("port:tcp/8081,listening=false")
        .check("port:udp/8080")
        .fails("port tcp/8080", "of owner.service")
        .fails("port tcp/8081", "of bystander.service")
        .fails("port udp/8080", "nobody listens there"),
        Entry::new("port-of-the-socket", "its port is its socket's")
            .package(
                Deb::new("woken")
                    .unit("woken.socket", "[Socket]\nListenStream=127.0.0.1:8080\n[Install]\nWantedBy=sockets.target\n")
                    .unit("woken.service", &format!("[Service]\nExecStart={SERVER} inherit serve '200 OK'\n"))
                    .autostart("woken.socket"),
            )
            .check("port:tcp/8080,unit=woken.socket")
            .check("port:tcp/8080,unit=woken.service"),
        Entry::new("unix-socket", "a Unix socket, and no port")
            .package(started("local", "unix /run/local.sock serve '200 OK'"))
            .unit("local")
            .check("unix-socket:/run/local.sock"),
        Entry::new("unix-socket-stale", "the file of a socket that nobody listens on")
            .package(
                service_with("stale", "idle", &format!("ExecStartPre={SERVER} unix /run/stale.sock exit 0"))
                    .autostart("stale.service"),
            )
            .unit("stale")
            .check("unix-socket:/run/stale.sock")
            .fails("unix-socket /run/stale.sock", ""),
    ]
}

fn http() -> Vec<Entry> {
    let asked = |name: &'static str, what, script: &str| {
        Entry::new(name, what)
            .package(started("web", script))
            .unit("web")
            .arguments(["--network-timeout", "2"])
    };
    let moved = "listen 127.0.0.1 8080 redirect";
    vec![
        asked(
            "redirect-loop",
            "leads back to itself for ever",
            &format!("{moved} http://localhost:8080/"),
        )
        .check("http://localhost:8080/,follow=true")
        .fails("http http://localhost:8080/", "redirect"),
        asked(
            "redirect-to-nowhere",
            "leads to where nobody listens",
            &format!("{moved} http://localhost:8081/"),
        )
        .check("http://localhost:8080/,follow=true")
        .fails("http http://localhost:8080/", "connection refused"),
        asked(
            "redirect-followed",
            "leads to another service, which answers",
            &format!("{moved} http://localhost:8081/"),
        )
        .package(started("target", "listen 127.0.0.1 8081 serve '200 OK'"))
        .check("http://localhost:8080/,follow=true,status=200,contains=hello"),
        asked(
            "hangs-after-accept-http",
            "accepts and says nothing, and has a second for it",
            "listen 127.0.0.1 8080 hang",
        )
        .check("http://localhost:8080/,attempt-timeout=1s")
        .fails("http http://localhost:8080/", "timed out"),
        asked("body", "says what it should, as it should", SERVE)
            .check("http://localhost:8080/,status=200,header.content-length=^6$,contains=hello,lacks=error,matches=^h"),
        asked("body-wrong", "answers, and says something else than it should", SERVE)
            .check("http://localhost:8080/")
            .check("http://localhost:8080/lacks,contains=welcome")
            .check("http://localhost:8080/has,lacks=hello")
            .check("http://localhost:8080/missing,header.strict-transport-security=.")
            .check("http://localhost:8080/wrong,header.connection=keep-alive")
            .check("http://localhost:8080/status,status=204")
            .fails("http http://localhost:8080/lacks", "the body lacks \"welcome\"")
            .fails("http http://localhost:8080/has", "the body has \"hello\"")
            .fails("http http://localhost:8080/missing", "no header strict-transport-security")
            .fails("http http://localhost:8080/wrong", "header connection is \"close\"")
            .fails("http http://localhost:8080/status", "status 200"),
        asked(
            "status-401",
            "answers 401, which is asked for",
            "listen 127.0.0.1 8080 serve '401 Unauthorized'",
        )
        .check("http://localhost:8080/,status=401"),
    ]
}

fn journal() -> Vec<Entry> {
    let says = |name: &'static str, what, line: &str| {
        Entry::new(name, what)
            .package(started("talks", &format!("say '{line}' {SERVE}")))
            .unit("talks")
    };
    vec![
        says(
            "journal-clean",
            "says nothing worse than a warning",
            "<4>it is warm",
        )
        .check("journal:talks")
        .check("journal:talks,contains=it is warm"),
        says("journal-errors", "runs, and complains", "<3>it went wrong")
            .check("journal:talks")
            .check("journal,contains=ready at last,timeout=2s")
            .fails("journal talks.service", "it went wrong")
            .fails("journal", "no entry has \"ready at last\""),
        says(
            "journal-excepted",
            "complains of what does not matter",
            "<3>it went wrong",
        )
        .check("journal:talks,except=went wrong"),
    ]
}

fn units() -> Vec<Entry> {
    let checked = |name: &'static str, what, package: Deb| {
        Entry::new(name, what).package(package).unit("main").http()
    };
    let helper = |script: &str| {
        started("main", SERVE)
            .unit(
                "helper.service",
                &format!("[Service]\nExecStart={SERVER} {script}\n"),
            )
            .postinst("systemctl start helper.service || true")
    };
    let typo = started("main", SERVE).unit(
        "extra.service",
        &format!("[Service]\nExecStart={SERVER} idle\nRestrat=always\n"),
    );
    let locked = service_with(
        "main",
        SERVE,
        "ProtectSystem=strict\nProtectHome=yes\nPrivateTmp=yes\nPrivateDevices=yes\nNoNewPrivileges=yes\n\
         ProtectKernelTunables=yes\nProtectKernelModules=yes\nProtectKernelLogs=yes\nProtectControlGroups=yes\n\
         ProtectClock=yes\nProtectHostname=yes\nRestrictNamespaces=yes\nLockPersonality=yes\n\
         MemoryDenyWriteExecute=yes\nRestrictRealtime=yes\nRestrictSUIDSGID=yes\nRemoveIPC=yes\nUMask=0077\n\
         DynamicUser=yes\nSystemCallFilter=@system-service\nSystemCallArchitectures=native\n\
         CapabilityBoundingSet=\nRestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
    )
    .autostart("main.service");
    vec![
        checked(
            "other-unit-fails",
            "its service runs, and another one of it has dumped core",
            helper("raise 11"),
        )
        .check("failed-units")
        .check("core-dump")
        .fails("failed-units", "helper.service")
        .fails("core-dump", "helper.service"),
        checked(
            "other-unit-ends",
            "its service runs, and another one of it was told to end",
            helper("raise 15"),
        )
        .check("failed-units")
        .check("core-dump"),
        checked(
            "verify-typo",
            "a unit has a setting that there is not, and none has a lock",
            typo,
        )
        .check("verify")
        .check("security:main,exposure=5")
        .fails("verify", "Restrat")
        .fails("security main.service", "9."),
        checked(
            "verify-clean",
            "a service as it should be, with all locks",
            locked,
        )
        .check("verify")
        .check("security:main,exposure=4"),
    ]
}

fn others() -> Vec<Entry> {
    let keeper = |mode: &str, script: &str| {
        service_with("keeper", SERVE, "User=nobody")
            .version("2:1.4-1")
            .program("usr/bin/keeper", &format!("#!/bin/sh\n{script}\n"))
            .postinst(&format!(
                "echo 'key = 1' > /etc/keeper.key; chmod {mode} /etc/keeper.key"
            ))
    };
    let checked = |name: &'static str, what, package: Deb| {
        Entry::new(name, what)
            .package(package.autostart("keeper.service"))
            .unit("keeper")
            .http()
    };
    vec![
        checked(
            "as-asked",
            "a file, a program, a user, a mount, a name, as they should be",
            keeper("0600", "echo version 1.0")
                .depends("passwd")
                .unit("srv-keeper.mount", "[Mount]\nWhat=tmpfs\nWhere=/srv/keeper\nType=tmpfs\n[Install]\nWantedBy=multi-user.target\n")
                .postinst("echo '192.0.2.9 keeper.test' >> /etc/hosts; useradd --system --user-group --shell /usr/sbin/nologin keeper; systemctl daemon-reload; systemctl enable --now srv-keeper.mount"),
        )
        .check("file:/etc/keeper.key,mode=0600,owner=root,contains=key")
        .check("command:keeper --version,stdout=version 1.0")
        .check("user:keeper,shell=/usr/sbin/nologin")
        .check("group:keeper")
        .check("process:server-keeper,user=nobody,count=1")
        .check("package:keeper,version=1.4")
        .check("dns:keeper.test,addresses=192.0.2.9")
        .check("mount:/srv/keeper,type=tmpfs")
        .check("kernel-param:kernel.ostype,value=Linux"),
        checked(
            "not-as-asked",
            "none of them as it should be",
            keeper("0644", "echo 'no such thing' >&2; exit 3"),
        )
        .arguments(["--check-timeout", "2", "--network-timeout", "2"])
        .check("file:/etc/keeper.key,mode=0600")
        .check("command:keeper --version")
        .check("command:sleep 4711")
        .check("user:keeper")
        .check("process:server-keeper,user=root")
        .check("package:keeper,version=1.1")
        .check("dns:keeper.test,addresses=192.0.2.9")
        .check("mount:/srv/keeper")
        .fails("file /etc/keeper.key", "its mode is 0644, not 0600")
        .fails("command keeper --version", "exit code 3")
        .fails("command sleep", "it did not end")
        .fails("user keeper", "there is no such user")
        .fails("process server-keeper", "of nobody")
        .fails("package keeper", "its version is 2:1.4-1, not 1.1")
        .fails("dns keeper.test", "")
        .fails("mount /srv/keeper", "nothing is mounted there"),
    ]
}
