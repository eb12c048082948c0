//! Units that do not come up, or do not stay up.

use crate::entry::{Entry, SERVER, Verdict, service, service_with};
use crate::support::Deb;

pub(super) fn entries() -> Vec<Entry> {
    [dying(), never_up(), files(), others()].concat()
}

fn dying() -> Vec<Entry> {
    vec![
        Entry::new(
            "dies-at-once",
            "exits with 3 at once; its postinst started it",
        )
        .package(service("dies", "say 'the last words' exit 3").autostart("dies.service"))
        .unit("dies")
        .fails("dies.service", "failed (failed), exit code 3")
        .started_by("dies.service", "package")
        .shows("the last words"),
        Entry::new(
            "dies-at-once-not-started",
            "exits with 3 at once; postroj started it",
        )
        .package(service("dies", "say 'the last words' exit 3"))
        .unit("dies")
        .fails("dies.service", "failed (failed), exit code 3")
        .started_by("dies.service", "postroj")
        .shows("the last words"),
        Entry::new("dies-in-500ms", "exits after half a second")
            .package(service("brief", "sleep 500 exit 3").autostart("brief.service"))
            .unit("brief")
            .fails("brief.service", "exit code 3"),
        Entry::new(
            "dies-in-500ms-not-started",
            "exits after half a second; postroj started it",
        )
        .package(service("brief", "sleep 500 exit 3"))
        .unit("brief")
        .fails("brief.service", "exit code 3"),
        Entry::new("dies-in-3s", "exits after 3 s, and has to stay up for 4")
            .package(service("brief", "sleep 3000 exit 3").autostart("brief.service"))
            .unit("brief")
            .arguments(["--settle", "4"])
            .fails("brief.service", "exit code 3")
            .waits(3),
        Entry::new("dies-in-3s-not-started", "the same, and postroj started it")
            .package(service("brief", "sleep 3000 exit 3"))
            .unit("brief")
            .arguments(["--settle", "4"])
            .fails("brief.service", "exit code 3")
            .waits(3),
        Entry::new("ends-well", "Type=simple that ends with 0 at once")
            .package(service("finished", "exit 0").autostart("finished.service"))
            .unit("finished")
            .fails("finished.service", "inactive (dead)"),
        Entry::new(
            "ends-well-later",
            "Type=simple that ends with 0 after half a second",
        )
        .package(service("finished", "sleep 500 exit 0").autostart("finished.service"))
        .unit("finished")
        .fails("finished.service", "inactive (dead)"),
        Entry::new("crashes", "dies by SIGSEGV")
            .package(service("crashes", "sleep 200 raise 11").autostart("crashes.service"))
            .unit("crashes")
            .fails("crashes.service", "signal 11"),
        Entry::new("restart-loop", "restarts over and over, without end")
            .package(
                service_with(
                    "flaps",
                    "sleep 300 exit 1",
                    "Restart=always\nRestartSec=100ms\n[Unit]\nStartLimitIntervalSec=0",
                )
                .autostart("flaps.service"),
            )
            .unit("flaps")
            .fails("flaps.service", ""),
        Entry::new(
            "restart-loop-slow",
            "lives 2 s, restarts after 2 s, and so on",
        )
        .package(
            service_with("flaps", "sleep 2000 exit 1", "Restart=always\nRestartSec=2")
                .autostart("flaps.service"),
        )
        .unit("flaps")
        .arguments(["--settle", "3"])
        .fails("flaps.service", "")
        .waits(3),
        Entry::new("restart-limit", "restarts until systemd has had enough")
            .package(
                service_with("limited", "exit 1", "Restart=on-failure\nRestartSec=10ms")
                    .autostart("limited.service"),
            )
            .unit("limited")
            .fails("limited.service", "restarted"),
        Entry::new("second-try", "fails the first time, and runs since")
            .package(
                service_with(
                    "second",
                    "once /run/second 1 listen 127.0.0.1 8080 serve '200 OK'",
                    "Restart=on-failure\nRestartSec=200ms",
                )
                .autostart("second.service"),
            )
            .unit("second")
            .http()
            .fails("second.service", "restart"),
        Entry::new("watchdog", "does not feed its watchdog")
            .package(
                service_with(
                    "hungry",
                    "notify READY=1 idle",
                    "Type=notify\nWatchdogSec=1",
                )
                .autostart("hungry.service"),
            )
            .unit("hungry")
            .arguments(["--settle", "3"])
            .fails("hungry.service", "")
            .waits(2),
    ]
}

