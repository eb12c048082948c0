//! Stages in sequence.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::archive::{Entry, Tar};
use crate::support::http::Answer;
use crate::support::oci::{Client, Image, MANIFEST, Put};
use crate::support::process::Outcome;
use crate::support::{Place, process};

const IMAGE: &str = "debian-bookworm";

/// A place, and a directory in it that the stages' own is made in.
struct Ground {
    place: Place,
    workdir: PathBuf,
}

impl Ground {
    fn new(place: Place) -> Self {
        let workdir = place.scratch().join("work");
        fs::create_dir(&workdir).expect("create a directory");
        Self { place, workdir }
    }

    fn directly() -> Self {
        crate::support::image::pulled(IMAGE);
        Self::new(Place::direct())
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.place.scratch().join(name);
        fs::write(&path, text).expect("write the file");
        path.to_str().expect("UTF-8").to_owned()
    }

    fn words<'a>(&'a self, file: &'a str, options: &[&'a str]) -> Vec<&'a str> {
        let workdir = self.workdir.to_str().expect("UTF-8");
        let words = ["chain", "run", file, "--workdir", workdir];
        [&words[..], options].concat()
    }

    /// Runs a chain; nothing is left of what the stages had in common.
    fn run(&self, stages: &Value, options: &[&str]) -> Outcome {
        let file = self.file("chain.json", &json!({ "stages": stages }).to_string());
        let outcome = self.place.postroj(self.words(&file, options)).run();
        assert!(self.is_empty(), "{outcome}");
        outcome
    }

    /// The result of one.
    fn result(&self, stages: &Value, code: i32) -> Value {
        let outcome = self.run(stages, &["--json"]).exits(code);
        json_of(&outcome)
    }

    fn is_empty(&self) -> bool {
        let mut entries = fs::read_dir(&self.workdir).expect("the directory");
        entries.next().is_none()
    }
}

fn shell(text: &str) -> Value {
    json!({"image": IMAGE, "command": ["sh", "-c", text]})
}

/// The result that was printed.
fn json_of(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}\n{outcome}"))
}

/// What a stage wrote to a stream, as one text.
fn text(stage: &Value, stream: &str) -> String {
    let lines = stage["logs"][stream].as_array().expect("lines");
    let lines = lines
        .iter()
        .map(|line| line["text"].as_str().expect("text"));
    lines.collect::<Vec<_>>().join("\n")
}

/// One after the other, with one directory, each as the file says.
fn sequence(ground: &Ground) {
    let volume = ground.place.scratch().join("shown");
    fs::create_dir(&volume).expect("create a directory");
    fs::write(volume.join("given"), "from the host").expect("write a file");
    let mut first = shell(
        "echo one; echo two >&2; stat -c %a /job; hostname; pwd; id -u; \
        echo left >/job/by-root; mkdir -m 700 /job/closed; touch /job/closed/in; \
        chown 1234:1234 /job/closed; echo $A $B $C",
    );
    first["env"] = json!({"A": "stage", "B": 2, "C": "stage"});
    let mut second = shell("cat /job/by-root /in/given; hostname; grep -c . /proc/net/dev; nproc");
    second["hostname"] = json!("other");
    second["networking"] = json!(false);
    second["cpuset_cpus"] = json!("0");
    second["volumes"] = json!([format!("{}:/in:ro", volume.display())]);
    let file = json!({
        "env": {"A": "chain", "B": "chain", "D": "chain"},
        "stages": [first, second, {"image": IMAGE, "entrypoint": ["printenv"], "command": ["D"]}],
    });
    let file = ground.file("sequence.json", &file.to_string());
    let words = ground.words(&file, &["--private-users", "no"]);
    ground.place.postroj(words).run().exits(0);
    let words = ground.words(&file, &["--json", "--env", "C=typed"]);
    let outcome = ground.place.postroj(words).run().exits(0);
    let result = json_of(&outcome);
    assert_eq!(result["success"], true);
    let stages = result["stages"].as_array().expect("a list");
    assert_eq!(stages.len(), 3);
    assert_eq!(
        text(&stages[0], "stdout"),
        "one\n777\ncontainer\n/\n0\nstage 2 typed"
    );
    assert_eq!(text(&stages[0], "stderr"), "two");
    assert_eq!(
        text(&stages[1], "stdout"),
        // Two lines are the table's head.
        "left\nfrom the hostother\n3\n1"
    );
    assert_eq!(text(&stages[2], "stdout"), "chain");
    for stage in stages {
        let state = &stage["state"];
        assert_eq!(state["status"], "exited");
        assert_eq!(state["exit_code"], 0);
        assert_eq!(state["oom_killed"], false);
        assert_eq!(stage["killed"], false);
        assert_eq!(stage["error"], Value::Null);
        let time = |name: &str| state[name].as_str().expect("a time").to_owned();
        assert!(time("started") <= time("finished"), "{stage}");
        let line = &stage["logs"]["stdout"][0]["time"];
        assert!(
            line.as_str().is_some_and(|time| time.ends_with('Z')),
            "{stage}"
        );
    }
    assert!(ground.is_empty());
}

