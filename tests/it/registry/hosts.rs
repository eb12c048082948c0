//! Where a registry is, where it sends us, and how it is reached.

use std::fs;

use serde_json::json;

use super::credentials::{PASSWORD, USER, auths, keeps_quiet, write};
use crate::support::archive::Tar;
use crate::support::http::{Answer, Server};
use crate::support::oci::{Client, Image, Layer, Put, architecture};
use crate::support::tls::Authority;

fn image() -> Image {
    Image::of(Tar::bootable())
}

/// An image on a server with TLS, whose certificate is of an authority that nobody knows.
fn encrypted() -> (Client, Authority, Server, Put) {
    let authority = Authority::new();
    let server = Server::start_on("127.0.0.1:0", Some(authority.server()));
    let put = image().put(&server, "repo", "tag");
    (Client::new(), authority, server, put)
}

/// The path of the image's layer.
fn layer() -> String {
    let layer = Layer::gzip(&Tar::bootable().bytes());
    format!("/v2/repo/blobs/{}", layer.digest())
}

#[test]
fn certificates_are_taken_from_where_podman_keeps_them() {
    let (client, authority, server, put) = encrypted();
    client
        .pull(&put.reference)
        .exits(3)
        .stderr_has("certs.d/HOST:PORT");
    assert_eq!(server.requests().len(), 0);
    let own = client.home().join("certificates");
    authority.copy(&["ca.crt"], &own);
    let own = own.to_str().expect("UTF-8");
    let with = |option: &str, value: &str| {
        let forget = fs::remove_dir_all(client.store().join("images"));
        drop(forget);
        client
            .postroj(&["pull", "--force", option, value, &put.reference])
            .run()
    };
    with("--cert-dir", own).exits(0);
    with("--cert-dir", "/nonexistent").exits(2);
    let host = server.address().to_string();
    let of_host = client.home().join(".config/containers/certs.d").join(&host);
    authority.copy(&["ca.crt"], &of_host);
    client.pull(&put.reference).exits(0);
    fs::write(of_host.join("bad.crt"), "no certificate").expect("write");
    client
        .postroj(&["pull", "--force", &put.reference])
        .run()
        .exits(2)
        .stderr_has("bad.crt");
    fs::write(of_host.join("bad.crt"), "").expect("write");
    fs::remove_dir_all(&of_host).expect("remove the certificates");
    client
        .postroj(&["pull", "--force", &put.reference])
        .run()
        .exits(3);
    client
        .postroj(&["pull", "--force", "--tls-verify=false", &put.reference])
        .run()
        .exits(0);
}

#[test]
fn redirects_lead_neither_to_plain_http_nor_in_circles() {
    let (client, authority, server, put) = encrypted();
    let own = client.home().join("certificates");
    authority.copy(&["ca.crt"], &own);
    let own = own.to_str().expect("UTF-8");
    let pull = || {
        client
            .postroj(&["pull", "--cert-dir", own, &put.reference])
            .run()
    };
    let plain = Server::start();
    plain.put("/blob", Answer::body("x"));
    server.put(&layer(), Answer::redirect(plain.url("/blob")));
    pull()
        .exits(3)
        .stderr_has("it redirects from https to http");
    assert_eq!(plain.requests().len(), 0);
    for (location, word) in [
        (layer(), "it redirects too often"),
        ("file:///etc/passwd".to_owned(), "redirects"),
        (String::new(), "it redirects too often"),
        ("http://".to_owned(), "it redirects to nowhere"),
    ] {
        server.put(&layer(), Answer::redirect(location.clone()));
        let outcome = pull().exits(3);
        assert!(outcome.stderr.contains(word), "{location}\n{outcome}");
    }
    server.put(&layer(), Answer::status(302));
    pull().exits(3).stderr_has("it redirects to nowhere");
    // To another place of its own is fine, and from http to https too.
    let blob = crate::support::archive::gzip(&Tar::bootable().bytes());
    server.put("/moved", Answer::body(blob));
    server.put(&layer(), Answer::redirect("/moved"));
    pull().exits(0);
    let put = image().put(&client.server, "repo", "tag");
    client.server.put(
        &layer(),
        Answer::redirect(format!("https://{}/moved", server.address())),
    );
    fs::remove_dir_all(client.store()).expect("remove the store");
    client
        .postroj(&["pull", "--cert-dir", own, &put.reference])
        .run()
        .exits(0);
}

