//! What a command writes, line by line, with the time of each.

use std::os::fd::OwnedFd;
use std::time::SystemTime;

use serde::Serialize;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;

use crate::timestamp;

/// How much of what a stage writes to either stream is kept, in bytes.
const KEPT: usize = 8 << 20;

/// A line that is longer is cut into several.
const LINE: usize = 64 << 10;

/// What a stage has written.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Logs {
    /// To standard output.
    pub stdout: Vec<LogLine>,
    /// To standard error.
    pub stderr: Vec<LogLine>,
    /// How many bytes of it were left out, for a stream that has more than 8 MiB is kept as far as that.
    pub left_out: u64,
}

/// A line of what a stage has written.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LogLine {
    /// When it arrived.
    #[serde(serialize_with = "timestamp::milliseconds")]
    pub time: SystemTime,
    /// Its text; bytes that are not UTF-8 are replaced.
    pub text: String,
}

/// What one stream had.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) lines: Vec<LogLine>,
    pub(super) left_out: u64,
    kept: usize,
}

impl Heard {
    fn take(&mut self, bytes: &[u8], tell: &mut dyn FnMut(&LogLine)) {
        let line = LogLine {
            time: SystemTime::now(),
            text: String::from_utf8_lossy(bytes).into_owned(),
        };
        tell(&line);
        // An empty line takes memory as well.
        let size = bytes.len() + size_of::<LogLine>();
        if self.kept + size > KEPT {
            // What is left out is left out to the end.
            self.kept = KEPT;
            self.left_out += bytes.len() as u64 + 1;
        } else {
            self.kept += size;
            self.lines.push(line);
        }
    }
}

/// Reads lines to the end of a pipe.
pub(super) async fn listen(
    descriptor: OwnedFd,
    mut tell: impl FnMut(&LogLine),
) -> std::io::Result<Heard> {
    let mut pipe = pipe::Receiver::from_owned_fd(descriptor)?;
    let mut heard = Heard::default();
    let mut rest: Vec<u8> = Vec::new();
    let mut buffer = vec![0; LINE];
    loop {
        let count = pipe.read(&mut buffer).await?;
        if count == 0 {
            break;
        }
        for piece in buffer[..count].split_inclusive(|byte| *byte == b'\n') {
            rest.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                rest.pop();
            } else if rest.len() < LINE {
                continue;
            }
            heard.take(&rest, &mut tell);
            rest.clear();
        }
    }
    if !rest.is_empty() {
        heard.take(&rest, &mut tell);
    }
    Ok(heard)
}
