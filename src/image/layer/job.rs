//! The thread that unpacks, and the channel that feeds it.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

/// How many chunks may wait for the thread; a fast socket's have some hundred KiB.
const CHUNKS: usize = 8;

enum Chunk {
    Data(Bytes),
    End,
    /// Wakes the thread so that it sees that it is to end.
    Wake,
}

/// Where the bytes for a [`Job`] are put in.
#[derive(Clone)]
pub(in crate::image) struct Feed {
    sender: mpsc::Sender<Chunk>,
}

/// The thread has ended and takes no more; [`Job::outcome`] tells why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::image) struct Ended;

impl Feed {
    /// Hands over some bytes; waits while the thread is behind.
    pub(in crate::image) async fn push(&self, bytes: Bytes) -> Result<(), Ended> {
        self.sender
            .send(Chunk::Data(bytes))
            .await
            .map_err(|_| Ended)
    }

    /// Tells that this was all. A feed that is dropped without it makes the thread fail.
    pub(in crate::image) async fn end(&self) -> Result<(), Ended> {
        self.sender.send(Chunk::End).await.map_err(|_| Ended)
    }
}

/// The bytes on the thread's side.
pub(in crate::image) struct Fed {
    receiver: mpsc::Receiver<Chunk>,
    current: Bytes,
    ended: bool,
}

impl Read for Fed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            if self.ended {
                return Ok(0);
            }
            match self.receiver.blocking_recv() {
                Some(Chunk::Data(bytes)) => self.current = bytes,
                Some(Chunk::End) => self.ended = true,
                Some(Chunk::Wake) | None => {
                    return Err(io::Error::other("the source ended too early"));
                }
            }
        }
        let length = buffer.len().min(self.current.len());
        buffer[..length].copy_from_slice(&self.current.split_to(length));
        Ok(length)
    }
}

/// Blocking work on a thread of its own.
///
/// Dropping it asks the work to end and waits until it has, so that whatever directory it writes
/// to can be removed afterwards.
pub(in crate::image) struct Job<T> {
    cancel: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    feed: Option<mpsc::WeakSender<Chunk>>,
    outcome: oneshot::Receiver<T>,
}

impl<T: Send + 'static> Job<T> {
    /// Starts work that reads what the feed is given; it is to end early once the flag is set.
    pub(in crate::image) fn fed(
        work: impl FnOnce(Fed, &AtomicBool) -> T + Send + 'static,
    ) -> io::Result<(Self, Feed)> {
        let (sender, receiver) = mpsc::channel(CHUNKS);
        let fed = Fed {
            receiver,
            current: Bytes::new(),
            ended: false,
        };
        let mut job = Self::start(move |cancel| work(fed, cancel))?;
        job.feed = Some(sender.downgrade());
        Ok((job, Feed { sender }))
    }

    /// Starts work; it is to end early once the flag is set.
    pub(in crate::image) fn start(
        work: impl FnOnce(&AtomicBool) -> T + Send + 'static,
    ) -> io::Result<Self> {
        let cancel = Arc::new(AtomicBool::new(false));
        let (sender, outcome) = oneshot::channel();
        let flag = Arc::clone(&cancel);
        let thread = std::thread::Builder::new()
            .name("layer".to_owned())
            .spawn(move || {
                // Nobody may be waiting any more; then the result has no use.
                let _ = sender.send(work(&flag));
            })?;
        Ok(Self {
            cancel,
            thread: Some(thread),
            feed: None,
            outcome,
        })
    }

    /// What the work came to; `None` if it panicked.
    pub(in crate::image) async fn outcome(mut self) -> Option<T> {
        (&mut self.outcome).await.ok()
    }
}

impl<T> Drop for Job<T> {
    fn drop(&mut self) {
        self.cancel.store(true, Ordering::Relaxed);
        // With a full channel the thread is not waiting, and sees the flag at its next read.
        if let Some(sender) = self.feed.take().and_then(|feed| feed.upgrade()) {
            let _ = sender.try_send(Chunk::Wake);
        }
        if let Some(thread) = self.thread.take() {
            // A panic in it has been printed by the hook.
            let _ = thread.join();
        }
    }
}

/// Runs blocking work on a thread of its own and waits for it.
pub(in crate::image) async fn blocking<T: Send + 'static>(
    work: impl FnOnce(&AtomicBool) -> T + Send + 'static,
) -> io::Result<T> {
    Job::start(work)?
        .outcome()
        .await
        .ok_or_else(|| io::Error::other("a worker thread panicked"))
}
