//! The tests' own ground: each part of [`crate::support`] does what the tests take for granted.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::support::http::{Answer, Server};
use crate::support::nested::Nested;
use crate::support::registry::Registry;
use crate::support::{Deb, deb, process, sweep};

#[test]
fn nested_host_runs_systemd_and_machined() {
    let host = Nested::boot();
    // machined starts when it is first asked for something.
    host.run(&["machinectl", "list"])
        .exits(0)
        .stdout_has("No machines.");
    host.run(&["sh", "-c", "echo out; echo err >&2; exit 7"])
        .exits(7)
        .stdout_has("out")
        .stderr_has("err");
    host.run(&["cat", "/proc/1/comm"])
        .exits(0)
        .stdout_has("systemd");
    let path = host.scratch().join("shared");
    std::fs::write(&path, "the same file").expect("write");
    host.run(&["cat", path.to_str().expect("UTF-8")])
        .exits(0)
        .stdout_has("the same file");
}

#[test]
fn sweep_sees_a_mount_a_process_and_a_file() {
    let host = Nested::boot();
    let look = || sweep::look(&host.root(), &host.mountinfo(), &host.state);
    let before = look();
    host.run(&["sh", "-c", "true"]).exits(0);
    assert_eq!(look().since(&before), Vec::<String>::new());
    host.run(&["sh", "-c", "mount -t tmpfs left /mnt; mkdir -p /run/postroj/left; setsid unshare --pid --fork sh -c 'exec sleep 4700' >/dev/null 2>&1 </dev/null &"])
        .exits(0);
    process::wait_for_argument("4700");
    let left = look().since(&before);
    assert!(
        left.iter().any(|line| line.starts_with("mount /mnt")),
        "{left:?}"
    );
    assert!(
        left.iter()
            .any(|line| line.starts_with("file /run/postroj/left")),
        "{left:?}"
    );
    assert!(
        left.iter()
            .any(|line| line.starts_with("process ") && line.ends_with(" sleep")),
        "{left:?}"
    );
}

#[test]
fn registry_serves_debian() {
    let registry = Registry::with_debian();
    let image = format!("docker://{}/library/debian:bookworm", registry.address);
    process::tool("skopeo", &["inspect", "--tls-verify=false", &image]).stdout_has("sha256:");
}

#[test]
fn web_server_has_the_faults_asked_for() {
    let server = Server::start();
    server.put("/file", Answer::body("0123456789"));
    server.put("/cut", Answer::body("0123456789").cut_at(4));
    server.put("/plain", Answer::body("0123456789").without_ranges());
    let get = |path: &str, header: &str| {
        let mut stream = TcpStream::connect(server.address()).expect("connect");
        write!(stream, "GET {path} HTTP/1.1\r\n{header}\r\n").expect("ask");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("read");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        (
            head.split(' ').nth(1).expect("a status").to_owned(),
            body.to_owned(),
        )
    };
    let is = |status: &str, body: &str| (status.to_owned(), body.to_owned());
    assert_eq!(get("/file", ""), is("200", "0123456789"));
    assert_eq!(get("/file", "Range: bytes=7-\r\n"), is("206", "789"));
    assert_eq!(
        get("/plain", "Range: bytes=7-\r\n"),
        is("200", "0123456789")
    );
    assert_eq!(get("/cut", ""), is("200", "0123"));
    assert_eq!(get("/none", ""), is("404", ""));
    assert_eq!(server.requests()[1].from, Some(7));
}

#[test]
fn packages_are_what_dpkg_takes() {
    let directory = tempfile::tempdir().expect("a directory");
    let package = Deb::new("try")
        .service(&deb::web_server(8099, "500 Oops"))
        .postinst("true")
        .build(directory.path(), "a file.deb");
    process::tool(
        "dpkg-deb",
        &["--contents", package.to_str().expect("UTF-8")],
    )
    .stdout_has("try.service");
}
