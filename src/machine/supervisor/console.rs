//! The container's console.

use std::collections::VecDeque;

use crate::machine::spec::CONSOLE_LIMIT;

/// The last of what the container has written.
#[derive(Default)]
pub(super) struct Console(VecDeque<u8>);

impl Console {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
        let excess = self.0.len().saturating_sub(CONSOLE_LIMIT);
        self.0.drain(..excess);
    }

    pub(super) fn text(&self) -> String {
        let bytes: Vec<u8> = self.0.iter().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