fn never_up() -> Vec<Entry> {
    let short = ["--unit-timeout", "3"];
    vec![
        Entry::new("never-ready", "Type=notify that never says READY")
            .package(
                service_with(
                    "mute",
                    "listen 127.0.0.1 8080 serve '200 OK'",
                    "Type=notify",
                )
                .postinst("systemctl daemon-reload; systemctl --no-block start mute"),
            )
            .unit("mute")
            .http()
            .arguments(short)
            .fails("mute.service", "activating (start) after 3 s")
            .waits(3),
        Entry::new(
            "never-ready-not-started",
            "the same, and postroj started it",
        )
        .package(service_with(
            "mute",
            "listen 127.0.0.1 8080 serve '200 OK'",
            "Type=notify",
        ))
        .unit("mute")
        .arguments(short)
        .fails("mute.service", "activating (start) after 3 s")
        .waits(3),
        Entry::new("start-timeout", "Type=notify that systemd gives 2 s")
            .package(
                service_with("late", "idle", "Type=notify\nTimeoutStartSec=2")
                    .autostart("late.service"),
            )
            .unit("late")
            .fails("late.service", "failed")
            .waits(2),
        Entry::new("never-forks", "Type=forking that stays in the foreground")
            .package(service_with("stays", "idle", "Type=forking"))
            .unit("stays")
            .arguments(short)
            .fails("stays.service", "activating (start) after 3 s")
            .waits(3),
        Entry::new("forks-as-simple", "Type=simple that goes to the background")
            .package(service("gone", "fork - idle").autostart("gone.service"))
            .unit("gone")
            .fails("gone.service", "inactive (dead)"),
        Entry::new("no-pidfile", "Type=forking whose PID file never comes")
            .package(service_with(
                "lost",
                "fork - idle",
                "Type=forking\nPIDFile=/run/lost.pid",
            ))
            .unit("lost")
            .arguments(short)
            .fails("lost.service", "activating (start) after 3 s")
            .waits(3),
        Entry::new("no-bus-name", "Type=dbus whose name is not granted")
            .package(service_with(
                "unnamed",
                "bus org.example.NotAllowed idle",
                "Type=dbus\nBusName=org.example.NotAllowed",
            ))
            .unit("unnamed")
            .arguments(short)
            .fails("unnamed.service", "activating (start) after 3 s")
            .waits(3),
        Entry::new("pre-hangs", "ExecStartPre= that does not end")
            .package(service_with(
                "stuck",
                "idle",
                &format!("ExecStartPre={SERVER} idle"),
            ))
            .unit("stuck")
            .arguments(short)
            .fails("stuck.service", "activating (start-pre) after 3 s")
            .waits(3),
        Entry::new("pre-fails", "ExecStartPre= that fails")
            .package(service_with(
                "unprepared",
                "idle",
                &format!("ExecStartPre={SERVER} say 'no way' exit 9"),
            ))
            .unit("unprepared")
            .fails("unprepared.service", "failed")
            .shows("no way"),
        Entry::new("oneshot-fails", "Type=oneshot that fails")
            .package(service_with("attempt", "exit 5", "Type=oneshot").autostart("attempt.service"))
            .unit("attempt")
            .fails("attempt.service", "exit code 5"),
        Entry::new(
            "oneshot-second-fails",
            "Type=oneshot whose second command fails",
        )
        .package(service_with(
            "attempts",
            "exit 0",
            &format!("ExecStart={SERVER} exit 6\nType=oneshot"),
        ))
        .unit("attempts")
        .fails("attempts.service", "exit code 6"),
        Entry::new("out-of-memory", "needs more memory than its unit may have")
            .package(
                service_with("greedy", "eat 512 idle", "LimitAS=100M").autostart("greedy.service"),
            )
            .unit("greedy")
            .fails("greedy.service", "exit code 1")
            .shows("Cannot allocate memory"),
    ]
}

