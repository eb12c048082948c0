//! `task attach`.

use std::io;
use std::os::fd::AsFd as _;

use postroj::machine::{Typed, type_into};
use postroj::task::{Input, LogOptions, Task as Found, TaskError, Tasks};

use super::TASK;
use super::logs::{Printed, Printer};
use crate::cli::copy;
use crate::cli::error::{CommandError, Exit};
use crate::cli::output::Output;
use crate::cli::signals::Signals;

/// Which signal to postroj leaves the command alone: who sends as many has waited in vain.
const PATIENT_SIGNALS: u32 = 3;

/// Read what the command of a task writes from now on, and let it read what is typed
///
/// It reads from standard input if the task was created with --interactive; the end of standard input is
/// the end of what it reads. On a terminal of its own, Ctrl-P Ctrl-Q leaves it alone, elsewhere signals are
/// passed on to it, and the third leaves it alone. The exit code is the command's.
#[derive(Debug, clap::Args)]
pub(super) struct Attach {
    /// The task: its name, its id, or the beginning of that
    #[arg(value_name = TASK)]
    task: String,
    /// Let it read nothing
    #[arg(long)]
    no_stdin: bool,
}

impl Attach {
    pub(super) async fn run(self, tasks: &Tasks, output: &Output) -> Result<Exit, CommandError> {
        let mut signals = Signals::listen()?;
        let task = tasks.find(&self.task)?;
        task.check_running()?;
        let reads = task.is_interactive() && !self.no_stdin;
        let mut logs = task.logs(&LogOptions {
            follow: true,
            tail: Some(0),
            ..LogOptions::default()
        })?;
        let showing = async {
            let mut printer = Printer::new(false);
            // That nobody reads any more is no reason for the command to end.
            while !matches!(printer.print_next(&mut logs).await?, Printed::All) {}
            Ok::<_, CommandError>(())
        };
        let typing = async {
            if !reads {
                return std::future::pending().await;
            }
            let input = match task.input().await {
                // It has ended just now, which is seen in any case.
                Err(TaskError::NotRunning { .. }) => return std::future::pending().await,
                input => input?,
            };
            if task.has_terminal() {
                let typed = type_into(&input.descriptor, true).await;
                return typed.map_err(CommandError::internal);
            }
            copy_input(input, &task).await
        };
        let passing_on = async {
            for _ in 1..PATIENT_SIGNALS {
                let number = signals.next().await;
                let task = task.clone();
                // One that has just ended needs none. And the next is heard whoever answers this one.
                tokio::spawn(async move { drop(task.signal(number).await) });
            }
            signals.next().await
        };
        tokio::pin!(showing, typing, passing_on);
        let mut is_typing = true;
        loop {
            tokio::select! {
                shown = &mut showing => {
                    shown?;
                    break;
                }
                typed = &mut typing, if is_typing => match typed? {
                    Typed::Detached => {
                        output.note("detached");
                        return Ok(Exit::Success);
                    }
                    Typed::All => is_typing = false,
                },
                number = &mut passing_on => return Ok(Exit::Signal(number)),
            }
        }
        let state = task.wait().await?;
        Ok(Exit::Code(state.code().unwrap_or_default()))
    }
}

/// Copies standard input into the pipe that the command reads from, to its end.
async fn copy_input(input: Input, task: &Found) -> Result<Typed, CommandError> {
    let failed = |error: io::Error| CommandError::internal(format!("cannot attach: {error}"));
    let source = io::stdin().as_fd().try_clone_to_owned().map_err(failed)?;
    let (done, copied) = tokio::sync::oneshot::channel();
    // A thread of its own: whatever becomes of it, it goes with this process.
    std::thread::spawn(move || {
        let copied = copy::copy(source, &input.descriptor);
        done.send(copied.map(|()| input))
    });
    match copied.await {
        Ok(Ok(input)) => {
            // If it has ended meanwhile, it reads no more.
            let _ = task.end_input(&input).await;
            Ok(Typed::All)
        }
        // It has closed it, or ended. If it is started again, this is not for that.
        Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Typed::All),
        Ok(Err(error)) => Err(failed(error)),
        Err(_) => Ok(Typed::All),
    }
}
