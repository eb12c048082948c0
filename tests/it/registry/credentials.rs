//! Who is shown what, and what is never shown to anybody.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};
use serde_json::{Value, json};

use crate::support::archive::{Entry, Tar};
use crate::support::http::{Answer, Server};
use crate::support::oci::{Client, Image, Layer, Put};
use crate::support::process::Outcome;

pub(super) const USER: &str = "alice";
pub(super) const PASSWORD: &str = "s3cr3t-pass+word";

/// What a user and a password are sent and kept as.
pub(super) fn encoded(password: &str) -> String {
    STANDARD.encode(format!("{USER}:{password}"))
}

/// Nothing that is secret is in what was said.
#[track_caller]
pub(super) fn keeps_quiet(outcome: Outcome) -> Outcome {
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    for secret in [PASSWORD, &encoded(PASSWORD), "token-", "refresh-me"] {
        assert!(!said.contains(secret), "{secret} is told\n{outcome}");
    }
    outcome
}

pub(super) fn write(path: &Path, content: &Value) -> PathBuf {
    fs::create_dir_all(path.parent().expect("a parent")).expect("create a directory");
    fs::write(path, content.to_string()).expect("write credentials");
    path.to_owned()
}

fn host(client: &Client) -> String {
    client.server.address().to_string()
}

/// A file with a password for a registry, or a part of one.
pub(super) fn auths(registry: &str, password: &str) -> Value {
    json!({ "auths": { registry: { "auth": encoded(password) } } })
}

/// An image behind a password.
fn basic() -> (Client, Put) {
    let client = Client::new();
    let put = Image::of(Tar::bootable()).put(&client.server, "team/app", "tag");
    let denied = Answer::status(401).header("WWW-Authenticate", "Basic realm=\"here\"");
    let value = format!("Basic {}", encoded(PASSWORD));
    client.server.guard("authorization", &value, &denied);
    (client, put)
}

/// Pulls it, saying all that can be said.
fn pull(client: &Client, put: &Put, authfile: &Path) -> Outcome {
    let authfile = authfile.to_str().expect("UTF-8");
    let arguments = ["pull", "-vvv", "--authfile", authfile, &put.reference];
    keeps_quiet(client.postroj(&arguments).run())
}

fn forget(client: &Client) {
    fs::remove_dir_all(client.store()).ok();
}

#[test]
fn a_password_is_taken_from_where_podman_and_docker_keep_it() {
    let (client, put) = basic();
    let host = host(&client);
    client
        .pull(&put.reference)
        .exits(3)
        .stderr_has("the registry wants credentials")
        .stderr_has(&format!("hint: log in: postroj login {host}"));
    let file = client.home().join("some.json");
    write(&file, &auths(&host, "wrong"));
    pull(&client, &put, &file)
        .exits(3)
        .stderr_has("the registry does not accept the credentials");
    write(&file, &auths(&host, PASSWORD));
    pull(&client, &put, &file).exits(0);
    forget(&client);
    client
        .postroj(&["pull", &put.reference])
        .env("REGISTRY_AUTH_FILE", &file)
        .run()
        .exits(0);
    // The most specific key counts, and docker's have a scheme.
    let mut specific = auths(&host, "wrong");
    specific["auths"][format!("{host}/team")] = json!({ "auth": encoded(PASSWORD) });
    specific["auths"][format!("{host}/tea")] = json!({ "auth": encoded("wrong") });
    for content in [
        specific,
        auths(&format!("https://{host}/v1/"), PASSWORD),
        json!({ "auths": { &host: { "username": USER, "password": PASSWORD } } }),
    ] {
        forget(&client);
        write(&file, &content);
        pull(&client, &put, &file).exits(0);
    }
    for place in [
        "run/containers/auth.json",
        ".config/containers/auth.json",
        ".docker/config.json",
    ] {
        forget(&client);
        let path = write(&client.home().join(place), &auths(&host, PASSWORD));
        client.pull(&put.reference).exits(0);
        fs::remove_file(path).expect("remove the file");
    }
    forget(&client);
    client.pull(&put.reference).exits(3);

    // A file that was named has to be there, and to be one.
    pull(&client, &put, &client.home().join("missing")).exits(2);
    fs::write(&file, format!("{{ \"{PASSWORD}\"")).expect("write");
    pull(&client, &put, &file).exits(2).stderr_has("no JSON");
}

