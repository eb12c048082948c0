//! Who is at fault when there is no room to write.
//!
//! A container's disk has a limit, which somebody has set or which is its share of the memory: who
//! fills it up to there wants more than he is given, and that is the packages' doing. Below that limit
//! there may be the host's disk, which others fill as well: what comes of that says nothing.

use std::path::Path;

use crate::machine::{Guest, Limits, Space};
use crate::report::Evidence;

/// The evidence that the container's disk is full, if it is.
pub(super) fn evidence(guest: &Guest) -> Option<Evidence> {
    let space = guest.space().ok().filter(Space::is_full)?;
    let text = format!("It is full: {space}. --disk SIZE gives it more.");
    Some(Evidence::new("the container's disk", &text))
}

/// Why a failure cannot be put down to the packages, if the disk of `storage` is full to which a
/// container with these limits writes.
pub(super) fn hosts_fault(limits: &Limits, storage: &Path) -> Option<String> {
    if !limits.are_on_disk() {
        return None;
    }
    let space = Space::at(storage).ok().filter(Space::is_full)?;
    Some(format!(
        "the host's disk is full to which the container writes: {}, {space}",
        storage.display()
    ))
}
