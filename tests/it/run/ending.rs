//! What ends a command: signals, times, a terminal's keys, the end of postroj.

use super::*;
use crate::support::terminal;

#[test]
fn signals_and_times_end_a_command() {
    by_signals_and_times(&directly());
}

pub(super) fn by_signals_and_times(place: &Place) {
    let argument = format!("{}201", std::process::id());
    let sleep = format!("exec sleep {argument}");
    let started = place.postroj(["run", IMAGE, "sh", "-c", &sleep]).start();
    process::wait_for_argument(&argument);
    started.signal(Signal::INT);
    started.wait().exits(130);
    // The command decides what becomes of a signal.
    let trapping = format!("trap 'echo caught; exit 7' TERM; sleep {argument} & wait");
    let started = place.postroj(["run", IMAGE, "sh", "-c", &trapping]).start();
    process::wait_for_argument(&argument);
    started.signal(Signal::TERM);
    started.wait().exits(7).stdout_has("caught");
    // One that is stopped, or does not care, is ended by the third.
    let stopped = format!("sleep {argument} & kill -STOP $$");
    let started = place.postroj(["run", IMAGE, "sh", "-c", &stopped]).start();
    process::wait_for_argument(&argument);
    for _ in 0..3 {
        started.signal(Signal::INT);
        std::thread::sleep(Duration::from_millis(100));
    }
    started.wait().exits(130);
    script(place, &["--timeout", "1"], "sleep 30")
        .exits(124)
        .stderr_has("did not end within 1 s");
    let stubborn = script(
        place,
        &["--timeout", "500ms", "--stop-timeout", "500ms"],
        "trap '' TERM; sleep 30",
    );
    let stubborn = stubborn.exits(124);
    assert!(stubborn.took < Duration::from_secs(10), "{stubborn}");
    // Also where nobody reads what it has written.
    let unread = |options: &str, afterwards: &str| {
        let line = format!(
            "{} $POSTROJ run {options} {IMAGE} yes >&3 & {afterwards} wait $!",
            process::UNREAD_PIPE
        );
        let outcome = process::run(place.shell(&line));
        assert!(outcome.took < Duration::from_secs(20), "{outcome}");
        outcome.code()
    };
    assert_eq!(unread("--timeout 2", ""), 124);
    assert_eq!(unread("", "sleep 4; kill $!; sleep 4; kill $!;"), 143);
}

pub(crate) fn a_killed_postroj_takes_its_command_along() {
    let place = Place::direct_alone();
    image::pulled(IMAGE);
    killed(&place);
}

pub(super) fn killed(place: &Place) {
    let before = place.look();
    let argument = format!("{}301", std::process::id());
    let sleep = format!("exec sleep {argument}");
    let started = place.postroj(["run", IMAGE, "sh", "-c", &sleep]).start();
    process::wait_for_argument(&argument);
    started.signal(Signal::KILL);
    started.wait().exits(137);
    process::wait_until(|| place.look().since(&before).is_empty(), "nothing is left");
}

/// `postroj run` there. Each text is typed as soon as what goes before it is shown.
fn on_terminal(place: &Place, words: &[&str], typed: &[(&str, &str)]) -> String {
    let words = words.join(" ");
    let line = format!("$POSTROJ run -it {words}; echo ended $?; stty -a | grep -o -- '-\\?echo '");
    terminal::typed(place, &line, typed)
}

#[test]
fn a_terminal_of_its_own() {
    terminal(&directly());
}

