//! Files of goss are read as checks, and what they ask is asked of a container.

use std::fs;

use serde_json::Value;

use crate::support::{Deb, Place};

const IMAGE: &str = "debian-bookworm";

/// A web server with a page and a redirection to it.
const SERVER: &str = r#"use IO::Socket::INET;
$s = IO::Socket::INET->new(LocalPort => 8098, Listen => 9, ReuseAddr => 1) or die $@;
while ($c = $s->accept) {
    $first = <$c>;
    while (($_ = <$c>) =~ /[^\r\n]/) {}
    $body = "<h1>Hello</h1>\nThe second line.\n";
    $head = $first =~ m( /page ) ? "200 OK" : "302 Found\r\nLocation: /page";
    print $c "HTTP/1.1 $head\r\nContent-Type: text/html; charset=utf-8\r\n",
        "Content-Length: ", length $body, "\r\nConnection: close\r\n\r\n", $body;
    close $c;
}
"#;

/// All of it holds.
const GOOD: &str = r#"
gossfile:
  more/included.json: {}
file:
  /etc/rich/rich.conf:
    title: the configuration
    exists: true
    mode: "0644"
    owner: root
    group: root
    filetype: file
    size: {and: [{gt: 5}, {lt: 100}]}
    sha256: 4daacd4b4e51f05bef74e780a1c3a6b33ee6053317541f2739ad5c425eeb2631
    contents:
      - port = 8098
      - '/^port = \d+$/'
      - '!nonsense'
      - '!/^debug/'
  /etc/rich/link:
    exists: true
    filetype: symlink
    linked-to: rich.conf
    mode: "0777"
    contents: [port]
  /etc/rich/none: {exists: false}
command:
  echo hello; echo; echo oops >&2:
    exit-status: 0
    stdout: [hello, '/^hel+o$/', '!bye']
    stderr: {have-prefix: oops}
  ends badly: {exec: exit 3, exit-status: 3}
  skipped: {exec: "false", exit-status: 0, skip: true}
http:
  http://localhost:8098/:
    status: 200
    headers: ["Content-Type: text/html"]
    body: ['/^The .*\.$/', '!Bye']
  http://localhost:8098/moved: {status: 302, no-follow-redirects: true}
port:
  tcp:8098: {listening: true, ip: [0.0.0.0]}
  tcp6:8098: {listening: false}
service:
  rich: {enabled: true, running: true}
  nosuch: {enabled: false, running: false}
process:
  perl: {running: true}
  # A program of this file is running, by another name.
  dash: {running: false}
user:
  rich:
    exists: true
    uid: 877
    groups: {consist-of: [rich, adm]}
    home: /var/lib/rich
    shell: /usr/sbin/nologin
  poor: {exists: false, uid: 1}
group:
  rich: {exists: true}
package:
  rich: {installed: true, versions: ["1:2.5-3"]}
  none: {installed: false}
mount:
  /run/rich:
    exists: true
    opts: [nosuid, rw]
    vfs-opts: [size=1024k]
    source: rich
    filesystem: tmpfs
    usage: {lt: 95}
  /mnt: {exists: false}
kernel-param:
  kernel.ostype: {value: Linux}
  kernel.pid_max: {value: {gt: 300}}
dns:
  localhost: {resolvable: true, timeout: 500}
  no-such-host.invalid: {resolvable: false}
"#;

/// Nothing of it does.
const BAD: &str = r#"
file:
  /etc/rich/rich.conf: {title: bad, exists: true, mode: "0600"}
  /etc/rich/link: {title: bad, exists: true, filetype: file}
  /etc/rich: {title: bad, exists: false}
  /etc/hostname: {title: bad, exists: true, contents: ['!/^/']}
command:
  echo hello: {title: bad, exit-status: 0, stdout: hello, timeout: 5000}
http:
  http://localhost:8098/: {title: bad, status: 302, timeout: 300}
  http://localhost:8098/page: {title: bad, status: 200, body: [Bye], timeout: 300}
port:
  tcp:8098: {title: bad, listening: true, ip: [127.0.0.1]}
  tcp6:8098: {title: bad, listening: true}
service:
  idle: {title: bad, enabled: true, running: true}
addr:
  tcp://localhost:8099: {title: bad, reachable: true, timeout: 300}
process:
  perl: {title: bad, running: false}
  dash: {title: bad, running: true}
user:
  rich: {title: bad, exists: true, uid: 878, groups: {consist-of: [rich]}}
  poor: {title: bad, exists: true}
group:
  rich: {title: bad, exists: true, gid: 1}
package:
  rich: {title: bad, installed: true, versions: ["2.5"]}
mount:
  /run/rich: {title: bad, exists: true, opts: [noexec], vfs-opts: [nosuid], timeout: 300}
  /mnt: {title: bad, exists: true, timeout: 300}
kernel-param:
  kernel.ostype: {title: bad, value: {have-prefix: Hurd}}
  kernel.pid_max: {title: bad, value: {lt: 2}}
dns:
  localhost: {title: bad, resolvable: true, addrs: [192.0.2.1]}
  no-such-host.invalid: {title: bad, resolvable: true}
"#;

