//! Reading what a task writes, and writing what it reads.

use super::*;
use crate::support::terminal;

/// What is typed gets there, to its end, and the exit code comes back.
pub(super) fn input(place: &Place) {
    let task = Task::script(place, &["-i"], "read line; echo got $line; wc -c; exit 4");
    let long = format!("first\n{}", "x".repeat(300_000));
    let attached = place.postroj(["task", "attach", &task.id]).stdin(&long);
    let outcome = attached.run().exits(4);
    assert_eq!(outcome.stdout, "got first\n300000\n");
    // Nobody is there any more who reads, or who would have anything to say.
    task.ask("attach", &[])
        .exits(2)
        .stderr_has("is not running");
    // Without -i it reads nothing, and without --no-stdin the end of this input would be its end.
    let task = Task::script(place, &[], "cat; echo end; sleep 1; exit 5");
    let attached = place.postroj(["task", "attach", &task.id]).stdin("text\n");
    attached.run().exits(5);
    assert_eq!(task.logs(&[]).stdout, "end\n");
    let task = Task::script(place, &["-i"], "cat; echo end");
    let attached = place
        .postroj(["task", "attach", "--no-stdin", &task.id])
        .start();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(task.health()["status"], "sleeping");
    let second = place.postroj(["task", "attach", &task.id]).stdin("both\n");
    assert_eq!(second.run().exits(0).stdout, "both\nend\n");
    assert_eq!(attached.wait().exits(0).stdout, "both\nend\n");
}

#[test]
fn whoever_is_attached_is_heard_directly() {
    input(&directly());
}

#[test]
fn a_signal_to_who_is_attached_is_the_commands() {
    signals(&directly());
}

pub(super) fn signals(place: &Place) {
    // It makes no processes meanwhile: while a shell does, it is not asleep.
    let script = "trap 'echo caught' INT; sleep 1000 & echo ready; while :; do wait; done";
    let task = Task::script(place, &[], script);
    task.wait_for("ready");
    let attached = place.postroj(["task", "attach", &task.id]).start();
    std::thread::sleep(Duration::from_millis(300));
    attached.signal(Signal::INT);
    task.wait_for("caught");
    attached.signal(Signal::INT);
    std::thread::sleep(Duration::from_millis(300));
    // The third is for who is attached.
    attached.signal(Signal::INT);
    attached.wait().exits(130).stdout_has("caught");
    assert_eq!(task.health()["status"], "sleeping");
}

/// `postroj task attach` on a terminal of ours. Each text is typed as soon as what goes before it is shown.
fn on_terminal(place: &Place, id: &str, typed: &[(&str, &str)]) -> String {
    let line = format!(
        "stty rows 40 cols 90; $POSTROJ task attach {id}; echo ended $?; stty -a | grep -o -- '-\\?echo '"
    );
    terminal::typed(place, &line, typed)
}

#[test]
fn a_terminal_can_be_left_and_taken_up_again() {
    terminal(&directly());
}

pub(super) fn terminal(place: &Place) {
    let task = Task::script(place, &["-it"], "tty; sleep 1; stty size; exec sh -i");
    let shown = on_terminal(
        place,
        &task.id,
        &[("40 90", "A=kept; echo set\n"), ("set\r\n", "\x10\x11")],
    );
    assert!(
        shown.contains("detached") && shown.contains("ended 0"),
        "{shown}"
    );
    // It is not left in raw mode.
    assert!(shown.trim_end().ends_with("\necho"), "{shown}");
    assert_eq!(task.health()["status"], "sleeping");
    // There is no prompt to be seen: nothing was written since.
    let shown = on_terminal_typing(place, &task.id, "echo $A; exit 8\n");
    assert!(
        shown.contains("kept") && shown.contains("ended 8"),
        "{shown}"
    );
    assert!(task.logs(&[]).stdout.starts_with("/dev/pts/"));
}

/// The same where the terminal says nothing until something is typed.
fn on_terminal_typing(place: &Place, id: &str, text: &str) -> String {
    std::thread::scope(|scope| {
        let task = Task {
            place,
            id: id.to_owned(),
        };
        scope.spawn(move || {
            // Its own resize makes the shell draw its prompt anew; if it does not, this does.
            std::thread::sleep(Duration::from_secs(1));
            task.ask("signal", &["WINCH"]);
            std::mem::forget(task);
        });
        on_terminal(place, id, &[("", text)])
    })
}