fn files() -> Vec<Entry> {
    let unit = |name: &str, text: &str| Deb::new(name).unit(&format!("{name}.service"), text);
    vec![
        Entry::new("unit-missing", "has no such unit")
            .package(Deb::new("unitless").file("usr/share/unitless", "x\n"))
            .unit("unitless")
            .fails("unitless.service", "there is no such unit"),
        Entry::new("unit-misnamed", "its unit has another name than its users think")
            .package(service("corpusd", "idle").autostart("corpusd.service"))
            .unit("corpus")
            .fails("corpus.service", "there is no such unit"),
        Entry::new("unit-masked", "its unit is masked, by a link in the package")
            .package(Deb::new("masked").link("usr/lib/systemd/system/masked.service", "/dev/null"))
            .unit("masked")
            .fails("masked.service", "the unit is masked"),
        Entry::new("unit-masked-by-postinst", "its postinst masks its unit")
            .package(
                service("shut", "idle")
                    .postinst("systemctl mask shut.service"),
            )
            .unit("shut")
            .fails("shut.service", "the unit is masked"),
        Entry::new("unit-syntax", "ExecStart= is no absolute path")
            .package(unit("typo", "[Service]\nExecStart=./typo --now\n"))
            .unit("typo")
            .fails("typo.service", "bad-setting"),
        Entry::new("unit-no-exec", "a [Service] section without ExecStart=")
            .package(unit("vain", "[Service]\nType=simple\nUser=root\n"))
            .unit("vain")
            .fails("vain.service", "bad-setting"),
        Entry::new("unit-section", "the name of its section is misspelt")
            .package(unit("sloppy", &format!("[Servce]\nExecStart={SERVER} idle\n")))
            .unit("sloppy")
            .fails("sloppy.service", "bad-setting"),
        Entry::new("unit-dangling", "its unit is a link that leads nowhere")
            .package(Deb::new("dangling").link("usr/lib/systemd/system/dangling.service", "/usr/share/nowhere.service"))
            .unit("dangling")
            .fails("dangling.service", "there is no such unit"),
        Entry::new("program-missing", "its program is not there")
            .package(unit("hollow", "[Service]\nExecStart=/usr/sbin/hollow\n[Install]\nWantedBy=multi-user.target\n").autostart("hollow.service"))
            .unit("hollow")
            .fails("hollow.service", "exit code 203"),
        Entry::new("program-not-executable", "its program may not be executed")
            .package(
                unit("plain", "[Service]\nExecStart=/usr/lib/plain\n")
                    .file("usr/lib/plain", "#!/bin/sh\nsleep infinity\n"),
            )
            .unit("plain")
            .fails("plain.service", "exit code 203"),
        Entry::new("user-missing", "its user is nobody's")
            .package(service_with("foreign", "idle", "User=no-such-user").autostart("foreign.service"))
            .unit("foreign")
            .fails("foreign.service", "exit code 217"),
        Entry::new("environment-missing", "its EnvironmentFile= is not there")
            .package(service_with("bare", "idle", "EnvironmentFile=/etc/default/bare"))
            .unit("bare")
            .fails("bare.service", "failed"),
        Entry::new("condition", "a condition of its unit does not hold")
            .package(unit("shy", &format!("[Unit]\nConditionPathExists=/no/such/path\n[Service]\nExecStart={SERVER} idle\n")))
            .unit("shy")
            .fails("shy.service", "a condition of it does not hold"),
        Entry::new("assertion", "an assertion of its unit does not hold")
            .package(unit("sure", &format!("[Unit]\nAssertPathExists=/no/such/path\n[Service]\nExecStart={SERVER} idle\n")))
            .unit("sure")
            .fails("sure.service", "inactive"),
        Entry::new("requires-missing", "Requires= a unit that is not there")
            .package(unit("alone", &format!("[Unit]\nRequires=no-such.service\nAfter=no-such.service\n[Service]\nExecStart={SERVER} idle\n")))
            .unit("alone")
            .fails("alone.service", "not found"),
        Entry::new("requires-failing", "Requires= a unit that fails")
            .package(
                unit("leaning", &format!("[Unit]\nRequires=rotten.service\nAfter=rotten.service\n[Service]\nExecStart={SERVER} idle\n"))
                    .unit("rotten.service", &format!("[Service]\nType=oneshot\nExecStart={SERVER} exit 1\n")),
            )
            .unit("leaning")
            .fails("leaning.service", "inactive"),
    ]
}