#[test]
fn a_token_server_is_https_where_the_registry_is() {
    let (client, authority, server, put) = encrypted();
    let own = client.home().join("certificates");
    authority.copy(&["ca.crt"], &own);
    let own = own.to_str().expect("UTF-8");
    let plain = Server::start();
    plain.put("/token", Answer::body(r#"{"token":"token-1"}"#));
    let challenge = |realm: &str| {
        let realm = format!("Bearer realm=\"{realm}\",service=\"x\"");
        Answer::status(401).header("WWW-Authenticate", realm)
    };
    let file = client.home().join("auth.json");
    write(&file, &auths(&server.address().to_string(), PASSWORD));
    let file = file.to_str().expect("UTF-8");
    let arguments = [
        "pull",
        "-vvv",
        "--authfile",
        file,
        "--cert-dir",
        own,
        &put.reference,
    ];
    server.put("/v2/repo/manifests/tag", challenge(&plain.url("/token")));
    keeps_quiet(client.postroj(&arguments).run())
        .exits(3)
        .stderr_has("its token server is not https");
    assert_eq!(plain.requests().len(), 0);
}

#[test]
fn an_address_may_be_one_of_ipv6() {
    let client = Client::new();
    let server = Server::start_on("[::1]:0", None);
    let put = image().put(&server, "team/repo", "tag");
    assert!(put.reference.starts_with("[::1]:"));
    let conf = format!(
        "[[registry]]\nlocation = \"{}\"\ninsecure = true\n",
        server.address()
    );
    fs::write(client.conf(), conf).expect("write registries.conf");
    client.pull(&put.reference).exits(0);
    client
        .pull(&format!("docker://{}", put.reference))
        .exits(0)
        .stderr_has("up to date");
}

#[test]
fn a_proxy_of_the_environment_is_used() {
    let client = Client::new();
    let put = image().put(&client.server, "repo", "tag");
    let conf = "[[registry]]\nlocation = \"registry.test\"\ninsecure = true\n";
    fs::write(client.conf(), conf).expect("write registries.conf");
    let proxy = format!("http://{USER}:{PASSWORD}@{}", client.server.address());
    let proxied = |reference: &str| {
        client
            .postroj(&["pull", "-vvv", reference])
            .env("HTTP_PROXY", &proxy)
            .env("HTTPS_PROXY", &proxy)
    };
    keeps_quiet(proxied("registry.test/repo:tag").run()).exits(0);
    let requests = client.server.requests();
    assert!(requests.iter().any(|request| request.method == "CONNECT"));
    let manifest = requests
        .iter()
        .find(|request| request.path == "/v2/repo/manifests/tag")
        .expect("the manifest was asked for");
    assert_eq!(manifest.header("host"), Some("registry.test"));
    assert!(manifest.header("proxy-authorization").is_some());

    // A token server elsewhere may be asked for a token, but not with the registry's password.
    client.server.put("/token", Answer::status(401));
    let challenge = "Bearer realm=\"http://auth.other.test/token\",service=\"x\"";
    let denied = Answer::status(401).header("WWW-Authenticate", challenge);
    client.server.put("/v2/repo/manifests/tag", denied);
    let file = client.home().join("run/containers/auth.json");
    write(&file, &auths("registry.test", PASSWORD));
    keeps_quiet(proxied("registry.test/repo:tag").run())
        .exits(3)
        .stderr_has("is none of the registry's own, and is not given its credentials");
    let requests = client.server.requests();
    let token = requests
        .iter()
        .find(|request| request.path.starts_with("/token"))
        .expect("the token was asked for");
    assert_eq!(token.header("host"), Some("auth.other.test"));
    assert_eq!(token.header("authorization"), None);

    // What NO_PROXY has is reached without it.
    let other = Client::new();
    let direct = image().put(&other.server, "repo", "tag");
    drop(put);
    let dead = "http://127.0.0.1:1";
    let through = |exceptions: &str| {
        other
            .postroj(&["pull", &direct.reference])
            .env("HTTP_PROXY", dead)
            .env("HTTPS_PROXY", dead)
            .env("NO_PROXY", exceptions)
            .run()
    };
    through("").exits(3);
    through("localhost,127.0.0.0/8").exits(0);
}

#[test]
fn mirrors_are_asked_in_order_and_by_what_they_serve() {
    let client = Client::new();
    let second = Server::start();
    let put = image().put(&second, "mirrored/app", "tag");
    let conf = format!(
        "[[registry]]\nprefix = \"*.example.test\"\nlocation = \"127.0.0.1:1\"\n\
         [[registry.mirror]]\nlocation = \"127.0.0.1:2\"\ninsecure = true\n\
         [[registry.mirror]]\nlocation = \"{0}/digests\"\ninsecure = true\npull-from-mirror = \"digest-only\"\n\
         [[registry.mirror]]\nlocation = \"{0}/mirrored\"\ninsecure = true\n\
         [[registry]]\nlocation = \"blocked.example.test\"\nblocked = true\n",
        second.address()
    );
    fs::write(client.conf(), conf).expect("write registries.conf");
    client.pull("registry.example.test/app:tag").exits(0);
    let asked = second.requests();
    assert!(
        asked
            .iter()
            .all(|request| !request.path.contains("digests")),
        "{asked:?}"
    );
    assert_eq!(
        client.record("registry.example.test/app:tag")["digest"],
        put.digest
    );
    let by_digest = format!("registry.example.test/app@{}", put.digest);
    client.pull(&by_digest).exits(0);
    assert!(
        second
            .requests()
            .iter()
            .any(|request| request.path.contains("/digests/app/"))
    );
    client
        .pull("blocked.example.test/app:tag")
        .exits(3)
        .stderr_has("registry blocked.example.test is blocked");
    // All that were tried are named.
    client
        .pull("registry.example.test/other:tag")
        .exits(3)
        .stderr_has("127.0.0.1:2")
        .stderr_has("127.0.0.1:1")
        .stderr_has(&format!("{}/v2/mirrored/other", second.address()));
}

#[test]
fn short_names_are_looked_up() {
    let client = Client::new();
    let put = image().put(&client.server, "app", "tag");
    let aliased = image().put(&client.server, "team/tool", "tag");
    let host = client.server.address();
    let conf = format!(
        "unqualified-search-registries = [\"127.0.0.1:1\", \"{host}\"]\n\
         [aliases]\n\"tool\" = \"{host}/team/tool\"\n\
         [[registry]]\nlocation = \"{host}\"\ninsecure = true\n"
    );
    fs::write(client.conf(), &conf).expect("write registries.conf");
    client
        .pull("app:tag")
        .exits(0)
        .stderr_has("app:tag: pulled");
    let record = client.record("app:tag");
    assert_eq!(record["source"], put.reference);
    client.pull("app:tag").exits(0).stderr_has("up to date");
    client.pull("tool:tag").exits(0);
    assert_eq!(client.record(&aliased.reference)["digest"], aliased.digest);
    client.postroj(&["rmi", "app:tag"]).run().exits(0);
    let enforcing = format!("short-name-mode = \"enforcing\"\n{conf}");
    fs::write(client.conf(), enforcing).expect("write registries.conf");
    client
        .pull("app:tag")
        .exits(2)
        .stderr_has("may be of 127.0.0.1:1 or")
        .stderr_has("hint: write it in full: 127.0.0.1:1/app:tag");
    // A bare word is none of a registry.
    client.pull("app").exits(2);
}

#[test]
fn another_platform_can_be_asked_for() {
    let client = Client::new();
    let small = if architecture() == "amd64" {
        "386"
    } else {
        "arm"
    };
    let native = image().put(&client.server, "repo", "native");
    let foreign = |name: &'static str| {
        Image::of(Tar::bootable()).config(move |config| config["architecture"] = json!(name))
    };
    let other = foreign(small).put(&client.server, "repo", "other");
    let entry = |put: &Put, architecture: &str| {
        json!({
            "mediaType": crate::support::oci::MANIFEST,
            "digest": put.digest,
            "size": client.server.body(&format!("/v2/repo/manifests/{}", put.digest)).len(),
            "platform": { "os": "linux", "architecture": architecture },
        })
    };
    let manifests = json!([entry(&native, architecture()), entry(&other, small)]);
    let both = image()
        .index(move |index| index["manifests"] = manifests)
        .put(&client.server, "repo", "both");
    let platform = format!("linux/{small}");
    let pull = |platform: &str| {
        client
            .postroj(&["pull", "--platform", platform, &both.reference])
            .run()
    };
    client.pull(&both.reference).exits(0).stderr_has(": pulled");
    pull(&platform)
        .exits(0)
        .stderr_has("a newer one was pulled");
    assert_eq!(client.record(&both.reference)["platform"], platform);
    pull(&platform).exits(0).stderr_has("up to date");
    // Without it, this machine's is meant.
    client
        .pull(&both.reference)
        .exits(0)
        .stderr_has("a newer one");
    assert!(client.record(&both.reference)["platform"].is_null());
    pull("linux/s390x")
        .exits(3)
        .stderr_has("cannot boot on this machine")
        .stderr_has("hint: qemu-user-static");
    pull(&format!("linux/{small}/v9"))
        .exits(3)
        .stderr_has(&format!("only for linux/{}, linux/{small}", architecture()));
    pull("amd64").exits(2).stderr_has("no platform of the form");
    client
        .postroj(&[
            "pull",
            "--platform",
            &platform,
            "debian-bookworm",
            "--source",
            "bootstrap",
        ])
        .run()
        .exits(2);
}
