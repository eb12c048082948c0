//! `postroj task`: commands that outlive whoever has started them.

mod archives;
mod attaching;
pub(crate) mod ending;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::process::Outcome;
use crate::support::{Place, image, process};

const IMAGE: &str = "debian-bookworm";

/// A place directly on this host, with the image in its store.
fn directly() -> Place {
    image::pulled(IMAGE);
    Place::direct()
}

/// A task, which is removed in any case.
struct Task<'a> {
    place: &'a Place,
    id: String,
}

impl<'a> Task<'a> {
    /// `postroj task create` of a shell script.
    #[track_caller]
    fn script(place: &'a Place, options: &[&str], script: &str) -> Self {
        Self::create(place, options, &[IMAGE, "sh", "-c", script])
    }

    #[track_caller]
    fn create(place: &'a Place, options: &[&str], words: &[&str]) -> Self {
        let all = [&["task", "create"], options, words].concat();
        Self::printed(place, &place.postroj(all).run().exits(0))
    }

    /// That whose id was printed.
    #[track_caller]
    fn printed(place: &'a Place, outcome: &Outcome) -> Self {
        let id = outcome.stdout.trim_end().to_owned();
        let is_id = id.len() == 32 && id.chars().all(|c| c.is_ascii_hexdigit());
        assert!(is_id, "{outcome}");
        Self { place, id }
    }

    /// `postroj task COMMAND ID …`
    fn ask(&self, command: &str, words: &[&str]) -> Outcome {
        let all = [&["task", command, &self.id], words].concat();
        self.place.postroj(all).run()
    }

    #[track_caller]
    fn health(&self) -> serde_json::Value {
        let outcome = self.ask("health", &["--json"]).exits(0);
        serde_json::from_str(&outcome.stdout).expect("JSON")
    }

    #[track_caller]
    fn logs(&self, words: &[&str]) -> Outcome {
        self.ask("logs", words).exits(0)
    }

    /// Waits for its end; gives its exit code.
    #[track_caller]
    fn wait(&self) -> i32 {
        let outcome = self.ask("wait", &[]).exits(0);
        outcome.stdout.trim_end().parse().expect("a number")
    }

    /// Waits until it has written something.
    #[track_caller]
    fn wait_for(&self, text: &str) {
        let has_it = || {
            let outcome = self.ask("logs", &[]);
            outcome.stdout.contains(text) || outcome.stderr.contains(text)
        };
        process::wait_until(has_it, text);
    }
}

/// Numbers as seq(1) writes them.
fn lines(numbers: impl Iterator<Item = u32>) -> String {
    numbers.fold(String::new(), |text, number| {
        text + &number.to_string() + "\n"
    })
}

impl Drop for Task<'_> {
    fn drop(&mut self) {
        self.ask("rm", &["--force"]);
    }
}