#[test]
fn stages_in_sequence_directly() {
    sequence(&Ground::directly());
}

#[test]
fn stages_in_sequence_on_a_host_with_systemd() {
    sequence(&Ground::new(Place::systemd(&[IMAGE])));
}

/// How a stage fails, and what is said of the one after it.
fn failures(ground: &Ground) {
    let failing = |stage: Value| {
        let result = ground.result(&json!([stage, shell("true")]), 1);
        assert_eq!(result["success"], false);
        assert_eq!(result["stages"][1]["state"]["status"], "skipped");
        assert_eq!(result["stages"][1]["logs"], Value::Null);
        let failed = result["stages"][0].clone();
        assert_eq!(failed["success"], false);
        assert_eq!(failed["error"], Value::Null);
        failed
    };
    let failed = failing(shell("echo no >&2; exit 3"));
    assert_eq!(failed["state"]["exit_code"], 3);
    assert_eq!(text(&failed, "stderr"), "no");
    let failed = failing(shell("kill -TERM $$"));
    assert_eq!(failed["state"]["status"], "killed");
    assert_eq!(failed["state"]["signal"], 15);
    let failed = failing(json!({"image": IMAGE, "command": ["/no/such"]}));
    assert_eq!(failed["state"]["status"], "failed");
    assert_eq!(failed["state"]["exit_code"], 127);
    let mut stage = shell("trap '' TERM INT; echo begun; sleep 100 & sleep 100");
    stage["timeout"] = json!("1s");
    let failed = failing(stage);
    assert_eq!(failed["killed"], true);
    assert_eq!(failed["state"]["exit_code"], 137);
    assert_eq!(text(&failed, "stdout"), "begun");
    let mut stage = json!({"image": IMAGE, "command": "tail /dev/zero", "logs": false});
    stage["memory"] = json!("48m");
    let failed = failing(stage);
    assert_eq!(failed["state"]["oom_killed"], true);
    assert_eq!(failed["killed"], false);
    assert_eq!(failed["logs"], Value::Null);
}

#[test]
fn a_stage_that_fails_directly() {
    failures(&Ground::directly());
}

#[test]
fn a_stage_that_fails_on_a_host_with_systemd() {
    failures(&Ground::new(Place::systemd(&[IMAGE])));
}

#[test]
fn people_are_told_what_happened() {
    told(&Ground::directly());
}

fn told(ground: &Ground) {
    let stages = json!([
        shell("echo good"),
        shell("echo why >&2; exit 3"),
        shell("true")
    ]);
    let outcome = ground.run(&stages, &[]).exits(1);
    outcome
        .stdout_has("chain.json: FAILED")
        .stdout_has("exit code 3")
        .stdout_has("  stage 2, standard error:\n    why\n")
        .stdout_has("skipped 3")
        .stderr_has("1 | good");
    ground.run(&stages, &["--quiet"]).exits(1).stdout_has("why");
}

/// Nothing is started where an image is missing, and each is pulled once.
#[test]
fn an_image_that_cannot_be_had() {
    cannot_be_had(&Ground::directly());
}

