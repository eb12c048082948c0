//! The two threads of an unpacking: one digests what comes and inflates it, the other digests what
//! that is and writes files. So shared out, each has about the same to do.

use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use super::inflate::inflate;
use super::{Archive, Compression, LayerError, Limits};
use crate::image::digest::{Digest, Hasher, Hashing};

/// Large enough that handing one over costs nothing beside filling it.
const CHUNK: usize = 256 << 10;
/// How far the one thread may be ahead of the other.
const CHUNKS: usize = 4;
/// Below this no ratio counts: a file of zeros is small when it is compressed.
const RATIO_FREE: u64 = 1 << 30;

/// Runs `work` on the uncompressed bytes of `reader`, which another thread provides.
///
/// The archive is read to its end even where `work` does not: the digests are of everything.
pub(super) fn uncompressed<T>(
    reader: impl Read + Send,
    compression: Option<Compression>,
    limits: Limits,
    cancel: &AtomicBool,
    work: impl FnOnce(&mut Chunks) -> Result<T, LayerError>,
) -> Result<(T, Archive), LayerError> {
    let (full, handed) = sync_channel(CHUNKS);
    let (empty, spare) = channel();
    std::thread::scope(|scope| {
        let producer = Producer {
            full,
            spare,
            limits,
            cancel,
        };
        let thread = std::thread::Builder::new()
            .name("inflate".to_owned())
            .spawn_scoped(scope, move || producer.run(reader, compression))
            .map_err(|source| LayerError::write(b"", source))?;
        let mut chunks = Chunks {
            full: handed,
            empty,
            current: Vec::new(),
            at: 0,
            diff_id: Hasher::new(),
        };
        let done = work(&mut chunks).and_then(|done| {
            chunks
                .drain()
                .map_err(|source| LayerError::Archive { source })?;
            Ok(done)
        });
        // The other thread ends when nobody takes its chunks any more.
        let diff_id = chunks.end();
        let blob = thread.join().unwrap_or_else(|_| {
            Err(LayerError::Archive {
                source: io::Error::other("a worker thread panicked"),
            })
        });
        match (done, blob) {
            (Ok(done), Ok((blob, blob_bytes))) => Ok((
                done,
                Archive {
                    blob,
                    blob_bytes,
                    diff_id,
                },
            )),
            // What is only told that the other side has failed is not the cause.
            (_, Err(error)) if !matches!(error, LayerError::Interrupted) => Err(error),
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    })
}

struct Producer<'a> {
    full: SyncSender<io::Result<Vec<u8>>>,
    spare: Receiver<Vec<u8>>,
    limits: Limits,
    cancel: &'a AtomicBool,
}

impl Producer<'_> {
    fn run(
        self,
        reader: impl Read,
        compression: Option<Compression>,
    ) -> Result<(Digest, u64), LayerError> {
        let outcome = self.produce(reader, compression);
        if let Err(error) = &outcome {
            // Nobody listens any more where the other side has failed first.
            let _ = self.full.send(Err(io::Error::other(match error {
                LayerError::Archive { source } => source.to_string(),
                error => error.to_string(),
            })));
        }
        outcome
    }

    /// Gives the digest and the length of what has come.
    fn produce(
        &self,
        reader: impl Read,
        compression: Option<Compression>,
    ) -> Result<(Digest, u64), LayerError> {
        let broken = |source| LayerError::Archive { source };
        let taken = Rc::new(Cell::new(0));
        let compressed = Hashing::new(Watched {
            inner: reader,
            cancel: self.cancel,
            taken: Rc::clone(&taken),
        });
        let mut inflated = inflate(compressed, compression).map_err(broken)?;
        let mut given = 0_u64;
        loop {
            let mut chunk = match self.spare.try_recv() {
                Ok(chunk) => chunk,
                Err(_) => vec![0; CHUNK],
            };
            chunk.resize(CHUNK, 0);
            let length = fill(&mut inflated, &mut chunk).map_err(broken)?;
            if length == 0 {
                break;
            }
            chunk.truncate(length);
            given += length as u64;
            self.check(given, taken.get())?;
            if self.full.send(Ok(chunk)).is_err() {
                // The other side has failed, and tells why.
                return Err(LayerError::Interrupted);
            }
        }
        let (_, blob) = inflated.into_inner().into_parts();
        Ok(blob)
    }

    fn check(&self, given: u64, taken: u64) -> Result<(), LayerError> {
        let limits = &self.limits;
        let too_large = |limit: String| Err(LayerError::TooLarge { limit });
        if given > limits.bytes {
            return too_large(format!("{} bytes", limits.bytes));
        }
        if given > RATIO_FREE && given / taken.max(1) > limits.ratio {
            return too_large(format!("{} times its compressed size", limits.ratio));
        }
        Ok(())
    }
}

fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Counts the compressed bytes, and ends when asked to.
struct Watched<'a, R> {
    inner: R,
    cancel: &'a AtomicBool,
    taken: Rc<Cell<u64>>,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(io::Error::other("interrupted"));
        }
        let length = self.inner.read(buffer)?;
        self.taken.set(self.taken.get() + length as u64);
        Ok(length)
    }
}

/// The uncompressed bytes, as the other thread hands them over.
pub(super) struct Chunks {
    full: Receiver<io::Result<Vec<u8>>>,
    empty: Sender<Vec<u8>>,
    current: Vec<u8>,
    at: usize,
    /// Of all that has been handed over.
    diff_id: Hasher,
}

impl Chunks {
    /// Takes no more; gives the digest of what was taken.
    fn end(self) -> Digest {
        self.diff_id.finish()
    }

    /// Reads on to the end.
    fn drain(&mut self) -> io::Result<()> {
        loop {
            let length = self.fill_buf()?.len();
            if length == 0 {
                return Ok(());
            }
            self.consume(length);
        }
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let chunk = self.fill_buf()?;
        let length = chunk.len().min(buffer.len());
        buffer[..length].copy_from_slice(&chunk[..length]);
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for Chunks {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.current.len() {
            self.at = 0;
            match self.full.recv() {
                Ok(Ok(chunk)) => {
                    self.diff_id.update(&chunk);
                    // It is of no more use to a thread that has ended.
                    let _ = self.empty.send(std::mem::replace(&mut self.current, chunk));
                }
                Ok(Err(error)) => {
                    self.current.clear();
                    return Err(error);
                }
                Err(_) => self.current.clear(),
            }
        }
        Ok(&self.current[self.at..])
    }

    fn consume(&mut self, length: usize) {
        self.at += length;
    }
}
