//! One run of a task's command.

use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};

use super::output::connect;
use super::{Began, Creator, Keeper};
use crate::machine::{
    Container, ContainerCommand, Ending, MachineError, ProcessEnd, Signaller, Stdio,
};
use crate::task::state::Phase;

/// How long what the command has written may take to arrive after its end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How a run went.
pub(super) enum Ran {
    /// The command has ended, or could not be started.
    Ended { end: ProcessEnd, timed_out: bool },
    /// Somebody has ended the task.
    Stopped(Option<ProcessEnd>),
    /// There is no container for it.
    NotStarted(MachineError),
}

impl Keeper {
    /// Runs the command to its end. Who has started the keeper is told as soon as it runs.
    pub(super) async fn once(
        &mut self,
        creator: &mut Option<Creator>,
    ) -> Result<Ran, MachineError> {
        let host = |source| MachineError::Host {
            action: "connect the command to its log",
            source,
        };
        let mut command = self.definition.container.clone();
        command.name = Some(self.definition.container_name().to_owned());
        let has_terminal = command.process.terminal.is_some();
        let (stdio, input, outputs) =
            connect(self.definition.interactive, has_terminal).map_err(host)?;
        self.shared.set_input(input);
        let writing = outputs.write_down(self.log.clone(), self.shared.clone());
        let (begun, known) = oneshot::channel();
        let writing = tokio::spawn(async move {
            // Until it is known that the command runs, nobody reads what it has written.
            let _ = known.await;
            writing.await;
        });
        let ran = self.start_and_attend(command, stdio, creator, begun).await;
        self.shared.set_input(None);
        // Nobody writes any more: what is on its way is all that there is.
        let _ = timeout(LAST_WORDS, writing).await;
        ran
    }

    async fn start_and_attend(
        &mut self,
        command: ContainerCommand,
        stdio: Stdio,
        creator: &mut Option<Creator>,
        begun: oneshot::Sender<()>,
    ) -> Result<Ran, MachineError> {
        let shared = self.shared.clone();
        let starting = async {
            let mut container = Container::start(command, stdio).await?;
            let started = container.started().await?;
            Ok::<_, MachineError>((container, started))
        };
        let gone = async {
            match &*creator {
                Some(creator) => creator.gone().await,
                None => std::future::pending().await,
            }
        };
        let (mut container, started) = tokio::select! {
            started = starting => match started {
                Ok(started) => started,
                Err(error) => return Ok(Ran::NotStarted(error)),
            },
            () = shared.stop_asked() => return Ok(Ran::Stopped(None)),
            () = gone => return Ok(Ran::Stopped(None)),
        };
        let Some(started) = started else {
            let end = container.ended().await?;
            if !matches!(end.ending, Ending::Failed(_)) {
                self.change(|state| state.started = Some(SystemTime::now()));
                tell_running(&container, creator);
            }
            return Ok(Ran::Ended {
                end,
                timed_out: false,
            });
        };
        // What has been sent to the last run's command is not for this one's.
        while self.signals.try_recv().is_ok() {}
        self.change(|state| {
            state.phase = Phase::Running;
            state.started = Some(SystemTime::now());
            state.processes = Some(started.into());
        });
        drop(begun);
        tell_running(&container, creator);
        self.attend(container).await
    }

    /// Waits for the end of the command, which gets its signals, and is ended when it is time.
    async fn attend(&mut self, mut container: Container) -> Result<Ran, MachineError> {
        let signaller = container.signaller().map_err(|source| MachineError::Host {
            action: "talk to the container's supervisor",
            source,
        })?;
        let mut deadline = self.definition.timeout.map(|limit| Instant::now() + limit);
        let (mut stopped, mut timed_out) = (false, false);
        let shared = self.shared.clone();
        let end = loop {
            let is_asked = stopped || timed_out;
            tokio::select! {
                ended = container.ended() => break Some(ended?),
                Some(number) = self.signals.recv() => send(&signaller, number),
                () = shared.lost.notified() => self.change(|state| state.lost = self.lost()),
                () = shared.stop_asked(), if !stopped => {
                    stopped = true;
                    if !is_asked {
                        send(&signaller, self.definition.stop_signal);
                        deadline = Some(Instant::now() + self.definition.patience);
                    }
                }
                () = until(deadline) => {
                    if is_asked {
                        break None;
                    }
                    timed_out = true;
                    send(&signaller, self.definition.stop_signal);
                    deadline = Some(Instant::now() + self.definition.patience);
                }
            }
        };
        let end = if let Some(end) = end {
            end
        } else {
            container.end().await?;
            ProcessEnd {
                ending: Ending::Killed(libc::SIGKILL),
                out_of_memory: false,
            }
        };
        if stopped {
            return Ok(Ran::Stopped(Some(end)));
        }
        Ok(Ran::Ended { end, timed_out })
    }
}

fn tell_running(container: &Container, creator: &mut Option<Creator>) {
    if let Some(creator) = creator.take() {
        let notes = container.notes().to_vec();
        // He may have gone this very moment: the task is there then, as if he had gone a moment later.
        let _ = creator.tell(&Began::Running { notes });
    }
}

fn send(signaller: &Signaller, number: i32) {
    // One that has just ended needs none.
    let _ = signaller.send(number);
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