fn cannot_be_had(ground: &Ground) {
    let missing = "127.0.0.1:9/no/such:1";
    let stages = json!([shell("touch /job/x"), {"image": missing}, {"image": missing}]);
    let result = ground.result(&stages, 3);
    assert_eq!(result["success"], false);
    let of = |number: usize| &result["stages"][number];
    assert_eq!(of(0)["state"]["status"], "skipped");
    for number in [1, 2] {
        assert_eq!(of(number)["state"]["status"], "error");
        let error = of(number)["error"].as_str().expect("an error");
        assert!(error.contains("127.0.0.1:9"), "{error}");
    }
}

#[test]
fn every_image_is_pulled_once_and_all_at_the_same_time() {
    pulls(&Client::new());
}

pub(crate) fn pulls(client: &Client) {
    let server = &client.server;
    let put = |name: &'static str| {
        let archive = Tar::busybox().with(Entry::file("name", name));
        Image::of(archive).put(server, name, "1")
    };
    let (one, two) = (put("one"), put("two"));
    // Neither is given before both were asked for.
    let both = Arc::new(Barrier::new(2));
    let manifest = |name: &str| format!("/v2/{name}/manifests/1");
    for name in ["one", "two"] {
        let (answer, both) = (server.body(&manifest(name)), Arc::clone(&both));
        server.on(&manifest(name), move |_| {
            both.wait();
            Answer::body(answer.clone()).header("content-type", MANIFEST)
        });
    }
    let stage = |put: &Put| json!({"image": put.reference, "command": ["/bin/busybox", "cat", "/name"], "networking": false});
    let stages = json!({"stages": [stage(&one), stage(&two), stage(&one)]});
    let file = client.outside().join("chain.json");
    fs::write(&file, stages.to_string()).expect("write the file");
    let words = ["chain", "run", "--json", file.to_str().expect("UTF-8")];
    let outcome = client.postroj(&words).run().exits(0);
    let result = json_of(&outcome);
    let names = [0, 1, 2].map(|number| text(&result["stages"][number], "stdout"));
    assert_eq!(names, ["one", "two", "one"]);
    for name in ["one", "two"] {
        assert_eq!(server.asked(&manifest(name)), 1, "{name}");
    }
}

/// What the sequence does not have: another form of file, processor time, privileges.
#[test]
fn a_chain_in_toml_with_its_limits() {
    in_toml(&Ground::directly());
}

fn in_toml(ground: &Ground) {
    let file = ground.file(
        "chain.toml",
        "env.WHERE = 'chain'\n\
         [[stages]]\nimage = 'debian-bookworm'\ncpus = 0.2\n\
         command = [\"sh\", \"-c\", \"timeout 4 sh -c 'while :; do :; done'; times; cat /proc/self/uid_map\"]\n\
         [[stages]]\nimage = 'debian-bookworm'\nprivileged = true\n\
         command = \"sh -c 'mount -t tmpfs none /mnt && cat /proc/self/uid_map; echo $WHERE'\"\n",
    );
    let words = ground.words(&file, &["--json"]);
    let outcome = ground.place.postroj(words).run().exits(0);
    let result = json_of(&outcome);
    let [limited, privileged] = [0, 1].map(|number| text(&result["stages"][number], "stdout"));
    let burnt = crate::run::flags::seconds(limited.lines().nth(1).unwrap_or_default());
    // A fifth of four seconds, and what the kernel counts beyond that.
    assert!((0.4..2.0).contains(&burnt), "{limited}");
    let of_the_host = |text: &str| text.contains("4294967295");
    assert!(
        !of_the_host(&limited) && of_the_host(&privileged),
        "{outcome}"
    );
    assert!(privileged.ends_with("chain"), "{privileged}");
}

#[test]
fn every_mistake_is_told_with_its_line() {
    mistakes(&Ground::directly());
}