#[test]
fn helpers_are_asked() {
    let (client, put) = basic();
    let host = host(&client);
    let bin = client.home().join("bin");
    fs::create_dir_all(&bin).expect("create a directory");
    let helper = |name: &str, script: &str| {
        let path = bin.join(format!("docker-credential-{name}"));
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("write a helper");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
    };
    let answer = json!({ "ServerURL": host, "Username": USER, "Secret": PASSWORD });
    helper(
        "good",
        &format!("read -r server; [ \"$1 $server\" = 'get {host}' ] && echo '{answer}'"),
    );
    helper(
        "none",
        "echo 'credentials not found in native keychain'; exit 1",
    );
    helper(
        "bad",
        &format!("echo {PASSWORD}; echo {PASSWORD} >&2; exit 1"),
    );
    let file = client.home().join("helpers.json");
    let run = |content: &Value| {
        forget(&client);
        write(&file, content);
        let path = format!("{}:/usr/bin:/bin", bin.display());
        let authfile = file.to_str().expect("UTF-8");
        let arguments = ["pull", "-vvv", "--authfile", authfile, &put.reference];
        keeps_quiet(client.postroj(&arguments).env("PATH", path).run())
    };
    run(&json!({ "credHelpers": { &host: "good" } })).exits(0);
    run(&json!({ "credsStore": "good" })).exits(0);
    run(&json!({ "credsStore": "none" }))
        .exits(3)
        .stderr_has("the registry wants credentials");
    run(&json!({ "credHelpers": { &host: "bad" } }))
        .exits(3)
        .stderr_has("credential helper docker-credential-bad");
    run(&json!({ "credHelpers": { &host: "missing" } }))
        .exits(3)
        .stderr_has("cannot be run");
}

/// A registry that wants tokens, the second of which is the first that is good for the upper layer.
fn bearer(realm: &str) -> (Client, Put) {
    let client = Client::new();
    let upper = Tar::new().with(Entry::file("upper", "x")).bytes();
    let upper = Layer::gzip(&upper);
    let path = format!("/v2/team/app/blobs/{}", upper.digest());
    let image = Image::new()
        .layer(Layer::gzip(&Tar::bootable().bytes()))
        .layer(upper);
    let put = image.put(&client.server, "team/app", "tag");
    let realm = realm.replace("SELF", &format!("http://{}", client.server.address()));
    let denied = Answer::status(401).header(
        "WWW-Authenticate",
        format!(
            "Bearer realm=\"{realm}\",service=\"reg istry\",scope=\"repository:team/app:pull\""
        ),
    );
    let blob = client.server.body(&path);
    let too_old = denied.clone();
    client.server.on(&path, move |request| {
        match request.header("authorization") {
            Some("Bearer token-2") => Answer::body(blob.clone()),
            _ => too_old.clone(),
        }
    });
    let late = path.clone();
    client.server.guard_if(
        move |request| {
            request.path == late
                || request
                    .header("authorization")
                    .is_some_and(|value| value.starts_with("Bearer token-"))
        },
        &denied,
    );
    (client, put)
}

