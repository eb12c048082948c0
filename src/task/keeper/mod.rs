//! The process that looks after one task, from its first start until it has ended for good.
//!
//! It is a hidden command of the binary: a transient service of its own on a host with systemd, elsewhere a
//! process of a session of its own. It runs the container as any program does that uses the library; if it
//! is killed, the container's supervisor ends that. It has the task's directory locked for as long as it
//! lives, writes there what the command writes and how the task is, and answers who asks ([`serve`]).

mod once;
mod output;
mod serve;

use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc, watch};

use super::control::Began;
use super::definition::Definition;
use super::files;
use super::log::Writer;
use super::restart::Pauses;
use super::state::{OWN_FAILURE, Phase, State};
use crate::machine::runtime::hold;
use crate::machine::wire::{self, Lines};
use crate::machine::{Ending, MachineError, sys};

use once::Ran;
use serve::{Server, Shared};

/// The hidden command of the binary that is the keeper; the task's directory follows.
pub(super) const COMMAND: &str = "__keep";

/// How many signals may wait until the command is there.
const SIGNALS: usize = 64;

/// Looks after the task whose directory is this process's second argument.
///
/// The result is for the exit code only: who has started it is told on the socket.
pub(super) fn keep() -> io::Result<()> {
    sys::close_inherited()?;
    let directory = std::env::args_os().nth(2).map(PathBuf::from);
    let directory = directory.ok_or(io::ErrorKind::InvalidInput)?;
    let socket = wire::from_stdin()?;
    let mut lines = Lines::new(socket.try_clone()?);
    lines.next()?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let handed = <[OwnedFd; 2]>::try_from(std::mem::take(&mut lines.descriptors));
    let [lock, listener] = handed.map_err(|_| io::ErrorKind::InvalidInput)?;
    drop(lines);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let kept = runtime.block_on(async {
        let creator = Creator::new(socket)?;
        let prepared = Keeper::prepare(directory.clone(), lock, listener);
        let (keeper, listener) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                files::remove_locked(&directory)?;
                return creator.tell(&Began::Failed {
                    message: format!("{}: {error}", directory.display()),
                    hint: None,
                    code: OWN_FAILURE,
                });
            }
        };
        keeper.keep(creator, listener).await
    });
    runtime.shutdown_background();
    kept
}

/// Who waits until the command has started, and wants nothing of it if he does not wait.
struct Creator(UnixStream);

impl Creator {
    fn new(socket: StdUnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self(UnixStream::from_std(socket)?))
    }

    /// Waits until he has gone; he says nothing more.
    async fn gone(&self) {
        // It can be read from when its other end is closed.
        let _ = self.0.readable().await;
    }

    fn tell(self, began: &Began) -> io::Result<()> {
        let socket = self.0.into_std()?;
        socket.set_nonblocking(false)?;
        (&socket).write_all(&wire::line(began)?)
    }
}

/// What looks after one task.
struct Keeper {
    directory: PathBuf,
    definition: Definition,
    /// Says for as long as it is open that the task is looked after.
    _lock: OwnedFd,
    /// Say the same of the image's layers, for further starts.
    _layers: Vec<OwnedFd>,
    state: watch::Sender<State>,
    log: Arc<Mutex<Writer>>,
    shared: Arc<Shared>,
    signals: mpsc::Receiver<i32>,
}

impl Keeper {
    fn prepare(
        directory: PathBuf,
        lock: OwnedFd,
        listener: OwnedFd,
    ) -> io::Result<(Self, UnixListener)> {
        let definition = Definition::load(&directory)?;
        let layers = definition.container.lowers.iter();
        let layers = layers.map(|layer| hold(layer)).collect::<io::Result<_>>()?;
        let log = Writer::open(&files::log(&directory))?;
        let listener = StdUnixListener::from(listener);
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        let state = watch::Sender::new(State::default());
        let (sender, signals) = mpsc::channel(SIGNALS);
        let shared = Shared {
            state: state.subscribe(),
            stop: watch::Sender::new(false),
            signals: sender,
            input: Mutex::default(),
            is_interactive: definition.interactive,
            lost: Notify::new(),
        };
        let keeper = Self {
            directory,
            definition,
            _lock: lock,
            _layers: layers,
            state,
            log: Arc::new(Mutex::new(log)),
            shared: Arc::new(shared),
            signals,
        };
        Ok((keeper, listener))
    }

