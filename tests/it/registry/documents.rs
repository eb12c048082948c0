//! Manifests, indexes and configs that are not what they should be.

use serde_json::{Value, json};

use crate::support::archive::Tar;
use crate::support::http::{Answer, Server};
use crate::support::oci::{Client, INDEX, Image, Layer, MANIFEST, architecture, digest};

fn image() -> Image {
    Image::of(Tar::bootable())
}

/// What a digest must not be.
fn no_digests() -> Vec<String> {
    vec![
        "sha256:../../x".to_owned(),
        digest(b"x").to_uppercase().replace("SHA256", "sha256"),
        "md5:d41d8cd98f00b204e9800998ecf8427e".to_owned(),
        format!("{}/../x", digest(b"x")),
        String::new(),
    ]
}

#[test]
fn what_is_no_digest_never_gets_into_a_path() {
    let client = Client::new();
    for bad in no_digests() {
        let one = bad.clone();
        client.refused(
            "the config's digest",
            image().manifest(move |manifest| manifest["config"]["digest"] = json!(one)),
            &["malformed manifest", "digest"],
        );
        let one = bad.clone();
        client.refused(
            "a layer's digest",
            image().manifest(move |manifest| manifest["layers"][0]["digest"] = json!(one)),
            &["malformed manifest", "digest"],
        );
        let one = bad.clone();
        client.refused(
            "an index's digest",
            image().index(move |index| index["manifests"][0]["digest"] = json!(one)),
            &["malformed manifest", "digest"],
        );
        client.refused(
            "a diffID",
            image().config(move |config| config["rootfs"]["diff_ids"][0] = json!(bad)),
            &["malformed config", "digest"],
        );
    }
    for request in client.server.requests() {
        assert!(!request.path.contains(".."), "{request:?}");
        assert!(!request.path.contains("md5"), "{request:?}");
    }
}

#[test]
fn a_config_has_the_size_and_the_digest_that_the_manifest_says() {
    let client = Client::new();
    for (row, change, word) in [
        (
            "other bytes",
            (|body| body.replace("linux", "LINUX")) as fn(String) -> String,
            "the digest",
        ),
        ("longer", |body| body + " ", "bytes"),
        ("shorter", |body| body[..body.len() - 1].to_owned(), "bytes"),
    ] {
        let image = image().served_config(move |body| Answer::body(change(body)));
        client.refused(row, image, &[word]);
    }
    for (row, size, word) in [
        ("a size of -1", json!(-1), "size of -1"),
        (
            "a config over 4 MiB",
            json!((4 << 20) + 1),
            "config has 4194305 bytes",
        ),
        ("a size that is none", json!("x"), "malformed manifest"),
        (
            "a size that is too large",
            json!(1.5e30),
            "malformed manifest",
        ),
    ] {
        client.refused(
            row,
            image().manifest(move |manifest| manifest["config"]["size"] = size),
            &[word],
        );
    }
}

#[test]
fn documents_end_where_they_have_to() {
    let client = Client::new();
    let put = image().put(&client.server, "repo", "tag");
    let spaces = vec![b' '; 1 << 20];
    for (row, answer) in [
        ("endless", Answer::body(spaces).endless()),
        ("over 4 MiB", Answer::body(vec![b' '; (4 << 20) + 1])),
    ] {
        client.server.put("/v2/repo/manifests/tag", answer);
        let outcome = client.pull(&put.reference).exits(3);
        let told = outcome.stderr.contains("more than 4194304 bytes");
        assert!(told, "{row}\n{outcome}");
    }
    let blob = Layer::gzip(&Tar::bootable().bytes());
    client.refused(
        "an endless layer",
        Image::new().layer(blob.served(Answer::body(vec![0; 4096]).endless())),
        &["it goes on after that"],
    );
    client.refused(
        "an endless config",
        image().served_config(|body| Answer::body(body).endless()),
        &["it goes on after that"],
    );
}

