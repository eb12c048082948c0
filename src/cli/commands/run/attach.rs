//! A command in a container, attached to this process's standard input, output and error.

use std::io::{self, IsTerminal as _};
use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;
use std::time::Duration;

use postroj::image::Images;
use postroj::machine::{Container, Ending, Signaller, Stdio, Terminal, relay, watch};
use postroj::run::Run;
use tokio::time::{Instant, sleep_until};

use super::TIMED_OUT;
use crate::cli::copy;
use crate::cli::error::{CommandError, Exit};
use crate::cli::output::Output;
use crate::cli::signals::Signals;

/// How long what a command has written to its terminal may take to arrive after its end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Which signal to postroj ends the container, whatever the command makes of it: who sends as many has
/// waited in vain.
const PATIENT_SIGNALS: u32 = 3;

/// When a command is ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stop {
    /// When it has taken so long.
    pub(super) timeout: Option<Duration>,
    /// So long after it was asked to end.
    pub(super) patience: Duration,
}

/// Runs it to its end.
pub(super) async fn run(
    planned: &Run,
    images: &Images,
    (interactive, tty): (bool, bool),
    stop: Stop,
    output: &Output,
) -> Result<Exit, CommandError> {
    let failed = |error: io::Error| CommandError::internal(format!("cannot attach: {error}"));
    let mut signals = Signals::listen()?;
    if tty {
        if interactive && !io::stdin().is_terminal() {
            output.note(
                "standard input is no terminal: its end is typed as Ctrl-D, which a command may not be ready for; \
                 to pipe something in, leave out -t",
            );
        }
        let (terminal, stdio) = Terminal::new().map_err(failed)?;
        let started = tokio::select! {
            started = planned.start(images, stdio) => started,
            number = signals.next() => return Ok(Exit::Signal(number)),
        };
        let (container, config) = started?;
        tell(&container, output);
        let relaying = async {
            if let Ok(Some(master)) = terminal.master().await {
                let _ = if interactive {
                    relay(master).await
                } else {
                    watch(master).await
                };
            }
        };
        let attended = attend(container, &config.stop_signal, stop, &mut signals, output);
        tokio::pin!(relaying, attended);
        return tokio::select! {
            exit = &mut attended => {
                let _ = tokio::time::timeout(LAST_WORDS, relaying).await;
                exit
            }
            () = &mut relaying => attended.await,
        }
        .map(|attended| attended.exit);
    }
    let (stdio, copies) = Copies::make(interactive).map_err(failed)?;
    let started = tokio::select! {
        started = planned.start(images, stdio) => started,
        number = signals.next() => return Ok(Exit::Signal(number)),
    };
    let (container, config) = started?;
    tell(&container, output);
    let exit = attend(container, &config.stop_signal, stop, &mut signals, output).await;
    // Nobody writes any more: what is in the pipes is all that there is. Whoever reads it may not do so, though.
    let (exit, is_late) = match exit {
        Ok(Attended { exit, is_late }) => (Ok(exit), is_late),
        Err(error) => (Err(error), false),
    };
    let finishing = tokio::task::spawn_blocking(move || copies.finish());
    // A signal may have come just when the command ended by itself.
    let given_up = async {
        let number = signals.next().await;
        tokio::time::sleep(LAST_WORDS).await;
        number
    };
    tokio::select! {
        finished = finishing => match finished {
            Ok(Err(error)) if exit.is_ok() => Err(CommandError::internal(format!(
                "what the command wrote cannot be passed on: {error}"
            ))),
            _ => exit,
        },
        number = given_up => Ok(Exit::Signal(number)),
        () = tokio::time::sleep(LAST_WORDS), if is_late => exit,
    }
}

fn tell(container: &Container, output: &Output) {
    for note in container.notes() {
        output.note(note);
    }
}

/// How a command has ended.
struct Attended {
    exit: Exit,
    /// Whether it was ended because it took too long.
    is_late: bool,
}

impl From<Exit> for Attended {
    fn from(exit: Exit) -> Self {
        Self {
            exit,
            is_late: false,
        }
    }
}

/// Waits for the end of the command. Signals are passed on to it.
async fn attend(
    mut container: Container,
    stop_signal: &str,
    stop: Stop,
    signals: &mut Signals,
    output: &Output,
) -> Result<Attended, CommandError> {
    let name = container.name().to_owned();
    let signaller = container.signaller().map_err(CommandError::internal)?;
    let mut deadline = stop.timeout.map(|timeout| Instant::now() + timeout);
    let (mut is_late, mut received) = (false, 0);
    let ended = loop {
        tokio::select! {
            ended = container.ended() => break Some(ended),
            number = signals.next() => {
                received += 1;
                if received == PATIENT_SIGNALS {
                    container.end().await?;
                    return Ok(Exit::Signal(number).into());
                }
                pass_on(&signaller, number);
            }
            () = until(deadline) => {
                if is_late {
                    break None;
                }
                is_late = true;
                deadline = Some(Instant::now() + stop.patience);
                pass_on(&signaller, signal_number(stop_signal));
            }
        }
    };
    if ended.is_none() {
        container.end().await?;
    }
    let Some(ended) = ended.filter(|_| !is_late) else {
        let seconds = stop.timeout.unwrap_or_default().as_secs_f64();
        output.note(&format!(
            "{name}: the command did not end within {seconds} s"
        ));
        return Ok(Attended {
            exit: Exit::Code(TIMED_OUT),
            is_late: true,
        });
    };
    let ended = ended?;
    if ended.out_of_memory {
        output.note(&format!(
            "{name}: the kernel killed a process for want of memory; --memory sets how much there is"
        ));
    }
    if let Ending::Failed(failure) = &ended.ending {
        return Err(CommandError::internal(failure).with_code(ended.ending.code()));
    }
    Ok(Exit::Code(ended.ending.code()).into())
}

fn pass_on(signaller: &Signaller, number: i32) {
    // One that has just ended needs none.
    let _ = signaller.send(number);
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// The number of an image's stop signal, which is SIGTERM where it names none that is known.
fn signal_number(name: &str) -> i32 {
    postroj::machine::signal_number(name).unwrap_or(15)
}

/// What copies between the standard streams and the pipes that the command has. They are the
/// container's own, for whoever opens `/dev/stdout` there has to be allowed to.
struct Copies([JoinHandle<io::Result<()>>; 2]);

impl Copies {
    /// Starts them; gives the command's ends.
    fn make(interactive: bool) -> io::Result<(Stdio, Self)> {
        let (stdio, pipes) = Stdio::piped(interactive)?;
        if let Some(input) = pipes.stdin {
            let source = own(io::stdin())?;
            // Whatever becomes of it, it goes with this process.
            std::thread::spawn(move || copy(source, input));
        }
        let (to_out, to_err) = (own(io::stdout())?, own(io::stderr())?);
        let copies = [
            std::thread::spawn(move || copy(pipes.stdout, to_out)),
            std::thread::spawn(move || copy(pipes.stderr, to_err)),
        ];
        Ok((stdio, Self(copies)))
    }

    /// Waits until all is copied.
    fn finish(self) -> io::Result<()> {
        let mut first = Ok(());
        for copy in self.0 {
            let copied = copy
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("a thread failed")));
            first = first.and(copied);
        }
        first
    }
}

fn own(stream: impl AsFd) -> io::Result<OwnedFd> {
    stream.as_fd().try_clone_to_owned()
}

/// Copies to the end. That the other side does not read any more is for the command to find out.
fn copy(from: OwnedFd, to: OwnedFd) -> io::Result<()> {
    match copy::copy(from, to) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}