/// What is seen instead, of each check.
const SEEN: &[(&str, &str)] = &[
    ("file /etc/rich/rich.conf: ", "its mode is 0644, not 0600"),
    ("file /etc/rich/link: ", "it is a symbolic link, not a file"),
    ("file /etc/rich: ", "it is there, a directory"),
    ("file /etc/hostname: ", "it does not match !/^/"),
    ("command echo hello: ", "standard output does not match"),
    ("http http://localhost:8098/: ", "status 200"),
    (
        "http http://localhost:8098/page: ",
        "the body lacks \"Bye\"",
    ),
    ("port tcp/8098: ", "0.0.0.0:8098 perl of rich.service"),
    ("unit idle.service: ", "it is not up, it is disabled"),
    ("tcp localhost:8099: ", "refused"),
    ("process perl: ", "1 process"),
    ("process dash: ", "there is no such process"),
    (
        "user rich: ",
        "its uid is 877, not 878, it is in the group adm",
    ),
    ("user poor: ", "there is no such user"),
    ("group rich: ", "its gid is "),
    (
        "package rich: ",
        "its version is 1:2.5-3, which does not match",
    ),
    ("mount /run/rich: ", "its vfs-options lack noexec: "),
    ("mount /run/rich: ", "its fs-options lack nosuid: "),
    ("mount /mnt: ", "nothing is mounted there"),
    (
        "kernel-param kernel.ostype: ",
        "it is \"Linux\", which does not match",
    ),
    ("kernel-param kernel.pid_max: ", "it is "),
    ("dns localhost: ", "127.0.0.1"),
    ("dns no-such-host.invalid: ", "it does not resolve"),
];

/// What the package has beside its files.
const SETUP: &str = "useradd --system --uid 877 --groups adm --home-dir /var/lib/rich --shell /usr/sbin/nologin rich
systemctl daemon-reload
systemctl start run-rich.mount shell.service";

#[test]
fn goss_files_run_as_they_are() {
    let place = Place::direct();
    let package = Deb::new("rich")
        .file("etc/rich/rich.conf", "port = 8098\n")
        .link("etc/rich/link", "rich.conf")
        .program("usr/lib/rich/server", SERVER)
        .service("/usr/bin/perl /usr/lib/rich/server")
        .unit(
            "idle.service",
            "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n",
        )
        .unit(
            "run-rich.mount",
            "[Mount]\nWhat=rich\nWhere=/run/rich\nType=tmpfs\nOptions=nosuid,size=1m\n",
        )
        .unit(
            "shell.service",
            "[Service]\nExecStart=/usr/lib/rich/named-sh -c 'sleep infinity; true'\n",
        )
        .link("usr/lib/rich/named-sh", "/bin/sh")
        .version("1:2.5-3")
        .depends("passwd")
        .postinst(SETUP)
        .autostart("rich.service")
        .build(place.scratch(), "rich.deb");
    let at = place.scratch();
    fs::create_dir(at.join("more")).expect("the directory is made");
    fs::write(at.join("good.yaml"), GOOD).expect("it is written");
    fs::write(at.join("bad.yml"), BAD).expect("it is written");
    let included = r#"{"addr": {"tcp://localhost:8098": {"reachable": true, "timeout": 5000}}}"#;
    fs::write(at.join("more/included.json"), included).expect("it is written");

    let path = |name: &str| at.join(name).to_str().expect("UTF-8").to_owned();
    let arguments = [
        "--package",
        package.to_str().expect("UTF-8"),
        "--probe",
        &path("good.yaml"),
        "--probe",
        &path("bad.yml"),
        "--unit-timeout",
        "300ms",
        "--check-timeout",
        "300ms",
        "--json",
    ];
    let outcome = place.pkgprobe(IMAGE, arguments).run().exits(1);
    let outcome = outcome.stderr_has("command: \"skipped\" is skipped, as it says");
    let report: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    let checks = report["images"][0]["checks"].as_array().expect("a list");
    let (bad, good): (Vec<&Value>, Vec<&Value>) =
        checks.iter().partition(|check| check["title"] == "bad");
    for check in &good {
        assert_eq!(check["passed"], true, "{check}");
    }
    assert_eq!(good.len(), 25, "{good:#?}");
    let seen: Vec<String> = bad
        .iter()
        .map(|check| {
            assert_eq!(check["passed"], false, "{check}");
            let text = |key: &str| check[key].as_str().unwrap_or_default().to_owned();
            format!(
                "{} {}: {}",
                text("kind"),
                text("target"),
                text("observation")
            )
        })
        .collect();
    for (check, observation) in SEEN {
        let is_seen = |line: &&String| line.starts_with(check) && line.contains(observation);
        assert!(
            seen.iter().any(|line| is_seen(&line)),
            "{check}{observation}: {seen:#?}"
        );
    }
    assert_eq!(seen.len(), 23, "{seen:#?}");
}

#[test]
fn what_is_not_supported_is_named() {
    let place = Place::direct();
    let path = place.scratch().join("goss.yaml");
    let text = "http: {'https://x': {status: 200, body: {gjson: {a: b}}}}\ninterface: {lo: {exists: true}}\n";
    fs::write(&path, text).expect("it is written");
    let outcome = place
        .pkgprobe(IMAGE, ["--probe", path.to_str().expect("UTF-8")])
        .run()
        .exits(2);
    outcome
        .stderr_has("goss.yaml: http: \"https://x\": body: matcher \"gjson\" is not supported")
        .stderr_has("goss.yaml: resource \"interface\" is not supported");
}
