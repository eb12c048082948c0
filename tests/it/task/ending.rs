//! How a task ends, and what comes after.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::support::archive::Tar;
use crate::support::oci::{Client, Image};

/// Exit codes, signals, times and memory.
pub(super) fn ends(place: &Place) {
    let nosuch = ["task", "create", IMAGE, "nosuch"];
    place.postroj(nosuch).run().exits(127).stderr_has("nosuch");
    let listed = place
        .postroj(["task", "list", "--json"])
        .run()
        .exits(0)
        .stdout;
    assert!(!listed.contains("\"nosuch\""), "{listed}");
    let limited = ["-m", "48m", "--restart", "no"];
    let task = Task::create(place, &limited, &[IMAGE, "tail", "/dev/zero"]);
    assert_eq!(task.wait(), 137);
    let health = task.health();
    assert_eq!(health["oom_killed"], true, "{health}");
    assert_eq!(health["signal"], "SIGKILL");
    let task = Task::script(place, &["--timeout", "1s"], "sleep 1000");
    assert_eq!(task.wait(), 124);
    assert_eq!(task.health()["timed_out"], true);
    // Who does not care is ended by force, and who does decides.
    let stubborn = "trap '' TERM; echo ready; while :; do sleep 0.1; done";
    let task = Task::script(place, &["--stop-timeout", "500ms"], stubborn);
    task.wait_for("ready");
    let removed = task.ask("rm", &["--force"]).exits(0);
    assert!(removed.took > Duration::from_millis(400), "{removed}");
    task.ask("health", &[]).exits(1);
    // Whoever has waited may remove it at once.
    for _ in 0..5 {
        let task = Task::script(place, &["--network", "none"], "true");
        assert_eq!(task.wait(), 0);
        task.ask("rm", &[]).exits(0);
    }
    // Who ends the container ends the task.
    let task = Task::script(place, &["--restart", "always"], "echo up; exec sleep 1000");
    task.wait_for("up");
    let machine = format!("postroj-{}", &task.id[..12]);
    place.postroj(["stop", &machine]).run().exits(0);
    task.wait();
    assert_eq!(task.health()["restarts"], 0);
}

/// A program that is updated while a task runs goes on with it.
pub(super) fn outlives_its_program(place: &Place) {
    let program = place.scratch().join("postroj-of-old");
    fs::copy(crate::support::place::binary(), &program).expect("copy postroj");
    let words = ["task", "create", "--restart", "always", "--boot", IMAGE];
    let script = ["sh", "-c", "echo up; exec sleep 1000"];
    let line = [&[program.to_str().expect("UTF-8")], &words[..], &script].concat();
    let outcome = if let Some(host) = place.nested() {
        host.run(&line)
    } else {
        let mut command = std::process::Command::new(line[0]);
        command.args(&line[1..]);
        command.env("POSTROJ_STATE_DIR", place.state());
        process::run(command)
    };
    let task = Task::printed(place, &outcome.exits(0));
    task.wait_for("up");
    fs::remove_file(program).expect("remove it");
    task.ask("signal", &["KILL"]).exits(0);
    process::wait_until(
        || task.logs(&[]).stdout == "up\nup\n",
        "it is started again",
    );
    let health = task.health();
    assert_eq!(
        (&health["restarts"], &health["status"]),
        (&1.into(), &"sleeping".into())
    );
    // Who ends the container, its system included, wants no other.
    let machine = format!("postroj-{}", &task.id[..12]);
    place.postroj(["stop", &machine]).run().exits(0);
    task.wait();
    assert_eq!(task.health()["restarts"], 1);
}

