//! Services that are up and do not answer as they should.

use crate::entry::{Entry, service, service_with};

pub(super) fn entries() -> Vec<Entry> {
    let at = |name: &'static str, what, script: &str| {
        Entry::new(name, what)
            .package(service(name, script).autostart(&format!("{name}.service")))
            .unit(name)
            .http()
            .arguments(["--network-timeout", "2"])
    };
    vec![
        at(
            "wrong-port",
            "listens on another port",
            "listen 127.0.0.1 9 serve '200 OK'",
        )
        .fails("http://localhost", "connection refused"),
        at("nothing-listens", "runs, and listens nowhere", "idle")
            .fails("http://localhost", "connection refused"),
        at(
            "other-loopback",
            "binds 127.0.0.2 alone",
            "listen 127.0.0.2 8080 serve '200 OK'",
        )
        .fails("http://localhost", "connection refused"),
        at(
            "status-500",
            "answers 500",
            "listen 127.0.0.1 8080 serve '500 Oops'",
        )
        .fails("http://localhost", "status 500"),
        at(
            "status-404",
            "answers 404",
            "listen 127.0.0.1 8080 serve '404 Not Found'",
        )
        .fails("http://localhost", "status 404"),
        at(
            "status-503",
            "answers 503",
            "listen 127.0.0.1 8080 serve '503 Service Unavailable'",
        )
        .fails("http://localhost", "status 503"),
        at(
            "hangs-after-accept",
            "accepts and says nothing",
            "listen 127.0.0.1 8080 hang",
        )
        .fails("http://localhost", "timed out"),
        at(
            "never-accepts",
            "listens and never accepts",
            "listen 127.0.0.1 8080 idle",
        )
        .fails("http://localhost", "timed out"),
        at(
            "drops",
            "accepts and hangs up",
            "listen 127.0.0.1 8080 drop",
        )
        .fails("http://localhost", ""),
        at(
            "garbage",
            "answers with what is no HTTP",
            "listen 127.0.0.1 8080 garbage",
        )
        .fails("http://localhost", ""),
        at(
            "too-late",
            "listens after 4 s, and is given 2",
            "sleep 4000 listen 127.0.0.1 8080 serve '200 OK'",
        )
        .fails("http://localhost", "connection refused"),
        Entry::new(
            "ipv6-asked-of-ipv4",
            "listens on IPv4, and is asked on IPv6",
        )
        .package(service("four", "listen 127.0.0.1 8080 serve '200 OK'").autostart("four.service"))
        .network("tcp://[::1]:8080")
        .network("tcp://127.0.0.1:8080")
        .arguments(["--network-timeout", "1"])
        .fails("tcp://[::1]", "connection refused"),
        Entry::new("unix-not-tcp", "has a Unix socket where a port is wanted")
            .package(
                service("local", "unix /run/local.sock serve '200 OK'").autostart("local.service"),
            )
            .unit("local")
            .network("tcp://localhost:8080")
            .arguments(["--network-timeout", "1"])
            .fails("tcp://localhost", "connection refused"),
        Entry::new("no-tls", "speaks no TLS where it is wanted")
            .package(
                service("clear", "listen 127.0.0.1 8080 serve '200 OK'").autostart("clear.service"),
            )
            .unit("clear")
            .network("https://localhost:8080/")
            .arguments(["--network-timeout", "2"])
            .fails("https://localhost", ""),
        Entry::new("port-held", "its port is held by another unit")
            .package(
                service("holder", "listen 127.0.0.1 8080 serve '200 OK'")
                    .autostart("holder.service"),
            )
            .package(
                service("latecomer", "listen 127.0.0.1 8080 serve '200 OK'")
                    .depends("holder")
                    .autostart("latecomer.service"),
            )
            .unit("latecomer")
            .http()
            .fails("latecomer.service", "exit code 1")
            .shows("bind: Address already in use"),
        Entry::new("port-held-and-retried", "the same, and it tries for ever")
            .package(
                service("holder", "listen 127.0.0.1 8080 serve '200 OK'")
                    .autostart("holder.service"),
            )
            .package(
                service_with(
                    "latecomer",
                    "listen 127.0.0.1 8080 serve '200 OK'",
                    "Restart=always\nRestartSec=200ms\n[Unit]\nStartLimitIntervalSec=0",
                )
                .depends("holder")
                .autostart("latecomer.service"),
            )
            .unit("latecomer")
            .fails("latecomer.service", ""),
    ]
}
