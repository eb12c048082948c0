//! A task whose image is an archive.

use super::*;
use crate::support::archive::{Entry, Tar, gzip};
use crate::support::http::{Answer, Server};
use crate::support::tiny::noise;
use crate::support::tls::Authority;

/// How much memory postroj may have while it takes an archive that is much larger.
const MEMORY: usize = 96 << 20;

#[test]
fn an_archive_is_streamed() {
    streamed(&Place::direct());
}

pub(super) fn streamed(place: &Place) {
    let state = place.scratch().join("state");
    let archive = Tar::busybox()
        .with(Entry::file("noise", noise(1, 3 * MEMORY)))
        .bytes();
    let file = place.scratch().join("rootfs.tar.gz");
    let packed = gzip(&archive);
    assert!(packed.len() > 2 * MEMORY);
    fs::write(&file, &packed).expect("write the archive");
    let server = Server::start();
    let answer = Answer::body(packed);
    let url = server.put("/rootfs.tar.gz", answer.clone());
    let authority = Authority::new();
    let tls_server = Server::start_on("127.0.0.1:0", Some(authority.server()));
    tls_server.put("/rootfs.tar.gz", answer);
    let secured = format!("https://{}/rootfs.tar.gz", tls_server.address());
    for image in [format!("file://{}", file.display()), url, secured] {
        let limit = format!("--data={MEMORY}");
        let words = [
            "task",
            "create",
            &image,
            "/bin/busybox",
            "wc",
            "-c",
            "/noise",
        ];
        let created = place
            .postroj(words)
            .under(["prlimit", &limit])
            .env("POSTROJ_STATE_DIR", &state)
            .env("SSL_CERT_FILE", authority.path("ca.crt"))
            .run()
            .exits(0);
        let id = created.stdout.trim_end().to_owned();
        let ask = |words: &[&str]| place.postroj(words).env("POSTROJ_STATE_DIR", &state).run();
        assert_eq!(ask(&["task", "wait", &id]).exits(0).stdout, "0\n");
        let logs = ask(&["task", "logs", &id]).exits(0).stdout;
        assert_eq!(logs, format!("{} /noise\n", 3 * MEMORY));
        ask(&["task", "rm", &id]).exits(0);
    }
}