/// From its creation to its removal, with all that can be asked of it.
fn life(place: &Place) {
    let name = format!("life-{}", std::process::id());
    let script = "echo out; echo err >&2; pwd; exec sleep 1000";
    let task = Task::script(place, &["--name", &name, "-m", "100m"], script);
    // The one who has created it has ended; so has who is asked now when the next is.
    task.wait_for("err");
    let health = task.health();
    assert_eq!(health["exists"], true);
    assert_eq!(health["id"], task.id);
    assert_eq!(health["status"], "sleeping", "{health}");
    assert_eq!(health["exit_code"], serde_json::Value::Null);
    assert_eq!(health["oom_killed"], false);
    assert!(health["cpu_time"].as_f64().expect("a time") < 10.0);
    let memory = health["memory"].as_u64().expect("a size");
    assert!((100_000..100_000_000).contains(&memory), "{health}");
    let started = health["started"].as_str().expect("a time");
    assert!(
        started.starts_with("20") && started.ends_with('Z'),
        "{started}"
    );
    // By its name and by the beginning of its id.
    for text in [&name, &task.id[..12], &task.id[..6]] {
        let outcome = place.postroj(["task", "health", text]).run().exits(0);
        let expected = format!("exists: true\nid: {}\n", task.id);
        assert!(outcome.stdout.starts_with(&expected), "{outcome}");
    }
    let listed = place.postroj(["task", "list"]).run().exits(0).stdout;
    let line = listed.lines().find(|line| line.contains(&name));
    let line = line.expect("its line");
    assert!(
        line.starts_with(&task.id[..12]) && line.contains("sleeping"),
        "{listed}"
    );
    let machines = place.postroj(["machines"]).run().exits(0).stdout;
    assert!(machines.contains(&format!("postroj-{name}")), "{machines}");
    let again = place.postroj(["task", "create", "--name", &name, IMAGE, "true"]);
    again
        .run()
        .exits(2)
        .stderr_has("is named")
        .stderr_has("task rm");
    task.ask("rm", &[]).exits(2).stderr_has("is running");
    let outcome = task.logs(&[]);
    assert_eq!((&*outcome.stdout, &*outcome.stderr), ("out\n/\n", "err\n"));
    // To the command, and not to the init, which a signal would not end.
    task.ask("signal", &["SIGSTOP"]).exits(0);
    process::wait_until(|| task.health()["status"] == "stopped", "it is stopped");
    task.ask("signal", &["cont"]).exits(0);
    process::wait_until(|| task.health()["status"] == "sleeping", "it goes on");
    task.ask("signal", &["2"]).exits(0);
    assert_eq!(task.wait(), 130);
    let health = task.health();
    assert_eq!(health["status"], "exited");
    assert_eq!(
        (&health["exit_code"], &health["signal"]),
        (&130.into(), &"SIGINT".into())
    );
    assert!(health["finished"].is_string());
    task.ask("signal", &["INT"])
        .exits(2)
        .stderr_has("is not running");
    task.ask("signal", &["NONE"])
        .exits(2)
        .stderr_has("no such signal");
    // What it has written stays, and so does what is known of it, until it is removed.
    task.logs(&[]).stdout_has("out\n");
    task.ask("rm", &[]).exits(0);
    task.ask("rm", &[]).exits(2).stderr_has("there is no task");
    let health = task.ask("health", &[]).exits(1);
    assert_eq!(health.stdout, "exists: false\n");
    for command in ["logs", "wait", "attach"] {
        task.ask(command, &[])
            .exits(2)
            .stderr_has("there is no task");
    }
    // It is an error, and no crash.
    let unknown = task.ask("signal", &["SIGINT"]).exits(2);
    assert_eq!(unknown.stderr.lines().count(), 2, "{unknown}");
}

#[test]
fn a_task_from_beginning_to_end_directly() {
    life(&directly());
}

/// Two tasks of one image, each of which writes to its own root.
fn roots(place: &Place) {
    let script = "echo $0 >/marker; sleep 1; cat /marker; pwd; ls -a /marker*; hostname";
    let two =
        ["one", "two"].map(|word| Task::create(place, &[], &[IMAGE, "sh", "-c", script, word]));
    for (task, word) in two.iter().zip(["one", "two"]) {
        assert_eq!(task.wait(), 0);
        let hostname = format!("postroj-{}", &task.id[..12]);
        assert_eq!(
            task.logs(&[]).stdout,
            format!("{word}\n/\n/marker\n{hostname}\n")
        );
    }
    // Nobody has the host's directory, whatever it is when the task is created.
    let task = Task::create(place, &["-w", "/usr/share"], &[IMAGE, "pwd"]);
    assert_eq!(task.wait(), 0);
    assert_eq!(task.logs(&[]).stdout, "/usr/share\n");
}

/// It writes more than any pipe holds, long after its creator has ended.
fn writes_much(place: &Place) {
    let script = "sleep 1; seq 1 300000; seq 1 300000 >&2; echo done; exit 7";
    let task = Task::script(place, &[], script);
    assert_eq!(task.wait(), 7);
    let outcome = task.logs(&[]);
    let all = lines(1..=300_000);
    assert!(outcome.stdout == format!("{all}done\n"), "not all of it");
    assert!(
        outcome.stderr == all,
        "not all of what went to standard error"
    );
    let last = task.logs(&["--stdout", "--tail", "2"]);
    assert_eq!(last.stdout, "300000\ndone\n");
}

