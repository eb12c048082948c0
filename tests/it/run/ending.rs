//! What ends a command: signals, times, a terminal's keys, the end of postroj.

use super::*;
use crate::support::terminal;

#[test]
fn signals_and_times_end_a_command() {
    let place = directly();
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
    script(&place, &["--timeout", "1"], "sleep 30")
        .exits(124)
        .stderr_has("did not end within 1 s");
    let stubborn = script(
        &place,
        &["--timeout", "500ms", "--stop-timeout", "500ms"],
        "trap '' TERM; sleep 30",
    );
    let stubborn = stubborn.exits(124);
    assert!(stubborn.took < Duration::from_secs(10), "{stubborn}");
}

#[test]
fn a_killed_postroj_takes_its_command_along() {
    let place = Place::direct_alone();
    image::pulled(IMAGE);
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
    let line = format!(
        "{} run -it {}; echo ended $?; stty -a | grep -o -- '-\\?echo '",
        binary().display(),
        words.join(" ")
    );
    terminal::typed(place, &line, typed)
}

#[test]
fn a_terminal_of_its_own() {
    let place = directly();
    let has = |shown: &str, parts: &[&str]| {
        for part in parts {
            assert!(shown.contains(part), "{part:?} is not in:\n{shown}");
        }
    };
    let words = [IMAGE, "sh"];
    let shown = on_terminal(
        &place,
        &words,
        &[("# ", "echo typed $((6*7))\n"), ("typed 42", "exit 5\n")],
    );
    // Ours is again as it was.
    has(&shown, &["typed 42", "ended 5", "\necho "]);
    let words = [IMAGE, "sh", "-c", "'tty; stty size; echo ready; sleep 60'"];
    let shown = on_terminal(&place, &words, &[("ready", "\u{3}")]);
    has(&shown, &["/dev/pts/0", "ended 130"]);
}

/// Ctrl-C at any moment of the start ends postroj as one that was interrupted, and nothing is left.
#[test]
fn interrupted_on_a_terminal_while_it_starts() {
    let place = Place::direct_alone();
    image::pulled(IMAGE);
    let before = place.look();
    for delay in [0, 20, 60, 120, 250] {
        let argument = format!("{}.{delay}", 9_000_000 + std::process::id());
        let line = format!("{} run -it {IMAGE} sleep {argument}", binary().display());
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
