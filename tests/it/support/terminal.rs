//! A terminal, and somebody who types.

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};

use super::Place;

/// A shell's line on a terminal of ours, by script(1); `$POSTROJ` is postroj.
pub(crate) fn start(place: &Place, line: &str) -> Child {
    let shell = place.shell(line);
    let words = std::iter::once(shell.get_program()).chain(shell.get_args());
    let words = shlex::try_join(words.map(|word| word.to_str().expect("UTF-8")));
    let line = words.expect("words without a NUL");
    // Who runs the tests in the background may have had them ignore what is typed.
    let mut command = Command::new("env");
    command.args(["--default-signal", "script", "-qec", &line, "/dev/null"]);
    let environment = shell.get_envs();
    command
        .envs(environment.filter_map(|(name, value)| Some((name, value?))))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("env of coreutils, script of bsdutils")
}

/// The same, to its end: gives all that is shown. Each text is typed as soon as what goes before it is shown.
pub(crate) fn typed(place: &Place, line: &str, typed: &[(&str, &str)]) -> String {
    let mut script = start(place, line);
    let mut keyboard = script.stdin.take().expect("a pipe");
    let mut screen = script.stdout.take().expect("a pipe");
    let mut shown = Vec::new();
    for (awaited, text) in typed {
        let from = shown.len();
        let mut buffer = [0; 1024];
        while !String::from_utf8_lossy(&shown[from..]).contains(awaited) {
            let count = screen.read(&mut buffer).expect("read the screen");
            let so_far = String::from_utf8_lossy(&shown);
            assert!(count > 0, "{awaited:?} was never shown, but:\n{so_far}");
            shown.extend_from_slice(&buffer[..count]);
        }
        keyboard.write_all(text.as_bytes()).expect("type");
    }
    screen.read_to_end(&mut shown).expect("read the screen");
    script.wait().expect("wait for script");
    String::from_utf8_lossy(&shown).into_owned()
}