/// When a command is started again.
pub(super) fn restarts(place: &Place) {
    // It has the image's root each time, and what is to be kept on a volume.
    let kept = place.scratch().join("kept");
    fs::create_dir_all(&kept).expect("make a directory");
    let volume = format!("{}:/kept", kept.display());
    let script = "test -e /marker && echo old root; touch /marker; echo x >>/kept/count; \
        wc -l </kept/count; test $(wc -l </kept/count) -ge 3";
    let options = ["--restart", "on-failure", "-v", &volume];
    let task = Task::script(place, &options, script);
    assert_eq!(task.wait(), 0);
    assert_eq!(task.logs(&[]).stdout, "1\n2\n3\n");
    assert_eq!(task.health()["restarts"], 2);
    let task = Task::script(place, &["--restart", "on-failure:1"], "exit 6");
    assert_eq!(task.wait(), 6);
    assert_eq!(task.health()["restarts"], 1);
    let task = Task::script(place, &["--restart", "always"], "echo again");
    process::wait_until(
        || task.logs(&[]).stdout.lines().count() >= 3,
        "it is started again and again",
    );
    // Also in between it is ended at once.
    let removed = task.ask("rm", &["--force"]).exits(0);
    assert!(removed.took < Duration::from_secs(5), "{removed}");
}

/// Its keeper is killed: the command goes with it, and whoever asks is told so.
pub(super) fn is_lost(place: &Place) {
    let argument = format!("{}77", std::process::id());
    let script = format!("echo up; exec sleep {argument}");
    let task = Task::script(place, &[], &script);
    task.wait_for("up");
    process::wait_for_argument(&argument);
    let waiting = place.postroj(["task", "wait", &task.id]).start();
    let following = place.postroj(["task", "logs", "-f", &task.id]).start();
    let attached = place.postroj(["task", "attach", &task.id]).start();
    // They are there as soon as they have said all that there is so far.
    std::thread::sleep(Duration::from_millis(500));
    place.kill(task_directory(place, &task.id).to_str().expect("UTF-8"));
    waiting.wait().exits(3).stderr_has("its keeper was killed");
    assert_eq!(following.wait().exits(0).stdout, "up\n");
    attached.wait().exits(3).stderr_has("its keeper was killed");
    process::wait_until(
        || process::with_argument(&argument).is_empty(),
        "it has gone",
    );
    let health = task.health();
    assert_eq!(
        (&health["status"], &health["exit_code"]),
        (&"dead".into(), &serde_json::Value::Null)
    );
    task.ask("signal", &["TERM"])
        .exits(2)
        .stderr_has("is not running");
    let machine = format!("postroj-{}", &task.id[..12]);
    let is_gone = || !place.postroj(["machines"]).run().stdout.contains(&machine);
    process::wait_until(is_gone, "its container has gone");
    task.ask("rm", &[]).exits(0);
    task.ask("health", &[]).exits(1);
}

/// The directory that its keeper has as an argument.
fn task_directory(place: &Place, id: &str) -> PathBuf {
    let state = match place.nested() {
        Some(_) => PathBuf::from("/var/lib/postroj"),
        None => place.state(),
    };
    state.join("tasks").join(id)
}

/// One with the image's system around it.
pub(super) fn boots(place: &Place) {
    let script = "systemctl is-system-running --wait; echo ready; exec sleep 1000";
    let task = Task::script(place, &["--boot"], script);
    task.wait_for("ready");
    let health = task.health();
    assert_eq!(health["status"], "sleeping", "{health}");
    assert!(health["memory"].is_u64(), "{health}");
    task.ask("signal", &["SIGSTOP"]).exits(0);
    process::wait_until(|| task.health()["status"] == "stopped", "it is stopped");
    task.ask("signal", &["KILL"]).exits(0);
    assert_eq!(task.wait(), 137);
    assert_eq!(task.logs(&[]).stdout, "running\nready\n");
}

/// What its command does, in the words of proc(5).
pub(super) fn states(place: &Place) {
    // A parent waits for its child so that no signal disturbs it; or the first thread ends before the others.
    let program = crate::run::static_program(
        "if (argv[1][0] == 'v') { if (vfork() == 0) { sleep(1000); _exit(0); } } else { pthread_t other; \
         pthread_create(&other, 0, (void *(*)(void *))sleep, (void *)1000); pthread_exit(0); }",
    );
    let file = place.scratch().join("states");
    fs::write(&file, program).expect("write the program");
    fs::set_permissions(&file, Permissions::from_mode(0o755)).expect("make it executable");
    let volume = format!("{}:/states:ro", file.display());
    let options = ["--stop-timeout", "200ms", "-v", &volume];
    for (script, status) in [
        ("while :; do :; done", "running"),
        ("exec sleep 1000", "sleeping"),
        ("kill -STOP $$", "stopped"),
        ("exec /states vfork", "disk-sleep"),
        ("exec /states threads", "zombie"),
    ] {
        let task = Task::script(place, &options, script);
        process::wait_until(|| task.health()["status"] == status, status);
        let told = task.ask("health", &[]).exits(0);
        told.stdout_has("exists: true")
            .stdout_has(&format!("status: {status}"));
        task.ask("rm", &["--force"]).exits(0);
        task.ask("health", &[]).exits(1).stdout_has("exists: false");
    }
}

