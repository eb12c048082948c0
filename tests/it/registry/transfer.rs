//! Connections that are cut, slow, or busy.

use std::time::{Duration, Instant, SystemTime};

use crate::support::archive::{Entry, Tar};
use crate::support::http::Answer;
use crate::support::oci::{Client, Image, Layer, Put};
use crate::support::process::Outcome;
use crate::support::tiny;

/// An image of one layer of some size, the path of the layer's blob, and the blob.
struct Large {
    client: Client,
    put: Put,
    path: String,
    blob: Vec<u8>,
}

impl Large {
    fn new() -> Self {
        let client = Client::new();
        let content = tiny::noise(1, 400_000);
        let blob = Tar::bootable()
            .with(Entry::file("content", content))
            .bytes();
        let layer = Layer::plain(&blob);
        let path = format!("/v2/repo/blobs/{}", layer.digest());
        let put = Image::new().layer(layer).put(&client.server, "repo", "tag");
        Self {
            client,
            put,
            path,
            blob,
        }
    }

    fn good(&self) -> Answer {
        Answer::body(self.blob.clone())
    }

    /// Pulls it, the blob being answered so, one after the other.
    fn pull(&self, answers: Vec<Answer>) -> Outcome {
        self.client.server.put_in_turn(&self.path, answers);
        self.client
            .postroj(&["pull", "--force", &self.put.reference])
            .env("POSTROJ_STALL_TIMEOUT", "1")
            .run()
    }

    /// Where the requests for the blob began.
    fn offsets(&self) -> Vec<Option<usize>> {
        let requests = self.client.server.requests();
        requests
            .iter()
            .filter(|request| request.path == self.path)
            .map(|request| request.from)
            .collect()
    }
}

#[test]
fn what_was_cut_is_gone_on_with() {
    let half = 200_000;
    let large = Large::new();
    large
        .pull(vec![large.good().cut_at(half), large.good()])
        .exits(0);
    assert_eq!(large.offsets(), [None, Some(half)]);

    // Before the first byte, and more than once.
    let large = Large::new();
    let answers = vec![
        Answer::hang_up(),
        Answer::hang_up(),
        large.good().cut_at(half),
        Answer::hang_up(),
        large.good(),
    ];
    large.pull(answers).exits(0);
    let from = Some(half);
    assert_eq!(large.offsets(), [None, None, None, from, from]);

    // A server that cannot begin in the middle.
    let large = Large::new();
    let whole = large.good().without_ranges();
    large.pull(vec![whole.clone().cut_at(half), whole]).exits(0);

    // One that begins elsewhere than it was asked to.
    let large = Large::new();
    let elsewhere = Answer::status(206).header("Content-Range", "bytes 7-9/400000");
    large
        .pull(vec![large.good().cut_at(half), elsewhere])
        .exits(3)
        .stderr_has("resumes at another place");

    // Documents are asked for again too.
    let large = Large::new();
    let manifest = "/v2/repo/manifests/tag";
    let body = large.client.server.body(manifest);
    let length = body.len();
    let good = Answer::body(body);
    let answers = vec![Answer::hang_up(), good.clone().cut_at(length / 2), good];
    large.client.server.put_in_turn(manifest, answers);
    large.pull(vec![large.good()]).exits(0);

    // It ends, at last.
    let large = Large::new();
    large
        .pull(vec![Answer::hang_up()])
        .exits(3)
        .stderr_has("cut off");
    assert_eq!(large.offsets().len(), 5);
}

#[test]
fn a_busy_server_is_asked_again_when_it_wants_to_be() {
    let large = Large::new();
    let busy = |status: u16, after: &str| Answer::status(status).header("Retry-After", after);
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(2));
    let started = Instant::now();
    large
        .pull(vec![
            Answer::status(503),
            busy(429, "1"),
            busy(503, &date),
            large.good(),
        ])
        .exits(0);
    assert!(
        started.elapsed() > Duration::from_secs(1),
        "it was asked at once"
    );
    assert_eq!(large.offsets().len(), 4);

    // Who wants to be left alone for long is.
    let large = Large::new();
    large
        .pull(vec![busy(429, "3600"), large.good()])
        .exits(3)
        .stderr_has("429");
    assert_eq!(large.offsets().len(), 1);
    let large = Large::new();
    large
        .pull(vec![Answer::status(500)])
        .exits(3)
        .stderr_has("500");
    assert_eq!(large.offsets().len(), 5);
    // What is not there is not asked for again.
    let large = Large::new();
    large.pull(vec![Answer::status(404)]).exits(3);
    assert_eq!(large.offsets().len(), 1);
}

#[test]
fn a_stall_and_a_trickle_end() {
    let large = Large::new();
    large
        .pull(vec![
            large.good().stall_at(100_000),
            large.good().trickle(),
            large.good(),
        ])
        .exits(0);
    let offsets = large.offsets();
    assert_eq!(offsets[..2], [None, Some(100_000)]);
    // The trickle was of some use.
    assert!(offsets[2] > Some(100_000), "{offsets:?}");
}

#[test]
fn a_pull_has_a_deadline() {
    let large = Large::new();
    large
        .client
        .server
        .put(&large.path, large.good().stall_at(1000));
    let outcome = large
        .client
        .postroj(&["pull", "--timeout", "500ms", &large.put.reference])
        .run()
        .exits(3)
        .stderr_has("was not pulled within the --timeout");
    assert!(outcome.took < Duration::from_secs(30), "{outcome}");
    let left = std::fs::read_dir(large.client.store().join("tmp")).expect("the store");
    assert_eq!(left.count(), 0);
}

#[test]
fn a_tarball_that_changes_meanwhile_is_refused() {
    let client = Client::new();
    let content = tiny::noise(2, 300_000);
    let archive = Tar::bootable()
        .with(Entry::file("content", content))
        .bytes();
    let mut other = archive.clone();
    other.extend([0; 512]);
    let half = archive.len() / 2;
    let good = Answer::body(archive);
    let url = client.server.put_in_turn(
        "/root.tar",
        vec![good.clone().cut_at(half), Answer::body(other)],
    );
    client.pull(&url).exits(3).stderr_has("it has changed");
    client
        .server
        .put_in_turn("/root.tar", vec![good.clone().cut_at(half), good]);
    client.pull(&url).exits(0);
}

#[test]
fn a_terminal_shows_a_bar_for_each_layer_and_for_all() {
    let large = Large::new();
    let server = &large.client.server;
    // Long enough under way for a bar to be drawn.
    server.put(&large.path, large.good().stall_at(200_000));
    let reference = &large.put.reference;
    let pull = || {
        large
            .client
            .postroj(&["pull", "--timeout", "2", reference])
            .env("TERM", "xterm")
    };
    let plain = pull().run().exits(3);
    assert!(!plain.stderr.contains("B/s"), "{plain}");
    let wrapper = ["sh", "-c", TERMINAL, "sh"];
    let shown = pull().under(wrapper).run().exits(3);
    let digest = large.path.rsplit(':').next().expect("a digest");
    for title in [
        format!("pull layer {}", &digest[..12]),
        format!("pull {reference}"),
    ] {
        let bar = shown
            .stdout
            .split(['\r', '\n'])
            .filter(|line| line.contains(&title))
            .any(|line| line.contains("KiB/") && line.contains("B/s") && line.contains('█'));
        assert!(bar, "no bar for {title}\n{shown}");
    }
}

/// Runs its arguments on a terminal.
const TERMINAL: &str = r#"exec script --quiet --return --command "stty rows 24 cols 150; $(printf '%s ' "$@")" /dev/null"#;
