//! Lines, and descriptors with them, over a stream socket; unix(7), `SCM_RIGHTS`.

use std::fs::File;
use std::io::{self, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::Serialize;

/// How many descriptors come with one line at most.
const MOST: usize = 4;

/// How long a line is at most: more than a command line and its environment can have.
const LONGEST: usize = 8 << 20;

/// The socket that is this process's standard input, which becomes `/dev/null`: its end is what somebody
/// waits for, so no child may hold it. The process gets its name, for it was started by a path that has
/// another.
pub(crate) fn from_stdin() -> io::Result<UnixStream> {
    rustix::thread::set_name(c"postroj")?;
    let socket = UnixStream::from(rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?);
    let null = File::options().read(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(socket)
}

/// As something goes over a socket: a line of JSON.
pub(crate) fn line(said: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(said)?;
    line.push(b'\n');
    Ok(line)
}

/// Sends a line, which ends with its newline, and descriptors with its beginning. The socket blocks.
pub(crate) fn send(
    mut socket: &UnixStream,
    line: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("too many descriptors for one message"));
    }
    let flags = SendFlags::NOSIGNAL;
    let part = [io::IoSlice::new(line)];
    let sent = rustix::net::sendmsg(socket, &part, &mut ancillary, flags)?;
    socket.write_all(&line[sent..])
}

/// The lines that come over a socket that blocks.
pub(crate) struct Lines {
    socket: UnixStream,
    pending: Vec<u8>,
    /// What has come with the lines so far and that nobody has taken.
    pub(crate) descriptors: Vec<OwnedFd>,
}

impl Lines {
    pub(crate) fn new(socket: UnixStream) -> Self {
        Self {
            socket,
            pending: Vec::new(),
            descriptors: Vec::new(),
        }
    }

    /// The next line, without its newline; `None` once the other end is closed.
    pub(crate) fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.pending.drain(..=end).collect();
                line.pop();
                return Ok(Some(line));
            }
            if self.pending.len() > LONGEST {
                return Err(io::Error::other("a line that does not end"));
            }
            if self.receive()? == 0 {
                return Ok(None);
            }
        }
    }

    fn receive(&mut self) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = [0; 16 * 1024];
        let mut part = [io::IoSliceMut::new(&mut bytes)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = rustix::io::retry_on_intr(|| {
            rustix::net::recvmsg(&self.socket, &mut part, &mut ancillary, flags)
        })?;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        self.pending.extend(&bytes[..received.bytes]);
        Ok(received.bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn lines_come_whole_with_what_was_sent() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        let long = vec![b'x'; 100_000];
        let sending = std::thread::spawn(move || {
            send(&ours, b"first\n", &[writer.as_fd()]).unwrap();
            send(&ours, &[&long[..], b"\n"].concat(), &[]).unwrap();
        });
        let mut lines = Lines::new(theirs);
        assert_eq!(lines.next().unwrap().unwrap(), b"first");
        let [sent] = <[OwnedFd; 1]>::try_from(std::mem::take(&mut lines.descriptors)).unwrap();
        rustix::io::write(&sent, b"through").unwrap();
        drop(sent);
        assert_eq!(lines.next().unwrap().unwrap().len(), 100_000);
        assert!(lines.next().unwrap().is_none());
        sending.join().unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }
}
