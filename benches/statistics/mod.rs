//! What is told of times that were measured.

use std::time::Duration;

/// The middle of some times, and how far they are spread: the machine does other things too.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) first: Duration,
    pub(crate) median: Duration,
    pub(crate) third: Duration,
}

impl Spread {
    pub(crate) fn of(times: &[Duration]) -> Self {
        let mut times = times.to_vec();
        times.sort();
        let at = |quarters| times[(times.len() - 1) * quarters / 4];
        Self {
            first: at(1),
            median: at(2),
            third: at(3),
        }
    }
}
