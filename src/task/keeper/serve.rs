//! Answering those who ask the keeper of a task.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

use super::super::control::{Answer, Request};
use super::super::state::{Phase, State};
use crate::machine::wire;

/// How long a request is at most, in bytes.
const LONGEST: u64 = 4096;

/// How long who has connected may take to ask.
const QUESTION: Duration = Duration::from_secs(1);

/// How long who asks may take to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What requests are about.
pub(super) struct Shared {
    pub(super) state: watch::Receiver<State>,
    /// Whether the task is to end.
    pub(super) stop: watch::Sender<bool>,
    /// The command's signals.
    pub(super) signals: mpsc::Sender<i32>,
    /// What the command reads from: our end of it.
    pub(super) input: Mutex<Option<OwnedFd>>,
    pub(super) is_interactive: bool,
    /// The log has no room any more.
    pub(super) lost: Notify,
}

impl Shared {
    /// Waits until somebody wants the task to end.
    pub(super) async fn stop_asked(&self) {
        let mut stop = self.stop.subscribe();
        // Its sender is here.
        let _ = stop.wait_for(|stop| *stop).await;
    }

    pub(super) fn set_input(&self, input: Option<OwnedFd>) {
        *self.input.lock().unwrap_or_else(PoisonError::into_inner) = input;
    }

    fn input(&self) -> io::Result<Option<OwnedFd>> {
        let input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        input.as_ref().map(OwnedFd::try_clone).transpose()
    }

    /// Waits until the task has ended for good.
    async fn ended(&self) -> State {
        let mut state = self.state.clone();
        let ended = state.wait_for(|state| state.phase == Phase::Ended).await;
        ended.map_or_else(|_| State::default(), |state| state.clone())
    }
}

/// What listens on the socket of a task.
pub(super) struct Server {
    listener: UnixListener,
    shared: Arc<Shared>,
}

impl Server {
    pub(super) fn new(listener: UnixListener, shared: Arc<Shared>) -> Self {
        Self { listener, shared }
    }

    /// Answers until the task has ended for good and all who wait know; gives the connections of those that
    /// wait for this process's end.
    pub(super) async fn serve(self) -> Vec<UnixStream> {
        let mut asking: JoinSet<Option<UnixStream>> = JoinSet::new();
        let mut kept = Vec::new();
        let ended = self.shared.ended();
        tokio::pin!(ended);
        loop {
            tokio::select! {
                _ = &mut ended => break,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let shared = Arc::clone(&self.shared);
                        asking.spawn(async move { answer(stream, &shared).await.ok().flatten() });
                    }
                    // Out of descriptors, say: those that are open have to be closed first.
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                },
                Some(asked) = asking.join_next() => kept.extend(asked.ok().flatten()),
            }
        }
        drop(self.listener);
        let rest = async {
            while let Some(asked) = asking.join_next().await {
                kept.extend(asked.ok().flatten());
            }
        };
        let _ = tokio::time::timeout(PATIENCE, rest).await;
        kept
    }
}

/// Answers one request; gives the connection if it stays open until this process ends.
async fn answer(mut stream: UnixStream, shared: &Shared) -> io::Result<Option<UnixStream>> {
    let mut text = String::new();
    let mut reader = BufReader::new((&mut stream).take(LONGEST));
    let read = tokio::time::timeout(QUESTION, reader.read_line(&mut text));
    read.await??;
    let request: Request = serde_json::from_str(&text)?;
    let (phase, restarts) = {
        let state = shared.state.borrow();
        (state.phase, state.restarts)
    };
    let is_running = phase == Phase::Running;
    let answer = match request {
        Request::Signal(_) | Request::Input | Request::EndInput(_) if !is_running => {
            Answer::Refused("is not running".to_owned())
        }
        Request::Signal(number) => match shared.signals.try_send(number) {
            Ok(()) => Answer::Done,
            Err(_) => Answer::Refused("has too many signals waiting".to_owned()),
        },
        Request::Wait => Answer::Ended(Box::new(until_ended(&mut stream, shared).await?)),
        Request::Stop => {
            shared.stop.send_replace(true);
            Answer::Ended(Box::new(shared.ended().await))
        }
        Request::Input => match shared.input()? {
            Some(input) => {
                give(stream, &input, restarts)?;
                return Ok(None);
            }
            None if shared.is_interactive => Answer::Refused("has had all its input".to_owned()),
            None => Answer::Refused("reads nothing: it was created without -i".to_owned()),
        },
        Request::EndInput(run) => {
            if run == restarts {
                shared.set_input(None);
            }
            Answer::Done
        }
    };
    let line = wire::line(&answer)?;
    tokio::time::timeout(PATIENCE, stream.write_all(&line)).await??;
    Ok(matches!(request, Request::Stop).then_some(stream))
}

/// Waits for the end, as long as somebody is there who wants to know.
async fn until_ended(stream: &mut UnixStream, shared: &Shared) -> io::Result<State> {
    let mut more = [0];
    tokio::select! {
        state = shared.ended() => Ok(state),
        _ = stream.read(&mut more) => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Answers with a descriptor.
fn give(stream: UnixStream, input: &OwnedFd, run: u32) -> io::Result<()> {
    let socket = stream.into_std()?;
    socket.set_nonblocking(false)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    wire::send(&socket, &wire::line(&Answer::Input(run))?, &[input.as_fd()])
}