#[test]
fn tasks_do_not_meet_directly() {
    let place = directly();
    roots(&place);
    writes_much(&place);
}

#[test]
fn tasks_on_a_host_with_systemd() {
    let place = Place::systemd(&[IMAGE]);
    life(&place);
    roots(&place);
    writes_much(&place);
    ending::ends(&place);
    ending::restarts(&place);
    ending::is_lost(&place);
    ending::boots(&place);
    ending::states(&place);
    ending::outlives_its_program(&place);
    attaching::input(&place);
    is_a_service(&place);
    goes_down_with_its_host(place);
}

#[test]
fn what_is_asked_of_tasks_on_a_host_with_systemd() {
    let place = Place::systemd(&[IMAGE]);
    parts_of_a_log(&place);
    reading_ends(&place);
    detached(&place);
    leftovers(&place);
    attaching::signals(&place);
    attaching::terminal(&place);
    archives::streamed(&place);
    ending::fifty(&place);
    library(&place);
    removed(&place);
    interrupted(&place);
}

/// On such a host it is a transient service, which systemd ends in order.
fn is_a_service(place: &Place) {
    let host = place.nested().expect("a nested host");
    let script = "trap 'echo asked; exit 9' TERM; echo ready; while :; do sleep 0.1; done";
    let task = Task::script(place, &["--restart", "always"], script);
    task.wait_for("ready");
    let unit = format!("postroj-task-{}.service", task.id);
    let shown = host.run(&[
        "systemctl",
        "show",
        &unit,
        "-P",
        "ActiveState",
        "-P",
        "Transient",
    ]);
    assert_eq!(shown.exits(0).stdout, "active\nyes\n");
    // As when the host goes down: its container is stopped as well, but not before it.
    let machine = format!("postroj-{}.service", &task.id[..12]);
    host.run(&["systemctl", "stop", &unit, &machine]).exits(0);
    // Whoever stops it does not want it to be started again.
    assert_eq!(task.wait(), 9);
    task.logs(&[]).stdout_has("asked");
    assert_eq!(task.health()["restarts"], 0);
}

/// A host that comes back has its tasks as ended, and what they wrote.
fn goes_down_with_its_host(place: Place) {
    let id = {
        let task = Task::script(&place, &[], "echo before; exec sleep 1000");
        task.wait_for("before");
        let id = task.id.clone();
        std::mem::forget(task);
        id
    };
    let place = place.rebooted();
    let task = Task { place: &place, id };
    let health = task.health();
    assert_eq!(health["status"], "dead", "{health}");
    assert_eq!(task.logs(&["--follow"]).stdout, "before\n");
    task.ask("wait", &[])
        .exits(3)
        .stderr_has("the host went down");
    task.ask("rm", &[]).exits(0);
    task.ask("health", &[]).exits(1);
}

pub(crate) fn nothing_of_a_removed_task_is_left() {
    let place = Place::direct_alone();
    image::pulled(IMAGE);
    removed(&place);
}

fn removed(place: &Place) {
    let before = place.look();
    let running = Task::script(place, &[], "echo x >/marker; echo up; exec sleep 1000");
    running.wait_for("up");
    let ended = Task::script(place, &[], "echo x >/marker");
    ended.wait();
    // Its root goes with the command, and all the rest with the task.
    let of_ended = || {
        let left = place.look().since(&before).into_iter();
        left.filter(|line| line.contains(&ended.id[..12]))
            .all(|line| line.starts_with("store tasks"))
    };
    at_last(place, of_ended, "nothing but what it wrote is left");
    running.ask("rm", &["--force"]).exits(0);
    ended.ask("rm", &[]).exits(0);
    let is_gone = || {
        let left = place.look().since(&before);
        left.iter().all(|line| line == "store tasks")
    };
    at_last(place, is_gone, "nothing is left");
}

/// systemd removes a unit some time after its end; where there is none, it holds at once.
#[track_caller]
fn at_last(place: &Place, holds: impl Fn() -> bool, what: &str) {
    if place.nested().is_some() {
        return process::wait_until(holds, what);
    }
    assert!(holds(), "it is not so that {what}");
}