pub(super) fn terminal(place: &Place) {
    let has = |shown: &str, parts: &[&str]| {
        for part in parts {
            assert!(shown.contains(part), "{part:?} is not in:\n{shown}");
        }
    };
    let words = [IMAGE, "sh"];
    let shown = on_terminal(
        place,
        &words,
        &[("# ", "echo typed $((6*7))\n"), ("typed 42", "exit 5\n")],
    );
    // Ours is again as it was.
    has(&shown, &["typed 42", "ended 5", "\necho "]);
    let words = [IMAGE, "sh", "-c", "'tty; stty size; echo ready; sleep 60'"];
    let shown = on_terminal(place, &words, &[("ready", "\u{3}")]);
    has(&shown, &["/dev/pts/0", "ended 130"]);
    // One that crashes leaves it in no other state.
    let shown = on_terminal(place, &[IMAGE, "sh"], &[("# ", "kill -SEGV $$\n")]);
    has(&shown, &["ended 139", "\necho "]);
    is_resized(place);
    is_put_back(place);
    // Who has none is told what that means.
    let words = ["run", "-it", IMAGE, "sh", "-c", "read x; echo got $x"];
    let piped = place.postroj(words).stdin("it\n").run().exits(0);
    piped.stdout_has("got it").stderr_has("no terminal");
}

/// The size of ours is the size of its own, also when it changes.
fn is_resized(place: &Place) {
    let scratch = place.scratch().display();
    let resize = format!(
        "stty rows 20 cols 60; (until [ -e {scratch}/up ]; do sleep 0.1; done; stty rows 33 cols 77 </dev/tty) &"
    );
    let inside = "stty size; trap \"stty size; exit 6\" WINCH; touch /shared/up; while :; do sleep 0.1; done";
    let line = format!("{resize} $POSTROJ run -it -v {scratch}:/shared {IMAGE} sh -c '{inside}'");
    let shown = terminal::typed(place, &line, &[]);
    assert_eq!(shown, "20 60\r\n33 77\r\n");
    fs::remove_file(place.scratch().join("up")).expect("it was up");
}

/// Who is killed by SIGKILL leaves the terminal as it was all the same.
fn is_put_back(place: &Place) {
    let scratch = place.scratch().display();
    let is_raw = "[ \"$(stty -g </dev/tty)\" != \"$was\" ]";
    let kill = format!(
        "until [ -e {scratch}/up ] && {is_raw}; do sleep 0.1; done; kill -KILL $(cat {scratch}/id)"
    );
    let noted = format!("sh -c 'echo $$ >{scratch}/id; exec \"$@\"' sh");
    let inside = "touch /shared/up; exec sleep 1000";
    let run = format!("$POSTROJ run -it -v {scratch}:/shared {IMAGE} sh -c '{inside}'");
    let is_as_it_was = "[ \"$(stty -g)\" = \"$was\" ]";
    let line = format!(
        "was=$(stty -g); ({kill}) & {noted} {run}; echo ended $?; \
         for i in $(seq 100); do {is_as_it_was} && break; sleep 0.1; done; \
         {is_as_it_was} && echo as it was"
    );
    let shown = terminal::typed(place, &line, &[]);
    assert!(shown.contains("ended 137"), "{shown}");
    assert!(shown.ends_with("as it was\r\n"), "{shown}");
    fs::remove_file(place.scratch().join("up")).expect("it was up");
}

/// Ctrl-C at any moment of the start ends postroj as one that was interrupted, and nothing is left.
pub(crate) fn interrupted_on_a_terminal_while_it_starts() {
    let place = Place::direct_alone();
    image::pulled(IMAGE);
    let before = place.look();
    for delay in [0, 20, 60, 120, 250] {
        let argument = format!("{}.{delay}", 9_000_000 + std::process::id());
        let line = format!("$POSTROJ run -it {IMAGE} sleep {argument}");
        let mut script = terminal::start(&place, &line);
        let mut keyboard = script.stdin.take().expect("a pipe");
        process::wait_for_argument(&argument);
        thread::sleep(Duration::from_millis(delay));
        keyboard.write_all(b"\x03").expect("type");
        let mut shown = String::new();
        let mut screen = script.stdout.take().expect("a pipe");
        screen.read_to_string(&mut shown).expect("read the screen");
        let code = script.wait().expect("wait for script").code();
        assert_eq!(code, Some(130), "after {delay} ms:\n{shown}");
        assert!(!shown.contains("error"), "after {delay} ms:\n{shown}");
    }
    process::wait_until(|| place.look().since(&before).is_empty(), "nothing is left");
}