    /// Runs the command, as often as it is to be run.
    async fn keep(mut self, creator: Creator, listener: UnixListener) -> io::Result<()> {
        let server = Server::new(listener, Arc::clone(&self.shared));
        let server = tokio::spawn(server.serve());
        let mut terminate = signal(SignalKind::terminate())?;
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            while terminate.recv().await.is_some() {
                shared.stop.send_replace(true);
            }
        });
        let mut creator = Some(creator);
        if !self.runs(&mut creator).await {
            return Ok(());
        }
        // Who waits is answered before the task may go.
        let connections = server.await.unwrap_or_default();
        if self.definition.removed_at_end {
            files::remove_locked(&self.directory)?;
        }
        drop(connections);
        Ok(())
    }

    /// Whether there is a task: nothing is left of one that never ran.
    async fn runs(&mut self, creator: &mut Option<Creator>) -> bool {
        let mut pauses = Pauses::default();
        loop {
            let began = Instant::now();
            let ran = self.once(creator).await;
            if self.has_failed_at_first(&ran, creator) {
                return false;
            }
            let (has_failed, can_again) = match &ran {
                Ok(Ran::Ended { end, timed_out }) => (
                    *timed_out || end.ending != Ending::Exited(0),
                    !matches!(end.ending, Ending::Failed(_)),
                ),
                Ok(Ran::Stopped(_)) => (false, false),
                Ok(Ran::NotStarted(_)) => (true, true),
                // Whoever ends the container, by `postroj stop` say, does not want another.
                Err(error) => (true, matches!(error, MachineError::Killed { .. })),
            };
            let restarts = self.state.borrow().restarts;
            let again = can_again && self.definition.restart.applies(has_failed, restarts);
            let phase = if again {
                Phase::Restarting
            } else {
                Phase::Ended
            };
            self.note_end(ran, phase);
            if !again || !self.pause(pauses.next(began.elapsed())).await {
                self.change(|state| state.phase = Phase::Ended);
                return true;
            }
            self.change(|state| state.restarts += 1);
        }
    }

    /// Tells who has started it if the command could not be run the first time; whether that is so.
    fn has_failed_at_first(
        &self,
        ran: &Result<Ran, MachineError>,
        creator: &mut Option<Creator>,
    ) -> bool {
        let (message, hint, code) = match ran {
            Err(error) | Ok(Ran::NotStarted(error)) => {
                (error.to_string(), error.hint(), OWN_FAILURE)
            }
            Ok(Ran::Ended { end, .. }) => match &end.ending {
                Ending::Failed(failure) => (failure.to_string(), None, end.ending.code()),
                _ => return false,
            },
            // Or he himself has gone, and hears nothing of it.
            Ok(Ran::Stopped(_)) => {
                let message = "somebody ended the task before its command was started";
                (message.to_owned(), None, OWN_FAILURE)
            }
        };
        let Some(creator) = creator.take() else {
            return false;
        };
        // Nothing is left of it when he hears so.
        let _ = files::remove_locked(&self.directory);
        let _ = creator.tell(&Began::Failed {
            message,
            hint: hint.map(str::to_owned),
            code,
        });
        true
    }

    /// Waits before the command is started anew; whether it is to be.
    async fn pause(&self, pause: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(pause) => true,
            () = self.shared.stop_asked() => {
                self.change(|state| state.stopped = true);
                false
            }
        }
    }

    /// How many bytes of what the command wrote are not in its log.
    fn lost(&self) -> u64 {
        self.log.lock().map_or(0, |log| log.lost())
    }

    fn note_end(&self, ran: Result<Ran, MachineError>, phase: Phase) {
        let lost = self.lost();
        self.change(|state| {
            state.phase = phase;
            state.finished = Some(SystemTime::now());
            state.processes = None;
            state.lost = lost;
            match ran {
                Ok(Ran::Ended { end, timed_out }) => {
                    (state.end, state.timed_out, state.error) = (Some(end), timed_out, None);
                }
                Ok(Ran::Stopped(end)) => {
                    state.stopped = true;
                    // Before it was started again, it is the last run's end that counts.
                    if let Some(end) = end {
                        (state.end, state.timed_out, state.error) = (Some(end), false, None);
                    }
                }
                Ok(Ran::NotStarted(error)) | Err(error) => {
                    (state.end, state.timed_out) = (None, false);
                    state.error = Some(error.to_string());
                }
            }
        });
    }

    /// Changes the state, and writes it down.
    fn change(&self, change: impl FnOnce(&mut State)) {
        self.state.send_modify(|state| {
            change(state);
            // There is nobody to be told that it cannot be, and the task goes on in any case.
            let _ = state.save(&files::state(&self.directory));
        });
    }
}