pub(crate) fn whoever_interrupts_the_creation_gets_no_task() {
    let place = Place::direct_alone();
    image::pulled(IMAGE);
    interrupted(&place);
}

fn interrupted(place: &Place) {
    let before = place.look();
    for signal in [Signal::INT, Signal::KILL] {
        let words = ["task", "create", "--boot=full", IMAGE, "sleep", "1000"];
        let started = place.postroj(words).start();
        process::wait_until(
            || {
                place
                    .look()
                    .since(&before)
                    .iter()
                    .any(|line| line.contains("run/postroj/"))
            },
            "a container",
        );
        started.signal(signal);
        let code = started.wait().code();
        assert!([130, 137].contains(&code), "{code}");
        let is_gone = || {
            let left = place.look().since(&before);
            left.iter().all(|line| line == "store tasks")
        };
        process::wait_until(is_gone, "nothing is left");
    }
}

#[test]
fn the_log_of_a_task_on_a_full_disk_is_lost_and_the_task_is_not() {
    use crate::support::disk::{Disk, Kind};
    let place = directly();
    let tree = place.scratch().join("tree");
    fs::create_dir_all(tree.join("bin")).expect("a tree");
    fs::copy("/bin/busybox", tree.join("bin/busybox")).expect("busybox-static of Debian");
    let disk = Disk::new(place.scratch(), Kind::Memory(48 << 20));
    let state = disk.path.join("state");
    let run = |words: &[&str]| {
        let setting = format!("POSTROJ_STATE_DIR={}", state.display());
        let program = crate::support::place::binary().to_str().expect("UTF-8");
        disk.run([&["env", &setting, program], words].concat())
    };
    let image = tree.to_str().expect("UTF-8");
    let script = "dd if=/dev/zero bs=1M count=100 2>/dev/null | tr '\\0' x; echo end; exit 5";
    let created = run(&["task", "create", image, "/bin/busybox", "sh", "-c", script]).exits(0);
    let id = created.stdout.trim_end();
    assert_eq!(run(&["task", "wait", id]).exits(0).stdout, "5\n");
    let health = run(&["task", "health", "--json", id]).exits(0);
    let health: serde_json::Value = serde_json::from_str(&health.stdout).expect("JSON");
    assert_eq!(health["exit_code"], 5);
    let lost = health["log_lost"].as_u64().expect("a number");
    assert!(lost > 50 << 20, "{lost} bytes are told to be lost");
    // What there is of the log can be read to its end.
    let logs = run(&["task", "logs", id]).exits(0).stdout.len() as u64;
    assert_eq!(logs + lost, (100 << 20) + 4);
    run(&["task", "rm", id]).exits(0);
}

fn store_of(place: &Place) -> PathBuf {
    place.state().join("tasks")
}

#[test]
fn what_a_killed_postroj_has_left_is_removed() {
    leftovers(&directly());
}

fn leftovers(place: &Place) {
    let task = Task::script(place, &[], "true");
    task.wait();
    let strange = store_of(place).join(format!("left-{}", std::process::id()));
    fs::create_dir(&strange).expect("make a directory");
    // As if it had been killed before the command began.
    let begun = store_of(place).join(format!("begun-{}", std::process::id()));
    fs::create_dir(&begun).expect("make a directory");
    fs::copy(
        store_of(place).join(&task.id).join("task.json"),
        begun.join("task.json"),
    )
    .and_then(|_| fs::write(begun.join("state.json"), "{}"))
    .expect("make a task");
    let listed = place.postroj(["task", "list"]).run().exits(0).stdout;
    assert_eq!(listed.matches(&task.id[..12]).count(), 1, "{listed}");
    let other = Task::script(place, &[], "true");
    assert!(!strange.exists() && !begun.exists(), "they are still there");
    other.wait();
}

#[test]
fn a_log_can_be_read_in_parts() {
    parts_of_a_log(&directly());
}