#[test]
fn what_a_document_is_has_to_be_told_in_one_way() {
    let client = Client::new();
    client.refused(
        "layers and manifests",
        image().manifest(|manifest| manifest["manifests"] = json!([])),
        &["both layers and manifests"],
    );
    client.refused(
        "neither",
        image().manifest(|manifest| {
            manifest
                .as_object_mut()
                .expect("an object")
                .remove("layers");
        }),
        &["it is no image and no index"],
    );
    client.refused(
        "schema 1",
        image().manifest(|manifest| manifest["schemaVersion"] = json!(1)),
        &["schema version 1"],
    );
    client.refused(
        "a manifest that says it is an index",
        image().manifest(|manifest| manifest["mediaType"] = json!(INDEX)),
        &["served as"],
    );
    let put = image().put(&client.server, "repo", "tag");
    let manifest = client.server.body("/v2/repo/manifests/tag");
    for (row, kind) in [
        ("served as an index", INDEX),
        (
            "served as docker's",
            "application/vnd.docker.distribution.manifest.v2+json",
        ),
    ] {
        let answer = Answer::body(manifest.clone()).header("Content-Type", kind);
        client.server.put("/v2/repo/manifests/tag", answer);
        let outcome = client.pull(&put.reference).exits(3);
        assert!(
            outcome.stderr.contains("it is served as"),
            "{row}\n{outcome}"
        );
    }
    client
        .server
        .put("/v2/repo/manifests/tag", Answer::body("no JSON"));
    client
        .pull(&put.reference)
        .exits(3)
        .stderr_has("malformed manifest");
}

#[test]
fn only_the_digest_that_was_asked_for_counts() {
    let client = Client::new();
    let put = image().put(&client.server, "repo", "tag");
    let other = Image::of(Tar::new()).put(&client.server, "repo", "other");
    let by_digest = put.reference.replace(":tag", &format!("@{}", put.digest));
    // Another manifest, whatever it claims to be.
    let manifest = client.server.body("/v2/repo/manifests/other");
    let answer = Answer::body(manifest)
        .header("Content-Type", MANIFEST)
        .header("Docker-Content-Digest", &put.digest);
    let path = format!("/v2/repo/manifests/{}", put.digest);
    client.server.put(&path, answer.clone());
    client
        .pull(&by_digest)
        .exits(3)
        .stderr_has(&format!("something else than {}", put.digest));
    client.server.put("/v2/repo/manifests/tag", answer);
    client
        .pull(&put.reference)
        .exits(3)
        .stderr_has(&other.digest);
    for claim in ["sha256:../../x", "sha256:00"] {
        let manifest = client.server.body("/v2/repo/manifests/other");
        let answer = Answer::body(manifest).header("Docker-Content-Digest", claim);
        client.server.put("/v2/repo/manifests/tag", answer);
        client.pull(&put.reference).exits(3).stderr_has("digest");
    }
    assert!(
        !client
            .store()
            .join("images")
            .read_dir()
            .is_ok_and(|mut all| all.next().is_some())
    );
}

#[test]
fn an_index_is_one_level_deep_and_has_this_platform() {
    let client = Client::new();
    let entry = |os: &str, architecture: &str| {
        json!({
            "mediaType": MANIFEST,
            "digest": digest(architecture.as_bytes()),
            "size": 7,
            "platform": { "os": os, "architecture": architecture },
        })
    };
    let others = [
        entry("linux", "s390x"),
        entry("unknown", "unknown"),
        entry("linux", "a\u{1b}[31m"),
    ];
    client.refused(
        "no entry for this platform",
        image().index(move |index| index["manifests"] = json!(others)),
        &[
            "there is no image for linux/",
            "only for linux/s390x, linux/a\\u{1b}[31m",
        ],
    );
    client.refused(
        "no entry",
        image().index(|index| index["manifests"] = json!([])),
        &["only for nothing"],
    );
    // An attestation beside it changes nothing.
    let attested = image().index(move |index| {
        let all = index["manifests"].as_array_mut().expect("an array");
        all.insert(0, entry("unknown", "unknown"));
    });
    let put = attested.put(&client.server, "repo", "attested");
    client.pull(&put.reference).exits(0);
    assert_eq!(client.record(&put.reference)["digest"], put.digest);

    // An index whose entry is an index, and one whose entry leads to itself.
    let inner = image().index(|_| ()).put(&client.server, "nested", "inner");
    let wrapped = |digest: &str, size: usize| {
        json!({
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [{
                "mediaType": INDEX,
                "digest": digest,
                "size": size,
                "platform": { "os": "linux", "architecture": architecture() },
            }],
        })
        .to_string()
    };
    let outer = wrapped(&inner.digest, 1);
    let serve = |name: &str, body: &str| {
        let path = format!("/v2/nested/manifests/{name}");
        let answer = Answer::body(body).header("Content-Type", INDEX);
        client.server.put(&path, answer);
    };
    serve("outer", &outer);
    let reference = inner.reference.replace(":inner", ":outer");
    client
        .pull(&reference)
        .exits(3)
        .stderr_has("an index of indexes");
    let looped = wrapped(&digest(b"itself"), 1);
    serve("outer", &looped);
    serve(&digest(b"itself"), &looped);
    client
        .pull(&reference)
        .exits(3)
        .stderr_has("something else than");
    let asked = client
        .server
        .asked(&format!("/v2/nested/manifests/{}", digest(b"itself")));
    assert_eq!(asked, 1);
}

