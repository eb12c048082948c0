//! Who is at fault when there is no room to write.
//!
//! Who fills a container's disk up to the limit that somebody has set wants more than he is given, and
//! that is the packages' doing. If nobody has, the limit is a share of this host's memory; and below any limit there may
//! be the host's disk, which others fill as well: what comes of those says nothing.

use std::path::Path;

use crate::machine::{Disk, Guest, Limits, Space};
use crate::report::{Evidence, ImageReport, Verdict};

/// The evidence that the container's disk is full, if it is.
pub(super) fn evidence(guest: &Guest) -> Option<Evidence> {
    let space = guest.space().ok().filter(Space::is_full)?;
    let text = format!("It is full: {space}. --disk SIZE gives it more.");
    Some(Evidence::new("the container's disk", &text))
}

/// Takes back what was put down to the packages where there was no room for them. A system may go down for that,
/// too.
pub(super) fn excuse(
    report: &mut ImageReport,
    limits: &Limits,
    storage: &Path,
    guest: Option<&Guest>,
) {
    if report.verdict == Verdict::Passed {
        return;
    }
    let why = hosts_fault(limits, storage).or_else(|| too_little(limits, guest));
    let Some(why) = why else {
        return;
    };
    report.error = Some(match report.error.take() {
        Some(error) if report.verdict == Verdict::Error => format!("{why}; {error}"),
        _ => why,
    });
    report.verdict = Verdict::Error;
}

/// Why a failure cannot be put down to the packages, if the container's disk is full and nobody has said how large
/// it has to be: it is a share of this host's memory then, which says nothing of a package.
fn too_little(limits: &Limits, guest: Option<&Guest>) -> Option<String> {
    if limits.disk != Disk::Share {
        return None;
    }
    let space = guest?.space().ok().filter(Space::is_full)?;
    Some(format!(
        "the container's disk is full, which is a share of the host's memory by default ({space}): \
         --disk SIZE says how large it has to be"
    ))
}

/// Why a failure cannot be put down to the packages, if the disk of `storage` is full to which a
/// container with these limits writes.
fn hosts_fault(limits: &Limits, storage: &Path) -> Option<String> {
    if !limits.are_on_disk() {
        return None;
    }
    let space = Space::at(storage).ok().filter(Space::is_full)?;
    Some(format!(
        "the host's disk is full to which the container writes: {}, {space}",
        storage.display()
    ))
}