fn mistakes(ground: &Ground) {
    let file = ground.file(
        "wrong.yaml",
        "stages:\n- image: debian-bokworm\n  memory: 2x\n- comand: x\n",
    );
    let outcome = ground.place.postroj(["chain", "run", &file]).run().exits(2);
    outcome
        .stderr_has("wrong.yaml:2: stages[0].image: ")
        .stderr_has("did you mean debian-bookworm?")
        .stderr_has("wrong.yaml:3: stages[0].memory: ")
        .stderr_has("wrong.yaml:4: stages[1].comand: there is no such field; did you mean command?")
        .stderr_has("wrong.yaml:4: stages[1].image: it is missing");
    let nothing = ground.place.scratch().join("none.yaml");
    let nothing = nothing.to_str().expect("UTF-8");
    ground
        .place
        .postroj(["chain", "run", nothing])
        .run()
        .exits(2)
        .stderr_has("cannot read");
}

#[test]
fn what_writes_without_end_takes_little_memory() {
    writes_without_end(&Ground::directly());
}

fn writes_without_end(ground: &Ground) {
    let mut stage = shell("yes long-enough-to-be-a-line | head -c 200M; echo err >&2");
    stage["timeout"] = json!(240);
    let result = ground.result(&json!([stage]), 0);
    let stage = &result["stages"][0];
    let left_out = stage["logs"]["left_out"].as_u64().expect("a number");
    assert!((150 << 20..200 << 20).contains(&left_out), "{left_out}");
    assert_eq!(text(stage, "stderr"), "err");
}

#[test]
fn the_common_directory_stays_where_that_is_asked() {
    keeps_the_common_directory(&Ground::directly());
}

fn keeps_the_common_directory(ground: &Ground) {
    let stages = json!({ "stages": [shell("echo kept >/job/file")] });
    let file = ground.file("chain.json", &stages.to_string());
    let words = ground.words(&file, &["--keep-job", "--json"]);
    let outcome = ground.place.postroj(words).run().exits(0);
    let result = json_of(&outcome);
    let job = Path::new(result["job"].as_str().expect("a path"));
    let kept = fs::read_to_string(job.join("file")).expect("the file");
    assert_eq!(kept, "kept\n");
    // The next chain leaves it alone.
    let words = ground.words(&file, &[]);
    ground.place.postroj(words).run().exits(0);
    assert!(job.join("file").exists());
}

pub(crate) fn nothing_is_left_behind() {
    let place = Place::direct_alone();
    crate::support::image::pulled(IMAGE);
    leaves_nothing(&Ground::new(place));
}

/// The rest of them.
#[test]
fn chains_on_a_host_with_systemd() {
    let ground = Ground::new(Place::systemd(&[IMAGE]));
    told(&ground);
    cannot_be_had(&ground);
    mistakes(&ground);
    writes_without_end(&ground);
    in_toml(&ground);
    leaves_nothing(&ground);
    keeps_the_common_directory(&ground);
}

/// Neither a container nor the common directory is left, whatever happens to postroj.
fn leaves_nothing(ground: &Ground) {
    let before = ground.place.look();
    let id = std::process::id();
    let gone = || ground.place.look().since(&before).is_empty();
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::KILL, 137)] {
        let argument = format!("{id}{code}");
        let script = format!("echo begun; touch /job/x; sleep {argument}");
        let stages = json!({ "stages": [shell(&script), shell("true")] });
        let file = ground.file("chain.json", &stages.to_string());
        let words = ground.words(&file, &["--json"]);
        let started = ground.place.postroj(words).start();
        process::wait_for_argument(&argument);
        started.signal(signal);
        let outcome = started.wait().exits(code);
        if signal != Signal::KILL {
            // What there is to be told is told.
            let result = json_of(&outcome);
            let [first, second] = [0, 1].map(|number| &result["stages"][number]);
            assert_eq!(
                (&first["error"], &first["killed"]),
                (&"interrupted".into(), &false.into())
            );
            assert_eq!(first["state"]["status"], "killed");
            assert_eq!(first["logs"]["stdout"][0]["text"], "begun");
            assert_eq!(second["state"]["status"], "skipped");
        }
        process::wait_until(gone, "no container is left");
        // One that was killed cannot; the next one does.
        assert_eq!(ground.is_empty(), signal != Signal::KILL);
    }
    ground.run(&json!([shell("true")]), &[]).exits(0);
}