#[test]
fn a_token_is_fetched_and_renewed_when_it_expires() {
    let (client, put) = bearer("SELF/token");
    let given = AtomicUsize::new(0);
    client.server.on("/token", move |request| {
        let expected = format!("Basic {}", encoded(PASSWORD));
        if request.header("authorization") != Some(&expected) {
            return Answer::status(401);
        }
        let number = given.fetch_add(1, Ordering::Relaxed) + 1;
        Answer::body(json!({ "token": format!("token-{number}"), "expires_in": 1 }).to_string())
    });
    keeps_quiet(client.postroj(&["pull", "-vvv", &put.reference]).run())
        .exits(3)
        .stderr_has("wants credentials");
    let file = client.home().join("auth.json");
    write(&file, &auths(&host(&client), "wrong"));
    pull(&client, &put, &file)
        .exits(3)
        .stderr_has("does not accept the credentials");
    write(&file, &auths(&host(&client), PASSWORD));
    let before = client.server.requests().len();
    pull(&client, &put, &file).exits(0);
    let requests = client.server.requests().split_off(before);
    let asked: Vec<&str> = requests
        .iter()
        .map(|request| &*request.path)
        .filter(|path| path.starts_with("/token"))
        .collect();
    let query = "/token?service=reg+istry&scope=repository%3Ateam%2Fapp%3Apull";
    assert_eq!(asked, [query, query]);
    // A token is for the registry, and the password for the token server.
    for request in requests {
        let shown = request.header("authorization").unwrap_or("Bearer");
        let basic = request.path.starts_with("/token");
        assert_eq!(shown.starts_with("Basic"), basic, "{request:?}");
    }
}

#[test]
fn an_identity_token_is_exchanged() {
    let (client, put) = bearer("SELF/token");
    let given = AtomicUsize::new(0);
    client.server.on("/token", move |request| {
        let fits = request.method == "POST"
            && request.body.contains("grant_type=refresh_token")
            && request.body.contains("refresh_token=refresh-me")
            && request
                .body
                .contains("scope=repository%3Ateam%2Fapp%3Apull");
        if !fits || request.header("authorization").is_some() {
            return Answer::status(401);
        }
        let number = given.fetch_add(1, Ordering::Relaxed) + 1;
        Answer::body(json!({ "access_token": format!("token-{number}") }).to_string())
    });
    let entry = json!({ "auth": STANDARD.encode("0:"), "identitytoken": "refresh-me" });
    let file = client.home().join("auth.json");
    write(&file, &json!({ "auths": { host(&client): entry } }));
    pull(&client, &put, &file).exits(0);
}