fn parts_of_a_log(place: &Place) {
    let script = "echo one; echo two >&2; sleep 1.2; printf 'th'; printf 'ree\\n'; printf four";
    let task = Task::script(place, &[], script);
    // Until it ends.
    let followed = task.logs(&["--follow"]);
    assert_eq!(
        (&*followed.stdout, &*followed.stderr),
        ("one\nthree\nfour", "two\n")
    );
    assert!(followed.took > Duration::from_millis(900), "{followed}");
    let only = task.logs(&["--stdout"]);
    assert_eq!((&*only.stdout, &*only.stderr), ("one\nthree\nfour", ""));
    let only = task.logs(&["--stderr"]);
    assert_eq!((&*only.stdout, &*only.stderr), ("", "two\n"));
    let stamped = task.logs(&["-t", "--stdout"]).stdout;
    let lines: Vec<&str> = stamped.lines().collect();
    assert_eq!(lines.len(), 3, "{stamped}");
    let (time, rest) = lines[0].split_once(' ').expect("a time");
    assert_eq!((time.len(), rest), (30, "one"));
    assert!(
        lines[1].ends_with("Z three") && lines[2].ends_with("Z four"),
        "{stamped}"
    );
    let (later, _) = lines[1].split_once(' ').expect("a time");
    assert_eq!(task.logs(&["--since", later]).stdout, "three\nfour");
    assert_eq!(task.logs(&["--since", "1h", "-n", "1"]).stdout, "four");
    task.ask("logs", &["--since", "yesterday"])
        .exits(2)
        .stderr_has("10m");
}

#[test]
fn whoever_reads_a_log_can_be_interrupted() {
    reading_ends(&directly());
}

fn reading_ends(place: &Place) {
    // As much as a disk holds, should nobody end it.
    let flood = "trap '' HUP; yes | head -c 4G; exec sleep 1000";
    let task = Task::script(place, &[], flood);
    for words in [["logs", "-f"], ["attach", "--no-stdin"]] {
        let words = [&["task"], &words[..], &[&task.id]].concat();
        let reading = place.postroj(words).start();
        // As whoever is impatient does: several that come at once count as one.
        for _ in 0..8 {
            std::thread::sleep(Duration::from_millis(500));
            reading.signal(Signal::HUP);
        }
        let outcome = reading.wait();
        assert_eq!(outcome.code(), 129);
        assert!(outcome.took < Duration::from_secs(20), "{:?}", outcome.took);
    }
    // Nor does it take somebody who reads what is printed.
    let line = format!(
        "{} $POSTROJ task logs -f {} >&3 & sleep 1; kill -HUP $!; wait $!",
        process::UNREAD_PIPE,
        task.id
    );
    let unread = process::run(place.shell(&line));
    assert_eq!(unread.code(), 129);
    assert!(unread.took < Duration::from_secs(20), "{:?}", unread.took);
}

#[test]
fn run_detached_is_a_task() {
    detached(&directly());
}

fn detached(place: &Place) {
    let run = |words: &[&str]| place.postroj([&["run", "-d"], words].concat()).run();
    let outcome = run(&[IMAGE, "sh", "-c", "echo here; exit 3"]).exits(0);
    let task = Task::printed(place, &outcome);
    assert_eq!(task.wait(), 3);
    assert_eq!(task.logs(&[]).stdout, "here\n");
    let outcome = run(&["--rm", IMAGE, "sleep", "1"]).exits(0);
    let task = Task::printed(place, &outcome);
    assert_eq!(task.wait(), 0);
    process::wait_until(|| task.ask("health", &[]).code() == 1, "it has gone");
    run(&[IMAGE, "nosuch"]).exits(127).stderr_has("nosuch");
    run(&[IMAGE, "/etc/passwd"]).exits(126);
    run(&["--network", "lan", IMAGE, "true"]).exits(125);
    let attached = place
        .postroj(["run", "--restart", "always", IMAGE, "true"])
        .run();
    attached.exits(125).stderr_has("--detach");
}

#[test]
fn by_the_library() {
    library(&directly());
}

/// The example of the library's documentation.
fn library(place: &Place) {
    place.example("task").exits(0);
}