/// An image may say by which signal its command is to be ended.
pub(crate) fn stop_signal(client: &Client) {
    let image = Image::of(Tar::busybox()).config(|config| {
        let script =
            "trap 'echo ended by USR1; exit 9' USR1; while :; do /bin/busybox sleep 0.1; done";
        config["config"] = serde_json::json!({
            "Cmd": ["/bin/busybox", "sh", "-c", script],
            "StopSignal": "SIGUSR1",
        });
    });
    let put = image.put(&client.server, "repo/stopped", "latest");
    // By then it has set its trap, however busy the machine is.
    let words = [
        "run",
        "--network",
        "none",
        "--timeout",
        "5s",
        &put.reference,
    ];
    let ran = client.postroj(&words).run().exits(124);
    assert_eq!(ran.stdout, "ended by USR1\n");
    let words = [&["task", "create"], &words[1..]].concat();
    let created = client.postroj(&words).run().exits(0);
    let id = created.stdout.trim_end();
    let waited = client.postroj(&["task", "wait", id]).run().exits(0);
    assert_eq!(waited.stdout, "124\n");
    let logs = client.postroj(&["task", "logs", id]).run().exits(0);
    assert_eq!(logs.stdout, "ended by USR1\n");
    client.postroj(&["task", "rm", id]).run().exits(0);
}

#[test]
fn what_a_task_does_directly() {
    states(&directly());
}

#[test]
fn the_stop_signal_of_an_image() {
    stop_signal(&Client::new());
}

#[test]
fn a_task_ends_directly() {
    ends(&directly());
}

#[test]
fn a_task_is_started_again_directly() {
    restarts(&directly());
}

#[test]
fn a_task_is_lost_directly() {
    is_lost(&directly());
}

#[test]
fn a_task_outlives_its_program_directly() {
    outlives_its_program(&directly());
}

#[test]
fn a_task_boots_directly() {
    boots(&directly());
}

#[test]
fn fifty_tasks_at_once() {
    fifty(&directly());
}

pub(super) fn fifty(place: &Place) {
    let creating: Vec<_> = (0..50)
        .map(|number| {
            let script = format!("echo {number}; sleep 2; exit {number}");
            let words = [
                "task",
                "create",
                "--network",
                "none",
                IMAGE,
                "sh",
                "-c",
                &script,
            ];
            place.postroj(words).start()
        })
        .collect();
    let created = creating.into_iter().map(|started| started.wait().exits(0));
    let created: Vec<Outcome> = created.collect();
    let tasks = created.iter().map(|outcome| Task::printed(place, outcome));
    let tasks: Vec<Task<'_>> = tasks.collect();
    // Of so many, several begin with the same digit.
    let digits: Vec<&str> = tasks.iter().map(|task| &task.id[..1]).collect();
    let is_shared = |digit: &&&str| digits.iter().filter(|other| other == digit).count() > 1;
    let digit = digits.iter().find(is_shared).expect("two of fifty");
    place
        .postroj(["task", "health", digit])
        .run()
        .exits(2)
        .stderr_has(&format!("have an id that begins with {digit}"));
    let words = ["task", "wait"].into_iter().map(str::to_owned);
    let words: Vec<String> = words
        .chain(tasks.iter().map(|task| task.id.clone()))
        .collect();
    let codes = lines(0..50);
    assert_eq!(place.postroj(&words).run().exits(0).stdout, codes);
}