#[test]
fn layers_of_other_kinds_are_refused_by_name() {
    let client = Client::new();
    let elsewhere = Server::start();
    let layer = || Layer::gzip(&Tar::bootable().bytes());
    for kind in [
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
        "application/vnd.in-toto+json",
        "application/x-\u{1b}[31mred",
    ] {
        let urls = json!([elsewhere.url("/layer")]);
        let shown = kind.replace("\u{1b}[31m", "");
        client.refused(
            kind,
            Image::new().layer(layer().said("mediaType", kind).said("urls", urls)),
            &[&shown, "not supported", &layer().digest()],
        );
    }
    client.refused(
        "gzip that is said to be plain",
        Image::new().layer(layer().said("mediaType", crate::support::oci::TAR)),
        &["layer sha256:"],
    );
    // Elsewhere is not asked even where the registry does not have it.
    let urls = json!([elsewhere.url("/layer")]);
    client.refused(
        "only elsewhere",
        Image::new().layer(layer().said("urls", urls).served(Answer::status(404))),
        &["404 Not Found"],
    );
    assert_eq!(elsewhere.requests().len(), 0);
}

#[test]
fn a_config_is_checked_or_kept_to_the_letter() {
    let client = Client::new();
    for (row, edit) in [
        (
            "a NUL in Env",
            (|config| config["config"]["Env"] = json!(["A=b\u{0}c"])) as fn(&mut Value),
        ),
        ("a NUL in Cmd", |config| {
            config["config"]["Cmd"] = json!(["\u{0}"]);
        }),
        ("a NUL in WorkingDir", |config| {
            config["config"]["WorkingDir"] = json!("/\u{0}");
        }),
        ("a NUL in User", |config| {
            config["config"]["User"] = json!("root\u{0}");
        }),
    ] {
        client.refused(row, image().config(edit), &["malformed config", "NUL"]);
    }
    client.refused(
        "Env that is no list",
        image().config(|config| config["config"]["Env"] = json!({ "A": "b" })),
        &["malformed config"],
    );
    client.refused(
        "a root that is not of layers",
        image().config(|config| config["rootfs"]["type"] = json!("base")),
        &["not made of layers"],
    );
    let odd = image().config(|config| {
        config["config"] = json!({
            "Env": ["P=%n $HOME $(id) \\ \n \"", "PATH=/x"],
            "Cmd": ["%H", "$PATH", "${x}", "; reboot"],
            "Entrypoint": null,
            "WorkingDir": "/proc/self/fd/8",
            "User": "root:../..",
            "Volumes": { "../..": {}, "/etc/../../x": {} },
        });
    });
    let roots = client.taken(odd);
    let path = client.store().join("images");
    let record = std::fs::read_dir(path).expect("the records").next();
    let record = std::fs::read(record.expect("a record").expect("a record").path());
    let record: Value = serde_json::from_slice(&record.expect("a record")).expect("JSON");
    let config = &record["config"];
    assert_eq!(config["env"][0], "P=%n $HOME $(id) \\ \n \"");
    assert_eq!(config["cmd"], json!(["%H", "$PATH", "${x}", "; reboot"]));
    assert_eq!(config["working_dir"], "/proc/self/fd/8");
    assert_eq!(config["user"], "root:../..");
    assert!(!roots[0].join("x").exists() && !roots[0].join("proc").exists());
}
