//! Debian's `docker-registry`, with TLS and passwords, filled and read by skopeo too.

use std::fs;
use std::path::Path;

use super::credentials::{PASSWORD, USER, keeps_quiet};
use crate::support::archive::{Entry, Tar};
use crate::support::oci::{Client, Image, Layer};
use crate::support::process::{Outcome, tool};
use crate::support::registry::Registry;
use crate::support::tls::Authority;

/// A registry that holds `team/app` in several forms, and who may pull from it.
struct Secured {
    client: Client,
    authority: Authority,
    registry: Registry,
    digest: String,
}

impl Secured {
    fn start(clients: bool) -> Self {
        let (client, authority) = (Client::new(), Authority::new());
        let data = client.home().join("registry");
        fs::create_dir_all(&data).expect("create a directory");
        let registry = Registry::secured(&data, &authority, clients);
        let certificates = client.home().join("skopeo");
        authority.copy(&["ca.crt", "client.cert", "client.key"], &certificates);
        let image = || {
            Image::new()
                .layer(Layer::gzip(&Tar::bootable().bytes()))
                .layer(Layer::gzip(&Tar::new().with(Entry::file("x", "x")).bytes()))
        };
        let put = image().put(&client.server, "repo", "tag");
        let index = image().index(|_| ()).put(&client.server, "repo", "index");
        for (from, to, options) in [
            (&put, "oci", ["--format", "oci"]),
            (&put, "docker", ["--format", "v2s2"]),
            (&index, "index", ["--multi-arch", "all"]),
        ] {
            let to = format!("docker://{}/team/app:{to}", registry.address);
            let from = format!("docker://{}", from.reference);
            let credentials = format!("{USER}:{PASSWORD}");
            let mut arguments = vec!["copy", "--quiet", "--insecure-policy"];
            arguments.extend(options);
            arguments.extend(["--src-tls-verify=false", "--dest-creds", &credentials]);
            arguments.extend(["--dest-cert-dir", path(&certificates), &from, &to]);
            tool("skopeo", &arguments);
        }
        Self {
            client,
            authority,
            registry,
            digest: put.digest,
        }
    }

    fn reference(&self, tag: &str) -> String {
        format!("{}/team/app:{tag}", self.registry.address)
    }

    /// Has postroj know what is in the directory for the registry's certificates.
    fn trust(&self, names: &[&str]) {
        let all = self.client.home().join(".config/containers/certs.d");
        self.authority
            .copy(names, &all.join(&self.registry.address));
    }

    fn login(&self, password: &str) -> Outcome {
        let arguments = [
            "login",
            "-u",
            USER,
            "--password-stdin",
            &self.registry.address,
        ];
        keeps_quiet(self.client.postroj(&arguments).stdin(password).run())
    }
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn a_registry_with_tls_and_passwords() {
    let secured = Secured::start(false);
    let client = &secured.client;
    let pull = |tag: &str| client.pull(&secured.reference(tag));
    pull("oci").exits(3).stderr_has("ertificate");
    secured.trust(&["ca.crt"]);
    pull("oci")
        .exits(3)
        .stderr_has("the registry wants credentials")
        .stderr_has(&format!(
            "hint: log in: postroj login {}",
            secured.registry.address
        ));
    secured
        .login("wrong")
        .exits(3)
        .stderr_has("does not accept the credentials");
    secured.login(PASSWORD).exits(0);
    for tag in ["oci", "docker", "index"] {
        pull(tag).exits(0).stderr_has(": pulled");
        pull(tag).exits(0).stderr_has(": up to date");
    }
    let by_digest = format!("{}/team/app@{}", secured.registry.address, secured.digest);
    client.pull(&by_digest).exits(0);
    pull("missing").exits(3).stderr_has("404 Not Found");

    // skopeo reads what was written, and postroj what skopeo writes.
    let certificates = client.home().join("skopeo");
    let written = client.home().join("run/containers/auth.json");
    let reference = format!("docker://{}", secured.reference("oci"));
    let cert_dir = ["--cert-dir", path(&certificates)];
    let mut arguments = vec!["inspect", "--authfile", path(&written)];
    arguments.extend(cert_dir);
    arguments.push(&reference);
    tool("skopeo", &arguments);
    client
        .postroj(&["logout", &secured.registry.address])
        .run()
        .exits(0);
    pull("oci")
        .exits(3)
        .stderr_has("the registry wants credentials");
    let theirs = client.home().join("theirs.json");
    let mut arguments = vec!["login", "--authfile", path(&theirs)];
    arguments.extend(cert_dir);
    arguments.extend(["-u", USER, "-p", PASSWORD, &secured.registry.address]);
    tool("skopeo", &arguments);
    client
        .postroj(&[
            "pull",
            "--authfile",
            path(&theirs),
            &secured.reference("oci"),
        ])
        .run()
        .exits(0)
        .stderr_has(": up to date");
}

#[test]
fn a_mirror_of_docker_io_with_a_password_of_its_own() {
    let secured = Secured::start(false);
    let client = &secured.client;
    secured.trust(&["ca.crt"]);
    secured.login(PASSWORD).exits(0);
    let conf = format!(
        "[[registry]]\nprefix = \"docker.io/library\"\nlocation = \"docker.io/library\"\n\
         [[registry.mirror]]\nlocation = \"{}/team\"\n",
        secured.registry.address
    );
    fs::write(client.conf(), conf).expect("write registries.conf");
    client.pull("app:oci").exits(0);
    let record = client.record("docker.io/library/app:oci");
    assert_eq!(record["digest"], secured.digest);
}

#[test]
fn a_registry_that_wants_a_certificate() {
    let secured = Secured::start(true);
    secured.trust(&["ca.crt"]);
    secured.login(PASSWORD).exits(3);
    secured.trust(&["client.cert", "client.key"]);
    secured.login(PASSWORD).exits(0);
    secured.client.pull(&secured.reference("oci")).exits(0);
    // A key without its certificate is a mistake.
    let all = secured.client.home().join(".config/containers/certs.d");
    fs::remove_file(all.join(&secured.registry.address).join("client.cert")).expect("remove");
    secured
        .client
        .pull(&secured.reference("docker"))
        .exits(2)
        .stderr_has("client.key: there is no certificate");
}
