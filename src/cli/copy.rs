//! Copying between standard streams and pipes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// How much is copied at a time: as much as a pipe holds.
const PIECE: usize = 64 << 10;

/// Copies to the end, by read(2) and write(2).
///
/// [`io::copy`] would splice(2), which takes note of where a file is to be written to, then waits until there is
/// something to be read, and so overwrites what others have written there meanwhile.
pub(crate) fn copy(from: impl AsFd, to: impl AsFd) -> io::Result<()> {
    let (from, to) = (from.as_fd(), to.as_fd());
    let mut buffer = vec![0; PIECE];
    loop {
        let length = patiently(from, PollFlags::IN, || rustix::io::read(from, &mut *buffer))?;
        if length == 0 {
            return Ok(());
        }
        let mut rest = &buffer[..length];
        while !rest.is_empty() {
            let written = patiently(to, PollFlags::OUT, || rustix::io::write(to, rest))?;
            rest = &rest[written..];
        }
    }
}

/// Tries until it is done. Whoever shares a descriptor with us may have had it not wait.
fn patiently(
    of: BorrowedFd<'_>,
    ready: PollFlags,
    mut attempt: impl FnMut() -> Result<usize, Errno>,
) -> io::Result<usize> {
    loop {
        match attempt() {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => match poll(&mut [PollFd::from_borrowed_fd(of, ready)], None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            },
            done => return done.map_err(Into::into),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    #[test]
    fn a_descriptor_that_does_not_wait_is_waited_for() {
        let (from, mut source) = io::pipe().unwrap();
        let (mut sink, to) = io::pipe().unwrap();
        for end in [from.as_fd(), to.as_fd()] {
            rustix::io::ioctl_fionbio(end, true).unwrap();
        }
        let copying = std::thread::spawn(move || copy(from, to));
        let reading = std::thread::spawn(move || {
            let mut read = Vec::new();
            sink.read_to_end(&mut read).unwrap();
            read
        });
        let text = vec![b'x'; 3 * PIECE];
        source.write_all(&text).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(50));
        source.write_all(b"end").unwrap();
        drop(source);
        copying.join().unwrap().unwrap();
        assert_eq!(reading.join().unwrap(), [&text[..], b"end"].concat());
    }
}
