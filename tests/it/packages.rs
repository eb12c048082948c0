//! Real packages that work: by URL, by name, from a file.

use std::process::Command;

use crate::support::http::{Answer, Server};
use crate::support::{Deb, Place, process};

/// The URL that the machine's own apt has for the package.
fn url(package: &str) -> String {
    let ask = || {
        let mut command = Command::new("apt-get");
        command.args(["download", "--print-uris", package]);
        process::run(command)
            .stdout
            .split('\'')
            .nth(1)
            .map(str::to_owned)
    };
    ask().unwrap_or_else(|| {
        process::tool("apt-get", &["-qq", "update"]);
        ask().expect("apt knows the package")
    })
}

/// What goes wrong and changes no verdict is told without being asked for, and only then.
#[test]
fn a_cache_that_cannot_be_used() {
    let place = Place::direct();
    let package = Deb::new("plain").build(place.scratch(), "plain.deb");
    let run = || {
        let run = place.pkgprobe("debian-bookworm", ["--package"]);
        run.args([&package])
    };
    let warning = "WARN postroj::pkgprobe: packages are not kept error=Not a directory";
    assert!(!run().run().exits(0).stderr.contains("WARN"));
    let cache = place.scratch().join("no-cache");
    std::fs::create_dir(&cache).expect("create");
    std::fs::write(cache.join("packages"), "").expect("write");
    let run = || run().env("POSTROJ_CACHE_DIR", &cache);
    run().run().exits(0).stderr_has(warning);
    let outcome = run().args(["--quiet"]).run().exits(0);
    assert!(!outcome.stderr.contains("WARN"), "{outcome}");
}

fn webfs_by_url(place: &Place) {
    let url = url("webfs");
    place
        .pkgprobe(
            "debian-bookworm",
            [
                "--package",
                &url,
                "--check-unit",
                "webfs",
                "--check-network",
                "http://localhost:8000",
            ],
        )
        .run()
        .exits(0);
}

#[test]
fn webfs_by_url_directly() {
    webfs_by_url(&Place::direct());
}

#[test]
fn webfs_by_url_on_a_host_with_systemd() {
    webfs_by_url(&Place::systemd(&["debian-bookworm"]));
}

#[test]
fn lighttpd_by_name() {
    Place::direct()
        .pkgprobe(
            "debian-bookworm",
            [
                "--package",
                "lighttpd",
                "--check-unit",
                "lighttpd",
                "--check-network",
                "http://localhost:80",
            ],
        )
        .run()
        .exits(0);
}

#[test]
fn redis_by_name() {
    Place::direct()
        .pkgprobe(
            "debian-bookworm",
            [
                "--package",
                "redis-server",
                "--check-unit",
                "redis-server",
                "--check-network",
                "tcp://localhost:6379",
            ],
        )
        .run()
        .exits(0);
}

#[test]
fn file_with_spaces_and_a_dependency() {
    let place = Place::direct();
    let package = Deb::new("spaced")
        .service("/bin/sleep infinity")
        .depends("media-types")
        .build(place.scratch(), "a package, v1.0 (test).deb");
    let package = package.to_str().expect("UTF-8");
    let report = place
        .pkgprobe(
            "debian-bookworm",
            ["--package", package, "--check-unit", "spaced", "--json"],
        )
        .run()
        .exits(0);
    let report: serde_json::Value =
        serde_json::from_str(&report.stdout).expect("JSON and nothing else");
    assert!(report.is_object(), "{report}");
}

#[test]
fn several_packages_and_checks_in_one_run() {
    let place = Place::direct();
    let one = Deb::new("one")
        .service("/bin/sleep infinity")
        .build(place.scratch(), "one.deb");
    // Needs the other one, which no repository has.
    let two = Deb::new("two")
        .service("/bin/sleep infinity")
        .depends("one")
        .build(place.scratch(), "two.deb");
    let (one, two) = (one.to_str().expect("UTF-8"), two.to_str().expect("UTF-8"));
    place
        .pkgprobe(
            "debian-bookworm",
            [
                "--package",
                two,
                "--package",
                one,
                "--check-unit",
                "one",
                "--check-unit",
                "two.service",
            ],
        )
        .run()
        .exits(0);
}

#[test]
fn other_kinds_of_unit() {
    let place = Place::direct();
    let package = Deb::new("kinds")
        .unit("kinds.service", "[Service]\nExecStart=/bin/cat\nStandardInput=socket\n")
        .unit("kinds.socket", "[Socket]\nListenStream=/run/kinds.sock\nAccept=no\n[Install]\nWantedBy=sockets.target\n")
        .unit("kinds-tick.service", "[Service]\nType=oneshot\nExecStart=/bin/true\n")
        .unit("kinds-tick.timer", "[Timer]\nOnUnitActiveSec=1h\nOnActiveSec=1h\n[Install]\nWantedBy=timers.target\n")
        .unit("kinds-seen.service", "[Service]\nType=oneshot\nExecStart=/bin/true\n")
        .unit("kinds-seen.path", "[Path]\nPathExists=/nowhere\n[Install]\nWantedBy=paths.target\n")
        .unit("mnt-kinds.mount", "[Mount]\nWhat=tmpfs\nWhere=/mnt/kinds\nType=tmpfs\n[Install]\nWantedBy=multi-user.target\n")
        .unit("kinds-once.service", "[Service]\nType=oneshot\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n")
        .build(place.scratch(), "kinds.deb");
    let mut arguments = vec!["--package", package.to_str().expect("UTF-8")];
    for unit in [
        "kinds.socket",
        "kinds-tick.timer",
        "kinds-seen.path",
        "mnt-kinds.mount",
        "kinds-once",
    ] {
        arguments.extend(["--check-unit", unit]);
    }
    place.pkgprobe("debian-bookworm", arguments).run().exits(0);
}

#[test]
fn a_download_that_is_cut_short_goes_on_where_it_was() {
    let place = Place::direct();
    let package = Deb::new("resumed")
        .service("/bin/sleep infinity")
        .build(place.scratch(), "resumed.deb");
    let bytes = std::fs::read(package).expect("read the package");
    let server = Server::start();
    let half = bytes.len() / 2;
    let url = server.put("/resumed.deb", Answer::body(bytes).cut_at(half));
    place
        .pkgprobe(
            "debian-bookworm",
            ["--package", &url, "--check-unit", "resumed"],
        )
        .run()
        .exits(0);
    assert!(
        server
            .requests()
            .iter()
            .any(|request| request.from.is_some_and(|from| from >= half)),
        "{:?}",
        server.requests()
    );
}

/// What a trimmed boot leaves out is there for who asks for it, by whatever name, and for a package.
#[test]
fn login_manager_is_there_when_it_is_wanted() {
    let place = Place::direct();
    let check = |unit: &str| {
        place
            .pkgprobe("debian-bookworm", ["--check-unit", unit])
            .run()
            .exits(0)
    };
    check("systemd-logind").stdout_has("started by the image");
    check("dbus-org.freedesktop.login1");
    let package = Deb::new("asks")
        .postinst("loginctl list-sessions --no-legend")
        .build(place.scratch(), "asks.deb");
    place
        .pkgprobe(
            "debian-bookworm",
            ["--package", package.to_str().expect("UTF-8")],
        )
        .run()
        .exits(0);
}