fn others() -> Vec<Entry> {
    vec![
        Entry::new("socket-bad", "a socket on an address that is nobody's")
            .package(
                Deb::new("nowhere")
                    .unit("nowhere.socket", "[Socket]\nListenStream=192.0.2.7:8080\n[Install]\nWantedBy=sockets.target\n")
                    .unit("nowhere.service", &format!("[Service]\nExecStart={SERVER} inherit serve '200 OK'\n")),
            )
            .unit("nowhere.socket")
            .fails("nowhere.socket", "failed"),
        Entry::new("socket-service-missing", "a socket without a service")
            .package(Deb::new("orphan").unit("orphan.socket", "[Socket]\nListenStream=127.0.0.1:8080\n"))
            .unit("orphan.socket")
            .fails("orphan.socket", ""),
        Entry::new("socket-service-dies", "a socket that listens, for a service that dies")
            .package(
                Deb::new("ambush")
                    .unit("ambush.socket", "[Socket]\nListenStream=127.0.0.1:8080\n[Install]\nWantedBy=sockets.target\n")
                    .unit("ambush.service", &format!("[Service]\nExecStart={SERVER} exit 1\n"))
                    .autostart("ambush.socket"),
            )
            .http()
            .fails("http://localhost", ""),
        Entry::new("timer-syntax", "a timer for a day that there is not")
            .package(
                Deb::new("never")
                    .unit("never.timer", "[Timer]\nOnCalendar=the day after\n[Install]\nWantedBy=timers.target\n")
                    .unit("never.service", &format!("[Service]\nType=oneshot\nExecStart={SERVER} exit 0\n")),
            )
            .unit("never.timer")
            .fails("never.timer", "bad-setting"),
        Entry::new("mount-fails", "a mount of a disk that is not there")
            .package(Deb::new("diskless").unit("srv-disk.mount", "[Mount]\nWhat=/dev/no-such-disk\nWhere=/srv/disk\nType=ext4\nTimeoutSec=3\n"))
            .unit("srv-disk.mount")
            .fails("srv-disk.mount", "")
            .waits(3),
        Entry::new("units-conflict", "two units that cannot be up at once")
            .package(
                Deb::new("rivals")
                    .unit("rival-a.service", &format!("[Unit]\nConflicts=rival-b.service\n[Service]\nExecStart={SERVER} idle\n"))
                    .unit("rival-b.service", &format!("[Service]\nExecStart={SERVER} idle\n")),
            )
            .unit("rival-a")
            .unit("rival-b")
            .fails("rival-a.service", ""),
        Entry::new("stopped-by-postinst", "its postinst starts it and stops it again")
            .package(
                service("paused", "idle")
                    .autostart("paused.service")
                    .postinst("systemctl stop paused.service"),
            )
            .unit("paused")
            .fails("paused.service", "inactive (dead)"),
        Entry::new("sysv-script", "an init script and no unit")
            .package(
                Deb::new("oldtimer")
                    .program(
                        "etc/init.d/oldtimer",
                        &format!("#!/bin/sh\n### BEGIN INIT INFO\n# Provides: oldtimer\n# Required-Start: $remote_fs\n# Required-Stop: $remote_fs\n# Default-Start: 2 3 4 5\n# Default-Stop: 0 1 6\n# Short-Description: old\n### END INIT INFO\ncase \"$1\" in\nstart) {SERVER} listen 127.0.0.1 8080 fork - serve '200 OK';;\nesac\n"),
                    )
                    .postinst("update-rc.d oldtimer defaults; invoke-rc.d oldtimer start"),
            )
            .unit("oldtimer")
            .http()
            .differs(
                "sid",
                Verdict::NotInstalled("oldtimer"),
                "its systemd has no generator for init scripts any more",
            ),
    ]
}
