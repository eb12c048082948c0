//! The socket by which another run of postroj ends a container that was kept.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _};
use tokio::net::UnixStream;

use crate::machine::spec::STOP;

/// Where the supervisor of `machine` listens.
pub(in crate::machine) fn control_socket(directory: &Path) -> PathBuf {
    directory.join("control")
}

/// Whether the other end of a control connection asks for the end. It hears of it by the
/// connection's closing, when this process ends.
pub(super) async fn asks_to_stop(stream: UnixStream) -> bool {
    let (reader, writer) = stream.into_split();
    let mut line = String::new();
    let patience = Duration::from_secs(1);
    let mut reader = tokio::io::BufReader::new(reader).take(64);
    let read = tokio::time::timeout(patience, reader.read_line(&mut line)).await;
    let stop = matches!(read, Ok(Ok(_))) && line.trim_end() == STOP;
    if stop {
        // The descriptor stays open until the process ends: that is the answer.
        std::mem::forget(writer);
        std::mem::forget(reader);
    }
    stop
}