#[test]
fn token_servers_are_not_believed_either() {
    let (client, put) = bearer("SELF/token");
    let file = client.home().join("auth.json");
    write(&file, &auths(&host(&client), PASSWORD));
    for (row, answer, word) in [
        (
            "endless",
            Answer::body("{").endless(),
            "more than 1048576 bytes",
        ),
        ("no JSON", Answer::body("token-1"), "answers nonsense"),
        ("no token", Answer::body("{}"), "answers nonsense"),
        (
            "a token that would be another header",
            Answer::body(r#"{"token":"token-1\r\nX: y"}"#),
            "answers nonsense",
        ),
        ("none", Answer::status(404), "404 Not Found"),
    ] {
        client.server.put("/token", answer);
        let outcome = pull(&client, &put, &file).exits(3);
        assert!(outcome.stderr.contains(word), "{row}\n{outcome}");
    }
}

#[test]
fn a_registry_cannot_send_credentials_elsewhere() {
    let elsewhere = Server::start_on("127.0.0.2:0", None);
    elsewhere.put("/token", Answer::body(r#"{"token":"token-1"}"#));
    let port = elsewhere.address().port();
    for realm in [
        format!("http://127.0.0.2:{port}/token"),
        format!("http://localhost:{port}/token"),
        format!("https://127.0.0.2:{port}/token"),
        "file:///etc/passwd".to_owned(),
        "nothing".to_owned(),
    ] {
        let (client, put) = bearer(&realm);
        let file = client.home().join("auth.json");
        write(&file, &auths(&host(&client), PASSWORD));
        pull(&client, &put, &file)
            .exits(3)
            .stderr_has("token server");
    }
    assert_eq!(elsewhere.requests().len(), 0);
}

#[test]
fn credentials_do_not_follow_a_redirect() {
    let (client, put) = basic();
    let elsewhere = Server::start_on("127.0.0.2:0", None);
    let file = client.home().join("auth.json");
    write(&file, &auths(&host(&client), PASSWORD));
    let layer = Layer::gzip(&Tar::bootable().bytes());
    let path = format!("/v2/team/app/blobs/{}", layer.digest());
    // Another port of the same host is another server, too.
    for server in [elsewhere, Server::start()] {
        client
            .server
            .put(&path, Answer::redirect(server.url("/blob")));
        let challenge = Answer::status(401).header("WWW-Authenticate", "Basic realm=\"x\"");
        server.put("/blob", challenge);
        let asked = client.server.requests().len();
        pull(&client, &put, &file)
            .exits(3)
            .stderr_has("access denied");
        assert!(client.server.requests().len() > asked);
        let blob = crate::support::archive::gzip(&Tar::bootable().bytes());
        server.put("/blob", Answer::body(blob));
        pull(&client, &put, &file).exits(0);
        forget(&client);
        assert!(server.requests().len() >= 2);
        for request in server.requests() {
            assert_eq!(request.header("authorization"), None, "{request:?}");
        }
    }
}

#[test]
fn credentials_are_not_for_plain_http() {
    let (client, put) = basic();
    let file = client.home().join("auth.json");
    write(&file, &auths(&host(&client), PASSWORD));
    fs::write(client.conf(), "").expect("write registries.conf");
    let file = file.to_str().expect("UTF-8");
    let mut arguments = vec!["pull", "-vvv", "--authfile", file, &put.reference];
    keeps_quiet(client.postroj(&arguments).run())
        .exits(3)
        .stderr_has("it does not speak TLS")
        .stderr_has("hint: plain http is taken where");
    let host = host(&client);
    let login = ["login", "-u", USER, "--password-stdin", &host];
    client.postroj(&login).stdin(PASSWORD).run().exits(3);
    assert!(!client.home().join("run/containers/auth.json").exists());
    for request in client.server.requests() {
        assert_eq!(request.header("authorization"), None, "{request:?}");
    }
    // Unless the user says so.
    arguments.push("--tls-verify=false");
    keeps_quiet(client.postroj(&arguments).run()).exits(0);
}

#[test]
fn login_and_logout_write_what_podman_reads() {
    let (client, put) = basic();
    let host = host(&client);
    let file = client.home().join("run/containers/auth.json");
    let login = |password: &str| {
        let arguments = ["login", "-vvv", "-u", USER, "--password-stdin", &host];
        keeps_quiet(
            client
                .postroj(&arguments)
                .stdin(&format!("{password}\n"))
                .run(),
        )
    };
    login("wrong")
        .exits(3)
        .stderr_has("not accept the credentials");
    assert!(!file.exists());
    write(&file, &auths("other.example.com", "other"));
    login(PASSWORD)
        .exits(0)
        .stderr_has(&format!("{host}: logged in as {USER}"));
    let mode = fs::metadata(&file).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let content: Value = serde_json::from_slice(&fs::read(&file).expect("read")).expect("JSON");
    assert_eq!(content["auths"][&host]["auth"], encoded(PASSWORD));
    assert_eq!(
        content["auths"]["other.example.com"]["auth"],
        encoded("other")
    );
    client.pull(&put.reference).exits(0);
    forget(&client);

    client.postroj(&["logout", &host]).run().exits(0);
    client.pull(&put.reference).exits(3);
    client
        .postroj(&["logout", &host])
        .run()
        .exits(2)
        .stderr_has("there are no credentials");
    let content = fs::read_to_string(&file).expect("read");
    assert!(content.contains("other.example.com"), "{content}");
    client.postroj(&["logout", "--all"]).run().exits(0);
    let content = fs::read_to_string(&file).expect("read");
    assert!(!content.contains("other.example.com"), "{content}");

    let own = client.home().join("own.json");
    let own = own.to_str().expect("UTF-8");
    let arguments = [
        "login",
        "-u",
        USER,
        "--password-stdin",
        "--authfile",
        own,
        &host,
    ];
    client.postroj(&arguments).stdin(PASSWORD).run().exits(0);
    pull(&client, &put, Path::new(own)).exits(0);
    client
        .postroj(&["logout", "--authfile", own, &host])
        .run()
        .exits(0);
    for bad in ["", "a b", "/x", "user@host"] {
        let arguments = ["login", "-u", USER, "--password-stdin", bad];
        client.postroj(&arguments).stdin(PASSWORD).run().exits(2);
    }
    client
        .postroj(&["login", &host])
        .run()
        .exits(2)
        .stderr_has("--password-stdin");
}

#[test]
fn a_password_in_a_url_is_neither_shown_nor_kept() {
    let client = Client::new();
    client
        .server
        .put("/root.tar", Answer::body(Tar::bootable().bytes()));
    let denied = Answer::status(401).header("WWW-Authenticate", "Basic realm=\"here\"");
    let value = format!("Basic {}", encoded("pass-w0rd"));
    client.server.guard("authorization", &value, &denied);
    let url = client
        .server
        .url("/root.tar")
        .replace("http://", &format!("http://{USER}:pass-w0rd@"));
    for _ in 0..2 {
        let outcome = client.postroj(&["pull", "-vvv", &url]).run().exits(0);
        assert!(!outcome.stderr.contains("pass-w0rd"), "{outcome}");
    }
    let listed = client.postroj(&["images"]).run().exits(0);
    assert!(!listed.stdout.contains("pass-w0rd"), "{listed}");
    for entry in fs::read_dir(client.store().join("images")).expect("the records") {
        let path = entry.expect("an entry").path();
        let record = fs::read_to_string(&path).expect("a record");
        assert!(
            !record.contains("pass-w0rd") && !record.contains(USER),
            "{record}"
        );
    }
    let gone = url.replace("root.tar", "gone.tar");
    let outcome = client.postroj(&["pull", "-vvv", &gone]).run().exits(3);
    assert!(!outcome.stderr.contains("pass-w0rd"), "{outcome}");
}

/// postroj on a terminal, and what it has shown there.
struct Typing {
    child: Child,
    terminal: File,
    shown: String,
}

impl Typing {
    fn start(mut command: Command) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        unlockpt(&master).expect("a terminal");
        let name = ptsname(&master, Vec::new()).expect("a terminal");
        let slave = File::options()
            .read(true)
            .write(true)
            .open(name.to_str().expect("a path"))
            .expect("a terminal");
        let end = || Stdio::from(slave.try_clone().expect("a descriptor"));
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn();
        Self {
            child: child.expect("start postroj"),
            terminal: File::from(master),
            shown: String::new(),
        }
    }

    /// Waits until something is shown; all that comes before the end of it has been.
    fn wait_for(&mut self, text: &str) {
        let mut bytes = [0; 1024];
        while !self.shown.contains(text) {
            let length = self.terminal.read(&mut bytes).expect("the terminal");
            self.shown
                .push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
    }

    fn enter(&mut self, line: &str) {
        writeln!(self.terminal, "{line}").expect("the terminal");
    }

    fn shows_what_is_typed(&self) -> bool {
        let modes = tcgetattr(&self.terminal).expect("a terminal").local_modes;
        modes.contains(LocalModes::ECHO)
    }
}

#[test]
fn a_password_is_asked_for_and_not_shown() {
    let (client, put) = basic();
    let host = host(&client);
    let start = || Typing::start(client.postroj(&["login", &host]).command());
    let mut typing = start();
    typing.wait_for("user: ");
    typing.enter(USER);
    typing.wait_for("password: ");
    assert!(!typing.shows_what_is_typed());
    typing.enter(PASSWORD);
    typing.wait_for("logged in");
    assert!(typing.child.wait().expect("its end").success());
    assert!(typing.shows_what_is_typed());
    assert!(typing.shown.contains(USER) && !typing.shown.contains(PASSWORD));
    client.pull(&put.reference).exits(0);

    // Who is interrupted leaves the terminal as it was.
    let mut typing = start();
    typing.wait_for("user: ");
    typing.enter(USER);
    typing.wait_for("password: ");
    let id = Pid::from_raw(typing.child.id().cast_signed()).expect("a process");
    kill_process(id, Signal::TERM).expect("kill");
    let status = typing.child.wait().expect("its end");
    assert_eq!(status.code(), Some(143));
    assert!(typing.shows_what_is_typed());
}
